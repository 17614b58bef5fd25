"""Optimizers that own what they keep: exact dtypes in memory and on disk, spread parameters or whole ones.

torch's `Optimizer.load_state_dict` casts state to the dtype of its parameter, so that float32 statistics of bfloat16
weights come back rounded and a resumed run is another run (pytorch#43706). Nothing here is ever cast on the way.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import torch

from magicoder.errors import RecipeError
from magicoder.training.optimizers.adafactor import Adafactor
from magicoder.training.optimizers.adamw import AdamW
from magicoder.training.optimizers.master import join, split
from magicoder.training.optimizers.shards import Shard, local
from magicoder.training.parallel import World
from magicoder.training.settings import Optimization, Precision

__all__ = ["Optimizer", "Rule", "build", "bytes_kept"]

Slots = dict[str, tuple[tuple[int, ...], int | None, torch.dtype]]

STEP: Final = "step"
REMAINDER: Final = "remainder"


class Rule(Protocol):
    """How one parameter is updated, in float32."""

    def slots(self, shard: Shard) -> Slots:
        """Return what is kept of a parameter: shape here, dimension that is cut (None: whole here), dtype."""
        ...

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
        ...


@dataclass(slots=True)
class _Trained:
    """A parameter and what is kept beside it; `slots` and `remainder` are this process' parts."""

    name: str
    parameter: Any
    shard: Shard
    weight_decay: float
    layout: Slots
    remainder: torch.Tensor | None
    step: int = 0
    slots: dict[str, torch.Tensor] = field(default_factory=dict)

    def kept(self) -> Iterator[tuple[str, torch.Tensor, int | None]]:
        """Yield the tensors beside the parameter: name in a checkpoint, this process' part, dimension that is cut."""
        for slot, (_, along, _) in self.layout.items():
            yield f"{self.name}.{slot}", self.slots[slot], along
        if self.remainder is not None:
            yield f"{self.name}.{REMAINDER}", self.remainder, self.shard.along


class Optimizer:
    """Updates parameters from their gradients, one after the other. Make it with `build`.

    With a master, the exact float32 weight is the bfloat16 parameter plus a remainder (`master.py`); without, an update
    is rounded to bfloat16 and lost where it is smaller than half the last digit.
    """

    def __init__(self, trained: list[_Trained], rule: Rule) -> None:
        self._trained = trained
        self._rule = rule

    def step(self, lr: float) -> None:
        """Update every parameter that has a gradient. Nothing waits for the device."""
        with torch.no_grad():
            for one in self._trained:
                if one.parameter.grad is not None:
                    self._update(one, lr)

    def _update(self, one: _Trained, lr: float) -> None:
        weight, gradient = local(one.parameter), local(one.parameter.grad)
        exact = weight if weight.dtype == torch.float32 else weight.float()
        if one.remainder is not None:
            exact = join(weight, one.remainder)
        one.step += 1
        self._rule.update(
            exact, gradient.float(), one.slots, one.shard, step=one.step, lr=lr, weight_decay=one.weight_decay
        )
        if one.remainder is not None:
            split(exact, weight, one.remainder)
        elif exact is not weight:
            weight.copy_(exact)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for one in self._trained:
            one.parameter.grad = None

    def grad_norm(self) -> torch.Tensor:
        """Return the root of the sum of all squared gradients, over all processes' parts: one float32 on the device."""
        there = [one for one in self._trained if one.parameter.grad is not None]
        spread = [one for one in there if one.shard.along is not None]
        squares = _sum_of_squares([one for one in there if one.shard.along is None])
        if spread:
            squares = spread[0].shard.sum(_sum_of_squares(spread)) + squares
        return squares.sqrt_()

    def clip(self, max_norm: float) -> torch.Tensor:
        """Scale the gradients so that their norm is `max_norm` at most; return what it was. Nothing waits."""
        norm = self.grad_norm()
        with torch.no_grad():
            gradients = [local(one.parameter.grad) for one in self._trained if one.parameter.grad is not None]
            if gradients:
                torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp_(max=1.0))
        return norm

    def state(self) -> dict[str, torch.Tensor]:
        """Return all that is kept, as `<parameter>.<slot>`; spread slots are such tensors (`parallel.whole`).

        Live tensors, not copies, but for the counts of updates.
        """
        found: dict[str, torch.Tensor] = {}
        for one in self._trained:
            found |= {name: one.shard.whole(held, along) for name, held, along in one.kept()}
            found[f"{one.name}.{STEP}"] = torch.tensor(one.step, dtype=torch.int64)
        return found

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over whole tensors as `state` names them, bit for bit; from any number of processes.

        Raises:
            RecipeError: they are of another model, optimizer or precision.
        """
        mine = self.state()
        if mine.keys() != state.keys():
            odd = sorted(mine.keys() ^ state.keys())
            raise RecipeError(
                f"the checkpoint was written with another optimizer, precision or model: {len(odd)} names of its state "
                f"differ, such as {odd[0]}; resume with the recipe that it was made with"
            )
        for one in self._trained:
            for name, held, along in one.kept():
                source, target = state[name], mine[name]
                if source.dtype != target.dtype or source.shape != target.shape:
                    raise RecipeError(
                        f"the checkpoint was written with another optimizer, precision or model: {name} is "
                        f"{source.dtype} {tuple(source.shape)} there, {target.dtype} {tuple(target.shape)} here"
                    )
                held.copy_(one.shard.part(source, along))
            one.step = int(state[f"{one.name}.{STEP}"])


def build(
    named_parameters: Iterable[tuple[str, torch.Tensor]],
    optimization: Optimization,
    precision: Precision,
    *,
    world: World,
) -> Optimizer:
    """Return the optimizer of the parameters that require gradients; after `parallel.spread`, before the first step.

    Weight decay is for matrices: not for biases and norms. Every bfloat16 parameter gets a master if
    `precision.master` says so, whatever the others are.

    Raises:
        RecipeError: a package is missing, or a parameter has a dtype that cannot be trained.
    """
    rule = _rule(optimization, world)
    trained = []
    for name, parameter in named_parameters:
        if not parameter.requires_grad:
            continue
        if parameter.dtype not in (torch.float32, torch.bfloat16):
            raise RecipeError(f"{name} is {parameter.dtype}; bfloat16 and float32 can be trained")
        shard = Shard(parameter)
        here = local(parameter.detach())
        with_master = precision.master and parameter.dtype == torch.bfloat16
        layout = rule.slots(shard)
        trained.append(
            _Trained(
                name=name,
                parameter=parameter,
                shard=shard,
                weight_decay=optimization.weight_decay if len(shard.shape) >= 2 else 0.0,
                layout=layout,
                remainder=torch.zeros_like(here, dtype=torch.int16) if with_master else None,
                slots={s: torch.zeros(size, dtype=d, device=here.device) for s, (size, _, d) in layout.items()},
            )
        )
    return Optimizer(trained, rule)


def _sum_of_squares(trained: list[_Trained]) -> torch.Tensor:
    gradients = [local(one.parameter.grad) for one in trained]
    if not gradients:
        return torch.zeros(())
    with torch.no_grad():
        return torch.stack(torch._foreach_norm(gradients, 2, dtype=torch.float32)).square_().sum()


def bytes_kept(optimization: Optimization, *, master: bool) -> float:
    """Return the bytes that are kept beside a bfloat16 or float32 weight, to the thousandth for usual matrices."""
    of_rule = {"adafactor": 0.002, "adamw": 8.0, "adamw_8bit": 2.0 + 8 / 256}
    return of_rule[optimization.optimizer] + (2.0 if master else 0.0)


def _rule(optimization: Optimization, world: World) -> Rule:
    if optimization.optimizer == "adafactor":
        return Adafactor()
    if optimization.optimizer == "adamw":
        return AdamW(optimization.betas, optimization.epsilon)
    from magicoder.training.optimizers.adamw_8bit import AdamW8bit

    return AdamW8bit(optimization.betas, optimization.epsilon, world.device)
