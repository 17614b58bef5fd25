"""What rounding to bfloat16 loses of small updates, and what an optimizer's step costs.

    python benchmarks/optimizers.py                       # CPU, about half a minute
    python benchmarks/optimizers.py --device cuda --rows 8192

lost    the paper's schedule (292 steps, peak 5e-5, warm-up 15) over weights of a given standard deviation. The updates'
        root mean square is the learning rate, as Adafactor's clipped ones. `steady`: a weight is always moved the same
        way; `mixed`: a third of an update is that, the rest is drawn anew each step. Shown: the share of updates that
        leave a weight as it was, and how much of the displacement survives, measured along the true one
steps   milliseconds (on the CPU: of its time) of a step over one square matrix, beside the class it equals; rounds are
        interleaved, medians are shown; bytes kept
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from magicoder.training import optimizers
from magicoder.training.optimizers.master import join, split
from magicoder.training.parallel import World
from magicoder.training.schedule import learning_rate
from magicoder.training.settings import Optimization, Precision

STEPS = 292


def lost(device: str, count: int) -> None:
    print(f"{'std':>6} {'updates':>8} {'left as it was':>15} {'bfloat16 alone':>15} {'with a master':>14}")
    for mixed in (False, True):
        for deviation in (0.01, 0.02, 0.04):
            idle, alone, mastered = course(device, count, deviation, mixed=mixed)
            name = "mixed" if mixed else "steady"
            print(f"{deviation:6.2f} {name:>8} {idle:15.1%} {alone:15.3f} {mastered:14.3f}")


def course(device: str, count: int, deviation: float, *, mixed: bool) -> tuple[float, float, float]:
    drawn = torch.Generator(device).manual_seed(0)

    def normal() -> torch.Tensor:
        return torch.randn(count, generator=drawn, device=device)

    start = (normal() * deviation).bfloat16()
    true = start.double()
    alone, weight, remainder = start.clone(), start.clone(), torch.zeros(count, dtype=torch.int16, device=device)
    steady = normal()
    idle = 0.0
    for step in range(1, STEPS + 1):
        lr = learning_rate(step, STEPS, Optimization(), "clean")
        update = (steady / 3 + normal() * (8 / 9) ** 0.5 if mixed else steady) * lr
        true.sub_(update)
        moved = (alone.float() - update).bfloat16()
        idle += float((moved == alone).float().mean())
        alone = moved
        split(join(weight, remainder).sub_(update), weight, remainder)
    way = true - start.double()
    share = [float(((found.double() - start.double()) * way).sum() / (way * way).sum()) for found in (alone, weight)]
    return idle / STEPS, share[0], share[1]


def steps(device: str, rows: int, repeats: int) -> None:
    print(f"\n{'':>34} {'ms a step':>10} {'bytes kept a weight':>20}")
    cases: dict[str, tuple[Callable[[], Any], float]] = {}
    for name, dtype, optimizer, master in (
        ("adafactor, bfloat16", torch.bfloat16, "adafactor", False),
        ("adafactor, bfloat16 and a master", torch.bfloat16, "adafactor", True),
        ("adafactor, float32", torch.float32, "adafactor", False),
        ("adamw, bfloat16 and a master", torch.bfloat16, "adamw", True),
        ("adamw, float32", torch.float32, "adamw", False),
    ):
        parameter = matrix(rows, dtype, device)
        made = optimizers.build(
            [("weight", parameter)], Optimization(optimizer=optimizer), Precision(master=master), world=World()
        )
        kept = sum(t.numel() * t.element_size() for t in made.state().values()) / parameter.numel()
        cases[name] = (lambda made=made: made.step(1e-5)), kept
    cases |= theirs(rows, device)
    clock = time.process_time if device == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(repeats + 1):
        for name, (step, _) in cases.items():
            began = clock()
            step()
            if device != "cpu":
                torch.cuda.synchronize()
            if turn:
                times[name].append(clock() - began)
    for name, (_, kept) in cases.items():
        print(f"{name:>34} {statistics.median(times[name]) * 1e3:10.1f} {kept:20.3f}")


def theirs(rows: int, device: str) -> dict[str, tuple[Callable[[], Any], float]]:
    from transformers.optimization import Adafactor

    flags: dict[str, Any] = {"lr": 1e-5, "scale_parameter": False, "relative_step": False, "warmup_init": False}
    found: dict[str, tuple[Callable[[], Any], float]] = {}
    for dtype, name in ((torch.bfloat16, "bfloat16"), (torch.float32, "float32")):
        found[f"transformers' Adafactor, {name}"] = Adafactor([matrix(rows, dtype, device)], **flags).step, 8 / rows
    found["torch's AdamW, float32"] = torch.optim.AdamW([matrix(rows, torch.float32, device)], lr=1e-5).step, 8.0
    return found


def matrix(rows: int, dtype: torch.dtype, device: str) -> torch.nn.Parameter:
    drawn = torch.Generator().manual_seed(0)
    parameter = torch.nn.Parameter((torch.randn(rows, rows, generator=drawn) * 0.02).to(device, dtype))
    parameter.grad = torch.randn(rows, rows, generator=drawn).to(device, dtype)
    return parameter


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--only", nargs="*", choices=("lost", "steps"), default=("lost", "steps"))
    asked.add_argument("--device", default="cpu")
    asked.add_argument("--count", type=int, default=200_000, help="weights of the simulation")
    asked.add_argument("--rows", type=int, default=1024, help="of the square matrix that is updated")
    asked.add_argument("--repeats", type=int, default=7)
    given = asked.parse_args()
    torch.set_num_threads(1)
    if "lost" in given.only:
        lost(given.device, given.count)
    if "steps" in given.only:
        steps(given.device, given.rows, given.repeats)


if __name__ == "__main__":
    main()
