"""Reading the fields of a request strictly: a value of the wrong kind is refused by name, never guessed at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ui.api.errors import RequestRefused


class Fields:
    """A JSON object of a request. `null` counts as left out, as OpenAI's clients send it for that.

    Args:
        value: parsed JSON of any kind.
        path: what its fields are called in refusals ("messages.0"), "" for the request itself.
    """

    def __init__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, dict):
            raise RequestRefused(f"{path or 'The request'} must be a JSON object.", param=path)
        self._values: dict[str, Any] = value
        self._path = path

    def name(self, field: str) -> str:
        """The field's full name, for refusals."""
        return f"{self._path}.{field}" if self._path else field

    def get(self, field: str) -> Any:
        return self._values.get(field)

    def has(self, field: str) -> bool:
        return self.get(field) is not None

    def text(self, field: str, *, default: str | None = None, most: int | None = None) -> str:
        """A text. Without a `default` it must be there."""
        value = self.get(field)
        if value is None and default is not None:
            return default
        return checked_text(value, self.name(field), most)

    def number(self, field: str, least: float, most: float, default: float) -> float:
        """A number from `least` to `most`, JSON's NaN and infinities refused."""
        value = self.get(field)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise RequestRefused(
                f"{self.name(field)} must be a number from {least:g} to {most:g}.", param=self.name(field)
            )
        return float(value)

    def whole(self, field: str, least: int, most: int, default: int | None) -> int | None:
        """A whole number from `least` to `most`."""
        value = self.get(field)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise RequestRefused(
                f"{self.name(field)} must be a whole number from {least} to {most}.", param=self.name(field)
            )
        return value

    def flag(self, field: str) -> bool:
        """True or false; false when it is left out."""
        value = self.get(field)
        if value is not None and not isinstance(value, bool):
            raise RequestRefused(f"{self.name(field)} must be true or false.", param=self.name(field))
        return bool(value)

    def choice(self, field: str, choices: Sequence[str], default: str) -> str:
        """One of a few words."""
        value = self.get(field)
        if value is None:
            return default
        if value not in choices:
            raise RequestRefused(f"{self.name(field)} must be one of {', '.join(choices)}.", param=self.name(field))
        return str(value)

    def object(self, field: str) -> Fields:
        """An object, which must be there."""
        return Fields(self.get(field), self.name(field))

    def list(self, field: str) -> list[Any]:
        """A list with something in it."""
        value = self.get(field)
        if not isinstance(value, list) or not value:
            raise RequestRefused(f"{self.name(field)} must be a list with something in it.", param=self.name(field))
        return value


def checked_text(value: Any, name: str, most: int | None = None) -> str:
    """`value` as a text that can be encoded: JSON can spell half of a surrogate pair, which no tokenizer takes."""
    if not isinstance(value, str):
        raise RequestRefused(f"{name} must be a text.", param=name)
    if most is not None and len(value) > most:
        raise RequestRefused(f"{name} is longer than {most:,} characters.", param=name)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RequestRefused(f"{name} is not Unicode: it holds half of a surrogate pair.", param=name) from None
    return value
