"""A vision-language checkpoint of `transformers` as a `Decoder`: each chunk is given the features of its one picture.

The model's own `prepare_inputs_for_generation` says what `forward` takes, as in `generate`; positions are the model's
own too, computed over the whole prompt and handed over with each step: nothing of an earlier prompt can leak.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from models.seeing.checkpoint.capabilities import Capabilities
from models.seeing.checkpoint.compiled import CompiledSteps, FixedRun, suits
from models.seeing.checkpoint.kept import KeptConversation
from models.seeing.checkpoint.pictures import PreparedPicture, joined
from models.seeing.checkpoint.prompt import INPUTS, PromptInputs


class CheckpointDecoder:
    """Runs a vision-language model's own `forward` over a conversation that is kept.

    Args:
        model: in eval mode, on its device.
        capabilities: of the model.
        features: what the vision encoder sees in a picture; see `PictureShelf.features`.
        context_tokens: how many tokens the model reads.
        steps: computes single tokens where it can; None: all are eager.
        trial: this decoder is the one that `steps` is tried out and warmed with.
        conversations: how many are kept side by side.
    """

    def __init__(
        self,
        model: Any,
        capabilities: Capabilities,
        features: Callable[[PreparedPicture], Any],
        context_tokens: int,
        *,
        steps: CompiledSteps | None = None,
        trial: bool = False,
        conversations: int = 1,
    ) -> None:
        self.context_tokens = context_tokens
        self.device: torch.device = model.device
        self._model = model
        self._route = capabilities.route
        self._features = features
        self._forward_takes = frozenset(inspect.signature(model.forward).parameters)
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in self._forward_takes else {}
        self.conversations = conversations
        self._conversations = tuple(KeptConversation(model.config) for _ in range(conversations))
        self._kept = self._conversations[0]
        self._inputs = PromptInputs(())
        self._positions: torch.Tensor | None = None
        self._types: dict[str, torch.Tensor] = {}
        self._length = 0
        self._steps = steps if steps is not None and suits(model, self._kept.cache) else None
        self._trial = trial
        self._run: FixedRun | None = None

    def begin(self, keep: int, inputs: Mapping[str, Any]) -> None:
        self._inputs = inputs[INPUTS]
        before = sum(1 for _, (first, _) in self._inputs.pictures if first < keep)
        self._run = None
        self._kept.go_back_to(keep, before)
        self._length = keep
        self._types = {k: torch.tensor([v], device=self.device) for k, v in self._inputs.types.items()}
        self._positions = self._all_positions()

    def turn_to(self, number: int) -> None:
        self._kept = self._conversations[number]

    def take_over(self, number: int, tokens: int) -> None:
        self._kept.take_over(self._conversations[number], tokens)

    @property
    def cache(self) -> Any:
        """The keys and values that are kept."""
        return self._kept.cache

    def keepable(self, tokens: int) -> bool:
        """Whether the state after that many tokens is still there or can be restored."""
        return self._kept.reachable(tokens)

    def forward(self, tokens: Sequence[int]) -> torch.Tensor:
        start, end = self._length, self._length + len(tokens)
        prefill = start < len(self._inputs.tokens)
        ids = torch.tensor([list(tokens)], device=self.device)
        if prefill:
            output = self._model(**self._prefilled(ids, start, end), return_dict=True)
        elif (run := self._fixed_run(end)) is not None and self._steps is not None:
            output = self._steps(self._generated(ids, end, run.cache))
        else:
            output = self._model(**self._generated(ids, end, self._kept.cache), return_dict=True)
        self._length = end
        if prefill:
            self._kept.remember(end)
        logits: torch.Tensor = output.logits[0, -1].float()
        return logits

    def watched(self, tokens: Sequence[int]) -> Sequence[torch.Tensor | None] | None:
        """`forward`, eagerly; the attention of each layer, (1, heads, rows, tokens seen), where the model gives it."""
        end = self._length + len(tokens)
        ids = torch.tensor([list(tokens)], device=self.device)
        prefill = self._length < len(self._inputs.tokens)
        step = self._prefilled(ids, self._length, end) if prefill else self._generated(ids, end, self._kept.cache)
        output = self._model(**step, output_attentions=True, return_dict=True)
        self._length = end
        given: Sequence[torch.Tensor | None] | None = output.attentions
        return given

    def release(self) -> None:
        self._run = None
        for conversation in self._conversations:
            conversation.clear()
        self._length = 0

    def _fixed_run(self, end: int) -> FixedRun | None:
        """Where compiled steps write to, with room for `end` tokens; None while they must be eager."""
        if self._steps is None:
            return None
        if self._run is not None and self._run.capacity < end:
            self._steps.end(self._run, self._kept.cache, self._length)
            self._run = None
        if self._run is None:
            self._run = self._steps.begin(self._kept.cache, self._length, trial=self._trial)
        return self._run

    # -- one step's inputs -----------------------------------------------------------------------------------------

    def _prefilled(self, ids: torch.Tensor, start: int, end: int) -> dict[str, Any]:
        """Of a piece of the prompt, with its pictures. Types go up to its end: some models count from the start."""
        own = {k: v[:, :end] for k, v in self._types.items()}
        if self._positions is not None:
            own["position_ids"] = self._positions[..., start:end]
        if self._inputs.side_mask is not None and (count := self._pictures_before(end)):
            own["cross_attention_mask"] = self._inputs.side_mask[:, start:end, :count].to(self.device)
        step = self._model.prepare_inputs_for_generation(
            ids, is_first_iteration=True, **own, **self._common(end, self._kept.cache), **self._last_only
        )
        here = [p for p, (first, after) in self._inputs.pictures if start <= first and after <= end]
        if self._route == "placed" and here:
            step["mm_encoder_outputs"] = {"image": joined([self._features(p) for p in here])}
        elif self._route == "crossed" and here:
            step["cross_attention_states"] = torch.cat([self._features(p) for p in here])
        elif self._route == "raw":
            step |= {k: self._moved(v) for k, v in self._inputs.raw.items() if k in self._forward_takes}
        return {k: v for k, v in step.items() if v is not None}

    def _generated(self, ids: torch.Tensor, end: int, cache: Any) -> dict[str, Any]:
        """Of one token of the answer."""
        more = end - len(self._inputs.tokens)
        own = {k: torch.cat([v, v.new_zeros((1, more))], 1) for k, v in self._types.items()}
        if self._positions is not None:
            own["position_ids"] = self._positions[..., -1:] + more
        if self._inputs.side_mask is not None:
            own["cross_attention_mask"] = self._inputs.side_mask[:, -1:].to(self.device)
        step = self._model.prepare_inputs_for_generation(
            ids, next_sequence_length=1, is_first_iteration=False, **own, **self._common(end, cache), **self._last_only
        )
        return {k: v for k, v in step.items() if v is not None}

    def _common(self, end: int, cache: Any) -> dict[str, Any]:
        mask = torch.ones((1, end), dtype=torch.long, device=self.device)
        return {"attention_mask": mask, "cache": cache, "use_cache": True}

    def _pictures_before(self, end: int) -> int:
        return sum(1 for _, (first, _) in self._inputs.pictures if first < end)

    def _all_positions(self) -> torch.Tensor | None:
        """Positions of the whole prompt, (…, 1, tokens), as the model computes them for `generate`."""
        if "position_ids" not in self._forward_takes and "kwargs" not in self._forward_takes:
            return None
        ids = torch.tensor([self._inputs.tokens], device=self.device)
        facts: dict[str, Any] = {}
        for name in {n for picture, _ in self._inputs.pictures for n in picture.facts}:
            values = [picture.facts[name] for picture, _ in self._inputs.pictures]
            if all(value.shape[1:] == values[0].shape[1:] and value.dim() for value in values):
                facts[name] = torch.cat(values).to(self.device)
        known = {"attention_mask": torch.ones_like(ids), **self._types, **facts}
        positions: torch.Tensor = self._model._prepare_position_ids_for_generation(ids, known)
        return positions

    def _moved(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(self.device, self._model.dtype) if value.is_floating_point() else value.to(self.device)
