"""Trains Glimpse's adapter on a CPU: `python -m models.glimpse.train --data DIR --work DIR`.

Frozen features are computed once and kept in `--work`; a checkpoint there lets an interrupted run go on as if nothing
had happened. The learning rate rises, stays, and with `--decay N` falls to zero over N steps, after which the weights
are written (a run can be prolonged from its last constant-rate checkpoint).
"""

from __future__ import annotations

import argparse
import logging
import signal
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch

from models import weights
from models.glimpse.answering import captions
from models.glimpse.configuration import GlimpseConfig
from models.glimpse.data import PictureFolder, Record, drawn_records
from models.glimpse.features import FLIP, PLAIN, FeatureStore
from models.glimpse.kinds import KindTeacher
from models.glimpse.losses import Shares, row_loss
from models.glimpse.measures import (
    Bench,
    close_up_figures,
    naming_figures,
    pointing_figures,
    presence_figures,
    scene_figures,
)
from models.glimpse.metrics import cider
from models.glimpse.modeling import GlimpseForConditionalGeneration
from models.glimpse.naming import NameTeacher, vocabulary
from models.glimpse.pretraining import Lessons, teach_memory
from models.glimpse.starting import embed_names, lean, learn_names
from models.glimpse.trainer import Evaluation, Trainer, TrainingOptions
from models.glimpse.training_set import TrainingSet
from models.glimpse.vision import VisionEncoder

log = logging.getLogger(__name__)


def dev_evaluation(data: TrainingSet, store: FeatureStore, tokenizer: Any, pictures: int) -> Evaluation:
    """A function that measures a model on `pictures` of dev: the rows' loss, CIDEr of greedy captions, and skills."""
    captioned = [r for r in data.records if len(r.captions) > 1] or [r for r in data.records if r.captions]
    captioned = captioned[:pictures]
    chosen = data.records[:: max(1, len(data.records) // pictures)][:pictures]
    some = list({r.name: r for r in chosen + captioned}.values())

    def measure(model: GlimpseForConditionalGeneration) -> dict[str, float]:
        figures: dict[str, float] = {}
        losses = []
        with torch.no_grad():
            for start in range(0, len(some), 8):
                losses.append(float(row_loss(model, data.example(some[start : start + 8], 0), Shares())[1]))
        if losses:
            figures["dev_loss"] = sum(losses) / len(losses)
        if captioned:
            said = captions(model, tokenizer, [store.get(r) for r in captioned])
            figures["cider"] = sum(cider(said, [r.captions for r in captioned])) / len(captioned)
            for text in said[:4]:
                log.info("  says: %s", text)
        blank = store.get(some[0]) if some else None
        if blank is not None:
            bench = Bench(model, tokenizer, store, data.records, blank, most=pictures)
            for measure in (presence_figures, close_up_figures, scene_figures, naming_figures, pointing_figures):
                figures.update({name: f["value"] for name, f in measure(bench).items() if "encoder" not in name})
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
        jobs += [(s, "train", FLIP) for s in sorted({r.source for r in records if r.seed is None and not r.qa})]
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


def new_model(start: Path | None, names: Sequence[str] = ()) -> tuple[GlimpseForConditionalGeneration, Any]:
    """An untrained Glimpse around SmolLM2, or the one in `start`, that can learn `names`; and its tokenizer."""
    from torchvision.models import EfficientNet_B0_Weights
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    folder = weights.smollm2_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if start is not None:
        model = GlimpseForConditionalGeneration.from_pretrained(start, attn_implementation="eager")
        learn_names(model, names, tokenizer)
        return model, tokenizer
    language_model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, attn_implementation="eager", local_files_only=True
    )
    labels = [name.split(",")[0] for name in EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]]
    text_config = {k: v for k, v in language_model.config.to_dict().items() if not k.endswith("name_or_path")}
    config = GlimpseConfig(text_config=text_config, labels=labels, names=list(names))
    torch.manual_seed(0)
    model = GlimpseForConditionalGeneration(config, cast(LlamaForCausalLM, language_model))
    model.cast_adapter(torch.bfloat16)
    embed_names(model, tokenizer)
    return model, tokenizer


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m models.glimpse.train", description="Train or fine-tune Glimpse.")
    p.add_argument("--data", type=Path, required=True, help="folder of pictures and .jsonl files (docs/GLIMPSE.md)")
    p.add_argument("--work", type=Path, required=True, help="folder for features, checkpoint and results")
    p.add_argument("--sets", nargs="*", default=[], help="names of the .jsonl files to use (all)")
    p.add_argument("--start", type=Path, help="begin from these weights, for instance models/glimpse/weights")
    p.add_argument("--toward", type=Path, help="with --start: begin between these weights and that")
    for part in ("memory", "blocks", "pointer"):
        p.add_argument(f"--{part}-share", type=float, default=0.5, help=f"how far the {part} is on the way to --toward")
    p.add_argument("--per-epoch", nargs="*", default=[], metavar="SET=N", help="pictures of a set in one epoch")
    p.add_argument("--lessons", type=float, default=0.0, help="with --start: looks of further first lessons (0: none)")
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
    records = pictures.records(args.sets) + drawn_records({"train": options.drawn, "dev": min(300, options.drawn)})
    train = [r for r in records if r.split == "train"]
    model, tokenizer = new_model(args.start, vocabulary(train))
    if args.toward is not None:
        shares = {"memory": args.memory_share, "blocks": args.blocks_share, "pointer": args.pointer_share}
        lean(model, args.toward, shares)
    config = model.config
    if args.only_cached:
        store = FeatureStore(args.work / "features", config.grid**2, config.feature_size)
    else:
        store = prepare_features(args.work, pictures, records, options, config)
    settings: dict[str, Any] = {"rows": options.rows, "seed": options.seed, "dtype": model.dtype, "side": config.grid}
    settings["per_epoch"] = {name: int(n) for name, _, n in (text.partition("=") for text in args.per_epoch)}
    data = TrainingSet(train, store, tokenizer, names=config.names, labels=config.labels, **settings)
    dev = [r for r in records if r.split == "dev" and (r.name, PLAIN) in store]
    dev_data = TrainingSet(dev, store, tokenizer, names=config.names, labels=config.labels, **settings)
    if args.start is None or args.lessons:
        lessons = Lessons(looks=options.looks, seed=options.seed)
        if args.start is not None:
            lessons = Lessons(looks=args.lessons, rate=3e-4, anchor=10.0, seed=options.seed)
        first_lessons(model, data, store, lessons, args.work / "memory.pt")
    trainer = Trainer(model, data, options, args.work)

    def stop(*_: object) -> None:
        trainer.stopping = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if trainer.checkpoint.is_file():
        trainer.resume()
        log.info("going on from step %d", trainer.step)
    log.info("%d pictures, %d trained parameters", len(data.records), sum(m.numel() for m in trainer.masters))
    trainer.run(dev_evaluation(dev_data, store, tokenizer, args.dev_pictures))
    if trainer.stopping:
        log.info("stopped at step %d; the same command goes on from there", trainer.step)
        return 0
    sets = sorted({r.source for r in data.records})
    trainer.export(
        args.out or args.work / "weights", {"data": {s: sum(r.source == s for r in data.records) for s in sets}}
    )
    return 0


def first_lessons(
    model: GlimpseForConditionalGeneration, data: TrainingSet, store: FeatureStore, lessons: Lessons, file: Path
) -> None:
    """Teaches a model's memory (`pretraining.py`), or takes what `file` kept of that."""
    if not file.is_file():
        if not lessons.anchor:
            standardise(model, data.records, store)
        teach_memory(
            model.memory,
            data.records,
            store,
            NameTeacher(model.config.names, data.records, KindTeacher(model.config.labels)),
            lessons,
        )
        torch.save(model.memory.state_dict(), file)
    kept = torch.load(file, map_location="cpu", weights_only=True)
    model.memory.to(model.dtype).load_state_dict(kept)


if __name__ == "__main__":
    raise SystemExit(main())
