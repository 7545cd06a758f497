"""The one tree of errors that Lucid raises on purpose.

    AssistantError            its message is a sentence for the owner
    ├── BadInput              a file or a question that cannot be used; the owner can send another
    │   └── Unspeakable       a text in a script that the chosen voice cannot say; others can be said
    ├── SettingsError         a setting that is unknown or impossible
    ├── EngineUnavailable     a model, package or device is not there; `remedy` says how to get it
    ├── EngineFailure         an engine broke while it worked (a crash in a library, a server that went away)
    │   └── OutOfMemory       the device has not enough memory for this; less of it may still do
    └── StoreError            the conversation store refused

`Cancelled` is no error: it unwinds a worker whose turn the owner stopped, and never reaches the owner.
"""

from __future__ import annotations


class AssistantError(Exception):
    """A failure that the owner can read.

    Args:
        message: one sentence that says what is wrong, fit for the page and the terminal.
        remedy: what the owner can do about it (often a command); may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class BadInput(AssistantError):
    """A file or a question that cannot be used."""

    exit_code = 2


class Unspeakable(BadInput):
    """A text in a script that the chosen voice cannot say."""


class SettingsError(AssistantError):
    """A setting that is unknown or impossible."""

    exit_code = 2


class EngineUnavailable(AssistantError):
    """A model, package or device that is not there."""


class EngineFailure(AssistantError):
    """An engine that broke while it worked."""


class OutOfMemory(EngineFailure):
    """The device has not enough memory for what was asked; with less (see `models.seeing.ladder`) it may have."""


class StoreError(AssistantError):
    """The conversation store refused."""


class Cancelled(Exception):
    """Unwinds a worker whose turn was stopped."""
