"""Whatever goes wrong with a server: a sentence for the owner, the answer kept so far, and the next question works."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import time
from dataclasses import replace

import pytest

from models.errors import AssistantError, BadInput, EngineFailure, EngineUnavailable
from models.interfaces import GenerationOptions
from models.seeing.server import connect
from models.seeing.server.connection import Patience
from models.streaming import never_cancelled
from models.types import Message
from tests.scripted_server import refusing, saying, serving, until

QUICK = Patience(connect_s=1, first_token_s=0.4, between_tokens_s=0.3, list_s=0.5, pause_s=0.01)


def connected(server, patience=QUICK):
    return connect(server.url, name="server:test", patience=patience)


def failed(model, kind=AssistantError):
    """(what was said, the failure)."""
    said = []
    with pytest.raises(kind) as caught:
        for delta in model.stream(
            [Message.of_text("user", "Hi")], GenerationOptions(max_new_tokens=4), never_cancelled()
        ):
            said.append(delta.text)
    return "".join(said), caught.value


def works(model):
    deltas = model.stream([Message.of_text("user", "Hi")], GenerationOptions(max_new_tokens=4), never_cancelled())
    return "".join(d.text for d in deltas) == "Hello."


# before the first token


@pytest.mark.parametrize(
    ("status", "answer", "kind", "sentence"),
    [
        (400, {"error": {"message": "bad picture"}}, BadInput, r"refuses this question \(400\): bad picture\."),
        (401, {"error": {"message": "no"}}, EngineUnavailable, "does not accept the key: no"),
        (403, {"detail": "forbidden"}, EngineUnavailable, "does not accept the key: forbidden"),
        (404, {"detail": "Not Found"}, EngineUnavailable, r"does not know this request \(404\): Not Found"),
        (413, "too large", BadInput, "takes no request of this size"),
        (422, {"detail": [{"loc": ["x"], "msg": "field required"}]}, BadInput, r"\(422\): field required"),
        (429, {"error": {"message": "slow down"}}, EngineFailure, "has too much to do: slow down"),
        (500, {"error": "CUDA error"}, EngineFailure, r"failed \(500\): CUDA error"),
        (503, {"error": {"message": "Loading model"}}, EngineFailure, r"is not ready \(503\): Loading model"),
    ],
)
def test_a_refusal_is_a_sentence(status, answer, kind, sentence):
    with serving(refusing(status, answer)) as server:
        model = connected(server)
        said, failure = failed(model, kind)
        assert said == ""
        assert failure.remedy
        assert "Traceback" not in str(failure)
        assert re.search(sentence, str(failure))
        server.script = [saying("Hello", ".")]
        assert works(model)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_asked_again(status):
    busy = refusing(status, {"error": {"message": "later"}}, retry_after="0")
    with serving(busy, busy, saying("Hello", ".")) as server:
        assert works(connected(server))
        assert len(server.chats) == 3


def test_a_dropped_connection_is_tried_again_before_the_first_token():
    with serving(lambda e: e.reset(), lambda e: e.reset(), saying("Hello", ".")) as server:
        assert works(connected(server))
        assert len(server.chats) == 3


def test_a_refusal_is_not_tried_again():
    with serving(refusing(500, {"error": "broken"})) as server:
        failed(connected(server))
        assert len(server.chats) == 1


def test_no_server_at_all():
    with serving() as server:
        model, url = connected(server), server.url
    with pytest.raises(EngineUnavailable, match=f"No server answers at {url}. Start it, or check the address."):
        connect(url, name="x", patience=QUICK)
    assert "No server answers" in str(failed(model, EngineUnavailable)[1])


def test_a_context_that_is_too_long_is_learnt():
    words = "This model's maximum context length is 1024 tokens. However, you requested 1600 tokens."
    with serving(refusing(400, {"error": {"message": words}}), saying("Hello", ".")) as server:
        model = connected(server)
        assert "longer than the 1024 tokens" in str(failed(model, BadInput)[1])
        assert model.context_tokens == 1024
        assert works(model)


def test_a_page_instead_of_an_answer():
    page = b"<html><body>Welcome to nginx!</body></html>"
    with serving(lambda e: e.send(page)) as server:
        assert "does not answer as a stream (it sent text/html)" in str(failed(connected(server), EngineFailure)[1])
        server.models = lambda e: e.send(page)
        with pytest.raises(AssistantError, match="something that is no answer"):
            connected(server)
        server.models = lambda e: e.send(page, 404)
        with pytest.raises(EngineUnavailable, match=r"does not know this request \(404\)"):
            connected(server)


@pytest.mark.parametrize("answer", [[], {"data": None}, {"data": [None, 3, {"id": 4}]}, "x", None])
def test_a_list_that_is_none(answer):
    with serving() as server:
        server.models = lambda e: e.json(answer)
        with pytest.raises(AssistantError, match="The server at"):
            connected(server)


def test_a_server_that_never_answers():
    with serving(lambda e: e.until_left()) as server:
        begun = time.monotonic()
        assert "did not begin to answer within 0.4 seconds" in str(failed(connected(server), EngineFailure)[1])
        assert time.monotonic() - begun < 2
        server.models = lambda e: e.until_left()
        with pytest.raises(EngineUnavailable, match=r"does not answer within 0\.5 seconds"):
            connected(server)
        until(lambda: server.left == [True, True])


def test_signs_of_life_are_no_answer():
    def humming(exchange):
        exchange.begin()
        for _ in range(100):
            exchange.raw(b": still here\n\n")
            time.sleep(0.02)

    with serving(humming) as server:
        assert "did not begin to answer" in str(failed(connected(server), EngineFailure)[1])


# in mid-answer


def begun(rest):
    def play(exchange):
        exchange.begin()
        exchange.say("Once")
        exchange.say(" upon")
        rest(exchange)

    return play


@pytest.mark.parametrize(
    ("rest", "sentence"),
    [
        (lambda e: e.reset(), "went away in mid-answer"),
        (lambda e: e.event({"error": {"message": "CUDA out of memory"}}), "failed in mid-answer: CUDA out of memory"),
        (lambda e: e.event({"error": "worker died"}), "failed in mid-answer: worker died"),
        (lambda e: e.raw(b'data: {"choices": [{"del\n\n'), "sent something unreadable in mid-answer"),
        (lambda e: e.raw(b"data: \xff\xfe\n\n"), "sent something unreadable in mid-answer"),
        (lambda e: e.until_left(), "fell silent in mid-answer for 0.3 seconds"),
    ],
)  # fmt: skip
def test_what_was_said_is_kept_and_the_next_question_works(rest, sentence):
    with serving(begun(rest)) as server:
        model = connected(server)
        said, failure = failed(model, EngineFailure)
        assert said == "Once upon"
        assert f"The server at {server.url}" in failure.message
        assert sentence in failure.message
        assert "kept" in failure.remedy
        assert len(server.chats) == 1  # it is not asked again: the owner would read the beginning twice
        server.script = [saying("Hello", ".")]
        assert works(model)


def test_a_stream_that_ends_too_early_says_so():
    with serving(saying("Once", finish=None)) as server:
        deltas = list(connected(server).stream([Message.of_text("user", "Hi")], GenerationOptions(), never_cancelled()))
        assert "".join(d.text for d in deltas) == "Once"
        assert "did not say that the answer is complete" in deltas[-1].notice


def test_a_stream_without_anything():
    def empty(exchange):
        exchange.begin()
        exchange.event({"choices": []})
        exchange.event({"choices": [{"index": 0, "delta": None}]})
        exchange.event({"id": "x"})
        exchange.end()

    with serving(empty) as server:
        assert "ended without an answer" in str(failed(connected(server), EngineFailure)[1])


def test_odd_pieces_do_not_matter():
    def odd(exchange):
        exchange.begin()
        exchange.event({"choices": []})
        exchange.event({"choices": None})
        exchange.event({"choices": [{"index": 0, "delta": {"content": None}}]})
        exchange.event({"choices": [{"index": 0, "delta": {"content": ["?"]}}]})
        exchange.raw(b'data: {"choices": [{"index": 0, "delta"')
        exchange.raw(b': {"content": "Hel"}}]}\r')
        exchange.raw(b"\n\r\n")
        exchange.say("lo.", "stop")
        exchange.event({"choices": [], "usage": {"completion_tokens": None}})
        exchange.end()

    with serving(odd) as server:
        assert works(connected(server))


def test_an_endless_answer_is_ended():
    def endless(exchange):
        exchange.begin()
        while True:
            exchange.say("word " * 10)

    with serving(endless) as server:
        stream = connected(server).stream(
            [Message.of_text("user", "Hi")], GenerationOptions(max_new_tokens=4), never_cancelled()
        )
        deltas = list(stream)
        assert 256 * 4 < sum(len(d.text) for d in deltas) < 256 * 4 + 100
        assert deltas[-1].notice == "The answer was cut off at its limit of 4 tokens."


def test_an_endless_line_does_not_fill_the_memory():
    def endless(exchange):
        exchange.begin()
        exchange.say("Once")
        while True:
            exchange.raw(b"x" * 65536)

    with serving(endless) as server:
        said, failure = failed(connected(server), EngineFailure)
        assert said == "Once"
        assert "far more than an answer is long" in failure.message


def test_an_endless_error_does_not_either():
    def endless(exchange):
        exchange.send_response(500)
        exchange.send_header("content-type", "application/json")
        exchange.send_header("transfer-encoding", "chunked")
        exchange.end_headers()
        while True:
            exchange.raw(b"x" * 65536)

    with serving(endless) as server:
        assert "far more than" in str(failed(connected(server, replace(QUICK, first_token_s=10)), EngineFailure)[1])


# TLS


@pytest.fixture
def certificate(tmp_path):
    """A certificate that no authority vouches for."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, file = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(file)],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, file


def test_a_certificate_that_is_not_valid(certificate, monkeypatch):
    key, file = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    with serving() as server:
        with pytest.raises(EngineUnavailable, match="does not speak TLS"):
            connect(server.url.replace("http:", "https:"), name="x", patience=QUICK)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        url = server.url.replace("http:", "https:")
        with pytest.raises(EngineUnavailable, match=r"The certificate of the server at .* is not valid: self-signed"):
            connect(url, name="x", patience=QUICK)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert works(connect(url, name="x", patience=QUICK))


def test_a_name_that_nobody_knows(monkeypatch):
    import socket

    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(EngineUnavailable, match="The name of the server at http://nowhere:8000/v1 is not known"):
        connect("http://nowhere:8000", name="x", patience=QUICK)
