"""Messages to the text that a checkpoint's own chat template makes of them.

How the template wants its messages is tried out once, on a small chat: content as a list of parts or as a string, with
or without a system turn, pictures where they stand or always first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from models.errors import EngineFailure
from models.seeing.prompt import clock, heard
from models.types import AudioPart, ImagePart, Message, Picture, TextPart, VideoPart

Part = dict[str, str]
_IMAGE: Part = {"type": "image"}
# Words that no template contains, to find again in what it made.
_FIRST, _SECOND, _SYSTEM = "zebrafish", "quartzite", "marzipan"


class ChatTemplate:
    """Renders chats for one checkpoint.

    Args:
        processor: the checkpoint's processor.
        single_turn: the model answers the last question only; see `capabilities`.
    """

    def __init__(self, processor: Any, *, single_turn: bool = False) -> None:
        self._processor = processor
        self._single_turn = single_turn
        self.image_token = str(getattr(processor, "image_token", None) or "<image>")
        self._template = _template_of(processor)
        self._forbidden = _pattern(_control_tokens(processor, self._template))
        self._said = _pattern(_special_tokens(processor))
        self._parts = self._understands([{"role": "user", "content": [dict(_IMAGE), _text(_FIRST)]}], 1)
        system: list[dict[str, Any]] = [{"role": "system", "content": [_text(_SYSTEM)]}]
        question = {"role": "user", "content": self._content([_text(_FIRST)])}
        self._system_as: str | None = None
        if self._understands([*system, question], 0, _SYSTEM):
            self._system_as = "parts"
        elif self._understands([{"role": "system", "content": _SYSTEM}, question], 0, _SYSTEM):
            self._system_as = "text"
        self._in_order = self._keeps_order()

    def text(self, messages: Sequence[Message]) -> tuple[str, str]:
        """(the chat open for the answer, what the assistant has already said of it), each picture as `image_token`.

        Raises:
            EngineFailure: the template refuses the conversation.
        """
        begun = ""
        if messages and messages[-1].role == "assistant":
            begun, messages = self.harmless_answer(messages[-1].text), messages[:-1]
        if self._template is None or self._single_turn:
            return self._plain(messages), begun
        try:
            return self._render(self._chat(messages)), begun
        except Exception as error:  # templates raise what they like: jinja2's errors, TypeError, ValueError
            raise EngineFailure(
                f"The model's chat template does not take this conversation: {error}.", "Start a new conversation."
            ) from error

    def pictures(self, messages: Sequence[Message]) -> tuple[Picture, ...]:
        """The pictures in the order of the image tokens that `text` writes."""
        return tuple(picture for message in messages for picture in message.pictures)

    def harmless(self, text: str) -> str:
        """Text in which nothing is a control token of this checkpoint, whoever wrote it: "<image>" → "< image>"."""
        return _split_up(self._forbidden, text.replace(self.image_token, _opened(self.image_token)))

    def harmless_answer(self, text: str) -> str:
        """The same for what the model said; marks of its own thoughts, which templates look for, stay."""
        return _split_up(self._said, text.replace(self.image_token, _opened(self.image_token)))

    # -- the chat --------------------------------------------------------------------------------------------------

    def _chat(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        turns: list[tuple[str, list[Part]]] = []
        folded: list[Part] = []
        for message in messages:
            parts = self._parts_of(message)
            if message.role == "system" and self._system_as is None:
                folded += parts
                continue
            if message.role == "user" and folded:
                parts, folded = [*folded, *parts], []
            if turns and turns[-1][0] == message.role:  # many templates insist that roles alternate
                turns[-1][1].append(_text("\n"))
                turns[-1][1].extend(parts)
            else:
                turns.append((message.role, parts))
        if folded:
            turns.insert(0, ("user", folded))
        chat: list[dict[str, Any]] = []
        for role, parts in turns:
            as_text = role == "system" and self._system_as == "text"
            chat.append({"role": role, "content": "".join(p.get("text", "") for p in parts) if as_text else parts})
        return [m if isinstance(m["content"], str) else {**m, "content": self._content(m["content"])} for m in chat]

    def _content(self, parts: Sequence[Part]) -> list[Part] | str:
        if self._parts:
            return _joined(parts)
        return "".join(f"{self.image_token}\n" if p["type"] == "image" else p["text"] for p in parts)

    def _parts_of(self, message: Message) -> list[Part]:
        """What is attached, then what is said; between two pieces of text a new line."""
        clean = self.harmless_answer if message.role == "assistant" else self.harmless
        attached: list[Part] = []
        for part in message.parts:
            if isinstance(part, ImagePart):
                attached.append(dict(_IMAGE))
            elif isinstance(part, AudioPart):
                attached.append(_text(clean(heard("The recording", part.transcript.text)) + "\n"))
            elif isinstance(part, VideoPart):
                attached.extend(self._video(part))
        words = "\n".join(part.text for part in message.parts if isinstance(part, TextPart))
        return [*attached, _text(clean(words))] if words or not attached else attached

    def _video(self, part: VideoPart) -> Iterator[Part]:
        """Frames behind their times; where the template puts pictures first, the times in one sentence."""
        frames = part.clip.frames
        times = [clock(frame.time or 0.0) for frame in frames]
        yield _text(f"A video of {round(part.clip.seconds)} seconds:\n")
        if self._in_order:
            for time in times:
                yield _text(f"{time}\n")
                yield dict(_IMAGE)
                yield _text("\n")
        else:
            yield from (dict(_IMAGE) for _ in frames)
            yield _text(f"Its frames were taken at {', '.join(times)}.\n")
        if part.transcript is not None:
            yield _text(self.harmless(heard("The sound of the video", part.transcript.text)) + "\n")

    def _plain(self, messages: Sequence[Message]) -> str:
        """For checkpoints without a template: all pictures, then the last question, or every turn by its speaker."""
        images = self.image_token * len(self.pictures(messages))
        if self._single_turn:
            last = next((m for m in reversed(messages) if m.role == "user"), None)
            return images + (self.harmless(last.text) if last else "")
        lines = []
        for message in messages:
            words = "".join(p.get("text", "") or self.image_token for p in self._parts_of(message))
            lines.append(words if message.role == "system" else f"{message.role.upper()}: {words}")
        return "\n".join([*lines, "ASSISTANT:"])

    # -- the template ----------------------------------------------------------------------------------------------

    def _render(self, chat: Sequence[dict[str, Any]]) -> str:
        made = self._processor.apply_chat_template(list(chat), tokenize=False, add_generation_prompt=True)
        return str(made)

    def _understands(self, chat: Sequence[dict[str, Any]], images: int, word: str = _FIRST) -> bool:
        """Whether the template writes the words and the pictures' tokens of `chat`, and no Python beside them."""
        if self._template is None:
            return False
        try:
            made = self._render(chat)
        except Exception:  # see `text`; a refusal is the answer that is looked for
            return False
        return word in made and made.count(self.image_token) == images and "'type'" not in made

    def _keeps_order(self) -> bool:
        if not self._parts:
            return True  # the image tokens are put into the text
        chat = [{"role": "user", "content": [_text(_FIRST), dict(_IMAGE), _text(_SECOND)]}]
        made = self._render(chat)
        return made.find(_FIRST) < made.find(self.image_token) < made.find(_SECOND)


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Neighbouring texts as one: some templates put something between parts."""
    found: list[Part] = []
    for part in parts:
        if found and part["type"] == found[-1]["type"] == "text":
            found[-1] = _text(found[-1]["text"] + part["text"])
        else:
            found.append(part)
    return found


def _template_of(processor: Any) -> str | None:
    template = getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)
    if isinstance(template, dict):
        template = template.get("default")
    return str(template) if template else None


def _special_tokens(processor: Any) -> set[str]:
    """Special tokens of the tokenizer, and what the processor names as one (`image_token`, `boi_token` …)."""
    tokenizer = processor.tokenizer
    found = {str(t.content) for t in tokenizer.added_tokens_decoder.values() if t.special}
    found |= {str(t) for t in tokenizer.all_special_tokens}
    for owner in (processor, tokenizer):
        found |= {v for k, v in vars(owner).items() if k.endswith("_token") and isinstance(v, str)}
    return {token for token in found if token.strip()}


def _control_tokens(processor: Any, template: str | None) -> set[str]:
    """Also added tokens that the template writes, such as `<think>`. Others (HTML tags in Gemma) are ordinary text."""
    added = {str(t.content) for t in processor.tokenizer.added_tokens_decoder.values()}
    written = {token for token in added if token.strip() and token in (template or "")}
    return _special_tokens(processor) | written


def _pattern(tokens: set[str]) -> re.Pattern[str]:
    """Longest first, so that a token is found before the tokens that it contains."""
    ordered = sorted((t for t in tokens if len(t) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) or "(?!)")


def _opened(token: str) -> str:
    return f"{token[0]} {token[1:]}"


def _split_up(pattern: re.Pattern[str], text: str) -> str:
    """`text` with a space behind the first character of every match: four times, should that make another one."""
    for _ in range(4):
        if not pattern.search(text):
            break
        text = pattern.sub(lambda found: _opened(found.group()), text)
    return text
