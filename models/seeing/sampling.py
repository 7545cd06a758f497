"""From logits to the next token: greedy, or nucleus sampling with temperature; repetition penalty over the answer."""

from __future__ import annotations

import torch

from models.interfaces import GenerationOptions


class Sampler:
    """Picks the tokens of one answer.

    The repetition penalty looks at what was *generated* only, never at the prompt: an answer that quotes a sign must
    be free to use the words that the prompt gives it.
    """

    def __init__(self, options: GenerationOptions, device: torch.device | str = "cpu") -> None:
        self._options = options
        self._generator: torch.Generator | None = None
        if options.temperature > 0:
            self._generator = torch.Generator(device=device)
            if options.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(options.seed)
        self._seen: set[int] = set()

    @torch.inference_mode()
    def pick(self, logits: torch.Tensor) -> int:
        """The next token.

        Args:
            logits: shape (vocabulary,), float32; it may be changed in place.
        """
        options = self._options
        if self._seen and options.repetition_penalty != 1.0:
            seen = torch.tensor(list(self._seen), device=logits.device)
            score = logits[seen]
            penalty = options.repetition_penalty
            logits[seen] = torch.where(score > 0, score / penalty, score * penalty)
        token = int(logits.argmax()) if self._generator is None else self._sample(logits)
        self._seen.add(token)
        return token

    def _sample(self, logits: torch.Tensor) -> int:
        """Nucleus sampling (Holtzman et al. 2020): among the fewest tokens whose probabilities reach `top_p`."""
        probabilities = torch.softmax(logits / self._options.temperature, dim=-1)
        ordered, tokens = probabilities.sort(descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        ordered = ordered.masked_fill(before >= max(self._options.top_p, 1e-6), 0.0)
        place = torch.multinomial(ordered, 1, generator=self._generator)
        return int(tokens[place])
