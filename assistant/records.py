"""The values that the store gives and takes, and what it makes of names and texts from outside."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any, Literal

from models.types import Role

Status = Literal["complete", "partial", "interrupted", "stopped", "failed"]
_MAX_NAME = 200


@dataclass(frozen=True)
class Attachment:
    """A file that belongs to a message.

    Attributes:
        digest: SHA-256 of its content, hexadecimal.
        name: what the owner calls it; never a path.
        kind: "image", "audio" or "video".
    """

    digest: str
    name: str
    kind: str
    size_bytes: int


@dataclass(frozen=True)
class StoredMessage:
    """One message as it is kept. `created_at`: seconds since 1970, UTC; `details`: whatever JSON can hold."""

    id: str
    conversation_id: str
    role: Role
    text: str
    attachments: tuple[Attachment, ...]
    status: Status
    created_at: float
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Conversation:
    """What is known of a conversation besides its messages. Times: seconds since 1970, UTC."""

    id: str
    title: str
    system: str
    created_at: float
    updated_at: float


def new_id() -> str:
    """An id that nothing else has."""
    return uuid.uuid4().hex


def clean_text(text: str) -> str:
    """`text` without lone surrogates (odd file names have them), which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def clean_name(name: str) -> str:
    """`name` without folders and unprintable characters."""
    last = clean_text(name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join(character for character in last if character.isprintable()).strip()
    return kept[:_MAX_NAME] if kept not in ("", ".", "..") else "file"
