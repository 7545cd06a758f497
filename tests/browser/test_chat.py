"""Writing, and what comes back."""

from __future__ import annotations

import time

from acting import answered, answers, conversation_of, say


def test_an_answer_streams_in(page, stage):
    say(page, "a long answer", wait=False)
    page.wait_for_function("document.querySelector('#lu-live .message-content')?.innerText.length > 20")
    early = len(page.inner_text("#lu-live .message-content"))
    page.wait_for_function(f"document.querySelector('#lu-live .message-content')?.innerText.length > {early + 100}")
    assert page.is_visible("#lu-stop")
    answered(page)
    assert answers(page)[-1].endswith("word239.")
    assert page.inner_text("#lu-title") == "a long answer"
    assert "Lucid answered: word0" in page.inner_text("#lu-announcer")
    assert "scripted" in page.inner_text(".lu-figures")


def test_updates_stay_below_25_a_second(page, stage):
    page.evaluate(
        """() => { window.drawn = 0; new MutationObserver(() => { window.drawn += 1; })
        .observe(document.querySelector('#lu-live'), {subtree: true, childList: true, characterData: true}); }"""
    )
    begun = time.monotonic()
    say(page, "a long answer")
    assert page.evaluate("window.drawn") <= 25 * (time.monotonic() - begun) + 10


def test_stop_stops_the_engine(page, stage):
    say(page, "a long answer", wait=False)
    page.wait_for_function("document.querySelector('#lu-live .message-content')?.innerText.length > 40")
    page.click("#lu-stop")
    answered(page)
    made = stage.model.words_made
    time.sleep(0.3)
    assert stage.model.words_made == made, "the engine went on"
    assert "word239" not in answers(page)[-1]
    assert "Stopped" in page.inner_text(".lu-figures")
    kept = stage.store.messages(conversation_of(page))
    assert [m.status for m in kept] == ["complete", "stopped"]
    say(page, "still there?")
    assert "still there?" in answers(page)[-1]


def test_escape_stops_too(page, stage):
    say(page, "a long answer", wait=False)
    page.wait_for_function("document.querySelector('#lu-live .message-content')?.innerText.length > 40")
    page.keyboard.press("Escape")
    answered(page)
    assert "Stopped" in page.inner_text(".lu-figures")


def test_answer_again_replaces_the_answer(page, stage):
    say(page, "once")
    calls = len(stage.model.calls)
    page.click("[data-act=again]")
    page.wait_for_function("document.querySelector('#lu-live .message-row')")
    answered(page)
    assert len(stage.model.calls) == calls + 1
    assert len(answers(page)) == 1
    assert len(stage.store.messages(conversation_of(page))) == 2


def test_editing_a_message_goes_on_from_there(page, stage):
    say(page, "first question")
    say(page, "second question")
    assert len(answers(page)) == 2
    page.hover(".lu-user >> nth=0")
    page.click(".lu-user >> nth=0 >> [data-act=edit]")
    page.fill(".lu-editor textarea", "another question")
    page.press(".lu-editor textarea", "Enter")
    page.wait_for_function("document.querySelectorAll('.lu-user').length === 1")
    answered(page)
    assert answers(page) == ["You said: another question."]
    assert stage.store.messages(conversation_of(page))[0].text == "another question"


def test_a_failure_in_mid_answer_is_one_calm_sentence(page, stage):
    say(page, "please break here now")
    notice = page.inner_text("#lu-history .lu-notice")
    assert notice == "The model ran out of memory. Ask something shorter."
    assert answers(page)[-1].startswith("You said:")
    assert "Traceback" not in page.inner_text("body")
    say(page, "and now?")
    assert "and now?" in answers(page)[-1]


def test_a_picture_and_what_was_looked_at(page, stage, sign):
    page.set_input_files("#lu-files", [sign])
    page.wait_for_selector(".lu-file:not(.lu-pending)")
    say(page, "What does the sign say?")
    page.wait_for_function("document.querySelector('.lu-picture img').naturalWidth === 300")
    page.click(".lu-seen summary")
    panel = page.locator(".lu-seen")
    for words in ("street sign", "87 %", "“OPEN <b>DAILY</b>”", "#78aad2", "300 × 200"):
        assert words in panel.inner_text()
    assert panel.locator("b").count() == 0, "what was read in a picture became markup"
    box = panel.locator("rect").bounding_box()
    thumbnail = panel.locator(".lu-thumb").bounding_box()
    assert abs((box["x"] - thumbnail["x"]) / thumbnail["width"] - 0.3) < 0.03
    page.click(".lu-picture")
    assert page.is_visible("#lu-lightbox-view")
    page.keyboard.press("Escape")
    assert not page.is_visible("#lu-lightbox-view")


def test_pictures_are_dropped_pasted_and_removed(page, stage, sign):
    send = """([kind, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], kind + '.png', {type: 'image/png'}));
        const event = kind === 'drop'
            ? new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})
            : new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true});
        document.querySelector('#lu-text').dispatchEvent(event);
    }"""
    for kind in ("drop", "paste"):
        page.evaluate(send, [kind, list(sign.read_bytes())])
    page.wait_for_function("document.querySelectorAll('.lu-file:not(.lu-pending)').length === 2")
    page.click(".lu-file >> nth=0 >> button")
    assert page.locator(".lu-file").all_inner_texts()[0].startswith("paste.png")
    page.evaluate(send, ["drop", list(sign.read_bytes())])
    page.wait_for_function("document.querySelectorAll('.lu-file:not(.lu-pending)').length === 2")
    say(page, "compare them")
    assert "2 pictures" in answers(page)[-1]
    assert page.locator(".lu-picture").count() == 2


def test_a_webcam_picture_is_attached(page, stage):
    page.click("#lu-camera")
    page.wait_for_function("document.querySelector('#lu-webcam-view').videoWidth > 0")
    page.click("#lu-webcam-take")
    page.wait_for_selector(".lu-file:not(.lu-pending)")
    say(page, "who is it?")
    assert "1 picture" in answers(page)[-1]


def test_a_file_that_is_neither_is_refused_with_a_sentence(page, stage, tmp_path):
    bad = tmp_path / "notes.png"
    bad.write_bytes(b"this is only text, whatever its name says")
    page.set_input_files("#lu-files", [bad])
    page.wait_for_selector("#lu-notice.lu-shown")
    assert "notes.png" in page.inner_text("#lu-notice")
    assert page.locator(".lu-file").count() == 0
    say(page, "go on")
    assert "go on" in answers(page)[-1]


def test_a_file_that_breaks_later_gives_words_and_file_back(page, stage, sign, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(sign.read_bytes()[:80])
    page.set_input_files("#lu-files", [broken])
    page.wait_for_selector(".lu-file:not(.lu-pending), #lu-notice.lu-shown")
    if page.locator(".lu-file").count():
        say(page, "what is it?", wait=False)
        page.wait_for_selector("#lu-live .lu-notice")
        assert "broken.png" in page.inner_text("#lu-live .lu-notice")
        assert page.input_value("#lu-text") == "what is it?"
        page.click(".lu-file button")
    say(page, "go on")
    assert answers(page)[-1] == "You said: go on."


def test_history_is_there_after_a_reload(page, stage):
    say(page, "remember this")
    page.reload()
    page.wait_for_selector("#lu-history .lu-answer")
    assert answers(page) == ["You said: remember this."]
    assert page.inner_text("#lu-title") == "remember this"


def test_a_reload_in_mid_answer_follows_it_to_the_end(open_page, stage):
    # Gradio's front end complains when the page goes while a stream is open.
    open_page.forgiven += ["AbortError", "Connection errored out"]
    page = open_page()
    say(page, "a long answer", wait=False)
    page.wait_for_function("document.querySelector('#lu-live .message-content')?.innerText.length > 40")
    page.reload()
    page.wait_for_selector("#lu-stop", state="visible")
    answered(page)
    assert answers(page)[-1].endswith("word239.")
    assert page.locator(".lu-user").count() == 1


def test_an_answer_goes_on_while_another_conversation_is_looked_at(page, stage):
    say(page, "a long answer", wait=False)
    page.wait_for_function("document.querySelector('#lu-live .message-content')?.innerText.length > 40")
    first = conversation_of(page)
    page.click("#lu-new")
    say(page, "something else")
    assert answers(page) == ["You said: something else."]
    page.click(f'[data-conversation="{first}"] [data-act=open]')
    page.wait_for_function("document.querySelector('#lu-title').innerText === 'a long answer'")
    answered(page)
    assert answers(page)[-1].endswith("word239.")


def test_only_the_newest_of_many_messages_are_drawn_at_first(open_page, stage):
    conversation = stage.store.create("A long one").id
    for i in range(60):
        stage.store.append(conversation, "user", f"question {i}")
        stage.store.append(conversation, "assistant", f"answer {i}")
    page = open_page(f"#{conversation}")
    page.wait_for_selector("#lu-history .lu-answer")
    assert page.locator(".lu-user").count() == 20
    place = "document.querySelector('#lu-scroll')"
    assert page.evaluate(f"{place}.scrollHeight - {place}.scrollTop - {place}.clientHeight") < 100
    page.click(".lu-earlier")
    page.wait_for_function("document.querySelectorAll('.lu-user').length === 40")
    assert "question 20" in page.inner_text(".lu-user >> nth=0")


def test_copying_gives_the_markdown(page, stage):
    say(page, "say **bold** and `code`")
    page.click(".lu-answer [data-act=copy]")
    page.wait_for_selector("#lu-notice.lu-calm")
    assert page.evaluate("navigator.clipboard.readText()") == "**bold** and `code`"
