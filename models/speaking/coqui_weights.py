"""Where the weights of a Coqui model lie, downloaded if the owner allows it. No licence is accepted for the owner."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import AssistantError, EngineUnavailable
from models.weights import OnProgress

if TYPE_CHECKING:
    from TTS.utils.manage import ModelManager

CHECKPOINTS = ("model_file.pth", "model_file.pth.tar", "model.pth", "checkpoint.pth", "best_model.pth")
CPML = "https://tts-hub.github.io/cpml"


@dataclass(frozen=True)
class CoquiFiles:
    """What a Coqui model is loaded from.

    Attributes:
        checkpoint: the weights; a folder for models that load themselves from one.
        config: its `config.json`.
        vocoder: checkpoint and configuration of the vocoder, for models that need one.
        language: ISO 639-1 code from the model's name; "" when it speaks several, or the name does not say.
    """

    checkpoint: Path
    config: Path
    vocoder: tuple[Path, Path] | None = None
    language: str = ""


def files_in_folder(folder: Path) -> CoquiFiles:
    """The model in a folder of the owner's. Raises `EngineUnavailable` when there is none."""
    config = folder / "config.json"
    if not config.is_file():
        raise EngineUnavailable(
            f"The folder {folder} has no Coqui model in it: config.json is missing.",
            "Name a folder that holds config.json and a checkpoint, or a model as coqui:tts_models/….",
        )
    named = [folder / name for name in CHECKPOINTS if (folder / name).is_file()]
    found = named or sorted(folder.glob("*.pth"))
    if not named and len(found) != 1:
        raise EngineUnavailable(
            f"The folder {folder} holds {len(found)} checkpoints where one is needed.",
            f"Name the one to use model.pth (or one of {', '.join(CHECKPOINTS)}).",
        )
    return CoquiFiles(found[0], config)


def files_by_name(name: str, *, offline: bool, on_progress: OnProgress | None = None) -> CoquiFiles:
    """The files of a model that Coqui knows by name, e.g. "tts_models/en/ljspeech/vits".

    Raises:
        EngineUnavailable: an unknown name, weights that are not here while `offline`, a licence that the owner has
            not accepted, or a download that failed.
    """
    manager = _manager(offline)
    item = _item(manager, name)
    if on_progress:
        on_progress(f"Looking for {name}" if offline else f"Fetching {name} (once)", None)
    checkpoint, config = _fetch(manager, name)
    vocoder = _fetch(manager, item["default_vocoder"]) if item.get("default_vocoder") else None
    language = name.split("/")[1]
    return CoquiFiles(checkpoint, config, vocoder, language if len(language) == 2 else "")


def _item(manager: ModelManager, name: str) -> dict[str, Any]:
    """What Coqui's list says of a model."""
    known = [
        f"{kind}/{language}/{data}/{model}"
        for kind, languages in manager.models_dict.items()
        for language, sets in languages.items()
        for data, models in sets.items()
        for model in models
        if kind == "tts_models"
    ]
    parts = name.split("/")
    if len(parts) == 4 and parts[0] == "tts_models" and parts[2] == "fairseq":
        return {}  # over a thousand languages, which the list does not hold
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.3)
        raise EngineUnavailable(
            f"Coqui TTS knows no model named {name!r}.", f"Perhaps you mean {' or '.join(close or known[:3])}."
        )
    item: dict[str, Any] = manager.models_dict[parts[0]][parts[1]][parts[2]][parts[3]]
    return item


def _fetch(manager: ModelManager, name: str) -> tuple[Path, Path]:
    folder = Path(manager.output_prefix) / name.replace("/", "--")
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()  # left by a download that never began; Coqui would take it for the model
    try:
        checkpoint, config, _ = manager.download_model(name)
    except AssistantError:
        raise
    except (OSError, ValueError, KeyError) as error:  # requests' and the hub's errors are OSErrors
        raise EngineUnavailable(
            f"The weights of {name} could not be fetched ({type(error).__name__}: {error}).",
            f"Check the network and try again; if a download was cut off, delete {folder} first.",
        ) from error
    if config is None:
        raise EngineUnavailable(f"The weights of {name} have no configuration.", f"Delete {folder} and try again.")
    return Path(checkpoint), Path(config)


def _manager(offline: bool) -> ModelManager:
    """Coqui's model manager, which asks nothing on the terminal and, `offline`, fetches nothing."""
    from TTS.utils.manage import ModelManager

    class QuietModelManager(ModelManager):
        def create_dir_and_download_model(self, model_name: str, model_item: Any, output_path: Path) -> Path:
            if not self.tos_agreed(model_item, output_path):
                raise EngineUnavailable(
                    f"{model_name} may be used only by those who accept its licence, the Coqui Public Model License "
                    f"(non-commercial use; {CPML}).",
                    "Read it and, if you agree, start Lucid with the environment variable COQUI_TOS_AGREED=1.",
                )
            if offline and "repo_id" not in model_item:
                raise _not_here(model_name)
            path: Path = super().create_dir_and_download_model(model_name, model_item, output_path)
            return path

        def _download_hf_model(self, model_item: Any) -> Path:
            from huggingface_hub import snapshot_download
            from huggingface_hub.errors import LocalEntryNotFoundError

            try:
                return Path(
                    snapshot_download(
                        model_item["repo_id"],
                        allow_patterns=model_item.get("allow"),
                        ignore_patterns=model_item.get("ignore"),
                        local_files_only=offline,
                    )
                )
            except LocalEntryNotFoundError as error:
                if offline:
                    raise _not_here(model_item["repo_id"]) from error
                raise

        @staticmethod
        def ask_tos(model_full_path: Path) -> bool:
            return False  # never reached; Coqui's own would wait for an answer on the terminal

    return QuietModelManager(progress_bar=False)


def _not_here(name: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"The weights of {name} are not on this machine, and Lucid runs offline.",
        "Start once without --offline to download them, or choose piper:en_US-joe-medium.",
    )
