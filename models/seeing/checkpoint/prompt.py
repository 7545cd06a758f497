"""Messages to a `Prompt`: the chat's tokens, where each picture stands, and what tells it from other pictures.

The processor would work through all pixels of a conversation to make the tokens of one more question. So its steps are
taken one by one with what is kept of each picture (its layout, its replacements, its tokenizer); whether that gives
what a plain call of it gives is tried when the engine is made, on a small chat with two pictures. Where it does not,
the processor is called plainly for every prompt.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from models.errors import BadInput, EngineFailure
from models.seeing.checkpoint.capabilities import Capabilities
from models.seeing.checkpoint.chat import ChatTemplate
from models.seeing.checkpoint.pictures import PictureShelf, PreparedPicture, processing_settings
from models.seeing.generation import Prompt, is_out_of_memory
from models.types import ImagePart, Message, Picture, TextPart

KEPT_PROMPTS = 4
INPUTS = "checkpoint"  # the key of `PromptInputs` in `Prompt.inputs`
_TYPES = ("token_type_ids", "mm_token_type_ids")


@dataclass(frozen=True, eq=False)
class PromptInputs:
    """What the decoder needs of a prompt beside its tokens.

    Attributes:
        tokens: all of them.
        pictures: in order, with where each stands: (first token, token after the last).
        types: per-token inputs by name, each as long as the prompt.
        side_mask: (1, tokens, pictures, tiles), which picture each token may look at; for cross-attention only.
        raw: pixel inputs that go with the whole prompt, for architectures whose features can't be handed over.
    """

    tokens: tuple[int, ...]
    pictures: tuple[tuple[PreparedPicture, tuple[int, int]], ...] = ()
    types: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    side_mask: torch.Tensor | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)


class PromptBuilder:
    """Makes prompts for one checkpoint; the last few are kept, as a turn asks for the same one several times.

    Args:
        processor: the checkpoint's processor.
        chat: its chat template.
        shelf: prepares the pictures.
        capabilities: of the model.
        placeholder: the id of a placeholder token.
    """

    def __init__(
        self,
        processor: Any,
        chat: ChatTemplate,
        shelf: PictureShelf,
        capabilities: Capabilities,
        placeholder: int,
    ) -> None:
        self._processor = processor
        self._tokenizer = processor.tokenizer
        self._chat = chat
        self._shelf = shelf
        self._capabilities = capabilities
        self._placeholder = placeholder
        self._numbered = False
        self._types: dict[str, bool] = {}  # name → whether it tells pictures from text (else all zeros)
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, ...], Prompt] = OrderedDict()
        self.stepwise = shelf.by_parts and capabilities.route != "raw" and self._stepwise_is_right()
        if shelf.by_parts and not self.stepwise and hasattr(processor, "_prepend_local_ids"):
            self._numbered = True
            self.stepwise = self._stepwise_is_right()

    def build(self, messages: Sequence[Message]) -> Prompt:
        """The prompt of `messages`; an unfinished answer at their end is part of it.

        Raises:
            BadInput: the model can't do without a picture, or sees fewer of them than were attached.
            EngineFailure: the template or the processor broke.
        """
        text, begun = self._chat.text(messages)
        pictures = self._chat.pictures(messages)
        key = (text, begun, *(p.digest for p in pictures))
        with self._lock:
            kept = self._kept.get(key)
        if kept is None:
            kept = self._made(text, begun, pictures)
            with self._lock:
                self._kept[key] = kept
                while len(self._kept) > KEPT_PROMPTS:
                    self._kept.popitem(last=False)
        return kept

    def forget(self) -> None:
        """Drops the prompts that are kept."""
        with self._lock:
            self._kept.clear()

    def _made(self, text: str, begun: str, pictures: Sequence[Picture]) -> Prompt:
        if self._capabilities.single_turn and not pictures:
            raise BadInput("This model answers about pictures only.", "Attach one, or choose another model.")
        if text.count(self._chat.image_token) != len(pictures):
            raise BadInput(
                "The model's chat template leaves some of the pictures out.", "Attach fewer, or choose another model."
            )
        raw: dict[str, Any] = {}
        try:
            prepared = [self._shelf.prepare(p, len(pictures) > 1) for p in pictures]
            whole = text if self._capabilities.single_turn else text + begun
            if self.stepwise:
                tokens = self._tokens_stepwise(whole, prepared)
                types = self._types_of(tokens)
            else:
                tokens, types, raw = self._tokens_plainly(whole, pictures)
        except (ValueError, TypeError, KeyError, IndexError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            what = f"The model's processor failed: {error}."
            raise EngineFailure(what, "Ask again, or without the picture.") from error
        if self._capabilities.single_turn and begun:  # behind the new line that the processor sets
            said = self._tokenizer(begun, add_special_tokens=False)["input_ids"]
            tokens, types = (*tokens, *said), {k: (*v, *(1 for _ in said)) for k, v in types.items()}
        return self._placed(tokens, prepared, types, raw)

    def _placed(
        self,
        tokens: tuple[int, ...],
        prepared: Sequence[PreparedPicture],
        types: Mapping[str, tuple[int, ...]],
        raw: Mapping[str, Any],
    ) -> Prompt:
        """Finds each picture's placeholder tokens and names them after it."""
        places = [at for at, token in enumerate(tokens) if token == self._placeholder]
        capabilities = self._capabilities
        taken = sum(p.placeholders for p in prepared)
        if len(places) != taken:
            raise EngineFailure(
                f"The processor makes {len(places)} tokens for pictures that take {taken}.",
                "Ask with one picture at a time, or choose another model.",
            )
        identity = list(tokens)
        spans: list[tuple[int, int]] = []
        for picture in prepared:
            own, places = places[: picture.placeholders], places[picture.placeholders :]
            for at in own:
                identity[at] = -1 - int(_number_of(picture.key))
            spans.append((own[0], own[-1] + 1) if own else (0, 0))
        mask = self._side_mask(tokens, prepared) if capabilities.route == "crossed" and prepared else None
        pairs = tuple(zip(prepared, spans, strict=True))
        inputs = PromptInputs(tokens, pairs, types, mask, raw)
        return Prompt(
            tokens,
            {INPUTS: inputs},
            whole=capabilities.whole,
            pictures=tuple(spans),
            identity=tuple(identity),
            apart=capabilities.route == "crossed",
        )

    # -- tokens ----------------------------------------------------------------------------------------------------

    def _tokens_stepwise(self, text: str, prepared: Sequence[PreparedPicture]) -> tuple[int, ...]:
        """As the processor's `__call__` does it, with the replacements that are kept."""
        images = [[p.picture.image for p in prepared]] if prepared else None
        _, laid_out, *_ = self._processor.prepare_inputs_layout(images=images, text=[text])
        replacements = [p.replacement for p in prepared]
        if self._numbered and prepared:  # MiniCPM: the pictures of a conversation are counted
            replacements = self._processor._prepend_local_ids(laid_out, replacements, self._chat.image_token)
        expanded, _ = self._processor.get_text_with_replacements(laid_out, replacements)
        special = self._special(text, processing_settings(self._processor)["text_kwargs"])
        return tuple(self._tokenizer(expanded, **special)["input_ids"][0])

    def _tokens_plainly(
        self, text: str, pictures: Sequence[Picture]
    ) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]], dict[str, Any]]:
        """(tokens, per-token inputs, other inputs) of a plain call of the processor."""
        images = [[p.image for p in pictures]] if pictures else None  # nested: all of one conversation
        made = dict(self._processor(images=images, text=[text], return_tensors="pt", **self._special(text, {})))
        ids = made.pop("input_ids")
        made.pop("attention_mask", None)
        types = {k: tuple(v[0].tolist()) for k, v in made.items() if k in _TYPES}
        rest = {k: v for k, v in made.items() if k not in _TYPES and k != "labels"}
        return tuple(ids[0].tolist()), types, rest if self._capabilities.route == "raw" else {}

    def _special(self, text: str, settings: Mapping[str, Any]) -> dict[str, bool]:
        """A template that writes the first token itself wants no second one (`apply_chat_template` does the same)."""
        first = self._tokenizer.bos_token
        if first and text.startswith(first):
            return {"add_special_tokens": False}
        return {"add_special_tokens": settings["add_special_tokens"]} if "add_special_tokens" in settings else {}

    def _types_of(self, tokens: Sequence[int]) -> dict[str, tuple[int, ...]]:
        made: dict[str, tuple[int, ...]] = {}
        for name, tells in self._types.items():
            if tells:
                made[name] = tuple(self._processor.create_mm_token_type_ids([list(tokens)])[0])
            else:
                made[name] = (0,) * len(tokens)
        return made

    def _stepwise_is_right(self) -> bool:
        """Whether the steps give what a plain call gives, for a chat with two small pictures and one without any."""
        shades = np.arange(64 * 48 * 3, dtype=np.uint8).reshape(48, 64, 3)
        pictures = [Picture.of(Image.fromarray(shades)), Picture.of(Image.fromarray(shades.transpose(1, 0, 2)[::-1]))]
        parts = (ImagePart(pictures[0]), ImagePart(pictures[1]), TextPart("one\n\ntwo"))
        chats = [([Message("user", parts)], pictures)]
        if not self._capabilities.single_turn:
            chats.append(([Message.of_text("user", "one\n\ntwo")], []))
        try:
            for messages, shown in chats:
                text = self._chat.text(messages)[0]
                prepared = [self._shelf.prepare(p, len(shown) > 1) for p in shown]
                tokens, types, _ = self._tokens_plainly(text, shown)
                if shown:
                    self._types = {name: any(values) for name, values in types.items()}
                if tokens != self._tokens_stepwise(text, prepared) or types != self._types_of(tokens):
                    return False
        except Exception:  # older processors break in their own ways; a plain call is always there
            self._types = {}
            return False
        return True

    def _side_mask(self, tokens: Sequence[int], prepared: Sequence[PreparedPicture]) -> torch.Tensor:
        """(1, tokens, pictures, tiles) of ones and zeros, by Mllama's own rule."""
        from transformers.models.mllama import processing_mllama as mllama

        rows = mllama.get_cross_attention_token_mask(list(tokens), self._placeholder)
        most = int(self._processor.image_processor.max_image_tiles)
        tiles = [[p.tiles for p in prepared]]
        mask = mllama.convert_sparse_cross_attention_mask_to_dense([rows], tiles, most, len(tokens))
        return torch.as_tensor(np.asarray(mask))


def _number_of(key: str) -> int:
    """A picture's key as a number; "+" makes another one."""
    return int(key.rstrip("+")[:14], 16) * 2 + key.endswith("+")
