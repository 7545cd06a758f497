"""What a Glimpse model begins with: an adapter that changes nothing yet, and names in the language model's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from models.glimpse.modeling import GlimpseForConditionalGeneration


def start_adapter(model: GlimpseForConditionalGeneration) -> None:
    """An untrained adapter: blocks that change nothing yet, norms that start as their layer's own."""
    for name, parameter in (*model.memory.named_parameters(), *model.blocks.named_parameters()):
        if name.endswith(("attention_out.weight", "ffn_out.weight")):
            nn.init.zeros_(parameter)
        elif parameter.dim() == 2 and "recognise" not in name:
            std = 0.02 if "position" in name or "index" in name else parameter.shape[1] ** -0.5
            nn.init.normal_(parameter, std=std)
    nn.init.zeros_(model.memory.picture_index)
    model.pointer.start()
    layers = cast("list[Any]", model.language_model.model.layers)
    with torch.no_grad():
        for block, index in zip(cast("list[Any]", model.blocks), model.config.cross_attention_layers, strict=False):
            block.attention_norm.weight.copy_(layers[index].input_layernorm.weight)
            block.ffn_norm.weight.copy_(layers[index].post_attention_layernorm.weight)


def embed_names(model: GlimpseForConditionalGeneration, tokenizer: Any) -> None:
    """Fills in what labels and names are made of: their tokens, and the mean of the tokens' embeddings."""
    table = cast(nn.Embedding, model.get_input_embeddings()).weight.detach()
    spelled = model.config.spelled
    for row, name in enumerate([*model.config.labels, *model.config.names]):
        ids = torch.tensor(tokenizer(" " + name.lower(), add_special_tokens=False).input_ids)
        model.memory.name_embeddings[row] = table[ids].float().mean(0).to(model.memory.name_embeddings)
        model.pointer.spellings[row, : min(spelled, len(ids))] = ids[:spelled]
