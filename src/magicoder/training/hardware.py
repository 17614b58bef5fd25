"""Kinds of GPUs by their data sheets: how fast they are at best, and how much they hold."""

from dataclasses import dataclass
from typing import Final

from magicoder.errors import RecipeError
from magicoder.plugins import suggest

GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class GPU:
    """A kind of GPU: products of bfloat16 a second by the data sheet, and its memory."""

    tflops: float
    memory_gib: float


GPUS: Final = {
    "a100-40": GPU(312, 39.5),
    "a100-80": GPU(312, 79.2),
    "h100": GPU(989, 79.2),
    "h200": GPU(989, 139.8),
    "b200": GPU(2250, 178.4),
    "l40s": GPU(362, 44.4),
    "a6000": GPU(155, 47.5),
    "4090": GPU(165, 23.5),
}


def named(name: str | None) -> tuple[str, GPU | None]:
    """Return a GPU by its name in `GPUS`; None: that of this machine, None where it has none.

    Raises:
        RecipeError: an unknown name.
    """
    if name is None:
        return here()
    if name.lower() not in GPUS:
        raise RecipeError(f"--gpu {name} is not known{suggest(name, list(GPUS))}; there are: {', '.join(GPUS)}")
    return name.lower(), GPUS[name.lower()]


def here() -> tuple[str, GPU | None]:
    """Return the name and kind of this machine's GPU, "" and None if it has none."""
    import torch

    if not torch.cuda.is_available():
        return "", None
    there = torch.cuda.get_device_properties(0)
    known = next((kind for name, kind in GPUS.items() if name.split("-")[0] in there.name.lower()), None)
    return there.name, GPU(known.tflops if known else 0.0, there.total_memory / GIB)


def peak_flops() -> float:
    """Return the operations a second that the data sheet of this machine's GPU promises; 0: it is not in `GPUS`."""
    kind = here()[1]
    return kind.tflops * 1e12 if kind else 0.0
