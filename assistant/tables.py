"""Rows in and out of the database: the statements behind the store's methods.

Every function works within the transaction that its caller has open, and lets `sqlite3.Error` through.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

from assistant.records import Attachment, Conversation, StoredMessage, clean_name
from models.errors import StoreError

_CONVERSATION = "id, title, system, created_at, updated_at"
_MESSAGE = "m.id, m.conversation_id, m.role, m.text, m.status, m.created_at, m.details"


def gone(what: str) -> StoreError:
    """The refusal for what was deleted, perhaps in another window."""
    return StoreError(f"This {what} is not there any more.", "Reload the page, or choose another conversation.")


def all_conversations(database: sqlite3.Connection) -> list[Conversation]:
    """The most recently used first."""
    rows = database.execute(
        f"SELECT {_CONVERSATION} FROM conversations ORDER BY updated_at DESC, number DESC"
    ).fetchall()
    return [Conversation(*row) for row in rows]


def one_conversation(database: sqlite3.Connection, id: str) -> Conversation:
    """Raises `StoreError` if it is not there."""
    row = database.execute(f"SELECT {_CONVERSATION} FROM conversations WHERE id = ?", [id]).fetchone()
    if row is None:
        raise gone("conversation")
    return Conversation(*row)


def insert_conversation(database: sqlite3.Connection, made: Conversation) -> None:
    database.execute(
        f"INSERT INTO conversations ({_CONVERSATION}) VALUES (?, ?, ?, ?, ?)",
        [made.id, made.title, made.system, made.created_at, made.updated_at],
    )


def change_conversation(database: sqlite3.Connection, id: str, column: str, value: str | float) -> None:
    """Raises `StoreError` if it is not there."""
    if not database.execute(f"UPDATE conversations SET {column} = ? WHERE id = ?", [value, id]).rowcount:
        raise gone("conversation")


def delete_conversation(database: sqlite3.Connection, id: str) -> None:
    """Raises `StoreError` if it is not there."""
    if not database.execute("DELETE FROM conversations WHERE id = ?", [id]).rowcount:
        raise gone("conversation")
    _note_deletion(database)


def messages_where(database: sqlite3.Connection, column: str, value: str) -> list[StoredMessage]:
    """The messages whose `column` is `value`, oldest first."""
    attached: dict[int, list[Attachment]] = {}
    for number, *rest in database.execute(
        "SELECT m.number, a.digest, a.name, a.kind, f.size_bytes FROM messages m"
        " JOIN attachments a ON a.message_number = m.number JOIN files f ON f.digest = a.digest"
        f" WHERE m.{column} = ? ORDER BY m.number, a.position",
        [value],
    ):
        attached.setdefault(number, []).append(Attachment(*rest))
    rows = database.execute(
        f"SELECT m.number, {_MESSAGE} FROM messages m WHERE m.{column} = ? ORDER BY m.number", [value]
    ).fetchall()
    return [
        StoredMessage(id, of, role, text, tuple(attached.get(number, ())), status, created_at, json.loads(details))
        for number, id, of, role, text, status, created_at, details in rows
    ]


def one_message(database: sqlite3.Connection, id: str) -> StoredMessage:
    """Raises `StoreError` if it is not there."""
    found = messages_where(database, "id", id)
    if not found:
        raise gone("message")
    return found[0]


def insert_message(database: sqlite3.Connection, made: StoredMessage, token: str) -> None:
    """Adds a message and takes over the holds of process `token` on its files."""
    writer = token if made.status == "partial" else None
    row = [
        made.id,
        made.conversation_id,
        made.role,
        made.text,
        made.status,
        made.created_at,
        _json(made.details),
        writer,
    ]
    number = database.execute(
        "INSERT INTO messages (id, conversation_id, role, text, status, created_at, details, writer)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        row,
    ).lastrowid
    for position, attachment in enumerate(made.attachments):
        if not database.execute("SELECT 1 FROM files WHERE digest = ?", [attachment.digest]).fetchone():
            raise StoreError(f"The file {attachment.name} is no longer in the data folder.", "Attach it again.")
        database.execute(
            "INSERT INTO attachments VALUES (?, ?, ?, ?, ?)",
            [number, position, attachment.digest, clean_name(attachment.name), attachment.kind],
        )
        drop_hold(database, attachment.digest, token)


def rewrite_message(database: sqlite3.Connection, new: StoredMessage, token: str) -> None:
    """Writes text, status and details of a message that is there."""
    database.execute(
        "UPDATE messages SET text = ?, status = ?, details = ?, writer = ? WHERE id = ?",
        [new.text, new.status, _json(new.details), token if new.status == "partial" else None, new.id],
    )


def delete_messages_from(database: sqlite3.Connection, id: str) -> None:
    """Deletes a message and all later ones of its conversation. Raises `StoreError` if it is not there."""
    row = database.execute("SELECT conversation_id, number FROM messages WHERE id = ?", [id]).fetchone()
    if row is None:
        raise gone("message")
    database.execute("DELETE FROM messages WHERE conversation_id = ? AND number >= ?", row)
    _note_deletion(database)


def hold_file(database: sqlite3.Connection, digest: str, size_bytes: int, token: str) -> None:
    """Enters a file, and that process `token` wants it although no message refers to it yet."""
    database.execute("INSERT OR IGNORE INTO files VALUES (?, ?)", [digest, size_bytes])
    database.execute("INSERT INTO holds VALUES (?, ?)", [digest, token])


def drop_hold(database: sqlite3.Connection, digest: str, token: str) -> None:
    """Undoes one `hold_file`."""
    database.execute(
        "DELETE FROM holds WHERE rowid = (SELECT rowid FROM holds WHERE digest = ? AND holder = ? LIMIT 1)",
        [digest, token],
    )


def unused_files(database: sqlite3.Connection) -> list[str]:
    """Digests that no message refers to and no process holds."""
    rows = database.execute(
        "SELECT digest FROM files f WHERE NOT EXISTS (SELECT 1 FROM attachments WHERE digest = f.digest)"
        " AND NOT EXISTS (SELECT 1 FROM holds WHERE digest = f.digest)"
    ).fetchall()
    return [digest for (digest,) in rows]


def end_writers(database: sqlite3.Connection, condition: str, tokens: Sequence[str]) -> None:
    """Interrupts the partial answers, and drops the holds, of the processes whose token fulfils `condition`."""
    database.execute(
        "UPDATE messages SET status = 'interrupted', writer = NULL WHERE status = 'partial' AND writer " + condition,
        tokens,
    )
    database.execute("DELETE FROM holds WHERE holder " + condition, tokens)


def _note_deletion(database: sqlite3.Connection) -> None:
    """Remembers, in the same transaction, that `scrub` has to follow."""
    database.execute("INSERT INTO unscrubbed VALUES (?)", [time.time()])


def _json(details: Mapping[str, Any]) -> str:
    return json.dumps(dict(details), separators=(",", ":"))
