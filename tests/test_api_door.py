"""Who may use /v1: only who has the key, from this machine, and only when the owner asked for it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from assistant.config import Settings, load_settings
from models.errors import SettingsError
from tests.api_server import BEARER, FIXTURES, KEY, ROOT, ApiServer, running, serving
from ui import login
from ui.api.keys import KEY_FILE, SHORTEST_KEY, api_key, demand_key, introduction
from ui.api.routes import only_http
from ui.security import secure

PATHS = (
    ("GET", "/v1/models"),
    ("GET", "/v1/models/scripted"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/audio/transcriptions"),
    ("POST", "/v1/audio/speech"),
    ("GET", "/v1/none"),
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with serving(tmp_path) as running_server:
        yield running_server


def error_of(answer: httpx.Response) -> dict[str, str]:
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_nothing_without_the_key(server: ApiServer) -> None:
    for method, path in PATHS:
        for headers in ({}, {"authorization": KEY}, {"authorization": "Basic " + KEY}, {"authorization": "Bearer"}):
            answer = httpx.request(method, server.address + path, headers=headers)
            assert answer.status_code == 401, path
            assert error_of(answer)["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"].startswith("Bearer")
    for wrong in (f"{KEY}x", KEY[:-1], KEY.upper(), "é" * 20):
        answer = httpx.get(
            f"{server.address}/v1/models", headers={"authorization": f"Bearer {wrong}".encode("latin-1")}
        )
        assert answer.status_code == 401, wrong
        assert KEY not in answer.text
    both = [("authorization", f"Bearer {KEY}"), ("authorization", "Bearer other")]
    assert httpx.get(f"{server.address}/v1/models", headers=both).status_code == 401
    assert server.http.get("/v1/models").status_code == 200
    assert server.http.get("/v1/models", headers={"authorization": f"bearer  {KEY}"}).status_code == 200


def test_a_body_is_not_even_read_without_the_key(server: ApiServer) -> None:
    sent = []

    def body() -> Iterator[bytes]:
        for number in range(400):
            sent.append(number)
            yield bytes(1 << 20)

    answer = httpx.post(f"{server.address}/v1/chat/completions", content=body())
    assert answer.status_code == 401
    assert len(sent) < 100


def test_guessing_is_slowed_down(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(login.MAX_FAILURES):
        wrong = {"authorization": f"Bearer guess-{number}"}
        assert httpx.get(f"{server.address}/v1/models", headers=wrong).status_code == 401
    refused = server.http.get("/v1/models")
    assert refused.status_code == 429
    assert error_of(refused)["type"] == "rate_limit_error"
    assert 0 < int(refused.headers["retry-after"]) <= login.FAILURE_WINDOW_S + 1
    assert refused.headers["x-should-retry"] == "false"
    monkeypatch.setattr(login, "FAILURE_WINDOW_S", -1.0)
    assert server.http.get("/v1/models").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_others_are_refused_even_with_the_key(server: ApiServer, headers: dict[str, str]) -> None:
    for method, path in PATHS:
        answer = server.http.request(method, path, headers=headers)
        assert answer.status_code == 403
        assert error_of(answer)["type"] == "permission_error"
        assert not [name for name in answer.headers if name.startswith("access-control")]
    preflight = {**headers, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    assert server.http.options("/v1/chat/completions", headers=preflight).status_code == 403


def test_methods_and_paths_that_are_none(server: ApiServer) -> None:
    for method, path, status in (
        ("GET", "/v1/chat/completions", 405),
        ("OPTIONS", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models/scripted", 405),
        ("POST", "/v1/completions", 404),
        ("POST", "/v1/responses", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/v1/lucid/state", 404),
    ):
        answer = server.http.request(method, path)
        assert answer.status_code == status, path
        assert error_of(answer)["message"].endswith(".")
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert server.http.get("/v2/models").text == "There is no page here."


def test_web_sockets_are_refused() -> None:
    async def never(scope: object, receive: object, send: object) -> None:
        raise AssertionError("a socket came through")

    app = secure(never, host="127.0.0.1", port=7860, max_upload_bytes=1, api=demand_key(only_http(never), KEY))
    client = TestClient(app, base_url="http://127.0.0.1:7860")
    for headers in ({}, BEARER, {**BEARER, "origin": "http://evil.example"}):
        with (
            pytest.raises((WebSocketDisconnect, WebSocketDenialResponse)),
            client.websocket_connect("/v1/realtime", headers={"host": "127.0.0.1:7860", **headers}),
        ):
            pass


# The page beside it


@pytest.fixture(scope="module")
def make_page(tmp_path_factory: pytest.TempPathFactory):
    """The whole application as it is served, once with the endpoint and a password, once without either."""
    from assistant.dialogue import DialogueManager
    from assistant.store import ConversationStore
    from models.engines import Engines
    from ui.app import create_app
    from ui.temporary import private_temporary_folder

    kept = {name: os.environ.get(name) for name in ("GRADIO_TEMP_DIR", "GRADIO_EXAMPLES_CACHE")}
    stores = []

    def make(**settings: object) -> tuple[object, socket.socket]:
        made = Settings(data_dir=tmp_path_factory.mktemp("data"), **settings)
        stores.append(ConversationStore(made.data_dir))
        listener = socket.create_server(("127.0.0.1", 0))
        dialogue = DialogueManager(Engines.scripted(), stores[-1], made)
        app, _ = create_app(dialogue, private_temporary_folder(made.data_dir), port=listener.getsockname()[1])
        return app, listener

    yield make
    for store in stores:
        store.close()
    for name, value in kept.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def test_off_means_off(make_page) -> None:
    with running(*make_page()) as address:
        for method, path in PATHS:
            answer = httpx.request(method, address + path, headers=BEARER)
            assert answer.status_code == 404, path
            assert "--api" in error_of(answer)["message"]
        assert httpx.get(f"{address}/lucid/state").status_code == 200


def test_the_key_opens_the_endpoint_only_and_the_password_the_page_only(make_page) -> None:
    with running(*make_page(api=True, api_key=KEY, auth="ada:secret")) as address:
        assert httpx.get(f"{address}/v1/models", headers=BEARER).status_code == 200
        ask = {"model": "lucid", "messages": [{"role": "user", "content": "Hello"}]}
        answer = httpx.post(f"{address}/v1/chat/completions", headers=BEARER, json=ask)
        assert answer.json()["choices"][0]["message"]["content"] == "You said: Hello."
        assert "set-cookie" not in answer.headers
        for path in ("/", "/lucid/state", "/lucid/export/x", "/gradio_api/info", "/v1/../lucid/state", "//v1/models"):
            assert httpx.get(address + path, headers=BEARER).status_code == 401, path
        page = httpx.get(f"{address}/lucid/state", auth=("ada", "secret"))
        assert page.status_code == 200
        cookie = {"cookie": page.headers["set-cookie"].partition(";")[0]}
        assert httpx.get(f"{address}/lucid/state", headers=cookie).status_code == 200
        assert httpx.get(f"{address}/v1/models", headers=cookie).status_code == 401
        assert httpx.get(f"{address}/v1/models", auth=("ada", "secret")).status_code == 401


def test_a_start_with_the_option_says_the_key_and_answers(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ui", "--model", "scripted", "--no-browser", "--port", "7941", "--api"]
    process = subprocess.Popen(
        [*command, "--data-dir", str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        assert process.stdout
        said = [process.stdout.readline()]
        while "curl" not in said[-1] and said[-1]:
            said.append(process.stdout.readline())
        found = re.search(r"(http://127\.0\.0\.1:\d+/v1) with the key (\S+)", said[-2])
        assert found, said
        client = openai.OpenAI(base_url=found[1], api_key=found[2], max_retries=0)
        answer = client.chat.completions.create(model="lucid", messages=[{"role": "user", "content": "Hello"}])
        assert answer.choices[0].message.content == "You said: Hello."
        with pytest.raises(openai.AuthenticationError, match="not Lucid's key"):
            client.with_options(api_key="another").models.list()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)


def test_the_example_of_the_guide_runs_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (ROOT / "docs" / "API.md").read_text(encoding="utf-8")
    program = re.search(r"```python\n(.*?)```", guide, re.DOTALL)
    assert program
    shutil.copy(FIXTURES / "pictures" / "cat.jpg", tmp_path / "photo.jpg")
    shutil.copy(FIXTURES / "speech" / "weather_question.flac", tmp_path / "question.flac")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUCID_API_KEY", KEY)
    with serving(tmp_path) as server:
        exec(program[1].replace("http://127.0.0.1:7860", server.address), {})
    said = capsys.readouterr().out
    assert "You said: What does the picture show?. I was given 1 picture.What is the capital of France?" in said
    assert (tmp_path / "hello.wav").read_bytes()[:4] == b"RIFF"


# The key itself


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    key = api_key(settings)
    assert re.fullmatch(r"lucid-[\w-]{43}", key)
    file = tmp_path / KEY_FILE
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        file.chmod(0o644)
    assert api_key(settings) == key
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    other = tmp_path / "other"
    other.mkdir()
    assert api_key(Settings(data_dir=other)) != key
    file.write_text("\n")
    with pytest.raises(SettingsError, match="is no key"):
        api_key(settings)
    file.write_bytes(b"\xff" * 40)
    with pytest.raises(SettingsError, match="cannot be used"):
        api_key(settings)


def test_the_owners_own_key_goes_before(tmp_path: Path) -> None:
    assert api_key(Settings(data_dir=tmp_path, api_key=KEY)) == KEY
    assert not (tmp_path / KEY_FILE).exists()
    for bad in (
        "short",
        "x" * (SHORTEST_KEY - 1),
        "with a space in it",
        "schlüssel-schlüssel",
        "tab\tin-the-middle-of-it",
    ):
        with pytest.raises(SettingsError, match="is no key"):
            api_key(Settings(data_dir=tmp_path, api_key=bad))


def test_the_terminal_says_how_to_use_it(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    said = "\n".join(introduction(settings, "http://127.0.0.1:7860"))
    assert "http://127.0.0.1:7860/v1 " in said
    assert said.count(api_key(settings)) == 2
    assert "curl http://127.0.0.1:7860/v1/chat/completions" in said
    own = "\n".join(introduction(Settings(data_dir=tmp_path, api_key=KEY), "http://127.0.0.1:7860"))
    assert KEY not in own
    assert "$LUCID_API_KEY" in own


def test_it_is_off_unless_asked_for() -> None:
    import argparse

    from assistant.config import add_page_arguments

    parser = argparse.ArgumentParser()
    add_page_arguments(parser)
    assert load_settings(vars(parser.parse_args([])), {}).api is False
    asked = load_settings(vars(parser.parse_args(["--api", "--api-key", KEY])), {})
    assert (asked.api, asked.api_key) == (True, KEY)
    assert load_settings({}, {"LUCID_API": "1", "LUCID_API_KEY": KEY}).api is True
