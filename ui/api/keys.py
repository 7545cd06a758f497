"""The key that programs must send: where it comes from, and the check at the door of /v1."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from assistant.config import Settings
from assistant.presence import exclusive
from models.errors import SettingsError
from ui.asgi import ASGIApp, Receive, Scope, Send, header_values, refuse
from ui.login import Failures, digest

KEY_FILE = "api_key"
# A key that a person made up; ours have 43 characters that nobody can guess.
SHORTEST_KEY = 16


def api_key(settings: Settings) -> str:
    """The owner's key, or the one that Lucid made once and keeps in the data folder, readable by its owner only.

    Raises:
        SettingsError: the owner's key is too short to be one, or the file cannot be read or written.
    """
    if settings.api_key:
        return _usable(settings.api_key, "api_key")
    file = settings.data_dir / KEY_FILE
    try:
        with exclusive(settings.data_dir / f"{KEY_FILE}.lock"):
            if not file.exists():
                _write(file, f"lucid-{secrets.token_urlsafe(32)}")
            os.chmod(file, 0o600)  # wherever it was copied from
            kept = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"The key in {file} cannot be used: {error}.", "Delete the file, or set --api-key."
        ) from error
    return _usable(kept, str(file))


def _write(file: Path, key: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(key + "\n")


def _usable(key: str, origin: str) -> str:
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError(
            f"{origin} is no key: it takes {SHORTEST_KEY} or more letters, digits and signs, without spaces.",
            "Leave it out, and Lucid makes one.",
        )
    return key


def demand_key(app: ASGIApp, key: str) -> ASGIApp:
    """`app` for whoever sends `Authorization: Bearer KEY`. As with the page's password, guessing has to wait."""
    expected = digest(key.encode())
    failures = Failures()

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        address = client[0] if client else ""
        wait = failures.seconds_to_wait(address)
        if wait > 0:
            after, once = ("retry-after", str(int(wait) + 1)), ("x-should-retry", "false")
            await refuse(scope, receive, send, 429, "Too many wrong keys. Wait a minute.", after, once)
            return
        given = _given(scope)
        if given is not None and hmac.compare_digest(digest(given), expected):
            await app(scope, receive, send)
            return
        if given is not None:
            failures.add(address)
        sentence = (
            "This is not Lucid's key. It was shown in the terminal when Lucid started."
            if given is not None
            else "Lucid wants its key, as the header Authorization: Bearer KEY."
        )
        await refuse(scope, receive, send, 401, sentence, ("www-authenticate", 'Bearer realm="Lucid"'))

    return guarded


def _given(scope: Scope) -> bytes | None:
    """The one bearer token of the request; None where there is none."""
    values = header_values(scope, b"authorization")
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    return token.strip().encode("latin-1") or None if scheme.lower() == "bearer" else None


def introduction(settings: Settings, address: str) -> list[str]:
    """What the terminal says at the start: where the endpoint is, its key, and a request to try."""
    key = api_key(settings)
    owners = bool(settings.api_key)
    shown = "$LUCID_API_KEY" if owners else key
    kept = "the key that you set" if owners else f"the key {key} (kept in {settings.data_dir / KEY_FILE})"
    return [
        f"Other programs reach Lucid at {address}/v1 with {kept}. Try:",
        f'  curl {address}/v1/chat/completions -H "Authorization: Bearer {shown}" -H "Content-Type: application/json" '
        """-d '{"model": "lucid", "messages": [{"role": "user", "content": "What is the capital of France?"}]}'""",
    ]
