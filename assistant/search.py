"""Search in titles and texts: what to ask SQLite, and the snippet to show."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

# Trigrams index three characters and more; shorter words (most Chinese ones) are looked for by scanning.
_TRIGRAM = 3
_SNIPPET_BEFORE = 40
_SNIPPET_AFTER = 100


@dataclass(frozen=True)
class SearchHit:
    """Where something was found. Plain text: whoever shows it escapes it.

    Attributes:
        message_id: the message, or None when the conversation's title matched.
        snippet: the text around the first match, on one line; the title when that matched.
    """

    conversation_id: str
    message_id: str | None
    title: str
    snippet: str


def search(database: sqlite3.Connection, query: str, limit: int) -> list[SearchHit]:
    """Titles, then messages, that hold every word of `query` in any order; newest first. Case does not matter."""
    words = query.replace("\0", " ").split()
    if not words:
        return []
    in_titles = database.execute(
        f"SELECT id, title FROM conversations WHERE {_all_like('title', words)} ORDER BY updated_at DESC LIMIT ?",
        [*map(_pattern, words), limit],
    ).fetchall()
    hits = [SearchHit(id, None, title, title) for id, title in in_titles]
    if len(hits) < limit:
        hits += _in_messages(database, words, limit - len(hits))
    return hits


def _in_messages(database: sqlite3.Connection, words: Sequence[str], limit: int) -> list[SearchHit]:
    long = [word for word in words if len(word) >= _TRIGRAM]
    short = [word for word in words if len(word) < _TRIGRAM]
    conditions, values = [], []
    if long:
        conditions.append("m.number IN (SELECT rowid FROM search WHERE search MATCH ?)")
        values.append(" AND ".join('"' + word.replace('"', '""') + '"' for word in long))
    if short:
        conditions.append(f"m.status <> 'partial' AND {_all_like('m.text', short)}")
        values.extend(map(_pattern, short))
    rows = database.execute(
        "SELECT m.conversation_id, m.id, c.title, m.text FROM messages m"
        " JOIN conversations c ON c.id = m.conversation_id"
        f" WHERE {' AND '.join(conditions)} ORDER BY m.number DESC LIMIT ?",
        [*values, limit],
    ).fetchall()
    return [
        SearchHit(conversation, message, title, snippet(text, words)) for conversation, message, title, text in rows
    ]


def _all_like(column: str, words: Sequence[str]) -> str:
    return " AND ".join([f"{column} LIKE ? ESCAPE '\\'"] * len(words))


def _pattern(word: str) -> str:
    return "%" + re.sub(r"([\\%_])", r"\\\1", word) + "%"


def snippet(text: str, words: Sequence[str]) -> str:
    """About 140 characters of `text` around the first of `words`, on one line."""
    found = re.search("|".join(map(re.escape, words)), text, re.IGNORECASE)
    start = max(0, (found.start() if found else 0) - _SNIPPET_BEFORE)
    end = (found.end() if found else 0) + _SNIPPET_AFTER
    cut = " ".join(text[start:end].split())
    return ("…" if start else "") + cut + ("…" if end < len(text) else "")
