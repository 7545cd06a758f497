"""Out of memory at any moment: one step down at a time, each told, nothing said twice, the answer whole."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

from models.errors import EngineFailure, OutOfMemory
from models.interfaces import GenerationOptions, SeenPicture, TextDelta
from models.runtime import GIGABYTE, RuntimeChoice
from models.seeing import ladder
from models.seeing.ladder import MORE_ROOM, ResilientModel
from models.streaming import CancelScope, never_cancelled
from models.types import ImagePart, Message, Picture, TextPart, VideoClip, VideoPart
from ui.owner_sentences import in_language

WORDS = "one two three four five six seven eight"
DROPPED = "Memory ran out, so what was kept of earlier turns was dropped."


def plan(device: str, precision: str, fits: bool = True, needed: int = 0) -> RuntimeChoice:
    return RuntimeChoice(device, precision, fits, "", needed)  # type: ignore[arg-type]


PLANS = (plan("cuda", "bfloat16"), plan("cuda", "int8"), plan("cpu", "int8"), plan("cpu", "int4"))


@dataclass
class Memory:
    """What the scripted machine can take. A failing call raises the error that its number in `script` names.

    Attributes:
        holds: what must be true of (engine, messages) for an answer to fit.
        loads: which choices can be loaded.
        at: after so many words of an answer the memory is counted (0: at prefill).
        free: bytes that are free, on every device.
    """

    holds: object = lambda engine, messages: True
    loads: object = lambda choice: True
    looks: object = lambda engine, messages: True
    at: int = 0
    free: int = 8 * GIGABYTE
    error: Exception = field(default_factory=lambda: OutOfMemory("no room"))
    loaded: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    asked: list[tuple[Message, ...]] = field(default_factory=list)


class Engine:
    """Says `WORDS`, going on where the last message stops, as long as the memory holds it."""

    name, context_tokens = "inner", 4096

    def __init__(self, memory: Memory, choice: RuntimeChoice) -> None:
        self.memory, self.choice = memory, choice
        self.label = f"{choice.device} {choice.precision}"
        self.cached = True
        memory.loaded.append(self.label)
        if not memory.loads(choice):
            raise memory.error

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(m.pictures) for m in messages)

    def look(self, messages: Sequence[Message]) -> tuple[SeenPicture, ...]:
        if not self.memory.looks(self, messages):
            raise self.memory.error
        return tuple(
            SeenPicture(p.source, p.digest, p.original_size, p.image.size) for m in messages for p in m.pictures
        )

    def stream(self, messages: Sequence[Message], options: GenerationOptions, cancel) -> Iterator[TextDelta]:
        self.memory.asked.append(tuple(messages))
        begun = messages[-1].text if messages[-1].role == "assistant" else ""
        assert WORDS.startswith(begun)
        rest = WORDS[len(begun) :].split()
        for number, word in enumerate(rest[: options.max_new_tokens]):
            if number == (0 if begun else self.memory.at) and not self.memory.holds(self, messages):
                raise self.memory.error
            if cancel.cancelled:
                return
            yield TextDelta(f" {word}" if begun or number else word)

    def explain(self, messages: Sequence[Message], answer: str) -> tuple[SeenPicture, ...]:
        return self.look(messages)

    def forget(self) -> None:
        self.cached = False

    def close(self) -> None:
        self.memory.closed.append(self.label)


@pytest.fixture(autouse=True)
def given_back(monkeypatch, request) -> list[int]:
    """Collecting garbage takes 0.1 s with everything imported; the tests with a real checkpoint do it."""
    calls: list[int] = []
    if "checkpoint" not in request.fixturenames:
        monkeypatch.setattr(ladder, "give_back", lambda: calls.append(1))
    return calls


def model_on(memory: Memory, plans=PLANS) -> ResilientModel:
    return ResilientModel(lambda choice: Engine(memory, choice), plans, "hf:a/b", free=lambda device: memory.free)


def picture(side: int, time: float | None = None) -> Picture:
    return Picture.of(Image.new("RGB", (side, side // 2), (side % 256, 40, 90)), f"{side}.png", time=time)


def question(text: str = "What?", side: int = 0, frames: int = 0) -> Message:
    parts: list = [ImagePart(picture(side))] if side else []
    if frames:
        shots = tuple(picture(200 + i, float(i)) for i in range(frames))
        parts.append(VideoPart(VideoClip(shots, None, float(frames), "v.mp4")))
    return Message("user", (*parts, TextPart(text)))


def answered(model: ResilientModel, messages: Sequence[Message], tokens: int = 64) -> tuple[str, list[str]]:
    """(the text, the notices), in at most two seconds for all steps together."""
    begun = time.perf_counter()
    deltas = list(model.stream(messages, GenerationOptions(max_new_tokens=tokens), never_cancelled()))
    assert time.perf_counter() - begun < 2
    notices = [d.notice for d in deltas if d.notice]
    assert all(not d.text and not d.tokens for d in deltas if d.notice)
    assert [n for n in notices if in_language(n, "zh") == n] == []
    return "".join(d.text for d in deltas), notices


def frames_in(messages: Sequence[Message]) -> int:
    return max((len(p.clip.frames) for m in messages for p in m.parts if isinstance(p, VideoPart)), default=0)


def side_in(messages: Sequence[Message]) -> int:
    return max((max(p.image.size) for m in messages for p in m.pictures), default=0)


def fewer(count: int) -> str:
    return f"Memory ran out, so at most {count} frames of a video are looked at."


def smaller(side: int) -> str:
    return f"Memory ran out, so pictures are looked at with at most {side} pixels a side."


LOWER = "Memory ran out, so hf:a/b goes on with weights in int8."
CPU = "Memory ran out, so hf:a/b goes on on the processor with weights in int8, which is slower."
LOWEST = "Memory ran out, so hf:a/b goes on with weights in int4."

# what is asked, what the memory holds, the notices
STEPS = {
    "caches": (question(), lambda e, m: not e.cached, [DROPPED]),
    "frames": (question(frames=9, side=150), lambda e, m: frames_in(m) <= 2, [DROPPED, fewer(4), fewer(2)]),
    "pictures": (
        question(side=900),
        lambda e, m: side_in(m) < 225,
        [DROPPED, smaller(450), smaller(225), smaller(224)],
    ),
    "precision": (question(), lambda e, m: e.label == "cuda int8", [DROPPED, LOWER]),
    "processor": (question(), lambda e, m: e.label == "cpu int8", [DROPPED, LOWER, CPU]),
    "the last": (
        question(side=500, frames=3),
        lambda e, m: e.label == "cpu int4",
        [DROPPED, fewer(2), smaller(250), smaller(224), LOWER, CPU, LOWEST],
    ),
}  # fmt: skip


@pytest.mark.parametrize("at", [0, 3], ids=["at prefill", "in mid-answer"])
@pytest.mark.parametrize("step", STEPS)
def test_each_step_is_taken_in_turn_and_the_answer_is_whole(step, at, given_back):
    asked, holds, expected = STEPS[step]
    memory = Memory(holds, at=at)
    model = model_on(memory)
    text, notices = answered(model, [asked])
    assert text == WORDS
    assert notices == expected
    assert f"{model.choice.device} {model.choice.precision}" == model.label == memory.loaded[-1]
    assert memory.closed == memory.loaded[:-1]
    assert len(given_back) >= len(expected)
    begun = [m[-1].text for m in memory.asked if m[-1].role == "assistant"]
    assert begun == ["one two three"] * (len(expected) if at else 0)


def test_the_number_of_new_tokens_stays_what_was_asked_for():
    memory = Memory(lambda e, m: not e.cached, at=3)
    assert answered(model_on(memory), [question()], tokens=5)[0] == "one two three four five"


def test_when_nothing_is_left_there_is_a_sentence_and_the_next_turn_works():
    memory = Memory(lambda e, m: False, at=2)
    model = model_on(memory)
    stream = model.stream([question()], GenerationOptions(), never_cancelled())
    deltas = []
    with pytest.raises(OutOfMemory, match="nothing is left to make smaller") as caught:
        for delta in stream:
            deltas.append(delta)
    assert "".join(d.text for d in deltas) == "one two"
    assert [d.notice for d in deltas if d.notice] == [DROPPED, LOWER, CPU, LOWEST]
    assert "Start a new conversation" in caught.value.remedy
    for sentence in (caught.value.message, caught.value.remedy):
        assert in_language(sentence, "zh") != sentence
    memory.holds = lambda e, m: True
    assert answered(model, [question(), Message.of_text("assistant", "one two"), question("And?")]) == (WORDS, [])


def test_out_of_memory_while_it_is_loaded():
    memory = Memory(loads=lambda choice: choice.device == "cpu")
    model = model_on(memory)
    assert memory.loaded == ["cuda bfloat16", "cuda int8", "cpu int8"]
    assert model.choice == PLANS[2]
    text, notices = answered(model, [question()])
    assert text == WORDS
    assert notices == [
        "hf:a/b did not fit into memory with weights in bfloat16 on cuda, so int8 on cuda is tried.",
        "hf:a/b did not fit into memory with weights in int8 on cuda, so int8 on cpu is tried.",
    ]
    with pytest.raises(OutOfMemory, match="There is not enough memory for hf:a/b"):
        model_on(Memory(loads=lambda choice: False))


def test_a_step_whose_model_cannot_be_loaded_leads_to_the_next():
    memory = Memory(lambda e, m: e.choice.device == "cpu", loads=lambda c: c.precision != "int8" or c.device == "cpu")
    text, notices = answered(model_on(memory), [question()])
    assert text == WORDS
    assert [n.split(",")[0] for n in notices] == [
        "Memory ran out",
        "hf:a/b did not fit into memory with weights in int8 on cuda",
        "Memory ran out",
    ]
    assert memory.loaded == ["cuda bfloat16", "cuda int8", "cpu int8"]


def test_a_library_s_own_error_counts_as_well_and_others_do_not():
    torch = pytest.importorskip("torch")
    memory = Memory(lambda e, m: not e.cached, error=torch.OutOfMemoryError("CUDA out of memory."))
    assert answered(model_on(memory), [question()]) == (WORDS, [DROPPED])
    broken = Memory(lambda e, m: False, error=EngineFailure("it broke"))
    model = model_on(broken)
    with pytest.raises(EngineFailure, match="it broke"):
        list(model.stream([question()], GenerationOptions(), never_cancelled()))
    broken.holds = lambda e, m: True
    assert answered(model, [question()])[0] == WORDS  # the lock is free again


def test_looking_runs_out_of_memory_too():
    memory = Memory(looks=lambda e, m: side_in(m) <= 500)
    model = model_on(memory)
    asked = question(side=1000)
    (seen,) = model.look([asked])
    assert seen.model_size == (500, 250)
    assert seen.digest == asked.pictures[0].digest  # the owner's picture, not the smaller one
    assert seen.original_size == (1000, 500)
    assert model.count_tokens([asked]) == 1
    text, notices = answered(model, [asked])
    assert (text, notices) == (WORDS, [DROPPED, smaller(500)])


def test_a_stop_is_obeyed_between_two_steps():
    memory = Memory(lambda e, m: False)
    scope = CancelScope()
    stream = model_on(memory).stream([question()], GenerationOptions(), scope.begin())
    assert next(stream).notice == DROPPED
    scope.cancel()
    assert list(stream) == []
    assert memory.loaded == ["cuda bfloat16"]


def test_a_second_caller_waits_and_can_be_stopped_meanwhile():
    model = model_on(Memory())
    first = model.stream([question()], GenerationOptions(), never_cancelled())
    next(first)
    scope = CancelScope()
    token = scope.begin()
    scope.cancel()
    assert list(model.stream([question()], GenerationOptions(), token)) == []
    first.close()
    assert answered(model, [question()])[0] == WORDS


def conversation(*questions: str, side: int = 1000) -> list[Message]:
    """Earlier questions with their answers, then the last one; the first has a picture."""
    messages = [question(questions[0], side=side)]
    for text in questions[1:]:
        messages += [Message.of_text("assistant", WORDS), question(text)]
    return messages


def test_smaller_pictures_stay_for_the_conversation_and_return_with_another():
    memory = Memory(lambda e, m: side_in(m) <= 500)
    model = model_on(memory)
    assert answered(model, conversation("a"))[1] == [DROPPED, smaller(500)]
    assert answered(model, conversation("a", "b")) == (WORDS, [])
    assert side_in(memory.asked[-1]) == 500
    (explained,) = model.explain(conversation("a", "b"), WORDS)
    assert explained.model_size == (500, 250)
    assert explained.digest == conversation("a")[0].pictures[0].digest
    memory.holds = lambda e, m: True
    assert answered(model, conversation("other")) == (WORDS, [])
    assert side_in(memory.asked[-1]) == 1000


def test_full_pictures_return_when_there_is_more_room():
    memory = Memory(lambda e, m: side_in(m) <= 500)
    model = model_on(memory)
    answered(model, conversation("a"))
    memory.free += MORE_ROOM
    memory.holds = lambda e, m: True
    answered(model, conversation("a", "b"))
    assert side_in(memory.asked[-1]) == 1000


BIG = (plan("cuda", "bfloat16", needed=6 * GIGABYTE), plan("cpu", "int8", needed=3 * GIGABYTE))
BACK = "There is memory again, so hf:a/b runs on cuda with weights in bfloat16."


def test_the_better_plan_is_taken_again_in_another_conversation_or_when_there_is_more_room():
    memory = Memory(lambda e, m: e.choice.device == "cpu")
    model = model_on(memory, BIG)
    assert answered(model, conversation("a", side=100))[1] == [DROPPED, CPU]
    assert answered(model, conversation("a", "b", side=100)) == (WORDS, [])
    memory.holds = lambda e, m: True
    assert answered(model, conversation("a", "b", "c", side=100)) == (WORDS, [])  # it would only run out again
    assert answered(model, conversation("new", side=100)) == (WORDS, [BACK])
    assert memory.loaded == ["cuda bfloat16", "cpu int8", "cuda bfloat16"]
    assert memory.closed == ["cuda bfloat16", "cpu int8"]

    memory = Memory(lambda e, m: e.choice.device == "cpu")
    model = model_on(memory, BIG)
    answered(model, conversation("a", side=100))
    memory.free, memory.holds = memory.free + MORE_ROOM, lambda e, m: True
    assert answered(model, conversation("a", "b", side=100)) == (WORDS, [BACK])


def test_what_could_not_be_loaded_is_tried_again_only_with_more_room():
    memory = Memory(loads=lambda choice: choice.device == "cpu")
    model = model_on(memory, BIG)
    answered(model, conversation("a"))
    answered(model, conversation("new"))
    assert memory.loaded == ["cuda bfloat16", "cpu int8"]
    memory.free, memory.loads = memory.free + MORE_ROOM, lambda choice: True
    assert answered(model, conversation("newer"))[1] == [BACK]


def test_a_plan_that_has_no_room_is_not_a_step():
    plans = (plan("cuda", "int8"), plan("cpu", "int8"), plan("cuda", "bfloat16", False), plan("cuda", "int4", False))
    memory = Memory(lambda e, m: e.label == "cpu int8")
    assert answered(model_on(memory, plans), [question()])[1] == [DROPPED, CPU]


def test_closing_returns_it_and_the_next_question_loads_it_again():
    memory = Memory()
    model = model_on(memory)
    model.close()
    assert memory.closed == ["cuda bfloat16"]
    assert answered(model, [question()]) == (WORDS, [])
    assert memory.loaded == ["cuda bfloat16"] * 2


def test_frames_that_stay_are_spread_over_the_video():
    memory = Memory(lambda e, m: frames_in(m) <= 4)
    answered(model_on(memory), [question(frames=9)])
    (clip,) = [p.clip for p in memory.asked[-1][0].parts if isinstance(p, VideoPart)]
    assert [f.time for f in clip.frames] == [0.0, 3.0, 5.0, 8.0]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    from tests.tiny_checkpoints import CHECKPOINTS

    return CHECKPOINTS["smolvlm"].save(tmp_path_factory.mktemp("smolvlm"))


@pytest.mark.parametrize("failing", [{1}, {8}, {1, 2, 3, 4}], ids=["at prefill", "in mid-answer", "at every step"])
def test_a_real_checkpoint_goes_on_where_it_stopped(checkpoint, monkeypatch, failing):
    """`failing`: the forward passes, counted from 1, at which torch says that there is no memory left."""
    import torch

    from models.seeing.checkpoint import load_checkpoint
    from models.seeing.checkpoint.decoder import CheckpointDecoder

    passes, loaded = 0, []
    forward = CheckpointDecoder.forward

    def scarce(self, tokens):
        nonlocal passes
        passes += 1
        if passes in failing:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, tokens)

    def load(choice):
        loaded.append(choice.precision)
        return load_checkpoint(checkpoint, choice, name="tiny")

    model = ResilientModel(load, (plan("cpu", "float32"), plan("cpu", "int8"), plan("cpu", "int4")), "tiny")
    asked = [question("What is in it?", side=300)]
    options = GenerationOptions(max_new_tokens=12, repetition_penalty=1.0)
    undisturbed = "".join(d.text for d in model.stream(asked, options, never_cancelled()))
    monkeypatch.setattr(CheckpointDecoder, "forward", scarce)
    deltas = list(model.stream(asked, options, never_cancelled()))
    steps = [DROPPED, smaller(224), "Memory ran out, so tiny goes on with weights in int8.",
             "Memory ran out, so tiny goes on with weights in int4."]  # fmt: skip
    assert [d.notice for d in deltas if d.notice] == steps[: len(failing)]
    assert loaded == ["float32", "int8", "int4"][: max(1, len(failing) - 1)]
    first = next(number for number, delta in enumerate(deltas) if delta.notice)
    said = "".join(d.text for d in deltas[:first])
    assert undisturbed.startswith(said)
    assert bool(said) == (min(failing) > 1)
    assert sum(d.tokens for d in deltas) == 12  # as many as were asked for, whatever happened between
    model.close()
