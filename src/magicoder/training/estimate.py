"""What a training run would take: steps, tokens, padding, memory of a process, hours. Nothing is computed for it."""

from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch

from magicoder.training import attention, batches, hardware, memory, models, parallel
from magicoder.training.hardware import GIB, GPU, GPUS
from magicoder.training.run import Prepared
from magicoder.training.settings import Training

AS_WRITTEN: Final = 0.46
"""Share of the data sheet's rate of bfloat16 that a 7B model reached on an H200, padding and updates counted in, layers
as they are written (docs/training-measurements.md)."""
COMPILED: Final = 0.58
"""The same with compiled layers."""
EIGHT_BITS: Final = 0.76
"""The same with compiled layers and products in 8 bits."""
PAIRS: Final = 0.24
"""The same in rows of two examples, as the original has them: 20 % for what is no padding."""
OVERHEAD_GIB: Final = 5.0
"""Context, workspaces of matrix products, fragmentation: assumed, not measured."""
_SAMPLED_STEPS: Final = 8
_WORDS: Final = 512
_RECKONED: Final = "Memory: reckoned by rule of thumb; this model cannot be run without its weights"


def estimate(
    training: Training, prepared: list[Prepared], *, gpu: str | None = None, gpus: int | None = None
) -> dict[str, Any]:
    """Return the plan: `stages`, `memory_gib` of a process by part, `gpu_hours` (None without a GPU), `notes`.

    gpu    of `hardware.GPUS`; None: that of this machine, if it has one
    gpus   how many; None: the recipe's processes, else 1

    Raises:
        RecipeError: an unknown GPU, or no model at the base.
    """
    count = gpus or training.machine.processes or 1
    name, kind = hardware.named(gpu)
    training, notes = _settled(training, max(one.encoded.report.longest for one in prepared), on_gpu=kind is not None)
    size = models.count(models.skeleton(training.base, training.precision))
    stages = [_stage(training, one, size, kind, count) for one in prepared]
    parts, simulated = _memory(training, prepared, kind, count)
    hours = [stage["hours"] for stage in stages]
    total = None if None in hours else sum(hours) * count
    notes += [] if simulated else [_RECKONED]
    notes += _time(training, name, kind, total)
    if kind is not None:
        notes.append(_fit(training, prepared, name, kind, count, parts))
    notes += _shared(stages)
    return {
        "gpu": name,
        "gpus": count,
        "parameters": size.parameters,
        "stages": stages,
        "memory_gib": parts,
        "gpu_hours": total,
        "notes": notes,
    }


def _stage(training: Training, one: Prepared, size: Any, kind: GPU | None, gpus: int) -> dict[str, Any]:
    learned = one.learned
    plan = batches.plan(
        len(learned),
        one.stage.epochs,
        training.batches,
        training.mode,
        training.random_seed,
    )
    sampled = [plan[i] for i in np.linspace(0, len(plan) - 1, min(_SAMPLED_STEPS, len(plan))).astype(int)]
    prefix = _prefix(training, one)
    found = batches.Fill()
    how = (training.batches, training.layout, training.mode, gpus)
    for step in sampled:
        micro = batches.micro_batches(step, learned.lengths, learned.trained, *how, prefix=prefix)
        found += batches.fill(micro, learned.lengths, training.layout)
    seen = len(learned) * one.stage.epochs - plan.unused
    shared = found.shared / found.tokens
    flops = size.flops(learned.lengths) / len(learned) * seen * (1 - shared)
    rate = kind.tflops * 1e12 * _share(training) * gpus if kind and kind.tflops else None
    return {
        "stage": one.stage.name,
        "examples": len(learned),
        "unused": plan.unused,
        "truncated": one.encoded.report.truncated,
        "steps": len(plan),
        "tokens": round(float(learned.lengths.mean()) * seen),
        "shared_prefix": prefix,
        "shared": shared,
        "useful": found.useful,
        "flops": flops,
        "hours": flops / found.useful / rate / 3600 if rate else None,
    }


def _share(training: Training) -> float:
    """Return which share of the data sheet's rate is likely."""
    if training.precision.fp8:
        return EIGHT_BITS
    if training.layout == "rows":
        return PAIRS
    return COMPILED if training.machine.compile else AS_WRITTEN


def _settled(training: Training, longest: int, *, on_gpu: bool) -> tuple[Training, list[str]]:
    """Return the training with the layout that `auto` will come to, and a note where examples will be padded.

    The proof of a run is made on the first layers of the model, with drawn weights, on the CPU.
    """
    if training.layout != "auto":
        return training, []
    short = models.shortened(training.base, training.precision, torch.device("cpu"), words=_WORDS)
    found = attention.install(short, "auto", longest=longest, device=torch.device("cuda" if on_gpu else "cpu"))
    settled = replace(training, batches=replace(training.batches, layout=found.layout))
    return settled, [f"Examples will be padded, not packed: {found.why}"] if found.why else []


def _prefix(training: Training, one: Prepared) -> int:
    """Return how many tokens all examples of a stage share in a row."""
    learned = one.learned
    return batches.shared(learned.prefix, learned.lengths, training.batches) if training.layout == "packed" else 0


def _memory(
    training: Training, prepared: list[Prepared], kind: GPU | None, gpus: int, *, tokens: int = 0
) -> tuple[dict[str, float], bool]:
    """Return GiB by part, and whether activations are simulated.

    tokens  of a micro-batch; 0: those of the recipe
    """
    longest = max(int(one.encoded.lengths.max(initial=1)) for one in prepared)
    lengths = sum(int(one.learned.lengths.sum(dtype=int)) for one in prepared)
    targets = sum(int(one.learned.trained.sum(dtype=int)) for one in prepared)
    count = tokens or _tokens_at_once(training, longest)
    peak = memory.simulate(
        training,
        tokens=count,
        examples=max(1, count * sum(len(one.learned) for one in prepared) // lengths),
        longest=longest,
        share=targets / lengths,
        prefix=max(_prefix(training, one) for one in prepared),
    )
    return _parts(peak, gpus if _is_spread(training, peak, kind, gpus) else 1), peak.simulated


def _is_spread(training: Training, peak: memory.Peak, kind: GPU | None, gpus: int) -> bool:
    """Return whether fsdp2 will be taken: `auto` does where a whole model leaves too little to activations."""
    strategy = training.machine.strategy
    states = peak.weights + peak.master + peak.gradients + peak.optimizer
    too_large = kind is not None and states > parallel.WHOLE * kind.memory_gib * GIB
    return gpus > 1 and (strategy == "fsdp2" or (strategy == "auto" and too_large))


def _parts(peak: memory.Peak, share: int) -> dict[str, float]:
    """Return GiB by part of one of `share` processes that the model is spread over; 1: it holds the whole."""
    found = {
        "weights": peak.weights / share,
        "master": peak.master / share,
        "gradients": peak.gradients / share,
        "optimizer": peak.optimizer / share,
        "activations": peak.activations,
        "one update": max(0.0, peak.update / share - peak.activations),  # there are no activations by then
        "whole layers": peak.gathered if share > 1 else 0.0,
        "overhead": OVERHEAD_GIB * GIB,
    }
    parts = {name: value / GIB for name, value in found.items() if value}
    return {**parts, "all": sum(parts.values())}


def _tokens_at_once(training: Training, longest: int) -> int:
    if training.layout == "rows":
        return training.batches.micro_batch_rows * longest
    return training.batches.micro_batch_tokens


def _time(training: Training, name: str, kind: GPU | None, hours: float | None) -> list[str]:
    if kind is None:
        return ["Time and fit: name a GPU with --gpu (" + ", ".join(GPUS) + ")"]
    if hours is None:
        return []
    return [f"Time: {hours:.2f} hours of {name}, if it reaches {100 * _share(training):.0f} % of its data sheet"]


def _shared(stages: list[dict[str, Any]]) -> list[str]:
    return [
        f"Stage {stage['stage']}: all examples begin with the same {stage['shared_prefix']} tokens, once a row: "
        f"{100 * stage['shared']:.1f} % of all tokens less"
        for stage in stages
        if stage["shared_prefix"]
    ]


def _fit(  # noqa: PLR0917 - private
    training: Training, prepared: list[Prepared], name: str, kind: GPU, gpus: int, parts: dict[str, float]
) -> str:
    size = f"the {kind.memory_gib:.0f} GiB of {name}"
    if parts["all"] <= kind.memory_gib:
        return f"Fits into {size}"
    room = kind.memory_gib - parts["all"] + parts["activations"]
    if room <= 0:
        other = "adapter: {rank: 64}" if training.adapter is None else "adapter.quantized: true"
        hint = f"weights and optimizer alone need more: set machine.strategy: fsdp2 on several GPUs, or {other}"
    elif fitting := _fitting(training, prepared, kind, gpus, room, parts["activations"]):
        hint = f"batches.micro_batch_tokens: {fitting} would"
    elif not training.machine.checkpointing:
        hint = "machine.checkpointing: true would"
    else:
        hint = "take a larger GPU, or fsdp2"
    return f"Does not fit into {size}; {hint}"


def _fitting(  # noqa: PLR0917 - private
    training: Training, prepared: list[Prepared], kind: GPU, gpus: int, room: float, activations: float
) -> int:
    """Return how many tokens of a micro-batch fit into `room` GiB; 0: not even the longest example does.

    Activations are a straight line over tokens, of which there are `activations` and those of half as many tokens.
    """
    if training.layout == "rows":  # its micro-batches are so many rows
        return 0
    tokens = training.batches.micro_batch_tokens
    half = _memory(training, prepared, kind, gpus, tokens=tokens // 2)[0]["activations"]
    a_token = 2 * (activations - half) / tokens
    fitting = int(tokens - (activations - room) / a_token) // 256 * 256
    return fitting if fitting >= max(stage.max_length for stage in training.stages) else 0
