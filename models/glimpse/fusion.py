"""How a picture reaches the language model: memory tokens, and gated cross-attention to them.

The shape is Flamingo's (Alayrac et al. 2022, arXiv:2204.14198), small: text tokens are queries, memory tokens are keys
and values, `softmax(Q_text K_imageᵀ / √d) V_image`, added to the residual stream through `tanh(gate)`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.glimpse.configuration import GlimpseConfig


class MemoryLayer(nn.Module):
    """A pre-norm transformer layer over memory tokens. Its output projections start at zero: it is identity then."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(size)
        self.query_key_value = nn.Linear(size, 3 * size)
        self.attention_out = nn.Linear(size, size)
        self.ffn_norm = nn.LayerNorm(size)
        self.ffn_in = nn.Linear(size, 4 * size)
        self.ffn_out = nn.Linear(4 * size, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """`x`: (pictures, tokens, size), and so is what returns."""
        pictures, tokens, size = x.shape
        qkv = self.query_key_value(self.attention_norm(x)).view(pictures, tokens, 3, self.heads, size // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2) / math.sqrt(size // self.heads)).softmax(-1)
        mixed = (weights @ value).transpose(1, 2).reshape(pictures, tokens, size)
        x = x + self.dropout(self.attention_out(mixed))
        return x + self.dropout(self.ffn_out(functional.gelu(self.ffn_in(self.ffn_norm(x)))))


class Seen(NamedTuple):
    """What is kept of pictures.

    Attributes:
        memory: (pictures, tokens, memory size), what text attends to.
        names: (pictures, label tokens + name tokens, 2), float32: number of each likely label or name, and its
            probability. Labels have the numbers 0 … labels - 1, names those from there on.
        logits: (pictures, names), of every name that the memory knows.
    """

    memory: Tensor
    names: Tensor
    logits: Tensor


def sureness(names: Tensor) -> Tensor:
    """How sure each of `names` (as in `Seen`) is, (…, 2): its probability, plain and on a logarithmic scale."""
    probability = names[..., 1]
    return torch.stack([probability, (probability + 1e-3).log() / 4], -1)


class PictureMemory(nn.Module):
    """Turns what the vision encoder saw into memory tokens: features and decisions together.

    Per picture: one token per cell of the feature map (with its position) and one for the whole map, both after a few
    transformer layers; then one per likely label of the encoder and one per likely name that the memory itself
    recognises, made from the language model's own embeddings of these words.
    """

    feature_mean: Tensor
    feature_scale: Tensor
    name_embeddings: Tensor

    def __init__(self, config: GlimpseConfig) -> None:
        super().__init__()
        size, self.cells = config.memory_size, config.grid**2
        self.labels, self.label_tokens, self.name_tokens = len(config.labels), config.label_tokens, config.name_tokens
        self.tokens = self.cells + 1 + config.label_tokens + config.name_tokens
        width = config.text_config.hidden_size
        self.register_buffer("feature_mean", torch.zeros(config.feature_size))
        self.register_buffer("feature_scale", torch.ones(config.feature_size))
        known = len(config.labels) + len(config.names)
        self.register_buffer("name_embeddings", torch.zeros(known, width), persistent=False)
        self.project = nn.Linear(config.feature_size, size)
        self.project_whole = nn.Linear(config.feature_size, size)
        self.positions = nn.Parameter(torch.zeros(self.cells + 1, size))
        self.picture_index = nn.Parameter(torch.zeros(config.max_pictures, size))
        self.input_dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            MemoryLayer(size, config.memory_heads, config.dropout) for _ in range(config.memory_layers)
        )
        self.norm = nn.LayerNorm(size)
        self.recognise = nn.Linear(size, len(config.names))
        self.recognise_whole = nn.Linear(size, len(config.names), bias=False)
        self.name_norm = nn.LayerNorm(width)
        self.project_name = nn.Linear(width, size)
        # What a name's token says of it beside the name: whose it is, and how sure.
        self.name_kind = nn.Parameter(torch.zeros(2, size))
        self.name_probability = nn.Parameter(torch.zeros(2, size))

    def forward(
        self,
        features: Tensor,
        labels: Tensor,
        probabilities: Tensor,
        index: Tensor | None = None,
        renamed: Tensor | None = None,
    ) -> Seen:
        """Memory tokens.

        Args:
            features: (pictures, cells, feature size) of the vision encoder.
            labels: (pictures, label tokens), ids of the likeliest labels, likeliest first.
            probabilities: their probabilities, same shape.
            index: (pictures,), which picture of its message each one is; None where each is the first.
            renamed: (pictures, labels + names), the number of what each label or name is called instead; a lesson
                (`exchanging.py`).
        """
        x = self.look(features)
        logits = self.name_logits(x)
        sure, which = logits.detach().float().sigmoid().topk(self.name_tokens, -1)
        names = torch.stack(
            [torch.cat([labels, which + self.labels], 1).float(), torch.cat([probabilities.float(), sure], 1)], -1
        )
        if renamed is not None:
            names[..., 0] = renamed.gather(1, names[..., 0].long()).float()
        memory = torch.cat([x, self._named(names)], 1)
        if index is not None:
            memory = memory + self.picture_index[index.clamp(max=len(self.picture_index) - 1)][:, None]
        return Seen(memory, names, logits)

    def look(self, features: Tensor) -> Tensor:
        """The tokens of the cells and of the whole, (pictures, cells + 1, size)."""
        kind = self.project.weight.dtype
        standard = (features.to(kind) - self.feature_mean) * self.feature_scale
        standard = self.input_dropout(standard)
        whole = self.project_whole(standard.mean(1, keepdim=True))
        x = torch.cat([self.project(standard), whole], 1) + self.positions
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)

    def name_logits(self, looked: Tensor) -> Tensor:
        """(pictures, names) from `look`: how much speaks for each name anywhere in the picture, and in the whole.

        Over the cells it is a soft maximum, as in learning from bags (multiple instance learning).
        """
        anywhere = self.recognise(looked[:, : self.cells]).logsumexp(1) - math.log(self.cells)
        return anywhere + self.recognise_whole(looked[:, self.cells])

    def _named(self, names: Tensor) -> Tensor:
        """Tokens of labels and names; `names` as in `Seen`."""
        kind = self.project_name.weight.dtype
        embedded = functional.embedding(names[..., 0].long(), self.name_embeddings.to(kind))
        sure = sureness(names).to(kind)
        of_labels = torch.arange(names.shape[1], device=names.device) < self.label_tokens
        whose = self.name_kind[of_labels.long()]
        return self.project_name(self.name_norm(embedded)) + sure @ self.name_probability + whose


class GatedCrossAttention(nn.Module):
    """Text tokens look at memory tokens; what they find is added through a gate, then a gated feed-forward part.

    The two output projections start at zero, so an untrained block changes nothing.

    Args:
        config: of the model.
        scale: typical size of the residual stream at this depth; brings the block's output into its range.
    """

    def __init__(self, config: GlimpseConfig, scale: float = 1.0) -> None:
        super().__init__()
        width, size = config.text_config.hidden_size, config.memory_size
        self.heads, self.scale = config.memory_heads, scale
        eps = config.text_config.rms_norm_eps
        self.attention_norm = nn.RMSNorm(width, eps=eps)
        self.query = nn.Linear(width, size, bias=False)
        self.key_value = nn.Linear(size, 2 * size, bias=False)
        self.attention_out = nn.Linear(size, width, bias=False)
        self.attention_gate = nn.Parameter(torch.ones(1))
        self.ffn_norm = nn.RMSNorm(width, eps=eps)
        self.ffn_in = nn.Linear(width, config.cross_attention_ffn, bias=False)
        self.ffn_out = nn.Linear(config.cross_attention_ffn, width, bias=False)
        self.ffn_gate = nn.Parameter(torch.ones(1))
        self.dropout = nn.Dropout(config.dropout)

    def keys_values(self, memory: Tensor) -> Tensor:
        """What text will attend to: (batch, tokens, size) → (batch, 2, heads, tokens, head size). Once per picture."""
        batch, tokens, size = memory.shape
        return self.key_value(memory).view(batch, tokens, 2, self.heads, size // self.heads).permute(0, 2, 3, 1, 4)

    def forward(self, hidden: Tensor, keys_values: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor]:
        """Looks.

        Args:
            hidden: (batch, text tokens, width), the residual stream.
            keys_values: what `keys_values` made.
            visible: bool (batch, text tokens, memory tokens), what each text token may see; a token that sees nothing
                passes unchanged. None: everything sees everything.

        Returns:
            the new residual stream, and the attention (batch, heads, text tokens, memory tokens).
        """
        update, weights = self.attend(hidden, keys_values, visible)
        hidden = hidden + update
        return hidden + self.think(hidden, visible), weights

    def attend(self, hidden: Tensor, keys_values: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor]:
        """The attention part's addition to the residual stream, and the attention."""
        batch, length, _ = hidden.shape
        key, value = keys_values.unbind(1)
        query = self.query(self.attention_norm(hidden)).view(batch, length, self.heads, -1).transpose(1, 2)
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if visible is not None:
            scores = scores.masked_fill(~visible[:, None], torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1)
        found = self.attention_out((weights @ value).transpose(1, 2).reshape(batch, length, -1))
        return _where_sighted(self.scale * torch.tanh(self.attention_gate) * self.dropout(found), visible), weights

    def think(self, hidden: Tensor, visible: Tensor | None) -> Tensor:
        """The feed-forward part's addition to the residual stream."""
        thought = self.ffn_out(functional.gelu(self.ffn_in(self.ffn_norm(hidden))))
        return _where_sighted(self.scale * torch.tanh(self.ffn_gate) * self.dropout(thought), visible)


def _where_sighted(update: Tensor, visible: Tensor | None) -> Tensor:
    """`update` for the text tokens that see something, zero for the others."""
    return update if visible is None else update * visible.any(-1, keepdim=True).to(update.dtype)
