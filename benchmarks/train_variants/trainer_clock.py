"""A clock for transformers' Trainer and what is made of it."""

import statistics
from typing import Any

from train_variants.bench import Bench


class Clock:
    """Seconds of the micro-batches and of the update of each step but the first, and the tokens that were computed."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.widths = bench, []
        self.micro_s: list[float] = []
        self.update_s: list[float] = []
        self.computed: list[float] = []
        self.first_s = 0.0
        self.at = 0.0
        self.used = 0

    def begin(self) -> None:
        self.at = self.bench.now()

    def accumulated(self, micro_batches: int) -> None:
        now = self.bench.now()
        mine = self.widths[self.used : self.used + micro_batches]
        self.used += micro_batches
        self.micro_s.append((now - self.at) / sum(mine))
        self.computed.append(float(sum(mine)))
        self.at = now

    def updated(self) -> None:
        now = self.bench.now()
        self.update_s.append(now - self.at)
        self.first_s = self.first_s or self.bench.since_start()

    def close(self) -> None:
        """Leave out the first step; bring the others, of different tokens, to the median number of tokens."""
        self.computed = self.computed[1:]
        middle = statistics.median(self.computed)
        self.micro_s = [per_token * middle for per_token in self.micro_s[1:]]
        self.update_s = self.update_s[1:]


def callback(transformers: Any, clock: Clock) -> Any:
    class Callback(transformers.TrainerCallback):
        def on_step_begin(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
            clock.begin()

        def on_pre_optimizer_step(self, args: Any, _state: Any, _control: Any, **_: Any) -> None:
            clock.accumulated(args.gradient_accumulation_steps)

        def on_optimizer_step(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
            clock.updated()

    return Callback()


def of_the_recipe(bench: Bench) -> dict[str, Any]:
    """Settings of a trainer as the original recipe has them, four steps long, that says and saves nothing."""
    return {
        "max_steps": 4,
        "learning_rate": 5e-5,
        "warmup_steps": 1,
        "max_grad_norm": 0.0,
        "optim": "adafactor",
        "bf16": True,
        "use_cpu": not bench.is_cuda,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }
