"""Exact float32 weights as the bfloat16 weights that compute plus 16 more bits: half the memory of a float32 copy.

bfloat16 is the upper half of a float32. The weight that computes is the float32 rounded to nearest, and the remainder,
a signed 16-bit number, is what its lower half adds to or takes from the rounded one:

    bits(float32) = bits(bfloat16) * 2**16 + remainder

A float32 half-way between two bfloat16 is rounded away from zero, not to even: rounding to even would send two
different float32 to one pair. Every float32 comes back bit for bit; of a NaN only that it is one (2**16 - 1 more NaN
exist in float32 than pairs in which the bfloat16 is a NaN, and a NaN that computes as a number would go unseen).
"""

import torch


def split(exact: torch.Tensor, weight: torch.Tensor, remainder: torch.Tensor) -> None:
    """Store the float32 `exact` in `weight` (bfloat16) and `remainder` (int16), all contiguous; `exact` is spent."""
    # A NaN's bits may be all ones (CUDA makes such): adding to them would run over into the sign.
    bits = exact.masked_fill_(exact.isnan(), float("nan")).view(torch.int32)
    remainder.copy_(bits)  # the lower 16 bits: integers are cut, never clamped
    weight.view(torch.int16).copy_(bits.add_(0x8000).bitwise_right_shift_(16))


def join(weight: torch.Tensor, remainder: torch.Tensor) -> torch.Tensor:
    """Return the float32 that `split` stored, as a new tensor."""
    bits = weight.view(torch.int16).to(torch.int32).bitwise_left_shift_(16)
    return bits.add_(remainder).view(torch.float32)
