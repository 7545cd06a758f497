"""Checkpoints with random weights for `benchmarks.engine`: of Qwen2.5-VL's kind, one of a real size and one tiny.

How long a token takes does not depend on what the weights say. The tokenizer is SmolLM2's, the processor Qwen's own.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.weights import default_cache, smollm2_folder

_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for p in m['content'] %}{% if p['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}"
    "{{ p['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
}


@dataclass(frozen=True)
class Size:
    """Shape of a checkpoint. `pixels`: of a picture, most; a picture takes a token for every 28 × 28 of them."""

    name: str
    width: int
    middle: int
    layers: int
    heads: int
    kv_heads: int
    vision_width: int
    vision_layers: int
    pixels: int


REAL = Size("bench-qwen2.5-vl-0.5b", 1024, 4096, 24, 16, 4, 640, 12, 448 * 448)
TINY = Size("bench-qwen2.5-vl-tiny", 64, 128, 2, 4, 2, 64, 2, 56 * 56)


def checkpoint_folder(size: Size, cache: Path | None = None) -> Path:
    """The checkpoint's folder, made once; as it would come from a hub."""
    root = cache or default_cache()
    target = root / size.name
    if target.is_dir():
        return target
    root.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{size.name}-", dir=root))
    try:
        _make(size, making)
        making.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


def _make(size: Size, folder: Path) -> None:
    import torch
    import transformers

    transformers.logging.disable_progress_bar()  # it would draw into the table
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        smollm2_folder(), local_files_only=True, extra_special_tokens=_TOKENS
    )
    torch.manual_seed(5)
    with torch.device("meta"):
        model: Any = transformers.Qwen2_5_VLForConditionalGeneration(_configuration(size, tokenizer))
    model = model.to(torch.bfloat16).to_empty(device="cpu")
    model.init_weights()
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() >= 2:
                weight.normal_(0, weight[0].numel() ** -0.5)
        head[tokenizer.convert_tokens_to_ids("<|im_end|>")] = 0  # never the likeliest: answers are as long as asked
        head[tokenizer.eos_token_id] = 0
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"), pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 28 * 28, "longest_edge": size.pixels}}
    images = transformers.Qwen2VLImageProcessor(**sizes)
    videos = transformers.Qwen2VLVideoProcessor(**sizes)
    processor = transformers.Qwen2_5_VLProcessor(images, tokenizer, videos, chat_template=_TEMPLATE)
    processor.save_pretrained(folder)


def _configuration(size: Size, tokenizer: Any) -> Any:
    import transformers

    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _TOKENS.items()}
    half = size.width // size.heads // 2
    text = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "hidden_size": size.width,
        "intermediate_size": size.middle,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "max_position_embeddings": 8192,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [half // 4, half * 3 // 8, half - half // 4 - half * 3 // 8],
        },
    }
    vision = {
        "depth": size.vision_layers,
        "hidden_size": size.vision_width,
        "intermediate_size": 2 * size.vision_width,
        "num_heads": size.vision_width // 32,
        "out_hidden_size": size.width,
        "fullatt_block_indexes": [size.vision_layers - 1],
    }
    return transformers.Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["image_token"],
        video_token_id=ids["video_token"],
        vision_start_token_id=ids["vision_bos_token"],
        vision_end_token_id=ids["vision_eos_token"],
        tie_word_embeddings=False,
    )
