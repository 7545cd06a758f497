"""The shape of a Glimpse model."""

from __future__ import annotations

from typing import Any

from transformers import CONFIG_MAPPING, LlamaConfig, PretrainedConfig


class GlimpseConfig(PretrainedConfig):
    """Everything that fixes the size and wiring of a Glimpse model.

    Args:
        text_config: the frozen language model (a Llama-shaped one: SmolLM2-135M-Instruct), as a config or its dict.
        vision_model: name of the frozen EfficientNet-Lite.
        image_size: side of the square that the vision encoder takes, in pixels; divisible by 32.
        feature_size: numbers per cell of the feature map (see `vision.py` for what they are).
        labels: the encoder's class names, in the order of its logits.
        label_tokens: how many of the likeliest labels become memory tokens.
        names: words and names that the memory learns to recognise by itself (`naming.py`), in the order of its head.
        name_tokens: how many of the likeliest names become memory tokens.
        spelled: tokens of a label or name that can be copied into an answer; longer ones are cut.
        pointer_size: width of the space in which the pointer compares what is to be said with what can be copied.
        pointing_blocks: the blocks (by number) whose attention is trained to point, and which `explain` shows.
        memory_size: width of the memory tokens.
        memory_layers: transformer layers that the memory tokens pass through, 0 for none.
        memory_heads: attention heads of these layers and of the cross-attention.
        cross_attention_layers: language model layers that have a gated cross-attention block in front of them.
        cross_attention_scales: typical size of the residual stream there (measured on SmolLM2; median of |x|).
        cross_attention_ffn: hidden width of each block's feed-forward part.
        max_pictures: how many pictures of one message are told apart.
        dropout: dropped share of memory tokens' inputs and block outputs while training.
    """

    model_type = "glimpse"
    sub_configs = {"text_config": LlamaConfig}

    def __init__(
        self,
        text_config: PretrainedConfig | dict[str, Any] | None = None,
        vision_model: str = "efficientnet-lite2",
        image_size: int = 288,
        feature_size: int = 1856,
        labels: list[str] | None = None,
        label_tokens: int = 5,
        names: list[str] | None = None,
        name_tokens: int = 16,
        spelled: int = 6,
        pointer_size: int = 128,
        pointing_blocks: list[int] | tuple[int, ...] = (1, 2, 3),
        memory_size: int = 384,
        memory_layers: int = 2,
        memory_heads: int = 6,
        cross_attention_layers: list[int] | tuple[int, ...] = (15, 18, 21, 24, 27),
        cross_attention_scales: list[float] | tuple[float, ...] = (2.0, 2.8, 3.8, 6.2, 8.9),
        cross_attention_ffn: int = 1152,
        max_pictures: int = 8,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        if isinstance(text_config, dict):
            text_config = CONFIG_MAPPING[text_config.get("model_type", "llama")](**text_config)
        self.text_config = text_config if text_config is not None else LlamaConfig()
        self.vision_model = vision_model
        self.image_size = image_size
        self.feature_size = feature_size
        self.labels = list(labels or [])
        self.label_tokens = label_tokens
        self.names = list(names or [])
        self.name_tokens = min(name_tokens, len(self.names))
        self.spelled = spelled
        self.pointer_size = pointer_size
        self.pointing_blocks = list(pointing_blocks)
        self.memory_size = memory_size
        self.memory_layers = memory_layers
        self.memory_heads = memory_heads
        self.cross_attention_layers = list(cross_attention_layers)
        self.cross_attention_scales = list(cross_attention_scales)
        self.cross_attention_ffn = cross_attention_ffn
        self.max_pictures = max_pictures
        self.dropout = dropout
        kwargs.setdefault("tie_word_embeddings", self.text_config.tie_word_embeddings)
        super().__init__(**kwargs)

    @property
    def grid(self) -> int:
        """Cells along one side of the feature map."""
        return self.image_size // 32
