"""From stored messages to what the page shows."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from assistant.events import Progress, TurnFailed
from assistant.store import Attachment, Conversation, SearchHit, StoredMessage
from ui.convert import answer_of, figures_of, history_of, running_messages, user_html
from ui.evidence import evidence_panel
from ui.sidebar import conversations_html, group_of, hits_html
from ui.turns import TurnView

NASTY = '"><img src=x onerror=alert(1)>'


def message(role="assistant", text="An answer", *, status="complete", attachments=(), details=None, id="m1"):
    return StoredMessage(id, "c1", role, text, tuple(attachments), status, 0.0, details or {})


def seen(**changes):
    return {
        "source": "a.png",
        "digest": "d",
        "original_size": [300, 200],
        "model_size": [260, 260],
        "time": None,
        "notes": [],
        "evidence": [
            {"kind": "object", "text": "heron", "confidence": 0.91, "box": None},
            {"kind": "text", "text": "STOP", "confidence": 0.99, "box": [0.25, 0.5, 0.75, 1.0]},
            {"kind": "colour", "text": "blue", "confidence": 0.4, "box": None},
        ],
        **changes,
    }


def html_of(shown) -> str:
    return "".join(c if isinstance(c, str) else c.value for c in shown["content"])


def nasty_html() -> list[str]:
    """Every kind of HTML that we make, of nothing but an attack."""
    details = {"error": NASTY, "remedy": NASTY, "notes": [NASTY], "model": NASTY}
    failed = answer_of(message(text=NASTY, status="failed", details=details), None, "en", last=True)
    evidence = [{"kind": kind, "text": NASTY, "confidence": 1} for kind in ("object", "text", "colour")]
    return [
        *(
            user_html(message("user", NASTY, attachments=[Attachment("d", NASTY, kind, 1)]), "en")
            for kind in ("image", "audio", "video")
        ),
        html_of(failed),
        evidence_panel([seen(source=NASTY, notes=[NASTY], evidence=evidence)], [], "en"),
        user_html(message("user", "x", details={"transcripts": [{"source": NASTY, "text": NASTY}]}), "en"),
        conversations_html([Conversation("c", NASTY, "", 0, 0)], "en"),
        hits_html([SearchHit("c", "m", NASTY, NASTY)], NASTY, "en"),
        hits_html([], NASTY, "en"),
    ]


@pytest.mark.parametrize("shown", nasty_html())
def test_nothing_of_the_owners_or_the_models_becomes_markup(shown):
    assert "<img src=x" not in shown
    assert "&lt;img src=x" in shown


def test_the_evidence_panel_names_and_places_what_was_seen():
    panel = evidence_panel([seen()], [Attachment("feed", "a.png", "image", 1)], "en")
    for words in (
        "What I looked at",
        "heron",
        "91 %",
        "“STOP”",
        "99 %",
        "blue",
        "40 %",
        "300 × 200, seen at 260 × 260",
    ):
        assert words in panel
    assert 'x="250" y="500" width="500" height="500"' in panel
    assert "/lucid/file/feed" in panel
    assert evidence_panel([], [], "en") == ""


def test_frames_of_a_video_are_shown_at_their_time():
    video = Attachment("beef", "clip.mp4", "video", 1)
    panel = evidence_panel([seen(source="clip.mp4", time=2.5)], [Attachment("feed", "a.png", "image", 1), video], "en")
    assert "/lucid/file/beef#t=2.50" in panel
    assert "at 2.5 s" in panel
    assert "feed" not in panel


def test_a_recording_that_was_the_question_is_not_said_twice():
    details = {"transcripts": [{"source": "a.wav", "text": "What is it?"}]}
    assert "Heard in" not in user_html(message("user", "What is it?", details=details), "en")
    assert "Heard in a.wav" in user_html(message("user", "Sum it up.", details=details), "en")


def test_the_figures_tell_speed_only_where_it_can_be_known():
    timings = {"first_token_s": 0.5, "total_s": 2.5, "first_audio_s": None}
    answer = message(details={"model": "m", "tokens": 41, "timings": timings}, status="stopped")
    assert figures_of(answer, "en") == ["m", "20 tokens/s", "first word after 0.5 s", "Stopped"]
    spoken = message(details={"model": "m", "tokens": 41, "timings": {**timings, "first_audio_s": 0.9}})
    assert figures_of(spoken, "en") == ["m", "first word after 0.5 s"]
    assert figures_of(message(), "en") == []


def test_only_the_newest_messages_are_drawn_and_no_answer_without_its_question():
    messages = [message("user" if i % 2 == 0 else "assistant", f"text {i}", id=f"m{i}") for i in range(100)]
    shown = history_of(messages, 11, "en")
    assert "earlier" in html_of(shown[0])
    assert "text 88" in html_of(shown[1])
    assert len(shown) == 1 + 12
    assert len(history_of(messages, 200, "en")) == 100
    assert [("again" in html_of(m)) for m in shown[-3:]] == [False, False, True]


def test_a_running_turn_shows_progress_then_text_then_a_failure():
    waiting = running_messages(TurnView(progress=Progress("Loading")), "<p>asked</p>", "en")
    assert "Loading" in html_of(waiting[1])
    assert html_of(running_messages(TurnView(text="So <b>"), "", "en")[1]) == "So &lt;b>"
    failed = running_messages(TurnView(text="So", failure=TurnFailed("It broke.", "Try again.")), "", "en")
    assert "It broke." in html_of(failed[1])
    assert "Try again." in html_of(failed[1])


@pytest.mark.parametrize(("days", "group"), [(0, "today"), (1, "yesterday"), (2, "week"), (7, "week"), (8, "older")])
def test_conversations_are_grouped_by_the_owners_calendar(days, group):
    noon = datetime(2026, 3, 10, 12)
    assert group_of((noon - timedelta(days=days)).timestamp(), date(2026, 3, 10)) == group
