"""What the owner sees while packages are fetched and installed."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import IO


class Display:
    """Progress: one line that is rewritten on a terminal, otherwise a line now and then."""

    def __init__(self, stream: IO[str], plain_interval: float = 10.0) -> None:
        self.stream = stream
        self.terminal = stream.isatty()
        self.plain_interval = plain_interval
        self._shown = -plain_interval
        self._width = 0

    def line(self, text: str) -> None:
        """A line that stays."""
        self.stream.write(f"\r{text.ljust(self._width)}\n" if self._width else f"{text}\n")
        self.stream.flush()
        self._width = 0

    def update(self, text: str) -> None:
        """What is being done now."""
        now = time.monotonic()
        if not self.terminal:
            if now - self._shown >= self.plain_interval:
                self._shown = now
                self.line(f"  {text}")
        elif now - self._shown >= 0.1:
            self._shown = now
            columns = shutil.get_terminal_size().columns or 80  # some pseudo-terminals say 0
            text = text[: columns - 1]
            self.stream.write("\r" + text.ljust(self._width))
            self.stream.flush()
            self._width = len(text)


# "Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (766.0 MB)": verb, name, size
_FILE = r"(Downloading|Using cached|Processing) (?:.*/)?([A-Za-z0-9_.]+?)-\d\S* ?\(?([\d.]+ ?\w?B)?"


class PipActivity:
    """Reads pip's output for what it is doing, how much it fetched, and how many packages are in."""

    def __init__(self, site_packages: Path) -> None:
        self.site_packages = site_packages
        self.text = "asking the package index"
        self.fetched = 0
        self._in_file = self._before = self._total = 0

    def feed(self, line: str) -> None:
        line = line.strip()
        progress = re.match(r"Progress (\d+) of (\d+)", line)
        file = re.match(_FILE, line)
        if progress:
            done = int(progress.group(1))
            self.fetched += done - self._in_file if done >= self._in_file else done
            self._in_file = done
        elif file and ".metadata" not in line:
            size = f" ({file.group(3)})" if file.group(3) else ""
            fetching = file.group(1) == "Downloading"
            self.text = f"fetching {file.group(2)}{size}" if fetching else f"taking {file.group(2)} from the disk"
            self._in_file = 0
        elif line.startswith("Collecting "):
            self.text = f"looking up {re.split(r'[^A-Za-z0-9_.-]', line[11:])[0]}"
        elif line.startswith("Building wheel"):
            self.text = "preparing packages that come as source"
        elif line.startswith("Installing collected packages: "):
            self._total = line.count(",") + 1
            self._before = self._installed()

    def _installed(self) -> int:
        return sum(1 for _ in self.site_packages.glob("*.dist-info/INSTALLER"))

    def __str__(self) -> str:
        text = self.text
        if self._total:
            text = f"installing package {min(self._installed() - self._before + 1, self._total)} of {self._total}"
        return f"{text}, {self.fetched / 1e6:,.0f} MB fetched" if self.fetched else text


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
