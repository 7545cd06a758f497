#!/usr/bin/env python3
"""Sets Lucid up in `.venv` and starts it: `python3 launch.py`. Standard library only.

What is installed is remembered as one stamp per stage, written once the stage has succeeded: a start at which nothing
changed only compares stamps. An interruption at any point is mended by the next start. Progress goes to standard
error, so that the answers of `ask` have standard output for themselves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from assistant.installation.environment import DEVELOPMENT, LIBRARIES, MODELS, Environment, SetupFailed

ROOT = Path(__file__).resolve().parent
USAGE = """\
Usage: python3 launch.py [COMMAND] [OPTIONS]

  (no command)    open the assistant in the browser
  ask QUESTION    answer one question on the terminal (--image, --audio, --video, --speak, --json)
  talk            speak with the assistant through this machine's microphone and speaker
  models          list, download, update and remove models
  doctor          say what was found on this machine, and how to mend what is missing
  bench           measure speed
  eval            measure quality
  test            check this copy of Lucid: lint, format, types, tests (further options go to pytest)
  setup           install, and mend what is missing from an installation

Options of the assistant: --no-browser --port --host --auth --model --data-dir --offline --log-level and more;
`launch.py ask --help` and so on list those of a command. The first start installs everything into .venv.
"""
MODULES: Mapping[str, tuple[str, ...]] = {
    "": ("ui",),
    "ask": ("assistant.cli", "ask"),
    "talk": ("assistant.cli", "talk"),
    "models": ("assistant.cli", "models"),
    "doctor": ("assistant.cli", "doctor"),
    "bench": ("benchmarks",),
    "eval": ("benchmarks.evaluate",),
}
CHECKS = (
    ("lint", ("ruff", "check", ".")),
    ("format", ("ruff", "format", "--check", ".")),
    ("types", ("mypy",)),
    ("tests", ("pytest",)),
)
# `python -m` would put the caller's folder before ours, and a `models` folder there would be taken for Lucid's.
BOOT = "import runpy, sys; sys.path[:] = filter(None, sys.path); m = sys.argv.pop(1); sys.argv[0] = 'launch.py'; "
BOOT += "runpy.run_module(m, run_name='__main__', alter_sys=True)"


def main(arguments: Sequence[str]) -> int:
    """Does what the command line asks for; returns the exit code where it does not hand over."""
    command, rest = ("", arguments) if not arguments or arguments[0].startswith("-") else (arguments[0], arguments[1:])
    if command == "help" or (command == "" and {"-h", "--help"} & set(rest)):
        print(USAGE, end="")
        return 0
    if command not in MODULES and command not in ("test", "setup"):
        known = ", ".join([*filter(None, MODULES), "test", "setup"])
        print(f"There is no command {command!r}. Commands are: {known}.", file=sys.stderr)
        return 2
    environment = Environment(ROOT)
    try:
        prepare(environment, command, wants_offline(rest))
    except SetupFailed as failure:
        print(f"Lucid could not be set up. {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to go on from here.", file=sys.stderr)
        return 130
    if command == "setup":
        print(f"Lucid is set up in {environment.folder}.", file=sys.stderr)
        return 0
    if command == "test":
        return run_checks(environment, rest)
    return hand_over(environment, (*MODULES[command], *rest))


def prepare(environment: Environment, command: str, offline: bool) -> None:
    """Installs what `command` needs and is missing. Raises `SetupFailed`, or `KeyboardInterrupt` when told to end."""
    stages = [LIBRARIES, MODELS, *([DEVELOPMENT] if command == "test" else [])]
    if not environment.pending(stages) and command != "setup":
        return
    if offline:
        raise SetupFailed("Installing needs the package index: run `python3 launch.py setup` once without --offline.")
    from assistant.installation.progress import Display
    from assistant.installation.setting_up import set_up

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    ends = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {end: signal.signal(end, interrupt) for end in ends}
    try:
        set_up(environment, stages, Display(sys.stderr), again=command == "setup")
    finally:
        for end, handler in before.items():
            signal.signal(end, handler)


def wants_offline(options: Sequence[str]) -> bool:
    """Whether the owner asked that nothing be contacted."""
    return "--offline" in options or os.environ.get("LUCID_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on")


def variables(environment: Environment) -> dict[str, str]:
    """The environment of what is started: nobody is told that Lucid runs, and nobody else's packages count."""
    chosen = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP")}
    chosen.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")
    chosen["PYTHONPATH"] = str(environment.root)
    # OpenMP threads that spin for long while they wait make the models many times slower as soon as another program
    # (the browser!) wants a core; short spinning costs nothing where none does. Measured in docs/MEASUREMENTS.md.
    chosen.setdefault("GOMP_SPINCOUNT", "10000")
    return chosen


def hand_over(environment: Environment, arguments: Sequence[str]) -> int:
    """Becomes `python -m` with `arguments`, in the environment and in the caller's folder."""
    command = [str(environment.python), "-c", BOOT, *arguments]
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        os.execve(command[0], command, variables(environment))
    child = subprocess.Popen(command, env=variables(environment))  # Windows cannot replace a process
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue  # the child was told as well, and decides


def run_checks(environment: Environment, pytest_options: Sequence[str]) -> int:
    """Lint, format, types and tests, all of them even if one fails; 1 if any did."""
    failed = []
    for name, check in CHECKS:
        arguments = [*check, *(pytest_options if name == "tests" else ())]
        print(f"\n== {name}: {' '.join(arguments)}", flush=True)
        started = time.monotonic()
        command = [str(environment.python), "-m", *arguments]
        try:
            code = subprocess.run(command, cwd=str(ROOT), env=variables(environment), check=False).returncode
        except KeyboardInterrupt:
            return 130
        print(f"== {name}: {'failed' if code else 'ok'} in {time.monotonic() - started:.1f} s", flush=True)
        if code:
            failed.append(name)
    print(f"\nFailed: {', '.join(failed)}." if failed else "\nAll checks passed.", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
