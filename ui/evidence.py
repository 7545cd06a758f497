"""The panel "What I looked at": each picture as the model saw it, with what was recognised, read, and drawn on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from assistant.store import Attachment
from ui.html import icon, tag
from ui.i18n import Language, text
from ui.owner_sentences import in_language

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
# How the eleven basic colour terms are drawn; none as loud as the browser's own.
_NAMED = {
    "black": "#222222", "white": "#fafafa", "grey": "#9a9a9a", "red": "#c94f43", "orange": "#e08a3c",
    "yellow": "#e6c84c", "green": "#6a9f58", "blue": "#5a8fc4",
    "purple": "#8a6bb0", "pink": "#dd92ac", "brown": "#8a6446",
}  # fmt: skip
MAX_SHOWN = 12


def file_url(digest: str) -> str:
    """Where the page finds an attachment."""
    return f"/lucid/file/{quote(digest, safe='')}"


def evidence_panel(seen: Sequence[dict[str, Any]], attachments: Sequence[Attachment], language: Language) -> str:
    """The panel as HTML, or "" when no picture was looked at.

    Args:
        seen: `SeenPicture`s as the store keeps them, in the order in which the pictures were given.
        attachments: of the owner's message, for the thumbnails.
    """
    if not seen:
        return ""
    stills = iter([a for a in attachments if a.kind == "image"])
    videos = {a.name: a for a in attachments if a.kind == "video"}
    cards = []
    for picture in seen:
        moment = picture.get("time")
        shown = next(stills, None) if moment is None else videos.get(picture.get("source", ""))
        cards.append(_card(picture, shown, language))
    summary = tag("summary", icon("eye") + tag("span", escape(text("seen.title", language))))
    return tag("details", summary + tag("div", "".join(cards), class_="lu-seen-cards"), class_="lu-seen")


def _card(picture: dict[str, Any], shown: Attachment | None, language: Language) -> str:
    found = picture.get("evidence") or []
    boxes = [e for e in found if e.get("box")][:MAX_SHOWN]
    facts = "".join(_facts(found, boxes, kind, language) for kind in ("object", "word", "text", "colour"))
    caption = tag("div", escape(_caption(picture, language)), class_="lu-seen-caption")
    notes = "".join(
        tag("div", escape(in_language(str(n), language)), class_="lu-seen-note") for n in picture.get("notes") or ()
    )
    thumbnail = _thumbnail(picture, shown, boxes, language)
    return tag("div", thumbnail + tag("div", caption + facts + notes, class_="lu-seen-facts"), class_="lu-seen-card")


def _caption(picture: dict[str, Any], language: Language) -> str:
    (width, height), (model_width, model_height) = picture["original_size"], picture["model_size"]
    size = text("seen.size", language, width=width, height=height, model_width=model_width, model_height=model_height)
    moment = picture.get("time")
    when = [] if moment is None else [text("seen.time", language, seconds=f"{moment:.1f}")]
    return " · ".join([str(picture.get("source") or ""), *when, size]).strip(" ·")


def _thumbnail(
    picture: dict[str, Any], shown: Attachment | None, boxes: Sequence[dict[str, Any]], language: Language
) -> str:
    if shown is None:
        return ""
    url, label = file_url(shown.digest), text("picture", language, name=shown.name)
    if picture.get("time") is None:
        view = tag("img", src=url, alt=label, loading="lazy")
    else:
        view = tag("video", src=f"{url}#t={picture['time']:.2f}", preload="metadata", muted=True, aria_label=label)
    drawn = "".join(_rectangle(index, e["box"]) for index, e in enumerate(boxes))
    overlay = f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true">{drawn}</svg>'
    return tag("div", view + overlay, class_="lu-thumb")


def _rectangle(index: int, box: Sequence[float]) -> str:
    left, top, right, bottom = (min(1.0, max(0.0, float(v))) * 1000 for v in box)
    width, height = max(0.0, right - left), max(0.0, bottom - top)
    return (
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{height:.0f}" rx="6" data-box="{index}"'
        ' vector-effect="non-scaling-stroke"/>'
    )


def _facts(found: Sequence[dict[str, Any]], boxes: Sequence[dict[str, Any]], kind: str, language: Language) -> str:
    items = [e for e in found if e.get("kind") == kind][:MAX_SHOWN]
    if not items:
        return ""
    chips = "".join(_chip(e, next((i for i, b in enumerate(boxes) if b is e), None), language) for e in items)
    name = tag("span", escape(text(f"seen.{kind}", language)), class_="lu-seen-kind")
    return tag("div", name + tag("span", chips, class_="lu-chips"), class_="lu-seen-row")


def _chip(evidence: dict[str, Any], box: int | None, language: Language) -> str:
    words, confidence = str(evidence.get("text", "")), float(evidence.get("confidence") or 0.0)
    shown = escape(words)
    if evidence["kind"] == "colour":
        found = _COLOUR.search(words)
        colour = found[0] if found else _NAMED.get(words.lower())
        swatch = f'<i style="background:{colour}"></i>' if colour else ""
        share = tag("small", f"{confidence * 100:.0f} %") if 0 < confidence < 1 else ""
        named = escape(text(f"colour.{words.lower()}", language)) if words.lower() in _NAMED else shown
        return tag("span", swatch + named + share, class_="lu-chip")
    if evidence["kind"] == "text":
        shown = f"“{shown}”"
    share = tag("small", f"{confidence * 100:.0f} %")
    return tag("span", shown + share, class_="lu-chip", data_box=box, tabindex=None if box is None else "0")
