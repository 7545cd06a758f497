"""Hearing: windows, the gate, and the real packaged Whisper on real recordings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.errors import Cancelled, EngineFailure, EngineUnavailable
from models.hearing import entries, load_recognizer
from models.hearing.gate import Gate, spoken_letters
from models.hearing.passages import Segment, token_limit
from models.hearing.recognizer import WhisperRecognizer
from models.hearing.voice_activity import FRAME, RATE, Sensitivity, SpeechSpan, VoiceActivityDetector, spans
from models.hearing.windows import windows
from models.interfaces import SpeechRecognizer
from models.media import load_sound
from models.streaming import CancelScope, CancelToken
from models.types import AudioClip, Word

SPEECH = Path("tests/fixtures/speech")


def segment(text: str, log_probability: float = -0.3, no_speech: float = 0.1, ratio: float = 1.0) -> Segment:
    words = tuple(Word(f" {w}", float(i), i + 0.9, 0.8) for i, w in enumerate(text.split()))
    return Segment(text, words, log_probability, no_speech, ratio)


class ScriptedDecoder:
    """Gives what it is told for each language, and remembers what it was asked."""

    def __init__(
        self, texts: dict[str, Sequence[Segment]], ranked: Sequence[tuple[str, float]] = (("en", 0.9),)
    ) -> None:
        self.texts, self.ranked = texts, ranked
        self.asked: list[tuple[str, float]] = []

    def languages(self, samples: np.ndarray) -> Sequence[tuple[str, float]]:
        return self.ranked

    def decode(self, samples: np.ndarray, language: str, cancel: CancelToken) -> tuple[Segment, ...]:
        cancel.raise_if_cancelled()
        self.asked.append((language, len(samples) / RATE))
        return tuple(self.texts[language])


@pytest.fixture(scope="module")
def question() -> AudioClip:
    return load_sound(SPEECH / "weather_question.flac")


# Voice activity


def test_spans_bridge_pauses_drop_clicks_and_do_not_overlap() -> None:
    frame = FRAME / RATE
    probabilities = np.zeros(200)
    probabilities[20:40] = 0.9
    probabilities[45:60] = 0.9  # after a pause of 0.16 s
    probabilities[100] = 0.9  # a click
    probabilities[150:170] = 0.9
    found = spans(probabilities, 200 * frame, Sensitivity())
    assert len(found) == 2
    assert found[0].start == pytest.approx(20 * frame - 0.2)
    assert found[0].end == pytest.approx(60 * frame + 0.2)
    assert found[0].end <= found[1].start
    assert spans(np.zeros(50), 1.6, Sensitivity()) == ()


def test_real_speech_is_found_and_silence_hiss_and_tones_are_not(question: AudioClip) -> None:
    voice = VoiceActivityDetector()
    (span,) = voice.speech(question.samples)
    assert 0 <= span.start < 0.6
    assert 1.2 < span.end <= question.seconds
    seconds = np.arange(5 * RATE) / RATE
    noise = np.random.default_rng(0).normal(0, 1, len(seconds))
    for other in (0 * seconds, 0.01 * noise, 0.3 * noise, 0.3 * np.sin(2 * np.pi * 440 * seconds)):
        assert voice.speech(other.astype(np.float32)) == ()
    assert voice.speech(np.zeros(0, np.float32)) == ()


def test_voice_activity_is_the_same_in_one_batch_and_in_many(
    question: AudioClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = VoiceActivityDetector()
    whole = voice.probabilities(question.samples)
    monkeypatch.setattr("models.hearing.voice_activity.BATCH", 7)
    np.testing.assert_allclose(voice.probabilities(question.samples), whole, atol=1e-5)


# Windows


def test_windows_hold_all_speech_shorten_pauses_and_know_the_way_back() -> None:
    samples = np.arange(100 * RATE, dtype=np.float32)
    speech = [SpeechSpan(1, 11, 0.9), SpeechSpan(21, 31, 0.9), SpeechSpan(40, 90, 0.8)]
    found = windows(samples, speech, limit=29)
    assert all(len(window.samples) <= 29 * RATE + 1 for window in found)
    total = sum(p.end - p.start for window in found for p in window.pieces)
    assert total == pytest.approx(70 + 0.6, abs=0.01)
    first = found[0]
    assert first.original_time(0.0) == 1
    assert first.original_time(10.3) == pytest.approx(20.7, abs=0.01)  # in the shortened pause
    for window in found:
        for at in (0.5, 5.0, 9.0):
            sample = window.samples[round(at * RATE)]
            assert window.original_time(at) == pytest.approx(sample / RATE, abs=0.01)


def test_speech_longer_than_a_window_is_cut() -> None:
    found = windows(np.zeros(100 * RATE, np.float32), [SpeechSpan(0, 100, 0.9)], limit=29)
    assert len(found) == 4
    assert found[-1].pieces[-1].end == 100


# The gate


@pytest.mark.parametrize(
    ("heard", "seconds", "reason"),
    [
        (segment("What is the weather in Paris?"), 1.8, ""),
        (segment("I'm sorry, " * 30, ratio=20), 30, "repeats itself"),
        (segment("Thank you for watching!", -1.1, 0.8), 5, "silence"),
        (segment("Ask what you can do for your country. " * 2, ratio=2.5), 6, ""),
        (segment("Thank you very much."), 0.3, "too fast to be speech"),
        (segment("Mumble", -2.0), 2, "improbable"),
        (segment(" ... "), 2, "no words"),
        (segment("我有的时候说不清楚你们知道吗"), 1.8, ""),
        (segment("4", -0.9, 0.5), 0.3, ""),
    ],
)
def test_the_gate(heard: Segment, seconds: float, reason: str) -> None:
    assert Gate().refusal(heard, seconds) == reason


def test_letters_count_by_how_long_they_take_to_say() -> None:
    assert spoken_letters("Hi, you!") == 5
    assert spoken_letters("你好。") == 6
    assert spoken_letters("42") == 6


def test_a_loop_is_stopped_early_and_fast_speech_fits() -> None:
    assert token_limit(0.3) < 30
    assert token_limit(5) > 100
    assert token_limit(30) <= 200


# The recogniser, with a scripted decoder


def test_nothing_is_decoded_where_nobody_speaks() -> None:
    decoder = ScriptedDecoder({"en": [segment(" Thanks for watching!")]})
    transcript = WhisperRecognizer("test", decoder).transcribe(AudioClip(np.zeros(RATE * 5, np.float32), RATE))
    assert (transcript.text, transcript.words, transcript.language) == ("", (), "")
    assert transcript.seconds == 5
    assert decoder.asked == []


def test_the_likeliest_text_wins_where_the_language_is_unsure(question: AudioClip) -> None:
    decoder = ScriptedDecoder(
        {
            "cy": [segment(" Mae'r gweithio", ratio=3.7)],
            "en": [segment(" What is it?", -0.3)],
            "nl": [segment(" Wat is", -0.9)],
        },
        [("cy", 0.4), ("en", 0.3), ("nl", 0.2), ("de", 0.01)],
    )
    transcript = WhisperRecognizer("test", decoder).transcribe(question)
    assert (transcript.text, transcript.language, transcript.language_probability) == ("What is it?", "en", 0.3)
    assert [language for language, _ in decoder.asked] == ["cy", "en", "nl"]


def test_a_sure_or_given_language_is_decoded_once(question: AudioClip) -> None:
    decoder = ScriptedDecoder({"en": [segment(" yes")], "fr": [segment(" oui")]})
    recognizer = WhisperRecognizer("test", decoder)
    assert recognizer.transcribe(question).language == "en"
    assert recognizer.transcribe(question, language="fr").text == "oui"
    assert [language for language, _ in decoder.asked] == ["en", "fr"]


def test_a_failing_engine_is_an_engine_failure_and_works_again_afterwards(question: AudioClip) -> None:
    decoder = ScriptedDecoder({})
    recognizer = WhisperRecognizer("test", decoder)
    with pytest.raises(EngineFailure, match="broke"):
        recognizer.transcribe(question)
    decoder.texts = {"en": [segment(" hello")]}
    assert recognizer.transcribe(question).text == "hello"


def test_cancelling_ends_it(question: AudioClip) -> None:
    scope = CancelScope()
    token = scope.begin()
    scope.cancel()
    decoder = ScriptedDecoder({"en": [segment(" hello")]})
    with pytest.raises(Cancelled):
        WhisperRecognizer("test", decoder).transcribe(question, cancel=token)
    assert decoder.asked == []


def test_simplified_characters_where_opencc_is_there() -> None:
    pytest.importorskip("opencc")
    from models.hearing.chinese import simplified

    assert simplified("換一首歌") == "换一首歌"


# Names


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(EngineUnavailable, match="whisper-base"):
        load_recognizer("siri")
    assert entries()[0].name == "whisper-base"
    assert entries()[0].packaged


@pytest.mark.parametrize("name", ["faster-whisper:small", "openai-whisper:small", "faster-whisper:/nowhere"])
def test_weights_that_are_not_there_offline(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(EngineUnavailable) as caught:
        load_recognizer(name, offline=True)
    assert caught.value.remedy


def test_a_missing_package_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable, match="pip install openai-whisper"):
        load_recognizer("openai-whisper:base")


def test_importing_hearing_imports_nothing_heavy() -> None:
    import subprocess

    code = "import sys, models.hearing, models.media; print(sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"'torch'", "'faster_whisper'", "'av'"} & set(found.stdout.strip("[]\n").split(", "))


# The packaged Whisper


@pytest.fixture(scope="module")
def whisper() -> SpeechRecognizer:
    return load_recognizer("whisper-base", offline=True)


@pytest.mark.models
def test_whisper_hears_kennedy_with_word_times(whisper: SpeechRecognizer) -> None:
    transcript = whisper.transcribe(load_sound(SPEECH / "jfk.flac"))
    said = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"
    heard = "".join(c for c in transcript.text.lower() if c.isalpha() or c == " ")
    assert heard == said
    assert transcript.language == "en"
    assert [w.start for w in transcript.words] == sorted(w.start for w in transcript.words)
    country = [w for w in transcript.words if "country" in w.text]
    assert country[0].start == pytest.approx(6.2, abs=0.7)
    assert country[1].end == pytest.approx(10.4, abs=0.7)
    assert transcript.confidence > 0.8


@pytest.mark.models
def test_whisper_hears_another_rate_the_same(whisper: SpeechRecognizer, question: AudioClip) -> None:
    expected = "What is the weather in Paris?"
    assert whisper.transcribe(question).text == expected
    from scipy.signal import resample_poly

    fast = AudioClip(resample_poly(question.samples, 3, 1).astype(np.float32), 48_000)
    assert whisper.transcribe(fast).text == expected


@pytest.mark.models
def test_whisper_hears_chinese(whisper: SpeechRecognizer) -> None:
    transcript = whisper.transcribe(load_sound(SPEECH / "chinese.flac"))
    assert transcript.language == "zh"
    assert "自己的" in transcript.text


@pytest.mark.models
@pytest.mark.slow
def test_whisper_hears_more_than_thirty_seconds_with_long_silence(
    whisper: SpeechRecognizer, question: AudioClip
) -> None:
    jfk = load_sound(SPEECH / "jfk.flac").samples
    silence = np.zeros(20 * RATE, np.float32)
    clip = AudioClip(np.concatenate([question.samples, silence, jfk, jfk, silence, question.samples]), RATE)
    transcript = whisper.transcribe(clip)
    assert transcript.text.lower().count("fellow americans") == 2
    assert transcript.text.count("Paris") == 2
    assert transcript.words[-1].end > clip.seconds - 2
    assert transcript.words[-1].end <= clip.seconds + 0.1


@pytest.mark.models
def test_whisper_hears_nothing_in_silence_and_noise(whisper: SpeechRecognizer) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 5 * RATE).astype(np.float32)
    for samples in (np.zeros(5 * RATE, np.float32), noise, np.zeros(10, np.float32), np.zeros(0, np.float32)):
        assert whisper.transcribe(AudioClip(samples, RATE)).text == ""


# openai-whisper, with random weights: everything but the words is real


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from whisper.model import ModelDimensions, Whisper

    torch.manual_seed(0)
    dims = ModelDimensions(80, 1500, 32, 2, 1, 51865, 448, 32, 2, 1)
    path = tmp_path_factory.mktemp("whisper") / "random.pt"
    model = Whisper(dims)
    for weights in model.parameters():  # some of them are created without values
        torch.nn.init.normal_(weights, std=0.02)
    torch.save({"dims": vars(dims), "model_state_dict": model.state_dict()}, path)
    return path


@pytest.mark.slow
def test_openai_whisper_runs_from_a_file_without_ffmpeg(
    tiny_checkpoint: Path, question: AudioClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    recognizer = load_recognizer(f"openai-whisper:{tiny_checkpoint}", offline=True)
    transcript = recognizer.transcribe(question)
    assert transcript.seconds == question.seconds
    from models.hearing.openai import OpenAIDecoder

    decoder = OpenAIDecoder(str(tiny_checkpoint))
    ranked = decoder.languages(question.samples)
    assert len(ranked) > 90
    assert ranked[0][1] >= ranked[-1][1]
    scope = CancelScope()
    for found in decoder.decode(question.samples, "en", scope.begin()):
        assert found.average_log_probability < 0
        assert 0 <= found.no_speech_probability <= 1
    stale = scope.begin()
    scope.cancel()
    with pytest.raises(Cancelled):
        decoder.decode(question.samples, "en", stale)


def test_a_broken_checkpoint_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "broken.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(EngineUnavailable):
        load_recognizer(f"openai-whisper:{path}", offline=True)
