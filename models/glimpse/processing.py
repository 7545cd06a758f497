"""Pictures and chats to what Glimpse takes: pixels, tokens, and from which token on each picture can be seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoTokenizer, BatchFeature, ProcessorMixin

from models.glimpse.configuration import GlimpseConfig
from models.glimpse.vision import picture_tensor

IMAGE = "<image>"
# SmolLM2's ChatML. Pictures stand before their message's text. Its default system prompt is kept for chats without
# pictures, where Glimpse is SmolLM2 bit for bit, and left out where there are some: training mostly had none.
CHAT_TEMPLATE = """
{%- set look = namespace(pictures=false) -%}
{%- for message in messages if message['content'] is not string -%}
  {%- for part in message['content'] if part['type'] == 'image' -%}{%- set look.pictures = true -%}{%- endfor -%}
{%- endfor -%}
{%- if not look.pictures and messages[0]['role'] != 'system' -%}
{{- '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] if part['type'] == 'image' -%}{{- '<image>' -}}{%- endfor -%}
{%- for part in message['content'] if part['type'] == 'text' -%}
{{- ('' if loop.first else '\n') + part['text'] -}}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
"""


class GlimpseProcessor(ProcessorMixin):
    """Prepares pictures and text.

    `<image>` in a text marks a picture. It becomes no token: the language model reads exactly the tokens that it knows,
    and `picture_starts` says after which of them each picture can be seen.

    Args:
        tokenizer: the language model's.
        image_size: side of the square that a picture is squeezed to.
    """

    def __init__(self, tokenizer: Any = None, image_size: int = 288, chat_template: str | None = None) -> None:
        super().__init__(tokenizer, chat_template=chat_template or CHAT_TEMPLATE)
        self.image_size = image_size

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> GlimpseProcessor:  # type: ignore[override]
        """The processor of a Glimpse folder, with its language model's tokenizer (the packaged one, or its own)."""
        from models import weights

        folder = Path(pretrained_model_name_or_path)
        own = folder / "language_model"
        source = own if (own / "tokenizer_config.json").is_file() else weights.smollm2_folder()
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
        return cls(tokenizer, GlimpseConfig.from_pretrained(folder).image_size)

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "pixel_values", "picture_starts"]

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        return_tensors: str | None = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepares one text or several.

        Args:
            images: one picture, a list for one text, or a list of lists, one per text; PIL images or what
                `picture_tensor` takes.
            text: one text or several; with several, the shorter are padded on the left.

        Returns:
            `input_ids`, `attention_mask`, and with pictures `pixel_values` (texts, pictures, 3, side, side;
            uint8) and `picture_starts` (texts, pictures; -1 where a text has fewer).

        Raises:
            ValueError: the number of `<image>` marks is not the number of pictures.
        """
        texts = [text or ""] if text is None or isinstance(text, str) else list(text)
        pictures = _per_text(images, len(texts))
        parsed = [self.tokens_of(t) for t in texts]
        for (_, starts), own in zip(parsed, pictures, strict=True):
            if len(starts) != len(own):
                raise ValueError(f"the text has {len(starts)} {IMAGE} marks, but there are {len(own)} pictures")
        longest = max(len(ids) for ids, _ in parsed)
        pad = self.tokenizer.pad_token_id or 0
        data: dict[str, torch.Tensor] = {
            "input_ids": torch.tensor([[pad] * (longest - len(ids)) + ids for ids, _ in parsed]),
            "attention_mask": torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids, _ in parsed]),
        }
        most = max(map(len, pictures))
        if most:
            blank = torch.zeros(3, self.image_size, self.image_size, dtype=torch.uint8)
            data["pixel_values"] = torch.stack(
                [
                    torch.stack([picture_tensor(p, self.image_size) for p in own] + [blank] * (most - len(own)))
                    for own in pictures
                ]
            )
            data["picture_starts"] = torch.tensor(
                [[s + longest - len(ids) for s in starts] + [-1] * (most - len(starts)) for ids, starts in parsed]
            )
        return BatchFeature(data)

    def tokens_of(self, text: str) -> tuple[list[int], list[int]]:
        """Token ids of a text without its `<image>` marks, and for each mark how many tokens come before it."""
        ids: list[int] = []
        starts: list[int] = []
        # A mark splits the text where a chat template puts it, right after a line's end, so the tokens are the same as
        # without the mark.
        for number, piece in enumerate(text.split(IMAGE)):
            if number:
                starts.append(len(ids))
            if piece:
                ids += self.tokenizer(piece, add_special_tokens=False).input_ids
        return ids, starts

    def decode(self, *args: Any, **kwargs: Any) -> str:
        return self.tokenizer.decode(*args, **kwargs)

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        return self.tokenizer.batch_decode(*args, **kwargs)


def _per_text(images: Any, texts: int) -> list[list[Image.Image]]:
    if images is None:
        return [[] for _ in range(texts)]
    if isinstance(images, Image.Image):
        images = [images]
    if images and isinstance(images[0], Image.Image):
        images = [images]
    return [list(own) for own in images]
