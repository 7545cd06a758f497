"""One conversation as a zip file: readable (conversation.md), complete (conversation.json) and with its files (files/).

An imported file comes from anywhere: nothing in it is taken on trust, and nothing is unpacked by its own name.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import re
import secrets
import tempfile
import time
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from assistant.records import Status
from assistant.schema import translated
from assistant.store import Attachment, Conversation, ConversationStore, StoredMessage
from models.errors import BadInput
from models.types import Role

FORMAT = "lucid-conversation"
FORMAT_VERSION = 1
# Limits of what is imported. The first counts unpacked bytes, whatever the file says about itself.
MAX_TOTAL_BYTES = 4 << 30
MAX_JSON_BYTES = 64 << 20
MAX_ENTRIES = 20_000

_JSON, _MARKDOWN, _FILES = "conversation.json", "conversation.md", "files/"
_KINDS = ("image", "audio", "video")
_SPEAKERS = {"user": "You", "assistant": "Lucid", "system": "System"}
# Already packed; packing them again costs time and gains nothing.
_STORED = re.compile(r"\.(jpe?g|png|gif|webp|avif|heic|mp3|m4a|ogg|opus|flac|mp4|webm|mov|mkv|zip)$", re.IGNORECASE)


def export_conversation(store: ConversationStore, id: str, target_dir: Path) -> Path:
    """Writes a conversation into `target_dir` and returns the zip file.

    Raises `StoreError` when the conversation is not there or the file cannot be written.
    """
    conversation, messages = store.conversation(id), store.messages(id)
    places = _places(messages)
    with translated("export the conversation"):
        target_dir.mkdir(parents=True, exist_ok=True)
        day = time.strftime("%Y-%m-%d", time.localtime(conversation.created_at))
        file = target_dir / f"{_safe(conversation.title, 'conversation')}-{day}-{secrets.token_hex(3)}.zip"
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w+b") as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(_MARKDOWN, _markdown(conversation, messages, places))
                archive.writestr(_JSON, json.dumps(_as_json(conversation, messages, places), indent=1))
                for attachment in {one.digest: one for message in messages for one in message.attachments}.values():
                    place = places[attachment.digest]
                    packing = zipfile.ZIP_STORED if _STORED.search(place) else zipfile.ZIP_DEFLATED
                    archive.write(store.file_of(attachment), place, packing)
        except BaseException:
            file.unlink(missing_ok=True)
            raise
    return file


def import_conversation(store: ConversationStore, zip_path: Path) -> Conversation:
    """Keeps an exported conversation as a new one: all of it, or nothing.

    Raises:
        BadInput: when the file is no sound export.
        StoreError: when the store refuses (disk full).
    """
    try:
        with zipfile.ZipFile(zip_path) as archive:
            conversation, described = _read_json(archive)
            return _adopt(store, archive, conversation, described)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        # RuntimeError: the entry is encrypted; NotImplementedError: packed in a way that Python does not know.
        raise BadInput("This is not a conversation that Lucid exported, or it is damaged.", _AGAIN) from error


_AGAIN = "Export it again and import that file."


def _adopt(
    store: ConversationStore, archive: zipfile.ZipFile, conversation: Conversation, described: Sequence[dict[str, Any]]
) -> Conversation:
    added: list[Attachment] = []
    try:
        with tempfile.TemporaryDirectory(prefix="lucid-import-") as folder:
            room = MAX_TOTAL_BYTES
            messages = []
            for entry in described:
                attachments = []
                for item in _list(entry, "attachments"):
                    unpacked = Path(folder) / "file"
                    room -= _unpack(archive, item, unpacked, room)
                    added.append(store.add_file(unpacked, _text(item, "name"), _one_of(item, "kind", _KINDS)))
                    attachments.append(added[-1])
                messages.append(_message(entry, attachments))
            return store.adopt(conversation, messages)
    except BaseException:
        store.release(added)
        raise


def _unpack(archive: zipfile.ZipFile, item: dict[str, Any], target: Path, room: int) -> int:
    """Writes the entry of `item` to `target`, counting, and checks it against its digest. Returns its size."""
    place = _text(item, "file")
    if not place.startswith(_FILES) or place not in archive.NameToInfo:
        raise BadInput(f"The exported conversation lacks a file that it names: {place[:80]!r}.", _AGAIN)
    digest, size = hashlib.sha256(), 0
    with archive.open(place) as packed, open(target, "wb") as plain:
        while chunk := packed.read(1 << 20):
            size += len(chunk)
            if size > room:
                raise BadInput(f"The exported conversation unpacks to more than {MAX_TOTAL_BYTES >> 30} GB.")
            digest.update(chunk)
            with translated("unpack the conversation"):
                plain.write(chunk)
    if digest.hexdigest() != _text(item, "sha256"):
        raise BadInput(f"The file {place[:80]!r} in the exported conversation was changed or is damaged.", _AGAIN)
    return size


def _read_json(archive: zipfile.ZipFile) -> tuple[Conversation, list[dict[str, Any]]]:
    if len(archive.infolist()) > MAX_ENTRIES or _JSON not in archive.NameToInfo:
        raise BadInput(f"This zip file is not a conversation that Lucid exported (no {_JSON} in it).")
    with archive.open(_JSON) as packed:
        raw = packed.read(MAX_JSON_BYTES + 1)
    if len(raw) > MAX_JSON_BYTES:
        raise BadInput(f"The {_JSON} in this zip file is too large.")
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The {_JSON} in this zip file is not JSON.", _AGAIN) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise BadInput("This zip file is not a conversation that Lucid exported.")
    if content.get("version") != FORMAT_VERSION:
        raise BadInput(
            f"The conversation was exported in version {content.get('version')!r:.20} of the format;"
            f" this Lucid reads version {FORMAT_VERSION}.",
            "Update Lucid.",
        )
    conversation = Conversation(
        "",
        _text(content, "title"),
        _text(content, "system"),
        _time(content, "created_at"),
        _time(content, "updated_at"),
    )
    return conversation, _list(content, "messages")


def _message(entry: dict[str, Any], attachments: Sequence[Attachment]) -> StoredMessage:
    details = entry.get("details")
    if not isinstance(details, dict):
        raise _malformed("details")
    role: Role = _one_of(entry, "role", get_args(Role))
    status: Status = _one_of(entry, "status", get_args(Status))
    return StoredMessage(
        "", "", role, _text(entry, "text"), tuple(attachments), status, _time(entry, "created_at"), details
    )


def _malformed(name: str) -> BadInput:
    return BadInput(f"The {_JSON} in this zip file is incomplete or wrong at {name!r}.", _AGAIN)


def _text(entry: dict[str, Any], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise _malformed(name)
    return value


def _one_of(entry: dict[str, Any], name: str, allowed: Sequence[str]) -> Any:
    value = _text(entry, name)
    if value not in allowed:
        raise _malformed(name)
    return value


def _time(entry: dict[str, Any], name: str) -> float:
    value = entry.get(name)
    # Up to the year 9999, which is as far as calendars of the page go.
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 253_402_300_799:
        raise _malformed(name)
    return float(value)


def _list(entry: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = entry.get(name)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise _malformed(name)
    return value


def _places(messages: Sequence[StoredMessage]) -> dict[str, str]:
    """Digest → name in the archive: the owner's name where it is safe, unique even where case does not count."""
    places: dict[str, str] = {}
    taken: set[str] = set()
    for message in messages:
        for attachment in message.attachments:
            if attachment.digest in places:
                continue
            safe = name = _safe(attachment.name, "file")
            copies = itertools.count(2)
            while name.lower() in taken:
                name = f"{next(copies)}-{safe}"
            taken.add(name.lower())
            places[attachment.digest] = _FILES + name
    return places


def _safe(name: str, otherwise: str) -> str:
    """`name` as a file name on any system: no separators, no leading dots, not reserved by Windows, not too long."""
    kept = re.sub(r"[^\w.() +-]+", "_", name).strip(" ._")[-80:].strip(" ._")
    reserved = re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", kept, re.IGNORECASE)
    return f"_{kept}" if reserved else kept or otherwise


def _as_json(conversation: Conversation, messages: Sequence[StoredMessage], places: dict[str, str]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "title": conversation.title,
        "system": conversation.system,
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
        "messages": [
            {
                "role": message.role,
                "text": message.text,
                "status": message.status,
                "created_at": message.created_at,
                "details": message.details,
                "attachments": [
                    {"name": one.name, "kind": one.kind, "sha256": one.digest, "file": places[one.digest]}
                    for one in message.attachments
                ],
            }
            for message in messages
        ],
    }


def _markdown(conversation: Conversation, messages: Sequence[StoredMessage], places: dict[str, str]) -> str:
    lines = [
        f"# {' '.join(conversation.title.split()) or 'Conversation'}",
        "",
        f"*{_clock(conversation.created_at)}*",
        "",
    ]
    if conversation.system:
        lines += [*(f"> {line}" for line in conversation.system.splitlines()), ""]
    for message in messages:
        status = "" if message.status == "complete" else f" ({message.status})"
        lines += [f"## {_SPEAKERS[message.role]}, {_clock(message.created_at)}{status}", ""]
        for attachment in message.attachments:
            label = re.sub(r"([\\\[\]<>`*_!])", r"\\\1", attachment.name)
            sign = "!" if attachment.kind == "image" else ""
            lines += [f"{sign}[{label}](<{places[attachment.digest]}>)", ""]
        lines += [message.text, ""]
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(math.floor(seconds)))
