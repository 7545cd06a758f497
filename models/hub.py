"""Checkpoints from a model hub: what is missing is downloaded, with progress and a way to stop.

Where they lie and which commit is taken: `models.hub_cache`. How one file comes: `models.hub_transfer`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from models.errors import AssistantError, Cancelled, EngineUnavailable
from models.hub_cache import (
    MARKER,
    HubPlace,
    is_commit,
    on_this_machine,
    partly_there,
    pin,
    pinned,
    remove_other_commits,
    wanted_files,
    whole,
)
from models.hub_transfer import DamagedFile, RemoteFile, StopSwitch, download_file, network_errors
from models.streaming import CancelToken
from models.weights import OnProgress

# The hub answers in tenths of a second; a captive portal or a dead proxy never does.
METADATA_S = 15.0
TOLD_EVERY_S = 0.2
GB = 1e9


def fetch(
    repository: str,
    revision: str | None = None,
    *,
    offline: bool = False,
    on_progress: OnProgress | None = None,
    cancel: CancelToken | None = None,
    place: HubPlace | None = None,
) -> Path:
    """The folder of a checkpoint (config, tokenizer, processor, safetensors), downloaded where it is not here yet.

    Args:
        repository: "OWNER/NAME".
        revision: a commit, tag or branch; None: the pinned commit, or the newest at the first download.
        offline: contact nothing.
        on_progress: told a sentence and the fraction of all bytes that are here.
        cancel: ends the download within a second; what arrived stays, and the next call goes on from there.
        place: another hub or cache, for tests.

    Raises:
        EngineUnavailable: it cannot be had; the sentence says why and what helps.
        Cancelled: `cancel` became stale.
    """
    from huggingface_hub import constants

    place = place or HubPlace.usual()
    here = on_this_machine(repository, revision, place)
    if here is not None:
        if pinned(place, repository, revision) is None and is_commit(here.name):
            pin(place, repository, revision, here.name)  # another program's, which may move on to another commit
        return here
    if offline or constants.HF_HUB_OFFLINE:
        raise EngineUnavailable(
            f"{repository} is not on this machine, and Lucid runs offline.",
            "Start once without --offline to download it, or choose a model that is here.",
        )
    return _in_a_thread(_Download(place, repository, revision, on_progress or _untold).run, cancel)


def update(
    repository: str,
    revision: str | None = None,
    *,
    on_progress: OnProgress | None = None,
    cancel: CancelToken | None = None,
    place: HubPlace | None = None,
) -> tuple[str | None, str]:
    """Moves a pin to what the repository holds now, downloads it, and deletes what is no longer used.

    Files that did not change are not downloaded again. Raises as `fetch` does. Returns the commit that was pinned
    before (None: none was) and the one that is now.
    """
    place = place or HubPlace.usual()
    before = pinned(place, repository, revision)
    job = _Download(place, repository, revision, on_progress or _untold, newest=True)
    folder = _in_a_thread(job.run, cancel)
    remove_other_commits(place, repository)
    return before, folder.name


def _untold(text: str, fraction: float | None) -> None:
    """Nobody wants to know."""


def _in_a_thread(work: Callable[[StopSwitch], Path], cancel: CancelToken | None) -> Path:
    """Runs `work` so that its caller can leave at once: a socket may take seconds to notice that nobody listens."""
    stop = StopSwitch()
    outcome: list[Path | BaseException] = []

    def run() -> None:
        try:
            outcome.append(work(stop))
        except BaseException as error:  # raised again below
            outcome.append(error)

    thread = threading.Thread(target=run, name="lucid-download", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)
            if cancel is not None and cancel.cancelled:
                raise Cancelled
    except BaseException:  # cancelled, or Ctrl-C in the terminal
        stop.pull()
        thread.join(0.7)
        raise
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


class _Download:
    """One download of one repository. `newest`: the pin does not count."""

    def __init__(
        self, place: HubPlace, repository: str, revision: str | None, tell: OnProgress, *, newest: bool = False
    ) -> None:
        self._place, self._repository, self._revision, self._tell = place, repository, revision, tell
        self._newest = newest
        self._asked = ""
        self._done = self._total = 0
        self._told = 0.0

    def run(self, stop: StopSwitch) -> Path:
        """The folder, complete. Raises as `fetch` does."""
        try:
            return self._run(stop)
        except DamagedFile as error:
            raise EngineUnavailable(
                f"The download of {self._repository} arrived damaged ({error}).",
                "Choose it once more: the damaged file is fetched anew.",
            ) from error
        except network_errors() as error:
            raise self._refusal(error) from error

    def _run(self, stop: StopSwitch) -> Path:
        self._tell(f"Asking the hub for {self._repository}", None)
        commit, files = self._announced()
        stop.check()
        folder = self._place.folder(self._repository) / commit
        folder.mkdir(parents=True, exist_ok=True)
        with self._alone(stop):
            if not whole(folder):
                self._reuse(folder, files)
                self._demand_space(folder, files)
                self._bring(folder, commit, files, stop)
            pin(self._place, self._repository, self._revision, commit)
        return folder

    def _announced(self) -> tuple[str, list[RemoteFile]]:
        """The commit, and the files of it that are wanted."""
        from huggingface_hub import HfApi

        known = None if self._newest else pinned(self._place, self._repository, self._revision)
        self._asked = known or self._revision or "main"
        strange = EngineUnavailable(
            f"{self._place.endpoint} does not answer as a model hub does.", "Check HF_ENDPOINT and the network."
        )
        try:
            info = HfApi(endpoint=self._place.endpoint).model_info(
                self._repository, revision=known or self._revision, files_metadata=True, timeout=METADATA_S
            )
        except (ValueError, KeyError, TypeError) as error:  # a page of a hotel's network, say
            raise strange from error
        files = [
            RemoteFile(
                s.rfilename, s.lfs.size if s.lfs else s.size or 0, s.lfs.sha256 if s.lfs else "", s.blob_id or ""
            )
            for s in info.siblings or ()
        ]
        if not is_commit(info.sha):
            raise strange
        return str(info.sha), wanted_files(files, self._repository)

    @contextlib.contextmanager
    def _alone(self, stop: StopSwitch) -> Iterator[None]:
        """One process downloads a repository; the others wait, and find it whole."""
        from filelock import FileLock, Timeout

        lock = FileLock(self._place.folder(self._repository) / ".lock")
        while True:
            try:
                lock.acquire(timeout=0.2)
                break
            except Timeout:
                self._tell(f"Waiting for another program that downloads {self._repository}", None)
                stop.check()
        try:
            yield
        finally:
            lock.release()

    def _reuse(self, folder: Path, files: list[RemoteFile]) -> None:
        """Files that an earlier commit already had are linked, not downloaded again."""
        for earlier in self._place.folder(self._repository).iterdir():
            if earlier == folder or not whole(earlier):
                continue
            digests = json.loads((earlier / MARKER).read_text(encoding="utf-8")).get("digests", {})
            for file in files:
                digest, target = file.sha256 or file.git_blob, folder / file.path
                if digest and digests.get(file.path) == digest and not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    try:
                        os.link(earlier / file.path, target)
                    except OSError:  # a file system without hard links
                        shutil.copyfile(earlier / file.path, target)

    def _demand_space(self, folder: Path, files: list[RemoteFile]) -> None:
        missing = sum(f.size for f in files) - partly_there(folder, files)
        free = shutil.disk_usage(folder).free
        if missing > free:
            raise EngineUnavailable(
                f"{self._repository} needs {missing / GB:.1f} GB of disk space more, and {free / GB:.1f} GB are free.",
                f"Free some space, or have LUCID_CACHE name a folder on a larger disk (now {self._place.cache}).",
            )

    def _bring(self, folder: Path, commit: str, files: list[RemoteFile], stop: StopSwitch) -> None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers

        self._total = sum(f.size for f in files)
        headers = build_hf_headers()
        for file in sorted(files, key=lambda f: f.size):  # what shows that the model is the wrong one comes first
            target = folder / file.path
            if target.is_file() and target.stat().st_size == file.size:
                self._count(file.size)
                continue
            url = hf_hub_url(self._repository, file.path, revision=commit, endpoint=self._place.endpoint)
            download_file(file, url, headers, target, stop, self._count)
        marker = {
            "repository": self._repository,
            "commit": commit,
            "files": {f.path: f.size for f in files},
            "digests": {f.path: f.sha256 or f.git_blob for f in files},
        }
        (folder / MARKER).write_text(json.dumps(marker, indent=1), encoding="utf-8")
        self._tell(f"Downloaded {self._repository}", 1.0)

    def _count(self, more: int) -> None:
        self._done += more
        now = time.monotonic()
        if now - self._told >= TOLD_EVERY_S or self._done >= self._total:
            self._told = now
            there, total = self._done / GB, self._total / GB
            self._tell(
                f"Downloading {self._repository}: {there:.2f} of {total:.2f} GB",
                min(1.0, self._done / self._total) if self._total else None,
            )

    def _refusal(self, error: BaseException) -> AssistantError:
        """What went wrong, for the owner."""
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        name, page = self._repository, f"{self._place.endpoint}/{self._repository}"
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return EngineUnavailable(
                f"The disk became full while {name} was downloaded ({self._done / GB:.2f} of {self._total / GB:.2f} GB"
                " are there).",
                "Free some space and choose it again: the download goes on from there.",
            )
        if isinstance(error, GatedRepoError) or (status == 403):
            return EngineUnavailable(
                f"{name} is only for those who have accepted its licence on the hub.",
                f"Accept it at {page}, then start Lucid with your token in the environment variable HF_TOKEN.",
            )
        if isinstance(error, RevisionNotFoundError):
            return EngineUnavailable(f"{name} has no revision {self._asked}.", f"Look at {page} for those it has.")
        if isinstance(error, RepositoryNotFoundError) or status in (401, 404):
            return EngineUnavailable(
                f"The hub has no model {name}, or it is private.",
                "Check the name; for a private model start Lucid with your token in the environment variable HF_TOKEN.",
            )
        if isinstance(error, PermissionError):
            return EngineUnavailable(
                f"{self._place.cache} cannot be written.", "Have LUCID_CACHE name a folder that can."
            )
        reason = f"HTTP {status}" if status else type(error).__name__
        if self._done:
            return EngineUnavailable(
                f"The download of {name} broke off at {self._done / GB:.2f} of {self._total / GB:.2f} GB ({reason}).",
                "Choose it again when the network is back: it goes on from there.",
            )
        return EngineUnavailable(
            f"The model hub at {self._place.endpoint} cannot be reached ({reason}).",
            "Check the network, or choose a model that is on this machine.",
        )
