"""Whisper by faster-whisper (CTranslate2): the default engine. Imported only when it is loaded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim

from models.hearing.passages import Segment, token_limit
from models.streaming import CancelToken
from models.types import Word

log = logging.getLogger(__name__)

BEAM = 5


class _EncodesOnce(WhisperModel):
    """Remembers the last encoding: detecting the language and decoding take the same one, which is half of the time."""

    _remembered: tuple[np.ndarray, Any] | None = None

    def encode(self, features: np.ndarray) -> Any:
        if self._remembered is None or not np.array_equal(self._remembered[0], features):
            self._remembered = (features, super().encode(features))
        return self._remembered[1]


class CTranslateDecoder:
    """A `WhisperDecoder`.

    Args:
        model: a size that faster-whisper knows, or a folder.
        offline: nothing is downloaded.
        beam: hypotheses that the search keeps.

    Raises whatever faster-whisper raises; the loader translates it.
    """

    def __init__(self, model: str, *, offline: bool = False, beam: int = BEAM) -> None:
        self._model = _loaded(model, offline)
        self._beam = beam

    def languages(self, samples: np.ndarray) -> Sequence[tuple[str, float]]:
        """See `WhisperDecoder.languages`."""
        if not self._model.model.is_multilingual:
            return [("en", 1.0)]
        features = self._model.feature_extractor(samples)[:, :-1]  # the slice that decoding takes too
        ranked = self._model.model.detect_language(self._model.encode(pad_or_trim(features)))[0]
        return [(token.strip("<|>"), probability) for token, probability in ranked]

    def decode(self, samples: np.ndarray, language: str, cancel: CancelToken) -> tuple[Segment, ...]:
        """See `WhisperDecoder.decode`."""
        found, _ = self._model.transcribe(
            samples,
            language=language,
            beam_size=self._beam,
            temperature=0.0,
            condition_on_previous_text=False,
            word_timestamps=True,
            max_new_tokens=token_limit(len(samples) / 16_000),
            # The gate decides, for every engine in the same way.
            no_speech_threshold=None,
            log_prob_threshold=None,
            compression_ratio_threshold=None,
        )
        segments = []
        for segment in found:
            cancel.raise_if_cancelled()
            words = tuple(Word(w.word, w.start, w.end, w.probability) for w in segment.words or ())
            segments.append(
                Segment(segment.text, words, segment.avg_logprob, segment.no_speech_prob, segment.compression_ratio)
            )
        return tuple(segments)


def _loaded(model: str, offline: bool) -> _EncodesOnce:
    """On the GPU where there is one that works (the CUDA libraries are only found missing at the first use)."""
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        try:
            loaded = _EncodesOnce(model, device="cuda", compute_type="float16", local_files_only=offline)
            loaded.encode(np.zeros((loaded.feature_extractor.mel_filters.shape[0], 3000), np.float32))
            return loaded
        except (RuntimeError, ValueError) as error:
            log.warning("Whisper does not run on the GPU (%s); the CPU is used.", error)
    return _EncodesOnce(model, device="cpu", compute_type="int8", local_files_only=offline)
