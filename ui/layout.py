"""The page's parts and where they stand. What happens in them is wired in wiring.py; how they look is in lucid.css."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ui.html import icon, tag
from ui.layout_settings import SettingsView, settings_view

# Calls that lucid.js makes through the bridge: each is an event of that component.
CALLS = (
    "open", "earlier", "send", "edit", "again", "stop", "prompt",
    "rename", "delete", "clear", "search", "prefer", "settings", "engines",
)  # fmt: skip
# Gradio takes an event for declared when its name stands in quotes in this text.
_BRIDGE_JS = (
    f"const calls = {list(CALLS)!r}; window.lucidBridge = trigger; window.dispatchEvent(new Event('lucid:bridge'));"
)
_SIGNAL_JS = "watch('value', () => window.dispatchEvent(new CustomEvent('lucid:signal', {detail: props.value})));"

LATEX: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]


@dataclass(frozen=True, eq=False)
class PageView:
    """The components that handlers read or write."""

    bridge: gr.HTML
    signal: gr.HTML
    listed: gr.HTML
    history: gr.Chatbot
    live: gr.Chatbot
    settings: SettingsView


def page_view() -> PageView:
    """Lays the page out in the current `gr.Blocks`."""
    with gr.Row(elem_id="lucid"):
        with gr.Column(elem_id="lu-side", min_width=0):
            static(_side_head(), "lu-side-head")
            listed = gr.HTML("", elem_id="lu-conversations", js_on_load=None, apply_default_css=False)
            static(_side_foot(), "lu-side-foot")
        with gr.Column(elem_id="lu-main", min_width=0):
            static(_top(), "lu-top")
            with gr.Column(elem_id="lu-scroll", min_width=0):
                static(_welcome(), "lu-welcome")
                history = _chatbot("lu-history")
                live = _chatbot("lu-live")
            static(_composer(), "lu-composer")
    settings = settings_view()
    static(_dialogs(), "lu-dialogs")
    bridge = gr.HTML("", elem_id="lu-bridge", js_on_load=_BRIDGE_JS)
    signal = gr.HTML("", html_template="", elem_id="lu-signal", js_on_load=_SIGNAL_JS)
    return PageView(bridge, signal, listed, history, live, settings)


def static(html: str, elem_id: str) -> gr.HTML:
    """HTML that never changes; its texts (`data-t…`) are filled in by lucid.js in the browser's language."""
    inside = tag("div", html, class_="lu-in")
    return gr.HTML(inside, elem_id=elem_id, js_on_load=None, apply_default_css=False)


def button(picture: str, key: str, elem_id: str, *, words: bool = False, **attributes: str | bool) -> str:
    """A button with an icon, and with its text beside it if `words`."""
    inner = icon(picture) + (tag("span", "", data_t=key) if words else "")
    label = {} if words else {"data_t_label": key}
    return tag(
        "button",
        inner,
        id=elem_id,
        type="button",
        class_="lu-button lu-words" if words else "lu-button",
        **label,
        **attributes,
    )


def _chatbot(elem_id: str) -> gr.Chatbot:
    return gr.Chatbot(
        elem_id=elem_id,
        show_label=False,
        container=False,
        height=None,
        autoscroll=False,
        layout="panel",
        buttons=[],
        feedback_options=None,
        latex_delimiters=LATEX,
        sanitize_html=True,
        allow_tags=False,
        group_consecutive_messages=False,
        allow_file_downloads=False,
    )


def logo() -> str:
    """A lens that light passes through."""
    return (
        '<svg class="lu-logo" viewBox="0 0 32 32" aria-hidden="true"><circle cx="16" cy="16" r="10.5"/><path d="'
        'M2 16h7.5M16 9.5c-2.6 4-2.6 9 0 13 2.6-4 2.6-9 0-13zM22.5 12.5 30 9M22.5 16H30M22.5 19.5 30 23"/></svg>'
    )


def _side_head() -> str:
    search = (
        '<label class="lu-search">' + icon("search") + '<input id="lu-search" type="search" autocomplete="off" '
        'data-t-place="search" data-t-label="search"><kbd>Ctrl K</kbd></label>'
    )
    brand = f'<div class="lu-brand">{logo()}<span>Lucid</span>{button("panel", "sidebar.close", "lu-fold")}</div>'
    return brand + button("plus", "new", "lu-new", words=True) + search


def _side_foot() -> str:
    return (
        '<div id="lu-engines" role="status"></div><div class="lu-foot">'
        + button("gear", "settings", "lu-open-settings", words=True)
        + button("import", "import", "lu-import")
        + button("theme", "theme", "lu-theme")
        + button("help", "help", "lu-open-help")
        + '<input id="lu-import-file" type="file" accept=".zip" hidden></div>'
    )


def _top() -> str:
    return (
        '<a class="lu-skip" href="#lu-text" data-t="skip"></a>'
        + button("panel", "sidebar.open", "lu-unfold")
        + '<h1 id="lu-title"></h1>'
        + button("clear", "clear", "lu-clear")
        + button("plus", "new", "lu-new-top")
        + '<div id="lu-announcer" class="lu-hidden" aria-live="polite" role="status"></div>'
    )


def _welcome() -> str:
    examples = "".join(
        tag("button", tag("span", "", data_t=f"example.{n}"), type="button", class_="lu-example", data_example=str(n))
        for n in (1, 2, 3, 4)
    )
    return (
        f'<div class="lu-hello">{logo()}<h2 data-t="welcome.title"></h2><p data-t="welcome.text"></p>'
        f'<div class="lu-examples">{examples}</div><p class="lu-tagline" data-t="app.tagline"></p></div>'
    )


def _composer() -> str:
    return (
        '<div id="lu-notice" role="alert"></div><form id="lu-form" class="lu-form"><div id="lu-chips"></div>'
        '<textarea id="lu-text" rows="1" data-t-place="composer" data-t-label="composer.label"></textarea>'
        '<div id="lu-recording" hidden><span class="lu-dot"></span><span data-t="mic.listening"></span>'
        '<canvas id="lu-level" width="240" height="28" aria-hidden="true"></canvas>'
        '<time id="lu-clock">0:00</time></div>'
        '<div class="lu-tools">'
        + button("clip", "attach", "lu-attach")
        + button("camera", "camera", "lu-camera")
        + button("mic", "mic", "lu-mic", aria_pressed="false")
        + '<span class="lu-space"></span>'
        + _speak_button()
        + '<button id="lu-send" type="submit" class="lu-go" data-t-label="send" disabled>'
        + icon("send")
        + "</button>"
        + '<button id="lu-stop" type="button" class="lu-go" data-t-label="stop" hidden>'
        + icon("stop")
        + "</button>"
        "</div>"
        '<input id="lu-files" type="file" multiple accept="image/*,audio/*,video/*" hidden tabindex="-1"></form>'
        '<p class="lu-hint" data-t="hint"></p>'
    )


def _speak_button() -> str:
    pictures = tag("span", icon("mute"), class_="lu-when-off") + tag("span", icon("sound"), class_="lu-when-on")
    return tag(
        "button",
        pictures,
        id="lu-speak",
        type="button",
        class_="lu-button",
        data_t_label="set.speak",
        aria_pressed="false",
    )


def _dialogs() -> str:
    """Native dialogs: they keep the focus inside and close with Escape by themselves."""
    keys = (
        ("key.send", "Enter"), ("key.line", "Shift Enter"), ("key.stop", "Esc"),
        ("key.search", "Ctrl K"), ("key.new", "Ctrl Shift O"), ("key.help", "Ctrl /"),
    )  # fmt: skip
    rows = "".join(
        tag(
            "tr",
            f'<th scope="row" data-t="{key}"></th>' + tag("td", "".join(tag("kbd", k) for k in combination.split())),
        )
        for key, combination in keys
    )
    return "".join(
        (
            _dialog("lu-help", "help", f"<table>{rows}</table>", autofocus=True, tabindex="-1"),
            _confirmation(),
            _dialog(
                "lu-webcam",
                "camera",
                '<video id="lu-webcam-view" autoplay playsinline muted></video><footer>'
                '<button type="button" class="lu-primary" id="lu-webcam-take" data-t="camera.take"></button></footer>',
            ),
            f'<dialog id="lu-lightbox">{_closer()}<img id="lu-lightbox-view" alt=""></dialog>',
            '<div id="lu-menu" role="menu" hidden></div>',
            '<div id="lu-drop" aria-hidden="true"><span data-t="drop"></span></div>',
        )
    )


def _dialog(elem_id: str, title: str, inside: str, **attributes: str | bool) -> str:
    heading = tag("h2", "", id=f"{elem_id}-title", data_t=title)
    header = tag("header", heading + _closer())
    return tag("dialog", header + inside, id=elem_id, aria_labelledby=f"{elem_id}-title", **attributes)


def _confirmation() -> str:
    return (
        '<dialog id="lu-confirm" role="alertdialog" aria-labelledby="lu-confirm-title"><h2 id="lu-confirm-title"></h2>'
        '<p id="lu-confirm-text"></p><footer>'
        '<button type="button" class="lu-plain" data-close data-t="cancel"></button>'
        '<button type="button" class="lu-danger" id="lu-confirm-yes"></button></footer></dialog>'
    )


def _closer() -> str:
    return button("close", "close", "", data_close=True)
