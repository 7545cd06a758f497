"""The page's look for Gradio's own components: system fonts (nothing is fetched), quiet greys, one accent."""

from __future__ import annotations

import gradio as gr
from gradio.themes.utils.colors import Color

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans", "PingFang SC", "Noto Sans CJK SC", "sans-serif")
MONO_FONTS = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

ACCENT = Color(
    name="lucid",
    c50="#eef6f5",
    c100="#d6eae7",
    c200="#aed6d1",
    c300="#7fbcb5",
    c400="#4f9e96",
    c500="#2f837b",
    c600="#216a64",
    c700="#1b5651",
    c800="#184643",
    c900="#153b38",
    c950="#0a2220",
)
GREY = Color(
    name="lucid-grey",
    c50="#fbfbfa",
    c100="#f4f4f2",
    c200="#e8e8e5",
    c300="#d7d7d3",
    c400="#a3a39e",
    c500="#767672",
    c600="#565653",
    c700="#3d3d3b",
    c800="#262625",
    c900="#1b1b1a",
    c950="#131312",
)


def make_theme() -> gr.themes.Base:
    """Gradio's base theme in Lucid's colours."""
    return gr.themes.Base(
        primary_hue=ACCENT,
        secondary_hue=ACCENT,
        neutral_hue=GREY,
        font=FONTS,
        font_mono=MONO_FONTS,
        radius_size=gr.themes.sizes.radius_md,
    ).set(
        body_background_fill="#ffffff",
        body_background_fill_dark="#1b1b1a",
        body_text_color="#262625",
        body_text_color_dark="#ebebe8",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_shadow="none",
        background_fill_primary_dark="#1b1b1a",
        background_fill_secondary_dark="#222221",
        button_primary_background_fill="#216a64",
        button_primary_background_fill_hover="#1b5651",
        button_primary_background_fill_dark="#2f837b",
    )
