"""`ServerModel`: a model on a server, behind the same interface as one on this machine; `connect` makes it."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from models.errors import BadInput, EngineUnavailable
from models.interfaces import GenerationOptions, SeenPicture, TextDelta
from models.seeing.server import failures
from models.seeing.server.address import KEY_VARIABLE, address_of
from models.seeing.server.answering import Question
from models.seeing.server.connection import Connection, Deadline, Patience, complete
from models.seeing.server.dialect import Dialect, inquire
from models.seeing.server.messages import DataUrls, estimated_tokens, sent_size, side_for
from models.streaming import CancelToken, Outlet, iterate_in_threads
from models.types import Message

if TYPE_CHECKING:
    import openai

T = TypeVar("T")
log = logging.getLogger(__name__)

LIST_BYTES = 16 << 20  # gateways list thousands of models
# How far the estimate of a prompt's tokens may be corrected by what the server counted.
LEAST_FACTOR, MOST_FACTOR = 0.7, 4.0
# Below that, what the chat template adds to every prompt outweighs what is to be learnt about letters and pixels.
LEAST_TO_LEARN_FROM = 256


class ServerModel:
    """A `VisionLanguageModel` on an OpenAI-compatible server.

    The pictures and words of a conversation are sent to that server, and to no other: redirects are not followed.
    Questions of several conversations may be under way at the same time; the server puts them in line.

    Args:
        connection: the way to the server.
        dialect: what is known of it.
        name: as in the catalogue.
        wanted: the model that the owner named, or "" for the first.
    """

    def __init__(self, connection: Connection, dialect: Dialect, name: str, wanted: str = "") -> None:
        self.name = name
        self.dialect = dialect
        self.urls = DataUrls()
        self._connection = connection
        self._wanted = wanted
        self._factor = 1.0
        self.prompt_tokens = 0  # of the last question as the server counted it; for benchmarks and tests

    @property
    def context_tokens(self) -> int:
        return self.dialect.context_tokens

    @property
    def model(self) -> str:
        """The model's name on the server."""
        return self.dialect.model

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens that `messages` take as a prompt: an estimate from letters and pixels, rather too high than too low,
        and corrected by what the server counted for the questions before.
        """
        return round(estimated_tokens(messages, self.dialect.largest_side) * self._factor)

    def look(self, messages: Sequence[Message]) -> tuple[SeenPicture, ...]:
        """The pictures with the size that they are sent in. What the server notices in them it does not say."""
        largest = self.dialect.largest_side
        return tuple(
            SeenPicture(p.source, p.digest, p.original_size, sent_size(p, side_for(p, largest)), p.time, p.notes)
            for m in messages
            for p in m.pictures
        )

    def stream(
        self, messages: Sequence[Message], options: GenerationOptions, cancel: CancelToken
    ) -> Iterator[TextDelta]:
        """The answer, as it arrives. A stop closes the connection at once, also while the server is still silent.

        Where the last message is the assistant's, the answer goes on from it: exactly with vLLM, SGLang, llama.cpp and
        Ollama; other servers are asked in words to go on.

        Raises:
            BadInput: the server refuses the question, or the model cannot see and the question has a picture.
            EngineUnavailable: no server answers, it does not know the model, or it does not accept the key.
            EngineFailure: the server broke, went away or fell silent, also in mid-answer. The next question opens a
                connection of its own.
        """
        if cancel.cancelled:
            return
        left = threading.Event()

        def produce(outlet: Outlet[TextDelta]) -> None:
            question = self._question(messages, options, outlet)
            try:
                complete(question.answer(), lambda: cancel.cancelled or left.is_set(), question.deadline)
            finally:
                self.dialect = question.dialect
            self._learn(messages, question)

        reader = iterate_in_threads(produce, name="lucid-server")
        try:
            for delta in reader:
                if cancel.cancelled:
                    return
                yield delta
        finally:
            left.set()  # before `close`, which waits for the thread
            reader.close()  # type: ignore[attr-defined]

    def _question(self, messages: Sequence[Message], options: GenerationOptions, outlet: Outlet[TextDelta]) -> Question:
        if not messages:
            raise BadInput("There is nothing to answer.")
        room = self.context_tokens - self.count_tokens(messages)
        # The estimate is too high rather than too low: where it leaves no room, the server has the last word.
        most = max(1, min(options.max_new_tokens, room)) if room > 0 else options.max_new_tokens
        return Question(
            self._connection, self.urls, messages, options, outlet.put, self.dialect, Deadline(), most, self._wanted
        )

    def _learn(self, messages: Sequence[Message], question: Question) -> None:
        """Corrects the estimate by what the server counted for the prompt."""
        counted = self.prompt_tokens = question.outcome.prompt_tokens
        estimated = estimated_tokens(messages, question.dialect.largest_side)
        if (
            counted > 0
            and estimated >= LEAST_TO_LEARN_FROM
            and question.dialect.most_pictures is None
            and question.dialect.sees is not False
        ):
            self._factor = min(MOST_FACTOR, max(LEAST_FACTOR, counted / estimated))


def connect(
    url: str,
    model: str = "",
    *,
    name: str,
    key: str = "",
    offline: bool = False,
    cancel: CancelToken | None = None,
    patience: Patience | None = None,
) -> ServerModel:
    """The engine for a model on an OpenAI-compatible server. Asks the server for its list; loads nothing here.

    Args:
        url: e.g. "http://127.0.0.1:8000/v1"; without a path, /v1 is meant.
        model: as the server names it; "" takes the first that it lists.
        name: of the engine, as in the catalogue.
        key: by default what the environment variable LUCID_SERVER_KEY holds.
        offline: only a server on this machine may be used.
        cancel: ends the asking.
        patience: how long to wait.

    Raises:
        Cancelled: `cancel` became stale.
        EngineUnavailable: the address is none, nothing answers there, or it has no such model.
        SettingsError: the key cannot be one.
    """
    address = address_of(url, offline=offline)
    connection = Connection(address, key or os.environ.get(KEY_VARIABLE, ""), patience or Patience())
    deadline = Deadline()
    deadline.set(connection.patience.list_s, failures.unanswered(address.base, connection.patience.list_s))
    unwanted = (lambda: cancel.cancelled) if cancel is not None else (lambda: False)
    dialect = complete(_first_words(connection, model, deadline), unwanted, deadline)
    log.info("%s: %s, %d tokens (%s)", name, dialect.model, dialect.context_tokens, dialect.context_reason)
    return ServerModel(connection, dialect, name, model)


async def _first_words(connection: Connection, model: str, deadline: Deadline) -> Dialect:
    """What the server says of itself. A name that is not in its list is tried: lists are not always complete."""
    base = connection.address.base
    async with connection.open(LIST_BYTES) as client:
        try:
            dialect = await _patiently(lambda: inquire(client, connection.address, model), connection)
            if model and dialect.models and dialect.model not in dialect.models:
                deadline.set(
                    connection.patience.first_token_s, failures.unanswered(base, connection.patience.first_token_s)
                )
                await _must_answer(client, dialect, base)
        except LookupError:
            raise EngineUnavailable(
                f"The server at {base} lists no model.",
                "Start it with one, or name one after the address: server:URL#MODEL.",
            ) from None
        except Exception as error:
            raise failures.failure(error, connection, model=model) from error
    return dialect


async def _patiently(ask: Callable[[], Coroutine[Any, Any, T]], connection: Connection) -> T:
    """Asks again where the connection is refused or the server is not ready: it may be starting."""
    tried = 0
    while True:
        try:
            return await ask()
        except Exception as error:
            pause = failures.pause_before_retry(error, tried, connection.patience)
            if pause is None:
                raise
        tried += 1
        await asyncio.sleep(pause)


async def _must_answer(client: openai.AsyncOpenAI, dialect: Dialect, base: str) -> None:
    """One token of a model that the server does not list. Raises `EngineUnavailable` with those that it does."""
    import openai

    try:
        await client.chat.completions.create(
            model=dialect.model, messages=[{"role": "user", "content": "Hi"}], extra_body={dialect.limit: 1}
        )
    except openai.APIStatusError as error:
        if failures.status_of(error) in (401, 403, *failures.BUSY):
            raise
        raise failures.no_such_model(base, dialect.model, dialect.models) from error
