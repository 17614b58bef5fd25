import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magicoder.text.lengths import Lengths, line_count


def counted(values):
    lengths = Lengths()
    for value in values:
        lengths.add(value)
    return lengths


@given(st.lists(st.integers(0, 10_000), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_the_value_of_its_rank(values, q):
    assert counted(values).quantile(q) == sorted(values)[math.ceil(q * len(values)) - 1]


@given(st.lists(st.integers(0, 10_000), min_size=1))
def test_the_summary_agrees_with_the_values(values):
    summary = counted(values).summary()
    assert (summary["count"], summary["min"], summary["max"]) == (len(values), min(values), max(values))
    assert summary["mean"] == pytest.approx(statistics.mean(values), abs=0.0051)


@given(st.lists(st.integers(0, 1_000_000), min_size=1), st.integers(2, 50))
def test_bins_are_adjacent_and_hold_every_value_once(values, at_most):
    bins = counted(values).bins(at_most)
    assert sum(b.count for b in bins) == len(values)
    for b in bins:
        last = b.last if b.last is not None else max(values)
        assert b.count == sum(b.first <= v <= last for v in values)
    assert all(a.last + 1 == b.first for a, b in itertools.pairwise(bins))
    assert len(bins) <= at_most + 2


def test_one_enormous_text_lands_in_an_open_bin_and_does_not_flatten_the_rest():
    bins = counted([*range(1000), 10_000_000]).bins(10)
    assert bins[-1].last is None
    assert bins[-1].count == 1
    assert len(bins) > 5


def test_merging_is_counting_both():
    one, two = counted([1, 2]), counted([2, 3])
    one.merge(two)
    assert one == counted([1, 2, 2, 3])


def test_nothing_counted_has_no_figures():
    assert (Lengths().summary(), Lengths().bins(), Lengths().quantile(0.5)) == ({"count": 0}, [], 0)


@pytest.mark.parametrize(("text", "lines"), [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n", 1), ("\n\n", 2)])
def test_a_final_newline_starts_no_line(text, lines):
    assert line_count(text) == lines
