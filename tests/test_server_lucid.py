"""Lucid in front of Lucid: the engine for servers asks Lucid's own endpoint, pictures included."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from PIL import Image

from models.engines import Engines
from models.errors import EngineUnavailable
from models.fakes import ScriptedModel
from models.interfaces import GenerationOptions
from models.seeing.server import connect
from models.streaming import CancelScope, never_cancelled
from models.types import ImagePart, Message, Picture, TextPart, VideoClip, VideoPart
from tests.api_server import KEY, serving, until


def test_a_conversation_with_pictures_arrives_as_it_was_sent(tmp_path):
    seeing = ScriptedModel(["A red square and a blue one."])
    red, blue = (Picture.of(Image.new("RGB", (90, 60), c), f"{c}.png") for c in ("red", "blue"))
    clip = VideoClip((replace(blue, time=63.0),), None, 70.0, "clip.mp4")
    with serving(tmp_path, Engines.scripted(seeing=seeing)) as server:
        model = connect(server.address, name="server:lucid", key=KEY)
        deltas = model.stream(
            [
                Message.of_text("system", "Be brief."),
                Message("user", (ImagePart(red), TextPart("What is it?"))),
                Message.of_text("assistant", "A red square."),
                Message("user", (VideoPart(clip), TextPart("And now?"))),
            ],
            GenerationOptions(max_new_tokens=40, temperature=0.5, seed=3),
            never_cancelled(),
        )
        assert "".join(d.text for d in deltas) == "A red square and a blue one."
    given = seeing.calls[-1]
    assert [m.role for m in given.messages] == ["system", "user", "assistant", "user"]
    assert [p.image.getpixel((9, 9)) for m in given.messages for p in m.pictures] == [(255, 0, 0), (0, 0, 255)]
    assert "At 1:03:" in given.messages[-1].text
    assert given.messages[-1].text.endswith("And now?")
    assert (given.options.temperature, given.options.seed, given.options.max_new_tokens) == (0.5, 3, 40)


def test_a_stop_here_stops_the_model_there(tmp_path):
    seeing = ScriptedModel([" ".join(["word"] * 1000)], delay_s=0.01)
    with serving(tmp_path, Engines.scripted(seeing=seeing)) as server:
        model, scope = connect(server.address, name="server:lucid", key=KEY), CancelScope()
        for said, _ in enumerate(
            model.stream([Message.of_text("user", "Talk.")], GenerationOptions(1000), scope.begin())
        ):
            if said == 3:
                scope.cancel()
        until(lambda: _still(seeing))
        assert seeing.words_made < 100


def _still(model: ScriptedModel) -> bool:
    made = model.words_made
    time.sleep(0.1)
    return model.words_made == made


def test_a_wrong_key(tmp_path):
    with serving(tmp_path) as server, pytest.raises(EngineUnavailable, match="does not accept the key"):
        connect(server.address, name="server:lucid", key="wrong")
