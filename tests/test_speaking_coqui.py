"""Coqui TTS as far as it goes without its weights: a tiny random VITS end to end, and every refusal as a sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from models.errors import BadInput, EngineFailure, EngineUnavailable, Unspeakable
from models.interfaces import SpeechOptions
from models.speaking import XTTS, load_synthesizer
from models.speaking.coqui import CoquiSynthesizer
from models.streaming import CancelScope, never_cancelled
from models.types import AudioClip

pytest.importorskip("TTS")
pytestmark = pytest.mark.slow  # importing TTS and torch takes most of ten seconds on two cores

RATE = 16000


def save_tiny_vits(folder: Path) -> None:
    """Writes a VITS of a few thousand random weights, with config and checkpoint as Coqui itself saves them."""
    import torch
    from TTS.config.shared_configs import BaseAudioConfig
    from TTS.tts.configs.shared_configs import CharactersConfig
    from TTS.tts.configs.vits_config import VitsArgs, VitsConfig
    from TTS.tts.models.vits import Vits

    arguments = VitsArgs(
        hidden_channels=16,
        hidden_channels_ffn_text_encoder=32,
        num_heads_text_encoder=2,
        num_layers_text_encoder=1,
        num_layers_posterior_encoder=1,
        num_layers_flow=1,
        upsample_initial_channel_decoder=16,
        upsample_rates_decoder=[8, 8, 4],
        upsample_kernel_sizes_decoder=[16, 16, 8],
        resblock_kernel_sizes_decoder=[3],
        resblock_dilation_sizes_decoder=[[1, 3, 5]],
        out_channels=65,
        use_sdp=False,
        init_discriminator=False,
    )
    config = VitsConfig(
        model_args=arguments,
        audio=BaseAudioConfig(
            sample_rate=RATE, win_length=128, hop_length=256, fft_size=128, num_mels=20, do_trim_silence=False
        ),
        use_phonemes=False,
        text_cleaner="basic_cleaners",
        characters=CharactersConfig(
            pad="_", eos="~", bos="^", blank="*", characters="abcdefghijklmnopqrstuvwxyz", punctuations=" .,!?'"
        ),
    )
    torch.manual_seed(0)
    model = Vits(config)
    with torch.no_grad():  # about 4 frames a letter; fresh weights give less than one, which any speed rounds up to one
        model.duration_predictor.proj.bias.fill_(1.4)
    config.save_json(str(folder / "config.json"))
    torch.save({"model": model.state_dict()}, folder / "model.pth")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vits")
    save_tiny_vits(path)
    return path


@pytest.fixture
def engine(folder: Path) -> CoquiSynthesizer:
    loaded = load_synthesizer(f"coqui:{folder}", offline=True)
    assert isinstance(loaded, CoquiSynthesizer)
    return loaded


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for Coqui's downloads, and no licence accepted."""
    monkeypatch.setenv("TTS_HOME", str(tmp_path))
    monkeypatch.delenv("COQUI_TOS_AGREED", raising=False)
    return tmp_path / "tts"


def speak(engine: CoquiSynthesizer, text: str, **options: object) -> list[AudioClip]:
    return list(engine.stream(text, SpeechOptions(**options), never_cancelled()))  # type: ignore[arg-type]


def test_a_vits_from_a_folder_speaks_a_clip_a_sentence(engine: CoquiSynthesizer) -> None:
    clips = speak(engine, "Hello there. This is a second one.")
    assert len(clips) == 2
    for clip in clips:
        assert clip.rate == RATE
        assert clip.seconds > 0.2
        assert float(np.abs(clip.samples).max()) > 0
        assert not clip.samples[-int(0.1 * RATE) :].any(), "a pause follows each sentence"


def test_speed_is_the_models_length_scale_and_is_put_back(engine: CoquiSynthesizer) -> None:
    text = "hello there this is a longer sentence to be spoken " * 3
    slow, fast = (sum(c.seconds for c in speak(engine, text, speed=s)) for s in (0.5, 2.0))
    plain = sum(c.seconds for c in speak(engine, text))
    assert slow > plain > fast


def test_voices_and_their_refusals(engine: CoquiSynthesizer) -> None:
    assert [v.name for v in engine.voices] == ["default"]
    assert speak(engine, "hello", voice="default")
    with pytest.raises(BadInput, match="no voice named 'ann'"):
        speak(engine, "hello", voice="ann")
    with pytest.raises(BadInput, match="does not speak 'fr'"):
        speak(engine, "hello", voice="@fr")
    with pytest.raises(BadInput, match="speed"):
        speak(engine, "hello", speed=0.0)
    assert speak(engine, " ... ") == []


def test_several_languages_are_chosen_by_voice_and_by_script(engine: CoquiSynthesizer) -> None:
    engine._languages, engine._speakers = ["en", "de", "zh-cn"], ["Ann", "Bob"]
    assert [v.name for v in engine.voices] == ["Ann", "Bob", "@de", "@zh-cn"]
    assert [v.language for v in engine.voices] == ["en", "en", "de", "zh"]
    assert engine._chosen("") == ("Ann", "en")
    assert engine._chosen("Bob@de") == ("Bob", "de")
    assert engine._chosen("@zh") == ("Ann", "zh-cn")
    assert engine._sayable("Guten Tag", "de") == ("Guten Tag", "de")
    assert engine._sayable("你好", "de") == ("你好", "zh-cn")
    with pytest.raises(Unspeakable, match="cannot say Russian"):
        engine._sayable("Привет", "de")


def test_a_stale_token_stops_between_sentences(engine: CoquiSynthesizer) -> None:
    scope = CancelScope()
    stream = engine.stream("One here. Two here. Three here.", SpeechOptions(), scope.begin())
    assert next(stream).seconds > 0
    scope.cancel()
    assert list(stream) == []


def test_a_crash_of_the_library_becomes_a_sentence(engine: CoquiSynthesizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> object:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(engine._synthesizer, "tts", crash)
    with pytest.raises(EngineFailure, match="out of memory"):
        speak(engine, "hello")


def test_a_folder_without_a_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"config\.json is missing"):
        load_synthesizer(f"coqui:{tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EngineUnavailable, match="holds 0 checkpoints"):
        load_synthesizer(f"coqui:{tmp_path}")
    (tmp_path / "model.pth").write_bytes(b"no weights")
    with pytest.raises(EngineUnavailable, match="could not be loaded"):
        load_synthesizer(f"coqui:{tmp_path}")


def test_an_unknown_name_gets_close_ones(home: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"knows no model named.*tts_models/en/ljspeech/vits"):
        load_synthesizer("coqui:tts_models/en/ljspeech/vitz", offline=True)
    with pytest.raises(EngineUnavailable, match="neither a folder nor"):
        load_synthesizer("coqui:xtts", offline=True)


@pytest.mark.parametrize("offline", [True, False])
def test_a_licence_is_never_accepted_for_the_owner(home: Path, monkeypatch: pytest.MonkeyPatch, offline: bool) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("nobody may be asked on the terminal")

    monkeypatch.setattr("builtins.input", asked)
    with pytest.raises(EngineUnavailable, match=r"accept its licence.*COQUI_TOS_AGREED=1"):
        load_synthesizer(XTTS, offline=offline)
    assert not list(home.rglob("tos_agreed.txt"))


@pytest.mark.parametrize("name", [XTTS, "coqui:tts_models/en/ljspeech/vits", "coqui:tts_models/deu/fairseq/vits"])
def test_offline_fetches_nothing(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("COQUI_TOS_AGREED", "1")  # this test stands for an owner who did accept it
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("requests.get", lambda *_, **__: pytest.fail("the network was used"))
    with pytest.raises(EngineUnavailable, match=r"not on this machine.*without --offline"):
        load_synthesizer(name, offline=True)


def test_a_download_that_fails_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    def refuse(*_: object, **__: object) -> object:
        raise requests.ConnectionError("no route")

    monkeypatch.setattr("requests.get", refuse)
    with pytest.raises(EngineUnavailable, match=r"could not be fetched.*Check the network"):
        load_synthesizer("coqui:tts_models/en/ljspeech/vits")


def test_a_missing_package_names_its_remedy(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "TTS.utils.synthesizer", None)
    with pytest.raises(EngineUnavailable, match=r"cannot be used.*launch\.py"):
        load_synthesizer(f"coqui:{folder}")
