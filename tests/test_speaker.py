"""Speech follows the text in order, while it is written, and stops with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from assistant.events import SpeechChunk
from assistant.speaker import Speaker
from models.errors import EngineFailure, Unspeakable
from models.fakes import ScriptedSynthesizer
from models.interfaces import SpeechOptions
from models.streaming import CancelScope, CancelToken, Outlet, iterate_in_threads, never_cancelled
from models.types import AudioClip

OPTIONS = SpeechOptions(voice="hum", speed=2.0)


class RefusingSynthesizer(ScriptedSynthesizer):
    """Cannot say what holds the word "foreign"; breaks at "broken"."""

    def stream(self, text: str, options: SpeechOptions, cancel: CancelToken) -> Iterator[AudioClip]:
        if "foreign" in text:
            raise Unspeakable(f"Cannot say {text}")
        if "broken" in text:
            raise EngineFailure("The voice broke.")
        yield from super().stream(text, options, cancel)


def test_speaks_the_sentences_in_order_with_the_voice_asked_for() -> None:
    synthesizer = ScriptedSynthesizer()
    speaker = Speaker(synthesizer, OPTIONS, never_cancelled())
    for delta in ("Hello **wor", "ld**. How are", " you?\n```\nx = 1\n```\nBye"):
        speaker.feed(delta)
    speaker.close()
    chunks = list(speaker.chunks())
    assert [(c.sentence, c.text) for c in chunks] == [(0, "Hello world."), (1, "How are you?"), (2, "Bye")]
    assert synthesizer.calls == [(c.text, OPTIONS) for c in chunks]
    assert all(c.clip.seconds > 0 for c in chunks)


def test_closing_twice_is_harmless_and_an_empty_answer_is_silent() -> None:
    speaker = Speaker(ScriptedSynthesizer(), OPTIONS, never_cancelled())
    speaker.feed("```\ncode only\n```")
    speaker.close()
    speaker.close()
    assert list(speaker.chunks()) == []


def test_say_takes_a_sentence_as_it_is() -> None:
    speaker = Speaker(ScriptedSynthesizer(), OPTIONS, never_cancelled())
    speaker.say("One.")
    speaker.say("Two.")
    speaker.close()
    assert [c.text for c in speaker.chunks()] == ["One.", "Two."]


def test_speech_begins_while_the_text_is_still_written() -> None:
    speaker = Speaker(ScriptedSynthesizer(), OPTIONS, never_cancelled())
    heard = threading.Event()

    def write(outlet: Outlet[str | SpeechChunk]) -> None:
        speaker.feed("The first sentence. And then")
        assert heard.wait(5), "the first sentence was not spoken before the text ended"
        speaker.feed(" the second.")
        speaker.close()
        outlet.put("written")

    def speak(outlet: Outlet[str | SpeechChunk]) -> None:
        for chunk in speaker.chunks():
            heard.set()
            outlet.put(chunk)

    events = list(iterate_in_threads(write, speak))
    assert [e.text for e in events if isinstance(e, SpeechChunk)] == ["The first sentence.", "And then the second."]


def test_a_stale_token_ends_the_speech_and_begins_no_sentence_more() -> None:
    scope, synthesizer = CancelScope(), ScriptedSynthesizer()
    speaker = Speaker(synthesizer, OPTIONS, scope.begin())
    speaker.feed("One. Two. Three. ")
    chunks = speaker.chunks()
    assert next(chunks).text == "One."
    scope.cancel()
    assert list(chunks) == []
    assert len(synthesizer.calls) == 1


def test_a_stale_token_wakes_a_reader_that_waits_for_text() -> None:
    scope = CancelScope()
    speaker = Speaker(ScriptedSynthesizer(), OPTIONS, scope.begin())
    reader = threading.Thread(target=lambda: list(speaker.chunks()))
    reader.start()
    time.sleep(0.1)
    assert reader.is_alive()
    scope.cancel()
    reader.join(1)
    assert not reader.is_alive()


def test_a_failure_travels_to_the_reader_after_what_was_spoken() -> None:
    speaker = Speaker(RefusingSynthesizer(), OPTIONS, never_cancelled())
    speaker.feed("Fine. This is broken. Never said.")
    speaker.close()
    spoken: list[str] = []
    with pytest.raises(EngineFailure, match="The voice broke"):
        spoken.extend(c.text for c in speaker.chunks())
    chunks = Speaker(RefusingSynthesizer(), OPTIONS, never_cancelled())
    chunks.feed("Fine. This is broken. ")
    stream = chunks.chunks()
    assert next(stream).text == "Fine."
    with pytest.raises(EngineFailure):
        next(stream)


def test_a_sentence_that_the_voice_cannot_say_is_left_out_and_said_so() -> None:
    speaker = Speaker(RefusingSynthesizer(), OPTIONS, never_cancelled())
    speaker.feed("One. A foreign one. Two. More foreign ones.")
    speaker.close()
    stream, spoken = speaker.chunks(), []
    with pytest.raises(Unspeakable, match="A foreign one"):
        for chunk in stream:
            spoken.append(chunk.text)
    assert spoken == ["One.", "Two."]
