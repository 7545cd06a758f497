"""What of an answer is said aloud, where its sentences end, and when they are released."""

from __future__ import annotations

import random
import re
import time

import pytest

from assistant.sentences import FIRST_LIMIT, SentenceSplitter, speakable

ANSWER = """# The capital of France

Paris is the capital of **France**. It has about 2.1 million people, e.g. Dr. Dupont; it costs $5.50 to get in!

1. First, see the [Eiffel Tower. Really](https://example.com/a_(b)?x=1. y).
2. Then run `print("hi. there")` in v3.11.2. Is that all?

```python
for x in range(3):
    print("Not this. Nor that.")
```

| Place | Height |
|-------|--------|
| Tower | 330 m. |

The formula $E = mc^2, x$ and \\(a. b\\) are famous 🎉. "Really?" she asked. Well... maybe.

$$
\\int f. dx
$$

你好。今天天气不错！“真的吗？”他问。OK.我们走吧；see https://a.b/c。再见
<details><summary>More</summary>Hidden <b>words</b> are heard.<!-- not. this --></details>
Last[^1] one by J. K. Rowling of the U.S. She left at 5 p.m. sharp
[^1]: A footnote. Not read.
"""

CASES = [
    ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
    ("Pi is 3.14. Use v1.2.3. See example.com now.", ["Pi is 3.14.", "Use v1.2.3.", "See example.com now."]),
    ("Dr. Smith met Mrs. Jones, e.g. here. Fine.", ["Dr. Smith met Mrs. Jones, e.g. here.", "Fine."]),
    (
        "He is from the U.S. Army. He left the U.S. The end.",
        ["He is from the U.S. Army.", "He left the U.S.", "The end."],
    ),
    ("George W. Bush spoke. Plan B. It works.", ["George W. Bush spoke.", "Plan B.", "It works."]),
    ("At 3 p.m. we go. At 4 p.m. The show starts.", ["At 3 p.m. we go.", "At 4 p.m.", "The show starts."]),
    ("See Fig. 3. No. That is it. No. 5 is alive.", ["See Fig. 3.", "No.", "That is it.", "No. 5 is alive."]),
    ("Well... maybe. Wait… What?", ["Well... maybe.", "Wait…", "What?"]),
    ('"Really?" she asked. "Yes." He left.', ['"Really?" she asked.', '"Yes."', "He left."]),
    ("(It was late.) **Very late.** Then *it* ended.", ["(It was late.)", "Very late.", "Then it ended."]),
    ("What?! No way!!! Ok.", ["What?!", "No way!!!", "Ok."]),
    ("# Title\nText", ["Title", "Text"]),
    ("Title\n=====\nText\n---\nMore", ["Title", "Text", "More"]),
    ("- one\n* two\n+ three\n1. four\n2) five\n- [x] six", ["one", "two", "three", "four", "five", "six"]),
    ("> Quoted.\n> > Twice.", ["Quoted.", "Twice."]),
    ("It is -5 degrees.\n-5 again.", ["It is -5 degrees.", "-5 again."]),
    ("Before\n```\ncode. here\n```\nAfter", ["Before", "After"]),
    ("Before\n~~~sh\ncode ``` here\n```\n~~~\nAfter", ["Before", "After"]),
    ("1. Do this:\n   ```js\n   a. b\n   ```\n2. Done", ["Do this:", "Done"]),
    ("Open fence\n```python\nprint(1)", ["Open fence"]),
    ("Call `a. b` or ``c ` d`` now.", ["Call or now."]),
    ("A lone ` sign. Is fine.", ["A lone sign. Is fine."]),
    ("See [the docs](http://a.b/c) and ![a cat](x.png) now.", ["See the docs and a cat now."]),
    ("See https://a.b/c?d=e. Or www.x.org, too.", ["See.", "Or, too."]),
    ("<https://a.b> said [x][1].\n[1]: http://a.b\nEnd", ["said x.", "End"]),
    ("So it is [3][4]. And [this][5] too.", ["So it is.", "And this too."]),
    ("A claim.[^2] Another [1, 2].\n[^2]: The note.", ["A claim. Another."]),
    ("|a|b|\n|-|-|\n|1. x|2|\nText", ["Text"]),
    ("Name | Age\n--- | ---\nBob | 3\n\nText", ["Text"]),
    ("P(A | B) is small.\nYes.", ["P(A B) is small.", "Yes."]),
    ("So $x = 1, y$ costs $5, or $6. Ok.", ["So costs $5, or $6.", "Ok."]),
    ("The energy is: $$\nE = 1. x\n$$\nDone.", ["The energy is:", "Done."]),
    ("- Price: $$\nGood food.", ["Price: $$", "Good food."]),
    ("It is \\[ x = 1.\n y \\] so. Ok", ["It is", "so.", "Ok"]),
    ("Great!🎉 Next ✅ thing 👍🏽.", ["Great!", "Next thing."]),
    ("H<sub>2</sub>O &amp; salt.<br>Next <a href='x. y'>link</a>.", ["H2O & salt. Next link."]),
    ("If x < y. Then z.", ["If x < y.", "Then z."]),
    ("A <!-- secret.\nmore --> B <script>\nalert(1). x\n</script> C", ["A", "B", "C"]),
    ("2 * 3 and 2*3, snake_case, ~~gone~~ \\*star\\*.", ["2 × 3 and 2 × 3, snake case, gone star."]),
    ("你好。再见！好吗？是；完", ["你好。", "再见！", "好吗？", "是；", "完"]),
    ("他说：“走吧。”然后他走了。", ["他说：“走吧。”", "然后他走了。"]),
    ("OK!我们走。价格是3.5元。", ["OK!", "我们走。", "价格是3.5元。"]),
    ("1.苹果\n2.香蕉", ["苹果", "香蕉"]),
    ("元気ですか？はい。", ["元気ですか？", "はい。"]),
    ("", []),
    ("...\n\n---\n🎉\n**\n()", []),
    ("One\r\nTwo\r\n", ["One", "Two"]),
]


@pytest.mark.parametrize(("markdown", "expected"), CASES)
def test_sentences(markdown: str, expected: list[str]) -> None:
    assert speakable(markdown) == expected


def pieces(text: str, random_source: random.Random) -> list[str]:
    cuts = sorted(random_source.randrange(len(text) + 1) for _ in range(random_source.randrange(1, 60)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@pytest.mark.parametrize("seed", range(40))
def test_any_chunking_gives_the_same_sentences(seed: int) -> None:
    source = random.Random(seed)
    alphabet = [
        *"ab .,!?\n\n*_`$|#-[]()<>1\\。，你\"'🎉",
        "```",
        "$$",
        "e.g. ",
        "U.S. ",
        "https://a.b/c ",
        "The ",
        "\n| a |\n",
    ]
    noise = "".join(source.choice(alphabet) for _ in range(600))
    for text in (ANSWER, noise):
        whole = speakable(text)
        for cut in (list(text), pieces(text, source)):
            splitter = SentenceSplitter()
            assert [s for p in cut for s in splitter.feed(p)] + splitter.finish() == whole


def test_the_answer_is_said_whole_and_once() -> None:
    words = re.findall(r"\w+", " ".join(speakable(ANSWER)))
    for silent in ("print", "range", "Tower330", "int", "footnote", "https", "example", "mc", "details", "not"):
        assert silent not in words
    for said_once in ("Eiffel", "million", "Dupont", "famous", "Hidden", "heard", "Rowling", "sharp", "再见", "people"):
        assert words.count(said_once) == 1, said_once
    assert "|" not in " ".join(words)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_speakable_is_lost_or_doubled(seed: int) -> None:
    source = random.Random(seed)
    words = [f"word{i}" for i in range(400)]
    ends = [
        " ",
        " ",
        " ",
        " ",
        ", ",
        ". ",
        "! ",
        "? ",
        "\n",
        "\n\n",
        " (",
        ") ",
        " **",
        "** ",
        "; ",
        '" ',
        ' "',
        " - ",
        ".\n- ",
    ]
    text = "".join(word + source.choice(ends) for word in words)
    assert re.findall(r"word\d+", " ".join(speakable(text))) == words


def released_after(text: str) -> dict[str, int]:
    """Sentence → how many characters had come when it was released."""
    splitter, found = SentenceSplitter(), {}
    for count, character in enumerate(text, 1):
        for sentence in splitter.feed(character):
            found[sentence] = count
    return found


def test_a_sentence_is_released_with_the_character_that_makes_its_end_certain() -> None:
    assert released_after("It works. And")["It works."] == len("It works. ")
    assert released_after("It works!\n")["It works!"] == len("It works!\n")
    assert released_after("你好。再")["你好。"] == len("你好。再")
    assert released_after("Of Inc. The")["Of Inc."] == len("Of Inc. T")
    assert released_after("Into the U.S. The end")["Into the U.S."] == len("Into the U.S. The ")


def test_a_long_first_sentence_starts_at_a_clause_mark() -> None:
    first, second = "When the weather is nice and the sun is shining, ", "we walk for hours " * 4 + "and then rest. "
    found = released_after(first + second + second)
    assert found[first.strip()] <= FIRST_LIMIT + 16
    assert list(found) == [first.strip(), second.strip(), second.strip()][: len(found)]


def test_a_long_first_chinese_sentence_starts_at_a_clause_mark() -> None:
    text = "如果明天的天气很好而且不下雨，我们就一起去公园里散步看花然后回家吃饭。"
    assert speakable(text) == [text[:15], text[15:]]


def test_a_short_first_sentence_stays_whole() -> None:
    assert speakable("Yes, of course, I can. Next.") == ["Yes, of course, I can.", "Next."]


def test_a_text_without_any_end_is_bounded() -> None:
    text = "word " * 5000
    sentences = speakable(text)
    assert " ".join(sentences).split() == text.split()
    assert max(map(len, sentences)) < 1000


@pytest.mark.parametrize(
    "text",
    [
        "`a. b " * 4000,
        "[" * 4000 + ". x " * 2000,
        "<" + "a. " * 8000,
        "$x " * 8000,
        "```\n" + "x" * 50000,
        "**_" * 9000,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    begun = time.process_time()
    speakable(text)
    assert time.process_time() - begun < 5


def test_finish_makes_ready_for_the_next_text() -> None:
    splitter = SentenceSplitter()
    splitter.feed("```\ncode")
    assert splitter.finish() == []
    assert splitter.feed("Now text. And") == ["Now text."]
    assert splitter.finish() == ["And"]
