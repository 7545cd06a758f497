"""What a checkpoint needs is read from its files, and is what the loaded model then really takes."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch

from models.errors import EngineUnavailable
from models.needs import ModelNeeds, needs_of, packs
from models.runtime import RuntimeChoice
from models.seeing.quantised import quantise

TEXT = {
    "vocab_size": 160, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 300,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip


def llama(tied: bool):
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**TEXT, tie_word_embeddings=tied))


def llava():
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    vision = {"model_type": "siglip_vision_model", **VISION}
    return LlavaForConditionalGeneration(
        LlavaConfig(text_config={"model_type": "llama", **TEXT}, vision_config=vision, image_token_id=7)
    )


def gemma3():
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    return Gemma3ForCausalLM(Gemma3TextConfig(**TEXT, layer_types=kinds, sliding_window=32))


MODELS = {"llama": lambda: llama(False), "llama tied": lambda: llama(True), "llava": llava, "gemma3": gemma3}


def resident_bytes(model: torch.nn.Module) -> int:
    """Bytes of weights that a model holds. Buffers of a float32 kind are computed from the configuration."""
    held = {id(t): t for t in (*model.parameters(), *model.buffers()) if t.dtype != torch.float32}
    return sum(t.nbytes for t in held.values())


@pytest.fixture(scope="module", params=MODELS)
def checkpoint(request, tmp_path_factory) -> tuple[Path, torch.nn.Module]:
    torch.manual_seed(0)
    model = MODELS[request.param]().to(torch.bfloat16).eval()
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(folder, max_shard_size="60kB")  # several files and an index
    return folder, model


def test_bytes_are_exact_at_every_precision(checkpoint):
    folder, model = checkpoint
    needs = needs_of(folder)
    assert (folder / "model.safetensors.index.json").exists()
    assert needs.parameters == sum(p.numel() for p in model.parameters())
    assert needs.weight_bytes("float32") == 2 * needs.weight_bytes("bfloat16") == 4 * needs.parameters
    taken = []
    for precision in ("bfloat16", "int8", "int4"):
        loaded = type(model).from_pretrained(folder, dtype=torch.bfloat16, local_files_only=True)
        # Rotary angles and the like are in few float32 numbers; in a model in bfloat16 norms may scale by one buffer.
        held = resident_bytes(quantise(loaded, RuntimeChoice("cpu", precision, True, "")))
        assert needs.weight_bytes(precision) == pytest.approx(held, abs=256)
        taken.append(held)
    assert taken == sorted(taken, reverse=True)
    assert taken[2] < taken[1] < taken[0]


def test_the_cache_grows_as_counted(checkpoint):
    folder, model = checkpoint
    needs = needs_of(folder)
    from models.seeing.checkpoint.kept import KeptConversation

    sizes = {}
    for tokens in (64, 65, 80):
        cache = KeptConversation(model.config).cache
        with torch.inference_mode():
            model(input_ids=torch.ones(1, tokens, dtype=torch.long), cache=cache, use_cache=True)
            model(input_ids=torch.ones(1, 1, dtype=torch.long), cache=cache, use_cache=True)
        sizes[tokens + 1] = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert sizes[66] - sizes[65] == needs.kv_bytes_per_token
    assert sizes[81] == needs.cache_bytes(81)
    assert needs.context_tokens == 300


def test_a_catalogue_that_knows_the_number_only_gets_an_estimate():
    needs = ModelNeeds(8_000_000_000, 0, 32768)
    assert needs.weight_bytes("bfloat16") == 16_000_000_000
    assert 0.5 < needs.weight_bytes("int8") / needs.weight_bytes("bfloat16") < 0.75
    assert 0.3 < needs.weight_bytes("int4") / needs.weight_bytes("bfloat16") < 0.6


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("model.language_model.layers.0.mlp.up_proj.weight", "int4"),
        ("language_model.model.layers.11.cross_attn.q_proj.weight", "int4"),
        ("model.visual.blocks.0.attn.qkv.weight", None),
        ("model.vision_model.encoder.layers.0.mlp.fc1.weight", None),
        ("multi_modal_projector.linear_1.weight", None),
        ("model.layers.0.mlp.experts.3.gate_proj.weight", None),
        ("model.layers.0.mlp.gate.weight", None),
        ("model.layers.0.input_layernorm.weight", None),
        ("model.embed_tokens.weight", None),
    ],
)
def test_what_is_packed(name, bits):
    assert packs(name, 64, 64) == bits
    assert packs(name, 40, 64) == ("int8" if bits else None)
    assert packs(name, 64, 40) is None


def test_files_that_are_not_whole_are_refused(tmp_path):
    with pytest.raises(EngineUnavailable, match=r"config\.json cannot be read"):
        needs_of(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "something new"}))
    with pytest.raises(EngineUnavailable, match="are not complete"):
        needs_of(tmp_path)
    weights = tmp_path / "model.safetensors"
    for broken in (b"", struct.pack("<Q", 1 << 40) + b"{}", struct.pack("<Q", 10) + b"{", struct.pack("<Q", 2) + b"[]"):
        weights.write_bytes(broken)
        with pytest.raises(EngineUnavailable, match="cannot be read"):
            needs_of(tmp_path)
    header = json.dumps({"a.weight": {"dtype": "BF16", "shape": [3, 5], "data_offsets": [0, 30]}}).encode()
    weights.write_bytes(struct.pack("<Q", len(header)) + header)
    assert needs_of(tmp_path).parameters == 15
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    with pytest.raises(EngineUnavailable, match="are not complete"):
        needs_of(tmp_path)
