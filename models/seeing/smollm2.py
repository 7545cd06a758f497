"""The engine "smollm2-evidence": SmolLM2-135M-Instruct, which reads what was seen and heard in words."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from models import runtime
from models.errors import EngineFailure
from models.interfaces import GenerationOptions, SeenPicture, TextDelta
from models.seeing.evidence import EvidenceCollector
from models.seeing.generation import Decoder, Prompt, TokenLoop
from models.seeing.out_of_reach import refuse_other_scripts
from models.seeing.prompt import chat_turns, chatml
from models.streaming import CancelToken
from models.types import Message

log = logging.getLogger(__name__)

NAME = "smollm2-evidence"
PARAMETERS = 134_515_008
END_OF_TURN = "<|im_end|>"


class EvidenceLanguageModel:
    """A `VisionLanguageModel` made of a language model that reads and an `EvidenceCollector` that looks.

    Args:
        decoder: the language model.
        tokenizer: its tokenizer, of the ChatML kind.
        evidence: what looks at the pictures.
        name: as in the catalogue.
    """

    def __init__(
        self, decoder: Decoder, tokenizer: Tokenizer, evidence: EvidenceCollector | None = None, name: str = NAME
    ) -> None:
        self.name = name
        self.context_tokens = decoder.context_tokens
        self._tokenizer = tokenizer
        self._evidence = evidence or EvidenceCollector()
        stop = tokenizer.token_to_id(END_OF_TURN)
        if stop is None:
            raise EngineFailure(f"The tokenizer of {name} has no {END_OF_TURN}.", "Delete Lucid's cache folder.")
        self._loop = TokenLoop(decoder, self._decode, frozenset({stop}))

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens that `messages` take as a prompt, what is seen in their pictures included."""
        return len(self._prompt(messages).tokens)

    def look(self, messages: Sequence[Message]) -> tuple[SeenPicture, ...]:
        """What is seen of every picture in `messages`, in order; kept by the pictures' digests."""
        pictures = [p for m in messages for p in m.pictures]
        return self._evidence.look(pictures) if pictures else ()

    def stream(
        self, messages: Sequence[Message], options: GenerationOptions, cancel: CancelToken
    ) -> Iterator[TextDelta]:
        """The answer to the last message; see `VisionLanguageModel.stream` and `TokenLoop.stream`.

        Raises `BadInput` also for a question in a script that the model cannot read: it was taught English only, and
        would answer "你好" with invented words and rows of emoji.
        """
        refuse_other_scripts(self.name, messages[-1].text)
        prompt = self._prompt(messages)
        if not cancel.cancelled:
            yield from self._loop.stream(prompt, options, cancel)

    def _prompt(self, messages: Sequence[Message]) -> Prompt:
        seen = {s.digest: s for s in self.look(messages)}
        text = chatml(chat_turns(messages, seen))
        return Prompt(tuple(self._tokenizer.encode(text, add_special_tokens=False).ids))


def load(folder: Path) -> EvidenceLanguageModel:
    """The engine from a folder of `models.weights.smollm2_folder`; what looks at pictures is loaded with the first.

    On a processor the lean decoder on packed weights runs it; on a GPU, where it would gain nothing, transformers does.
    """
    machine = runtime.this_machine()
    choice = runtime.choose(machine, PARAMETERS, packed_kernels=True)
    log.info("%s: %s", NAME, choice.reason)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if choice.device == "cpu":
        from models.seeing.llama_decoder import LlamaDecoder

        return EvidenceLanguageModel(LlamaDecoder.from_folder(folder), tokenizer)
    import torch
    from transformers import AutoModelForCausalLM

    from models.seeing.transformers_decoder import TransformersDecoder

    dtype = getattr(torch, choice.precision)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    return EvidenceLanguageModel(TransformersDecoder(model.eval().to(choice.device)), tokenizer)
