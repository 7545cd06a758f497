"""Sound: any rate, channels and container become mono 16 kHz; headers are not believed."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from models.errors import BadInput
from models.media import kind_of, load_sound
from models.media.sound import RATE, resampled


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_wav(path: Path, samples: np.ndarray, rate: int, channels: int = 1) -> Path:
    """`samples` float, shape (n,) or (n, channels), as 16-bit WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def encode(path: Path, samples: np.ndarray, rate: int, codec: str, sample_format: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(format=sample_format, layout="mono", rate=rate)
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = rate
        for piece in resampler.resample(frame):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def pitch(samples: np.ndarray) -> float:
    """The strongest frequency, in hertz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * RATE / len(samples))


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_any_rate_becomes_16_khz(tmp_path: Path, rate: int) -> None:
    clip = load_sound(write_wav(tmp_path / "tone.wav", tone(1.5, rate), rate))
    assert clip.rate == 16_000
    assert clip.samples.dtype == np.float32
    assert clip.seconds == pytest.approx(1.5, abs=0.01)
    assert pitch(clip.samples) == pytest.approx(440, abs=2)
    assert np.abs(clip.samples).max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8, 12, 24])
def test_channels_are_averaged(tmp_path: Path, channels: int) -> None:
    samples = np.zeros((16_000, channels), np.float32)
    samples[:, 0] = tone(1.0, 16_000)
    clip = load_sound(write_wav(tmp_path / "tone.wav", samples.reshape(-1), 16_000, channels))
    assert clip.seconds == pytest.approx(1.0, abs=0.01)
    assert np.abs(clip.samples).max() == pytest.approx(0.5 / channels, abs=0.01)


@pytest.mark.parametrize(
    ("file", "codec", "sample_format"),
    [("a.flac", "flac", "s16"), ("a.ogg", "libopus", "flt"), ("a.m4a", "aac", "fltp"), ("a.mka", "pcm_f64le", "dbl"),
     ("a.wav", "pcm_u8", "u8"), ("a.aiff", "pcm_s32be", "s32")],
)  # fmt: skip
def test_containers_and_sample_formats(tmp_path: Path, file: str, codec: str, sample_format: str) -> None:
    path = encode(tmp_path / file, tone(1.0, 48_000), 48_000, codec, sample_format)
    clip = load_sound(path)
    assert pitch(clip.samples[2000:14000]) == pytest.approx(440, abs=3)
    assert clip.seconds == pytest.approx(1.0, abs=0.1)
    assert kind_of(path) == "audio"


def float_wav(
    path: Path, samples: np.ndarray, *, rate: int = 16_000, channels: int = 1, length: int | None = None
) -> Path:
    data = samples.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, channels, rate, rate * 4 * channels, 4 * channels, 32)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", length or len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def test_what_is_not_a_number_is_silence(tmp_path: Path) -> None:
    samples = tone(1.0, 16_000)
    samples[100], samples[200], samples[300] = np.nan, np.inf, -1e30
    clip = load_sound(float_wav(tmp_path / "nan.wav", samples))
    assert np.isfinite(clip.samples).all()
    assert np.abs(clip.samples).max() <= 1.0
    assert pitch(clip.samples) == pytest.approx(440, abs=2)


def test_a_length_in_the_header_that_lies_does_not_matter(tmp_path: Path) -> None:
    clip = load_sound(float_wav(tmp_path / "long.wav", tone(1.0, 16_000), length=0x7FFFFFF0))
    assert clip.seconds == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("channels", "rate"), [(0, 16_000), (1, 0), (1, 2_000_000_000), (1, 7)])
def test_impossible_headers_are_refused(tmp_path: Path, channels: int, rate: int) -> None:
    data = b"\0" * 4000
    form = struct.pack("<HHIIHH", 1, channels, rate, 32000, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data)) + data
    path = tmp_path / "lie.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    with pytest.raises(BadInput):
        load_sound(path)


def test_too_long_is_refused_while_decoding(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "long.wav", np.zeros(16_000 * 5, np.float32), 16_000)
    with pytest.raises(BadInput, match="longer than 3 seconds"):
        load_sound(path, max_seconds=3)


def test_a_cut_off_file_gives_what_is_there(tmp_path: Path) -> None:
    path = encode(tmp_path / "whole.ogg", tone(4.0, 48_000), 48_000, "libopus", "flt")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 0.2 < load_sound(path).seconds < 4.0


def test_a_playlist_cannot_make_us_open_other_files(tmp_path: Path) -> None:
    secret = write_wav(tmp_path / "secret.wav", tone(1.0, 16_000), 16_000)
    for text in (
        f"ffconcat version 1.0\nfile {secret.name}\n",
        f"#EXTM3U\n#EXTINF:1,\n{secret.name}\n#EXT-X-ENDLIST\n",
    ):
        path = tmp_path / "list.m3u8"
        path.write_text(text)
        with pytest.raises(BadInput):
            load_sound(path)


def test_missing_empty_and_foreign_files_get_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("hello")
    for name, sentence in (("none.wav", "not there"), ("empty.wav", "empty"), ("text.wav", "not a sound")):
        with pytest.raises(BadInput, match=sentence):
            load_sound(tmp_path / name)


def test_resampled_agrees_with_the_file_path() -> None:
    found = resampled(tone(1.0, 44_100), 44_100)
    assert len(found) == pytest.approx(16_000, abs=50)
    assert pitch(found) == pytest.approx(440, abs=2)
