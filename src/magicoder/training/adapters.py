"""LoRA and QLoRA: small matrices that are trained beside weights that stand still (peft)."""

import importlib.util
from pathlib import Path
from typing import Any

import torch

from magicoder.errors import RecipeError
from magicoder.training.settings import Adapter


def attach(model: Any, adapter: Adapter) -> Any:
    """Return `model` with adapters; only they have gradients. They have the type of the weights.

    Raises:
        RecipeError: no module is called as `adapter.targets` says, or peft is missing.
    """
    if importlib.util.find_spec("peft") is None:
        raise RecipeError("adapter: needs the package peft. Install magicoder[train].")
    from peft import LoraConfig, TaskType, get_peft_model

    settings = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=list(adapter.targets) or "all-linear",
        bias="none",
        task_type=TaskType.CAUSAL_LM,
    )
    _check(model, adapter)
    # peft would keep adapters beside bfloat16 weights in float32 and convert at every product; our optimizers keep an
    # exact float32 of each trained weight instead (`precision.master`).
    return get_peft_model(model, settings, autocast_adapter_dtype=False)


def _check(model: Any, adapter: Adapter) -> None:
    kinds = {name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    for target in adapter.targets:
        if not any(name == target or name.endswith(f".{target}") for name, _ in model.named_modules()):
            raise RecipeError(
                f"adapter.targets: the model has no module {target!r}. Its linear layers are {', '.join(sorted(kinds))}."
            )


def four_bits(device: Any) -> Any:
    """Return how transformers shall load weights in 4 bits (NF4, scales in 8 bits, products in bfloat16).

    Raises:
        RecipeError: no GPU, or bitsandbytes is missing.
    """
    if device.type != "cuda":
        raise RecipeError(
            f"adapter.quantized: weights in 4 bits need an NVIDIA GPU, not {device.type}. Set it to false."
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise RecipeError("adapter.quantized: needs the package bitsandbytes. Install it, or set quantized to false.")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def save(model: Any, folder: Path) -> None:
    """Write the adapters alone, as peft loads them."""
    model.save_pretrained(folder)


def merge(model: Any) -> Any:
    """Add the adapters into the weights, in place, and return the model without them.

    The sum is made in float32 and rounded once. Weights in 4 bits cannot take it: merge into the base loaded anew.

    Raises:
        RecipeError: the weights are quantized.
    """
    if getattr(model.get_base_model(), "is_quantized", False):
        raise RecipeError(
            "adapter.merge: weights in 4 bits cannot take adapters in. Use adapters.merged with the base in bfloat16."
        )
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    return model.merge_and_unload()


def merged(base: Any, folder: Path) -> Any:
    """Return `base`, a model without adapters, with those in `folder` added in: for weights trained in 4 bits."""
    from peft import PeftModel

    return merge(PeftModel.from_pretrained(base, str(folder), autocast_adapter_dtype=False))
