"""Lessons in copying: names are exchanged in the memory and in the answer alike; labels say what is certain."""

from __future__ import annotations

import random

import pytest
import torch

from models.glimpse.data import Record
from models.glimpse.exchanging import NameExchanger
from models.glimpse.features import Looked
from models.glimpse.kinds import KINDS, KindTeacher
from models.glimpse.label_questions import LabelQuestions, name_of
from models.glimpse.losses import wanted_memory
from models.glimpse.naming import UNKNOWN, NameTeacher
from models.glimpse.packing import KEY_WEIGHT, QUESTION_WEIGHT, pack
from models.glimpse.questions import QuestionMaker
from models.glimpse.rows import collate
from models.glimpse.tasks import Task
from tests.glimpse_tiny import tiny_glimpse, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
LABELS, NAMES = ("cat", "dog", "car"), ("red", "blue", "pear")
CAR = Record("t:1", "things", "train", label="car")
PEAR = Record("t:2", "things", "train", label="anjou", kind="pear")
SEEN = Looked(torch.zeros(9, 12), torch.tensor([1, 2]), torch.tensor([0.6, 0.2]))  # a dog, perhaps a car


@pytest.fixture(scope="module")
def exchanger():
    return NameExchanger(LABELS, NAMES, [CAR, Record("t:3", "things", "train", label="pear")])


def exchanged(exchanger, record, tries=40):
    return [made for i in range(tries) if (made := exchanger.exchange(record, SEEN, random.Random(i))) is not None]


def test_what_the_encoder_takes_for_likeliest_is_called_otherwise_and_answered_so(exchanger):
    made = exchanged(exchanger, CAR)  # the memory does not know cars: the first label, dog, is what is to be copied
    assert {record.label for record, _ in made} == {"cat", "car", "pear"}
    for record, renamed in made:
        other = {"cat": 0, "car": 2, "pear": 5}[record.label]
        assert renamed == {1: other, other: 1}
        assert name_of(record, random.Random(0)).answers == (f"This is a {record.label}.",)


def test_a_name_that_the_memory_knows_is_exchanged_itself(exchanger):
    pear = Record("t:3", "things", "train", label="pear")
    for record, renamed in exchanged(exchanger, pear):
        assert renamed[5] == {"cat": 0, "dog": 1, "car": 2}[record.label]


def test_nothing_is_exchanged_where_the_right_name_is_not_told_or_captions_say_it(exchanger):
    assert not exchanged(exchanger, PEAR)  # neither the memory nor the encoder says anjou
    assert not exchanged(exchanger, Record("t:4", "things", "train", label="car", captions=("A car.", "Cars.")))


def test_the_memory_tells_the_other_name_at_the_same_place(exchanger):
    model = tiny_glimpse(names=["red", "blue", "pear"])
    features, labels = torch.rand(2, 9, 12), torch.tensor([[1, 2], [1, 2]])
    table = exchanger.table([{1: 0, 0: 1}, {}])
    assert exchanger.table([{}, {}]) is None
    plain = model.memory(features, labels, torch.full((2, 2), 0.3))
    told = model.memory(features, labels, torch.full((2, 2), 0.3), renamed=table)
    assert told.names[0, :2, 0].tolist() == [0, 2]
    assert torch.equal(told.names[..., 1], plain.names[..., 1])
    assert torch.equal(told.names[1], plain.names[1])
    assert torch.equal(told.memory[1], plain.memory[1])
    other = model.memory(features[:1], torch.tensor([[0, 2]]), torch.full((1, 2), 0.3))
    torch.testing.assert_close(told.memory[:1], other.memory)
    # The look belongs on the place where the other name stands.
    batch = collate([pack(TOKENIZER, [Task("name", "What?", ("A cat.",), names=("cat",), copied=True)])], torch.float32)
    assert wanted_memory(model, batch, told.names[:1]).nonzero()[0].tolist() == [0, 10]


def test_of_an_exchanged_name_only_the_name_is_asked():
    maker = QuestionMaker([CAR, PEAR], KindTeacher(LABELS))
    kinds = {t.kind for i in range(10) for t in maker.make(CAR, random.Random(i), 4, renamed=True)}
    assert kinds == {"name", "label check"}


def test_a_label_says_what_is_certain_and_leaves_open_what_could_be():
    labels = [f"label {i}" for i in range(1000)]
    certain = KindTeacher(labels).certain
    hound, wolf, teapot = (Record("o", "objects", "train", label=f"label {i}") for i in (160, 270, 849))
    assert certain(hound)["a dog"] is True
    assert certain(hound)["a guitar"] is False
    assert "a dog" not in certain(wolf)
    assert certain(teapot)["a dog"] is False
    assert "a car" not in certain(teapot)  # one can stand behind it
    assert certain(Record("g", "grocery", "train", label="anjou", kind="pear"))["a car"] is False
    assert certain(Record("m", "mine", "train", label="rex")) == {}
    assert certain(Record("f", "flickr8k", "train", captions=("A dog.",), label="label 160")) == {}


def test_every_kind_is_a_thing_that_is_asked_for():
    words = LabelQuestions([], KindTeacher(()))._words
    assert {kind.thing for kind in KINDS} <= words.keys()


def test_is_there_is_answered_yes_and_no_alike():
    labels = [f"label {i}" for i in range(1000)]
    hound = Record("o:1", "objects", "train", label="label 160")
    other = Record("o:2", "objects", "train", label="teapot")
    asker = LabelQuestions([hound, other], KindTeacher(labels))
    made = [t for i in range(400) if (t := asker.presence(hound, random.Random(i))) is not None]
    yes = [t for t in made if t.answers[0].startswith("Yes")]
    assert 160 < len(yes) < 240
    assert all("dog" in t.question or "label" in t.question for t in yes)
    assert not any("dog" in t.question for t in made if t.answers[0].startswith("No"))
    assert all(t.absent == t.answers[0].startswith("No") for t in made)


def test_the_memory_learns_what_a_label_makes_certain():
    labels = [f"label {i}" for i in range(1000)]
    hound = Record("o:1", "objects", "train", label="label 160")
    names = ["cat", "dog", "puppy", "smiling"]
    told = NameTeacher(names, [hound], KindTeacher(labels)).targets([hound])
    assert told.values.tolist() == [[0, 1, 0, 0]]
    assert told.weights.tolist() == [[1, 1, pytest.approx(UNKNOWN), pytest.approx(UNKNOWN)]]


def test_the_words_that_all_depends_on_count_more():
    row = pack(TOKENIZER, [Task("name", "What?", ("This is a cat.",), key="cat")])
    weights = dict(zip(TOKENIZER.convert_ids_to_tokens(row.targets.tolist()), row.weights.tolist(), strict=True))
    assert weights["c"] == weights["t"] == QUESTION_WEIGHT * KEY_WEIGHT
    assert weights["T"] == weights["."] == QUESTION_WEIGHT
