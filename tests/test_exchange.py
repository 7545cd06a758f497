"""A conversation goes out as a zip file and comes back the same; whatever else is offered is refused whole."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant import exchange
from assistant.exchange import export_conversation, import_conversation
from assistant.store import ConversationStore, StoredMessage
from models.errors import BadInput, StoreError


@pytest.fixture
def store(tmp_path: Path):
    opened = ConversationStore(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def exported(store: ConversationStore, tmp_path: Path) -> Path:
    picture = tmp_path / "picture"
    picture.write_bytes(b"picture")
    of = store.create("Trip: to/上海", system="Be brief.\nVery.").id
    attached = [store.add_file(picture, "sign [1].png", "image")]
    store.append(of, "user", "What **is** this?", attached, details={"notes": ["x"]})
    store.append(of, "assistant", "A sign.", status="stopped")
    return export_conversation(store, of, tmp_path / "out")


def without_ids(messages: list[StoredMessage]) -> list[StoredMessage]:
    return [dataclasses.replace(one, id="", conversation_id="") for one in messages]


def kept_files(store: ConversationStore) -> list[Path]:
    return [path for path in (store.data_dir / "attachments").rglob("*") if path.is_file()]


def changed(zip_path: Path, target: Path, change: Any = None, **entries: bytes) -> Path:
    """A copy of the export whose JSON went through `change` and that has other or more `entries`."""
    with zipfile.ZipFile(zip_path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            raw = old.read(name)
            if name == "conversation.json" and change is not None:
                content = json.loads(raw)
                content = change(content) or content
                raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            if name not in entries:
                new.writestr(name, raw)
        for name, raw in entries.items():
            new.writestr(name, raw)
    return target


def test_the_export_can_be_read_without_lucid(exported: Path) -> None:
    assert exported.name.startswith("Trip_ to_上海-")
    with zipfile.ZipFile(exported) as archive:
        markdown = archive.read("conversation.md").decode()
        assert "# Trip: to/上海" in markdown
        assert "> Very." in markdown
        assert "What **is** this?" in markdown
        assert "![sign \\[1\\].png](<files/sign _1_.png>)" in markdown
        assert "(stopped)" in markdown
        assert archive.read("files/sign _1_.png") == b"picture"
        assert json.loads(archive.read("conversation.json"))["version"] == 1
    assert exported.stat().st_mode & 0o777 == 0o600


def test_names_in_the_zip_are_safe_and_unique(store: ConversationStore, tmp_path: Path) -> None:
    names = ["a.png", "A.png", "2-a.png", "../../evil", "CON.txt", ".hidden", "a\\b:c?.png", "x" * 300, "…", "a.png"]
    attachments = []
    for number, name in enumerate(names):
        file = tmp_path / "file"
        file.write_bytes(bytes([min(number, 8)]))  # the last two are the same file
        attachments.append(store.add_file(file, name, "image"))
    of = store.create().id
    store.append(of, "user", "", attachments)
    with zipfile.ZipFile(export_conversation(store, of, tmp_path / "out")) as archive:
        files = [name.removeprefix("files/") for name in archive.namelist() if name.startswith("files/")]
    assert len({name.lower() for name in files}) == len(files) == 9
    assert all(name and len(name) < 100 and not name.startswith(".") for name in files)
    assert not any(sign in name for name in files for sign in '/\\:?*"<>|')


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(["user", "assistant", "system"]),
        st.text(),
        st.lists(
            st.tuples(st.binary(max_size=50), st.text(max_size=20), st.sampled_from(["image", "audio", "video"])),
            max_size=3,
        ),
        st.sampled_from(["complete", "interrupted", "stopped", "failed"]),
        st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9))),
    ),
    max_size=5,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=st.text(max_size=40), system=st.text(max_size=40), messages=MESSAGES)
def test_what_is_exported_comes_back_the_same(
    store, tmp_path: Path, title: str, system: str, messages: list[Any]
) -> None:
    of = store.create(title, system)
    for role, text, files, status, details in messages:
        attachments = []
        for content, name, kind in files:
            (tmp_path / "file").write_bytes(content)
            attachments.append(store.add_file(tmp_path / "file", name, kind))
        store.append(of.id, role, text, attachments, status, details)
    of, before = store.conversation(of.id), store.messages(of.id)
    contents = {one.digest: store.file_of(one).read_bytes() for message in before for one in message.attachments}
    file = export_conversation(store, of.id, tmp_path / "out")
    store.delete(of.id)
    back = import_conversation(store, file)
    assert back.id != of.id
    assert dataclasses.replace(back, id=of.id) == of
    after = store.messages(back.id)
    assert without_ids(after) == without_ids(before)
    assert {one.digest: store.file_of(one).read_bytes() for message in after for one in message.attachments} == contents
    assert store.conversation(back.id) == back
    store.delete(back.id)
    assert kept_files(store) == []


def test_a_partial_answer_comes_back_as_interrupted(store: ConversationStore, tmp_path: Path) -> None:
    of = store.create().id
    store.append(of, "assistant", "so f", status="partial")
    back = import_conversation(store, export_conversation(store, of, tmp_path))
    assert [one.status for one in store.messages(back.id)] == ["interrupted"]


def set_attachment(**values: Any) -> Any:
    return lambda content: content["messages"][0]["attachments"][0].update(values)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: b"{not json", "not JSON"),
        (lambda content: b"[" * 100_000, "not JSON"),
        (lambda content: [1], "not a conversation"),
        (lambda content: content.update(format="other"), "not a conversation"),
        (lambda content: content.update(version=2), "version 2"),
        (lambda content: content.update(title=7), "'title'"),
        (lambda content: content.update(created_at="now"), "'created_at'"),
        (lambda content: content.update(updated_at=1e300), "'updated_at'"),
        (lambda content: content.update(messages={}), "'messages'"),
        (lambda content: content.update(messages=[1]), "'messages'"),
        (lambda content: content["messages"][1].update(role="root"), "'role'"),
        (lambda content: content["messages"][1].update(status="odd"), "'status'"),
        (lambda content: content["messages"][1].update(text=None), "'text'"),
        (lambda content: content["messages"][1].update(details=[]), "'details'"),
        (set_attachment(file="files/missing.png"), "lacks a file"),
        (set_attachment(file="../../etc/passwd"), "lacks a file"),
        (set_attachment(file="/etc/passwd"), "lacks a file"),
        (set_attachment(file="conversation.json"), "lacks a file"),
        (set_attachment(kind="program"), "'kind'"),
        (set_attachment(sha256="0" * 64), "changed or is damaged"),
    ],
)
def test_a_bad_export_is_refused_whole(
    store: ConversationStore, exported: Path, tmp_path: Path, change: Any, says: str
) -> None:
    before, files = store.conversations(), kept_files(store)
    bad = changed(exported, tmp_path / "bad.zip", change)
    with pytest.raises(BadInput, match=says):
        import_conversation(store, bad)
    assert store.conversations() == before
    assert kept_files(store) == files


def test_entries_that_climb_out_are_not_unpacked(store: ConversationStore, exported: Path, tmp_path: Path) -> None:
    entries = {"../../evil.txt": b"evil", "files/../../evil.txt": b"evil"}
    slip = changed(
        exported, tmp_path / "slip.zip", set_attachment(file="files/../../evil.txt", name="../../evil.txt"), **entries
    )
    with pytest.raises(BadInput, match="changed or is damaged"):
        import_conversation(store, slip)
    digest = hashlib.sha256(b"evil").hexdigest()
    change = set_attachment(file="files/../../evil.txt", name="../../evil.txt", sha256=digest)
    back = import_conversation(store, changed(exported, tmp_path / "slip2.zip", change, **entries))
    (attachment,) = store.messages(back.id)[0].attachments
    assert attachment.name == "evil.txt"
    assert store.data_dir in store.file_of(attachment).parents
    assert not list(tmp_path.parent.rglob("evil.txt"))


def test_a_bomb_is_stopped_while_it_unpacks(
    store: ConversationStore, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "MAX_TOTAL_BYTES", 5 << 20)
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(exported) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr("conversation.json", old.read("conversation.json"))
        new.writestr("files/sign _1_.png", bytes(50 << 20))
    assert bomb.stat().st_size < 100_000
    files = kept_files(store)
    with pytest.raises(BadInput, match="unpacks to more than"):
        import_conversation(store, bomb)
    assert kept_files(store) == files


def test_a_json_bomb_is_refused(
    store: ConversationStore, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "MAX_JSON_BYTES", 1 << 20)
    with pytest.raises(BadInput, match="too large"):
        import_conversation(store, changed(exported, tmp_path / "bad.zip", lambda content: b" " * (2 << 20)))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_zip_is_refused(store: ConversationStore, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file.zip"
    file.write_bytes(content)
    with pytest.raises(BadInput):
        import_conversation(store, file)


def test_every_truncation_and_flipped_byte_is_refused_or_harmless(
    store: ConversationStore, exported: Path, tmp_path: Path
) -> None:
    raw = exported.read_bytes()
    bad = tmp_path / "bad.zip"
    refused = 0
    for place in range(0, len(raw), max(1, len(raw) // 60)):
        for content in (raw[:place], raw[:place] + bytes([raw[place] ^ 0xFF]) + raw[place + 1 :]):
            bad.write_bytes(content)
            try:
                store.delete(import_conversation(store, bad).id)
            except BadInput:
                refused += 1
    assert refused > 60


def test_nothing_is_kept_when_the_store_refuses(
    store: ConversationStore, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, files = store.conversations(), kept_files(store)
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    huge = changed(
        exported, exported.parent / "huge.zip", lambda content: content["messages"][1].update(text="x y " * 100_000)
    )
    with pytest.raises(StoreError, match="full"):
        import_conversation(store, huge)
    assert (store.conversations(), kept_files(store)) == (before, files)


def test_a_conversation_that_is_gone_cannot_be_exported(store: ConversationStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        export_conversation(store, "nothing", tmp_path / "out")
