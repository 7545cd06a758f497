"""Finding pictures by sentences: a head that puts what the vision encoder sees near what MiniLM reads.

Both sides end as unit vectors; the head is trained by InfoNCE (van den Oord et al. 2018, arXiv:1807.03748) in both
directions, as in CLIP (Radford et al. 2021, arXiv:2103.00020): `python -m models.glimpse.retrieval --data D --work W`.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from models import weights
from models.glimpse.data import PictureFolder, Record
from models.glimpse.features import PLAIN, FeatureStore, is_mirrored

log = logging.getLogger(__name__)

HEAD_FILE = "retrieval.safetensors"
TEXT_SIZE = 384  # of MiniLM's sentence vectors


class RetrievalHead(nn.Module):
    """Pictures' pooled features and sentences' vectors to one space.

    Args:
        feature_size: numbers per cell of the vision encoder's map.
        size: of the common space.
        hidden: width of the picture side's hidden layer.
    """

    def __init__(self, feature_size: int = 1856, size: int = 256, hidden: int = 512, dropout: float = 0.3) -> None:
        super().__init__()
        self.picture = nn.Sequential(
            nn.LayerNorm(2 * feature_size),
            nn.Dropout(dropout),
            nn.Linear(2 * feature_size, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, size),
        )
        self.text = nn.Sequential(nn.Dropout(dropout / 3), nn.Linear(TEXT_SIZE, size))
        self.temperature = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def pictures(self, pooled: Tensor) -> Tensor:
        """(pictures, 2 · feature size) of `pool` → unit vectors (pictures, size)."""
        return functional.normalize(self.picture(pooled), dim=-1)

    def sentences(self, vectors: Tensor) -> Tensor:
        """(sentences, 384) of MiniLM → unit vectors (sentences, size)."""
        return functional.normalize(self.text(vectors), dim=-1)

    def loss(self, pooled: Tensor, vectors: Tensor) -> Tensor:
        """InfoNCE of matching rows, both ways; `vectors` (sentences of each picture, pictures, 384), one set by one."""
        pictures, right = self.pictures(pooled), torch.arange(len(pooled))
        losses = []
        for sentences in self.sentences(vectors):
            scores = pictures @ sentences.T * self.temperature.exp().clamp(max=100)
            losses += [functional.cross_entropy(scores, right), functional.cross_entropy(scores.T, right)]
        return torch.stack(losses).mean()

    def save(self, folder: Path) -> None:
        save_file({n: v.to(torch.float16).contiguous() for n, v in self.state_dict().items()}, folder / HEAD_FILE)

    @classmethod
    def load(cls, folder: Path) -> RetrievalHead:
        """The trained head of a folder. Raises `OSError` when there is none."""
        state = {n: v.float() for n, v in load_file(folder / HEAD_FILE).items()}
        hidden, both = state["picture.2.weight"].shape
        head = cls(both // 2, state["text.1.weight"].shape[0], hidden)
        head.load_state_dict(state)
        return head.eval()


def pool(features: Tensor) -> Tensor:
    """(…, cells, feature size) → mean and maximum over the cells, side by side (…, 2 · feature size), float32."""
    features = features.float()
    return torch.cat([features.mean(-2), features.amax(-2)], -1)


class SentenceEncoder:
    """MiniLM: sentences to unit vectors of 384 numbers (mean of the last layer's tokens)."""

    def __init__(self, folder: Path | None = None) -> None:
        from transformers import AutoModel, AutoTokenizer

        source = folder or weights.minilm_folder()
        self._tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
        self._model = AutoModel.from_pretrained(source, local_files_only=True).eval()

    @torch.no_grad()
    def encode(self, sentences: Sequence[str], batch: int = 128) -> Tensor:
        """(sentences, 384), in their order."""
        order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
        vectors = torch.zeros(len(sentences), TEXT_SIZE)
        for start in range(0, len(order), batch):
            group = order[start : start + batch]
            inputs = self._tokenizer([sentences[i] for i in group], padding=True, truncation=True, return_tensors="pt")
            states = self._model(**inputs).last_hidden_state
            mask = inputs["attention_mask"][..., None].float()
            vectors[group] = functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        return vectors


def recalls(head: RetrievalHead, pooled: Tensor, vectors: Tensor, owners: Tensor) -> dict[str, float]:
    """Recall at 1, 5 and 10, text to picture (every sentence) and picture to text.

    Args:
        pooled: (pictures, …); vectors: (sentences, 384); owners: (sentences,), the index of each sentence's picture.
    """
    with torch.no_grad():
        scores = head.sentences(vectors) @ head.pictures(pooled).T
    found = {}
    own = scores.gather(1, owners[:, None])
    rank = (scores > own).sum(1)
    best = torch.full((len(pooled),), len(owners))
    order = scores.argsort(0, descending=True)
    for place in range(min(10, len(owners))):
        hit = owners[order[place]] == torch.arange(len(pooled))
        best[hit & (best > place)] = place
    for k in (1, 5, 10):
        found[f"text to picture R@{k}"] = float((rank < k).float().mean())
        found[f"picture to text R@{k}"] = float((best < k).float().mean())
    return found


def gather(
    records: Sequence[Record], store: FeatureStore, encoder: SentenceEncoder, views: Sequence[str]
) -> tuple[Tensor, Tensor, Tensor]:
    """Pooled features per view (views, pictures, …), all captions' vectors, and whose caption each is."""
    pooled = torch.stack([torch.stack([pool(store.get(r, v).features) for r in records]) for v in views])
    texts = [c for r in records for c in r.captions]
    owners = torch.tensor([i for i, r in enumerate(records) for _ in r.captions])
    return pooled, encoder.encode(texts), owners


def train(
    data: tuple[Tensor, Tensor, Tensor],
    dev: tuple[Tensor, Tensor, Tensor],
    *,
    epochs: int,
    rows: int,
    captions: int = 3,
    seed: int = 0,
) -> tuple[RetrievalHead, list[dict[str, float]]]:
    """The head of the epoch that dev liked best (text to picture, recall at 1), and the history.

    A step takes `rows` pictures with `captions` of each one's sentences.
    """
    torch.manual_seed(seed)
    pooled, vectors, owners = data
    head = RetrievalHead(pooled.shape[-1] // 2)
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.05)
    captions_of = [torch.nonzero(owners == i).flatten() for i in range(pooled.shape[1])]
    steps = epochs * max(1, pooled.shape[1] // rows)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps + 1, pct_start=0.1)
    best, kept, history = -1.0, head.state_dict(), []
    for epoch in range(epochs):
        head.train()
        losses = []
        for chosen in torch.randperm(pooled.shape[1]).split(rows):
            if len(chosen) < min(rows, pooled.shape[1]):
                continue
            texts = torch.stack([_some(captions_of[i], captions) for i in chosen], 1)
            view = torch.randint(len(pooled), (len(chosen),))
            loss = head.loss(pooled[view, chosen], vectors[texts])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        found = recalls(head.eval(), dev[0][0], dev[1], dev[2])
        history.append({"epoch": epoch + 1.0, "loss": sum(losses) / max(1, len(losses)), **found})
        if found["text to picture R@1"] > best:
            best, kept = found["text to picture R@1"], {n: v.clone() for n, v in head.state_dict().items()}
    head.load_state_dict(kept)
    return head.eval(), history


def _some(numbers: Tensor, count: int) -> Tensor:
    """`count` of `numbers`, each at most once as long as there are enough."""
    order = torch.randperm(len(numbers)).repeat(-(-count // len(numbers)))
    return numbers[order[:count]]


def main(arguments: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m models.glimpse.retrieval", description="Train the retrieval head.")
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True, help="folder with the features that training computed")
    p.add_argument("--set", default="flickr8k", help="the .jsonl file with captions")
    p.add_argument("--out", type=Path, required=True, help="folder for the head")
    p.add_argument("--epochs", type=int, default=30)
    p.add_argument("--rows", type=int, default=512)
    p.add_argument("--captions", type=int, default=3, help="sentences of each picture in one step")
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(args.threads)
    began = time.monotonic()
    store, encoder = FeatureStore(args.work / "features"), SentenceEncoder()
    records = [r for r in PictureFolder(args.data).records([args.set]) if r.captions and (r.name, PLAIN) in store]
    splits = {s: [r for r in records if r.split == s] for s in ("train", "dev", "test")}
    common = set.intersection(*(set(store.views(r)) for r in splits["train"]))
    # A mirrored picture and a caption that says "left" rarely meet: one caption in a hundred names a side.
    views = sorted(common, key=is_mirrored)
    data = gather(splits["train"], store, encoder, views)
    dev = gather(splits["dev"], store, encoder, [PLAIN])
    head, history = train(data, dev, epochs=args.epochs, rows=args.rows, captions=args.captions)
    args.out.mkdir(parents=True, exist_ok=True)
    head.save(args.out)
    best = max(history, key=lambda h: h["text to picture R@1"])
    record = {"pictures": len(splits["train"]), "dev pictures": len(splits["dev"]), "views": views, "best": best}
    if splits["test"]:
        record["test pictures"] = len(splits["test"])
        record["test"] = recalls(head, *_first(gather(splits["test"], store, encoder, [PLAIN])))
    (args.out / "retrieval.json").write_text(json.dumps(record, indent=1) + "\n")
    log.info("%.0f s\n%s", time.monotonic() - began, json.dumps(record, indent=1))
    return 0


def _first(data: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return data[0][0], data[1], data[2]


if __name__ == "__main__":
    raise SystemExit(main())
