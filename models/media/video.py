"""A video becomes a few frames with their times, and its sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import BadInput
from models.media.container import check_file, open_container, sound_stream, video_stream
from models.media.frames import FrameReader, TimedFrame, last_time
from models.media.kinds import looks_like_picture
from models.media.limits import MAX_PIXELS, MAX_SECONDS, MAX_SIDE, Deadline
from models.media.orientation import SIDEWAYS, display_turn
from models.media.sound import load_sound
from models.types import AudioClip, Picture, VideoClip

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

EXACT_SECONDS = 5.0
"""For so long frames are taken at exactly the wanted times; after that at the nearest earlier key frame, which costs
one decoded frame each, so that a clip in 4K with distant key frames does not keep the owner waiting."""

UNEVENNESS = 0.125
"""A frame may be earlier by this part of the distance between frames, where that is a key frame: it costs one frame to
decode instead of all since the key frame."""

GIVE_UP_SECONDS = 9.0
"""After this the frames found so far have to do."""


def load_video(path: Path, name: str = "", frames: int = 8, max_seconds: float = MAX_SECONDS) -> VideoClip:
    """Frames from the middles of `frames` equal parts of the video, and its sound track.

    Each frame is upright (rotation metadata applied), its pixels square, its longer side at most 2048, and its `time`
    is the true time of the frame shown. A short video may have fewer frames than asked for. Of a damaged video, what
    can be read is used, and a note says so.

    Args:
        path: the file; an animated GIF is read as a video here.
        name: what the owner calls it; "" takes the file's own name.
        frames: how many, at least 1.
        max_seconds: longer videos are refused.

    Raises:
        BadInput: no moving picture in it, too long, or not one frame can be decoded.
    """
    if frames < 1:
        raise ValueError(f"frames must be at least 1, not {frames}")
    path = Path(path)
    name = name or path.name
    check_file(path, name)
    with open(path, "rb") as file:
        start = file.read(32)
    if looks_like_picture(start) and not start.startswith(b"GIF8"):
        raise BadInput(f"“{name}” is a picture, not a video.", "Send it as a picture.")
    with open_container(path, name) as container:
        stream = video_stream(container)
        if stream is None:
            has_sound = sound_stream(container) is not None
            raise BadInput(f"“{name}” has {'sound but ' if has_sound else ''}no moving picture.")
        _check_size(stream, name)
        pictures, seconds, notes = _evenly_spread(container, stream, name, frames, max_seconds)
        has_sound = sound_stream(container) is not None
    audio = None
    if has_sound:
        try:
            audio = load_sound(path, name, max_seconds)
        except BadInput:
            notes = (*notes, "its sound could not be decoded")
    return VideoClip(pictures, audio, max(seconds, _seconds_of(audio)), name, notes)


def _seconds_of(audio: AudioClip | None) -> float:
    return audio.seconds if audio else 0.0


def _check_size(stream: VideoStream, name: str) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise BadInput(
            f"“{name}” has {width:,} × {height:,} pixels; more than {MAX_PIXELS // 1_000_000} megapixels are not read.",
            "Save it smaller and send that.",
        )


def _stated_seconds(container: InputContainer, stream: VideoStream) -> float:
    """The length that the headers state, or 0."""
    if stream.duration and stream.time_base and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    return max(0.0, (container.duration or 0) / 1_000_000)


def _evenly_spread(
    container: InputContainer, stream: VideoStream, name: str, wanted: int, max_seconds: float
) -> tuple[tuple[Picture, ...], float, tuple[str, ...]]:
    """The chosen frames, the video's length in seconds, and what has to be said about it."""
    exact, give_up = Deadline(EXACT_SECONDS), Deadline(GIVE_UP_SECONDS)
    stated = _stated_seconds(container, stream)
    seconds = stated if 0 < stated <= max_seconds else last_time(container, stream, exact)
    if seconds > max_seconds or (stated > max_seconds and exact.passed):
        raise BadInput(f"“{name}” is longer than {max_seconds / 60:.0f} minutes.", "Send a shorter part of it.")
    stream.thread_type = "AUTO"
    reader = FrameReader(container, stream, exact, give_up)
    chosen, reached_end = _choose(reader, stream, name, seconds, wanted)
    notes: tuple[str, ...] = ()
    if reached_end and len(chosen) < wanted and not give_up.passed:
        readable = last_time(container, stream, exact)
        if 0 < readable < 0.95 * seconds:
            seconds = readable
            notes = (f"damaged or cut off: only its first {readable:.1f} seconds could be read",)
            again, _ = _choose(FrameReader(container, stream, exact, give_up), stream, name, seconds, wanted)
            chosen = again or chosen
    if not chosen:
        raise BadInput(f"“{name}” holds no frame that can be decoded; it may be damaged.", "Send it again.")
    if give_up.passed:
        notes = (*notes, f"slow to decode: only {len(chosen)} of {wanted} frames were taken")
    return tuple(chosen.values()), seconds, notes


def _choose(
    reader: FrameReader, stream: VideoStream, name: str, seconds: float, wanted: int
) -> tuple[dict[float, Picture], bool]:
    """Frames by their times, without repetition, and whether the video ended before the last wanted time."""
    chosen: dict[float, Picture] = {}
    ended_early = False
    for index in range(wanted):
        target = (index + 0.5) * seconds / wanted
        found = reader.at(target, tolerance=UNEVENNESS * seconds / wanted)
        if found is not None and found.time not in chosen:
            chosen[found.time] = _picture(found, stream, name)
        ended_early = ended_early or reader.ended
    return dict(sorted(chosen.items())), ended_early


def _picture(timed: TimedFrame, stream: VideoStream, name: str) -> Picture:
    frame = timed.frame
    width, height = frame.width, frame.height
    aspect = stream.codec_context.sample_aspect_ratio
    if aspect and aspect > 0 and 0.1 < aspect < 10:
        width = max(1, round(width * float(aspect)))  # anamorphic: stored narrower than it is shown
    factor = min(1.0, MAX_SIDE / max(width, height))
    image = frame.to_image(width=max(1, round(width * factor)), height=max(1, round(height * factor)))
    turn = display_turn(frame)
    size = (width, height)
    if turn is not None:
        image = image.transpose(turn)
        size = (height, width) if turn in SIDEWAYS else size
    return Picture.of(image, name, original_size=size, time=timed.time)
