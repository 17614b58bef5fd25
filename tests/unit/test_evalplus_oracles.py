"""When an answer to a HumanEval+ or MBPP+ task counts as right."""

import math
from collections import Counter
from typing import Any

import pytest

from magicoder.benchmarks._evalplus_oracles import is_floats, right, rule


def judged(name: str, answer: Any, expected: Any, *arguments: Any, atol: float = 0.0, strict: bool = True) -> bool:
    return right(name, answer, expected, arguments, atol, faults=() if strict else ("numpy",))


@pytest.mark.parametrize(
    ("answer", "expected"), [(1, 1.0), (True, 1), ({2, 1}, {1, 2}), ({"a": 1}, Counter("a")), (None, None), ("", "")]
)
def test_equal_is_what_python_says(answer: Any, expected: Any) -> None:
    assert judged("equal", answer, expected)


@pytest.mark.parametrize(("answer", "expected"), [((1, 2), [1, 2]), ("1", 1), (None, 0), ([], ()), (0.1 + 0.2, 0.3)])
def test_what_is_not_equal_is_wrong_without_a_tolerance(answer: Any, expected: Any) -> None:
    assert not judged("equal", answer, expected)


@pytest.mark.parametrize("strict", [True, False])
def test_a_tolerance_holds_for_numbers_and_lists_of_them(strict: bool) -> None:
    assert judged("equal", 0.1 + 0.2, 0.3, atol=1e-6, strict=strict)
    assert judged("equal", [1.0, (2.0000001, 3)], [1.0, [2.0, 3.0]], atol=1e-6, strict=strict)
    assert judged("equal", math.inf, math.inf, atol=1e-6, strict=strict)
    assert not judged("equal", 0.3001, 0.3, atol=1e-6, strict=strict)
    assert not judged("equal", math.nan, math.nan, atol=1e-6, strict=strict)
    assert not judged("equal", 1e308, math.inf, atol=1e-6, strict=strict)
    for other in ("0.3", None, {0.3}, {"a": 0.3}, ["0.3"]):
        assert not judged("equal", other, 0.3, atol=1e-6, strict=strict)
    assert not judged("equal", [1.0, 2.0], [1.0, 2.0, 3.0], atol=1e-6, strict=strict)


def test_the_harness_stretches_lists_and_strict_does_not() -> None:
    for answer, expected in (([], 1.5), (1.0, [1.0, 1.0]), ([2.0], [2.0, 2.0])):
        assert judged("equal", answer, expected, atol=1e-6, strict=False)
        assert not judged("equal", answer, expected, atol=1e-6, strict=True)
    assert not judged("equal", [], "text", atol=1e-6, strict=False)


def test_large_whole_numbers_are_near_floats_in_strict_only() -> None:
    assert judged("equal", 10**30, 1.00000000001e30, atol=1e-6, strict=True)
    assert not judged("equal", 10**30, 1.00000000001e30, atol=1e-6, strict=False)


def test_the_last_release_wants_the_same_type_within_a_tolerance() -> None:
    for answer, expected in (((1.0, 2.0 + 1e-9), [1.0, 2.0]), (10**15 + 1, 1e15)):
        assert right("equal", answer, expected, (), 1e-1, faults=("numpy",))
        assert not right("equal", answer, expected, (), 1e-1, faults=("numpy", "types"))
    assert right("equal", 1, 1.0, (), 1e-6, faults=("numpy", "types"))  # equal is equal


def test_is_floats_means_nothing_but_floats() -> None:
    assert is_floats(1.0)
    assert is_floats([1.0, 2.0])
    assert is_floats((1.0,))
    for other in (1, [], [1, 2.0], [[1.0]], "1.0", None):
        assert not is_floats(other)


def test_any_root_of_the_polynomial_will_do() -> None:
    assert rule("humaneval_plus", "find_zero") == "zero"
    assert judged("zero", 2.0, 1.0, [2, -3, 1], atol=1e-4)
    assert not judged("zero", 3.0, 1.0, [2, -3, 1], atol=1e-4)
    assert not judged("zero", None, 1.0, [2, -3, 1], atol=1e-4)


def test_some_tasks_are_about_sets() -> None:
    assert rule("mbpp_plus", "similar_elements") == "set"
    assert judged("set", [5, 4, 4], (4, 5))
    assert not judged("set", [4], (4, 5))
    assert not judged("set", None, (4, 5))


def test_some_tasks_only_ask_whether_there_is_an_answer() -> None:
    assert rule("mbpp_plus", "text_match_three") == "not_none"
    assert judged("not_none", "Found a match!", True)
    assert judged("not_none", None, False)
    assert judged("not_none", False, False)
    assert not judged("not_none", False, True)


def test_tasks_that_can_be_read_in_two_ways_accept_both() -> None:
    assert judged(rule("mbpp_plus", "sum_div"), 0, 7)
    assert judged(rule("mbpp_plus", "are_equivalent"), "anything", True)
    assert judged(rule("mbpp_plus", "digit_distance_nums"), 6, 5, 1, 256) is False
    assert judged(rule("mbpp_plus", "digit_distance_nums"), 12, 5, 1, 256)
    assert judged(rule("mbpp_plus", "surface_Area"), round(9 + 6 * math.hypot(1.5, 4)), 33, 3, 4)
    assert not judged(rule("mbpp_plus", "surface_Area"), 34.5, 33, 3, 4)


def test_names_mean_something_in_their_own_benchmark_only() -> None:
    assert rule("humaneval_plus", "sum_div") == "equal"
    assert rule("mbpp_plus", "find_zero") == "equal"
