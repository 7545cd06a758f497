"""Folders that are not what they should be: each a sentence, before anything large is read; and those that are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402

from models.errors import Cancelled, EngineUnavailable, OutOfMemory  # noqa: E402
from models.interfaces import GenerationOptions  # noqa: E402
from models.runtime import RuntimeChoice  # noqa: E402
from models.seeing.checkpoint import load_checkpoint, loading  # noqa: E402
from models.streaming import CancelScope, never_cancelled  # noqa: E402
from models.types import Message  # noqa: E402
from tests.tiny_checkpoints import CHECKPOINTS, CONTEXT  # noqa: E402

ON_CPU = RuntimeChoice("cpu", "float32", True, "On the processor, for the tests.")
NAME = "hf:tiny/llava"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CHECKPOINTS["llava"].save(tmp_path_factory.mktemp("hub") / "llava")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "llava"))


def changed(folder: Path, **values: object) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, **values}))


def only_pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def foreign_code(folder: Path) -> None:
    changed(folder, model_type="their_own_vlm", auto_map={"AutoModel": "modeling_theirs.Theirs"})
    (folder / "modeling_theirs.py").write_text("raise SystemExit('their code ran')\n")


def half_written(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def hardly_written(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x09\x00")


def shard_missing(folder: Path) -> None:
    weights = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))


def weight_missing(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(n for n in sorted(weights) if "projector" in n)
    save_file({n: t for n, t in weights.items() if n != name}, folder / "model.safetensors", {"format": "pt"})


def no_processor(folder: Path) -> None:
    for name in ("preprocessor_config.json", "processor_config.json"):
        (folder / name).unlink(missing_ok=True)


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


BAD: list[tuple[Callable[[Path], object], str]] = [
    (only_pickled, "no weights in safetensors, only pytorch_model.bin"),
    (foreign_code, "its own program code, which Lucid never runs"),
    (half_written, "model.safetensors is cut short"),
    (hardly_written, "model.safetensors is cut short"),
    (shard_missing, "model-00002-of-00002.safetensors is missing"),
    (weight_missing, "lacks 1 of its weights"),
    (no_processor, "preprocessor_config.json is missing"),
    (no_tokenizer, "tokenizer.json is missing"),
    (lambda f: (f / "model.safetensors").unlink(), "no weights"),
    (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
    (lambda f: (f / "processor_config.json").write_text("[1"), "(processor|Processor)"),
    (lambda f: changed(f, model_type="llama"), "reads text only"),
    (lambda f: changed(f, model_type="vlm_of_tomorrow"), "does not know"),
    (lambda f: changed(f, model_type="florence2", text_config={}, vision_config={}), "does not chat"),
    (lambda f: changed(f, model_type="vit"), "does not chat about pictures"),
]


@pytest.mark.parametrize(("damage", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_a_bad_folder_is_a_sentence(folder: Path, damage: Callable[[Path], object], sentence: str) -> None:
    damage(folder)
    with pytest.raises(EngineUnavailable, match=sentence) as caught:
        load_checkpoint(folder, ON_CPU, name=NAME)
    assert caught.value.remedy
    assert NAME in caught.value.message


def test_code_beside_a_known_architecture_is_left_alone(folder: Path) -> None:
    changed(folder, auto_map={"AutoModelForImageTextToText": "modeling_theirs.Theirs"})
    (folder / "modeling_theirs.py").write_text("raise SystemExit('their code ran')\n")
    assert load_checkpoint(folder, ON_CPU, name=NAME).name == NAME


def test_progress_cancel_and_what_it_says_of_itself(folder: Path) -> None:
    told: list[str] = []
    engine = load_checkpoint(folder, ON_CPU, name=NAME, on_progress=lambda what, _: told.append(what))
    assert len(told) == 3
    assert all(NAME in what for what in told)
    assert engine.context_tokens == CONTEXT  # the tokenizer's limit; the positions would reach further
    assert engine.reason == ON_CPU.reason
    scope = CancelScope()
    token = scope.begin()
    with pytest.raises(Cancelled):
        load_checkpoint(folder, ON_CPU, name=NAME, on_progress=lambda *_: scope.cancel(), cancel=token)


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8", "int4"])
def test_it_answers_in_every_precision(folder: Path, precision: str) -> None:
    choice = RuntimeChoice("cpu", precision, True, "")  # type: ignore[arg-type]
    engine = load_checkpoint(folder, choice, name=NAME)
    options = GenerationOptions(max_new_tokens=4)
    made = list(engine.stream([Message.of_text("user", "What is it?")], options, never_cancelled()))
    assert sum(delta.tokens for delta in made) == 4


def test_too_little_memory_is_told_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loading, "_placed", full)
    with pytest.raises(OutOfMemory) as caught:
        load_checkpoint(folder, ON_CPU, name=NAME)
    assert caught.value.__context__ is None


def test_a_whole_file_is_told_from_a_broken_one(folder: Path) -> None:
    file = folder / "model.safetensors"
    assert loading.whole_safetensors(file)
    file.write_bytes(file.read_bytes() + b"more")
    assert not loading.whole_safetensors(file)
    file.write_bytes((16).to_bytes(8, "little") + b"this is not json")
    assert not loading.whole_safetensors(file)
