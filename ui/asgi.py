"""The shape of an ASGI application, and a plain answer. https://asgi.readthedocs.io/en/latest/specs/www.html"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ui.api.errors import error_bytes

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


def header_values(scope: Scope, name: bytes) -> list[str]:
    """All values of the request header `name` (lower case)."""
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key.lower() == name]


def is_for_programs(scope: Scope) -> bool:
    """Whether the request is for the endpoint below /v1, whose clients want JSON."""
    path = scope["path"]
    return path == "/v1" or path.startswith("/v1/")


async def refuse(
    scope: Scope, receive: Receive, send: Send, status: int, sentence: str, *headers: tuple[str, str]
) -> None:
    """Answers with `status` and one sentence; a WebSocket is closed before it is accepted (the client sees 403)."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": sentence})
        return
    as_json = is_for_programs(scope)
    body = error_bytes(status, sentence) if as_json else sentence.encode()
    fields = [
        (b"content-type", b"application/json" if as_json else b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what may be left of the request's body is not read
        *((name.encode(), value.encode()) for name, value in headers),
    ]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
