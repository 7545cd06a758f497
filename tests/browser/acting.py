"""What a person does on the page, for the tests."""

from __future__ import annotations

from typing import Any


def say(page: Any, text: str, *, wait: bool = True) -> None:
    """Types and sends; waits until the answer is over if `wait`."""
    page.fill("#lu-text", text)
    page.press("#lu-text", "Enter")
    if wait:
        answered(page)


def answered(page: Any) -> None:
    """Waits until nothing is being answered and the answer stands in the history."""
    page.wait_for_selector("#lu-send", state="visible")
    page.wait_for_selector("#lu-history .lu-answer")
    page.wait_for_function("!document.querySelector('#lu-live .message-row')")


def answers(page: Any) -> list[str]:
    """The texts of all answers on the page."""
    return [t.strip() for t in page.locator("[data-testid=bot] .message-content").all_inner_texts()]


def conversation_of(page: Any) -> str:
    return str(page.evaluate("location.hash.slice(1)"))
