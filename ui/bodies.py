"""What a request may carry: so much and no more, and the names of files that were uploaded, not of others."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ui.asgi import ASGIApp, Message, Receive, Scope, Send, header_values, refuse

# Files dropped together travel in one request.
FILES_PER_REQUEST = 8
# Anything that is no upload: texts, settings and the names of files.
MAX_JSON_BYTES = 32 << 20
_MULTIPART_OVERHEAD = 1 << 20

# A scheme of two letters or more; one letter is a Windows drive.
_ADDRESS = re.compile(r"\s*(?:[a-z][a-z0-9+.-]+:|[/\\]{2})", re.IGNORECASE)
_INLINE = ("data:", "blob:")


def guard_bodies(app: ASGIApp, *, max_upload_bytes: int, readable: Sequence[Path]) -> ASGIApp:
    """`app`, spared of requests that carry too much or that name files which are not below `readable`.

    Where an API call names a file by its `path`, Gradio downloads it if that is an address, and (6.31, mounted in
    another application, where its own check is off) copies any file of this machine to where the page can read it.
    """
    folders = tuple(os.path.realpath(folder) for folder in readable)

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await app(scope, receive, send)
            return
        kind = _header(scope, b"content-type").partition(";")[0].strip().lower()
        if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
            await _streamed(app, scope, receive, send, FILES_PER_REQUEST * max_upload_bytes + _MULTIPART_OVERHEAD)
        else:  # also a request without a type: frameworks take it for JSON
            await _inspected(app, scope, receive, send, folders)

    return guarded


async def _streamed(app: ASGIApp, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
    """Counts while the body arrives; Content-Length is believed only when it announces too much."""
    if _announced(scope) > limit:
        await _too_large(scope, receive, send, limit)
        return
    received = 0
    answered = False

    async def receive_counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        # To the application it looks as if the sender had hung up, which ends its parser and drops its files.
        return {"type": "http.disconnect"} if received > limit else message

    async def send_unless_over(message: Message) -> None:
        nonlocal answered
        if received <= limit or answered:
            answered = True
            await send(message)

    try:
        await app(scope, receive_counted, send_unless_over)
    except Exception:
        if received <= limit or answered:
            raise
    if received > limit and not answered:
        await _too_large(scope, receive, send, limit)


async def _inspected(app: ASGIApp, scope: Scope, receive: Receive, send: Send, folders: tuple[str, ...]) -> None:
    """Reads the whole JSON body, looks for files that it may not name, and hands it on."""
    if _announced(scope) > MAX_JSON_BYTES:
        await _too_large(scope, receive, send, MAX_JSON_BYTES)
        return
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if len(body) > MAX_JSON_BYTES:
            await _too_large(scope, receive, send, MAX_JSON_BYTES)
            return
        if not message.get("more_body"):
            break
    try:
        content = json.loads(body) if body else None
    except (ValueError, RecursionError):
        await refuse(scope, receive, send, 400, "The request is not JSON.")
        return
    own = tuple(f"{scheme}://{_header(scope, b'host')}/" for scheme in ("http", "https"))
    if names_file_elsewhere(content, folders, own):
        await refuse(scope, receive, send, 403, "That file was not uploaded here. Save it and attach it.")
        return
    handed_on = False

    async def replay() -> Message:
        nonlocal handed_on
        if handed_on:
            return await receive()  # waits for the disconnection, as streaming answers do
        handed_on = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    await app(scope, replay, send)


def names_file_elsewhere(content: Any, folders: tuple[str, ...], own: tuple[str, ...]) -> bool:
    """Whether `content` (parsed JSON) names a file that was not uploaded: by a "path" outside of `folders`, or a "url".

    Args:
        folders: real paths.
        own: what addresses of this server begin with.
    """
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if _is_outside(value.get("path"), folders) or _is_foreign(value.get("url"), own):
                return True
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False


def _is_outside(path: Any, folders: tuple[str, ...]) -> bool:
    if not isinstance(path, str) or not path:
        return False
    if _ADDRESS.match(path) or "\0" in path:
        return True
    real = os.path.realpath(path)
    return not any(real.startswith(folder + os.sep) for folder in folders)


def _is_foreign(url: Any, own: tuple[str, ...]) -> bool:
    return isinstance(url, str) and _ADDRESS.match(url) is not None and not url.startswith((*_INLINE, *own))


def _announced(scope: Scope) -> int:
    length = _header(scope, b"content-length")
    return int(length) if length.isascii() and length.isdigit() else 0


def _header(scope: Scope, name: bytes) -> str:
    return next(iter(header_values(scope, name)), "")


async def _too_large(scope: Scope, receive: Receive, send: Send, limit: int) -> None:
    await refuse(scope, receive, send, 413, f"That is too large: at most {limit >> 20} MB can be sent at once.")
