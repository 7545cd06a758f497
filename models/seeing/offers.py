"""The chosen models as this machine sees them: what fits and how, what is here already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.errors import EngineUnavailable
from models.hub_cache import Downloaded, downloaded, on_this_machine
from models.runtime import Machine, RuntimeChoice
from models.seeing.chosen import CHOSEN, ChosenModel, chosen


@dataclass(frozen=True)
class Offer:
    """A chosen model on this machine.

    Attributes:
        plan: how it would run; the way that needs least where none fits; None where the owner's device is not there.
        here: it is downloaded.
    """

    model: ChosenModel
    plan: RuntimeChoice | None
    here: bool

    @property
    def fits(self) -> bool:
        return self.plan is not None and self.plan.fits


def offers(machine: Machine, *, device: str = "auto", precision: str = "auto") -> tuple[Offer, ...]:
    """The catalogue of chosen models, in its order."""
    return tuple(
        Offer(model, _plan(model, machine, device, precision), on_this_machine(model.repository) is not None)
        for model in CHOSEN
    )


def that_fit(machine: Machine, most: int = 3) -> tuple[str, ...]:
    """Names of the chosen models that this machine can run, the largest first."""
    fitting = [model for model in CHOSEN if (plan := _plan(model, machine)) and plan.fits]
    return tuple(model.name for model in sorted(fitting, key=lambda m: -m.millions)[:most])


def other_downloads() -> tuple[Downloaded, ...]:
    """What was downloaded by a name that is not in the catalogue."""
    return tuple(entry for entry in downloaded() if chosen(entry.repository) is None)


def _plan(model: ChosenModel, machine: Machine, device: str = "auto", precision: str = "auto") -> RuntimeChoice | None:
    try:
        ways: Sequence[RuntimeChoice] = model.plans(machine, device=device, precision=precision)
    except EngineUnavailable:
        return None  # the settings name a device that is not there, for every model alike: loading one says so
    return next((way for way in ways if way.fits), min(ways, key=lambda way: way.needed_bytes))
