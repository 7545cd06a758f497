"""The page as it is served: what it is made of, its routes, its start."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STARTS_WITHIN_S = 20.0  # on a machine that runs other tests too; 5 s is measured by `launch.py bench`


@pytest.fixture
def page(tmp_path):
    from starlette.testclient import TestClient

    from assistant.config import Settings
    from assistant.dialogue import DialogueManager
    from assistant.store import ConversationStore
    from models.engines import Engines
    from ui.app import create_app
    from ui.temporary import private_temporary_folder

    settings = Settings(data_dir=tmp_path / "data", max_upload_mb=1)
    store = ConversationStore(settings.data_dir)
    dialogue = DialogueManager(Engines.scripted(), store, settings)
    app, services = create_app(dialogue, private_temporary_folder(settings.data_dir), port=7999)
    with TestClient(app, base_url="http://127.0.0.1:7999") as client:
        client.services = services  # type: ignore[attr-defined]
        yield client
    services.close()
    store.close()


def test_the_page_brings_its_own_styles_and_nothing_of_others(page):
    html = page.get("/").text
    head, _, _ = html.partition("</head>")
    assert '<link rel="stylesheet" href="/lucid/static/lucid.css">' in head
    assert re.search(r'<script[^>]* type="module" src="/lucid/static/lucid.js">', head)
    loaded = re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(https?:[^"]+)"', html)
    assert loaded == []


def test_our_files_have_their_types_and_nothing_else_is_served(page):
    assert page.get("/lucid/static/lucid.js").headers["content-type"].startswith("text/javascript")
    assert page.get("/lucid/static/chat.css").headers["content-type"].startswith("text/css")
    for path in ("/lucid/static/../app.py", "/lucid/static/..%2Fapp.py", "/lucid/static/none.js"):
        assert page.get(path).status_code == 404, path
    for digest in ("x", "..%2F..%2Fetc%2Fpasswd", "0" * 64):
        assert page.get(f"/lucid/file/{digest}").status_code == 404, digest


def test_scripts_and_styles_name_no_other_machine():
    for file in (ROOT / "ui" / "static").iterdir():
        addresses = re.findall(r"https?://[^\s\"'`)]+", file.read_text(encoding="utf-8"))
        assert [a for a in addresses if "www.w3.org" not in a] == [], file.name


def test_uploads_are_taken_refused_and_discarded(page):
    from PIL import Image

    picture = page.services.inbox.folder.parent / "picture.png"
    Image.new("RGB", (8, 8)).save(picture)
    taken = page.post("/lucid/upload", files={"file": ("<b>.png", picture.read_bytes())}).json()
    assert (taken["kind"], taken["name"]) == ("image", "<b>.png")
    assert page.delete(f"/lucid/upload/{taken['token']}").status_code == 204
    for content in (b"only text", b"", b"x" * ((1 << 20) + 1)):
        refused = page.post("/lucid/upload", files={"file": ("a.png", content)})
        assert refused.status_code == 422
        assert "a.png" in refused.json()["error"]
        assert "Traceback" not in refused.text
    assert list(page.services.inbox.folder.glob("[0-9a-f]*")) == []
    assert page.post("/lucid/upload", files={"other": b"x"}).status_code == 422


def test_dictation_and_reading_aloud(page):
    wav = (ROOT / "tests" / "fixtures" / "speech").glob("*")
    recording = next(f for f in wav if f.suffix in (".flac", ".wav"))
    heard = page.post("/lucid/dictate", files={"file": ("dictation", recording.read_bytes())}).json()
    assert heard["text"] == "What is the capital of France?"
    assert page.post("/lucid/dictate", files={"file": ("dictation", b"noise")}).status_code == 422
    store = page.services.store
    answer = store.append(store.create().id, "assistant", "Two words. And more.")
    sound = page.get(f"/lucid/aloud/{answer.id}")
    assert sound.content.startswith(b"RIFF")
    assert len(sound.content) > 5000
    assert page.get("/lucid/aloud/none").status_code == 503


def test_pictures_that_browsers_cannot_show_are_made_showable(page, tmp_path):
    from PIL import Image

    store = page.services.store
    for name, kind in (("a.tiff", "image/jpeg"), ("a.png", "image/png"), ("a.webp", "image/webp")):
        Image.new("RGB", (9, 9), "red").save(tmp_path / name)
        kept = store.add_file(tmp_path / name, name, "image")
        store.append(store.create().id, "user", "", [kept])
        shown = page.get(f"/lucid/file/{kept.digest}")
        assert shown.headers["content-type"] == kind
        assert shown.headers["x-content-type-options"] == "nosniff"
        assert "private" in shown.headers["cache-control"]
        assert "immutable" in shown.headers["cache-control"]
    assert page.post("/lucid/forget").headers["clear-site-data"] == '"cache"'


def test_a_chinese_browser_is_refused_in_chinese(page):
    chinese = {"accept-language": "zh-CN,zh;q=0.9"}
    refused = page.post("/lucid/upload", files={"file": ("a.png", b"only text")}, headers=chinese).json()
    assert refused == {
        "error": "“a.png”既不是图片，也不是声音或视频。",
        "remedy": "请发送 JPEG、PNG、MP3、WAV、MP4 等格式。",
    }
    states = page.get("/lucid/state", headers=chinese).json()["engines"]
    assert {s["text"] for s in states} <= {"", "就绪"}


def test_importing_the_page_loads_no_model_library():
    code = (
        "import sys; import ui.app, assistant.session, ui.__main__;"
        "heavy = {'torch', 'transformers', 'faster_whisper', 'TTS', 'onnxruntime', 'cv2'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("told", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_it_starts_moves_to_a_free_port_says_so_and_tidies_up_when_it_is_ended(tmp_path, told, code):
    from ui.__main__ import bind

    with bind("127.0.0.1", 7911) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "ui", "--model", "scripted", "--no-browser", "--port", str(port)]
        begun = time.monotonic()
        process = subprocess.Popen(
            [*command, "--data-dir", str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        try:
            said = [process.stdout.readline(), process.stdout.readline()]
            took = time.monotonic() - begun
            address = re.search(r"http://127\.0\.0\.1:(\d+)", said[1])
            assert address, said
            assert f"Port {port} is taken" in said[0]
            assert int(address[1]) > port
            with urllib.request.urlopen(f"{address[0]}/lucid/state", timeout=10) as answer:
                assert len(json.load(answer)["engines"]) == 3
            assert took < STARTS_WITHIN_S
        finally:
            process.send_signal(told)
            assert process.wait(15) == code
    left = [f.name for f in (tmp_path / "temporary").iterdir() if f.is_dir() and f.name != "alive"]
    assert left == [], "temporary files were left behind"
