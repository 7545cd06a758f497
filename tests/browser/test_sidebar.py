"""The list of conversations."""

from __future__ import annotations

import re

from acting import answers, conversation_of, say


def menu(page, conversation, entry):
    row = page.locator(f'[data-conversation="{conversation}"]')
    row.hover()
    row.locator("[data-act=menu]").click()
    page.click(f'#lu-menu [data-key="{entry}"]')
    return row


def test_a_new_conversation_stands_under_today(page, stage):
    say(page, "what is a heron?")
    row = page.locator(f'[data-conversation="{conversation_of(page)}"]')
    assert row.inner_text().strip() == "what is a heron?"
    assert row.locator("[aria-current=page]").count() == 1
    assert page.inner_text("#lu-conversations h3 >> nth=0") == "Today"


def test_renaming(page, stage):
    say(page, "to be renamed")
    conversation = conversation_of(page)
    row = menu(page, conversation, "rename")
    row.locator("input").fill("Herons & <i>storks</i>")
    row.locator("input").press("Enter")
    page.wait_for_function("document.querySelector('#lu-title').innerText === 'Herons & <i>storks</i>'")
    assert stage.store.conversation(conversation).title == "Herons & <i>storks</i>"
    assert row.inner_text().strip() == "Herons & <i>storks</i>"


def test_deleting_asks_first(page, stage):
    say(page, "to be deleted")
    conversation = conversation_of(page)
    menu(page, conversation, "delete")
    assert "to be deleted" in page.inner_text("#lu-confirm")
    page.click("#lu-confirm [data-close]")
    assert conversation in [c.id for c in stage.store.conversations()]
    menu(page, conversation, "delete")
    page.click("#lu-confirm-yes")
    page.wait_for_selector(f'[data-conversation="{conversation}"]', state="detached")
    assert conversation not in [c.id for c in stage.store.conversations()]
    page.wait_for_selector(".lu-hello", state="visible")


def test_clearing_keeps_the_conversation(page, stage):
    say(page, "to be cleared")
    conversation = conversation_of(page)
    page.click("#lu-clear")
    page.click("#lu-confirm-yes")
    page.wait_for_selector(".lu-hello", state="visible")
    assert stage.store.messages(conversation) == []
    say(page, "afresh")
    assert conversation_of(page) == conversation


def test_search_looks_into_all_texts(page, stage):
    say(page, "the axolotl regrows its limbs")
    conversation = conversation_of(page)
    page.click("#lu-new")
    page.keyboard.press("Control+k")
    page.keyboard.type("axolotl")
    hit = page.locator(f'#lu-conversations [data-conversation="{conversation}"] [data-act=open]').first
    page.wait_for_function("document.querySelector('#lu-conversations h3')?.innerText === 'Found'")
    hit.click()
    page.wait_for_selector("#lu-history .lu-answer")
    assert "axolotl" in answers(page)[0]
    page.fill("#lu-search", "no such word anywhere")
    page.wait_for_selector(".lu-list-empty")
    page.fill("#lu-search", "")
    page.wait_for_function("document.querySelector('#lu-conversations h3')?.innerText === 'Today'")


def test_a_new_chat_is_empty_until_something_is_said(page, stage):
    say(page, "before")
    count = len(stage.store.conversations())
    page.keyboard.press("Control+Shift+O")
    page.wait_for_selector(".lu-hello", state="visible")
    assert conversation_of(page) == ""
    assert len(stage.store.conversations()) == count


def test_export_and_import(page, stage, sign, tmp_path):
    page.set_input_files("#lu-files", [sign])
    page.wait_for_selector(".lu-file:not(.lu-pending)")
    say(page, "keep this picture")
    conversation = conversation_of(page)
    with page.expect_download() as download:
        menu(page, conversation, "export")
    archive = tmp_path / "conversation.zip"
    download.value.save_as(archive)
    assert re.search(r"\.zip$", download.value.suggested_filename)
    page.set_input_files("#lu-import-file", [archive])
    page.wait_for_function(f"location.hash.length > 1 && location.hash !== '#{conversation}'")
    page.wait_for_selector("#lu-history .lu-answer")
    assert "keep this picture" in answers(page)[0]
    page.wait_for_function("document.querySelector('.lu-picture img').naturalWidth === 300")


def test_something_else_than_an_export_is_refused(page, stage, sign):
    page.set_input_files("#lu-import-file", [sign])
    page.wait_for_selector("#lu-notice.lu-shown")
    assert page.inner_text("#lu-notice").count(".") >= 1
    assert "Traceback" not in page.inner_text("#lu-notice")


def test_a_persona_is_used_in_the_conversation(page, stage):
    say(page, "hello")
    page.click("#lu-open-settings")
    page.wait_for_function("document.querySelector('#lu-engine-seeing input').value.startsWith('scripted')")
    page.fill("#lu-prompt textarea", "Answer like a pirate.")
    page.click("#lu-apply")
    page.wait_for_selector("#lu-notice.lu-calm")
    assert stage.store.conversation(conversation_of(page)).system == "Answer like a pirate."
    page.keyboard.press("Escape")
    say(page, "and now?")
    assert any("pirate" in m.text for m in stage.model.calls[-1].messages if m.role == "system")
