"""Whisper by its authors' package, openai-whisper (torch). Imported only when it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import whisper

from models.hearing.passages import Segment, token_limit
from models.streaming import CancelToken
from models.types import Word

BEAM = 5


class OpenAIDecoder:
    """A `WhisperDecoder`. Samples are handed over as they are: the package's own `load_audio` would start ffmpeg.

    Args:
        model: a size that the package knows, or a `.pt` file.

    Raises whatever the package raises; the loader translates it.
    """

    def __init__(self, model: str) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = whisper.load_model(model, device=device)
        self._fp16 = device == "cuda"

    def languages(self, samples: np.ndarray) -> Sequence[tuple[str, float]]:
        """See `WhisperDecoder.languages`."""
        if not self._model.is_multilingual:
            return [("en", 1.0)]
        window = whisper.pad_or_trim(samples)
        mel = whisper.log_mel_spectrogram(window, n_mels=self._model.dims.n_mels).to(self._model.device)
        _, probabilities = self._model.detect_language(mel.half() if self._fp16 else mel)
        return sorted(probabilities.items(), key=lambda item: -item[1])

    def decode(self, samples: np.ndarray, language: str, cancel: CancelToken) -> tuple[Segment, ...]:
        """See `WhisperDecoder.decode`. A window is decoded in one go: `cancel` is asked around it."""
        cancel.raise_if_cancelled()
        result = self._model.transcribe(
            samples,
            language=language,
            beam_size=BEAM,
            temperature=0.0,
            sample_len=token_limit(len(samples) / whisper.audio.SAMPLE_RATE),
            condition_on_previous_text=False,
            word_timestamps=True,
            fp16=self._fp16,
            verbose=None,
            # The gate decides, for every engine in the same way.
            no_speech_threshold=None,
            logprob_threshold=None,
            compression_ratio_threshold=None,
        )
        cancel.raise_if_cancelled()
        return tuple(_segment(found) for found in result["segments"])


def _segment(found: dict[str, Any]) -> Segment:
    words = tuple(
        Word(w["word"], float(w["start"]), float(w["end"]), float(w["probability"])) for w in found.get("words", ())
    )
    return Segment(
        found["text"],
        words,
        float(found["avg_logprob"]),
        float(found["no_speech_prob"]),
        float(found["compression_ratio"]),
    )
