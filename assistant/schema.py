"""The database's tables, how they came to be (migrations), and how a connection to them is opened."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import StoreError

# Milliseconds that a write waits for another Lucid process (a command line beside the page) to finish its own.
BUSY_MS = 10_000

# Script i brings a database from version i to i + 1. Never edit one that was released: append another.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE conversations (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        system TEXT NOT NULL,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL
    );
    CREATE INDEX conversations_by_time ON conversations(updated_at);

    CREATE TABLE messages (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        conversation_id TEXT NOT NULL REFERENCES conversations(id) ON DELETE CASCADE,
        role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant')),
        text TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('complete', 'partial', 'interrupted', 'stopped', 'failed')),
        created_at REAL NOT NULL,
        details TEXT NOT NULL,
        writer TEXT                       -- the process that is writing a partial answer, see presence.py
    );
    CREATE INDEX messages_by_conversation ON messages(conversation_id, number);
    CREATE INDEX messages_partial ON messages(writer) WHERE status = 'partial';

    CREATE TABLE files (
        digest TEXT PRIMARY KEY,
        size_bytes INTEGER NOT NULL
    );
    CREATE TABLE attachments (
        message_number INTEGER NOT NULL REFERENCES messages(number) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        digest TEXT NOT NULL REFERENCES files(digest),
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        PRIMARY KEY (message_number, position)
    );
    CREATE INDEX attachments_by_digest ON attachments(digest);
    -- Files that a process has added and no message refers to yet.
    CREATE TABLE holds (
        digest TEXT NOT NULL REFERENCES files(digest),
        holder TEXT NOT NULL
    );
    CREATE INDEX holds_by_digest ON holds(digest);

    -- An answer enters the search index when it is finished, so that checkpoints of its text stay cheap.
    CREATE VIEW searchable AS SELECT number, text FROM messages WHERE status <> 'partial';
    CREATE VIRTUAL TABLE search USING fts5(text, content='searchable', content_rowid='number', tokenize='trigram');
    CREATE TRIGGER message_added AFTER INSERT ON messages WHEN new.status <> 'partial' BEGIN
        INSERT INTO search(rowid, text) VALUES (new.number, new.text);
    END;
    CREATE TRIGGER message_removed AFTER DELETE ON messages WHEN old.status <> 'partial' BEGIN
        INSERT INTO search(search, rowid, text) VALUES ('delete', old.number, old.text);
    END;
    CREATE TRIGGER message_changed AFTER UPDATE OF text, status ON messages BEGIN
        INSERT INTO search(search, rowid, text) SELECT 'delete', old.number, old.text WHERE old.status <> 'partial';
        INSERT INTO search(rowid, text) SELECT new.number, new.text WHERE new.status <> 'partial';
    END;
    -- Holds a row from the moment something is deleted until `scrub` has removed its last traces.
    CREATE TABLE unscrubbed (since REAL NOT NULL);
    """,
)


class Damaged(Exception):
    """The file is no sound database."""


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turns what SQLite and the file system raise into a `StoreError` that tells the owner what to do."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"Lucid could not {doing}: {_reason(error)}.", _remedy(error)) from error


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _remedy(error: Exception) -> str:
    text = str(error).lower()
    if "full" in text or "no space" in text or "quota" in text or "too large" in text:
        return "Free some disk space and try again."
    if "readonly" in text or "read-only" in text or "permission" in text or "unable to open" in text:
        return "Make the data folder writable, or choose another with --data-dir."
    if "locked" in text or "busy" in text:
        return "Another Lucid is writing; try again in a moment."
    if "malformed" in text or "not a database" in text:
        return "Start Lucid again: it moves the damaged database aside and begins a new one."
    return ""


def open_database(file: Path) -> sqlite3.Connection:
    """A connection in autocommit mode whose commits are on the disk when they return; the newest schema.

    Raises:
        Damaged: when the file is not a sound database.
        StoreError: when it was written by a newer Lucid, or this Python's SQLite is too old for it.
        sqlite3.Error, OSError: when it cannot be opened or written.
    """
    # Made here rather than by SQLite, so that it is never readable to others; -wal and -shm take its permissions.
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    os.chmod(file, 0o600)
    database = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    try:
        _configure(database)
        _migrate(database)
    except BaseException:
        database.close()
        raise
    return database


def _configure(database: sqlite3.Connection) -> None:
    try:
        database.execute("PRAGMA journal_mode = WAL").fetchall()
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("PRAGMA secure_delete = ON").fetchall()
        database.execute("PRAGMA temp_store = MEMORY")  # or VACUUM writes all conversations to /tmp on its way
        findings = [row[0] for row in database.execute("PRAGMA quick_check(1)")]
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise Damaged(str(error)) from error
        raise
    if findings != ["ok"]:
        raise Damaged("; ".join(findings))


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file itself is broken (and not: locked, full, read-only)."""
    text = str(error).lower()
    return "not a database" in text or "malformed" in text


def _migrate(database: sqlite3.Connection) -> None:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StoreError(
            f"The conversations were written by a newer Lucid (schema {version}; this one knows {len(MIGRATIONS)}).",
            "Update Lucid, or choose another folder with --data-dir.",
        )
    for number in range(version, len(MIGRATIONS)):
        try:
            # executescript commits what is open before it starts, so the transaction is part of the script.
            database.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;")
        except sqlite3.OperationalError as error:
            if database.in_transaction:
                database.execute("ROLLBACK")
            if "no such module: fts5" in str(error) or "no such tokenizer" in str(error):
                raise StoreError(
                    f"This Python's SQLite {sqlite3.sqlite_version} lacks full-text search (FTS5 with trigrams).",
                    "Use a Python with SQLite 3.34 or newer.",
                ) from error
            raise


def scrub(database: sqlite3.Connection) -> None:
    """Makes sure that nothing deleted is left in the files: index, pages and write-ahead log.

    `secure_delete` overwrites what it frees, but not what SQLite left behind in a page when it moved rows to another
    (1 of 30 random histories showed such a piece), hence the rewriting of the whole file.
    """
    database.execute("INSERT INTO search(search) VALUES ('optimize')")  # merges the index, which drops what was deleted
    database.execute("DELETE FROM unscrubbed")
    database.execute("VACUUM")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
