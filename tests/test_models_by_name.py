"""The whole way of a model by name: from the hub over the fit to an answer about a picture, and back out of memory."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest
import torch
from PIL import Image
from small_hub import SmallHub, serving
from tiny_checkpoints import CHECKPOINTS

from models.engines import Engines
from models.errors import EngineUnavailable
from models.interfaces import GenerationOptions
from models.media import load_picture
from models.seeing import load_vision_language_model
from models.streaming import never_cancelled
from models.types import ImagePart, Message, TextPart

NAME = "hf:owner/tiny-smolvlm"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return CHECKPOINTS["smolvlm"].save(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def small_hub(checkpoint, tmp_path, monkeypatch):
    with serving(SmallHub()) as served:
        files = {f.name: f.read_bytes() for f in checkpoint.iterdir()}
        served.add("owner/tiny-smolvlm", {**files, "pytorch_model.bin": b"never read"})
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        monkeypatch.setenv("LUCID_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "shared"))
        yield served


@pytest.fixture
def question(tmp_path):
    Image.new("RGB", (64, 48), "red").save(tmp_path / "red.png")
    picture = load_picture(tmp_path / "red.png")
    return [Message("user", (ImagePart(picture), TextPart("What is in the picture?")))]


def answer(model, question):
    options = GenerationOptions(max_new_tokens=6)
    return "".join(delta.text for delta in model.stream(question, options, never_cancelled()))


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def test_from_the_hub_to_an_answer_and_unloaded_when_idle(small_hub, question):
    others = {id(p): p for p in parameters()}  # models of other tests, kept so that no id is used again
    engines = Engines(NAME, "h", "s", unload_min=0.5 / 60)
    told = []
    watching = threading.Thread(
        target=lambda: [told.append(engines.states()[0].text) or time.sleep(0.002) for _ in range(800)], daemon=True
    )
    watching.start()
    model = engines.vision_language()
    first = answer(model, question)
    assert first
    state = engines.states()[0]
    assert state.status == "ready"
    assert state.text == model.choice.reason
    assert "it needs about" in state.text
    assert any(text.startswith("Measuring what ") for text in told)
    weights = [weakref.ref(p) for p in parameters() if id(p) not in others]
    assert weights
    del model
    until(lambda: engines.states()[0].status == "cold")
    gc.collect()
    assert [w for w in weights if w() is not None] == []
    asked = len(small_hub.asked)
    assert answer(engines.vision_language(), question) == first
    assert len(small_hub.asked) == asked, "it is on the disk"
    engines.close()
    until(lambda: not [t for t in threading.enumerate() if t.name == "lucid-keeper"])
    watching.join()


def parameters():
    """The weights of every model that is in memory."""
    return [p for m in gc.get_objects() if isinstance(m, torch.nn.Module) for p in m.parameters(recurse=False)]


def test_offline_and_as_a_folder_it_answers_the_same(small_hub, checkpoint, question):
    with pytest.raises(EngineUnavailable, match="offline"):
        load_vision_language_model(NAME, offline=True)
    by_name = answer(load_vision_language_model(NAME), question)
    assert answer(load_vision_language_model(NAME, offline=True), question) == by_name
    assert answer(load_vision_language_model(f"folder:{checkpoint}", offline=True), question) == by_name


def test_precision_and_device_are_the_owners_and_what_does_not_fit_is_said_first(checkpoint, monkeypatch):
    from dataclasses import replace

    from models import runtime

    model = load_vision_language_model(f"folder:{checkpoint}", device="cpu", precision="float32")
    assert (model.choice.device, model.choice.precision) == ("cpu", "float32")
    model.close()
    with pytest.raises(EngineUnavailable, match="no device 'mps'"):
        load_vision_language_model(f"folder:{checkpoint}", device="mps")
    machine = runtime.this_machine()
    monkeypatch.setattr(runtime, "this_machine", lambda: replace(machine, free_bytes=1000, others=()))
    before = len(parameters())
    with pytest.raises(EngineUnavailable, match="does not fit"):
        load_vision_language_model(f"folder:{checkpoint}")
    assert len(parameters()) <= before


def test_the_models_after_a_cancelled_choice_can_still_be_reloaded(small_hub, checkpoint, question):
    """A token that went stale with another choice does not end the loads that memory makes necessary later."""
    engines = Engines(NAME, "h", "s")
    model = engines.vision_language()
    first = answer(model, question)
    engines.use("seeing", "hf:owner/none")
    assert engines.vision_language().name == NAME
    assert "no model owner/none" in engines.states()[0].notice
    model.close()  # as the ladder does before it loads again
    assert answer(model, question) == first
    del model
    engines.close()
    until(lambda: not [t for t in threading.enumerate() if t.name == "lucid-keeper"])
