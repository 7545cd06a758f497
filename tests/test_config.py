"""The settings object: what wins over what, and how it refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant import config
from assistant.config import Settings, generation_options, is_loopback, load_settings
from models.errors import SettingsError


def settings_file(folder: Path, text: object) -> dict[str, str]:
    """Writes the settings file into a data folder; returns the environment that points there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / config.SETTINGS_FILE).write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return {"LUCID_DATA_DIR": str(folder)}


def test_without_anything_said_the_defaults_hold_and_only_this_machine_is_served() -> None:
    settings = load_settings({}, {})
    assert settings == Settings()
    assert is_loopback(settings.host)


def test_command_line_wins_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = settings_file(tmp_path, {"port": 8001, "voice": "file", "speed": 1.5})
    environment = {**file, "LUCID_PORT": "8002", "LUCID_VOICE": "environment"}
    settings = load_settings({"port": 8003, "voice": None}, environment)
    assert settings.port == 8003
    assert settings.voice == "environment"
    assert settings.speed == 1.5
    assert settings.video_frames == Settings().video_frames


def test_the_settings_file_is_looked_for_in_the_data_folder_that_the_command_line_names(tmp_path: Path) -> None:
    settings_file(tmp_path / "one", {"port": 8001})
    elsewhere = settings_file(tmp_path / "two", {"port": 8002})
    assert load_settings({"data_dir": tmp_path / "one"}, elsewhere).port == 8001


def test_home_is_expanded_in_the_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load_settings({}, {"LUCID_DATA_DIR": "~/lucid"}).data_dir == tmp_path / "lucid"


@pytest.mark.parametrize("origin", ["file", "environment", "command line"])
def test_an_unknown_name_is_refused_with_the_names_that_exist(tmp_path: Path, origin: str) -> None:
    environment = settings_file(tmp_path, {"prot": 1} if origin == "file" else {})
    if origin == "environment":
        environment["LUCID_PROT"] = "1"
    with pytest.raises(SettingsError) as refusal:
        load_settings({"prot": 1} if origin == "command line" else {}, environment)
    assert "'prot'" in refusal.value.message
    for field in dataclasses.fields(Settings):
        assert field.name in refusal.value.remedy


def test_variables_of_other_programs_and_of_the_cache_are_no_settings() -> None:
    assert load_settings({}, {"LUCIDITY": "1", "LUCID_CACHE": "/somewhere", "PATH": "/bin"}) == Settings()


@pytest.mark.parametrize("text", ["{", "[]", '"port"', "\x00", ""])
def test_a_broken_settings_file_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"settings\.json"):
        load_settings({}, settings_file(tmp_path, text))


def test_the_settings_file_cannot_move_the_folder_that_it_lies_in(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="data_dir"):
        load_settings({}, settings_file(tmp_path, {"data_dir": "/elsewhere"}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 0),
        ("port", 65536),
        ("port", "many"),
        ("speed", 0.4),
        ("speed", 2.1),
        ("speed", "nan"),
        ("temperature", -0.1),
        ("temperature", "nan"),
        ("log_level", "loud"),
        ("max_new_tokens", 0),
        ("video_frames", -1),
        ("max_upload_mb", 0),
        ("max_media_s", 0),
        ("auth", "no-colon"),
        ("auth", "user:"),
        ("auth", ":password"),
        ("offline", "perhaps"),
        ("model", 7),
    ],
)
def test_an_impossible_value_is_refused_with_its_name_and_a_way_out(name: str, value: object) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings({name: value}, {})
    assert name in refusal.value.message
    assert refusal.value.remedy
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", "127.0.0.1.example.org", ""])
def test_serving_other_machines_needs_a_password(host: str) -> None:
    with pytest.raises(SettingsError, match="--auth"):
        load_settings({"host": host}, {})
    assert load_settings({"host": host, "auth": "ada:secret"}, {}).host == host


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "::1"])
def test_this_machine_needs_no_password(host: str) -> None:
    assert load_settings({"host": host}, {}).auth == ""


@given(st.ip_addresses())
def test_no_address_beyond_the_loopback_counts_as_this_machine(address: object) -> None:
    assert is_loopback(str(address)) == address.is_loopback  # type: ignore[attr-defined]


@given(st.integers())
def test_a_port_is_taken_exactly_if_it_can_be_one_and_reads_the_same_from_text(port: int) -> None:
    if 1 <= port <= 65535:
        assert load_settings({"port": port}, {}).port == port
        assert load_settings({}, {"LUCID_PORT": str(port)}).port == port
    else:
        with pytest.raises(SettingsError):
            load_settings({"port": port}, {})


@given(st.text())
def test_any_text_as_a_switch_is_understood_or_refused_never_guessed(word: str) -> None:
    meant = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    expected = meant.get(word.strip().lower())
    if expected is None:
        with pytest.raises(SettingsError, match="offline"):
            load_settings({}, {"LUCID_OFFLINE": word})
    else:
        assert load_settings({}, {"LUCID_OFFLINE": word}).offline is expected


NAMES = st.sampled_from([field.name for field in dataclasses.fields(Settings)])
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("~nobody-of-this-name/lucid")


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_whatever_is_said_either_makes_settings_or_a_sentence(said: dict[str, object]) -> None:
    try:
        settings = load_settings(said, {})
    except SettingsError as error:
        refusal: SettingsError | None = error
    else:
        refusal = None
        for name in ("port", "speed"):
            if said.get(name) is not None:
                assert getattr(settings, name) == type(getattr(Settings(), name))(said[name])  # type: ignore[arg-type]
    assert refusal is None or (refusal.message and refusal.remedy)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", "tpu"),
        ("precision", "int3"),
        ("top_p", 1.5),
        ("min_p", -0.1),
        ("repetition_penalty", 3.0),
        ("top_k", -1),
        ("unload_min", -5),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_can(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=name) as failure:
        load_settings({name: value}, {})
    assert failure.value.remedy


def test_sampling_follows_the_settings() -> None:
    chosen = load_settings({"temperature": 0.7, "top_k": 40, "min_p": 0.05, "seed": 7, "repetition_penalty": 1.0}, {})
    options = generation_options(chosen)
    assert (options.temperature, options.top_k, options.min_p, options.seed) == (0.7, 40, 0.05, 7)
    assert options.repetition_penalty == 1.0
    assert generation_options(load_settings({}, {})).seed is None
