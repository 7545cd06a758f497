"""The endpoint on loopback, as programs reach it: a real server in a thread, scripted engines behind it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import openai
import uvicorn

from assistant.config import Settings
from assistant.dialogue import DialogueManager
from assistant.store import ConversationStore
from models.catalogue import EngineRole
from models.engines import Engines
from ui.api.jobs import Line
from ui.api.routes import api_app, api_service
from ui.asgi import refuse
from ui.security import secure
from ui.services import PageServices

KEY = "a-key-for-the-tests-only"
BEARER = {"authorization": f"Bearer {KEY}"}
ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "tests" / "fixtures"


@dataclass(eq=False)
class ApiServer:
    """A running server, and the ways to it."""

    address: str
    services: PageServices
    lines: dict[EngineRole, Line]
    http: httpx.Client

    @cached_property
    def client(self) -> openai.OpenAI:
        """The real client."""
        return openai.OpenAI(base_url=f"{self.address}/v1", api_key=KEY, max_retries=0)

    def async_client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.address}/v1", api_key=KEY, max_retries=0)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """A request by hand, with the key."""
        return self.http.post(path, **options)


@contextlib.contextmanager
def serving(folder: Path, engines: Engines | None = None, **settings: Any) -> Iterator[ApiServer]:
    """The endpoint behind its door, without the page (which takes seconds to build)."""
    made = Settings(data_dir=folder / "data", api=True, **settings)
    inbox = folder / "inbox"
    inbox.mkdir()
    store = ConversationStore(made.data_dir)
    services = PageServices.of(DialogueManager(engines or Engines.scripted(), store, made), inbox)

    async def no_page(scope: Any, receive: Any, send: Any) -> None:
        await refuse(scope, receive, send, 404, "There is no page here.")

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    service = api_service(services)
    app = secure(no_page, host="127.0.0.1", port=port, max_upload_bytes=1 << 20, api=api_app(service, KEY))
    with running(app, listener) as address, httpx.Client(base_url=address, headers=BEARER, timeout=60) as http:
        yield ApiServer(address, services, service.lines, http)
    store.close()


@contextlib.contextmanager
def running(app: Any, listener: socket.socket) -> Iterator[str]:
    """`app` on `listener`; the address."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits for something to come true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)
