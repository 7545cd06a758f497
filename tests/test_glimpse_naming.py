"""Names: which are worth knowing, what is known of a picture, and that the memory learns them."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from models.glimpse.data import PictureFolder, Record, drawn_records
from models.glimpse.features import PLAIN, FeatureStore
from models.glimpse.fusion import PictureMemory
from models.glimpse.naming import UNKNOWN, NameTeacher, name_loss, stated, vocabulary
from models.glimpse.pretraining import Lessons, teach_memory, under_cells
from models.glimpse.scenes import COLOURS, SHAPES, Scene, Shape
from models.glimpse.starting import learn_names
from tests.glimpse_tiny import TinyVision, tiny_config, tiny_glimpse, tiny_tokenizer

TOKENS = tiny_tokenizer()

DOG = Record("a", "photos", "train", captions=("A dog runs.", "The dog in a red coat."))
PEAR = Record("b", "fruit", "train", label="anjou", kind="pear")
APPLE = Record("c", "fruit", "train", label="pink_lady", kind="apple")
WARD = Record("d", "rooms", "train", place="hospital_room", objects=(("bed", 2), ("person", 1)))


def test_frequent_words_labels_places_and_objects_become_names():
    names = vocabulary([DOG] * 15 + [PEAR, APPLE, WARD] * 2)
    assert {"dog", "runs", "red", "coat", "anjou", "pear", "pink lady", "hospital room", "bed"} <= set(names)
    assert not {"the", "in"} & set(names)
    assert names == sorted(set(names))
    rare = vocabulary([DOG, PEAR])
    assert set(rare) == {*SHAPES, *COLOURS}


def test_what_two_people_mention_is_certain_and_what_one_does_half():
    assert stated(DOG) == {"dog": 1.0, "runs": 0.5, "red": 0.5, "coat": 0.5}
    assert stated(WARD) == {"hospital room": 1.0, "bed": 1.0, "person": 1.0}


def test_drawn_scenes_say_all_that_is_in_them():
    record = drawn_records({"train": 1})[0]
    assert record.drawn is not None
    assert set(stated(record)) == {w for s in record.drawn.shapes for w in (s.shape, s.colour)}


def test_a_name_unmentioned_counts_only_where_it_would_have_been_mentioned():
    names = ["anjou", "bed", "dog", "pear", "pink lady"]
    known = NameTeacher(names, [DOG, PEAR, APPLE, WARD]).targets([DOG, PEAR, WARD])
    assert known.values.tolist() == [[0, 0, 1, 0, 0], [1, 0, 0, 1, 0], [0, 1, 0, 0, 0]]
    assert known.weights[0].tolist() == [1] * 5  # captions: what nobody mentions is not there
    assert known.weights[1].tolist() == [1, pytest.approx(UNKNOWN), pytest.approx(UNKNOWN), 1, 1]  # other labels
    assert known.weights[2].tolist() == [1, 1, pytest.approx(UNKNOWN), 1, 1]


def test_loss_of_names_weighs_every_statement():
    logits, values = torch.tensor([[2.0, -3.0]]), torch.tensor([[1.0, 0.0]])
    expected = torch.nn.functional.softplus(torch.tensor(-2.0))
    assert torch.isclose(name_loss(logits, values, torch.tensor([[1.0, 0.0]])), expected)


def test_cells_know_what_lies_under_them():
    scene = Scene("white", (Shape("star", "red", (0.0, 0.0, 0.33, 0.33)), Shape("heart", "blue", (0.7, 0.7, 1, 1))))
    shapes, colours, places = under_cells(scene, 3)
    assert shapes.tolist() == [1 + SHAPES.index("star"), 0, 0, 0, 0, 0, 0, 0, 1 + SHAPES.index("heart")]
    assert colours[8] == 1 + list(COLOURS).index("blue")
    assert places[[0, 4, 8]].tolist() == [[0, 0], [-1, -1], [2, 2]]


def test_an_owners_names_are_added_and_what_is_known_stays():
    model = tiny_glimpse()
    looked = torch.rand(2, 9, 12)
    with torch.no_grad():
        before = model.memory.name_logits(model.memory.look(looked))
        learn_names(model, ["heron", "red"], tiny_tokenizer())
        after = model.memory.name_logits(model.memory.look(looked))
    assert model.config.names == ["red", "blue", "green", "heron"]
    torch.testing.assert_close(after[:, :3], before)
    assert (after[:, 3].sigmoid() < 0.01).all()
    assert TOKENS.decode(model.pointer.spellings[-1].tolist()) == " heron"
    features, labels = torch.rand(1, 9, 12), torch.zeros(1, 2, dtype=torch.long)
    assert model.memory(features, labels, torch.ones(1, 2)).memory.shape[1] == model.memory.tokens


def test_the_memory_learns_names(tmp_path):
    colours = ["red", "green", "blue"]
    records = []
    for i in range(12):
        Image.new("RGB", (20, 20), colours[i % 3]).save(tmp_path / f"{i}.png")
        records.append(Record(f"mine:{i}.png", "mine", "train", label=colours[i % 3]))
    pictures, store = PictureFolder(tmp_path), FeatureStore(tmp_path / "features", cells=9, size=12, top=2)
    store.add(records, PLAIN, pictures, TinyVision(), 96)
    torch.manual_seed(0)
    config = tiny_config(names=colours)
    memory = PictureMemory(config)
    teach_memory(memory, records, store, NameTeacher(colours, records), Lessons(looks=100, pictures=6, rate=1e-2))
    looked = torch.stack([store.get(r).features.float() for r in records])
    with torch.no_grad():
        best = memory.name_logits(memory.look(looked)).argmax(-1).tolist()
    assert [colours[i] for i in best] == [r.label for r in records]


def test_further_lessons_leave_the_tokens_near_what_they_were(tmp_path):
    records = drawn_records({"train": 8})
    store = FeatureStore(tmp_path / "features", cells=9, size=12, top=2)
    store.add(records, PLAIN, PictureFolder(tmp_path), TinyVision(), 96)
    looked = torch.stack([store.get(r).features.float() for r in records])

    def moved(anchor):
        memory = tiny_glimpse().memory
        with torch.no_grad():
            before, known = memory.look(looked), memory.recognise.weight.clone()
        lessons = Lessons(looks=40, pictures=8, rate=1e-2, anchor=anchor)
        teach_memory(memory, records, store, NameTeacher(["red", "blue", "green"], records), lessons)
        with torch.no_grad():
            drift = float((memory.look(looked) - before).pow(2).mean())
        return drift, float((memory.recognise.weight.detach() - known).abs().max())

    (near, kept), (far, _) = moved(100.0), moved(0.01)
    assert near < far / 2
    assert kept < 0.5  # what it had learnt of names is not begun again
