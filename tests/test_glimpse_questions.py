"""Questions made from what is known of a picture: right, balanced, and about the drawn scenes certain."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from models.glimpse import questions
from models.glimpse.data import Record, drawn_records
from models.glimpse.questions import QuestionMaker
from models.glimpse.scene_questions import KINDS, place_of, scene_question, scene_questions
from models.glimpse.scenes import COLOURS, SHAPES, Scene, Shape, draw_scene
from models.glimpse.tasks import caption_task, clean_caption, reading_tasks, text_note

DOGS = Record(
    "s:1",
    "s",
    "train",
    captions=(
        "Two brown dogs are running through the snow .",
        "Two dogs run in the snow .",
        "A pair of dogs plays .",
    ),
)
MAN = Record(
    "s:2",
    "s",
    "train",
    captions=("A man in a red shirt is riding a bike on the street .", "A man wearing a red shirt rides a bicycle ."),
)


def some(maker, record, tries=60):
    return [t for i in range(tries) if (t := maker(record, random.Random(i)))]


def test_captions_become_sentences():
    assert clean_caption("a dog runs , fast .") == "A dog runs, fast."
    task = caption_task(DOGS)
    assert task.answers[0] == "Two brown dogs are running through the snow."


def test_a_mirrored_picture_loses_captions_that_name_a_side():
    record = Record("s:3", "s", "train", captions=("A dog on the left .", "A dog ."))
    assert caption_task(record, mirrored=True).answers == ("A dog.",)
    assert len(caption_task(record).answers) == 2


def test_presence_is_never_denied_of_what_is_mentioned_or_might_be_meant():
    maker = QuestionMaker([DOGS, MAN])
    for task in some(maker.presence, MAN, 300):
        thing = task.question.lower()
        if "bicycle" in thing or "a man" in thing or "street" in thing:
            assert task.answers[0].startswith("Yes")
        if "dog" in thing or "beach" in thing:
            assert task.answers[0].startswith("No")
        assert "boy" not in thing  # a man can be called a boy: nothing certain can be asked


def test_yes_and_no_are_about_equally_many():
    maker = QuestionMaker([DOGS, MAN])
    said = Counter(t.answers[0].split(",")[0] for r in (DOGS, MAN) for t in some(maker.presence, r, 200))
    assert 0.4 < said["Yes"] / sum(said.values()) < 0.6


def test_colours_numbers_actions_places_and_people_are_found():
    assert {t.answers for t in some(questions.colour, MAN)} == {("The shirt is red.",)}
    assert {t.answers for t in some(questions.count_of, DOGS)} == {("There are two dogs.",)}
    assert {t.answers for t in some(questions.doing, DOGS)} == {("The dogs are running through the snow.",)}
    assert {t.answers for t in some(questions.where, DOGS)} <= {("Through the snow.",), ("In the snow.",)}
    assert {t.answers for t in some(questions.who, MAN)} == {("A man.",)}


def test_a_colour_that_captions_disagree_about_is_not_asked():
    record = Record("s:4", "s", "train", captions=("A brown dog .", "A black dog .", "A black and white dress ."))
    assert some(questions.colour, record) == []


def test_colour_checks_deny_only_other_colours():
    for task in some(questions.colour_check, MAN):
        assert task.answers[0].startswith("Yes") == ("red" in task.question)


def test_labels_and_given_answers_are_asked():
    thing = Record("s:5", "s", "train", label="electric guitar", qa=(("how many?", "two_three"),))
    made = {t.kind: t for t in QuestionMaker([thing, MAN]).make(thing, random.Random(0), 6)}
    assert made["name"].answers == ("This is an electric guitar.",)
    assert made["given"].answers == ("Two three.",)


def test_the_same_seed_asks_the_same():
    maker = QuestionMaker([DOGS, MAN])
    assert maker.make(MAN, random.Random(5), 4) == maker.make(MAN, random.Random(5), 4)


def test_read_text_is_quoted_in_the_answer():
    note, tasks = reading_tasks(random.Random(1), 3)
    text = note.removeprefix(text_note("")[:-1]).rstrip('"')
    assert len(tasks) == 3
    assert all(text in t.answers[0] for t in tasks)


# -- drawn scenes ------------------------------------------------------------------------------------------------------

SCENE = Scene(
    "white",
    (
        Shape("circle", "red", (0.05, 0.05, 0.25, 0.25)),
        Shape("star", "blue", (0.7, 0.7, 0.95, 0.95)),
        Shape("star", "blue", (0.4, 0.4, 0.55, 0.55)),
    ),
)


def scene_said(kind, tries=80):
    return {m for i in range(tries) if (m := scene_question(SCENE, kind, random.Random(i)))}


def test_scene_answers_are_what_was_drawn():
    answers = dict(scene_said("colour"))
    assert answers["What colour is the circle?"] == "The circle is red."
    assert answers["What color are the stars?"] == "The stars are blue."
    assert dict(scene_said("shape")) == {"What shape is red?": "The circle is red."}
    assert dict(scene_said("count")) == {
        "How many shapes are there?": "There are three shapes.",
        "How many circles are there?": "There is one circle.",
        "How many stars are there?": "There are two stars.",
    }
    assert dict(scene_said("position"))["Where is the circle?"] == "The circle is at the top left."
    assert scene_said("compare") == set()  # two blue stars: "the blue star" would be ambiguous
    assert dict(scene_said("describe"))["What do you see?"] == "A red circle and two blue stars on a white background."
    assert all(a.startswith("Yes") == ("red circle" in q or "blue star" in q) for q, a in scene_said("presence"))


def test_a_place_near_a_border_is_not_asked():
    assert place_of(Shape("circle", "red", (0.3, 0.3, 0.48, 0.48))) is None
    assert place_of(SCENE.shapes[2]) == "in the middle"


def test_the_mirror_exchanges_left_and_right():
    assert place_of(SCENE.mirrored().shapes[0]) == "at the top right"


@pytest.mark.parametrize("seed", range(8))
def test_scenes_are_drawn_as_they_say(seed):
    image, scene = draw_scene(seed)
    assert draw_scene(seed)[1] == scene
    assert 1 <= len(scene.shapes) <= 5
    assert {s.shape for s in scene.shapes} <= set(SHAPES)
    for item in scene.shapes:
        x, y = item.centre
        seen = image.getpixel((round(x * image.width), round(y * image.height + 0.02 * image.height)))
        assert all(abs(a - b) <= 16 for a, b in zip(seen, COLOURS[item.colour], strict=True))


def test_drawn_records_are_asked_about_their_scene():
    record = drawn_records({"train": 1})[0]
    made = QuestionMaker([record]).make(record, random.Random(0), 5)
    assert made
    assert {t.kind for t in made} <= {f"drawn {k}" for k in KINDS}
    assert len(scene_questions(record.drawn, random.Random(0), 5)) == len(made)
