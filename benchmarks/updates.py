"""How often the page is redrawn while an answer streams, and what one redraw costs the server."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from assistant.config import Settings
from assistant.dialogue import DialogueManager
from assistant.store import ConversationStore
from assistant.turn import UserTurn
from models.engines import Engines
from models.fakes import ScriptedModel
from models.streaming import CancelScope
from ui.convert import running_messages
from ui.turns import RunningTurns

# Far more words a second than a page can show: 400 a second for about two seconds.
WORDS, DELAY_S = 800, 0.002


def measure(runs: int) -> list[tuple[str, str, str]]:
    """Rows of (what, figure, aim)."""
    rates, costs = [], []
    with tempfile.TemporaryDirectory(prefix="lucid-bench-") as folder:
        store = ConversationStore(Path(folder))
        model = ScriptedModel([" ".join(["word"] * WORDS)], delay_s=DELAY_S)
        settings = Settings(model="scripted", data_dir=Path(folder))
        turns = RunningTurns(DialogueManager(Engines.scripted(seeing=model), store, settings))
        for _ in range(runs):
            rate, cost = _one_answer(turns, store)
            rates.append(rate)
            costs.append(cost)
        store.close()
    return [
        ("page updates a second, 400 words a second", f"{max(rates):.1f}", "≤ 25"),
        ("server's work for one page update, median", f"{1e3 * median(costs):.2f} ms", ""),
    ]


def _one_answer(turns: RunningTurns, store: ConversationStore) -> tuple[float, float]:
    """Updates a second over one answer, and the seconds that turning one into Chatbot messages takes (median)."""
    running = turns.start(UserTurn(store.create().id, "Talk."))
    costs: list[float] = []
    begun = time.perf_counter()
    for view in running.follow(CancelScope().begin()):
        at = time.perf_counter()
        running_messages(view, "<div>Talk.</div>", "en")
        costs.append(time.perf_counter() - at)
    return len(costs) / (time.perf_counter() - begun), median(costs)
