"""Packed training rows: the same losses and the same visibility as separate sequences."""

from __future__ import annotations

import pytest
import torch

from models.glimpse.losses import Shares, Vocabulary, row_loss
from models.glimpse.packing import pack
from models.glimpse.rows import END, REPLY, TURN, collate, system_part
from models.glimpse.tasks import Task
from models.glimpse.training_set import Example
from tests.glimpse_tiny import tiny_glimpse, tiny_tokenizer

TASKS = (
    Task("caption", "Describe.", ("A dog.", "A brown dog runs.")),
    Task("count", "How many?", ("One.",)),
)


@pytest.fixture(scope="module")
def model():
    return tiny_glimpse()


def looked(model, pictures=1):
    torch.manual_seed(3)
    return torch.rand(pictures, 9, 12), torch.zeros(pictures, 2, dtype=torch.long), torch.full((pictures, 2), 0.3)


def separate_losses(model, tokenizer, seen, system="", note=""):
    """(loss per answer token) of every question and answer as a sequence of its own, through the public forward."""
    seen = model.memory(*seen)
    given = {"picture_keys_values": model.keys_values(seen.memory), "picture_names": seen.names}
    header = tokenizer((system_part(system) if system else "") + TURN, add_special_tokens=False).input_ids
    losses = []
    for task in TASKS:
        for answer in task.answers:
            asked = tokenizer((note + "\n" if note else "") + task.question + REPLY, add_special_tokens=False).input_ids
            said = tokenizer(answer + END, add_special_tokens=False).input_ids
            ids = torch.tensor([header + asked + said])
            starts = torch.tensor([[len(header)]])
            with torch.no_grad():
                logits = model(input_ids=ids, picture_starts=starts, **given).logits[0]
            first = len(header) + len(asked)
            losses += torch.nn.functional.cross_entropy(
                logits[first - 1 : -1], torch.tensor(said), reduction="none"
            ).tolist()
    return losses


@pytest.mark.parametrize("system", ["", "Be brief."])
def test_a_packed_row_has_the_loss_of_its_parts(model, system):
    tokenizer = tiny_tokenizer()
    row = pack(tokenizer, TASKS, system=system, note="Text: x", question_weight=1.0)
    seen = looked(model)
    with torch.no_grad():
        _, packed = row_loss(model, Example(collate([row], torch.float32), *seen), Shares())
    alone = separate_losses(model, tokenizer, seen, system, "Text: x")
    assert float(packed) == pytest.approx(sum(alone) / len(alone), rel=1e-4)


def test_padding_and_company_change_nothing(model):
    tokenizer = tiny_tokenizer()
    long, short = pack(tokenizer, TASKS), pack(tokenizer, TASKS[1:])
    features, labels, probabilities = looked(model, 2)
    with torch.no_grad():
        both, _ = row_loss(
            model, Example(collate([long, short], torch.float32), features, labels, probabilities), Shares()
        )
        parts = [
            row_loss(
                model,
                Example(collate([r], torch.float32), features[i : i + 1], labels[i : i + 1], probabilities[i : i + 1]),
                Shares(),
            )[0]
            for i, r in enumerate((long, short))
        ]
    shares = [float(r.weights.sum()) for r in (long, short)]
    expected = sum(float(p) * s for p, s in zip(parts, shares, strict=True)) / sum(shares)
    assert float(both) == pytest.approx(expected, rel=1e-4)


def test_answers_do_not_see_one_another():
    row = pack(tiny_tokenizer(), TASKS)
    sees = row.sees()
    assert not sees[row.parts == 3][:, row.parts == 2].any()  # second caption, first caption
    assert not sees[row.parts == 4][:, row.parts == 1].any()  # another question
    assert sees[row.parts == 3][:, row.parts == 1].all()


def test_a_vocabulary_of_all_tokens_gives_the_exact_loss(model):
    row = pack(tiny_tokenizer(), TASKS)
    example = Example(collate([row], torch.float32), *looked(model))
    everything = Vocabulary(torch.arange(300), 300)
    with torch.no_grad():
        assert float(row_loss(model, example, Shares(0.1), everything)[0]) == pytest.approx(
            float(row_loss(model, example, Shares(0.1))[0]), rel=1e-5
        )


def test_a_sampled_vocabulary_is_right_on_average(model):
    row = pack(tiny_tokenizer(), TASKS)
    example = Example(collate([row], torch.float32), *looked(model))
    spelled = model.pointer.spellings
    common = torch.cat([torch.from_numpy(row.targets[:5]), spelled[spelled >= 0]])
    sampled = Vocabulary(common, 300, sampled=100)
    torch.manual_seed(0)
    with torch.no_grad():
        exact = float(row_loss(model, example, Shares())[0])
        found = [float(row_loss(model, example, Shares(), sampled)[0]) for _ in range(50)]
    assert sum(found) / len(found) == pytest.approx(exact, rel=0.01)
    assert max(found) - min(found) > 0
