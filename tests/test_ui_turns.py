"""Turns under way, their sound, files that wait, and preferences."""

from __future__ import annotations

import io
import threading
import time
import wave

import numpy as np
import pytest

from assistant.config import Settings
from assistant.events import SpeechChunk
from assistant.turn import UserTurn
from models.errors import BadInput
from models.streaming import CancelScope
from models.types import AudioClip
from ui.inbox import Inbox, clean_name
from ui.preferences import FILE, PreferenceFile
from ui.sound import Sounds, wav_stream
from ui.turns import UPDATE_S, RunningTurns


@pytest.fixture
def dialogue(tmp_path):
    from assistant.dialogue import DialogueManager
    from assistant.store import ConversationStore
    from models.engines import Engines
    from models.fakes import ScriptedModel

    engines = Engines.scripted(seeing=ScriptedModel([" ".join(["word"] * 60)], delay_s=0.01))
    store = ConversationStore(tmp_path / "data")
    yield DialogueManager(engines, store, Settings(data_dir=tmp_path / "data"))
    store.close()


def ask(dialogue, **changes):
    conversation = dialogue.store.create().id
    return UserTurn(conversation, "question", **changes)


def test_a_page_follows_a_turn_no_faster_than_it_can_draw(dialogue):
    running = RunningTurns(dialogue).start(ask(dialogue))
    begun = time.monotonic()
    views = list(running.follow(CancelScope().begin()))
    assert len(views) <= (time.monotonic() - begun) / UPDATE_S + 2
    texts = [v.text for v in views]
    assert all(later.startswith(earlier) for earlier, later in zip(texts, texts[1:], strict=False))
    assert len(texts) > 5
    assert views[-1].over
    assert views[-1].text.count("word") == 60
    assert 10 < views[-1].tokens_per_s < 110  # 60 words, each held back for 10 ms


def test_a_turn_goes_on_when_nobody_follows_and_is_stopped_by_stop(dialogue):
    turns = RunningTurns(dialogue)
    looking = CancelScope()
    over = threading.Event()
    running = turns.start(ask(dialogue), on_over=over.set)
    follower = running.follow(looking.begin())
    next(follower)
    looking.cancel()
    assert list(follower) == []
    assert turns.of(running.turn.conversation_id) is running
    turns.stop(running.turn.conversation_id)
    assert over.wait(2)
    assert running.view().text.count("word") < 60
    assert turns.of(running.turn.conversation_id) is None


def chunk(seconds, sentence=0):
    return SpeechChunk(AudioClip(np.full(int(seconds * 8000), 0.5, np.float32), 8000), sentence, "words")


def test_sound_is_a_wav_file_that_can_be_read_while_it_is_made():
    sounds = Sounds()
    channel = sounds.channel("a")
    read = wav_stream(channel.read())
    channel.put(chunk(0.5))
    header, first = next(read), next(read)
    assert len(first) == 8000
    channel.put(chunk(0.25, 1))
    sounds.forget("a")
    rest = b"".join(read)
    with wave.open(io.BytesIO(header + first + rest)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
    assert np.frombuffer(first + rest, "<i2").tolist() == [16383] * 6000


def test_page_and_turn_meet_in_either_order_and_old_channels_end():
    sounds = Sounds()
    first = sounds.channel("0")
    for number in range(20):
        sounds.channel(str(number))
    assert list(first.read()) == []
    assert sounds.channel("19") is sounds.channel("19")


def test_the_inbox_refuses_what_is_too_large_and_leaves_nothing(tmp_path):
    inbox = Inbox(tmp_path, 1)
    for content, sentence in ((b"x" * ((1 << 20) + 1), "larger than 1 MB"), (b"", "empty")):
        with pytest.raises(BadInput, match=sentence):
            inbox.receive(io.BytesIO(content), "a.png")
    with pytest.raises(BadInput, match=r"notes\.png"):
        inbox.keep(inbox.receive(io.BytesIO(b"just text"), "notes.png"), "notes.png")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadInput):
        inbox.find("no such token")


def test_an_upload_is_kept_until_it_is_discarded(tmp_path):
    from PIL import Image

    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    picture.seek(0)
    inbox = Inbox(tmp_path, 1)
    kept = inbox.keep(inbox.receive(picture, "a.png"), "a.png")
    assert (kept.kind, inbox.find(kept.token)) == ("image", kept)
    inbox.discard(kept.token)
    assert not kept.path.exists()


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\a\\b.png", "b.png"),
        ("a\x00\n\u202eb.png", "ab.png"),
        ("", "file"),
        ("/", "file"),
    ],
)
def test_names_lose_their_folders_and_control_signs(sent, kept):
    assert clean_name(sent) == kept


def test_preferences_are_kept_and_nonsense_is_not(tmp_path):
    settings = Settings(data_dir=tmp_path, speed=1.2)
    file = PreferenceFile(settings)
    assert (file.current.speed, file.current.speak) == (1.2, False)
    file.change(speak=True, speed=9.0, voice="joe", personas={"Pirate": "Arr"}, unknown=1)
    again = PreferenceFile(settings).current
    assert (again.speak, again.speed, again.voice, again.personas) == (True, 1.2, "joe", {"Pirate": "Arr"})
    file.choose_engine("seeing", "smollm2-evidence", "glimpse")
    file.choose_engine("hearing", "a", "b")
    file.choose_engine("hearing", "a", "a")
    again = PreferenceFile(settings)
    assert again.engine("seeing", "smollm2-evidence") == "glimpse"
    assert again.engine("seeing", "named on the command line") == "named on the command line"
    assert again.engine("hearing", "a") == "a"
    (tmp_path / FILE).write_text("{broken")
    assert PreferenceFile(settings).current.speak is False


def test_an_engine_picked_on_the_page_is_used_after_a_restart_if_it_could_be_loaded(dialogue, tmp_path):
    from assistant.dialogue import DialogueManager
    from models.catalogue import ROLES
    from models.engines import Engines
    from models.errors import EngineUnavailable
    from models.fakes import ScriptedModel
    from ui.handlers_settings import SettingsHandlers
    from ui.services import PageServices

    def load(name, **_):
        if name == "missing":
            raise EngineUnavailable("It is not here.")
        return ScriptedModel()

    def started() -> PageServices:
        engines = Engines("first", "h", "s", loaders=dict.fromkeys(ROLES, load))
        return PageServices.of(DialogueManager(engines, dialogue.store, dialogue.settings), tmp_path)

    services = started()
    SettingsHandlers(services).use("seeing", "second")
    SettingsHandlers(services).use("hearing", "missing")
    deadline = time.monotonic() + 5
    # Chosen in a thread: what counts is what is on the disk.
    while PreferenceFile(dialogue.settings).engine("seeing", "first") != "second" and time.monotonic() < deadline:
        time.sleep(0.02)
    again = started()
    assert [again.engines.name(role) for role in ROLES] == ["second", "h", "s"]
