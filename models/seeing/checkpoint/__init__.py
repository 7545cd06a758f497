"""One engine for any `AutoModelForImageTextToText` checkpoint, driven by the checkpoint's own processor and template.

`load_checkpoint` is in `models.seeing.checkpoint.loading`, the engine in `.engine`; this module imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.seeing.checkpoint.engine import CheckpointEngine
    from models.seeing.checkpoint.loading import load_checkpoint

__all__ = ["CheckpointEngine", "load_checkpoint"]


def __getattr__(name: str) -> Any:
    if name == "load_checkpoint":
        from models.seeing.checkpoint.loading import load_checkpoint

        return load_checkpoint
    if name == "CheckpointEngine":
        from models.seeing.checkpoint.engine import CheckpointEngine

        return CheckpointEngine
    raise AttributeError(name)
