"""Who has the floor in a spoken conversation: frames of sound go in, what to do comes out. No device, no clock.

A pause of `end_silence_s` ends the owner's turn. While the answer is spoken the microphone hears it too: how loud that
echo is, compared with what is played, is measured, and only what is clearly louder counts as the owner.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Union

import numpy as np

RATE = 16_000
FRAME = 512
FRAME_S = FRAME / RATE


@dataclass(frozen=True)
class TurnTakingOptions:
    """When speech begins and ends.

    Attributes:
        threshold: probability of speech at which a frame counts as speech.
        release: probability under which it counts as silence.
        begin_s: speech this long begins a turn; less is a click.
        interrupt_s: speech this long over the answer interrupts it.
        end_silence_s: silence this long ends a turn.
        before_s: kept from before speech was noticed, so that its first sound is not cut.
        longest_s: a turn is ended after this time whatever is heard.
        echo_margin: how many times louder than the expected echo the owner must be.
        echo_delay_s: how long after it was played a sound may still be heard.
        learn_s: when something is played for the first time, the echo is only measured for this long.
    """

    threshold: float = 0.5
    release: float = 0.35
    begin_s: float = 0.1
    interrupt_s: float = 0.2
    end_silence_s: float = 0.7
    before_s: float = 0.35
    longest_s: float = 60.0
    echo_margin: float = 2.0
    echo_delay_s: float = 0.35
    learn_s: float = 0.4


@dataclass(frozen=True)
class Interrupted:
    """The owner speaks over the answer: stop it. Their words are being recorded."""


@dataclass(frozen=True, eq=False)
class Finished:
    """The owner has finished. `samples`: their turn, float32 at 16 kHz."""

    samples: np.ndarray


Action = Union[Interrupted, Finished]


class TurnTaker:
    """Follows one conversation, frame by frame (32 ms each)."""

    def __init__(self, options: TurnTakingOptions | None = None) -> None:
        self._options = options or TurnTakingOptions()
        self._before: deque[np.ndarray] = deque(maxlen=_frames(self._options.before_s + self._options.interrupt_s))
        self._turn: list[np.ndarray] = []
        self._speech = 0  # frames of speech in a row, before a turn has begun
        self._silence = 0  # frames of silence in a row, in a turn
        self._echo = _Echo(self._options)

    @property
    def recording(self) -> bool:
        """Whether the owner has the floor."""
        return bool(self._turn)

    def take(self, frame: np.ndarray, probability: float, *, answering: bool, played: float = 0.0) -> Action | None:
        """Takes the next frame.

        Args:
            frame: float32 at 16 kHz, shape (512,).
            probability: that there is speech in it (the echo of the answer is speech too).
            answering: an answer is being made or spoken.
            played: loudness (root mean square) of what is playing now.
        """
        echo = self._echo.explains(_loudness(frame), played)
        if self._turn:
            return self._continue(frame, probability)
        self._before.append(frame)
        self._speech = self._speech + 1 if probability >= self._options.threshold and not echo else 0
        needed = self._options.interrupt_s if answering else self._options.begin_s
        if self._speech < _frames(needed):
            return None
        self._turn, self._speech, self._silence = list(self._before), 0, 0
        self._before.clear()
        return Interrupted() if answering else None

    def _continue(self, frame: np.ndarray, probability: float) -> Action | None:
        options = self._options
        self._turn.append(frame)
        if probability >= options.threshold:
            self._silence = 0
        elif probability < options.release or self._silence:
            self._silence += 1
        ended = self._silence >= _frames(options.end_silence_s)
        if not ended and len(self._turn) < _frames(options.longest_s):
            return None
        samples = np.concatenate(self._turn).astype(np.float32)
        self._turn, self._silence = [], 0
        return Finished(samples)


class _Echo:
    """Learns how loud the microphone hears the speaker, as a ratio of loudnesses."""

    def __init__(self, options: TurnTakingOptions) -> None:
        self._options = options
        self._played: deque[float] = deque(maxlen=_frames(options.echo_delay_s))
        self._ratio = 0.0
        self._learned = 0

    def explains(self, heard: float, played: float) -> bool:
        """Whether `heard` is no more than the echo of what was `played` lately."""
        self._played.append(played)
        loudest = max(self._played)
        if loudest < 1e-4:
            return False  # nothing plays
        ratio = heard / loudest
        if self._learned < _frames(self._options.learn_s):
            self._learned += 1
            self._ratio = max(self._ratio, ratio)
            return True
        if heard > self._options.echo_margin * self._ratio * loudest:
            return False
        self._ratio += 0.02 * (ratio - self._ratio) if ratio < self._ratio else 0.2 * (ratio - self._ratio)
        return True


def _frames(seconds: float) -> int:
    return max(1, round(seconds / FRAME_S))


def _loudness(frame: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(frame)))) if len(frame) else 0.0
