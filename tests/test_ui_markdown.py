"""Model output is made safe before it is drawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.markdown import plain_title, safe_markdown


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a <img src=x> b", "a &lt;img src=x> b"),
        ("a < b and c<d", "a < b and c&lt;d"),
        ("`<b>` and <b>", "`<b>` and &lt;b>"),
        ("```html\n<img>\n```\n<img>", "```html\n<img>\n```\n&lt;img>"),
        ("~~~\n```\n<b>\n~~~\n<b>", "~~~\n```\n<b>\n~~~\n&lt;b>"),
        ("```py\nstill <writing>", "```py\nstill <writing>"),
        ("![alt](http://example.com/a.png)", "[alt](http://example.com/a.png)"),
        ("![alt][ref]", "[alt][ref]"),
        ("[x](javascript:alert(1))", "[x](#alert(1))"),
        ("[x]( JaVaScRiPt:alert(1))", "[x](#alert(1))"),
        ("costs $5 or $6", "costs $5 or $6"),
        ("so $x^2$ it is", "so \\(x^2\\) it is"),
        ("$$a<b$$", "$$a< b$$"),
        ("``a`b``<i>", "``a`b``&lt;i>"),
    ],
)
def test_what_is_shown(said, shown):
    assert safe_markdown(said) == shown


@given(st.text(alphabet="a<>!/`~$\\[]() \n", max_size=60))
def test_no_tag_begins_outside_code(said):
    shown = safe_markdown(said)
    if "`" not in said and "~" not in said:
        assert "<a" not in shown
        assert "<!" not in shown
        assert "</" not in shown


def test_long_texts_take_no_time():
    import time

    for said in ("`" * 20000, "$" * 20000, "$a" * 10000, "\\(" * 10000, "![" * 10000, "``` \n" * 5000, "word " * 20000):
        begun = time.perf_counter()
        safe_markdown(said)
        assert time.perf_counter() - begun < 1.0, said[:10]


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("# Why **is** the `sky` blue", "Why is the sky blue"),
        ("See [the page](https://example.org/a", "See the page"),
        ("*Really* 2 * 3 * 4?", "Really 2 * 3 * 4?"),
        ("C# and snake_case_names", "C# and snake_case_names"),
        ("**", "**"),
        ("", ""),
    ],
)
def test_titles_lose_the_signs_of_markdown(title, shown):
    assert plain_title(title) == shown
