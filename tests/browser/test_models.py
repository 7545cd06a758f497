"""Choosing a model that has to be downloaded: progress, cancelling, and that the page goes on answering."""

from __future__ import annotations

import re
import threading

import pytest
from acting import answers, say
from conftest import StageModel, serve

from models.catalogue import ROLES
from models.engines import Engines
from models.errors import EngineUnavailable
from models.fakes import ScriptedRecognizer, ScriptedSynthesizer

SLOW, GONE = "hf:owner/slow", "hf:owner/gone"


class Warehouse:
    """Loads everything at once but `SLOW`, which comes as far as `share` and waits there until it is let go."""

    def __init__(self):
        self.share = 0.25
        self.let_go = threading.Event()
        self.cancelled = 0

    def __call__(self, name, *, on_progress, cancel=None, **_):
        if name == GONE:
            raise EngineUnavailable(
                "The model hub at http://x cannot be reached (ConnectError).",
                "Check the network, or choose a model that is on this machine.",
            )
        if name == SLOW:
            while not self.let_go.wait(0.02):
                on_progress(f"Downloading owner/slow: {self.share * 4:.2f} of 4.00 GB", self.share)
                if cancel.cancelled:
                    self.cancelled += 1
                    cancel.raise_if_cancelled()
        engines = {"h": ScriptedRecognizer, "s": ScriptedSynthesizer}
        model = engines.get(name, StageModel)()
        model.name = name
        return model


@pytest.fixture
def warehouse(tmp_path):
    """A page of its own. Ask for it before `open_page`, so that the page is closed before its server is."""
    loads = Warehouse()
    engines = Engines("small", "h", "s", loaders=dict.fromkeys(ROLES, loads))
    for address, dialogue in serve(engines, tmp_path / "data"):
        loads.address, loads.dialogue = address, dialogue
        yield loads
        loads.let_go.set()


def choose(page, name):
    page.fill("#lu-engine-seeing input", name)
    page.press("#lu-engine-seeing input", "Enter")
    page.keyboard.press("Tab")


def test_a_download_shows_how_far_it_is_can_be_cancelled_and_answers_go_on(warehouse, open_page):
    page = open_page(address=warehouse.address)
    page.click("#lu-open-settings")
    page.wait_for_function("document.querySelector('#lu-engine-seeing input').value.startsWith('small')")
    assert not page.is_visible("#lu-loading")
    choose(page, SLOW)
    page.wait_for_selector("#lu-loading", state="visible")
    page.wait_for_function("document.querySelector('#lu-loading-bar').value === 0.25")
    assert page.inner_text("#lu-loading-text") == "Downloading owner/slow: 1.00 of 4.00 GB. small answers meanwhile."
    warehouse.share = 0.75
    page.wait_for_function("document.querySelector('#lu-loading-bar').value === 0.75")
    assert "75 %" in page.inner_text(".lu-engine[data-role=seeing]")
    page.click("#lu-close-settings")
    say(page, "hello there")
    assert answers(page) == ["You said: hello there."]
    assert warehouse.dialogue.engines.serving("seeing") == "small"
    page.click("#lu-open-settings")
    page.click("#lu-loading-cancel")
    page.wait_for_selector("#lu-loading", state="hidden")
    assert warehouse.cancelled == 1
    page.wait_for_function("document.querySelector('#lu-notice').textContent.includes('owner/slow was stopped')")
    page.wait_for_function("document.querySelector('#lu-engine-seeing input').value.startsWith('small')")
    page.click("#lu-close-settings")
    say(page, "still here?")
    assert answers(page)[-1] == "You said: still here?."


def test_a_model_that_arrives_is_used_and_remembered(warehouse, open_page):
    page = open_page(address=warehouse.address, locale="zh-CN")
    page.click("#lu-open-settings")
    choose(page, SLOW)
    page.wait_for_function("document.querySelector('#lu-loading-text').textContent.includes('正在下载')")
    assert page.inner_text("#lu-loading-cancel") == "取消加载"
    warehouse.let_go.set()
    page.wait_for_selector("#lu-loading", state="hidden")
    page.wait_for_function(f"document.querySelector('.lu-engine[data-role=seeing]').title.startsWith('{SLOW}')")
    assert warehouse.dialogue.engines.serving("seeing") == SLOW
    folder = warehouse.dialogue.settings.data_dir
    page.wait_for_timeout(300)
    assert SLOW in (folder / "page.json").read_text()


def test_a_hub_that_cannot_be_reached_is_said_once_and_the_page_goes_on(warehouse, open_page):
    page = open_page(address=warehouse.address)
    page.click("#lu-open-settings")
    choose(page, GONE)
    page.wait_for_function("document.querySelector('#lu-notice').textContent.includes('cannot be reached')")
    assert page.inner_text("#lu-notice").endswith("Answers still come from small.")
    page.click("#lu-close-settings")
    say(page, "hello")
    assert answers(page) == ["You said: hello."]
    page.reload()
    page.wait_for_selector("body.lu-ready")
    page.wait_for_function("document.querySelectorAll('.lu-engine').length === 3")
    assert page.inner_text("#lu-notice") == ""


def test_how_answers_are_drawn_can_be_set_and_set_back(warehouse, open_page):
    page = open_page(address=warehouse.address)
    page.click("#lu-open-settings")
    page.click("#lu-sampling > button")
    page.wait_for_selector("#lu-temperature input[type=number]", state="visible")
    assert page.input_value("#lu-seed input") == "-1"
    page.fill("#lu-temperature input[type=number]", "0.6")
    page.press("#lu-temperature input[type=number]", "Enter")
    page.keyboard.press("Tab")
    page.fill("#lu-max_new_tokens input", "77")
    page.wait_for_timeout(600)
    page.click("#lu-close-settings")
    say(page, "hello")
    used = warehouse.dialogue.engines.vision_language().calls[-1].options
    assert (used.temperature, used.max_new_tokens) == (0.6, 77)
    page.click("#lu-open-settings")
    page.wait_for_function("document.querySelector('#lu-temperature input[type=number]').value === '0.6'")
    page.click("#lu-sampling-usual")
    page.wait_for_function("document.querySelector('#lu-temperature input[type=number]').value === '0'")
    assert re.search(r'"sampling": \{\}', (warehouse.dialogue.settings.data_dir / "page.json").read_text())
