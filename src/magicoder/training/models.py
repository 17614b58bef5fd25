"""Models and tokenizers: loading, refusing what cannot be trained, counting, and saving what others can serve."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError

from magicoder.errors import RecipeError
from magicoder.training import adapters, eight_bits, loss
from magicoder.training.parallel import layers
from magicoder.training.saving import quiet, save
from magicoder.training.settings import Adapter, Base, Machine, Precision

__all__ = [
    "Count", "compile_layers", "configuration", "count", "layers", "load", "load_tokenizer", "save", "shortened",
    "skeleton",
]  # fmt: skip


def load_tokenizer(base: Base) -> Any:
    """Return the tokenizer of `base`, with padding (the end of text where it has none of its own).

    Raises:
        RecipeError: there is none, or it has no end of text.
    """
    from transformers import AutoTokenizer

    name = base.tokenizer or base.model
    revision = {} if base.tokenizer or not base.revision else {"revision": base.revision}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=base.trust_remote_code, **revision)
    except (OSError, ValueError, KeyError, ImportError) as reason:
        raise RecipeError(
            f"base.tokenizer: no tokenizer {name!r}{_nowhere(name)}: {_first_line(reason)}. {_WHERE}"
        ) from reason
    if tokenizer.eos_token_id is None:
        raise RecipeError(
            f"base.tokenizer: the tokenizer of {name!r} has no end of text (eos_token), so a model could not learn to "
            "stop. Set eos_token in its tokenizer_config.json, or name another tokenizer."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


_WHERE: Final = (
    "It must be a folder with a model as transformers writes it, or the name of one on the Hugging Face hub (which "
    "needs the network, and `hf auth login` for models behind a licence)."
)


def _nowhere(name: str) -> str:
    return "" if Path(name).exists() else " (there is no such folder here, so it was looked for on the hub)"


def skeleton(base: Base, precision: Precision) -> Any:
    """Return the model without memory for its weights (on the device `meta`), for counting and planning."""
    with torch.device("meta"):
        return _empty(configuration(base), base, precision)


def shortened(base: Base, precision: Precision, device: Any, *, words: int = 0) -> Any:
    """Return a model like that of `base`, on `device`, with drawn weights and only its first layers.

    As many of them as show every kind there is: layers are of one kind if their parts, the sizes of these and their
    settings are equal. `words` is another size of the vocabulary than its own, for a look at its layers alone.
    """
    config = configuration(base)
    kinds = [_kind(layer) for layer in layers(skeleton(base, precision))]
    text = config.get_text_config()
    if len(kinds) == text.num_hidden_layers:  # else it is not understood, and stays as long as it is
        _shorten(text, 1 + max(kinds.index(kind) for kind in set(kinds)))
    if words:
        text.vocab_size, text.pad_token_id = words, None
    device = torch.device(device)
    with _seeded(0, device), quiet():
        model = _random(config, base, precision, device)
    model.train()
    return model


def _kind(layer: Any) -> Any:
    """What tells a layer from those of another kind; its place does not."""
    return tuple((name, type(part), _settings(part), _sizes(part)) for name, part in layer.named_modules())


def _sizes(module: Any) -> Any:
    return tuple((name, p.shape, p.dtype) for name, p in module.named_parameters(recurse=False))


def _settings(module: Any) -> Any:
    found = ((name, value) for name, value in vars(module).items() if isinstance(value, (bool, int, str)))
    return tuple(sorted((n, v) for n, v in found if isinstance(v, (bool, str)) or not re.search("layer|idx|index", n)))


def _shorten(config: Any, count: int) -> None:
    """Keep the first `count` layers, also of what is listed by layer."""
    before = config.num_hidden_layers
    by_layer = {n: v[:count] for n, v in vars(config).items() if isinstance(v, (list, tuple)) and len(v) == before}
    config.num_hidden_layers = count
    for name, value in by_layer.items():
        setattr(config, name, value)


def configuration(base: Base) -> Any:
    """Return the configuration of a causal language model.

    Raises:
        RecipeError: there is no model there, or it is of another kind.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if (Path(base.model) / "adapter").is_dir() and not (Path(base.model) / "config.json").exists():
        raise RecipeError(
            f"base.model: {base.model!r} holds adapters only. Set adapter.merge: true where it was trained."
        )
    try:
        config = AutoConfig.from_pretrained(
            base.model,
            trust_remote_code=base.trust_remote_code,
            **({"revision": base.revision} if base.revision else {}),
        )
    except (OSError, ValueError, KeyError) as reason:
        raise RecipeError(
            f"base.model: no model {base.model!r}{_nowhere(base.model)}: {_first_line(reason)}. {_WHERE}"
        ) from reason
    known = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    remote = base.trust_remote_code and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if getattr(config, "is_encoder_decoder", False) or not (known or remote):
        raise RecipeError(
            f"base.model: {base.model!r} is of the kind {config.model_type!r}, which is no causal language model. Take "
            "one that transformers loads as AutoModelForCausalLM, such as Llama, Qwen, DeepSeek or StarCoder2."
        )
    return config


def positions(base: Base) -> int | None:
    """Return how many tokens the model can read at once by its configuration, None where that names no limit.

    Raises:
        RecipeError: as `configuration`.
    """
    found = getattr(configuration(base).get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def load(
    base: Base,
    precision: Precision,
    *,
    device: Any,
    computes: Any = None,
    adapter: Adapter | None = None,
    machine: Machine | None = None,
    random_seed: int = 0,
    tokenizer: Any = None,
) -> Any:
    """Return the model on `device`, in the type of `precision.weights`; `attention.install` comes next.

    device       `meta`: without memory for its weights, which are not read either
    computes     the device that it will compute on, if its weights do not lie there yet
    adapter      the weights stand still and small matrices are added (peft)
    random_seed  for the weights if `base.random_weights`, and for the adapter's
    tokenizer    given: refused if it has more tokens than the model

    Raises:
        RecipeError: no such model, another kind of model, fewer words than the tokenizer has, no memory for it, or
            8 bits on a device without them.
    """
    device = torch.device(device)
    if precision.fp8:
        _refuse_fp8(device if computes is None else torch.device(computes), machine)
    if base.random_weights and adapter is not None and adapter.quantized:
        raise RecipeError("adapter.quantized: weights that are drawn (base.random_weights) are not kept in 4 bits.")
    config = configuration(base)
    _check_vocabulary(config, base, tokenizer)
    try:
        with _seeded(random_seed, device), quiet():
            if base.random_weights or device.type == "meta":
                model = _random(config, base, precision, device)
            else:
                model = _pretrained(config, base, precision, device, adapter)
            if machine is not None and machine.checkpointing:
                _recompute(model)
            model.train()
            model.magicoder_eight_bits = precision.fp8
            if adapter is not None:
                with device if device.type == "meta" else nullcontext():
                    model = adapters.attach(model, adapter)
    except torch.OutOfMemoryError as reason:
        raise RecipeError(
            f"{base.model!r} does not fit into the memory of {device}. Use an adapter with quantized: true, or several "
            "GPUs with machine.strategy: fsdp2."
        ) from reason
    return model


def compile_layers(model: Any, layout: str, **options: Any) -> None:
    """Compile every layer for itself (torch.compile); equal layers share the result.

    A packed stage has one shape (`tensors.bound`), so shapes are compiled in; padded rows differ in theirs. Call it
    after `attention.install`, whose proof needs more than the 8 bits that `precision.fp8` leaves from here on.
    """
    if getattr(loss.core(model), "magicoder_eight_bits", False):
        eight_bits.apply(layers(model))
    for layer in layers(model):
        layer.compile(dynamic=layout != "packed", **options)


def _recompute(model: Any) -> None:
    enable = getattr(model, "activation_checkpointing_enable", None)  # transformers 5.2x; the older name is deprecated
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})


def _refuse_fp8(device: Any, machine: Machine | None) -> None:
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 9):
        raise RecipeError(
            f"precision.fp8: {device.type} has no products in 8 bits (NVIDIA L4, H100 and later have). Set it to false."
        )
    if machine is None or not machine.compile:
        raise RecipeError("precision.fp8 is slower than bfloat16 where layers are not compiled. Set machine.compile.")


def _check_vocabulary(config: Any, base: Base, tokenizer: Any) -> None:
    words = getattr(config.get_text_config(), "vocab_size", None)
    if tokenizer is not None and words is not None and len(tokenizer) > words:
        raise RecipeError(
            f"base.tokenizer: it has {len(tokenizer)} tokens and the model {base.model!r} only {words}. Take the "
            "model's own tokenizer."
        )


@contextmanager
def _seeded(random_seed: int, device: Any) -> Iterator[None]:
    """Draw from `random_seed` for a while; the generators outside are left as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(random_seed)
        yield


def _dtype(precision: Precision) -> Any:
    return getattr(torch, precision.weights)


def _empty(config: Any, base: Base, precision: Precision) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_config(config, dtype=_dtype(precision), trust_remote_code=base.trust_remote_code)


def _random(config: Any, base: Base, precision: Precision, device: Any) -> Any:
    with device:
        return _empty(config, base, precision).to(device)


def _pretrained(config: Any, base: Base, precision: Precision, device: Any, adapter: Adapter | None) -> Any:
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"revision": base.revision} if base.revision else {}
    if adapter is not None and adapter.quantized:
        options["quantization_config"] = adapters.four_bits(device)
    if device.type == "cuda":
        options["device_map"] = {"": device}
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            base.model,
            config=config,
            dtype=_dtype(precision),
            trust_remote_code=base.trust_remote_code,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, KeyError, SafetensorError) as reason:
        raise RecipeError(
            f"base.model: cannot load the weights of {base.model!r}: {_first_line(reason)}. Copy the whole model, or "
            "set base.random_weights: true to try a recipe with drawn ones."
        ) from reason
    missing = sorted(found["missing_keys"])
    if missing or found.get("mismatched_keys"):
        odd = (missing or sorted(str(key) for key in found["mismatched_keys"]))[0]
        raise RecipeError(
            f"base.model: the weights of {base.model!r} are not those of its config.json: {odd} is missing or of "
            "another shape. Copy the whole model again."
        )
    return model


def _first_line(reason: BaseException) -> str:
    return (str(reason).strip().splitlines() or [type(reason).__name__])[0].rstrip(".")


@dataclass(frozen=True, slots=True)
class Count:
    """What a model is made of, for planning and for saying how near it comes to the device.

    parameters  all, tied ones once
    trainable   those with gradients
    matmul      parameters that a token is multiplied with: not embeddings and norms; of experts those that are asked
    trained     those of `matmul` with gradients
    layers      of attention
    width       heads times their width
    """

    parameters: int
    trainable: int
    matmul: int
    trained: int
    layers: int
    width: int

    def flops(self, lengths: Any) -> float:
        """Return the operations of forward and backward over examples of these lengths; no recomputation counted.

        A parameter costs 2 operations a token forward and 2 backward, and 2 more if it has a gradient; causal attention
        6 times layers, width and length squared, over both passes.
        """
        tokens = float(sum(int(n) for n in lengths))
        squares = float(sum(int(n) ** 2 for n in lengths))
        return tokens * (4 * self.matmul + 2 * self.trained) + 6 * self.layers * self.width * squares


def count(model: Any) -> Count:
    """Count `model`, which may be a `skeleton`. Weights in 4 bits count as the numbers that they stand for."""
    whole = loss.core(model)
    config = whole.config.get_text_config()
    embedding, head = whole.get_input_embeddings(), whole.get_output_embeddings()
    tied = head is not None and head.weight is embedding.weight
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None) or 1
    share = (getattr(config, "num_experts_per_tok", None) or experts) / experts
    parameters = trainable = 0
    matmul = trained = 0.0
    for name, parameter in model.named_parameters():
        size = parameter.numel() * (2 if type(parameter).__name__ == "Params4bit" else 1)
        parameters += size
        trainable += size if parameter.requires_grad else 0
        if parameter.ndim < 2 or (parameter is embedding.weight and not tied):
            continue
        active = size * (share if ".experts." in name else 1.0)
        matmul += active
        trained += active if parameter.requires_grad else 0.0
    heads = getattr(config, "num_attention_heads", 0)  # Mamba has none
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads) if heads else 0
    return Count(parameters, trainable, round(matmul), round(trained), config.num_hidden_layers, width)
