"""`/v1/audio/transcriptions` and `/v1/audio/speech`, by the real openai client over a real socket."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import openai
import pytest

from models.engines import Engines
from models.errors import EngineFailure, Unspeakable
from models.fakes import ScriptedRecognizer, ScriptedSynthesizer
from models.hearing.languages import LANGUAGES
from models.interfaces import SpeechOptions
from models.types import AudioClip, Transcript, Word
from tests.api_server import FIXTURES, ApiServer, serving, until
from ui.api.encoding import FORMATS, encoded
from ui.api.subtitles import cues, srt, vtt

SPEECH = FIXTURES / "speech" / "jfk.flac"
SENTENCE = "What is the capital of France?"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with serving(tmp_path_factory.mktemp("api"), max_upload_mb=1) as running:
        yield running


def hear(server: ApiServer, **options: Any) -> Any:
    options.setdefault("file", SPEECH)
    return server.client.audio.transcriptions.create(model="lucid", **options)


def say(server: ApiServer, text: str = "Hello there.", **options: Any) -> Any:
    return server.client.audio.speech.create(model="scripted", input=text, **{"voice": "tone", **options})


def samples_of(sound: bytes, **options: Any) -> tuple[np.ndarray, int]:
    with av.open(io.BytesIO(sound), **options) as container:
        frames = [f.to_ndarray().astype(np.float64).ravel() for f in container.decode(audio=0)]
        return np.concatenate(frames), container.streams.audio[0].rate


# Hearing


def test_transcripts_in_every_format(server: ApiServer) -> None:
    assert hear(server).text == SENTENCE
    assert hear(server).usage.seconds == pytest.approx(11.0, abs=0.1)
    assert hear(server, response_format="text") == SENTENCE + "\n"
    assert hear(server, response_format="srt").startswith("1\n00:00:00,000 --> 00:00:")
    assert hear(server, response_format="vtt").startswith("WEBVTT\n\n00:00:00.000 --> ")
    verbose = hear(server, response_format="verbose_json")
    assert (verbose.text, verbose.language) == (SENTENCE, "en")
    assert verbose.duration == pytest.approx(11.0, abs=0.1)
    assert " ".join(s.text for s in verbose.segments) == SENTENCE
    assert verbose.words is None


def test_words_have_their_times(server: ApiServer) -> None:
    verbose = hear(server, response_format="verbose_json", timestamp_granularities=["word"])
    assert [w.word for w in verbose.words] == SENTENCE.split()
    assert all(a.end <= b.start for a, b in zip(verbose.words, verbose.words[1:]))
    assert verbose.segments is None
    both = hear(server, response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert len(both.words) == 6
    assert both.segments


def test_the_language_reaches_the_recogniser(server: ApiServer) -> None:
    heard = hear(server, response_format="verbose_json", language="zh-CN", prompt="Ignored.", temperature=0)
    assert heard.language == "zh"
    for wrong in ("xx", "english", "e"):
        with pytest.raises(openai.BadRequestError, match="ISO 639-1"):
            hear(server, language=wrong)


def test_the_languages_are_whispers() -> None:
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    assert frozenset(_LANGUAGE_CODES) == LANGUAGES


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"file": ("a.wav", b"no sound")}, "a.wav"),
        ({"file": ("../../etc/a.wav", b"no sound")}, "“a.wav” is not"),
        ({"file": ("empty.wav", b"")}, "empty.wav is empty"),
        ({"file": FIXTURES / "pictures" / "cat.jpg"}, "cat.jpg"),
        ({"file": FIXTURES / "bad" / "audio_hound_nonstandard-02.wav"}, "hound"),
        ({"response_format": "diarized_json"}, "one of json, text"),
        ({"timestamp_granularities": ["word"]}, "verbose_json only"),
        ({"response_format": "verbose_json", "timestamp_granularities": ["letter"]}, "word and segment"),
        ({"stream": True}, "stream must be false"),
    ],
)
def test_what_cannot_be_heard(server: ApiServer, options: dict[str, Any], why: str) -> None:
    with pytest.raises(openai.BadRequestError, match=re.escape(why)):
        hear(server, **options)
    assert list(server.services.inbox.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"files": {"other": ("a.wav", b"x")}, "data": {"model": "lucid"}}, 400),
        ({"data": {"model": "lucid", "file": "a path"}}, 400),
        ({"files": {"file": ("a.wav", b"x")}}, 400),
        ({"files": {"file": ("a.wav", b"x")}, "data": {"model": "other"}}, 404),
        ({"files": [("file", ("a.wav", b"x")), ("file", ("b.wav", b"x"))], "data": {"model": "lucid"}}, 400),
        ({"json": {"model": "lucid", "file": "x"}}, 400),
        ({"content": b"--B\r\nbroken", "headers": {"content-type": "multipart/form-data; boundary=B"}}, 400),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400),
        ({"files": {"file": ("a.wav", b"x")}, "data": {f"f{n}": "x" for n in range(40)}}, 400),
        ({"files": {"file": ("a.wav", bytes((1 << 20) + 1))}, "data": {"model": "lucid"}}, 400),
        ({"files": {"file": ("a.wav", bytes(3 << 20))}, "data": {"model": "lucid"}}, 413),
    ],
)
def test_forms_that_are_no_requests(server: ApiServer, options: dict[str, Any], status: int) -> None:
    answer = server.post("/v1/audio/transcriptions", **options)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"].endswith(".")
    assert list(server.services.inbox.folder.iterdir()) == []


def test_hanging_up_stops_the_hearing(tmp_path: Path) -> None:
    class Slow(ScriptedRecognizer):
        windows = 0

        def transcribe(self, clip: AudioClip, *, language: str | None = None, cancel: Any = None) -> Transcript:
            while True:
                cancel.raise_if_cancelled()
                self.windows += 1
                time.sleep(0.01)

    ear = Slow()
    with serving(tmp_path, Engines.scripted(hearing=ear)) as server:
        client = server.client.with_options(timeout=0.4)
        with pytest.raises(openai.APITimeoutError):
            client.audio.transcriptions.create(model="lucid", file=SPEECH)
        until(lambda: server.lines["hearing"].inside == 0)
        assert ear.windows > 3
        until(lambda: list(server.services.inbox.folder.iterdir()) == [])


def words_of(text: str, seconds: float = 0.4, pause: dict[int, float] | None = None) -> Transcript:
    words, at = [], 0.0
    for index, word in enumerate(text.split(" ")):
        at += (pause or {}).get(index, 0.0)
        words.append(Word(word, at, at + seconds, 0.9))
        at += seconds
    return Transcript(text, "en", 0.9, tuple(words), at)


def test_subtitles_can_be_read_while_they_stand() -> None:
    text = "First a sentence. Then another one, <b>bold</b> & long. " + "and so on " * 30 + "the end"
    transcript = words_of(text, pause={9: 5.0})
    found = cues(transcript)
    assert " ".join(c.text for c in found) == text
    assert [c.text for c in found[:2]] == ["First a sentence.", "Then another one, <b>bold</b> & long."]
    assert all(c.end - c.start <= 7.01 and len(c.text) <= 84 for c in found)
    assert all(a.end <= b.start for a, b in zip(found, found[1:]))
    assert "\n\n2\n00:00:01,200 --> " in srt(transcript)
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; long." in vtt(transcript)


def test_subtitles_of_odd_transcripts() -> None:
    assert cues(Transcript("")) == ()
    assert [c.text for c in cues(Transcript("No times.", seconds=2.0))] == ["No times."]
    chinese = Transcript(
        "今天天气很好。我们走吧",
        "zh",
        1.0,
        tuple(Word(c, i, i + 1, 1.0) for i, c in enumerate("今天天气很好。我们走吧")),
    )
    assert [c.text for c in cues(chinese)] == ["今天天气很好。", "我们走吧"]
    unfound = Transcript("It is 5 o'clock", words=(Word("It", 0, 1, 1), Word("is", 1, 2, 1), Word("five", 2, 3, 1)))
    assert [c.text for c in cues(unfound)] == ["It is 5 o'clock"]


# Speaking


@pytest.mark.parametrize("kind", FORMATS)
def test_speech_in_every_format(server: ApiServer, kind: str) -> None:
    sound = say(server, "word " * 40, response_format=kind)
    assert sound.response.headers["content-type"] == FORMATS[kind]
    options = {"format": "s16le", "options": {"sample_rate": "24000"}} if kind == "pcm" else {}
    samples, rate = samples_of(sound.content, **options)
    assert len(samples) / rate == pytest.approx(2.0, abs=0.15)
    level = samples / (32768 if np.abs(samples).max() > 2 else 1)
    assert np.abs(level).max() == pytest.approx(0.2, abs=0.05)
    spectrum = np.abs(np.fft.rfft(level))
    assert spectrum.argmax() * rate / len(level) == pytest.approx(440, abs=2)


def test_speech_is_mp3_unless_asked_otherwise(server: ApiServer) -> None:
    assert say(server).response.headers["content-type"] == "audio/mpeg"


def test_voice_and_speed_reach_the_synthesizer(server: ApiServer) -> None:
    mouth: Any = server.services.engines.speaking()
    say(server, "# Hello\n\nSee **this** `code`.", voice="hum", speed=2)
    assert mouth.calls[-1][1] == SpeechOptions("hum", 2.0)
    assert "#" not in mouth.calls[-1][0]
    assert "*" not in mouth.calls[-1][0]
    say(server, voice={"id": "hum"})
    assert mouth.calls[-1][1] == SpeechOptions("hum", 1.0)
    server.post("/v1/audio/speech", json={"model": "lucid", "input": "Hello"})
    assert mouth.calls[-1][1] == SpeechOptions("", 1.0)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"voice": "alloy"}, "Voices are: tone, hum"),
        ({"voice": ""}, ""),
        ({"text": ""}, "nothing in this text"),
        ({"text": "```\ncode\n```"}, "nothing in this text"),
        ({"text": "x" * 4097}, "longer than 4,096"),
        ({"speed": 5}, "from 0.25 to 4"),
        ({"response_format": "midi"}, "one of mp3"),
        ({"stream_format": "sse"}, "must be audio"),
        ({"instructions": "Whisper."}, "how to speak"),
        ({"extra_body": {"input": 5}}, "must be a text"),
        ({"extra_body": {"voice": 5}}, "must be a text"),
        ({"extra_body": {"voice": {}}}, "must be a text"),
    ],
)
def test_what_cannot_be_spoken(server: ApiServer, options: dict[str, Any], why: str) -> None:
    if not why:
        assert say(server, **options).content
        return
    with pytest.raises(openai.BadRequestError, match=re.escape(why)):
        say(server, **options)


class Broken(ScriptedSynthesizer):
    """Speaks twice, then breaks; or at once, with a sentence about the language."""

    def stream(self, text: str, options: SpeechOptions, cancel: Any) -> Iterator[AudioClip]:
        if "你" in text:
            raise Unspeakable("The voice speaks English and cannot say Chinese.", "Choose another.")
        for _ in range(2):
            yield AudioClip(np.full(24000, 0.1, np.float32), 24000)
        raise EngineFailure("The voice broke.")


def test_a_language_that_is_not_spoken_and_a_voice_that_breaks(tmp_path: Path) -> None:
    with serving(tmp_path, Engines.scripted(speaking=Broken())) as server:
        for kind in FORMATS:
            with pytest.raises(openai.BadRequestError, match="cannot say Chinese"):
                say(server, "你好", response_format=kind)
        # Half of the speech must not be taken for all of it.
        with pytest.raises(openai.APIConnectionError):
            say(server, response_format="wav")


def test_speech_is_sent_while_it_is_made_and_ends_with_its_listener(tmp_path: Path) -> None:
    class Endless(ScriptedSynthesizer):
        clips = 0

        def stream(self, text: str, options: SpeechOptions, cancel: Any) -> Iterator[AudioClip]:
            while not cancel.cancelled:
                self.clips += 1
                yield AudioClip(np.full(2400, 0.1, np.float32), 24000)
                time.sleep(0.005)

    mouth = Endless()
    with serving(tmp_path, Engines.scripted(speaking=mouth)) as server:
        for kind in ("wav", "mp3"):
            sound = server.client.audio.speech.with_streaming_response
            with sound.create(model="lucid", voice="tone", input="Go on.", response_format=kind) as answer:
                pieces = answer.iter_bytes(1000)
                assert len(next(pieces)) == len(next(pieces)) == 1000
            until(lambda: server.lines["speaking"].inside == 0)
        assert 0 < mouth.clips < 400


def test_sound_has_no_seams_between_clips() -> None:
    tone = (0.5 * np.sin(2 * np.pi * 300 * np.arange(22050) / 22050)).astype(np.float32)
    whole, parts = ([AudioClip(tone, 22050)], [AudioClip(piece, 22050) for piece in np.array_split(tone, 7)])
    for kind in ("pcm", "flac", "wav"):
        one, other = (b"".join(encoded(iter(clips), kind)) for clips in (whole, parts))
        if kind == "flac":
            assert np.array_equal(samples_of(one)[0], samples_of(other)[0])
        else:
            assert one == other
    assert b"".join(encoded(iter(()), "mp3")) == b""
