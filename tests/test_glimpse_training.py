"""Training: it learns, it can be interrupted, and it writes what it did."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from models.glimpse.data import PictureFolder, Record
from models.glimpse.features import FLIP, PLAIN, FeatureStore, is_mirrored, view_of
from models.glimpse.starting import lean
from models.glimpse.train import dev_evaluation, standardise
from models.glimpse.trainer import Trainer, TrainingOptions
from models.glimpse.training_set import TrainingSet
from tests.glimpse_tiny import TinyVision, tiny_glimpse, tiny_tokenizer

COLOURS = ("red", "green", "blue", "black")
OPTIONS = TrainingOptions(rows=4, steps=8, rate=3e-3, warmup=2, evaluate_every=4, average=0.9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixteen even pictures whose caption names their colour."""
    folder = tmp_path_factory.mktemp("data")
    lines = []
    for i in range(16):
        colour = COLOURS[i % 4]
        Image.new("RGB", (20, 20), colour).save(folder / f"{i}.png")
        split = "dev" if i >= 12 else "train"
        lines.append(
            json.dumps({"image": f"{i}.png", "split": split, "captions": [f"All {colour}.", f"It is {colour}."]})
        )
    (folder / "mine.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def store(folder, tmp_path_factory):
    pictures = PictureFolder(folder)
    store = FeatureStore(tmp_path_factory.mktemp("work") / "features", cells=9, size=12, top=2)
    for split in ("train", "dev"):
        store.add([r for r in pictures.records() if r.split == split], PLAIN, pictures, TinyVision(), 96)
    store.add([r for r in pictures.records() if r.split == "train"], FLIP, pictures, TinyVision(), 96)
    return store


def training_set(folder, store, split="train"):
    records = [r for r in PictureFolder(folder).records() if r.split == split]
    return TrainingSet(
        records, store, tiny_tokenizer(), rows=4, seed=1, dtype=torch.float32, names=("red", "blue", "green"), side=3
    )


def trainer(folder, store, work, options=OPTIONS):
    model = tiny_glimpse(trained=False)
    data = training_set(folder, store)
    standardise(model, data.records, store)
    return Trainer(model, data, options, work)


def nothing(model):
    return {}


def test_features_are_kept_and_found_again(folder, store):
    again = FeatureStore(store.folder, cells=9, size=12, top=2)
    record = training_set(folder, store).records[0]
    assert again.views(record) == [FLIP, PLAIN]
    assert torch.equal(again.get(record).features, store.get(record).features)
    expected = torch.tensor([1.0, 0.0, 0.0]).repeat(9, 4).to(torch.bfloat16)
    assert torch.equal(again.get(record).features, expected)
    with pytest.raises(KeyError):
        again.get(record, "crop1")


def test_one_picture_can_be_in_two_splits(folder, tmp_path):
    pictures, store = PictureFolder(folder), FeatureStore(tmp_path, cells=9, size=12, top=2)
    train = [Record(f"mine:{i}.png", "mine", "train") for i in range(3)]
    dev = [Record("mine:2.png", "mine", "dev")]
    for records in (dev, train):
        store.add(records, PLAIN, pictures, TinyVision(), 96)
    assert torch.equal(store.get(dev[0]).features, store.get(train[2]).features)
    assert store.views(train[0]) == [PLAIN]
    assert store.views(Record("mine:0.png", "mine", "dev")) == []


def test_views_mirror_and_crop():
    image = Image.new("RGB", (10, 10), "white")
    image.putpixel((0, 0), (255, 0, 0))
    assert view_of(image, FLIP, "x").getpixel((9, 0)) == (255, 0, 0)
    assert view_of(image, "crop1", "x").size != image.size
    assert (is_mirrored(FLIP), is_mirrored("crop1"), is_mirrored("crop2"), is_mirrored(PLAIN)) == (
        True,
        False,
        True,
        False,
    )


def test_the_rate_rises_stays_and_falls():
    options = TrainingOptions(steps=100, rate=1.0, warmup=10, decay=20)
    assert [round(options.rate_at(s), 2) for s in (0, 4, 9, 50, 80, 90, 99)] == [0.1, 0.5, 1.0, 1.0, 1.0, 0.5, 0.05]


def test_the_order_depends_on_seed_and_epoch_alone(folder, store):
    one, two = training_set(folder, store), training_set(folder, store)
    assert one.order(0) == two.order(0)
    assert one.order(0) != one.order(1)
    assert sorted(r.name for b in one.order(3) for r in b) == sorted(r.name for r in one.records)


def test_the_frozen_models_stay_as_they_are_and_the_adapter_learns(folder, store, tmp_path):
    run = trainer(folder, store, tmp_path, TrainingOptions(rows=4, steps=60, rate=2e-2, warmup=5, smoothing=0.0))
    before = {n: p.clone() for n, p in run.model.language_model.named_parameters()}
    batches = zip(run.data.from_step(0), range(60), strict=False)
    losses = [run.train_step(run.data.example(*batch))[0] for batch, _ in batches]
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.5
    for name, parameter in run.model.language_model.named_parameters():
        assert torch.equal(parameter, before[name])


def test_an_interrupted_run_ends_with_the_same_weights(folder, store, tmp_path):
    whole, first = trainer(folder, store, tmp_path / "whole"), trainer(folder, store, tmp_path / "parts")
    for work in (whole.work, first.work):
        work.mkdir()
    whole.run(nothing)
    for batch, _ in zip(first.data.from_step(0), range(5), strict=False):
        first.train_step(first.data.example(*batch))
    first.save()
    second = trainer(folder, store, first.work)
    second.resume()
    assert second.step == 5
    second.run(nothing)
    assert second.step == whole.step == 8
    for ours, theirs in zip(whole.averages + whole.masters, second.averages + second.masters, strict=True):
        # What the frozen layers make of a text is kept and not computed again, so sums may be rounded otherwise.
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_signal_ends_the_run_after_the_step_under_way_and_saves(folder, store, tmp_path):
    run = trainer(folder, store, tmp_path)

    def stop(model):
        run.stopping = True
        return {}

    run.run(stop)
    assert run.step == 4  # the first evaluation's step
    again = trainer(folder, store, tmp_path)
    again.resume()
    assert again.step == 4


def test_the_record_says_what_was_done(folder, store, tmp_path):
    run = trainer(folder, store, tmp_path)
    dev = training_set(folder, store, "dev")
    run.run(dev_evaluation(dev, store, tiny_tokenizer(), 4))
    run.export(tmp_path / "weights", {"data": {"mine": 12}})
    record = json.loads((tmp_path / "weights" / "training.json").read_text())
    assert record["steps"] == 8
    assert record["data"] == {"mine": 12}
    assert [h["step"] for h in record["history"]] == [4, 8]
    assert set(record["history"][0]) >= {"train_loss", "dev_loss", "cider"}
    assert len(record["sha256"]) == 64
    assert run.checkpoint.is_file()


def test_pictures_without_anything_to_learn_do_not_stop_a_batch(folder, store):
    data = training_set(folder, store)
    bare = Record(data.records[0].name, "mine", "train")
    example = data.example([bare, data.records[1]], 0)
    assert len(example.features) == 1


def test_an_epoch_takes_so_many_pictures_of_a_set_as_it_is_told(folder, store):
    records = [r for r in PictureFolder(folder).records() if r.split == "train"]
    few = TrainingSet(
        records, store, tiny_tokenizer(), rows=4, seed=1, dtype=torch.float32, side=3, per_epoch={"mine": 8}
    )
    assert few.batches_per_epoch == 2
    assert [len(batch) for batch in few.order(0)] == [4, 4]


def test_a_run_can_begin_between_two_weights(tmp_path):
    one, other = tiny_glimpse(seed=0), tiny_glimpse(seed=1)
    before, kept = one.blocks[0].query.weight.detach().clone(), one.memory.project.weight.detach().clone()
    other.save_pretrained(tmp_path)
    lean(one, tmp_path, {"memory": 0.0, "blocks": 0.25, "pointer": 1.0})
    expected = 0.75 * before + 0.25 * other.blocks[0].query.weight
    torch.testing.assert_close(one.blocks[0].query.weight, expected)
    assert torch.equal(one.memory.project.weight, kept)
    assert torch.equal(one.pointer.key.weight, other.pointer.key.weight)
