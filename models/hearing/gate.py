"""The confidence gate: which decoded text is believed. Whisper invents fluent sentences where it hears nothing."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from models.hearing.passages import Segment


@dataclass(frozen=True)
class Gate:
    """When a segment is refused.

    Attributes:
        compression_ratio: above it, the text repeats itself. Whisper's authors decode again from 2.4 on (Radford et al.
            2022, arXiv:2212.04356, section 4.5). Here the text is thrown away, and a sentence that somebody really
            says twice has 2.5; "Thank you for watching." eight times has 5.5.
        no_speech: probability of "nothing is said" that, together with `log_probability`, means silence; ibid.
        log_probability: mean log-probability of the tokens; ibid.
        hopeless: mean log-probability under which nothing is believed, whatever the rest says.
        letters_per_second: nobody speaks faster. Very fast English is 7 syllables or some 25 letters a second.
    """

    compression_ratio: float = 3.0
    no_speech: float = 0.6
    log_probability: float = -1.0
    hopeless: float = -1.5
    letters_per_second: float = 30.0

    def refusal(self, segment: Segment, seconds: float) -> str:
        """Why `segment` is not believed, "" when it is.

        Args:
            segment: what was decoded.
            seconds: of sound that the segment can have been said in (its window's).
        """
        if not spoken_letters(segment.text):
            return "no words"
        if segment.compression_ratio > self.compression_ratio:
            return "repeats itself"
        if segment.average_log_probability < self.hopeless:
            return "improbable"
        if segment.no_speech_probability > self.no_speech and segment.average_log_probability < self.log_probability:
            return "silence"
        if spoken_letters(segment.text) > self.letters_per_second * seconds:
            return "too fast to be speech"
        return ""

    def believed(self, segments: Sequence[Segment], seconds: float) -> tuple[Segment, ...]:
        """The segments of one window that pass, together not faster than speech can be."""
        passed = tuple(s for s in segments if not self.refusal(s, seconds))
        together = sum(spoken_letters(s.text) for s in passed)
        return passed if together <= self.letters_per_second * seconds else ()


def spoken_letters(text: str) -> int:
    """How much there is to say in `text`: letters count 1; digits and characters that stand for a syllable count 3."""
    total = 0
    for character in text:
        if character.isdigit() or unicodedata.east_asian_width(character) in "WF":
            total += 3 if character.isalnum() else 0
        elif character.isalpha():
            total += 1
    return total
