"""One question to a server: ask, learn from a refusal, try again while nothing was said yet, read the stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from models.errors import AssistantError, BadInput, EngineFailure
from models.interfaces import GenerationOptions, TextDelta
from models.seeing.server import failures
from models.seeing.server.connection import Connection, Deadline
from models.seeing.server.dialect import Dialect, adapted, context_said, inquire
from models.seeing.server.messages import Chat, DataUrls, chat_of
from models.seeing.server.reasoning import WithoutThoughts
from models.types import Message

if TYPE_CHECKING:
    import openai

log = logging.getLogger(__name__)

# A token arrives as about 250 bytes of JSON; a server that sends this much more is broken or hostile.
BYTES_PER_TOKEN = 8192
BYTES_BESIDES = 1 << 20
LETTERS_PER_TOKEN = 256  # of one token, at the very most: vocabularies hold long rows of dashes and spaces
MOST_LESSONS = 12


@dataclass
class Outcome:
    """What is known of an answer when it ends.

    Attributes:
        prompt_tokens, completion_tokens: as the server counts them; 0 where it does not say.
        finish: its finish_reason, or "".
        thought: whether it reasoned apart from the answer.
        pieces: deltas with text.
        letters: characters of the answer.
        told: tokens that the deltas were said to take.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish: str = ""
    thought: bool = False
    pieces: int = 0
    letters: int = 0
    told: int = 0


@dataclass
class Question:
    """One question and what is learnt while it is asked.

    Attributes:
        put: takes the pieces of the answer.
        dialect: what is known of the server; read it again afterwards.
        deadline: moved on with every piece.
        most_tokens: of the answer.
        wanted: the model that the owner named; "" takes the first that is listed, also when that is another one now.
    """

    connection: Connection
    urls: DataUrls
    messages: Sequence[Message]
    options: GenerationOptions
    put: Callable[[TextDelta], None]
    dialect: Dialect
    deadline: Deadline
    most_tokens: int
    wanted: str = ""
    outcome: Outcome = field(default_factory=Outcome)

    def __post_init__(self) -> None:
        self.largest_before = self.dialect.largest_side

    async def answer(self) -> None:
        """Asks and hands the answer on. Raises an `AssistantError` for whatever goes wrong."""
        most_bytes = BYTES_BESIDES + BYTES_PER_TOKEN * self.most_tokens
        patience = self.connection.patience
        self.deadline.set(patience.first_token_s, self._silent(patience.first_token_s, begun=False))
        tried, lessons = 0, 0
        renewed = bool(self.wanted)
        while True:
            try:
                async with self.connection.open(most_bytes) as client:
                    await self._ask(client)
                return
            except Exception as error:
                if self.outcome.pieces:
                    raise failures.broken_off(error, self.connection) from error
                lesson = self._lesson(error) if lessons < MOST_LESSONS else None
                if lesson is not None:
                    lessons += 1
                    self.dialect = lesson
                    continue
                if not renewed and failures.status_of(error) in (400, 404):
                    renewed = True
                    if await self._has_another_model():
                        continue
                pause = failures.pause_before_retry(error, tried, patience)
                if pause is None:
                    raise self._failure(error) from error
            tried += 1
            log.info("asking the server at %s again in %.2f s", self.connection.address.base, pause)
            await asyncio.sleep(pause)

    async def _ask(self, client: openai.AsyncOpenAI) -> None:
        chat = await self._chat(client)
        goes_on = self.messages[-1].role == "assistant"
        fields = self.dialect.request(self.options, most_tokens=self.most_tokens, goes_on=goes_on)
        ask: Any = client.chat.completions.create
        stream = await ask(model=self.dialect.model, messages=chat.messages, stream=True, **fields)
        kind = str(stream.response.headers.get("content-type", "")).split(";")[0].strip()
        if kind in ("text/html", "application/json"):
            await stream.close()
            raise self._no_stream(kind)
        self._notices_of_pictures(chat)
        await self._read(stream)

    async def _has_another_model(self) -> bool:
        """Whether the server was started again with another model meanwhile; from now on that one is asked."""
        try:
            async with self.connection.open(BYTES_BESIDES) as client:
                found = await inquire(client, self.connection.address, "")
        except Exception as error:
            log.info("the server at %s lists no models: %s", self.connection.address.base, type(error).__name__)
            return False
        if found.model == self.dialect.model:
            return False
        self.dialect = found
        self._notice(f"The server at {self.connection.address.base} has another model now: {found.model}.")
        return True

    async def _chat(self, client: openai.AsyncOpenAI) -> Chat:
        """What to send; finds out first whether the model sees, where pictures are at stake and nobody said it."""
        if any(m.pictures for m in self.messages) and self.dialect.sees is None:
            self.dialect = replace(self.dialect, sees=await sees(client, self.dialect, self.urls))
        blind = self.dialect.sees is False
        asked = next((m for m in reversed(self.messages) if m.role == "user"), self.messages[-1])
        if blind and asked.pictures:
            raise failures.no_eyes(self.connection.address.base, self.dialect.model)
        return chat_of(
            self.messages,
            self.urls,
            largest_side=self.dialect.largest_side,
            most_pictures=0 if blind else self.dialect.most_pictures,
            system_apart=self.dialect.system_apart,
            continues=self.dialect.continues,
        )

    async def _read(self, stream: Any) -> None:
        text = WithoutThoughts()
        patience = self.connection.patience
        counted = 0
        async for chunk in stream:
            self._take_usage(getattr(chunk, "usage", None))
            for choice in getattr(chunk, "choices", None) or ():
                self.outcome.finish = getattr(choice, "finish_reason", None) or self.outcome.finish
                said, thought = _said(getattr(choice, "delta", None))
                self.outcome.thought |= thought
                if said or thought:
                    counted += 1
                    self.deadline.set(
                        patience.between_tokens_s,
                        self._silent(patience.between_tokens_s, begun=self.outcome.pieces > 0),
                    )
                shown = text.feed(said)
                self._say(shown, counted)
                counted = 0 if shown else counted
            if self.outcome.letters > LETTERS_PER_TOKEN * self.most_tokens:
                await stream.close()  # it takes no notice of the limit, and would never end
                self.outcome.finish = "length"
                break
        self._say(text.finish(), 0)
        self.outcome.thought |= text.thought
        self._end()

    def _say(self, text: str, tokens: int) -> None:
        if text:
            self.outcome.pieces += 1
            self.outcome.letters += len(text)
            self.outcome.told += tokens
            self.put(TextDelta(text, tokens))

    def _end(self) -> None:
        """What is to be said of an answer that ended by itself."""
        at, outcome = self.connection.address.base, self.outcome
        missing = outcome.completion_tokens - outcome.told
        if missing > 0:  # thoughts, and pieces that held several tokens
            self.put(TextDelta("", missing))
        if not outcome.pieces and outcome.thought:
            raise EngineFailure(
                f"The model on the server at {at} thought until its {self.most_tokens} tokens were used up, "
                "and said nothing.",
                "Allow longer answers, or start the server with thinking off.",
            )
        if not outcome.pieces and not outcome.finish:
            raise EngineFailure(f"The server at {at} ended without an answer.", failures.AGAIN)
        if outcome.finish == "length":
            self._notice(f"The answer was cut off at its limit of {self.most_tokens} tokens.")
        elif outcome.finish == "content_filter":
            self._notice(f"The server at {at} ended the answer: its filter objects to it.")
        elif not outcome.finish:
            self._notice(f"The server at {at} did not say that the answer is complete.")

    def _take_usage(self, usage: Any) -> None:
        for name in ("prompt_tokens", "completion_tokens"):
            count = getattr(usage, name, None)
            if isinstance(count, int):
                setattr(self.outcome, name, count)

    def _lesson(self, error: BaseException) -> Dialect | None:
        """What a refusal teaches, where asking in another way may work."""
        status = failures.status_of(error)
        if not status:
            return None
        goes_on = self.messages[-1].role == "assistant"
        fields = self.dialect.request(self.options, most_tokens=self.most_tokens, goes_on=goes_on)
        sent = [*fields, *fields["extra_body"]]
        pictures = sum(len(m.pictures) for m in self.messages)
        shown = min(pictures, self.dialect.most_pictures) if self.dialect.most_pictures is not None else pictures
        shown = 0 if self.dialect.sees is False else shown
        return adapted(self.dialect, status, failures.whole_words(error), sent, shown)

    def _failure(self, error: BaseException) -> AssistantError:
        words = failures.whole_words(error)
        context = context_said(words) if failures.status_of(error) in (400, 413, 422) else None
        if context is None:
            return failures.failure(error, self.connection, model=self.dialect.model, models=self.dialect.models)
        self.dialect = replace(self.dialect, context_tokens=context, context_reason="the server's own words")
        return BadInput(
            f"The conversation is longer than the {context} tokens of the model on the server at "
            f"{self.connection.address.base}.",
            "Ask again: from now on earlier turns are left out in time. If it is one long question, shorten it.",
        )

    def _silent(self, seconds: float, *, begun: bool) -> EngineFailure:
        at = self.connection.address.base
        if begun:
            return EngineFailure(
                f"The server at {at} fell silent in mid-answer for {seconds:g} seconds.", failures.KEPT
            )
        return EngineFailure(f"The server at {at} did not begin to answer within {seconds:g} seconds.", failures.AGAIN)

    def _no_stream(self, kind: str) -> EngineFailure:
        return EngineFailure(
            f"The server at {self.connection.address.base} does not answer as a stream (it sent {kind}).",
            "Check that the address is that of an OpenAI-compatible server; it usually ends in /v1.",
        )

    def _notices_of_pictures(self, chat: Chat) -> None:
        largest = self.dialect.largest_side
        if chat.pictures and largest < self.largest_before:
            self._notice(
                f"The server takes no larger request: the pictures were sent smaller, at most {largest} pixels long."
            )
        if chat.left_out and self.dialect.sees is False:
            self._notice(f"The model {self.dialect.model} cannot see: earlier pictures were left out.")
        elif chat.left_out:
            self._notice(
                f"The server takes {chat.pictures} pictures at once: {chat.left_out} earlier ones were left out."
            )

    def _notice(self, sentence: str) -> None:
        self.put(TextDelta("", 0, sentence))


def _said(delta: Any) -> tuple[str, bool]:
    """(a piece of the answer, whether there is a piece of the model's thoughts)."""
    content = getattr(delta, "content", None)
    thoughts = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
    return (content if isinstance(content, str) else ""), bool(thoughts)


async def sees(client: openai.AsyncOpenAI, dialect: Dialect, urls: DataUrls) -> bool | None:
    """Whether the model takes pictures, where no list says it: two questions of one token, without and with one.

    A server that refuses the second, or counts not one token more for it (`transformers serve` drops the pictures of a
    text model without a word), does not see. None: the first one failed already, so nothing is known.
    """
    import openai
    from PIL import Image

    from models.types import Picture

    words: dict[str, Any] = {"type": "text", "text": "Hi"}
    url = urls.of(Picture.of(Image.new("RGB", (112, 112), (200, 80, 40))), dialect.largest_side)
    counts: list[int] = []
    for content in ([words], [words, {"type": "image_url", "image_url": {"url": url}}]):
        try:
            answer = await client.chat.completions.create(
                model=dialect.model,
                messages=[{"role": "user", "content": content}],  # type: ignore[misc,list-item]
                extra_body={dialect.limit: 1},
            )
        except openai.APIStatusError as error:
            if failures.status_of(error) in failures.BUSY:
                raise
            return False if counts else None
        usage = getattr(answer, "usage", None)
        counts.append(getattr(usage, "prompt_tokens", 0) or 0)
    return counts[1] > counts[0] if all(counts) else True
