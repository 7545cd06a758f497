"""The training run: steps, learning rate, moving average, checkpoint, and what is written at the end."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.glimpse.data import Record
from models.glimpse.losses import Shares, Vocabulary, row_loss
from models.glimpse.lower_states import LowerStates
from models.glimpse.modeling import WEIGHTS_FILE, GlimpseForConditionalGeneration
from models.glimpse.rewarding import CaptionReward, advantages, sample_captions
from models.glimpse.tasks import CAPTION_PROMPTS, Task
from models.glimpse.training_set import Example, TrainingSet

log = logging.getLogger(__name__)
Evaluation = Callable[[GlimpseForConditionalGeneration], dict[str, float]]


@dataclass(frozen=True)
class TrainingOptions:
    """How training goes. Steps are counted from the very first one, pauses not counted.

    Attributes:
        rows: pictures in a step, each with all its captions and a few questions.
        steps: where to stop.
        rate, warmup: learning rate at its height, and the steps that it rises for.
        decay: so many steps before the end, or before the rewarded ones, in which the rate falls to zero; 0 for none.
        rewarded: the last so many steps, in which the model's own captions are rewarded (`rewarding.py`).
        reward_rate, samples: learning rate at their beginning (it falls to zero), and captions per picture.
        weight_decay, clip, smoothing: as usual; label smoothing is over the whole vocabulary.
        looking, naming: how much it counts that shapes are looked at and that names are known (`losses.Shares`).
        average: decay of the moving average of the weights, which is what is evaluated and written.
        memory_rate: the memory's learning rate against that of all else: it has had its first lessons.
        looks: how often each picture is looked at in the first lessons (`pretraining.py`), before step 0.
        drawn: how many drawn scenes there are; an epoch takes a part of them (`training_set.PER_EPOCH`).
        flips: whether mirrored views are used too.
        evaluate_every: steps between two evaluations on dev.
    """

    rows: int = 8
    steps: int = 6000
    rate: float = 7e-4
    warmup: int = 60
    decay: int = 0
    rewarded: int = 0
    reward_rate: float = 1.5e-4
    samples: int = 5
    weight_decay: float = 0.05
    clip: float = 1.0
    smoothing: float = 0.03
    looking: float = 0.3
    naming: float = 0.03
    average: float = 0.995
    memory_rate: float = 0.5
    looks: float = 6.0
    drawn: int = 6000
    flips: bool = True
    evaluate_every: int = 400
    seed: int = 0

    @property
    def imitated(self) -> int:
        """Steps before the model's own captions are rewarded."""
        return self.steps - self.rewarded

    def rate_at(self, step: int) -> float:
        if step >= self.imitated:
            return self.reward_rate * (self.steps - step) / self.rewarded
        rising = min(1.0, (step + 1) / self.warmup)
        falling = min(1.0, (self.imitated - step) / self.decay) if self.decay else 1.0
        return self.rate * min(rising, falling)


class Trainer:
    """One training run.

    The adapter computes in bfloat16; its float32 originals are kept here, with the optimiser and the moving average.
    """

    def __init__(
        self, model: GlimpseForConditionalGeneration, data: TrainingSet, options: TrainingOptions, work: Path
    ) -> None:
        self.model, self.data, self.options, self.work = model, data, options, work
        self.reward = CaptionReward(data.records) if options.rewarded else None
        model.requires_grad_(False)
        self.names = [n for n, _ in model.adapter_parameters()]
        self.live = [p.requires_grad_(True) for _, p in model.adapter_parameters()]
        self.masters = [p.detach().float().clone() for p in self.live]
        self.averages = [m.clone() for m in self.masters]
        groups = []
        for scale, own in ((options.memory_rate, True), (1.0, False)):
            chosen = [m for n, m in zip(self.names, self.masters, strict=True) if n.startswith("memory.") == own]
            for decay, matrix in ((options.weight_decay, True), (0.0, False)):
                parameters = [m for m in chosen if (m.dim() > 1) == matrix]
                groups.append({"params": parameters, "weight_decay": decay, "scale": scale})
        self.optimiser = torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.98), fused=True)
        self.vocabulary = Vocabulary.of(data, model.config.text_config.vocab_size, model.pointer.spellings)
        self.lower = LowerStates(model)
        self.stopping = False  # set from a signal handler: the run saves and ends after the step under way
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []
        self.rewards: list[float] = []

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
        options = self.options
        smoothing = options.smoothing if self.step < options.imitated else 0.0
        shares = Shares(smoothing, options.looking, options.naming)
        loss, plain = row_loss(self.model, example, shares, self.vocabulary, self.lower)
        loss.backward()
        for master, parameter in zip(self.masters, self.live, strict=True):
            master.grad = parameter.grad.float() if parameter.grad is not None else None
            parameter.grad = None
        norm = torch.nn.utils.clip_grad_norm_(self.masters, self.options.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = options.rate_at(self.step) * group["scale"]
        self.optimiser.step()
        self._show(self.masters)
        # A short average at first, so that the untrained start is soon forgotten.
        keep = min(self.options.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.masters, 1 - keep)
        self.step += 1
        return float(plain), float(norm)

    def _example(self, records: Sequence[Record], epoch: int) -> Example:
        """The batch of the next step, in its last part with the model's own captions in place of people's."""
        if self.reward is None or self.step < self.options.imitated:
            return self.data.example(records, epoch)
        chosen = [r for r in records if r in self.reward]
        if not chosen:
            return self.data.example(records, epoch)
        torch.manual_seed(self.options.seed * 1_000_003 + self.step)
        self.model.eval()
        prompt = CAPTION_PROMPTS[self.step % len(CAPTION_PROMPTS)]
        looked = [self.data.looked(r, epoch) for r in chosen]
        said = sample_captions(self.model, self.data.tokenizer, looked, prompt, self.options.samples)
        scored = [self.reward.scores(r, own) for r, own in zip(chosen, said, strict=True)]
        self.rewards.append(float(np.concatenate(scored).mean()))
        gains = [advantages(s) for s in scored]
        scale = 1 / max(1e-3, float(np.abs(np.concatenate(gains)).mean()))
        tasks = {
            r.name: Task("caption", prompt, tuple(own), tuple(float(g) * scale for g in gain))
            for r, own, gain in zip(chosen, said, gains, strict=True)
        }
        return self.data.example(records, epoch, tasks)

    def run(self, evaluate: Evaluation, save_seconds: float = 300.0) -> None:
        """Trains to the last step, logging, saving and evaluating on the way."""
        losses: list[float] = []
        saved = time.monotonic()
        options, began, start = self.options, time.monotonic(), self.step
        for records, epoch in self.data.from_step(self.step):
            if self.step >= options.steps or self.stopping:
                break
            before = time.monotonic()
            loss, norm = self.train_step(self._example(records, epoch))
            self.seconds += time.monotonic() - before
            losses.append(loss)
            if self.step % 20 == 0:
                pace = (time.monotonic() - began) / (self.step - start)
                log.info(
                    "step %d/%d epoch %.2f loss %.3f norm %.2f rate %.1e  %.2f s/step %.1f pictures/s  left %.0f min",
                    self.step, options.steps, self.step / max(1, self.data.batches_per_epoch),
                    sum(losses[-20:]) / len(losses[-20:]), norm, options.rate_at(self.step), pace, options.rows / pace,
                    (options.steps - self.step) * pace / 60,
                )  # fmt: skip
                if self.rewards:
                    log.info("  reward %.4f", sum(self.rewards[-100:]) / len(self.rewards[-100:]))
            if time.monotonic() - saved > save_seconds:
                self.save()
                saved = time.monotonic()
            if self.step % options.evaluate_every == 0 or self.step == options.steps:
                self._evaluate(evaluate, sum(losses[-200:]) / len(losses[-200:]))
        self.save()

    def _evaluate(self, evaluate: Evaluation, train_loss: float) -> None:
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
