"""What the pipeline itself costs: turns with scripted engines, so that no model's time is in the figures."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from assistant.config import Settings
from assistant.dialogue import DialogueManager
from assistant.events import TurnEnded
from assistant.store import ConversationStore
from assistant.turn import UserTurn
from benchmarks.statistics import percentile
from models.engines import Engines
from models.fakes import ScriptedModel
from models.interfaces import TextDelta

WORDS = 60


@dataclass(frozen=True)
class PipelineFigures:
    """Seconds, but for the ratio.

    Attributes:
        overhead_p50_s, overhead_p95_s: a whole turn of 60 words with engines that take no time, store included.
        first_token_s: median time to the first piece of text in such a turn.
        token_cost_ratio: cost per token in a conversation of 400 messages over that in one of 2, medians.
    """

    overhead_p50_s: float
    overhead_p95_s: float
    first_token_s: float
    token_cost_ratio: float


def measure(turns: int = 200) -> PipelineFigures:
    """Runs the turns and returns the figures. Everything happens in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="lucid-bench-") as folder:
        settings = Settings(model="scripted", data_dir=Path(folder))
        store = ConversationStore(settings.data_dir)
        answer = " ".join(["word"] * WORDS)
        dialogue = DialogueManager(Engines.scripted(seeing=ScriptedModel([answer])), store, settings)
        totals, firsts = [], []
        for _ in range(turns):
            total, first, _ = _turn(dialogue, store.create().id)
            totals.append(total)
            firsts.append(first)
        ratio = _growth(dialogue, store)
        store.close()
    return PipelineFigures(median(totals), percentile(totals, 0.95), median(firsts), ratio)


def _growth(dialogue: DialogueManager, store: ConversationStore, rounds: int = 15) -> float:
    """Cost per token at 400 messages over that at 2, the two sides taking turns."""
    long = store.create().id
    for number in range(200):
        store.append(long, "user", f"question {number}")
        store.append(long, "assistant", f"answer {number} " + "word " * 40)
    short_costs, long_costs = [], []
    for _ in range(rounds):
        short = store.create().id
        store.append(short, "user", "question")
        store.append(short, "assistant", "answer " + "word " * 40)
        short_costs.append(_turn(dialogue, short)[2])
        long_costs.append(_turn(dialogue, long)[2])
    return median(long_costs) / median(short_costs)


def _turn(dialogue: DialogueManager, conversation_id: str) -> tuple[float, float, float]:
    """Seconds of a whole turn, to its first text, and per token after the first."""
    begun = time.perf_counter()
    arrivals: list[float] = []
    ended = False
    for event in dialogue.respond(UserTurn(conversation_id, "What is it?"), dialogue.scope(conversation_id).begin()):
        if isinstance(event, TextDelta):
            arrivals.append(time.perf_counter())
        ended = isinstance(event, TurnEnded)
    total = time.perf_counter() - begun
    if not ended or len(arrivals) != WORDS:
        raise RuntimeError(f"the scripted turn did not end as scripted: {len(arrivals)} words")
    return total, arrivals[0] - begun, (arrivals[-1] - arrivals[0]) / (len(arrivals) - 1)
