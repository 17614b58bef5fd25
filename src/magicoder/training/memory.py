"""What a training step holds at its peak, by running it on tensors without memory (torch's `meta` device).

Every operator of two micro-batches and an update is called as on a GPU; nothing is computed, only sizes are added up.
It takes seconds for a model of any size. What it cannot see: how the allocator's pieces fit together, workspaces of
matrix products, the driver's context.
"""

import warnings
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from magicoder.errors import RecipeError
from magicoder.training import adapters, attention, lean, loss, models, optimizers, parallel
from magicoder.training.settings import Precision, Training
from magicoder.training.shared_prefix import Keys
from magicoder.training.tensors import Batch

_COMPILED: Final = "aot_eager_decomp_partition"
"""Layers are cut into forward and backward as for a compiler, by torch; nothing is compiled."""
PIECE: Final = 512
"""Bytes in which a GPU's memory is given out."""
FOUR_BITS: Final = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a weight in 4 bits: a scale in 8 bits for 64 of them, one in 32 for 256 such scales."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """Bytes of a process that holds the whole model.

    weights      all of them, and buffers
    trained      of them those with gradients
    master       the 16 bits more of exact weights
    gradients    of all trained weights, as they are while micro-batches add to them
    optimizer    what it keeps
    activations  the most that forward and backward hold on top of all that, with the loss
    update       the most that an update holds on top; by then there are no activations
    gathered     of a spread model, what is whole at one time: embeddings, head, two layers and the gradients of one
    simulated    False: activations and updates are reckoned, because the model reads values on its way
    """

    weights: float
    trained: float
    master: float
    gradients: float
    optimizer: float
    activations: float
    update: float
    gathered: float
    simulated: bool


def simulate(training: Training, *, tokens: int, examples: int, longest: int, share: float, prefix: int = 0) -> Peak:
    """Return what a step of `training` takes.

    tokens    of a micro-batch, padding included
    examples  of a micro-batch
    longest   tokens of the longest example
    share     of the tokens that are targets
    prefix    tokens that all examples begin with and that stand once in a row

    Raises:
        RecipeError: no model at the base, or no module for an adapter.
    """
    model = _model(training)
    held = _Held()
    with torch.device("meta"):
        master = training.has_master
        optimizer = optimizers.build(
            model.named_parameters(),
            training.optimization,
            Precision(weights=training.precision.weights, master=master),
            world=parallel.World(device=torch.device("meta")),
        )
        batch = _batch(tokens, examples, longest, share, prefix)
    trained = _size(p for p in model.parameters() if p.requires_grad)
    gradients, activations, update = 0.0, 0.0, 0.0
    weights = held.add([*model.parameters(), *model.buffers()])
    kept = {name: tensor for name, tensor in optimizer.state().items() if tensor.is_meta}
    remainders = held.add(tensor for name, tensor in kept.items() if name.endswith(f".{optimizers.REMAINDER}"))
    slots = held.add(kept.values())
    held.add([batch.ids, batch.boundaries, batch.where])
    before, simulated = held.now, True
    try:
        with warnings.catch_warnings(action="ignore"), held:  # of torch about torch, while it compiles
            _work(model, batch, exact=training.is_exact)
            gradients = held.now - before
            activations = held.above(lambda: _work(model, batch, exact=training.is_exact))
            update = held.above(lambda: optimizer.step(1e-5))
    except (RecipeError, NotImplementedError, RuntimeError, TypeError):  # say, one that chooses among experts
        simulated = False
        gradients, activations = trained, tokens * _reckoned(training, loss.core(model).config.get_text_config())
        update = 16 * max(p.numel() for p in model.parameters() if p.requires_grad)  # float32 copies of the largest
    quantized = training.adapter is not None and training.adapter.quantized
    return Peak(
        weights=weights - (_saved_by_four_bits(model) if quantized else 0.0),
        trained=trained,
        master=remainders,
        gradients=gradients,
        optimizer=slots,
        # A product with weights in 4 bits reads one matrix out before it.
        activations=activations + (_largest(model) if quantized else 0.0),
        update=update,
        gathered=_gathered(model),
        simulated=simulated,
    )


def _reckoned(training: Training, config: Any) -> float:
    """Return bytes of activations a token, by what transformers' Llama keeps, as it is written."""
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    a_layer = 24.0 * config.hidden_size + 8.0 * inner
    wide = 2.0 if training.precision.weights == "float32" else 1.0
    layers = config.num_hidden_layers
    if training.machine.checkpointing:
        return float(wide * (2 * config.hidden_size * layers + a_layer))
    return float(wide * a_layer * layers)


def _model(training: Training) -> Any:
    """The model as `loop` has it on a GPU: its attention, its loss, what its layers keep."""
    model = models.skeleton(training.base, training.precision)
    if training.machine.checkpointing:
        models._recompute(model)
    model.train()
    if training.adapter is not None:
        with torch.device("meta"):
            model = adapters.attach(model, training.adapter)
        for adapter in adapters.own(model):  # peft gives them the weights' type, but not on `meta`
            parameter = model.get_parameter(adapter)
            parameter.data = parameter.data.to(getattr(torch, training.precision.weights))
    whole = loss.core(model)
    attention.register()
    whole.set_attn_implementation(attention.PACKED)
    loss.wrap_forward(whole, loss.Head(fused=attention.is_plain(whole.get_output_embeddings())))
    if training.machine.compile:
        torch._dynamo.reset()  # another size before this one would count as a reason not to compile
        models.compile_layers(model, "packed", backend=_COMPILED)
    elif lean.helps(training):
        lean.apply(whole)
    return model


def _batch(tokens: int, examples: int, longest: int, share: float, prefix: int = 0) -> Batch:
    ids, positions, wanted = torch.empty(3, 1, tokens, dtype=torch.int64).unbind(0)
    trained = max(1, round(tokens * share))
    where, labels = torch.empty(2, trained, dtype=torch.int64).unbind(0)
    boundaries = torch.empty(examples + 1 + (prefix > 0), dtype=torch.int32)
    keys = None
    if prefix:
        where_keys, own = (torch.empty(size, dtype=torch.int64) for size in (tokens + examples * prefix, tokens))
        keys = Keys(boundaries, where_keys, own, torch.empty(examples, prefix, dtype=torch.int64))
    return Batch(
        ids=ids,
        positions=positions,
        targets=wanted,
        boundaries=boundaries,
        longest=min(longest, tokens),
        where=where,
        labels=labels,
        weight=1 / trained,
        tokens=tokens,
        trained=trained,
        keys=keys,
    )


def _work(model: Any, batch: Batch, *, exact: bool) -> None:
    loss.loss(model, batch, exact=exact).backward()


class _Held(TorchDispatchMode):
    """Counts the bytes of all tensors that operators made and that somebody still has."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def add(self, tensors: Iterable[Any]) -> int:
        """Count tensors, each memory once; return how many bytes are new."""
        before = self.now
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self._seen:
                size = -(-storage.nbytes() // PIECE) * PIECE
                self._seen.add(key)
                self.now += size
                weakref.finalize(storage, self._gone, key, size).atexit = False
        self.peak = max(self.peak, self.now)
        return self.now - before

    def above(self, work: Any) -> int:
        """Return how many bytes `work` holds at most, on top of what there was before."""
        self.peak = before = self.now
        work()
        return self.peak - before

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size

    @classmethod
    def is_infra_mode(cls) -> bool:
        """Let layers be compiled while this counts."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        several = found if isinstance(found, (tuple, list)) else (found,)
        self.add(one for one in several if isinstance(one, torch.Tensor))
        if inside := _INSIDE.get(str(func)):
            self.peak = max(self.peak, self.now + inside(*args))
        return found


def _of_kernel(_gradient: Any, query: Any, key: Any, *rest: Any) -> int:
    """What the kernel for variable lengths allocates in its backward pass (torch's flash_api.cpp, mha_varlen_bwd)."""
    tokens, heads, width = query.shape
    padded = tokens + 128 * (rest[3].numel() - 1)
    sums = 4 * padded * heads * (-(-width // 32) * 32 + 1)
    expanded = 2 * key.shape[0] * heads * width * key.element_size() if key.shape[1] != heads else 0
    return int(sums + expanded)


_INSIDE: Final = {
    "torch_attn._varlen_attn_backward.default": _of_kernel,
    "aten.logsumexp.default": lambda logits, *_: logits.numel() * logits.element_size(),
}
"""Bytes that operators allocate for themselves while they run."""


def _size(parameters: Iterable[Any]) -> float:
    return float(sum(p.numel() * p.element_size() for p in parameters))


def _linears(model: Any) -> list[Any]:
    """The weights that stand still in 4 bits: of linear layers but the head and adapters."""
    head = loss.core(model).get_output_embeddings()
    named = loss.core(model).named_modules()
    linear = [m for name, m in named if isinstance(m, torch.nn.Linear) and m is not head and ".lora_" not in name]
    return [module.weight for module in linear]


def _saved_by_four_bits(model: Any) -> float:
    weights = _linears(model)
    return _size(weights) - FOUR_BITS * float(sum(weight.numel() for weight in weights))


def _largest(model: Any) -> float:
    return float(max((_size([p]) for p in _linears(model)), default=0.0))


def _gathered(model: Any) -> float:
    inside = [_size(layer.parameters()) for layer in models.layers(model)]
    return float(_size(model.parameters()) - sum(inside) + 3 * max(inside, default=0.0))
