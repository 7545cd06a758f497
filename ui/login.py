"""The password that is asked for when Lucid is served beyond this machine."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from http.cookies import CookieError, SimpleCookie

from ui.asgi import ASGIApp, Message, Receive, Scope, Send, header_values, refuse

# So many wrong passwords from one address in so many seconds, and it has to wait.
MAX_FAILURES = 10
FAILURE_WINDOW_S = 60.0
_MAX_ADDRESSES = 1024
_SESSION_S = 30 * 24 * 3600


def demand_login(app: ASGIApp, *, auth: str, cookie: str) -> ASGIApp:
    """`app` behind HTTP basic authentication with the one `auth` ("user:password").

    Whoever has given it gets a session cookie too, because browsers do not send the password with WebSockets.
    """
    expected = digest(auth.encode())
    session = secrets.token_urlsafe(32)
    failures = Failures()

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or _has_session(scope, cookie, session):
            await app(scope, receive, send)
            return
        client = scope.get("client")
        address = client[0] if client else ""
        wait = failures.seconds_to_wait(address)
        if wait > 0:
            after = ("retry-after", str(int(wait) + 1))
            await refuse(scope, receive, send, 429, "Too many wrong passwords. Wait a minute.", after)
            return
        given = _given(scope)
        if given is not None and hmac.compare_digest(digest(given), expected):
            await app(scope, receive, _setting_cookie(send, cookie, session))
            return
        if given is not None:
            failures.add(address)
        ask = ("www-authenticate", 'Basic realm="Lucid", charset="UTF-8"')
        await refuse(scope, receive, send, 401, "This Lucid wants its password.", ask)

    return guarded


class Failures:
    """When each address gave a wrong password; remembers a bounded number of addresses."""

    def __init__(self) -> None:
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def add(self, address: str) -> None:
        times = self._times.setdefault(address, deque(maxlen=MAX_FAILURES))
        times.append(time.monotonic())
        self._times.move_to_end(address)
        while len(self._times) > _MAX_ADDRESSES:
            self._times.popitem(last=False)

    def seconds_to_wait(self, address: str) -> float:
        times = self._times.get(address)
        return times[0] + FAILURE_WINDOW_S - time.monotonic() if times and len(times) == MAX_FAILURES else 0.0


def digest(credentials: bytes) -> bytes:
    """Of one length whatever was given, so that comparing takes the same time."""
    return hashlib.sha256(credentials).digest()


def _given(scope: Scope) -> bytes | None:
    for value in header_values(scope, b"authorization"):
        scheme, _, encoded = value.partition(" ")
        if scheme.lower() == "basic":
            try:
                return base64.b64decode(encoded.strip(), validate=True)
            except (binascii.Error, ValueError):
                return b""
    return None


def _has_session(scope: Scope, cookie: str, session: str) -> bool:
    for value in header_values(scope, b"cookie"):
        try:
            jar = SimpleCookie(value)
        except CookieError:
            continue
        if cookie in jar and hmac.compare_digest(digest(jar[cookie].value.encode()), digest(session.encode())):
            return True
    return False


def _setting_cookie(send: Send, cookie: str, session: str) -> Send:
    field = f"{cookie}={session}; Max-Age={_SESSION_S}; Path=/; HttpOnly; SameSite=Strict"

    async def send_with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"set-cookie", field.encode())]}
        await send(message)

    return send_with_cookie
