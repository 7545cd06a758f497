"""Training data: folders of pictures with one JSON object per line that says what is true of each.

A data folder holds any number of `NAME.jsonl` files. Each line is an object with

    image      file name of the picture, relative to the folder, or a member of `NAME.tar` beside it        (required)
    split      "train", "dev" or "test"; without it, or where a set has only "train", a tenth each is held out
    captions   sentences that describe the picture
    qa         [{"question": …, "answer": …}, …]
    label      the name of the one thing that it shows          kind   a wider name for it
    scene      the kind of place                                objects   {"name": count, …}
    sentence, truth                a statement about the picture, and whether it is true (NLVR calls it `label`)

and all but the first may be left out or null.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from models.errors import BadInput
from models.glimpse.scenes import Scene, draw_scene, scene_of

DRAWN = "drawn"
# Seeds of the drawn scenes: the splits never share one.
DRAWN_SEEDS = {"train": 0, "dev": 1_000_000, "test": 2_000_000}


@dataclass(frozen=True)
class Record:
    """One picture and what is known of it.

    Attributes:
        name: the picture's name, unique in all sets together.
        source: the set's name.
        split: "train", "dev", "test".
        captions, qa, label, kind, place, objects, statement: as in the module's docstring; empty where unknown.
        seed: of the drawn scene that it is; None for a photograph.
    """

    name: str
    source: str
    split: str
    captions: tuple[str, ...] = ()
    qa: tuple[tuple[str, str], ...] = ()
    label: str = ""
    kind: str = ""
    place: str = ""
    objects: tuple[tuple[str, int], ...] = ()
    statement: tuple[str, bool] | None = None
    seed: int | None = None

    @property
    def drawn(self) -> Scene | None:
        return None if self.seed is None else scene_of(self.seed)


def share(text: str) -> float:
    """A number in [0, 1) that depends on `text` alone: the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def read_set(file: Path) -> list[Record]:
    """The records of one `.jsonl` file. Raises `BadInput` with the line's number for one that cannot be used."""
    records = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            records.append(_record(json.loads(line), file.stem))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                f"Line {number} of {file.name} cannot be used ({error!r}).", "docs/GLIMPSE.md shows the format."
            ) from error
    if {r.split for r in records} == {"train"}:
        records = [_held_out(r) for r in records]
    return records


def _record(row: dict[str, Any], source: str) -> Record:
    row = {key: value for key, value in row.items() if value is not None}
    statement = None
    truth = row.get("truth", row.get("label"))
    if "sentence" in row:
        statement = (str(row["sentence"]), bool(truth))
    return Record(
        name=f"{source}:{row['image']}",
        source=source,
        split=row.get("split", "train"),
        captions=tuple(" ".join(c.split()) for c in row.get("captions", ())),
        qa=tuple((q["question"], str(q["answer"])) for q in row.get("qa", ())),
        label=row["label"] if isinstance(row.get("label"), str) else "",
        kind=row.get("kind", ""),
        place=row.get("scene", ""),
        objects=tuple((str(k), int(v)) for k, v in row.get("objects", {}).items()),
        statement=statement,
    )


def _held_out(record: Record) -> Record:
    """A tenth of the pictures for dev, a tenth for test; of named things, an eighth of the names for test alone."""
    if record.label and share(f"class {record.source} {record.label}") < 1 / 8:
        split = "test"
    else:
        tenth = int(share(record.name) * 10)
        split = {0: "dev", 1: "test"}.get(tenth, "train")
    return Record(**{**record.__dict__, "split": split})


def drawn_records(counts: dict[str, int]) -> list[Record]:
    """So many drawn scenes per split."""
    return [
        Record(name=f"{DRAWN}:{DRAWN_SEEDS[split] + i}", source=DRAWN, split=split, seed=DRAWN_SEEDS[split] + i)
        for split, count in counts.items()
        for i in range(count)
    ]


@dataclass
class PictureFolder:
    """Opens the pictures of a data folder, from files or from the tar beside each `.jsonl`."""

    folder: Path
    _tars: dict[str, tarfile.TarFile] = field(default_factory=dict, repr=False)

    def records(self, names: Sequence[str] = ()) -> list[Record]:
        """All records of the folder, or of the named sets. Raises `BadInput` when there are none."""
        files = [self.folder / f"{n}.jsonl" for n in names] if names else sorted(self.folder.glob("*.jsonl"))
        missing = [f.name for f in files if not f.is_file()]
        if missing or not files:
            raise BadInput(f"{self.folder} has no {', '.join(missing) or '.jsonl file'}.", "See docs/GLIMPSE.md.")
        return [record for file in files for record in read_set(file)]

    def open(self, record: Record) -> Image.Image:
        """The picture, RGB. Raises `BadInput` when it is missing or broken."""
        if record.seed is not None:
            return draw_scene(record.seed)[0]
        member = record.name.split(":", 1)[1]
        try:
            with Image.open(self._bytes(record.source, member)) as image:
                return image.convert("RGB")
        except (OSError, KeyError, ValueError) as error:
            raise BadInput(f"The picture {member} of {record.source}.jsonl cannot be opened: {error}") from error

    def _bytes(self, source: str, member: str) -> io.BytesIO:
        file = self.folder / member
        if file.is_file():
            return io.BytesIO(file.read_bytes())
        if source not in self._tars:
            self._tars[source] = tarfile.open(self.folder / f"{source}.tar")  # noqa: SIM115 - kept open for the next ones
        found = self._tars[source].extractfile(member)
        if found is None:
            raise KeyError(member)
        return io.BytesIO(found.read())

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records())
