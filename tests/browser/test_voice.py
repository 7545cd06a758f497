"""Dictating, and hearing the answer."""

from __future__ import annotations

import time

import pytest
from acting import answered, answers, say

PLAYER = "window.lucid.player.state"


@pytest.fixture(autouse=True)
def _silent_again(stage):
    yield
    from ui.preferences import PreferenceFile

    (stage.dialogue.settings.data_dir / "page.json").unlink(missing_ok=True)
    assert not PreferenceFile(stage.dialogue.settings).current.speak


def switch_speaking(page, on):
    page.wait_for_function("!!window.lucid")
    if (page.get_attribute("#lu-speak", "aria-pressed") == "true") != on:
        page.click("#lu-speak")
        time.sleep(0.3)


def test_dictated_words_can_be_edited_before_they_are_sent(page, stage):
    heard = len(stage.recognizer.calls)
    page.click("#lu-mic")
    page.wait_for_selector("#lu-recording", state="visible")
    time.sleep(1.2)
    page.click("#lu-mic")
    page.wait_for_function("document.querySelector('#lu-text').value.length > 0")
    assert page.input_value("#lu-text") == "What is the capital of France?"
    clip = stage.recognizer.calls[heard]
    assert clip.seconds > 0.8
    assert abs(clip.samples).max() > 0.05, "the microphone's sound did not arrive"
    page.fill("#lu-text", "What is the capital of Italy?")
    page.press("#lu-text", "Enter")
    answered(page)
    assert answers(page) == ["You said: What is the capital of Italy?."]


def test_dictation_can_be_sent_at_once(page, stage):
    page.click("#lu-open-settings")
    page.check("#lu-dictation input[value=send]")
    time.sleep(0.5)
    page.keyboard.press("Escape")
    page.click("#lu-mic")
    time.sleep(0.8)
    page.click("#lu-mic")
    answered(page)
    assert answers(page) == ["You said: What is the capital of France?."]
    page.click("#lu-open-settings")
    page.check("#lu-dictation input[value=edit]")
    time.sleep(0.5)


def test_escape_throws_a_recording_away(page, stage):
    heard = len(stage.recognizer.calls)
    page.click("#lu-mic")
    page.wait_for_selector("#lu-recording", state="visible")
    page.keyboard.press("Escape")
    assert not page.is_visible("#lu-recording")
    time.sleep(0.3)
    assert len(stage.recognizer.calls) == heard


def test_the_spoken_answer_begins_while_the_text_still_streams(page, stage):
    switch_speaking(page, True)
    say(page, "a long answer", wait=False)
    page.wait_for_function(f"{PLAYER}.playing && {PLAYER}.seconds > 0")
    assert page.is_visible("#lu-stop"), "the text was over before the first sound"
    answered(page)
    state = page.evaluate(PLAYER)
    assert state["pieces"] > 3
    assert state["playing"]
    assert page.locator("[data-act=play].lu-on").count() == 1 or page.wait_for_selector("[data-act=play].lu-on")
    page.keyboard.press("Escape")
    assert not page.evaluate(PLAYER)["playing"]
    switch_speaking(page, False)


def test_stopping_silences_at_once(page, stage):
    switch_speaking(page, True)
    say(page, "a long answer", wait=False)
    page.wait_for_function(f"{PLAYER}.playing")
    page.click("#lu-stop")
    assert not page.evaluate(PLAYER)["playing"]
    answered(page)
    spoken = len(stage.synthesizer.calls)
    time.sleep(0.4)
    assert len(stage.synthesizer.calls) <= spoken + 1
    switch_speaking(page, False)


def test_any_answer_can_be_read_aloud_and_the_second_ends_the_first(page, stage):
    say(page, f"say {'One sentence is here. ' * 20}")
    say(page, "say Two **words**, `code` and https://example.com here.")
    calls = len(stage.synthesizer.calls)
    first, second = page.locator("[data-act=play]").all()
    first.click()
    page.wait_for_function(f"{PLAYER}.playing")
    key = page.evaluate(PLAYER)["key"]
    assert first.get_attribute("aria-label") == "Stop reading"
    second.click()
    page.wait_for_function(f"{PLAYER}.playing && {PLAYER}.key !== '{key}'")
    assert first.get_attribute("aria-label") == "Read aloud"
    page.wait_for_function(f"{PLAYER}.finished === 1")
    said = [text for text, _ in stage.synthesizer.calls[calls:]]
    assert any("Two words" in text for text in said)
    assert not any("http" in text or "*" in text or "`" in text for text in said)


def test_the_chosen_voice_and_speed_are_used(page, stage):
    page.click("#lu-open-settings")
    page.click("#lu-voice input")
    page.get_by_role("option", name="hum (en)").click()
    page.fill("#lu-speed input[type=number]", "1.5")
    page.press("#lu-speed input[type=number]", "Enter")
    page.keyboard.press("Tab")
    time.sleep(0.6)
    page.click("#lu-close-settings")
    say(page, "speak up")
    page.click("[data-act=play]")
    page.wait_for_function(f"{PLAYER}.playing || {PLAYER}.finished > 0")
    options = stage.synthesizer.calls[-1][1]
    assert options.voice == "hum"
    assert options.speed == 1.5
