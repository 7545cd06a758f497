"""Glimpse: SmolLM2 looks at pictures through gated cross-attention. It and the vision encoder stay frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    Cache,
    DynamicCache,
    GenerationMixin,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)
from transformers.masking_utils import create_causal_mask

from models.glimpse.configuration import GlimpseConfig
from models.glimpse.fusion import GatedCrossAttention, PictureMemory, Seen
from models.glimpse.passes import GlimpseOutput, Pass
from models.glimpse.pointer import Candidates, NamePointer
from models.glimpse.starting import embed_names, start_adapter
from models.glimpse.vision import VisionEncoder

WEIGHTS_FILE = "adapter.safetensors"
# What belongs to the frozen models and comes from their own packages.
FROZEN_PREFIXES = ("language_model.", "vision.")


class GlimpseForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """The whole model.

    Pictures come as `pixel_values`, uint8 (batch, pictures, 3, side, side), and `picture_starts` (batch, pictures):
    the index of the first text token that may look at each one, or -1 where a row has fewer. A text token sees the
    pictures with the latest start that is not after it: those of the last message that had any. Without pictures the
    logits are bit for bit the language model's.
    """

    config_class = GlimpseConfig
    config: GlimpseConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    language_model: LlamaForCausalLM
    memory: PictureMemory
    blocks: nn.ModuleList
    _supports_sdpa = True
    _no_split_modules = ["LlamaDecoderLayer", "GatedCrossAttention"]

    def __init__(
        self,
        config: GlimpseConfig,
        language_model: LlamaForCausalLM | None = None,
        vision: VisionEncoder | None = None,
    ) -> None:
        super().__init__(config)
        own = language_model is None
        self.language_model = (
            language_model if language_model is not None else LlamaForCausalLM(cast(LlamaConfig, config.text_config))
        )
        self.vision = vision
        self.memory = PictureMemory(config)
        self.blocks = nn.ModuleList(
            GatedCrossAttention(config, scale)
            for _, scale in zip(config.cross_attention_layers, config.cross_attention_scales, strict=False)
        )
        self.pointer = NamePointer(config)
        if own:
            self.post_init()
        start_adapter(self)

    # -- weights ---------------------------------------------------------------------------------------------------

    def _init_weights(self, module: nn.Module) -> None:
        """The language model initialises itself, the adapter in `start_adapter`."""

    def cast_adapter(self, kind: torch.dtype) -> None:
        """Gives all but the language model this type. That has it already, and its rotary angles must stay float32."""
        for part in (self.memory, self.blocks, self.pointer, self.vision):
            if part is not None:
                part.to(kind)

    def adapter_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """What training changes, by name."""
        return [(n, p) for n, p in self.named_parameters() if not n.startswith(FROZEN_PREFIXES)]

    def adapter_state(self) -> dict[str, Tensor]:
        """Everything that is Glimpse's own: the parameters of `adapter_parameters` and the feature statistics."""
        return {n: v.contiguous() for n, v in self.state_dict().items() if not n.startswith(FROZEN_PREFIXES)}

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | Path, frozen: bool = False, **kwargs: Any
    ) -> None:
        """Writes the configuration and the adapter; with `frozen` also the language model (for one of one's own)."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.config.save_pretrained(folder)
        save_file(self.adapter_state(), folder / WEIGHTS_FILE, metadata={"format": "pt"})
        if frozen:
            self.language_model.save_pretrained(folder / "language_model")

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path,
        *model_args: Any,
        config: GlimpseConfig | None = None,
        dtype: torch.dtype | str | None = None,
        **kwargs: Any,
    ) -> GlimpseForConditionalGeneration:
        """Joins the adapter in a folder with the packaged language model and vision encoder.

        A `language_model` folder inside it takes the packaged one's place. Raises `EngineUnavailable` when a weights
        package is missing, `OSError` when the folder holds no adapter.
        """
        from models import weights

        folder = Path(pretrained_model_name_or_path)
        if not (folder / WEIGHTS_FILE).is_file():
            raise OSError(f"{folder} holds no {WEIGHTS_FILE}")
        config = config or GlimpseConfig.from_pretrained(folder)
        kind = getattr(torch, dtype) if isinstance(dtype, str) and dtype != "auto" else dtype
        kind = torch.bfloat16 if kind in (None, "auto") else kind
        own = folder / "language_model"
        source = own if own.is_dir() else weights.smollm2_folder()
        language_model = AutoModelForCausalLM.from_pretrained(
            source, dtype=kind, attn_implementation=kwargs.get("attn_implementation"), local_files_only=True
        )
        vision = None
        if config.vision_model == "efficientnet-lite2":
            vision = VisionEncoder.pretrained(config.vision_model, weights.efficientnet_lite2_file())
        model = cls(config, cast(LlamaForCausalLM, language_model), vision)
        model.cast_adapter(cast(torch.dtype, kind))
        model.load_adapter_state(load_file(folder / WEIGHTS_FILE))
        if config.labels or config.names:
            from transformers import AutoTokenizer

            embed_names(model, AutoTokenizer.from_pretrained(source, local_files_only=True))
        if vision is not None:
            vision.to(memory_format=torch.channels_last)
        return model.eval()

    def load_adapter_state(self, state: dict[str, Tensor]) -> None:
        """Takes the adapter's weights. Raises `ValueError` naming what is missing or unknown."""
        missing, unknown = self.load_state_dict(state, strict=False)
        missing = [n for n in missing if not n.startswith(FROZEN_PREFIXES)]
        if missing or unknown:
            raise ValueError(f"The adapter does not fit: missing {missing[:3]}, unknown {unknown[:3]}.")

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    # -- pictures --------------------------------------------------------------------------------------------------

    def remember(self, pixels: Tensor, index: Tensor | None = None) -> Seen:
        """What is kept of pictures (pictures, 3, side, side); `index` as in `PictureMemory.forward`."""
        if self.vision is None:
            raise ValueError("This Glimpse has no vision encoder: give it `picture_keys_values`.")
        features, logits = self.vision(pixels)
        likeliest = logits.float().softmax(-1).topk(self.config.label_tokens, -1)
        return cast(Seen, self.memory(features, likeliest.indices, likeliest.values, index))

    def keys_values(self, memory: Tensor) -> Tensor:
        """Memory (batch, tokens, size) → every block's keys and values (batch, blocks, 2, heads, tokens, head size)."""
        return torch.stack([cast(GatedCrossAttention, block).keys_values(memory) for block in self.blocks], 1)

    def encode_pictures(self, pixel_values: Tensor, picture_starts: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, and names, of a batch's pictures, those of one row side by side."""
        batch, pictures = pixel_values.shape[:2]
        # The number of each picture within its message: how many before it have the same start.
        same = picture_starts[:, :, None] == picture_starts[:, None, :]
        index = same.tril(-1).sum(-1).flatten()
        seen = self.remember(pixel_values.flatten(0, 1), index)
        memory = seen.memory.reshape(batch, pictures * seen.memory.shape[1], -1)
        return self.keys_values(memory), seen.names.reshape(batch, -1, 2)

    def visible_pictures(self, picture_starts: Tensor, positions: Tensor) -> Tensor:
        """Which pictures each text token may see.

        Args:
            picture_starts: (batch, pictures).
            positions: (text tokens,), indices in the whole text, cached part included.

        Returns:
            bool (batch, text tokens, pictures).
        """
        starts = picture_starts[:, None, :]
        passed = (starts >= 0) & (starts <= positions[None, :, None])
        latest = torch.where(passed, starts, -1).amax(-1, keepdim=True)
        return passed & (starts == latest)

    def visible_memory(self, picture_starts: Tensor, positions: Tensor) -> Tensor:
        """The same per memory token: bool (batch, text tokens, pictures · tokens per picture)."""
        return self.visible_pictures(picture_starts, positions).repeat_interleave(self.memory.tokens, -1)

    def candidates(self, names: Tensor) -> Candidates:
        """What the pointer can copy of pictures with these names, (batch, names, 2)."""
        return self.pointer.candidates(names, cast(nn.Embedding, self.get_input_embeddings()).weight)

    def point(self, hidden: Tensor, last: Tensor, candidates: Candidates, starts: Tensor, positions: Tensor) -> Any:
        """What the pointer adds to which tokens' logits; `positions` are those of the tokens in `hidden`."""
        own = self.config.label_tokens + self.config.name_tokens
        visible = self.visible_pictures(starts, positions).repeat_interleave(own, -1)
        shares, tokens = self.pointer(hidden, last, candidates, visible)
        return shares * self.pointer.strength, tokens

    # -- text ------------------------------------------------------------------------------------------------------

    def run_layers(self, hidden: Tensor, run: Pass, first: int = 0, last: int | None = None) -> Tensor:
        """Layers `first` … `last` (not included) of the language model, with the cross-attention blocks among them."""
        model = self.language_model.model
        rotary = model.rotary_emb(hidden, position_ids=run.position_ids)
        blocks = {layer: i for i, layer in enumerate(self.config.cross_attention_layers)}
        for index in range(first, len(model.layers) if last is None else last):
            if run.keys_values is not None and index in blocks:
                number = blocks[index]
                hidden, seen = self.blocks[number](hidden, run.keys_values[:, number], run.visible)
                if run.attentions is not None:
                    run.attentions.append(seen)
            hidden = model.layers[index](
                hidden,
                attention_mask=run.mask,
                position_embeddings=rotary,
                position_ids=run.position_ids,
                cache=run.cache,
                use_cache=run.cache is not None,
            )
        return hidden

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        picture_starts: Tensor | None = None,
        picture_keys_values: Tensor | None = None,
        picture_names: Tensor | None = None,
        picture_candidates: Candidates | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        output_cross_attentions: bool = False,
        **kwargs: Any,
    ) -> GlimpseOutput:
        """One pass. Pictures come as `pixel_values`, or as `picture_keys_values` and so on of one before."""
        embeds = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        text_config = self.language_model.config
        if use_cache and cache is None:
            cache = DynamicCache(config=text_config)
        past = cache.get_seq_length() if cache is not None else 0
        indices = torch.arange(past, past + embeds.shape[1], device=embeds.device)
        position_ids = indices[None] if position_ids is None else position_ids
        if pixel_values is not None and picture_keys_values is None and picture_starts is not None:
            picture_keys_values, picture_names = self.encode_pictures(pixel_values, picture_starts)
        visible = None
        if picture_keys_values is not None and picture_starts is not None:
            visible = self.visible_memory(picture_starts, indices)
        mask: Any = create_causal_mask(
            config=text_config, inputs_embeds=embeds, attention_mask=attention_mask,
            cache=cache, position_ids=position_ids,
        )  # fmt: skip
        attentions: list[Tensor] | None = [] if output_cross_attentions else None
        run = Pass(mask, position_ids, picture_keys_values, visible, cache, attentions)
        hidden = self.run_layers(embeds, run)
        hidden = self.language_model.model.norm(hidden)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        hidden = hidden if kept == slice(0, None) else hidden[:, kept]
        logits = cast(Tensor, self.language_model.lm_head(hidden))
        if picture_names is not None and picture_starts is not None and picture_names.shape[1]:
            picture_candidates = picture_candidates or self.candidates(picture_names)
            extra, tokens = self.point(hidden, embeds[:, kept], picture_candidates, picture_starts, indices[kept])
            logits = logits.scatter_add(-1, tokens[:, None].expand_as(extra), extra.to(logits.dtype))
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return GlimpseOutput(
            loss=loss,
            logits=logits,
            cache=cache,
            picture_keys_values=picture_keys_values,
            picture_names=picture_names,
            picture_candidates=picture_candidates,
            cross_attentions=tuple(attentions) if attentions is not None else None,
        )

    # -- generation ------------------------------------------------------------------------------------------------

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As transformers does it; after the first step the pictures travel as keys and values."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(*args, **kwargs)
        if inputs.get("picture_keys_values") is not None:
            inputs.pop("pixel_values", None)
        return inputs

    def _update_model_kwargs_for_generation(  # type: ignore[override]
        self, outputs: Any, model_kwargs: dict[str, Any], **kwargs: Any
    ) -> dict[str, Any]:
        updated = super()._update_model_kwargs_for_generation(outputs, model_kwargs, **kwargs)
        updated["picture_keys_values"] = outputs.picture_keys_values
        updated["picture_names"] = outputs.picture_names
        updated["picture_candidates"] = outputs.picture_candidates
        return updated
