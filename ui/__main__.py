"""`python -m ui`: serves the page until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from assistant.config import (
    Settings,
    add_page_arguments,
    add_settings_arguments,
    is_loopback,
    load_settings,
    start_logging,
)
from models.errors import AssistantError, SettingsError

if TYPE_CHECKING:
    import uvicorn

PORTS_TRIED = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the page. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="launch.py", description="Lucid, an assistant on your own machine.")
    add_settings_arguments(parser)
    add_page_arguments(parser)
    try:
        settings = load_settings(vars(parser.parse_args(arguments)))
        start_logging(settings)
        serve(settings)
    except AssistantError as error:
        sys.stderr.write(f"lucid: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        pass
    return 0


def serve(settings: Settings) -> None:
    """Serves the page and blocks until it is told to stop."""
    from ui.temporary import private_temporary_folder

    temporary = private_temporary_folder(settings.data_dir)
    # Before Gradio is imported: it reads these once.
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1", GRADIO_SSR_MODE="False")
    listener = bind(settings.host, settings.port)
    port = listener.getsockname()[1]
    if port != settings.port:
        _say(f"Port {settings.port} is taken; Lucid uses {port}.")

    import uvicorn

    from assistant.session import open_dialogue
    from ui.api.keys import introduction
    from ui.app import create_app

    with listener, open_dialogue(settings) as dialogue:
        app, services = create_app(dialogue, temporary, port=port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2))
        address = f"http://{_shown(settings.host)}:{port}"
        said = [
            f"Lucid is at {address} (stop it with Ctrl-C)",
            *(introduction(settings, address) if settings.api else ()),
        ]
        opener = threading.Thread(
            target=_when_listening,
            args=(server, said, address if settings.browser else "", dialogue.engines.warm),
            daemon=True,
        )
        opener.start()
        if threading.current_thread() is threading.main_thread():
            # After its own shutdown uvicorn raises the signal again, which by default ends Python before it tidies up.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            server.run(sockets=[listener])
        finally:
            services.close()


def bind(host: str, first: int) -> socket.socket:
    """A socket on the first free port from `first` on. Raises `SettingsError` when there is none, or no such host."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    error: OSError | None = None
    for port in range(first, min(first + PORTS_TRIED, 65536)):
        listener = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":  # elsewhere the option lets two programs share one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(128)
            return listener
        except OSError as reason:
            error = reason
            listener.close()
    raise SettingsError(
        f"Lucid cannot be served on {host}, ports {first} to {first + PORTS_TRIED - 1}: {error}.", "Try another --port."
    )


def _when_listening(server: uvicorn.Server, said: Sequence[str], opened: str, warm: Callable[[], object]) -> None:
    """Says where the page is, opens it, and begins to load the models: the page comes first."""
    while not server.started:
        time.sleep(0.02)
    for line in said:
        _say(line)
    if opened:
        webbrowser.open(opened)
    warm()


def _shown(host: str) -> str:
    return "127.0.0.1" if is_loopback(host) or host in ("0.0.0.0", "::") else host


def _say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
