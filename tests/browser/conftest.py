"""A page with scripted engines in this process, and chromium to look at it."""

from __future__ import annotations

import re
import shutil
import threading
import time
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from assistant.config import Settings
from assistant.dialogue import DialogueManager
from assistant.store import ConversationStore
from models.engines import Engines
from models.errors import EngineFailure
from models.fakes import ScriptedModel, ScriptedRecognizer, ScriptedSynthesizer
from models.interfaces import Evidence, SeenPicture

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]
PERMISSIONS = ["microphone", "camera", "clipboard-read", "clipboard-write"]
LONG = " ".join(f"word{i}." if i % 6 == 5 else f"word{i}" for i in range(240))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


class StageModel(ScriptedModel):
    """Answers as the question wants: "long" slowly and at length, "break" with a failure, "say X" with X."""

    def _answer(self, messages: Any) -> str:
        question = messages[-1].text
        self.delay_s = 0.02 if "long" in question else 0.0
        self.fail_after = 3 if "break" in question else None
        self.error = EngineFailure("The model ran out of memory.", "Ask something shorter.")
        if question.startswith("say "):
            return question[4:]
        return LONG if "long" in question else super()._answer(messages)

    def look(self, messages: Any) -> tuple[SeenPicture, ...]:
        evidence = (
            Evidence("object", "street sign", 0.87),
            Evidence("text", "OPEN <b>DAILY</b>", 0.98, (0.3, 0.3, 0.7, 0.5)),
            Evidence("colour", "#78aad2", 0.5),
        )
        return tuple(
            SeenPicture(p.source, p.digest, p.original_size, (288, 288), p.time, p.notes, evidence)
            for m in messages
            for p in m.pictures
        )


@dataclass
class Stage:
    """A served page and what stands behind it."""

    address: str
    dialogue: DialogueManager
    model: Any
    recognizer: Any
    synthesizer: Any

    @property
    def store(self) -> ConversationStore:
        return self.dialogue.store


def serve(engines: Engines, folder: Path) -> Iterator[tuple[str, DialogueManager]]:
    """Serves a page from a thread, until the generator is closed."""
    from ui.__main__ import bind
    from ui.temporary import private_temporary_folder

    temporary = private_temporary_folder(folder)
    import uvicorn

    from ui.app import create_app

    settings = Settings(data_dir=folder, max_upload_mb=3)
    store = ConversationStore(folder)
    dialogue = DialogueManager(engines, store, settings)
    listener = bind("127.0.0.1", 7901)
    port = listener.getsockname()[1]
    app, services = create_app(dialogue, temporary, port=port)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        engines.warm().join()
        yield f"http://127.0.0.1:{port}/", dialogue
    finally:
        services.close()
        server.should_exit = True
        thread.join(10)
        store.close()


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    model, recognizer, synthesizer = StageModel(), ScriptedRecognizer(), ScriptedSynthesizer()
    engines = Engines.scripted(seeing=model, hearing=recognizer, speaking=synthesizer)
    for address, dialogue in serve(engines, tmp_path_factory.mktemp("stage")):
        yield Stage(address, dialogue, model, recognizer, synthesizer)


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds that are not silent: the scripted recogniser hears its sentence in them."""
    path = tmp_path_factory.mktemp("sound") / "speech.wav"
    t = np.arange(3 * 48000) / 48000
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 48000, 0, "NONE", ""))
        file.writeframes((np.sin(t * 2 * np.pi * 300) * 12000).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="session")
def sign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "sign.png"
    Image.new("RGB", (300, 200), (120, 170, 210)).save(path)
    return path


@pytest.fixture(scope="session")
def browser(recording: Path) -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    fake = f"--use-file-for-fake-audio-capture={recording}"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, fake])
        yield chromium
        chromium.close()


Opener = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, stage: Stage) -> Iterator[Opener]:
    """Opens the page, ready to be used. Afterwards: nothing on any console, nothing asked of any other machine.

    `open_page.forgiven` holds what a test expects on the console all the same. (Chromium itself notes every 422, which
    is how our routes refuse a file.)
    """
    complaints: list[str] = []
    foreign: list[str] = []
    contexts = []

    def listen(page: Any, ours: str) -> None:
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.on(
            "request",
            lambda r: None if re.match(f"{re.escape(ours)}|data:|blob:", r.url) else foreign.append(r.url),
        )

    def opened(path: str = "", address: str = "", **options: Any) -> Any:
        options.setdefault("viewport", {"width": 1280, "height": 820})
        context = browser.new_context(permissions=PERMISSIONS, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        listen(page, address or stage.address)
        page.goto((address or stage.address) + path)
        page.wait_for_selector("body.lu-ready")
        return page

    opened.forgiven = ["status of 422"]  # type: ignore[attr-defined]
    yield opened
    for context in contexts:
        context.close()
    assert not foreign, f"asked other machines: {foreign}"
    complaints = [c for c in complaints if not any(f in c for f in opened.forgiven)]  # type: ignore[attr-defined]
    assert not complaints, f"the console complained: {complaints}"


@pytest.fixture
def page(open_page: Opener) -> Any:
    return open_page()
