"""Packs questions about one picture, and their answers, into a training row (`rows.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from models.glimpse.rows import DECISIONS, END, REPLY, TURN, Look, Row, system_part
from models.glimpse.scene_questions import mentions
from models.glimpse.scenes import Scene, Shape, coverage
from models.glimpse.tasks import Task

# How much a token of an answer counts against one of a caption; and how much more the first word of a yes-or-no answer
# and a task's key do: all that was seen is in them.
QUESTION_WEIGHT, DECISION_WEIGHT, KEY_WEIGHT = 1.5, 5.0, 3.0


def pack(
    tokenizer: Any,
    tasks: Sequence[Task],
    *,
    system: str = "",
    note: str = "",
    scene: Scene | None = None,
    side: int = 9,
    question_weight: float = QUESTION_WEIGHT,
) -> Row:
    """Packs tasks about one picture into a row.

    Args:
        system: the system prompt, or "".
        note: a line before every question (text that OCR read), or "".
        scene: the drawn scene that the tasks are about; its shapes are to be looked at where they are named.
        side: cells along one side of the feature map.
        question_weight: how much a token of an answer counts against one of a caption.
    """
    packer = _Packer(tokenizer, (system_part(system) if system else "") + TURN, scene, side, question_weight)
    for task in tasks:
        packer.add(task, note)
    return packer.row()


class _Packer:
    """A row in the making; its lists are those of `Row`."""

    def __init__(self, tokenizer: Any, head: str, scene: Scene | None, side: int, question_weight: float) -> None:
        self._tokenizer, self._scene, self._side = tokenizer, scene, side
        self._question_weight = question_weight
        self._tokens = self._encode(head)
        self._header = len(self._tokens)
        self._positions, self._parts, self._parents = list(range(self._header)), [0] * self._header, [-1]
        self._sources: list[int] = []
        self._targets: list[int] = []
        self._weights: list[float] = []
        self._looks: list[Look] = []
        self._copied: list[bool] = []

    def add(self, task: Task, note: str) -> None:
        """A question and its answers."""
        asking = (note + "\n" if note else "") + task.question + REPLY
        question = self._encode(asking)
        first, asked = len(self._tokens), self._node(question, 0, self._header)
        last = len(self._tokens) - 1
        meant = self._named(asking)
        self._looks += [replace(look, index=first + end) for _, end, look in meant if look.cells]
        if len(meant) == 1:  # what the answer depends on
            self._looks.append(replace(meant[0][2], index=last))
        elif task.names:
            self._looks.append(Look(last, names=task.names, absent=task.absent))
        for number, answer in enumerate(task.answers):
            weight = task.weights[number] if task.weights else 1.0
            self._answer(task, answer, weight, asked, self._header + len(question), last)

    def row(self) -> Row:
        return Row(
            np.array(self._tokens), np.array(self._positions), np.array(self._parts), tuple(self._parents),
            self._header, np.array(self._sources, dtype=np.int64), np.array(self._targets, dtype=np.int64),
            np.array(self._weights, dtype=np.float32), tuple(self._looks), np.array(self._copied, dtype=bool),
        )  # fmt: skip

    def _answer(self, task: Task, answer: str, weight: float, asked: int, position: int, last: int) -> None:
        """One answer to the question that is node `asked` and ends with token `last`."""
        said = self._encode(answer + END)
        first = len(self._tokens)
        self._node(said[:-1], asked, position)
        states = [last, *range(first, first + len(said) - 1)]
        self._sources += states
        self._targets += said
        self._copied += [task.copied] * len(said)
        if task.copied:
            self._looks += [Look(state, names=task.names) for state in states[1:]]
        meant = [m for m in self._named(answer + END) if m[2].cells]
        for begin, end, look in meant:
            # The state that predicts a shape's name should look at it already; about one shape, to the end.
            through = len(said) if len(meant) == 1 else end + 1
            self._looks += [replace(look, index=state) for state in states[begin:through]]
        self._weights += [weight * (1.0 if task.kind == "caption" else self._question_weight)] * len(said)
        if answer.split(",")[0].rstrip(".") in DECISIONS:
            self._weights[-len(said)] *= DECISION_WEIGHT
        if task.key and (begin := answer.find(task.key)) >= 0:
            spans = self._spans(answer + END)
            place = len(self._weights) - len(said)
            for index in range(_covering(spans, begin), _covering(spans, begin + len(task.key) - 1) + 1):
                self._weights[place + index] *= KEY_WEIGHT

    def _node(self, tokens: Sequence[int], parent: int, position: int) -> int:
        """Appends a node of the tree; its number."""
        self._parents.append(parent)
        self._tokens += tokens
        self._positions += range(position, position + len(tokens))
        self._parts += [len(self._parents) - 1] * len(tokens)
        return len(self._parents) - 1

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """First character and end of every token."""
        return list(self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping)

    def _named(self, text: str) -> list[tuple[int, int, Look]]:
        """(first token, last token, where to look) of everything in `text` that names shapes."""
        if self._scene is None or not (found := mentions(self._scene, text)):
            return []
        spans = self._spans(text)
        return [
            (_covering(spans, start), _covering(spans, end - 1), _at(items, self._side)) for start, end, items in found
        ]


def _at(items: Sequence[Shape], side: int) -> Look:
    """Where shapes are; where there are none, that they are absent."""
    cells = {cell for item in items for cell in cells_of(item.box, side)}
    return Look(0, cells=tuple(sorted(cells)), absent=not cells)


def _covering(spans: Sequence[tuple[int, int]], place: int) -> int:
    """The index of the token that a character is in."""
    return next(i for i, (start, end) in enumerate(spans) if start <= place < end)


def cells_of(box: tuple[float, float, float, float], side: int) -> tuple[int, ...]:
    """The cells that a box (left, top, right, bottom; fractions of the side) covers by a third or more, or the most."""
    covered = coverage(box, side)
    enough = min(1 / 3, max(covered))
    return tuple(cell for cell, share in enumerate(covered) if share and share >= enough)
