"""How well and how fast Glimpse sees.

    launch.py eval glimpse --data DIR [--split test] [--json OUT] [--picture OUT.png]
    python -m benchmarks.glimpse --speed

The first measures answers on a folder in the format of docs/GLIMPSE.md; the second speed, on a drawn scene.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

QUESTIONS = ("Describe the picture in one sentence.", "How many shapes are there?")


def measure(runs: int) -> list[tuple[str, str, str]]:
    """Rows of (what, figure, aim) for `launch.py bench`."""
    found = speed(runs)
    ratio = found["second question over first"]
    return [
        ("Glimpse: loading, warm", f"{found['load']:.1f} s", "≤ 3 s"),
        ("Glimpse: tokens/s over plain generate, with a picture", f"{found['decoding over generate']:.2f}×", "≥ 1.8×"),
        ("Glimpse: first token of a second question over the first", f"{ratio:.2f}×", "≤ 0.3×"),
    ]


def speed(runs: int = 5, tokens: int = 32) -> dict[str, float]:
    """Medians over interleaved runs: plain `generate` and the engine, on the same weights and the same picture."""
    import torch

    from models.glimpse.engine import load_glimpse
    from models.glimpse.scenes import draw_scene
    from models.interfaces import GenerationOptions
    from models.streaming import never_cancelled
    from models.types import ImagePart, Message, Picture, TextPart

    begun = time.perf_counter()
    engine = load_glimpse()
    model: Any = engine.model
    load = time.perf_counter() - begun
    options = GenerationOptions(max_new_tokens=tokens, repetition_penalty=1.0)

    def asks(seed: int, question: str) -> list[Message]:
        return [Message("user", (ImagePart(Picture.of(draw_scene(seed)[0])), TextPart(question)))]

    def ours(messages: list[Message]) -> tuple[float, float]:
        """(seconds to the first token, tokens a second after it)"""
        began = time.perf_counter()
        first, made = 0.0, 0
        for delta in engine.stream(messages, options, never_cancelled()):
            first = first or time.perf_counter() - began
            made += delta.tokens
        return first, max(1, made - 1) / max(1e-9, time.perf_counter() - began - first)

    def plain(messages: list[Message]) -> float:
        prompt = engine._prompt(messages)
        ids = torch.tensor([prompt.tokens])
        began = time.perf_counter()
        made = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, **prompt.inputs
        )
        return (made.shape[1] - ids.shape[1]) / (time.perf_counter() - began)

    ours(asks(0, QUESTIONS[0]))
    rates, seconds = [], []
    for run in range(1, runs + 1):
        first, rate = ours(asks(run, QUESTIONS[0]))
        second, _ = ours(asks(run, QUESTIONS[1]))
        rates.append(rate / plain(asks(run, QUESTIONS[0])))
        seconds.append(second / first)
    return {
        "load": load,
        "decoding over generate": statistics.median(rates),
        "second question over first": statistics.median(seconds),
    }


def draw(figures: dict[str, Any], title: str) -> Image.Image:
    """The figures as bars with their intervals. CIDEr is drawn as it is, all others are shares of one."""
    rows = [(name, f) for name, f in figures.items() if isinstance(f, dict)]
    left, line, width = 330, 26, 900
    image = Image.new("RGB", (width, line * (len(rows) + 2)), "white")
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(15)
    pen.text((10, 8), title, "black", font)

    def across(value: float) -> float:
        return left + min(1.0, max(0.0, value)) * (width - left - 90)

    for number, (name, figure) in enumerate(rows, 1):
        top = number * line + 10
        pen.text((10, top), name, "black", font)
        pen.rectangle((left, top + 2, across(figure["value"]), top + 16), fill=(86, 130, 200))
        pen.line((across(figure["low"]), top + 9, across(figure["high"]), top + 9), fill="black", width=2)
        pen.text((width - 80, top), f"{figure['value']:.3f}", "black", font)
    return image


def main() -> int:
    """Measures, prints, and writes what is asked for. Options that it does not know go to `models.glimpse.evaluate`."""
    parser = argparse.ArgumentParser(prog="launch.py eval glimpse", description=__doc__)
    parser.add_argument("--speed", action="store_true", help="measure speed instead (needs no data)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--picture", type=Path, help="where a picture of the figures goes")
    args, rest = parser.parse_known_args()
    if args.speed:
        found = speed(args.runs)
        print(json.dumps(found, indent=1))
        if args.json:
            args.json.write_text(json.dumps(found, indent=1) + "\n")
        return 0
    from models.glimpse.evaluate import main as evaluate

    with tempfile.TemporaryDirectory() as folder:
        file = args.json or Path(folder) / "figures.json"
        evaluate([*rest, "--json", str(file)])
        facts = json.loads(file.read_text())
    if args.picture:
        draw(facts["figures"], f"Glimpse, {facts['split']} split").save(args.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
