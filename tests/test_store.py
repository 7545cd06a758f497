"""Conversations are kept, found again, and really gone when they are deleted."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from assistant import schema
from assistant.store import Attachment, ConversationStore
from models.errors import StoreError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def store(tmp_path: Path):
    opened = ConversationStore(tmp_path / "data")
    yield opened
    opened.close()


def raw_bytes(data_dir: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(data_dir.glob("lucid.db*")))


def test_what_was_appended_is_there_after_a_restart(tmp_path: Path) -> None:
    first = ConversationStore(tmp_path)
    of = first.create("Holidays", system="Be brief.")
    asked = first.append(of.id, "user", "Where?\n你好 \0 ü", details={"transcripts": [{"text": "Where?"}]})
    answered = first.append(of.id, "assistant", "There.", status="stopped")
    first.close()
    second = ConversationStore(tmp_path)
    assert second.messages(of.id) == [asked, answered]
    assert second.conversation(of.id).system == "Be brief."
    assert second.message(asked.id) == asked
    second.close()


def test_conversations_come_most_recently_used_first(store: ConversationStore) -> None:
    old, new = store.create("old"), store.create("new")
    assert [one.title for one in store.conversations()] == ["new", "old"]
    store.append(old.id, "user", "again")
    assert [one.id for one in store.conversations()] == [old.id, new.id]
    store.rename(new.id, "renamed")
    store.set_system(new.id, "persona")
    assert (store.conversation(new.id).title, store.conversation(new.id).system) == ("renamed", "persona")


def test_update_replaces_only_what_is_given(store: ConversationStore) -> None:
    of = store.create().id
    message = store.append(of, "assistant", "so far", status="partial", details={"model": "m"})
    store.update(message.id, text="so far so good")
    now = store.update(message.id, status="complete")
    assert now == store.message(message.id)
    assert (now.text, now.status, now.details) == ("so far so good", "complete", {"model": "m"})


def test_truncate_and_replace_take_the_later_messages_with_them(store: ConversationStore) -> None:
    of, other = store.create().id, store.create().id
    texts = [store.append(of, "user", str(number)) for number in range(5)]
    store.append(other, "user", "stays")
    store.truncate_from(texts[3].id)
    assert [one.text for one in store.messages(of)] == ["0", "1", "2"]
    store.append(of, "user", "instead", replaces=texts[1].id)
    assert [one.text for one in store.messages(of)] == ["0", "instead"]
    assert len(store.messages(other)) == 1


def test_a_failed_replacement_leaves_the_old_message(store: ConversationStore) -> None:
    of = store.create().id
    old = store.append(of, "user", "old")
    missing = Attachment("0" * 64, "a.png", "image", 1)
    with pytest.raises(StoreError, match=r"a\.png"):
        store.append(of, "user", "new", [missing], replaces=old.id)
    assert store.messages(of) == [old]


@pytest.mark.parametrize("what", ["conversation", "messages", "delete", "message", "update", "truncate_from"])
def test_what_is_gone_is_refused_in_a_sentence(store: ConversationStore, what: str) -> None:
    with pytest.raises(StoreError, match="not there any more"):
        getattr(store, what)("nothing")
    with pytest.raises(StoreError, match="conversation"):
        store.append("nothing", "user", "x")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("elephant", ["b"]),
        ("ELEPH", ["b"]),
        ("grey elephant", ["b"]),
        ("elephant pink", []),
        ("ÜBER", ["b"]),
        ("天气", ["a"]),
        ("今天天气", ["a"]),
        ("气", ["a"]),
        ("100%", ["a"]),
        ("0%x", []),
        ("_", []),
        ('"quoted" OR', ["b"]),
        ("", []),
        ("  ", []),
        ("NEAR(", []),
    ],
)
def test_search_in_texts(store: ConversationStore, query: str, found: list[str]) -> None:
    of = store.create("titled").id
    ids = {
        store.append(of, "user", "今天天气怎么样? 100% sure").id: "a",
        store.append(of, "assistant", 'A grey elephant, über all; "quoted" ORder').id: "b",
    }
    hits = store.search(query)
    assert [ids[hit.message_id] for hit in hits if hit.message_id] == found
    assert all(hit.conversation_id == of and hit.title == "titled" for hit in hits)


def test_search_in_titles_and_snippets(store: ConversationStore) -> None:
    of = store.create("Trip to 上海").id
    store.append(of, "user", "word " * 100 + "\nneedle\n" + "<b>tail</b> " * 100)
    (title,) = store.search("上海")
    assert (title.message_id, title.snippet) == (None, "Trip to 上海")
    (hit,) = store.search("needle")
    assert "needle <b>tail</b>" in hit.snippet
    assert hit.snippet.startswith("…")
    assert hit.snippet.endswith("…")
    assert len(hit.snippet) < 160


def test_search_follows_changes(store: ConversationStore) -> None:
    of = store.create().id
    message = store.append(of, "assistant", "walrus", status="partial")
    assert store.search("walrus") == []  # not finished yet
    store.update(message.id, text="walrus and seal", status="complete")
    assert len(store.search("walrus")) == 1
    store.update(message.id, text="only the seal")
    assert store.search("walrus") == []
    assert len(store.search("seal")) == 1
    store.truncate_from(message.id)
    assert store.search("seal") == []


def test_deleted_texts_are_in_no_file(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path)
    secret = "the-very-secret-words " * 300
    of = store.create("secret-title").id
    kept = store.create("kept-title").id
    ids = [store.append(of, "user", f"{secret} {number}").id for number in range(20)]
    store.append(kept, "user", "kept-words")
    assert b"very-secret" in raw_bytes(tmp_path)
    store.truncate_from(ids[10])
    assert b"secret-words  19" not in raw_bytes(tmp_path)
    assert b"secret-words  9" in raw_bytes(tmp_path)
    store.delete(of)
    left = raw_bytes(tmp_path)
    assert b"secret" not in left
    assert b"kept-words" in left
    assert b"kept-title" in left
    rows = store._database.execute("SELECT count(*) FROM search WHERE search MATCH 'secret'").fetchone()
    assert rows == (0,)
    store.close()


def test_everything_is_private(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path / "new" / "data")
    file = tmp_path / "picture.png"
    file.write_bytes(b"x")
    store.append(store.create().id, "user", "", [store.add_file(file, "a.png", "image")])
    for path in [store.data_dir, *store.data_dir.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    store.close()


def test_a_folder_of_others_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "something.txt").write_text("not ours")
    tmp_path.chmod(0o755)
    ConversationStore(tmp_path).close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "lucid.db").stat().st_mode) == 0o600


def test_partial_answers_of_the_dead_are_interrupted_and_of_the_living_not(tmp_path: Path) -> None:
    page = ConversationStore(tmp_path)
    of = page.create().id
    writing = page.append(of, "assistant", "still", status="partial")
    script = (
        "import sys, os; from pathlib import Path; from assistant.store import ConversationStore\n"
        "s = ConversationStore(Path(sys.argv[1])); s.append(sys.argv[2], 'assistant', 'cut', status='partial')\n"
        "os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path), of], cwd=ROOT, check=False, timeout=60)
    other = ConversationStore(tmp_path)
    assert [one.status for one in other.messages(of)] == ["partial", "interrupted"]
    assert page.update(writing.id, text="still here", status="complete").status == "complete"
    unfinished = page.append(of, "assistant", "left", status="partial")
    page.close()
    assert other.message(unfinished.id).status == "interrupted"
    other.close()


def test_threads_and_a_second_store_write_together(tmp_path: Path) -> None:
    stores = [ConversationStore(tmp_path), ConversationStore(tmp_path)]
    of = stores[0].create().id
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for step in range(20):
                stores[number % 2].append(of, "user", f"{number}:{step}")
                stores[number % 2].messages(of)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    texts = [one.text for one in stores[0].messages(of)]
    assert sorted(texts) == sorted(f"{number}:{step}" for number in range(6) for step in range(20))
    for number in range(6):  # each thread's own messages stay in order
        assert [text for text in texts if text.startswith(f"{number}:")] == [f"{number}:{step}" for step in range(20)]
    for one in stores:
        one.close()


@pytest.mark.parametrize("where", ["header", "middle"])
def test_a_damaged_database_is_moved_aside_with_its_files(tmp_path: Path, where: str) -> None:
    store = ConversationStore(tmp_path)
    file = tmp_path / "picture.png"
    file.write_bytes(b"picture")
    store.append(store.create().id, "user", "text " * 5000, [store.add_file(file, "a.png", "image")])
    store.close()
    database = tmp_path / "lucid.db"
    raw = bytearray(database.read_bytes())
    place = 0 if where == "header" else 4096
    raw[place : place + 4096] = b"\xa5" * 4096
    database.write_bytes(raw)

    again = ConversationStore(tmp_path)
    assert again.conversations() == []
    (aside,) = tmp_path.glob("damaged-*")
    assert len(again.notices) == 1
    assert str(aside) in again.notices[0]
    assert (aside / "lucid.db").read_bytes() == bytes(raw)
    assert [path.read_bytes() for path in (aside / "attachments").rglob("*") if path.is_file()] == [b"picture"]
    again.append(again.create().id, "user", "goes on")
    again.close()
    third = ConversationStore(tmp_path)
    assert third.notices == ()
    assert len(third.conversations()) == 1
    third.close()


def test_a_full_disk_is_said_and_nothing_is_lost(store: ConversationStore) -> None:
    of = store.create().id
    kept = store.append(of, "user", "kept")
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StoreError, match="full") as refused:
        store.append(of, "user", "too much " * 100_000)
    assert "Free some disk space" in refused.value.remedy
    assert store.messages(of) == [kept]
    store._database.execute("PRAGMA max_page_count = 1073741823")
    store.append(of, "user", "room again")


def test_a_read_only_database_is_said(store: ConversationStore) -> None:
    of = store.create().id
    store._database.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="readonly") as refused:
        store.append(of, "user", "x")
    assert "--data-dir" in refused.value.remedy
    store._database.execute("PRAGMA query_only = OFF")


def test_a_data_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="data folder"):
        ConversationStore(tmp_path / "file")


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    ConversationStore(tmp_path).close()
    with sqlite3.connect(tmp_path / "lucid.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreError, match="newer Lucid"):
        ConversationStore(tmp_path)
    assert not list(tmp_path.glob("damaged-*"))


def test_an_older_schema_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ConversationStore(tmp_path)
    of = store.create("old").id
    store.close()
    script = "ALTER TABLE conversations ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, script))
    store = ConversationStore(tmp_path)
    assert store.conversation(of).title == "old"
    assert store._database.execute("SELECT pinned FROM conversations").fetchall() == [(0,)]
    store.close()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE fine (x); CREATE nonsense;"))
    with pytest.raises(StoreError):
        ConversationStore(tmp_path)
    with sqlite3.connect(tmp_path / "lucid.db") as database:
        assert database.execute("SELECT name FROM sqlite_master WHERE name = 'fine'").fetchall() == []
        assert database.execute("PRAGMA user_version").fetchone() == (2,)
    database.close()


def test_lone_surrogates_do_not_break_the_store(store: ConversationStore) -> None:
    of = store.create("bad \udcff name").id
    assert store.append(of, "user", "a\ud800b").text == "a?b"
    assert store.search("\udcff") is not None


def test_a_closed_store_refuses_and_closes_twice(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path)
    store.close()
    store.close()
    with pytest.raises(StoreError):
        store.conversations()
    assert list((tmp_path / "open").iterdir()) == []
