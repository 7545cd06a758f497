"""The catalogue of chosen vision-language models, and what a name means."""

from __future__ import annotations

import re
import sys
import types

import pytest

from models.errors import Cancelled, EngineUnavailable
from models.hub_cache import is_repository
from models.seeing import chosen, entries, kind_of, load_vision_language_model
from models.streaming import CancelScope


def test_transformers_knows_every_architecture():
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN

    assert {m.model_type for m in chosen.CHOSEN} - set(KNOWN) == set()


def test_entries_are_complete_and_each_there_once():
    names = [m.name for m in chosen.CHOSEN]
    assert len(set(names)) == len(names) >= 15
    for model in chosen.CHOSEN:
        assert is_repository(model.repository), model
        assert 200 <= model.millions <= 11_000
        assert model.context_tokens >= 8_192
        assert model.licence
        assert model.good_at
    assert {m.model_type for m in chosen.CHOSEN} >= {
        "smolvlm", "qwen3_vl", "qwen3_5", "gemma3", "gemma4", "lfm2_vl", "internvl", "mllama",
    }  # fmt: skip
    assert chosen.chosen("hf:Qwen/Qwen3-VL-2B-Instruct@main").title == "Qwen3-VL-2B-Instruct"
    assert chosen.chosen("hf:owner/unknown") is None


def test_sizes_in_names_are_the_sizes_in_the_catalogue():
    for model in chosen.CHOSEN:
        said = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)(B|M)(?![a-z])", model.title.replace("-", " "))
        if said and "gemma-4" not in model.title:  # E2B counts what is computed, not what is stored
            millions = float(said[1]) * (1000 if said[2] == "B" else 1)
            assert 0.85 * millions <= model.millions <= 1.2 * millions, model


def test_the_picker_offers_packaged_chosen_and_patterns():
    listed = entries()
    assert listed[0].name == "glimpse"
    assert [e.name for e in listed if e.packaged] == ["glimpse", "smollm2-evidence"]
    assert {"hf:<owner>/<name>", "folder:<path>"} <= {e.name for e in listed}
    named = next(e for e in listed if e.name == "hf:Qwen/Qwen3-VL-2B-Instruct")
    assert named.languages == "en zh"
    assert named.megabytes == 4256


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("glimpse", "packaged"),
        ("smollm2-evidence", "packaged"),
        ("hf:a/b", "hub"),
        ("/models/x", "folder"),
        ("./x", "folder"),
        ("~/x", "folder"),
        ("folder:x y", "folder"),
        ("server:http://127.0.0.1:8000", "server"),
        ("hf:", None),
        ("server:", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_what_a_name_means(name, kind):
    assert kind_of(name) == kind


def test_names_that_mean_nothing_are_refused(tmp_path):
    for name in ("nonsense", "hf:", "hf:noslash", f"{tmp_path}/none", "folder:none"):
        with pytest.raises(EngineUnavailable) as caught:
            load_vision_language_model(name, offline=True)
        assert caught.value.remedy
    with pytest.raises(EngineUnavailable, match="offline"):
        load_vision_language_model("hf:owner/not-here", offline=True)


@pytest.fixture
def stand_ins(monkeypatch):
    """In place of measuring, checkpoint and ladder: what they are called with."""
    calls = []

    def demand_fit(plans, name, offers):
        calls.append(("fit", plans, offers))
        if plans == ("nothing fits",):
            raise EngineUnavailable("It does not fit.", "These do.")

    class Resilient:
        def __init__(self, load, plans, name):
            self.name, self.inner = name, load(plans[0])

    def load_checkpoint(folder, choice, *, name, on_progress=None, cancel=None):
        calls.append(("load", folder, choice))
        return "engine"

    state = types.SimpleNamespace(calls=calls, plans=("cuda in bfloat16", "cpu"))
    monkeypatch.setattr("models.runtime.this_machine", lambda: "machine")
    monkeypatch.setattr("models.runtime.needs_of", lambda folder: ("needs", folder), raising=False)
    monkeypatch.setattr("models.runtime.plans", lambda *a, **k: calls.append((a, k)) or state.plans, raising=False)
    monkeypatch.setattr("models.runtime.demand_fit", demand_fit, raising=False)
    monkeypatch.setattr("models.seeing.offers.that_fit", lambda machine: ("hf:small/one",))
    for module, content in (
        ("models.seeing.checkpoint", {"load_checkpoint": load_checkpoint}),
        ("models.seeing.ladder", {"ResilientModel": Resilient}),
    ):
        monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**content))
    return state


def test_a_folder_is_measured_before_it_is_loaded(stand_ins, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    order = []
    told = []
    model = load_vision_language_model(
        f"folder:{tmp_path}",
        device="cuda",
        precision="int8",
        on_progress=lambda text, _: told.append(text),
        make_room=lambda: order.append(len(stand_ins.calls)),
    )
    assert (model.name, model.inner) == (f"folder:{tmp_path}", "engine")
    assert order == [0], "room is made before anything is measured"
    assert stand_ins.calls == [
        (("machine", ("needs", tmp_path)), {"device": "cuda", "precision": "int8"}),
        ("fit", stand_ins.plans, ("hf:small/one",)),
        ("load", tmp_path, "cuda in bfloat16"),
    ]
    assert told == [f"Measuring what folder:{tmp_path} needs"]


def test_what_does_not_fit_is_not_loaded(stand_ins, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    stand_ins.plans = ("nothing fits",)
    with pytest.raises(EngineUnavailable, match="does not fit"):
        load_vision_language_model(str(tmp_path))
    assert not any(call[0] == "load" for call in stand_ins.calls)


def test_a_cancelled_load_stops_before_the_weights(stand_ins, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    scope = CancelScope()
    token = scope.begin()
    with pytest.raises(Cancelled):
        load_vision_language_model(str(tmp_path), cancel=token, make_room=scope.cancel)
    assert not any(call[0] == "load" for call in stand_ins.calls)


def test_a_hub_model_is_fetched_first(stand_ins, tmp_path, monkeypatch):
    asked = []

    def fetch(repository, revision, **options):
        asked.append((repository, revision, sorted(options)))
        (tmp_path / "config.json").write_text("{}")
        return tmp_path

    monkeypatch.setattr("models.hub.fetch", fetch)
    load_vision_language_model("hf:owner/name@v1")
    assert asked == [("owner/name", "v1", ["cancel", "offline", "on_progress"])]


def test_a_server_is_asked_with_the_key_of_the_environment(monkeypatch):
    asked = []
    monkeypatch.setattr("models.seeing.server.connect", lambda *a, **k: asked.append((a, k)) or "server")
    monkeypatch.setenv("LUCID_SERVER_KEY", "secret")
    assert load_vision_language_model("server:http://127.0.0.1:8000/v1#m/x", offline=True) == "server"
    name = "server:http://127.0.0.1:8000/v1#m/x"
    given = {"name": name, "key": "secret", "offline": True, "cancel": None}
    assert asked == [(("http://127.0.0.1:8000/v1", "m/x"), given)]
