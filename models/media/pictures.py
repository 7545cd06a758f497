"""Pictures of any common format become upright RGB of a bounded size."""

from __future__ import annotations

import re
import struct
from math import ceil
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from models.errors import BadInput
from models.media.container import check_file
from models.media.kinds import is_heif
from models.media.limits import DECODE_SECONDS, MAX_PIXELS, MAX_SIDE, within
from models.media.orientation import SIDEWAYS, exif_turn
from models.types import Picture

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "ICO", "CUR", "TGA", "PPM", "QOI", "JPEG2000")
"""What Pillow may take a file for. Formats that start other programs (EPS runs Ghostscript) or that only games and
old workstations write are left out: each one is a decoder that hostile files can aim at."""

SLOW_DECODERS = ("qoi", "bmp_rle", "ppm_plain", "ppm", "jpeg2k")
SLOW_DECODER_PIXELS = 4_000_000
"""Pillow decodes the first four pixel by pixel in Python, and JPEG 2000 without letting other threads run (40
megapixels took 24 s on two busy cores), so `within` cannot end them. At 1 to 3 million pixels a second this bounds
them."""

MAX_BYTES = 200_000_000
MAX_JPEG_SCANS = 100
"""Real progressive JPEGs have about ten scans; each costs a pass over the whole picture (the "scan bomb")."""

ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")


def load_picture(path: Path, name: str = "") -> Picture:
    """The file as an upright RGB picture whose longer side is at most 2048 pixels.

    Transparency is laid over white, CMYK and 16-bit samples are converted, of an animation or of several pages the
    first is taken (a note says so). The size is checked from the header, before anything is decoded.

    Args:
        path: the file.
        name: what the owner calls it; "" takes the file's own name.

    Raises:
        BadInput: not a picture, damaged, more than 40 megapixels, or a format that needs a package which is missing.
    """
    path = Path(path)
    name = name or path.name
    check_file(path, name)
    if path.stat().st_size > MAX_BYTES:
        raise BadInput(f"“{name}” is larger than {MAX_BYTES // 1_000_000} MB.", "Save it smaller, as JPEG for example.")
    return within(DECODE_SECONDS, lambda: _load(path, name), name)


def is_readable_picture(path: Path) -> bool:
    """Whether Pillow knows the file's header as one of `FORMATS`."""
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except Exception:  # any failure of a decoder means "no" here
        return False


def _load(path: Path, name: str) -> Picture:
    try:
        with open(path, "rb") as file:
            start = file.read(32)
        _check_size(_size_in_webp(start), name)
        with _open(path, start, name) as image:
            _check_size(image.size, name)
            _check_cost(image, path, name)
            notes = _notes(image)
            width, height = image.size
            factor = MAX_SIDE / max(image.size)
            image.draft(None, (ceil(width * factor), ceil(height * factor)))  # JPEG: decoded at 1/2 … 1/8 if enough
            expected = image.size
            image.load()
            if image.size != expected:  # TIFF is turned as it is loaded; an icon may be larger than its header says
                width, height = image.size
            turn = exif_turn(image)
            upright = _rgb(_shrunk(image))
    except BadInput:
        raise
    except MemoryError as error:
        raise BadInput(f"“{name}” needs more memory than there is.", "Save it smaller and send that.") from error
    except Exception as error:  # decoders raise anything: OSError, SyntaxError, struct.error, KeyError, …
        raise _refusal(error, name) from error
    if turn is not None:
        upright = upright.transpose(turn)
        if turn in SIDEWAYS:
            width, height = height, width
    return Picture.of(upright, name, original_size=(width, height), notes=notes)


def _open(path: Path, start: bytes, name: str) -> Image.Image:
    if is_heif(start) and start[8:12] not in (b"avif", b"avis"):
        return _open_heif(path, name)
    return Image.open(path, formats=FORMATS)


def _open_heif(path: Path, name: str) -> Image.Image:
    """HEIC through pillow-heif, where it is installed. (Brand mif1 may also be AVIF, which Pillow itself reads.)"""
    try:
        return Image.open(path, formats=("AVIF",))
    except (OSError, SyntaxError):
        pass
    try:
        import pillow_heif
    except ImportError as error:
        raise BadInput(
            f"“{name}” is a HEIC picture, and the package that reads those is not installed.",
            "Run: pip install pillow-heif (or send the picture as JPEG).",
        ) from error
    heif = pillow_heif.open_heif(path, convert_hdr_to_8bit=True)
    _check_size(heif.size, name)
    return heif.to_pillow()


def _size_in_webp(start: bytes) -> tuple[int, int]:
    """Width and height in a WebP header, or (0, 0): Pillow's decoder allocates the canvas as soon as it is opened.

    RFC 9649, sections 2.5–2.7.
    """
    if start[:4] != b"RIFF" or start[8:12] != b"WEBP" or len(start) < 30:
        return 0, 0
    if start[12:16] == b"VP8X":
        return int.from_bytes(start[24:27], "little") + 1, int.from_bytes(start[27:30], "little") + 1
    if start[12:16] == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", start[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _check_size(size: tuple[int, ...], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise BadInput(
            f"“{name}” has {width:,} × {height:,} pixels; more than {MAX_PIXELS // 1_000_000} megapixels are not read.",
            "Save it smaller and send that.",
        )


def _check_cost(image: Image.Image, path: Path, name: str) -> None:
    """Refuses what is small by its header and still dear to decode."""
    if isinstance(image, ImageFile.ImageFile):
        slow = any(tile[0] in SLOW_DECODERS for tile in image.tile)
        if slow and image.width * image.height > SLOW_DECODER_PIXELS:
            raise BadInput(
                f"“{name}” has over {SLOW_DECODER_PIXELS // 1_000_000} megapixels, too many for its file format.",
                "Save it as PNG or JPEG and send that.",
            )
    if image.format in ("JPEG", "MPO") and path.read_bytes().count(b"\xff\xda") > MAX_JPEG_SCANS * _frames(image):
        raise BadInput(f"“{name}” is built to keep its decoder busy, so it was not read.", "Save it again as JPEG.")
    if image.format == "ICO":  # an icon may hold a whole PNG, larger than the icon's own header says
        for match in re.finditer(b"IHDR(.{8})", path.read_bytes(), re.DOTALL):
            _check_size(struct.unpack(">II", match[1]), name)


def _frames(image: Image.Image) -> int:
    return int(getattr(image, "n_frames", 1)) if image.format == "MPO" else 1


def _notes(image: Image.Image) -> tuple[str, ...]:
    if not getattr(image, "is_animated", False):
        return ()
    if image.format in ANIMATED:
        return ("animated: only its first frame is used",)
    return ("several pages: only the first is used",) if image.format == "TIFF" else ()


def _shrunk(image: Image.Image) -> Image.Image:
    """The same picture, its longer side at most `MAX_SIDE`; the proportions stay, but no side falls below 1 pixel."""
    longer = max(image.size)
    if longer <= MAX_SIDE:
        return image
    factor = MAX_SIDE / longer
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return _resizable(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _resizable(image: Image.Image) -> Image.Image:
    """In a mode where averaging pixels makes sense: no palette, no bits, colour weighted by its opacity."""
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode in ("1", "PA"):
        image = image.convert("L" if image.mode == "1" else "RGBA")
    elif image.mode.startswith(("I", "F")):
        image = _eight_bit(image)
    return image.convert({"RGBA": "RGBa", "LA": "La"}.get(image.mode, image.mode))


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB; what is transparent becomes white."""
    if image.mode.startswith(("I", "F")):
        image = _eight_bit(image)
    if image.mode in ("RGBa", "La"):
        image = image.convert({"RGBa": "RGBA", "La": "LA"}[image.mode])
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layered).convert("RGB")
    return image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float greys as 8 bits. Pillow itself would clip them at 255 and turn them white."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16") or (image.mode == "I" and low >= 0 and 255 < high <= 65535):
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 1 and image.mode == "F":
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    scaled = (values - low) * (255.0 / max(high - low, 1e-9))
    return Image.fromarray(scaled.round().astype(np.uint8), "L")


def _refusal(error: Exception, name: str) -> BadInput:
    """The sentence for whatever Pillow raised."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return BadInput(
            f"“{name}” has far more than {MAX_PIXELS // 1_000_000} megapixels.", "Save it smaller and send that."
        )
    if isinstance(error, Image.UnidentifiedImageError):
        return BadInput(f"“{name}” is not a picture that can be read.", "Send it as JPEG, PNG, WebP or GIF.")
    if "truncated" in str(error).lower():
        return BadInput(f"“{name}” is cut off: the end of the picture is missing.", "Send the complete file again.")
    return BadInput(f"“{name}” is damaged and cannot be decoded as a picture.", "Save it again and send that.")
