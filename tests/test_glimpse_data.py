"""Reading data folders: the documented format, splits that hold still, and sentences for what cannot be used."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
from PIL import Image

from models.errors import BadInput
from models.glimpse.data import PictureFolder, drawn_records, read_set


def write(folder, name, rows):
    (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(r) for r in rows) + "\n")


def test_every_field_of_the_format_is_read(tmp_path):
    write(
        tmp_path,
        "mine",
        [
            {
                "image": "a.png",
                "split": "dev",
                "captions": ["A  dog ."],
                "qa": [{"question": "Which?", "answer": 3}],
                "label": "dog",
                "kind": "animal",
                "scene": "park",
                "objects": {"dog": 2},
            },
            {"image": "b.png", "sentence": "There is a box.", "label": False, "objects": None},
            {"image": "c.png", "sentence": "There is a box.", "truth": True},
        ],
    )
    one, two, three = read_set(tmp_path / "mine.jsonl")
    assert (one.name, one.source, one.split, one.captions) == ("mine:a.png", "mine", "dev", ("A dog .",))
    assert (one.qa, one.label, one.kind, one.place) == ((("Which?", "3"),), "dog", "animal", "park")
    assert one.objects == (("dog", 2),)
    assert (two.statement, two.label, two.objects) == (("There is a box.", False), "", ())
    assert three.statement == ("There is a box.", True)


def test_a_line_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"image": "a.png"}\n{"captions": []}\n')
    with pytest.raises(BadInput, match=r"Line 2 of mine\.jsonl"):
        read_set(tmp_path / "mine.jsonl")


def test_a_set_without_splits_is_divided_and_the_division_holds_still(tmp_path):
    write(tmp_path, "mine", [{"image": f"{i}.png", "captions": ["x"]} for i in range(400)])
    records = read_set(tmp_path / "mine.jsonl")
    shares = {s: sum(r.split == s for r in records) / 400 for s in ("train", "dev", "test")}
    assert 0.7 < shares["train"] < 0.9
    assert min(shares.values()) > 0.04
    assert [r.split for r in records] == [r.split for r in read_set(tmp_path / "mine.jsonl")]


def test_some_names_of_things_are_kept_for_the_test_alone(tmp_path):
    write(tmp_path, "things", [{"image": f"{i}.png", "label": f"thing{i % 40}"} for i in range(400)])
    records = read_set(tmp_path / "things.jsonl")
    splits = {}
    for record in records:
        splits.setdefault(record.label, set()).add(record.split)
    unseen = [label for label, where in splits.items() if where == {"test"}]
    assert 0 < len(unseen) < 15


def test_pictures_are_opened_from_files_and_from_the_tar(tmp_path):
    Image.new("RGBA", (8, 6), "red").save(tmp_path / "a.png")
    packed = io.BytesIO()
    Image.new("L", (5, 4), 200).save(packed, "PNG")
    with tarfile.open(tmp_path / "mine.tar", "w") as tar:
        member = tarfile.TarInfo("in/b.png")
        member.size = len(packed.getvalue())
        tar.addfile(member, io.BytesIO(packed.getvalue()))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    write(tmp_path, "mine", [{"image": n} for n in ("a.png", "in/b.png", "broken.png", "missing.png")])
    folder = PictureFolder(tmp_path)
    one, two, broken, missing = folder.records()
    assert (folder.open(one).size, folder.open(one).mode) == ((8, 6), "RGB")
    assert folder.open(two).size == (5, 4)
    for record in (broken, missing):
        with pytest.raises(BadInput, match="cannot be opened"):
            folder.open(record)


def test_a_folder_without_data_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no \\.jsonl file"):
        PictureFolder(tmp_path).records()
    with pytest.raises(BadInput, match=r"other\.jsonl"):
        PictureFolder(tmp_path).records(["other"])


def test_drawn_scenes_of_different_splits_never_share_a_seed():
    records = drawn_records({"train": 50, "dev": 50, "test": 50})
    assert len({r.seed for r in records}) == 150
    assert records[0].drawn == drawn_records({"train": 1})[0].drawn
