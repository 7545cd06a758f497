"""The token loop and its decoders on a tiny random Llama: same tokens as `generate`, cold or warm, whole or stopped."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from models.errors import BadInput, EngineFailure  # noqa: E402
from models.interfaces import GenerationOptions, TextDelta  # noqa: E402
from models.seeing.generation import CHUNK, Decoder, Prompt, TokenLoop, answer, chunk_ends  # noqa: E402
from models.seeing.llama_decoder import LlamaDecoder, four_bits, quantised  # noqa: E402
from models.seeing.transformers_decoder import TransformersDecoder  # noqa: E402
from models.streaming import CancelScope, never_cancelled  # noqa: E402

STOP = 2
GREEDY = GenerationOptions(max_new_tokens=24, repetition_penalty=1.0)


@pytest.fixture(scope="module")
def tiny() -> transformers.LlamaForCausalLM:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=1024,
        initializer_range=0.3,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=STOP,
        pad_token_id=STOP,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    return model


@pytest.fixture(params=["transformers", "lean"])
def decoder(request: pytest.FixtureRequest, tiny: transformers.LlamaForCausalLM) -> Decoder:
    return TransformersDecoder(tiny) if request.param == "transformers" else lean(tiny)


def lean(model: transformers.LlamaForCausalLM, precision: str = "float32") -> LlamaDecoder:
    return LlamaDecoder(model.config.to_dict(), model.state_dict(), precision)  # type: ignore[arg-type]


def spelled(tokens: Sequence[int]) -> str:
    return "".join(f"{t} " for t in tokens)


def loop_over(decoder: Decoder, stop: int = STOP) -> TokenLoop:
    return TokenLoop(decoder, spelled, frozenset({stop}))


def prompt_of(length: int, seed: int = 1) -> Prompt:
    generator = torch.Generator().manual_seed(seed)
    return Prompt(tuple(torch.randint(3, 97, (length,), generator=generator).tolist()))


def said(loop: TokenLoop, prompt: Prompt, options: GenerationOptions = GREEDY) -> str:
    return answer(loop, prompt, options, never_cancelled())


@pytest.mark.parametrize("length", [1, 7, CHUNK, 3 * CHUNK + 5, 600])
def test_greedy_is_what_generate_gives(decoder: Decoder, tiny: transformers.LlamaForCausalLM, length: int) -> None:
    prompt = prompt_of(length)
    ids = torch.tensor([prompt.tokens])
    expected = tiny.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
    made = [t for t in expected[0, length:].tolist() if t != STOP]
    assert said(loop_over(decoder), prompt) == spelled(made)


def test_cached_logits_are_those_of_one_whole_forward(decoder: Decoder, tiny: transformers.LlamaForCausalLM) -> None:
    tokens = prompt_of(90).tokens
    decoder.begin(0, {})
    with torch.inference_mode():
        decoder.forward(tokens[:60])
        for token in tokens[60:-1]:
            decoder.forward((token,))
        stepwise = decoder.forward(tokens[-1:])
        whole = tiny(torch.tensor([tokens])).logits[0, -1]
    assert torch.allclose(stepwise, whole, atol=1e-3)


def test_a_warm_second_turn_is_exactly_the_cold_one(decoder: Decoder, tiny: transformers.LlamaForCausalLM) -> None:
    warm, first = loop_over(decoder), prompt_of(2 * CHUNK + 11)
    said(warm, first)
    second = Prompt(first.tokens + prompt_of(40, seed=5).tokens)
    seen: list[torch.Tensor] = []
    original = decoder.forward
    decoder.forward = lambda tokens: seen.append(original(tokens)) or seen[-1].clone()  # type: ignore
    warm_answer = said(warm, second)
    assert warm.reused_tokens == 2 * CHUNK
    warm_logits, seen = list(seen), []
    warm.forget()
    assert said(warm, second) == warm_answer
    assert warm.reused_tokens == 0
    cold_logits = seen[-len(warm_logits) + 1 :]
    assert all(torch.equal(a, b) for a, b in zip(warm_logits[1:], cold_logits))


def test_nothing_is_reused_from_another_conversation_or_other_pictures(decoder: Decoder) -> None:
    loop = loop_over(decoder)
    first, other = prompt_of(200), prompt_of(200, seed=9)
    alone = said(loop, other)
    said(loop, first)
    assert said(loop, other) == alone
    assert loop.reused_tokens == 0
    said(loop, Prompt(other.tokens, key="another picture"))
    assert loop.reused_tokens == 0


def test_the_answer_ends_at_max_new_tokens_and_at_the_context(decoder: Decoder) -> None:
    never = 96_000  # a stop token that does not exist
    loop = loop_over(decoder, never)
    pieces = list(loop.stream(prompt_of(5), GenerationOptions(max_new_tokens=9), never_cancelled()))
    assert sum(p.tokens for p in pieces) == 9
    pieces = list(loop.stream(prompt_of(1020), GenerationOptions(max_new_tokens=50), never_cancelled()))
    assert sum(p.tokens for p in pieces) == 4


@pytest.mark.parametrize("length", [0, 1024, 3000])
def test_a_prompt_that_does_not_fit_is_bad_input(decoder: Decoder, length: int) -> None:
    with pytest.raises(BadInput):
        said(loop_over(decoder), prompt_of(length))


def test_a_stop_is_obeyed_within_one_token(decoder: Decoder) -> None:
    scope = CancelScope()
    counting = Counting(decoder)
    stream = loop_over(counting, 96_000).stream(prompt_of(5), GREEDY, scope.begin())
    for _ in range(3):
        next(stream)
    before = counting.calls
    scope.cancel()
    assert list(stream) == []
    assert counting.calls - before <= 1


def test_a_stop_is_obeyed_during_prefill(decoder: Decoder) -> None:
    scope = CancelScope()
    counting = Counting(decoder, after=2, then=scope.cancel)
    assert list(loop_over(counting).stream(prompt_of(10 * CHUNK), GREEDY, scope.begin())) == []
    assert counting.calls == 2


def test_a_failure_in_mid_answer_is_told_and_the_next_answer_is_right(decoder: Decoder) -> None:
    prompt = prompt_of(2 * CHUNK + 3)
    expected = said(loop_over(decoder, 96_000), prompt)

    def broken() -> None:
        raise RuntimeError("a kernel broke")

    counting = Counting(decoder, after=6, then=broken)
    loop = loop_over(counting, 96_000)
    pieces: list[TextDelta] = []
    with pytest.raises(EngineFailure, match="a kernel broke"):
        pieces.extend(loop.stream(prompt, GREEDY, never_cancelled()))
    counting.after = None
    assert said(loop, prompt) == expected


def test_running_out_of_memory_says_what_to_do(decoder: Decoder) -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    loop = loop_over(Counting(decoder, after=1, then=full))
    with pytest.raises(EngineFailure, match="out of memory") as failure:
        said(loop, prompt_of(5))
    assert failure.value.remedy
    assert failure.value.__cause__ is None  # the traceback would keep the tensors alive


def test_a_second_caller_waits_and_its_stop_is_obeyed(decoder: Decoder) -> None:
    loop, scope = loop_over(decoder, 96_000), CancelScope()
    first = loop.stream(prompt_of(5), GREEDY, never_cancelled())
    next(first)
    waiting: list[list[TextDelta]] = []
    token = scope.begin()
    thread = threading.Thread(target=lambda: waiting.append(list(loop.stream(prompt_of(6), GREEDY, token))))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    scope.cancel()
    thread.join(5)
    assert waiting == [[]]
    rest = list(first)
    assert sum(p.tokens for p in rest) == 23
    assert said(loop, prompt_of(6))  # the lock is free again


def test_a_stream_closed_early_frees_the_engine(decoder: Decoder) -> None:
    loop = loop_over(decoder)
    stream: Iterator[TextDelta] = loop.stream(prompt_of(5), GREEDY, never_cancelled())
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert said(loop, prompt_of(5))


def test_packed_weights_are_near_the_real_ones() -> None:
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(3))
    packed, scales = quantised(weight)
    error = (packed.float() * scales.float()[:, None] - weight).abs()
    # Half a step of rounding, and bfloat16's rounding of the scale (1/256) at the row's largest weight.
    assert bool((error <= weight.abs().amax(dim=1, keepdim=True) * (0.5 / 127 + 1 / 256)).all())


def test_the_8_bit_decoder_is_near_the_model(tiny: transformers.LlamaForCausalLM) -> None:
    tokens = prompt_of(40).tokens
    decoder = lean(tiny, "int8")
    with torch.inference_mode():
        decoder.forward(tokens[:-1])
        got = decoder.forward(tokens[-1:])
        expected = tiny(torch.tensor([tokens])).logits[0, -1]
    assert torch.nn.functional.cosine_similarity(got, expected, dim=0) > 0.99


def published_in_four_bits(rows: int, columns: int) -> torch.Tensor:
    """Weights as GGUF's Q4_1 holds them (16 evenly spaced values a group), come here by way of bfloat16."""
    dice = torch.Generator().manual_seed(5)
    places = torch.randint(0, 16, (rows, columns // 32, 32), generator=dice)
    places[..., 0], places[..., 1] = 0, 15  # a group's least and greatest are always used
    step = torch.rand(rows, columns // 32, 1, generator=dice) * 0.01 + 0.002
    least = -step * (6 + 3 * torch.rand(step.shape, generator=dice))
    return (least + places * step).view(rows, columns).to(torch.bfloat16).float()


def test_weights_that_were_published_in_4_bits_are_kept_in_4_bits_without_loss() -> None:
    weight = published_in_four_bits(64, 128)
    product = four_bits(weight)
    assert product is not None
    x = torch.randn(3, 128, generator=torch.Generator().manual_seed(6)).to(torch.bfloat16)
    expected = x.float() @ weight.T
    # bfloat16 rounds the scale, the offset and the result (1/256 each); nothing comes from having 16 values only.
    bound = (x.float().abs() @ weight.abs().T) / 256 * 1.5 + expected.abs() / 256
    assert bool(((product(x).float() - expected).abs() <= bound).all())


def test_other_weights_are_not_squeezed_into_4_bits() -> None:
    dice = torch.Generator().manual_seed(7)
    assert four_bits(torch.randn(64, 128, generator=dice)) is None
    assert four_bits(published_in_four_bits(64, 128)[:, :100].contiguous()) is None  # no whole groups
    assert four_bits(published_in_four_bits(64, 128)[:40].contiguous()) is None  # not what the kernel takes
    almost = published_in_four_bits(64, 128)
    almost[17, 40] += 0.5 * (almost[17, 32:64].max() - almost[17, 32:64].min()) / 15
    assert four_bits(almost) is None


def test_the_decoder_in_4_bits_is_near_the_model() -> None:
    torch.manual_seed(8)
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    weights = model.state_dict()
    for name, value in weights.items():
        if "proj" in name:
            value.copy_(published_in_four_bits(*value.shape) * 10)
    decoder = LlamaDecoder(config.to_dict(), weights, "int4")
    tokens = tuple(range(3, 43))
    with torch.inference_mode():
        decoder.forward(tokens[:-1])
        got = decoder.forward(tokens[-1:])
        expected = model(torch.tensor([tokens])).logits[0, -1]
    assert torch.nn.functional.cosine_similarity(got, expected, dim=0) > 0.99


class Counting:
    """A decoder that counts its forwards, and at the `after`-th does something first."""

    def __init__(self, decoder: Decoder, after: int | None = None, then=None) -> None:  # type: ignore[no-untyped-def]
        self._decoder, self.after, self._then = decoder, after, then
        self.context_tokens, self.device = decoder.context_tokens, decoder.device
        self.calls = 0

    def begin(self, keep, inputs):  # type: ignore[no-untyped-def]
        self._decoder.begin(keep, inputs)

    def release(self) -> None:
        self._decoder.release()

    def forward(self, tokens: Sequence[int]) -> torch.Tensor:
        self.calls += 1
        if self.after is not None and self.calls >= self.after:
            self._then()
        return self._decoder.forward(tokens)


def with_pictures(length: int, *pictures: tuple[int, int], apart: bool = False, whole: bool = False) -> Prompt:
    return Prompt(tuple(range(length)), pictures=pictures, apart=apart, whole=whole)


@pytest.mark.parametrize(
    ("prompt", "ends"),
    [
        (with_pictures(25), (10, 20, 25)),
        (with_pictures(25, (3, 7)), (7, 17, 25)),
        (with_pictures(25, (8, 15)), (15, 25)),
        (with_pictures(25, (10, 15)), (10, 15, 25)),
        (with_pictures(25, (2, 4), (5, 7)), (4, 7, 17, 25)),
        (with_pictures(60, (5, 50)), (50, 60)),
        (with_pictures(8, (2, 8)), (8,)),
        (with_pictures(25, (3, 4), apart=True), (3, 4, 14, 24, 25)),
        (with_pictures(25, (0, 1), (1, 2), apart=True), (1, 2, 12, 22, 25)),
        (with_pictures(25, (3, 7), whole=True), (25,)),
    ],
)
def test_no_chunk_ends_inside_a_picture_and_each_picture_ends_one(prompt: Prompt, ends: tuple[int, ...]) -> None:
    assert chunk_ends(prompt, 10) == ends


def test_where_a_chunk_ends_follows_from_what_precedes_it() -> None:
    """So that a longer prompt finds the chunks of a shorter one that it begins with."""
    generator = random.Random(3)
    for _ in range(300):
        places = sorted(generator.sample(range(90), 6))
        pictures = tuple((a, b) for a, b in zip(places[::2], places[1::2], strict=True))
        whole = with_pictures(100, *pictures, apart=generator.random() < 0.5)
        cut = generator.randrange(1, 100)
        kept = tuple(p for p in pictures if p[1] <= cut)
        if any(a < cut < b for a, b in pictures):
            continue
        shorter = with_pictures(cut, *kept, apart=whole.apart)
        assert chunk_ends(shorter, 10)[:-1] == chunk_ends(whole, 10)[: len(chunk_ends(shorter, 10)) - 1]


def test_a_decoder_that_cannot_go_back_anywhere_is_asked_where_it_can(decoder: Decoder) -> None:
    prompt, asked = prompt_of(3 * CHUNK + 5), []
    loop = TokenLoop(
        decoder, spelled, frozenset({STOP}), keepable=lambda tokens: asked.append(tokens) or tokens == 2 * CHUNK
    )
    cold = said(loop, prompt)
    assert said(loop, prompt) == cold
    assert loop.reused_tokens == 2 * CHUNK
    assert asked == [CHUNK, 2 * CHUNK, 3 * CHUNK]
