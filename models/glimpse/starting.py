"""What a Glimpse model begins with: an adapter that changes nothing yet, and names in the language model's words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file
from torch import nn

# Logit of a name before its first lesson: one picture in 400.
UNHEARD = -6.0

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
    with torch.no_grad():
        model.memory.positions[:-1] = coordinates(model.config.grid, model.config.memory_size)
    model.pointer.start()
    layers = cast("list[Any]", model.language_model.model.layers)
    with torch.no_grad():
        for block, index in zip(cast("list[Any]", model.blocks), model.config.cross_attention_layers, strict=False):
            block.attention_norm.weight.copy_(layers[index].input_layernorm.weight)
            block.ffn_norm.weight.copy_(layers[index].post_attention_layernorm.weight)


def coordinates(side: int, size: int) -> torch.Tensor:
    """Places of cells that differ clearly and smoothly, (cells, size): sines of row and column in random directions."""
    row, column = (x.flatten() for x in torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij"))
    waves = [f(x * k * math.pi / 2) for x in (row, column) for k in (1, 2, 3) for f in (torch.sin, torch.cos)]
    directions = torch.randn(len(waves), size) / len(waves) ** 0.5
    return torch.stack(waves, 1) @ directions


def embed_names(model: GlimpseForConditionalGeneration, tokenizer: Any) -> None:
    """Fills in what labels and names are made of: their tokens, and the mean of the tokens' embeddings."""
    table = cast(nn.Embedding, model.get_input_embeddings()).weight.detach()
    spelled = model.config.spelled
    model.pointer.centre.copy_(table.float().mean(0))
    names = [" " + name.lower() for name in (*model.config.labels, *model.config.names)]
    if not names:
        return
    for row, tokens in enumerate(tokenizer(names, add_special_tokens=False).input_ids):
        ids = torch.tensor(tokens)
        model.memory.name_embeddings[row] = table[ids].float().mean(0).to(model.memory.name_embeddings)
        model.pointer.spellings[row, : min(spelled, len(ids))] = ids[:spelled]


def learn_names(model: GlimpseForConditionalGeneration, names: Sequence[str], tokenizer: Any) -> None:
    """Makes room for names that the model does not know yet; what it knows keeps its number and its weights."""
    config, memory = model.config, model.memory
    new = [name for name in names if name not in set(config.names)]
    if not new:
        return
    config.names = [*config.names, *new]
    known = len(config.labels) + len(config.names)
    with torch.no_grad():
        for part in ("recognise", "recognise_whole"):
            old = getattr(memory, part)
            layer = nn.Linear(old.in_features, len(config.names), bias=old.bias is not None).to(old.weight)
            nn.init.zeros_(layer.weight)
            layer.weight[: len(old.weight)] = old.weight
            if old.bias is not None:
                nn.init.constant_(layer.bias, UNHEARD)
                layer.bias[: len(old.bias)] = old.bias
            setattr(memory, part, layer)
    memory.name_embeddings = memory.name_embeddings.new_zeros(known, memory.name_embeddings.shape[1])
    model.pointer.spellings = model.pointer.spellings.new_full((known, config.spelled), -1)
    embed_names(model, tokenizer)


@torch.no_grad()
def lean(model: GlimpseForConditionalGeneration, folder: Path, shares: Mapping[str, float]) -> None:
    """Moves the adapter towards the weights in `folder`, which went on from its own; how far, by part.

    Between two such weights often lies one that knows what either knows (Wortsman et al. 2022, arXiv:2109.01903).
    """
    other = load_file(folder / "adapter.safetensors")
    for name, parameter in model.adapter_parameters():
        share = shares[name.split(".")[0]]
        parameter.copy_(torch.lerp(parameter.float(), other[name].float(), share))
