"""Our permutation is NumPy's, and so the shuffle of `datasets`."""

import datasets
import numpy as np
import pytest

from magicoder.text.permutation import permutation

SEEDS = [0, 1, 2, 3, 42, 666, 976, 2**31 - 1, 2**32 - 1, 2**32, 2**63 + 5, 2**128 - 1, 2**130 + 7, 2**300 + 11]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 255, 256, 257, 1000])
def test_it_equals_numpy(n: int, seed: int) -> None:
    assert list(permutation(n, seed)) == np.random.default_rng(seed).permutation(n).tolist()


@pytest.mark.parametrize("seed", [0, 976, 123456789])
def test_it_equals_numpy_at_the_size_of_the_paper(seed: int) -> None:
    assert list(permutation(150_000, seed)) == np.random.default_rng(seed).permutation(150_000).tolist()


def test_it_equals_numpy_for_many_seeds() -> None:
    for seed in range(400):
        assert list(permutation(37, seed)) == np.random.default_rng(seed).permutation(37).tolist()


@pytest.mark.parametrize("n", [1, 2, 10, 1000, 20_000])
@pytest.mark.parametrize("seed", [0, 976])
def test_it_equals_the_shuffle_of_datasets(n: int, seed: int) -> None:
    shuffled = datasets.Dataset.from_dict({"row": list(range(n))}).shuffle(seed=seed)["row"]
    assert list(permutation(n, seed)) == list(shuffled)
