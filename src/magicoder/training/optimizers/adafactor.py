"""Adafactor as transformers has it, with the paper's flags: an external rate, no scaling by the parameter, no momentum.

    Adafactor(lr=…, eps=(1e-30, 1e-3), clip_threshold=1.0, decay_rate=-0.8, beta1=None, scale_parameter=False,
              relative_step=False, warmup_init=False)

Every operation is made in transformers' order, so that weights are equal bit for bit; `torch.optim.Adafactor` is
another algorithm (it multiplies with the parameter's own size). The statistics of a matrix are one float32 a row and
one a column. An update does not depend on a constant factor of the gradients.
"""

import math
from typing import Final

import torch

from magicoder.training.optimizers.shards import Shard

TINY: Final = 1e-30
CLIP: Final = 1.0
DECAY: Final = -0.8


class Adafactor:
    """The rule for one parameter at a time; all numbers float32."""

    def slots(self, shard: Shard) -> dict[str, tuple[tuple[int, ...], int | None, torch.dtype]]:
        """Return what is kept of a parameter: shape here, dimension that is cut, dtype."""
        held, along = shard.held, shard.along
        if len(held) < 2:
            return {"squares": (held, along, torch.float32)}
        # A cut through the rows leaves row statistics in parts and column statistics whole; a cut through a stack of
        # matrices (experts) leaves both in parts.
        columns = None if along == len(held) - 2 else along
        return {
            "rows": (held[:-1], along, torch.float32),
            "columns": (held[:-2] + held[-1:], columns, torch.float32),
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
        beta = 1.0 - math.pow(step, DECAY)
        if "squares" in slots:
            squares = slots["squares"].mul_(beta).add_((gradient**2).add_(TINY), alpha=1.0 - beta)
            update = squares.rsqrt().mul_(gradient)
        else:
            row, column = _factors(gradient, slots["rows"], slots["columns"], shard, beta)
            update = torch.mul(row, column).mul_(gradient)
        update.div_(_rms(update, shard).div_(CLIP).clamp_(min=1.0)).mul_(lr)
        if weight_decay:
            weight.add_(weight, alpha=-weight_decay * lr)
        weight.sub_(update)


def _factors(
    gradient: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, shard: Shard, beta: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what rows and columns are multiplied with: together, 1 over the root of their mean squares."""
    squares = (gradient**2).add_(TINY)
    rows.mul_(beta).add_(squares.mean(dim=-1), alpha=1.0 - beta)
    if shard.along == gradient.dim() - 2:
        # Rows are spread: sums over all of them, in one message.
        sums = shard.sum(torch.cat([squares.sum(dim=-2), rows.sum(dim=-1, keepdim=True)]))
        means = sums.div_(shard.shape[-2])
        of_columns, of_rows = means[:-1], means[-1:]
    else:
        of_columns, of_rows = squares.mean(dim=-2), rows.mean(dim=-1, keepdim=True)
    columns.mul_(beta).add_(of_columns, alpha=1.0 - beta)
    return (rows / of_rows).rsqrt_().unsqueeze(-1), columns.unsqueeze(-2).rsqrt()


def _rms(update: torch.Tensor, shard: Shard) -> torch.Tensor:
    norm = update.norm(2)
    if shard.along is not None:
        norm = shard.sum(norm.square_()).sqrt_()
    return norm / shard.numel**0.5
