"""`launch.py models`: what can be chosen, what fits this machine, what is here; download, remove, update."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from assistant.config import Settings
from models import catalogue
from models.catalogue import ROLES, EngineRole
from models.errors import EngineUnavailable

ACTIONS = ("list", "download", "remove", "update")
GB = 1e9


def run(settings: Settings, action: str, name: str, *, as_json: bool) -> int:
    """Does one action. Returns 0; 130 after Ctrl-C in a download.

    Raises `EngineUnavailable` when it cannot be done; the sentence says why.
    """
    if action == "list":
        return _list(settings, as_json)
    if not name:
        raise EngineUnavailable(
            f"Which model? python3 launch.py models {action} NAME", "Names are listed by: python3 launch.py models"
        )
    done = {"download": _download, "remove": _remove, "update": _update}[action]
    try:
        result = done(settings, name)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. What was downloaded is kept; the same command goes on from there.\n")
        return 130
    _say(json.dumps(result, ensure_ascii=False) if as_json else result["text"])
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


# --- list


def _list(settings: Settings, as_json: bool) -> int:
    chosen: dict[EngineRole, str] = {
        "seeing": settings.model,
        "hearing": settings.hearing,
        "speaking": settings.speaking,
    }
    offers = _offers(settings)
    if as_json:
        rows = [
            {"role": r, **asdict(e), "chosen": e.name == chosen[r], **(offers.get(e.name, {}) if r == "seeing" else {})}
            for r in ROLES
            for e in catalogue.entries(r)
        ]
        _say(json.dumps([*rows, *_others(chosen["seeing"])], indent=2, ensure_ascii=False))
        return 0
    for role in ROLES:
        _say(role)
        for entry in catalogue.entries(role):
            mark = "*" if entry.name == chosen[role] else " "
            size = _size(entry.megabytes) if entry.megabytes is not None else ""
            offer = offers.get(entry.name) if role == "seeing" else None
            where = "installed" if entry.packaged else "here" if offer and offer["downloaded"] else "by name"
            _say(f" {mark} {entry.name:<46} {where:<10} {size:>8}  {entry.description}")
            if offer:
                _say(f"   {'':<46} {'':<10} {'':>8}  {_offer_line(offer)}")
        for other in _others(chosen[role]) if role == "seeing" else ():
            mark = "*" if other["chosen"] else " "
            where = "here" if other["downloaded"] else "in part"
            _say(f" {mark} {other['name']:<46} {where:<10} {_size(other['megabytes']):>8}  downloaded by name")
    return 0


def _offers(settings: Settings) -> dict[str, dict[str, Any]]:
    """Name → what is to be said of a chosen model on this machine."""
    from models.runtime import this_machine
    from models.seeing.offers import offers

    found = offers(this_machine(), device=settings.device, precision=settings.precision)
    return {
        o.model.name: {
            "parameters_millions": o.model.millions,
            "licence": o.model.licence,
            "gated": o.model.gated,
            "context_tokens": o.model.context_tokens,
            "fits": o.fits,
            "device": o.plan.device if o.plan else None,
            "precision": o.plan.precision if o.plan else None,
            "needs_megabytes": round(o.plan.needed_bytes / 1e6) if o.plan else None,
            "reason": o.plan.reason if o.plan else f"torch finds no device {settings.device!r} here.",
            "memory_megabytes": {
                p: round(o.model.memory_bytes(p) / 1e6) for p in ("float32", "bfloat16", "int8", "int4")
            },
            "downloaded": o.here,
        }
        for o in found
    }


def _offer_line(offer: dict[str, Any]) -> str:
    languages = f"{offer['licence']}{', on request' if offer['gated'] else ''}"
    if offer["fits"]:
        return f"{languages}; fits: {offer['precision']} on {offer['device']}, {_size(offer['needs_megabytes'])}"
    return f"{languages}; does not fit: {offer['reason']}"


def _others(chosen: str) -> list[dict[str, Any]]:
    from models.seeing.offers import other_downloads

    return [
        {
            "role": "seeing",
            "name": f"hf:{d.repository}",
            "chosen": chosen.removeprefix("hf:").partition("@")[0] == d.repository,
            "packaged": False,
            "megabytes": round(d.size / 1e6),
            "commit": d.commit,
            "downloaded": d.complete,
        }
        for d in other_downloads()
    ]


def _size(megabytes: int | None) -> str:
    if megabytes is None:
        return ""
    return f"{megabytes} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


# --- download, remove, update


def _download(settings: Settings, name: str) -> dict[str, Any]:
    from models.seeing import kind_of

    with _Bar() as bar:
        if kind_of(name) == "hub":
            from models import hub, hub_cache

            repository, revision = hub_cache.parse_name(name)
            folder = hub.fetch(repository, revision, offline=settings.offline, on_progress=bar)
            return {"name": name, "folder": str(folder), "text": f"{name} is in {folder}."}
        for role in ROLES:
            for entry in catalogue.entries(role):
                prefix = entry.name.partition("<")[0]
                if entry.packaged and entry.name == name:
                    return {"name": name, "text": f"{name} is installed with Lucid."}
                if role != "seeing" and not entry.packaged and name.startswith(prefix):
                    catalogue.loader(role)(name, offline=settings.offline, on_progress=bar)  # loading it fetches it
                    return {"name": name, "text": f"{name} is on this machine."}
    raise EngineUnavailable(
        f"There is nothing to download that is named {name}.", "Names are listed by: python3 launch.py models"
    )


def _remove(settings: Settings, name: str) -> dict[str, Any]:
    from models import hub_cache

    freed = hub_cache.remove(name)
    return {"name": name, "freed_bytes": freed, "text": f"{name} is removed; {freed / GB:.2f} GB are free again."}


def _update(settings: Settings, name: str) -> dict[str, Any]:
    from models import hub, hub_cache

    repository, revision = hub_cache.parse_name(name)
    if settings.offline:
        raise EngineUnavailable("Lucid runs offline, and an update needs the hub.", "Run it without --offline.")
    with _Bar() as bar:
        before, now = hub.update(repository, revision, on_progress=bar)
    if before == now:
        text = f"{name} is at its newest commit already ({now[:12]})."
    else:
        text = f"{name} moved from {before[:12] if before else 'nothing'} to {now[:12]}."
    return {"name": name, "before": before, "commit": now, "text": text}


class _Bar:
    """A progress bar on standard error: one line that is drawn over on a terminal, a line every tenth elsewhere."""

    WIDTH = 24

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._terminal = sys.stderr.isatty()
        self._drawn = ""
        self._now = now
        self._begun: tuple[float, float] | None = None  # time and share at the first figure

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal and self._drawn:
            sys.stderr.write("\n")

    def __call__(self, text: str, fraction: float | None) -> None:
        if fraction is None:
            line = text
        else:
            full = int(fraction * self.WIDTH)
            line = f"[{'#' * full}{'-' * (self.WIDTH - full)}] {fraction:4.0%}  {text}{self._left(fraction)}"
        if self._terminal:
            sys.stderr.write(f"\r{line:<{len(self._drawn)}}")
            self._drawn = line
        else:
            step = text if fraction is None else f"{int(fraction * 10) * 10} %"
            if step != self._drawn:
                self._drawn = step
                sys.stderr.write(f"{text} ({step})\n" if fraction is not None else f"{text}\n")
        sys.stderr.flush()

    def _left(self, fraction: float) -> str:
        """How long it will take at the pace so far, once there is one."""
        if self._begun is None:
            self._begun = (self._now(), fraction)
        since, share = self._now() - self._begun[0], fraction - self._begun[1]
        if since < 2 or share <= 0 or fraction >= 1:
            return ""
        seconds = (1 - fraction) / share * since
        return f", {seconds / 60:.0f} min left" if seconds > 90 else f", {seconds:.0f} s left"
