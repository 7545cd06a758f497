"""Setting up and handing over, on a copy of the launcher that installs tiny packages made here. Never the network."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import textwrap
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import launch
from assistant.installation import environment as environments
from assistant.installation import setting_up
from assistant.installation.environment import DEVELOPMENT, LIBRARIES, MODELS, Environment, SetupFailed, fitting_python
from assistant.installation.pip_run import explain
from assistant.installation.progress import Display, PipActivity
from assistant.installation.setting_up import only_one, set_up

ROOT = Path(launch.__file__).parent
PAGE = """
import json, os, sys
print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "file": __file__, "telemetry": [
    os.environ.get(n) for n in ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")]}))
sys.exit(7)
"""


def make_wheel(folder: Path, name: str, version: str = "1.0") -> None:
    """A package of one module that holds its version."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)


def make_slow_source(folder: Path, name: str) -> None:
    """A source package whose build never ends by itself: a place to interrupt."""
    backend = """
        import os, pathlib, time
        def build_wheel(*_, **__):
            pathlib.Path(os.environ["BUILD_MARK"]).write_text(str(os.getpid()))
            time.sleep(120)
    """
    project = f"""
        [project]
        name = "{name}"
        version = "1.0"
        [build-system]
        requires = []
        build-backend = "backend"
        backend-path = ["."]
    """
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as archive:
        for file, text in (("backend.py", backend), ("pyproject.toml", project), ("PKG-INFO", f"Name: {name}\n")):
            data = textwrap.dedent(text).encode()
            entry = tarfile.TarInfo(f"{name}-1.0/{file}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


class Copy:
    """A copy of the launcher with requirements of its own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "lucid"
        self.wheels = folder / "wheels"
        self.wheels.mkdir(parents=True)
        (self.root / "assistant").mkdir(parents=True)
        shutil.copy(ROOT / "assistant" / "__init__.py", self.root / "assistant")
        shutil.copytree(
            ROOT / "assistant" / "installation",
            self.root / "assistant" / "installation",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        shutil.copy(ROOT / "launch.py", self.root)
        # These installations are small, and must not depend on the room on the disk that tests them.
        limit = self.root / "assistant" / "installation" / "setting_up.py"
        text, changes = re.subn(r"(?m)^(FIRST_INSTALL_BYTES = )\S+", r"\g<1>0", limit.read_text(encoding="utf-8"))
        assert changes == 1
        limit.write_text(text, encoding="utf-8")
        for stage, name in ((LIBRARIES, "tiny_library"), (MODELS, "tiny_model"), (DEVELOPMENT, "tiny_tool")):
            make_wheel(self.wheels, name)
            self.require(stage.file, name)
        (self.root / "ui").mkdir()
        (self.root / "ui" / "__main__.py").write_text(PAGE, encoding="utf-8")

    @property
    def environment(self) -> Environment:
        return Environment(self.root)

    def require(self, file: str, *lines: str) -> None:
        (self.root / file).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def variables(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "LUCID_"))}
        return {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), **more}

    def launch(self, *arguments: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(self.root / "launch.py"), *arguments]
        return subprocess.run(
            command, cwd=cwd or self.root, env=self.variables(**more), capture_output=True, text=True, timeout=120
        )

    def has(self, module: str) -> bool:
        command = [str(self.environment.python), "-c", f"import {module}"]
        return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that has been set up once; tests work on copies of it."""
    copy = Copy(tmp_path_factory.mktemp("installed"))
    done = copy.launch("setup")
    assert done.returncode == 0, done.stderr
    assert copy.has("tiny_library")
    assert copy.has("tiny_model")
    assert not copy.has("tiny_tool"), "only `test` needs the development tools"
    return copy.root.parent


@pytest.fixture
def ready(installed: Path) -> Copy:
    """The installed copy, as the first start left it (in place: a virtual environment cannot be moved)."""
    copy = Copy.__new__(Copy)
    copy.root, copy.wheels = installed / "lucid", installed / "wheels"
    copy.require(LIBRARIES.file, "tiny_library")
    return copy


def assert_one_sentence(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("Lucid could not be set up. ")
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in last


def test_help_lists_every_command_before_anything_is_installed(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    done = copy.launch("--help")
    assert done.returncode == 0
    for command in [*filter(None, launch.MODULES), "test", "setup"]:
        assert re.search(rf"(?m)^  {command} ", done.stdout)
    assert not copy.environment.folder.exists()


def test_a_mistyped_command_is_answered_with_the_commands(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    done = copy.launch("aks")
    assert done.returncode == 2
    assert "'aks'" in done.stderr
    assert "doctor" in done.stderr
    assert not copy.environment.folder.exists()


def test_a_second_start_installs_nothing(ready: Copy) -> None:
    assert ready.launch("setup").returncode == 0
    log, stamps = (f.stat().st_mtime_ns for f in (ready.environment.log, ready.environment.stamp_file))
    done = ready.launch()
    assert done.returncode == 7
    assert done.stderr == ""
    assert ready.environment.log.stat().st_mtime_ns == log
    assert ready.environment.stamp_file.stat().st_mtime_ns == stamps


def test_the_program_runs_in_the_callers_folder_and_never_takes_its_modules(ready: Copy, tmp_path: Path) -> None:
    decoy = tmp_path / "ui"
    decoy.mkdir()
    (decoy / "__main__.py").write_text("raise SystemExit('the decoy ran')", encoding="utf-8")
    done = ready.launch("--port", "8001", cwd=tmp_path, PYTHONPATH=str(tmp_path), PYTHONHOME="")
    assert done.returncode == 7, done.stderr
    said = __import__("json").loads(done.stdout)
    assert said["argv"] == ["--port", "8001"]
    assert Path(said["cwd"]) == tmp_path
    assert Path(said["file"]) == ready.root / "ui" / "__main__.py"
    assert said["telemetry"] == ["False", "1", "1"]


def test_a_changed_requirement_is_installed_by_the_next_start_and_nothing_else_is(ready: Copy) -> None:
    make_wheel(ready.wheels, "late_library")
    ready.require(LIBRARIES.file, "tiny_library", "late_library")
    done = ready.launch()
    assert done.returncode == 7, done.stderr
    assert ready.has("late_library")
    assert LIBRARIES.file in done.stderr
    assert MODELS.file not in done.stderr


@pytest.mark.slow
def test_a_package_that_was_cut_short_and_a_broken_pip_are_mended(ready: Copy) -> None:
    site = ready.environment.site_packages
    (site / "tiny_library.py").unlink()
    (site / "tiny_library-1.0.dist-info" / "INSTALLER").unlink()
    ready.environment.stamp_file.unlink()
    assert ready.launch().returncode == 7
    assert ready.has("tiny_library")

    shutil.rmtree(site / "pip" / "_internal")
    ready.environment.stamp_file.unlink()
    done = ready.launch()
    assert done.returncode == 7, done.stderr
    assert "Making an environment" in done.stderr
    assert ready.has("tiny_library")


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_installation_leaves_no_process_and_goes_on_next_time(ready: Copy, end: int) -> None:
    slow = f"slow{end}"  # one of its own for each signal: they share the environment
    make_slow_source(ready.wheels, slow)
    ready.require(LIBRARIES.file, "tiny_library", slow)
    mark = ready.root / "building"
    mark.unlink(missing_ok=True)
    command = [sys.executable, str(ready.root / "launch.py")]
    variables = ready.variables(BUILD_MARK=str(mark))
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True, start_new_session=True) as start:
        wait_for(lambda: mark.exists() and mark.read_text() != "")
        if end == signal.SIGINT:
            os.killpg(start.pid, end)  # as a terminal does on Ctrl-C: to the whole group
        else:
            start.send_signal(end)
        _, said = start.communicate(timeout=30)
    assert start.returncode == 130
    assert said.strip().endswith("Run the same command again to go on from here.")
    assert "Traceback" not in said
    wait_for(lambda: not alive(int(mark.read_text())))
    assert ready.environment.pending([LIBRARIES, MODELS]) == [LIBRARIES]

    (ready.wheels / f"{slow}-1.0.tar.gz").unlink()
    make_wheel(ready.wheels, slow)
    assert ready.launch().returncode == 7
    assert ready.has(slow)


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return not Path(f"/proc/{process}/stat").exists() or ") Z " not in Path(f"/proc/{process}/stat").read_text()


def test_a_second_start_waits_for_the_one_that_is_setting_up(ready: Copy) -> None:
    ready.environment.stamp_file.unlink()
    command = [sys.executable, str(ready.root / "launch.py")]
    with only_one(ready.environment.folder / "lucid.lock", Display(io.StringIO())):
        start = subprocess.Popen(
            command, env=ready.variables(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        assert start.stderr is not None
        assert "waiting" in start.stderr.readline()
        assert ready.environment.stamps() == {}, "it must not install while the other holds the lock"
    start.communicate(timeout=60)
    assert start.returncode == 7
    assert ready.environment.pending([LIBRARIES, MODELS]) == []


def test_without_a_network_one_sentence_says_so(ready: Copy) -> None:
    with socket.socket() as closed:  # bound and not listening: every connection is refused
        closed.bind(("127.0.0.1", 0))
        ready.require(LIBRARIES.file, "tiny_library", "not_here")
        index = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
        done = ready.launch(PIP_NO_INDEX="0", PIP_INDEX_URL=index, PIP_RETRIES="1")
    assert_one_sentence(done, "libraries", "cannot be reached", "run this again")


def test_a_package_that_does_not_exist_is_named(ready: Copy) -> None:
    ready.require(LIBRARIES.file, "tiny_library", "not_here")
    assert_one_sentence(ready.launch(), "libraries", "not_here")


def test_an_incomplete_copy_of_lucid_is_named(ready: Copy) -> None:
    (ready.root / LIBRARIES.file).unlink()
    assert_one_sentence(ready.launch(), LIBRARIES.file)


def test_offline_installs_nothing_and_says_how_to(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    for done in (copy.launch("--offline"), copy.launch(LUCID_OFFLINE="yes")):
        assert_one_sentence(done, "launch.py setup")
    assert not copy.environment.folder.exists()


def test_too_small_a_disk_is_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=3_000_000_000)
    monkeypatch.setattr(setting_up.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SetupFailed, match=r"3\.0 GB free and installing takes up to 10 GB"):
        set_up(Environment(tmp_path), [LIBRARIES], Display(io.StringIO()))
    assert [entry.name for entry in (tmp_path / ".venv").iterdir()] == ["lucid.lock"]


def test_a_python_without_venv_gets_the_command_that_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = b"The virtual environment was not created successfully because ensurepip is not available."
    answer = subprocess.CompletedProcess([], 1, said)
    monkeypatch.setattr(setting_up.subprocess, "run", lambda *_, **__: answer)
    monkeypatch.setattr(setting_up, "FIRST_INSTALL_BYTES", 0)
    with pytest.raises(SetupFailed, match=r"sudo apt install python3[.\d]*-venv"):
        set_up(Environment(tmp_path), [LIBRARIES], Display(io.StringIO()))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / ".venv").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(SetupFailed, match=r"\.venv"):
        set_up(Environment(tmp_path), [LIBRARIES], Display(io.StringIO()))


@pytest.mark.parametrize(
    ("output", "code", "sentence"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", 1, "disk is full"),
        (
            "WARNING: Retrying ... NewConnectionError\nERROR: No matching distribution found for x",
            1,
            "cannot be reached",
        ),
        ("SSLError(SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED)", 1, "certificate"),
        ("ERROR: [Errno 13] Permission denied: '/x'", 1, "not writable"),
        ("ERROR: No matching distribution found for torch>=2.9", 1, "torch has no release"),
        ("error: command '/usr/bin/gcc' failed\nERROR: Failed building wheel for some-codec", 1, "some-codec"),
        ("", -9, "killed"),
        ("ERROR: something unheard of", 1, "something unheard of"),
        ("", 2, "no reason given"),
    ],
)
def test_a_failure_is_put_into_one_sentence(tmp_path: Path, output: str, code: int, sentence: str) -> None:
    said = str(explain(output, code, "Installing the libraries", Environment(tmp_path)))
    assert sentence in said
    assert said.startswith("Installing the libraries ")
    assert said.endswith(".")
    assert "\n" not in said


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")
def test_another_python_is_found_past_a_shim_that_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments.sys, "version_info", (3, 9, 1))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupFailed, match=r"3\.10 to 3\.13 and this is 3\.9"):
        fitting_python()
    for name, code in (("python3.12", 127), ("python3.11", 0)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    assert fitting_python() == str(tmp_path / "python3.11")


def test_stamps_change_with_requirements_options_and_python(tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    environment.folder.mkdir()
    settings = environment.folder / "pyvenv.cfg"
    settings.write_text("home = /usr/bin\nversion = 3.11.7\n", encoding="utf-8")
    (tmp_path / LIBRARIES.file).write_text("a\n", encoding="utf-8")
    digests = {environment.digest(LIBRARIES), environment.digest(LIBRARIES._replace(options=()))}
    settings.write_text("home = /usr/bin\nversion = 3.12.1\n", encoding="utf-8")
    digests.add(environment.digest(LIBRARIES))
    (tmp_path / LIBRARIES.file).write_text("b\n", encoding="utf-8")
    digests.add(environment.digest(LIBRARIES))
    assert len(digests) == 4


@pytest.mark.parametrize("damage", ["", "{", "[]", "\x00"])
def test_damaged_stamps_count_as_none(tmp_path: Path, damage: str) -> None:
    environment = Environment(tmp_path)
    environment.folder.mkdir()
    environment.stamp_file.write_text(damage, encoding="utf-8")
    assert environment.stamps() == {}


def test_progress_names_the_package_its_size_and_what_was_fetched(tmp_path: Path) -> None:
    activity = PipActivity(tmp_path)
    activity.feed("Collecting torch>=2.9 (from -r requirements.txt (line 3))\n")
    assert "looking up torch" in str(activity)
    activity.feed("  Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (31 kB)\n")
    assert "looking up torch" in str(activity)
    activity.feed("  Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (766.0 MB)\n")
    for done in (0, 100_000_000, 766_000_000):
        activity.feed(f"Progress {done} of 766000000\n")
    assert str(activity) == "fetching torch (766.0 MB), 766 MB fetched"
    activity.feed("  Using cached attrs-26.1.0-py3-none-any.whl (67 kB)\n")
    assert "taking attrs from the disk" in str(activity)
    activity.feed("  Downloading six-1.17.0-py2.py3-none-any.whl (11 kB)\nProgress 0 of 11000")
    activity.feed("Progress 11000000 of 11000000")
    assert "777 MB fetched" in str(activity)
    activity.feed("Installing collected packages: six, torch\n")
    assert "installing package 1 of 2" in str(activity)
    (tmp_path / "six-1.17.0.dist-info").mkdir()
    (tmp_path / "six-1.17.0.dist-info" / "INSTALLER").touch()
    assert "installing package 2 of 2" in str(activity)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_rewritten_line_and_a_file_gets_whole_lines() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        display = Display(stream, plain_interval=0.0)
        display.update("fetching something long")
        time.sleep(0.11)
        display.update("done")
        display.line("Installed")
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().split("\r")[-1].rstrip() == "Installed"
    assert file.getvalue() == "  fetching something long\n  done\nInstalled\n"


def test_a_terminal_that_does_not_know_its_width_still_gets_the_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((0, 0)))
    terminal = Terminal()
    Display(terminal).update("fetching torch")
    assert terminal.getvalue() == "\rfetching torch"


def test_every_check_runs_and_one_failure_fails_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "check.py").write_text(
        "import sys\nprint('got', sys.argv[1:])\nsys.exit(int(sys.argv[1]))\n", encoding="utf-8"
    )
    environment = Environment(tmp_path)
    environment.python = Path(sys.executable)
    monkeypatch.setattr(launch, "ROOT", tmp_path)
    monkeypatch.setattr(launch, "CHECKS", (("lint", ("check", "1")), ("tests", ("check", "0"))))
    assert launch.run_checks(environment, ["-k", "word"]) == 1
    said = capfd.readouterr().out
    assert "== lint: failed in" in said
    assert "== tests: ok in" in said
    assert "got ['1']" in said
    assert "got ['0', '-k', 'word']" in said
    assert said.strip().endswith("Failed: lint.")
    monkeypatch.setattr(launch, "CHECKS", (("tests", ("check", "0")),))
    assert launch.run_checks(environment, []) == 0


def test_ci_runs_exactly_what_the_owner_can_run() -> None:
    script = ROOT / ".ci" / "run"
    lines = script.read_text(encoding="utf-8").strip().splitlines()
    assert os.access(script, os.X_OK)
    assert lines[-1] == "exec python3 launch.py test"
    assert "export CI=true" in lines


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_a_skip_fails_in_ci_unless_it_waits_for_a_gpu(tmp_path: Path, ci: str, code: int) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu: needs one\n", encoding="utf-8")
    source = """
        import pytest
        def test_whole(): pass
        @pytest.mark.gpu
        def test_gpu(): pytest.skip("no GPU here")
        @pytest.mark.xfail
        def test_known(): assert False
        def test_lacking(): pytest.skip("chromium is not here")
        @pytest.mark.skipif(True, reason="wrong system")
        def test_marked(): pass
    """
    (tmp_path / "test_some.py").write_text(textwrap.dedent(source), encoding="utf-8")
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_module')\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
        str(tmp_path),
    ]
    done = subprocess.run(command, env={**os.environ, "CI": ci}, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code, done.stdout
    last = done.stdout.strip().splitlines()[-1]
    if ci:
        assert "1 passed, 1 skipped, 1 xfailed" in last
        assert re.search(r"chromium is not here", done.stdout)
        assert re.search(r"\b1 failed\b.*\b2 errors\b", last)
    else:
        assert "1 passed, 4 skipped, 1 xfailed" in last
