"""`POST /v1/chat/completions`: whole, or as server-sent events while the answer is made.

Shapes: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Union

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from assistant.stateless import CompletionEnd
from models.errors import AssistantError
from models.interfaces import TextDelta
from models.streaming import CancelToken
from ui.api.answers import StreamedAnswer, json_body, log
from ui.api.chat_request import ChatRequest, parse_chat
from ui.api.errors import error_of
from ui.api.jobs import Job
from ui.api.service import ApiService

Piece = Union[TextDelta, CompletionEnd]


async def chat_completions(request: Request, service: ApiService) -> Response:
    """Answers the conversation in the request."""
    body = await json_body(request)
    asked = await run_in_threadpool(parse_chat, body, service.generation())
    del body  # pictures are in it as text; this request may have to wait
    completion = _Completion(service.model("seeing", asked.model))

    def work(cancel: CancelToken) -> Iterator[Piece]:
        completion.model = service.model("seeing", asked.model)  # the owner may have chosen another one meanwhile
        yield from service.assistant.complete(asked.completion, cancel)

    job: Job[Piece] = Job(request, service.lines["seeing"], work)
    if asked.stream:
        return await _streamed(job, completion, asked)
    try:
        async for piece in job:
            completion.take(piece)
    finally:
        job.stop()
    return JSONResponse(completion.whole())


async def _streamed(job: Job[Piece], completion: _Completion, asked: ChatRequest) -> Response:
    """The status is only sent once there is something of the answer: what is refused before has a status of its own."""
    pieces = aiter(job)
    try:
        first = await anext(pieces, None)
    except BaseException:
        job.stop()
        raise
    return StreamedAnswer(_events(job, first, pieces, completion, asked.include_usage), "text/event-stream")


async def _events(
    job: Job[Piece],
    first: Piece | None,
    pieces: AsyncIterator[Piece],
    completion: _Completion,
    include_usage: bool,
) -> AsyncIterator[bytes]:
    try:
        yield completion.event({"role": "assistant", "content": ""}, include_usage)
        if first is not None and (event := completion.event_of(first, include_usage)):
            yield event
        async for piece in pieces:
            if event := completion.event_of(piece, include_usage):
                yield event
    except AssistantError as error:
        log.warning("an answer broke off: %s", error)
        yield _event(error_of(error))
        return
    finally:
        job.stop()
    if completion.end is None:
        return  # the client has gone
    yield completion.event({}, include_usage, completion.end.finish)
    if include_usage:
        yield _event({**completion.head("chat.completion.chunk"), "choices": [], "usage": completion.usage()})
    yield b"data: [DONE]\n\n"


@dataclass(eq=False)
class _Completion:
    """One answer in OpenAI's shapes.

    Notices of the engine ("The GPU ran out of memory: …") are no text of the answer: they travel in a field `lucid`,
    which OpenAI's clients keep and don't show.
    """

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))
    texts: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    end: CompletionEnd | None = None

    def take(self, piece: Piece) -> None:
        if isinstance(piece, CompletionEnd):
            self.end = piece
            return
        self.texts.append(piece.text)
        if piece.notice:
            self.notices.append(piece.notice)

    def head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def usage(self) -> dict[str, int]:
        prompt, answer = (self.end.prompt_tokens, self.end.answer_tokens) if self.end else (0, 0)
        return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}

    def whole(self) -> dict[str, Any]:
        message = {"role": "assistant", "content": "".join(self.texts), "refusal": None}
        finish = self.end.finish if self.end else "stop"
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        more = {"lucid": {"notices": self.notices}} if self.notices else {}
        return {**self.head("chat.completion"), "choices": [choice], "usage": self.usage(), **more}

    def event_of(self, piece: Piece, include_usage: bool) -> bytes:
        """The event that tells of a piece; nothing where it says nothing."""
        self.take(piece)
        if isinstance(piece, CompletionEnd) or not (piece.text or piece.notice):
            return b""
        delta = {"content": piece.text} if piece.text else {}
        return self.event(delta, include_usage, notice=piece.notice)

    def event(self, delta: dict[str, str], include_usage: bool, finish: str | None = None, notice: str = "") -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        chunk = {**self.head("chat.completion.chunk"), "choices": [choice]}
        if include_usage:
            chunk["usage"] = None
        if notice:
            chunk["lucid"] = {"notices": [notice]}
        return _event(chunk)


def _event(content: dict[str, Any]) -> bytes:
    """As ASCII: some characters end a line for one client and not for another."""
    return b"data: " + json.dumps(content).encode() + b"\n\n"
