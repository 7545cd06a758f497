"""Runs pip, and puts its failures into one sentence."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence

from assistant.installation.environment import Environment, SetupFailed
from assistant.installation.progress import Display, PipActivity, clock

FAILURES = (  # (what the output contains, what to tell the owner); the first that fits
    (r"Errno 28|No space left|Disk quota|Errno 122", "the disk is full: free 10 GB, then run this again"),
    (r"CERTIFICATE_VERIFY_FAILED", "the package index's certificate was refused: check this machine's clock and proxy"),
    (
        r"NewConnectionError|NameResolution|Name or service not known|name resolution|Max retries exceeded"
        r"|ConnectTimeout|Read timed out|ReadTimeout|ProxyError|ConnectionResetError|IncompleteRead|Network is unreach",
        "the package index cannot be reached: check the connection (or HTTPS_PROXY), then run this again;"
        " what was fetched is kept",
    ),
    (
        r"Permission denied|Errno 13|Read-only file system|Errno 30",
        "{root} is not writable: move Lucid to a folder of yours",
    ),
    (
        r"No matching distribution found for (?P<package>[\w.-]+)",
        "{package} has no release for this Python and system: try Python 3.12, or update pip's index settings",
    ),
    (
        r"Failed building wheel for (?P<package>[\w.-]+)|Failed to build|error: command '\S*(?:gcc|cc|cl\.exe)",
        "{package} has no ready-made build for this Python: install Python 3.12, delete .venv, then run this again",
    ),
)


def explain(output: str, code: int, doing: str, environment: Environment) -> SetupFailed:
    """Puts a failed step into one sentence."""
    for pattern, sentence in FAILURES:
        matches = list(re.finditer(pattern, output))
        if matches:
            named = [match.groupdict().get("package") for match in matches]
            package = next(filter(None, named), "a package")
            return SetupFailed(f"{doing} failed: {sentence.format(root=environment.root, package=package)}.")
    if code < 0:
        return SetupFailed(f"{doing} was killed (signal {-code}), perhaps for lack of memory: run this again.")
    errors = re.findall(r"(?im)^\s*error:?\s*(.+)$", output) or output.strip().splitlines()[-1:] or ["no reason given"]
    return SetupFailed(f"{doing} failed ({errors[-1].strip()}): see {environment.log}, then run this again.")


def run_pip(environment: Environment, arguments: Sequence[str], display: Display, doing: str) -> None:
    """Runs one `pip install`, showing how it goes; its whole output is in the log. Raises `SetupFailed`."""
    environment.temporary.mkdir(exist_ok=True)
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", "PIP_USER": "0", "PIP_NO_INPUT": "1"}
    variables.update(PIP_DISABLE_PIP_VERSION_CHECK="1", TMPDIR=str(environment.temporary))
    variables.pop("PIP_REQUIRE_VIRTUALENV", None)
    pip = subprocess.Popen(
        [str(environment.python), "-m", "pip", "install", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=variables,
        start_new_session=True,  # so that one signal ends it together with the builds that it runs
    )
    try:
        output = _follow(pip, environment, display, doing)
    except BaseException:
        _stop(pip)
        raise
    if pip.wait():
        raise explain(output, pip.returncode, doing, environment)


def _stop(pip: subprocess.Popen[bytes]) -> None:
    """Ends pip and what it has started: first as Ctrl-C would, so that it can tidy up, then without asking."""
    for number in ("SIGINT", "SIGKILL"):
        if os.name == "nt":
            pip.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pip.pid, getattr(signal, number))
        with contextlib.suppress(subprocess.TimeoutExpired):
            pip.wait(timeout=10)
            return


def _follow(pip: subprocess.Popen[bytes], environment: Environment, display: Display, doing: str) -> str:
    """Shows and logs what pip says until it ends; returns all of it but the progress of its downloads."""
    lines: queue.Queue[bytes | None] = queue.Queue()

    def read() -> None:
        assert pip.stdout is not None
        for line in pip.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    activity, started = PipActivity(environment.site_packages), time.monotonic()
    output: list[str] = []
    with open(environment.log, "a", encoding="utf-8") as log:
        while True:
            with contextlib.suppress(queue.Empty):
                line = lines.get(timeout=0.25)
                if line is None:
                    return "".join(output)
                text = line.decode("utf-8", "replace")
                activity.feed(text)
                if not text.startswith("Progress "):
                    output.append(text)
                    log.write(text)
            display.update(f"{doing}, {clock(time.monotonic() - started)}: {activity}")
