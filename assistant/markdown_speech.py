"""What of a Markdown text can be said aloud: words, without code, tables, urls, formulas, tags, signs and emoji.

Everything here works on a line or a part of one; `assistant.sentences` keeps what spans lines.
"""

from __future__ import annotations

import html
import re

# How far an opening sign may be from its close. One that stands alone ("x <y", a lone bracket) must not hold up speech.
REACH = 400

_CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
# Inline formulas as pandoc defines them: no space after the first $, none before the last, and no digit after it.
_FORMULA = re.compile(
    r"\$\$.+?\$\$|\\\[.+?\\\]|\\\(.+?\\\)|(?<![\\$\w])\$(?=[^\s$])(?:\\.|[^$\\]){0,200}?(?<![\s\\])\$(?!\d)"
)
_COMMENT = re.compile(r"<!--.*?-->")
_RAW_HTML = re.compile(r"<(script|style|pre|code|svg|math)\b[^<>]*>.*?</\1\s*>", re.IGNORECASE)
_AUTOLINK = re.compile(r"<(?:[a-z][a-z0-9+.-]*:[^\s<>]*|[^\s<>@]+@[^\s<>]+)>", re.IGNORECASE)
_BREAKING_TAG = re.compile(r"</?(?:br|p|div|li|ul|ol|td|th|tr|h[1-6]|summary|details)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>]*>|<!doctype[^<>]*>", re.IGNORECASE)
_TARGET = r"\((?:[^()]|\([^()]*\))*\)"
_IMAGE = re.compile(r"!\[([^\[\]]*)\](?:" + _TARGET + r"|\[[^\[\]]*\])")
_LINK = re.compile(r"\[([^\[\]]*)\](?:" + _TARGET + r"|\[[^\[\]]*\])")
_NOTE_MARK = re.compile(r"\[\^[^\]\s]+\]|(?:\[\d{1,3}(?:\s?[,–-]\s?\d{1,3})*\])+(?=[\s.,;:!?)。，]|$)")
_BRACKETS = re.compile(r"\[[^\[\]]*\](?![(\[])")
_URL = re.compile(
    r"\b(?:https?|ftp|file)://[^\s<>\u3000-\u303f\u3400-\u9fff\uff00-\uffef]*[^\s<>.,;:!?'\"()\[\]*_~\u3000-\u303f\u3400-\u9fff\uff00-\uffef]"
    r"|\bwww\.[^\s<>()\u3000-\u303f\u3400-\u9fff\uff00-\uffef]*[^\s<>.,;:!?'\"()\[\]*_~\u3000-\u303f\u3400-\u9fff\uff00-\uffef]"
    r"|\bmailto:\S+",
    re.IGNORECASE,
)
_OPENERS = re.compile(r"`|\[|\$\$|\\\(|\\\[|(?<![\\$\w])\$(?=[^\s\d$])|<(?=[a-zA-Z/!])")

_MARKER = r"(?:>|[-*+•](?=\s)|#{1,6}(?=\s)|\d{1,3}[.)](?=\s|[\u3400-\u9fff])|\[[ xX]\](?=\s))"
_MARKERS = re.compile(r"\s*(?:" + _MARKER + r"\s*)*")
_FENCE = re.compile(r"\s*(?:" + _MARKER + r"\s*)*(`{3,}(?=[^`]*$)|~{3,})")
_DELIMITER_ROW = re.compile(r"[\s>]*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*")
_DEFINITION = re.compile(r"[\s>]*\[[^\]]+\]:\s*\S")
_RAW_OPENING = re.compile(r"<(script|style|pre|svg|math)\b", re.IGNORECASE)

_EMOJI = (
    "\u2190-\u21ff\u2300-\u23ff\u2460-\u24ff\u2500-\u27bf\u2900-\u297f\u2b00-\u2bff"
    "\ufe0e\ufe0f\u200d\u20e3\U0001f000-\U0001faff\U000e0020-\U000e007f"
)
_EMOJIS = re.compile(f"[{_EMOJI}]+")
_KEYCAP = re.compile("[0-9#*]\ufe0f?\u20e3")


def is_emoji(character: str) -> bool:
    """Pictographs, arrows, boxes and dingbats, and the invisible signs that join them."""
    return character > "\u200c" and _EMOJIS.match(character) is not None


def is_wide(character: str) -> bool:
    """Characters of scripts that are written without spaces: Chinese and Japanese."""
    return (
        "\u3040" <= character <= "\u30ff"
        or "\u3400" <= character <= "\u9fff"
        or "\U00020000" <= character <= "\U0003134f"
    )


def opens_fence(line: str) -> str:
    """The sign that closes the code block which `line` opens, or "" if it opens none."""
    found = _FENCE.match(line)
    return found.group(1) if found else ""


def is_delimiter_row(line: str) -> bool:
    """Whether `line` is the row of dashes under the head of a table."""
    return "|" in line and _DELIMITER_ROW.fullmatch(line) is not None


def is_dropped_line(line: str) -> bool:
    """Table rows, and definitions of footnotes and links."""
    return line.lstrip(" \t>").startswith("|") or _DEFINITION.match(line) is not None


def opened_block(line: str, line_start: bool) -> tuple[str, str]:
    """`line` up to where a formula, comment or script begins that it does not close, and the sign that will."""
    bare = _blank(line, _CODE, _FORMULA, _COMMENT, _RAW_HTML)
    comment = bare.find("<!--")
    if comment >= 0:
        return line[:comment], "-->"
    raw = _RAW_OPENING.search(bare)
    if raw:
        return line[: raw.start()], f"</{raw.group(1).lower()}>"
    display = bare.find(r"\[")
    if display >= 0:
        return line[:display], r"\]"
    formula = bare.find("$$")
    if formula >= 0:
        start = _MARKERS.match(bare)
        marked = line_start and start is not None and start.end() > 0
        opens_line = line_start and start is not None and formula == start.end()
        # "The energy is: $$" opens a formula, "- Price: $$" is a guide to restaurants.
        if opens_line or (not marked and not bare[formula + 2 :].strip()):
            return line[:formula], "$$"
    return line, ""


def has_open_construct(text: str) -> bool:
    """Whether `text` ends inside of a code span, link, formula or tag that may still be closed."""
    rest = _blank(text, _CODE, _FORMULA, _COMMENT, _RAW_HTML, _AUTOLINK, _TAG, _IMAGE, _LINK, _BRACKETS)
    raw = _RAW_OPENING.search(_blank(text, _CODE, _FORMULA, _RAW_HTML))
    return raw is not None or any(len(text) - found.start() <= REACH for found in _OPENERS.finditer(rest))


def _blank(text: str, *constructs: re.Pattern[str]) -> str:
    """`text` with the constructs replaced by as many signs that mean nothing, so that positions stay."""
    for construct in constructs:
        text = construct.sub(lambda found: "\0" * len(found.group()), text)
    return text


def spoken_form(text: str, *, line_start: bool) -> str:
    """The words of a part of a line as they are said; "" if there are none.

    Args:
        line_start: it begins a line, where list markers, heading signs and the like may stand.
    """
    if line_start:
        start = _MARKERS.match(text)
        text = text[start.end() :] if start else text
        text = re.sub(r"\s#+\s*$", "", text)
    text = _CODE.sub(" ", text)
    text = _FORMULA.sub(" ", text)
    for dropped in (_COMMENT, _RAW_HTML, _AUTOLINK, _BREAKING_TAG):
        text = dropped.sub(" ", text)
    text = _TAG.sub("", text)
    text = _LINK.sub(r"\1", _IMAGE.sub(r"\1", _NOTE_MARK.sub(_unless_target, text)))
    text = _URL.sub(" ", text)
    text = _KEYCAP.sub(" ", html.unescape(text))
    return _tidied(_without_signs(_EMOJIS.sub(" ", text)))


def _unless_target(mark: re.Match[str]) -> str:
    """Nothing in place of a note's mark, unless it is the second half of a link: [text][1]."""
    return mark.group() if mark.string[: mark.start()].endswith("]") else ""


def _without_signs(text: str) -> str:
    text = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)
    text = re.sub(r"(?<=\d)\s*\*\s*(?=\d)", " × ", text)
    text = re.sub(r"\*+(?=\S)|(?<=\S)\*+|~~|`+|(?<=\s)\*{2,}(?=\s)", "", text)
    text = re.sub(r"(?<=\w)_+(?=\w)", " ", text.replace("|", " "))
    return re.sub(r"_+", "", text)


def _tidied(text: str) -> str:
    """Without what removals leave behind: empty brackets, spaces before commas, punctuation with nothing before it."""
    text = re.sub(r"\(\s*[,;]?\s*\)|\[\s*\]|（\s*）", " ", text)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r" (?=[,.;:!?…)](?:\s|$)|[，。！？；：、])", "", text)
    text = re.sub(r"^(?:[\s,;:!?…)\]}”’»」』。，！？；：、]|\.(?!\d)|[-—–](?!\d))+", "", text)
    text = text.strip()
    return text if any(c.isalnum() for c in text) else ""
