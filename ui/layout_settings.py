"""The settings: Gradio's own components, in a panel that lucid.js opens and closes."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ui.html import icon, tag
from ui.i18n import LANGUAGES, translations
from ui.preferences import SAMPLING, SPEEDS

I18N = gr.I18n(
    **{language: translations(language) for language in LANGUAGES},
    **{tag: translations("zh") for tag in ("zh-CN", "zh-TW", "zh-HK", "zh-Hans", "zh-Hant")},
    **{tag: translations("en") for tag in ("en-US", "en-GB")},
)

# Built-in personas, their texts in the table of i18n.py.
PERSONAS = ("plain", "brief", "teacher", "describer")


@dataclass(frozen=True, eq=False)
class SettingsView:
    """The components of the settings."""

    seeing: gr.Dropdown
    hearing: gr.Dropdown
    speaking: gr.Dropdown
    speak: gr.Checkbox
    voice: gr.Dropdown
    speed: gr.Slider
    dictation: gr.Radio
    persona: gr.Dropdown
    prompt: gr.Textbox
    apply: gr.Button
    name: gr.Textbox
    keep: gr.Button
    remove: gr.Button
    language: gr.State
    sampling: dict[str, gr.Slider | gr.Number]
    usual: gr.Button


def settings_view() -> SettingsView:
    """Lays the settings out in the current `gr.Blocks`."""
    language = gr.State("en")
    with gr.Column(elem_id="lu-settings", min_width=0):
        close = tag(
            "button", icon("close"), id="lu-close-settings", type="button", class_="lu-button", data_t_label="close"
        )
        gr.HTML(f'<header><h2 data-t="settings"></h2>{close}</header>', js_on_load=None, apply_default_css=False)
        _heading("set.answers")
        seeing = _engine("seeing")
        gr.HTML(_loading(), elem_id="lu-loading-place", js_on_load=None, apply_default_css=False)
        sampling, usual = _sampling()
        persona = gr.Dropdown(label=I18N("set.persona"), choices=[], elem_id="lu-persona")
        prompt = gr.Textbox(
            label=I18N("set.prompt"), placeholder=I18N("set.prompt.place"), lines=3, max_lines=8, elem_id="lu-prompt"
        )
        apply = gr.Button(I18N("set.prompt.apply"), size="sm", variant="primary", elem_id="lu-apply")
        with gr.Row(elem_classes="lu-row"):
            name = gr.Textbox(label=I18N("set.persona.name"), max_lines=1, scale=3, min_width=120)
            keep = gr.Button(I18N("set.persona.save"), size="sm", scale=1, min_width=60)
            remove = gr.Button(I18N("set.persona.delete"), size="sm", scale=1, min_width=60)
        _heading("set.speaking")
        speak = gr.Checkbox(label=I18N("set.speak"), elem_id="lu-set-speak")
        speaking = _engine("speaking")
        voice = gr.Dropdown(label=I18N("set.voice"), choices=[], elem_id="lu-voice")
        speed = gr.Slider(*SPEEDS, step=0.05, value=1.0, label=I18N("set.speed"), elem_id="lu-speed")
        _heading("set.hearing")
        hearing = _engine("hearing")
        dictation = gr.Radio(
            label=I18N("set.dictation"),
            choices=[(I18N("set.dictation.edit"), "edit"), (I18N("set.dictation.send"), "send")],
            value="edit",
            elem_id="lu-dictation",
        )
    return SettingsView(
        seeing, hearing, speaking, speak, voice, speed, dictation, persona, prompt, apply, name, keep, remove, language,
        sampling, usual,
    )  # fmt: skip


def _loading() -> str:
    """How far the model that was chosen is; engines.js fills it in."""
    bar = tag("progress", "", id="lu-loading-bar", max="1", aria_labelledby="lu-loading-text")
    cancel = tag("button", "", id="lu-loading-cancel", type="button", class_="lu-plain", data_t="loading.cancel")
    said = tag("p", "", id="lu-loading-text", role="status")
    return tag("div", said + tag("div", bar + cancel), id="lu-loading", hidden=True)


def _sampling() -> tuple[dict[str, gr.Slider | gr.Number], gr.Button]:
    """How answers are drawn, out of the way for those who never ask."""
    made: dict[str, gr.Slider | gr.Number] = {}
    with gr.Accordion(I18N("set.sampling"), open=False, elem_id="lu-sampling"):
        for name, limits in SAMPLING.items():
            label, info = I18N(f"set.{name}"), I18N(f"set.{name}.info")
            if limits.slides:
                made[name] = gr.Slider(
                    limits.least, limits.most, step=limits.step, label=label, info=info, elem_id=f"lu-{name}"
                )
            else:
                made[name] = gr.Number(
                    minimum=limits.least, maximum=limits.most, precision=0, label=label, info=info,
                    elem_id=f"lu-{name}",
                )  # fmt: skip
        usual = gr.Button(I18N("set.sampling.usual"), size="sm", elem_id="lu-sampling-usual")
    return made, usual


def _heading(key: str) -> None:
    gr.HTML(f'<h3 data-t="{key}"></h3>', js_on_load=None, apply_default_css=False)


def _engine(role: str) -> gr.Dropdown:
    return gr.Dropdown(
        label=I18N("set.engine"),
        choices=[],
        allow_custom_value=True,
        elem_id=f"lu-engine-{role}",
        elem_classes="lu-engine-field",
    )
