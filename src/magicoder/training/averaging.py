"""The mean of several states of a model: often a little better than the last, and free."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from magicoder.errors import StoreError


def mean(states: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the mean of each tensor over `states`, in float32; tensors that are no floats come from the last.

    One tensor of each state is held at a time, if the states read theirs when asked.

    Raises:
        StoreError: the states are not of one model.
    """
    last = states[-1]
    for state in states[:-1]:
        odd = sorted(state.keys() ^ last.keys())
        if odd:
            raise StoreError(f"These are states of different models ({odd[0]} is not in all)")
    for name in last:
        tensor = last[name]
        if not tensor.is_floating_point():
            yield name, tensor
            continue
        total = torch.zeros_like(tensor, dtype=torch.float64)
        for state in states:
            part = state[name]
            if part.shape != tensor.shape:
                raise StoreError(f"These are states of different models ({name} has other shapes)")
            total += part
        yield name, (total / len(states)).float()
