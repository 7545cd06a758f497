"""Coqui TTS (the maintained fork coqui-tts, imported as TTS): XTTS-v2, VITS and others, by name or from a folder."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import BadInput, EngineFailure, EngineUnavailable, Unspeakable
from models.interfaces import SpeechOptions, Voice
from models.speaking.coqui_weights import CoquiFiles, files_by_name, files_in_folder
from models.speaking.scripts import language_name, likeliest_language, sayable
from models.streaming import CancelToken
from models.types import AudioClip
from models.weights import OnProgress

if TYPE_CHECKING:
    from TTS.utils.synthesizer import Synthesizer

log = logging.getLogger(__name__)

# Coqui puts almost half a second of zeros after every sentence; this much sounds like a pause between sentences.
PAUSE_S = 0.15
SLOWEST, FASTEST = 0.25, 4.0


def load_coqui(model: str, *, offline: bool = False, on_progress: OnProgress | None = None) -> CoquiSynthesizer:
    """Loads a model by its Coqui name ("tts_models/en/ljspeech/vits") or from a folder.

    Raises:
        EngineUnavailable: the package, the name, the weights or the licence's acceptance is missing.
    """
    try:
        import TTS.utils.synthesizer  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise EngineUnavailable(
            f"Coqui TTS cannot be used: {error}.", "Run: python3 launch.py (it installs what is missing)."
        ) from error
    folder = Path(model).expanduser()
    if folder.is_dir():
        files = files_in_folder(folder)
    elif model.startswith("tts_models/"):
        files = files_by_name(model, offline=offline, on_progress=on_progress)
    else:
        raise EngineUnavailable(
            f"{model!r} is neither a folder nor the name of a Coqui model.",
            "Names look like coqui:tts_models/multilingual/multi-dataset/xtts_v2.",
        )
    if on_progress:
        on_progress(f"Loading {model}", None)
    return CoquiSynthesizer(f"coqui:{model}", files)


class CoquiSynthesizer:
    """One Coqui model, on the GPU where there is one.

    A voice is "speaker", "speaker@language" or "@language". With several languages, a sentence in a script of its own
    (Chinese, Japanese, Russian …) is spoken in that language; Latin letters are spoken in the voice's.

    Args:
        name: its name in the catalogue.
        files: what it is loaded from.
    """

    def __init__(self, name: str, files: CoquiFiles) -> None:
        self.name = name
        self._synthesizer = _open_model(name, files)
        self._model: Any = self._synthesizer.tts_model
        self._lock = threading.Lock()
        self._speakers = _speakers(self._model)
        languages = [str(language) for language in self._model.language_manager.language_names]
        self._languages = languages if len(languages) > 1 else []
        self._language = files.language
        self._own_length_scale = getattr(self._model, "length_scale", None)

    @property
    def voices(self) -> tuple[Voice, ...]:
        """The speakers in the first language, then every other language with the first speaker."""
        first = _iso(self._languages[0]) if self._languages else self._language or "en"
        speakers = tuple(Voice(s, first, f"Coqui, speaker {s}") for s in self._speakers)
        others = tuple(
            Voice(f"@{language}", _iso(language), f"Coqui, {language_name(_iso(language))}")
            for language in self._languages[1 if speakers else 0 :]
        )
        return (speakers + others) or (Voice("default", first, f"Coqui, {language_name(first)}"),)

    def stream(self, text: str, options: SpeechOptions, cancel: CancelToken) -> Iterator[AudioClip]:
        """`text` as sound, a clip a sentence, each made when it is asked for. Ends early once `cancel` is stale.

        Raises:
            BadInput: an unknown voice, or a speed beyond what can be spoken.
            Unspeakable: most of the text is in a script that the model does not know.
            EngineFailure: the synthesis broke.
        """
        if not SLOWEST <= options.speed <= FASTEST:
            raise BadInput(f"The speech speed is {options.speed}.", f"Use a number from {SLOWEST} to {FASTEST}.")
        speaker, language = self._chosen(options.voice)
        words, language = self._sayable(text, language)
        if not words:
            return
        for sentence in self._synthesizer.split_into_sentences(words, language or None):
            if cancel.cancelled:
                return
            if any(c.isalnum() for c in sentence):
                yield self._speak(sentence, speaker, language, options.speed)

    def _speak(self, sentence: str, speaker: str, language: str, speed: float) -> AudioClip:
        more: dict[str, Any] = {}
        with self._lock:  # the model's pace is its own state
            if self._own_length_scale is not None:
                self._model.length_scale = self._own_length_scale / speed
            elif "xtts" in str(self._synthesizer.tts_config.model).lower():
                more["speed"] = speed
            elif speed != 1.0:
                log.warning("%s has only one speed", self.name)
            try:
                samples = self._synthesizer.tts(
                    sentence,
                    speaker_name=speaker or None,
                    language_name=language or None,
                    split_sentences=False,
                    **more,
                )
            except Exception as error:
                failure = EngineFailure(
                    f"{self.name} broke while it spoke ({type(error).__name__}: {error}).",
                    "Choose another voice or engine, or send the text again.",
                )
                raise failure from error
        return _clip(samples, int(self._synthesizer.output_sample_rate))

    def _chosen(self, voice: str) -> tuple[str, str]:
        """Speaker and language of a voice; "" for what the model does not have."""
        speaker, _, wanted = ("", "", "") if voice == "default" else voice.partition("@")
        if speaker and speaker not in self._speakers:
            shown = ", ".join(v.name for v in self.voices[:12])
            raise BadInput(f"There is no voice named {voice!r}.", f"Voices are: {shown}.")
        language = self._languages[0] if self._languages else ""
        if wanted:
            language = self._named(wanted)
            if not language:
                spoken = ", ".join(self._languages) or self._language or "one, which it does not name"
                raise BadInput(f"{self.name} does not speak {wanted!r}.", f"Its languages: {spoken}.")
        return speaker or (self._speakers[0] if self._speakers else ""), language

    def _named(self, language: str) -> str:
        """The model's own name of a language ("zh-cn" for "zh"), or ""."""
        return next((n for n in self._languages if language in (n, _iso(n))), "")

    def _sayable(self, text: str, language: str) -> tuple[str, str]:
        """`text` as the model can say it, and the language to say it in."""
        if not self._languages and not self._language:
            return text, ""  # a model of the owner's, which does not say what it speaks
        spoken = likeliest_language(text, _iso(language)) if self._languages else self._language
        named = self._named(spoken)
        words = sayable(text, spoken) if named or not self._languages else ""
        if words or not any(c.isalnum() for c in text):
            return words, named
        other = language_name(likeliest_language(text, "")) or "that script"
        raise Unspeakable(f"{self.name} cannot say {other}.", "Choose a speech engine that speaks it.")


def _iso(language: str) -> str:
    return language.partition("-")[0]


def _speakers(model: Any) -> list[str]:
    """The speakers that the model has learned; none for a model with one voice."""
    kept = getattr(model, "speaker_manager", None)
    names = [str(name) for name in kept.speaker_names] if kept is not None else []
    return names if len(names) > 1 else []


def _clip(samples: Any, rate: int) -> AudioClip:
    sound = np.asarray(samples, dtype=np.float32).reshape(-1)
    loud = np.flatnonzero(sound)
    end = int(loud[-1]) + 1 if len(loud) else 0
    pause = np.zeros(int(PAUSE_S * rate), dtype=np.float32)
    return AudioClip(np.concatenate([np.clip(sound[:end], -1.0, 1.0), pause]), rate)


def _open_model(name: str, files: CoquiFiles) -> Synthesizer:
    import torch
    from TTS.utils.synthesizer import Synthesizer

    vocoder, vocoder_config = files.vocoder or (None, None)
    try:
        return Synthesizer(
            tts_checkpoint=files.checkpoint,
            tts_config_path=files.config,
            vocoder_checkpoint=vocoder,
            vocoder_config=vocoder_config,
            use_cuda=torch.cuda.is_available(),
        )
    except Exception as error:  # a checkpoint can be wrong in any way
        raise EngineUnavailable(
            f"{name} could not be loaded ({type(error).__name__}: {error}).",
            f"Check the files in {files.config.parent}, or delete them and load the model again.",
        ) from error
