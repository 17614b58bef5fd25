"""The model of a run, ready to train: loaded, proved, compiled, and held by every process whole or in part.

Whether it is spread is decided before a weight is read. Where it is, process 0 alone reads the weights, into its host's
memory, and hands them out a layer at a time: eight processes that read a model of 15 billion weights at once would need
240 GB of it. Attention is then proved on a short model of the same configuration, because no process ever holds the
whole one on its device.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from magicoder.errors import RecipeError
from magicoder.training import attention, lean, models, optimizers, parallel
from magicoder.training.settings import Base, Stage, Training


@dataclass(frozen=True, slots=True)
class Built:
    """A model and what was found out about it.

    installed  how its attention keeps examples apart
    size       of the whole model
    """

    model: Any
    installed: attention.Installed
    size: models.Count


def build(
    training: Training, stage: Stage, base: Base, world: parallel.World, *, tokenizer: Any, longest: int
) -> Built:
    """Return the model at `base`; `longest` are the tokens of the longest example of the run.

    Raises:
        RecipeError: there is none, or it cannot be trained so; see `models.load` and `attention.install`.
    """
    load = partial(
        models.load,
        base,
        training.precision,
        computes=world.device,
        adapter=training.adapter,
        machine=training.machine,
        random_seed=training.random_seed,
        tokenizer=tokenizer,
    )
    layout = training.layout
    shape = _to_spread(training, stage, load, world)
    if shape is None:
        model = load(device=world.device)
        installed = attention.install(model, layout, longest=longest, device=world.device)
    else:
        model = load(device="cpu") if world.is_main else shape
        short = models.shortened(base, training.precision, world.device)
        attention.install(short, layout, longest=longest, device=world.device)
        installed = attention.install_as(model, short)
        del short
    size = models.count(model)
    if training.machine.compile:
        models.compile_layers(model, installed.layout)
    elif world.device.type == "cuda" and lean.helps(training):
        lean.apply(model)
    return Built(parallel.spread(model, "ddp" if shape is None else "fsdp2", world), installed, size)


def _to_spread(training: Training, stage: Stage, load: Any, world: parallel.World) -> Any:
    """Return the model without its weights if it is to be spread, None if every process is to hold it.

    Raises:
        RecipeError: it cannot be spread.
    """
    strategy, adapter = training.machine.strategy, training.adapter
    quantized = adapter is not None and adapter.quantized
    if world.size > 1 and quantized and strategy == "fsdp2":
        raise RecipeError("machine.strategy: fsdp2 cannot spread weights in 4 bits. Set it to ddp.")
    if world.size == 1 or quantized or strategy == "ddp":
        return None
    shape = load(device="meta")
    kept = optimizers.bytes_kept(training.optimization_of(stage), master=training.has_master)
    fits = strategy == "auto" and not world.any(not parallel.fits_whole(shape, world, kept))
    return None if fits else shape
