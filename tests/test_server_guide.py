"""That docs/SCALING.md computes what it prints, and says of Lucid what its code does."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from pathlib import Path

from models.interfaces import GenerationOptions
from models.seeing.server import answering
from models.seeing.server.connection import Patience
from models.seeing.server.dialect import DEFAULT_CONTEXT
from models.seeing.server.failures import AGAIN, KEPT, KEPT_AGAIN, LONGEST_PAUSE_S
from models.seeing.server.messages import LARGEST_FRAME_SIDE, LARGEST_SIDE
from tests.test_ui_owner_sentences import filled, is_chinese
from ui.owner_sentences import in_language

GUIDE = (Path(__file__).parent.parent / "docs" / "SCALING.md").read_text(encoding="utf-8")


def test_the_sizing_prints_what_stands_below_it():
    program, printed = re.search(r"```python\n(.*?)```\s+```text\n(.*?)```", GUIDE, re.DOTALL).groups()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(program, {})
    assert said.getvalue() == printed


def test_what_it_says_of_lucid_is_so():
    patience = Patience()
    assert f"{patience.connect_s:g} s to connect, {patience.first_token_s:g} s for the first token" in GUIDE
    assert f"{patience.between_tokens_s:g} s between tokens" in GUIDE
    assert f"again, {patience.reconnections} or {patience.retries} times, waiting {patience.pause_s:g} s" in GUIDE
    assert f"at most {LONGEST_PAUSE_S:g} s" in GUIDE
    assert f"at most {LARGEST_SIDE:,} pixels long" in GUIDE
    assert f"frames at most {LARGEST_FRAME_SIDE}" in GUIDE
    assert f"else {DEFAULT_CONTEXT:,}." in GUIDE
    assert f"change it from {GenerationOptions.repetition_penalty:g}" in GUIDE


def test_what_a_notice_says_is_said_in_chinese_too():
    source = Path(answering.__file__).read_text(encoding="utf-8")
    calls = [
        n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and ast.unparse(n.func) == "self._notice"
    ]
    notices = [filled(call.args[0]) for call in calls]
    assert len(notices) >= 7
    assert [n for n in (*notices, AGAIN, KEPT, KEPT_AGAIN) if not is_chinese(in_language(n, "zh"))] == []
