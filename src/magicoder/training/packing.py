"""Which examples share a row or a micro-batch. All functions work on lengths and give positions in them."""

import heapq
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Final

import numpy as np

GROUP_TOKENS: Final = 192
"""What a micro-batch costs beyond its tokens, in tokens: the gradients are read and written once more.

Of a model of 7 billion weights in bfloat16 that takes as long as about 190 tokens (docs/training-data.md); as both grow
with the model, the number holds for others.
"""


def packed(lengths: Sequence[int], capacity: int, multiple: int = 1) -> list[list[int]]:
    """Return rows of at most `capacity` tokens, of like size, and a multiple of `multiple` in number.

    Tried first is the least number of rows that could do: longest first, each into the emptiest row. With the hundreds
    of examples of a step that nearly always fits and leaves rows that differ by a few tokens, so that processes finish
    together. Where it does not fit, best-fit decreasing packs tighter, and if that needs more rows, there are more.
    Rows are empty only where there are too few examples. No example may be longer than `capacity`.
    """
    assert not lengths or max(lengths) <= capacity
    count = _rounded_up(-(-sum(lengths) // capacity), multiple)
    while True:
        rows = _balanced(lengths, count)
        if all(sum(lengths[i] for i in row) <= capacity for row in rows):
            return rows
        rows = _best_fit(lengths, capacity)
        if len(rows) <= count:
            return rows + [[] for _ in range(count - len(rows))]
        count = _rounded_up(len(rows), multiple)


def _balanced(lengths: Sequence[int], count: int) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in range(count)]
    loads = [(0, row) for row in range(count)]
    for i in _longest_first(lengths):
        load, row = loads[0]
        rows[row].append(i)
        heapq.heapreplace(loads, (load + lengths[i], row))
    return rows


def _best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (tokens free, row), ascending
    for i in _longest_first(lengths):
        at = bisect_left(free, (lengths[i], -1))
        if at == len(free):
            rows.append([])
            left, row = capacity, len(rows) - 1
        else:
            left, row = free.pop(at)
        rows[row].append(i)
        insort(free, (left - lengths[i], row))
    return rows


def of_like_length(lengths: Sequence[int], budget: int, multiple: int = 1) -> list[list[int]]:
    """Return groups of examples, longest first, that hold at most `budget` tokens when padded to their longest.

    Padding and the number of groups together are the least that they can be: each group counts as `GROUP_TOKENS` more
    tokens. To get a multiple of `multiple` groups, the largest are then halved. An example longer than `budget` is a
    group alone.
    """
    order = _longest_first(lengths)
    count = len(order)
    least = np.full(count + 1, np.iinfo(np.int64).max)  # for the first so many of `order`
    least[0] = 0
    begins = np.zeros(count + 1, dtype=np.int64)  # of the last group in that
    numbers = np.arange(1, count + 1, dtype=np.int64)
    for at, longest in enumerate(lengths[i] for i in order):
        rows = max(1, min(budget // max(1, longest), count - at))
        tokens = least[at] + GROUP_TOKENS + numbers[:rows] * longest
        after = least[at + 1 : at + 1 + rows]
        begins[at + 1 : at + 1 + rows][tokens < after] = at
        np.minimum(after, tokens, out=after)
    groups: list[list[int]] = []
    while count:
        at = int(begins[count])
        groups.insert(0, order[at:count])
        count = at
    while len(groups) % multiple:
        largest = max(range(len(groups)), key=lambda g: (len(groups[g]) > 1, padded(lengths, groups[g])))
        whole = groups[largest]
        half = (len(whole) + 1) // 2
        # The halves of a single example are itself and nothing.
        groups[largest : largest + 1] = [whole[:half], whole[half:]]
    return groups


def padded(lengths: Sequence[int], group: Sequence[int]) -> int:
    """Return how many tokens a group takes when padded to its longest."""
    return len(group) * max((lengths[i] for i in group), default=0)


def dealt(costs: Sequence[int], world: int) -> list[list[int]]:
    """Return which things each of `world` processes gets: equally many, of like cost, the dearest first.

    The number of things must be a multiple of `world`.
    """
    each, rest = divmod(len(costs), world)
    assert not rest
    hands: list[list[int]] = [[] for _ in range(world)]
    loads = [(0, rank) for rank in range(world)]
    for i in _longest_first(costs):
        load, rank = heapq.heappop(loads)
        hands[rank].append(i)
        if len(hands[rank]) < each:
            heapq.heappush(loads, (load + costs[i], rank))
    return hands


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))


def _rounded_up(count: int, multiple: int) -> int:
    return max(1, -(-count // multiple)) * multiple
