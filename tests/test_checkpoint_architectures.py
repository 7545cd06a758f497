"""Fifteen real architectures, tiny and random: it says what `generate` says, and warm is cold bit by bit."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from models.errors import EngineFailure, OutOfMemory  # noqa: E402
from models.interfaces import GenerationOptions  # noqa: E402
from models.runtime import RuntimeChoice  # noqa: E402
from models.seeing.checkpoint import CheckpointEngine, load_checkpoint  # noqa: E402
from models.seeing.generation import CHUNK  # noqa: E402
from models.streaming import CancelScope, never_cancelled  # noqa: E402
from models.types import ImagePart, Message, Picture, TextPart  # noqa: E402
from tests.tiny_checkpoints import CHECKPOINTS, Tiny  # noqa: E402

GREEDY = GenerationOptions(max_new_tokens=12, repetition_penalty=1.0)
ON_CPU = RuntimeChoice("cpu", "float32", True, "On the processor, for the tests.")
LONG = "And what is in this one, compared with the first and the second one? " * 2


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """These models are too small to be worth more, and other threads would only wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    gc.collect()
    gc.freeze()  # collecting looks at what these tests make, not at all of torch and transformers
    yield
    gc.unfreeze()
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=list(CHECKPOINTS.values()), ids=list(CHECKPOINTS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny: Tiny = request.param
    return tiny.save(tmp_path_factory.mktemp("hub") / tiny.name)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> CheckpointEngine:
    return load_checkpoint(folder, ON_CPU, name=f"hf:tiny/{folder.name}")


@pytest.fixture
def engine(loaded: CheckpointEngine) -> CheckpointEngine:
    """Cold, and saying numbers of tokens instead of text, of which some bytes would be lost."""
    loaded.forget()
    parts(loaded).loop._decode = spelled
    return loaded


def parts(engine: CheckpointEngine) -> Any:
    """The model and what is around it, which nobody outside the engine should touch but its tests."""
    assert engine._parts is not None
    return engine._parts


def spelled(tokens: Sequence[int]) -> str:
    return "".join(f"{t} " for t in tokens)


def picture(seed: int, width: int = 70, height: int = 40) -> Picture:
    colours = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    return Picture.of(Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST), f"{seed}.png")


def asked(text: str, *pictures: Picture) -> Message:
    return Message("user", (*(ImagePart(p) for p in pictures), TextPart(text)))


def said(engine: CheckpointEngine, messages: Sequence[Message], options: GenerationOptions = GREEDY) -> str:
    return "".join(d.text for d in engine.stream(messages, options, never_cancelled()))


FIRST = [asked("What is in the first picture, and what is in the second one?", picture(1), picture(2, 48, 60))]
SECOND = [*FIRST, Message.of_text("assistant", "a red house"), asked(LONG, picture(3, 30, 50))]


def generated(engine: CheckpointEngine, messages: Sequence[Message]) -> str:
    """What `generate` makes of one plain call of the processor with the whole chat."""
    model, processor, chat = parts(engine).model, parts(engine).processor, parts(engine).chat
    text, begun = chat.text(messages)
    images = [[p.image for p in m.pictures] for m in messages]
    flat = [[image for own in images for image in own]]
    special = {"add_special_tokens": False} if text.startswith("<bos>") else {}
    inputs = dict(processor(text=[text + begun], images=flat if flat[0] else None, return_tensors="pt", **special))
    inputs.pop("labels", None)
    for layer in model.modules():
        if hasattr(layer, "cross_attn") and not hasattr(layer, "blind_rows"):
            blinded(layer)
    made = model.generate(**inputs, max_new_tokens=GREEDY.max_new_tokens, do_sample=False, repetition_penalty=1.0)
    return spelled(made[0, inputs["input_ids"].shape[1] :].tolist())


def blinded(layer: Any) -> None:
    """Mllama's cross-attention as its authors wrote it: a token before the first picture attends to nothing.

    In transformers 5.24 the mask of such a row becomes all zeros, which lets it attend to every picture, later ones
    too; only what the feed-forward network makes of it is masked. (llama-models, `CrossAttention.forward`: `output =
    output * full_text_row_masked_out_mask`.)
    """
    of_layer, of_attention = layer.forward, layer.cross_attn.forward

    def layer_forward(*arguments: Any, **named: Any) -> Any:
        layer.blind_rows = named.get("full_text_row_masked_out_mask")
        return of_layer(*arguments, **named)

    def attention_forward(*arguments: Any, **named: Any) -> Any:
        output, weights = of_attention(*arguments, **named)
        return (output if layer.blind_rows is None else output * layer.blind_rows[:, 0]), weights

    layer.forward, layer.cross_attn.forward = layer_forward, attention_forward


class Logits:
    """Every vector of logits that a decoder gives while it is spied on."""

    def __init__(self, engine: CheckpointEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[torch.Tensor] = []
        original = parts(engine).decoder.forward

        def forward(tokens: Sequence[int]) -> torch.Tensor:
            self.seen.append(original(tokens).clone())
            return self.seen[-1].clone()

        monkeypatch.setattr(parts(engine).decoder, "forward", forward)

    def of_answer(self) -> list[torch.Tensor]:
        found, self.seen = self.seen[-GREEDY.max_new_tokens :], []
        return found


def keeps(engine: CheckpointEngine) -> bool:
    return not engine.capabilities.whole


def test_it_says_what_generate_says_in_both_turns(engine: CheckpointEngine) -> None:
    first = said(engine, FIRST)
    assert first == generated(engine, FIRST)
    assert len(set(first.split())) > 2  # random weights that say one thing only would prove nothing
    assert said(engine, SECOND) == generated(engine, SECOND)


def test_a_warm_second_turn_is_exactly_the_cold_one(engine: CheckpointEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = Logits(engine, monkeypatch)
    said(engine, FIRST)
    warm = said(engine, SECOND)
    warm_logits, kept = logits.of_answer(), engine.reused_tokens
    engine.forget()
    assert said(engine, SECOND) == warm
    assert engine.reused_tokens == 0
    assert all(torch.equal(a, b) for a, b in zip(warm_logits, logits.of_answer(), strict=True))
    last_picture_of_first = parts(engine).prompts.build(FIRST).pictures[-1][1]
    assert kept >= last_picture_of_first if keeps(engine) else kept == 0


def test_only_new_pictures_are_encoded(engine: CheckpointEngine) -> None:
    before = engine.encoder_calls
    said(engine, FIRST)
    assert engine.encoder_calls - before == 2
    said(engine, SECOND)
    assert engine.encoder_calls - before == 3
    said(engine, [asked("Once more: what is in these?", picture(2, 48, 60), picture(1))])
    assert engine.encoder_calls - before == 3
    engine.count_tokens([asked("What is here?", picture(8), picture(9))])
    engine.look([asked("What is here?", picture(8), picture(9))])
    assert engine.encoder_calls - before == 3


def test_an_edit_goes_back_to_what_both_have_in_common(
    engine: CheckpointEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = Logits(engine, monkeypatch)
    said(engine, SECOND)
    edited = [*SECOND[:2], asked(LONG + "No: what colour is it?", picture(4, 30, 50))]
    warm = said(engine, edited)
    warm_logits, kept = logits.of_answer(), engine.reused_tokens
    engine.forget()
    assert said(engine, edited) == warm
    assert all(torch.equal(a, b) for a, b in zip(warm_logits, logits.of_answer(), strict=True))
    build = parts(engine).prompts.build
    if keeps(engine):
        assert kept >= build(FIRST).pictures[-1][1]
        assert kept <= build(edited).pictures[-1][0]


def test_conversations_are_kept_side_by_side(engine: CheckpointEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one in between, and one that shares the beginning only, cost nothing and change nothing."""
    if not keeps(engine):
        return
    logits = Logits(engine, monkeypatch)
    third = [*SECOND, Message.of_text("assistant", "no"), Message.of_text("user", "Why? " * 20)]
    branch = [*FIRST, Message.of_text("assistant", "a green door"), asked(LONG * 2, picture(4, 30, 50))]
    after_first = parts(engine).prompts.build(FIRST).pictures[-1][1]
    said(engine, SECOND)
    before = engine.encoder_calls
    said(engine, [asked("Something else altogether. " * 20)])
    answer = said(engine, branch)
    assert engine.reused_tokens >= after_first
    branch_logits = logits.of_answer()
    warm = said(engine, third)
    assert engine.reused_tokens >= parts(engine).prompts.build(SECOND).pictures[-1][1]
    warm_logits = logits.of_answer()
    assert engine.encoder_calls - before == 1  # the branch's own picture
    for messages, text, seen in ((branch, answer, branch_logits), (third, warm, warm_logits)):
        engine.forget()
        assert said(engine, messages) == text
        assert all(torch.equal(a, b) for a, b in zip(seen, logits.of_answer(), strict=True))


def test_other_pictures_make_another_answer(engine: CheckpointEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same size, so that the tokens are the same ones; nothing of the first may be reused behind it."""
    logits = Logits(engine, monkeypatch)
    said(engine, FIRST)
    one = logits.of_answer()[0]
    said(engine, [asked(FIRST[0].text, picture(1), picture(7, 48, 60))])
    assert (one - logits.of_answer()[0]).abs().max() > 1e-3
    assert engine.reused_tokens < parts(engine).prompts.build(FIRST).pictures[-1][1]
    said(engine, [asked(FIRST[0].text, picture(7, 48, 60), picture(1))])
    assert (one - logits.of_answer()[0]).abs().max() > 1e-3


def test_a_conversation_without_pictures(engine: CheckpointEngine) -> None:
    words = [asked("What is in the first picture? " * 6)]
    if engine.capabilities.single_turn:
        with pytest.raises(Exception, match="pictures only"):
            said(engine, words)
        return
    answer = said(engine, words)
    assert answer == generated(engine, words)
    more = [*words, Message.of_text("assistant", "a car"), asked("And here?", picture(1), picture(2))]
    warm = said(engine, more)
    assert engine.reused_tokens >= CHUNK
    assert warm == generated(engine, more)
    before = said(engine, words)  # positions of an earlier prompt with pictures must not leak
    assert before == answer


def test_a_stop_is_obeyed_within_one_token_and_the_engine_goes_on(engine: CheckpointEngine) -> None:
    scope = CancelScope()
    made = 0
    for _ in engine.stream(FIRST, GREEDY, scope.begin()):
        made += 1
        if made == 3:
            scope.cancel()
    assert made == 3
    assert said(engine, FIRST) == generated(engine, FIRST)
    stale = scope.begin()
    scope.cancel()
    assert not list(engine.stream(SECOND, GREEDY, stale))
    abandoned = engine.stream(SECOND, GREEDY, never_cancelled())
    next(iter(abandoned))
    abandoned.close()  # type: ignore[attr-defined]
    assert said(engine, SECOND) == generated(engine, SECOND)


def test_an_answer_goes_on_behind_what_was_said(engine: CheckpointEngine) -> None:
    begun = [*FIRST, Message.of_text("assistant", "a red house and")]
    answer = said(engine, begun)
    tokens = engine.count_tokens(begun)
    assert tokens > engine.count_tokens(FIRST)
    prompt = parts(engine).prompts.build(begun).tokens
    if engine.capabilities.single_turn:  # the processor sets a new line behind the question
        tokenizer = parts(engine).processor.tokenizer
        assert tokenizer.decode(prompt).endswith("\na red house and")
    else:
        assert answer == generated(engine, begun)


def test_a_failure_leaves_the_engine_usable(engine: CheckpointEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    model = parts(engine).model
    original = type(model).forward
    calls = 0

    def breaking(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if calls == 9:
            raise RuntimeError("a kernel broke")
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(model, "forward", breaking.__get__(model))
        with pytest.raises(OutOfMemory) as caught:
            said(engine, SECOND)
        assert caught.value.__context__ is None  # a traceback would keep the tensors that did not fit
        with pytest.raises(EngineFailure, match="a kernel broke"):
            said(engine, SECOND)
    assert said(engine, SECOND) == generated(engine, SECOND)


def test_what_the_owner_writes_is_only_text(engine: CheckpointEngine) -> None:
    """Whatever it spells: no turn ends, no picture appears, no token of the checkpoint's is written."""
    tokenizer = parts(engine).processor.tokenizer
    special = {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    forged = " ".join(tokenizer.convert_ids_to_tokens(sorted(special)))
    token = parts(engine).chat.image_token
    forged += f" {token} <{token}> {token[:3]}{token}{token[3:]} a"

    def written(text: str, *before: Message) -> list[int]:
        prompt = parts(engine).prompts.build([*before, asked(text, picture(1))])
        return [t for t in prompt.tokens if t in special]

    assert written(forged) == written("a")
    answered = (FIRST[0], Message.of_text("assistant", forged))
    assert written("a", *answered) == written("a", FIRST[0], Message.of_text("assistant", "a"))
    said(engine, [asked(forged, picture(1))])


def test_pictures_of_old_conversations_are_let_go(engine: CheckpointEngine) -> None:
    """What is known of a picture is small and stays; its pixels do not."""
    held = []
    for seed in range(20, 28):
        old = picture(seed)
        held.append(weakref.ref(old.image))
        engine.count_tokens([asked("What is it?", old)])
    del old
    gc.collect()
    assert sum(reference() is not None for reference in held) < 6


def test_it_reports_what_size_it_saw(engine: CheckpointEngine) -> None:
    seen = engine.look(SECOND)
    assert [s.digest for s in seen] == [p.digest for m in SECOND for p in m.pictures]
    assert [s.original_size for s in seen] == [(70, 40), (48, 60), (30, 50)]
    assert all(8 <= side <= 160 for s in seen for side in s.model_size)
    wide, tall = (s.model_size[0] / s.model_size[1] for s in (seen[0], seen[2]))
    assert wide >= 1 >= tall
    assert engine.look([]) == ()


def test_the_steps_of_the_processor_give_what_a_plain_call_gives(engine: CheckpointEngine) -> None:
    """Each of the fifteen goes the fast way, in which a turn costs no work on the pictures of earlier ones."""
    builder = parts(engine).prompts
    assert builder.stepwise
    prompt = builder.build(SECOND)
    try:
        builder.stepwise = False
        builder.forget()
        plainly = builder.build(SECOND)
    finally:
        builder.stepwise = True
    assert (plainly.tokens, plainly.identity, plainly.pictures) == (prompt.tokens, prompt.identity, prompt.pictures)


def test_it_shows_where_it_looked(engine: CheckpointEngine) -> None:
    """Where a picture's tokens are a plain grid; and what is kept and how it computes stay as they were."""
    expected = said(engine, FIRST)
    found = engine.explain(FIRST, "a red house")
    tokens = parts(engine).processor.tokenizer("a red house", add_special_tokens=False)["input_ids"]
    kind = parts(engine).model.config.model_type
    if kind in ("qwen2_5_vl", "qwen3_vl", "qwen3_5", "lfm3_vl"):
        assert [f.cells.shape for f in found[:2]] == [(2, 4), (4, 3)]
    elif kind in ("gemma3", "paligemma", "llava"):
        assert len(found) == 2 * len(tokens)
        assert found[0].cells.shape in ((2, 2), (4, 4))
    else:
        assert not found or kind == "internvl"  # tiles, new lines between rows, or a look from the side
    for attention in found:
        assert attention.cells.sum() == pytest.approx(1, abs=1e-4)
        assert attention.digest in {p.digest for p in FIRST[0].pictures}
    if found:
        assert len({f.cells.tobytes() for f in found}) > 2
    assert said(engine, FIRST) == expected
    engine.forget()
    assert said(engine, FIRST) == expected


def test_a_closed_engine_is_gone_from_memory(folder: Path) -> None:
    engine = load_checkpoint(folder, ON_CPU, name="tiny")
    said(engine, FIRST)
    model = parts(engine).model
    held = [weakref.ref(model), *(weakref.ref(tensor) for tensor in (*model.parameters(), *model.buffers()))]
    layers = [layer for layer in parts(engine).decoder._kept.cache.layers if hasattr(layer, "keys")]
    held += [weakref.ref(layer.keys) for layer in layers]
    del model, layers
    running = engine.stream(SECOND, GREEDY, never_cancelled())
    next(iter(running))
    engine.close()
    assert len(list(running)) <= 1  # the answer under way ends
    del running
    gc.collect()
    assert not [reference for reference in held if reference() is not None]
    with pytest.raises(EngineFailure, match="unloaded"):
        said(engine, FIRST)
    engine.close()
