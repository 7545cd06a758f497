"""How fast answers are made: our decoder against transformers' plain `generate` on the same weights, interleaved.

python -m benchmarks.generation [--runs 5] [--tokens 64]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

QUESTION = "Explain in a few sentences how a rainbow forms and why its colours are always in the same order."


@dataclass(frozen=True)
class GenerationFigures:
    """Medians over the runs.

    Attributes:
        plain, ours: tokens a second while decoding, prefill included.
        ratio: median of the runs' own ratios, ours over plain.
        load_s: from nothing imported to ready, once (the imports count only if nothing had imported torch before).
        first_token_s: from question to first token, cold.
        warm_first_token_s: the same question asked again.
        agreement: share of positions at which our decoder picks the token that plain bfloat16 picks, given the
            same text before.
    """

    plain: float
    ours: float
    ratio: float
    load_s: float
    first_token_s: float
    warm_first_token_s: float
    agreement: float


def measure(runs: int) -> list[tuple[str, str, str]]:
    """Rows of (what, figure, aim) for `launch.py bench`."""
    found = figures(runs)
    return [
        ("tokens/s, plain generate", f"{found.plain:.1f}", ""),
        ("tokens/s, Lucid's decoder", f"{found.ours:.1f} ({found.ratio:.2f}×)", "≥ 1.8× plain generate"),
        ("same greedy token as plain generate", f"{found.agreement:.1%}", ""),
        ("first token, same prompt again over cold", f"{found.warm_first_token_s / found.first_token_s:.2f}×", ""),
    ]


def figures(runs: int = 5, tokens: int = 64) -> GenerationFigures:
    """Runs plain `generate` and ours in turn, `runs` times each, `tokens` greedy tokens from the same prompt."""
    begun = time.perf_counter()
    from models.seeing import load_vision_language_model

    load_vision_language_model("smollm2-evidence", offline=True)
    load_s = time.perf_counter() - begun

    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    from models.interfaces import GenerationOptions
    from models.seeing.generation import Prompt, TokenLoop
    from models.seeing.llama_decoder import LlamaDecoder
    from models.seeing.prompt import chat_turns, chatml
    from models.streaming import never_cancelled
    from models.types import Message
    from models.weights import smollm2_folder

    folder = smollm2_folder()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = chatml(chat_turns([Message.of_text("user", QUESTION)], {}))
    prompt = Prompt(tuple(tokenizer.encode(text, add_special_tokens=False).ids))
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    ids = torch.tensor([prompt.tokens])
    options = GenerationOptions(max_new_tokens=tokens, repetition_penalty=1.0)
    decoder = LlamaDecoder.from_folder(folder)
    # No stop token: both sides make exactly `tokens` tokens.
    loop = TokenLoop(decoder, lambda t: tokenizer.decode(list(t)), frozenset())

    def plain() -> int:
        model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False
        )
        return tokens

    def ours() -> int:
        return sum(d.tokens for d in loop.stream(prompt, options, never_cancelled()))

    plain(), ours()  # both once to warm up
    pairs = [(_rate(plain), _rate(ours)) for _ in range(runs)]
    cold, warm = _first_tokens(loop, prompt, options, runs)
    return GenerationFigures(
        plain=statistics.median(p for p, _ in pairs),
        ours=statistics.median(o for _, o in pairs),
        ratio=statistics.median(o / p for p, o in pairs),
        load_s=load_s,
        first_token_s=statistics.median(cold),
        warm_first_token_s=statistics.median(warm),
        agreement=_agreement(model, decoder, prompt.tokens, tokens),
    )


def _first_tokens(  # type: ignore[no-untyped-def]
    loop, prompt, options, runs: int
) -> tuple[list[float], list[float]]:
    """Seconds to the first token, cold and asked again, in turn."""
    from models.streaming import never_cancelled

    def once() -> float:
        begun = time.perf_counter()
        stream = loop.stream(prompt, options, never_cancelled())
        next(stream)
        took = time.perf_counter() - begun
        stream.close()
        return took

    cold, warm = [], []
    for _ in range(runs):
        loop.forget()
        cold.append(once())
        warm.append(once())
    return cold, warm


def _rate(work: Callable[[], int]) -> float:
    begun = time.perf_counter()
    return work() / (time.perf_counter() - begun)


def _agreement(model, decoder, prompt: tuple[int, ...], tokens: int) -> float:  # type: ignore[no-untyped-def]
    """Share of equal greedy choices, with the plain model's own answer as the text before both."""
    import torch

    with torch.inference_mode():
        ids = torch.tensor([prompt])
        made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False)[0]
        answer = made[len(prompt) :].tolist()
        decoder.begin(0, {})
        logits = decoder.forward(prompt)
        same = 0
        for token in answer:
            same += int(logits.argmax()) == token
            logits = decoder.forward((token,))
    return same / len(answer)


def main() -> int:
    """Prints the figures. Returns 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    found = figures(options.runs, options.tokens)
    for line in (
        f"plain generate      {found.plain:6.1f} tok/s",
        f"Lucid's decoder     {found.ours:6.1f} tok/s, {found.ratio:.2f}×",
        f"engine load         {found.load_s:6.2f} s",
        f"first token         {found.first_token_s * 1e3:6.0f} ms cold, {found.warm_first_token_s * 1e3:.0f} ms warm",
        f"same greedy choice  {found.agreement:6.1%} of tokens as plain bfloat16",
    ):
        sys.stdout.write(line + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
