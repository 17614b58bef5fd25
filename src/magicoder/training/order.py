"""In which order examples are seen: our own permutation of each epoch, and the original's to the index."""

import random
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from magicoder.text.permutation import permutation

Order: TypeAlias = NDArray[np.int64]


def shuffled(count: int, epoch: int, random_seed: int) -> Order:
    """Return the order of `epoch` (from 0) in mode `clean`: a permutation that no library's version can change."""
    order = list(range(count))
    random.Random(f"{random_seed}:{epoch}").shuffle(order)
    return np.array(order, dtype=np.int64)


def as_the_original(count: int, epochs: int, random_seed: int, world: int) -> list[Order]:
    """Return the order of each epoch of the original with `world` processes, before it is cut into micro-batches.

    What it stands on is datasets 2.14.6, transformers 4.35.0 and accelerate 0.24.1:
    - `Dataset.shuffle(random_seed)` permutes the rows, once;
    - the sampler permutes the shuffled rows again in every epoch. With one process it draws a seed from torch's global
      generator, which the Trainer seeded; the data loader draws a number before it. With several processes accelerate
      puts its own sampler in that place, seeded with the epoch; but the number of the epoch never reaches it, so that
      all epochs have the order of epoch 0, whatever `random_seed` is;
    - with several processes the epoch is filled up from its beginning (`filled_up`).
    """
    import torch

    rows = np.array(permutation(count, random_seed), dtype=np.int64)
    source = torch.Generator().manual_seed(random_seed)

    def sampled(seed: int) -> Order:
        positions = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        return rows[np.array(positions.tolist(), dtype=np.int64)]

    def drawn() -> int:
        return int(torch.empty((), dtype=torch.int64).random_(generator=source).item())

    if world > 1:
        return [sampled(0)] * epochs
    orders = []
    for _ in range(epochs):
        drawn()  # the data loader's seed for its workers
        orders.append(sampled(drawn()))
    return orders


def filled_up(order: Order, multiple: int) -> Order:
    """Return `order` with examples from its beginning behind it, up to a multiple of `multiple`.

    Accelerate does so (`BatchSamplerShard`, `even_batches`) that all processes get equally many full micro-batches.
    """
    return np.resize(order, -(-len(order) // multiple) * multiple)


def cut(sizes: Sequence[int]) -> list[int]:
    """Return where each of consecutive pieces begins, and where the last one ends."""
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + size)
    return ends
