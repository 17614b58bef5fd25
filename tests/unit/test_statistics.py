"""pass@k, intervals and comparisons, against enumeration."""

import itertools
import math
import random

import pytest

from magicoder import statistics


def enumerated(samples: int, passed: int, k: int) -> float:
    draws = list(itertools.combinations([True] * passed + [False] * (samples - passed), k))
    return sum(any(draw) for draw in draws) / len(draws)


@pytest.mark.parametrize("samples", range(1, 8))
def test_pass_at_k_is_the_share_of_draws_with_a_pass(samples: int) -> None:
    for passed in range(samples + 1):
        for k in range(1, samples + 1):
            assert statistics.pass_at_k(samples, passed, k) == pytest.approx(enumerated(samples, passed, k))


def test_pass_at_k_is_exact_for_many_samples() -> None:
    assert statistics.pass_at_k(200, 1, 100) == 0.5
    assert statistics.pass_at_k(200, 150, 100) == 1.0


@pytest.mark.parametrize(("samples", "passed", "k"), [(3, 1, 4), (3, 4, 1), (3, -1, 1), (3, 1, 0)])
def test_what_cannot_be_drawn_is_refused(samples: int, passed: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        statistics.pass_at_k(samples, passed, k)


def test_ranks_end_where_a_task_has_fewer_answers() -> None:
    assert statistics.ranks([10, 12]) == (1, 5, 10)
    assert statistics.ranks([1, 200]) == (1,)
    assert statistics.ranks([]) == ()


def test_an_interval_holds_its_estimate_and_is_the_same_each_time() -> None:
    values = [1.0] * 72 + [0.0] * 92
    found = statistics.mean(values)
    assert found == statistics.mean(values)
    assert found.low < found.estimate < found.high
    assert found.estimate == 72 / 164
    # The normal approximation of the same interval.
    half = 1.96 * math.sqrt(found.estimate * (1 - found.estimate) / 164)
    assert found.low == pytest.approx(found.estimate - half, abs=0.01)
    assert found.high == pytest.approx(found.estimate + half, abs=0.01)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = random.Random("coverage")
    inside = 0
    for _ in range(200):
        found = statistics.mean([float(rng.random() < 0.4) for _ in range(100)], resamples=200)
        inside += found.low <= 0.4 <= found.high
    assert inside >= 178


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_doubt_in_the_data_still_leaves_an_interval(value: float) -> None:
    found = statistics.mean([value] * 20)
    assert found.estimate == value
    assert 0.1 < found.high - found.low < 0.2


def test_no_problems_have_no_mean() -> None:
    with pytest.raises(ValueError, match="no problems"):
        statistics.mean([])


def test_mcnemar_counts_tosses_of_a_fair_coin() -> None:
    for first, second in itertools.product(range(6), repeat=2):
        tosses = list(itertools.product([0, 1], repeat=first + second))
        extreme = abs(first - second)
        as_extreme = sum(abs(2 * sum(t) - len(t)) >= extreme for t in tosses)
        assert statistics.mcnemar(first, second) == pytest.approx(as_extreme / len(tosses))


def test_a_difference_is_called_one_only_when_both_tests_see_it() -> None:
    clear = statistics.compare([0.0] * 100, [1.0] * 30 + [0.0] * 70)
    assert clear.is_one
    assert (clear.only_first, clear.only_second) == (0, 30)
    faint = statistics.compare([1.0] * 10 + [0.0] * 90, [0.0] * 5 + [1.0] * 8 + [0.0] * 87)
    assert not faint.is_one
    same = statistics.compare([1.0, 0.0], [1.0, 0.0])
    assert same.p == 1.0
    assert not same.is_one


def test_comparing_is_antisymmetric() -> None:
    rng = random.Random("pairs")
    a, b = ([float(rng.random() < share) for _ in range(80)] for share in (0.3, 0.5))
    forth, back = statistics.compare(a, b), statistics.compare(b, a)
    assert forth.difference.estimate == -back.difference.estimate
    assert forth.p == back.p
    assert (forth.only_first, forth.only_second) == (back.only_second, back.only_first)


def test_models_on_different_problems_are_not_compared() -> None:
    with pytest.raises(ValueError, match="beside"):
        statistics.compare([1.0], [1.0, 0.0])
