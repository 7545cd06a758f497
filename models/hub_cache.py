"""What was downloaded from a model hub: where it lies, which commit a name stands for, how it is removed.

A checkpoint is a folder `CACHE/hub/OWNER--NAME/COMMIT`. The commit that the first download found is written to
`CACHE/models.lock.json` and used from then on, so that what the hub's owner changes later does not change what runs
here; `update` moves the pin. What another program has already put into the hub's shared cache is used where it lies.
Only configuration, tokenizer, template and safetensors files are taken: nothing that can hold a program.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from models.errors import EngineUnavailable
from models.hub_transfer import PARTIAL, RemoteFile
from models.weights import default_cache

HUB = "https://huggingface.co"
LOCK_FILE = "models.lock.json"
MARKER = ".lucid.json"
WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Files at the root, and chat templates in the one folder that processors look into.
_SAFE_PATH = re.compile(r"(additional_chat_templates/)?[A-Za-z0-9_][\w.-]*")


@dataclass(frozen=True)
class HubPlace:
    """Where checkpoints come from and where they go.

    Attributes:
        endpoint: the hub's address.
        cache: Lucid's cache folder.
    """

    endpoint: str
    cache: Path

    @classmethod
    def usual(cls) -> HubPlace:
        """The hub that $HF_ENDPOINT names, or huggingface.co; Lucid's cache folder."""
        return cls((os.environ.get("HF_ENDPOINT") or HUB).rstrip("/"), default_cache())

    @property
    def hub(self) -> Path:
        return self.cache / "hub"

    def folder(self, repository: str) -> Path:
        return self.hub / repository.replace("/", "--")


@dataclass(frozen=True)
class Downloaded:
    """A checkpoint on this machine.

    Attributes:
        repository: "OWNER/NAME".
        commit: of the repository, 40 hexadecimal digits.
        folder: where it lies.
        size: bytes on the disk.
        complete: all of it is there.
    """

    repository: str
    commit: str
    folder: Path
    size: int
    complete: bool


def parse_name(name: str) -> tuple[str, str | None]:
    """ "hf:OWNER/NAME@REVISION" (with or without "hf:" and revision) → ("OWNER/NAME", revision or None).

    Raises `EngineUnavailable` for what cannot be a repository's name.
    """
    repository, _, revision = name.removeprefix("hf:").partition("@")
    if not is_repository(repository) or (revision and not is_revision(revision)):
        raise EngineUnavailable(f"{name} is not the name of a repository.", "Names look like hf:OWNER/NAME.")
    return repository, revision or None


def is_repository(text: str) -> bool:
    return bool(_REPOSITORY.fullmatch(text)) and ".." not in text and "--" not in text


def is_revision(text: str) -> bool:
    return bool(_REVISION.fullmatch(text)) and ".." not in text


def is_commit(revision: str | None) -> bool:
    return bool(revision and _COMMIT.fullmatch(revision))


def wanted_files(files: list[RemoteFile], repository: str) -> list[RemoteFile]:
    """Those of a repository's files that a checkpoint is loaded from.

    Raises `EngineUnavailable` when there are no safetensors among them.
    """
    safe = [f for f in files if _SAFE_PATH.fullmatch(f.path) and any(fnmatch(f.path, p) for p in WANTED)]
    weights = {f.path for f in safe if f.path.endswith(".safetensors")}
    if not weights:
        raise EngineUnavailable(
            f"{repository} has no weights as safetensors; others can hold programs, so Lucid does not load them.",
            "Choose another model, or a version of it that has safetensors.",
        )
    # Some repositories hold the weights a second time, in their maker's own layout.
    usual = {name for name in weights if name.startswith("model")} or weights
    return [f for f in safe if f.path not in weights or f.path in usual]


def pinned(place: HubPlace, repository: str, revision: str | None = None) -> str | None:
    """The commit that a name stands for on this machine, once it was resolved."""
    if is_commit(revision):
        return revision
    commit = _read_lock(place).get(_key(repository, revision))
    return commit if is_commit(commit) else None


def pin(place: HubPlace, repository: str, revision: str | None, commit: str | None) -> None:
    """Writes down (or, with None, forgets) what a name stands for."""
    if is_commit(revision):
        return
    pins = _read_lock(place)
    if commit is None:
        pins.pop(_key(repository, revision), None)
    else:
        pins[_key(repository, revision)] = commit
    place.cache.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".models.lock-", dir=place.cache)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(pins, file, indent=1, sort_keys=True)
    os.replace(temporary, place.cache / LOCK_FILE)


def whole(folder: Path) -> bool:
    """Whether a downloaded checkpoint is complete: everything that its marker lists is there in its size."""
    try:
        sizes = json.loads((folder / MARKER).read_text(encoding="utf-8"))["files"]
        return all((folder / path).stat().st_size == size for path, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def on_this_machine(repository: str, revision: str | None = None, place: HubPlace | None = None) -> Path | None:
    """The folder of a checkpoint that is here already, ours or the hub's shared cache's; None when there is none."""
    place = place or HubPlace.usual()
    commit = pinned(place, repository, revision)
    if commit is not None:
        ours = place.folder(repository) / commit
        if whole(ours):
            return ours
    return _in_shared_cache(repository, commit or revision)


def downloaded(place: HubPlace | None = None) -> tuple[Downloaded, ...]:
    """What was downloaded into Lucid's cache, whole or in part, by name."""
    place = place or HubPlace.usual()
    found = []
    for repository in sorted(p for p in place.hub.glob("*--*") if p.is_dir()):
        name = repository.name.replace("--", "/", 1)
        for folder in sorted(p for p in repository.iterdir() if p.is_dir() and is_commit(p.name)):
            size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
            found.append(Downloaded(name, folder.name, folder, size, whole(folder)))
    return tuple(found)


def remove(name: str, place: HubPlace | None = None) -> int:
    """Deletes a checkpoint from Lucid's cache and forgets its pin. Returns the bytes that became free.

    Args:
        name: "hf:OWNER/NAME" for every commit of it, "hf:OWNER/NAME@COMMIT" for one.

    Raises:
        EngineUnavailable: nothing of that name was downloaded, or it is being downloaded right now.
    """
    from filelock import FileLock, Timeout

    place = place or HubPlace.usual()
    repository, revision = parse_name(name)
    commit = pinned(place, repository, revision) if revision else None
    mine = [d for d in downloaded(place) if d.repository == repository and commit in (None, d.commit)]
    if not mine or (revision and commit is None):
        shared = _in_shared_cache(repository, revision)
        where = f" Another program has it in {shared}." if shared else ""
        raise EngineUnavailable(
            f"{repository} was not downloaded by Lucid.{where}", "See what was with: python3 launch.py models"
        )
    try:
        with FileLock(place.folder(repository) / ".lock", timeout=0):
            for entry in mine:
                shutil.rmtree(entry.folder)
            for key, value in _read_lock(place).items():
                pinned_repository, _, pinned_revision = key.partition("@")
                if pinned_repository == repository and value in {d.commit for d in mine}:
                    pin(place, repository, pinned_revision or None, None)
    except Timeout as error:
        raise EngineUnavailable(
            f"{repository} is being downloaded right now.", "Stop the download first, then remove it."
        ) from error
    return sum(d.size for d in mine)


def remove_other_commits(place: HubPlace, repository: str) -> None:
    """Deletes the commits of a repository that no pin names any more."""
    kept = {commit for key, commit in _read_lock(place).items() if key.partition("@")[0] == repository}
    for entry in downloaded(place):
        if entry.repository == repository and entry.commit not in kept:
            shutil.rmtree(entry.folder)


def partly_there(folder: Path, files: list[RemoteFile]) -> int:
    """Bytes of `files` that lie in `folder` already, whole files and beginnings."""
    total = 0
    for file in files:
        for path in (folder / file.path, folder / (file.path + PARTIAL)):
            if path.is_file():
                total += min(path.stat().st_size, file.size)
                break
    return total


def _key(repository: str, revision: str | None) -> str:
    return f"{repository}@{revision}" if revision else repository


def _read_lock(place: HubPlace) -> dict[str, str]:
    try:
        pins = json.loads((place.cache / LOCK_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # not made yet; a damaged one costs looking the commits up again
    return {str(k): str(v) for k, v in pins.items()} if isinstance(pins, dict) else {}


def _in_shared_cache(repository: str, revision: str | None) -> Path | None:
    """A complete checkpoint in the cache that the hub's own tools keep."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repository, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return None
    else:
        names = {"model.safetensors"}
    return folder if all((folder / name).is_file() for name in names) else None
