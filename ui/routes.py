"""What the page fetches besides Gradio's own: its scripts, attachments, sound, dictation, uploads, state."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.background import BackgroundTask
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.datastructures import UploadFile

from assistant.store import Attachment
from models.catalogue import ROLES
from models.engines import EngineState
from models.errors import AssistantError, BadInput
from models.streaming import CancelScope
from ui.handlers_settings import page_preferences
from ui.i18n import LANGUAGES, Language, language_of, translations
from ui.inbox import Inbox, clean_name
from ui.media_types import media_type, picture_for_browsers
from ui.owner_sentences import in_language
from ui.services import PageServices
from ui.sound import wav_stream

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
STATIC_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
# An attachment is what its content says and nothing else; opened by itself it can run nothing.
# Its address names its content, so it never changes; what is deleted also goes from the browser (see /forget).
GUARD = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=86400, immutable"}
FRESH = {"Cache-Control": "no-store"}


def page_routes(services: PageServices) -> APIRouter:
    """Everything below /lucid/."""
    router = APIRouter(prefix="/lucid")
    _add_static(router)
    _add_files(router, services)
    _add_archives(router, services)
    _add_sound(router, services)
    _add_state(router, services)
    return router


def _add_static(router: APIRouter) -> None:
    files = {f.name: f for f in STATIC.iterdir() if f.suffix in STATIC_TYPES}

    @router.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in files:
            return Response(status_code=404)
        return FileResponse(
            files[name], media_type=STATIC_TYPES[files[name].suffix], headers={"Cache-Control": "no-cache"}
        )

    @router.get("/texts")
    def texts() -> Response:
        return JSONResponse({language: translations(language) for language in LANGUAGES}, headers=FRESH)


def _add_files(router: APIRouter, services: PageServices) -> None:
    @router.get("/file/{digest}")
    def file(digest: str) -> Response:
        """An attachment of a conversation, by the digest of its content (never by a path)."""
        try:
            path = services.store.file_of(Attachment(digest, "", "", 0))
        except (AssistantError, ValueError):
            return Response(status_code=404)
        kind = media_type(path)
        if kind is None:
            try:
                return Response(picture_for_browsers(path), media_type="image/jpeg", headers=GUARD)
            except AssistantError:
                kind = "application/octet-stream"
        return FileResponse(path, media_type=kind, headers=GUARD, content_disposition_type="inline")

    @router.post("/forget")
    def forget() -> Response:
        """Lets the browser drop its copies of what was deleted."""
        return Response(status_code=204, headers={"Clear-Site-Data": '"cache"', **FRESH})

    @router.post("/upload")
    async def upload(request: Request) -> Response:
        """Takes the form's `file` into the inbox."""
        try:
            async with _uploaded(request, services.inbox) as (path, name):
                kept = await run_in_threadpool(services.inbox.keep, path, name)
        except AssistantError as error:
            return _refused(error, request)
        return JSONResponse({"token": kept.token, "name": kept.name, "kind": kept.kind}, headers=FRESH)

    @router.delete("/upload/{token}")
    def discard(token: str) -> Response:
        services.inbox.discard(token)
        return Response(status_code=204)


def _add_archives(router: APIRouter, services: PageServices) -> None:
    @router.get("/export/{conversation}")
    def export(conversation: str, request: Request) -> Response:
        """A conversation as a .zip, made for this download and removed after it."""
        from assistant.exchange import export_conversation

        folder = tempfile.TemporaryDirectory(prefix="export-", dir=services.inbox.folder)
        try:
            archive = export_conversation(services.store, conversation, Path(folder.name))
        except AssistantError as error:
            folder.cleanup()
            return _refused(error, request)
        return FileResponse(
            archive,
            media_type="application/zip",
            filename=archive.name,
            headers=FRESH,
            background=BackgroundTask(folder.cleanup),
        )

    @router.post("/import")
    async def import_(request: Request) -> Response:
        from assistant.exchange import import_conversation

        try:
            async with _uploaded(request, services.inbox) as (path, _):
                made = await run_in_threadpool(import_conversation, services.store, path)
                path.unlink()
        except AssistantError as error:
            return _refused(error, request)
        return JSONResponse({"conversation": made.id}, headers=FRESH)


def _add_sound(router: APIRouter, services: PageServices) -> None:
    @router.get("/sound/{sound_id}")
    def sound(sound_id: str) -> Response:
        """The speech of an answer that is being written, as it comes."""
        channel = services.sounds.channel(sound_id[:64])
        return StreamingResponse(wav_stream(channel.read()), media_type="audio/wav", headers=FRESH)

    @router.get("/aloud/{message_id}")
    def aloud(message_id: str, request: Request) -> Response:
        """A kept message, read aloud. A new one ends the one before it; so does the page by hanging up."""
        try:
            message = services.store.message(message_id)
        except AssistantError as error:
            return _refused(error, request)
        token = services.aloud.begin()
        chunks = services.dialogue.read_aloud(message.text, services.preferences.current.speech, token)
        pieces = wav_stream(chunks)
        try:
            first = next(pieces, b"")
        except AssistantError as error:
            return _refused(error, request)

        async def body() -> AsyncIterator[bytes]:
            try:
                yield first
                async for piece in iterate_in_threadpool(_quietly(pieces)):
                    yield piece
            finally:
                if not token.cancelled:
                    token.scope.cancel()

        return StreamingResponse(body(), media_type="audio/wav", headers=FRESH)

    @router.post("/dictate")
    async def dictate(request: Request) -> Response:
        """What is said in the recording that is the form's `file`."""
        scope = CancelScope()
        try:
            async with _uploaded(request, services.inbox) as (path, _):
                transcript = await run_in_threadpool(services.dialogue.dictate, path, scope.begin())
                path.unlink()
        except AssistantError as error:
            return _refused(error, request)
        except asyncio.CancelledError:
            scope.cancel()
            raise
        return JSONResponse(
            {"text": transcript.text, "language": transcript.language, "confidence": transcript.confidence},
            headers=FRESH,
        )


def _add_state(router: APIRouter, services: PageServices) -> None:
    @router.post("/engines/{role}/cancel")
    def cancel(role: str) -> Response:
        """Ends the load or the download of the role's engine; the one before it goes on answering."""
        if role not in ROLES:
            return Response(status_code=404)
        services.engines.cancel(role)
        return Response(status_code=204, headers=FRESH)

    @router.get("/state")
    def state(request: Request) -> Response:
        """The engines' states, for the chips on the page, and what the page must know of the preferences."""
        language = _language(request)
        return JSONResponse(
            {
                "engines": [_told(state, language) for state in services.engines.states()],
                "preferences": page_preferences(services.preferences.current),
                "notices": [in_language(n, language) for n in services.store.notices],
            },
            headers=FRESH,
        )


def _told(state: EngineState, language: Language) -> dict[str, object]:
    """An engine's state in the page's language."""
    said = {"text": in_language(state.text, language), "notice": in_language(state.notice, language)}
    return {**asdict(state), **said}


@contextlib.asynccontextmanager
async def _uploaded(request: Request, inbox: Inbox) -> AsyncIterator[tuple[Path, str]]:
    """The form's `file` in the inbox, and its name; removed again when the block fails."""
    async with request.form(max_files=1, max_fields=4) as form:
        sent = form.get("file")
        if not isinstance(sent, UploadFile):
            raise BadInput("There was no file in the request.")
        name = clean_name(sent.filename or "")
        path = await run_in_threadpool(inbox.receive, sent.file, name)
    try:
        yield path, name
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _quietly(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Sound that fails halfway ends there: the headers have long been sent."""
    try:
        yield from pieces
    except AssistantError as error:
        log.warning("reading aloud ended early: %s", error)


def _refused(error: AssistantError, request: Request) -> Response:
    status, language = 422 if isinstance(error, BadInput) else 503, _language(request)
    sentences = {"error": in_language(error.message, language), "remedy": in_language(error.remedy, language)}
    return JSONResponse(sentences, status_code=status, headers=FRESH)


def _language(request: Request) -> Language:
    """The page's language: both follow the browser."""
    return language_of(request.headers.get("accept-language", ""))
