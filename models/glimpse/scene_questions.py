"""Questions about drawn scenes. Their answers are certain, so they teach and measure colour, shape, count and place."""

from __future__ import annotations

import random
import re
from collections import Counter

from models.glimpse.scenes import COLOURS, SHAPES, Scene, Shape

NUMBER_NAMES = ("no", "one", "two", "three", "four", "five")
PLURALS = {"cross": "crosses"}
KINDS = ("colour", "shape", "count", "position", "compare", "presence", "describe")
# What is harder to learn comes more often; where a shape lies can be asked of every second scene only.
TAUGHT = (*KINDS, "count", "presence", *["position"] * 12)


def plural(shape: str) -> str:
    return PLURALS.get(shape, shape + "s")


def article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def third(value: float) -> int:
    """0, 1 or 2: which third of the side; -1 near a border between two, where people would disagree."""
    for index, (low, high) in enumerate(((0.0, 0.36), (0.42, 0.58), (0.64, 1.0))):
        if low <= value <= high:
            return index
    return -1


def place_of(item: Shape) -> str | None:
    """Where in the picture a shape is ("at the top left", "in the middle"), or None when it is between two places."""
    column, row = third(item.centre[0]), third(item.centre[1])
    if column < 0 or row < 0:
        return None
    if column == row == 1:
        return "in the middle"
    rows, columns = ("top", "", "bottom"), ("left", "", "right")
    if row == 1:
        return f"on the {columns[column]}"
    return "at the " + f"{rows[row]} {columns[column]}".strip()


def scene_questions(scene: Scene, rng: random.Random, count: int) -> list[tuple[str, str, str]]:
    """Up to `count` different (kind, question, answer) about a scene."""
    found: dict[str, tuple[str, str, str]] = {}
    for _ in range(count * 6):
        if len(found) >= count:
            break
        kind = rng.choice(TAUGHT)
        made = MAKERS[kind](scene, rng)
        if made is not None:
            found.setdefault(made[0], (kind, *made))
    return list(found.values())


def scene_question(scene: Scene, kind: str, rng: random.Random) -> tuple[str, str] | None:
    """One question of a kind, or None where the scene does not allow one."""
    return MAKERS[kind](scene, rng)


_SHAPES = "|".join(f"{plural(s)}|{s}" for s in SHAPES)
_MENTION = re.compile(rf"\b(?:({'|'.join(COLOURS)}) )?({_SHAPES})\b|\bwhat shape is ({'|'.join(COLOURS)})\b")
_SINGULAR = {plural(s): s for s in SHAPES}


def mentions(scene: Scene, text: str) -> list[tuple[int, int, tuple[Shape, ...]]]:
    """(first character, end, shapes) of everything in `text` that names shapes: what it means, nothing where absent."""
    found = []
    for match in _MENTION.finditer(text.lower()):
        number = 2 if match[2] else 3
        colour, shape = (match[1], _SINGULAR.get(match[2], match[2])) if match[2] else (match[3], None)
        fit = tuple(s for s in scene.shapes if shape in (None, s.shape) and colour in (None, s.colour))
        found.append((match.start(number), match.end(number), fit))
    return found


def _only(scene: Scene, rng: random.Random) -> tuple[Shape, str] | None:
    """A shape, and a name that fits no other one in the scene."""
    shapes = Counter(s.shape for s in scene.shapes)
    pairs = Counter((s.colour, s.shape) for s in scene.shapes)
    named = [(s, s.shape) for s in scene.shapes if shapes[s.shape] == 1]
    named += [(s, f"{s.colour} {s.shape}") for s in scene.shapes if pairs[s.colour, s.shape] == 1]
    return rng.choice(named) if named else None


def _colour(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    shapes = {s.shape: s.colour for s in scene.shapes}
    fit = [k for k in shapes if len({s.colour for s in scene.shapes if s.shape == k}) == 1]
    if not fit:
        return None
    shape = rng.choice(sorted(fit))
    many = sum(s.shape == shape for s in scene.shapes) > 1
    spelling = rng.choice(("color", "colour"))
    if many:
        return f"What {spelling} are the {plural(shape)}?", f"The {plural(shape)} are {shapes[shape]}."
    return f"What {spelling} is the {shape}?", f"The {shape} is {shapes[shape]}."


def _shape(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    colours = Counter(s.colour for s in scene.shapes)
    fit = [s for s in scene.shapes if colours[s.colour] == 1]
    if not fit:
        return None
    item = rng.choice(fit)
    return f"What shape is {item.colour}?", f"The {item.shape} is {item.colour}."


def _count(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    number = len(scene.shapes)
    if rng.random() < 0.5:
        answer = "There is one shape." if number == 1 else f"There are {NUMBER_NAMES[number]} shapes."
        return "How many shapes are there?", answer
    shape = rng.choice(scene.shapes).shape
    number = sum(s.shape == shape for s in scene.shapes)
    answer = f"There is one {shape}." if number == 1 else f"There are {NUMBER_NAMES[number]} {plural(shape)}."
    return f"How many {plural(shape)} are there?", answer


def _position(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    chosen = _only(scene, rng)
    if chosen is None or (place := place_of(chosen[0])) is None:
        return None
    return f"Where is the {chosen[1]}?", f"The {chosen[1]} is {place}."


def _compare(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    if len(scene.shapes) < 2:
        return None
    one, other = rng.sample(scene.shapes, 2)
    names = [f"{s.colour} {s.shape}" for s in (one, other)]
    if len({(s.colour, s.shape) for s in scene.shapes}) < len(scene.shapes):
        return None
    across, down = one.centre[0] - other.centre[0], one.centre[1] - other.centre[1]
    relations = []
    if abs(across) > 0.15:
        relations.append(("left of", "right of") if across < 0 else ("right of", "left of"))
    if abs(down) > 0.15:
        relations.append(("above", "below") if down < 0 else ("below", "above"))
    if abs(one.size - other.size) > 0.06:
        relations.append(("larger than", "smaller than") if one.size > other.size else ("smaller than", "larger than"))
    if not relations:
        return None
    true, false = rng.choice(relations)
    if rng.random() < 0.5:
        return f"Is the {names[0]} {true} the {names[1]}?", f"Yes, it is {true} it."
    return f"Is the {names[0]} {false} the {names[1]}?", f"No, it is {true} it."


def _presence(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    here = {(s.colour, s.shape) for s in scene.shapes}
    if rng.random() < 0.5:
        colour, shape = rng.choice(sorted(here))
        return f"Is there {article(f'{colour} {shape}')}?", f"Yes, there is {article(f'{colour} {shape}')}."
    # Half of the absent ones share a colour or a shape with something that is there.
    colour, shape = rng.choice(sorted(here))
    if rng.random() < 0.5:
        colour = rng.choice(list(COLOURS))
    else:
        shape = rng.choice(SHAPES)
    if (colour, shape) in here:
        return None
    return f"Is there {article(f'{colour} {shape}')}?", f"No, there is no {colour} {shape}."


def _describe(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    groups = Counter((s.colour, s.shape) for s in scene.shapes)
    parts = [article(f"{c} {s}") if n == 1 else f"{NUMBER_NAMES[n]} {c} {plural(s)}" for (c, s), n in groups.items()]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    prompt = rng.choice(("Describe the picture in one sentence.", "What is in this picture?", "What do you see?"))
    return prompt, f"{listed[0].upper()}{listed[1:]} on a {scene.background} background."


MAKERS = {
    "colour": _colour,
    "shape": _shape,
    "count": _count,
    "position": _position,
    "compare": _compare,
    "presence": _presence,
    "describe": _describe,
}
