"""What sets architectures apart: found out by looking at the loaded model where possible, else from a small table.

Pictures
    stand in the prompt as placeholder tokens ("placed": `forward` takes `mm_encoder_outputs`): features are kept by
        picture, and each chunk of the prompt is given those of its one picture.
    are looked at from the side ("crossed": `forward` takes `cross_attention_states`; Mllama): each picture's keys and
        values are appended where it comes. A picture begins a chunk, so that what precedes it cannot see it; in
        transformers 5.24 rows that should see nothing see everything (the model's authors mask them).
    go through with the whole prompt ("raw": neither of these; older architectures): nothing is kept.
    are cut finer when there is only one (the processor says `batch_num_images`; LLaVA-OneVision): the first one is
        looked at anew when a second one joins it.

The cache
    of a prefix language model (`PREFIX_LANGUAGE_MODELS`; PaliGemma) is worth nothing to another prompt: every token
        sees the question, so that each new word changes every key. One piece, no reuse.
    with convolutions or linear attention (by its layers; LFM2, Qwen3.5) cannot be cropped: its states are copied at the
        ends of the last chunks and put back.
    with sliding windows (by its layers; Gemma 3) keeps the whole past, so that an edit can go back; the mask still
        hides what lies beyond the window.

Positions in three dimensions (M-RoPE; Qwen-VL) come from the model's own `_prepare_position_ids_for_generation`, over
the whole prompt each time. Chat templates are tried out: see `chat`.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Literal

# `model_type` → why its prompts go through in one piece.
PREFIX_LANGUAGE_MODELS: dict[str, str] = {
    "paligemma": "picture and question see each other in both directions (arXiv:2407.07726, figure 2)",
}
# Answers the last question only: trained on one task at a time, without turns.
SINGLE_TURN = frozenset({"paligemma"})

PictureRoute = Literal["placed", "crossed", "raw"]


@dataclass(frozen=True)
class Capabilities:
    """How a model takes its prompt.

    Attributes:
        route: "placed": features go to placeholder tokens; "crossed": cross-attention; "raw": pixels with the prompt.
        whole: the prompt goes through in one piece.
        single_turn: only the last question is asked.
    """

    route: PictureRoute
    whole: bool
    single_turn: bool


def capabilities_of(model: Any) -> Capabilities:
    """Of a loaded `transformers` model."""
    takes = inspect.signature(model.forward).parameters
    kind = str(model.config.model_type)
    route: PictureRoute = "raw"
    if "mm_encoder_outputs" in takes and hasattr(model.base_model, "get_image_features"):
        route = "placed"
    elif "cross_attention_states" in takes:
        route = "crossed"
    whole = route == "raw" or kind in PREFIX_LANGUAGE_MODELS
    return Capabilities(route, whole, kind in SINGLE_TURN)
