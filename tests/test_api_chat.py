"""`/v1/chat/completions` and `/v1/models`, by the real openai client over a real socket."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image

from assistant.grounding import NO_PICTURE
from models.engines import Engines
from models.errors import EngineFailure, EngineUnavailable
from models.fakes import ScriptedModel
from models.interfaces import GenerationOptions, TextDelta
from models.media import load_picture
from models.seeing.server import connect
from models.streaming import never_cancelled
from models.types import AudioPart, Message
from tests.api_server import FIXTURES, KEY, ApiServer, serving, until

ASK = [{"role": "user", "content": "Where is Paris?"}]
LONG = " ".join(f"word{n}" for n in range(3000))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One that echoes the question, for all tests that leave no trace in it."""
    with serving(tmp_path_factory.mktemp("api")) as running:
        yield running


def model_of(server: ApiServer) -> ScriptedModel:
    return server.services.engines.vision_language()  # type: ignore[return-value]


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def picture(url: str, **more: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def with_pictures(*urls: str, text: str = "What is it?") -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": text}, *map(picture, urls)]}]


def written(stream: Any) -> tuple[str, list[Any]]:
    chunks = list(stream)
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices), chunks


# Answers


def test_a_whole_answer(server: ApiServer) -> None:
    answer = server.client.chat.completions.create(model="scripted", messages=ASK)
    assert answer.choices[0].message.content == "You said: Where is Paris?."
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.object, answer.model) == ("chat.completion", "scripted")
    assert (answer.usage.completion_tokens, answer.usage.prompt_tokens) == (5, 7)
    assert answer.usage.total_tokens == 12
    assert abs(answer.created - time.time()) < 60


def test_a_streamed_answer_is_the_whole_one_in_pieces(server: ApiServer) -> None:
    usage = {"include_usage": True}
    stream = server.client.chat.completions.create(model="lucid", messages=ASK, stream=True, stream_options=usage)
    text, chunks = written(stream)
    assert text == "You said: Where is Paris?."
    assert (chunks[0].choices[0].delta.role, chunks[0].choices[0].delta.content) == ("assistant", "")
    assert len({c.id for c in chunks}) == len({c.created for c in chunks}) == 1
    assert {c.model for c in chunks} == {"scripted"}
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-2:] == [None, "stop"]
    assert [c.usage is None for c in chunks] == [True] * (len(chunks) - 1) + [False]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 5
    assert len(chunks) > 6


def test_the_events_are_as_the_wire_wants_them(server: ApiServer) -> None:
    answer = server.post("/v1/chat/completions", json={"model": "lucid", "messages": ASK, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(event.startswith("data: ") for event in events[:-1])
    assert "usage" not in json.loads(events[0][6:])


def test_the_asynchronous_client(server: ApiServer) -> None:
    async def talk() -> tuple[str, str]:
        async with server.async_client() as client:
            whole = await client.chat.completions.create(model="lucid", messages=ASK)
            stream = await client.chat.completions.create(model="lucid", messages=ASK, stream=True)
            pieces = [c.choices[0].delta.content or "" async for c in stream]
            return whole.choices[0].message.content, "".join(pieces)

    with ThreadPoolExecutor(1) as thread:  # Playwright, where it has run before, keeps an event loop in this one
        whole, streamed = thread.submit(asyncio.run, talk()).result(timeout=30)
    assert whole == streamed == "You said: Where is Paris?."


def test_the_conversation_reaches_the_model_in_order(server: ApiServer) -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": [{"type": "text", "text": "Yes?"}]},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Two", "name": "ada"},
        {"role": "user", "content": [{"type": "text", "text": "Three"}]},
    ]
    server.client.chat.completions.create(model="lucid", messages=messages)
    said = [(m.role, m.text) for m in model_of(server).calls[-1].messages]
    assert said == [
        ("system", "Be brief.\n\nBe kind."),
        ("user", "One"),
        ("assistant", "Yes?"),
        ("user", "Two\nThree"),
    ]


def test_sampling_is_the_requests_and_else_the_owners(server: ApiServer) -> None:
    client = server.client
    client.chat.completions.create(
        model="lucid",
        messages=ASK,
        max_completion_tokens=3,
        max_tokens=99,
        temperature=0.5,
        top_p=0.25,
        seed=-7,
        extra_body={"top_k": 5, "min_p": 0.125, "repetition_penalty": 1.5},
    )
    options = model_of(server).calls[-1].options
    assert (options.max_new_tokens, options.temperature, options.top_p, options.seed) == (3, 0.5, 0.25, -7)
    assert (options.top_k, options.min_p, options.repetition_penalty) == (5, 0.125, 1.5)
    client.chat.completions.create(model="lucid", messages=ASK, extra_body={"top_k": -1, "seed": None})
    assert model_of(server).calls[-1].options == server.services.generation


def test_what_makes_no_difference_is_passed_over(server: ApiServer) -> None:
    more = {"unheard_of": {"a": [1]}, "tools": [], "n": 1, "logprobs": False, "frequency_penalty": 0, "store": False}
    answer = server.client.chat.completions.create(
        model="lucid",
        messages=ASK,
        user="ada",
        metadata={"a": "b"},
        service_tier="auto",
        response_format={"type": "text"},
        parallel_tool_calls=False,
        extra_body=more,
    )
    assert answer.choices[0].message.content.startswith("You said")


def test_a_limit_on_tokens_cuts_off_and_says_so(server: ApiServer) -> None:
    answer = server.client.chat.completions.create(model="lucid", messages=ASK, max_tokens=2)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("You said:", "length")
    _, chunks = written(server.client.chat.completions.create(model="lucid", messages=ASK, max_tokens=2, stream=True))
    assert chunks[-1].choices[0].finish_reason == "length"


@pytest.mark.parametrize("stop", ["said: Where is", ["nowhere", "said:"], " said: Where is Paris?."])
def test_stop_strings_end_an_answer_even_across_pieces(server: ApiServer, stop: Any) -> None:
    client = server.client
    answer = client.chat.completions.create(model="lucid", messages=ASK, stop=stop)
    text, chunks = written(client.chat.completions.create(model="lucid", messages=ASK, stop=stop, stream=True))
    assert answer.choices[0].message.content.strip() == text.strip() == "You"
    assert answer.choices[0].finish_reason == chunks[-1].choices[0].finish_reason == "stop"


def test_a_stop_string_ends_the_computing(tmp_path: Path) -> None:
    model = ScriptedModel([LONG])
    with serving(tmp_path, Engines.scripted(seeing=model)) as server:
        answer = server.client.chat.completions.create(model="lucid", messages=ASK, stop=["word9"], max_tokens=4000)
        assert answer.choices[0].message.content.split() == [f"word{n}" for n in range(9)]
        assert model.words_made == 10


def test_a_question_about_a_picture_that_nobody_sent(server: ApiServer) -> None:
    calls = len(model_of(server).calls)
    asked = [{"role": "user", "content": "What is in this picture?"}]
    answer = server.client.chat.completions.create(model="lucid", messages=asked)
    text, _ = written(server.client.chat.completions.create(model="lucid", messages=asked, stream=True))
    assert answer.choices[0].message.content == text == NO_PICTURE
    assert answer.usage.completion_tokens == 0
    assert len(model_of(server).calls) == calls
    template = (
        "Summarise the text below in one word. " + "It is about many things. " * 10 + "He said: look at this picture!"
    )
    server.client.chat.completions.create(model="lucid", messages=[{"role": "user", "content": template}])
    assert len(model_of(server).calls) == calls + 1


def test_notices_of_the_engine_are_no_text(tmp_path: Path) -> None:
    class Short(ScriptedModel):
        def stream(self, messages: Any, options: Any, cancel: Any) -> Iterator[TextDelta]:
            yield TextDelta("One")
            yield TextDelta("", 0, "The GPU ran out of memory.")
            yield TextDelta(" two", 1, "The CPU is used.")

    with serving(tmp_path, Engines.scripted(seeing=Short())) as server:
        answer = server.client.chat.completions.create(model="lucid", messages=ASK)
        text, chunks = written(server.client.chat.completions.create(model="lucid", messages=ASK, stream=True))
    assert answer.choices[0].message.content == text == "One two"
    told = [n for c in chunks for n in (c.model_extra or {}).get("lucid", {}).get("notices", ())]
    assert told == answer.model_extra["lucid"]["notices"] == ["The GPU ran out of memory.", "The CPU is used."]


# Pictures and sound


def test_pictures_reach_the_model_as_they_are(server: ApiServer, tmp_path: Path) -> None:
    files = []
    for number, kind in enumerate(("png", "jpeg", "webp", "gif")):
        file = tmp_path / f"a.{kind}"
        Image.effect_noise((40 + number, 30), 80).convert("RGB").save(file)
        files.append((file, data_url(file.read_bytes(), f"image/{kind}")))
    messages = [
        *with_pictures(files[0][1], files[1][1]),
        {"role": "assistant", "content": "Noise."},
        {
            "role": "user",
            "content": [picture(files[2][1], detail="low"), picture(files[3][1]), {"type": "text", "text": "And?"}],
        },
    ]
    answer = server.client.chat.completions.create(model="lucid", messages=messages)
    assert "I was given 2 pictures" in answer.choices[0].message.content
    seen = [p.digest for m in model_of(server).calls[-1].messages for p in m.pictures]
    assert seen == [load_picture(file).digest for file, _ in files]
    assert list(server.services.inbox.folder.iterdir()) == []


def test_sound_is_heard_as_on_the_page(server: ApiServer) -> None:
    sound = base64.b64encode((FIXTURES / "speech" / "jfk.flac").read_bytes()).decode()
    part = {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}}
    client = server.client
    client.chat.completions.create(model="lucid", messages=[{"role": "user", "content": [part]}])
    assert model_of(server).calls[-1].messages[-1].text == "What is the capital of France?"
    both = [{"role": "user", "content": [{"type": "text", "text": "Who says this?"}, part]}]
    client.chat.completions.create(model="lucid", messages=both)
    message = model_of(server).calls[-1].messages[-1]
    heard = [p.transcript.text for p in message.parts if isinstance(p, AudioPart)]
    assert (message.text, heard) == ("Who says this?", ["What is the capital of France?"])
    silence = io.BytesIO()
    import soundfile

    soundfile.write(silence, [0.0] * 16000, 16000, format="WAV")
    part["input_audio"]["data"] = base64.b64encode(silence.getvalue()).decode()
    with pytest.raises(openai.BadRequestError, match="heard no speech"):
        client.chat.completions.create(model="lucid", messages=[{"role": "user", "content": [part]}])


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://example.com/cat.png", "fetches nothing"),
        ("http://127.0.0.1:7860/lucid/file/x", "fetches nothing"),
        ("file:///etc/passwd", "fetches nothing"),
        ("/etc/passwd", "fetches nothing"),
        ("data:image/png,plain", "fetches nothing"),
        ("data:image/png;base64,%%%", "not base64"),
        ("data:image/png;base64,AAA", "not base64"),
        ("data:image/png;base64,", "is empty"),
        (data_url(b"only words"), "not a picture"),
        (data_url(b""), "is empty"),
    ],
)
def test_pictures_that_cannot_be_used(server: ApiServer, url: str, why: str) -> None:
    calls = len(model_of(server).calls)
    with pytest.raises(openai.BadRequestError, match=why):
        server.client.chat.completions.create(model="lucid", messages=with_pictures(url))
    assert len(model_of(server).calls) == calls


def test_hostile_pictures_are_refused_with_a_sentence(server: ApiServer) -> None:
    statuses = {}
    for file in sorted((FIXTURES / "bad").iterdir()):
        answer = (
            server.post(
                "/v1/chat/completions", json={"model": "lucid", "messages": with_pictures(data_url(file.read_bytes()))}
            )
            if file.stat().st_size
            else None
        )
        if answer is not None:
            statuses[file.name] = answer.status_code
            assert answer.status_code in (200, 400), answer.text
            assert "Traceback" not in answer.text
    assert statuses["generated_bomb_20000x20000.png"] == statuses["generated_text_as_image.jpg"] == 400
    assert list(server.services.inbox.folder.iterdir()) == []


def test_pictures_are_counted(server: ApiServer) -> None:
    dot = io.BytesIO()
    Image.new("RGB", (1, 1)).save(dot, "PNG")
    urls = [data_url(dot.getvalue())] * 17
    with pytest.raises(openai.BadRequestError, match="16 pictures"):
        server.client.chat.completions.create(model="lucid", messages=with_pictures(*urls))
    spread = [{"role": "user", "content": [picture(url)]} for url in urls]
    with pytest.raises(openai.BadRequestError, match="16 pictures"):
        server.client.chat.completions.create(model="lucid", messages=spread)


# Refusals


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("n", "1"),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("functions", [{"name": "f"}]),
        ("tool_choice", "required"),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("logit_bias", {"5": 1}),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {}}),
        ("response_format", "text"),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "a"}),
        ("web_search_options", {"search_context_size": "low"}),
        ("store", True),
        ("stream_options", {"include_usage": True}),
        ("stream", "yes"),
        ("temperature", 2.5),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_p", -0.1),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_completion_tokens", -1),
        ("seed", 1 << 63),
        ("top_k", -2),
        ("min_p", 2),
        ("repetition_penalty", 0),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", ""),
        ("stop", [1]),
        ("stop", {"a": 1}),
        ("stop", "x" * 1001),
        ("model", 5),
        ("model", None),
        ("messages", None),
        ("messages", []),
        ("messages", "Hello"),
        ("messages", [5]),
        ("messages", [{"role": "user"}]),
        ("messages", [{"role": "user", "content": None}]),
        ("messages", [{"role": "user", "content": 5}]),
        ("messages", [{"role": "user", "content": []}]),
        ("messages", [{"role": "user", "content": ["text"]}]),
        ("messages", [{"role": "user", "content": [{"type": "text"}]}]),
        ("messages", [{"role": "user", "content": [{"type": "file", "file": {}}]}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 5}}]}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url"}]}]),
        ("messages", [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "!"}}]}]),
        ("messages", [{"role": "tool", "content": "x", "tool_call_id": "1"}]),
        ("messages", [{"role": ["user"], "content": "x"}]),
        ("messages", [{"role": "system", "content": "x"}]),
        ("messages", [*ASK, {"role": "assistant", "content": "x"}]),
        ("messages", [*ASK, {"role": "assistant", "content": None, "tool_calls": [{}]}]),
        ("messages", [{"role": "system", "content": [picture(data_url(b"x"))]}, *ASK]),
        ("messages", [{"role": "user", "content": " "}]),
    ],
)
def test_what_lucid_cannot_do_is_refused_by_name(server: ApiServer, field: str, value: Any) -> None:
    calls = len(model_of(server).calls)
    answer = server.post("/v1/chat/completions", json={"model": "lucid", "messages": ASK, field: value})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["message"].endswith((".", "…"))
    assert (error["param"] or field).startswith(field.partition("_format")[0])
    assert len(model_of(server).calls) == calls


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"\xff\xfe",
        b'{"model":"lucid","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"lucid","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        b'{"model":"lucid","messages":[{"role":"user","content":"x"}],"temperature":1e999}',
        b'{"model":"lucid","messages":[{"role":"user","content":"x"}],"seed":' + b"9" * 5000 + b"}",
        b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nx\r\n--B--',
    ],
)
def test_bodies_that_are_no_requests(server: ApiServer, content: bytes) -> None:
    answer = server.post("/v1/chat/completions", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_more_than_the_model_holds(server: ApiServer) -> None:
    many = [{"role": ("user", "assistant")[n % 2], "content": f"message {n}"} for n in range(10_001)]
    for messages in (
        many,
        [{"role": "user", "content": "long " * 9000}],
        [{"role": "user", "content": "x" * 4_000_000}],
    ):
        answer = server.post("/v1/chat/completions", json={"model": "lucid", "messages": messages})
        assert answer.status_code == 400
        assert "longer than scripted can take in" in answer.json()["error"]["message"]


def test_bodies_that_are_too_large(server: ApiServer) -> None:
    text = "x" * (33 << 20)
    with pytest.raises(openai.APIStatusError) as caught:
        server.client.chat.completions.create(model="lucid", messages=[{"role": "user", "content": text}])
    assert caught.value.status_code == 413
    assert "32 MB" in caught.value.message


def test_models_are_the_engines_in_use(server: ApiServer) -> None:
    client = server.client
    assert [(m.id, m.object, m.owned_by) for m in client.models.list()] == [("scripted", "model", "lucid")]
    assert client.models.retrieve("scripted").id == "scripted"
    for name in ("hf:someone/some-model", "server:http://127.0.0.1:1/v1#x", "glimpse"):
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(name)
        with pytest.raises(openai.NotFoundError, match="'scripted'") as caught:
            client.chat.completions.create(model=name, messages=ASK)
        assert caught.value.code == "model_not_found"


def test_each_engine_is_a_model_by_its_own_name(tmp_path: Path) -> None:
    loaders = dict.fromkeys(("seeing", "hearing", "speaking"), lambda *_, **__: None)
    engines = Engines("hf:a/b@c", "ear", "voice:x", loaders=loaders)
    with serving(tmp_path, engines) as server:
        assert [m.id for m in server.client.models.list()] == ["hf:a/b@c", "ear", "voice:x"]
        assert server.client.models.retrieve("hf:a/b@c").model_extra["roles"] == ["seeing"]


def test_a_model_that_is_being_loaded_is_not_passed_off_as_another(tmp_path: Path) -> None:
    loading = threading.Event()

    def load(name: str, **_: Any) -> Any:
        if name == "large":
            assert loading.wait(10)
        return ScriptedModel([f"I am {name}."])

    engines = Engines("small", "ear", "mouth", loaders=dict.fromkeys(("seeing", "hearing", "speaking"), load))
    with serving(tmp_path, engines) as server:

        def ask(name: str) -> tuple[str, str]:
            answer = server.client.chat.completions.create(model=name, messages=ASK)
            return answer.model, answer.choices[0].message.content

        assert ask("lucid") == ("small", "I am small.")
        engines.use("seeing", "large")
        warming = engines.warm(("seeing",))
        until(lambda: engines.states()[0].status == "loading")
        assert ask("small") == ask("lucid") == ("small", "I am small.")
        with pytest.raises(openai.InternalServerError, match="'large' is being loaded, and 'small' answers"):
            ask("large")
        assert "small" in [m.id for m in server.client.models.list()]
        loading.set()
        warming.join(10)
        assert ask("large") == ask("lucid") == ("large", "I am large.")
        with pytest.raises(openai.NotFoundError):
            ask("small")


def test_another_lucid_learns_what_this_one_takes(server: ApiServer) -> None:
    """More of the two together: tests/test_server_lucid.py."""
    assert model_of(server)  # loaded, so that it can say how much it takes in
    engine = connect(f"{server.address}/v1", "scripted", name="server:here", key=KEY)
    assert engine.context_tokens == 8192
    options = GenerationOptions(temperature=0.5, seed=3, top_k=4, min_p=0.1, repetition_penalty=1.2)
    assert "".join(d.text for d in engine.stream([Message.of_text("user", "Hi")], options, never_cancelled()))
    assert model_of(server).calls[-1].options == options


# Failures


def test_an_engine_that_breaks_in_mid_stream(tmp_path: Path) -> None:
    for error, said in (
        (None, "RuntimeError: scripted failure"),
        (EngineFailure("It broke.", "Ask again."), "It broke. Ask"),
    ):
        model = ScriptedModel(["one two three four five"], fail_after=3, error=error)
        folder = tmp_path / said[:2]
        folder.mkdir()
        with serving(folder, Engines.scripted(seeing=model)) as server:
            pieces = []
            with pytest.raises(openai.APIError, match=said) as caught:
                for chunk in server.client.chat.completions.create(model="lucid", messages=ASK, stream=True):
                    pieces.append(chunk.choices[0].delta.content or "")
            assert "".join(pieces) == "one two three"
            assert caught.value.type == "server_error"
            with pytest.raises(openai.InternalServerError, match=said):
                server.client.chat.completions.create(model="lucid", messages=ASK)
            model.fail_after = None
            assert server.client.chat.completions.create(model="lucid", messages=ASK).choices[0].message.content


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    tried = []

    def missing(name: str, **_: Any) -> Any:
        tried.append(name)
        raise EngineUnavailable("It is not here.", "Fetch it.")

    with serving(
        tmp_path, Engines("big", "ear", "mouth", loaders=dict.fromkeys(("seeing", "hearing", "speaking"), missing))
    ) as server:
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError, match=r"It is not here\. Fetch it\.") as caught:
                server.client.with_options(max_retries=2).chat.completions.create(
                    model="big", messages=ASK, stream=stream
                )
            assert caught.value.status_code == 503
        assert len(tried) == 2  # the client was told that trying again is no use


# Hanging up, waiting


def stays(model: ScriptedModel) -> bool:
    """Whether no more words are made from now on, but for the one that is being made."""
    before = model.words_made
    time.sleep(0.15)
    return model.words_made - before <= 1


@pytest.mark.parametrize("stream", [True, False])
def test_hanging_up_stops_the_computing(tmp_path: Path, stream: bool) -> None:
    model = ScriptedModel([LONG], delay_s=0.01)
    with serving(tmp_path, Engines.scripted(seeing=model)) as server:
        client = server.client
        if stream:
            answer = client.chat.completions.create(model="lucid", messages=ASK, stream=True, max_tokens=3000)
            for _, _chunk in zip(range(4), answer):
                pass
            answer.close()
        else:
            with pytest.raises(openai.APITimeoutError):
                client.with_options(timeout=0.3).chat.completions.create(model="lucid", messages=ASK, max_tokens=3000)
        time.sleep(0.05)  # for the news to travel
        assert stays(model)
        assert 3 <= model.words_made < 100
        model.delay_s = 0
        model.script = ("Next.",)
        assert client.chat.completions.create(model="lucid", messages=ASK).choices[0].message.content == "Next."
        until(lambda: not [t for t in threading.enumerate() if t.name == "lucid-api"])


class Gated(ScriptedModel):
    """Answers once the gate is open, and notices when two ask it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.answering = 0
        self.most = 0

    def stream(self, messages: Any, options: Any, cancel: Any) -> Iterator[TextDelta]:
        self.answering += 1
        self.most = max(self.most, self.answering)
        try:
            while not self.gate.wait(0.005):
                if cancel.cancelled:
                    return
            yield from super().stream(messages, options, cancel)
        finally:
            self.answering -= 1


def test_requests_wait_their_turn_and_only_so_many(tmp_path: Path) -> None:
    model = Gated()
    with serving(tmp_path, Engines.scripted(seeing=model)) as server, ThreadPoolExecutor(12) as pool:
        client = server.client

        def ask(number: int) -> str:
            messages = [{"role": "user", "content": f"Number {number}"}]
            return client.chat.completions.create(model="lucid", messages=messages).choices[0].message.content

        futures = [pool.submit(ask, number) for number in range(12)]
        refused = []
        for future in as_completed(futures):
            if (error := future.exception()) is None:
                break
            refused.append(error)
            if len(refused) == 3:
                model.gate.set()
        assert [type(e) for e in refused] == [openai.RateLimitError] * 3
        assert refused[0].code == "queue_full"
        assert 1 <= int(refused[0].response.headers["retry-after"]) <= 30
        answers = [f.result() for f in futures if f.exception() is None]
        assert len(set(answers)) == 9
        assert model.most == 1


def test_first_come_first_served(tmp_path: Path) -> None:
    model = Gated()
    with serving(tmp_path, Engines.scripted(seeing=model)) as server, ThreadPoolExecutor(4) as pool:
        client = server.client
        seeing = server.lines["seeing"]

        def ask(number: int) -> None:
            client.chat.completions.create(model="lucid", messages=[{"role": "user", "content": f"Number {number}"}])

        futures = []
        for number in range(4):
            futures.append(pool.submit(ask, number))
            until(lambda number=number: seeing.inside == number + 1)
        model.gate.set()
        for future in futures:
            future.result()
        asked = [call.messages[-1].text for call in model.calls]
        assert asked == [f"Number {number}" for number in range(4)]


def test_who_hangs_up_while_waiting_is_never_answered(tmp_path: Path) -> None:
    model = Gated()
    with serving(tmp_path, Engines.scripted(seeing=model)) as server, ThreadPoolExecutor(1) as pool:
        client = server.client
        seeing = server.lines["seeing"]
        first = pool.submit(client.chat.completions.create, model="lucid", messages=ASK)
        until(lambda: model.answering == 1)
        for stream in (True, False):
            with pytest.raises(openai.APITimeoutError):
                client.with_options(timeout=0.2).chat.completions.create(model="lucid", messages=ASK, stream=stream)
        until(lambda: seeing.inside == 1)
        model.gate.set()
        assert first.result().choices[0].message.content
        assert client.chat.completions.create(model="lucid", messages=ASK).choices[0].message.content
        assert len(model.calls) == 2
        assert seeing.inside == 0


def test_who_does_not_read_keeps_nobody_waiting(tmp_path: Path) -> None:
    model = ScriptedModel([" ".join(["x" * 20_000] * 1000), "Next."])
    with serving(tmp_path, Engines.scripted(seeing=model)) as server:
        body = json.dumps({"model": "lucid", "messages": ASK, "stream": True, "max_tokens": 1000}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {server.http.base_url.netloc.decode()}\r\n"
        head += f"Authorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection((server.http.base_url.host, server.http.base_url.port)) as deaf:
            deaf.sendall(head.encode() + body)
            until(lambda: model.words_made)
            answer = server.client.chat.completions.create(model="lucid", messages=ASK)
            assert answer.choices[0].message.content == "Next."
            assert model.words_made == 1001
            assert deaf.recv(15) == b"HTTP/1.1 200 OK"


def test_the_page_and_programs_leave_nothing_of_each_other(server: ApiServer) -> None:
    server.client.chat.completions.create(model="lucid", messages=ASK)
    store = server.services.store
    assert store.conversations() == []
    for path in ("/v1/conversations", "/v1/files", "/v1/../lucid/state", "/v1/chat/completions/1", "/v1", "/v1/"):
        answer = server.post(path, json={})
        assert answer.status_code == 404, path
        assert KEY not in answer.text
