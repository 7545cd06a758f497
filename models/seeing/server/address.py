"""Where a server is: what the owner typed, checked and completed."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from models.errors import EngineUnavailable

KEY_VARIABLE = "LUCID_SERVER_KEY"
_EXAMPLE = "An address looks like http://127.0.0.1:8000/v1."


@dataclass(frozen=True)
class Address:
    """One server.

    Attributes:
        base: what the OpenAI paths are appended to, e.g. "http://127.0.0.1:8000/v1"; and its name in sentences.
        root: `base` without the last "/v1", for what servers offer beside it.
        host: name or number, without brackets.
    """

    base: str
    root: str
    host: str

    @property
    def loopback(self) -> bool:
        """Whether it is this very machine."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def address_of(url: str, *, offline: bool = False) -> Address:
    """The server that `url` names. Without a scheme it is http, without a path it is /v1.

    Raises:
        EngineUnavailable: it is no address, it carries a password, or `offline` and it is another machine.
    """
    text = url.strip()
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise EngineUnavailable("The address of the server cannot be read.", _EXAMPLE) from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        # It is not repeated here: settings, logs and the page are no places for a password.
        raise EngineUnavailable(
            "The address of a server must be plain: no user name, no password, nothing after a question mark.",
            f"Put the key into the environment variable {KEY_VARIABLE}.",
        )
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() for c in text):
        raise EngineUnavailable(f"{text!r} is not the address of a server.", _EXAMPLE)
    path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/") or "/v1"
    shown = f"[{host}]" if ":" in host else host
    origin = f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")
    address = Address(origin + path, origin + path.removesuffix("/v1"), host)
    if offline and not address.loopback:
        raise EngineUnavailable(
            f"The server at {address.base} is another machine, and Lucid was told to stay offline.",
            "Start Lucid without --offline, or use a server on this machine (http://127.0.0.1:…).",
        )
    return address
