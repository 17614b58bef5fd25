"""Products of linear layers in 8 bits: a scale for each tensor, made from the tensor itself.

Forward in E4M3 (3 bits of mantissa), gradients in E5M2 (a wider range). Sums are made in float32 by the device, results
are in the layer's type. Weights stay as they are: only copies are rounded, once a product.
"""

from collections.abc import Iterable
from typing import Any, Final

import torch

FORWARD: Final = torch.float8_e4m3fn
BACKWARD: Final = torch.float8_e5m2
_MULTIPLE: Final = 16
"""The devices take sizes that are multiples of this."""
_FINE: Final = ("gate", "router")
"""Small layers that choose among experts; a choice does not stand rounding."""


def apply(layers: Iterable[Any]) -> int:
    """Let the linear layers inside `layers` compute in 8 bits from now on; return how many do.

    Those with odd sizes, adapters, routers of experts, and what is more than a linear layer are left alone. Names and
    weights do not change.
    """
    changed = 0
    for layer in layers:
        for name, module in layer.named_modules():
            fine = "lora_" in name or name.rsplit(".", 1)[-1] in _FINE
            plain = type(module) is torch.nn.Linear and not fine
            if plain and not any(size % _MULTIPLE for size in module.weight.shape):
                module.__class__ = Linear
                changed += 1
    return changed


class Linear(torch.nn.Linear):
    """A linear layer whose products are made in 8 bits."""

    def forward(self, input: Any) -> Any:  # noqa: A002 - torch's name
        """Return `input @ weight.T + bias`; rows that are no multiple of 16 are computed without rounding."""
        rows = input.reshape(-1, input.shape[-1])
        if rows.shape[0] % _MULTIPLE:
            return super().forward(input)
        result = _Product.apply(rows, self.weight).reshape(*input.shape[:-1], self.out_features)
        return result if self.bias is None else result + self.bias


class _Product(torch.autograd.Function):
    """`left [M, K] @ weight [N, K].T`. Kept for the backward pass is the rounded left side, half as large."""

    @staticmethod
    def forward(ctx: Any, left: Any, weight: Any) -> Any:
        rounded, scale = _rounded(left, FORWARD)
        other, other_scale = _rounded(weight, FORWARD)
        ctx.save_for_backward(rounded, scale, weight)
        return _multiplied(rounded, scale, other.t(), other_scale, left.dtype, fast=True)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:  # type: ignore[override, unused-ignore]
        left, left_scale, weight = ctx.saved_tensors
        rounded, scale = _rounded(gradient, BACKWARD)
        for_left = for_weight = None
        if ctx.needs_input_grad[0]:
            other, other_scale = _rounded(weight, FORWARD)
            for_left = _multiplied(rounded, scale, _by_columns(other), other_scale, gradient.dtype)
        if ctx.needs_input_grad[1]:
            turned = rounded.t().contiguous()
            for_weight = _multiplied(turned, scale, _by_columns(left), left_scale, weight.dtype)
        return for_left, for_weight


def _rounded(tensor: Any, dtype: Any) -> tuple[Any, Any]:
    """Return `tensor` in 8 bits and the float32 scale that it is to be multiplied with."""
    largest = torch.finfo(dtype).max
    scale = (tensor.detach().abs().amax().float() / largest).clamp_min(1e-12)
    return (tensor.detach().float() / scale).clamp(-largest, largest).to(dtype), scale


def _by_columns(matrix: Any) -> Any:
    """The same matrix, stored column by column, as the right side of a product has to be."""
    return matrix.t().contiguous().t()


def _multiplied(left: Any, scale: Any, right: Any, other: Any, dtype: Any, *, fast: bool = False) -> Any:
    """Return the product; `fast` sums in fewer bits on the device, which the forward pass can afford."""
    return torch._scaled_mm(left, right, scale_a=scale, scale_b=other, out_dtype=dtype, use_fast_accum=fast)
