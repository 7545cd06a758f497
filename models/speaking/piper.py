"""Piper (VITS in ONNX, espeak-ng phonemes): fast speech on any CPU, one sentence at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.errors import BadInput, EngineFailure, EngineUnavailable, Unspeakable
from models.interfaces import SpeechOptions, Voice
from models.speaking.scripts import language_name, likeliest_language, sayable
from models.streaming import CancelToken
from models.types import AudioClip
from models.weights import PIPER_JOE, OnProgress, piper_voice_file

if TYPE_CHECKING:
    from piper import PiperVoice

# More threads make one sentence barely faster and take the cores from the model that is still writing. On two busy
# cores one thread was the fastest (0.39 s a sentence; two 0.40 s, and 0.62 s when they spin while they wait).
MAX_THREADS = 2
SLOWEST, FASTEST = 0.25, 4.0
_PACKAGES = "Run: python3 launch.py (it installs what is missing)."


def load_piper(model: str, *, on_progress: OnProgress | None = None) -> PiperSynthesizer:
    """Loads the packaged voice by its name, or any other by its `.onnx` file.

    Raises:
        EngineUnavailable: no such voice, or a file that is none.
    """
    if model == PIPER_JOE:
        file = piper_voice_file()
    else:
        file = Path(model).expanduser()
        if file.suffix != ".onnx":
            raise EngineUnavailable(
                f"There is no Piper voice named {model!r}.",
                f"Use piper:{PIPER_JOE}, or piper:<file.onnx> with the path of a voice from the Piper project.",
            )
    settings = file.with_name(f"{file.name}.json")
    for needed in (file, settings):
        if not needed.is_file():
            raise EngineUnavailable(f"The Piper voice file {needed} is not there.", "Check the path of the voice.")
    if on_progress:
        on_progress(f"Loading the voice {file.stem}", None)
    return PiperSynthesizer(file, settings)


class PiperSynthesizer:
    """One Piper voice file, which may hold several speakers.

    Args:
        file: the `.onnx` file.
        settings: the `.onnx.json` file that belongs to it.

    Raises:
        EngineUnavailable: piper-tts is not installed, or the files are not a Piper voice.
    """

    def __init__(self, file: Path, settings: Path) -> None:
        self.name = f"piper:{file.stem}"
        self._stem = file.stem
        self._voice = _open_voice(file, settings)
        self._language = self._voice.config.espeak_voice.partition("-")[0]

    @property
    def voices(self) -> tuple[Voice, ...]:
        """The speakers of the file; the file's own name where it has only one."""
        speakers = self._voice.config.speaker_id_map
        if self._voice.config.num_speakers <= 1 or not speakers:
            return (Voice(self._stem, self._language, f"Piper, {language_name(self._language)}"),)
        return tuple(Voice(name, self._language, f"Piper, {self._stem}") for name in speakers)

    def stream(self, text: str, options: SpeechOptions, cancel: CancelToken) -> Iterator[AudioClip]:
        """`text` as sound, a clip a sentence, each made when it is asked for. Ends early once `cancel` is stale.

        Raises:
            BadInput: an unknown voice, or a speed beyond what can be spoken.
            Unspeakable: most of the text is in a script that the voice does not know (what is the lesser part, it
                leaves out).
            EngineFailure: the synthesis broke.
        """
        from piper import SynthesisConfig

        if not SLOWEST <= options.speed <= FASTEST:
            raise BadInput(f"The speech speed is {options.speed}.", f"Use a number from {SLOWEST} to {FASTEST}.")
        config = SynthesisConfig(
            speaker_id=self._speaker(options.voice),
            length_scale=self._voice.config.length_scale / options.speed,
        )
        words = self._sayable(text)
        if not words or cancel.cancelled:
            return
        try:
            for chunk in self._voice.synthesize(words, config):
                if cancel.cancelled:
                    return
                yield AudioClip(np.ascontiguousarray(chunk.audio_float_array, dtype=np.float32), chunk.sample_rate)
                if cancel.cancelled:
                    return
        except Exception as error:
            raise EngineFailure(
                f"The voice {self._stem} broke while it spoke ({type(error).__name__}: {error}).",
                "Choose another voice, or send the text again.",
            ) from error

    def _sayable(self, text: str) -> str:
        """`text` as this voice can say it; "" if there is nothing to say in it."""
        words = sayable(text, self._language).replace("[[", "[").replace("]]", "]")  # Piper takes [[…]] for phonemes
        if words or not any(c.isalnum() for c in text):
            return words
        other = language_name(likeliest_language(text, "")) or "that script"
        raise Unspeakable(
            f"The voice {self._stem} speaks {language_name(self._language)} and cannot say {other}.",
            "The engine coqui:tts_models/multilingual/multi-dataset/xtts_v2 speaks 17 languages, Chinese included; "
            "or choose a Piper voice of that language with piper:<file.onnx>.",
        )

    def _speaker(self, voice: str) -> int | None:
        if not voice:
            return None
        names = [v.name for v in self.voices]
        if voice not in names:
            raise BadInput(f"There is no voice named {voice!r}.", f"Voices are: {', '.join(names[:12])}.")
        return self._voice.config.speaker_id_map.get(voice)


def _open_voice(file: Path, settings: Path) -> PiperVoice:
    try:
        import onnxruntime
        from piper import PiperVoice
        from piper.config import PiperConfig
    except ImportError as error:
        raise EngineUnavailable(f"Piper cannot be used: {error}.", _PACKAGES) from error
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = max(1, min(MAX_THREADS, (os.cpu_count() or 1) // 2))
    session_options.inter_op_num_threads = 1
    session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        config = PiperConfig.from_dict(json.loads(settings.read_text(encoding="utf-8")))
        session = onnxruntime.InferenceSession(
            str(file), sess_options=session_options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors have no common base of their own
        raise EngineUnavailable(
            f"{file.name} is not a Piper voice that can be read ({type(error).__name__}).", "Fetch the voice again."
        ) from error
    return PiperVoice(session=session, config=config, download_dir=file.parent)
