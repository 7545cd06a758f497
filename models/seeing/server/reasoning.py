"""Thoughts that a model writes into its answer, between <think> and </think>, kept out of it."""

from __future__ import annotations

OPENED, CLOSED = "<think>", "</think>"


class WithoutThoughts:
    """Passes an answer on, without the thoughts that it begins with.

    Servers with a parser for reasoning send thoughts in a field of their own; others leave them in the text. Only an
    answer that *begins* with the mark is cut: one that explains the mark may name it.
    """

    def __init__(self) -> None:
        self._held = ""
        self._state = "before"
        self.thought = False

    def feed(self, text: str) -> str:
        """What of the answer can be shown after `text` came."""
        if self._state == "after":
            return text
        self._held += text
        if self._state == "before":
            begun = self._held.lstrip()
            if begun.startswith(OPENED):
                self._state, self.thought = "within", True
                self._held = begun[len(OPENED) :]
            elif not OPENED.startswith(begun):
                self._state = "after"
                return self._taken()
        if self._state == "within":
            _, mark, rest = self._held.partition(CLOSED)
            self._held = rest.lstrip() if mark else self._held[-len(CLOSED) :]
            if mark and self._held:
                self._state = "after"
                return self._taken()
            if mark:
                self._state = "before"  # only white space so far; another thought may follow
        return ""

    def finish(self) -> str:
        """What is left at the end: the beginning of a mark that was none."""
        return self._taken() if self._state == "before" else ""

    def _taken(self) -> str:
        text, self._held = self._held, ""
        return text
