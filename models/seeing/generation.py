"""The token loop: prefill, then one token at a time, over anything that behaves like a `Decoder`.

A decoder hides one model and its key–value cache behind three verbs. What a model needs beyond tokens (pixel values,
features of pictures, masks) travels in `Prompt.inputs`, which the loop hands to the decoder untouched:

- text only: `inputs` is empty;
- an `AutoModelForImageTextToText` checkpoint: what `models.seeing.checkpoint` needs to bring each picture to its place;
- Glimpse: the pictures' features, which `TransformersDecoder` passes with every step (`every_step=True`).

Reuse between turns: the prompt of a second question begins with the tokens of the first. The keys and values of that
beginning are kept, but only in whole chunks of the prefill grid, and only those that a prefill made. A matrix product
may round differently with another number of rows; as a kept chunk was computed from the very same rows that a cold run
would feed, a warm answer is equal to the cold one bit by bit, not merely close.

Pictures that stand in the prompt as runs of placeholder tokens shape that grid: a chunk never ends inside a picture,
and a picture's end always ends a chunk. So a chunk holds one picture at most, whole, with all that its tokens may look
at, and where it ends follows from the tokens before it alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from models.errors import AssistantError, BadInput, EngineFailure, OutOfMemory
from models.interfaces import GenerationOptions, TextDelta
from models.seeing.detokenizer import StreamingDetokenizer
from models.seeing.sampling import Sampler
from models.streaming import CancelToken

log = logging.getLogger(__name__)

# Tokens per prefill step: large enough for full speed, small enough that a stop is obeyed within about 0.1 s on a CPU.
CHUNK = 64


class Decoder(Protocol):
    """A causal model with its key–value cache. Used by one thread at a time."""

    context_tokens: int
    device: torch.device

    def begin(self, keep: int, inputs: Mapping[str, Any]) -> None:
        """Forgets all but the first `keep` tokens, and takes the `inputs` that belong to the prompt that follows."""
        ...

    def forward(self, tokens: Sequence[int]) -> torch.Tensor:
        """Appends `tokens` (at least one) and returns the last one's logits: float32, shape (vocabulary,), writable."""
        ...

    def release(self) -> None:
        """Frees the cache, after a failure."""
        ...


class ManyConversations(Protocol):
    """What a `Decoder` can do beside, if it keeps several conversations."""

    conversations: int

    def turn_to(self, number: int) -> None:
        """Makes a conversation the one that all verbs mean; `begin` must follow."""
        ...

    def take_over(self, number: int, tokens: int) -> None:
        """Makes this conversation a copy of another one, of whose first `tokens` tokens `begin` will keep all."""
        ...


@dataclass(frozen=True, eq=False)
class Prompt:
    """What the model is asked.

    Attributes:
        tokens: the whole prompt.
        inputs: what the model takes besides tokens.
        key: a digest of `inputs`. Cached keys and values are reused only between prompts of the same key.
        whole: prefill in one piece, for models whose picture tokens and pixel values must arrive together.
        pictures: (first token, token after the last) of every picture that stands in the prompt, in order.
        identity: what is compared with an earlier prompt instead of `tokens`: as long, with the placeholder tokens
            replaced by numbers that tell the pictures apart; () compares the tokens.
        apart: pictures begin a chunk as well (the tokens before one must not share a chunk with it).
    """

    tokens: tuple[int, ...]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    whole: bool = False
    pictures: tuple[tuple[int, int], ...] = ()
    identity: tuple[int, ...] = ()
    apart: bool = False

    @property
    def compared(self) -> tuple[int, ...]:
        return self.identity or self.tokens


def chunk_ends(prompt: Prompt, step: int) -> tuple[int, ...]:
    """Where the chunks of a cold prefill end: every `step` tokens, counted anew from the end of every picture."""
    length = len(prompt.tokens)
    if prompt.whole:
        return (length,)
    ends: list[int] = []
    start, ahead = 0, list(reversed(prompt.pictures))
    while start < length:
        end = min(start + step, length)
        if ahead and ahead[-1][0] < end:
            first, after = ahead[-1]
            if prompt.apart and start < first:
                end = first
            else:
                end = after
                ahead.pop()
        ends.append(end)
        start = end
    return tuple(ends)


@dataclass(frozen=True)
class _Cached:
    """What the decoder holds that a later prompt may keep: `compared` in the chunks `ends`, made under `key`."""

    compared: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    key: str = ""


class TokenLoop:
    """Answers prompts, one at a time; a second caller waits for the first, and its own cancel is obeyed meanwhile.

    Args:
        decoder: the model.
        decode: tokens → text, special tokens left out.
        stop_tokens: tokens that end an answer.
        chunk: tokens per prefill step.
        keepable: whether the decoder can go back to its state after that many tokens; None: to any.
        several: the decoder again, where it keeps several conversations.
    """

    def __init__(
        self,
        decoder: Decoder,
        decode: Callable[[Sequence[int]], str],
        stop_tokens: frozenset[int],
        *,
        chunk: int = CHUNK,
        keepable: Callable[[int], bool] | None = None,
        several: ManyConversations | None = None,
    ) -> None:
        self._decoder = decoder
        self._decode = decode
        self._stop_tokens = stop_tokens
        self._chunk = chunk
        self._keepable = keepable
        self._several = several
        self._busy = threading.Lock()
        self._recent = list(range(several.conversations if several else 1))  # conversations, the last used at the end
        self._cached = [_Cached()] * len(self._recent)
        self.reused_tokens = 0  # of the last prompt; for benchmarks and tests

    def stream(self, prompt: Prompt, options: GenerationOptions, cancel: CancelToken) -> Iterator[TextDelta]:
        """The answer to `prompt`. Ends within one token (or one prefill chunk) of `cancel` becoming stale.

        Raises:
            BadInput: the prompt leaves no room for an answer.
            EngineFailure: the model broke, also in mid-answer; the loop can be used again afterwards.
        """
        room = self._decoder.context_tokens - len(prompt.tokens)
        if room < 1 or not prompt.tokens:
            raise BadInput(
                f"The conversation takes {len(prompt.tokens)} tokens, and the model reads at most "
                f"{self._decoder.context_tokens - 1}.",
                "Shorten the question or start a new conversation.",
            )
        while not self._busy.acquire(timeout=0.02):
            if cancel.cancelled:
                return
        try:
            tokens = self._tokens(prompt, options, min(room, options.max_new_tokens), cancel)
            yield from self._as_text(tokens)
        finally:
            self._busy.release()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While it lasts, no answer is made: waits for one that is under way."""
        with self._busy:
            yield

    def forget(self) -> None:
        """Drops what was kept of earlier prompts, so that the next one starts cold."""
        with self._busy:
            self._release()

    def _as_text(self, tokens: Iterator[int]) -> Iterator[TextDelta]:
        text = StreamingDetokenizer(self._decode)
        silent = 0  # tokens whose text is still to come
        for token in tokens:
            delta = text.feed(token)
            silent += 1
            if delta:
                yield TextDelta(delta, silent)
                silent = 0
        rest = text.finish()
        if rest or silent:
            yield TextDelta(rest, silent)

    def _tokens(self, prompt: Prompt, options: GenerationOptions, limit: int, cancel: CancelToken) -> Iterator[int]:
        sampler = Sampler(options, self._decoder.device)
        logits = self._prefill(prompt, cancel)
        for made in range(limit):
            if logits is None or cancel.cancelled:
                return
            token = sampler.pick(logits)
            if token in self._stop_tokens:
                return
            yield token
            if made + 1 < limit and not cancel.cancelled:
                logits = self._guarded(self._decoder.forward, (token,))

    def _prefill(self, prompt: Prompt, cancel: CancelToken) -> torch.Tensor | None:
        """The logits that follow the prompt; None when it was cancelled on the way."""
        ends = chunk_ends(prompt, self._chunk)
        kept = self._guarded(self._turned_to, prompt, ends)
        here = self._recent[-1]
        start = ends[kept - 1] if kept else 0
        self.reused_tokens = start
        self._cached[here] = _Cached(prompt.compared[:start], ends[:kept], prompt.key)
        self._guarded(self._decoder.begin, start, prompt.inputs)
        logits: torch.Tensor | None = None
        for done, end in enumerate(ends[kept:], kept + 1):
            if cancel.cancelled:
                return None
            logits = self._guarded(self._decoder.forward, prompt.tokens[start:end])
            if not prompt.whole:
                self._cached[here] = _Cached(prompt.compared[:end], ends[:done], prompt.key)
            start = end
        return logits

    def _turned_to(self, prompt: Prompt, ends: Sequence[int]) -> int:
        """Turns the decoder to the conversation that `prompt` goes on; how many of its chunks are there already.

        A prompt that has all of a conversation but its end goes on in it. One that shares a beginning only (another
        conversation with the same system prompt, an early question edited) takes a copy of that to the place of the
        conversation not used for longest, so that both are kept.
        """
        reusable = {number: self._reusable(number, prompt, ends) for number in self._recent}
        source = max(reversed(self._recent), key=lambda number: reusable[number])
        kept = reusable[source]
        if self._several is None:
            return kept
        goes_on = kept and kept >= len(self._cached[source].ends) - 1
        target = source if goes_on else self._recent[0]
        self._several.turn_to(target)
        if kept and target != source:
            self._several.take_over(source, ends[kept - 1])
        self._recent.remove(target)
        self._recent.append(target)
        return kept

    def _reusable(self, number: int, prompt: Prompt, ends: Sequence[int]) -> int:
        """How many chunks of `prompt` a conversation holds as a cold run would make them; one at least is computed."""
        known = self._cached[number]
        if prompt.whole or prompt.key != known.key:
            return 0
        if self._several is not None:
            self._several.turn_to(number)  # `keepable` asks about this one
        common = 0
        for cached, asked in zip(known.compared, prompt.compared, strict=False):
            if cached != asked:
                break
            common += 1
        kept = 0
        for number, (cached, asked) in enumerate(zip(known.ends, ends[:-1], strict=False), 1):
            if cached != asked or asked > common:
                break
            if self._keepable is None or self._keepable(asked):
                kept = number
        return kept

    def _release(self) -> None:
        self._cached = [_Cached()] * len(self._recent)
        self._decoder.release()

    def _guarded(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Runs `work`; whatever breaks becomes an `EngineFailure`, and the next prompt starts from nothing.

        Memory is given back outside `except`: inside, the traceback still holds the tensors that did not fit.
        """
        try:
            with torch.inference_mode():
                return work(*arguments)
        except AssistantError:
            raise
        except Exception as error:
            out_of_memory = is_out_of_memory(error)
            cause: Exception | None = None if out_of_memory else error
            log.warning("the model failed", exc_info=not out_of_memory)
        self._release()
        if out_of_memory:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise OutOfMemory(
                "The model ran out of memory.",
                "Shorten the conversation, close other programs, or choose a smaller model.",
            )
        raise EngineFailure(f"The model failed: {cause}.", "Ask again; restart Lucid if it repeats.") from cause


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a library's error says that memory ran out, on any device."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and ("out of memory" in str(error) or "can't allocate memory" in str(error))
    )


def answer(loop: TokenLoop, prompt: Prompt, options: GenerationOptions, cancel: CancelToken) -> str:
    """The whole answer: a join over the stream."""
    return "".join(delta.text for delta in loop.stream(prompt, options, cancel))
