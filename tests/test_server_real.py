"""The engine for servers against a real one: `transformers serve` with SmolLM2, on loopback.

It is stopped with SIGKILL in mid-answer and started again: what was said is kept, and the next question works.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from PIL import Image
from transformers import AutoTokenizer

from assistant.config import Settings
from assistant.dialogue import DialogueManager
from assistant.events import TurnEnded, TurnFailed
from assistant.store import ConversationStore
from assistant.turn import UserTurn
from models.catalogue import ROLES
from models.engines import Engines
from models.errors import BadInput, EngineUnavailable
from models.interfaces import GenerationOptions, TextDelta
from models.seeing.server import ServerModel, connect
from models.streaming import CancelScope, never_cancelled
from models.types import ImagePart, Message, Picture, TextPart
from models.weights import smollm2_folder

pytestmark = [pytest.mark.models, pytest.mark.slow]

STARTS_WITHIN_S = 150.0


class RealServer:
    """`transformers serve`, pinned to SmolLM2, in a process of its own."""

    def __init__(self, folder: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(self.folder)]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--device", "cpu"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        end = time.monotonic() + STARTS_WITHIN_S
        while not self.answers():
            assert self.process.poll() is None, self._log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < end, "transformers serve did not start in time"
            time.sleep(0.1)

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """Ends it without a goodbye: SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def computing_s(self) -> float:
        """Processor seconds that it has used so far."""
        assert self.process is not None
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    running = RealServer(smollm2_folder(), tmp_path_factory.mktemp("server") / "serve.log")
    running.start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.kill()


@pytest.fixture(scope="module")
def model(server: RealServer) -> ServerModel:
    return connect(server.url, name=f"server:{server.url}")


def user(text: str) -> Message:
    return Message.of_text("user", text)


def ask(model: ServerModel, *messages: Message, tokens: int = 12) -> str:
    options = GenerationOptions(max_new_tokens=tokens)
    return "".join(d.text for d in model.stream(messages, options, never_cancelled()))


def test_it_answers_and_counts(server, model):
    assert model.model == str(server.folder)
    deltas = list(model.stream([user("What is the capital of France?")], GenerationOptions(), never_cancelled()))
    text = "".join(d.text for d in deltas)
    assert "Paris" in text
    assert len([d for d in deltas if d.text]) > 3  # it streams
    assert abs(sum(d.tokens for d in deltas) - len(text.split())) <= len(text.split())


def test_it_takes_the_system_prompt_and_earlier_turns(model):
    chat = [("system", "You are a pirate."), ("user", "I am Ada."), ("assistant", "Ahoy!"), ("user", "Who am I?")]
    assert ask(model, *(Message.of_text(role, text) for role, text in chat), tokens=2)
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder())
    messages = [{"role": role, "content": text} for role, text in chat]
    whole = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert model.prompt_tokens == len(whole)


def test_every_option_is_taken(model):
    options = GenerationOptions(8, temperature=0.8, top_p=0.9, top_k=20, min_p=0.05, repetition_penalty=1.3, seed=3)
    assert "".join(d.text for d in model.stream([user("Hello")], options, never_cancelled()))


def test_a_picture_is_not_dropped_without_a_word(model):
    picture = ImagePart(Picture.of(Image.new("RGB", (64, 64), "red"), "red.png"))
    with pytest.raises(BadInput, match="cannot see pictures"):
        ask(model, Message("user", (picture, TextPart("Which colour is it?"))))


def test_a_wrong_name_lists_what_is_there(server):
    with pytest.raises(EngineUnavailable, match="no model named nonsense") as refused:
        connect(server.url, "nonsense", name="x")
    assert str(server.folder) in refused.value.remedy


def test_a_stop_ends_the_server_s_work(server, model):
    scope = CancelScope()
    cancel = scope.begin()
    for told, _ in enumerate(model.stream([user("Write a long story.")], GenerationOptions(1500), cancel)):
        if told == 3:
            stopped = time.monotonic()
            scope.cancel()
    assert time.monotonic() - stopped < 1.0
    time.sleep(0.5)  # the token that was under way
    before = server.computing_s()
    time.sleep(0.8)
    assert server.computing_s() - before < 0.4, "the server went on computing"


def test_killed_in_mid_answer_it_is_a_sentence_and_back_again_it_answers(server, tmp_path):
    """Through the dialogue, as the page does it."""
    settings = replace(Settings(data_dir=tmp_path / "data"), model=f"server:{server.url}")
    loading = lambda name, **_: connect(server.url, name=name)  # noqa: E731
    engines = Engines(settings.model, "none", "none", loaders=dict.fromkeys(ROLES, loading))
    store = ConversationStore(settings.data_dir)
    dialogue = DialogueManager(engines, store, settings)
    conversation = store.create().id

    def turn(text: str, tokens: int, at: int = -1) -> list[object]:
        events: list[object] = []
        asked = UserTurn(conversation, text, generation=GenerationOptions(max_new_tokens=tokens))
        for event in dialogue.respond(asked, dialogue.scope(conversation).begin()):
            events.append(event)
            if sum(isinstance(e, TextDelta) for e in events) == at:
                server.kill()
                at = -1
        return events

    failed = turn("Write a long story about the sea.", 1500, at=5)[-1]
    assert isinstance(failed, TurnFailed)
    assert failed.message == f"The server at {server.url} went away in mid-answer."
    assert "kept" in failed.remedy
    kept = store.messages(conversation)[-1]
    assert (kept.status, kept.text, kept.details["error"]) == ("failed", failed.text, failed.message)
    assert len(kept.text.split()) >= 3

    gone = turn("Are you there?", 8)[-1]
    assert isinstance(gone, TurnFailed)
    assert gone.message == f"No server answers at {server.url}."

    server.start()
    ended = turn("What is the capital of France?", 16)[-1]
    assert isinstance(ended, TurnEnded)
    assert ended.text
    assert store.messages(conversation)[-1].status == "complete"
    store.close()
