"""Hands-free talking: who has the floor, frame by frame, and the whole loop over pretended devices."""

from __future__ import annotations

import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from assistant import sound_devices, talk
from assistant.config import Settings
from assistant.dialogue import DialogueManager
from assistant.store import ConversationStore
from assistant.talk import TalkLoop
from assistant.turn_taking import FRAME, FRAME_S, RATE, Finished, Interrupted, TurnTaker, TurnTakingOptions
from models.engines import Engines
from models.errors import EngineUnavailable
from models.fakes import ScriptedModel, ScriptedRecognizer, ScriptedSynthesizer
from models.types import AudioClip

LOUD, QUIET = 0.3, 0.001


def sound(seconds: float, loudness: float, seed: int = 0) -> list[np.ndarray]:
    count = round(seconds / FRAME_S)
    noise = np.random.default_rng(seed).standard_normal((count, FRAME)).astype(np.float32)
    return list(noise * np.float32(loudness))


def probability(frame: np.ndarray) -> float:
    """Stands for the voice activity network: what is loud is speech."""
    return 0.95 if float(np.abs(frame).mean()) > 0.02 else 0.02


def actions(
    taker: TurnTaker, frames: list[np.ndarray], *, answering: bool = False, played: float = 0.0
) -> list[object]:
    taken = (taker.take(f, probability(f), answering=answering, played=played) for f in frames)
    return [action for action in taken if action is not None]


def test_a_turn_is_the_speech_with_a_little_before_and_the_pause_after() -> None:
    taker = TurnTaker()
    found = actions(taker, sound(1.0, QUIET) + sound(1.5, LOUD) + sound(1.0, QUIET))
    assert len(found) == 1
    assert isinstance(found[0], Finished)
    samples = found[0].samples
    assert samples.dtype == np.float32
    assert 1.5 + 0.7 <= len(samples) / RATE <= 1.5 + 0.7 + 0.6
    loud = np.flatnonzero(np.abs(samples) > 0.05)
    assert 0.2 < loud[0] / RATE < 0.6, "the first sound must not be cut"


def test_a_click_is_no_turn_and_a_short_pause_ends_none() -> None:
    assert actions(TurnTaker(), sound(0.5, QUIET) + sound(0.06, LOUD) + sound(2.0, QUIET)) == []
    found = actions(TurnTaker(), sound(0.8, LOUD) + sound(0.5, QUIET) + sound(0.8, LOUD) + sound(1.0, QUIET))
    assert [type(a) for a in found] == [Finished]


def test_an_endless_turn_is_ended() -> None:
    taker = TurnTaker(TurnTakingOptions(longest_s=2.0))
    assert [type(a) for a in actions(taker, sound(3.9, LOUD))] == [Finished]


def test_speaking_while_an_answer_is_made_interrupts_it_and_is_recorded() -> None:
    taker = TurnTaker()
    found = actions(taker, sound(1.0, LOUD), answering=True)
    assert [type(a) for a in found] == [Interrupted]
    assert taker.recording
    found = actions(taker, sound(1.0, QUIET))
    assert [type(a) for a in found] == [Finished]


def test_the_echo_of_the_answer_is_not_the_owner_but_louder_speech_is() -> None:
    taker = TurnTaker()
    echo = sound(3.0, 0.1)
    assert actions(taker, echo, answering=True, played=0.2) == []
    over = [e + s for e, s in zip(sound(1.0, 0.1, 1), sound(1.0, LOUD, 2), strict=True)]
    assert [type(a) for a in actions(taker, over, answering=True, played=0.2)] == [Interrupted]


def test_a_louder_answer_has_a_louder_echo() -> None:
    taker = TurnTaker()
    assert actions(taker, sound(2.0, 0.05), answering=True, played=0.1) == []
    assert actions(taker, sound(2.0, 0.2), answering=True, played=0.4) == []


@pytest.mark.models
def test_real_speech_is_told_from_noise_and_silence() -> None:
    from models.interfaces import SpeechOptions
    from models.media.sound import resampled
    from models.speaking import load_synthesizer
    from models.streaming import never_cancelled

    voice = load_synthesizer("piper:en_US-joe-medium", offline=True)
    spoken = next(voice.stream("What is the capital of France, please?", SpeechOptions(), never_cancelled()))
    speech = resampled(spoken.samples, spoken.rate)
    silence = np.zeros(2 * RATE, np.float32)
    noise = np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32) * np.float32(0.02)
    heard = np.concatenate([silence, noise, speech, silence])
    frames = [heard[at : at + FRAME] for at in range(0, len(heard) - FRAME, FRAME)]
    judged, taker = talk.speech_probability(), TurnTaker()
    taken = [taker.take(f, judged(f), answering=False) for f in frames]
    turns = [a.samples for a in taken if isinstance(a, Finished)]
    assert len(turns) == 1
    assert len(speech) / RATE < len(turns[0]) / RATE < len(speech) / RATE + 1.6


class PretendedDevices:
    """Plays a script of sounds into the microphone, each once its condition holds, and keeps what is played."""

    def __init__(self, script: list[tuple[object, list[np.ndarray]]], pace_s: float = 0.0) -> None:
        self.script = script
        self.pace_s = pace_s
        self.played: list[AudioClip] = []
        self.stops = 0
        self.playing_now = threading.Event()

    def frames(self) -> Iterator[np.ndarray]:
        for condition, frames in self.script:
            deadline = time.monotonic() + 10
            while callable(condition) and not condition(self):
                assert time.monotonic() < deadline, "waited in vain"
                time.sleep(0.01)
                yield np.zeros(FRAME, np.float32)
            for frame in frames:
                time.sleep(self.pace_s)
                yield frame

    def play(self, clip: AudioClip) -> None:
        self.played.append(clip)
        self.playing_now.set()

    def stop(self) -> None:
        self.stops += 1
        self.playing_now.clear()

    @property
    def playing(self) -> bool:
        return self.playing_now.is_set()

    @property
    def level(self) -> float:
        return 0.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


def loop_over(devices: PretendedDevices, settings: Settings, told: list[str], model: ScriptedModel) -> TalkLoop:
    engines = Engines.scripted(
        seeing=model, hearing=ScriptedRecognizer("What is the weather?"), speaking=ScriptedSynthesizer()
    )
    dialogue = DialogueManager(engines, ConversationStore(settings.data_dir), settings)
    return TalkLoop(dialogue, settings, devices, probability, told.append)


def test_a_spoken_question_is_answered_aloud_and_its_recording_removed(settings: Settings) -> None:
    said = sound(1.0, LOUD) + sound(1.0, QUIET)
    devices = PretendedDevices([(None, said), (lambda d: len(d.played) >= 2, [])])
    told: list[str] = []
    loop = loop_over(devices, settings, told, ScriptedModel(["It is sunny. Take a hat."]))
    loop.run()
    loop.close()
    assert len(devices.played) == 2
    assert "What is the weather?" in "".join(told)
    assert "It is sunny. Take a hat." in "".join(told)
    assert list((settings.data_dir / "tmp").iterdir()) == []
    assert (settings.data_dir / "tmp").stat().st_mode & 0o077 == 0


def test_speaking_over_the_answer_stops_it_and_is_answered(settings: Settings) -> None:
    said = sound(1.0, LOUD) + sound(1.0, QUIET)
    model = ScriptedModel(["This is a sentence. " * 200, "Short answer."], delay_s=0.01)
    devices = PretendedDevices(
        [
            (None, said),
            (lambda d: len(d.played) >= 2, said),
            (lambda d: len(model.calls) == 2 and d.played[-1].seconds < 0.15, []),
        ]
    )
    told: list[str] = []
    loop = loop_over(devices, settings, told, model)
    loop.run()
    loop.close()
    text = "".join(told)
    assert "[stopped]" in text
    assert text.rstrip().endswith("Short answer.")
    assert devices.stops >= 1
    assert model.words_made < 400, "the first answer went on being made"


def test_closing_leaves_nothing_running(settings: Settings) -> None:
    model = ScriptedModel(["word " * 5000], delay_s=0.01)
    devices = PretendedDevices([(None, sound(1.0, LOUD) + sound(1.0, QUIET)), (lambda d: model.words_made > 5, [])])
    loop = loop_over(devices, settings, [], model)
    loop.run()
    loop.close()
    made = model.words_made
    time.sleep(0.1)
    assert model.words_made == made < 4000
    assert not [t for t in threading.enumerate() if t.name == "lucid-talk"]


def test_without_the_package_or_portaudio_one_sentence_names_the_remedy(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialogue = DialogueManager(Engines.scripted(), ConversationStore(settings.data_dir), settings)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(EngineUnavailable, match=r"sounddevice is not installed.*launch\.py"):
        talk.run_talk(dialogue, settings)

    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.setattr("builtins.__import__", _import_failing("sounddevice", OSError("PortAudio library not found")))
    with pytest.raises(EngineUnavailable, match=r"PortAudio.*apt install libportaudio2"):
        talk.run_talk(dialogue, settings)


def _import_failing(name: str, error: Exception) -> object:
    original = __import__

    def importing(wanted: str, *rest: object, **named: object) -> object:
        if wanted == name:
            raise error
        return original(wanted, *rest, **named)  # type: ignore[arg-type]

    return importing


class PretendedStream:
    def __init__(self, callback: object, **settings: object) -> None:
        self.callback, self.settings, self.closed = callback, settings, False

    def start(self) -> None: ...

    def close(self) -> None:
        self.closed = True


def pretended_library(*, rates: tuple[int, ...] = (16000, 48000), missing: str = "") -> types.ModuleType:
    """A stand-in for sounddevice whose devices take only `rates`."""
    library = types.ModuleType("sounddevice")

    class PortAudioError(Exception): ...

    def query(kind: str) -> dict[str, float]:
        if kind == missing:
            raise PortAudioError("Error querying device -1")
        return {"default_samplerate": 44100.0}

    def check(samplerate: int, **_: object) -> None:
        if samplerate not in rates:
            raise PortAudioError("Invalid sample rate")

    library.PortAudioError = PortAudioError  # type: ignore[attr-defined]
    library.query_devices = query  # type: ignore[attr-defined]
    library.check_input_settings = library.check_output_settings = check  # type: ignore[attr-defined]
    library.InputStream = library.OutputStream = PretendedStream  # type: ignore[attr-defined]
    return library


@pytest.mark.parametrize(("kind", "name"), [("input", "microphone"), ("output", "speaker")])
def test_a_missing_device_is_named(monkeypatch: pytest.MonkeyPatch, kind: str, name: str) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", pretended_library(missing=kind))
    with pytest.raises(EngineUnavailable, match=f"There is no {name}.*doctor"), sound_devices.SoundDevices():
        pass


@pytest.mark.parametrize("rates", [(16000, 48000), ()])
def test_devices_turn_blocks_into_frames_and_play_in_order(
    monkeypatch: pytest.MonkeyPatch, rates: tuple[int, ...]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", pretended_library(rates=rates))
    with sound_devices.SoundDevices() as devices:
        microphone, speaker = devices._streams
        block = np.full((microphone.settings["blocksize"], 1), 0.25, np.float32)
        microphone.callback(block, len(block), None, None)
        frame = next(devices.frames())
        assert frame.shape == (FRAME,)
        assert frame[50:-50] == pytest.approx(0.25)

        rate = int(speaker.settings["samplerate"])
        devices.play(AudioClip(np.full(rate // 100, 0.5, np.float32), rate))
        devices.play(AudioClip(np.full(441, -0.5, np.float32), 44100))
        out = np.ones((rate // 50 + 10, 1), np.float32)
        speaker.callback(out, len(out), None, None)
        assert out[: rate // 100 - 2, 0] == pytest.approx(0.5)
        assert out[rate // 100 + 2 : rate // 50 - 2, 0] == pytest.approx(-0.5)
        assert not out[-5:].any()
        assert devices.level > 0.4
        speaker.callback(out, len(out), None, None)
        assert not out.any()
        assert not devices.playing

        devices.play(AudioClip(np.full(rate, 0.5, np.float32), rate))
        devices.stop()
        speaker.callback(out, len(out), None, None)
        assert not out.any()
    assert microphone.closed
    assert speaker.closed
