"""The JSON of `POST /v1/chat/completions` → what the assistant is asked.

What Lucid cannot do and what would change the answer's meaning is refused by name; what makes no difference to it
(`user`, `metadata`, `service_tier`, the `detail` of a picture …) is passed over.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, replace
from typing import Any

from assistant.stateless import CompletionRequest, SentFile, SentMessage
from models.interfaces import GenerationOptions
from models.types import Role
from ui.api.errors import RequestRefused
from ui.api.fields import Fields, checked_text

MOST_STOPS = 4
LONGEST_STOP = 1000
# A picture takes up to 12 MB once it is decoded (2048 × 2048 × 3), however small its file is.
MOST_FILES = 16
MOST_TOKENS = (1 << 31) - 1  # no limit of ours: the context is one
SEEDS = (-(1 << 63), (1 << 63) - 1)

_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
# Field → what Lucid would have to do for it. Each is refused unless its value asks for nothing (`_asks_for_nothing`).
_UNSUPPORTED = {
    "tools": "call tools",
    "functions": "call functions",
    "logprobs": "report log-probabilities",
    "top_logprobs": "report log-probabilities",
    "logit_bias": "favour or forbid single tokens",
    "frequency_penalty": "penalise by frequency; use repetition_penalty",
    "presence_penalty": "penalise by presence; use repetition_penalty",
    "audio": "answer in sound; send the answer to /v1/audio/speech",
    "web_search_options": "search the web: it contacts nothing",
    "store": "store completions: it keeps nothing that comes through here",
}


@dataclass(frozen=True, eq=False)
class ChatRequest:
    """A request that has been understood. `model` is not looked at yet."""

    model: str
    completion: CompletionRequest
    stream: bool
    include_usage: bool


def parse_chat(body: Any, defaults: GenerationOptions) -> ChatRequest:
    """Reads the request.

    Args:
        body: parsed JSON.
        defaults: how the owner has answers sampled; what the request names goes before it.

    Raises:
        RequestRefused: status 400, with the field that is to blame.
    """
    fields = Fields(body)
    model = fields.text("model", most=1000)
    _refuse_what_is_not_supported(fields)
    stream = fields.flag("stream")
    include_usage = False
    if fields.has("stream_options"):
        if not stream:
            raise RequestRefused("stream_options goes with stream: true only.", param="stream_options")
        include_usage = fields.object("stream_options").flag("include_usage")
    completion = CompletionRequest(_messages(fields), _options(fields, defaults), _stop(fields))
    return ChatRequest(model, completion, stream, include_usage)


def _refuse_what_is_not_supported(fields: Fields) -> None:
    for name, what in _UNSUPPORTED.items():
        if not _asks_for_nothing(fields.get(name)):
            raise RequestRefused(f"Lucid does not {what}.", param=name, code="unsupported_parameter")
    if fields.get("n") not in (None, 1):
        raise RequestRefused("Lucid gives one answer: n must be 1.", param="n", code="unsupported_parameter")
    if fields.get("modalities") not in (None, ["text"]):
        raise RequestRefused("Lucid answers in text here.", param="modalities", code="unsupported_parameter")
    if fields.has("response_format") and fields.object("response_format").get("type") != "text":
        sentence = "Lucid cannot hold a model to a format: response_format must be text."
        raise RequestRefused(sentence, param="response_format", code="unsupported_parameter")
    if fields.get("tool_choice") not in (None, "none", "auto") or fields.get("function_call") not in (
        None,
        "none",
        "auto",
    ):
        raise RequestRefused("Lucid does not call tools.", param="tool_choice", code="unsupported_parameter")


def _asks_for_nothing(value: Any) -> bool:
    return value is None or (value is not True and value in (False, 0, [], {}))


def _options(fields: Fields, defaults: GenerationOptions) -> GenerationOptions:
    limit = fields.whole("max_completion_tokens", 1, MOST_TOKENS, None)
    if limit is None:
        limit = fields.whole("max_tokens", 1, MOST_TOKENS, None)
    top_k = fields.whole("top_k", -1, 1 << 20, defaults.top_k)
    return replace(
        defaults,
        max_new_tokens=limit or defaults.max_new_tokens,
        temperature=fields.number("temperature", 0.0, 2.0, defaults.temperature),
        top_p=fields.number("top_p", 0.0, 1.0, defaults.top_p),
        top_k=max(0, top_k or 0),  # vLLM's clients write -1 for "all"
        min_p=fields.number("min_p", 0.0, 1.0, defaults.min_p),
        repetition_penalty=fields.number("repetition_penalty", 0.5, 2.0, defaults.repetition_penalty),
        seed=fields.whole("seed", *SEEDS, defaults.seed),
    )


def _stop(fields: Fields) -> tuple[str, ...]:
    value = fields.get("stop")
    if value is None:
        return ()
    given = value if isinstance(value, list) else [value]
    if len(given) > MOST_STOPS:
        raise RequestRefused(f"stop may have up to {MOST_STOPS} texts.", param="stop")
    texts = tuple(checked_text(text, "stop", LONGEST_STOP) for text in given)
    if not all(texts):
        raise RequestRefused("stop has an empty text in it, with which every answer would end.", param="stop")
    return texts


def _messages(fields: Fields) -> tuple[SentMessage, ...]:
    messages: list[SentMessage] = []
    files = 0
    for number, value in enumerate(fields.list("messages")):
        messages.append(_message(Fields(value, f"messages.{number}"), files))
        files += sum(isinstance(part, SentFile) for part in messages[-1].parts)
    if messages[-1].role != "user":
        raise RequestRefused("The last message must be the user's.", param="messages")
    return tuple(messages)


def _message(fields: Fields, files: int) -> SentMessage:
    """One message; `files` were in those before it."""
    role = _ROLES.get(fields.text("role"))
    if role is None or fields.has("tool_calls") or fields.has("function_call"):
        sentence = "Messages are those of system, developer, user and assistant; Lucid does not call tools."
        raise RequestRefused(sentence, param=fields.name("role"), code="unsupported_value")
    content = fields.get("content")
    if isinstance(content, str):
        return SentMessage(role, (fields.text("content"),))
    parts: list[str | SentFile] = []
    for number, value in enumerate(fields.list("content")):
        part = _part(Fields(value, f"{fields.name('content')}.{number}"), files + 1)
        if isinstance(part, SentFile):
            files += 1
            if role != "user":
                raise RequestRefused(
                    "Pictures and sound belong into messages of the user.", param=fields.name("content")
                )
            if files > MOST_FILES:
                raise RequestRefused(f"A request may carry {MOST_FILES} pictures and recordings.", param="messages")
        parts.append(part)
    return SentMessage(role, tuple(parts))


def _part(fields: Fields, number: int) -> str | SentFile:
    """A text or a file, which would be the request's `number`th."""
    kind = fields.text("type")
    if kind == "text":
        return fields.text("text")
    if kind == "refusal":
        return fields.text("refusal")
    if kind == "image_url":
        return SentFile("picture", _picture(fields), f"picture {number}")
    if kind == "input_audio":
        audio = fields.object("input_audio")
        return SentFile("sound", _decoded(audio.text("data"), audio.name("data")), f"recording {number}")
    sentence = "Lucid takes parts of the types text, image_url and input_audio."
    raise RequestRefused(sentence, param=fields.name("type"), code="unsupported_value")


def _picture(fields: Fields) -> bytes:
    holder = fields if isinstance(fields.get("image_url"), str) else fields.object("image_url")
    field = "image_url" if holder is fields else "url"
    url = holder.text(field)
    head = _DATA_URL.match(url)
    if head is None:
        raise RequestRefused(
            "Lucid fetches nothing: send the picture itself, as a URL of the form data:image/jpeg;base64,…",
            param=holder.name(field),
            code="invalid_image_url",
        )
    return _decoded(url[head.end() :], holder.name(field))


def _decoded(text: str, name: str) -> bytes:
    try:
        data = base64.b64decode(_SPACE.sub("", text), validate=True)
    except (binascii.Error, ValueError):
        raise RequestRefused(f"{name} is not base64.", param=name, code="invalid_base64") from None
    if not data:
        raise RequestRefused(f"{name} is empty.", param=name, code="invalid_base64")
    return data
