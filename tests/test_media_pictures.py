"""Pictures: whatever the file, upright RGB of a bounded size, or a sentence."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.errors import BadInput
from models.media import kind_of, load_picture
from models.media import pictures as pictures_module

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners() -> Image.Image:
    """Four colours, so that every turn can be told from every other: red, green above blue, white."""
    image = Image.new("RGB", (40, 20), RED)
    image.paste(GREEN, (20, 0, 40, 10))
    image.paste(BLUE, (0, 10, 20, 20))
    image.paste(WHITE, (20, 10, 40, 20))
    return image


def seen(image: Image.Image) -> list[tuple[int, ...]]:
    """The corners' colours, in reading order, rounded to pure ones."""
    w, h = image.size
    places = ((2, 2), (w - 3, 2), (2, h - 3), (w - 3, h - 3))
    return [tuple(255 * (channel > 127) for channel in image.getpixel(place)) for place in places]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tiff"])
def test_exif_turns_the_picture_upright(tmp_path: Path, orientation: int, ending: str) -> None:
    stored_as = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    stored = corners() if stored_as is None else corners().transpose(stored_as)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{ending}"
    stored.save(path, exif=exif, **({"quality": 100, "subsampling": 0} if ending == "jpg" else {}))
    picture = load_picture(path)
    assert seen(picture.image) == [RED, GREEN, BLUE, WHITE]
    assert picture.original_size == (40, 20)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((8, 8), 32768, np.uint16))
        path = tmp_path / "grey.png"
    elif mode == "F":
        image = Image.fromarray(np.full((8, 8), 0.5, np.float32))
        path = tmp_path / "grey.tiff"
    else:
        image = Image.new("RGB", (8, 8), (128, 128, 128)).convert(mode)
        path = tmp_path / ("grey.tiff" if mode == "CMYK" else "grey.png")
    image.save(path)
    found = load_picture(path).image
    assert found.mode == "RGB"
    mean = np.asarray(found).mean()
    assert mean in (0, 255) or 90 < mean < 165 if mode == "1" else 120 < mean < 136


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    Image.new("RGBA", (10, 10), (0, 0, 0, 0)).save(path)
    assert load_picture(path).image.getpixel((5, 5)) == WHITE


def test_a_large_transparent_picture_has_no_dark_fringe_after_shrinking(tmp_path: Path) -> None:
    image = Image.new("RGBA", (4096, 8), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 2048, 8))
    path = tmp_path / "large.png"
    image.save(path)
    row = np.asarray(load_picture(path).image)[0]
    assert row[:, 0].min() >= 250  # red and white both have full red; black showing through would lower it


def test_adobe_cmyk_is_not_inverted(tmp_path: Path) -> None:
    red = load_picture(Path("tests/fixtures/bad/image_pillow_pil_sample_cmyk.jpg")).image
    assert red.mode == "RGB"
    path = tmp_path / "light.jpg"
    Image.new("CMYK", (16, 16), (0, 0, 0, 0)).save(path)  # no ink
    assert np.asarray(load_picture(path).image).mean() > 240


def test_an_animation_gives_its_first_frame_and_says_so(tmp_path: Path) -> None:
    for ending in ("gif", "webp", "png"):
        path = tmp_path / f"moving.{ending}"
        lossless = {"lossless": True} if ending == "webp" else {}
        later = [Image.new("RGB", (8, 8), BLUE)]
        Image.new("RGB", (8, 8), RED).save(path, save_all=True, append_images=later, **lossless)
        picture = load_picture(path)
        assert picture.image.getpixel((4, 4))[0] > 200, ending
        assert picture.notes == ("animated: only its first frame is used",)
        assert kind_of(path) == "image"


def test_a_large_picture_is_shrunk_and_keeps_its_proportions(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.new("RGB", (6000, 3000), GREEN).save(path)
    picture = load_picture(path)
    assert picture.image.size == (2048, 1024)
    assert picture.original_size == (6000, 3000)


def test_extreme_proportions_work() -> None:
    assert load_picture(Path("tests/fixtures/bad/generated_12000x2.png")).image.size == (2048, 1)
    assert load_picture(Path("tests/fixtures/bad/generated_1x3000.png")).image.size == (1, 2048)


def test_more_than_forty_megapixels_are_refused_from_the_header(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
    path = tmp_path / "claims.png"
    chunks = b""
    for chunk in (b"IHDR" + header, b"IDAT" + zlib.compress(b"")):
        chunks += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(BadInput, match="9,000 × 9,000"):
        load_picture(path)
    with pytest.raises(BadInput, match="40 megapixels"):
        load_picture(Path("tests/fixtures/bad/generated_bomb_20000x20000.png"))


def test_a_webp_canvas_is_checked_before_the_decoder_allocates_it(tmp_path: Path) -> None:
    path = tmp_path / "canvas.webp"
    canvas = (16383).to_bytes(3, "little") * 2
    path.write_bytes(b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + canvas)
    with pytest.raises(BadInput, match="16,384 × 16,384"):
        load_picture(path)


def test_a_jpeg_with_endless_scans_is_refused(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.new("RGB", (64, 64)).save(data, "JPEG")
    path = tmp_path / "scans.jpg"
    path.write_bytes(data.getvalue()[:-2] + b"\xff\xda\x00\x02" * 500 + b"\xff\xd9")
    with pytest.raises(BadInput, match="busy"):
        load_picture(path)


def test_half_a_picture_is_called_cut_off(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.effect_noise((200, 200), 80).save(data, "JPEG")
    path = tmp_path / "half.jpg"
    path.write_bytes(data.getvalue()[: len(data.getvalue()) // 2])
    with pytest.raises(BadInput, match="cut off"):
        load_picture(path, "holiday.jpg")


def test_formats_that_start_programs_are_not_pictures(tmp_path: Path) -> None:
    path = tmp_path / "script.eps"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    with pytest.raises(BadInput, match="not a picture"):
        load_picture(path)


def test_heic_without_its_package_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    path = tmp_path / "photo.heic"
    path.write_bytes(struct.pack(">I", 24) + b"ftypheic" + b"\0\0\0\0mif1heic" + bytes(64))
    with pytest.raises(BadInput, match="pip install pillow-heif"):
        load_picture(path)


def test_a_decoder_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr(pictures_module, "DECODE_SECONDS", 0.2)
    monkeypatch.setattr(pictures_module, "_load", lambda path, name: time.sleep(2))
    path = tmp_path / "slow.png"
    corners().save(path)
    began = time.monotonic()
    with pytest.raises(BadInput, match="longer than"):
        load_picture(path)
    assert time.monotonic() - began < 1.5


def test_the_sentence_uses_the_owners_name_for_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a1b2c3"
    path.write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"“cat\.png”"):
        load_picture(path, "cat.png")
