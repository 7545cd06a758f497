"""Kills a writing process at random moments and looks whether anything that it had acknowledged is lost.

    python -m benchmarks.kill --kills 200

A child works on a store without pause (messages, attachments, checkpoints of partial answers, replacements, deletions)
and prints a line, flushed, before each operation (what it is about to do) and after it (done). It is ended with SIGKILL
after a random time. Then the store is opened again, as the next start would, and compared with what was acknowledged;
the one operation that was under way may have happened or not, but not by half. The child after it goes on with the same
store.

Killing a process shows that nothing is kept in the process alone. It does not show what a power cut does: that rests on
`synchronous=FULL` and on fsync.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assistant.store import DATABASE_FILE, ConversationStore

_CONVERSATIONS = 4
_MAX_MESSAGES = 30

Row = tuple[str, str, tuple[str, ...]]  # text, status, digests of the files
Kept = dict[str, dict[str, Row]]


@dataclass
class Expected:
    """What the child has acknowledged: conversation → its messages in order, by id."""

    conversations: Kept = field(default_factory=dict)

    def apply(self, operation: dict[str, Any]) -> None:
        of = operation["conversation"]
        if operation["do"] == "create":
            self.conversations[of] = {}
        elif operation["do"] == "delete":
            self.conversations.pop(of, None)
        else:
            messages = self.conversations[of]
            if operation.get("replaces") in messages:
                order = list(messages)
                for id in order[order.index(operation["replaces"]) :]:
                    del messages[id]
            if operation["do"] != "truncate":
                row = (operation["text"], operation["status"], tuple(operation["digests"]))
                messages[operation["message"]] = row


@dataclass(frozen=True)
class Report:
    """What came of it; everything but the counts of work done should be 0."""

    kills: int
    acknowledged: int
    interrupted_operations: int
    interrupted_answers: int
    lost: int
    damaged: int
    orphans: int
    slowest_opening_s: float


def work(data_dir: Path, seed: int) -> None:
    """The child: works until it is killed."""
    chance = random.Random(seed)
    store = ConversationStore(data_dir)
    scratch = data_dir.parent / "attachment.bin"
    while True:
        conversations = store.conversations()
        of = chance.choice(conversations).id if conversations else ""
        messages = store.messages(of) if of else []
        if len(conversations) < _CONVERSATIONS:
            _say("intend", do="create", conversation="")
            _say("done", do="create", conversation=store.create("Kill test").id)
        elif chance.random() < 0.02:
            _say("intend", do="delete", conversation=of)
            store.delete(of)
            _say("done", do="delete", conversation=of)
        elif messages and (len(messages) > _MAX_MESSAGES or chance.random() < 0.05):
            first = chance.choice(messages).id
            _say("intend", do="truncate", conversation=of, replaces=first)
            store.truncate_from(first)
            _say("done", do="truncate", conversation=of, replaces=first)
        else:
            _one_turn(store, of, [message.id for message in messages], scratch, chance)


def _one_turn(store: ConversationStore, of: str, ids: list[str], scratch: Path, chance: random.Random) -> None:
    """A question, sometimes with a file or in the place of an earlier one, and its answer in checkpoints."""
    attachments = []
    if chance.random() < 0.4:
        scratch.write_bytes(chance.randbytes(chance.choice([10, 5_000, 300_000])))
        attachments = [store.add_file(scratch, "picture.png", "image")]
    question = {
        "conversation": of,
        "text": _words(chance, 30),
        "status": "complete",
        "digests": [one.digest for one in attachments],
        "replaces": chance.choice(ids) if ids and chance.random() < 0.1 else None,
    }
    _say("intend", do="append", **question)
    kept = store.append(of, "user", question["text"], attachments, replaces=question["replaces"])  # type: ignore[arg-type]
    _say("done", do="append", message=kept.id, **question)

    answer = {"conversation": of, "text": "", "status": "partial", "digests": []}
    _say("intend", do="append", **answer)
    message = store.append(of, "assistant", "", status="partial").id
    _say("done", do="append", message=message, **answer)
    for step in range(5):
        answer["text"] = f"{answer['text']} {_words(chance, 20)}"
        answer["status"] = "complete" if step == 4 else "partial"
        _say("intend", do="update", message=message, **answer)
        store.update(message, text=answer["text"], status=answer["status"])  # type: ignore[arg-type]
        _say("done", do="update", message=message, **answer)


def _words(chance: random.Random, count: int) -> str:
    return " ".join(f"{chance.getrandbits(32):08x}" for _ in range(count))


def _say(stage: str, **operation: Any) -> None:
    sys.stdout.write(json.dumps({"stage": stage, **operation}) + "\n")
    sys.stdout.flush()


def run(kills: int, seed: int, longest_s: float = 0.4) -> Report:
    """Kills `kills` children, each at most `longest_s` seconds after its first word."""
    chance = random.Random(seed)
    expected = Expected()
    totals = dict.fromkeys(
        ("acknowledged", "interrupted_operations", "interrupted_answers", "lost", "damaged", "orphans"), 0
    )
    slowest = 0.0
    with tempfile.TemporaryDirectory(prefix="lucid-kill-") as folder:
        data_dir = Path(folder) / "data"
        for _ in range(kills):
            lines = _killed_child(data_dir, chance, longest_s)
            pending = None
            for line in lines:
                operation = json.loads(line)
                pending = operation if operation["stage"] == "intend" else None
                if pending is None:
                    expected.apply(operation)
                    totals["acknowledged"] += 1
            totals["interrupted_operations"] += pending is not None
            begun = time.perf_counter()
            store = ConversationStore(data_dir)
            slowest = max(slowest, time.perf_counter() - begun)
            totals["interrupted_answers"] += _compare(store, expected, pending, totals)
            store.close()
            totals["damaged"] += _integrity(data_dir / DATABASE_FILE)
    return Report(kills=kills, slowest_opening_s=round(slowest, 3), **totals)


def _killed_child(data_dir: Path, chance: random.Random, longest_s: float) -> list[str]:
    """What the child had said, in whole lines, when it was killed: at work, or (one in five) while it opened."""
    command = [sys.executable, "-m", "benchmarks.kill", "--work", str(data_dir), "--seed", str(chance.getrandbits(32))]
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as child:
        assert child.stdout is not None
        first = "" if chance.random() < 0.2 else child.stdout.readline()
        timer = threading.Timer(chance.uniform(0, longest_s), child.kill)  # SIGKILL
        timer.start()
        rest = child.stdout.read()
        timer.join()
    if child.returncode != (1 if os.name == "nt" else -signal.SIGKILL):
        raise RuntimeError(f"the child ended by itself with {child.returncode}")
    return [line for line in (first + rest).split("\n")[:-1] if line]


def _compare(
    store: ConversationStore, expected: Expected, pending: dict[str, Any] | None, totals: dict[str, int]
) -> int:
    """Counts what differs, takes over how the `pending` operation ended, and returns how many answers were cut off."""
    interrupted = 0
    found: Kept = {}
    wanted_files = set()
    for conversation in store.conversations():
        found[conversation.id] = {}
        for message in store.messages(conversation.id):
            interrupted += message.status == "interrupted"
            digests = tuple(one.digest for one in message.attachments)
            found[conversation.id][message.id] = (message.text, message.status, digests)
            for one in message.attachments:
                path = store.file_of(one)
                wanted_files.add(path)
                totals["damaged"] += hashlib.sha256(path.read_bytes()).hexdigest() != one.digest
    totals["orphans"] += len(set(_files_below(store)) - wanted_files)
    before, after = _interrupted(expected), None
    if pending is not None:
        after = _after(expected, pending, found)
    if found not in (before, after):
        totals["lost"] += 1
    new = interrupted - sum(
        row[1] == "interrupted" for rows in expected.conversations.values() for row in rows.values()
    )
    expected.conversations = {of: dict(rows) for of, rows in found.items()}
    return max(0, new)


def _interrupted(expected: Expected) -> Kept:
    """What is expected once every partial answer is marked as interrupted."""
    return {
        of: {
            id: (text, "interrupted" if status == "partial" else status, files)
            for id, (text, status, files) in rows.items()
        }
        for of, rows in expected.conversations.items()
    }


def _after(expected: Expected, pending: dict[str, Any], found: dict[str, Any]) -> Kept:
    """What is expected if the pending operation happened. An id that it did not live to tell is taken from `found`."""
    trial = Expected({of: dict(rows) for of, rows in expected.conversations.items()})
    operation = dict(pending)
    if operation["do"] == "create":
        operation["conversation"] = next(iter(set(found) - set(trial.conversations)), "none")
    elif operation["do"] == "append":
        new = set(found.get(operation["conversation"], ())) - set(trial.conversations[operation["conversation"]])
        operation["message"] = next(iter(new), "none")
    trial.apply(operation)
    return _interrupted(trial)


def _files_below(store: ConversationStore) -> list[Path]:
    folder = store.data_dir / "attachments"
    return [path for path in folder.rglob("*") if path.is_file()]


def _integrity(file: Path) -> int:
    database = sqlite3.connect(file)
    try:
        sound = database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        # Raises if the search index does not agree with the messages.
        database.execute("INSERT INTO search(search, rank) VALUES ('integrity-check', 1)")
        return int(not sound or bool(database.execute("PRAGMA foreign_key_check").fetchall()))
    except sqlite3.DatabaseError:
        return 1
    finally:
        database.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:  # ends by being killed
        work(given.work, given.seed)
    report = run(given.kills, given.seed)
    sys.stdout.write(json.dumps(vars(report), indent=2) + "\n")
    return 1 if report.lost or report.damaged or report.orphans else 0


if __name__ == "__main__":
    sys.exit(main())
