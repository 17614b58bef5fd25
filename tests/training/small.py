"""A small model with every shape a parameter can have, trained by a loop of its own."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from magicoder.training import checkpoints, optimizers, parallel
from magicoder.training.optimizers.master import join
from magicoder.training.settings import Optimization, Precision

VOCABULARY, WIDTH = 37, 24


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.linear = nn.Linear(WIDTH, WIDTH, bias=False)
        self.experts = nn.Parameter(torch.randn(3, WIDTH, WIDTH) * 0.02)
        self.scale = nn.Parameter(torch.ones(1, WIDTH))  # one row: spread over two processes, one of them has none
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(self.norm(x)) * self.scale
        return x + self.dropout(y + torch.einsum("btd,edk->btk", y, self.experts))


class Small(nn.Module):
    _no_split_modules = ("Layer",)

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList([Layer(), Layer()])
        self.head = nn.Linear(WIDTH, VOCABULARY)
        self.unused = nn.Parameter(torch.ones(5))
        self.frozen = nn.Parameter(torch.ones(7), requires_grad=False)
        self.register_buffer("counted", torch.arange(3.0))
        self.register_buffer("derived", torch.arange(4.0), persistent=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Run:
    """A run of `Small`: model, optimizer, generators; its steps depend on their number only."""

    def __init__(
        self,
        world: parallel.World,
        *,
        dtype: torch.dtype = torch.float32,
        master: bool = False,
        strategy: str = "ddp",
        **optimization: Any,
    ) -> None:
        torch.manual_seed(1)
        model = Small().to(dtype)
        self.world = world
        self.model = parallel.spread(model, strategy, world)
        self.optimizer = optimizers.build(
            self.model.named_parameters(),
            replace(Optimization(warmup_steps=0, weight_decay=0.01), **optimization),
            Precision(master=master),
            world=world,
        )

    def step(self, number: int, *, lr: float = 1e-3, after_backward: Callable[[], Any] = lambda: None) -> None:
        """Four micro-batches, shared out; what is drawn depends on the step and the process, as in the loop."""
        torch.manual_seed(100 * number + self.world.rank)
        drawn = torch.Generator().manual_seed(number)
        ids = torch.randint(VOCABULARY, (4, 3, 9), generator=drawn)
        mine = ids[self.world.rank :: self.world.size]
        for micro in mine:
            logits = self.model(micro[:, :-1]).float()
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), micro[:, 1:].flatten(), reduction="sum")
            (loss / (4 * 3 * 8)).backward()
        self.world.sum_gradients(self.model.parameters())
        after_backward()
        self.optimizer.step(lr)
        self.optimizer.zero_grad()

    def save(self, kept: checkpoints.Checkpoints, step: int) -> Path:
        groups = {"model": parallel.trained(self.model), "optimizer": self.optimizer.state()}
        return kept.save(step, groups, {"step": step}, self.world)

    def resume(self, kept: checkpoints.Checkpoints) -> int:
        found = kept.latest(self.world)
        assert found is not None
        groups = found.load(self.world)
        parallel.load(self.model, groups["model"])
        self.optimizer.load(groups["optimizer"])
        return found.step

    def everything(self) -> dict[str, torch.Tensor]:
        """All that is kept, whole, copied."""
        kept = {**parallel.trained(self.model), **self.optimizer.state()}
        return {name: parallel.whole(t).detach().clone() for name, t in kept.items()}


def whole_bits(named: Iterable[tuple[str, torch.Tensor]], state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All bits of trained parameters, whole: joined with the remainder in an optimizer's state where there is one."""
    found = {}
    for name, parameter in named:
        if parameter.requires_grad:
            weight, rest = parallel.whole(parameter.detach()), state.get(f"{name}.{optimizers.REMAINDER}")
            found[name] = weight.clone() if rest is None else join(weight, parallel.whole(rest))
    return found


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """Names of tensors that are not equal bit for bit."""
    assert one.keys() == other.keys()
    return [n for n in one if one[n].dtype != other[n].dtype or not torch.equal(one[n], other[n])]
