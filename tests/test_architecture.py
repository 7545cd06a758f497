"""Promises about the code itself: who imports whom, how big a file grows, what happens at import, what README says."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import launch

ROOT = Path(launch.__file__).parent
LAYERS = {"models": 0, "assistant": 1, "ui": 2}
PACKAGES = (*LAYERS, "benchmarks")
MOST_LINES = 350
LONGER_FILES: dict[str, str] = {}  # file → why it may be longer
# transformers calls these by name with all of their parameters, and stores what a configuration is made with.
PRESCRIBED_SIGNATURES = {("models/glimpse/configuration.py", "__init__"), ("models/glimpse/modeling.py", "forward")}
SPEAKING_TO_THE_TERMINAL = ("launch.py", "assistant/cli.py", "assistant/ask.py", "assistant/talk.py", "benchmarks/")
# (a layer or a file, what it must never import, even inside a function)
FORBIDDEN = (
    ("models", {"gradio", "fastapi", "starlette", "uvicorn", "sqlite3", "sounddevice"}),
    ("assistant", {"gradio", "fastapi", "starlette", "uvicorn"}),
)
HEAVY = {
    "torch",
    "transformers",
    "gradio",
    "TTS",
    "faster_whisper",
    "whisper",
    "onnxruntime",
    "av",
    "piper",
    "rapidocr",
    "openai",
    "httpx2",
}


@cache
def sources() -> dict[str, ast.Module]:
    """Every source file of the program by its path below the root."""
    files = [ROOT / "launch.py", *(file for name in PACKAGES for file in sorted((ROOT / name).rglob("*.py")))]
    return {file.relative_to(ROOT).as_posix(): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def module_name(path: str) -> str:
    return re.sub(r"/__init__$", "", path[: -len(".py")]).replace("/", ".")


def imports(path: str, tree: ast.AST) -> set[str]:
    """The full names that a file imports, wherever it does; of `from a import b` both a and a.b."""
    package = module_name(path).split(".") if path.endswith("__init__.py") else module_name(path).split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            found.add(origin)
            found.update(f"{origin}.{alias.name}" for alias in node.names)
    return found


def at_import(tree: ast.Module) -> ast.Module:
    """The part of a module that runs when it is imported: without functions and what is for type checkers only."""

    class Pruned(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if "TYPE_CHECKING" in ast.dump(node.test) else self.generic_visit(node)

    pruned: ast.Module = Pruned().visit(ast.parse(ast.unparse(tree)))
    return pruned


def test_imports_go_one_way() -> None:
    wrong = [
        f"{path} imports {name}"
        for path, tree in sources().items()
        for name in imports(path, tree)
        if (own := LAYERS.get(path.split("/")[0])) is not None
        and (LAYERS.get(name.split(".")[0], -1) > own or name.split(".")[0] in ("launch", "benchmarks"))
    ]
    assert not wrong


def test_each_layer_knows_nothing_of_what_is_none_of_its_business() -> None:
    wrong = [
        f"{path} imports {name}"
        for folder, names in FORBIDDEN
        for path, tree in sources().items()
        if path.startswith(f"{folder}/")
        for name in imports(path, tree)
        if name.split(".")[0] in names
    ]
    assert not wrong


def test_no_module_imports_itself_through_others() -> None:
    trees = {module_name(path): (path, tree) for path, tree in sources().items()}
    graph = {name: imports(path, at_import(tree)) & set(trees) - {name} for name, (path, tree) in trees.items()}
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a cycle: {' -> '.join([*way[way.index(name) :], name])}"
        if name not in done:
            for imported in sorted(graph[name]):
                # `from package import module` names the package as well, which does not import its importer
                if not name.startswith(f"{imported}."):
                    walk(imported, (*way, name))
            done.add(name)

    for name in graph:
        walk(name, ())


def test_what_runs_before_the_installation_needs_the_standard_library_only() -> None:
    for path, tree in sources().items():
        if path == "launch.py" or path.startswith("assistant/installation/"):
            others = {name for name in imports(path, tree) if not name.startswith("assistant.installation")}
            foreign = {name.split(".")[0] for name in others} - sys.stdlib_module_names
            assert not foreign, path


def test_what_runs_before_the_installation_can_be_read_by_an_old_python() -> None:
    """An owner with Python 3.8 gets a sentence, or another Python that is found; not a SyntaxError."""
    for path in sources():
        if path == "launch.py" or path.startswith("assistant/installation/"):
            text = (ROOT / path).read_text(encoding="utf-8")
            ast.parse(text, feature_version=(3, 7))
            assert "from __future__ import annotations" in text or path.endswith("__init__.py")


def test_files_stay_small_enough_to_be_one_concept() -> None:
    lengths = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in sources()}
    too_long = {path: n for path, n in lengths.items() if n > MOST_LINES and path not in LONGER_FILES}
    assert not too_long
    assert set(LONGER_FILES) <= {path for path, n in lengths.items() if n > MOST_LINES}, (
        "an exception that is not needed"
    )


def test_functions_fit_on_a_screen_and_take_few_parameters() -> None:
    wrong = []
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                parameters = len([a for a in (*node.args.posonlyargs, *node.args.args) if a.arg not in ("self", "cls")])
                few = parameters < 8 or (path, node.name) in PRESCRIBED_SIGNATURES
                if length > 60 or not few:
                    wrong.append(f"{path}:{node.lineno} {node.name}: {length} lines, {parameters} parameters")
    assert not wrong


def test_only_the_command_line_prints() -> None:
    wrong = [
        f"{path}:{node.lineno}"
        for path, tree in sources().items()
        if not path.startswith(SPEAKING_TO_THE_TERMINAL) and not re.match(r"models/glimpse/(train|evaluate)", path)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not wrong


def test_every_module_and_public_class_says_what_it_is() -> None:
    wrong = []
    for path, tree in sources().items():
        if not ast.get_docstring(tree):
            wrong.append(path)
        for node in tree.body:
            public = isinstance(node, ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node) and not is_a_plain_value(node):
                wrong.append(f"{path}:{node.lineno} {node.name}")
    assert not wrong


def is_a_plain_value(node: ast.ClassDef) -> bool:
    """A dataclass of one field, whose name says it all."""
    return any("dataclass" in ast.dump(d) for d in node.decorator_list) and len(node.body) == 1


def test_modules_have_names_that_say_what_they_hold() -> None:
    vague = re.compile(r"(^|_)(utils?|helpers?|common|misc|managers?)($|_)")
    assert not [path for path in sources() if any(vague.search(part) for part in module_name(path).split("."))]


@pytest.mark.parametrize(
    "module", ["assistant.config", "assistant.cli", "assistant.doctor", "models.types", "models.engines"]
)
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_importing_a_package_starts_no_thread_and_writes_nothing(tmp_path: Path) -> None:
    names = ("models", "assistant", "ui", "models.media", "models.hearing", "models.seeing", "models.speaking")
    known = [name for name in names if importlib.util.find_spec(name)]
    program = (
        f"import threading, importlib; [importlib.import_module(n) for n in {known}]; print(threading.active_count())"
    )
    environment = {"PATH": "", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "1", done.stderr
    assert list(tmp_path.iterdir()) == []


def tracked_texts() -> dict[str, str]:
    """Every text file that git tracks (or, outside a checkout, every source)."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    files = [name for name in listed.stdout.split("\0") if name] or list(sources())
    texts = {}
    for name in files:
        try:
            texts[name] = (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue  # pictures, sounds, weights; a file that is being moved
    return texts


def test_nothing_of_the_machine_it_was_made_on_and_no_registry_is_in_the_repository() -> None:
    # Spelt in two halves, so that this file does not find itself.
    patterns = "|".join(
        ("/wo" + "rk/", "/ro" + "ot/", "/ho" + r"me/\w", "/Us" + r"ers/\w", "/opt/" + "(?:wheels|pypi)")
    )
    registries = "|".join(
        ("pypi" + r"\.org", "files\\.python" + "hosted", "--extra-" + "index-url", "--index-" + "url")
    )
    found = [
        f"{name}: {match.group()}"
        for name, text in tracked_texts().items()
        for match in re.finditer(f"{patterns}|{registries}", text)
    ]
    assert not found


def test_every_command_in_the_readme_exists() -> None:
    readme = ROOT / "README.md"
    commands = re.findall(r"launch\.py[ \t]+([a-z]\w*)", readme.read_text(encoding="utf-8")) if readme.exists() else []
    known = {*filter(None, launch.MODULES), "test", "setup"}
    assert set(commands) <= known
    for module in {parts[0] for parts in launch.MODULES.values()}:
        assert importlib.util.find_spec(module), f"launch.py starts {module}, which does not exist"


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-models.txt", "requirements-dev.txt"])
def test_the_licence_of_every_required_package_is_listed(file: str) -> None:
    from assistant.doctor import required_packages

    listed = (ROOT / "docs" / "THIRD_PARTY.md").read_text(encoding="utf-8")
    names = required_packages(ROOT / file)
    assert names
    assert [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", listed)] == []


def test_every_option_that_the_launcher_names_is_a_setting() -> None:
    import argparse

    from assistant.config import add_page_arguments, add_settings_arguments

    parser = argparse.ArgumentParser()
    add_settings_arguments(parser)
    add_page_arguments(parser)
    listed = re.search(r"Options of the assistant: ([^;]*?) and more", launch.USAGE)
    assert listed
    for option in listed.group(1).split():
        assert option in parser.format_help()
