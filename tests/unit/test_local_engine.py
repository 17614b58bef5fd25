"""The local engine keeps order, stays bounded, and passes errors on."""

from collections.abc import Iterator

import pytest

from magicoder.engines.local import Local


def square(x: int) -> int:
    return x * x


def fails_at_three(x: int) -> int:
    if x == 3:
        raise ValueError("three")
    return x


@pytest.mark.parametrize("workers", [1, 2])
def test_results_stand_in_the_order_of_the_items(workers: int) -> None:
    assert list(Local(workers=workers).map(square, range(50))) == [x * x for x in range(50)]


@pytest.mark.parametrize("workers", [1, 2])
def test_only_a_bounded_number_of_items_is_pulled_ahead(workers: int) -> None:
    pulled = 0

    def items() -> Iterator[int]:
        nonlocal pulled
        for i in range(1000):
            pulled += 1
            yield i

    results = Local(workers=workers).map(square, items())
    assert next(results) == 0
    assert pulled <= 2 * workers + 1
    assert len(list(results)) == 999


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_s_error_reaches_the_caller(workers: int) -> None:
    with pytest.raises(ValueError, match="three"):
        list(Local(workers=workers).map(fails_at_three, range(10)))
