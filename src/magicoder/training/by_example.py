"""Attention of a packed row, one example at a time: for CPUs, and as the reference for the kernel of GPUs.

Plain tensor operations in float32 (float64 if the inputs are). Registered as an operator: a compiled model holds it as
one node, whatever the number of examples.
"""

from itertools import pairwise
from typing import Any

import torch


@torch.library.custom_op("magicoder::by_example", mutates_args=())
def by_example(  # noqa: PLR0917 - an operator has positions
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cuts: torch.Tensor,
    key_cuts: torch.Tensor,
    scale: float,
    window: int,
) -> torch.Tensor:
    """Return causal attention within each example: query [N, heads, width], key and value [K, fewer heads, width].

    An example may have more keys than queries: those of what stands before it. Its last query sees its last key.

    cuts      [S + 1] int32: where each example begins, and the end
    key_cuts  [S + 1] int32: the same of its keys
    scale     of the scores
    window    tokens that a token sees, itself included; 0: all before it
    """
    out = torch.zeros_like(query, memory_format=torch.contiguous_format)
    for part, keys in _parts(cuts, key_cuts):
        weights = _weights(query[part], key[keys], scale, window)
        shared = _grouped(weights, key.shape[1])
        attended = torch.einsum("hgqk,khd->qhgd", shared, value[keys].to(weights.dtype))
        out[part] = attended.reshape(out[part].shape).to(out.dtype)
    return out


@by_example.register_fake
def _shape(query: Any, *_rest: Any) -> Any:
    return query.new_empty(query.shape)


@torch.library.custom_op("magicoder::by_example_backward", mutates_args=())
def _by_example_backward(  # noqa: PLR0917 - an operator has positions
    gradient: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cuts: torch.Tensor,
    key_cuts: torch.Tensor,
    scale: float,
    window: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of query, key and value; the weights are made again rather than kept."""
    like = torch.contiguous_format
    results = tuple(torch.zeros_like(tensor, memory_format=like) for tensor in (query, key, value))
    for part, keys in _parts(cuts, key_cuts):
        flat = _weights(query[part], key[keys], scale, window)
        weights = _grouped(flat, key.shape[1])
        wide = weights.dtype
        length = flat.shape[-2]
        width = value.shape[-1]
        incoming = gradient[part].to(wide).reshape(length, *weights.shape[:2], width)
        d_value = torch.einsum("hgqk,qhgd->khd", weights, incoming)
        d_weights = torch.einsum("qhgd,khd->hgqk", incoming, value[keys].to(wide))
        d_scores = weights * (d_weights - (weights * d_weights).sum(-1, keepdim=True)) * scale
        queries = query[part].to(wide).reshape(length, *weights.shape[:2], query.shape[-1])
        d_query = torch.einsum("hgqk,khd->qhgd", d_scores, key[keys].to(wide))
        d_key = torch.einsum("hgqk,qhgd->khd", d_scores, queries)
        for result, at, found in zip(results, (part, keys, keys), (d_query, d_key, d_value), strict=True):
            result[at] = found.reshape(result[at].shape).to(result.dtype)
    return results  # type: ignore[return-value, unused-ignore]


@_by_example_backward.register_fake
def _shapes(_gradient: Any, query: Any, key: Any, value: Any, *_rest: Any) -> Any:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - named by torch
    query, key, value, cuts, key_cuts, scale, window = inputs
    ctx.save_for_backward(query, key, value, cuts, key_cuts)
    ctx.scale, ctx.window = scale, window


def _backward(ctx: Any, gradient: Any) -> tuple[Any, ...]:
    return (*_by_example_backward(gradient, *ctx.saved_tensors, ctx.scale, ctx.window), None, None, None, None)


by_example.register_autograd(_backward, setup_context=_keep)


def _parts(cuts: Any, key_cuts: Any) -> list[tuple[slice, slice]]:
    """Return each example's queries and its keys."""
    both = zip(pairwise(cuts.tolist()), pairwise(key_cuts.tolist()), strict=True)
    return [(slice(*queries), slice(*keys)) for queries, keys in both if queries[1] > queries[0]]


def _weights(query: Any, key: Any, scale: float, window: int) -> Any:
    """Softmax of an example's scores, [heads, queries, keys], in float32 or wider."""
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    length, heads, width = query.shape
    more = key.shape[0] - length
    queries = query.to(wide).reshape(length, key.shape[1], heads // key.shape[1], width)
    scores = torch.einsum("qhgd,khd->hgqk", queries, key.to(wide)).flatten(0, 1) * scale
    places = torch.arange(key.shape[0], device=query.device)
    distance = places[more:, None] - places[None, :]
    hidden = distance < 0 if not window else (distance < 0) | (distance >= window)
    return torch.softmax(scores.masked_fill(hidden, float("-inf")), dim=-1)


def _grouped(weights: Any, shared: int) -> Any:
    return weights.unflatten(0, (shared, weights.shape[0] // shared))
