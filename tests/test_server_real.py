"""The engine for servers against a real one on loopback: `transformers serve` with SmolLM2, and a tiny model that sees.

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
from transformers import (
    AutoTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

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
    """`transformers serve` in a process of its own; it loads the folders that it is asked for."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._folder = folder
        self._log = folder / "serve.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        command = [
            sys.executable,
            "-m",
            "transformers.cli.transformers",
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--device",
            "cpu",
        ]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
        environment["HF_HOME"] = str(self._folder / "hub")  # it lists what lies there
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
    running = RealServer(tmp_path_factory.mktemp("server"))
    running.start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.kill()


@pytest.fixture(scope="module")
def smollm2() -> str:
    """How the server calls SmolLM2: by its folder."""
    return str(smollm2_folder())


@pytest.fixture(scope="module")
def model(server: RealServer, smollm2: str) -> ServerModel:
    return connect(server.url, smollm2, name=f"server:{server.url}#{smollm2}")


def tiny_vision_model(folder: Path) -> None:
    """An untrained Qwen2.5-VL of two narrow layers, with SmolLM2's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder())
    marks = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", *marks]})
    start, end, image, video = (tokenizer.convert_tokens_to_ids(m) for m in marks)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {% if m['content'] is string %}{{ m['content'] }}{% else %}"
        "{% for p in m['content'] %}{% if p['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
        "{% else %}{{ p['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>{% endfor %}assistant:"
    )
    pictures = Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=16 * 28 * 28)
    template = tokenizer.chat_template
    Qwen2_5_VLProcessor(pictures, tokenizer, Qwen2VLVideoProcessor(), chat_template=template).save_pretrained(folder)
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
    }  # fmt: skip
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 32, "num_heads": 1, "out_hidden_size": 32}
    vision |= {"patch_size": 14, "fullatt_block_indexes": [0]}
    tokens = {"vision_start_token_id": start, "vision_end_token_id": end}
    tokens |= {"image_token_id": image, "video_token_id": video}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **tokens)
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)


def user(text: str) -> Message:
    return Message.of_text("user", text)


def ask(model: ServerModel, *messages: Message, tokens: int = 12) -> str:
    options = GenerationOptions(max_new_tokens=tokens)
    return "".join(d.text for d in model.stream(messages, options, never_cancelled()))


def test_without_a_name_there_is_no_model_until_one_is_loaded(server):
    with pytest.raises(EngineUnavailable, match="lists no model"):
        connect(server.url, name="x")


def test_it_answers_and_counts(server, smollm2, model):
    deltas = list(model.stream([user("What is the capital of France?")], GenerationOptions(), never_cancelled()))
    text = "".join(d.text for d in deltas)
    assert "Paris" in text
    assert len([d for d in deltas if d.text]) > 3  # it streams
    assert abs(sum(d.tokens for d in deltas) - len(text.split())) <= len(text.split())
    assert connect(server.url, name="x").model == smollm2  # the first that it lists now


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


def test_a_model_that_sees_gets_its_pictures(server, tmp_path):
    """Tiny and untrained: what it says is nothing, but each picture must cost it tokens."""
    tiny_vision_model(tmp_path / "tiny")
    seeing = connect(server.url, str(tmp_path / "tiny"), name="x")
    red, blue = (ImagePart(Picture.of(Image.new("RGB", (112, 84), c), f"{c}.png")) for c in ("red", "blue"))
    question = TextPart("Which one?")
    counts = []
    for parts in ((question,), (red, question), (red, blue, question)):
        ask(seeing, Message("user", parts), tokens=3)
        counts.append(seeing.prompt_tokens)
    assert seeing.dialect.sees is True
    assert min(counts[1] - counts[0], counts[2] - counts[1]) >= 4 * 3 + 2  # squares of 28 pixels, and two marks
    ask(seeing, Message("user", (red, blue, question)), Message.of_text("assistant", "Red."), user("Sure?"), tokens=3)
    assert seeing.prompt_tokens > counts[2]
    assert seeing.urls.encoded == 3  # both, and the one that found out whether it sees


def test_a_wrong_name_lists_what_is_there(server, smollm2):
    with pytest.raises(EngineUnavailable, match="no model named nonsense") as refused:
        connect(server.url, "nonsense", name="x")
    assert smollm2 in refused.value.remedy


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


def test_killed_in_mid_answer_it_is_a_sentence_and_back_again_it_answers(server, smollm2, tmp_path):
    """Through the dialogue, as the page does it."""
    settings = replace(Settings(data_dir=tmp_path / "data"), model=f"server:{server.url}#{smollm2}")
    loading = lambda name, **_: connect(server.url, smollm2, name=name)  # noqa: E731
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
