"""What goes into a pass through the layers and what comes out of one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers import Cache
from transformers.modeling_outputs import ModelOutput

from models.glimpse.pointer import Candidates


@dataclass(frozen=True)
class Pass:
    """What all layers share while a text goes through them.

    Attributes:
        mask: of the text's own attention, as the language model takes it.
        position_ids: (batch or 1, text tokens).
        keys_values: the pictures' for every block (`GlimpseForConditionalGeneration.keys_values`); without them the
            blocks are passed by, so that nothing at all is added.
        visible: bool (batch, text tokens, memory tokens), what each text token may see; None: everything.
        cache: the text's keys and values so far, which grow.
        attentions: where given, every block adds its own, (batch, heads, text tokens, memory tokens).
    """

    mask: Tensor | None
    position_ids: Tensor
    keys_values: Tensor | None = None
    visible: Tensor | None = None
    cache: Cache | None = None
    attentions: list[Tensor] | None = None


@dataclass
class GlimpseOutput(ModelOutput):
    """What a forward pass gives.

    Attributes:
        loss: mean cross-entropy of `labels`, when they were given.
        logits: (batch, kept tokens, vocabulary).
        cache: the text's keys and values.
        picture_keys_values: the pictures' keys and values for every block, so that they are computed once.
        picture_names: the pictures' likely labels and names, (batch, names, 2) as in `Seen`.
        picture_candidates: what the pointer can copy of them, computed once, too.
        cross_attentions: one per block, (batch, heads, text tokens, memory tokens); on request.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    cache: Cache | None = None
    picture_keys_values: Tensor | None = None
    picture_names: Tensor | None = None
    picture_candidates: Candidates | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
