"""How Lucid reaches a server: one HTTP client per request, and work that can be stopped while it waits.

A fresh client for every question costs a TCP (and TLS) handshake, and is never the broken connection of a server that
was restarted meanwhile. It runs in an event loop of the calling thread: cancelling a task there closes its socket at
once, whether it resolves a name, connects, uploads a picture or waits for a model that is still reading the prompt.
Closing the socket is how every one of these servers learns that it should stop computing.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from models.errors import AssistantError, Cancelled, SettingsError
from models.seeing.server.address import KEY_VARIABLE, Address

if TYPE_CHECKING:
    import httpx2
    import openai

T = TypeVar("T")

# How often a waiting request looks whether it is still wanted. A stop is obeyed within that and a round of closing.
POLL_S = 0.02
# The headers that are sent, and no others: the package would add the machine's system, its Python version, and what
# OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS hold, none of which this server was meant to know.
_HEADERS_SENT = frozenset({"host", "accept", "content-type", "content-length", "connection", "transfer-encoding"})


@dataclass(frozen=True)
class Patience:
    """How long Lucid waits for a server. Seconds.

    Attributes:
        connect_s: for a connection.
        first_token_s: for the first piece of an answer: a server may load the model first, have others before you, or
            read a long prompt on a processor.
        between_tokens_s: for each further piece.
        list_s: for lists and other small questions.
        pause_s: before the first retry; each further one waits twice as long.
        retries: how often a server that is busy (429) or not ready (502, 503, 504) is asked again.
        reconnections: how often one that refuses or drops the connection before it said anything is.
    """

    connect_s: float = 10.0
    first_token_s: float = 600.0
    between_tokens_s: float = 60.0
    list_s: float = 15.0
    pause_s: float = 0.25
    retries: int = 5
    reconnections: int = 3


class TooMuch(Exception):
    """The server sent more than any answer is long."""


class Deadline:
    """The moment until which something must have happened, and what to say when it has not."""

    def __init__(self) -> None:
        self._until = float("inf")
        self._failure: AssistantError | None = None

    def set(self, seconds: float, failure: AssistantError) -> None:
        self._until = time.monotonic() + seconds
        self._failure = failure

    def missed(self) -> AssistantError | None:
        return self._failure if time.monotonic() > self._until else None


class Connection:
    """The way to one server.

    Args:
        address: where it is.
        key: sent as a bearer token; "" sends none.
        patience: how long to wait.

    Raises:
        SettingsError: the key cannot be a key.
    """

    def __init__(self, address: Address, key: str, patience: Patience) -> None:
        self.address = address
        self.patience = patience
        self._key = key.strip()
        if not all("!" <= c <= "~" for c in self._key):
            raise SettingsError(
                f"The key in {KEY_VARIABLE} holds a space or another character that no key has.",
                "Set it again, without quotes and without a second line.",
            )
        self._tls = _trusted() if address.base.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def without_key(self, text: str) -> str:
        """`text` with the key taken out: servers repeat it in their errors."""
        return text.replace(self._key, "…") if self._key else text

    @asynccontextmanager
    async def open(self, most_bytes: int) -> AsyncIterator[openai.AsyncOpenAI]:
        """A client for one request. A response of more than `most_bytes` raises `TooMuch` while it is read."""
        import httpx2
        import openai

        async def only_what_is_needed(request: httpx2.Request) -> None:
            for name in [n for n in request.headers if n.lower() not in _HEADERS_SENT]:
                del request.headers[name]
            request.headers["user-agent"] = "Lucid"
            request.headers["accept-encoding"] = "identity"  # nothing that unpacks to more than was counted
            if self._key:
                request.headers["authorization"] = f"Bearer {self._key}"

        async def no_more_than_that(response: httpx2.Response) -> None:
            response.stream = _limited(response.stream, most_bytes)

        http = httpx2.AsyncClient(
            # Waiting is measured by `Deadline`: a server that sends a sign of life but no words never times out here.
            timeout=httpx2.Timeout(None, connect=self.patience.connect_s),
            follow_redirects=False,  # what was meant for this server goes to no other
            verify=self._tls,
            event_hooks={"request": [only_what_is_needed], "response": [no_more_than_that]},
            # The proxy of the environment is for the world outside.
            mounts=dict.fromkeys(("http://", "https://", "all://")) if self.address.loopback else None,
        )
        async with openai.AsyncOpenAI(
            api_key=self._key or "none", base_url=self.address.base, max_retries=0, http_client=http
        ) as client:
            yield client


def _trusted() -> ssl.SSLContext:
    """The authorities that this machine trusts, or those of SSL_CERT_FILE. Made once: it is slow."""
    import httpx2

    return httpx2.create_ssl_context()


def _limited(stream: Any, most: int) -> Any:
    """The same byte stream, which raises `TooMuch` beyond `most` bytes."""
    import httpx2

    class Limited(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            count = 0
            async for piece in stream:
                count += len(piece)
                if count > most:
                    raise TooMuch
                yield piece

        async def aclose(self) -> None:
            await stream.aclose()

    return Limited()


def complete(work: Coroutine[Any, Any, T], unwanted: Callable[[], bool], deadline: Deadline) -> T:
    """Runs `work` to its end in this thread, or in another one where a caller's event loop has this one.

    Raises:
        Cancelled: `unwanted` turned true; the work's connections are closed.
        AssistantError: what `deadline` says, or what the work raised.
    """
    if _has_a_loop():
        with ThreadPoolExecutor(1, thread_name_prefix="lucid-server") as pool:
            return pool.submit(lambda: complete(work, unwanted, deadline)).result()
    # Not asyncio.run: it would wait for a thread that still resolves a name, which nothing can stop.
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_watched(work, unwanted, deadline))
    finally:
        try:
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


def _has_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _watched(work: Coroutine[Any, Any, T], unwanted: Callable[[], bool], deadline: Deadline) -> T:
    task = asyncio.ensure_future(work)
    ending: BaseException | None = None
    while not task.done():
        await asyncio.wait({task}, timeout=POLL_S)
        if not task.done() and ending is None:
            ending = Cancelled() if unwanted() else deadline.missed()
            if ending is not None:
                task.cancel()
    if ending is not None:
        if not task.cancelled():
            task.exception()  # seen: what closing the connection raised is of no interest
        raise ending
    return task.result()
