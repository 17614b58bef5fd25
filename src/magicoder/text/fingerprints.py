"""Finds texts of which only figures are at hand: two hashes, a length and a place.

A text is known by a *mark*: a short hash of one window of it, where that window stands, how long the text is, and a
strong hash of all of it. A scan hashes every window of a record (Karp–Rabin); where one is known, the strong hash of
the record's text at that place decides. So the answer is that of the text itself, up to a collision of 128 bits.
The hashing of windows runs on Arrow's kernels over whole batches: no text is looked at from Python but near a match.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from magicoder.text.substrings import Match

WINDOW: Final = 16
"""Values in the window of a mark, unless texts may be shorter."""

_NEAR: Final = 48
"""A mark's window is the rarest of this many at the start of its text."""

_CHUNK: Final = 1 << 17
"""Values hashed at a time: what fits the cache of a core."""

_BASES: Final = {32: 0x9E3779B1, 64: 0x9E3779B97F4A7C15}


class Parts(Protocol):
    """A record in the form in which a layer compares, of which parts can be had."""

    def strong(self, start: int, length: int) -> bytes:
        """Return the digest, of 16 bytes, of `length` values from `start` on."""
        ...


class Stream(Parts, Protocol):
    """The same with all of its values."""

    @property
    def values(self) -> bytes:
        """The values, each of a byte or each of four."""
        ...


@dataclass(frozen=True, slots=True)
class Letters:
    """Letters and digits (`substrings.letters`) as a stream."""

    values: bytes

    def strong(self, start: int, length: int) -> bytes:
        """Return the digest of a part."""
        return blake2b(self.values[start : start + length], digest_size=16).digest()


class Mark(NamedTuple):
    """What is kept of a text: all figures.

    window       hash of the values from `offset` on
    length       values in the text
    strong       digest of all of them
    last         hash of its last values, which spares most digests where the window is no rare one
    """

    window: int
    offset: int
    length: int
    strong: bytes
    last: int


def numbers(values: bytes, width: int) -> Any:
    """Return bytes as an Arrow array of numbers of `width` bytes each (1, 4 or 8)."""
    kind = {1: pa.uint8(), 4: pa.uint32(), 8: pa.uint64()}[width]
    return pa.Array.from_buffers(kind, len(values) // width, [None, pa.py_buffer(values)])


def runs(values: Any, n: int) -> Any:
    """Return a hash for each run of `n` values, an Arrow array of unsigned numbers of 32 or 64 bits, in that type.

    The hash of a run is that of its left part times a power of the base, plus that of its right part; so runs of 16
    take four steps over the array, of 10 also four.
    """
    whole, covered, part, size = None, 0, values, 1
    while True:
        if n & size:
            whole = part if whole is None else _beside(whole, covered, part, size)
            covered += size
        if covered == n:
            return whole
        part = _beside(part, size, part, size)
        size *= 2


def _beside(left: Any, left_size: int, right: Any, right_size: int) -> Any:
    """Return the hashes of runs that are a left run and, behind it, a right one."""
    count = max(len(right) - left_size, 0)
    bits = left.type.bit_width
    power = pa.scalar(pow(_BASES[bits], right_size, 1 << bits), left.type)
    return pc.add(pc.multiply(left.slice(0, count), power), right.slice(left_size, count))


class Sieve:
    """Finds the known numbers among many: a table of leading bits lets few through, a set settles those."""

    def __init__(self, known: Collection[int], bits: int) -> None:
        """Take the numbers, each of at most `bits` bits."""
        self._known = frozenset(known)
        leading = min(max((len(known) * 64).bit_length(), 12), 22, bits)
        self._shift = bits - leading
        table = bytearray(1 << leading)
        for number in self._known:
            table[number >> self._shift] = 1
        self._table = numbers(bytes(table), 1)

    def places(self, found: Any) -> Iterator[tuple[int, int]]:
        """Yield place and value of each known number in an Arrow array of unsigned numbers."""
        leading = pc.shift_right(found, pa.scalar(self._shift, found.type))
        near = pc.indices_nonzero(pc.take(self._table, leading, boundscheck=False))
        for place, number in zip(near.to_pylist(), pc.take(found, near).to_pylist(), strict=True):
            if number in self._known:
                yield place, number


def marks_of(streams: Sequence[Stream], width: int, n: int = WINDOW) -> list[Mark]:
    """Return the mark of each stream; values have `width` bytes, and no stream has fewer than `n` of them.

    The window is the rarest among the first of the text, since many statements begin alike.
    """
    if not streams:
        return []
    heads = [s.values[: (_NEAR + n - 1) * width] for s in streams]
    hashes = runs(numbers(b"".join(heads), width).cast(pa.uint32()), n).to_pylist()
    ends = runs(numbers(b"".join(s.values[-n * width :] for s in streams), width).cast(pa.uint32()), n).to_pylist()[::n]
    starts = [0, *accumulate(len(head) // width for head in heads)]
    windows = [hashes[start : end - n + 1] for start, end in pairwise(starts)]
    often = Counter(window for found in windows for window in set(found))
    marks = []
    for stream, found, last in zip(streams, windows, ends, strict=True):
        counts = [often[window] for window in found]
        offset = counts.index(min(counts))
        length = len(stream.values) // width
        marks.append(Mark(found[offset], offset, length, stream.strong(0, length), last))
    return marks


class Marks:
    """Finds marked texts in streams of the same form; `n` is the window with which the marks were made."""

    def __init__(self, marks: Sequence[Mark], width: int, n: int = WINDOW) -> None:
        self._width = width
        self._n = n
        self._marks = marks
        lowest: dict[Mark, int] = {}
        for number, mark in enumerate(marks):
            lowest.setdefault(mark, number)
        self._by_window: dict[int, list[tuple[int, Mark]]] = {}
        for mark, number in lowest.items():
            self._by_window.setdefault(mark.window, []).append((number, mark))
        self._sieve = Sieve(self._by_window, 32)

    def first(self, streams: Sequence[Stream]) -> list[Match | None]:
        """Return for each stream the match of the lowest number, at its first place."""
        starts = [0, *accumulate(len(s.values) // self._width for s in streams)]
        return self._judge(self._places(b"".join(s.values for s in streams)), starts, streams.__getitem__)

    def first_compiled(self, values: Any, starts: Any, stream: Callable[[int], Parts]) -> list[Match | None]:
        """Return the same of streams that are given as one array, of uint8 or uint32. Needs numba.

        starts   where each stream begins, and behind the last where it ends
        stream   gives the parts of a stream by its number; is asked where a window is found
        """
        if self._n != WINDOW:  # made for texts of fewer letters
            return self._judge(self._places(values.tobytes()), starts.tolist(), stream)
        best: list[Match | None] = [None] * (len(starts) - 1)
        for index, start, number in self._known.find(values, starts):
            known, mark = best[index], self._marks[number]
            if (known is None or number < known.pattern) and stream(index).strong(start, mark.length) == mark.strong:
                best[index] = Match(number, start)
        return best

    @cached_property
    def _known(self) -> Any:
        from magicoder.kernels.fingerprints import Windows

        entries = [(n, m) for those in self._by_window.values() for n, m in those]
        return Windows([(m.window, m.offset, m.length, m.last, n) for n, m in entries])

    def _judge(
        self, places: Iterable[tuple[int, int]], starts: Sequence[int], stream: Callable[[int], Parts]
    ) -> list[Match | None]:
        """Return the first match of each stream; `places` are where known windows begin in all of them, in order."""
        best: list[Match | None] = [None] * (len(starts) - 1)
        for place, window in places:
            index = bisect_right(starts, place) - 1
            size = starts[index + 1] - starts[index]
            for number, mark in self._by_window[window]:
                start = place - starts[index] - mark.offset
                known = best[index]
                if known is not None and known.pattern <= number:
                    continue
                if 0 <= start <= size - mark.length and stream(index).strong(start, mark.length) == mark.strong:
                    best[index] = Match(number, start)
        return best

    def _places(self, values: bytes) -> Iterator[tuple[int, int]]:
        joined = numbers(values, self._width)
        for start in range(0, len(joined) - self._n + 1, _CHUNK):
            part = joined.slice(start, _CHUNK + self._n - 1).cast(pa.uint32())
            for place, window in self._sieve.places(runs(part, self._n)):
                yield start + place, window
