"""The balancing loss of mixtures of experts: a term that grows when a few experts get most tokens.

transformers adds it where a model's configuration says `output_router_logits: true`, micro-batch by micro-batch, and so
do we. It is not a sum over tokens, so that a step's is a mean of its micro-batches', each by its share of the trained
tokens (in `paper-exact` equal shares, as everything there). Padding does not count, and a prefix that examples share
counts with each of them. Held-out losses are without it.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from magicoder.errors import RecipeError
from magicoder.training.tensors import Batch


@dataclass(frozen=True, slots=True)
class Balance:
    """How a model's routers are balanced.

    function     transformers' own, of this kind of model
    experts      how many there are
    chosen       how many a token is given to
    coefficient  what the loss counts beside the cross-entropy
    """

    function: Callable[..., Any]
    experts: int
    chosen: int
    coefficient: float

    def loss(self, routers: Any, batch: Batch) -> Any:
        """Return what a micro-batch adds to the loss of its step; `routers` are the logits of every layer's router."""
        if not batch.trained or not batch.weight:
            return 0.0
        if not routers:
            raise RecipeError(
                "base.model: its config.json asks for the balancing loss of experts (output_router_logits), and its "
                "routers said nothing. Set it to false there."
            )
        found = self.function(tuple(routers), self.experts, self.chosen, _counts(batch))
        return found * (self.coefficient * batch.weight * batch.trained)


def of(model: Any) -> Balance | None:
    """Return how `model` is balanced, None where its configuration does not ask for it.

    Raises:
        RecipeError: it asks, and transformers has no such loss for this kind of model.
    """
    if not getattr(model.config.get_text_config(), "output_router_logits", False):
        return None
    function = getattr(sys.modules[type(model).__module__], "load_balancing_loss_func", None)
    names = ("num_experts", "num_experts_per_tok", "router_aux_loss_coef")
    experts, chosen, coefficient = (getattr(model, name, None) for name in names)
    if function is None or experts is None or chosen is None or coefficient is None:
        raise RecipeError(
            "base.model: its config.json asks for the balancing loss of experts (output_router_logits), which "
            f"transformers lacks for {type(model).__name__}. Set it to false there to train without."
        )
    return Balance(function, int(experts), int(chosen), float(coefficient))


def _counts(batch: Batch) -> Any:
    """How often each place of a batch counts, [B, T]: padding never, a shared prefix once for every example."""
    if batch.boundaries is None:
        return (batch.positions >= 0).float()
    places = torch.arange(batch.ids.shape[1], device=batch.ids.device).unsqueeze(0)
    counts = (places < batch.tokens).float()
    if batch.keys is None:
        return counts
    starts = batch.boundaries[1:]  # of examples, behind the prefix; those of padding lie behind all tokens
    return torch.where(places < batch.keys.copies.shape[1], (starts < batch.tokens).sum(), counts)
