"""Engines are loaded once, when needed, and say how far they are."""

import threading
import time

import pytest

from models.engines import Engines
from models.errors import EngineUnavailable


def _engines(load, **kwargs):
    return Engines("see", "hear", "speak", loaders=dict.fromkeys(("seeing", "hearing", "speaking"), load), **kwargs)


def test_nothing_is_loaded_until_it_is_needed():
    loaded = []
    engines = _engines(lambda name, **_: loaded.append(name) or name)
    assert {s.status for s in engines.states()} == {"cold"}
    assert engines.hearing() == "hear"
    assert loaded == ["hear"]
    assert engines.ready("hearing")
    assert not engines.ready("seeing")


def test_two_callers_load_an_engine_once():
    loads = []

    def slow(name, **_):
        loads.append(name)
        time.sleep(0.1)
        return object()

    engines = _engines(slow)
    found = []
    threads = [threading.Thread(target=lambda: found.append(engines.vision_language())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == ["see"]
    assert len(set(map(id, found))) == 1


def test_the_state_shows_the_progress_of_loading():
    seen = []

    def load(name, *, offline, on_progress):
        on_progress("half way", 0.5)
        seen.append((engines.states()[0].status, engines.states()[0].text, engines.states()[0].fraction))
        return object()

    engines = _engines(load)
    engines.vision_language()
    assert seen == [("loading", "half way", 0.5)]
    assert engines.states()[0].status == "ready"


def test_a_failure_is_a_sentence_and_can_be_tried_again():
    attempts = []

    def load(name, **_):
        attempts.append(name)
        if len(attempts) == 1:
            raise OSError("disk gone")
        return object()

    engines = _engines(load)
    with pytest.raises(EngineUnavailable, match=r"see could not be loaded.*disk gone"):
        engines.vision_language()
    assert engines.states()[0].status == "failed"
    assert "doctor" in engines.states()[0].text
    engines.vision_language()
    assert engines.ready("seeing")


def test_warming_goes_on_after_a_failure():
    def load(name, **_):
        if name == "hear":
            raise EngineUnavailable("Not here.", "Get it.")
        return object()

    engines = _engines(load)
    engines.warm().join(5)
    assert [s.status for s in engines.states()] == ["ready", "failed", "ready"]


def test_another_model_is_loaded_in_place_of_the_first():
    engines = _engines(lambda name, **_: name)
    assert engines.vision_language() == "see"
    engines.use("seeing", "other")
    assert engines.states()[0].status == "cold"
    assert engines.vision_language() == "other"


def test_offline_reaches_the_loader():
    flags = []
    engines = _engines(lambda name, *, offline, on_progress: flags.append(offline) or name, offline=True)
    engines.speaking()
    assert flags == [True]
