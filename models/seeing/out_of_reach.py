"""Questions that a small model answers although it cannot: about this very moment, and in a script it does not read."""

from __future__ import annotations

import re

from models.errors import BadInput
from models.speaking.scripts import language_name, likeliest_language

# A longer text that speaks of the weather is a story or a letter, not a question for today's.
MOST_WORDS = 12

_NOW = r"(?:now|today|tonight|tomorrow|outside|this\ (?:morning|afternoon|evening|week))"
_QUESTIONS = {
    "the weather": rf"""
          \b(?:what|how)(?:'s|s|\ is|\ will|\ was)\ (?:the|today's|tomorrow's)\ (?:weather|forecast)\b
        | \bweather\ (?:forecast\b|.*\b{_NOW}\b)
        | \b(?:will\ it|is\ it(?:\ going\ to)?)\ (?:rain|snow)(?:ing)?\b
        | \b(?:will|is)\ it\ (?:be\ )?(?:sunny|cold|hot|warm|windy)\b.*\b{_NOW}\b
    """,
    "the news": rf"""
          \b(?:latest|current|today's|recent)\ (?:news|headlines)\b
        | \bwhat(?:'s|s|\ is)\ (?:new\ )?(?:the|in\ the)\ news\b
        | \b(?:news|headlines|happened|happening)\ .*\b{_NOW}\b | \b(?:news|happened|happening)\ {_NOW}\b
    """,
    "a clock or a calendar": r"""
          \bwhat\ time\ is\ it\b | \bwhat(?:'s|s|\ is)\ the\ time\b
        | \bwhat(?:'s|s|\ is)\ (?:the\ date(?:\ today)?|today's\ date|the\ current\ (?:time|date|year))\s*\??$
        | \bwhat\ (?:day|date|year|month)\ is\ (?:it|today)\b | \bwhat\ is\ today\b
    """,
}
_PATTERNS = {what: re.compile(pattern, re.IGNORECASE | re.VERBOSE) for what, pattern in _QUESTIONS.items()}


def out_of_reach(question: str) -> str:
    """What the question needs that no model has ("the weather"); "" when it can be answered."""
    words = question.replace("\u2019", "'").split()
    if len(words) > MOST_WORDS:
        return ""
    asked = " ".join(words)
    return next((what for what, pattern in _PATTERNS.items() if pattern.search(asked)), "")


def refuse_other_scripts(model: str, question: str) -> None:
    """Raises `BadInput` for a question in a script that SmolLM2 does not read, naming the language."""
    other = likeliest_language(question, "en")
    if other not in ("en", "el"):  # Greek letters are symbols in an English question, too
        raise BadInput(f"{model} understands English only, and this is {language_name(other)}.", "Ask in English.")
