"""First lessons: the memory learns what is in pictures before it is joined to the language model.

Its tokens are asked for names (`naming.py`), and in drawn scenes for the shape and colour under every cell and for how
many there are. That costs a hundredth of what a pass through the language model does, so every picture is looked at
many times. The heads for drawn scenes are then thrown away; the one for names stays.
"""

from __future__ import annotations

import copy
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.glimpse.data import Record
from models.glimpse.features import PLAIN, FeatureStore
from models.glimpse.fusion import PictureMemory
from models.glimpse.naming import NameTeacher, name_loss
from models.glimpse.scene_questions import third
from models.glimpse.scenes import COLOURS, SHAPES, Scene, coverage

log = logging.getLogger(__name__)

MOST_SHAPES = 5  # in a drawn scene


@dataclass(frozen=True)
class Lessons:
    """How the first lessons go.

    Attributes:
        looks: at every picture.
        pictures: at a time.
        rate: learning rate at its height.
        anchor: 0 for a memory that knows nothing yet; else these are further lessons, and this is how much it counts
            that its tokens stay what they were: the rest of the model reads them.
    """

    looks: float = 8.0
    pictures: int = 48
    rate: float = 8e-4
    weight_decay: float = 0.05
    anchor: float = 0.0
    seed: int = 0


class SceneHeads(nn.Module):
    """What is asked of the memory tokens of drawn scenes."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.shape = nn.Linear(size, 1 + len(SHAPES))
        self.colour = nn.Linear(size, 1 + len(COLOURS))
        self.place = nn.Linear(size, 6)
        self.total = nn.Linear(size, 1 + MOST_SHAPES)
        self.per_shape = nn.Linear(size, len(SHAPES) * (1 + MOST_SHAPES))

    def loss(self, looked: Tensor, scenes: Sequence[Scene]) -> Tensor:
        """Cross-entropy of everything asked; `looked`: (scenes, cells + 1, size)."""
        cells, whole = looked[:, :-1], looked[:, -1]
        side = round(cells.shape[1] ** 0.5)
        shapes, colours, places = (torch.stack(x) for x in zip(*(under_cells(s, side) for s in scenes), strict=True))
        counts = torch.tensor([[sum(s.shape == k for s in scene.shapes) for k in SHAPES] for scene in scenes])
        per_shape = self.per_shape(whole).view(-1, 1 + MOST_SHAPES)
        return (
            functional.cross_entropy(self.shape(cells).flatten(0, 1), shapes.flatten())
            + functional.cross_entropy(self.colour(cells).flatten(0, 1), colours.flatten())
            + functional.cross_entropy(self.place(cells).view(-1, 3), places.flatten(), ignore_index=-1)
            + functional.cross_entropy(self.total(whole), counts.sum(1))
            + functional.cross_entropy(per_shape, counts.flatten())
        )


def under_cells(scene: Scene, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """What covers most of each cell: class of its shape and of its colour, (cells,) each, and where it lies as a whole.

    0 where that is less than a fifth of the cell. The place is the third of the picture, across and down (cells, 2);
    -1 where there is nothing, or near a border between two thirds.
    """
    places = torch.full((side * side, 2), -1)
    shapes, colours = torch.zeros(side * side, dtype=torch.long), torch.zeros(side * side, dtype=torch.long)
    most = torch.full((side * side,), 0.2)
    for item in scene.shapes:
        covered = torch.tensor(coverage(item.box, side))
        here = covered > most
        shapes[here] = 1 + SHAPES.index(item.shape)
        colours[here] = 1 + list(COLOURS).index(item.colour)
        places[here] = torch.tensor([third(v) for v in item.centre])
        most = torch.maximum(most, covered)
    return shapes, colours, places


def teach_memory(
    memory: PictureMemory, records: Sequence[Record], store: FeatureStore, teacher: NameTeacher, lessons: Lessons
) -> None:
    """Trains `memory` in place, in bfloat16 products on float32 weights; leaves it in float32."""
    memory.float().train()
    torch.manual_seed(lessons.seed)
    heads = SceneHeads(memory.positions.shape[1])
    before = copy.deepcopy(memory).eval() if lessons.anchor else None
    if before is None:
        _prior(memory, records, teacher)
    parameters = [p.requires_grad_(True) for n, p in memory.named_parameters() if not _about_names(n)]
    optimiser = torch.optim.AdamW(
        [*parameters, *heads.parameters()], lr=lessons.rate, weight_decay=lessons.weight_decay, betas=(0.9, 0.98)
    )
    rng = random.Random(lessons.seed)
    steps = max(1, round(lessons.looks * len(records) / lessons.pictures))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lessons.rate, total_steps=steps + 1, pct_start=0.05)
    began, queue, told = time.monotonic(), list[Record](), list[tuple[float, float]]()
    for step in range(1, steps + 1):
        while len(queue) < lessons.pictures:
            queue += rng.sample(records, len(records))
        chosen, queue = queue[: lessons.pictures], queue[lessons.pictures :]
        *losses, drift = _lesson(memory, heads, chosen, store, teacher, rng, before)
        (losses[0] + losses[1] + lessons.anchor * drift).backward()
        nn.utils.clip_grad_norm_([*parameters, *heads.parameters()], 1.0)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        told.append((float(losses[0].detach()), float(losses[1].detach())))
        if step % 100 == 0 or step == steps:
            names, drawn = (sum(x) / len(told) for x in zip(*told, strict=True))
            pace = (time.monotonic() - began) / step
            log.info(
                "lesson %d/%d names %.3f scenes %.3f  %.0f pictures/s  left %.0f min",
                step, steps, names, drawn, lessons.pictures / pace, (steps - step) * pace / 60,
            )  # fmt: skip
            told.clear()
    memory.eval()


def _about_names(parameter: str) -> bool:
    """What only turns names into tokens: nothing here teaches it."""
    return parameter.startswith(("name_", "project_name", "picture_index"))


@torch.no_grad()
def _prior(memory: PictureMemory, records: Sequence[Record], teacher: NameTeacher) -> None:
    """Starts every name at how often it is right."""
    known = teacher.targets(records[:: max(1, len(records) // 2000)])
    share = ((known.values * known.weights).sum(0) + 0.05) / (known.weights.sum(0) + 1)
    memory.recognise.bias.copy_(share.clamp(1e-4, 0.9).logit())
    for layer in (memory.recognise, memory.recognise_whole):
        nn.init.normal_(layer.weight, std=0.01)


def _lesson(
    memory: PictureMemory,
    heads: SceneHeads,
    records: Sequence[Record],
    store: FeatureStore,
    teacher: NameTeacher,
    rng: random.Random,
    before: PictureMemory | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of names and of drawn scenes for one batch, and how far its tokens are from those of `before`."""
    views = [PLAIN if r.seed is not None else rng.choice(store.views(r)) for r in records]
    features = torch.stack([store.get(r, v).features for r, v in zip(records, views, strict=True)])
    known = teacher.targets(records)
    drawn = [(i, r.drawn) for i, r in enumerate(records) if r.seed is not None]
    with torch.autocast("cpu", torch.bfloat16):
        looked = memory.look(features.float())
        names = name_loss(memory.name_logits(looked), known.values, known.weights)
        scenes = [s for _, s in drawn if s is not None]
        told = heads.loss(looked[[i for i, _ in drawn]], scenes) if scenes else looked.new_zeros(())
        drift = looked.new_zeros(())
        if before is not None:
            with torch.no_grad():
                old = before.look(features.float())
            drift = functional.mse_loss(looked.float(), old.float())
    return names, told.float() * (len(drawn) / len(records)) * 10, drift
