"""Micro-batches as tensors: what one forward and backward pass of a model gets.

Shapes: B rows, T tokens of a row, N tokens of a packed row, S examples of it, M tokens with a target.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import torch

from magicoder.training import shared_prefix
from magicoder.training.batches import ROW_MULTIPLE, MicroBatch

NO_TARGET: Final = -100
_EXAMPLES_MULTIPLE: Final = 8


class Tokens(Protocol):
    """Encoded examples, as `encoded.Encoded` holds them."""

    @property
    def lengths(self) -> Any:
        """The number of tokens of each example."""

    def tokens(self, index: int) -> Any:
        """Return the token ids of an example, int32."""

    def mask(self, index: int) -> Any:
        """Return which tokens of an example are targets, bool."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The largest micro-batch of a stage. Packed batches are filled up to it, so that all have one shape.

    tokens    N of every packed row
    examples  at most so many examples in one
    longest   tokens of the longest example
    prefix    tokens that all examples begin with and that stand once in a row
    """

    tokens: int
    examples: int
    longest: int
    prefix: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A micro-batch on its device.

    ids         [B, T] int64
    positions   [B, T] int64; they begin anew with every example. -1 behind the end of a padded row
    targets     [B, T] int64: the token that is to be predicted at each position, -100 where none is; the last token of
                an example predicts nothing, so no target belongs to another example
    boundaries  packed: [S + 1] int32, where each example begins, and the end; unused places repeat the end. Else None.
                A prefix that the examples share comes first, and counts as one
    longest     at least the length of the longest example
    keys        where the keys are, if the examples share a prefix; else None
    where       [M] int64: the positions that have a target, in the flattened batch
    labels      [M] int64: their targets
    weight      what the sum of the losses is multiplied with
    tokens      tokens that are computed, without padding
    trained     M
    """

    ids: Any
    positions: Any
    targets: Any
    boundaries: Any
    longest: int
    where: Any
    labels: Any
    weight: float
    tokens: int
    trained: int
    keys: shared_prefix.Keys | None = None


def bound(micro_batches: Iterable[MicroBatch], lengths: Sequence[int]) -> Bound:
    """Return the bound of these micro-batches: what every packed batch is filled up to."""
    tokens = examples = longest = 1
    prefix = 0
    for micro in micro_batches:
        tokens = max(tokens, sum(micro.tokens(lengths)))
        examples = max(examples, len(micro.examples))
        longest = max(longest, *(int(lengths[i]) for i in micro.examples), 1)
        prefix = max(prefix, micro.prefix)
    return Bound(_up(tokens, ROW_MULTIPLE), _up(examples, _EXAMPLES_MULTIPLE), longest, prefix)


def collate(
    micro: MicroBatch, encoded: Tokens, *, layout: str, pad_id: int, device: Any, bound: Bound | None = None
) -> Batch | None:
    """Return `micro` as tensors on `device`, or None where it is empty and computes nothing.

    packed: all examples one behind the other in one row, behind the prefix that they share, if they do. sorted, rows:
    an example a row, padded on the right; nothing comes after the padding, so with causal attention no example sees it
    and no mask is needed.
    On a GPU the copies run beside the computation (pinned memory), and nothing waits for them.
    """
    if not micro.examples:
        return None
    pieces = [np.asarray(encoded.tokens(i), dtype=np.int64) for i in micro.examples]
    marks = [np.asarray(encoded.mask(i), dtype=bool) for i in micro.examples]
    made = (
        _packed(pieces, marks, pad_id, bound, micro.prefix)
        if layout == "packed"
        else _padded(pieces, marks, pad_id, bound)
    )
    return _batch(*made, weight=micro.weight, tokens=sum(micro.tokens(encoded.lengths)), device=device)


def idle(*, layout: str, pad_id: int, device: Any, bound: Bound | None = None) -> Batch:
    """Return a batch that trains nothing, for a process without work that has to go through the same exchanges."""
    prefix = bound.prefix if bound else 0
    token, mark = [np.full(prefix + 1, pad_id, dtype=np.int64)], [np.zeros(prefix + 1, dtype=bool)]
    made = _packed(token, mark, pad_id, bound, prefix) if layout == "packed" else _padded(token, mark, pad_id, bound)
    return _batch(*made, weight=0.0, tokens=0, device=device)


def _packed(
    pieces: list[Any], marks: list[Any], pad_id: int, bound: Bound | None, prefix: int
) -> tuple[Any, Any, int, Any]:
    """One row; what is left of it is filled with pieces of padding no longer than the longest example."""
    used = prefix + sum(len(piece) - prefix for piece in pieces)
    longest = max(*map(len, pieces), bound.longest if bound else 0)
    size = max(_up(used, ROW_MULTIPLE), bound.tokens if bound else 0)
    table = _empty(1, size, pad_id)
    cuts = [0]
    if prefix:
        assert not any(mark[: prefix + 1].any() for mark in marks), "a prefix that is shared is learned"
        _write(table, 0, 0, pieces[0][:prefix], marks[0][:prefix])
        cuts.append(prefix)
    for piece, mark in zip(pieces, marks, strict=True):
        _write(table, 0, cuts[-1], piece, mark, after=prefix)
        cuts.append(cuts[-1] + len(piece) - prefix)
    while cuts[-1] < size:
        filler = min(longest - prefix, size - cuts[-1])
        table[1, 0, cuts[-1] : cuts[-1] + filler] = np.arange(prefix, prefix + filler)
        cuts.append(cuts[-1] + filler)
    if bound:
        places = bound.examples + -(-bound.tokens // (bound.longest - prefix)) + 1 + (prefix > 0)
        assert used <= bound.tokens, "a micro-batch is larger than the bound of its stage"
        assert len(cuts) <= places, "a micro-batch has more examples than the bound of its stage"
        cuts += [size] * (places - len(cuts))
    return table, np.array(cuts, dtype=np.int32), longest, shared_prefix.keys(cuts, prefix) if prefix else None


def _padded(pieces: list[Any], marks: list[Any], pad_id: int, bound: Bound | None) -> tuple[Any, Any, int, Any]:
    longest = max(map(len, pieces))
    width = _up(longest, ROW_MULTIPLE) if bound else longest
    table = _empty(len(pieces), width, pad_id)
    table[1] = -1
    for row, (piece, mark) in enumerate(zip(pieces, marks, strict=True)):
        _write(table, row, 0, piece, mark)
    return table, None, width, None


def _empty(rows: int, width: int, pad_id: int) -> Any:
    table = np.zeros((3, rows, width), dtype=np.int64)  # ids, positions, targets
    table[0] = pad_id
    table[2] = NO_TARGET
    return table


def _write(table: Any, row: int, start: int, piece: Any, mark: Any, *, after: int = 0) -> None:
    """Write an example, or what comes after its first so many tokens."""
    end = start + len(piece) - after
    table[0, row, start:end] = piece[after:]
    table[1, row, start:end] = np.arange(after, len(piece))
    table[2, row, start : end - 1] = np.where(mark[1:], piece[1:], NO_TARGET)[after:]


def _batch(table: Any, boundaries: Any, longest: int, keys: Any, *, weight: float, tokens: int, device: Any) -> Batch:
    device = torch.device(device)
    flat = table[2].reshape(-1)
    where = np.flatnonzero(flat != NO_TARGET)
    ids, positions, targets = _move(table, device).unbind(0)
    places, labels = _move(np.stack([where, flat[where]]), device).unbind(0)
    return Batch(
        ids,
        positions,
        targets,
        None if boundaries is None else _move(boundaries, device),
        longest,
        places,
        labels,
        weight,
        tokens,
        len(where),
        None if keys is None else shared_prefix.Keys(*(_move(part, device) for part in keys)),
    )


def _move(array: Any, device: Any) -> Any:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
