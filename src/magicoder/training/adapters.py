"""LoRA and QLoRA: small matrices that are trained beside weights that stand still (peft)."""

import importlib.util
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import torch

from magicoder.errors import RecipeError
from magicoder.store import write_atomic
from magicoder.training.settings import Adapter

_PREFIX: Final = "base_model.model."
"""What peft puts before the names of a model's parameters."""
_NAME: Final = "default"
"""What peft calls the only adapter."""
_EXPERTS: Final = ("gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")
"""What peft takes for parts of experts and their routers, in models whose experts are single parameters."""


def attach(model: Any, adapter: Adapter) -> Any:
    """Return `model` with adapters; only they have gradients. They have the type of the weights.

    Raises:
        RecipeError: no linear layer is called as `adapter.targets` says, or peft is missing.
    """
    if importlib.util.find_spec("peft") is None:
        raise RecipeError("adapter: needs the package peft. Install magicoder[train].")
    _check(model, adapter)
    from peft import LoraConfig, TaskType, get_peft_model

    settings = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=list(adapter.targets) or _linear(model),
        bias="none",
        task_type=TaskType.CAUSAL_LM,
    )
    # peft would keep adapters beside bfloat16 weights in float32 and convert at every product; our optimizers keep an
    # exact float32 of each trained weight instead (`precision.master`).
    with warnings.catch_warnings():  # peft asks transformers by names that it is about to drop
        warnings.simplefilter("ignore", FutureWarning)
        found = get_peft_model(model, settings, autocast_adapter_dtype=False)
    if any(".lora_embedding_" in name for name, _ in found.named_parameters()):
        raise RecipeError("adapter.targets: only linear layers can have adapters here, not embeddings.")
    if any(type(part).__name__ == "ParamWrapper" for part in found.modules()):  # `merged` does not know them
        raise RecipeError(
            "adapter.targets: peft puts adapters on the experts for these names, and only linear layers can have "
            "adapters here. Name others, such as q_proj, or none."
        )
    return found


def _linear(model: Any) -> str | list[str]:
    """Return which modules get adapters where a recipe names none: linear layers but the head.

    Where experts are single parameters they get none, nor does what is called as they were, nor a router (Llama 4's is
    a linear layer that gives more than a product).
    """
    if not any(".experts." in name and p.ndim == 3 for name, p in model.named_parameters()):
        return "all-linear"
    head = model.get_output_embeddings()
    found = {
        name.rsplit(".", 1)[-1]
        for name, part in model.named_modules()
        if isinstance(part, torch.nn.Linear) and part is not head and "Router" not in type(part).__name__
    }
    return sorted(found - set(_EXPERTS))


def _check(model: Any, adapter: Adapter) -> None:
    kinds = {name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    for target in adapter.targets:
        if not any(name == target or name.endswith(f".{target}") for name, _ in model.named_modules()):
            raise RecipeError(
                f"adapter.targets: the model has no {target!r}. Its linear layers: {', '.join(sorted(kinds))}."
            )


def four_bits(device: Any) -> Any:
    """Return how transformers shall load weights in 4 bits (NF4, scales in 8 bits, products in bfloat16).

    Raises:
        RecipeError: no GPU, or bitsandbytes is missing.
    """
    if device.type != "cuda":
        raise RecipeError("adapter.quantized: weights in 4 bits need an NVIDIA GPU. Set it to false.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise RecipeError("adapter.quantized: needs the package bitsandbytes. Install it, or set quantized to false.")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def save(model: Any, weights: Mapping[str, Any], folder: Path) -> None:
    """Write the adapters alone, as peft loads them: `weights` by the names of the model's parameters."""
    model.save_pretrained(folder, state_dict=dict(weights), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # an empty form; the run has a card
    path = folder / "adapter_config.json"
    config = orjson.loads(path.read_bytes())
    if isinstance(config["target_modules"], list):  # a set in peft: equal adapters shall be equal files
        config["target_modules"].sort()
    write_atomic(path, orjson.dumps(config, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def own(
    model: Any, weights: Mapping[str, Any] | None = None, gather: Callable[[Any], Any] = lambda tensor: tensor
) -> dict[str, Any]:
    """Return the adapters' weights by name, those in `weights` instead of the model's."""
    given = weights or {}
    return {
        name: gather(given.get(name, parameter)).detach()
        for name, parameter in model.named_parameters()
        if ".lora_" in name
    }


def merged(
    model: Any, weights: Mapping[str, Any] | None = None, gather: Callable[[Any], Any] = lambda tensor: tensor
) -> Iterator[tuple[str, Any]]:
    """Yield the weights of the model that `model` (with adapters) stands for, by the names that it has without them.

    An adapter's product is made and added in float32, so that it is rounded once, when it is written. Weights in 4 bits
    are read out first: what was trained are the adapters beside these very numbers. The model itself is not changed.

    weights  by name, instead of the model's own
    gather   makes a spread tensor whole
    """
    whole, given = model.get_base_model(), weights or {}
    for name, parameter in whole.named_parameters():
        if ".lora_" in name:
            continue
        layer, _, last = name.rpartition(".base_layer.")
        tensor = gather(given.get(_PREFIX + name, parameter))
        if not layer:
            yield name, tensor
            continue
        if last == "weight":
            tensor = _with_adapter(whole.get_submodule(layer), f"{_PREFIX}{layer}", tensor, given, gather)
        yield f"{layer}.{last}", tensor


def _with_adapter(module: Any, name: str, tensor: Any, weights: Mapping[str, Any], gather: Callable[[Any], Any]) -> Any:
    if type(tensor).__name__ == "Params4bit":
        from peft.utils.integrations import dequantize_module_weight

        tensor = dequantize_module_weight(module.get_base_layer())
    pair = []
    for side in ("lora_A", "lora_B"):
        parameter = getattr(module, side)[_NAME].weight
        pair.append(gather(weights.get(f"{name}.{side}.{_NAME}.weight", parameter)).detach().float())
    product = (pair[1] @ pair[0]) * module.scaling[_NAME]
    return tensor.detach().float() + (product.t() if module.fan_in_fan_out else product).to(tensor.device)
