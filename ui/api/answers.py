"""How the endpoint's answers travel: JSON, errors in OpenAI's shape, bodies that are sent while they are made."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from models.errors import AssistantError
from ui.api.errors import RequestRefused, error_object, error_of, headers_of, status_of
from ui.bodies import MAX_JSON_BYTES

log = logging.getLogger(__name__)


def refused(error: AssistantError) -> Response:
    """The answer to a request that failed before anything of its answer was sent."""
    if status_of(error) >= 500:
        log.warning("a request failed: %s", error)
    return JSONResponse(error_of(error), status_of(error), headers_of(error))


def not_answered(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: unknown paths, other methods, forms that are none."""
    assert isinstance(error, HTTPException)
    sentences = {
        404: f"There is nothing at {request.url.path}.",
        405: f"{request.url.path} does not take {request.method}.",
    }
    sentence = sentences.get(error.status_code, f"The request cannot be read: {error.detail}")
    headers = {"allow": error.headers["Allow"]} if error.headers and "Allow" in error.headers else None
    return JSONResponse(error_object(error.status_code, sentence), error.status_code, headers)


def bounded(request: Request, limit: int) -> Request:
    """The same request, whose body raises `RequestRefused` where it is longer than `limit` bytes."""
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > limit:
            await _drain(request, limit)
            sentence = f"That is too large: at most {limit >> 20} MB can be sent at once."
            raise RequestRefused(sentence, status=413, headers={"connection": "close"})
        return message

    return Request(request.scope, receive)


async def _drain(request: Request, most: int) -> None:
    """Reads on for a while: a client whose request is cut off in the middle seldom gets to read why."""
    while most > 0:
        message = await request.receive()
        most -= len(message.get("body", b""))
        if not message.get("more_body"):
            return


async def json_body(request: Request) -> Any:
    """The request's body, parsed. Raises `RequestRefused` when it is no JSON, or too much of it."""
    body = await bounded(request, MAX_JSON_BYTES).body()
    try:
        return await run_in_threadpool(json.loads, body)  # some MB take a while, and others are being served
    except (ValueError, RecursionError):
        raise RequestRefused("The request is not JSON.", code="invalid_json") from None


class StreamedAnswer(Response):
    """An answer that is sent as it is made.

    Where its body raises an `AssistantError`, the connection is closed without the end that HTTP asks for, so that a
    client cannot take a part for the whole.
    """

    def __init__(self, body: AsyncIterator[bytes], media_type: str) -> None:
        super().__init__(None, media_type=media_type, headers={"cache-control": "no-store"})
        self._pieces = body
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except AssistantError as error:
            log.warning("an answer broke off: %s", error)
            return
        finally:
            await self._pieces.aclose()  # type: ignore[attr-defined]
        await send({"type": "http.response.body", "body": b"", "more_body": False})
