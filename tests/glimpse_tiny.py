"""A tiny random Glimpse for tests: two seconds to build, nothing to download."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from models.glimpse.configuration import GlimpseConfig
from models.glimpse.modeling import GlimpseForConditionalGeneration
from models.glimpse.starting import embed_names

SPECIAL = ["<unk>", "<|im_start|>", "<|im_end|>"]


def tiny_config(**changes: Any) -> GlimpseConfig:
    text = LlamaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.2, max_position_embeddings=512, tie_word_embeddings=True,
    )  # fmt: skip
    settings: dict[str, Any] = {
        "text_config": text, "vision_model": "none", "image_size": 96, "feature_size": 12,
        "labels": ["cat", "dog", "car"],
        "label_tokens": 2, "names": ["red", "blue", "green"], "name_tokens": 2,
        "pointer_size": 8, "pointing_blocks": [1],
        "memory_size": 16, "memory_layers": 1, "memory_heads": 2, "cross_attention_layers": [1, 3],
        "cross_attention_scales": [1.0, 1.0], "cross_attention_ffn": 24, "dropout": 0.1,
    }  # fmt: skip
    return GlimpseConfig(**{**settings, **changes})


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, no merges: every byte is a token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(SPECIAL + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    from tokenizers import decoders

    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
    )


class TinyVision(torch.nn.Module):
    """Stands in for EfficientNet: mean colours of the cells as features, their mean as label logits."""

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cells = torch.nn.functional.avg_pool2d(pixels.float() / 255, 32)
        features = cells.flatten(2).transpose(1, 2).repeat(1, 1, 4)
        return features, cells.mean((2, 3)) * 5


def tiny_glimpse(trained: bool = True, seed: int = 0, **changes: Any) -> GlimpseForConditionalGeneration:
    """A random model in float32; `trained` gives the blocks output weights, so that pictures matter."""
    torch.manual_seed(seed)
    config = tiny_config(**changes)
    model = GlimpseForConditionalGeneration(config, LlamaForCausalLM(config.text_config))
    model.vision = TinyVision()
    embed_names(model, tiny_tokenizer())
    if trained:
        for name, parameter in model.adapter_parameters():
            if name.endswith(("attention_out.weight", "ffn_out.weight")):
                torch.nn.init.normal_(parameter, std=0.3)
        torch.nn.init.normal_(model.memory.recognise.weight, std=0.5)
        torch.nn.init.zeros_(model.pointer.nothing)
        torch.nn.init.constant_(model.pointer.gate, 0.2)
    return model.eval()
