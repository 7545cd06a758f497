"""Model output made safe and complete as Markdown, before Gradio renders (and sanitises) it.

Outside code and formulas: raw HTML is shown as text, pictures become links (nothing remote is ever fetched), and `$x$`
becomes `\\(x\\)`, because a lone dollar sign means money far more often than mathematics.
"""

from __future__ import annotations

import re

# Fenced code (also one that is still being written), inline code, and formulas in the delimiters that Gradio renders.
# The lengths are bounded so that unclosed delimiters, however many, cost time in proportion to the text.
_PROTECTED = re.compile(
    r"(?P<fenced>(?:^|(?<=\n)) {0,3}(?P<ticks>`{3,}|~{3,})[^\n]*(?:\n[\s\S]*?)?(?:(?<=\n) {0,3}(?P=ticks)[^\n]*|\Z))"
    r"|(?P<code>(?<!`)(?P<run>`+)(?!`)[\s\S]{0,2000}?(?<!`)(?P=run)(?!`))"
    r"|(?P<display>\$\$[\s\S]{1,2000}?\$\$|\\\[[\s\S]{1,2000}?\\\])"
    r"|(?P<inline>\\\([\s\S]{1,2000}?\\\))"
    # Pandoc's rule for a single dollar: no space inside, no digit right after the closing one.
    r"|(?P<dollar>(?<![\\$\w])\$(?![\s$])(?P<formula>[^$\n]{0,500}?[^\s$\\])\$(?![\d$]))"
)
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_PICTURE = re.compile(r"!(?=\[)")
_SCHEME = re.compile(r"\]\(\s*(?:javascript|vbscript|data|file)\s*:", re.IGNORECASE)


_TITLE_SIGNS = re.compile(r"\*\*|`+|~~|^\s*(?:#{1,6}|>|[-*+])\s+|(?<=\s)#{1,6}\s")
_TITLE_EMPHASIS = re.compile(r"(?<![\w*])\*(?=\S)([^*]+?)(?<=\S)\*(?![\w*])")
_TITLE_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)?")


def plain_title(title: str) -> str:
    """A conversation's title (how its first question begins) without the signs of Markdown; not HTML-escaped."""
    plain = _TITLE_EMPHASIS.sub(r"\1", _TITLE_SIGNS.sub("", _TITLE_LINK.sub(r"\1", title)))
    return " ".join(plain.split()) or title


def safe_markdown(text: str) -> str:
    """`text` with nothing in it that a browser would run or fetch; works on a text that is still growing."""
    parts: list[str] = []
    position = 0
    for match in _PROTECTED.finditer(text):
        parts.append(_prose(text[position : match.start()]))
        parts.append(_kept(match))
        position = match.end()
    parts.append(_prose(text[position:]))
    return "".join(parts)


def _kept(match: re.Match[str]) -> str:
    if match["dollar"] is not None:
        return f"\\({_math(match['formula'])}\\)"
    if match["display"] is not None or match["inline"] is not None:
        return _math(match[0])
    return match[0]


def _math(formula: str) -> str:
    # A tag inside a formula would be parsed as HTML before KaTeX sees it.
    return _TAG.sub("< ", formula)


def _prose(text: str) -> str:
    return _SCHEME.sub("](#", _PICTURE.sub("", _TAG.sub("&lt;", text)))
