import itertools
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from magicoder.training import packing

LENGTHS = st.lists(st.integers(1, 100), max_size=80)


def once(groups: Sequence[Sequence[int]], count: int) -> bool:
    """Whether every position from 0 stands in one group."""
    return sorted(i for group in groups for i in group) == list(range(count))


@settings(max_examples=300, deadline=None)
@given(lengths=LENGTHS, capacity=st.integers(100, 400), multiple=st.integers(1, 8))
def test_packing_keeps_every_example_once_and_the_budget(lengths: list[int], capacity: int, multiple: int) -> None:
    rows = packing.packed(lengths, capacity, multiple)
    assert once(rows, len(lengths))
    assert all(sum(lengths[i] for i in row) <= capacity for row in rows)
    assert len(rows) % multiple == 0
    if len(lengths) >= len(rows):
        fewer = len(rows) - multiple
        # Fewer rows would be less than the tokens need, or less than best-fit decreasing needs.
        assert fewer * capacity < sum(lengths) or fewer < len(packing._best_fit(lengths, capacity))


@settings(max_examples=200, deadline=None)
@given(lengths=LENGTHS, budget=st.integers(1, 400), multiple=st.integers(1, 8))
def test_groups_keep_every_example_once_and_the_budget(lengths: list[int], budget: int, multiple: int) -> None:
    groups = packing.of_like_length(lengths, budget, multiple)
    assert once(groups, len(lengths))
    assert all(len(group) <= 1 or packing.padded(lengths, group) <= budget for group in groups)
    assert len(groups) % multiple == 0


@settings(max_examples=200, deadline=None)
@given(costs=st.lists(st.integers(0, 1000), max_size=60), world=st.integers(1, 8))
def test_dealing_gives_every_process_equally_many(costs: list[int], world: int) -> None:
    costs = costs[: len(costs) // world * world]
    hands = packing.dealt(costs, world)
    assert once(hands, len(costs))
    assert len({len(hand) for hand in hands}) == 1


def test_rows_of_a_step_differ_by_little() -> None:
    lengths = [40 + i * 37 % 1100 for i in range(512)]
    loads = [sum(lengths[i] for i in row) for row in packing.packed(lengths, 16_384, 2)]
    assert max(loads) - min(loads) < 100


def test_where_like_rows_do_not_fit_packing_is_tight() -> None:
    lengths = [6, 6, 4, 4, 4, 3, 3]
    assert [sum(lengths[i] for i in row) for row in packing.packed(lengths, 10)] == [10, 10, 10]


def test_equal_lengths_give_equal_rows_each_time() -> None:
    lengths = [7] * 100
    assert packing.packed(lengths, 70, 2) == packing.packed(lengths, 70, 2)
    assert [len(row) for row in packing.packed(lengths, 70, 2)] == [10] * 10


def test_short_and_long_examples_do_not_share_a_padded_group() -> None:
    assert packing.of_like_length([1000, 1, 999, 2], 4000) == [[0, 2], [3, 1]]
    # Four rows of 9 are cheaper than a micro-batch more.
    assert packing.of_like_length([9, 1, 9, 2], 4000) == [[0, 2, 3, 1]]


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(1, 900), min_size=1, max_size=9), budget=st.integers(900, 2000))
def test_groups_cost_the_least_that_they_can(lengths: list[int], budget: int) -> None:
    def cost(groups: Sequence[Sequence[int]]) -> int:
        return sum(packing.GROUP_TOKENS + packing.padded(lengths, group) for group in groups)

    order = [i for group in packing.of_like_length(lengths, budget) for i in group]
    cheapest = min(
        cost(groups)
        for cuts in itertools.product([False, True], repeat=len(order) - 1)
        if (groups := pieces(order, cuts)) and all(packing.padded(lengths, group) <= budget for group in groups)
    )
    assert cost(packing.of_like_length(lengths, budget)) == cheapest


def pieces(order: list[int], cuts: Sequence[bool]) -> list[list[int]]:
    groups = [order[:1]]
    for i, cut in zip(order[1:], cuts, strict=True):
        if cut:
            groups.append([])
        groups[-1].append(i)
    return groups
