"""An OpenAI-compatible server that plays a script, on loopback: for what no real server does on demand."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Exchange(BaseHTTPRequestHandler):
    """One request, and how a script answers it."""

    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.body: dict[str, Any] = {}
        self.server.note(self)
        extra = self.server.extra.get(self.path)
        if extra is not None:
            self.json(extra)
        elif self.path == "/v1/models":
            self.server.models(self)
        else:
            self.json({"detail": "Not Found"}, 404)

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.note(self)
        if self.path in self.server.extra:
            self.json(self.server.extra[self.path])
            return
        script = self.server.script
        play = script.pop(0) if len(script) > 1 else script[0]
        play(self)

    def json(self, answer: object, status: int = 200, **headers: str) -> None:
        self.send(json.dumps(answer).encode(), status, "application/json", **headers)

    def send(self, data: bytes, status: int = 200, kind: str = "text/html", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def begin(self) -> None:
        """The head of a stream."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def raw(self, data: bytes) -> None:
        """One piece of a stream, as it is."""
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def event(self, record: object) -> None:
        self.raw(f"data: {json.dumps(record)}\n\n".encode())

    def say(self, text: str | None, finish: str | None = None, **delta: str) -> None:
        said = {"content": text, **delta} if text is not None else delta
        self.event({"choices": [{"index": 0, "delta": said, "finish_reason": finish}]})

    def usage(self, prompt: int, completion: int) -> None:
        self.event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}})

    def end(self) -> None:
        self.raw(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def reset(self) -> None:
        """As when the process is killed: the connection is gone without a goodbye."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def until_left(self, seconds: float = 5.0) -> bool:
        """Waits until the client has gone; whether it went."""
        self.connection.settimeout(seconds)
        try:
            gone = self.connection.recv(1) == b""
        except ConnectionResetError:
            gone = True
        except TimeoutError:
            gone = False
        self.server.left.append(gone)
        self.close_connection = True
        return gone


Play = Callable[[Exchange], None]


def saying(*words: str, finish: str | None = "stop", prompt: int = 7) -> Play:
    """A script that streams `words`."""

    def play(exchange: Exchange) -> None:
        if not exchange.body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": words[0]}, "finish_reason": "stop"}
            exchange.json({"choices": [choice], "usage": {"prompt_tokens": prompt, "completion_tokens": 1}})
            return
        exchange.begin()
        exchange.say("", role="assistant")
        for word in words:
            exchange.say(word)
        if finish:
            exchange.say(None, finish)
        exchange.usage(prompt, len(words))
        exchange.end()

    return play


def refusing(status: int, answer: object, **headers: str) -> Play:
    """A script that answers with a status and JSON."""
    return lambda exchange: exchange.json(answer, status, **headers)


class ScriptedServer(ThreadingHTTPServer):
    """Plays `script` for chats, one entry each; the last one again and again.

    Attributes:
        requests: (path, headers, body) of every request.
        left: whether the client went, for each `Exchange.until_left`.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, *script: Play) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.script: list[Play] = list(script) or [saying("Hello", ".")]
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.left: list[bool] = []
        self.extra: dict[str, object] = {}
        self.listed: list[dict[str, Any]] = [
            {"id": "eyes", "owned_by": "vllm", "max_model_len": 8192},
            {"id": "ears", "owned_by": "vllm", "max_model_len": 2048},
        ]
        self.models: Play = lambda exchange: exchange.json({"object": "list", "data": self.listed})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def note(self, exchange: Exchange) -> None:
        self.requests.append((exchange.path, dict(exchange.headers.items()), exchange.body))

    @property
    def chats(self) -> list[dict[str, Any]]:
        """The bodies of the streamed chats."""
        return [body for path, _, body in self.requests if path.endswith("/chat/completions") and body.get("stream")]

    def handle_error(self, *_: object) -> None:
        pass  # clients that leave in mid-answer are what is tested


@contextmanager
def serving(*script: Play) -> Iterator[ScriptedServer]:
    """A scripted server in a thread."""
    server = ScriptedServer(*script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def until(true: Callable[[], object], seconds: float = 5.0) -> None:
    """Waits for something to come true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)
