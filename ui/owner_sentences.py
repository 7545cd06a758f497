"""The sentences that engines, media and store speak to the owner, in the page's language. They are made in English.

What the table does not know stays English, which is better than nothing; tests/test_ui_owner_sentences.py provokes
the common ones, so that none can be reworded without its translation.
"""

from __future__ import annotations

import functools
import re

from ui.i18n import Language
from ui.sentences_zh import CHINESE

_BETWEEN = re.compile(r"(?<=[.…)]) ")
_LONGEST = 1000
# A message, its remedy, and what is used instead.
_MOST_PARTS = 3
# The gaps in which the sentences name a language.
_LANGUAGE_GAPS = ("language", "other")
_LANGUAGES = {
    "English": "英语", "Chinese": "中文", "Japanese": "日语", "Korean": "韩语", "Russian": "俄语", "Arabic": "阿拉伯语",
    "German": "德语", "French": "法语", "Spanish": "西班牙语", "Italian": "意大利语", "that script": "那种文字",
}  # fmt: skip


def in_language(sentence: str, language: Language) -> str:
    """`sentence` (one of the program's, or a message and its remedy) as the page says it."""
    if language == "en" or not sentence or len(sentence) > _LONGEST:
        return sentence
    return _in_parts(sentence, _MOST_PARTS) or sentence


def _in_parts(sentence: str, most: int) -> str | None:
    """The Chinese of up to `most` sentences that stand one after another."""
    for gap in list(_BETWEEN.finditer(sentence))[:6] if most > 1 else ():
        first = _chinese(sentence[: gap.start()])
        rest = _in_parts(sentence[gap.end() :], most - 1) if first is not None else None
        if first is not None and rest is not None:
            return first + rest
    return _chinese(sentence)  # last: a gap at the end of a sentence would swallow those behind it


@functools.lru_cache(maxsize=512)
def _chinese(sentence: str) -> str | None:
    for pattern, chinese in _patterns():
        found = pattern.fullmatch(sentence)
        if found is not None:
            gaps = found.groupdict()
            gaps.update({g: f" {_LANGUAGES.get(gaps[g], gaps[g])} " for g in _LANGUAGE_GAPS if g in gaps})
            return chinese.format(**gaps).replace(" 。", "。").replace(" ，", "，")
    return None


@functools.cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((_pattern(english), chinese) for english, chinese in CHINESE)


def _pattern(english: str) -> re.Pattern[str]:
    """A sentence's gaps as groups: anything, but not across lines."""
    pieces = re.split(r"\{(\w+)\}", english)
    return re.compile("".join(f"(?P<{p}>.+?)" if i % 2 else re.escape(p) for i, p in enumerate(pieces)))
