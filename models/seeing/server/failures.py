"""What goes wrong with a server, as sentences for the owner. Every exception of the HTTP packages ends here."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Any

from models.errors import AssistantError, BadInput, EngineFailure, EngineUnavailable
from models.seeing.server.address import KEY_VARIABLE
from models.seeing.server.connection import Connection, Patience, TooMuch

MOST_SAID = 240  # characters of a server's own words that are shown
MOST_NAMES = 12
LONGEST_PAUSE_S = 10.0
BUSY = frozenset({429, 502, 503, 504})
AGAIN = "Ask again; if it stays, look at the log of the server."
KEPT = "What it had said is kept; ask again when it is back."
KEPT_AGAIN = f"What it had said is kept. {AGAIN}"


def status_of(error: BaseException) -> int:
    """The HTTP status of an error; 0 where it is none."""
    status = getattr(error, "status_code", 0)
    return status if isinstance(status, int) else 0


def dropped(error: BaseException) -> bool:
    """Whether the connection was refused, or broke off: the same request may work in a moment."""
    import openai

    if not isinstance(error, openai.APIConnectionError) or isinstance(error, openai.APITimeoutError):
        return False
    return not any(isinstance(e, (ssl.SSLError, socket.gaierror)) or _is_tls(e) for e in _causes(error))


def pause_before_retry(error: BaseException, tried: int, patience: Patience) -> float | None:
    """Seconds until the same request may work: twice as long each time, or as long as the server asks for.

    Args:
        tried: how often it was tried again already.

    Returns:
        None when it is of no use to try again.
    """
    busy = status_of(error) in BUSY
    if tried >= (patience.retries if busy else patience.reconnections) or not (busy or dropped(error)):
        return None
    response = getattr(error, "response", None)
    asked = str(response.headers.get("retry-after", "")) if response is not None else ""
    pause = patience.pause_s * 2**tried
    return min(max(pause, float(asked)) if asked.isdigit() else pause, LONGEST_PAUSE_S)


def unanswered(at: str, seconds: float) -> EngineUnavailable:
    """The sentence for a server that takes a question and never says a word."""
    return EngineUnavailable(
        f"The server at {at} does not answer within {seconds:g} seconds.", "Check the address and the network."
    )


def said_by(error: BaseException, connection: Connection) -> str:
    """The server's own words about an error, on one line, shortened, without the key; "" when it said nothing."""
    body = getattr(error, "body", None)
    words = _message_in(body)
    if not words and isinstance(body, str) and "<html" in body.lower():
        words = "an HTML page"
    if not words and body is None and not status_of(error):
        words = str(error)
    words = connection.without_key(" ".join((words or "").split()))
    return words if len(words) <= MOST_SAID else words[: MOST_SAID - 1].rstrip() + "…"


def whole_words(error: BaseException) -> str:
    """Everything that a server said about an error, to look for numbers and names in; never shown."""
    body = getattr(error, "body", None)
    return body if isinstance(body, str) else json.dumps(body, default=str, ensure_ascii=False)


def _message_in(body: Any) -> str:
    """OpenAI's {"message"}, FastAPI's {"detail"}, Ollama's {"error"}; each may hold the next."""
    if isinstance(body, str):
        return "" if "<" in body[:20] else body
    if isinstance(body, list):
        return "; ".join(filter(None, map(_message_in, body)))
    if isinstance(body, dict):
        for name in ("message", "msg", "detail", "error"):
            if body.get(name):
                return _message_in(body[name])
    return ""


def failure(
    error: BaseException, connection: Connection, *, model: str = "", models: Sequence[str] = ()
) -> AssistantError:
    """The sentence for an exception that the openai package raised before the answer began.

    Args:
        model: the name that was asked for.
        models: those that the server lists.
    """
    import openai

    at = connection.address.base
    if isinstance(error, AssistantError):
        return error
    if isinstance(error, openai.APIStatusError):
        return _refusal(error, connection, model, models)
    if isinstance(error, openai.APIConnectionError):
        return _unreachable(error, connection)
    if isinstance(error, TooMuch):
        return EngineFailure(f"The server at {at} sent far more than an answer is long; it was cut off.", AGAIN)
    if isinstance(error, openai.APIError):  # an error in the midst of a stream
        return EngineFailure(
            f"The server at {at} failed: {said_by(error, connection) or 'it does not say why'}.", AGAIN
        )
    return EngineFailure(
        f"The server at {at} sent something that is no answer ({type(error).__name__}).",
        "Check that the address is that of an OpenAI-compatible server; it usually ends in /v1.",
    )


def broken_off(error: BaseException, connection: Connection) -> AssistantError:
    """The sentence for an exception in mid-answer."""
    import openai

    at = connection.address.base
    if isinstance(error, AssistantError):
        return error
    if isinstance(error, openai.APIConnectionError):
        return EngineFailure(f"The server at {at} went away in mid-answer.", KEPT)
    if isinstance(error, openai.APIError):
        said = said_by(error, connection) or "it does not say why"
        return EngineFailure(f"The server at {at} failed in mid-answer: {said}.", KEPT_AGAIN)
    if isinstance(error, TooMuch):
        return failure(error, connection)
    return EngineFailure(
        f"The server at {at} sent something unreadable in mid-answer ({type(error).__name__}).",
        KEPT_AGAIN,
    )


def _refusal(error: Any, connection: Connection, model: str, models: Sequence[str]) -> AssistantError:
    at, status, said = connection.address.base, status_of(error), said_by(error, connection)
    because = f": {said}" if said else ""
    if 300 <= status < 400:
        return EngineUnavailable(
            f"The server at {at} sends Lucid on to another address, which it does not follow.",
            "Use the other address itself.",
        )
    if status in (401, 403):
        return EngineUnavailable(
            f"The server at {at} does not accept the key{because}.",
            f"Put its key into the environment variable {KEY_VARIABLE} and start Lucid again.",
        )
    if status == 404 and models and model not in models:
        return no_such_model(at, model, models)
    if status in (404, 405, 501):
        return EngineUnavailable(
            f"The server at {at} does not know this request ({status}){because}.",
            "Check the address, which usually ends in /v1, and the name of the model.",
        )
    if status == 413:
        return BadInput(
            f"The server at {at} takes no request of this size.",
            "Attach less, or raise the limit of the server or of the proxy before it (nginx: client_max_body_size).",
        )
    if status == 429:
        return EngineFailure(f"The server at {at} has too much to do{because}.", "Wait a little and ask again.")
    if status in BUSY:
        return EngineFailure(f"The server at {at} is not ready ({status}){because}.", "Wait a little and ask again.")
    if status in (400, 415, 422):
        return BadInput(
            f"The server at {at} refuses this question ({status}){because}.",
            "Change the question or the settings, or choose another model.",
        )
    return EngineFailure(f"The server at {at} failed ({status}){because}.", AGAIN)


def no_such_model(at: str, model: str, models: Sequence[str]) -> EngineUnavailable:
    """The sentence for a model that is not there, with those that are."""
    names = ", ".join(models[:MOST_NAMES]) + (" …" if len(models) > MOST_NAMES else "")
    return EngineUnavailable(f"The server at {at} has no model named {model}.", f"It has: {names}.")


def no_eyes(at: str, model: str) -> BadInput:
    """The sentence for a picture that goes to a model which takes none."""
    return BadInput(
        f"The model {model} on the server at {at} cannot see pictures.",
        "Ask without a picture, or choose a vision-language model.",
    )


def _unreachable(error: BaseException, connection: Connection) -> AssistantError:
    import openai

    at = connection.address.base
    causes = list(_causes(error))
    text = " ".join(str(e) for e in causes)
    if isinstance(error, openai.APITimeoutError):
        return unanswered(at, connection.patience.connect_s)
    if any(isinstance(e, socket.gaierror) for e in causes) or "Name or service not known" in text:
        return EngineUnavailable(f"The name of the server at {at} is not known.", "Check the address and the network.")
    if any(_is_tls(e) for e in causes):
        return _tls_failure(at, text)
    return EngineUnavailable(f"No server answers at {at}.", "Start it, or check the address.")


def _tls_failure(at: str, text: str) -> AssistantError:
    if "CERTIFICATE" in text.upper():
        reason = re.search(r"verify failed: ([^(]+?)\s*(?:\(|$)", text)
        return EngineUnavailable(
            f"The certificate of the server at {at} is not valid: {reason.group(1) if reason else 'not trusted'}.",
            "Use a valid one, or name the file of your own authority in the environment variable SSL_CERT_FILE.",
        )
    return EngineUnavailable(f"The server at {at} does not speak TLS.", "Check the address: http:// or https://.")


def _is_tls(error: BaseException) -> bool:
    return isinstance(error, ssl.SSLError) or "[SSL" in str(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those that led to it."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__
