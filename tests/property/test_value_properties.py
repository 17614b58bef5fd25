"""Whatever is plain comes back equal; whatever the bytes, the reader makes plain data or says `BadValue`."""

import contextlib
import math
from collections import Counter, OrderedDict, deque
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from magicoder.sandboxes._plain import BadValue
from magicoder.sandboxes._values import decode
from magicoder.sandboxes._values_inside import dumps as encode

text = st.text(st.characters(codec=None, categories=None), max_size=80)  # surrogates included
keys = st.none() | st.booleans() | st.integers() | text | st.binary(max_size=80) | st.fractions() | st.dates()
leaves = (
    keys
    | st.floats()
    | st.complex_numbers()
    | st.decimals()
    | st.datetimes()
    | st.times()
    | st.timedeltas()
    | st.integers(-(2**300), 2**300)
    | st.lists(st.integers(), max_size=30)
    | st.lists(st.floats(), max_size=30)
    | st.lists(text, max_size=30)
    | st.sets(st.integers(), max_size=30)
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.lists(inner, max_size=6).map(tuple)
        | st.lists(inner, max_size=6).map(deque)
        | st.dictionaries(keys, inner, max_size=6)
        | st.dictionaries(keys, inner, max_size=6).map(OrderedDict)
        | st.lists(keys, max_size=12).map(Counter)
        | st.frozensets(keys, max_size=6)
        | inner.map(lambda value: [value, value])
    ),
    max_leaves=25,
)


def same(a: Any, b: Any) -> bool:
    """Equal, of one type, NaN and the sign of zero included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, (list, tuple, deque)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a.items(), b.items(), strict=True))
    return str(a) == str(b) if isinstance(a, Decimal) else bool(a == b)


@given(values)
@settings(deadline=None, max_examples=300)
def test_plain_data_come_back_equal(value: Any) -> None:
    assert same(decode(encode(value)), value)


@given(st.binary(max_size=300))
@settings(deadline=None, max_examples=1000)
def test_arbitrary_bytes_never_break_the_reader(data: bytes) -> None:
    with contextlib.suppress(BadValue):
        decode(data)


@given(values, st.data())
@settings(deadline=None, max_examples=500)
def test_damaged_messages_never_break_the_reader(value: Any, data: st.DataObject) -> None:
    damaged = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    for message in (bytes(damaged), cut):
        with contextlib.suppress(BadValue):
            decode(message, max_cost=10 << 20)
