"""Memory: what of a long conversation the model is given."""

import pytest

from assistant.config import Settings
from assistant.conversation import ConversationMemory
from assistant.store import ConversationStore
from models.fakes import ScriptedModel
from models.types import Message


@pytest.fixture
def store(tmp_path):
    opened = ConversationStore(tmp_path)
    yield opened
    opened.close()


def fill(store, turns):
    conversation = store.create().id
    for number in range(turns):
        store.append(conversation, "user", f"question {number}")
        store.append(conversation, "assistant", f"answer {number}")
    return conversation


def given(memory, conversation, model):
    return memory.messages(conversation, Message.of_text("user", "now"), "system", model, reserve=20)


def test_a_short_conversation_is_given_whole(store):
    memory = ConversationMemory(store, Settings(data_dir=store.data_dir))
    messages = given(memory, fill(store, 3), ScriptedModel())
    assert [m.text for m in messages] == [
        "system", "question 0", "answer 0", "question 1", "answer 1", "question 2", "answer 2", "now",
    ]  # fmt: skip


def test_a_long_one_is_cut_to_whole_turns_that_fit(store):
    model = ScriptedModel()
    model.context_tokens = 150
    memory = ConversationMemory(store, Settings(data_dir=store.data_dir))
    messages = given(memory, fill(store, 50), model)
    assert model.count_tokens(messages) <= 150 - 20
    assert messages[1].role == "user"
    assert messages[-2].text == "answer 49"


def test_the_window_stays_put_for_many_turns(store):
    """A start that moved at every turn would make the engine's cached prefix useless."""
    model = ScriptedModel()
    model.context_tokens = 400
    memory = ConversationMemory(store, Settings(data_dir=store.data_dir))
    conversation = fill(store, 60)
    starts = []
    for number in range(60, 90):
        starts.append(given(memory, conversation, model)[1].text)
        store.append(conversation, "user", f"question {number}")
        store.append(conversation, "assistant", f"answer {number}")
    moves = sum(a != b for a, b in zip(starts, starts[1:]))
    assert 1 <= moves <= 4


def test_a_turn_that_failed_before_it_said_anything_is_left_out(store):
    memory = ConversationMemory(store, Settings(data_dir=store.data_dir))
    conversation = fill(store, 1)
    store.append(conversation, "user", "broken")
    store.append(conversation, "assistant", "", status="failed")
    assert "broken" not in [m.text for m in given(memory, conversation, ScriptedModel())]
