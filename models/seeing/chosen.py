"""Vision-language models that are worth choosing from, and whether this machine can run them.

Names, sizes and licences were looked up in the models' own pages and in the sources of transformers (November 2026).
They are no promise: what a checkpoint really needs is measured from its files before it is loaded (`models.runtime`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.catalogue import CatalogueEntry

if TYPE_CHECKING:
    from models.runtime import Machine, ModelNeeds, Precision, RuntimeChoice

APACHE = "Apache-2.0"
LFM = "LFM Open License v1.0"
GEMMA = "Gemma Terms of Use"
LLAMA = "Llama 3.2 Community License"


@dataclass(frozen=True)
class ChosenModel:
    """A checkpoint on the hub that fits Lucid.

    Attributes:
        repository: "OWNER/NAME" on the hub.
        model_type: what transformers calls its architecture.
        millions: parameters, vision encoder and embeddings included, in millions.
        licence: of its weights.
        context_tokens: the longest prompt.
        good_at: one line for the picker.
        chinese: it was trained to speak Chinese.
        gated: the hub hands it out only to those who accepted the licence there.
        published_bytes: of a parameter in the files on the hub.
    """

    repository: str
    model_type: str
    millions: int
    licence: str
    context_tokens: int
    good_at: str
    chinese: bool = False
    gated: bool = False
    published_bytes: int = 2

    @property
    def name(self) -> str:
        """What `--model` takes."""
        return f"hf:{self.repository}"

    @property
    def title(self) -> str:
        return self.repository.partition("/")[2]

    @property
    def needs(self) -> ModelNeeds:
        """As far as the catalogue knows them. The cache of keys and values is a guess on the safe side: 100 bytes a
        token for each million parameters, up to 1,500 of them (Qwen3-VL-2B has 115 kB, SmolVLM2-256M 23 kB)."""
        from models.runtime import ModelNeeds

        return ModelNeeds(self.millions * 1_000_000, min(self.millions, 1_500) * 100, self.context_tokens)

    @property
    def download_bytes(self) -> int:
        """About what is fetched from the hub."""
        return self.millions * 1_000_000 * self.published_bytes

    def memory_bytes(self, precision: Precision) -> int:
        """What its weights take: parameters × bytes of the precision, the parts that stay exact included.

        The formula is `ModelNeeds.weight_bytes`; a conversation takes more, which `plans` counts.
        """
        return self.needs.weight_bytes(precision)

    def plans(self, machine: Machine, *, device: str = "auto", precision: str = "auto") -> Sequence[RuntimeChoice]:
        """All ways to run it here, the best first."""
        from models.runtime import plans

        return plans(machine, self.needs, device=device, precision=precision)

    def entry(self) -> CatalogueEntry:
        languages = "en zh" if self.chinese else "en"
        return CatalogueEntry(self.name, self.good_at, False, self.download_bytes // 1_000_000, languages)


CHOSEN: tuple[ChosenModel, ...] = (
    ChosenModel(
        "HuggingFaceTB/SmolVLM2-256M-Video-Instruct", "smolvlm", 256, APACHE, 8_192,
        "The smallest: short answers about pictures and clips", published_bytes=4,
    ),
    ChosenModel(
        "HuggingFaceTB/SmolVLM2-500M-Video-Instruct", "smolvlm", 507, APACHE, 8_192,
        "Small: describes pictures and clips", published_bytes=4,
    ),
    ChosenModel(
        "HuggingFaceTB/SmolVLM2-2.2B-Instruct", "smolvlm", 2_246, APACHE, 8_192,
        "Pictures, several at once, and clips", published_bytes=4,
    ),
    ChosenModel(
        "Qwen/Qwen3.5-0.8B", "qwen3_5", 873, APACHE, 262_144,
        "Small, many languages, long conversations", chinese=True,
    ),
    ChosenModel(
        "Qwen/Qwen3.5-2B", "qwen3_5", 2_274, APACHE, 262_144,
        "Many languages, text in pictures, long conversations", chinese=True,
    ),
    ChosenModel(
        "Qwen/Qwen3.5-4B", "qwen3_5", 4_660, APACHE, 262_144,
        "An all-rounder: many languages, documents, long conversations", chinese=True,
    ),
    ChosenModel(
        "Qwen/Qwen3.5-9B", "qwen3_5", 9_650, APACHE, 262_144,
        "The largest of its family here: charts, documents, scenes", chinese=True,
    ),
    ChosenModel(
        "Qwen/Qwen3-VL-2B-Instruct", "qwen3_vl", 2_128, APACHE, 262_144,
        "Reads text and documents, points at things, clips", chinese=True,
    ),
    ChosenModel(
        "Qwen/Qwen3-VL-4B-Instruct", "qwen3_vl", 4_438, APACHE, 262_144,
        "Documents, charts, clips", chinese=True,
    ),
    ChosenModel(
        "Qwen/Qwen3-VL-8B-Instruct", "qwen3_vl", 8_767, APACHE, 262_144,
        "Documents, charts, long clips", chinese=True,
    ),
    ChosenModel(
        "google/gemma-3-4b-it", "gemma3", 4_300, GEMMA, 131_072,
        "Well-written answers in over 140 languages", chinese=True, gated=True,
    ),
    ChosenModel(
        "google/gemma-4-E2B-it", "gemma4", 5_100, APACHE, 131_072,
        "Over 140 languages; computes like a model of 2 billion", chinese=True,
    ),
    ChosenModel(
        "google/gemma-4-E4B-it", "gemma4", 8_000, APACHE, 131_072,
        "Over 140 languages; computes like a model of 4 billion", chinese=True,
    ),
    ChosenModel(
        "LiquidAI/LFM2-VL-450M", "lfm2_vl", 451, LFM, 32_768,
        "Made for small devices; companies that earn over 10 million dollars a year need another licence",
    ),
    ChosenModel(
        "LiquidAI/LFM2-VL-1.6B", "lfm2_vl", 1_585, LFM, 32_768,
        "Made for small devices, finer detail; companies that earn over 10 million dollars a year need another licence",
    ),
    ChosenModel(
        "OpenGVLab/InternVL3-1B-hf", "internvl", 938, "Qwen License", 32_768,
        "Text and objects in pictures, small", chinese=True,
    ),
    ChosenModel(
        "OpenGVLab/InternVL3_5-2B-HF", "internvl", 2_350, APACHE, 40_960,
        "Text, charts and objects in pictures", chinese=True,
    ),
    ChosenModel(
        "OpenGVLab/InternVL3_5-4B-HF", "internvl", 4_730, APACHE, 40_960,
        "Text, charts and reasoning about pictures", chinese=True,
    ),
    ChosenModel(
        "openbmb/MiniCPM-V-4.6", "minicpmv4_6", 1_300, APACHE, 262_144,
        "Small and fast: text in pictures, several pictures, clips", chinese=True,
    ),
    ChosenModel(
        "meta-llama/Llama-3.2-11B-Vision-Instruct", "mllama", 10_670, LLAMA, 131_072,
        "Looks by cross-attention, as Glimpse does; one picture; not licensed within the European Union", gated=True,
    ),
)  # fmt: skip


def chosen(name: str) -> ChosenModel | None:
    """The entry of that name ("hf:OWNER/NAME", whatever revision), if there is one."""
    repository = name.removeprefix("hf:").partition("@")[0]
    return next((m for m in CHOSEN if m.repository == repository), None)
