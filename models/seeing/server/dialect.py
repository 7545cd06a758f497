"""What a server is and what it takes: read from its lists when connecting, learnt from its refusals afterwards.

| server | told by | beyond the standard fields |
|-|-|-|
| vLLM, SGLang | owned_by | top_k, min_p, repetition_penalty; continue_final_message |
| llama.cpp | owned_by | top_k, min_p, repeat_penalty; continue_final_message |
| another Lucid (docs/API.md) | owned_by | top_k, min_p, repetition_penalty |
| Ollama | /api/version | nothing; it continues a last message of the assistant by itself |
| others | – | nothing: `transformers serve`, one of them, answers 422 to a field that it does not know |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from models.interfaces import GenerationOptions
from models.seeing.server.address import Address
from models.seeing.server.messages import LARGEST_SIDE

if TYPE_CHECKING:
    import openai

Kind = Literal["vllm", "sglang", "llama.cpp", "ollama", "lucid", ""]

# Where a server does not say it. Ollama gives that much below 24 GB of video memory, and silently cuts off the rest.
DEFAULT_CONTEXT = 4096
SMALLEST_SIDE = 320
_OWNERS: Mapping[str, Kind] = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp", "lucid": "lucid"}
_EXTRAS: Mapping[Kind, Mapping[str, str]] = {
    "vllm": {"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repetition_penalty"},
    "sglang": {"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repetition_penalty"},
    "llama.cpp": {"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repeat_penalty"},
    "lucid": {"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repetition_penalty"},
}
_OPTIONAL = ("stream_options", "temperature", "top_p", "seed")
_NO_EYES = re.compile(
    r"image input is not supported|not a multimodal|not support (?:image|vision|multimodal)|at most 0 image"
    r"|image_url.{0,40}(?:not supported|unsupported|invalid)|only .{0,3}text.{0,3} content",
    re.IGNORECASE,
)
_MOST_PICTURES = re.compile(r"at most (\d+) image", re.IGNORECASE)
_CONTEXT = re.compile(
    r"(?:maximum (?:context|model) length (?:is|of) |context (?:size|length|window) \(|max_model_len[=: ]+)(\d+)"
)


@dataclass(frozen=True)
class Dialect:
    """What is known of a server and one of its models.

    Attributes:
        kind: which software, "" where it is none that is treated apart.
        model: the name that it is asked for.
        models: all the names that it lists.
        context_tokens: how much its model reads and writes together.
        context_reason: where that number comes from.
        sees: whether the model takes pictures; None while that is unknown.
        most_pictures: in one request; None without a limit.
        largest_side: pixels of a picture's longer side.
        refused: optional fields that it did not take.
        system_apart: whether it takes a system message; else it is put before the first question.
        limit: the field that bounds an answer's length.
    """

    kind: Kind
    model: str
    models: tuple[str, ...] = ()
    context_tokens: int = DEFAULT_CONTEXT
    context_reason: str = "the server does not say"
    sees: bool | None = None
    most_pictures: int | None = None
    largest_side: int = LARGEST_SIDE
    refused: frozenset[str] = field(default_factory=frozenset)
    system_apart: bool = True
    limit: str = "max_tokens"

    def request(self, options: GenerationOptions, *, most_tokens: int, goes_on: bool) -> dict[str, Any]:
        """What goes with the messages, as arguments of `chat.completions.create`.

        Args:
            goes_on: the last message is the assistant's, and the answer continues it.
        """
        standard: dict[str, Any] = {
            self.limit: most_tokens,
            "temperature": options.temperature,
            "stream_options": {"include_usage": True},
        }
        if options.temperature > 0:
            standard["top_p"] = options.top_p
            if options.seed is not None:
                standard["seed"] = options.seed
        extra = self._extra(options)
        if goes_on and self.continues_by_field:
            extra |= {"continue_final_message": True, "add_generation_prompt": False}
        fields = {k: v for k, v in standard.items() if k not in self.refused}
        return fields | {"extra_body": {k: v for k, v in extra.items() if k not in self.refused}}

    def _extra(self, options: GenerationOptions) -> dict[str, Any]:
        names = _EXTRAS.get(self.kind, {})
        wanted: dict[str, Any] = {}
        if options.temperature > 0:
            wanted |= {"top_k": options.top_k or None, "min_p": options.min_p or None}
        # The default was chosen for the small packaged models, and it counts only what was generated. These servers
        # count the prompt as well: a model could not quote what it was given. So it is sent only when it was chosen.
        if options.repetition_penalty != GenerationOptions.repetition_penalty:
            wanted["repetition_penalty"] = options.repetition_penalty
        return {names[k]: v for k, v in wanted.items() if k in names and v is not None}

    @property
    def continues_by_field(self) -> bool:
        return self.kind in ("vllm", "sglang", "llama.cpp") and "continue_final_message" not in self.refused

    @property
    def continues(self) -> bool:
        """Whether a last message of the assistant is continued; elsewhere it must be asked for in words."""
        return self.continues_by_field or self.kind == "ollama"


async def inquire(client: openai.AsyncOpenAI, address: Address, wanted: str) -> Dialect:
    """What the server says of itself and of the model `wanted` ("": the first that it lists).

    Raises what the openai package raises; `LookupError` when there is no model to take.
    """
    listed = [m for m in _records(await client.get("/models", cast_to=object)) if isinstance(m.get("id"), str)]
    names = tuple(str(m["id"]) for m in listed)
    model = next((n for n in names if n in (wanted, f"{wanted}:latest")), wanted or (names[0] if names else ""))
    if not model:
        raise LookupError("no model is listed")
    record = next((m for m in listed if m["id"] == model), listed[0] if listed else {})
    dialect = _with_context(Dialect(_OWNERS.get(str(record.get("owned_by")), ""), model, names), record)
    if dialect.kind == "llama.cpp":
        return replace(dialect, sees=_llama_cpp_sees(record))
    if not dialect.kind and await _answers(client, f"{address.root}/api/version", "version"):
        return await _ollama(client, address, replace(dialect, kind="ollama"))
    return dialect


def _records(answer: Any) -> list[dict[str, Any]]:
    """The models of a /v1/models answer. llama.cpp says what a model can do in a second list, merged in here."""
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
        raise TypeError("not a list of models")
    others = answer.get("models") or []
    abilities = (
        {m.get("name"): m.get("capabilities") for m in others if isinstance(m, dict)}
        if isinstance(others, list)
        else {}
    )
    return [{"capabilities": abilities.get(m.get("id")), **m} for m in answer["data"] if isinstance(m, dict)]


def _with_context(dialect: Dialect, record: Mapping[str, Any]) -> Dialect:
    meta = record.get("meta")
    places = (
        (record, "max_model_len"),  # vLLM, SGLang
        (meta if isinstance(meta, dict) else {}, "n_ctx"),  # llama.cpp: what it was started with, for one conversation
        (record, "context_length"),  # gateways
        (record, "max_context_length"),
    )
    for place, name in places:
        tokens = place.get(name)
        if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens > 0:
            return replace(dialect, context_tokens=tokens, context_reason=f"the server's {name}")
    return dialect


def _llama_cpp_sees(record: Mapping[str, Any]) -> bool | None:
    able = record.get("capabilities")
    return "multimodal" in able if isinstance(able, list) else None


async def _answers(client: openai.AsyncOpenAI, url: str, name: str) -> bool:
    found = await _beside(client, "get", url, {})
    return name in found


async def _beside(client: openai.AsyncOpenAI, verb: str, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What a server's own interface says; {} where it has none."""
    import openai

    try:
        asked = client.get(url, cast_to=object) if verb == "get" else client.post(url, cast_to=object, body=body)
        answer = await asked
    except (openai.APIStatusError, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


async def _ollama(client: openai.AsyncOpenAI, address: Address, dialect: Dialect) -> Dialect:
    """Ollama's own lists: whether the model sees, and the context of the model that is loaded now."""
    shown = await _beside(client, "post", f"{address.root}/api/show", {"model": dialect.model})
    able = shown.get("capabilities")
    if isinstance(able, list):
        dialect = replace(dialect, sees="vision" in able)
    running = (await _beside(client, "get", f"{address.root}/api/ps", {})).get("models")
    for record in running if isinstance(running, list) else []:
        if record.get("model") == dialect.model and isinstance(record.get("context_length"), int):
            return replace(
                dialect,
                context_tokens=record["context_length"],
                context_reason="the context that Ollama loaded it with",
            )
    return dialect


def adapted(dialect: Dialect, status: int, said: str, sent: Sequence[str], pictures: int) -> Dialect | None:
    """The dialect after a refusal that teaches something, or None when there is nothing to change.

    Args:
        status: the HTTP status.
        said: the server's own words.
        sent: names of the fields that were sent.
        pictures: how many were sent.
    """
    if pictures and status == 413 and dialect.largest_side > SMALLEST_SIDE:
        return replace(dialect, largest_side=max(SMALLEST_SIDE, dialect.largest_side // 2))
    if status not in (400, 404, 415, 422, 500, 501):
        return None
    if pictures and _NO_EYES.search(said):
        return replace(dialect, sees=False)
    most = _MOST_PICTURES.search(said)
    if most and int(most.group(1)) < pictures:
        return replace(dialect, most_pictures=int(most.group(1)))
    if status not in (400, 422):
        return None
    if dialect.limit == "max_tokens" and "max_completion_tokens" in said:
        return replace(dialect, limit="max_completion_tokens")
    optional = {f for f in sent if f in (*_OPTIONAL, "continue_final_message", *_all_extras())}
    named = {f for f in optional if re.search(rf"\b{f}\b", said)}
    if named:
        return replace(dialect, refused=dialect.refused | named)
    if dialect.system_apart and re.search(r"system.{0,12}(role|message|prompt)|role.{0,12}system", said, re.IGNORECASE):
        return replace(dialect, system_apart=False)
    return None


def _all_extras() -> set[str]:
    return {name for names in _EXTRAS.values() for name in names.values()}


def context_said(text: str) -> int | None:
    """The context length that a refusal names ("… maximum context length is 4096 tokens …")."""
    found = _CONTEXT.search(text)
    return int(found.group(1)) if found and int(found.group(1)) > 0 else None
