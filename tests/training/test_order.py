"""The original's order against the libraries that made it, where they are installed."""

from typing import Any

import numpy as np
import pytest

from magicoder.training import batches, order
from magicoder.training.settings import Batches

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("count", [1, 2, 49, 1000])
def test_rows_are_shuffled_as_datasets_shuffles_them(count: int) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"row": list(range(count))}).shuffle(seed=42)["row"]
    sampled = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    assert order.as_the_original(count, 1, 42, world=2)[0].tolist() == [rows[i] for i in sampled]


def test_one_process_draws_its_seeds_where_the_trainers_loader_draws_them() -> None:
    from torch.utils.data import DataLoader, RandomSampler

    rows = order.as_the_original(50, 3, 42, world=1)
    torch.manual_seed(42)
    shuffled = np.random.default_rng(42).permutation(50).tolist()
    loader: Any = DataLoader(shuffled, batch_size=2, sampler=RandomSampler(shuffled))
    epochs = [[int(i) for pair in loader for i in pair] for _ in range(3)]
    assert [one.tolist() for one in rows] == epochs
    assert epochs[0] != epochs[1]


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    order.as_the_original(50, 2, 42, world=1)
    assert torch.equal(before, torch.get_rng_state())


def test_several_processes_see_every_epoch_in_one_order_as_in_the_original() -> None:
    first, second = order.as_the_original(100, 2, 42, world=2)
    assert first.tolist() == second.tolist()


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 8, 12, 49, 50, 51, 52, 53])
@pytest.mark.parametrize("accumulation", [1, 2, 30])
def test_pairs_and_steps_are_those_of_accelerates_shards_and_the_trainers_loop(
    world: int, count: int, accumulation: int
) -> None:
    shards = pytest.importorskip("accelerate.data_loader")
    given = order.as_the_original(count, 3, 42, world)
    expected = []
    for rank in range(world):
        epochs = []
        for epoch in given:
            pairs = torch.utils.data.BatchSampler(epoch.tolist(), batch_size=2, drop_last=False)
            epochs.append(list(shards.BatchSamplerShard(pairs, num_processes=world, process_index=rank)))
        expected.append(trainers_loop(epochs, accumulation))
    settings = Batches(examples=2 * world * accumulation)
    plan = batches.plan(count, 3, settings, "paper-exact", 42, world=world)
    micro = [
        batches.micro_batches(step, np.full(count, 9), np.full(count, 3), settings, "rows", "paper-exact", world)
        for step in plan
    ]
    found = [[[[i for (i,) in one.rows] for one in hands[rank]] for hands in micro] for rank in range(world)]
    assert found == expected


def trainers_loop(epochs: list[list[list[int]]], accumulation: int) -> list[list[list[int]]]:
    """The micro-batches of each step, as transformers 4.35 counts them."""
    length = len(epochs[0])
    most = max(length // accumulation, 1) * len(epochs)
    steps: list[list[list[int]]] = []
    waiting: list[list[int]] = []
    counted = 0
    for epoch in epochs:
        for place, pair in enumerate(epoch, start=1):
            counted += 1
            waiting.append(pair)
            if counted % accumulation == 0 or (length <= accumulation and place == length):
                steps.append(waiting)
                waiting = []
            if len(steps) == most:
                return steps
    return steps
