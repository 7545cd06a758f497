"""Mandarin in simplified characters: Whisper writes now simplified, now traditional ones for the same speech."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


def simplified(text: str) -> str:
    """`text` in simplified characters, where the package opencc is installed; otherwise as it is.

    (Telling Whisper to write simplified characters, by a prompt, was tried: it made short recordings loop and cost
    accuracy on long ones.)
    """
    converter = _converter()
    return text if converter is None else str(converter.convert(text))


@lru_cache(maxsize=1)
def _converter() -> Any:
    try:
        import opencc
    except ImportError:
        return None
    return opencc.OpenCC("t2s")
