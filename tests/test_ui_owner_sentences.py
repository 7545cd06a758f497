"""That the Chinese page says Chinese sentences: taken from errors that happen, and from the code that raises them."""

from __future__ import annotations

import ast
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assistant.config import Settings
from assistant.dialogue import DialogueManager
from assistant.events import Progress
from assistant.exchange import import_conversation
from assistant.store import Attachment, ConversationStore
from assistant.turn import UserTurn
from models.catalogue import ROLES, entries, loader
from models.engines import Engines
from models.errors import AssistantError
from models.fakes import ScriptedModel
from models.media import kind_of, load_picture, load_sound, load_video
from models.streaming import CancelScope
from ui.inbox import Inbox
from ui.owner_sentences import in_language
from ui.sentences_zh import CHINESE

ROOT = Path(__file__).parent.parent
BAD = ROOT / "tests" / "fixtures" / "bad"
RAISED = {"BadInput", "EngineUnavailable", "EngineFailure", "StoreError", "Unspeakable", "Progress"}
# They speak to the terminal, to developers, or only to those who train.
NOT_ON_THE_PAGE = re.compile(
    r"assistant/(ask|cli|doctor|models_command|talk|sound_devices|setup|config)|models/(fakes|runtime)|models/glimpse/(?!engine)"
)

# Said on the terminal, before there is a page; or put together so that the gap holds a part of the sentence.
AT_THE_START = (
    "The conversations were written by a newer Lucid", "Update Lucid, or choose", "This Python's SQLite",
    "Use a Python with SQLite", "The database gap", "Close the other", "This gap is not there",
    "gap was not downloaded by Lucid.gap", "“gap” has gapno moving", "“gap” is longer than gap.",
)  # fmt: skip


def is_chinese(sentence: str) -> bool:
    return re.search(r"[\u4e00-\u9fff]", sentence) is not None


def say(error: AssistantError) -> list[str]:
    return [s for s in (error.message, error.remedy) if s]


def provoked(work: Callable[[], object]) -> list[str]:
    with pytest.raises(AssistantError) as caught:
        work()
    return say(caught.value)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    kept = ConversationStore(tmp_path / "data")
    yield kept
    kept.close()


def test_files_that_cannot_be_used(tmp_path):
    empty, words = tmp_path / "empty.png", tmp_path / "words.png"
    empty.write_bytes(b"")
    words.write_bytes(b"only words")
    whole = io.BytesIO()
    from PIL import Image

    Image.effect_noise((80, 80), 90).save(whole, "PNG")
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole.getvalue()[:2000])
    inbox = Inbox(tmp_path, 1)
    said = [
        *provoked(lambda: load_picture(empty)),
        *provoked(lambda: load_picture(words)),
        *provoked(lambda: load_picture(cut)),
        *provoked(lambda: load_picture(tmp_path / "none.png")),
        *provoked(lambda: load_picture(BAD / "generated_bomb_20000x20000.png")),
        *provoked(lambda: kind_of(words, "words.png")),
        *provoked(lambda: load_sound(words)),
        *provoked(lambda: load_sound(BAD / "audio_hound_nonstandard-02.wav")),
        *provoked(lambda: load_sound(ROOT / "tests/fixtures/speech/jfk.flac", max_seconds=1)),
        *provoked(lambda: load_video(BAD / "generated_text_named.mp4")),
        *provoked(lambda: load_video(BAD / "generated_12000x2.png")),
        *provoked(lambda: inbox.receive(io.BytesIO(b""), "a.png")),
        *provoked(lambda: inbox.receive(io.BytesIO(b"x" * (1 << 20) + b"x"), "a.png")),
        *provoked(lambda: inbox.find("none")),
    ]
    assert [s for s in said if not is_chinese(in_language(s, "zh"))] == []


def test_notes_about_pictures():
    notes = [*load_picture(BAD / "image_pillow_apng__delay_round.png").notes]
    notes += [*load_picture(BAD / "image_pillow_multipage_out_of_order.tiff").notes]
    assert len(notes) == 2
    for note in notes:
        assert is_chinese(in_language(note, "zh")), note
        assert in_language(f"a.png: {note}", "zh").startswith("a.png：")


def test_engines_that_are_not_there_and_what_they_are(tmp_path):
    wrong = {"seeing": ["nonsense"], "hearing": ["nonsense", "openai-whisper:nonsense"]}
    wrong["speaking"] = ["nonsense", "piper:nonsense", f"piper:{tmp_path}/a.onnx"]
    said = [
        sentence
        for role in ROLES
        for name in wrong[role]
        for sentence in provoked(lambda name=name, role=role: loader(role)(name, offline=True, on_progress=None))
    ]
    assert len(said) >= 10
    said += [e.description for role in ROLES for e in entries(role) if "<" not in e.name]
    assert len(said) > 30
    assert [s for s in said if not is_chinese(in_language(s, "zh"))] == []


def test_the_store_and_imports(store, tmp_path):
    archive, empty = tmp_path / "a.zip", tmp_path / "b.zip"
    archive.write_bytes(b"no zip")
    with zipfile.ZipFile(empty, "w") as made:
        made.writestr("other.txt", "x")
    said = [
        *provoked(lambda: store.conversation("none")),
        *provoked(lambda: store.message("none")),
        *provoked(lambda: store.file_of(Attachment("0" * 64, "a.png", "image", 1))),
        *provoked(lambda: import_conversation(store, archive)),
        *provoked(lambda: import_conversation(store, empty)),
    ]
    assert [s for s in said if not is_chinese(in_language(s, "zh"))] == []


def test_turns_progress_and_what_is_both_message_and_remedy(store, tmp_path):
    def failing(name: str, **_: object) -> object:
        raise RuntimeError("out of luck")

    engines = Engines("glimpse", "h", "s", loaders=dict.fromkeys(ROLES, failing))
    dialogue = DialogueManager(engines, store, Settings(data_dir=tmp_path))
    events = list(dialogue.respond(UserTurn(store.create().id, "Hello"), CancelScope().begin()))
    said = [e.text for e in events if isinstance(e, Progress)] + [events[-1].message, events[-1].remedy]
    said.append(engines.states()[0].text)  # message and remedy in one
    working = DialogueManager(Engines.scripted(seeing=ScriptedModel()), store, Settings(data_dir=tmp_path))
    events = list(working.respond(UserTurn(store.create().id, " "), CancelScope().begin()))
    said += [events[-1].message, events[-1].remedy]
    assert len(said) == 6
    assert [s for s in said if not is_chinese(in_language(s, "zh"))] == []


def sentences_in(file: Path) -> Iterator[str]:
    """The sentences that a module raises or reports, each gap filled with a word."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in RAISED or name == "on_progress":
            yield from filter(None, map(filled, node.args[: 1 if name == "on_progress" else 2]))


def filled(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(v.value) if isinstance(v, ast.Constant) else "gap" for v in node.values)
    return ""


def test_nearly_everything_that_can_be_raised_is_translated():
    files = [f for part in ("assistant", "models", "ui") for f in (ROOT / part).rglob("*.py")]
    shown = [f for f in files if not NOT_ON_THE_PAGE.search(f.relative_to(ROOT).as_posix())]
    sentences = {s for f in shown for s in sentences_in(f)}
    left = sorted(s for s in sentences if not is_chinese(in_language(s, "zh")))
    assert len(sentences) > 120
    assert [s for s in left if not s.startswith(AT_THE_START)] == []


def test_the_table_has_the_same_gaps_and_english_stays_english():
    for english, chinese in CHINESE:
        assert set(re.findall(r"\{(\w+)\}", english)) >= set(re.findall(r"\{(\w+)\}", chinese)), english
        assert is_chinese(chinese), english
        assert in_language(english, "en") == english
    unknown = "A sentence that nobody has translated."
    assert in_language(unknown, "zh") == unknown
    braces = in_language("“{0}{name}<b>” is not a picture that can be read.", "zh")
    assert "{0}{name}<b>" in braces


def test_a_message_its_remedy_and_what_is_used_instead_are_all_said_in_chinese():
    failure = (
        "The model hub at http://x cannot be reached (ConnectError). Check the network, or choose a model that is on "
    )
    said = in_language(failure + "this machine. Answers still come from glimpse.", "zh")
    assert said == "无法连接模型库 http://x（ConnectError）。请检查网络，或选择本机已有的模型。仍由 glimpse 回答。"
    ends_in_a_gap = "x could not be loaded: OSError: y. Run python3 launch.py doctor to see what is missing."
    assert "Run" not in in_language(ends_in_a_gap, "zh")


def test_where_a_model_runs_and_what_does_not_fit():
    from models.errors import EngineUnavailable
    from models.runtime import Machine, ModelNeeds, RuntimeChoice, demand_fit, plans

    processor = Machine("cpu", "AVX512", 10 << 30, True, 4, ("int8", "int4"))
    graphics = Machine("cuda", "RTX", 4 << 30, True, 4, ("int8", "int4"), (processor,))
    told = [p.reason for p in plans(graphics, ModelNeeds(2_000_000_000, 1000, 4096))]
    told += [p.reason for p in plans(processor, ModelNeeds(2_000_000_000, 1000, 4096), precision="float32")]
    assert len(told) >= 5
    with pytest.raises(EngineUnavailable) as caught:
        demand_fit([RuntimeChoice("cuda", "int4", False, "", 9 << 30, 1 << 30)], "hf:a/b", ("hf:c/d",))
    told += say(caught.value)
    assert [s for s in told if not is_chinese(in_language(s, "zh"))] == []
    assert not any("because" in in_language(s, "zh") for s in told)


def test_long_sentences_do_not_take_long():
    import time

    begun = time.perf_counter()
    in_language("“" + "a” has b × c. " * 140, "zh")
    assert time.perf_counter() - begun < 1
