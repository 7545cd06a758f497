"""Engines are loaded once, when needed, and say how far they are."""

import gc
import threading
import time
import weakref

import pytest

from models.engines import Engines
from models.errors import EngineUnavailable
from models.fakes import ScriptedModel
from models.interfaces import GenerationOptions
from models.streaming import never_cancelled
from models.types import Message, TextPart


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

    def load(name, *, on_progress, **_):
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


class Large(ScriptedModel):
    """A model that can be closed."""

    def __init__(self, name="large"):
        super().__init__()
        self.name = name
        self.closed = 0

    def close(self):
        self.closed += 1


class Loads:
    """A loader of seeing that makes a `Large` a name; "slow" waits until it is let go or cancelled."""

    def __init__(self):
        self.made = {}
        self.names = []
        self.let_go = threading.Event()
        self.options = {}

    def __call__(self, name, *, on_progress, cancel=None, make_room=None, **options):
        self.names.append(name)
        self.options = options
        if name == "missing":
            raise EngineUnavailable("The model hub cannot be reached.", "Check the network.")
        if name == "slow":
            on_progress("Downloading slow: 1 of 2 GB", 0.5)
            while not self.let_go.wait(0.01):
                cancel.raise_if_cancelled()
        if name == "roomy":
            make_room()
            on_progress("Loading roomy", None)
        self.made[name] = ScriptedModel() if name == "small" else Large(name)
        return self.made[name]


@pytest.fixture
def loads():
    return Loads()


BEFORE: set[threading.Thread] = set()  # threads of tests before this one, of other things than engines


@pytest.fixture
def engines(loads):
    BEFORE.clear()
    BEFORE.update(threading.enumerate())
    made = Engines("first", "h", "s", loaders=dict.fromkeys(("seeing", "hearing", "speaking"), loads))
    yield made
    loads.let_go.set()
    made.close()
    until(lambda: not threads())


def threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("lucid-") and t not in BEFORE]


def until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def ask(model, text="Hello"):
    message = Message("user", (TextPart(text),))
    return model.stream([message], GenerationOptions(), never_cancelled())


def seeing(engines):
    return engines.states()[0]


def test_the_seeing_loader_is_told_where_to_run():
    loads = Loads()
    roles = dict.fromkeys(("seeing", "hearing", "speaking"), loads)
    Engines("small", "h", "s", device="cuda", precision="int8", loaders=roles).vision_language()
    assert loads.options == {"offline": False, "device": "cuda", "precision": "int8"}


def test_the_engine_before_is_closed_after_a_switch_but_not_while_it_answers(engines, loads):
    model = engines.vision_language()
    answer = ask(model)
    next(answer)
    del model
    engines.use("seeing", "second")
    assert engines.vision_language().name == "second"
    time.sleep(0.2)
    assert loads.made["first"].closed == 0
    assert "".join(d.text for d in answer)
    del answer
    until(lambda: loads.made["first"].closed == 1)
    gone = weakref.ref(loads.made.pop("first"))
    gc.collect()
    until(lambda: gone() is None)
    assert loads.made["second"].closed == 0


def test_an_answer_that_is_dropped_half_way_does_not_hold_the_engine(engines, loads):
    answer = ask(engines.vision_language())
    next(answer)
    answer.close()
    del answer
    engines.use("seeing", "second")
    engines.vision_language()
    until(lambda: loads.made["first"].closed == 1)


def test_what_was_loaded_answers_until_the_new_choice_is_there(engines, loads):
    engines.vision_language()
    engines.use("seeing", "slow")
    warming = engines.warm(("seeing",))
    until(lambda: seeing(engines).fraction == 0.5)
    assert (engines.name("seeing"), engines.serving("seeing"), seeing(engines).serving) == ("slow", "first", "first")
    assert engines.ready("seeing")
    assert engines.vision_language().name == "first"
    loads.let_go.set()
    warming.join(5)
    assert engines.vision_language().name == "slow"
    assert engines.serving("seeing") == "slow"
    until(lambda: loads.made["first"].closed == 1)


def test_a_load_can_be_cancelled_and_the_engine_before_goes_on(engines, loads):
    engines.vision_language()
    engines.use("seeing", "slow")
    warming = engines.warm(("seeing",))
    until(lambda: seeing(engines).status == "loading")
    engines.cancel("seeing")
    warming.join(1)
    assert not warming.is_alive()
    state = seeing(engines)
    assert (state.name, state.status) == ("first", "ready")
    assert state.notice == state.text
    assert state.text.startswith("The loading of slow was stopped.")
    assert state.text.endswith("Answers still come from first.")
    assert engines.vision_language().name == "first"
    assert loads.names == ["first", "slow"]


def test_switching_away_cancels_the_load(engines, loads):
    engines.vision_language()
    engines.use("seeing", "slow")
    warming = engines.warm(("seeing",))
    until(lambda: seeing(engines).status == "loading")
    engines.use("seeing", "first")
    warming.join(2)
    assert not warming.is_alive()
    assert loads.names == ["first", "slow"]
    assert seeing(engines).status == "ready"
    assert seeing(engines).notice == ""
    engines.use("seeing", "slow")
    warming = engines.warm(("seeing",))
    until(lambda: seeing(engines).status == "loading")
    engines.use("seeing", "third")
    assert engines.vision_language().name in ("first", "third")
    warming.join(2)
    assert engines.vision_language().name == "third"
    until(lambda: loads.made["first"].closed == 1)


def test_the_first_choice_can_be_cancelled_too_and_asked_for_again(loads):
    engines = Engines("slow", "h", "s", loaders=dict.fromkeys(("seeing", "hearing", "speaking"), loads))
    failures = []

    def turn():
        try:
            engines.vision_language()
        except EngineUnavailable as error:
            failures.append(str(error))

    asking = threading.Thread(target=turn)
    asking.start()
    until(lambda: seeing(engines).status == "loading")
    engines.cancel("seeing")
    asking.join(2)
    assert failures
    assert failures[0].startswith("The loading of slow was stopped.")
    assert seeing(engines).status == "cold"
    loads.let_go.set()
    assert engines.vision_language().name == "slow"
    engines.close()
    until(lambda: not threads())


def test_a_choice_that_cannot_be_loaded_leaves_the_engine_before_it(engines, loads):
    engines.vision_language()
    engines.use("seeing", "missing")
    assert engines.vision_language().name == "first"
    state = seeing(engines)
    assert (state.name, state.status) == ("first", "ready")
    assert state.text == "The model hub cannot be reached. Check the network. Answers still come from first."
    assert loads.made["first"].closed == 0
    engines.use("seeing", "second")
    engines.vision_language()
    assert seeing(engines).notice == ""


def test_a_choice_made_before_anything_was_loaded_falls_back_as_well(engines, loads):
    engines.use("seeing", "missing")
    engines.warm(("seeing",)).join(5)
    assert (seeing(engines).name, seeing(engines).status) == ("first", "ready")


def test_a_model_that_needs_the_memory_of_the_one_before_gets_it_first(engines, loads):
    model = engines.vision_language()
    engines.use("seeing", "roomy")
    warming = engines.warm(("seeing",))
    time.sleep(0.2)
    assert "roomy" not in loads.made
    del model
    warming.join(5)
    assert loads.made["first"].closed == 1
    assert engines.vision_language().name == "roomy"


def test_an_idle_engine_is_unloaded_and_loaded_again_when_it_is_needed(loads):
    roles = dict.fromkeys(("seeing", "hearing", "speaking"), loads)
    engines = Engines("first", "h", "s", unload_min=0.3 / 60, loaders=roles)
    model = engines.vision_language()
    time.sleep(0.6)
    assert loads.made["first"].closed == 0, "it was in use"
    del model
    old = loads.made["first"]
    until(lambda: old.closed == 1)
    until(lambda: seeing(engines).status == "cold")
    assert "Unloaded after" in seeing(engines).text
    assert engines.vision_language().name == "first"
    assert loads.names == ["first", "first"]
    assert loads.made["first"] is not old
    engines.close()
    until(lambda: not threads())


def test_what_cannot_be_closed_is_never_unloaded(loads):
    roles = dict.fromkeys(("seeing", "hearing", "speaking"), loads)
    engines = Engines("small", "h", "s", unload_min=0.05 / 60, loaders=roles)
    assert engines.vision_language() is loads.made["small"]
    time.sleep(0.2)
    assert engines.ready("seeing")
    assert threads() == []


def test_a_borrowed_engine_is_like_the_engine(engines, loads):
    model = engines.vision_language()
    real = loads.made["first"]
    assert (model.name, model.context_tokens) == (real.name, real.context_tokens)
    message = Message("user", (TextPart("Hi"),))
    assert model.count_tokens([message]) == real.count_tokens([message])
    assert not hasattr(model, "nothing_like_it")


def test_a_cancelled_load_that_finished_all_the_same_is_closed():
    late = Large()

    def load(name, *, cancel=None, **_):
        engines.cancel("seeing")
        return late

    engines = _engines(load)
    with pytest.raises(EngineUnavailable, match="was stopped"):
        engines.vision_language()
    assert late.closed == 1


def test_the_state_says_where_a_model_runs_now(engines, loads):
    model = engines.vision_language()
    assert seeing(engines).text == "Ready"
    for reason in ("On the GPU in bfloat16.", "On the processor in int8."):
        loads.made["first"].choice = type("Choice", (), {"reason": reason})
        assert seeing(engines).text == reason
    assert model.name == "first"


def test_an_error_that_is_kept_does_not_keep_an_engine_for_ever(engines, loads):
    def turn():
        model = engines.vision_language()
        try:
            raise RuntimeError("in the midst of an answer")
        except RuntimeError as error:
            return error, model.name

    error, _ = turn()
    error.itself = error  # a cycle: only the collector finds out that nobody holds it
    del error
    engines.use("seeing", "second")
    engines.vision_language()
    until(lambda: loads.made["first"].closed == 1)


def test_closing_waits_until_it_is_done(loads):
    engines = Engines("first", "h", "s", loaders=dict.fromkeys(("seeing", "hearing", "speaking"), loads))
    engines.vision_language()
    engines.close()
    assert loads.made["first"].closed == 1
    until(lambda: not threads())


def test_many_switches_and_cancels_leave_no_thread(engines, loads):
    engines.vision_language()
    for _ in range(20):
        engines.use("seeing", "slow")
        warming = engines.warm(("seeing",))
        until(lambda: seeing(engines).status == "loading")
        engines.cancel("seeing")
        warming.join(2)
    for name in ("second", "third") * 5:
        engines.use("seeing", name)
        engines.vision_language()
    until(lambda: threads() == ["lucid-keeper"])
