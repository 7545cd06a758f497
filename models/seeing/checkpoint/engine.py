"""The engine: a `VisionLanguageModel` around any vision-language checkpoint of `transformers`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from models.errors import EngineFailure, OutOfMemory
from models.free_memory import give_back
from models.interfaces import GenerationOptions, SeenPicture, TextDelta, TokenAttention
from models.seeing.checkpoint.capabilities import Capabilities, capabilities_of
from models.seeing.checkpoint.chat import ChatTemplate
from models.seeing.checkpoint.compiled import CompiledSteps, suits
from models.seeing.checkpoint.decoder import CheckpointDecoder
from models.seeing.checkpoint.explain import attention_to_pictures, eager_attention
from models.seeing.checkpoint.pictures import PictureShelf
from models.seeing.checkpoint.prompt import PromptBuilder
from models.seeing.generation import CHUNK, TokenLoop, is_out_of_memory
from models.streaming import CancelToken
from models.types import Message

# Whose keys and values are kept: enough for a page, a second one and a program, few enough for the memory.
CONVERSATIONS = 3
WARMING_STEPS = 3  # the first compiles, the others show that it stays compiled
# An accelerator is idle for most of a step of 64 tokens; a step of 512 still ends within a fraction of a second.
ACCELERATOR_CHUNK = 512


@dataclass(frozen=True, eq=False)
class _Parts:
    """Everything that holds on to the model; dropped as one."""

    model: Any
    processor: Any
    chat: ChatTemplate
    shelf: PictureShelf
    prompts: PromptBuilder
    decoder: CheckpointDecoder
    loop: TokenLoop
    decode: Callable[[Sequence[int]], str]


class CheckpointEngine:
    """Chats about pictures with one checkpoint. Used by several threads, one answer at a time.

    Args:
        model: in eval mode, on its device.
        processor: its processor, with a tokenizer and an image processor.
        name: as in the catalogue.
        context_tokens: how many tokens it reads, the answer included.
        reason: where and how it runs, and why, as a sentence.
        compiled: computes single tokens once it is warm; see `compiled.CompiledSteps`.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str,
        context_tokens: int,
        reason: str = "",
        compiled: CompiledSteps | None = None,
    ) -> None:
        self.name = name
        self.reason = reason
        self.context_tokens = context_tokens
        self.capabilities: Capabilities = capabilities_of(model)
        self.compiled = compiled
        self._parts: _Parts | None = self._assembled(model, processor)
        self._counts_without_trial()

    def _assembled(self, model: Any, processor: Any) -> _Parts:
        placeholder = placeholder_token(model, processor)
        chat = ChatTemplate(processor, single_turn=self.capabilities.single_turn)
        shelf = PictureShelf(model, processor, self.capabilities, chat.image_token, placeholder)
        prompts = PromptBuilder(processor, chat, shelf, self.capabilities, placeholder)
        decoder = CheckpointDecoder(
            model,
            self.capabilities,
            shelf.features,
            self.context_tokens,
            steps=self.compiled,
            conversations=CONVERSATIONS,
        )
        tokenizer = processor.tokenizer

        def decode(tokens: Sequence[int]) -> str:
            said = tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
            return str(said)

        loop = TokenLoop(
            decoder,
            decode,
            stop_tokens(model, tokenizer),
            chunk=CHUNK if model.device.type == "cpu" else ACCELERATOR_CHUNK,
            keepable=decoder.keepable,
            several=decoder,
        )
        return _Parts(model, processor, chat, shelf, prompts, decoder, loop, decode)

    def _counts_without_trial(self) -> None:
        """What trying the processor out has left behind is nobody's picture."""
        self._open().shelf.forget()

    @property
    def encoder_calls(self) -> int:
        """How many pictures went through the vision encoder so far."""
        return self._parts.shelf.encoder_calls if self._parts else 0

    @property
    def reused_tokens(self) -> int:
        """Tokens of the last prompt whose keys and values were still there."""
        return self._parts.loop.reused_tokens if self._parts else 0

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens that `messages` take as a prompt, pictures included. Nothing is encoded for it."""
        return len(self._open().prompts.build(messages).tokens)

    def look(self, messages: Sequence[Message]) -> tuple[SeenPicture, ...]:
        """What size the model takes every picture in `messages` in, in order. Nothing is encoded for it."""
        parts = self._open()
        pictures = parts.chat.pictures(messages)
        seen = []
        for picture in pictures:
            size = parts.shelf.prepare(picture, len(pictures) > 1).size
            seen.append(
                SeenPicture(picture.source, picture.digest, picture.original_size, size, picture.time, picture.notes)
            )
        return tuple(seen)

    def stream(
        self, messages: Sequence[Message], options: GenerationOptions, cancel: CancelToken
    ) -> Iterator[TextDelta]:
        """The answer to the last message; see `VisionLanguageModel.stream` and `TokenLoop.stream`.

        Where the last message is the assistant's, the answer goes on behind its text. Raises `OutOfMemory` where the
        device has no room; the engine can be used again.
        """
        parts = self._open()
        if cancel.cancelled:
            return
        for delta in parts.loop.stream(parts.prompts.build(messages), options, cancel):
            yield delta
            if self._parts is None:
                return

    def explain(self, messages: Sequence[Message], answer: str) -> tuple[TokenAttention, ...]:
        """Where the model looks while it writes `answer`: one entry per token and picture with a plain grid of tokens.

        The prompt is computed anew, apart from what is kept. Raises `EngineFailure`, `OutOfMemory`.
        """
        parts = self._open()
        prompt = parts.prompts.build(messages)
        said = parts.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
        decoder = CheckpointDecoder(parts.model, self.capabilities, parts.shelf.features, self.context_tokens)
        if self.capabilities.route != "placed" or not prompt.pictures:
            return ()
        cause: Exception | None = None
        with parts.loop.alone(), eager_attention(parts.model):
            try:
                return attention_to_pictures(parts.model, decoder, prompt, said, parts.decode)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    cause = error
        if cause is None:  # outside `except`, where the traceback would hold what did not fit
            raise OutOfMemory("The attention does not fit into memory.", "Ask about a shorter answer.")
        raise EngineFailure(f"The attention could not be computed: {cause}.") from cause

    def forget(self) -> None:
        """Drops every cache: keys and values, features, pixels, and what was compiled (eager from then on)."""
        if self._parts is not None:
            if self.compiled is not None:
                self.compiled.close()
            self._parts.loop.forget()
            self._parts.shelf.forget()
            self._parts.prompts.forget()

    def close(self) -> None:
        """Gives the model's memory back. An answer under way ends with its next token; later calls fail."""
        if self._parts is not None:
            self._parts = None
            if self.compiled is not None:
                self.compiled.close()
                self.compiled = None
            give_back()

    def warm(self) -> threading.Thread | None:
        """Starts to compile single tokens behind whatever is asked meanwhile; None where nothing is to be compiled."""
        parts, steps = self._open(), self.compiled
        if steps is None or not suits(parts.model, parts.decoder.cache):
            return None
        decoder = CheckpointDecoder(
            parts.model, self.capabilities, parts.shelf.features, self.context_tokens, steps=steps, trial=True
        )
        prompt = parts.prompts.build([Message.of_text("user", "Hello.")])

        def trial() -> None:
            decoder.begin(0, prompt.inputs)
            logits = decoder.forward(prompt.tokens)
            for _ in range(WARMING_STEPS):
                logits = decoder.forward((int(logits.argmax()),))

        return steps.warm(trial)

    def _open(self) -> _Parts:
        if self._parts is None:
            raise EngineFailure(f"The model {self.name} was unloaded.", "Ask again: it is loaded anew.")
        return self._parts


def placeholder_token(model: Any, processor: Any) -> int:
    """The id of the token that stands for a piece of a picture. Raises `EngineFailure` where there is none."""
    for owner, name in ((model.config, "image_token_id"), (model.config, "image_token_index")):
        if isinstance(found := getattr(owner, name, None), int):
            return found
    found = getattr(processor, "image_token_id", None)
    if not isinstance(found, int):
        raise EngineFailure("The checkpoint names no token for pictures.", "Choose another model.")
    return found


def stop_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer, by the checkpoint's generation settings and its tokenizer."""
    found: set[int] = set()
    configured = (getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id)
    for value in configured:
        found |= set(value) if isinstance(value, (list, tuple)) else {value} if value is not None else set()
    return frozenset(int(token) for token in found)
