"""How long the owner waits for the page after a warm start: process start to the first whole answer of the server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 120.0


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def time_to_page(*options: str) -> float:
    """Seconds from starting `launch.py --no-browser` to a page that has been served whole.

    Raises:
        RuntimeError: when the process ends or nothing is served within two minutes.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="lucid-bench-") as folder:
        command = [sys.executable, str(ROOT / "launch.py"), "--no-browser", "--port", str(port), "--data-dir", folder]
        begun = time.perf_counter()
        process = subprocess.Popen(
            [*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}/", begun)
            return time.perf_counter() - begun
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)


def _wait(process: subprocess.Popen[bytes], url: str, begun: float) -> None:
    while time.perf_counter() - begun < LIMIT_S:
        if process.poll() is not None:
            raise RuntimeError(f"the page's process ended with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200 and answer.read():
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"no page within {LIMIT_S:.0f} s")
