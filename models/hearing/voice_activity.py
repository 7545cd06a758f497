"""Where in a recording somebody speaks: Silero VAD, run by ONNX Runtime (neither torch nor a download is needed)."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import EngineUnavailable

RATE = 16_000
FRAME = 512
"""Samples a judgement: 32 ms at 16 kHz, as the network was trained."""
CONTEXT = 64
"""Samples of the frame before, which the network sees too."""
STATE = 128
"""Width of its LSTM's state."""
BATCH = 4096
"""Frames (131 s) a call; the state is carried over, so the result does not depend on it."""

# Both packages carry the same network in its form for whole recordings.
MODELS = (("silero_vad", "data/silero_vad_16k_sequence.onnx"), ("faster_whisper", "assets/silero_vad_v6.onnx"))


@dataclass(frozen=True)
class Sensitivity:
    """What counts as speech.

    Attributes:
        threshold: probability at which speech begins.
        release: probability under which it ends.
        min_speech_s: shorter speech is a click.
        min_silence_s: shorter silence is a pause inside speech.
        pad_s: kept on each side, so that soft first and last sounds are not cut.
    """

    threshold: float = 0.5
    release: float = 0.35
    min_speech_s: float = 0.1
    min_silence_s: float = 0.5
    pad_s: float = 0.2


@dataclass(frozen=True)
class SpeechSpan:
    """Speech between two moments, in seconds; `probability` is the mean over its frames."""

    start: float
    end: float
    probability: float


class VoiceActivityDetector:
    """Silero VAD. The network is loaded at the first use (about 20 ms); an instance may be shared between threads."""

    @cached_property
    def _session(self) -> Any:
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineUnavailable("ONNX Runtime is not installed.", "Run: pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # the network is too small to share
        return onnxruntime.InferenceSession(str(_model_file()), options, providers=["CPUExecutionProvider"])

    def probabilities(self, samples: np.ndarray) -> np.ndarray:
        """The probability of speech in each frame of 32 ms.

        Args:
            samples: float32 at 16 kHz, shape (n,).

        Returns:
            float32, shape (ceil(n / 512),).
        """
        if not len(samples):
            return np.zeros(0, np.float32)
        frames = np.pad(samples, (0, -len(samples) % FRAME)).reshape(-1, FRAME)
        before = np.vstack([np.zeros((1, CONTEXT), np.float32), frames[:-1, -CONTEXT:]])
        inputs = np.hstack([before, frames]).astype(np.float32)
        hidden = cell = np.zeros((1, 1, STATE), np.float32)
        judged = []
        for first in range(0, len(inputs), BATCH):
            batch = {"input": inputs[first : first + BATCH], "h": hidden, "c": cell}
            probabilities, hidden, cell = self._session.run(None, batch)
            judged.append(probabilities.reshape(-1))
        return np.concatenate(judged)

    def speech(self, samples: np.ndarray, sensitivity: Sensitivity | None = None) -> tuple[SpeechSpan, ...]:
        """The spans in which somebody speaks, in order, not overlapping; `samples` as in `probabilities`."""
        return spans(self.probabilities(samples), len(samples) / RATE, sensitivity or Sensitivity())


def spans(probabilities: np.ndarray, seconds: float, sensitivity: Sensitivity) -> tuple[SpeechSpan, ...]:
    """Speech spans from the probabilities of frames, with hysteresis, short pauses bridged and edges padded.

    Args:
        probabilities: shape (frames,), one for each 32 ms.
        seconds: length of the recording; nothing is padded beyond it.
        sensitivity: what counts as speech.
    """
    frame_s = FRAME / RATE
    found: list[tuple[int, int]] = []  # [first frame, one past the last)
    start: int | None = None
    quiet_since: int | None = None
    for index, probability in enumerate(probabilities):
        if probability >= sensitivity.threshold:
            start = index if start is None else start
            quiet_since = None
        elif start is not None and probability < sensitivity.release:
            quiet_since = index if quiet_since is None else quiet_since
            if (index + 1 - quiet_since) * frame_s >= sensitivity.min_silence_s:
                found.append((start, quiet_since))
                start = quiet_since = None
    if start is not None:
        found.append((start, len(probabilities) if quiet_since is None else quiet_since))
    found = [(first, end) for first, end in found if (end - first) * frame_s >= sensitivity.min_speech_s]
    return tuple(
        SpeechSpan(
            max(0.0, first * frame_s - _pad(found, index, -1, frame_s, sensitivity.pad_s)),
            min(seconds, end * frame_s + _pad(found, index, +1, frame_s, sensitivity.pad_s)),
            float(np.mean(probabilities[first:end])),
        )
        for index, (first, end) in enumerate(found)
    )


def _pad(found: list[tuple[int, int]], index: int, side: int, frame_s: float, wanted: float) -> float:
    """Seconds of padding on one side: at most half of the silence there, so that neighbours do not overlap."""
    neighbour = index + side
    if not 0 <= neighbour < len(found):
        return wanted
    earlier, later = sorted((index, neighbour))
    return min(wanted, (found[later][0] - found[earlier][1]) * frame_s / 2)


def _model_file() -> Path:
    for package, file in MODELS:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(folder) / file).is_file():
                return Path(folder) / file
    raise EngineUnavailable("Silero VAD, which tells speech from noise, is missing.", "Run: pip install -U silero-vad")
