"""The page's model picker, its cancel route, and the numbers of how answers are sampled."""

from __future__ import annotations

import threading
import time

import pytest

from assistant.config import Settings
from assistant.dialogue import DialogueManager
from assistant.store import ConversationStore
from models.catalogue import ROLES, CatalogueEntry
from models.engines import Engines
from models.errors import EngineUnavailable
from models.fakes import ScriptedModel
from models.runtime import Machine
from models.seeing import entries
from models.seeing.chosen import CHOSEN
from ui.handlers_settings import SettingsHandlers
from ui.model_picker import choices
from ui.preferences import SAMPLING, PreferenceFile, sampling_number
from ui.services import PageServices

SMALL = Machine("cpu", "AVX2", 3 << 30, False, 2, ("int8",))


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def here(monkeypatch):
    """Of all models only SmolVLM2-256M is downloaded, and the machine is a small one."""
    monkeypatch.setattr("models.runtime.this_machine", lambda: SMALL)
    monkeypatch.setattr("models.seeing.offers.on_this_machine", lambda name: name if "256M" in name else None)


def lines(settings, language):
    return {name: said for said, name in choices(entries(), settings, language)}


def test_a_model_is_offered_with_all_that_decides(here, settings):
    said = lines(settings, "en")
    assert list(said)[:2] == ["glimpse", "smollm2-evidence"]
    assert set(said) == {"glimpse", "smollm2-evidence", *(m.name for m in CHOSEN)}, "patterns are typed, not picked"
    small = said["hf:HuggingFaceTB/SmolVLM2-256M-Video-Instruct"]
    assert small.split(" · ")[0] == "SmolVLM2-256M-Video-Instruct"
    for part in ("1.0 GB", "Apache-2.0", "no Chinese", "fits: int8, processor", "downloaded"):
        assert part in small.split(" · "), small
    large = said["hf:Qwen/Qwen3-VL-8B-Instruct"].split(" · ")
    assert "Chinese too" in large
    assert "not downloaded yet" in large
    assert any(part.startswith("does not fit: needs ") and "3.2 GB are free" in part for part in large)
    assert "to be accepted on the hub" in said["hf:google/gemma-3-4b-it"]


def test_the_same_in_chinese(here, settings):
    said = lines(settings, "zh")
    large = said["hf:Qwen/Qwen3-VL-8B-Instruct"]
    for part in ("17.5 GB", "支持中文", "放不下：需要", "尚未下载", "文档、图表、长视频"):
        assert part in large
    assert "可运行：int8，处理器 · 已下载" in said["hf:HuggingFaceTB/SmolVLM2-256M-Video-Instruct"]
    wish = Settings(data_dir=settings.data_dir, device="xpu")
    assert "没有设备 xpu" in lines(wish, "zh")["hf:Qwen/Qwen3-VL-8B-Instruct"]


def test_engines_without_checkpoints_are_listed_without_measuring(monkeypatch, settings):
    monkeypatch.setattr("models.runtime.this_machine", lambda: pytest.fail("nothing needs to be measured"))
    known = [CatalogueEntry("a", "A voice", True), CatalogueEntry("b:<file>", "Another", False)]
    assert choices(known, settings, "en") == [("a · A voice", "a")]


@pytest.fixture
def services(settings, tmp_path):
    store = ConversationStore(settings.data_dir)
    let_go = threading.Event()

    def load(name, *, on_progress=None, cancel=None, **_):
        if name == "hf:owner/none":
            raise EngineUnavailable("The hub has no model owner/none, or it is private.", "Check the name.")
        if name == "hf:owner/slow":
            on_progress("Downloading owner/slow: 0.50 of 2.00 GB", 0.25)
            while not let_go.wait(0.01):
                cancel.raise_if_cancelled()
        return ScriptedModel()

    engines = Engines("first", "h", "s", loaders=dict.fromkeys(ROLES, load))
    made = PageServices.of(DialogueManager(engines, store, settings), tmp_path)
    yield made
    let_go.set()
    made.close()
    store.close()


def until(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def test_the_state_tells_the_page_of_a_download_which_can_be_cancelled(services, settings):
    from starlette.testclient import TestClient

    from ui.app import create_app

    app, made = create_app(services.dialogue, services.inbox.folder.parent, port=7998)
    with TestClient(app, base_url="http://127.0.0.1:7998") as page:
        services.engines.warm().join()
        SettingsHandlers(made).use("seeing", "hf:owner/slow")
        seeing = lambda: page.get("/lucid/state", headers={"accept-language": "zh"}).json()["engines"][0]  # noqa: E731
        until(lambda: seeing()["fraction"] == 0.25)
        state = seeing()
        assert (state["status"], state["name"], state["serving"]) == ("loading", "hf:owner/slow", "first")
        assert state["text"] == "正在下载 owner/slow：0.50 / 2.00 GB"
        assert page.post("/lucid/engines/nonsense/cancel").status_code == 404
        foreign = page.post("/lucid/engines/seeing/cancel", headers={"origin": "http://evil.example"})
        assert foreign.status_code == 403
        assert page.post("/lucid/engines/seeing/cancel").status_code == 204
        until(lambda: seeing()["status"] == "ready")
        state = seeing()
        assert (state["name"], state["serving"]) == ("first", "")
        assert state["notice"] == (
            "hf:owner/slow 的加载已停止。已下载的部分会保留；再次选择即可继续。仍由 first 回答。"
        )
    until(lambda: not [t for t in threading.enumerate() if t.name == "lucid-remember"])
    assert made.preferences.engine("seeing", "first") == "first"


def test_a_choice_that_cannot_be_had_is_not_remembered(services):
    services.engines.warm().join()
    SettingsHandlers(services).use("seeing", "hf:owner/none")
    until(lambda: services.engines.states()[0].notice)
    until(lambda: not [t for t in threading.enumerate() if t.name == "lucid-remember"])
    assert services.engines.name("seeing") == "first"
    assert services.preferences.engine("seeing", "first") == "first"


def test_numbers_of_sampling_are_kept_and_used(services, settings):
    handlers = SettingsHandlers(services)
    before = services.generation
    handlers.sample("temperature", 0.7)
    handlers.sample("top_k", 40)
    handlers.sample("seed", 7)
    handlers.sample("max_new_tokens", 99)
    handlers.sample("min_p", 0.1)
    handlers.sample("min_p", settings.min_p)  # back at what the settings say: nothing to keep
    assert PreferenceFile(settings).current.sampling == {
        "temperature": 0.7, "top_k": 40, "seed": 7, "max_new_tokens": 99,
    }  # fmt: skip
    now = services.generation
    assert (now.temperature, now.top_k, now.seed, now.max_new_tokens) == (0.7, 40, 7, 99)
    assert now.top_p == before.top_p
    shown = dict(zip(SAMPLING, handlers._sampling()))
    assert shown["temperature"]["value"] == 0.7
    assert shown["seed"]["value"] == 7
    usual = dict(zip(SAMPLING, handlers.usual_sampling()))
    assert services.generation == before
    assert usual["seed"]["value"] == -1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 3),
        ("temperature", -0.1),
        ("top_p", float("nan")),
        ("top_k", None),
        ("max_new_tokens", 0),
        ("max_new_tokens", "many"),
        ("seed", True),
        ("data_dir", 1),
    ],
)
def test_numbers_that_cannot_be_are_left(services, name, value):
    before = services.generation
    SettingsHandlers(services).sample(name, value)
    assert services.generation == before
    assert sampling_number(name, value) is None


def test_a_damaged_file_of_preferences_costs_the_numbers_only(services, settings):
    file = settings.data_dir / "page.json"
    file.write_text('{"sampling": {"temperature": 9, "top_k": 5.0, "host": 1, "seed": "x"}, "speed": 1.5}')
    kept = PreferenceFile(settings).current
    assert kept.sampling == {"top_k": 5}
    assert kept.speed == 1.5


def test_every_number_on_the_page_is_a_setting_within_its_limits(settings):
    for name, limits in SAMPLING.items():
        assert limits.least <= getattr(settings, name) <= limits.most
        for edge in (limits.least, limits.most):
            Settings(data_dir=settings.data_dir, **{name: sampling_number(name, edge)})
