"""Feeds a folder of damaged and odd files to every decoder, each file in a process of its own.

    python -m benchmarks.bad_files FOLDER [--seconds 10] [--json OUT]

A file passes when each decoder gives a value or `BadInput` in time. Peak memory is what the process grew by.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

DECODERS = ("picture", "sound", "video")


@dataclass(frozen=True)
class Outcome:
    """What one file did. `results`: decoder → what it gave, or the sentence for the owner.

    `verdict` is "ok", or what went wrong: "crash", "hang", "traceback: …".
    """

    file: str
    verdict: str
    kind: str
    results: dict[str, str]
    seconds: float
    megabytes: float


def peak_megabytes() -> float:
    """The process's largest resident memory since `forget_peak`, or since it began.

    Linux's `ru_maxrss` would start with that of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def forget_peak() -> None:
    """Starts the count of `peak_megabytes` anew, where the system can (Linux, proc(5): clear_refs)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def try_decoders(path: Path) -> Outcome:
    """Runs `kind_of` and every decoder on the file, in this process."""
    import av as _av  # noqa: F401 - not to be measured either

    from models.errors import BadInput
    from models.media import kind_of, load_picture, load_sound, load_video
    from models.media import pictures as _pictures  # noqa: F401 - not to be measured

    results: dict[str, str] = {}
    verdict = "ok"
    kind = "none"
    longest = 0.0
    forget_peak()
    before = peak_megabytes()
    attempts: dict[str, Callable[[], object]] = {
        "kind": lambda: kind_of(path),
        "picture": lambda: load_picture(path),
        "sound": lambda: load_sound(path),
        "video": lambda: load_video(path),
    }
    for name, attempt in attempts.items():
        began = time.perf_counter()
        try:
            found = attempt()
            results[name] = type(found).__name__
            kind = str(found) if name == "kind" else kind
        except BadInput as refusal:
            results[name] = str(refusal)
        except BaseException as error:  # the very thing that this program looks for
            verdict = f"traceback: {name}: {type(error).__name__}: {error}"
        longest = max(longest, time.perf_counter() - began)
    return Outcome(path.name, verdict, kind, results, longest, peak_megabytes() - before)


def _child(path: Path, sender: Connection) -> None:
    sender.send(try_decoders(path))


def in_child(path: Path, seconds: float) -> Outcome:
    """The file's outcome, from a process that is ended after `seconds` a decoder."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(path, sender), daemon=True)
    process.start()
    sender.close()
    try:
        if receiver.poll(seconds * (len(DECODERS) + 1) + 20):  # starting Python and importing takes seconds too
            found: Outcome = receiver.recv()
            if found.seconds > seconds:
                return Outcome(found.file, "hang", found.kind, found.results, found.seconds, found.megabytes)
            return found
        return Outcome(path.name, "hang", "", {}, seconds, 0.0)
    except EOFError:
        process.join(5)
        return Outcome(path.name, f"crash (exit code {process.exitcode})", "", {}, 0.0, 0.0)
    finally:
        process.kill()
        process.join()


def main() -> int:
    """Prints the table. Returns 1 when a file crashed, hung or showed an exception that is not `BadInput`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0, help="longest that one decoder may take")
    parser.add_argument("--json", type=Path, help="where to keep the outcomes")
    options = parser.parse_args()
    outcomes = []
    for path in sorted(p for p in options.folder.iterdir() if p.is_file()):
        outcome = in_child(path, options.seconds)
        outcomes.append(outcome)
        gave = [name for name in DECODERS if outcome.results.get(name, "").endswith(("Picture", "Clip"))]
        sys.stdout.write(
            f"{outcome.file[:60]:60} {outcome.verdict[:40]:8} {outcome.kind:6} {outcome.seconds:6.2f} s"
            f" {outcome.megabytes:7.1f} MB  {', '.join(gave)}\n"
        )
        sys.stdout.flush()
    failed = [o for o in outcomes if o.verdict != "ok"]
    slowest = max(outcomes, key=lambda o: o.seconds)
    largest = max(outcomes, key=lambda o: o.megabytes)
    sys.stdout.write(
        f"{len(outcomes)} files, {len(failed)} failed; slowest {slowest.seconds:.2f} s ({slowest.file}),"
        f" most memory {largest.megabytes:.0f} MB ({largest.file})\n"
    )
    if options.json:
        options.json.write_text(
            json.dumps([asdict(o) for o in outcomes], ensure_ascii=False, indent=1), encoding="utf-8"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
