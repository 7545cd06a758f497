"""Tokens to text while they arrive, without ever showing half a character."""

from __future__ import annotations

from collections.abc import Callable, Sequence

REPLACEMENT = "\ufffd"
# A UTF-8 character has at most four bytes, so a byte-level vocabulary completes it within four tokens.
LONGEST_CHARACTER = 4


class StreamingDetokenizer:
    """Turns a growing list of tokens into a growing text.

    A Chinese character or an emoji is often spread over several byte-level tokens: until the last of them is there, the
    decoder shows U+FFFD in its place, and that text is held back. Bytes that never become a character are dropped.

    Args:
        decode: tokens → text, special tokens left out (they show as nothing).
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._context: list[int] = []  # the tokens shown last: some vocabularies decode a space only with what precedes
        self._waiting: list[int] = []

    def feed(self, token: int) -> str:
        """The text that `token` completes; "" while a character is unfinished."""
        self._waiting.append(token)
        text = self._waiting_text()
        if text.endswith(REPLACEMENT) and len(self._waiting) < LONGEST_CHARACTER:
            return ""
        self._context, self._waiting = self._waiting, []
        return text.replace(REPLACEMENT, "")

    def finish(self) -> str:
        """What is left at the end: whole characters only."""
        text = self._waiting_text().replace(REPLACEMENT, "") if self._waiting else ""
        self._context, self._waiting = [], []
        return text

    def _waiting_text(self) -> str:
        before = self._decode(self._context) if self._context else ""
        both = self._decode([*self._context, *self._waiting])
        return both[len(before) :] if both.startswith(before) else both
