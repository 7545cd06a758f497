"""A checkpoint's folder to an engine. What is wrong with a folder is found before anything large is read."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import EngineUnavailable
from models.needs import safetensors_header
from models.runtime import RuntimeChoice
from models.streaming import CancelToken
from models.weights import OnProgress

if TYPE_CHECKING:
    from models.seeing.checkpoint.compiled import CompiledSteps
    from models.seeing.checkpoint.engine import CheckpointEngine

log = logging.getLogger(__name__)

_OTHER_FORMATS = (".bin", ".pt", ".pth", ".ckpt", ".gguf")
_INDEX = "model.safetensors.index.json"
_OTHER = "Choose another model."
_AGAIN = "Download it again."
UNBOUNDED = 1 << 24  # what tokenizers without a limit say is far above


def load_checkpoint(
    folder: Path,
    choice: RuntimeChoice,
    *,
    name: str,
    on_progress: OnProgress | None = None,
    cancel: CancelToken | None = None,
) -> CheckpointEngine:
    """The engine from a folder with `config.json`, weights in safetensors, a tokenizer and a processor.

    Code that comes with a checkpoint is never run, and weights in formats that can hold code are never read.

    Args:
        choice: device and precision.
        on_progress: told what is being done.
        cancel: asked between the steps.

    Raises:
        EngineUnavailable: with a sentence about what is missing or not supported.
        OutOfMemory: the weights do not fit.
        Cancelled: it is no longer wanted.
    """
    config = checked_folder(folder, name)
    _step(f"Loading {name}", on_progress, cancel)
    processor = _processor(folder, name)
    _step(f"Reading the weights of {name}", on_progress, cancel)
    model = _guarded(lambda: _model(folder, choice, name), name)
    if cancel is not None and cancel.cancelled:
        del model
    _step(f"Moving {name} to its place", on_progress, cancel)
    model = _guarded(lambda: _placed(model, choice), name)
    from models.seeing.checkpoint.engine import CheckpointEngine

    context = context_tokens(model.config, processor.tokenizer)
    log.info("%s (%s): %s", name, config["model_type"], choice.reason)
    compiled = _compiled(model, choice)
    engine = CheckpointEngine(
        model, processor, name=name, context_tokens=context, reason=choice.reason, compiled=compiled
    )
    engine.warm()
    return engine


def checked_folder(folder: Path, name: str) -> dict[str, Any]:
    """The configuration, when the folder holds all that is needed and nothing is cut short.

    Raises:
        EngineUnavailable: with a sentence.
    """
    config = _json(folder / "config.json", name)
    _check_architecture(config, name)
    _check_files(folder, name)
    return config


def context_tokens(config: Any, tokenizer: Any) -> int:
    """How many tokens the model reads: by its positions and by its tokenizer, whichever is less."""
    positions = int(getattr(config.get_text_config(decoder=True), "max_position_embeddings", 0) or 0)
    limit = int(min(tokenizer.model_max_length or UNBOUNDED, UNBOUNDED))
    found = [count for count in (positions, limit) if 0 < count < UNBOUNDED]
    return min(found) if found else 4096


# -- what is wrong with a folder -----------------------------------------------------------------------------------


def _check_architecture(config: Mapping[str, Any], name: str) -> None:
    from transformers import CONFIG_MAPPING
    from transformers.models.auto import modeling_auto

    kind = config.get("model_type", "")
    if kind not in CONFIG_MAPPING:
        if "auto_map" in config:
            raise EngineUnavailable(
                f"{name} brings its own program code, which Lucid never runs.",
                "Choose a version of it that transformers supports itself (often named “-hf”).",
            )
        import transformers

        raise EngineUnavailable(
            f"{name} is of the kind “{kind}”, which transformers {transformers.__version__} does not know.",
            "Update Lucid's packages, or choose another model.",
        )
    if kind not in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        if kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            raise EngineUnavailable(f"{name} reads text only and cannot see pictures.", _OTHER)
        raise EngineUnavailable(f"{name} is of the kind “{kind}”, which does not chat about pictures.", _OTHER)
    try:
        built = CONFIG_MAPPING[kind].from_dict(dict(config))
    except Exception as error:  # configurations check themselves, each in its own way
        raise EngineUnavailable(
            f"{name} is damaged: config.json is not valid ({_first_line(error)}).", _AGAIN
        ) from error
    if getattr(built, "is_encoder_decoder", False):
        raise EngineUnavailable(f"{name} translates a picture to a text and does not chat.", _OTHER)


def _check_files(folder: Path, name: str) -> None:
    if (folder / _INDEX).is_file():
        weights = sorted(set(_json(folder / _INDEX, name).get("weight_map", {}).values()))
    else:
        weights = sorted(path.name for path in folder.glob("*.safetensors"))
    if not weights:
        other = sorted(path.name for path in folder.iterdir() if path.suffix in _OTHER_FORMATS)
        if other:
            raise EngineUnavailable(
                f"{name} has no weights in safetensors, only {other[0]}, a format that Lucid never reads.",
                "Choose a version of it in safetensors.",
            )
        raise EngineUnavailable(f"{name} has no weights: there is no .safetensors file in {folder}.", _AGAIN)
    wanted: list[tuple[str, tuple[str, ...]]] = [(file, (file,)) for file in weights]
    wanted.append(("preprocessor_config.json", ("preprocessor_config.json", "processor_config.json")))
    wanted.append(("tokenizer.json", ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")))
    missing = [file for file, any_of in wanted if not any((folder / one).is_file() for one in any_of)]
    if missing:
        raise EngineUnavailable(f"{name} is incomplete: {', '.join(missing)} is missing in {folder}.", _AGAIN)
    for file in weights:
        if not whole_safetensors(folder / file):
            raise EngineUnavailable(f"{name} is damaged: {file} is cut short.", _AGAIN)


def whole_safetensors(path: Path) -> bool:
    """Whether a file is as long as its own header says."""
    try:
        start, header = safetensors_header(path)
    except ValueError:
        return False
    ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    return bool(start + max(ends, default=0) == path.stat().st_size)


def _json(path: Path, name: str) -> dict[str, Any]:
    if not path.is_file():
        raise EngineUnavailable(f"{name} is incomplete: {path.name} is missing in {path.parent}.", _AGAIN)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EngineUnavailable(f"{name} is damaged: {path.name} cannot be read.", _AGAIN) from error
    return dict(found)


# -- loading -------------------------------------------------------------------------------------------------------


def _processor(folder: Path, name: str) -> Any:
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except ImportError as error:
        raise EngineUnavailable(f"{name} needs a package that is not installed: {error}.", _OTHER) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineUnavailable(f"The processor of {name} cannot be loaded: {_first_line(error)}.", _AGAIN) from error
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise EngineUnavailable(f"{name} has no processor for both text and pictures.", _OTHER)
    return processor


def _model(folder: Path, choice: RuntimeChoice, name: str) -> Any:
    import torch
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # it would draw into the answer on the terminal
    precision = str(choice.precision)
    packed = precision in ("int8", "int4")
    dtype = torch.bfloat16 if packed else getattr(torch, precision)  # packed weights multiply in bfloat16
    auto: Any = AutoModelForImageTextToText  # its stubs forget that it can give a report too
    try:
        model, report = auto.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineUnavailable(f"{name} cannot be loaded: {_first_line(error)}.", _AGAIN) from error
    missing = sorted(report.get("missing_keys", ()))
    if missing:
        raise EngineUnavailable(f"{name} lacks {len(missing)} of its weights, {missing[0]} among them.", _AGAIN)
    model.eval().requires_grad_(False)
    if packed:
        from models.seeing.quantised import quantise

        model = quantise(model, choice)
    return model


def _placed(model: Any, choice: RuntimeChoice) -> Any:
    return model.to(str(choice.device))


def _compiled(model: Any, choice: RuntimeChoice) -> CompiledSteps | None:
    """On CUDA and ROCm, for weights that torch can compile with and where a fixed cache has room."""
    if choice.device != "cuda" or choice.precision in ("int8", "int4"):
        return None
    from models.runtime import free_memory
    from models.seeing.checkpoint.compiled import CompiledSteps, affordable

    lengths = affordable(model, free_memory("cuda"))
    return CompiledSteps(model, lengths=lengths) if lengths else None


def _guarded(work: Any, name: str) -> Any:
    """`work`, with memory that ran out as `OutOfMemory`, raised outside `except` so that the weights are let go."""
    from models.errors import OutOfMemory
    from models.seeing.generation import is_out_of_memory

    try:
        return work()
    except EngineUnavailable:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise EngineUnavailable(f"{name} cannot be loaded: {_first_line(error)}.", _OTHER) from error
    raise OutOfMemory(f"There is not enough memory for {name}.", "Close other programs, or choose a smaller model.")


def _step(what: str, on_progress: OnProgress | None, cancel: CancelToken | None) -> None:
    if cancel is not None:
        cancel.raise_if_cancelled()
    if on_progress is not None:
        on_progress(what, None)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")
