"""Lucid's messages as a server gets them: pictures, video and sound; thoughts kept out; refusals that teach."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as some
from PIL import Image

from models.interfaces import GenerationOptions
from models.seeing.server.dialect import Dialect, adapted, context_said
from models.seeing.server.messages import DataUrls, chat_of, estimated_tokens, sent_size
from models.seeing.server.reasoning import WithoutThoughts
from models.types import AudioPart, ImagePart, Message, Picture, TextPart, Transcript, VideoClip, VideoPart


def photo(width=300, height=200, seed=30):
    return Picture.of(Image.effect_noise((width, height), seed).convert("RGB"), "photo.jpg")


def opened(url):
    return Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1])))


def test_photographs_go_as_jpeg_and_drawings_as_png_without_loss():
    urls = DataUrls()
    drawing = Picture.of(Image.new("RGB", (300, 200), (12, 34, 56)), "drawing.png")
    colours = Image.linear_gradient("L").resize((300, 200)).convert("RGB")
    many = Picture.of(Image.merge("RGB", [colours.getchannel(0), photo().image.getchannel(0), colours.getchannel(1)]))
    assert urls.of(drawing, 1280).startswith("data:image/png;base64,")
    assert opened(urls.of(drawing, 1280)).convert("RGB").tobytes() == drawing.image.tobytes()
    assert urls.of(many, 1280).startswith("data:image/jpeg;base64,")
    assert urls.of(photo(), 1280).startswith("data:image/jpeg;base64,")  # grey: few colours, but no drawing
    assert opened(urls.of(many, 1280)).size == (300, 200)


@pytest.mark.parametrize(
    ("size", "sent"),
    [
        ((4000, 3000), (1280, 960)),
        ((640, 480), (640, 480)),
        ((1, 1), (56, 56)),
        ((12000, 2), (1280, 56)),
        ((3, 900), (56, 900)),
    ],
)
def test_every_picture_is_sent_in_a_size_that_models_take(size, sent):
    assert sent_size(Picture.of(Image.new("RGB", size)), 1280) == sent
    assert opened(DataUrls().of(Picture.of(Image.new("RGB", size)), 1280)).size == sent


def test_encoded_pictures_are_kept_within_bounds():
    urls = DataUrls(most_bytes=60_000)
    pictures = [photo(seed=n) for n in range(1, 9)]
    for picture in pictures:
        urls.of(picture, 1280)
    assert urls._bytes == sum(map(len, urls._kept.values())) <= 60_000
    urls.of(pictures[-1], 1280)
    assert urls.encoded == 8
    urls.of(pictures[0], 1280)
    assert urls.encoded == 9  # it had to go


def test_a_video_is_frames_with_their_times_and_what_is_heard():
    frames = tuple(replace(photo(1600, 900, seed=n), time=t) for n, t in ((5, 0.0), (9, 62.4)))
    clip = VideoPart(VideoClip(frames, None, 75.2, "walk.mp4"), Transcript("Look at that dog."))
    sound = AudioPart("note.wav", Transcript("Buy milk."))
    silence = AudioPart("empty.wav", Transcript(""))
    chat = chat_of([Message("user", (clip, sound, silence, TextPart("What happens?")))], DataUrls())
    content = chat.messages[0]["content"]
    words = [p.get("text", "IMAGE") for p in content]
    assert words == [
        "The video “walk.mp4”, 75 seconds long, as single frames.",
        "At 0:00:", "IMAGE", "At 1:02:", "IMAGE",
        "The sound of the video says: “Look at that dog.”",
        "The recording “note.wav” says: “Buy milk.”",
        "The recording “empty.wav” has no speech in it.",
        "What happens?",
    ]  # fmt: skip
    assert opened(content[2]["image_url"]["url"]).size == (640, 360)
    assert chat.pictures == 2


def test_words_alone_are_a_plain_string():
    sound = AudioPart("note.wav", Transcript("Buy milk."))
    chat = chat_of([Message("user", (sound, TextPart("What was it?")))], DataUrls())
    assert chat.messages == [{"role": "user", "content": "The recording “note.wav” says: “Buy milk.”\nWhat was it?"}]


def test_the_oldest_pictures_are_left_out_first():
    turns = [Message("user", (ImagePart(photo(seed=n)), TextPart(str(n)))) for n in (4, 5, 6)]
    chat = chat_of(turns, DataUrls(), most_pictures=1)
    assert (chat.pictures, chat.left_out) == (1, 2)
    assert [isinstance(m["content"], str) for m in chat.messages] == [True, True, False]
    assert "“photo.jpg” was here" in chat.messages[0]["content"]


def test_the_estimate_grows_with_letters_scripts_and_pixels():
    def count(*parts):
        return estimated_tokens([Message("user", parts)], 1280)

    assert count(TextPart("a" * 300)) == pytest.approx(108, abs=2)
    assert count(TextPart("字" * 300)) >= 300
    assert count(ImagePart(photo(1280, 960))) > count(ImagePart(photo(640, 480))) > 390
    assert count(ImagePart(photo(4000, 3000))) == count(ImagePart(photo(1280, 960)))


# thoughts


@given(
    some.text("ab<>/think \n", max_size=30),
    some.text("ab \n", max_size=10),
    some.lists(some.integers(1, 6), min_size=1, max_size=20),
)
def test_thoughts_are_cut_wherever_the_pieces_end(thought, answer, sizes):
    assume("</think>" not in f"{thought}</think>"[:-1])
    whole = f"<think>{thought}</think>{answer}"
    assert fed(whole, sizes).strip() == answer.strip()


@given(some.text("ab<think>/ ", max_size=40), some.integers(1, 7))
def test_an_answer_without_thoughts_stays_as_it_is(text, size):
    assume(not text.lstrip().startswith("<think>"))
    assert fed(text, [size]) == text


def fed(text, sizes):
    cut, said, at = WithoutThoughts(), "", 0
    while at < len(text):
        size = sizes[len(said) % len(sizes)]
        said += cut.feed(text[at : at + size])
        at += size
    return said + cut.finish()


# what a refusal teaches


def test_what_servers_really_say_about_their_limits():
    for said, tokens in (
        ("This model's maximum context length is 4096 tokens. However, you requested 5000 tokens", 4096),
        ("request (9412 tokens) exceeds the available context size (8192 tokens), try increasing it", 8192),
        ("the request exceeds the context window (2048 tokens)", 2048),
        ("You are out of credits", None),
    ):
        assert context_said(said) == tokens


def test_a_refusal_changes_what_it_speaks_of_and_nothing_else():
    start = Dialect("vllm", "m")
    sent = ["max_tokens", "temperature", "stream_options", "top_k"]
    assert adapted(start, 400, "At most 2 image(s) may be provided in one prompt.", sent, 5).most_pictures == 2
    assert adapted(start, 400, "At most 0 image(s) may be provided in one prompt.", sent, 1).sees is False
    assert adapted(start, 400, "m is not a multimodal model", sent, 1).sees is False
    assert adapted(start, 422, "extra fields: top_k", sent, 0).refused == {"top_k"}
    assert adapted(start, 400, "stream_options is not allowed", sent, 0).refused == {"stream_options"}
    assert adapted(start, 413, "", sent, 1).largest_side == 640
    assert adapted(start, 413, "", sent, 0) is None
    assert adapted(start, 400, "something else", sent, 3) is None
    assert adapted(start, 500, "CUDA error in top_k", sent, 0) is None
    fields = replace(start, refused=frozenset({"top_k", "stream_options"})).request(
        GenerationOptions(temperature=0.5, top_k=9), most_tokens=5, goes_on=False
    )
    assert "stream_options" not in fields
    assert fields["extra_body"] == {}
