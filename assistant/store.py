"""Conversations on the disk: SQLite for the words, content-addressed files for what was attached.

What a method has returned is kept, whatever happens to the process afterwards. Several threads may use one store, and
several processes one data folder (the page and the command line).
"""

from __future__ import annotations

import dataclasses
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assistant import tables
from assistant.attachments import AttachmentFolder
from assistant.presence import Presence, exclusive
from assistant.records import Attachment, Conversation, Status, StoredMessage, clean_name, clean_text, new_id
from assistant.schema import Damaged, open_database, scrub, translated
from assistant.search import SearchHit, search
from models.errors import StoreError
from models.types import Role

__all__ = ["Attachment", "Conversation", "ConversationStore", "SearchHit", "Status", "StoredMessage"]

DATABASE_FILE = "lucid.db"
# Rewriting takes about 25 ms a megabyte; an answer that replaces another one should not wait longer than that for it.
SCRUB_SOON_BYTES = 10 << 20

_log = logging.getLogger(__name__)


class ConversationStore:
    """The conversations below `data_dir`, which is made private to its owner.

    Opening also tidies up after processes that died: their partial answers become "interrupted", files that no message
    refers to go. A damaged database is moved into `data_dir/damaged-…` with its attachments, and `notices` says so.

    Raises:
        StoreError: from every method, when the disk is full or read-only, or what is asked for is not there (any more).
    """

    def __init__(self, data_dir: Path) -> None:
        self._lock = threading.RLock()
        self.data_dir = Path(data_dir)
        self.notices: tuple[str, ...] = ()
        with translated(f"open its data folder {self.data_dir}"):
            _make_private(self.data_dir)
            with exclusive(self.data_dir / "opening.lock"):
                self._presence = Presence(self.data_dir / "open")
                try:
                    living = self._presence.living()
                    self._database = self._open(living)
                    self._files = AttachmentFolder(self.data_dir / "attachments", self._presence.token)
                    self._recover(living)
                except BaseException:
                    self._presence.close()
                    raise

    # Conversations

    def create(self, title: str = "", system: str = "") -> Conversation:
        """A new conversation without messages."""
        now = time.time()
        made = Conversation(new_id(), clean_text(title), clean_text(system), now, now)
        with self._writing("begin a conversation") as database:
            tables.insert_conversation(database, made)
        return made

    def conversations(self) -> list[Conversation]:
        """All of them, the most recently used first."""
        with self._reading() as database:
            return tables.all_conversations(database)

    def conversation(self, id: str) -> Conversation:
        """The conversation of that id."""
        with self._reading() as database:
            return tables.one_conversation(database, id)

    def search(self, query: str, limit: int = 50) -> list[SearchHit]:
        """Titles, then texts, that hold every word of `query`; newest first."""
        with self._reading() as database:
            return search(database, clean_text(query), limit)

    def rename(self, id: str, title: str) -> None:
        """Gives a conversation another title."""
        with self._writing("rename the conversation") as database:
            tables.change_conversation(database, id, "title", clean_text(title))

    def set_system(self, id: str, system: str) -> None:
        """Gives a conversation another system prompt."""
        with self._writing("change the conversation") as database:
            tables.change_conversation(database, id, "system", clean_text(system))

    def delete(self, id: str) -> None:
        """Deletes a conversation with its messages and files, leaving no trace of them in any file."""
        with self._writing("delete the conversation") as database:
            tables.delete_conversation(database, id)
        self._clean_up()

    # Messages

    def messages(self, conversation_id: str) -> list[StoredMessage]:
        """The messages of a conversation, oldest first."""
        with self._reading() as database:
            tables.one_conversation(database, conversation_id)
            return tables.messages_where(database, "conversation_id", conversation_id)

    def message(self, id: str) -> StoredMessage:
        """The message of that id."""
        with self._reading() as database:
            return tables.one_message(database, id)

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
            id=new_id(),
            conversation_id=conversation_id,
            role=role,
            text=clean_text(text),
            attachments=tuple(dataclasses.replace(one, name=clean_name(one.name)) for one in attachments),
            status=status,
            created_at=time.time(),
            details=dict(details or {}),
        )
        with self._writing("keep the message") as database:
            tables.change_conversation(database, conversation_id, "updated_at", made.created_at)
            if replaces is not None:
                tables.delete_messages_from(database, replaces)
            tables.insert_message(database, made, self._presence.token)
        if replaces is not None:
            try:
                self._clean_up(at_once=False)
            except StoreError as error:  # the message is kept all the same; the next opening erases the rest
                _log.warning("%s", error)
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
        with self._writing("keep the answer") as database:
            old = tables.one_message(database, message_id)
            new = dataclasses.replace(
                old,
                text=old.text if text is None else clean_text(text),
                status=old.status if status is None else status,
                details=old.details if details is None else dict(details),
            )
            tables.rewrite_message(database, new, self._presence.token)
        return new

    def truncate_from(self, message_id: str) -> None:
        """Deletes a message and all later ones of its conversation, with their files, as thoroughly as `delete`."""
        with self._writing("delete the messages") as database:
            tables.delete_messages_from(database, message_id)
        self._clean_up()

    def adopt(self, conversation: Conversation, messages: Sequence[StoredMessage]) -> Conversation:
        """Keeps a conversation that came from elsewhere, all of it or nothing. It and its messages get new ids.

        Their files must have been added. Partial answers are interrupted ones here: nobody is writing them.
        """
        title, system = clean_text(conversation.title), clean_text(conversation.system)
        made = dataclasses.replace(conversation, id=new_id(), title=title, system=system)
        with self._writing("keep the conversation") as database:
            tables.insert_conversation(database, made)
            for old in messages:
                status: Status = "interrupted" if old.status == "partial" else old.status
                new = dataclasses.replace(
                    old, id=new_id(), conversation_id=made.id, text=clean_text(old.text), status=status
                )
                tables.insert_message(database, new, self._presence.token)
        return made

    # Files

    def add_file(self, path: Path, name: str, kind: str) -> Attachment:
        """Copies a file into the store. It stays until the last message that refers to it goes.

        Until the first message refers to it, it is held for this process; `release` gives it up.
        """
        doing = f"keep the file {clean_name(name)}"
        with translated(doing):
            incoming = self._files.take(Path(path))
        try:
            with self._writing(doing) as database:
                self._files.publish(incoming)
                tables.hold_file(database, incoming.digest, incoming.size_bytes, self._presence.token)
        finally:
            self._files.discard(incoming)
        return Attachment(incoming.digest, clean_name(name), kind, incoming.size_bytes)

    def file_of(self, attachment: Attachment) -> Path:
        """Where the content of `attachment` lies. Read it only: messages share it."""
        try:
            path = self._files.path(attachment.digest)
        except ValueError as error:
            raise tables.gone("file") from error
        if not path.is_file():
            raise StoreError(f"The file {attachment.name} is no longer in the data folder.", "Attach it again.")
        return path

    def release(self, attachments: Sequence[Attachment]) -> None:
        """Gives up files that were added and that no message is going to refer to."""
        with self._writing("give up files") as database:
            for attachment in attachments:
                tables.drop_hold(database, attachment.digest, self._presence.token)
        self._clean_up()

    def close(self) -> None:
        """Ends the use of the store. Partial answers of this process count as interrupted. Twice does no harm."""
        with self._lock:
            if self._presence.closed:
                return
            try:
                with self._writing("close its data folder") as database:
                    tables.end_writers(database, "= ?", [self._presence.token])
                self._clean_up()
            finally:
                self._database.close()
                self._presence.close()

    # Inside

    def _open(self, living: frozenset[str]) -> sqlite3.Connection:
        file = self.data_dir / DATABASE_FILE
        try:
            return open_database(file)
        except Damaged as error:
            if len(living) > 1:
                raise StoreError(
                    f"The database {file} is damaged ({error}), and another Lucid has it open.",
                    "Close the other first.",
                ) from error
            aside = self._move_aside()
            notice = f"The conversations were damaged ({error}). They were moved to {aside}, and Lucid started anew."
            self.notices = (*self.notices, notice)
            _log.warning("%s", notice)
            return open_database(file)

    def _move_aside(self) -> Path:
        aside = self.data_dir / f"{time.strftime('damaged-%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        aside.mkdir(mode=0o700)
        for name in (DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm", "attachments"):
            if (self.data_dir / name).exists():
                os.replace(self.data_dir / name, aside / name)
        return aside

    def _recover(self, living: frozenset[str]) -> None:
        """Tidies up after processes that died. Others may be at work: only what is nobody's is touched."""
        with self._writing("tidy its data folder") as database:
            tables.end_writers(database, f"NOT IN ({', '.join('?' * len(living))})", sorted(living))
            known = {digest for (digest,) in database.execute("SELECT digest FROM files")}
            for digest in set(self._files.digests()) - known:
                self._files.remove(digest)
            self._files.forget_copies_of_the_dead(living)
        self._clean_up()

    def _clean_up(self, at_once: bool = True) -> None:
        """Removes the files that nothing refers to any more and the last traces of what was deleted.

        Comes after the commit that made them unwanted: a crash in between leaves too much, never too little, and the
        next opening goes on from there. The write lock keeps other processes from taking up a file that is about to go.

        Unless it has to be `at_once`, a large database is not rewritten now but at the next deletion or closing.
        """
        with self._writing("delete files") as database:
            for digest in tables.unused_files(database):
                self._files.remove(digest)
                database.execute("DELETE FROM files WHERE digest = ?", [digest])
        with self._lock, translated("erase what was deleted"):
            pending = self._database.execute("SELECT 1 FROM unscrubbed LIMIT 1").fetchone()
            if pending and (at_once or (self.data_dir / DATABASE_FILE).stat().st_size <= SCRUB_SOON_BYTES):
                scrub(self._database)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, translated("read the conversations"):
            yield self._database

    @contextmanager
    def _writing(self, doing: str) -> Iterator[sqlite3.Connection]:
        """One transaction, on the disk when the block has ended; undone when it raises."""
        with self._lock, translated(doing):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # SQLite has rolled back by itself where the disk was full
                    self._database.execute("ROLLBACK")
                raise


def _make_private(folder: Path) -> None:
    """Makes `folder` for its owner alone. One that holds things of others (--data-dir ~) keeps its permissions."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ours = {DATABASE_FILE, "settings.json", "opening.lock"}
    names = {file.name for file in folder.iterdir()}
    if not names or names & ours:
        os.chmod(folder, 0o700)
