"""The vision-language models in the settings: each with its size, licence, languages, fit, and whether it is here."""

from __future__ import annotations

from collections.abc import Sequence

from assistant.config import Settings
from models.catalogue import CatalogueEntry
from models.seeing.chosen import ChosenModel
from ui.i18n import Language, text
from ui.owner_sentences import in_language

GB = 1e9
_DEVICES = {"cuda": "device.cuda", "xpu": "device.xpu", "mps": "device.mps", "cpu": "device.cpu"}


def choices(known: Sequence[CatalogueEntry], settings: Settings, language: Language) -> list[tuple[str, str]]:
    """(what is read, name) of every entry that is complete; a name with <…> in it is a pattern, to be typed out."""
    said = _offers(settings, language) if any(e.name.startswith("hf:") for e in known) else {}
    return [
        (said.get(e.name, f"{e.name} · {in_language(e.description, language)}"), e.name)
        for e in known
        if "<" not in e.name
    ]


def _offers(settings: Settings, language: Language) -> dict[str, str]:
    """Measured now: what is free changes."""
    from models.runtime import this_machine
    from models.seeing.offers import Offer, offers

    def line(offer: Offer) -> str:
        return " · ".join(
            (
                offer.model.title,
                in_language(offer.model.good_at, language),
                *_facts(offer.model, language),
                _fit(offer, language),
                text("pick.here", language) if offer.here else text("pick.fetch", language),
            )
        )

    def _fit(offer: Offer, language: Language) -> str:
        if offer.plan is None:
            return text("pick.nodevice", language, device=settings.device)
        device = text(_DEVICES[offer.plan.device], language)
        if offer.fits:
            return text("pick.fits", language, precision=offer.plan.precision, device=device)
        needed, free = offer.plan.needed_bytes / GB, offer.plan.free_bytes / GB
        return text("pick.large", language, needed=f"{needed:.1f}", free=f"{free:.1f}", device=device)

    found = offers(this_machine(), device=settings.device, precision=settings.precision)
    return {offer.model.name: line(offer) for offer in found}


def _facts(model: ChosenModel, language: Language) -> tuple[str, ...]:
    size = model.download_bytes
    licence = text("pick.gated", language, licence=model.licence) if model.gated else model.licence
    return (
        f"{size / GB:.1f} GB" if size >= GB else f"{size / 1e6:.0f} MB",
        licence,
        text("pick.chinese", language) if model.chinese else text("pick.english", language),
    )
