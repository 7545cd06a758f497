"""Trains Glimpse's adapter on a CPU: `python -m models.glimpse.train --data DIR --work DIR`.

Frozen features are computed once and kept in `--work`; a checkpoint there lets an interrupted run go on as if nothing had
happened. The learning rate rises, stays, and with `--decay N` falls to zero over N steps, after which the weights are
written (a run can be prolonged from its last constant-rate checkpoint).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models import weights
from models.glimpse.configuration import GlimpseConfig
from models.glimpse.data import PictureFolder, Record, drawn_records
from models.glimpse.evaluate import greedy_captions
from models.glimpse.features import FLIP, PLAIN, FeatureStore
from models.glimpse.metrics import cider
from models.glimpse.modeling import WEIGHTS_FILE, GlimpseForConditionalGeneration
from models.glimpse.training_set import Example, TrainingSet
from models.glimpse.vision import VisionEncoder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOptions:
    """How training goes. Steps are counted from the very first one, pauses not counted.

    Attributes:
        rows: pictures in a step, each with all its captions and a few questions.
        steps: where to stop.
        rate, warmup: learning rate at its height, and the steps that it rises for.
        decay: the last so many steps, in which the rate falls to zero; 0 for none.
        weight_decay, clip, smoothing: as usual; label smoothing is over the whole vocabulary.
        average: decay of the moving average of the weights, which is what is evaluated and written.
        drawn: how many drawn scenes are in the mixture.
        flips: whether mirrored views are used too.
        evaluate_every: steps between two evaluations on dev.
    """

    rows: int = 8
    steps: int = 6000
    rate: float = 7e-4
    warmup: int = 60
    decay: int = 0
    weight_decay: float = 0.05
    clip: float = 1.0
    smoothing: float = 0.03
    average: float = 0.995
    drawn: int = 2000
    flips: bool = True
    evaluate_every: int = 400
    seed: int = 0

    def rate_at(self, step: int) -> float:
        rising = min(1.0, (step + 1) / self.warmup)
        falling = min(1.0, (self.steps - step) / self.decay) if self.decay else 1.0
        return self.rate * min(rising, falling)


class Vocabulary:
    """The tokens that training answers are made of, and a fresh sample of all others for every step.

    Most of the 49,152 tokens never occur in an answer. Their share of the softmax's normaliser is estimated from the
    sample, each of which stands for many (sampled softmax, Jean et al. 2015, arXiv:1412.2007): a fifth of a step saved.
    """

    def __init__(self, targets: Tensor, size: int, sampled: int = 2048) -> None:
        common = torch.bincount(targets, minlength=size) > 0
        self.common, self.others = common.nonzero().flatten(), (~common).nonzero().flatten()
        self.place = torch.full((size,), -1).scatter(0, self.common, torch.arange(len(self.common)))
        self.sampled = min(sampled, len(self.others))

    @classmethod
    def of(cls, data: TrainingSet, size: int) -> Vocabulary:
        """Counted over one epoch's rows of every fourth picture; rarer tokens count as others."""
        rows = [data.row(r, 0)[0].targets for r in data.records[::4]]
        return cls(torch.from_numpy(np.concatenate(rows)), size)

    def logits(self, head: Tensor, chosen: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Logits over a part of the vocabulary, and where the targets are in it.

        Args:
            head: (vocabulary, width). chosen: (answers' tokens, width). targets: token ids.
        """
        missing = targets[self.place[targets] < 0].unique()
        picked = self.others[torch.randint(len(self.others), (self.sampled,))] if self.sampled else self.others
        columns = torch.cat([self.common, missing, picked])
        logits = (chosen @ head[columns].T).float()
        if self.sampled:
            share = torch.zeros(len(columns))
            share[len(columns) - self.sampled :] = math.log(len(self.others) / self.sampled)
            logits = logits + share
        place = self.place.clone()
        place[missing] = len(self.common) + torch.arange(len(missing))
        return logits, place[targets]


def row_loss(
    model: GlimpseForConditionalGeneration, example: Example, smoothing: float, vocabulary: Vocabulary | None = None
) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy of a batch of rows (with label smoothing), and the plain one for the log."""
    batch, config = example.batch, model.config
    first = config.cross_attention_layers[0]
    with torch.no_grad():  # below the first block nothing depends on pictures or on what is trained
        hidden = model.get_input_embeddings()(batch.tokens)
        hidden = model.run_layers(hidden, batch.mask, batch.positions, last=first)
    memory = model.memory(example.features, example.labels, example.probabilities)
    visible = batch.sighted[:, :, None].expand(-1, -1, memory.shape[1])
    hidden = model.run_layers(
        hidden, batch.mask, batch.positions, keys_values=model.keys_values(memory), visible=visible, first=first
    )
    chosen = model.language_model.model.norm(hidden.flatten(0, 1)[batch.sources])
    head = model.language_model.lm_head.weight
    if vocabulary is None:
        logits, targets = (chosen @ head.T).float(), batch.targets
    else:
        logits, targets = vocabulary.logits(head, chosen, batch.targets)
    normaliser = logits.logsumexp(-1)
    plain = normaliser - logits.gather(1, targets[:, None]).squeeze(1)
    smooth = normaliser - logits.mean(-1)
    share = batch.weights / batch.weights.sum()
    loss = ((1 - smoothing) * plain + smoothing * smooth) @ share
    return loss, (plain @ share).detach()


class Trainer:
    """One training run.

    The adapter computes in bfloat16; its float32 originals are kept here, with the optimiser and the moving average.
    """

    def __init__(
        self, model: GlimpseForConditionalGeneration, data: TrainingSet, options: TrainingOptions, work: Path
    ) -> None:
        self.model, self.data, self.options, self.work = model, data, options, work
        model.requires_grad_(False)
        self.names = [n for n, _ in model.adapter_parameters()]
        self.live = [p.requires_grad_(True) for _, p in model.adapter_parameters()]
        self.masters = [p.detach().float().clone() for p in self.live]
        self.averages = [m.clone() for m in self.masters]
        matrices = [m for m in self.masters if m.dim() > 1]
        others = [m for m in self.masters if m.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": options.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.98), fused=True)
        self.vocabulary = Vocabulary.of(data, model.config.text_config.vocab_size)
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []

    # -- the checkpoint --------------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path:
        return self.work / "checkpoint.pt"

    def save(self, file: Path | None = None) -> None:
        """Writes everything that is needed to go on, in one move."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "masters": dict(zip(self.names, self.masters, strict=True)),
            "averages": dict(zip(self.names, self.averages, strict=True)),
            "optimiser": self.optimiser.state_dict(),
            "buffers": {n: b for n, b in self.model.memory.named_buffers() if n.startswith("feature_")},
        }
        target = file or self.checkpoint
        torch.save(state, target.with_suffix(".part"))
        target.with_suffix(".part").replace(target)

    def resume(self, file: Path | None = None) -> None:
        state = torch.load(file or self.checkpoint, map_location="cpu", weights_only=True)
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]
        for name, master, average in zip(self.names, self.masters, self.averages, strict=True):
            master.copy_(state["masters"][name])
            average.copy_(state["averages"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        for name, value in state["buffers"].items():
            self.model.memory.get_buffer(name).copy_(value)
        self._show(self.masters)

    @torch.no_grad()
    def _show(self, values: Sequence[Tensor]) -> None:
        """Gives the model these weights."""
        for parameter, value in zip(self.live, values, strict=True):
            parameter.copy_(value)

    # -- a step ----------------------------------------------------------------------------------------------------

    def train_step(self, example: Example) -> tuple[float, float]:
        """One update. Returns the plain loss and the gradient's norm."""
        torch.manual_seed(self.options.seed * 1_000_003 + self.step)  # dropout repeats itself after a pause
        self.model.memory.train()
        self.model.blocks.train()
        loss, plain = row_loss(self.model, example, self.options.smoothing, self.vocabulary)
        loss.backward()
        for master, parameter in zip(self.masters, self.live, strict=True):
            master.grad = parameter.grad.float() if parameter.grad is not None else None
            parameter.grad = None
        norm = torch.nn.utils.clip_grad_norm_(self.masters, self.options.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = self.options.rate_at(self.step)
        self.optimiser.step()
        self._show(self.masters)
        # A short average at first, so that the untrained start is soon forgotten.
        keep = min(self.options.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.masters, 1 - keep)
        self.step += 1
        return float(plain), float(norm)

    def run(self, evaluate: Any, save_seconds: float = 300.0) -> None:
        """Trains to the last step, logging, saving and evaluating on the way."""
        losses: list[float] = []
        saved = time.monotonic()
        options, began, start = self.options, time.monotonic(), self.step
        for example in self.data.from_step(self.step):
            if self.step >= options.steps:
                break
            before = time.monotonic()
            loss, norm = self.train_step(example)
            self.seconds += time.monotonic() - before
            losses.append(loss)
            if self.step % 20 == 0:
                pace = (time.monotonic() - began) / (self.step - start)
                log.info(
                    "step %d/%d epoch %.2f loss %.3f norm %.2f rate %.1e  %.2f s/step %.1f pictures/s  left %.0f min",
                    self.step, options.steps, self.step / max(1, self.data.batches_per_epoch),
                    sum(losses[-20:]) / 20, norm, options.rate_at(self.step), pace, options.rows / pace,
                    (options.steps - self.step) * pace / 60,
                )  # fmt: skip
            if time.monotonic() - saved > save_seconds:
                self.save()
                saved = time.monotonic()
            if self.step % options.evaluate_every == 0 or self.step == options.steps:
                self._evaluate(evaluate, sum(losses[-200:]) / len(losses[-200:]))
        self.save()

    def _evaluate(self, evaluate: Any, train_loss: float) -> None:
        self._show(self.averages)
        self.model.eval()
        figures = {"step": float(self.step), "train_loss": train_loss, **evaluate(self.model)}
        self.history.append(figures)
        log.info("dev: %s", json.dumps({k: round(v, 4) for k, v in figures.items()}))
        self._show(self.masters)

    def export(self, folder: Path, facts: dict[str, Any]) -> None:
        """Writes the averaged weights, the configuration and the training record."""
        self._show(self.averages)
        self.model.eval().save_pretrained(folder)
        digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
        record = {
            **facts,
            "options": asdict(self.options),
            "steps": self.step,
            "seconds": round(self.seconds),
            "history": self.history,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "sha256": digest,
        }
        (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")
        self._show(self.masters)


def dev_evaluation(
    data: TrainingSet, dev: Sequence[Record], store: FeatureStore, tokenizer: Any, pictures: int
) -> Any:
    """A function that measures a model on dev: loss of the rows, and CIDEr of greedy captions of so many pictures."""
    captioned = [r for r in dev if r.source == "flickr8k" and len(r.captions) > 1] or [r for r in dev if r.captions]
    captioned = captioned[:pictures]

    def measure(model: GlimpseForConditionalGeneration) -> dict[str, float]:
        figures: dict[str, float] = {}
        losses = []
        with torch.no_grad():
            for start in range(0, len(dev), 8):
                losses.append(float(row_loss(model, data.example(dev[start : start + 8], 0), 0.0)[1]))
        if losses:
            figures["dev_loss"] = sum(losses) / len(losses)
        if captioned:
            said = greedy_captions(model, tokenizer, [store.get(r) for r in captioned])
            figures["cider"] = sum(cider(said, [r.captions for r in captioned])) / len(captioned)
            for text in said[:4]:
                log.info("  says: %s", text)
        return figures

    return measure


def standardise(model: GlimpseForConditionalGeneration, records: Sequence[Record], store: FeatureStore) -> None:
    """Fills the feature statistics from up to 400 training pictures, evenly chosen."""
    step = max(1, len(records) // 400)
    cells = torch.cat([store.get(r, store.views(r)[-1]).features.float() for r in records[::step]])
    model.memory.feature_mean.copy_(cells.mean(0))
    model.memory.feature_scale.copy_(1 / (cells.std(0) + 1e-2))


def prepare_features(
    work: Path, pictures: PictureFolder, records: Sequence[Record], options: TrainingOptions, config: GlimpseConfig
) -> FeatureStore:
    """Computes every missing view of the records. Takes 30 to 80 pictures a second on two cores."""
    store = FeatureStore(work / "features", config.grid**2, config.feature_size, config.label_tokens)
    jobs = [(s, split, PLAIN) for s, split in sorted({(r.source, r.split) for r in records})]
    if options.flips:
        jobs += [(s, "train", FLIP) for s in sorted({r.source for r in records if r.captions})]
    encoder: VisionEncoder | None = None
    for source, split, view in jobs:
        chosen = [r for r in records if r.source == source and r.split == split]
        if all((r.name, view) in store for r in chosen):
            continue
        if encoder is None:
            encoder = VisionEncoder.pretrained(config.vision_model, weights.efficientnet_lite2_file())
            encoder = encoder.to(torch.bfloat16).to(memory_format=torch.channels_last)
        store.add(chosen, view, pictures, encoder, config.image_size)
    return store


def new_model(start: Path | None) -> tuple[GlimpseForConditionalGeneration, Any]:
    """An untrained Glimpse around the packaged SmolLM2 (or the one in `start`), and the tokenizer."""
    from torchvision.models import EfficientNet_B0_Weights
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = weights.smollm2_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if start is not None:
        return GlimpseForConditionalGeneration.from_pretrained(start, attn_implementation="eager"), tokenizer
    language_model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, attn_implementation="eager", local_files_only=True
    )
    labels = [name.split(",")[0] for name in EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]]
    config = GlimpseConfig(text_config=language_model.config, labels=labels)
    torch.manual_seed(0)
    model = GlimpseForConditionalGeneration(config, language_model).to(torch.bfloat16)
    model.embed_labels(tokenizer)
    return model, tokenizer


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m models.glimpse.train", description="Train or fine-tune Glimpse.")
    p.add_argument("--data", type=Path, required=True, help="folder of pictures and .jsonl files (docs/GLIMPSE.md)")
    p.add_argument("--work", type=Path, required=True, help="folder for features, checkpoint and results")
    p.add_argument("--sets", nargs="*", default=[], help="names of the .jsonl files to use (all)")
    p.add_argument("--start", type=Path, help="begin from these weights, for instance models/glimpse/weights")
    p.add_argument("--out", type=Path, help="where the weights go at the end (WORK/weights)")
    p.add_argument("--only-cached", action="store_true", help="use only pictures whose features are there already")
    p.add_argument("--dev-pictures", type=int, default=120, help="pictures of each evaluation")
    p.add_argument("--threads", type=int, default=2)
    for name, value in asdict(TrainingOptions()).items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            p.add_argument(flag, action=argparse.BooleanOptionalAction, default=value)
        else:
            p.add_argument(flag, type=type(value), default=value)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(args.threads)
    options = TrainingOptions(**{name: getattr(args, name) for name in asdict(TrainingOptions())})
    args.work.mkdir(parents=True, exist_ok=True)
    pictures = PictureFolder(args.data)
    records = pictures.records(args.sets) + drawn_records({"train": options.drawn, "dev": min(200, options.drawn)})
    model, tokenizer = new_model(args.start)
    if args.only_cached:
        store = FeatureStore(args.work / "features", model.config.grid**2, model.config.feature_size)
    else:
        store = prepare_features(args.work, pictures, records, options, model.config)
    train = [r for r in records if r.split == "train"]
    data = TrainingSet(train, store, tokenizer, rows=options.rows, seed=options.seed, dtype=model.dtype)
    dev = [r for r in records if r.split == "dev" and (r.name, PLAIN) in store]
    dev_data = TrainingSet(dev, store, tokenizer, rows=options.rows, seed=options.seed, dtype=model.dtype)
    trainer = Trainer(model, data, options, args.work)
    if trainer.checkpoint.is_file():
        trainer.resume()
        log.info("going on from step %d", trainer.step)
    elif args.start is None:
        standardise(model, data.records, store)
    log.info("%d pictures, %d trained parameters", len(data.records), sum(m.numel() for m in trainer.masters))
    chosen = dev_data.records[:: max(1, len(dev_data.records) // args.dev_pictures)][: args.dev_pictures]
    captioned = [r for r in dev_data.records if r.captions][: args.dev_pictures]
    trainer.run(dev_evaluation(dev_data, list({r.name: r for r in chosen + captioned}.values()), store, tokenizer, args.dev_pictures))
    sets = sorted({r.source for r in data.records})
    trainer.export(args.out or args.work / "weights", {"data": {s: sum(r.source == s for r in data.records) for s in sets}})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
