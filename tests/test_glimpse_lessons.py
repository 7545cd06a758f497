"""Parts of a training step: kept states, being told where to look, and rewards for the model's own captions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.glimpse.data import Record
from models.glimpse.features import Looked
from models.glimpse.losses import Shares, row_loss, wanted_memory
from models.glimpse.lower_states import LowerStates
from models.glimpse.packing import pack
from models.glimpse.rewarding import CaptionReward, advantages, sample_captions
from models.glimpse.rows import REPLY, collate
from models.glimpse.scene_questions import mentions
from models.glimpse.scenes import Scene, Shape
from models.glimpse.tasks import Task
from models.glimpse.training_set import Example
from tests.glimpse_tiny import tiny_glimpse, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
CAPTION = Task("caption", "Describe.", ("A dog.", "A brown dog runs."))
COUNT = Task("count", "How many?", ("One.",))
SCENE = Scene("white", (Shape("star", "red", (0.0, 0.0, 0.33, 0.33)), Shape("heart", "blue", (0.7, 0.7, 1, 1))))


@pytest.fixture
def model():
    return tiny_glimpse()


def looked(pictures=1):
    torch.manual_seed(3)
    return torch.rand(pictures, 9, 12), torch.zeros(pictures, 2, dtype=torch.long), torch.full((pictures, 2), 0.3)


def example(*rows):
    return Example(collate(rows, torch.float32), *looked(len(rows)))


def test_kept_states_are_those_that_would_be_computed(model):
    rows = [pack(TOKENIZER, [CAPTION, COUNT]), pack(TOKENIZER, [COUNT], system="Be brief."), pack(TOKENIZER, [CAPTION])]
    lower = LowerStates(model)
    lower.of(rows[:1])
    with torch.no_grad():
        kept, _ = row_loss(model, example(*rows), Shares(), lower=lower)
        computed, _ = row_loss(model, example(*rows), Shares())
    assert float(kept) == pytest.approx(float(computed), rel=1e-5)


def test_nothing_is_computed_twice_and_the_oldest_is_forgotten(model):
    row, other = pack(TOKENIZER, [CAPTION, COUNT]), pack(TOKENIZER, [COUNT], system="Be brief.")
    lower = LowerStates(model)
    lower.of([row])
    missed = lower.missed
    again = lower.of([row, row])
    assert lower.missed == missed > 0
    assert torch.equal(again[0], again[1])
    small = LowerStates(model, most_bytes=1)
    small.of([row])
    small.of([other])
    small.of([row])
    assert small.missed == 2 * len(row.parents) + len(other.parents)


def test_shapes_are_found_where_they_are_named():
    star, heart = SCENE.shapes
    assert mentions(SCENE, "Is the red star left of the heart?") == [(11, 15, (star,)), (28, 33, (heart,))]
    twins = Scene("white", (star, Shape("star", "blue", (0.5, 0.5, 0.7, 0.7))))
    assert [items for _, _, items in mentions(twins, "two stars, a green heart")] == [twins.shapes, ()]
    assert [items for _, _, items in mentions(twins, "What shape is blue?")] == [twins.shapes[1:]]


def test_a_named_shape_is_to_be_looked_at_before_it_is_said():
    row = pack(TOKENIZER, [Task("q", "What is it?", ("A red star.",))], scene=SCENE, side=3)
    assert TOKENIZER.decode(row.tokens[: row.looks[0].index + 1].tolist()).endswith("A red ")
    assert [look.index for look in row.looks] == list(range(row.looks[0].index, len(row.tokens)))
    assert {look.cells for look in row.looks} == {(0,)}


def test_the_answer_to_a_question_about_a_shape_begins_with_a_look_at_it():
    row = pack(
        TOKENIZER,
        [Task("q", "Is there a star?", ("Yes.",)), Task("q", "Is there a cross?", ("No.",))],
        scene=SCENE,
        side=3,
    )
    begin = [look for look in row.looks if TOKENIZER.decode(row.tokens[: look.index + 1].tolist()).endswith(REPLY)]
    assert [(look.cells, look.absent) for look in begin] == [((0,), False), ((), True)]


def test_what_is_asked_for_is_looked_for_among_the_names_and_what_is_absent_in_the_whole(model):
    seen = model.memory(*looked())
    likely = model.config.names[int(seen.names[0, 2, 0]) - 3]
    unlikely = next(n for i, n in enumerate(model.config.names) if i + 3 not in seen.names[0, :, 0].tolist())
    tasks = [
        Task("presence", f"Is there {name}?", ("Yes.",), names=(name,), absent=absent)
        for name, absent in ((likely, False), (unlikely, True), (likely, True), (unlikely, False))
    ]
    batch = collate([pack(TOKENIZER, tasks, side=3)], torch.float32)
    found = [row.nonzero().flatten().tolist() for row in wanted_memory(model, batch, seen.names)]
    assert found == [[12], [9], [], []]  # 9 cells, the whole, two labels, two names


def test_being_told_where_to_look_moves_the_attention(model):
    row = pack(TOKENIZER, [Task("q", "Is there a red star?", ("Yes, there is a red star.",))], scene=SCENE, side=3)
    batch = example(row)
    optimiser = torch.optim.Adam([p for _, p in model.adapter_parameters()], lr=1e-2)
    losses = []
    for _ in range(15):
        total, _ = row_loss(model, batch, Shares(looking=1.0))
        alone, _ = row_loss(model, batch, Shares())
        losses.append(float((total - alone).detach()))
        total.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert losses[-1] < losses[0] / 2


def test_a_caption_like_peoples_is_worth_more_and_a_cut_one_less():
    records = [
        Record("a", "s", "train", captions=("A brown dog runs on grass.", "A dog is running.")),
        Record("b", "s", "train", captions=("Two men play football.", "Men with a ball.")),
        Record("c", "s", "train", captions=("A girl on a swing.", "A child swings.")),
    ]
    reward = CaptionReward(records)
    right, cut, wrong = reward.scores(records[0], ["A dog is running.", "A dog is", "Two men."])
    assert right > cut > wrong
    assert records[0] in reward
    assert Record("d", "s", "train") not in reward


def test_advantages_are_against_the_others():
    assert np.allclose(advantages(np.array([3.0, 1.0, 2.0])), [1.5, -1.5, 0.0])
    assert advantages(np.array([4.0])).tolist() == [0.0]


def test_own_captions_repeat_themselves_for_the_same_seed(model):
    features, labels, probabilities = looked()
    seen = [Looked(features[0], labels[0], probabilities[0])] * 2
    said = []
    for _ in range(2):
        torch.manual_seed(5)
        said.append(sample_captions(model, TOKENIZER, seen, "Describe.", 3))
    assert said[0] == said[1]
    assert len(said[0]) == 2
    assert all(len(own) <= 3 for own in said[0])


def test_a_rewarded_caption_becomes_likelier_and_a_punished_one_less_likely(model):
    task = Task("caption", "Describe.", ("Yes.", "No."), (1.0, -1.0))
    batch = example(pack(TOKENIZER, [task]))
    optimiser = torch.optim.SGD([p for _, p in model.adapter_parameters()], lr=1e-3)

    def loss_of(answer: str) -> float:
        with torch.no_grad():
            return float(
                row_loss(model, example(pack(TOKENIZER, [Task("caption", "Describe.", (answer,))])), Shares())[1]
            )

    before = loss_of("No.") - loss_of("Yes.")
    row_loss(model, batch, Shares())[0].backward()
    optimiser.step()
    assert loss_of("No.") - loss_of("Yes.") > before
