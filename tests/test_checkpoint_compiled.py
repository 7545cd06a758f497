"""Compiled single tokens: the same answers as eager ones, warmed in the background, and never in the way."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from models.interfaces import GenerationOptions  # noqa: E402
from models.runtime import RuntimeChoice  # noqa: E402
from models.seeing.checkpoint import CheckpointEngine, load_checkpoint  # noqa: E402
from models.seeing.checkpoint.compiled import CompiledSteps  # noqa: E402
from models.streaming import never_cancelled  # noqa: E402
from tests.test_checkpoint_architectures import FIRST, ON_CPU, SECOND, parts, said, spelled  # noqa: E402
from tests.tiny_checkpoints import CHECKPOINTS  # noqa: E402

# Traces as on a GPU, and then runs what it traced as it is.
CHEAP = "eager"


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    for name in ("qwen3_vl", "gemma3", "lfm2_vl"):
        CHECKPOINTS[name].save(folder / name)
    return folder


def compiled(folder: Path, *lengths: int, backend: object = CHEAP) -> CheckpointEngine:
    eager = load_checkpoint(folder, ON_CPU, name="tiny")
    model, processor = parts(eager).model, parts(eager).processor
    steps = CompiledSteps(model, backend=backend, lengths=lengths)  # type: ignore[arg-type]
    engine = CheckpointEngine(model, processor, name="tiny", context_tokens=eager.context_tokens, compiled=steps)
    parts(engine).loop._decode = parts(eager).loop._decode = spelled
    return engine


@pytest.mark.parametrize("name", ["qwen3_vl", "gemma3"])
def test_compiled_answers_are_the_eager_ones(hub: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a cache that is long enough, one that fills up in mid-answer, and behind both of them."""
    counts = load_checkpoint(hub / name, ON_CPU, name=name).count_tokens
    engine = compiled(hub / name, counts(FIRST) + 4, counts(SECOND) + 4)
    options = GenerationOptions(max_new_tokens=14, repetition_penalty=1.0)
    eager = [said(engine, FIRST, options), said(engine, SECOND, options)]
    thread = engine.warm()
    assert thread is not None
    assert said(engine, FIRST, options) == eager[0]  # while it is being compiled
    thread.join(120)
    steps = engine.compiled
    assert steps is not None
    assert steps.ready
    calls = []
    original = CompiledSteps.__call__
    monkeypatch.setattr(CompiledSteps, "__call__", lambda self, step: calls.append(1) or original(self, step))
    assert [said(engine, FIRST, options), said(engine, SECOND, options)] == eager
    assert len(calls) == 13 + 4  # all of the first answer's, of the second's only while there is room
    assert engine.reused_tokens > 0
    engine.forget()
    assert said(engine, FIRST, options) == eager[0]


def test_where_it_cannot_be_compiled_answers_stay_eager(hub: Path) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no compiler here")

    engine = compiled(hub / "qwen3_vl", 256, backend=broken)
    thread = engine.warm()
    assert thread is not None
    thread.join(60)
    assert engine.compiled is not None
    assert not engine.compiled.ready
    assert said(engine, FIRST)
    assert compiled(hub / "lfm2_vl", 256).warm() is None  # its convolutions keep no keys by tokens


def test_a_compiled_model_is_gone_after_it_was_closed(hub: Path) -> None:
    engine = compiled(hub / "qwen3_vl", 256)
    thread = engine.warm()
    assert thread is not None
    thread.join(60)
    assert engine.compiled is not None
    assert engine.compiled.ready
    said(engine, FIRST)
    held = [weakref.ref(tensor) for tensor in parts(engine).model.parameters()]
    del thread
    engine.close()
    gc.collect()
    assert not [reference for reference in held if reference() is not None]
    assert not [t for t in threading.enumerate() if t.name == "compile"]


@pytest.mark.gpu
def test_compiling_pays_on_a_gpu(hub: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    choice = RuntimeChoice("cuda", "bfloat16", True, "")
    engine = load_checkpoint(hub / "qwen3_vl", choice, name="tiny")
    options = GenerationOptions(max_new_tokens=200, repetition_penalty=1.0)

    def seconds() -> float:
        began = time.perf_counter()
        assert sum(d.tokens for d in engine.stream(FIRST, options, never_cancelled())) > 100
        return time.perf_counter() - began

    seconds()
    eager = min(seconds() for _ in range(3))
    waited = time.monotonic() + 300
    assert engine.compiled is not None
    while not engine.compiled.ready and time.monotonic() < waited:
        time.sleep(0.5)
    assert engine.compiled.ready
    seconds()
    assert min(seconds() for _ in range(3)) < eager
