"""The untrusted end of a conversation: reads arguments, writes answers down as plain data.

Runs inside the sandbox, in whatever Python is there, so it imports nothing of ours. What it writes is read by
`_values.py`, which trusts none of it; here stands only what is true of an honest program. The format: a tag of one
byte, then fixed-size numbers and counted bytes (native order, since both ends share the machine).
"""

import collections
import datetime
import decimal
import fractions
import pickle
import re
import struct
import sys
from array import array
from collections.abc import Callable
from typing import Any

PACK_FROM = 8  # a list of fewer is not worth its own header
SHARE_FROM = 64  # bytes or characters of a text that is written once and referred to after

_U4 = struct.Struct("=I").pack
_I8 = struct.Struct("=q").pack
_F8 = struct.Struct("=d").pack
_BASES: tuple[Any, ...] = (int, float, str, bytes, tuple, list, dict, set, frozenset)


class Unsendable(Exception):  # noqa: N818 - not an error, a property
    """This value has no plain form as a whole: it holds itself, or is nested too deeply."""


def answer(function: Callable[..., Any], request: bytes) -> bytes:
    """Call `function` with what `_values.request` wrote and return a reply for `_values.reply`."""
    try:
        arguments, keywords = pickle.loads(request)  # noqa: S301 - the trusted end wrote it
    except BaseException as e:
        return b"A" + dumps(f"{type(e).__name__}: {e}"[:500])
    try:
        return b"V" + dumps(function(*arguments, **keywords))
    except BaseException as e:
        return b"E" + _raised(e)


def _raised(error: BaseException) -> bytes:
    try:
        text = str(error)[:2000]
    except BaseException:
        text = ""
    return dumps((str(type(error).__name__)[:200], text))


def dumps(value: Any) -> bytes:
    """Return `value` as bytes; what has no plain form becomes a token that equals nothing."""
    writer = _Writer()
    try:
        writer.put(value)
    except (Unsendable, RecursionError) as e:
        writer = _Writer()
        writer.opaque(value, str(e) if isinstance(e, Unsendable) else "nested too deeply")
    return b"".join(writer.chunks)


class _Writer:
    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.add = self.chunks.append
        self.known: dict[
            int, int
        ] = {}  # id -> number of a finished container or long text; -1 while it is being written
        self.count = 0
        self.alive: list[Any] = []  # what was made here: an id means nothing once its object is gone

    def put(self, value: Any) -> None:
        write = _WRITERS.get(type(value))
        if write is None:
            self.other(value)
        else:
            write(self, value)

    def begin(self, value: Any) -> bool:
        """Write a reference instead if `value` was written before; true if it is still to be written."""
        number = self.known.get(id(value))
        if number is None:
            self.known[id(value)] = -1
            return True
        if number < 0:
            raise Unsendable("holds itself")
        self.add(b"#" + _U4(number))
        return False

    def end(self, value: Any) -> None:
        self.known[id(value)] = self.count
        self.count += 1

    def put_none(self, _: Any) -> None:
        self.add(b"N")

    def put_boolean(self, value: Any) -> None:
        self.add(b"T" if value else b"F")

    def put_integer(self, value: Any) -> None:
        if -128 <= value < 128:
            self.add(b"b" + (value & 255).to_bytes(1, "big"))
        elif -(1 << 63) <= value < 1 << 63:
            self.add(b"i" + _I8(value))
        else:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            self.add(b"I" + _U4(len(data)) + data)

    def put_floating(self, value: Any) -> None:
        self.add(b"f" + _F8(value))

    def put_complex(self, value: Any) -> None:
        self.add(b"c" + _F8(value.real) + _F8(value.imag))

    def put_text(self, value: Any) -> None:
        if len(value) < SHARE_FROM:
            data = value.encode("utf-8", "surrogatepass")
            self.add(b"s" + _U4(len(data)) + data)
        elif self.begin(value):
            data = value.encode("utf-8", "surrogatepass")
            self.add(b"*s" + _U4(len(data)) + data)
            self.end(value)

    def put_bytes(self, value: Any) -> None:
        if len(value) < SHARE_FROM:
            self.add(b"y" + _U4(len(value)) + value)
        elif self.begin(value):
            self.add(b"*y" + _U4(len(value)) + value)
            self.end(value)

    def put_bytearray(self, value: Any) -> None:
        if self.begin(value):
            self.add(b"Y" + _U4(len(value)) + bytes(value))
            self.end(value)

    def sequence(self, value: Any, tag: bytes) -> None:
        """Write a list, tuple, set or deque; long ones of one simple type in one piece."""
        if not self.begin(value):
            return
        items = value if isinstance(value, (list, tuple)) else list(value)
        if len(items) < PACK_FROM or not self.packed(tag, items):
            self.add(tag + _U4(len(items)))
            put = self.put
            for item in items:
                put(item)
        self.end(value)

    def packed(self, tag: bytes, items: Any) -> bool:
        kinds = set(map(type, items))
        if len(kinds) != 1:
            return False
        kind = kinds.pop()
        if kind is int:
            try:
                body = b"q" + _U4(len(items)) + array("q", items).tobytes()
            except OverflowError:
                return False
        elif kind is float:
            body = b"d" + _U4(len(items)) + array("d", items).tobytes()
        elif kind is bool:
            body = b"B" + _U4(len(items)) + bytes(items)
        elif kind is str:
            data = "".join(items).encode("utf-8", "surrogatepass")
            body = b"s" + _U4(len(items)) + array("I", map(len, items)).tobytes() + _U4(len(data)) + data
        else:
            return False
        self.add(b"p" + tag + body)
        return True

    def put_list(self, value: Any) -> None:
        self.sequence(value, b"l")

    def put_tuple(self, value: Any) -> None:
        self.sequence(value, b"t")

    def put_set(self, value: Any) -> None:
        self.sequence(value, b"S")

    def put_frozenset(self, value: Any) -> None:
        self.sequence(value, b"Z")

    def put_deque(self, value: Any) -> None:
        if self.begin(value):
            self.add(b"Q")
            self.put(value.maxlen)
            self.add(_U4(len(value)))
            for item in list(value):
                self.put(item)
            self.end(value)

    def mapping(self, value: Any, tag: bytes) -> None:
        if self.begin(value):
            items = list(dict.items(value))
            self.add(tag + _U4(len(items)))
            for key, item in items:
                self.put(key)
                self.put(item)
            self.end(value)

    def put_dict(self, value: Any) -> None:
        self.mapping(value, b"d")

    def put_counter(self, value: Any) -> None:
        self.mapping(value, b"C")

    def put_defaultdict(self, value: Any) -> None:
        self.mapping(value, b"D")

    def put_ordered_dict(self, value: Any) -> None:
        if self.begin(value):
            items = list(value.items())
            self.add(b"O" + _U4(len(items)))
            for key, item in items:
                self.put(key)
                self.put(item)
            self.end(value)

    def put_range(self, value: Any) -> None:
        self.add(b"r")
        for part in (value.start, value.stop, value.step):
            self.put(part)

    def put_slice(self, value: Any) -> None:
        self.add(b"L")
        for part in (value.start, value.stop, value.step):
            self.put(part)

    def words(self, tag: bytes, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self.add(tag + _U4(len(data)) + data)

    def put_decimal(self, value: Any) -> None:
        self.words(b"e", str(value))

    def put_fraction(self, value: Any) -> None:
        self.add(b"R")
        self.put(value.numerator)
        self.put(value.denominator)

    def put_datetime(self, value: Any) -> None:
        self.words(b"M", value.isoformat())

    def put_date(self, value: Any) -> None:
        self.words(b"A", value.isoformat())

    def put_time(self, value: Any) -> None:
        self.words(b"H", value.isoformat())

    def put_timedelta(self, value: Any) -> None:
        self.add(b"E")
        for part in (value.days, value.seconds, value.microseconds):
            self.put(part)

    def put_match(self, value: Any) -> None:
        self.add(b"x")
        for part in (value.start(), value.end(), value.group(), value.groups(), value.groupdict()):
            self.alive.append(part)
            self.put(part)

    def opaque(self, value: Any, why: str = "") -> None:
        name = f"{type(value).__module__}.{type(value).__qualname__}"[:200]
        self.words(b"o", f"{name} ({why})" if why else name)

    def other(self, value: Any) -> None:
        """Write a numpy value, or one of a subclass that does not change what equality means, as what it is."""
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.generic):
            self.put_array(b"n", numpy.asarray(value))
        elif numpy is not None and type(value) is numpy.ndarray:
            self.put_array(b"a", value)
        else:
            kind: Any = type(value)
            for base in _BASES:
                if isinstance(value, base) and kind.__eq__ is base.__eq__ and kind.__ne__ is base.__ne__:
                    plain = _plain(base, value)
                    self.alive.append(plain)
                    self.put(plain)
                    return
            self.opaque(value)

    def put_array(self, tag: bytes, value: Any) -> None:
        if value.dtype.kind == "O":
            if not self.begin(value):
                return
            items = value.ravel().tolist()
            self.alive.append(items)
            shape = value.shape
            self.alive.append(shape)
            self.add(b"j")
            self.put(shape)
            self.put(items)
            self.end(value)
        elif value.dtype.kind in "biufcUSMm" and value.dtype.itemsize:
            self.words(tag, value.dtype.str)
            self.add(bytes((value.ndim,)) + b"".join(map(_U4, value.shape)))
            data = value.tobytes()
            self.add(_U4(len(data)) + data)
        else:
            self.opaque(value)


def _plain(base: Any, value: Any) -> Any:
    """Return a value of a subclass as one of the class itself, past whatever the subclass redefines."""
    if base is int:
        return int.__index__(value)
    if base is float:
        return float.__float__(value)
    if base is str:
        return "".join(str.__iter__(value))
    if base is dict:
        return dict(dict.items(value))
    if base is bytes:
        return bytes(bytes.__iter__(value))
    return base(base.__iter__(value))


_WRITERS: dict[type, Callable[[_Writer, Any], None]] = {
    type(None): _Writer.put_none,
    bool: _Writer.put_boolean,
    int: _Writer.put_integer,
    float: _Writer.put_floating,
    complex: _Writer.put_complex,
    str: _Writer.put_text,
    bytes: _Writer.put_bytes,
    bytearray: _Writer.put_bytearray,
    list: _Writer.put_list,
    tuple: _Writer.put_tuple,
    set: _Writer.put_set,
    frozenset: _Writer.put_frozenset,
    dict: _Writer.put_dict,
    range: _Writer.put_range,
    slice: _Writer.put_slice,
    collections.Counter: _Writer.put_counter,
    collections.OrderedDict: _Writer.put_ordered_dict,
    collections.defaultdict: _Writer.put_defaultdict,
    collections.deque: _Writer.put_deque,
    decimal.Decimal: _Writer.put_decimal,
    fractions.Fraction: _Writer.put_fraction,
    datetime.datetime: _Writer.put_datetime,
    datetime.date: _Writer.put_date,
    datetime.time: _Writer.put_time,
    datetime.timedelta: _Writer.put_timedelta,
    re.Match: _Writer.put_match,
}
