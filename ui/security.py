"""Who may talk to the page, and what the page may do in the browser.

Lucid serves one person on their own machine. A request is answered only when it was sent to us by name (against DNS
rebinding) and not by somebody else's web page (against cross-site requests); that is settled before any handler runs.
What this cannot tell apart are the users of one machine: anybody who can open a connection to 127.0.0.1 can read the
page. On a shared machine use `--auth`.

Everything here is plain ASGI, so that streamed answers stay streams.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from ui.asgi import ASGIApp, Message, Receive, Scope, Send, header_values, is_for_programs, refuse
from ui.bodies import guard_bodies
from ui.login import demand_login
from ui.temporary import private_temporary_folder

__all__ = ["FILE_POLICY", "HEADERS", "PAGE_POLICY", "SHUT_ROUTES", "private_temporary_folder", "secure"]

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")

# What Gradio serves beside the page itself, and a page on one's own machine does not need: routes that fetch from other
# servers, write files, print, or load scripts from elsewhere. "file=" is open for paths and shut for addresses.
SHUT_ROUTES = re.compile(
    r"/(docs|redoc|openapi\.json|monitoring)(/|$)"
    r"|/gradio_api/(proxy=|file[=/]\s*[a-z][a-z0-9+.-]+:|openapi\.json|runs|run-history|vibe-|undo-vibe|dev/|mcp|profiling"
    r"|deep_link|custom_component|process_recording|monitoring)",
    re.IGNORECASE,
)

# Programs and styles that carry the version in their name, or nothing private. Anything else is not to be stored.
_CACHEABLE = re.compile(r"/(assets|static|svelte)/|/theme\.css|/favicon\.ico")

# `'unsafe-eval'`: Gradio turns its event handlers' JavaScript into functions. Inline scripts need the page's nonce, so
# markup that got into the page by accident cannot run. Nothing may be loaded from, or sent to, another server.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src {connections} data: blob:; object-src 'none'; frame-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)

# A file of the owner, opened by its address, is looked at and never run.
FILE_POLICY = (
    "default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'; "
    "sandbox; frame-ancestors 'none'"
)

HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (
        b"permissions-policy",
        b"microphone=(self), camera=(self), autoplay=(self), clipboard-write=(self), fullscreen=(self), "
        b"geolocation=(), display-capture=(), payment=(), usb=(), serial=(), midi=()",
    ),
)


def secure(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    auth: str = "",
    max_upload_bytes: int,
    readable: Sequence[Path] | None = None,
    api: ASGIApp | None = None,
) -> ASGIApp:
    """`app`, answering its owner only.

    Args:
        app: the page: a FastAPI application with Gradio mounted at "/", voice sockets and all.
        host, port: where it is served.
        auth: "user:password" that everybody must give, or "". Sent in clear: put a proxy with TLS before it.
        max_upload_bytes: upper limit of one file. (Give Gradio the same `max_file_size`: it counts file by file; here
            the whole request is bounded.)
        readable: folders whose files calls of the page may name; left out, where Gradio keeps uploads.
        api: what answers other programs below /v1 (see `ui.api`); it has a key of its own in place of `auth`.

    Refused requests get 401, 403, 404, 413 or 429 and one sentence; refused WebSockets are never accepted.
    """
    guarded = guard_bodies(app, max_upload_bytes=max_upload_bytes, readable=readable or (upload_folder(),))
    if auth:
        guarded = demand_login(guarded, auth=auth, cookie=f"lucid_{port}")
    return _AtTheDoor(_beside(guarded, api), host, port)


def _beside(page: ASGIApp, api: ASGIApp | None) -> ASGIApp:
    """The page, and what answers programs. Gradio takes any path for one of its own, hence the word where it is off."""

    async def split(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not is_for_programs(scope):
            await page(scope, receive, send)
        elif api is not None:
            await api(scope, receive, send)
        else:
            await refuse(
                scope, receive, send, 404, "Lucid does not answer other programs unless it is started with --api."
            )

    return split


def upload_folder() -> Path:
    """Where Gradio keeps what is uploaded."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


class _AtTheDoor:
    """Host, origin and route are looked at first; the headers go on every answer, refusals included."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._app = app
        self._hosts = frozenset(_host_headers(host, port))
        self._any_address = _is_wildcard(host)
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "http":
            send = _with_headers(send, scope, self._host_of(scope))
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refuse(scope, receive, send, *refusal)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        host = self._host_of(scope)
        if host is None:
            return 403, "Lucid is not served under this name."
        origins = header_values(scope, b"origin")
        if any(origin not in (f"http://{host}", f"https://{host}") for origin in origins):
            return 403, "Lucid does not answer the pages of others."
        if any(site in ("cross-site", "same-site") for site in header_values(scope, b"sec-fetch-site")) and not (
            _opens_the_page(scope)
        ):
            return 403, "Lucid does not answer the pages of others."
        if SHUT_ROUTES.match(scope["path"]):
            return 404, "There is nothing here."
        return None

    def _host_of(self, scope: Scope) -> str | None:
        """The Host header, if it is one of ours."""
        values = header_values(scope, b"host")
        if len(values) != 1:
            return None
        host = values[0].lower()
        if host in self._hosts or (self._any_address and _is_address(host, self._port)):
            return host
        return None


def _opens_the_page(scope: Scope) -> bool:
    """Whether the owner followed a link to the page itself, which does nothing but show it."""
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and scope["path"] == "/"
        and header_values(scope, b"sec-fetch-mode") == ["navigate"]
        and header_values(scope, b"sec-fetch-dest") == ["document"]
    )


def _with_headers(send: Send, scope: Scope, host: str | None) -> Send:
    """`send` that puts our headers on the answer, and the nonce into a page's inline scripts."""
    nonce = secrets.token_urlsafe(16)
    # Browsers differ in whether 'self' covers WebSockets, hence by name.
    connections = f"'self' ws://{host} wss://{host}" if host else "'self'"
    is_file = scope["path"].startswith(("/gradio_api/file=", "/gradio_api/file/"))
    policy = FILE_POLICY if is_file else PAGE_POLICY.format(nonce=nonce, connections=connections)
    ours = [*HEADERS, (b"content-security-policy", policy.encode())]
    if not _CACHEABLE.match(scope["path"]):
        ours.append((b"cache-control", b"no-store"))
    page: list[Message] = []  # the start of an HTML answer, held back until its whole body is there

    async def send_guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            theirs = list(message.get("headers", ()))
            present = {name.lower() for name, _ in theirs}
            # A handler may know better (a stricter policy for one file), hence only what it left out.
            message = {**message, "headers": [*theirs, *(field for field in ours if field[0] not in present)]}
            if _is_plain_html(theirs) and not is_file:
                page.append(message)
                return
        elif page and message["type"] == "http.response.body":
            page.append(message)
            if not message.get("more_body"):
                for part in _page_with_nonce(page, nonce):
                    await send(part)
                page.clear()
            return
        await send(message)

    return send_guarded


def _is_plain_html(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    fields = {name.lower(): value for name, value in headers}
    return fields.get(b"content-type", b"").startswith(b"text/html") and b"content-encoding" not in fields


def _page_with_nonce(page: list[Message], nonce: str) -> tuple[Message, Message]:
    start, *parts = page
    body = b"".join(part.get("body", b"") for part in parts)
    # Only what the page's template and our own `head` bring: Gradio escapes "<" in the configuration it embeds.
    body = re.sub(rb"<script(?=[\s>])", f'<script nonce="{nonce}"'.encode(), body)
    headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    headers.append((b"content-length", str(len(body)).encode()))
    return {**start, "headers": headers}, {"type": "http.response.body", "body": body}


def _host_headers(host: str, port: int) -> list[str]:
    names = list(LOOPBACK_NAMES)
    if host and not _is_wildcard(host):
        names.append(f"[{host}]" if ":" in host else host.lower())
    elif host:
        names += [socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"]
    return [f"{name}:{port}" for name in names] + (names if port in (80, 443) else [])


def _is_wildcard(host: str) -> bool:
    return host in ("0.0.0.0", "::", "")


def _is_address(host: str, port: int) -> bool:
    """Whether `host` is a numeric address and our port: those cannot be rebound to another machine by DNS."""
    address, separator, number = host.rpartition(":")
    try:
        ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return False
    return bool(separator) and number == str(port)
