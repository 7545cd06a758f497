"""How the page looks and is used: languages, sizes, keys, themes, and what must not become markup."""

from __future__ import annotations

import pytest
from acting import answered, answers, say

ATTACKS = (
    "say <img src=x onerror=window.hacked=1>",
    "say <script>window.hacked=1</script>",
    "say [click](javascript:window.hacked=1) ![x](https://example.com/x.png)",
    'say <iframe srcdoc="<script>parent.hacked=1</script>"></iframe><svg onload=window.hacked=1>',
    "say `<b>code</b>` $\\href{javascript:window.hacked=1}{x}$ ${window.hacked=1} {{constructor}}",
    "say <style>body{display:none}</style><form action=https://example.com><button>x</button></form>",
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_that_is_said_becomes_markup(page, stage, attack):
    say(page, attack)
    page.reload()
    page.wait_for_selector("#lu-history .lu-answer")
    assert page.evaluate("window.hacked") is None
    inside = page.locator("#lu-history [data-testid=bot] .message-content")
    assert inside.locator("img, script, iframe, form, style, [onload], [onerror], a[href^=javascript]").count() == 0
    assert page.inner_text(".lu-user .lu-text") == attack


def test_names_of_files_are_only_names(page, stage, sign, tmp_path):
    nasty = tmp_path / "<img src=x onerror=window.hacked=1>.png"
    nasty.write_bytes(sign.read_bytes())
    page.set_input_files("#lu-files", [nasty])
    page.wait_for_selector(".lu-file:not(.lu-pending)")
    say(page, "what is it?")
    page.click(".lu-seen summary")
    assert "<img src=x" in page.inner_text(".lu-seen")
    assert page.evaluate("window.hacked") is None


def test_markdown_is_drawn(page, stage):
    say(page, "say **bold**\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nprint(1)\n```\n\n\\(x^2\\) costs $5 or $6")
    inside = page.locator("#lu-history [data-testid=bot] .message-content")
    for element in ("strong", "table", "pre code", ".katex"):
        inside.locator(element).first.wait_for(timeout=20_000)
    assert inside.locator(".katex").count() == 1
    assert "$5 or $6" in inside.inner_text()


def test_chinese(open_page, stage):
    page = open_page(locale="zh-CN")
    assert page.get_attribute("#lu-text", "placeholder") == "给 Lucid 发消息"
    assert page.inner_text("#lu-new") == "新对话"
    assert page.evaluate("document.documentElement.lang") == "zh"
    say(page, "你好")
    assert page.inner_text("#lu-conversations h3 >> nth=0") == "今天"
    assert page.get_attribute("[data-act=play]", "aria-label") == "朗读"
    page.click("#lu-open-settings")
    page.wait_for_selector("#lu-settings >> text=系统提示")
    page.wait_for_selector("#lu-settings >> text=语速")


@pytest.mark.parametrize("width", [390, 320])
def test_a_narrow_screen(open_page, stage, sign, width):
    page = open_page(viewport={"width": width, "height": 780}, has_touch=True)
    assert not page.is_visible("#lu-new"), "the list is a drawer, closed at first"
    page.set_input_files("#lu-files", [sign])
    page.wait_for_selector(".lu-file:not(.lu-pending)")
    say(page, f"say {'unbreakable' * 20}\n\n| {'wide | ' * 12}\n|{'---|' * 12}\n\n```\n{'x' * 200}\n```")
    page.click(".lu-seen summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("(s => s.scrollWidth - s.clientWidth)(document.querySelector('#lu-scroll'))") <= 0
    page.click("#lu-unfold")
    page.wait_for_selector("#lu-new", state="visible")
    page.click("#lu-new")
    page.wait_for_function("document.body.classList.contains('lu-folded')")


def test_shortcuts(page, stage):
    page.keyboard.press("Control+/")
    assert page.is_visible("#lu-help")
    assert page.locator("#lu-help kbd").count() >= 6
    page.keyboard.press("Escape")
    assert not page.is_visible("#lu-help")
    page.keyboard.press("Control+k")
    assert page.evaluate("document.activeElement.id") == "lu-search"
    page.keyboard.press("Control+Shift+O")
    assert page.evaluate("document.activeElement.id") == "lu-text"
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    assert page.input_value("#lu-text") == "one\ntwo"
    page.keyboard.press("Enter")
    answered(page)
    assert page.inner_text(".lu-user .lu-text") == "one\ntwo"


def test_everything_can_be_reached_by_keyboard_and_has_a_name(page, stage):
    say(page, "hello")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, textarea, a[href]')]
        .filter((e) => e.checkVisibility() && !e.closest('[inert]'))
        .filter((e) => !(e.innerText?.trim() || e.getAttribute('aria-label') || e.labels?.[0]?.innerText.trim()))
        .map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert unnamed == []
    wanted = {"lu-new", "lu-search", "lu-open-settings", "lu-text", "lu-attach", "lu-mic", "lu-speak"}
    page.evaluate("document.activeElement.blur()")
    for _ in range(400):
        if not wanted:
            break
        page.keyboard.press("Tab")
        wanted.discard(page.evaluate("document.activeElement.id"))
        outlined = page.evaluate(
            """() => { const e = document.activeElement, s = getComputedStyle(e), f = e.closest('.lu-form, .lu-search');
            return e === document.body || s.outlineStyle !== 'none' || (f && f.matches(':focus-within')); }"""
        )
        assert outlined, page.evaluate("document.activeElement.outerHTML.slice(0, 120)")
    assert not wanted


def test_light_dark_and_the_system(open_page, stage):
    page = open_page(color_scheme="dark")
    ground = "getComputedStyle(document.querySelector('#lucid')).backgroundColor"
    assert page.evaluate(ground) == "rgb(27, 27, 26)"
    page.click("#lu-theme")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.reload()
    page.wait_for_selector("body.lu-ready")
    assert page.evaluate(ground) == "rgb(255, 255, 255)", "the choice was forgotten"
    page.click("#lu-theme")
    assert page.evaluate(ground) == "rgb(27, 27, 26)"


def test_engines_are_shown(page, stage):
    page.wait_for_function("document.querySelectorAll('.lu-engine.lu-ready').length === 3")
    assert "scripted" in page.get_attribute(".lu-engine", "title")


def test_an_example_starts_a_conversation(page, stage):
    page.click("[data-example='1']")
    answered(page)
    assert answers(page) == ["You said: What is the capital of France?."]
