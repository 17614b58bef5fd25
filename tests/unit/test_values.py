"""Plain data out of a sandbox: what comes through, what does not, and what hostile bytes cannot do."""

import collections
import datetime
import math
import pickle
import re
import resource
import struct
import sys
import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from magicoder.sandboxes import _values, _values_inside
from magicoder.sandboxes._plain import Array, BadValue, Match, Opaque
from magicoder.sandboxes._values import decode
from magicoder.sandboxes._values_inside import dumps as encode


def through(value: Any) -> Any:
    return decode(encode(value))


PLAIN = [
    None,
    True,
    0,
    -128,
    127,
    128,
    2**63 - 1,
    -(2**63),
    2**63,
    -(3**5000),
    1.5,
    -0.0,
    math.inf,
    1 - 2j,
    "",
    "text",
    "é\ud800\0",
    "x" * 1000,
    b"\0\xff",
    b"y" * 1000,
    bytearray(b"abc"),
    [],
    [1, "a", [2.5, None]],
    (1,),
    ((),),
    {1, 2, 3},
    frozenset({"a"}),
    {"k": [1], (1, 2): {"n": {}}},
    range(10**30),
    range(5, 0, -2),
    slice(1, None, -1),
    collections.Counter("abracadabra"),
    collections.OrderedDict([("b", 1), ("a", 2)]),
    collections.defaultdict(list, {"a": [1]}),
    collections.deque([1, 2, 3], maxlen=3),
    collections.deque("ab"),
    Decimal("1.10"),
    Decimal("-Infinity"),
    Fraction(-22, 7),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 456789),
    datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=30))),
    datetime.date(1, 1, 1),
    datetime.time(23, 59, 59, 999999),
    datetime.timedelta(-3, 5, 7),
    list(range(1000)),
    tuple(range(-5, 20)),
    [0.5] * 20,
    [True, False] * 10,
    ["ab", "", "é", "\ud83d", "\ude00", "𝒳"] * 5,
    set(range(100)),
    frozenset(map(str, range(100))),
    [2**64] * 20,
]


@pytest.mark.parametrize("value", PLAIN, ids=[f"{number}-{type(value).__name__}" for number, value in enumerate(PLAIN)])
def test_plain_data_comes_through_with_its_type(value: Any) -> None:
    back = through(value)
    assert back == value
    assert type(back) is type(value)
    assert pickle.dumps(back) is not None  # it can be an argument again


def test_the_details_that_equality_does_not_see_come_through() -> None:
    assert math.isnan(through(math.nan))
    assert math.copysign(1, through(-0.0)) == -1
    assert str(through(Decimal("1.10"))) == "1.10"
    assert through(Decimal("NaN")).is_nan()
    assert list(through(collections.OrderedDict([("b", 1), ("a", 2)]))) == ["b", "a"]
    assert through(collections.deque([1], maxlen=4)).maxlen == 4
    assert list(through({"b": 1, "a": 2})) == ["b", "a"]


def test_what_is_shared_stays_shared_and_is_written_once() -> None:
    row = list(range(1000))
    back = through([row] * 50)
    assert back == [row] * 50
    assert all(one is back[0] for one in back)
    assert len(encode([row] * 50)) < 2 * len(encode(row))
    text = "x" * 10_000
    assert len(encode([text, [text], (text,)] * 10)) < 11_000


@pytest.mark.parametrize(
    "value",
    [
        np.float64(1.5),
        np.int8(-3),
        np.bool_(True),
        np.str_("abc"),
        np.datetime64("2024-01-01"),
        np.arange(12).reshape(3, 4),
        np.arange(12.0).reshape(3, 4).T,
        np.array(["a", "bcd"]),
        np.zeros((0, 5)),
        np.array(7),
        np.array([[True], [False]]),
    ],
)
def test_numpy_comes_through_where_there_is_numpy(value: Any) -> None:
    back = through(value)
    assert type(back) is type(value)
    assert back.dtype == value.dtype
    assert np.array_equal(back, value)
    assert np.shape(back) == np.shape(value)


def test_numpy_arrays_of_objects_come_through() -> None:
    value = np.empty(2, dtype=object)
    value[0], value[1] = [1, 2], [3, 4]
    back = through({"a": value})["a"]
    assert back.dtype == object
    assert list(back) == [[1, 2], [3, 4]]


def test_without_numpy_an_array_stands_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_values, "_numpy", lambda: None)
    back = through(np.arange(3, dtype="<i4"))
    assert back == Array("<i4", (3,), struct.pack("<3i", 0, 1, 2))
    assert isinstance(through(np.float64(2)), Array)


def test_a_match_is_true_and_tells_its_groups() -> None:
    back = through(re.search(r"(?P<a>b+)(x)?", "abbc"))
    assert isinstance(back, Match)
    assert back
    assert (back.span(), back.group(), back[1], back["a"], back.groups()) == ((1, 3), "bb", "bb", "bb", ("bb", None))


class Equal:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class EqualNumber(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize("value", [Equal(), EqualNumber(3), iter([1]), (i for i in [1]), print, Equal, sys])
def test_an_object_of_ones_own_equals_nothing(value: Any) -> None:
    back = through([value])[0]
    assert isinstance(back, Opaque)
    assert type(value).__qualname__ in back.type_name
    assert not any(back == other for other in (3, 0, None, True, [1]))


def test_a_subclass_that_keeps_equality_is_what_it_extends() -> None:
    assert through(Point(1, 2)) == (1, 2)
    assert type(through(Point(1, 2))) is tuple


def test_what_holds_itself_is_refused_at_once() -> None:
    ring: list[Any] = [1]
    ring.append([ring])
    assert isinstance(through(ring), Opaque)
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]
    assert isinstance(through(deep), Opaque)


def number(n: int) -> bytes:
    return struct.pack("=I", n)


LIST = b"l" + number(1)
BOMBS = {
    "deep nesting": LIST * 5000 + b"N",
    "references that double": LIST + b"N" + b"".join(b"" for _ in range(0)),
    "count beyond the message": b"l" + number(2**32 - 1) + b"N",
    "packed count beyond the message": b"plq" + number(2**31) + b"\0" * 8,
    "a number of a gigabit": b"I" + number(2**27) + b"\x7f" * 100,
    "array of a terabyte": b"a" + number(3) + b"<i8" + b"\x02" + number(2**20) * 2 + number(8) + b"\0" * 8,
    "array of objects": b"a" + number(2) + b"|O" + b"\x01" + number(1) + number(8) + b"\0" * 8,
    "reference to the unfinished": LIST + b"#" + number(0),
    "extreme exponent": b"e" + number(12) + b"1E+999999999",
    "unhashable key": b"d" + number(1) + b"l" + number(0) + b"N",
    "unknown tag": b"!",
    "nothing": b"",
    "more than one": b"NN",
    "no such date": b"A" + number(10) + b"2024-13-01",
    "not a match": b"xNNNNN",
    "fraction by zero": b"Rb\1b\0",
    "range without step": b"rb\0b\1b\0",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_quickly(name: str) -> None:
    if name == "references that double":
        data = b"l" + number(40) + b"l" + number(0)
        for i in range(39):
            data += b"l" + number(2) + (b"#" + number(i)) * 2
    else:
        data = BOMBS[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with pytest.raises(BadValue):
        decode(data)
    assert time.process_time() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_keys_that_were_chosen_to_collide_are_refused() -> None:
    evil = [k * sys.hash_info.modulus for k in range(1, 200_000)]
    start = time.process_time()
    with pytest.raises(BadValue, match="collide"):
        decode(b"S" + encode(evil)[1:])
    with pytest.raises(BadValue, match="collide"):
        decode(encode(dict.fromkeys(evil[:500])))
    assert time.process_time() - start < 5


def test_bounds_count_before_they_allow() -> None:
    data = encode(list(range(100_000)))
    assert len(decode(data)) == 100_000
    for bounds in ({"max_bytes": 1000}, {"max_cost": 100_000}):
        with pytest.raises(BadValue) as refused:
            decode(data, **bounds)
        assert refused.value.too_large


def test_a_large_number_is_fast_both_ways() -> None:
    value = 7 ** (2_000_000)
    start = time.process_time()
    assert through(value) == value
    assert time.process_time() - start < 2


def call(function: Any, *arguments: Any, **keywords: Any) -> Any:
    return _values.reply(_values_inside.answer(function, _values.request(arguments, keywords)))


def test_a_call_and_its_reply() -> None:
    assert call(lambda a, *, b: [a, b], 1, b=(2,)) == [1, (2,)]
    assert call(lambda: 1 // 0) == _values.Raised("ZeroDivisionError", "integer division or modulo by zero")
    assert call(sys.exit, 3) == _values.Raised("SystemExit", "3")


def test_an_exception_that_cannot_be_printed_is_still_one() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise SystemExit

    def function() -> None:
        raise Mute

    assert call(function) == _values.Raised("Mute", "")


def test_an_argument_that_cannot_be_sent_says_so() -> None:
    with pytest.raises(TypeError, match="cannot be an argument"):
        call(print, Opaque("generator"))
    with pytest.raises(TypeError, match="cannot be sent"):
        call(print, lambda: 0)
    with pytest.raises(TypeError, match="in the sandbox"):
        _values.reply(_values_inside.answer(print, b"no pickle"))


@pytest.mark.parametrize(
    "data", [b"", b"V", b"E" + encode((1, "a")), b"E" + encode("a"), b"A" + encode(1), b"X" + encode(1)]
)
def test_a_forged_reply_is_refused(data: bytes) -> None:
    with pytest.raises(BadValue):
        _values.reply(data)


def test_the_untrusted_end_needs_nothing_of_ours() -> None:
    source = Path(_values_inside.__file__).read_text()
    inside: dict[str, Any] = {"__name__": "inside"}
    exec(source, inside)
    assert "magicoder" not in source
    assert decode(inside["dumps"]([1, "a"])) == [1, "a"]
