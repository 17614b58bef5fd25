"""The ways of training that are measured. What matters most comes first, for when time runs out."""

import dataclasses
from collections.abc import Callable
from typing import Any

from train_variants.bench import Bench
from train_variants.loop import loop
from train_variants.original import original
from train_variants.ours import ours
from train_variants.rates import rates
from train_variants.trl import trl


@dataclasses.dataclass(frozen=True)
class Way:
    """A way of training.

    what     in the table
    measure  returns its figures (`Bench.result`); called with a `Bench` and `given`
    given    for `ours`: layout, tokens of a micro-batch at full size, and what is switched on
    """

    what: str
    measure: Callable[..., dict[str, Any]]
    given: dict[str, Any] = dataclasses.field(default_factory=dict)

    def figures(self, bench: Bench) -> dict[str, Any]:
        return self.measure(bench, **self.given)


_8K = {"layout": "packed", "tokens": 8_192}
_16K = {"layout": "packed", "tokens": 16_384, "compiled": True}

WAYS = {
    "rates": Way("matrix products and copies", rates),
    "original": Way("the original recipe, mask as it had", original, {"mask": True}),
    "original-no-mask": Way("the original recipe without a mask", original, {"mask": False}),
    "packed-16k": Way("ours, packed, 16K, compiled", ours, {**_16K, "profiled": True}),
    "shared": Way("ours, packed, 16K, compiled, prefix shared", ours, {**_16K, "shared": True, "profiled": True}),
    "packed-8k": Way("ours, packed, 8K tokens", ours, _8K),
    "packed-8k-compiled": Way("ours, packed, 8K, compiled", ours, {**_8K, "compiled": True}),
    "packed-8k-whole": Way("ours, packed, 8K, layers as transformers has them", ours, {**_8K, "lean": False}),
    "sorted": Way("ours, sorted rows, 16K", ours, {"layout": "sorted", "tokens": 16_384}),
    "loop": Way("the loop beside bare forward and backward, 8K", loop),
    "lora": Way("ours, LoRA of rank 64, packed, 16K, compiled", ours, {**_16K, "lora": True}),
    "fp8": Way("ours, packed, 16K, compiled, fp8", ours, {**_16K, "fp8": True}),
    "fp8-shared": Way("ours, packed, 16K, compiled, fp8, prefix shared", ours, {**_16K, "fp8": True, "shared": True}),
    "any-order": Way("ours, packed, 16K, compiled, sums in any order", ours, {**_16K, "any_order": True}),
    "trl": Way("TRL's trainer, packed, 8K", trl),
}
