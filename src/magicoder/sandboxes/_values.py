"""Answers that come back from untrusted code: plain data, rebuilt by a reader that can make nothing else.

Not pickle, marshal or eval: every tag below builds one known type from checked parts, and whatever is malformed, too
large, too deep or built to be slow raises `BadValue`. Costs are counted before they arise, references included, so
that a short message cannot stand for much memory or for a structure that takes for ever to walk.
"""

import collections
import datetime
import decimal
import fractions
import pickle
import re
import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from magicoder.sandboxes._plain import Array, BadValue, Match, Opaque

MAX_BYTES: Final = 256 << 20
"""Of one answer as it is sent."""
MAX_COST: Final = 2 << 30
"""Bytes of memory, about, that one answer may take, counting what is shared as often as it is referred to."""
MAX_DEPTH: Final = 200
MAX_INTEGER_BYTES: Final = 1 << 20
"""Of one number, about 2.5 million digits: arithmetic on more would keep the judge from its work."""

_MAX_FRACTION_BYTES: Final = 1 << 10
_MAX_EXPONENT: Final = 100_000
_MAX_COLLISIONS: Final = 64  # unequal keys with one hash: honest ones have two or three
_DTYPE: Final = re.compile(rb"[<>|=]?[biufcUSMm]\d{1,6}(\[\d{0,6}[A-Za-z]{1,2}\])?\Z")
_U4: Final = struct.Struct("=I")
_I8: Final = struct.Struct("=q")
_F8: Final = struct.Struct("=d")


@dataclass(frozen=True, slots=True)
class Raised:
    """The function raised instead of answering: the exception's class and text."""

    kind: str
    message: str


def request(arguments: Sequence[Any], keywords: Mapping[str, Any]) -> bytes:
    """Return a call as `_values_inside.answer` takes it. Pickle is safe in this direction: we are the writer.

    Raises:
        TypeError: an argument cannot be sent, such as an `Opaque` answer of an earlier call.
    """
    for value in (*arguments, *keywords.values()):
        if isinstance(value, Opaque | Match | Array):
            raise TypeError(f"{value!r} cannot be an argument")
    try:
        return pickle.dumps((tuple(arguments), dict(keywords)), protocol=5)
    except (pickle.PicklingError, AttributeError) as e:
        raise TypeError(f"an argument cannot be sent into a sandbox: {e}") from None


def reply(data: bytes) -> Any:
    """Return the answer in a message of `_values_inside.answer`; `Raised` where the function raised.

    Raises:
        BadValue: see there.
        TypeError: it says that the arguments could not be read.
    """
    kind, value = data[:1], decode(data[1:])
    if kind == b"V":
        return value
    if kind == b"E" and type(value) is tuple and [type(v) for v in value] == [str, str]:
        return Raised(*value)
    if kind == b"A" and type(value) is str:
        raise TypeError(f"the arguments cannot be read in the sandbox: {value}")
    raise BadValue("the answer is malformed")


def decode(data: bytes, max_bytes: int = MAX_BYTES, max_cost: int = MAX_COST) -> Any:
    """Return the value that `_values_inside.dumps` wrote.

    Raises:
        BadValue: malformed, or beyond the bounds; nothing else is ever raised.
    """
    if len(data) > max_bytes:
        raise BadValue(f"the answer has {len(data)} bytes, more than {max_bytes}", too_large=True)
    reader = _Reader(data, max_cost)
    try:
        value = reader.value()
        if reader.at != len(data):
            raise BadValue("the answer is longer than it says")
    except BadValue:
        raise
    except MemoryError:
        raise BadValue("the answer does not fit into memory", too_large=True) from None
    except Exception as e:
        raise BadValue(f"the answer is malformed ({type(e).__name__}: {str(e)[:200]})") from None
    return value


class _Reader:
    """Reads one message from front to back."""

    def __init__(self, data: bytes, max_cost: int) -> None:
        self.data = data
        self.at = 0
        self.left = max_cost
        self.depth = 0
        self.shared: list[tuple[Any, int]] = []  # finished values that may be referred to, and their costs

    def value(self) -> Any:
        """Read a value of any type."""
        at = self.at
        if at >= len(self.data):
            raise BadValue("the answer ends too soon")
        self.at = at + 1
        read = _READERS.get(self.data[at])
        if read is None:
            raise BadValue(f"the answer has an unknown tag {self.data[at]}")
        return read(self)

    def pay(self, cost: int) -> None:
        """Count memory before it is used."""
        self.left -= cost
        if self.left < 0:
            raise BadValue("the answer is too large", too_large=True)

    def take(self, size: int) -> bytes:
        """Read exactly so many bytes."""
        at, end = self.at, self.at + size
        if end > len(self.data):
            raise BadValue("the answer ends too soon")
        self.at = end
        return self.data[at:end]

    def number(self) -> int:
        """Read a count."""
        count: int = _U4.unpack(self.take(4))[0]
        return count

    def integer(self) -> int:
        """Read a value that has to be an integer."""
        value = self.value()
        if type(value) is not int:
            raise BadValue("the answer has something else where a number belongs")
        return value

    def keep(self, value: Any, before: int) -> Any:
        """Remember a finished value, which has cost what is missing since `before`, for references to it."""
        self.shared.append((value, before - self.left))
        return value

    def reference(self) -> Any:
        """Read `#`: a value that was read before, paid for once more."""
        number = self.number()
        if number >= len(self.shared):
            raise BadValue("the answer refers to what it has not finished")
        value, cost = self.shared[number]
        self.pay(cost)
        return value

    def items(self, count: int, cost: int) -> list[Any]:
        """Read `count` values, each of which takes a byte at least."""
        if count > len(self.data) - self.at:
            raise BadValue("the answer ends too soon")
        self.pay(cost + 8 * count)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise BadValue(f"the answer is nested more than {MAX_DEPTH} deep", too_large=True)
        found, value = [], self.value
        for _ in range(count):  # a comprehension would be one more frame a level
            found.append(value())  # noqa: PERF401
        self.depth -= 1
        return found

    # Numbers and texts

    def big(self) -> int:
        size = self.number()
        if size > MAX_INTEGER_BYTES:
            raise BadValue(f"the answer has a number of {8 * size} bits", too_large=True)
        self.pay(32 + 2 * size)
        return int.from_bytes(self.take(size), "little", signed=True)

    def small(self) -> int:
        byte = self.take(1)[0]
        return byte - 256 if byte > 127 else byte

    def long(self) -> int:
        self.pay(36)
        value: int = _I8.unpack(self.take(8))[0]
        return value

    def floating(self) -> float:
        self.pay(24)
        value: float = _F8.unpack(self.take(8))[0]
        return value

    def complex_number(self) -> complex:
        return complex(self.floating(), self.floating())

    def text(self) -> str:
        size = self.number()
        self.pay(56 + 4 * size)  # one astral character makes every other as wide
        return str(self.take(size), "utf-8", "surrogatepass")

    def octets(self) -> bytes:
        size = self.number()
        self.pay(40 + size)
        return self.take(size)

    def octet_array(self) -> bytearray:
        before = self.left
        value: bytearray = self.keep(bytearray(self.octets()), before)
        return value

    def long_text(self) -> Any:
        before, tag = self.left, self.take(1)
        if tag not in (b"s", b"y"):
            raise BadValue("the answer has a shared value of an unknown kind")
        return self.keep(self.text() if tag == b"s" else self.octets(), before)

    def short(self, most: int = 64) -> str:
        size = self.number()
        if size > most:
            raise BadValue("the answer has a text that is too long for its type")
        self.pay(200)
        return str(self.take(size), "utf-8", "surrogatepass")

    # Containers

    def sequence(self, make: Callable[[list[Any]], Any]) -> Any:
        before = self.left
        return self.keep(make(self.items(self.number(), 64)), before)

    def listing(self) -> Any:
        return self.sequence(list)

    def row(self) -> Any:
        return self.sequence(tuple)

    def unique(self, make: Callable[[list[Any]], Any]) -> Any:
        before = self.left
        count = self.number()
        self.pay(160 + 80 * count)
        items = self.items(count, 0)
        _hashable(items)
        return self.keep(make(items), before)

    def set(self) -> Any:
        return self.unique(set)

    def frozen(self) -> Any:
        return self.unique(frozenset)

    def packed(self) -> Any:
        """Read `p`: a long sequence of one simple type, in one piece."""
        before = self.left
        make = _PACKED.get(self.take(1))
        kind, count = self.take(1), self.number()
        if make is None or count > len(self.data) - self.at:
            raise BadValue("the answer has a packed sequence that is malformed")
        self.pay(64 + 16 * count)
        items: list[Any]
        if kind in (b"q", b"d"):
            self.pay(32 * count)
            numbers: array[Any] = array(kind.decode())
            numbers.frombytes(self.take(8 * count))
            items = numbers.tolist()
        elif kind == b"B":
            items = [byte != 0 for byte in self.take(count)]
        elif kind == b"s":
            items = self.texts(count)
        else:
            raise BadValue("the answer has a packed sequence of an unknown kind")
        if make in (set, frozenset):
            self.pay(80 * count)
            _hashable(items)
        return self.keep(make(items), before)

    def texts(self, count: int) -> list[str]:
        lengths = array("I")
        lengths.frombytes(self.take(4 * count))
        self.pay(60 * count)
        size = self.number()
        self.pay(8 * size)  # the joined text and its pieces
        joined = str(self.take(size), "utf-8", "surrogatepass")
        if sum(lengths) != len(joined):
            raise BadValue("the answer has texts that are shorter or longer than they say")
        found, at = [], 0
        for length in lengths:
            found.append(joined[at : at + length])
            at += length
        return found

    def double_ended(self) -> Any:
        before = self.left
        longest = self.value()
        if longest is not None and (type(longest) is not int or not 0 <= longest < 1 << 62):
            raise BadValue("the answer has a deque of an impossible length")
        return self.keep(collections.deque(self.items(self.number(), 800), longest), before)

    def mapping(self, make: Callable[[Any], Any], cost: int) -> Any:
        before = self.left
        count = self.number()
        self.pay(cost + 120 * count)
        items = self.items(2 * count, 0)
        keys = items[::2]
        _hashable(keys)
        return self.keep(make(zip(keys, items[1::2], strict=True)), before)

    def dictionary(self) -> Any:
        return self.mapping(dict, 80)

    def counter(self) -> Any:
        return self.mapping(lambda pairs: collections.Counter(dict(pairs)), 100)

    def with_default(self) -> Any:
        return self.mapping(lambda pairs: collections.defaultdict(None, pairs), 100)

    def ordered(self) -> Any:
        return self.mapping(collections.OrderedDict, 300)

    # The rest

    def steps(self) -> range:
        self.pay(64)
        return range(self.integer(), self.integer(), self.integer())

    def cut(self) -> slice:
        self.pay(64)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise BadValue(f"the answer is nested more than {MAX_DEPTH} deep", too_large=True)
        value = slice(self.value(), self.value(), self.value())
        self.depth -= 1
        return value

    def exact_decimal(self) -> decimal.Decimal:
        value = decimal.Decimal(self.short(_MAX_EXPONENT))
        if value.is_finite() and abs(value.adjusted()) > _MAX_EXPONENT:
            raise BadValue("the answer has a decimal number of an extreme exponent", too_large=True)
        return value

    def fraction(self) -> fractions.Fraction:
        self.pay(400)
        parts = self.integer(), self.integer()
        if max(map(int.bit_length, parts)) > 8 * _MAX_FRACTION_BYTES:
            raise BadValue("the answer has a fraction of very large numbers", too_large=True)
        return fractions.Fraction(*parts)

    def moment(self) -> datetime.datetime:
        return datetime.datetime.fromisoformat(self.short())

    def day(self) -> datetime.date:
        return datetime.date.fromisoformat(self.short())

    def clock(self) -> datetime.time:
        return datetime.time.fromisoformat(self.short())

    def duration(self) -> datetime.timedelta:
        self.pay(64)
        return datetime.timedelta(self.integer(), self.integer(), self.integer())

    def match(self) -> Match:
        self.pay(400)
        first, last, text, others, named = self.items(5, 0)
        if type(others) is not tuple or type(named) is not dict or type(first) is not int or type(last) is not int:
            raise BadValue("the answer has a match that is malformed")
        return Match(first, last, text, others, named)

    def opaque(self) -> Opaque:
        return Opaque(self.short(2000))

    def scalar(self) -> Any:
        value = self.numbers()
        return value if isinstance(value, Array) else value[()]

    def numbers(self) -> Any:
        """Read `a`: a numpy array of a type without objects."""
        dtype = self.take(self.number())
        if not _DTYPE.match(dtype):
            raise BadValue("the answer has an array of an unknown type")
        shape = tuple(self.number() for _ in range(self.take(1)[0]))
        size = self.number()
        self.pay(200 + 2 * size)
        data = self.take(size)
        numpy = _numpy()
        if numpy is None:
            return Array(dtype.decode(), shape, data)
        kind = numpy.dtype(dtype.decode())
        count = 1
        for length in shape:
            count *= length
        if count * kind.itemsize != size or kind.hasobject:
            raise BadValue("the answer has an array that is shorter or longer than it says")
        # Zero-size arrays give no buffer to read from, but may have any shape.
        return numpy.frombuffer(data, kind).reshape(shape).copy() if size else numpy.zeros(shape, kind)

    def objects(self) -> Any:
        """Read `j`: a numpy array of Python objects."""
        before = self.left
        shape, items = self.items(2, 200)
        if type(items) is not list or type(shape) is not tuple or any(type(n) is not int for n in shape):
            raise BadValue("the answer has an array that is malformed")
        numpy = _numpy()
        if numpy is None:
            return self.keep(Opaque("numpy.ndarray"), before)
        flat = numpy.empty(len(items), dtype=object)
        for place, item in enumerate(items):
            flat[place] = item
        return self.keep(flat.reshape(shape), before)


def _hashable(items: list[Any]) -> None:
    """Refuse keys that were chosen to collide: a table of n of them would take time in n².

    Raises:
        TypeError: one of them cannot be a key.
        BadValue: too many different ones have one hash.
    """
    hashes = [hash(item) for item in items]
    if len(hashes) > _MAX_COLLISIONS and max(collections.Counter(hashes).values()) > _MAX_COLLISIONS:
        raise BadValue("the answer has keys that collide")


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        return None
    return numpy


_PACKED: Final[dict[bytes, Callable[[list[Any]], Any]]] = {b"l": list, b"t": tuple, b"S": set, b"Z": frozenset}

_READERS: Final[dict[int, Callable[[_Reader], Any]]] = {
    ord(tag): read
    for tag, read in {
        "N": lambda _: None,
        "T": lambda _: True,
        "F": lambda _: False,
        "b": _Reader.small,
        "i": _Reader.long,
        "I": _Reader.big,
        "f": _Reader.floating,
        "c": _Reader.complex_number,
        "s": _Reader.text,
        "y": _Reader.octets,
        "Y": _Reader.octet_array,
        "*": _Reader.long_text,
        "#": _Reader.reference,
        "l": _Reader.listing,
        "t": _Reader.row,
        "S": _Reader.set,
        "Z": _Reader.frozen,
        "p": _Reader.packed,
        "Q": _Reader.double_ended,
        "d": _Reader.dictionary,
        "C": _Reader.counter,
        "D": _Reader.with_default,
        "O": _Reader.ordered,
        "r": _Reader.steps,
        "L": _Reader.cut,
        "e": _Reader.exact_decimal,
        "R": _Reader.fraction,
        "M": _Reader.moment,
        "A": _Reader.day,
        "H": _Reader.clock,
        "E": _Reader.duration,
        "x": _Reader.match,
        "n": _Reader.scalar,
        "a": _Reader.numbers,
        "j": _Reader.objects,
        "o": _Reader.opaque,
    }.items()
}
