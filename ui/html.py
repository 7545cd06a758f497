"""Small pieces of HTML, every text in them escaped."""

from __future__ import annotations

from html import escape
from typing import Any

# Drawn for Lucid on a 24 × 24 grid, in strokes of the text's own colour.
ICONS: dict[str, str] = {
    "plus": "M12 5v14M5 12h14",
    "search": "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16.2 16.2 20.5 20.5",
    "panel": "M4 5.5h16v13H4zM9.5 5.5v13",
    "send": "M12 19V5M6 11l6-6 6 6",
    "stop": "M7.5 7.5h9v9h-9z",
    "clip": "M20 11.2 12 19a5 5 0 0 1-7-7l8.2-8a3.3 3.3 0 0 1 4.7 4.7l-8.2 8a1.6 1.6 0 0 1-2.3-2.3l7.4-7.3",
    "camera": "M4 8h3.5L9 5.8h6L16.5 8H20v10.5H4zM12 10a3.2 3.2 0 1 0 0 6.4A3.2 3.2 0 0 0 12 10z",
    "mic": "M12 4a2.6 2.6 0 0 0-2.6 2.6v5a2.6 2.6 0 0 0 5.2 0v-5A2.6 2.6 0 0 0 12 4zM6 11.5a6 6 0 0 0 12 0M12 17.5v3",
    "sound": "M4.5 9.5v5h3.2L12 18.3V5.7L7.7 9.5zM15.2 9a4.3 4.3 0 0 1 0 6M17.8 6.6a7.8 7.8 0 0 1 0 10.8",
    "mute": "M4.5 9.5v5h3.2L12 18.3V5.7L7.7 9.5zM16 9.8l4.4 4.4M20.4 9.8 16 14.2",
    "copy": "M9 9h10.5v10.5H9zM5.5 15H4.5V4.5H15v1",
    "again": "M19 12a7 7 0 1 1-2.2-5.1M19.3 3.8v4h-4",
    "edit": "M5 19h3.4L19 8.4 15.6 5 5 15.6zM13.4 7.2l3.4 3.4",
    "more": "M6 12h.01M12 12h.01M18 12h.01",
    "gear": "M5 7h8M17 7h2M5 17h2M11 17h8M5 12h3M12 12h7M15 5v4M9 15v4M10 10v4",
    "help": "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM9.8 9.6a2.3 2.3 0 1 1 3.3 2.1c-.7.4-1.1.9-1.1 1.7M12 16.3h.01",
    "theme": "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
    "import": "M12 4v10M8 10.2l4 4 4-4M5 16v3.5h14V16",
    "export": "M12 14.5V4.5M8 8.3l4-4 4 4M5 16v3.5h14V16",
    "close": "M6.5 6.5l11 11M17.5 6.5l-11 11",
    "trash": "M5 7h14M9.5 7V4.8h5V7M7 7l.8 12.2h8.4L17 7M10.3 10.5v5.5M13.7 10.5v5.5",
    "check": "M5 12.5l4.5 4.5L19 7.5",
    "eye": "M3 12s3.3-5.8 9-5.8S21 12 21 12s-3.3 5.8-9 5.8S3 12 3 12zM12 9.4a2.6 2.6 0 1 0 0 5.2 2.6 2.6 0 0 0 0-5.2z",
    "clear": "M4.5 18.5h15M7 15.5l-2.2-2.2 8-8 5.4 5.4-4.8 4.8zM9.4 8.7l5.4 5.4",
}


def icon(name: str) -> str:
    """An icon, hidden from screen readers: the button that holds it has a label."""
    return (
        f'<svg class="lu-icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d="{ICONS[name]}"/></svg>'
    )


def tag(name: str, content: str = "", **attributes: Any) -> str:
    """`<name …>content</name>`. `content` is HTML; attribute values are escaped.

    Attributes that are None or False are left out; True gives the bare attribute. `class_` becomes class, `data_act`
    data-act.
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        label = key.rstrip("_").replace("_", "-")
        if value is True:
            written.append(f" {label}")
        else:
            written.append(f' {label}="{escape(str(value))}"')
    opened = f"<{name}{''.join(written)}>"
    return opened if name in ("img", "input") else f"{opened}{content}</{name}>"


def icon_button(picture: str, label: str, **attributes: Any) -> str:
    """A button with an icon alone, its label for tooltips and screen readers."""
    attributes.setdefault("class_", "lu-button")
    return tag("button", icon(picture), type="button", title=label, aria_label=label, **attributes)
