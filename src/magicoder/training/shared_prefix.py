"""Examples that begin with the same tokens, say a system prompt, and compute them once in a packed row.

The row is the prefix, then each example without it. Nothing in the prefix is learned, and with causal attention what
is computed there does not depend on what follows, so one copy does for all; positions of each example go on from its
end. Attention is that of ordinary packed rows, with more keys than queries: the keys and values of the prefix are
copied in front of every example's own, and causal attention aligned at the end does the rest. So it needs no mask and
no kernel but the variable-length one. `attention.install` proves on the model that both agree.

Shapes: N tokens of a row, P of the prefix, S examples, K places of the lengthened keys (P for the prefix itself, then P
and its own tokens for each example).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch


class Keys(NamedTuple):
    """Where keys and values are in a row whose examples share a prefix; int64 but for `boundaries`.

    boundaries  [S + 2] int32: where the keys of the prefix and of each example begin, and the end; as many as the row
                has boundaries, unused ones repeat the end
    where       [K]: the token whose key stands at each place
    own         [N]: the place of each token's own key
    copies      [S, P]: the places of the prefix's copies; 0, which is none, where there is no example
    """

    boundaries: Any
    where: Any
    own: Any
    copies: Any


def keys(cuts: Sequence[int], prefix: int) -> Keys:
    """Return the places as arrays, for a row with these boundaries: 0, `prefix`, …, N, and N again for unused ones."""
    size, places = cuts[-1], len(cuts) - 2
    boundaries = np.full(len(cuts), size, dtype=np.int32)
    where, own = np.zeros(size + places * prefix, dtype=np.int64), np.zeros(size, dtype=np.int64)
    copies = np.zeros((places, prefix), dtype=np.int64)
    once = np.arange(prefix)
    where[:prefix] = own[:prefix] = once
    boundaries[:2] = 0, prefix
    end = prefix
    for place, (first, last) in enumerate(pairwise(cuts[1:])):
        if last > first:
            where[end : end + prefix], copies[place] = once, end + once
            own[first:last] = np.arange(end + prefix, end + prefix + last - first)
            where[end + prefix : end + prefix + last - first] = np.arange(first, last)
            end += prefix + last - first
        boundaries[place + 2] = end
    return Keys(boundaries, where, own, copies)


def lengthened(tensor: Any, places: Keys) -> Any:
    """Return keys or values [N, heads, width] with the prefix's in front of every example's: [K, heads, width]."""
    return _lengthened(tensor, places.where, places.own, places.copies)


@torch.library.custom_op("magicoder::lengthened", mutates_args=())
def _lengthened(tensor: torch.Tensor, where: torch.Tensor, own: torch.Tensor, copies: torch.Tensor) -> torch.Tensor:
    """A selection whose gradient is summed in float32 and in one order, which that of index_select is not."""
    del own, copies  # for the gradient
    return tensor.index_select(0, where)


@_lengthened.register_fake
def _shape(tensor: Any, where: Any, *_rest: Any) -> Any:
    return tensor.new_empty((where.shape[0], *tensor.shape[1:]))


@torch.library.custom_op("magicoder::lengthened_backward", mutates_args=())
def _lengthened_backward(gradient: torch.Tensor, own: torch.Tensor, copies: torch.Tensor) -> torch.Tensor:
    """The gradient of the tokens' own keys, to which those of the prefix's copies are added."""
    wide = torch.promote_types(gradient.dtype, torch.float32)
    found = gradient.index_select(0, own)
    shared = gradient.index_select(0, copies.flatten()).unflatten(0, copies.shape)
    # Beyond the boundaries the kernel leaves what was in memory.
    shared = shared.masked_fill((copies == 0)[..., None, None], 0.0)
    prefix = found[: copies.shape[1]]
    prefix.copy_(prefix.to(wide) + shared.sum(0, dtype=wide))
    return found


@_lengthened_backward.register_fake
def _shapes(gradient: Any, own: Any, *_rest: Any) -> Any:
    return gradient.new_empty((own.shape[0], *gradient.shape[1:]))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - named by torch
    ctx.save_for_backward(*inputs[2:])


def _backward(ctx: Any, gradient: Any) -> tuple[Any, ...]:
    return _lengthened_backward(gradient, *ctx.saved_tensors), None, None, None


_lengthened.register_autograd(_backward, setup_context=_keep)
