"""Layers that keep less for the backward pass: on a GPU, where memory ends first, when nothing compiles them.

As transformers writes a Llama's layer out, each token keeps 182 KiB in one of width 4096 and inner width 11008. A third
of it can be made again from the rest by operations that cost little beside a product of matrices:

- norms keep what they read and one number a token, not float32 copies of it;
- between the products of an MLP only what the first ones gave is kept, not what became of it.

What is computed forward is equal to the bit, the slope of a norm up to rounding. A compiler finds such savings by
itself, and recomputed layers (`machine.checkpointing`) keep nothing at all.
"""

import copy
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn

from magicoder.training.settings import Training

_WIDTH: Final = 8
_ROWS: Final = 4


def helps(training: Training) -> bool:
    """Return whether layers are computed as they are written on a GPU: neither compiled nor recomputed.

    `paper-exact` follows transformers' own operations there and back, and so does what is compared with TRL.
    """
    return not (
        training.is_exact or training.backend == "trl" or training.machine.compile or training.machine.checkpointing
    )


def apply(model: Any) -> int:
    """Let the norms and MLPs of `model` keep less; return how many do. Names and weights do not change.

    A module is changed only if a small one of its class computes, on a CPU, the very numbers that ours does.
    """
    proved: dict[Any, bool] = {}
    changed = 0
    for module in model.modules():
        for fits, forward in ((_is_norm, _norm), (_is_gated, _gated), (_is_plain, _plain)):
            if not fits(module):
                continue
            kind = (type(module), forward)
            if kind not in proved:
                proved[kind] = _proved(module, forward)
            if proved[kind]:
                module.forward = _Bound(module, forward)
                changed += 1
    return changed


class _Bound:
    """A forward of ours in the place of the module's own."""

    def __init__(self, module: Any, forward: Callable[[Any, Any], Any]) -> None:
        self._module, self._forward = module, forward

    def __call__(self, hidden: Any) -> Any:
        return self._forward(self._module, hidden)


def _is_norm(module: Any) -> bool:
    names = set(dict(module.named_parameters(recurse=False)))
    return type(module).__name__.endswith("RMSNorm") and names == {"weight"} and _epsilon(module) is not None


def _epsilon(module: Any) -> float | None:
    return getattr(module, "variance_epsilon", getattr(module, "eps", None))


def _is_gated(module: Any) -> bool:
    return set(module._modules) == {"gate_proj", "up_proj", "down_proj", "act_fn"} and _is_fixed(module.act_fn)


def _is_plain(module: Any) -> bool:
    return set(module._modules) == {"c_fc", "c_proj", "act"} and _is_fixed(module.act)


def _is_fixed(activation: Any) -> bool:
    """Whether nothing of an activation is learned: `_Between` has gradients for its inputs alone."""
    return not list(activation.parameters())


def _proved(module: Any, forward: Callable[[Any, Any], Any]) -> bool:
    """Whether `forward` gives what the class' own forward does, on a small copy of the module."""
    small = copy.copy(module)
    small._modules = dict(module._modules)

    def drawn(compute: Callable[[Any, Any], Any]) -> Any:
        torch.manual_seed(0)  # so that dropout, if there is any, is the same for both
        return compute(small, hidden)

    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.no_grad():
        torch.manual_seed(1)
        small._parameters = {name: nn.Parameter(torch.randn(_WIDTH).bfloat16()) for name in module._parameters}
        for name in module._modules:
            if "proj" in name or name == "c_fc":
                small._modules[name] = nn.Linear(_WIDTH, _WIDTH, dtype=torch.bfloat16)
        hidden = torch.randn(1, _ROWS, _WIDTH).bfloat16()
        try:
            return bool(torch.equal(drawn(type(module).forward), drawn(forward)))
        except (AttributeError, RuntimeError, TypeError):
            return False


def _norm(module: Any, hidden: Any) -> Any:
    return _Norm.apply(hidden, module.weight, _epsilon(module))


class _Norm(torch.autograd.Function):
    """`weight * hidden / root of its mean square`, made in float32, rounded before the weight comes in."""

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, epsilon: float) -> Any:
        wide = hidden.float()
        factor = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(hidden, weight, factor)
        return weight * (wide * factor).to(hidden.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:  # type: ignore[override, unused-ignore]
        hidden, weight, factor = ctx.saved_tensors
        for_hidden = for_weight = None
        normed = hidden.float() * factor
        if ctx.needs_input_grad[1]:
            for_weight = (gradient * normed.to(hidden.dtype)).flatten(0, -2).sum(0)
        if ctx.needs_input_grad[0]:
            slope = (gradient * weight).float()
            along = (slope * normed).mean(-1, keepdim=True)
            for_hidden = slope.sub(normed.mul_(along)).mul_(factor).to(hidden.dtype)
        return for_hidden, for_weight, None


def _gated(module: Any, hidden: Any) -> Any:
    activate = module.act_fn

    def between(gate: Any, up: Any) -> Any:
        return activate(gate) * up

    return _last(module.down_proj, between, module.gate_proj(hidden), module.up_proj(hidden))


def _plain(module: Any, hidden: Any) -> Any:
    result = _last(module.c_proj, module.act, module.c_fc(hidden))
    return nn.functional.dropout(result, p=getattr(module, "residual_dropout", 0.0), training=module.training)


def _last(linear: Any, between: Callable[..., Any], *given: Any) -> Any:
    """Return `linear(between(*given))`; kept are `given`, and what `linear` reads is made again when it asks for it."""
    made = _Between.apply(between, *given)
    storage = made.untyped_storage()._cdata
    kept = tuple(tensor.detach() for tensor in given)

    def pack(tensor: Any) -> Any:
        if tensor.untyped_storage()._cdata != storage:
            return tensor
        return tensor.shape, tensor.stride(), tensor.storage_offset()

    def unpack(held: Any) -> Any:
        if isinstance(held, torch.Tensor):
            return held
        with torch.no_grad():
            return between(*kept).as_strided(*held)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        return linear(made)


class _Between(torch.autograd.Function):
    """Operations without weights, of which only the inputs are kept."""

    @staticmethod
    def forward(ctx: Any, between: Callable[..., Any], *given: Any) -> Any:
        ctx.between = between
        ctx.save_for_backward(*given)
        return between(*given)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:  # type: ignore[override, unused-ignore]
        with torch.enable_grad():
            given = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
            made = ctx.between(*given)
        return None, *torch.autograd.grad(made, given, gradient)
