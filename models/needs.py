"""What a checkpoint needs, read from its config.json and the headers of its safetensors files; nothing is loaded.

Which weights can be kept in 8 or 4 bits is decided here, by name and shape, once for both who count (this module) and
who pack (`models.seeing.quantised`): the matrices inside the layers of the language model. What sees, norms,
embeddings, routers and experts stay as they are. The head, which turns the last state into logits, is read whole for
every token, so it is packed too, in 8 bits at either precision; where it is tied to the embeddings, these stay beside
it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from models.errors import EngineUnavailable

Precision = Literal["int4", "int8", "bfloat16", "float16", "float32"]

GROUP = 32  # weights that share a scale and an offset in 4 bits
# Share of a checkpoint's weights that lie in its language model's layers: 0.5 in the smallest, 0.8 in those of 8 B.
PACKABLE = 0.65
FLOATS: dict[Precision, int] = {"bfloat16": 2, "float16": 2, "float32": 4}
STORED = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2}  # bytes a number; all others: 1
_FLOATING = re.compile(r"F\d|BF16")
_IN_A_LAYER = re.compile(r"(^|\.)(layers|h|blocks|cross_attn_layers)\.\d+\.")
_SEEING = re.compile(
    r"vision|visual|image|video|audio|speech|patch|vit\b|siglip|connector|projector|merger|perceiver|resampler|aligner"
)
_KEPT = re.compile(r"\.experts\.|(^|\.)(gate|router)\.weight$|norm|embed")
_KEYS = re.compile(r"(^|\.)(self_attn|attn|attention|self_attention)\.(k_proj|v_proj)\.weight$")
_HEAD = re.compile(r"(^|\.)(lm_head|embed_out)\.weight$")
_EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|embed_in|tok_embeddings)\.weight$")
_LARGEST_HEADER = 100 << 20  # bytes; what the format allows


@dataclass(frozen=True)
class ModelNeeds:
    """How much memory a checkpoint takes, in numbers of weights and bytes.

    Attributes:
        parameters: all of them; a head that is tied to the embeddings counts once.
        kv_bytes_per_token: that every further token of a conversation adds, at 2 bytes a number; 0 where unknown.
            Layers with a sliding window count in full: all of their past is kept, so that an edit can go back.
        context_tokens: the longest conversation it reads.
        packable: weights that "int4" keeps in 4 bits and "int8" in 8; None where the files were not read (a catalogue
            knows only how many there are), then they are taken to be `PACKABLE` of all.
        in_eight_bits: weights that are kept in 8 bits at both (a head, and what has no groups of 32).
        copied: of those, the head's where it is tied, which take their place beside the embeddings.
        scales: of 2 bytes, one for each row in 8 bits: (of `in_eight_bits`, of `packable`).
        other_bytes: of tensors that are no floating-point numbers, at every precision.
    """

    parameters: int
    kv_bytes_per_token: int
    context_tokens: int
    packable: int | None = None
    in_eight_bits: int = 0
    copied: int = 0
    scales: tuple[int, int] = (0, 0)
    other_bytes: int = 0

    def weight_bytes(self, precision: Precision) -> int:
        """Bytes of all weights at `precision`; with "int8" and "int4" what is not packed is in 16 bits."""
        if precision in FLOATS:
            return self.parameters * FLOATS[precision] + self.other_bytes
        packable = int(PACKABLE * self.parameters) if self.packable is None else self.packable
        plain = 2 * (self.parameters - packable - self.in_eight_bits + self.copied) + self.other_bytes
        eight = self.in_eight_bits + 2 * self.scales[0]
        if precision == "int4":
            return plain + eight + packable // 2 + 4 * packable // GROUP
        return plain + eight + packable + 2 * self.scales[1]

    def cache_bytes(self, tokens: int) -> int:
        """Bytes of keys and values of a conversation of `tokens` tokens."""
        return self.kv_bytes_per_token * tokens


@dataclass(frozen=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def count(self) -> int:
        return math.prod(self.shape)


def packs(name: str, rows: int, columns: int) -> Precision | None:
    """The fewest bits that a matrix of the language model is kept in, None where it stays as it is.

    Args:
        name: of the weight, as in the checkpoint or the model ("model.language_model.layers.0.mlp.up_proj.weight").
        rows, columns: its shape (out, in).
    """
    if not _IN_A_LAYER.search(name) or _SEEING.search(name) or _KEPT.search(name) or columns % GROUP:
        return None
    return "int8" if rows % 16 else "int4"


def read_for_a_token(name: str) -> bool:
    """Whether a weight is read whole for every token of an answer: the language model's are, but for its embeddings."""
    return not _SEEING.search(name) and not _EMBEDDING.search(name)


def needs_of(folder: Path) -> ModelNeeds:
    """What the checkpoint in `folder` needs.

    Raises `EngineUnavailable` when there is no config.json or no safetensors file in it, or one cannot be read.
    """
    config = _configuration(folder)
    tensors = [t for file in weight_files(folder) for t in _header(file)]
    text = _text_configuration(config)
    floating = [t for t in tensors if _FLOATING.match(t.dtype)]
    embedding = max((t for t in floating if _EMBEDDING.search(t.name)), key=lambda t: t.count, default=None)
    head = next((t for t in floating if _HEAD.search(t.name)), None)
    tied = embedding is not None and (head is None or bool(_tied(config, text)))
    # A tied head that was stored all the same is one with the embeddings once it is loaded.
    counted = [t for t in floating if not (tied and t is head)]
    head = embedding if tied else head
    packed = [(t, packs(t.name, t.shape[0], t.shape[1])) for t in counted if _is_matrix(t)]
    four = [t for t, bits in packed if bits == "int4"]
    eight = [t for t, bits in packed if bits == "int8"]
    if head is not None and head.shape[-1] % GROUP == 0:
        eight.append(head)
    else:
        head = None
    return ModelNeeds(
        parameters=sum(t.count for t in counted),
        kv_bytes_per_token=_kept_per_token(text, tensors),
        context_tokens=int(text.get("max_position_embeddings") or config.get("max_position_embeddings") or 2048),
        packable=sum(t.count for t in four),
        in_eight_bits=sum(t.count for t in eight),
        copied=head.count if head is not None and tied else 0,
        scales=(sum(t.shape[0] for t in eight), sum(t.shape[0] for t in four)),
        other_bytes=sum(t.count * STORED.get(t.dtype, 1) for t in tensors if t not in floating),
    )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model: those that the index names, else all. Raises `EngineUnavailable`."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(_json(index).get("weight_map", {}).values()))
        files = [folder / name for name in names]
    else:
        files = [folder / "model.safetensors"] if (folder / "model.safetensors").is_file() else []
        files = files or sorted(folder.glob("*.safetensors"))
    if not files or not all(file.is_file() for file in files):
        raise EngineUnavailable(
            f"The weights in {folder} are not complete: there must be safetensors files.",
            "Fetch the model again, or choose one that is published as safetensors.",
        )
    return files


def _is_matrix(tensor: _Tensor) -> bool:
    return len(tensor.shape) == 2 and tensor.name.endswith(".weight")


def safetensors_header(file: Path) -> tuple[int, dict[str, Any]]:
    """(bytes before the weights, what the header says of them): 8 bytes of length, then JSON (the format's README).

    Raises `ValueError` where there is no whole header, `OSError`.
    """
    with open(file, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= _LARGEST_HEADER:
            raise ValueError("no header")
        return 8 + length, json.loads(stream.read(length))


def _header(file: Path) -> Iterator[_Tensor]:
    """Names, shapes and types of a safetensors file."""
    try:
        _, entries = safetensors_header(file)
        return iter(
            [
                _Tensor(name, tuple(int(n) for n in entry["shape"]), str(entry["dtype"]))
                for name, entry in entries.items()
                if name != "__metadata__"
            ]
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineUnavailable(
            f"The weights in {file} cannot be read ({error}).", "Fetch the model again; the file may be cut off."
        ) from error


def _json(file: Path) -> dict[str, Any]:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(read, dict):
            return read
        reason = "it holds no settings"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise EngineUnavailable(
        f"{file} cannot be read ({reason}).", "Name the folder of a checkpoint: config.json and safetensors files."
    )


def _configuration(folder: Path) -> Mapping[str, Any]:
    """config.json with the defaults of its kind filled in where transformers knows it, else as it is."""
    plain = _json(folder / "config.json")
    try:
        from transformers import AutoConfig

        whole: Mapping[str, Any] = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        ).to_dict()
        return whole
    except Exception:  # a kind that this transformers does not know: what is written has to do
        return plain


def _text_configuration(config: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in ("text_config", "llm_config", "language_config", "decoder"):
        if isinstance(config.get(key), Mapping):
            return _text_configuration(config[key])
    return config


def _tied(config: Mapping[str, Any], text: Mapping[str, Any]) -> bool:
    said = config.get("tie_word_embeddings")
    return bool(text.get("tie_word_embeddings", said) if said is None or text is config else said)


def _kept_per_token(text: Mapping[str, Any], tensors: list[_Tensor]) -> int:
    """Bytes that the cache grows by per token, at 2 bytes a number.

    The rows of each layer's key and value matrices say it exactly; where these are fused, the configuration says it.
    """
    layers = int(text.get("num_hidden_layers") or 0)
    kinds = list(text.get("layer_types") or [])
    shared = int(text.get("num_kv_shared_layers") or 0)  # these read the keys of earlier layers
    width = _configured_width(text)
    rows: dict[int, list[int]] = {}
    for tensor in tensors:
        if _KEYS.search(tensor.name) and not _SEEING.search(tensor.name):
            number = re.search(r"\.(\d+)\.", tensor.name)
            rows.setdefault(int(number.group(1)) if number else 0, []).append(tensor.shape[0])
    latent = "kv_lora_rank" in text  # keys are kept expanded, which no stored matrix says
    per_token = 0
    for layer in range(layers or len(rows)):
        kind = kinds[layer] if layer < len(kinds) else "full_attention"
        if layer >= layers - shared > 0 or layer in (text.get("cross_attention_layers") or ()):
            continue
        if "attention" not in kind or kind == "linear_attention":
            continue  # convolutions and recurrent layers keep a state of fixed, small size
        found = rows.get(layer)
        # One matrix for both (keys serve as values) counts twice.
        numbers = width if latent or found is None else sum(found) * (2 if len(found) == 1 else 1)
        per_token += 2 * numbers
    return per_token


def _configured_width(text: Mapping[str, Any]) -> int:
    """Numbers that a layer keeps per token, keys and values, by its configuration; 0 where it does not say."""
    heads = int(text.get("num_attention_heads") or 0)
    if "kv_lora_rank" in text:
        key = int(text.get("qk_nope_head_dim") or 0) + int(text.get("qk_rope_head_dim") or 0)
        return heads * (key + int(text.get("v_head_dim") or 0))
    each = int(text.get("head_dim") or 0) or (int(text.get("hidden_size") or 0) // heads if heads else 0)
    return 2 * int(text.get("num_key_value_heads") or heads) * each
