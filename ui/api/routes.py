"""The endpoint as an application: what is at which path below /v1, behind the key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from assistant.stateless import StatelessAssistant
from models.catalogue import ROLES, EngineRole
from models.errors import AssistantError
from ui.api.answers import not_answered, refused
from ui.api.audio import speech, transcriptions
from ui.api.chat import chat_completions
from ui.api.errors import RequestRefused
from ui.api.keys import demand_key
from ui.api.service import ApiService
from ui.asgi import ASGIApp, Receive, Scope, Send, refuse
from ui.services import PageServices

Endpoint = Callable[[Request, ApiService], Awaitable[Response]]


def api_service(services: PageServices) -> ApiService:
    """What the endpoint works with: the page's engines, inbox and sampling, and none of its conversations."""
    settings, inbox = services.settings, services.inbox
    assistant = StatelessAssistant(services.engines, settings, inbox.folder)
    return ApiService(assistant, lambda: services.generation, inbox, settings.max_upload_mb << 20)


def api_app(service: ApiService, key: str) -> ASGIApp:
    """What answers below /v1, for whoever has the `key`."""
    return demand_key(only_http(_application(service)), key)


def _application(service: ApiService) -> ASGIApp:
    def route(path: str, method: str, endpoint: Endpoint) -> Route:
        async def answer(request: Request) -> Response:
            try:
                return await endpoint(request, service)
            except AssistantError as error:
                return refused(error)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it

        return Route(path, answer, methods=[method])

    app = Starlette(
        routes=[
            route("/v1/models", "GET", models),
            route("/v1/models/{id:path}", "GET", model),
            route("/v1/chat/completions", "POST", chat_completions),
            route("/v1/audio/transcriptions", "POST", transcriptions),
            route("/v1/audio/speech", "POST", speech),
        ],
        exception_handlers={HTTPException: not_answered},
    )
    app.router.redirect_slashes = False
    return app


def only_http(app: ASGIApp) -> ASGIApp:
    """`app`, spared of WebSockets: there is no realtime endpoint."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)
        else:
            await refuse(scope, receive, send, 404, "There is nothing here.")

    return respond


async def models(_: Request, service: ApiService) -> Response:
    """The engines in use."""
    return JSONResponse({"object": "list", "data": await run_in_threadpool(_models, service)})


async def model(request: Request, service: ApiService) -> Response:
    """One of them."""
    asked = request.path_params["id"]
    for found in await run_in_threadpool(_models, service):
        if found["id"] == asked:
            return JSONResponse(found)
    sentence = f"The model {asked[:200]!r} is not in use here."
    raise RequestRefused(sentence, status=404, param="model", code="model_not_found")


def _models(service: ApiService) -> list[dict[str, Any]]:
    """By name; an engine may have several roles (scripted ones do). `max_model_len`, as vLLM calls how much the model
    reads and writes together, is known once it is loaded."""
    engines = service.assistant.engines
    roles: dict[str, list[EngineRole]] = {}
    for role in ROLES:
        roles.setdefault(engines.serving(role), []).append(role)
    found: list[dict[str, Any]] = []
    for name, of in roles.items():
        context = {}
        if "seeing" in of and engines.ready("seeing"):
            context = {"max_model_len": engines.vision_language().context_tokens}
        found.append(
            {"id": name, "object": "model", "created": service.started, "owned_by": "lucid", "roles": of, **context}
        )
    return found
