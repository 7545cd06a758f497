"""How fast and how tidy the engine for any checkpoint is: reuse of turns, decoding, stopping, memory that runs out.

python -m benchmarks engine [--runs 5]

The weights are random (see `benchmarks.engine_checkpoint`): half a billion for what is timed against transformers' own
`generate`, a tiny checkpoint for a thousand cancelled answers.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks import statistics as measuring
from benchmarks.engine_checkpoint import REAL, TINY, checkpoint_folder
from benchmarks.engine_soak import leaks, recoveries
from models.interfaces import GenerationOptions
from models.streaming import CancelScope, never_cancelled
from models.types import ImagePart, Message, Picture, TextPart

Rows = list[tuple[str, str, str]]

ANSWER = (
    "The picture shows a quiet street in the late afternoon, with long shadows on the stones and three people who wait "
    "beside a yellow tram. One of them carries a red umbrella under a clear sky, and a dog sleeps near the wall."
)
QUESTION = "And what else can you tell me about this, in the same way, with all that you notice, number {number}?"
PICTURES_AT = (0, 3, 6)  # turns that bring a picture
TURNS = 10
TOKENS = 48  # of a timed answer
STOPS = 12
ONE = GenerationOptions(max_new_tokens=1, repetition_penalty=1.0)
MANY = GenerationOptions(max_new_tokens=TOKENS, repetition_penalty=1.0)
TEXT = [Message.of_text("user", "Explain in a few sentences how a rainbow forms and why its colours keep their order.")]


def measure(runs: int) -> Iterator[tuple[str, str, str]]:
    """Rows of (what, figure, aim) for `launch.py bench`, as they are found."""
    engine = _engine(REAL)
    yield from _reuse(engine, min(runs, 3))
    yield from _decoding(engine, runs)
    yield from _stopping(engine)
    engine.close()
    del engine
    yield from leaks(lambda: _engine(TINY))
    yield from recoveries(TINY)


def _engine(size: Any) -> Any:
    """As the owner would get it on this machine."""
    from models.runtime import needs_of, plans, this_machine
    from models.seeing.checkpoint import load_checkpoint

    folder = checkpoint_folder(size)
    best = plans(this_machine(), needs_of(folder))[0]
    return load_checkpoint(folder, best, name=size.name)


# -- reuse between turns -------------------------------------------------------------------------------------------


def conversation(turns: int) -> list[Message]:
    """The messages of the first `turns` turns up to the last one's question."""
    messages: list[Message] = []
    for number in range(turns):
        if number:
            messages.append(Message.of_text("assistant", ANSWER))
        picture = (ImagePart(_picture(number)),) if number in PICTURES_AT else ()
        messages.append(Message("user", (*picture, TextPart(QUESTION.format(number=number + 1)))))
    return messages


def _picture(seed: int) -> Picture:
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return Picture.of(Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC), f"{seed}.png")


def _reuse(engine: Any, runs: int) -> Rows:
    """Time to first token at turn 10, the nine turns before it still in the cache, over everything anew."""
    before = engine.encoder_calls
    for turns in range(1, TURNS + 1):
        _first_token(engine, conversation(turns))
    encoded = engine.encoder_calls - before
    warm, cold = [], []
    for _ in range(runs):
        _first_token(engine, conversation(TURNS - 1))  # goes back to what turn 9 left
        warm.append(_first_token(engine, conversation(TURNS)))
        reused = engine.reused_tokens
        engine.forget()
        cold.append(_first_token(engine, conversation(TURNS)))
    tokens = engine.count_tokens(conversation(TURNS))
    ratio = statistics.median(w / c for w, c in zip(warm, cold, strict=True))
    what = f"first token at turn {TURNS} of {tokens} tokens, warm over cold"
    figure = f"{ratio:.2f}× ({statistics.median(warm):.2f} / {statistics.median(cold):.2f} s)"
    return [
        (what, figure, "≤ 0.15×"),
        ("tokens of that turn that were still there", f"{reused / tokens:.0%}", ""),
        (f"pictures encoded in {TURNS} turns with {len(PICTURES_AT)}", str(encoded), f"= {len(PICTURES_AT)}"),
    ]


def _first_token(engine: Any, messages: Sequence[Message]) -> float:
    return measuring.seconds(lambda: next(engine.stream(messages, ONE, never_cancelled())))


# -- decoding ------------------------------------------------------------------------------------------------------


def _decoding(engine: Any, runs: int) -> Rows:
    """Tokens a second after the first one, against plain `generate` in bfloat16 on the same weights, interleaved."""
    import torch

    plain = _plain_generate(engine._parts.prompts.build(TEXT).tokens)

    def ours() -> Iterator[Any]:
        return (delta for delta in engine.stream(TEXT, MANY, never_cancelled()))

    for side in (plain, ours):
        _rate(side)  # once to warm up
    pairs = [(_rate(plain), _rate(ours)) for _ in range(runs)]
    rate = statistics.median(o for _, o in pairs)
    ratio = statistics.median(o / p for p, o in pairs)
    width = statistics.median(memory_bandwidth() for _ in range(runs))
    read = _bytes_per_token(engine)
    share = rate * read / width
    return [
        ("tokens/s, plain generate in bfloat16", f"{statistics.median(p for p, _ in pairs):.1f}", ""),
        (f"tokens/s, Lucid's engine ({_kind(engine)})", f"{rate:.1f} ({ratio:.2f}×)", "≥ 1.5× plain generate"),
        (
            f"share of the bound {width / 1e9:.0f} GB/s ÷ {read / 1e6:.0f} MB a token",
            f"{share:.0%}",
            f"{torch.get_num_threads()} threads",
        ),
    ]


def _plain_generate(prompt: Sequence[int]) -> Callable[[], Iterator[Any]]:
    """transformers' `generate` as its manual shows it; an item for every token."""
    import queue

    import torch
    import transformers

    folder = checkpoint_folder(REAL)
    model: Any = transformers.AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.bfloat16, local_files_only=True
    ).eval()
    ids = torch.tensor([list(prompt)])

    class Times(transformers.generation.streamers.BaseStreamer):
        """Passes tokens on; the prompt comes first."""

        def __init__(self) -> None:
            self.made: queue.SimpleQueue[float] = queue.SimpleQueue()

        def put(self, value: Any) -> None:
            self.made.put(time.perf_counter())

        def end(self) -> None:
            pass

    def work() -> Iterator[Any]:
        times = Times()
        settings = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}
        model.generate(ids, attention_mask=torch.ones_like(ids), streamer=times, **settings)
        times.made.get()  # the prompt
        while not times.made.empty():
            yield times.made.get()

    return work


def _rate(side: Callable[[], Iterator[Any]]) -> float:
    """Tokens a second from the first to the last. Items are deltas, timed here, or the times themselves."""
    first = last = 0.0
    tokens = 0
    for item in side():
        now = item if isinstance(item, float) else time.perf_counter()
        if not first:
            first = now
        else:
            tokens += 1 if isinstance(item, float) else item.tokens
        last = now
    return tokens / (last - first)


def memory_bandwidth(megabytes: int = 512) -> float:
    """Bytes a second that torch reads from memory on all its threads: the greatest number of a buffer."""
    import torch

    buffer = torch.ones(megabytes << 18, dtype=torch.int32)
    buffer.amax()
    return max(buffer.nbytes / measuring.seconds(lambda: buffer.amax()) for _ in range(3))


def _bytes_per_token(engine: Any) -> int:
    """Weights that one token reads: the language model's, of the embeddings one row only."""
    from models.needs import read_for_a_token

    model = engine._parts.model
    tensors = {id(t): (name, t) for name, t in (*model.named_parameters(), *model.named_buffers())}
    return sum(t.nbytes for name, t in tensors.values() if read_for_a_token(name))


def _kind(engine: Any) -> str:
    from models.seeing.quantised import EightBitLinear, FourBitLinear

    kinds = {type(m) for m in engine._parts.model.modules()}
    return "int4" if FourBitLinear in kinds else "int8" if EightBitLinear in kinds else "unpacked"


# -- stopping ------------------------------------------------------------------------------------------------------


def _stopping(engine: Any) -> Rows:
    """From a stop in mid-answer to the end of all computing, in tokens."""
    token = 1 / _rate(lambda: iter(engine.stream(TEXT, MANY, never_cancelled())))
    waits = [_silence(engine, token * (1.1 + 0.37 * number)) / token for number in range(STOPS)]
    figure = f"{max(waits):.2f} ({statistics.median(waits):.2f})"
    return [("stop to silence, worst (median), in tokens", figure, "≤ 1")]


def _silence(engine: Any, after: float) -> float:
    """Seconds from a stop, given `after` seconds behind the first token, to the end of the stream."""
    scope = CancelScope()
    stopped: list[float] = []

    def stop() -> None:
        stopped.append(time.perf_counter())
        scope.cancel()

    timer = threading.Timer(after, stop)
    stream = engine.stream(TEXT, MANY, scope.begin())
    next(stream)
    timer.start()
    for _ in stream:
        pass
    ended = time.perf_counter()
    timer.join()
    return ended - stopped[0]
