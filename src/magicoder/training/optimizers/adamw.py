"""AdamW as torch has it: two float32 a parameter, weight decay apart from the gradient."""

import torch

from magicoder.training.optimizers.shards import Shard


class AdamW:
    """The rule for one parameter at a time, in the order of operations of torch.optim.AdamW; all numbers float32."""

    def __init__(self, betas: tuple[float, ...], epsilon: float) -> None:
        self._beta1, self._beta2 = betas
        self._epsilon = epsilon

    def slots(self, shard: Shard) -> dict[str, tuple[tuple[int, ...], int | None, torch.dtype]]:
        """Return what is kept of a parameter: shape here, dimension that is cut, dtype."""
        return dict.fromkeys(("mean", "squares"), (shard.held, shard.along, torch.float32))

    def update(
        self,
        weight: torch.Tensor,
        gradient: torch.Tensor,
        slots: dict[str, torch.Tensor],
        shard: Shard,  # noqa: ARG002 - a rule for single numbers does not ask where they stand
        *,
        step: int,
        lr: float,
        weight_decay: float,
    ) -> None:
        """Change `weight` and `slots` in place; `step` counts this parameter's updates from 1."""
        if weight_decay:
            weight.mul_(1.0 - lr * weight_decay)
        mean = slots["mean"].lerp_(gradient, 1.0 - self._beta1)
        squares = slots["squares"].mul_(self._beta2).addcmul_(gradient, gradient, value=1.0 - self._beta2)
        size = lr / (1.0 - self._beta1**step)
        root = (squares.sqrt() / (1.0 - self._beta2**step) ** 0.5).add_(self._epsilon)
        weight.addcdiv_(mean, root, value=-size)
