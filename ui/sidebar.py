"""The list of conversations and search hits, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from html import escape

from assistant.store import Conversation, SearchHit
from ui.html import icon_button, tag
from ui.i18n import Language, text
from ui.markdown import plain_title

GROUPS = ("today", "yesterday", "week", "older")
MAX_LISTED = 500


def group_of(updated_at: float, today: date) -> str:
    """The group of a conversation last used at that time (seconds since 1970), by the owner's own calendar."""
    day = datetime.fromtimestamp(updated_at).date()
    if day >= today:
        return "today"
    if day == today - timedelta(days=1):
        return "yesterday"
    return "week" if day > today - timedelta(days=8) else "older"


def conversations_html(
    conversations: Sequence[Conversation], language: Language, *, chosen: str = "", today: date | None = None
) -> str:
    """Conversations (newest first) under their groups' headings."""
    if not conversations:
        return tag("p", escape(text("none", language)), class_="lu-list-empty")
    today = today or date.today()
    groups: dict[str, list[str]] = {name: [] for name in GROUPS}
    for conversation in conversations[:MAX_LISTED]:
        groups[group_of(conversation.updated_at, today)].append(_row(conversation, language, chosen))
    return "".join(
        tag("h3", escape(text(name, language))) + tag("ul", "".join(rows), class_="lu-list")
        for name, rows in groups.items()
        if rows
    )


def _row(conversation: Conversation, language: Language, chosen: str) -> str:
    title = plain_title(conversation.title) or text("untitled", language)
    current = conversation.id == chosen
    opener = tag(
        "button",
        tag("span", escape(title)),
        type="button",
        class_="lu-open",
        data_act="open",
        title=title,
        aria_current="page" if current else None,
    )
    menu = icon_button(
        "more", text("menu", language, title=title), class_="lu-button lu-more", data_act="menu", aria_haspopup="menu"
    )
    return tag("li", opener + menu, data_conversation=conversation.id, data_title=title)


def hits_html(hits: Sequence[SearchHit], query: str, language: Language) -> str:
    """What a search found."""
    if not hits:
        return tag("p", escape(text("search.none", language, query=query)), class_="lu-list-empty")
    rows = "".join(
        tag(
            "li",
            tag(
                "button",
                tag("span", escape(plain_title(hit.title) or text("untitled", language)))
                + (tag("small", escape(hit.snippet)) if hit.snippet else ""),
                type="button",
                class_="lu-open",
                data_act="open",
            ),
            data_conversation=hit.conversation_id,
            data_title=hit.title,
        )
        for hit in hits
    )
    return tag("h3", escape(text("search.results", language))) + tag("ul", rows, class_="lu-list")
