"""The measures themselves: they know a right answer from a wrong one, and a figure can be drawn."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from benchmarks.glimpse import draw
from models.glimpse import measures
from models.glimpse.data import PictureFolder, Record, drawn_records
from models.glimpse.evaluate import blank_look, evaluate, table
from models.glimpse.features import PLAIN, FeatureStore, Looked
from models.glimpse.measures import Bench, balanced_questions
from models.glimpse.scene_questions import scene_question
from tests.glimpse_tiny import TinyVision, tiny_glimpse, tiny_tokenizer


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    records = drawn_records({"test": 12})
    store = FeatureStore(tmp_path_factory.mktemp("features"), cells=9, size=12, top=2)
    store.add(records, PLAIN, PictureFolder(tmp_path_factory.mktemp("none")), TinyVision(), 96)
    model = tiny_glimpse()
    return Bench(model, tiny_tokenizer(), store, records, blank_look(model), most=12, beams=2)


def scripted(monkeypatch, say):
    monkeypatch.setattr(
        measures, "answers", lambda model, tokenizer, looked, questions, **_: [say(q) for q in questions]
    )


def test_right_answers_about_scenes_score_one_and_wrong_ones_zero(bench, monkeypatch):
    truth = {}
    for record in bench.records:
        for kind in measures._KEYS:
            if made := scene_question(record.drawn, kind, random.Random(f"{kind} {record.name}")):
                truth.setdefault(made[0], made[1])
    asked = []

    def right(question):
        asked.append(question)
        return truth[question]

    scripted(monkeypatch, right)
    # The same question can be asked of two scenes with two answers; those that can't tell are few.
    assert min(f["value"] for f in measures.scene_figures(bench).values()) >= 0.4
    scripted(monkeypatch, lambda q: "I can't tell.")
    assert max(f["value"] for f in measures.scene_figures(bench).values()) == 0
    assert asked


def test_yes_no_questions_are_balanced_for_every_thing():
    records = [
        Record(f"s:{i}", "s", "test", captions=("A dog runs .", "A dog .") if i % 2 else ("A car .", "A red car ."))
        for i in range(40)
    ]
    questions = balanced_questions(records, most=100)
    for thing in ("a dog", "a car"):
        truths = [t for _, q, t in questions if q == f"Is there {thing}?"]
        assert truths
        assert sum(truths) * 2 == len(truths)
    for record, question, truth in questions:
        if "dog" in question:
            assert truth == ("dog" in record.captions[0])


def test_naming_wants_all_words_of_the_name():
    record = Record("s:1", "s", "test", label="electric guitar", kind="instrument")
    assert measures._named(record, "This is an electric guitar.")
    assert measures._named(record, "An instrument.")
    assert not measures._named(record, "This is a guitar.")


def labelled(*labels, source="objects"):
    return [Record(f"{source}:{i}", source, "test", label=label) for i, label in enumerate(labels)]


class Grey:
    """A store in which every picture looks the same; the encoder takes it for label 1."""

    def get(self, record, view=PLAIN):
        return Looked(torch.zeros(9, 12), torch.tensor([1, 0]), torch.tensor([0.5, 0.1]))


def test_names_that_training_had_are_left_out_of_the_figure_of_unseen_ones(bench, monkeypatch):
    records = labelled("dog", "cat", "car") + labelled("dog", source="caltech101")
    taught = frozenset({("objects", "cat"), ("caltech101", "dog")})
    scripted(monkeypatch, lambda q: "This is a car.")
    found = measures.naming_figures(replace(bench, records=records, store=Grey(), taught=taught))
    assert (found["naming objects"]["value"], found["naming objects"]["n"]) == (pytest.approx(1 / 3), 3)
    new = "naming, all sets, unseen names"
    assert (found[new]["value"], found[new]["n"]) == (0.5, 2)  # the dog and the car of objects
    assert found[f"{new}, encoder alone"]["value"] == 0.5  # label 1 is dog


def test_close_ups_are_asked_for_what_is_there_and_for_what_is_not(bench, monkeypatch):
    records = labelled("label 160", "label 161", "label 10", "teapot")
    model = tiny_glimpse(labels=[f"label {i}" for i in range(300)])
    monkeypatch.setattr(measures, "yes_shares", lambda m, t, looked, questions: [1.0] * len(questions))
    found = measures.close_up_figures(replace(bench, model=model, records=records, store=Grey()))
    assert found["close-ups, it is there"]["value"] == 1
    assert found["close-ups, it is not"]["value"] == 0
    assert 0 < found["close-ups"]["value"] < 0.5  # of most things there is no picture here: they are asked for in vain


def test_the_peak_must_lie_in_the_box():
    assert measures._inside(0, 9, (0.0, 0.0, 0.1, 0.1)) == 1
    assert measures._inside(80, 9, (0.0, 0.0, 0.5, 0.5)) == 0
    assert measures._inside(40, 9, (0.4, 0.4, 0.6, 0.6)) == 1


def test_every_measure_runs_and_can_be_printed_and_drawn(bench):
    with torch.no_grad():
        figures = evaluate(bench, ["captions", "yes-no", "close-ups", "scenes", "naming", "reading", "pointing"])
    assert {"drawn colour", "drawn count", "pointing"} <= set(figures)
    assert all(0 <= f["low"] <= f["value"] <= f["high"] <= 1 for n, f in figures.items() if n.startswith("drawn"))
    assert "drawn colour" in table(figures)
    assert draw(figures, "t").height > 26 * 4
