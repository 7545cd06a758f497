"""The engine "glimpse": a `VisionLanguageModel` whose language model looks at pictures by cross-attention."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from models.errors import EngineFailure, EngineUnavailable
from models.glimpse import WEIGHTS
from models.glimpse.decoder import GlimpseDecoder
from models.glimpse.fusion import Seen
from models.glimpse.modeling import WEIGHTS_FILE, GlimpseForConditionalGeneration
from models.glimpse.processing import IMAGE, GlimpseProcessor
from models.glimpse.tasks import text_note
from models.glimpse.vision import picture_tensor
from models.interfaces import Evidence, GenerationOptions, SeenPicture, TextDelta, TokenAttention
from models.seeing.evidence import EvidenceCollector
from models.seeing.generation import Decoder, Prompt, TokenLoop
from models.seeing.out_of_reach import refuse_other_scripts
from models.seeing.prompt import DEFAULT_SYSTEM, answerable, asks_about_text, clock, heard
from models.seeing.transformers_decoder import TransformersDecoder
from models.streaming import CancelToken
from models.types import AudioPart, Message, Picture, TextPart, VideoPart
from models.weights import OnProgress

NAME = "glimpse"
KEPT_PICTURES = 64
# Letters and digits from which a picture is rather something to read.
MUCH_TEXT = 12
# What is shown of the names: enough to say what the picture is about, none that is likelier wrong than right.
MOST_WORDS, LEAST_PROBABILITY = 8, 0.5
END_OF_TURN = "<|im_end|>"
_MARKS = (END_OF_TURN, "<|im_start|>", "<|endoftext|>", IMAGE)


class GlimpseEngine:
    """Answers about pictures. Without any it is SmolLM2.

    Args:
        model: with its vision encoder.
        processor: its processor.
        evidence: what `look` reports beside (recognised things, read text, colours); read text also enters the prompt.
        decoder: runs the language model and the blocks; transformers does by default.
    """

    def __init__(
        self,
        model: GlimpseForConditionalGeneration,
        processor: GlimpseProcessor,
        evidence: EvidenceCollector | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        self.name = NAME
        self.model, self.processor = model, processor
        self._evidence = evidence or EvidenceCollector()
        self._memories: OrderedDict[tuple[str, int], Seen] = OrderedDict()
        self._lock = threading.Lock()
        decoder = decoder or TransformersDecoder(model, every_step=True)
        self.context_tokens = decoder.context_tokens
        stop = processor.tokenizer.convert_tokens_to_ids(END_OF_TURN)
        self._loop = TokenLoop(decoder, self._decode, frozenset({stop}))

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self.processor.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens that `messages` take as a prompt. Pictures take none: they are looked at from the side."""
        return len(self.processor.tokens_of(self._text(messages))[0])

    def look(self, messages: Sequence[Message]) -> tuple[SeenPicture, ...]:
        """What is seen of every picture in `messages`, in order; kept by the pictures' digests.

        Beside what the collector finds: the names that the memory itself recognises and tells the language model.
        """
        pictures = [(p, number) for m in messages for number, p in enumerate(m.pictures)]
        side = self.model.config.image_size
        seen = self._evidence.look([p for p, _ in pictures]) if pictures else ()
        return tuple(
            replace(s, model_size=(side, side), evidence=(*s.evidence, *self._words(kept)))
            for s, kept in zip(seen, self._memory(pictures), strict=True)
        )

    def _words(self, seen: Seen) -> Iterator[Evidence]:
        """The likely names of one picture as evidence."""
        config = self.model.config
        for number, probability in seen.names[0, config.label_tokens :].tolist()[:MOST_WORDS]:
            if probability >= LEAST_PROBABILITY:
                yield Evidence("word", config.names[int(number) - len(config.labels)], probability)

    def stream(
        self, messages: Sequence[Message], options: GenerationOptions, cancel: CancelToken
    ) -> Iterator[TextDelta]:
        """The answer to the last message; see `VisionLanguageModel.stream` and `TokenLoop.stream`.

        Raises `BadInput` also for a question in a script that SmolLM2 cannot read.
        """
        refuse_other_scripts(self.name, messages[-1].text)
        prompt = self._prompt(messages)
        if not cancel.cancelled:
            yield from self._loop.stream(prompt, options, cancel)

    def explain(self, messages: Sequence[Message], answer: str) -> tuple[TokenAttention, ...]:
        """Where the model looks while it writes `answer`: one entry per token and picture that the token can see.

        The attention is the mean over the blocks that learnt to point; what falls on names is left out. Raises
        `EngineFailure`.
        """
        prompt = self._prompt(messages)
        pictures = [p for m in messages for p in m.pictures]
        if not pictures:
            return ()
        said = self.processor.tokenizer(answer, add_special_tokens=False).input_ids
        ids = torch.tensor([[*prompt.tokens, *said]])
        try:
            with torch.inference_mode():
                maps = self.model(input_ids=ids, output_cross_attentions=True, **prompt.inputs).cross_attentions
        except RuntimeError as error:
            raise EngineFailure(f"The attention could not be computed: {error}.") from error
        side, per_picture = self.model.config.grid, self.model.memory.tokens
        pointing = [maps[i] for i in self.model.config.pointing_blocks]
        mean = torch.stack(pointing).float().mean((0, 2))[0]
        visible = self.model.visible_memory(prompt.inputs["picture_starts"], torch.arange(ids.shape[1]))[0]
        found = []
        for place, token in enumerate(said):
            at = len(prompt.tokens) + place - 1  # the state that predicted this token
            for number, picture in enumerate(pictures):
                start = number * per_picture
                if visible[at, start]:
                    cells = mean[at, start : start + side**2].view(side, side)
                    cells = cells / cells.sum().clamp_min(1e-9)
                    found.append(TokenAttention(self._decode([token]), picture.digest, cells.numpy()))
        return tuple(found)

    # -- prompts ---------------------------------------------------------------------------------------------------

    def _prompt(self, messages: Sequence[Message]) -> Prompt:
        tokens, starts = self.processor.tokens_of(self._text(messages))
        pictures = [p for m in messages for p in m.pictures]
        if not pictures:
            return Prompt(tuple(tokens))
        numbers = [i for m in messages for i in range(len(m.pictures))]
        seen = self._memory(list(zip(pictures, numbers, strict=True)))
        key = hashlib.sha256("".join(f"{p.digest}@{s} " for p, s in zip(pictures, starts, strict=True)).encode())
        with torch.inference_mode():
            keys_values = self.model.keys_values(torch.cat([s.memory for s in seen], 1))
        inputs = {
            "picture_keys_values": keys_values,
            "picture_names": torch.cat([s.names for s in seen], 1),
            "picture_starts": torch.tensor([starts]),
        }
        return Prompt(tuple(tokens), inputs, key.hexdigest())

    def _memory(self, pictures: Sequence[tuple[Picture, int]]) -> list[Seen]:
        """What is kept of each picture; each is looked at once."""
        with self._lock:
            for picture, number in pictures:
                key = (picture.digest, number)
                if key not in self._memories:
                    self._memories[key] = self._look_at(picture, number)
                self._memories.move_to_end(key)
            wanted = [self._memories[p.digest, n] for p, n in pictures]
            while len(self._memories) > KEPT_PICTURES:
                self._memories.popitem(last=False)
        return wanted

    def _look_at(self, picture: Picture, number: int) -> Seen:
        pixels = picture_tensor(picture.image, self.model.config.image_size)[None]
        try:
            with torch.inference_mode():
                return self.model.remember(pixels, torch.tensor([number]))
        except RuntimeError as error:
            raise EngineFailure(f"The picture {picture.source} could not be looked at: {error}.") from error

    def _text(self, messages: Sequence[Message]) -> str:
        """The chat as text with a mark for every picture, open for the answer."""
        seen = {s.digest: s for s in self.look(messages)}
        chat: list[dict[str, Any]] = []
        earlier: tuple[Picture, ...] = ()
        for message in messages:
            asked = message.role == "user" and asks_about_text(message.text)
            earlier = message.pictures or earlier
            read = earlier if message.pictures or asked else ()
            words = _harmless("\n".join(_lines(message, read, asked, seen)))
            marks = [{"type": "image"} for _ in message.pictures]
            chat.append({"role": message.role, "content": [*marks, {"type": "text", "text": words}]})
        if not seen and (not chat or chat[0]["role"] != "system"):
            chat.insert(0, {"role": "system", "content": DEFAULT_SYSTEM})
        return str(self.processor.apply_chat_template(chat, add_generation_prompt=True))


def _harmless(text: str) -> str:
    """Text that can neither open nor close a turn nor stand for a picture, wherever it came from."""
    for mark in _MARKS:
        text = text.replace(mark, mark.replace("<", "(").replace(">", ")").replace("|", ""))
    return text


def _lines(message: Message, pictures: Sequence[Picture], asked: bool, seen: dict[str, SeenPicture]) -> Iterator[str]:
    """The lines of a message: what was read in the pictures, what was heard, then the text.

    What was read is told where it is asked for, or is long: a stray word would become the answer to any question.
    """
    if not pictures and all(isinstance(p, TextPart) for p in message.parts):
        yield answerable(message)
        return
    for picture in pictures:
        read = " ".join(e.text for e in seen[picture.digest].evidence if e.kind == "text")
        if sum(c.isalnum() for c in read) >= (1 if asked else MUCH_TEXT):
            at = f"At {clock(picture.time)}: " if picture.time is not None else ""
            yield at + text_note(read[:600])
    for part in message.parts:
        if isinstance(part, AudioPart):
            yield heard("The recording", part.transcript.text)
        elif isinstance(part, VideoPart) and part.transcript is not None and part.transcript.text:
            yield heard("The sound of the video", part.transcript.text)
    for part in message.parts:
        if isinstance(part, TextPart):
            yield part.text


def load_glimpse(folder: Path = WEIGHTS, on_progress: OnProgress | None = None) -> GlimpseEngine:
    """The engine from a folder with a trained adapter. Raises `EngineUnavailable` when it or a package is missing."""
    if not (folder / WEIGHTS_FILE).is_file():
        raise EngineUnavailable(
            f"There are no Glimpse weights in {folder}.",
            "Train some: python -m models.glimpse.train (docs/GLIMPSE.md).",
        )
    if on_progress:
        on_progress("Loading Glimpse", None)
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # it would draw into the answer on the terminal
    model = GlimpseForConditionalGeneration.from_pretrained(folder)
    return GlimpseEngine(model, GlimpseProcessor.from_pretrained(folder), decoder=GlimpseDecoder(model))
