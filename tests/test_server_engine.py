"""The engine for servers: what is sent, what comes back, how it is stopped."""

from __future__ import annotations

import asyncio
import base64
import gc
import io
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from PIL import Image

from models.errors import BadInput, Cancelled, EngineFailure, EngineUnavailable, SettingsError
from models.interfaces import GenerationOptions
from models.seeing.server import connect
from models.seeing.server.connection import Patience
from models.streaming import CancelScope, never_cancelled
from models.types import ImagePart, Message, Picture, TextPart
from tests.scripted_server import refusing, saying, serving, until

QUICK = Patience(connect_s=2, first_token_s=2, between_tokens_s=2, list_s=2, pause_s=0.01)
KEY = "sk-very-secret-0815"


def connected(server, model="", **more):
    return connect(server.url, model, name="server:test", patience=more.pop("patience", QUICK), **more)


def ask(model, *messages, options=None, cancel=None):
    """(text, tokens, notices) of an answer."""
    sent = [Message.of_text("user", m) if isinstance(m, str) else m for m in messages]
    deltas = list(model.stream(sent, options or GenerationOptions(), cancel or never_cancelled()))
    return "".join(d.text for d in deltas), sum(d.tokens for d in deltas), [d.notice for d in deltas if d.notice]


def picture(width=64, height=48, colour=(200, 60, 20), name="sunset.png"):
    return ImagePart(Picture.of(Image.new("RGB", (width, height), colour), name))


def with_picture(text, *pictures):
    return Message("user", (*(pictures or (picture(),)), TextPart(text)))


def sent_picture(server, message=-1, part=0):
    url = server.chats[-1]["messages"][message]["content"][part]["image_url"]["url"]
    return Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1])))


# what is asked and answered


def test_an_answer_streams_and_its_tokens_are_counted():
    with serving(saying("The", " capital", " is", " Paris", ".")) as server:
        model = connected(server)
        assert (model.model, model.context_tokens, model.dialect.context_reason) == (
            "eyes", 8192, "the server's max_model_len",
        )  # fmt: skip
        assert ask(model, "What is the capital of France?") == ("The capital is Paris.", 5, [])
        sent = server.chats[0]
        assert sent["messages"] == [{"role": "user", "content": "What is the capital of France?"}]
        assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("eyes", 0, 512)
        assert sent["stream_options"] == {"include_usage": True}


def test_the_conversation_with_its_earlier_pictures_is_sent_and_each_picture_encoded_once():
    with serving(saying("A beach.")) as server:
        model = connected(server)
        model.dialect = _seeing(model)
        first = [
            Message.of_text("system", "Be brief."),
            with_picture("What is it?", picture(), picture(colour=(1, 2, 3))),
        ]
        ask(model, *first)
        ask(model, *first, Message.of_text("assistant", "A beach."), Message.of_text("user", "Which colour?"))
        roles = [m["role"] for m in server.chats[1]["messages"]]
        assert roles == ["system", "user", "assistant", "user"]
        kinds = [p["type"] for p in server.chats[1]["messages"][1]["content"]]
        assert kinds == ["image_url", "image_url", "text"]
        assert server.chats[0]["messages"][1] == server.chats[1]["messages"][1]
        assert model.urls.encoded == 2
        assert sent_picture(server, message=1).getpixel((5, 5)) == (200, 60, 20)


def _seeing(model):
    from dataclasses import replace

    return replace(model.dialect, sees=True)


def test_look_says_in_which_size_a_picture_is_sent():
    with serving(saying("Big.")) as server:
        model = connected(server)
        model.dialect = _seeing(model)
        message = with_picture("How big?", picture(4000, 1000))
        seen = model.look([message])[0]
        assert (seen.source, seen.original_size, seen.model_size, seen.evidence) == (
            "sunset.png", (4000, 1000), (1280, 320), (),
        )  # fmt: skip
        ask(model, message)
        assert sent_picture(server).size == (1280, 320)


def test_sampling_options_reach_a_server_that_knows_them_and_no_other():
    options = GenerationOptions(temperature=0.7, top_p=0.8, top_k=40, min_p=0.05, repetition_penalty=1.2, seed=7)
    beyond = {"top_k", "min_p", "repetition_penalty", "repeat_penalty"}
    with serving() as server:
        ask(connected(server), "Hi", options=options)
        assert server.chats[-1].items() >= {
            "temperature": 0.7, "top_p": 0.8, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.2, "seed": 7,
        }.items()  # fmt: skip
        server.listed = [{"id": "gguf", "owned_by": "llamacpp", "meta": {"n_ctx": 1024}}]
        llama = connected(server)
        ask(llama, "Hi", options=options)
        assert llama.context_tokens == 1024
        assert server.chats[-1]["repeat_penalty"] == 1.2
        assert "repetition_penalty" not in server.chats[-1]
        server.listed = [{"id": "someone"}]
        ask(connected(server), "Hi", options=options)
        assert not beyond & set(server.chats[-1])
        assert server.chats[-1]["seed"] == 7
        # The default penalty was chosen for the packaged models.
        server.listed = [{"id": "eyes", "owned_by": "vllm"}]
        ask(connected(server), "Hi")
        assert not beyond & set(server.chats[-1])


def test_a_field_that_the_server_does_not_take_is_left_out_from_then_on():
    with serving(
        refusing(422, {"detail": "Unexpected fields in the request: {'min_p', 'top_k'}"}),
        refusing(
            400, {"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}}
        ),
        saying("Fine."),
    ) as server:
        model = connected(server)
        options = GenerationOptions(temperature=0.7, top_k=40, min_p=0.05)
        assert ask(model, "Hi", options=options)[0] == "Fine."
        assert ask(model, "Hi", options=options)[0] == "Fine."
        assert len(server.chats) == 4
        assert not {"min_p", "top_k", "max_tokens"} & set(server.chats[-1])
        assert server.chats[-1]["max_completion_tokens"] == 512


def test_a_caller_with_an_event_loop_of_its_own_can_connect_and_ask():
    async def main(server) -> str:
        return ask(connected(server), "Hello?")[0]

    # In a thread, as this one may have a loop already, of the browser tests.
    with serving(saying("Good", " day.")) as server, ThreadPoolExecutor(1) as pool:
        assert pool.submit(asyncio.run, main(server)).result() == "Good day."


def test_a_template_without_a_system_role_gets_it_in_the_question():
    with serving(refusing(400, {"error": {"message": "System role not supported"}}), saying("Arr.")) as server:
        model = connected(server)
        assert ask(model, Message.of_text("system", "You are a pirate."), "Hi")[0] == "Arr."
        assert server.chats[-1]["messages"] == [{"role": "user", "content": "You are a pirate.\n\nHi"}]


def test_a_begun_answer_is_continued():
    begun = [Message.of_text("user", "Count."), Message.of_text("assistant", "One, two,")]
    with serving(saying(" three.")) as server:
        ask(connected(server), *begun)
        assert server.chats[-1].items() >= {"continue_final_message": True, "add_generation_prompt": False}.items()
        assert server.chats[-1]["messages"][-1] == {"role": "assistant", "content": "One, two,"}
        server.listed = [{"id": "someone"}]
        ask(connected(server), *begun)
        assert "continue_final_message" not in server.chats[-1]
        assert server.chats[-1]["messages"][-1]["role"] == "user"
        assert "Go on exactly where" in server.chats[-1]["messages"][-1]["content"]


def test_thoughts_are_no_part_of_the_answer():
    def thinking(exchange):
        exchange.begin()
        exchange.say(None, reasoning_content="The owner wants")
        exchange.say(None, reasoning="a number.")
        exchange.say("<thi")
        exchange.say("nk>Let me see")
        exchange.say("</think>\n\n42")
        exchange.say(".", "stop")
        exchange.usage(9, 30)
        exchange.end()

    with serving(thinking) as server:
        assert ask(connected(server), "6 × 7?") == ("42.", 30, [])


def test_a_model_that_only_thinks_says_so():
    def thinking(exchange):
        exchange.begin()
        exchange.say(None, reasoning_content="Hm")
        exchange.say(None, "length")
        exchange.end()

    with serving(thinking) as server, pytest.raises(EngineFailure, match="thought until its 5 tokens were used up"):
        ask(connected(server), "Why?", options=GenerationOptions(max_new_tokens=5))


def test_an_answer_that_is_cut_off_says_so():
    with serving(saying("One", " two", finish="length")) as server:
        text, _, notices = ask(connected(server), "Count.", options=GenerationOptions(max_new_tokens=2))
        assert (text, notices) == ("One two", ["The answer was cut off at its limit of 2 tokens."])


def test_tokens_are_estimated_and_corrected_by_what_the_server_counts():
    with serving(saying("Yes.", prompt=800)) as server:
        model = connected(server)
        short, long = Message.of_text("user", "Hello there."), Message.of_text("user", "word " * 400)
        assert 8 < model.count_tokens([short]) < 30
        assert model.count_tokens([Message.of_text("user", "你好世界")]) >= 4
        assert model.count_tokens([with_picture("", picture(1280, 960))]) > 1000
        before = model.count_tokens([long])
        ask(model, short)  # too short to learn from
        assert model.count_tokens([long]) == before
        ask(model, long)
        assert model.count_tokens([long]) == 800


# which model


def test_the_named_model_is_taken_and_a_wrong_name_lists_those_there_are():
    with serving() as server:
        assert connected(server, "ears").context_tokens == 2048
        server.script = [refusing(404, {"error": {"message": "The model `nose` does not exist."}})]
        with pytest.raises(EngineUnavailable, match=r"no model named nose\. It has: eyes, ears\."):
            connected(server, "nose")
        server.script = [saying("x")]  # a server that answers to more names than it lists
        assert connected(server, "nose").model == "nose"


def test_a_server_that_lists_nothing():
    with serving() as server:
        server.listed = []
        with pytest.raises(EngineUnavailable, match="lists no model"):
            connected(server)
        assert connected(server, "any").model == "any"


def test_started_again_with_another_model_it_is_asked_for_that_one():
    with serving() as server:
        model = connected(server)
        server.listed = [{"id": "new", "owned_by": "vllm", "max_model_len": 512}]
        server.script = [refusing(404, {"error": {"message": "The model `eyes` does not exist."}}), saying("New.")]
        text, _, notices = ask(model, "Hi")
        assert (text, model.model, model.context_tokens) == ("New.", "new", 512)
        assert notices == [f"The server at {server.url} has another model now: new."]


def test_ollama_is_asked_what_its_model_can_and_holds():
    with serving() as server:
        server.listed = [{"id": "llava:latest", "owned_by": "library"}]
        server.extra = {
            "/api/version": {"version": "0.40.12"},
            "/api/show": {"capabilities": ["completion", "vision"]},
            "/api/ps": {"models": [{"model": "llava:latest", "context_length": 32768}]},
        }
        model = connected(server, "llava")
        assert (model.model, model.context_tokens, model.dialect.sees, model.dialect.kind) == (
            "llava:latest", 32768, True, "ollama",
        )  # fmt: skip
        server.extra["/api/show"] = {"capabilities": ["completion"]}
        with pytest.raises(BadInput, match="cannot see pictures"):
            ask(connected(server), with_picture("What is it?"))


# pictures that a server does not take


def test_a_model_without_eyes_is_found_out_before_the_question():
    def counting(exchange):
        saying("x", prompt=12)(exchange)  # with a picture as many tokens as without: it is dropped without a word

    with serving(counting) as server:
        model = connected(server)
        with pytest.raises(BadInput, match=r"The model eyes on the server at .* cannot see pictures"):
            ask(model, with_picture("What is it?"))
        assert server.chats == []
        # A conversation that holds pictures from another engine goes on.
        earlier = [with_picture("What is it?"), Message.of_text("assistant", "A beach.")]
        text, _, notices = ask(model, *earlier, "Thanks")
        assert (text, notices) == ("x", ["The model eyes cannot see: earlier pictures were left out."])
        assert "image_url" not in str(server.chats[-1])
        assert "sunset.png" in str(server.chats[-1])


def test_a_server_that_refuses_pictures_while_asked():
    words = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
    blind = serving(saying("x"), refusing(500, {"error": {"message": words}}))
    with blind as server, pytest.raises(BadInput, match="cannot see pictures"):
        ask(connected(server), with_picture("What is it?"))


def test_a_server_that_takes_one_picture_gets_the_newest():
    with serving() as server:
        model = connected(server)
        model.dialect = _seeing(model)
        server.script = [
            refusing(400, {"error": {"message": "At most 1 image(s) may be provided in one prompt."}}),
            saying("The second."),
        ]
        message = with_picture("Which?", picture(name="a.png"), picture(colour=(9, 9, 9), name="b.png"))
        text, _, notices = ask(model, message)
        assert (text, notices) == (
            "The second.",
            ["The server takes 1 pictures at once: 1 earlier ones were left out."],
        )
        assert sent_picture(server, part=1).getpixel((0, 0)) == (9, 9, 9)


def test_a_request_that_is_too_large_is_sent_smaller():
    def small(exchange):
        size = len(str(exchange.body))
        if size > 150_000:
            exchange.send(b"<html>413 Request Entity Too Large</html>", 413)
        else:
            saying("Noise.")(exchange)

    with serving(small) as server:
        model = connected(server)
        model.dialect = _seeing(model)
        noise = ImagePart(Picture.of(Image.effect_noise((1200, 900), 40).convert("RGB"), "noise.png"))
        text, _, notices = ask(model, with_picture("What is it?", noise))
        assert text == "Noise."
        assert notices == [
            "The server takes no larger request: the pictures were sent smaller, at most 320 pixels long."
        ]
        assert sent_picture(server).size == (320, 240)
        assert model.look([with_picture("", noise)])[0].model_size == (320, 240)
        assert ask(model, with_picture("And now?", noise))[2] == []


# stopping


@pytest.mark.parametrize("begun", [False, True])
def test_a_stop_closes_the_connection_at_once(begun):
    def slow(exchange):
        if begun:
            exchange.begin()
            exchange.say("One")
        exchange.until_left()

    with serving(slow) as server:
        model, scope = connected(server), CancelScope()
        cancel = scope.begin()
        threads = threading.active_count()
        timer = threading.Timer(0.15, scope.cancel)
        timer.start()
        started = time.monotonic()
        text, _, _ = ask(model, "Count.", cancel=cancel)
        assert time.monotonic() - started < 0.6
        assert text == ("One" if begun else "")
        until(lambda: server.left == [True])
        until(lambda: threading.active_count() <= threads + 1)  # the server's own thread
        server.script = [saying("Again.")]
        assert ask(model, "Again.")[0] == "Again."


def test_a_reader_that_leaves_closes_the_connection_too():
    def slow(exchange):
        exchange.begin()
        exchange.say("One")
        exchange.until_left()

    with serving(slow) as server:
        stream = connected(server).stream([Message.of_text("user", "Hi")], GenerationOptions(), never_cancelled())
        assert next(stream).text == "One"
        started = time.monotonic()
        stream.close()
        assert time.monotonic() - started < 0.5
        until(lambda: server.left == [True])


def test_twenty_starts_and_stops_leave_nothing_behind():
    with serving(lambda exchange: exchange.until_left()) as server:
        model = connected(server)
        threads, files = threading.active_count(), psutil.Process().num_fds()
        for _ in range(20):
            scope = CancelScope()
            cancel = scope.begin()
            threading.Timer(0.005, scope.cancel).start()
            assert ask(model, "Hi", cancel=cancel)[0] == ""
        gc.collect()
        until(lambda: threading.active_count() <= threads + 1 and psutil.Process().num_fds() <= files + 2)


def test_a_connection_that_is_no_longer_wanted_is_given_up():
    with serving() as server:
        server.models = lambda exchange: exchange.until_left()
        scope = CancelScope()
        cancel = scope.begin()
        threading.Timer(0.1, scope.cancel).start()
        started = time.monotonic()
        with pytest.raises(Cancelled):
            connected(server, cancel=cancel)
        assert time.monotonic() - started < 1
        until(lambda: server.left == [True])


# keys and places


def test_the_key_is_sent_and_nobody_else_hears_of_it(monkeypatch, caplog):
    monkeypatch.setenv("LUCID_SERVER_KEY", f" {KEY}\n")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-service")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-private")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Private: yes")
    caplog.set_level(logging.DEBUG)
    with serving(saying("Hi"), refusing(401, {"error": {"message": f"Incorrect API key provided: {KEY}."}})) as server:
        model = connected(server)
        ask(model, "Hi")
        with pytest.raises(EngineUnavailable) as refused:
            ask(model, "Hi")
        assert "does not accept the key: Incorrect API key provided: …." in str(refused.value)
        assert "LUCID_SERVER_KEY" in refused.value.remedy
        for _, headers, _ in server.requests:
            assert headers["authorization"] == f"Bearer {KEY}"
            assert not [n for n in headers if n.lower().startswith(("x-", "openai"))]
            assert "another-service" not in str(headers)
        assert KEY not in caplog.text
        assert KEY not in str(vars(model))


def test_without_a_key_none_is_sent(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-service")
    with serving() as server:
        ask(connected(server), "Hi")
        assert all("authorization" not in {n.lower() for n in headers} for _, headers, _ in server.requests)


def test_a_key_that_is_none_is_refused_without_being_repeated():
    with serving() as server, pytest.raises(SettingsError) as refused:
        connected(server, key="two words")
    assert "two words" not in str(refused.value)


def test_the_proxy_of_the_environment_does_not_see_loopback(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving() as server:
        assert ask(connected(server), "Hi")[0] == "Hello."


def test_offline_only_this_machine_is_asked():
    with serving() as server:
        assert ask(connected(server, offline=True), "Hi")[0] == "Hello."
    for url in ("http://10.0.0.5:8000", "https://models.example.com/v1"):
        with pytest.raises(EngineUnavailable, match="stay offline"):
            connect(url, name="x", offline=True)


@pytest.mark.parametrize(
    "url", ["http://me:secret@host/v1", "https://host/v1?key=secret", "http://host:99999", "ftp://host", ""]
)
def test_an_address_that_is_none(url):
    with pytest.raises(EngineUnavailable) as refused:
        connect(url, name="x")
    assert "secret" not in str(refused.value)


def test_a_redirect_is_not_followed():
    with serving() as other, serving() as server:
        server.models = lambda exchange: exchange.json({}, 307, location=f"{other.url}/models")
        with pytest.raises(EngineUnavailable, match="sends Lucid on to another address"):
            connected(server)
        assert other.requests == []
