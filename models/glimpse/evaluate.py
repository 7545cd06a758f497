"""Measures Glimpse: `python -m models.glimpse.evaluate --data DIR --work DIR --split test --json FILE`."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from models import weights
from models.glimpse import WEIGHTS
from models.glimpse.data import PictureFolder, drawn_records
from models.glimpse.features import PLAIN, FeatureStore, Looked
from models.glimpse.measures import MEASURES, Bench
from models.glimpse.modeling import GlimpseForConditionalGeneration
from models.glimpse.vision import picture_tensor

log = logging.getLogger(__name__)


def blank_look(model: GlimpseForConditionalGeneration) -> Looked:
    """What the encoder sees in an even grey picture."""
    if model.vision is None:
        raise ValueError("this Glimpse has no vision encoder")
    side = model.config.image_size
    features, logits = model.vision(picture_tensor(Image.new("RGB", (side, side), (127, 127, 127)), side)[None])
    top = logits[0].float().softmax(-1).topk(model.config.label_tokens)
    return Looked(features[0].to(torch.bfloat16), top.indices, top.values)


def evaluate(bench: Bench, measures: Sequence[str]) -> dict[str, Any]:
    """All figures of the named measures."""
    figures: dict[str, Any] = {}
    for name in measures:
        began = time.monotonic()
        figures.update(MEASURES[name](bench))
        log.info("%s: %.0f s", name, time.monotonic() - began)
    return figures


def table(figures: dict[str, Any]) -> str:
    """The figures as lines: name, value, interval, number of cases."""
    rows = [(n, f) for n, f in figures.items() if isinstance(f, dict)]
    width = max((len(n) for n, _ in rows), default=0)
    return "\n".join(f"{n:{width}}  {f['value']:6.3f}  [{f['low']:.3f}, {f['high']:.3f}]  n={f['n']}" for n, f in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    from transformers import AutoTokenizer

    p = argparse.ArgumentParser(prog="python -m models.glimpse.evaluate", description="Measure Glimpse.")
    p.add_argument("--data", type=Path, required=True, help="folder of pictures and .jsonl files (docs/GLIMPSE.md)")
    p.add_argument("--work", type=Path, help="folder where the pictures' features are kept (a temporary one)")
    p.add_argument("--weights", type=Path, default=WEIGHTS)
    p.add_argument("--split", default="dev", choices=("dev", "test"))
    p.add_argument("--sets", nargs="*", default=[], help="names of the .jsonl files to use (all)")
    p.add_argument("--measures", nargs="*", default=list(MEASURES), choices=list(MEASURES))
    p.add_argument("--most", type=int, default=400, help="pictures per measure")
    p.add_argument("--drawn", type=int, default=400, help="drawn scenes")
    p.add_argument("--beams", type=int, default=3)
    p.add_argument("--json", type=Path, help="where the figures go")
    args = p.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(2)
    model = GlimpseForConditionalGeneration.from_pretrained(args.weights)
    pictures = PictureFolder(args.data)
    everything = pictures.records(args.sets)
    taught = frozenset((r.source, r.label) for r in everything if r.split == "train" and r.label)
    records = [r for r in everything if r.split == args.split] + drawn_records({args.split: args.drawn})
    work = args.work or Path(tempfile.mkdtemp(prefix="glimpse-"))
    store = FeatureStore(work / "features", model.config.grid**2, model.config.feature_size)
    if model.vision is None:
        raise ValueError("this Glimpse has no vision encoder")
    for source in sorted({r.source for r in records}):
        chosen = [r for r in records if r.source == source]
        if not all((r.name, PLAIN) in store for r in chosen):
            store.add(chosen, PLAIN, pictures, model.vision, model.config.image_size)
    tokenizer = AutoTokenizer.from_pretrained(weights.smollm2_folder(), local_files_only=True)
    bench = Bench(model, tokenizer, store, records, blank_look(model), args.most, args.beams, taught)
    try:
        figures = evaluate(bench, args.measures)
    finally:
        if args.work is None:
            shutil.rmtree(work)
    log.info("%s split of %s\n%s", args.split, args.data.name, table(figures))
    if args.json:
        facts = {"split": args.split, "weights": str(args.weights.name), "beams": args.beams, "figures": figures}
        args.json.write_text(json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
