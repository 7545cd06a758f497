"""Puts our styles and scripts into the head of the page itself.

Gradio's `head=` adds them from JavaScript, when the page has been drawn already: it would be seen bare for a moment.
"""

from __future__ import annotations

from ui.asgi import ASGIApp, Message, Receive, Scope, Send

HEAD = b"""
<link rel="stylesheet" href="/lucid/static/lucid.css">
<link rel="stylesheet" href="/lucid/static/chat.css">
<link rel="stylesheet" href="/lucid/static/settings.css">
<link rel="icon" type="image/svg+xml" href="/lucid/static/lucid.svg">
<meta name="color-scheme" content="light dark">
<script type="module" src="/lucid/static/lucid.js"></script>
</head>"""


def with_head(app: ASGIApp) -> ASGIApp:
    """`app`, with `HEAD` at the end of the head of its page "/"."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            await app(scope, receive, send)
            return
        held: list[Message] = []

        async def collect(message: Message) -> None:
            if message["type"] not in ("http.response.start", "http.response.body"):
                await send(message)
                return
            held.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                body = b"".join(part.get("body", b"") for part in held[1:]).replace(b"</head>", HEAD, 1)
                kept = [(name, value) for name, value in held[0]["headers"] if name.lower() != b"content-length"]
                kept.append((b"content-length", str(len(body)).encode()))
                await send({**held[0], "headers": kept})
                await send({"type": "http.response.body", "body": body})

        # An answer that was squeezed could not be added to.
        plain = [(name, value) for name, value in scope["headers"] if name.lower() != b"accept-encoding"]
        await app({**scope, "headers": plain}, receive, collect)

    return respond
