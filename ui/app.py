"""Puts the page together: Gradio's Blocks on a FastAPI application, behind the door of ui/security.py."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from fastapi import FastAPI

from assistant.dialogue import DialogueManager
from ui.api.keys import api_key
from ui.api.routes import api_app, api_service
from ui.asgi import ASGIApp
from ui.head import with_head
from ui.layout import page_view
from ui.layout_settings import I18N
from ui.routes import page_routes
from ui.security import secure
from ui.services import PageServices
from ui.theme import make_theme
from ui.wiring import wire


def build_blocks(services: PageServices) -> gr.Blocks:
    """The Gradio part of the page."""
    with gr.Blocks(title="Lucid", fill_width=True, analytics_enabled=False) as blocks:
        view = page_view()
        wire(view, services)
    blocks.queue(default_concurrency_limit=None)
    return blocks


def create_app(dialogue: DialogueManager, temporary: Path, *, port: int) -> tuple[ASGIApp, PageServices]:
    """The whole application.

    Args:
        dialogue: what answers.
        temporary: a private folder for uploads (see `ui.temporary`).
        port: where it is going to be served.
    """
    settings = dialogue.settings
    services = PageServices.of(dialogue, temporary)
    app = FastAPI(title="Lucid", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(page_routes(services))
    gr.mount_gradio_app(
        app,
        build_blocks(services),
        path="/",
        i18n=I18N,
        theme=make_theme(),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        show_error=True,
        max_file_size=settings.max_upload_mb << 20,
    )
    guarded = secure(
        with_head(app),
        host=settings.host,
        port=port,
        auth=settings.auth,
        max_upload_bytes=settings.max_upload_mb << 20,
        api=api_app(api_service(services), api_key(settings)) if settings.api else None,
    )
    return guarded, services
