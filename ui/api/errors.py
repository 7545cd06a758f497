"""Refusals as OpenAI's clients expect them: a status, and `{"error": {"message", "type", "param", "code"}}`.

Shape and codes: https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import json
from typing import Any

from models.errors import AssistantError, BadInput, EngineUnavailable

_TYPES = {
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", "forbidden"),
    404: ("invalid_request_error", "not_found"),
    413: ("invalid_request_error", "request_too_large"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    500: ("server_error", "engine_failure"),
    503: ("server_error", "engine_unavailable"),
}


class RequestRefused(AssistantError):
    """A request that is not carried out.

    Args:
        message: a sentence for whoever wrote the program.
        status: HTTP status.
        param: the field that is to blame, or "".
        code: one word for programs; by default what the status stands for.
        headers: more for the answer.
    """

    exit_code = 2

    def __init__(
        self, message: str, *, status: int = 400, param: str = "", code: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = headers or {}


def status_of(error: AssistantError) -> int:
    """The HTTP status that tells a program what kind of failure it was."""
    if isinstance(error, RequestRefused):
        return error.status
    if isinstance(error, BadInput):
        return 400
    return 503 if isinstance(error, EngineUnavailable) else 500


def headers_of(error: AssistantError) -> dict[str, str]:
    """More headers for the answer. OpenAI's clients repeat a failed request, unless they are told that it is no use."""
    if isinstance(error, RequestRefused):
        return error.headers
    return {"x-should-retry": "false"} if isinstance(error, EngineUnavailable) else {}


def error_of(error: AssistantError) -> dict[str, Any]:
    """The JSON object of an error of ours."""
    param = error.param if isinstance(error, RequestRefused) else ""
    code = error.code if isinstance(error, RequestRefused) else ""
    return error_object(status_of(error), str(error), param=param, code=code)


def error_object(status: int, message: str, *, param: str = "", code: str = "") -> dict[str, Any]:
    """The JSON object of a refusal with `status`."""
    kind, usual = _TYPES.get(status, ("invalid_request_error", ""))
    return {"error": {"message": message, "type": kind, "param": param or None, "code": code or usual or None}}


def error_bytes(status: int, message: str) -> bytes:
    """The same as the body of an answer."""
    return json.dumps(error_object(status, message)).encode()
