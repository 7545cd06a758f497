"""The page answers its owner only, keeps to its own files, and loads nothing from elsewhere."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, UploadFile, WebSocket
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from ui import bodies, login
from ui.security import secure, upload_folder

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1:7860"
MB = 1 << 20


def run_apart(work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` in a thread of its own: Playwright, where it has run before, keeps an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result(timeout=60)


def small_app(handled: list[str]) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def note(request: Request, call_next: Any) -> Response:
        handled.append(request.url.path)
        return await call_next(request)

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse("<html><script>window.ours=1</script><p>page</p></html>")

    @app.get("/file")
    def file() -> Response:
        return Response("x", headers={"content-security-policy": "sandbox", "cache-control": "max-age=9"})

    @app.post("/upload")
    async def upload(file: UploadFile) -> int:
        return len(await file.read())

    @app.post("/json")
    async def take(request: Request) -> Any:
        return await request.json()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def numbers() -> Any:
            for number in range(3):
                yield f"{number}"
                await asyncio.sleep(0)

        return StreamingResponse(numbers(), media_type="text/event-stream")

    @app.websocket("/voice")
    async def voice(socket: WebSocket) -> None:
        handled.append("/voice")
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    return app


@pytest.fixture
def handled() -> list[str]:
    return []


@pytest.fixture
def client(handled: list[str]) -> TestClient:
    return client_of(handled)


def client_of(handled: list[str], host: str = "127.0.0.1", auth: str = "", base: str = f"http://{HOST}") -> TestClient:
    app = secure(small_app(handled), host=host, port=7860, auth=auth, max_upload_bytes=MB)
    return TestClient(app, base_url=base)


# Host and origin


@pytest.mark.parametrize("host", [HOST, "localhost:7860", "LOCALHOST:7860", "[::1]:7860"])
def test_our_own_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.0.0.1.evil.example:7860",
        "",
        "localhost:7860:1",
    ],
)
def test_other_names_are_refused_before_any_handler(client: TestClient, handled: list[str], host: str) -> None:
    answer = client.get("/", headers={"host": host})
    assert answer.status_code == 403
    assert "<" not in answer.text
    assert handled == []


def test_two_host_headers_are_refused(handled: list[str]) -> None:
    app = secure(small_app(handled), host="127.0.0.1", port=7860, max_upload_bytes=MB)
    sent: list[Any] = []
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", HOST.encode()), (b"host", b"evil")]}

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    run_apart(app(scope, receive, send))
    assert sent[0]["status"] == 403
    assert handled == []


def test_a_configured_host_and_a_wildcard(handled: list[str]) -> None:
    named = client_of(handled, host="192.168.1.5", base="http://192.168.1.5:7860")
    assert named.get("/").status_code == 200
    assert named.get("/", headers={"host": "192.168.1.6:7860"}).status_code == 403
    wildcard = client_of(handled, host="0.0.0.0")
    assert wildcard.get("/", headers={"host": "192.168.1.6:7860"}).status_code == 200
    assert wildcard.get("/", headers={"host": "rebound.example:7860"}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": f"http://{HOST}.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "OPTIONS", "PUT"])
def test_pages_of_others_are_refused(
    client: TestClient, handled: list[str], headers: dict[str, str], method: str
) -> None:
    answer = client.request(method, "/json", json={}, headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert handled == []


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
        ("/", {"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
        ("/", {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}, 403),
        ("/file", {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 403),
    ],
)
def test_others_may_link_to_the_page_and_no_more(
    client: TestClient, path: str, headers: dict[str, str], status: int
) -> None:
    assert client.get(path, headers={"sec-fetch-site": "cross-site", **headers}).status_code == status


def test_our_own_page_may_do_what_it_needs(client: TestClient) -> None:
    headers = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
    assert client.post("/json", json={"a": [1]}, headers=headers).json() == {"a": [1]}


def test_web_sockets_of_others_are_never_accepted(client: TestClient, handled: list[str]) -> None:
    for headers in ({"origin": "http://evil.example"}, {"host": "evil.example"}, {"sec-fetch-site": "same-site"}):
        with (
            pytest.raises((WebSocketDisconnect, WebSocketDenialResponse)),
            client.websocket_connect("/voice", headers=headers),
        ):
            pass
    assert handled == []
    with client.websocket_connect("/voice", headers={"origin": f"http://{HOST}", "host": HOST}) as socket:
        assert socket.receive_text() == "hello"


# Headers


def test_headers_keep_the_page_to_itself(client: TestClient) -> None:
    answer = client.get("/")
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
    nonce = re.search(r"'nonce-([^']+)'", policy["script-src"])
    assert nonce is not None
    assert f'<script nonce="{nonce[1]}">window.ours' in answer.text
    assert answer.headers["content-length"] == str(len(answer.content))
    assert "unsafe-inline" not in policy["script-src"]
    assert policy["frame-ancestors"] == policy["object-src"] == "'none'"
    allowed = {word for sources in policy.values() for word in sources.split() if not word.startswith("'")}
    assert allowed == {"data:", "blob:", f"ws://{HOST}", f"wss://{HOST}"}
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    assert "microphone=(self)" in answer.headers["permissions-policy"]
    assert nonce[1] not in client.get("/").text


def test_a_handler_may_be_stricter(client: TestClient) -> None:
    headers = client.get("/file").headers
    assert (headers["content-security-policy"], headers["cache-control"]) == ("sandbox", "max-age=9")
    assert headers["x-content-type-options"] == "nosniff"


def test_streams_stay_streams(handled: list[str]) -> None:
    app = secure(small_app(handled), host="127.0.0.1", port=7860, max_upload_bytes=MB)
    sent: list[bytes] = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/stream",
        "query_string": b"",
        "headers": [(b"host", HOST.encode())],
    }

    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        return requests.pop() if requests else await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    run_apart(app(scope, receive, send))
    assert [body for body in sent if body] == [b"0", b"1", b"2"]


# Bodies


def test_uploads_pass_up_to_the_limit_and_no_further(client: TestClient) -> None:
    assert client.post("/upload", files={"file": ("a", bytes(MB))}).json() == MB
    answer = client.post("/upload", files={"file": ("a", bytes(bodies.FILES_PER_REQUEST * MB + 2 * MB))})
    assert answer.status_code == 413
    assert "too large" in answer.text


@pytest.mark.parametrize(
    "kind", ["multipart/form-data; boundary=B", "application/x-www-form-urlencoded", "application/json", ""]
)
def test_an_unannounced_body_is_cut_off_while_it_streams(client: TestClient, monkeypatch: Any, kind: str) -> None:
    monkeypatch.setattr(bodies, "MAX_JSON_BYTES", 9 * MB)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        while sent < 40:
            sent += 1
            yield bytes(MB)

    answer = client.post("/upload", content=endless(), headers={"content-type": kind})
    assert answer.status_code == 413


def test_what_is_no_json_is_refused(client: TestClient, handled: list[str]) -> None:
    for content in (b"{", b"[" * 200_000, b"\xff"):
        assert client.post("/json", content=content).status_code == 400
    assert handled == []


FOLDER = "/srv/lucid/temporary/1"


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        ({"path": "http://evil.example/a.png"}, True),
        ({"path": " HTTPS://evil.example/a.png"}, True),
        ({"path": "file:///etc/passwd"}, True),
        ({"path": "//evil.example/share"}, True),
        ({"path": "/etc/passwd"}, True),
        ({"path": "pyproject.toml"}, True),
        ({"path": f"{FOLDER}/../../lucid.db"}, True),
        ({"path": f"{FOLDER}2/other"}, True),
        ({"path": FOLDER}, True),
        ({"path": f"{FOLDER}/a\0"}, True),
        ({"data": [[{"deep": [{"path": "/etc/passwd"}]}]]}, True),
        ({"path": f"{FOLDER}/a.png", "url": "https://evil.example/a.png"}, True),
        ({"path": f"{FOLDER}/a.png", "url": f"http://{HOST}/gradio_api/file=x"}, False),
        ({"path": f"{FOLDER}/a.png", "url": "data:image/png;base64,AA=="}, False),
        ({"path": f"{FOLDER}/ab/a.png", "url": None}, False),
        ({"path": None, "text": "see http://example.org and /etc/passwd"}, False),
    ],
)
def test_calls_may_name_uploaded_files_only(content: Any, refused: bool) -> None:
    own = (f"http://{HOST}/",)
    assert bodies.names_file_elsewhere(content, (FOLDER,), own) is refused


# The password


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_the_password_opens_the_page_and_its_sockets(handled: list[str]) -> None:
    client = client_of(handled, auth="ada:sécret:x")
    asked = client.get("/")
    assert (asked.status_code, asked.headers["www-authenticate"][:5]) == (401, "Basic")
    for wrong in ("ada:secret", "ada:", ":sécret:x", "Ada:sécret:x"):
        assert client.get("/", headers=basic(wrong)).status_code == 401
    assert client.get("/", headers={"authorization": "Basic ///"}).status_code == 401
    with (
        pytest.raises((WebSocketDisconnect, WebSocketDenialResponse)),
        client.websocket_connect("/voice", headers={"host": HOST}),
    ):
        pass
    assert handled == []
    opened = client.get("/", headers=basic("ada:sécret:x"))
    assert opened.status_code == 200
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert client.get("/").status_code == 200  # by the cookie
    with client.websocket_connect("/voice", headers={"host": HOST, "cookie": cookie.partition(";")[0]}) as socket:
        assert socket.receive_text() == "hello"
    other = client_of(handled, auth="ada:sécret:x")
    assert other.get("/", headers={"cookie": "lucid_7860=guess"}).status_code == 401


def test_guessing_is_slowed_down(handled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(handled, auth="ada:secret")
    for number in range(login.MAX_FAILURES):
        assert client.get("/", headers=basic(f"ada:{number}")).status_code == 401
    refused = client.get("/", headers=basic("ada:secret"))
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= login.FAILURE_WINDOW_S + 1
    monkeypatch.setattr(login, "FAILURE_WINDOW_S", -1.0)
    assert client.get("/", headers=basic("ada:secret")).status_code == 200


# Gradio behind the door


@pytest.fixture(scope="module")
def gradio_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    previous = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(tmp_path_factory.mktemp("uploads").resolve())
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    with gr.Blocks(analytics_enabled=False) as blocks:
        given, shown = gr.File(), gr.Textbox()
        given.upload(lambda path: Path(path).read_text(), given, shown, api_name="read")
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(app, blocks, path="/", ssr_mode=False, max_file_size=MB, footer_links=[], run_history=False)
    with TestClient(secure(app, host="127.0.0.1", port=7860, max_upload_bytes=MB), base_url=f"http://{HOST}") as client:
        yield client
    os.environ.pop("GRADIO_TEMP_DIR")
    if previous is not None:
        os.environ["GRADIO_TEMP_DIR"] = previous


def uploaded(page: TestClient, content: bytes = b"mine", name: str = "note.txt") -> str:
    (path,) = page.post("/gradio_api/upload", files={"files": (name, content)}).json()
    return path


def called(page: TestClient, file: dict[str, Any]) -> httpx.Response:
    return page.post("/gradio_api/call/read", json={"data": [{**file, "meta": {"_type": "gradio.FileData"}}]})


def test_gradio_works_behind_the_door(gradio_page: TestClient) -> None:
    page = gradio_page.get("/")
    assert page.status_code == 200
    assert page.text.count("<script") == page.text.count("<script nonce=") >= 4
    path = uploaded(gradio_page)
    answer = called(gradio_page, {"path": path})
    assert answer.status_code == 200
    assert "mine" in gradio_page.get(f"/gradio_api/call/read/{answer.json()['event_id']}").text
    file = gradio_page.get(f"/gradio_api/file={path}")
    assert (file.text, "sandbox" in file.headers["content-security-policy"]) == ("mine", True)


def test_the_page_of_gradio_names_no_other_server(gradio_page: TestClient) -> None:
    page = gradio_page.get("/")
    loaded = re.findall(r"""<(?:script|link|img)[^>]+(?:src|href)=["']([^"']+)""", page.text)
    config = gradio_page.get("/config").json()
    assert loaded
    for address in [*loaded, *config.get("stylesheets", [])]:
        assert not re.match(r"(https?:)?//", address), address


def test_an_uploaded_name_cannot_climb_out(gradio_page: TestClient) -> None:
    path = Path(uploaded(gradio_page, name="../../../../evil.txt"))
    assert upload_folder() in path.resolve().parents


@pytest.mark.parametrize(
    "where",
    [
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "../../../../../../etc/passwd",
        "..%2f..%2f..%2f..%2fetc/passwd",
        str(ROOT / "pyproject.toml"),
        "pyproject.toml",
        "http://example.org/a.png",
        "https%3A%2F%2Fexample.org",
        "file:///etc/passwd",
    ],
)
@pytest.mark.parametrize("route", ["/gradio_api/file=", "/gradio_api/file/"])
def test_files_outside_cannot_be_read(gradio_page: TestClient, route: str, where: str) -> None:
    answer = gradio_page.get(route + where)
    assert answer.status_code in (403, 404)
    assert "root:" not in answer.text


def test_a_link_out_of_the_folder_cannot_be_read(gradio_page: TestClient, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret words")
    link = Path(uploaded(gradio_page)).parent / "link.txt"
    link.symlink_to(secret)
    assert gradio_page.get(f"/gradio_api/file={link}").status_code == 403
    assert called(gradio_page, {"path": str(link)}).status_code == 403


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "pyproject.toml", "http://127.0.0.1:9/a.png", "https://example.org/a.png"]
)
def test_calls_cannot_fetch_or_copy_other_files(gradio_page: TestClient, path: str) -> None:
    for route in ("call/read", "run/read", "api/read", "queue/join", "call/v2/read"):
        body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}], "fn_index": 0, "session_hash": "s"}
        answer = gradio_page.post(f"/gradio_api/{route}", json=body)
        assert answer.status_code == 403
        plain = gradio_page.post(
            f"/gradio_api/{route}", content=json.dumps(body), headers={"content-type": "text/plain"}
        )
        assert plain.status_code == 403


def test_routes_that_a_local_page_does_not_need_are_shut(gradio_page: TestClient) -> None:
    paths = ["proxy=https://example.org", "runs", "run-history/buckets", "vibe-code", "dev/reload", "openapi.json"]
    paths += ["deep_link", "custom_component/x/client/y/z", "monitoring", "mcp/sse"]
    for path in [*(f"/gradio_api/{path}" for path in paths), "/docs", "/redoc", "/openapi.json", "/monitoring/summary"]:
        assert gradio_page.get(path).status_code == 404, path
    assert gradio_page.post("/gradio_api/process_recording").status_code == 404


# The temporary folder

_TEMPORARY = """
import os, sys, time
from pathlib import Path
from ui.security import private_temporary_folder
folder = private_temporary_folder(Path(sys.argv[1]))
assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
(folder / "upload.png").write_text("private")
print(folder, flush=True)
sys.stdin.readline()
"""


def start_child(data_dir: Path) -> tuple[subprocess.Popen[str], Path]:
    child = subprocess.Popen(
        [sys.executable, "-c", _TEMPORARY, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert child.stdout is not None
    return child, Path(child.stdout.readline().strip())


@pytest.mark.parametrize("ends", ["by itself", "killed"])
def test_the_temporary_folder_is_private_and_goes(tmp_path: Path, ends: str) -> None:
    first, left = start_child(tmp_path / "data")
    second, living = start_child(tmp_path / "data")
    stop: dict[str, Callable[[], Any]] = {"by itself": lambda: first.communicate("\n"), "killed": first.kill}
    try:
        assert left.stat().st_mode & 0o777 == left.parent.stat().st_mode & 0o777 == 0o700
        stop[ends]()
        first.wait(20)
        assert left.exists() is (ends == "killed")
        third, _ = start_child(tmp_path / "data")
        third.communicate("\n", timeout=20)
        assert not left.exists()
        assert (living / "upload.png").exists()
    finally:
        first.kill()
        second.communicate("\n", timeout=20)
    assert not living.exists()
