"""A model hub on loopback: as much of its HTTP interface as huggingface_hub and a download ask for."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PIECE = 1 << 14


@dataclass
class SmallHub:
    """What the hub holds and how it behaves. `commits`: repository → [(commit, {path: content}), …], the newest last.

    Attributes:
        cut_after: every answer with a file ends, connection and all, after so many bytes; None: never.
        pause_s: rest after each piece of 16 kB.
        stall: files' bodies never begin.
        refuse: repository → (status, X-Error-Code) for its files.
        lie: path → what is sent in place of the content.
        no_ranges: a Range header is overlooked.
        asked: (path, Range header or "") of each request for a file.
        sent: bytes of files that went out.
    """

    commits: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=dict)
    cut_after: int | None = None
    pause_s: float = 0.0
    stall: bool = False
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    lie: dict[str, bytes] = field(default_factory=dict)
    no_ranges: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    address: str = ""

    def add(self, repository: str, files: dict[str, bytes]) -> str:
        """A new commit of a repository. Returns its hash."""
        commit = hashlib.sha1(f"{repository}{len(self.commits.get(repository, []))}".encode()).hexdigest()
        self.commits.setdefault(repository, []).append((commit, files))
        return commit

    def find(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        known = self.commits.get(repository, [])
        if revision == "main" and known:
            return known[-1]
        return next((c for c in known if c[0] == revision), None)


@contextmanager
def serving(hub: SmallHub) -> Iterator[SmallHub]:
    """The hub, served until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Tests are quiet."""

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            listing = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path)
            file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            if listing:
                _list(self, hub, listing[1], listing[2] or "main")
            elif file:
                _send_file(self, hub, file[1], file[2], file[3])
            else:
                _refuse(self, 404, "RepoNotFound")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _refuse(request: BaseHTTPRequestHandler, status: int, code: str) -> None:
    request.send_response(status)
    if code:
        request.send_header("X-Error-Code", code)
    request.send_header("Content-Length", "0")
    request.end_headers()


def _list(request: BaseHTTPRequestHandler, hub: SmallHub, repository: str, revision: str) -> None:
    if repository not in hub.commits:
        return _refuse(request, 401, "RepoNotFound")  # what the hub says to those it does not know
    found = hub.find(repository, revision)
    if found is None:
        return _refuse(request, 404, "RevisionNotFound")
    siblings = []
    for path, content in found[1].items():
        entry: dict[str, Any] = {"rfilename": path, "size": len(content)}
        entry["blobId"] = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        if path.endswith((".safetensors", ".bin")):
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"size": len(content), "sha256": digest, "pointerSize": 130}
        siblings.append(entry)
    body = json.dumps({"id": repository, "sha": found[0], "siblings": siblings}).encode()
    request.send_response(200)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
    return None


def _send_file(request: BaseHTTPRequestHandler, hub: SmallHub, repository: str, revision: str, path: str) -> None:
    asked = request.headers.get("Range", "")
    hub.asked.append((path, asked))
    found = hub.find(repository, revision)
    if repository in hub.refuse:
        return _refuse(request, *hub.refuse[repository])
    if found is None or path not in found[1]:
        return _refuse(request, 404, "EntryNotFound")
    content = hub.lie.get(path, found[1][path])
    begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and not hub.no_ranges else 0
    request.send_response(206 if begin else 200)
    request.send_header("Content-Length", str(len(content) - begin))
    request.send_header("X-Repo-Commit", found[0])
    request.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
    if begin:
        request.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
    request.end_headers()
    if request.command == "HEAD":
        return None
    while hub.stall:
        time.sleep(0.02)
    rest = content[begin:]
    end = len(rest) if hub.cut_after is None else min(hub.cut_after, len(rest))
    for start in range(0, end, PIECE):
        piece = rest[start : min(start + PIECE, end)]
        try:
            request.wfile.write(piece)
        except OSError:
            return None  # the client has gone
        hub.sent += len(piece)
        time.sleep(hub.pause_s)
    if end < len(rest):
        request.close_connection = True
        request.connection.close()
    return None
