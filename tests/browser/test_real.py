"""The page with the packaged models."""

from __future__ import annotations

from pathlib import Path

import pytest
from acting import answered, answers, say
from conftest import serve
from PIL import Image, ImageDraw, ImageFont

from assistant.config import Settings
from assistant.session import make_engines


@pytest.mark.models
@pytest.mark.slow
def test_a_question_a_sign_and_a_voice(open_page, tmp_path: Path):
    sign = tmp_path / "sign.png"
    picture = Image.new("RGB", (640, 360), "white")
    ImageDraw.Draw(picture).text((90, 120), "OPEN DAILY", fill="black", font=ImageFont.load_default(80))
    picture.save(sign)
    engines = make_engines(Settings(data_dir=tmp_path / "data", offline=True))
    for address, _ in serve(engines, tmp_path / "data"):
        page = open_page(address=address)
        page.set_default_timeout(120_000)
        page.wait_for_function("document.querySelectorAll('.lu-engine.lu-ready').length === 3")
        say(page, "What is the capital of France?")
        assert "Paris" in answers(page)[-1]
        page.click("[data-act=play]")
        page.wait_for_function("window.lucid.player.state.finished === 1")
        page.set_input_files("#lu-files", [sign])
        page.wait_for_selector(".lu-file:not(.lu-pending)")
        say(page, "What does the sign say?", wait=False)
        page.wait_for_selector(".lu-seen")
        answered(page)
        assert "OPEN DAILY" in answers(page)[-1].upper()
        page.click(".lu-seen summary")
        assert "OPEN DAILY" in page.inner_text(".lu-seen").upper()
        page.context.close()
