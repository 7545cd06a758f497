"""`launch.py bench`: every figure of the README's speed table, as medians of interleaved runs on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import statistics


@dataclass(frozen=True)
class Row:
    """One line of the table. `aim` is what we set out to reach, "" where we only report."""

    what: str
    figure: str
    aim: str = ""


def _page(runs: int) -> list[Row]:
    from benchmarks.page import time_to_page

    time_to_page()  # the first start fills the disk cache: a warm start is what is asked for
    figure = statistics.interleaved({"page": time_to_page}, runs)["page"]
    return [Row("time to page, warm start", f"{figure:.2f} s", "≤ 5 s")]


def _pipeline(runs: int) -> list[Row]:
    from benchmarks.pipeline import measure

    figures = measure(turns=40 * runs)
    return [
        Row("pipeline overhead per turn, p95 (median)", _ms(figures.overhead_p95_s, figures.overhead_p50_s), "≤ 20 ms"),
        Row("pipeline, first text of a turn", f"{figures.first_token_s * 1e3:.1f} ms"),
        Row("cost per token at 400 messages over 2", f"{figures.token_cost_ratio:.2f}×", "≤ 1.2×"),
    ]


def _ms(high: float, middle: float) -> str:
    return f"{high * 1e3:.1f} ms ({middle * 1e3:.1f} ms)"


def _answers(runs: int) -> list[Row]:
    from benchmarks.answers import measure

    return [Row(*row) for row in measure(runs)]


def _generation(runs: int) -> list[Row]:
    from benchmarks.generation import measure

    return [Row(*row) for row in measure(runs)]


def _updates(runs: int) -> list[Row]:
    from benchmarks.updates import measure

    return [Row(*row) for row in measure(runs)]


def _engine(runs: int) -> Iterator[Row]:
    from benchmarks.engine import measure

    for row in measure(runs):
        yield Row(*row)


# In the order of the table; each group can be asked for by name.
GROUPS: dict[str, Callable[[int], Iterable[Row]]] = {
    "page": _page,
    "updates": _updates,
    "pipeline": _pipeline,
    "generation": _generation,
    "answers": _answers,
    "engine": _engine,
}


def main() -> int:
    """Prints the table. Returns 0."""
    parser = argparse.ArgumentParser(prog="launch.py bench", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"some of {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--runs", type=int, default=5, help="rounds of each measurement (default 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    unknown = set(options.groups) - set(GROUPS)
    if unknown or options.runs < 1:
        parser.error(f"groups are {', '.join(GROUPS)}; --runs is at least 1")
    print(statistics.machine())
    rows: list[Row] = []
    for group in options.groups or GROUPS:
        for row in GROUPS[group](options.runs):
            print(f"{row.what:<52} {row.figure:>22}   {row.aim}", flush=True)
            rows.append(row)
    if options.json:
        record = {"machine": statistics.machine(), "runs": options.runs, "rows": [vars(r) for r in rows]}
        options.json.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
