"""Tiny random checkpoints of real architectures with their real processors, built and saved without any network.

Two layers each, weights so large that greedy answers vary and hang on the pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

CONTEXT = 1536
_SENTENCES = (
    "What is in the first picture, and what is in the second one?",
    "A user asks; the assistant answers about pictures: a red house, a blue car and three trees at 0:03.",
    "The recording says: hello, what do you see here? System, user, assistant, model. Thank you, and now this one.",
)
_COMMON = ("<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>")
_TURNS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for p in m['content'] %}{% if p['type'] == 'image' %}IMAGE{% else %}{{ p['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As Gemma's: no turn for the system, which raises, and roles that must alternate.
_STRICT = (
    "<bos>{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|im_start|>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{% if m['content'] is string %}"
    "{{ m['content'] }}{% else %}{% for p in m['content'] %}{% if p['type'] == 'image' %}<boi>{% else %}"
    "{{ p['text'] | trim }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
# As LLaVA's: pictures of a turn first, whatever stands between them, and plain words for the roles.
_PICTURES_FIRST = (
    "{% for m in messages %}{{ m['role'] | upper }}: {% for p in m['content'] if p['type'] == 'image' %}<image>\n"
    "{% endfor %}{% for p in m['content'] if p['type'] == 'text' %}{{ p['text'] }} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
# As InternVL 2's and others: content is a string, and the picture's token stands in it.
_STRINGS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] + '\n' + m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def turns(image: str) -> str:
    """A ChatML template that writes `image` for a picture."""
    return _TURNS.replace("IMAGE", image)


@dataclass(frozen=True)
class Tiny:
    """One architecture: `build` makes (model, processor)."""

    name: str
    build: Callable[[], tuple[Any, Any]]

    def save(self, folder: Path) -> Path:
        """The checkpoint as it would come from a hub: config, safetensors, tokenizer, processor."""
        torch.manual_seed(7)
        model, processor = self.build()
        tokenizer = processor.tokenizer
        ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")]
        _enliven(model, ends)
        model.generation_config = transformers.GenerationConfig(
            eos_token_id=ends,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
        )
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        return folder


def tokenizer_with(special: Sequence[str] = (), **names: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that knows a few sentences; `names`: attribute (`image_token`) → token."""
    tokens = [*_COMMON, *special, *(t for t in names.values() if t not in special)]
    trained = Tokenizer(BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300 + len(tokens),
        special_tokens=tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(_SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=trained,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        model_max_length=CONTEXT,
        extra_special_tokens=names or None,
    )


def _enliven(model: Any, ends: Sequence[int]) -> None:
    """Larger weights, as initial ones are so small that every answer is the same; `ends`, which end one, are unlikely.

    Where the head is the embeddings, these are small, or each token would be followed by itself.
    """
    generator = torch.Generator().manual_seed(11)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "embed" in name and weight.dim() == 2:
                weight.normal_(0, 0.05 if tied else 1, generator=generator)
            elif weight.dim() >= 2:
                weight.normal_(0, 1.4 * weight[0].numel() ** -0.5, generator=generator)
            elif "gate" in name:  # Mllama's begin at zero
                weight.fill_(0.7)
        model.get_output_embeddings().weight[ends] = 0


def _text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer) + 8,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        **more,
    }


def _vision(**more: Any) -> dict[str, Any]:
    base = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return {**base, **more}


def _qwen(kind: str) -> tuple[Any, Any]:
    names = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_bos_token": "<|vision_start|>",
        "vision_eos_token": "<|vision_end|>",
    }
    tokenizer = tokenizer_with(**names)
    ids = {key: tokenizer.convert_tokens_to_ids(token) for key, token in names.items()}
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    text = _text(tokenizer, rope_parameters=rope, head_dim=8)
    vision: dict[str, Any] = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "patch_size": 8}
    vision["out_hidden_size"] = 32
    if kind == "qwen2_5_vl":
        vision |= {"fullatt_block_indexes": [1], "window_size": 32}
        config_class, model_class = transformers.Qwen2_5_VLConfig, transformers.Qwen2_5_VLForConditionalGeneration
        processor_class: Any = transformers.Qwen2_5_VLProcessor
    elif kind == "qwen3_vl":
        text["rope_parameters"] = {**rope, "mrope_interleaved": True}
        vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
        config_class, model_class = transformers.Qwen3VLConfig, transformers.Qwen3VLForConditionalGeneration
        processor_class = transformers.Qwen3VLProcessor
    else:
        text |= {
            "layer_types": ["linear_attention", "full_attention"],
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
        }
        text["rope_parameters"] = {**rope, "mrope_interleaved": True, "partial_rotary_factor": 1.0}
        vision["num_position_embeddings"] = 64
        config_class, model_class = transformers.Qwen3_5Config, transformers.Qwen3_5ForConditionalGeneration
        processor_class = transformers.Qwen3VLProcessor
    config = config_class(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["image_token"],
        video_token_id=ids["video_token"],
        vision_start_token_id=ids["vision_bos_token"],
        vision_end_token_id=ids["vision_eos_token"],
        tie_word_embeddings=False,
    )
    sizes = {"patch_size": 8, "size": {"shortest_edge": 16 * 16, "longest_edge": 64 * 64}}
    images = transformers.Qwen2VLImageProcessor(**sizes)
    videos = transformers.Qwen3VLVideoProcessor(patch_size=8) if kind != "qwen2_5_vl" else None
    videos = videos or transformers.Qwen2VLVideoProcessor(patch_size=8)
    template = turns("<|vision_start|><|image_pad|><|vision_end|>")
    return model_class(config), processor_class(images, tokenizer, videos, chat_template=template)


def _idefics(kind: str) -> tuple[Any, Any]:
    special = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"]
    special += [f"<row_{r}_col_{c}>" for r in range(1, 5) for c in range(1, 5)]
    tokenizer = tokenizer_with(special)
    vision = _vision(image_size=32, patch_size=8)
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    common = {
        "text_config": _text(tokenizer, model_type="llama"),
        "vision_config": vision,
        "image_token_id": image_id,
        "scale_factor": 2,
        "tie_word_embeddings": False,
    }
    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    template = turns("<image>")
    if kind == "idefics3":
        model = transformers.Idefics3ForConditionalGeneration(transformers.Idefics3Config(**common))
        images = transformers.Idefics3ImageProcessor(**sizes)
        return model, transformers.Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=template)
    model = transformers.SmolVLMForConditionalGeneration(transformers.SmolVLMConfig(**common))
    images = transformers.SmolVLMImageProcessor(**sizes)
    videos = transformers.SmolVLMVideoProcessor(**sizes)
    return model, transformers.SmolVLMProcessor(images, tokenizer, videos, image_seq_len=4, chat_template=template)


def _gemma3() -> tuple[Any, Any]:
    tokenizer = tokenizer_with(image_token="<image_soft>", boi_token="<boi>", eoi_token="<eoi>")
    text = _text(tokenizer, head_dim=8, sliding_window=24, query_pre_attn_scalar=8)
    text["layer_types"] = ["sliding_attention", "full_attention"]
    config = transformers.Gemma3Config(
        text_config=text,
        vision_config=_vision(image_size=32, patch_size=8),
        mm_tokens_per_image=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft>"),
        boi_token_index=tokenizer.convert_tokens_to_ids("<boi>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<eoi>"),
    )
    images = transformers.Gemma3ImageProcessor(size={"height": 32, "width": 32})
    processor = transformers.Gemma3Processor(images, tokenizer, chat_template=_STRICT, image_seq_length=4)
    return transformers.Gemma3ForConditionalGeneration(config), processor


def _llava_onevision() -> tuple[Any, Any]:
    tokenizer = tokenizer_with(image_token="<image>", video_token="<video>")
    pinpoints = [[32, 32], [32, 64], [64, 32], [64, 64]]
    config = transformers.LlavaOnevisionConfig(
        text_config=_text(tokenizer, model_type="qwen2"),
        vision_config=_vision(model_type="siglip_vision_model", image_size=32, patch_size=8, vision_use_head=False),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    size = {"height": 32, "width": 32}
    images = transformers.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=pinpoints)
    processor = transformers.LlavaOnevisionProcessor(
        images,
        tokenizer,
        transformers.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=turns("<image>\n"),
    )
    return transformers.LlavaOnevisionForConditionalGeneration(config), processor


def _llava() -> tuple[Any, Any]:
    tokenizer = tokenizer_with(image_token="<image>")
    config = transformers.LlavaConfig(
        text_config=_text(tokenizer, model_type="llama"),
        vision_config=_vision(model_type="clip_vision_model", image_size=32, patch_size=8, projection_dim=32),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    size = {"height": 32, "width": 32}
    images = transformers.CLIPImageProcessor(size=size, crop_size=size)
    processor = transformers.LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_PICTURES_FIRST,
    )
    return transformers.LlavaForConditionalGeneration(config), processor


def _internvl() -> tuple[Any, Any]:
    names = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = tokenizer_with(**names)
    config = transformers.InternVLConfig(
        text_config=_text(tokenizer, model_type="qwen2"),
        vision_config=_vision(image_size=[32, 32], patch_size=[8, 8]),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    images = transformers.GotOcr2ImageProcessor(size={"height": 32, "width": 32}, min_patches=1, max_patches=3)
    videos = transformers.InternVLVideoProcessor(size={"height": 32, "width": 32})
    processor = transformers.InternVLProcessor(images, tokenizer, videos, image_seq_length=4, chat_template=_STRINGS)
    return transformers.InternVLForConditionalGeneration(config), processor


def _mllama() -> tuple[Any, Any]:
    tokenizer = tokenizer_with(["<|python_tag|>"], image_token="<|image|>")
    ratios = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]
    text = _text(tokenizer, num_hidden_layers=3, cross_attention_layers=[1])
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
        "attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
        "max_num_tiles": 4,
        "intermediate_layers_indices": [0, 1],
        "vision_output_dim": 96,
        "supported_aspect_ratios": ratios,
    }
    config = transformers.MllamaConfig(
        text_config=text, vision_config=vision, image_token_index=tokenizer.convert_tokens_to_ids("<|image|>")
    )
    images = transformers.MllamaImageProcessor(size={"height": 32, "width": 32}, max_image_tiles=4)
    # The picture before all else: see `test_checkpoint_architectures` for what transformers does with rows before it.
    template = (
        "{% for m in messages %}{% if m['content'] is not string %}{% for p in m['content'] if p['type'] == 'image' %}"
        "<|image|>{% endfor %}{% endif %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}"
        "{% else %}{% for p in m['content'] if p['type'] == 'text' %}{{ p['text'] }}{% endfor %}{% endif %}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    processor = transformers.MllamaProcessor(images, tokenizer, chat_template=template)
    return transformers.MllamaForConditionalGeneration(config), processor


def _paligemma() -> tuple[Any, Any]:
    tokenizer = tokenizer_with(image_token="<image>")
    images = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    images.image_seq_length = 16
    processor = transformers.PaliGemmaProcessor(images, tokenizer)
    config = transformers.PaliGemmaConfig(
        text_config=_text(tokenizer, model_type="gemma", head_dim=8, vocab_size=len(tokenizer)),
        vision_config=_vision(model_type="siglip_vision_model", image_size=32, patch_size=8, vision_use_head=False),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=32,
        hidden_size=32,
    )
    return transformers.PaliGemmaForConditionalGeneration(config), processor


def _lfm2_vl() -> tuple[Any, Any]:
    names = {"image_token": "<image>", "image_start_token": "<|image_start|>", "image_end_token": "<|image_end|>"}
    names["image_thumbnail_token"] = "<|img_thumbnail|>"
    rows = [f"<|img_row_{r}_col_{c}|>" for r in range(1, 4) for c in range(1, 4)]
    tokenizer = tokenizer_with(rows, **names)
    text = _text(tokenizer, layer_types=["conv", "full_attention"], block_auto_adjust_ff_dim=False)
    config = transformers.Lfm2VlConfig(
        text_config=text,
        vision_config=_vision(patch_size=8, num_patches=16, vision_use_head=False),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        projector_hidden_size=32,
        downsample_factor=2,
    )
    images = transformers.Lfm2VlImageProcessor(
        encoder_patch_size=8, tile_size=32, min_image_tokens=2, max_image_tokens=4, max_tiles=4, max_num_patches=16
    )
    processor = transformers.Lfm2VlProcessor(images, tokenizer, chat_template=turns("<image>"))
    return transformers.Lfm2VlForConditionalGeneration(config), processor


def _lfm3_vl() -> tuple[Any, Any]:
    names = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_start_token": "<|vision_start|>",
        "vision_end_token": "<|vision_end|>",
    }
    tokenizer = tokenizer_with(**names)
    text = _text(tokenizer, head_dim=8, sliding_window=24, conv_L_cache=3)
    text |= {"num_hidden_layers": 3, "layer_types": ["conv", "sliding_attention", "full_attention"]}
    vision = _vision(patch_size=8, num_key_value_heads=2, layer_types=["conv", "full_attention"])
    config = transformers.Lfm3VlConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        projector_hidden_size=32,
    )
    images = transformers.Qwen2VLImageProcessor(patch_size=8, size={"shortest_edge": 256, "longest_edge": 4096})
    videos = transformers.Qwen3VLVideoProcessor(patch_size=8)
    template = turns("<|vision_start|><|image_pad|><|vision_end|>")
    processor = transformers.Lfm3VlProcessor(images, tokenizer, videos, chat_template=template)
    return transformers.Lfm3VlForConditionalGeneration(config), processor


def _gemma4() -> tuple[Any, Any]:
    names = {
        "image_token": "<|image|>",
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "audio_token": "<|audio|>",
        "boa_token": "<|audio>",
        "eoa_token": "<audio|>",
    }
    tokenizer = tokenizer_with(["<|video|>"], **names)
    text = _text(tokenizer, head_dim=8, sliding_window=24, hidden_size_per_layer_input=8)
    text |= {"layer_types": ["sliding_attention", "full_attention"], "vocab_size_per_layer_input": len(tokenizer) + 8}
    vision = _vision(patch_size=4, num_key_value_heads=4, head_dim=8, position_embedding_size=64)
    config = transformers.Gemma4Config(
        text_config=text,
        vision_config=vision,
        audio_config=None,
        image_token_id=tokenizer.convert_tokens_to_ids("<|image|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video|>"),
        audio_token_id=tokenizer.convert_tokens_to_ids("<|audio|>"),
        boi_token_id=tokenizer.convert_tokens_to_ids("<|image>"),
        eoi_token_id=tokenizer.convert_tokens_to_ids("<image|>"),
    )
    processor = transformers.Gemma4Processor(
        transformers.Gemma4AudioFeatureExtractor(),
        transformers.Gemma4ImageProcessor(patch_size=4, max_soft_tokens=70),
        tokenizer,
        transformers.Gemma4VideoProcessor(patch_size=4),
        chat_template=turns("<|image|>"),
    )
    return transformers.Gemma4ForConditionalGeneration(config), processor


def _minicpm() -> tuple[Any, Any]:
    names = {
        "image_token": "<image_pad>",
        "video_token": "<video_pad>",
        "image_start_token": "<image>",
        "image_end_token": "</image>",
        "slice_start_token": "<slice>",
        "slice_end_token": "</slice>",
        "image_id_start_token": "<image_id>",
        "image_id_end_token": "</image_id>",
    }
    tokenizer = tokenizer_with(**names)
    text = _text(tokenizer, head_dim=8, layer_types=["linear_attention", "full_attention"])
    text |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2}
    text |= {"linear_num_value_heads": 4, "model_type": "qwen3_5_text"}
    config = transformers.MiniCPMV4_6Config(
        text_config=text,
        vision_config=_vision(image_size=32, patch_size=4),
        insert_layer_id=0,
        image_size=32,
        image_token_id=tokenizer.convert_tokens_to_ids("<image_pad>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<video_pad>"),
    )
    images = transformers.MiniCPMV4_6ImageProcessor(scale_resolution=32, patch_size=4, max_slice_nums=3)
    videos = transformers.MiniCPMV4_6VideoProcessor(scale_resolution=32, patch_size=4)
    processor = transformers.MiniCPMV4_6Processor(images, videos, tokenizer, chat_template=turns("<image_pad>"))
    return transformers.MiniCPMV4_6ForConditionalGeneration(config), processor


CHECKPOINTS: dict[str, Tiny] = {
    tiny.name: tiny
    for tiny in (
        Tiny("qwen2_5_vl", lambda: _qwen("qwen2_5_vl")),
        Tiny("qwen3_vl", lambda: _qwen("qwen3_vl")),
        Tiny("qwen3_5", lambda: _qwen("qwen3_5")),
        Tiny("smolvlm", lambda: _idefics("smolvlm")),
        Tiny("idefics3", lambda: _idefics("idefics3")),
        Tiny("gemma3", _gemma3),
        Tiny("llava_onevision", _llava_onevision),
        Tiny("llava", _llava),
        Tiny("internvl", _internvl),
        Tiny("mllama", _mllama),
        Tiny("paligemma", _paligemma),
        Tiny("lfm2_vl", _lfm2_vl),
        Tiny("lfm3_vl", _lfm3_vl),
        Tiny("gemma4", _gemma4),
        Tiny("minicpmv4_6", _minicpm),
    )
}
