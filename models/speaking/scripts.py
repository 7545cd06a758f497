"""Which scripts a language is written in, and what of a text a voice of that language can say.

An English voice that is given Chinese does not stay silent: espeak-ng says "Chinese letter, Chinese letter". So what a
voice cannot say is left out, and a text that is mostly of that kind is refused.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

# ISO 639-1 → scripts beyond Latin, by the first word of the characters' Unicode names. Latin is read by every voice.
_SCRIPTS: dict[str, frozenset[str]] = {
    language: frozenset(scripts.split())
    for languages, scripts in (
        ("zh yue cmn", "CJK BOPOMOFO"),
        ("ja", "CJK HIRAGANA KATAKANA KATAKANA-HIRAGANA"),
        ("ko", "HANGUL CJK"),
        ("ru uk bg sr mk be kk ky mn tg tt", "CYRILLIC"),
        ("el", "GREEK"),
        ("ar fa ur ps sd ug ckb", "ARABIC"),
        ("he yi", "HEBREW"),
        ("hi mr ne sa", "DEVANAGARI"),
        ("bn as", "BENGALI"),
        ("ta", "TAMIL"),
        ("te", "TELUGU"),
        ("kn", "KANNADA"),
        ("ml", "MALAYALAM"),
        ("gu", "GUJARATI"),
        ("pa", "GURMUKHI"),
        ("si", "SINHALA"),
        ("th", "THAI"),
        ("lo", "LAO"),
        ("my", "MYANMAR"),
        ("km", "KHMER"),
        ("ka", "GEORGIAN"),
        ("hy", "ARMENIAN"),
        ("am ti", "ETHIOPIC"),
    )
    for language in languages.split()
}
# Script → the language that is likeliest written in it, for choosing and naming one.
_LIKELIEST = {
    "CJK": "zh",
    "BOPOMOFO": "zh",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "KATAKANA-HIRAGANA": "ja",
    "HANGUL": "ko",
    "CYRILLIC": "ru",
    "GREEK": "el",
    "ARABIC": "ar",
    "HEBREW": "he",
    "DEVANAGARI": "hi",
    "BENGALI": "bn",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy",
}
_NAMES = {
    "ar": "Arabic",
    "bn": "Bengali",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "hy": "Armenian",
    "it": "Italian",
    "ja": "Japanese",
    "ka": "Georgian",
    "ko": "Korean",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "ta": "Tamil",
    "te": "Telugu",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
# One Chinese character is about as much speech as three Latin letters.
_WEIGHTS = {"CJK": 3, "HANGUL": 3, "HIRAGANA": 2, "KATAKANA": 2}


def language_name(code: str) -> str:
    """The English name of a language ("zh": Chinese); the code itself where the name is not known here."""
    return _NAMES.get(code, code)


@lru_cache(maxsize=4096)
def script_of(character: str) -> str:
    """The script of a letter ("LATIN", "CJK" …); "" for what is no letter."""
    if not character.isalpha():
        return ""
    name = unicodedata.name(character, "")
    if name.startswith(("FULLWIDTH LATIN", "MODIFIER LETTER")):
        return "LATIN"
    return name.replace("HALFWIDTH ", "").partition(" ")[0]


def likeliest_language(text: str, otherwise: str) -> str:
    """ISO 639-1 code of the language that most of `text` is written in, as far as its script tells.

    Args:
        otherwise: for Latin letters, which tell nothing, and for no letters at all.
    """
    weights: dict[str, int] = {}
    for character in text:
        script = script_of(character)
        if script:
            language = _LIKELIEST.get(script, "")
            weights[language] = weights.get(language, 0) + _WEIGHTS.get(script, 1)
    if not weights:
        return otherwise
    if "ja" in weights and "zh" in weights:  # Chinese has no kana
        weights["ja"] += weights.pop("zh")
    return max(weights, key=weights.__getitem__) or otherwise


def sayable(text: str, language: str) -> str:
    """What of `text` a voice of `language` can say; "" when that is the smaller part of it, or nothing."""
    known = _SCRIPTS.get(language, frozenset())
    kept: list[str] = []
    said = dropped = 0
    for index, character in enumerate(text):
        script = script_of(character)
        weight = _WEIGHTS.get(script, 1)
        if script in ("", "LATIN") or script in known or (script == "GREEK" and _stands_alone(text, index)):
            kept.append(character)
            said += weight if script else 0
        else:
            kept.append(" ")
            dropped += weight
    if dropped and dropped >= said:
        return ""
    left = " ".join("".join(kept).split())
    return left if any(c.isalnum() for c in left) else ""


def _stands_alone(text: str, index: int) -> bool:
    """One Greek letter is a symbol with a name (π); a word of them is Greek."""
    around = text[max(0, index - 1) : index] + text[index + 1 : index + 2]
    return not any(script_of(c) == "GREEK" for c in around)
