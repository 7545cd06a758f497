"""The one door: a turn goes in, events come out, and what was acknowledged is kept."""

import threading
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assistant.config import Settings
from assistant.dialogue import DialogueManager
from assistant.events import Progress, SpeechChunk, TranscriptReady, TurnEnded, TurnFailed, TurnStarted
from assistant.store import ConversationStore
from assistant.turn import UserTurn
from models.engines import Engines
from models.errors import EngineFailure, StoreError
from models.fakes import ScriptedModel, ScriptedRecognizer, ScriptedSynthesizer
from models.interfaces import SpeechOptions, TextDelta


@pytest.fixture
def make(tmp_path):
    """A dialogue over scripted engines; keyword arguments replace engines."""
    opened = []

    def build(**engines):
        settings = Settings(data_dir=tmp_path / "data", model="scripted")
        store = ConversationStore(settings.data_dir)
        opened.append(store)
        return DialogueManager(Engines.scripted(**engines), store, settings)

    yield build
    for store in opened:
        store.close()


@pytest.fixture
def picture(tmp_path) -> Path:
    file = tmp_path / "sunset.png"
    Image.new("RGB", (64, 48), (250, 120, 30)).save(file)
    return file


def recording(file: Path, *, silent: bool = False) -> Path:
    t = np.arange(16000) / 16000
    samples = np.zeros(16000) if silent else 0.3 * np.sin(2 * np.pi * 300 * t)
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return file


def run(dialogue, turn):
    return list(dialogue.respond(turn, dialogue.scope(turn.conversation_id).begin()))


def test_a_turn_starts_streams_and_ends(make):
    dialogue = make(seeing=ScriptedModel(["The capital of France is Paris."]))
    conversation = dialogue.store.create().id
    events = run(dialogue, UserTurn(conversation, "What is the capital of France?"))
    assert isinstance(events[0], TurnStarted)
    assert isinstance(events[-1], TurnEnded)
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "The capital of France is Paris."
    assert events[-1].text == "The capital of France is Paris."
    assert events[-1].tokens == 6
    assert 0 < events[-1].timings.first_token_s <= events[-1].timings.total_s
    question, answer = dialogue.store.messages(conversation)
    assert (question.id, answer.id) == (events[0].user_message_id, events[0].answer_message_id)
    assert (answer.text, answer.status) == (events[-1].text, "complete")
    assert dialogue.store.conversation(conversation).title == "What is the capital of France?"


def test_the_model_is_given_the_system_prompt_the_past_and_the_question(make):
    model = ScriptedModel(["One.", "Two."])
    dialogue = make(seeing=model)
    conversation = dialogue.store.create(system="You are a pirate.").id
    run(dialogue, UserTurn(conversation, "first"))
    run(dialogue, UserTurn(conversation, "second"))
    given = model.calls[-1].messages
    assert [m.role for m in given] == ["system", "user", "assistant", "user"]
    assert [m.text for m in given] == ["You are a pirate.", "first", "One.", "second"]


def test_a_picture_of_an_earlier_turn_is_still_there(make, picture):
    model = ScriptedModel()
    dialogue = make(seeing=model)
    conversation = dialogue.store.create().id
    first = run(dialogue, UserTurn(conversation, "What is in this picture?", images=(picture,)))[-1]
    picture.unlink()  # the owner may move the file: Lucid has its own copy
    run(dialogue, UserTurn(conversation, "Which colour is in the picture?"))
    pictures = [p for m in model.calls[-1].messages for p in m.pictures]
    assert [p.source for p in pictures] == ["sunset.png"]
    assert first.seen[0].source == "sunset.png"
    assert first.seen[0].original_size == (64, 48)


def test_asked_about_a_picture_that_is_not_there_it_says_so(make):
    model = ScriptedModel(["A dog on a beach."])
    dialogue = make(seeing=model)
    conversation = dialogue.store.create().id
    ended = run(dialogue, UserTurn(conversation, "What is in this picture?"))[-1]
    assert "no picture" in ended.text
    assert not model.calls


def test_a_recording_alone_is_the_question(make, tmp_path):
    model, hearing = ScriptedModel(["Paris."]), ScriptedRecognizer("What is the capital of France?")
    dialogue = make(seeing=model, hearing=hearing)
    conversation = dialogue.store.create().id
    events = run(dialogue, UserTurn(conversation, audio=(recording(tmp_path / "question.wav"),)))
    heard = [e for e in events if isinstance(e, TranscriptReady)]
    assert [h.transcript.text for h in heard] == ["What is the capital of France?"]
    assert model.calls[0].messages[-1].text == "What is the capital of France?"
    assert events[-1].timings.asr_s is not None
    question = dialogue.store.messages(conversation)[0]
    assert question.text == "What is the capital of France?"
    assert question.details["transcripts"][0]["words"][0]["text"] == "What"
    assert dialogue.store.conversation(conversation).title == "What is the capital of France?"


def test_a_silent_recording_gets_one_sentence_and_the_conversation_goes_on(make, tmp_path):
    model = ScriptedModel(["Fine."])
    dialogue = make(seeing=model)
    conversation = dialogue.store.create().id
    failed = run(dialogue, UserTurn(conversation, audio=(recording(tmp_path / "s.wav", silent=True),)))[-1]
    assert isinstance(failed, TurnFailed)
    assert failed.bad_input
    assert "no speech" in failed.message
    ended = run(dialogue, UserTurn(conversation, "How are you?"))[-1]
    assert ended.text == "Fine."
    assert [m.text for m in model.calls[0].messages] == ["How are you?"]


def test_a_bad_file_is_refused_before_anything_is_kept(make, tmp_path):
    bad = tmp_path / "broken.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0 this is not a picture")
    dialogue = make()
    conversation = dialogue.store.create().id
    events = run(dialogue, UserTurn(conversation, "What is this?", images=(bad,)))
    assert len(events) == 1
    assert isinstance(events[0], TurnFailed)
    assert events[0].bad_input
    assert "broken.jpg" in events[0].message
    assert dialogue.store.messages(conversation) == []


def test_an_empty_turn_is_refused(make):
    dialogue = make()
    events = run(dialogue, UserTurn(dialogue.store.create().id, "   "))
    assert [type(e) for e in events] == [TurnFailed]


def test_stopping_stops_the_model_and_keeps_what_was_said(make):
    model = ScriptedModel([" ".join(str(n) for n in range(1000))], delay_s=0.005)
    dialogue = make(seeing=model)
    conversation = dialogue.store.create().id
    events, said = [], 0
    for event in dialogue.respond(UserTurn(conversation, "Count."), dialogue.scope(conversation).begin()):
        events.append(event)
        said += isinstance(event, TextDelta)
        if said == 5:
            dialogue.scope(conversation).cancel()
    made = model.words_made
    time.sleep(0.1)
    assert model.words_made == made < 50  # the computation has ended too, not only the display
    assert events[-1].stopped
    assert events[-1].text.startswith("0 1 2 3 4")
    assert dialogue.store.messages(conversation)[-1].status == "stopped"


def test_a_reader_that_leaves_ends_the_turn(make):
    model = ScriptedModel([" ".join(["word"] * 1000)], delay_s=0.002)
    dialogue = make(seeing=model)
    conversation = dialogue.store.create().id
    stream = dialogue.respond(UserTurn(conversation, "Talk."), dialogue.scope(conversation).begin())
    while not isinstance(next(stream), TextDelta):
        pass
    stream.close()
    made = model.words_made
    time.sleep(0.1)
    assert model.words_made <= made + 1
    assert dialogue.store.messages(conversation)[-1].status == "stopped"


def test_leaving_after_the_end_does_not_call_the_answer_stopped(make):
    dialogue = make(seeing=ScriptedModel(["Done."]))
    conversation = dialogue.store.create().id
    stream = dialogue.respond(UserTurn(conversation, "Go."), dialogue.scope(conversation).begin())
    while not isinstance(next(stream), TurnEnded):
        pass
    stream.close()
    assert dialogue.store.messages(conversation)[-1].status == "complete"


def test_a_failure_in_mid_answer_is_a_sentence_and_the_next_turn_works(make):
    model = ScriptedModel(["one two three four"], fail_after=2, error=EngineFailure("Out of memory.", "Ask less."))
    dialogue = make(seeing=model)
    conversation = dialogue.store.create().id
    failed = run(dialogue, UserTurn(conversation, "Count."))[-1]
    assert (failed.message, failed.remedy, failed.text, failed.bad_input) == (
        "Out of memory.",
        "Ask less.",
        "one two",
        False,
    )
    kept = dialogue.store.messages(conversation)[-1]
    assert (kept.status, kept.text, kept.details["error"]) == ("failed", "one two", "Out of memory.")
    model.fail_after = None
    assert run(dialogue, UserTurn(conversation, "Again."))[-1].text == "one two three four"


def test_an_unforeseen_error_is_a_sentence_too(make, caplog):
    dialogue = make(seeing=ScriptedModel(["one two"], fail_after=1, error=KeyError("oops")))
    failed = run(dialogue, UserTurn(dialogue.store.create().id, "Go."))[-1]
    assert isinstance(failed, TurnFailed)
    assert "Something went wrong" in failed.message
    assert "Traceback" not in failed.message + failed.remedy
    assert "a turn failed" in caplog.text


def test_speech_comes_while_the_text_still_does(make):
    answer = "This is the first sentence. " + " ".join(["word"] * 60) + "."
    dialogue = make(seeing=ScriptedModel([answer], delay_s=0.01))
    conversation = dialogue.store.create().id
    events = run(dialogue, UserTurn(conversation, "Talk.", speak=True))
    kinds = [type(e) for e in events]
    assert kinds.index(SpeechChunk) < len(kinds) - 1 - kinds[::-1].index(TextDelta)
    spoken = [e for e in events if isinstance(e, SpeechChunk)]
    assert [c.sentence for c in spoken] == sorted(c.sentence for c in spoken)
    assert spoken[0].text == "This is the first sentence."
    assert events[-1].timings.first_audio_s < events[-1].timings.total_s


def test_speech_that_fails_does_not_take_the_text_with_it(make):
    synthesizer = ScriptedSynthesizer(error=EngineFailure("The voice broke.", "Choose another."))
    dialogue = make(seeing=ScriptedModel(["One. Two. Three."]), speaking=synthesizer)
    ended = run(dialogue, UserTurn(dialogue.store.create().id, "Talk.", speak=True))[-1]
    assert isinstance(ended, TurnEnded)
    assert ended.text == "One. Two. Three."
    assert any("The voice broke." in note for note in ended.notes)


def test_editing_a_question_goes_on_from_there(make, picture):
    model = ScriptedModel(["A.", "B.", "C."])
    dialogue = make(seeing=model)
    conversation = dialogue.store.create().id
    first = run(dialogue, UserTurn(conversation, "What is in this picture?", images=(picture,)))[0]
    run(dialogue, UserTurn(conversation, "And then?"))
    turn = dialogue.turn_of(first.user_message_id, text="Which colours are in this picture?")
    run(dialogue, turn)
    messages = dialogue.store.messages(conversation)
    assert [m.text for m in messages] == ["Which colours are in this picture?", "C."]
    assert [a.name for a in messages[0].attachments] == ["sunset.png"]
    assert len(model.calls[-1].messages[-1].pictures) == 1


def test_asking_again_keeps_a_picture_that_was_sent_twice(make, picture):
    dialogue = make()
    conversation = dialogue.store.create().id
    run(dialogue, UserTurn(conversation, "Are these the same?", images=(picture, picture)))
    question = dialogue.store.messages(conversation)[0]
    again = run(dialogue, dialogue.turn_of(question.id))
    assert len(again[-1].seen) == 2


def test_a_picture_lost_from_the_disk_does_not_end_the_conversation(make, picture):
    model = ScriptedModel()
    dialogue = make(seeing=model)
    conversation = dialogue.store.create().id
    run(dialogue, UserTurn(conversation, "Look!", images=(picture,)))
    (attachment,) = dialogue.store.messages(conversation)[0].attachments
    dialogue.store.file_of(attachment).unlink()
    assert isinstance(run(dialogue, UserTurn(conversation, "Go on"))[-1], TurnEnded)
    assert model.calls[-1].messages[0].text == "Look!"
    assert model.calls[-1].messages[0].pictures == ()


def test_the_same_picture_is_known_by_its_own_name_in_each_conversation(make, picture):
    model = ScriptedModel()
    dialogue = make(seeing=model)
    for name in ("private.png", "other.png"):
        conversation = dialogue.store.create().id
        run(dialogue, UserTurn(conversation, "Look!", images=(picture,), names={picture: name}))
        run(dialogue, UserTurn(conversation, "Go on"))
        assert [p.source for p in model.calls[-1].messages[0].pictures] == [name]


def test_files_of_a_turn_that_could_not_be_kept_do_not_stay(make, picture, monkeypatch, tmp_path):
    dialogue = make()
    conversation = dialogue.store.create().id

    def full(*_, **__):
        raise StoreError("The disk is full.")

    monkeypatch.setattr(dialogue.store, "append", full)
    (failed,) = run(dialogue, UserTurn(conversation, "Look!", images=(picture,)))
    assert isinstance(failed, TurnFailed)
    assert [f for f in (tmp_path / "data" / "attachments").rglob("*") if f.is_file()] == []


def test_an_answer_that_cannot_be_kept_gives_the_engine_free_at_once(make, monkeypatch):
    class OneAtATime(ScriptedModel):
        busy = False

        def stream(self, *arguments):
            self.busy = True
            try:
                yield from super().stream(*arguments)
            finally:
                self.busy = False

    model = OneAtATime(["word " * 1000])
    dialogue = make(seeing=model)
    conversation = dialogue.store.create().id

    def full(*_, **__):
        raise StoreError("The disk is full.")

    monkeypatch.setattr("assistant.answer.CHECKPOINT_S", 0.0)
    monkeypatch.setattr(dialogue.store, "update", full)
    for event in dialogue.respond(UserTurn(conversation, "Go"), dialogue.scope(conversation).begin()):
        if isinstance(event, TurnFailed):
            assert not model.busy
            break
    else:
        pytest.fail("the turn did not fail")


def test_an_edit_with_a_bad_file_leaves_the_old_question(make, tmp_path):
    dialogue = make(seeing=ScriptedModel(["A."]))
    conversation = dialogue.store.create().id
    first = run(dialogue, UserTurn(conversation, "Hello"))[0]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    assert isinstance(run(dialogue, dialogue.turn_of(first.user_message_id, images=(bad,)))[-1], TurnFailed)
    assert [m.text for m in dialogue.store.messages(conversation)] == ["Hello", "A."]


def test_replacing_a_question_while_it_is_being_answered(make):
    model = ScriptedModel([" ".join(["slow"] * 400), "Quick."], delay_s=0.003)
    dialogue = make(seeing=model)
    conversation = dialogue.store.create().id
    first, began = [], threading.Event()

    def old_turn():
        for event in dialogue.respond(UserTurn(conversation, "Talk."), dialogue.scope(conversation).begin()):
            first.append(event)
            if isinstance(event, TextDelta):
                began.set()

    thread = threading.Thread(target=old_turn)
    thread.start()
    assert began.wait(5)
    second = run(dialogue, dialogue.turn_of(first[0].user_message_id, text="Be quick."))
    thread.join(5)
    assert isinstance(first[-1], TurnEnded)
    assert first[-1].stopped
    assert second[-1].text == "Quick."
    assert [m.text for m in dialogue.store.messages(conversation)] == ["Be quick.", "Quick."]


def test_a_long_answer_is_kept_while_it_comes(make):
    model = ScriptedModel([" ".join(["word"] * 100)], delay_s=0.02)
    dialogue = make(seeing=model)
    conversation = dialogue.store.create().id
    stream = dialogue.respond(UserTurn(conversation, "Talk."), dialogue.scope(conversation).begin())
    begun = time.monotonic()
    for event in stream:
        if isinstance(event, TextDelta) and time.monotonic() - begun > 1.0:
            break
    kept = dialogue.store.messages(conversation)[-1]
    assert kept.status == "partial"
    assert len(kept.text.split()) >= 10
    stream.close()


def test_a_played_message_is_spoken_sentence_by_sentence(make):
    voice = ScriptedSynthesizer()
    dialogue = make(speaking=voice)
    chunks = list(
        dialogue.read_aloud(
            "**One.** Two `code`.\n\n```\nx = 1\n```\n", SpeechOptions("hum", 1.5), dialogue.scope("x").begin()
        )
    )
    assert chunks[0].text == "One."
    assert not any("x = 1" in text or "*" in text for text, _ in voice.calls)
    assert {options for _, options in voice.calls} == {SpeechOptions("hum", 1.5)}


def test_loading_is_said(make):
    dialogue = make()
    events = run(dialogue, UserTurn(dialogue.store.create().id, "Hi"))
    assert any(isinstance(e, Progress) and "scripted" in e.text for e in events)


def test_a_question_longer_than_the_context_is_a_sentence(make):
    model = ScriptedModel()
    model.context_tokens = 100
    dialogue = make(seeing=model)
    failed = run(dialogue, UserTurn(dialogue.store.create().id, "word " * 200))[-1]
    assert isinstance(failed, TurnFailed)
    assert failed.bad_input
    assert "longer than" in failed.message
