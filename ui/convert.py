"""From stored messages and running turns to what `gr.Chatbot` shows. Everything of the owner's or the model's is
escaped or made safe Markdown on the way."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr

from assistant.store import Attachment, StoredMessage
from ui.evidence import evidence_panel, file_url
from ui.html import icon_button, tag
from ui.i18n import Language, text
from ui.markdown import safe_markdown
from ui.owner_sentences import in_language
from ui.turns import TurnView

log = logging.getLogger(__name__)

# How many messages are on the page at first, and how many each "Show earlier messages" adds: the cost of drawing a
# conversation does not grow with its length.
PAGE_LENGTH = 40

ChatMessage = dict[str, Any]


def history_of(messages: Sequence[StoredMessage], shown: int, language: Language) -> list[ChatMessage]:
    """The last `shown` messages of a conversation, as Chatbot messages."""
    first = max(0, len(messages) - shown)
    if first < len(messages) and messages[first].role == "assistant" and first > 0:
        first -= 1  # an answer is not shown without its question
    found: list[ChatMessage] = []
    if first:
        found.append(
            _html(
                "assistant",
                tag(
                    "button", escape(text("earlier", language)), class_="lu-earlier", type="button", data_act="earlier"
                ),
            )
        )
    for index in range(first, len(messages)):
        message = messages[index]
        question = messages[index - 1] if index else None
        try:
            found += _shown(message, question, language, last=index == len(messages) - 1)
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            # Details are of our making, but a conversation may have been imported. Its words can be shown all the same.
            log.warning("the details of a message cannot be shown: %r", error)
            plain = replace(message, details={})
            found += _shown(plain, question, language, last=index == len(messages) - 1)
    return found


def _shown(
    message: StoredMessage, question: StoredMessage | None, language: Language, *, last: bool
) -> list[ChatMessage]:
    if message.role == "user":
        return [_html("user", user_html(message, language))]
    return [answer_of(message, question, language, last=last)] if message.role == "assistant" else []


def user_html(message: StoredMessage, language: Language) -> str:
    """One of the owner's messages, its buttons included."""
    bar = icon_button("edit", text("edit", language), data_act="edit") + icon_button(
        "copy", text("copy", language), data_act="copy"
    )
    body = (
        _files_html(message.attachments, language)
        + (tag("div", escape(message.text), class_="lu-text") if message.text else "")
        + _transcripts_html(message, language)
    )
    return tag(
        "div",
        tag("div", body, class_="lu-bubble") + tag("div", bar, class_="lu-bar"),
        class_="lu-user",
        data_message=message.id,
        data_raw=message.text,
    )


def asked_html(words: str, names: Sequence[str]) -> str:
    """The owner's message in the moment before it is kept."""
    chips = "".join(tag("span", escape(name), class_="lu-chip") for name in names)
    body = (tag("div", chips, class_="lu-chips") if chips else "") + (
        tag("div", escape(words), class_="lu-text") if words else ""
    )
    return tag("div", tag("div", body, class_="lu-bubble"), class_="lu-user")


def answer_of(message: StoredMessage, question: StoredMessage | None, language: Language, *, last: bool) -> ChatMessage:
    """A kept answer: its text, then what was looked at, why it ended, its buttons and figures."""
    panel = evidence_panel(message.details.get("seen") or [], question.attachments if question else (), language)
    notes = "".join(
        tag("div", escape(in_language(str(n), language)), class_="lu-note") for n in message.details.get("notes") or ()
    )
    foot = panel + notes + _ending_html(message, language) + _answer_bar(message, question, language, last=last)
    content: list[Any] = [safe_markdown(message.text)] if message.text.strip() else []
    return {"role": "assistant", "content": [*content, _component(foot)]}


def running_messages(view: TurnView, asked: str, language: Language) -> list[ChatMessage]:
    """A turn that is being answered: the owner's message (HTML) and the answer as far as it is."""
    content: list[Any] = [safe_markdown(view.text)] if view.text.strip() else []
    if content and view.tokens_per_s:
        rate = text("details.speed", language, rate=f"{view.tokens_per_s:.0f}")
        content.append(_component(tag("div", tag("span", rate, class_="lu-figures"), class_="lu-bar")))
    if view.failure is not None:
        content.append(_component(notice_html(view.failure.message, view.failure.remedy, language)))
    elif not view.text.strip():
        label = in_language(view.progress.text, language) if view.progress else text("thinking", language)
        content.append(_component(_waiting_html(label)))
    return [_html("user", asked), {"role": "assistant", "content": content}]


def notice_html(message: str, remedy: str, language: Language) -> str:
    """A calm sentence about what did not work, and what to do."""
    message, remedy = in_language(message, language), in_language(remedy, language)
    return tag(
        "div",
        tag("strong", escape(message)) + (" " + tag("span", escape(remedy)) if remedy else ""),
        class_="lu-notice",
        role="note",
    )


def _waiting_html(label: str) -> str:
    return tag("div", "<i></i><i></i><i></i>" + tag("span", escape(label)), class_="lu-waiting")


def _html(role: str, html: str) -> ChatMessage:
    return {"role": role, "content": [_component(html)]}


def _component(html: str) -> gr.HTML:
    return gr.HTML(html, js_on_load=None, apply_default_css=False, render=False)


def _files_html(attachments: Sequence[Attachment], language: Language) -> str:
    if not attachments:
        return ""
    return tag("div", "".join(_file_html(a, language) for a in attachments), class_="lu-files")


def _file_html(attachment: Attachment, language: Language) -> str:
    url = file_url(attachment.digest)
    if attachment.kind == "image":
        picture = tag("img", src=url, alt=text("picture", language, name=attachment.name))
        label = text("enlarge", language, name=attachment.name)
        return tag("button", picture, type="button", class_="lu-picture", data_act="enlarge", aria_label=label)
    name = tag("figcaption", escape(attachment.name))
    if attachment.kind == "video":
        player = tag("video", src=url, controls=True, preload="metadata", aria_label=attachment.name)
    else:
        player = tag("audio", src=url, controls=True, preload="metadata", aria_label=attachment.name)
    return tag("figure", player + name, class_=f"lu-{attachment.kind}")


def _transcripts_html(message: StoredMessage, language: Language) -> str:
    rows = []
    for heard in message.details.get("transcripts") or ():
        words = str(heard.get("text") or "")
        if words.strip() == message.text.strip() and words.strip():
            continue  # the recording was the question: its words are the message
        label = text("heard", language, source=str(heard.get("source") or ""))
        said = f"“{words}”" if words.strip() else text("heard.nothing", language)
        rows.append(tag("div", tag("span", escape(label)) + " " + escape(said), class_="lu-heard"))
    return "".join(rows)


def _ending_html(message: StoredMessage, language: Language) -> str:
    if message.status == "failed":
        error = str(message.details.get("error") or text("failed", language))
        return notice_html(error, str(message.details.get("remedy") or ""), language)
    if message.status == "interrupted":
        return notice_html(text("interrupted", language), "", language)
    return ""


def _answer_bar(message: StoredMessage, question: StoredMessage | None, language: Language, *, last: bool) -> str:
    buttons = ""
    if message.text.strip():
        buttons += icon_button("sound", text("play", language), data_act="play")
        buttons += icon_button("copy", text("copy", language), data_act="copy")
    if last and question is not None:
        buttons += icon_button("again", text("regenerate", language), data_act="again", data_question=question.id)
    figures = tag("span", escape(" · ".join(figures_of(message, language))), class_="lu-figures")
    return tag("div", buttons + figures, class_="lu-bar lu-answer", data_message=message.id, data_raw=message.text)


def figures_of(message: StoredMessage, language: Language) -> list[str]:
    """The quiet line under an answer: model, speed, time to the first word, whether it was stopped."""
    details = message.details
    found = [str(details["model"])] if details.get("model") else []
    timings, tokens = details.get("timings") or {}, int(details.get("tokens") or 0)
    first, total = timings.get("first_token_s"), timings.get("total_s")
    wrote = details.get("writing_s")
    if wrote is None and first is not None and total and timings.get("first_audio_s") is None:
        wrote = total - first  # kept by an earlier version; with speech the turn lasted as long as the talking
    if wrote and tokens > 1:
        found.append(text("details.speed", language, rate=f"{(tokens - 1) / wrote:.0f}"))
    if first is not None:
        found.append(text("details.first", language, seconds=f"{first:.1f}"))
    if message.status == "stopped":
        found.append(text("stopped", language))
    return found
