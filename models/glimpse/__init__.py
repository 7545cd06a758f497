"""Glimpse: a small vision-language model: two frozen models, joined by gated cross-attention that is trained here.

Nothing heavy is imported here; `register` and the functions of `engine` do that when they are called.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["WEIGHTS", "register"]

# The trained adapter that comes with the repository.
WEIGHTS = Path(__file__).parent / "weights"


def register() -> None:
    """Makes the Auto classes of transformers know Glimpse. Calling it again does nothing."""
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    from models.glimpse.configuration import GlimpseConfig
    from models.glimpse.modeling import GlimpseForConditionalGeneration
    from models.glimpse.processing import GlimpseProcessor

    AutoConfig.register("glimpse", GlimpseConfig, exist_ok=True)
    AutoModelForImageTextToText.register(GlimpseConfig, GlimpseForConditionalGeneration, exist_ok=True)
    AutoProcessor.register(GlimpseConfig, GlimpseProcessor, exist_ok=True)
