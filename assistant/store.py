"""Conversations on the disk: SQLite for the words, content-addressed files for what was attached.

What a method has returned is kept, whatever happens to the process afterwards. Several threads may use one store, and
several processes one data folder (the page and the command line).
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from assistant.attachments import AttachmentFolder
from assistant.presence import Presence, exclusive
from assistant.schema import Damaged, open_database, scrub, translated
from assistant.search import SearchHit, search
from models.errors import StoreError
from models.types import Role

__all__ = ["Attachment", "Conversation", "ConversationStore", "SearchHit", "Status", "StoredMessage"]

Status = Literal["complete", "partial", "interrupted", "stopped", "failed"]
DATABASE_FILE = "lucid.db"
_MAX_NAME = 200

_log = logging.getLogger(__name__)


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


class ConversationStore:
    """The conversations below `data_dir`, which is made private to its owner.

    Opening also tidies up after processes that died: their partial answers become "interrupted", files that no message
    refers to go. A damaged database is moved into `data_dir/damaged-…` with its attachments, and `notices` says so.

    Raises:
        StoreError: from every method, when the disk is full or read-only, or what is asked for is not there (any more).
    """

    def __init__(self, data_dir: Path) -> None:
        self._lock = threading.RLock()
        self._data_dir = Path(data_dir)
        self.notices: tuple[str, ...] = ()
        with translated(f"open its data folder {self._data_dir}"):
            _make_private(self._data_dir)
            with exclusive(self._data_dir / "opening.lock"):
                self._presence = Presence(self._data_dir / "open")
                try:
                    living = self._presence.living()
                    self._database = self._open(living)
                    self._files = AttachmentFolder(self._data_dir / "attachments", self._presence.token)
                    self._recover(living)
                except BaseException:
                    self._presence.close()
                    raise

    # Conversations

    def create(self, title: str = "", system: str = "") -> Conversation:
        """A new conversation without messages."""
        now = time.time()
        made = Conversation(_new_id(), _clean(title), _clean(system), now, now)
        with self._writing("begin a conversation"):
            self._insert_conversation(made)
        return made

    def conversations(self) -> list[Conversation]:
        """All of them, the most recently used first."""
        rows = self._rows(f"SELECT {_CONVERSATION} FROM conversations ORDER BY updated_at DESC, number DESC")
        return [Conversation(*row) for row in rows]

    def conversation(self, id: str) -> Conversation:
        """The conversation of that id."""
        rows = self._rows(f"SELECT {_CONVERSATION} FROM conversations WHERE id = ?", id)
        if not rows:
            raise _gone("conversation")
        return Conversation(*rows[0])

    def search(self, query: str, limit: int = 50) -> list[SearchHit]:
        """Titles, then texts, that hold every word of `query`; newest first."""
        with self._lock, translated("search"):
            return search(self._database, _clean(query), limit)

    def rename(self, id: str, title: str) -> None:
        """Gives a conversation another title."""
        self._change_conversation(id, "title", title)

    def set_system(self, id: str, system: str) -> None:
        """Gives a conversation another system prompt."""
        self._change_conversation(id, "system", system)

    def delete(self, id: str) -> None:
        """Deletes a conversation with its messages and files, leaving no trace of them in any file."""
        with self._writing("delete the conversation"):
            if not self._database.execute("DELETE FROM conversations WHERE id = ?", [id]).rowcount:
                raise _gone("conversation")
            self._note_deletion()
        self._clean_up()

    # Messages

    def messages(self, conversation_id: str) -> list[StoredMessage]:
        """The messages of a conversation, oldest first."""
        with self._lock:
            self.conversation(conversation_id)
            return self._messages("m.conversation_id = ?", conversation_id)

    def message(self, id: str) -> StoredMessage:
        """The message of that id."""
        found = self._messages("m.id = ?", id)
        if not found:
            raise _gone("message")
        return found[0]

    def append(
        self,
        conversation_id: str,
        role: Role,
        text: str,
        attachments: Sequence[Attachment] = (),
        status: Status = "complete",
        details: Mapping[str, Any] | None = None,
        replaces: str | None = None,
    ) -> StoredMessage:
        """Adds a message at the end of a conversation. `attachments` come from `add_file`, or from another message.

        With `replaces`, that message and all later ones go in the same transaction: a crash leaves the old or the new.
        """
        made = StoredMessage(
            _new_id(), conversation_id, role, _clean(text), tuple(attachments), status, time.time(), dict(details or {})
        )
        with self._writing("keep the message"):
            touched = "UPDATE conversations SET updated_at = ? WHERE id = ?"
            if not self._database.execute(touched, [made.created_at, conversation_id]).rowcount:
                raise _gone("conversation")
            if replaces is not None:
                self._delete_from(replaces)
            self._insert_message(made)
        if replaces is not None:
            self._clean_up()
        return made

    def update(
        self,
        message_id: str,
        *,
        text: str | None = None,
        status: Status | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> StoredMessage:
        """Replaces what is given and leaves the rest."""
        with self._writing("keep the answer"):
            old = self.message(message_id)
            now = old.status if status is None else status
            self._database.execute(
                "UPDATE messages SET text = ?, status = ?, details = ?, writer = ? WHERE id = ?",
                [
                    old.text if text is None else _clean(text),
                    now,
                    _json(old.details if details is None else details),
                    self._presence.token if now == "partial" else None,
                    message_id,
                ],
            )
            return self.message(message_id)

    def truncate_from(self, message_id: str) -> None:
        """Deletes a message and all later ones of its conversation, with their files, as thoroughly as `delete`."""
        with self._writing("delete the messages"):
            self._delete_from(message_id)
        self._clean_up()

    def adopt(self, conversation: Conversation, messages: Sequence[StoredMessage]) -> Conversation:
        """Keeps a conversation that came from elsewhere, all of it or nothing. It and its messages get new ids.

        Their files must have been added. Partial answers are interrupted ones here: nobody is writing them.
        """
        made = Conversation(
            _new_id(),
            _clean(conversation.title),
            _clean(conversation.system),
            conversation.created_at,
            conversation.updated_at,
        )
        with self._writing("keep the conversation"):
            self._insert_conversation(made)
            for old in messages:
                status: Status = "interrupted" if old.status == "partial" else old.status
                text = _clean(old.text)
                self._insert_message(
                    StoredMessage(
                        _new_id(), made.id, old.role, text, old.attachments, status, old.created_at, old.details
                    )
                )
        return made

    # Files

    def add_file(self, path: Path, name: str, kind: str) -> Attachment:
        """Copies a file into the store. It stays until the last message that refers to it goes.

        Until the first message refers to it, it is held for this process; `release` gives it up.
        """
        with translated(f"keep the file {name}"):
            incoming = self._files.take(Path(path))
        try:
            with self._writing(f"keep the file {name}"):
                self._files.publish(incoming)
                self._database.execute(
                    "INSERT OR IGNORE INTO files VALUES (?, ?)", [incoming.digest, incoming.size_bytes]
                )
                self._database.execute("INSERT INTO holds VALUES (?, ?)", [incoming.digest, self._presence.token])
        finally:
            self._files.discard(incoming)
        return Attachment(incoming.digest, _file_name(name), kind, incoming.size_bytes)

    def file_of(self, attachment: Attachment) -> Path:
        """Where the content of `attachment` lies. Read it only: messages share it."""
        path = self._files.path(attachment.digest)
        if not path.is_file():
            raise StoreError(f"The file {attachment.name} is no longer in the data folder.", "Attach it again.")
        return path

    def release(self, attachments: Sequence[Attachment]) -> None:
        """Gives up files that were added and that no message is going to refer to."""
        with self._writing("give up files"):
            for attachment in attachments:
                self._drop_hold(attachment.digest)
        self._clean_up()

    def close(self) -> None:
        """Ends the use of the store. Partial answers of this process count as interrupted."""
        with self._lock:
            try:
                with self._writing("close its data folder"):
                    self._forget_writers("writer = ?", "holder = ?", [self._presence.token])
                self._clean_up()
            finally:
                self._database.close()
                self._presence.close()

    # Inside

    def _open(self, living: frozenset[str]) -> sqlite3.Connection:
        file = self._data_dir / DATABASE_FILE
        try:
            return open_database(file)
        except Damaged as error:
            if len(living) > 1:
                raise StoreError(
                    f"The database {file} is damaged ({error}), and another Lucid has it open.",
                    "Close the other one first.",
                ) from error
            aside = self._move_aside()
            self.notices += (
                f"The conversations were damaged ({error}); they were moved to {aside} and a new start was made.",
            )
            _log.warning(self.notices[-1])
            return open_database(file)

    def _move_aside(self) -> Path:
        stamp = time.strftime("damaged-%Y%m%d-%H%M%S")
        aside = self._data_dir / f"{stamp}-{uuid.uuid4().hex[:6]}"
        aside.mkdir(mode=0o700)
        for name in (DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm", "attachments"):
            if (self._data_dir / name).exists():
                os.replace(self._data_dir / name, aside / name)
        return aside

    def _recover(self, living: frozenset[str]) -> None:
        """Tidies up after processes that died. Others may be at work: only what is nobody's is touched."""
        holes = ", ".join("?" * len(living))
        with self._writing("tidy its data folder"):
            self._forget_writers(f"writer NOT IN ({holes})", f"holder NOT IN ({holes})", sorted(living))
            known = {digest for (digest,) in self._rows("SELECT digest FROM files")}
            for digest in set(self._files.digests()) - known:
                self._files.remove(digest)
            self._files.forget_copies_of_the_dead(living)
        self._clean_up()

    def _forget_writers(self, which_writer: str, which_holder: str, tokens: Sequence[str]) -> None:
        self._database.execute(
            f"UPDATE messages SET status = 'interrupted', writer = NULL WHERE status = 'partial' AND {which_writer}",
            tokens,
        )
        self._database.execute(f"DELETE FROM holds WHERE {which_holder}", tokens)

    def _note_deletion(self) -> None:
        self._database.execute("INSERT INTO unscrubbed VALUES (?)", [time.time()])

    def _clean_up(self) -> None:
        """Removes the files that nothing refers to any more and the last traces of what was deleted.

        Comes after the commit that made them unwanted: a crash in between leaves too much, never too little, and the
        next opening goes on from there. The write lock keeps other processes from taking up a file that is about to go.
        """
        with self._writing("delete files"):
            for (digest,) in self._rows(
                "SELECT digest FROM files f WHERE NOT EXISTS (SELECT 1 FROM attachments WHERE digest = f.digest)"
                " AND NOT EXISTS (SELECT 1 FROM holds WHERE digest = f.digest)"
            ):
                self._files.remove(digest)
                self._database.execute("DELETE FROM files WHERE digest = ?", [digest])
        with self._lock, translated("erase what was deleted"):
            if self._rows("SELECT 1 FROM unscrubbed LIMIT 1"):
                scrub(self._database)

    def _delete_from(self, message_id: str) -> None:
        rows = self._rows("SELECT conversation_id, number FROM messages WHERE id = ?", message_id)
        if not rows:
            raise _gone("message")
        self._database.execute("DELETE FROM messages WHERE conversation_id = ? AND number >= ?", rows[0])
        self._note_deletion()

    def _insert_conversation(self, made: Conversation) -> None:
        self._database.execute(
            "INSERT INTO conversations (id, title, system, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
            [made.id, made.title, made.system, made.created_at, made.updated_at],
        )

    def _insert_message(self, made: StoredMessage) -> None:
        writer = self._presence.token if made.status == "partial" else None
        number = self._database.execute(
            "INSERT INTO messages (id, conversation_id, role, text, status, created_at, details, writer)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                made.id,
                made.conversation_id,
                made.role,
                made.text,
                made.status,
                made.created_at,
                _json(made.details),
                writer,
            ],
        ).lastrowid
        for position, attachment in enumerate(made.attachments):
            if not self._rows("SELECT 1 FROM files WHERE digest = ?", attachment.digest):
                raise StoreError(f"The file {attachment.name} is no longer in the data folder.", "Attach it again.")
            self._database.execute(
                "INSERT INTO attachments VALUES (?, ?, ?, ?, ?)",
                [number, position, attachment.digest, _file_name(attachment.name), attachment.kind],
            )
            self._drop_hold(attachment.digest)

    def _drop_hold(self, digest: str) -> None:
        self._database.execute(
            "DELETE FROM holds WHERE rowid = (SELECT rowid FROM holds WHERE digest = ? AND holder = ? LIMIT 1)",
            [digest, self._presence.token],
        )

    def _change_conversation(self, id: str, column: str, value: str) -> None:
        with self._writing("change the conversation"):
            changed = self._database.execute(f"UPDATE conversations SET {column} = ? WHERE id = ?", [_clean(value), id])
            if not changed.rowcount:
                raise _gone("conversation")

    def _messages(self, condition: str, value: str) -> list[StoredMessage]:
        with self._lock:
            attached: dict[int, list[Attachment]] = {}
            for number, *rest in self._rows(
                "SELECT m.number, a.digest, a.name, a.kind, f.size_bytes FROM messages m JOIN attachments a"
                " ON a.message_number = m.number JOIN files f ON f.digest = a.digest"
                f" WHERE {condition} ORDER BY a.position",
                value,
            ):
                attached.setdefault(number, []).append(Attachment(*rest))
            rows = self._rows(f"SELECT m.number, {_MESSAGE} FROM messages m WHERE {condition} ORDER BY m.number", value)
        return [
            StoredMessage(id, of, role, text, tuple(attached.get(number, ())), status, created_at, json.loads(details))
            for number, id, of, role, text, status, created_at, details in rows
        ]

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        with self._lock, translated("read the conversations"):
            return self._database.execute(statement, values).fetchall()

    @contextmanager
    def _writing(self, doing: str) -> Iterator[None]:
        """One transaction, on the disk when the block has ended; undone when it raises."""
        with self._lock, translated(doing):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # SQLite has rolled back by itself where the disk was full
                    self._database.execute("ROLLBACK")
                raise


_CONVERSATION = "id, title, system, created_at, updated_at"
_MESSAGE = "m.id, m.conversation_id, m.role, m.text, m.status, m.created_at, m.details"


def _new_id() -> str:
    return uuid.uuid4().hex


def _clean(text: str) -> str:
    """`text` without lone surrogates (odd file names have them), which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _json(details: Mapping[str, Any]) -> str:
    return json.dumps(dict(details), ensure_ascii=True, separators=(",", ":"))


def _file_name(name: str) -> str:
    """`name` without folders and unprintable characters."""
    last = _clean(name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join(character for character in last if character.isprintable()).strip()
    return kept[:_MAX_NAME] if kept not in ("", ".", "..") else "file"


def _gone(what: str) -> StoreError:
    return StoreError(f"This {what} is not there any more.", "Reload the page, or choose another conversation.")


def _make_private(folder: Path) -> None:
    """Makes `folder` for its owner alone. One that holds things of others (--data-dir ~) keeps its permissions."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ours = {DATABASE_FILE, "settings.json", "opening.lock"}
    names = {file.name for file in folder.iterdir()}
    if not names or names & ours:
        os.chmod(folder, 0o700)
