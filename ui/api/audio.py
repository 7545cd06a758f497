"""`POST /v1/audio/transcriptions` and `POST /v1/audio/speech`.

Shapes: https://platform.openai.com/docs/api-reference/audio
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from assistant.stateless import UnknownVoice
from models.hearing.languages import LANGUAGES
from models.interfaces import SpeechOptions
from models.streaming import CancelToken
from models.types import Transcript
from ui.api.answers import StreamedAnswer, bounded, json_body
from ui.api.encoding import FORMATS, encoded
from ui.api.errors import RequestRefused
from ui.api.fields import Fields
from ui.api.jobs import Job
from ui.api.service import ApiService
from ui.api.subtitles import json_of, srt, verbose_json_of, vtt
from ui.inbox import clean_name

TEXT_FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
GRANULARITIES = ("word", "segment")
LONGEST_SPEECH = 4096  # OpenAI's limit; about five minutes
SPEEDS = (0.25, 4.0)
MOST_FIELDS = 16
_FORM_OVERHEAD = 1 << 20


async def transcriptions(request: Request, service: ApiService) -> Response:
    """What is said in the form's `file`."""
    request = bounded(request, service.max_upload_bytes + _FORM_OVERHEAD)
    async with request.form(max_files=1, max_fields=MOST_FIELDS) as form:
        sent = form.get("file")
        if not isinstance(sent, UploadFile):
            raise RequestRefused("file must be a recording, in a multipart form.", param="file")
        fields = Fields({name: value for name, value in form.items() if isinstance(value, str)})
        service.model("hearing", fields.text("model"))
        language = _language(fields)
        kind = fields.choice("response_format", TEXT_FORMATS, "json")
        granularities = _granularities(form, kind)
        if fields.get("stream") not in (None, "", "false", "False", "0"):
            raise RequestRefused("Lucid transcribes in one piece: stream must be false.", param="stream")
        name = clean_name(sent.filename or "recording")
        path = await run_in_threadpool(service.inbox.receive, sent.file, name)
    try:
        transcript = await _transcript(request, service, path, name, language)
    finally:
        path.unlink(missing_ok=True)
    return _transcribed(transcript, kind, granularities)


async def _transcript(request: Request, service: ApiService, path: Path, name: str, language: str | None) -> Transcript:
    def work(cancel: CancelToken) -> Iterator[Transcript]:
        yield service.assistant.transcribe(path, name, language, cancel)

    job: Job[Transcript] = Job(request, service.lines["hearing"], work)
    try:
        async for transcript in job:
            return transcript
    finally:
        job.stop()
    return Transcript("")  # the client has gone: nobody reads this


def _language(fields: Fields) -> str | None:
    """Whisper's code of a language; a region ("zh-CN") makes no difference to it."""
    asked = fields.text("language", default="", most=20)
    if not asked:
        return None
    code = asked.replace("_", "-").partition("-")[0].lower()
    if code not in LANGUAGES:
        raise RequestRefused(
            "language must be an ISO 639-1 code that Whisper knows, such as en or zh.", param="language"
        )
    return code


def _granularities(form: FormData, kind: str) -> tuple[str, ...]:
    asked = [g for name in ("timestamp_granularities[]", "timestamp_granularities") for g in form.getlist(name)]
    for granularity in asked:
        if granularity not in GRANULARITIES:
            raise RequestRefused("timestamp_granularities takes word and segment.", param="timestamp_granularities")
    if asked and kind != "verbose_json":
        sentence = "timestamp_granularities goes with response_format verbose_json only."
        raise RequestRefused(sentence, param="timestamp_granularities")
    return tuple(str(g) for g in asked) or ("segment",)


def _transcribed(transcript: Transcript, kind: str, granularities: tuple[str, ...]) -> Response:
    if kind == "verbose_json":
        return JSONResponse(verbose_json_of(transcript, granularities))
    if kind == "json":
        return JSONResponse(json_of(transcript))
    text = {"text": lambda t: t.text + "\n", "srt": srt, "vtt": vtt}[kind](transcript)
    return PlainTextResponse(text, media_type="text/vtt" if kind == "vtt" else "text/plain")


async def speech(request: Request, service: ApiService) -> Response:
    """The text of the request as sound, sent while it is made."""
    fields = Fields(await json_body(request))
    service.model("speaking", fields.text("model"))
    text = fields.text("input", most=LONGEST_SPEECH).replace("\0", " ")  # espeak's strings end there
    kind = fields.choice("response_format", tuple(FORMATS), "mp3")
    if fields.choice("stream_format", ("audio", "sse"), "audio") == "sse":
        raise RequestRefused("Lucid sends the sound itself: stream_format must be audio.", param="stream_format")
    if fields.text("instructions", default=""):
        raise RequestRefused("Lucid's voices cannot be told how to speak.", param="instructions")
    options = SpeechOptions(_voice(fields), fields.number("speed", *SPEEDS, 1.0))
    job: Job[bytes] = Job(
        request,
        service.lines["speaking"],
        lambda cancel: encoded(service.assistant.speak(text, options, cancel), kind),
    )
    pieces = aiter(job)
    try:
        first = await anext(pieces, b"")
    except UnknownVoice as error:
        job.stop()
        raise RequestRefused(str(error), param="voice", code="unknown_voice") from error
    except BaseException:
        job.stop()
        raise
    return StreamedAnswer(_sound(job, first, pieces), FORMATS[kind])


async def _sound(job: Job[bytes], first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield first
        async for piece in pieces:
            if piece:
                yield piece
    finally:
        job.stop()


def _voice(fields: Fields) -> str:
    """The voice's name: a text, or OpenAI's `{"id": …}` for a voice of one's own. Left out: the engine's first."""
    if isinstance(fields.get("voice"), dict):
        return fields.object("voice").text("id", most=200)
    return fields.text("voice", default="", most=200)
