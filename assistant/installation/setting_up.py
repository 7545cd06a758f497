"""Brings the environment to where the requirements want it: interruptible, repeatable, one at a time."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from assistant.installation.environment import Environment, SetupFailed, Stage, fitting_python
from assistant.installation.pip_run import explain, run_pip
from assistant.installation.progress import Display, clock

FIRST_INSTALL_BYTES = 10_000_000_000  # 7.1 GB of packages on Linux, where torch brings CUDA, and room to unpack them
RAW_PROGRESS_PIP = (24, 1)  # the first pip that reports its downloads in a form meant for programs


def set_up(environment: Environment, stages: Sequence[Stage], display: Display, *, again: bool = False) -> None:
    """Installs those of `stages` that are not installed yet; with `again`, has pip look at all of them.

    Raises:
        SetupFailed: with a sentence for the owner; what was finished before stays finished.
    """
    try:
        environment.folder.mkdir(exist_ok=True)
        with only_one(environment.folder / "lucid.lock", display):
            _install(environment, stages, display, again)
    except OSError as error:
        reason = error.strerror or str(error)
        where = error.filename or environment.folder
        raise SetupFailed(f"{where}: {reason}. Check the disk and its permissions, then run this again.") from error


def _install(environment: Environment, stages: Sequence[Stage], display: Display, again: bool) -> None:
    # Asked under the lock: whoever held it before may have done the work.
    if not (again or environment.pending(stages)):
        return
    _check_room(environment)
    if not environment.works():
        make_environment(environment, display)
    environment.discard_half_installed()
    progress = _newer_pip(environment, display)
    for stage in stages if again else environment.pending(stages):
        started = time.monotonic()
        doing = f"Installing the {stage.name}"
        display.line(f"{doing} ({stage.file})")
        run_pip(environment, ["-r", str(environment.root / stage.file), *stage.options, *progress], display, doing)
        environment.mark(stage)
        display.line(f"Installed the {stage.name} in {clock(time.monotonic() - started)}")
    shutil.rmtree(environment.temporary, ignore_errors=True)


def _check_room(environment: Environment) -> None:
    """Refuses a first installation that could not end well. What an interrupted one has put there is counted."""
    if environment.stamps():
        return
    present = sum(f.lstat().st_size for f in environment.folder.rglob("*") if f.is_file())
    free = shutil.disk_usage(environment.folder).free
    if free + present < FIRST_INSTALL_BYTES:
        raise SetupFailed(
            f"The disk of {environment.root} has {free / 1e9:.1f} GB free and installing takes up to"
            f" {FIRST_INSTALL_BYTES / 1e9:.0f} GB: make room or move Lucid to a larger disk, then run this again."
        )


def make_environment(environment: Environment, display: Display) -> None:
    """Makes `.venv` anew with a fitting Python, over whatever half-made one is there."""
    python = fitting_python()
    for entry in environment.folder.iterdir():
        if entry.name == "lucid.lock":
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    display.line(f"Making an environment in {environment.folder} with {python}")
    command = [python, "-m", "venv", str(environment.folder)]
    made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    output = made.stdout.decode("utf-8", "replace")
    if made.returncode == 0 and environment.works():
        return
    if re.search(r"ensurepip|No module named '?venv", output):
        version = re.search(r"3\.\d+", os.path.basename(os.path.realpath(python)))
        package = f"python{version.group() if version else '3'}-venv"
        raise SetupFailed(f"Python's venv module is missing: run `sudo apt install {package}`, then run this again.")
    raise explain(output, made.returncode, "Making the environment", environment)


def _newer_pip(environment: Environment, display: Display) -> list[str]:
    """Brings pip up to date if it is old, and says how to ask it for its progress. An old pip will do as well."""
    if _pip_version(environment) < RAW_PROGRESS_PIP:
        with contextlib.suppress(SetupFailed):  # if the network is at fault, the libraries will say so
            run_pip(environment, ["--upgrade", "--quiet", "--retries", "0", "pip"], display, "Updating pip")
    return ["--progress-bar", "raw" if _pip_version(environment) >= RAW_PROGRESS_PIP else "off"]


def _pip_version(environment: Environment) -> tuple[int, ...]:
    for folder in environment.site_packages.glob("pip-*.dist-info"):
        return tuple(int(n) for n in re.findall(r"\d+", folder.name)[:2])
    return (0,)


@contextlib.contextmanager
def only_one(lock_file: Path, display: Display) -> Iterator[None]:
    """Waits until no other launch is setting up. The system frees the lock of a process that dies."""
    with open(lock_file, "a+b") as lock:
        if not _try_lock(lock):
            display.line("Another start is setting Lucid up; waiting for it to finish.")
            while not _try_lock(lock):
                time.sleep(0.2)
        yield


def _try_lock(lock: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
