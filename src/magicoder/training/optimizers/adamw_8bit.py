"""AdamW with both statistics in 8 bits, by bitsandbytes: blocks of 256 numbers, each with a float32 scale."""

from typing import Any, Final

import torch

from magicoder.errors import RecipeError
from magicoder.training.optimizers.adamw import AdamW
from magicoder.training.optimizers.shards import Shard

BLOCK: Final = 256
SMALLEST: Final = 4096
"""Fewer numbers than these stay in float32, as bitsandbytes has it: norms, biases."""


class AdamW8bit:
    """The rule for one parameter at a time: weights and gradients float32, statistics 8 bits.

    Rows that are no whole number of blocks (LoRA's second matrices) stay in float32 too. So blocks never straddle a cut
    of FSDP2, and a checkpoint fits any number of processes.

    Raises:
        RecipeError: bitsandbytes is not installed.
    """

    def __init__(self, betas: tuple[float, ...], epsilon: float, device: torch.device) -> None:
        try:
            from bitsandbytes import functional
        except ImportError:
            raise RecipeError(
                "optimization.optimizer: adamw_8bit needs bitsandbytes: pip install bitsandbytes, or use adafactor, "
                "which keeps less still"
            ) from None
        self._functional: Any = functional
        self._exact = AdamW(betas, epsilon)
        self._betas, self._epsilon = betas, epsilon
        self._signed = functional.create_dynamic_map(signed=True).to(device)
        self._unsigned = functional.create_dynamic_map(signed=False).to(device)

    def slots(self, shard: Shard) -> dict[str, tuple[tuple[int, ...], int | None, torch.dtype]]:
        """Return what is kept of a parameter: shape here, dimension that is cut, dtype."""
        row = torch.Size(shard.shape[1:]).numel()
        if shard.numel < SMALLEST or row % BLOCK:
            return self._exact.slots(shard)
        scales = (shard.held[0], row // BLOCK)
        return {
            "mean": (shard.held, shard.along, torch.uint8),
            "squares": (shard.held, shard.along, torch.uint8),
            "mean_scale": (scales, shard.along, torch.float32),
            "squares_scale": (scales, shard.along, torch.float32),
        }

    def update(
        self,
        weight: torch.Tensor,
        gradient: torch.Tensor,
        slots: dict[str, torch.Tensor],
        shard: Shard,
        *,
        step: int,
        lr: float,
        weight_decay: float,
    ) -> None:
        """Change `weight` and `slots` in place; `step` counts this parameter's updates from 1."""
        if "mean_scale" not in slots:
            self._exact.update(weight, gradient, slots, shard, step=step, lr=lr, weight_decay=weight_decay)
            return
        if not weight.numel():
            return
        beta1, beta2 = self._betas
        self._functional.optimizer_update_8bit_blockwise(
            "adam", gradient.contiguous(), weight, slots["mean"], slots["squares"], beta1, beta2, 0.0, 0.0,
            self._epsilon, step, lr, self._signed, self._unsigned, slots["mean_scale"].view(-1),
            slots["squares_scale"].view(-1), weight_decay,
        )  # fmt: skip
