"""From logits to the next token: greedy, or drawn from the likeliest; repetition penalty over the answer."""

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
        """Draws among the tokens that `top_k`, `min_p` and `top_p` all leave, `top_p` counted before the others cut."""
        options = self._options
        probabilities = torch.softmax(logits / options.temperature, dim=-1)
        ordered, tokens = probabilities.sort(descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        unlikely = (before >= max(options.top_p, 1e-6)) | (ordered < options.min_p * ordered[0])
        if options.top_k:
            unlikely[options.top_k :] = True
        place = torch.multinomial(ordered.masked_fill(unlikely, 0.0), 1, generator=self._generator)
        return int(tokens[place])
