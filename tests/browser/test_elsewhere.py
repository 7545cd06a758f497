"""An answer that is under way while the page, or another tab, does something else."""

from __future__ import annotations

from acting import answered, answers, conversation_of, say
from test_sidebar import menu

# What Gradio notes on the console when a page is left in mid-stream.
RELOADED = ["AbortError", "Connection errored out"]
STREAMING = "document.querySelector('#lu-live .message-content')?.innerText.length > 40"


def test_deleting_a_conversation_that_is_being_answered(page, open_page, stage):
    open_page.forgiven += RELOADED
    say(page, "a long answer", wait=False)
    page.wait_for_function(STREAMING)
    page.reload()  # the page that follows it now did not begin it
    page.wait_for_function(STREAMING)
    conversation = conversation_of(page)
    menu(page, conversation, "delete")
    page.click("#lu-confirm-yes")
    page.wait_for_selector(".lu-hello", state="visible")
    page.wait_for_timeout(400)
    assert page.locator(".message-row").count() == 0, "the answer of a deleted conversation is still shown"
    assert page.inner_text("#lu-notice") == ""
    assert conversation not in [c.id for c in stage.store.conversations()]
    say(page, "and now?")
    assert "and now?" in answers(page)[-1]


def test_looking_elsewhere_leaves_the_answer_where_it_belongs(page, stage):
    say(page, "a long answer", wait=False)
    page.wait_for_function(STREAMING)
    conversation = conversation_of(page)
    page.click("#lu-new")
    page.wait_for_selector(".lu-hello", state="visible")
    page.wait_for_timeout(400)
    assert page.locator(".message-row").count() == 0, "the answer followed the page to another conversation"
    page.click(f'[data-conversation="{conversation}"] .lu-open')
    answered(page)
    assert answers(page)[-1].endswith("word239.")


def test_two_tabs_on_one_conversation(page, stage):
    say(page, "a first question")
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector("#lu-history .lu-answer")
    say(page, "and a second")
    other.wait_for_function("document.querySelectorAll('#lu-history .lu-answer').length === 2")
    assert answers(other) == answers(page)
    menu(page, conversation_of(page), "delete")
    page.click("#lu-confirm-yes")
    other.wait_for_selector(".lu-hello", state="visible")


def test_an_imported_conversation_with_nonsense_in_it_does_not_leave_the_page_blank(open_page, stage):
    made = stage.store.create("**A** `title`")
    stage.store.append(made.id, "user", "a question", details={"transcripts": ["no", 1]})
    nonsense = {"tokens": "many", "timings": {"first_token_s": "soon"}, "seen": [{"original_size": 3}]}
    stage.store.append(made.id, "assistant", "an answer", details=nonsense)
    page = open_page(f"#{made.id}")
    assert answers(page) == ["an answer"]
    assert page.inner_text("#lu-title") == "A title"
