"""The two languages, and that no text is missing or left over."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

from ui.i18n import LANGUAGES, TABLE, language_of, text, translations
from ui.preferences import SAMPLING

UI = Path(__file__).parent.parent / "ui"
SAMPLED = tuple(f"set.{name}" for name in SAMPLING)
# Keys put together in code: their beginnings.
COMPOSED = ("engine.", "colour.", "example.", "persona.", "seen.", "theme.", "key.", *SAMPLED)


def sources() -> str:
    files = [f for f in (*UI.glob("*.py"), *UI.glob("static/*.js")) if f.name != "i18n.py"]
    return "\n".join(f.read_text(encoding="utf-8") for f in files)


def fields(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


def test_both_languages_have_every_text_with_the_same_gaps():
    assert all(set(translations(language)) == set(TABLE) for language in LANGUAGES)
    for key, (english, chinese) in TABLE.items():
        assert english.strip(), key
        assert chinese.strip(), key
        assert fields(english) == fields(chinese), key


def test_chinese_is_chinese():
    plain = [key for key, (_, chinese) in TABLE.items() if not re.search(r"[\u4e00-\u9fff]", chinese)]
    # What the examples ask goes to the embedded model, which refuses Chinese.
    assert plain == ["example.1.text", "example.2.text", "example.3.text"]


def test_every_key_in_the_code_is_in_the_table():
    code = sources()
    used = set(re.findall(r'\bt\("([\w.]+)"', code)) | set(re.findall(r'\btext\("([\w.]+)"', code))
    used |= set(re.findall(r'data-t(?:-label|-place)?="([\w.]+)"', code)) | set(re.findall(r'I18N\("([\w.]+)"', code))
    assert used - set(TABLE) == set()
    assert len(used) > 60


def test_every_text_is_used():
    code = sources()
    left = [k for k in TABLE if not k.startswith(COMPOSED) and f'"{k}"' not in code]
    assert left == []


def test_the_language_follows_the_browser():
    assert [language_of(tag) for tag in ("zh-CN", "zh", "ZH-Hant", "en-GB", "de", "")] == ["zh"] * 3 + ["en"] * 3
    assert text("search.none", "en", query="x") == "Nothing found for “x”."
