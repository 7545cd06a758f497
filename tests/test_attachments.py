"""Attached files: kept once, as long as a message refers to them, and no longer."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from assistant.attachments import AttachmentFolder
from assistant.store import Attachment, ConversationStore
from models.errors import StoreError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def store(tmp_path: Path):
    opened = ConversationStore(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "picture.png"
    file.write_bytes(b"picture" * 1000)
    return file


def kept_files(store: ConversationStore) -> list[Path]:
    return sorted(path for path in (store.data_dir / "attachments").rglob("*") if path.is_file())


def test_a_file_is_named_after_its_content_and_kept_once(store: ConversationStore, picture: Path) -> None:
    first = store.add_file(picture, "/somewhere/ada/../Täst 图.png", "image")
    second = store.add_file(picture, "copy.png", "image")
    digest = hashlib.sha256(picture.read_bytes()).hexdigest()
    assert first == Attachment(digest, "Täst 图.png", "image", 7000)
    assert (second.digest, second.name) == (digest, "copy.png")
    assert kept_files(store) == [store.data_dir / "attachments" / digest[:2] / digest[2:]]
    message = store.append(store.create().id, "user", "look", [first, second])
    assert store.message(message.id).attachments == (first, second)
    assert store.file_of(first).read_bytes() == picture.read_bytes()


@pytest.mark.parametrize(
    ("given", "kept"), [("..", "file"), ("a\n\0b.png", "ab.png"), ("C:\\x\\y.wav", "y.wav"), ("", "file")]
)
def test_names_are_never_paths(store: ConversationStore, picture: Path, given: str, kept: str) -> None:
    assert store.add_file(picture, given, "image").name == kept


def test_a_file_goes_with_the_last_message_that_refers_to_it(store: ConversationStore, picture: Path) -> None:
    one, two = store.create().id, store.create().id
    attachment = store.add_file(picture, "a.png", "image")
    first = store.append(one, "user", "first", [attachment])
    store.append(two, "user", "second", [attachment])
    store.truncate_from(first.id)
    assert store.file_of(attachment).is_file()
    store.delete(two)
    assert kept_files(store) == []
    with pytest.raises(StoreError, match=r"a\.png"):
        store.file_of(attachment)


def test_a_file_that_was_added_again_survives_the_message_that_it_replaces(
    store: ConversationStore, picture: Path
) -> None:
    of = store.create().id
    old = store.append(of, "user", "old", [store.add_file(picture, "a.png", "image")])
    again = store.add_file(store.file_of(old.attachments[0]), "a.png", "image")
    new = store.append(of, "user", "edited", [again], replaces=old.id)
    assert store.file_of(new.attachments[0]).read_bytes() == picture.read_bytes()
    store.delete(of)
    assert kept_files(store) == []


def test_release_gives_up_what_no_message_wants(store: ConversationStore, picture: Path) -> None:
    store.release([store.add_file(picture, "a.png", "image")])
    assert kept_files(store) == []
    used = store.add_file(picture, "a.png", "image")
    store.append(store.create().id, "user", "", [used])
    store.release([store.add_file(picture, "a.png", "image")])
    assert store.file_of(used).is_file()


def test_closing_removes_what_no_message_wants(tmp_path: Path, picture: Path) -> None:
    store = ConversationStore(tmp_path / "data")
    store.add_file(picture, "a.png", "image")
    store.close()
    assert kept_files(store) == []


def test_opening_removes_the_leavings_of_the_dead_but_not_of_the_living(tmp_path: Path, picture: Path) -> None:
    living = ConversationStore(tmp_path / "data")
    held = living.add_file(picture, "a.png", "image")
    script = (
        "import sys, os; from pathlib import Path; from assistant.store import ConversationStore\n"
        "s = ConversationStore(Path(sys.argv[1])); p = Path(sys.argv[2]); p.write_bytes(b'other')\n"
        "s.add_file(p, 'b', 'image'); s._files.take(p); os._exit(9)"
    )
    arguments = [str(tmp_path / "data"), str(tmp_path / "other")]
    subprocess.run([sys.executable, "-c", script, *arguments], cwd=ROOT, check=False, timeout=60)
    stray = tmp_path / "data" / "attachments" / "ab" / ("c" * 62)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"renamed, and killed before the commit")
    assert len(kept_files(living)) == 4
    second = ConversationStore(tmp_path / "data")
    assert kept_files(second) == [living.file_of(held)]
    living.append(living.create().id, "user", "", [held])
    second.close()
    living.close()
    assert len(kept_files(living)) == 1


def test_adding_a_file_again_mends_a_damaged_one(store: ConversationStore, picture: Path) -> None:
    attachment = store.add_file(picture, "a.png", "image")
    store.file_of(attachment).write_bytes(b"damaged")
    store.add_file(picture, "a.png", "image")
    assert store.file_of(attachment).read_bytes() == picture.read_bytes()


def test_a_file_that_cannot_be_read_is_said_and_leaves_nothing(store: ConversationStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"could not keep the file a\.png: No such file"):
        store.add_file(tmp_path / "nowhere", "a.png", "image")
    assert kept_files(store) == []


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "A" * 64, "0" * 63, "0" * 64 + "/x"])
def test_only_a_digest_leads_to_a_file(store: ConversationStore, tmp_path: Path, digest: str) -> None:
    with pytest.raises(StoreError):
        store.file_of(Attachment(digest, "x", "image", 1))
    with pytest.raises(ValueError):
        AttachmentFolder(tmp_path / "folder", "token").path(digest)


def test_two_processes_that_add_and_delete_the_same_file_do_not_lose_it(tmp_path: Path, picture: Path) -> None:
    stores = [ConversationStore(tmp_path / "data"), ConversationStore(tmp_path / "data")]
    failures: list[BaseException] = []

    def churn(store: ConversationStore) -> None:
        try:
            for _ in range(15):
                of = store.create().id
                message = store.append(of, "user", "", [store.add_file(picture, "a.png", "image")])
                assert os.path.getsize(store.file_of(message.attachments[0])) == 7000
                store.delete(of)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=churn, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert kept_files(stores[0]) == []
    for store in stores:
        store.close()
