"""What a training run would take: steps, tokens, padding, memory of a process, hours. Nothing is computed for it."""

from typing import Any, Final

import numpy as np

from magicoder.training import batches, hardware, models, optimizers
from magicoder.training.hardware import GIB, GPU, GPUS
from magicoder.training.run import Prepared
from magicoder.training.settings import Training

SHARE_OF_PEAK: Final = 0.4
"""Of the data sheet's rate that training is assumed to reach: published figures for 7B models are 40 to 46 % on H100
(llm-foundry, torchtitan) and 64 % on A100."""
OVERHEAD_GIB: Final = 5.0
"""Context, workspaces of matrix products, fragmentation, the piece of the logits that is made at once."""
_SAMPLED_STEPS: Final = 8
_BYTES_A_WIDTH: Final = 24.0
_BYTES_AN_INNER_WIDTH: Final = 8.0
"""Activations kept of a token in a layer, times its width and its inner width: 182 KiB for a width of 4096 and an inner
one of 11008, as measured on transformers' Llama with attention that keeps no scores."""


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
    skeleton = models.skeleton(training.base, training.precision)
    size = models.count(skeleton)
    stages = [_stage(training, one, size, kind, count) for one in prepared]
    memory = _memory(training, prepared, size, skeleton, count)
    hours = [stage["hours"] for stage in stages]
    total = None if None in hours else sum(hours) * count
    notes = _notes(training, name, kind, memory, total) + _shared(stages)
    return {
        "gpu": name,
        "gpus": count,
        "parameters": size.parameters,
        "stages": stages,
        "memory_gib": memory,
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
    layout = _layout(training)
    sampled = [plan[i] for i in np.linspace(0, len(plan) - 1, min(_SAMPLED_STEPS, len(plan))).astype(int)]
    prefix = batches.shared(learned.prefix, learned.lengths, training.batches) if layout == "packed" else 0
    found = batches.Fill()
    for step in sampled:
        micro = batches.micro_batches(
            step, learned.lengths, learned.trained, training.batches, layout, training.mode, gpus, prefix=prefix
        )
        found += batches.fill(micro, learned.lengths, layout)
    seen = len(learned) * one.stage.epochs - plan.unused
    shared = found.shared / found.tokens
    flops = size.flops(learned.lengths) / len(learned) * seen * (1 - shared)
    rate = kind.tflops * 1e12 * SHARE_OF_PEAK * gpus if kind and kind.tflops else None
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


def _layout(training: Training) -> str:
    return "packed" if training.layout == "auto" else training.layout


def _memory(training: Training, prepared: list[Prepared], size: Any, skeleton: Any, gpus: int) -> dict[str, float]:
    """Return GiB by part. Spread over processes (fsdp2) are weights, gradients and what the optimizer keeps."""
    config = skeleton.config.get_text_config()
    wide = 4 if training.precision.weights == "float32" else 2
    adapter = training.adapter
    frozen = 0 if adapter is None else size.parameters
    trained = size.parameters if adapter is None else _adapter_parameters(config, adapter.rank)
    shared = gpus if training.machine.strategy == "fsdp2" else 1
    parts = {
        "weights": trained * wide + frozen * (0.55 if adapter is not None and adapter.quantized else wide),
        "master": trained * 2 if training.has_master else 0,
        "gradients": trained * wide,
        "optimizer": trained * optimizers.bytes_kept(training.optimization, master=False),
        "one update": 16.0 * max(p.numel() for p in skeleton.parameters()),  # float32 copies of the largest matrix
    }
    found = {name: value / shared / GIB for name, value in parts.items()}
    found["activations"] = _tokens_at_once(training, prepared) * _activation_bytes(training, config) / GIB
    found["overhead"] = OVERHEAD_GIB
    return {**found, "all": sum(found.values())}


def _adapter_parameters(config: Any, rank: int) -> float:
    """Return the parameters of LoRA on the usual seven matrices of a layer."""
    width, inner = config.hidden_size, _inner(config)
    heads = config.num_attention_heads
    narrow = width * (getattr(config, "num_key_value_heads", None) or heads) // heads
    a_layer = 2 * (width + width) + 2 * (width + narrow) + 3 * (width + inner)
    return float(rank * a_layer * config.num_hidden_layers)


def _tokens_at_once(training: Training, prepared: list[Prepared]) -> int:
    if training.layout == "rows":
        longest = max(int(one.encoded.lengths.max(initial=1)) for one in prepared)
        return training.batches.micro_batch_rows * longest
    return training.batches.micro_batch_tokens


def _activation_bytes(training: Training, config: Any) -> float:
    """Return what is kept of a token until the backward pass; recomputed layers keep their input only."""
    a_layer = _BYTES_A_WIDTH * config.hidden_size + _BYTES_AN_INNER_WIDTH * _inner(config)
    layers = config.num_hidden_layers
    wide = 2.0 if training.precision.weights == "float32" else 1.0
    if training.machine.checkpointing:
        return float(wide * (2 * config.hidden_size * layers + a_layer))
    return float(wide * a_layer * layers)


def _inner(config: Any) -> int:
    return int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)


def _notes(training: Training, name: str, kind: GPU | None, memory: dict[str, float], hours: float | None) -> list[str]:
    if kind is None:
        return ["Time and fit: name a GPU with --gpu (" + ", ".join(GPUS) + ")"]
    notes = []
    if hours is not None:
        notes.append(f"Time: {hours:.2f} hours of {name}, if it reaches {100 * SHARE_OF_PEAK:.0f} % of its data sheet")
    if memory["all"] <= kind.memory_gib:
        notes.append(f"Fits into the {kind.memory_gib:.0f} GiB of {name}")
    else:
        notes.append(f"Does not fit into the {kind.memory_gib:.0f} GiB of {name}; {_what_fits(training, kind, memory)}")
    return notes


def _shared(stages: list[dict[str, Any]]) -> list[str]:
    return [
        f"Stage {stage['stage']}: all examples begin with the same {stage['shared_prefix']} tokens, once a row: "
        f"{100 * stage['shared']:.1f} % of all tokens less"
        for stage in stages
        if stage["shared_prefix"]
    ]


def _what_fits(training: Training, kind: GPU, memory: dict[str, float]) -> str:
    room = kind.memory_gib - memory["all"] + memory["activations"]
    if room <= 0:
        other = "adapter: {rank: 64}" if training.adapter is None else "adapter.quantized: true"
        return f"weights and optimizer alone need more: set machine.strategy: fsdp2 on several GPUs, or {other}"
    fitting = int(training.batches.micro_batch_tokens * room / memory["activations"]) // 256 * 256
    longest = max(stage.max_length for stage in training.stages)
    if not training.is_exact and fitting >= longest:
        return f"batches.micro_batch_tokens: {fitting} would"
    return "machine.checkpointing: true would" if not training.machine.checkpointing else "take a larger GPU, or fsdp2"
