"""`launch.py eval NAME …`: how good it is, one evaluation a name; what follows the name goes to that evaluation."""

from __future__ import annotations

import importlib
import sys

# Name → (module with `main() -> int`, what it measures).
EVALUATIONS: dict[str, tuple[str, str]] = {
    "hearing": ("benchmarks.hearing", "word errors of the recogniser on a folder of recordings with a manifest"),
    "speech": ("benchmarks.speech", "spoken answers heard again: word errors, real-time factor, first audio"),
    "glimpse": ("benchmarks.glimpse", "the embedded cross-attention model on the test split, or its speed"),
    "generation": ("benchmarks.generation", "tokens a second against plain generate, on the same weights"),
    "bad-files": ("benchmarks.bad_files", "a folder of broken files through the decoders: crashes, time, memory"),
    "kill": ("benchmarks.kill", "kill -9 at random moments: what was acknowledged must be there"),
}


def main() -> int:
    """Hands over to the evaluation that the first argument names; 2 when it names none."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in EVALUATIONS:
        wanted = name in ("-h", "--help")
        out = sys.stdout if wanted else sys.stderr
        print("Usage: launch.py eval NAME [OPTIONS]\n", file=out)
        for known, (_, what) in EVALUATIONS.items():
            print(f"  {known:<12} {what}", file=out)
        return 0 if wanted else 2
    del sys.argv[1]
    sys.argv[0] = f"launch.py eval {name}"
    return int(importlib.import_module(EVALUATIONS[name][0]).main() or 0)


if __name__ == "__main__":
    sys.exit(main())
