"""Video: frames with true times, upright, without decoding everything; sound beside them."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from models.errors import BadInput
from models.media import frames as frames_module
from models.media import kind_of, load_video

FPS = 10
HERTZ = 8_000


def film(
    path: Path,
    seconds: float,
    *,
    size: tuple[int, int] = (64, 48),
    codec: str = "mpeg4",
    gop: int = 10,
    sound: bool = False,
) -> Path:
    """A video whose grey level says the time: 0 at the start, 250 at the end."""
    count = round(seconds * FPS)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        stream.bit_rate = 2_000_000
        audio = container.add_stream("aac", rate=HERTZ, layout="mono") if sound else None
        for index in range(count):
            grey = np.full((size[1], size[0], 3), round(250 * index / max(1, count - 1)), np.uint8)
            grey[: size[1] // 4, : size[0] // 4] = (255, 0, 0)  # a red corner, top left
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
        if audio:
            samples = (0.3 * np.sin(np.arange(round(seconds * HERTZ)) / 3)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate = HERTZ
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=HERTZ, frame_size=1024)
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(audio.encode(piece))
            container.mux(audio.encode(None))
    return path


def time_shown(image: Image.Image, seconds: float) -> float:
    """The time that the frame's grey says."""
    return np.asarray(image)[-10:, -10:].mean() / 250 * seconds


@pytest.mark.parametrize(
    ("file", "codec"),
    [("a.mp4", "mpeg4"), ("a.mkv", "mpeg4"), ("a.webm", "libvpx"), ("a.avi", "mpeg4"), ("a.ts", "mpeg2video")],
)
@pytest.mark.parametrize("gop", [5, 1000])
def test_frames_are_spread_evenly_and_their_times_are_true(tmp_path: Path, file: str, codec: str, gop: int) -> None:
    clip = load_video(film(tmp_path / file, 12.0, codec=codec, gop=gop) if codec != "mpeg2video" else
                      _transport_stream(tmp_path / file, gop), frames=6)  # fmt: skip
    times = [frame.time for frame in clip.frames]
    assert times == pytest.approx([1, 3, 5, 7, 9, 11], abs=0.15)
    for frame in clip.frames:
        assert time_shown(frame.image, 12.0) == pytest.approx(frame.time, abs=0.6)
    assert clip.seconds == pytest.approx(12.0, abs=0.2)
    assert clip.audio is None
    assert clip.notes == ()


def _transport_stream(path: Path, gop: int) -> Path:
    """MPEG-2 video allows few rates: 25 a second, each picture of `film` shown 2.5 times as long is not possible."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", min(gop, 500)
        for index in range(300):
            grey = np.full((48, 64, 3), round(250 * index / 299), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_long_video_is_not_decoded_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "long.mp4", 120.0, gop=10)
    decoded = []
    original = frames_module.FrameReader._decoded

    def counting(self: frames_module.FrameReader):  # type: ignore[no-untyped-def]
        for frame in original(self):
            decoded.append(frame.time)
            yield frame

    monkeypatch.setattr(frames_module.FrameReader, "_decoded", counting)
    clip = load_video(path, frames=4)
    assert len(clip.frames) == 4
    assert len(decoded) < 80  # of 1,200


def test_fewer_frames_than_wanted(tmp_path: Path) -> None:
    clip = load_video(film(tmp_path / "three.mp4", 0.3), frames=8)
    assert [round(frame.time, 1) for frame in clip.frames] == [0.0, 0.1, 0.2]
    assert len(load_video(film(tmp_path / "one.mp4", 0.1), frames=8).frames) == 1


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [((1, 0, 0, 1), "top left"), ((0, 1, -1, 0), "top right"), ((-1, 0, 0, -1), "bottom right"),
     ((0, -1, 1, 0), "bottom left"), ((-1, 0, 0, 1), "top right"), ((1, 0, 0, -1), "bottom left")],
)  # fmt: skip
def test_rotation_metadata_is_applied(tmp_path: Path, matrix: tuple[int, int, int, int], corner: str) -> None:
    path = film(tmp_path / "turned.mp4", 1.0)
    data = path.read_bytes()
    at = data.index(b"tkhd") + 4 + 40  # version and flags, times, layer …: the matrix starts 40 bytes into the box
    a, b, c, d = (value << 16 for value in matrix)
    path.write_bytes(data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :])
    frame = load_video(path, frames=1).frames[0]
    assert frame.image.size == ((48, 64) if matrix[0] == 0 else (64, 48))
    assert frame.original_size == frame.image.size
    w, h = frame.image.size
    x = w - 4 if "right" in corner else 3
    y = h - 4 if "bottom" in corner else 3
    red, green, _ = frame.image.getpixel((x, y))  # type: ignore[misc]
    assert red > 180
    assert green < 90


def test_odd_sizes(tmp_path: Path) -> None:
    assert load_video(Path("tests/fixtures/bad/video_torchcodec_testsrc2_mpeg4.mp4")).frames
    assert load_video(film(tmp_path / "odd.mkv", 1.0, size=(66, 34), codec="mpeg4")).frames[0].image.size == (66, 34)


def test_the_sound_track_comes_along(tmp_path: Path) -> None:
    clip = load_video(film(tmp_path / "talkie.mp4", 3.0, sound=True))
    assert clip.audio is not None
    assert clip.audio.rate == 16_000
    assert clip.audio.seconds == pytest.approx(3.0, abs=0.3)
    assert kind_of(tmp_path / "talkie.mp4") == "video"


def test_a_gif_can_be_watched_but_is_an_image(tmp_path: Path) -> None:
    path = tmp_path / "moving.gif"
    pages = [Image.new("RGB", (20, 20), (25 * i, 0, 0)) for i in range(10)]
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=100)
    assert kind_of(path) == "image"
    assert len(load_video(path, frames=5).frames) == 5


def test_a_cut_off_video_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    path = film(tmp_path / "whole.mkv", 20.0, gop=10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = load_video(path, frames=6)
    assert len(clip.frames) >= 4
    assert clip.frames[-1].time < 14
    assert any("cut off" in note for note in clip.notes)


def test_what_is_no_video_gets_a_sentence(tmp_path: Path) -> None:
    still = tmp_path / "still.png"
    Image.new("RGB", (8, 8)).save(still)
    with pytest.raises(BadInput, match="is a picture, not a video"):
        load_video(still)
    with pytest.raises(BadInput, match="sound but no moving picture"):
        load_video(Path("tests/fixtures/speech/weather_question.flac"))
    with pytest.raises(BadInput, match="empty"):
        load_video(Path("tests/fixtures/bad/generated_empty.mp4"))


def test_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="longer than"):
        load_video(film(tmp_path / "long.mp4", 10.0), max_seconds=5)
