"""The packaged Piper voice, what it refuses, and what it leaves out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.errors import BadInput, EngineFailure, EngineUnavailable, Unspeakable
from models.interfaces import SpeechOptions
from models.speaking import XTTS, entries, load_synthesizer
from models.speaking.piper import PiperSynthesizer
from models.speaking.scripts import likeliest_language, sayable, script_of
from models.streaming import CancelScope, never_cancelled
from models.types import AudioClip
from models.weights import piper_voice_file


@pytest.fixture(scope="module")
def joe() -> PiperSynthesizer:
    loaded = load_synthesizer("piper:en_US-joe-medium", offline=True)
    assert isinstance(loaded, PiperSynthesizer)
    return loaded


def speak(engine: PiperSynthesizer, text: str, **options: object) -> list[AudioClip]:
    return list(engine.stream(text, SpeechOptions(**options), never_cancelled()))  # type: ignore[arg-type]


@pytest.mark.models
def test_speaks_one_clip_a_sentence(joe: PiperSynthesizer) -> None:
    clips = speak(joe, "The first sentence. And the second one.")
    assert len(clips) == 2
    for clip in clips:
        assert clip.rate == 22050
        assert 0.5 < clip.seconds < 5
        assert 0.1 < float(np.abs(clip.samples).max()) <= 1.0


@pytest.mark.models
@pytest.mark.slow
def test_what_is_said_is_understood_by_the_recogniser(joe: PiperSynthesizer) -> None:
    """The round trip of the issue's "done" list on a few answers; `python -m benchmarks.speech` does 20."""
    import jiwer

    from models.hearing import load_recognizer

    recognizer = load_recognizer("whisper-base", offline=True)
    plain = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip()])
    answers = [
        "The capital of France is Paris.",
        "I see two dogs running through a field. One of them is brown, and the other is white.",
        "The train leaves in the evening from the last platform, and it arrives before midnight.",
    ]
    heard = []
    for answer in answers:
        clips = speak(joe, answer)
        whole = AudioClip(np.concatenate([c.samples for c in clips]), clips[0].rate)
        heard.append(recognizer.transcribe(whole).text)
    assert jiwer.wer([plain(a) for a in answers], [plain(h) for h in heard]) <= 0.15, heard


@pytest.mark.models
def test_speed_changes_the_length(joe: PiperSynthesizer) -> None:
    text = "The weather is fine today, and so we will walk along the river until it gets dark."
    slow, plain, fast = (sum(c.seconds for c in speak(joe, text, speed=s)) for s in (0.7, 1.0, 1.6))
    assert slow > 1.2 * plain > 1.2 * 1.2 * fast


@pytest.mark.models
def test_offers_its_voice_and_refuses_another(joe: PiperSynthesizer) -> None:
    assert [(v.name, v.language) for v in joe.voices] == [("en_US-joe-medium", "en")]
    assert speak(joe, "Yes.", voice="en_US-joe-medium")
    with pytest.raises(BadInput, match=r"no voice named 'amy'.*en_US-joe-medium"):
        speak(joe, "Yes.", voice="amy")


@pytest.mark.models
@pytest.mark.parametrize("speed", [0.0, -1.0, 100.0, float("nan")])
def test_refuses_an_impossible_speed(joe: PiperSynthesizer, speed: float) -> None:
    with pytest.raises(BadInput, match="speed"):
        speak(joe, "Yes.", speed=speed)


@pytest.mark.models
@pytest.mark.parametrize(
    ("text", "language"), [("你好，世界。", "Chinese"), ("Привет, мир!", "Russian"), ("我用Python写。", "Chinese")]
)
def test_names_an_engine_for_what_the_voice_cannot_say(joe: PiperSynthesizer, text: str, language: str) -> None:
    with pytest.raises(Unspeakable, match=f"cannot say {language}.*xtts_v2"):
        speak(joe, text)


@pytest.mark.models
def test_leaves_out_the_lesser_part_that_the_voice_cannot_say(joe: PiperSynthesizer) -> None:
    mixed = sum(c.seconds for c in speak(joe, "In Chinese you would say 你好 to greet a friend of yours."))
    plain = sum(c.seconds for c in speak(joe, "In Chinese you would say to greet a friend of yours."))
    assert mixed == pytest.approx(plain, rel=0.25)


@pytest.mark.models
@pytest.mark.parametrize("text", ["", "   ", "...", "🎉", "\n"])
def test_nothing_to_say_is_silence_and_no_error(joe: PiperSynthesizer, text: str) -> None:
    assert speak(joe, text) == []


@pytest.mark.models
def test_raw_phonemes_cannot_be_smuggled_in(joe: PiperSynthesizer) -> None:
    assert joe._sayable("a [[bˈiː]] c") == "a [bˈiː] c"


@pytest.mark.models
def test_a_stale_token_stops_between_sentences(joe: PiperSynthesizer) -> None:
    scope = CancelScope()
    stream = joe.stream("One. Two. Three. Four.", SpeechOptions(), scope.begin())
    assert next(stream).seconds > 0
    scope.cancel()
    assert list(stream) == []
    assert list(joe.stream("One.", SpeechOptions(), scope.begin()))


@pytest.mark.models
def test_a_crash_of_the_library_becomes_a_sentence(joe: PiperSynthesizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> object:
        raise RuntimeError("onnx fell over")

    monkeypatch.setattr(joe._voice, "phoneme_ids_to_audio", crash)
    with pytest.raises(EngineFailure, match="onnx fell over"):
        speak(joe, "Yes.")


@pytest.mark.models
def test_another_voice_is_loaded_by_its_file_with_its_speakers(tmp_path: Path) -> None:
    file = tmp_path / "other.onnx"
    shutil.copy(piper_voice_file(), file)
    config = json.loads(Path(f"{piper_voice_file()}.json").read_text())
    Path(f"{file}.json").write_text(json.dumps({**config, "num_speakers": 2, "speaker_id_map": {"ann": 0, "bob": 1}}))
    engine = load_synthesizer(f"piper:{file}")
    assert engine.name == "piper:other"
    assert [v.name for v in engine.voices] == ["ann", "bob"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("piper:nobody", "no Piper voice named 'nobody'"),
        ("piper:/nowhere/voice.onnx", "is not there"),
        ("piper:", "no speech engine named 'piper:'"),
        ("festival", "no speech engine named 'festival'.*piper:en_US-joe-medium"),
    ],
)
def test_an_engine_that_is_not_there_says_what_is(name: str, message: str) -> None:
    with pytest.raises(EngineUnavailable, match=message):
        load_synthesizer(name)


def test_a_file_that_is_no_voice_says_so(tmp_path: Path) -> None:
    file = tmp_path / "bad.onnx"
    file.write_bytes(b"not a network")
    with pytest.raises(EngineUnavailable, match="is not there"):
        load_synthesizer(f"piper:{file}")
    Path(f"{file}.json").write_text("{}")
    with pytest.raises(EngineUnavailable, match="not a Piper voice"):
        load_synthesizer(f"piper:{file}")


def test_the_default_is_packaged_and_first() -> None:
    listed = entries()
    assert listed[0].name == "piper:en_US-joe-medium"
    assert listed[0].packaged
    assert [e.name for e in listed if "zh" in e.languages.split()] == [XTTS]


@pytest.mark.parametrize(
    ("text", "language", "said"),
    [
        ("Hello, world 3.14!", "en", "Hello, world 3.14!"),
        ("Straße, naïve, Ærø", "de", "Straße, naïve, Ærø"),
        ("π is 3.14", "en", "π is 3.14"),
        ("The word λόγος is Greek here", "en", "The word is Greek here"),
        ("你好", "en", ""),
        ("你好 Bob", "zh", "你好 Bob"),
        ("東京タワー", "ja", "東京タワー"),
        ("Привет", "ru", "Привет"),
        ("42", "en", "42"),
        ("?!", "en", ""),
    ],
)
def test_what_a_voice_can_say(text: str, language: str, said: str) -> None:
    assert sayable(text, language) == said


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("你好", "zh"),
        ("こんにちは世界です", "ja"),
        ("안녕하세요", "ko"),
        ("Привет", "ru"),
        ("Bonjour", "fr"),
        ("12", "fr"),
        ("我用Python", "zh"),
    ],
)
def test_the_script_tells_the_language(text: str, language: str) -> None:
    assert likeliest_language(text, "fr") == language


def test_digits_and_signs_have_no_script() -> None:
    assert [script_of(c) for c in "a1 é中Ａ"] == ["LATIN", "", "", "LATIN", "CJK", "LATIN"]
