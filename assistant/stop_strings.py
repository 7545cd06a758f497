"""Text that ends where one of some given strings begins, however the text is cut into pieces on its way."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Lets a text through piece by piece, up to the first of the strings in it.

    What may be the beginning of a string is held back until that is decided, so that nothing of it is let through.

    Args:
        strings: none of them empty; without any, everything passes at once.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(strings)
        self._held = ""
        self.reached = False

    def feed(self, piece: str) -> str:
        """What of the text may be let through now. Once a string was `reached`, nothing any more."""
        if self.reached:
            return ""
        text = self._held + piece
        places = [at for at in map(text.find, self._strings) if at >= 0]
        if places:
            self.reached = True
            self._held = ""
            return text[: min(places)]
        kept = self._beginning_at_the_end(text)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def finish(self) -> str:
        """What was held back, when the text has ended without it having become a string."""
        held, self._held = self._held, ""
        return held

    def _beginning_at_the_end(self, text: str) -> int:
        """How many characters at the end of `text` could be the beginning of a string."""
        longest = max(map(len, self._strings), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            end = text[-length:]
            if any(string.startswith(end) for string in self._strings):
                return length
        return 0
