"""Which of many texts hold one of many patterns, ASCII case aside, by windows looked up at every eighth byte.

Of each pattern eight windows are kept, one for each remainder of its place by eight, the rarest there is. Wherever the
pattern stands in a text, one of them then begins at a multiple of eight, so looking up those places misses nothing; a
pattern whose window is found is compared byte by byte, so nothing else is found. Hashing goes eight bytes at a time
(SWAR) and in vectors, and the bit table lets few places through: the time hardly grows with the number of patterns.

Plain counterpart: `text.substrings.Automaton.first`. Compiling takes about a second and a half, once for each version
and machine.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numba import boolean, int32, int64, njit, types, uint8, uint16, uint64, void

from magicoder.kernels.memory import lower

WINDOW: Final = 11
"""Bytes in a window: two words of eight that overlap; of patterns below `LONG` eight, and at every fourth place."""

LONG: Final = 18
"""Bytes from which on a pattern has a window of eleven at every remainder by eight."""

SHORTEST: Final = 11
"""Bytes that a pattern needs to have a window of eight at every remainder by four."""

_CHUNK: Final = 1024
_RARE: Final = 4096
"""Places of a pattern from which its windows are chosen."""
_COUNT_BITS: Final = 22

_A: Final = np.uint64(0x9E3779B97F4A7C15)
_B: Final = np.uint64(0xC2B2AE3D27D4EB4F)

_BYTES = types.Array(uint8, 1, "C", readonly=True)
_WORDS = types.Array(uint64, 1, "C", readonly=True, aligned=False)


@njit(void(_WORDS, _WORDS, uint64[::1]), nogil=True, cache=True, error_model="numpy")
def _hashes(a, b, found):  # type: ignore[no-untyped-def]
    for i in range(a.shape[0]):
        found[i] = lower(a[i]) * _A + lower(b[i]) * _B


@njit(int64(uint64[::1], int64, uint64, uint64[::1], int64[::1]), nogil=True, cache=True, error_model="numpy")
def _near(hashes, count, shift, table, places):  # type: ignore[no-untyped-def]
    """Put the numbers of the hashes whose bit is set into `places`; return how many."""
    found = np.uint64(0)
    for i in range(np.uint64(count)):
        bit = hashes[i] >> shift
        places[found] = i
        found += (table[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1)
    return np.int64(found)


@njit(boolean(_BYTES, int64, _BYTES, int64, int64), nogil=True, cache=True)
def _equal(data, start, patterns, low, high):  # type: ignore[no-untyped-def]
    for i in range(high - low):
        byte = data[start + i]
        if np.uint8(byte - 65) < 26:
            byte |= np.uint8(32)
        if byte != patterns[low + i]:
            return False
    return True


@njit(
    void(
        _WORDS, _WORDS, int64, _BYTES, int64[::1], uint64, uint64[::1], uint64, uint64[::1], int32[::1], int32[:, ::1],
        _BYTES, int64[::1], int32[::1],
    ),
    nogil=True, cache=True, error_model="numpy",
)  # fmt: skip
def _scan(  # type: ignore[no-untyped-def]  # noqa: PLR0917 - a kernel takes its arrays one by one
    a, b, base, data, starts, shift, table, slot_shift, keys, heads, entries, patterns, bounds, best
):
    """Lower `best` of each text to the lowest pattern that one of the windows at `base`, `base + 8` … leads to."""
    hashes, places = np.empty(_CHUNK, np.uint64), np.empty(_CHUNK + 1, np.int64)
    text, mask = 0, heads.shape[0] - 1
    for chunk in range(0, a.shape[0], _CHUNK):
        count = min(_CHUNK, a.shape[0] - chunk)
        _hashes(a[chunk : chunk + count], b[chunk : chunk + count], hashes)
        for n in range(_near(hashes, count, shift, table, places)):
            key = hashes[places[n]]
            slot = np.int64(key >> slot_shift)
            while heads[slot] >= 0 and keys[slot] != key:
                slot = (slot + 1) & mask
            entry = heads[slot]
            if entry < 0:
                continue
            place = base + (chunk + places[n]) * 8
            while starts[text + 1] <= place:
                text += 1
            while entry >= 0:
                pattern = entries[entry, 0]
                start = place - entries[entry, 1]
                low, high = bounds[pattern], bounds[pattern + 1]
                within = start >= starts[text] and start + high - low <= starts[text + 1]
                if pattern < best[text] and within and _equal(data, start, patterns, low, high):
                    best[text] = pattern
                entry = entries[entry, 2]


@njit(uint64(_BYTES, int64, int64), inline="always", cache=True)
def _hash_at(patterns, place, gap):  # type: ignore[no-untyped-def]
    a, b = np.uint64(0), np.uint64(0)
    for i in range(8):
        a |= np.uint64(patterns[place + i]) << np.uint64(8 * i)
        b |= np.uint64(patterns[place + gap + i]) << np.uint64(8 * i)
    return lower(a) * _A + lower(b) * _B


@njit(void(_BYTES, int64, uint16[::1]), nogil=True, cache=True)
def _count(data, gap, counts):  # type: ignore[no-untyped-def]
    for place in range(data.shape[0] - 8 - gap + 1):
        slot = np.int64(_hash_at(data, place, gap) >> np.uint64(64 - _COUNT_BITS))
        if counts[slot] < 65535:
            counts[slot] += 1


@njit(
    void(_BYTES, int64[::1], int64[::1], int64, int64, uint16[::1], uint64[::1], int32[:, ::1]), nogil=True, cache=True
)
def _choose(  # type: ignore[no-untyped-def]  # noqa: PLR0917 - a kernel takes its arrays one by one
    patterns, bounds, chosen, gap, stride, counts, keys, entries
):
    """Choose the windows of the patterns `chosen`: for each remainder the rarest; all must be long enough."""
    entry = 0
    for n in range(chosen.shape[0]):
        low = bounds[chosen[n]]
        windows = bounds[chosen[n] + 1] - low - 8 - gap + 1
        for remainder in range(stride):
            rarest = np.int64(1 << 30)
            for place in range(remainder, min(windows, _RARE), stride):
                key = _hash_at(patterns, low + place, gap)
                count = np.int64(counts[np.int64(key >> np.uint64(64 - _COUNT_BITS))])
                if count < rarest:
                    rarest = count
                    keys[entry] = key
                    entries[entry, 1] = place
            entries[entry, 0] = chosen[n]
            entry += 1


@njit(void(uint64[::1], int32[:, ::1], uint64, uint64[::1], uint64, uint64[::1], int32[::1]), nogil=True, cache=True)
def _place(  # type: ignore[no-untyped-def]  # noqa: PLR0917 - a kernel takes its arrays one by one
    hashes, entries, shift, table, slot_shift, keys, heads
):
    """Put the windows into the tables, those with equal hashes in a list."""
    mask = heads.shape[0] - 1
    for entry in range(hashes.shape[0]):
        key = hashes[entry]
        bit = key >> shift
        table[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))
        slot = np.int64(key >> slot_shift)
        while heads[slot] >= 0 and keys[slot] != key:
            slot = (slot + 1) & mask
        keys[slot] = key
        entries[entry, 2] = heads[slot]
        heads[slot] = entry


class _Class:
    """Patterns of like length, with the windows by which they are found."""

    def __init__(self, patterns: Any, bounds: Any, chosen: Any, *, gap: int, stride: int, sample: Any) -> None:
        self._patterns, self._bounds, self._gap, self._stride = patterns, bounds, gap, stride
        counts = np.zeros(1 << _COUNT_BITS, np.uint16)
        _count(patterns, gap, counts)
        _count(sample, gap, counts)
        size = len(chosen) * stride
        hashes = np.empty(size, np.uint64)
        self._entries = np.empty((size, 3), np.int32)
        _choose(patterns, bounds, chosen, gap, stride, counts, hashes, self._entries)
        # A table of 64 bits a window lets through less than one place in sixty; more than 4 MB leaves the cache.
        bits = min(max((size * 64).bit_length(), 16), 25)
        slots = max((size * 2).bit_length(), 8)
        self._shift, self._slot_shift = np.uint64(64 - bits), np.uint64(64 - slots)
        self._table = np.zeros((1 << bits) // 64, np.uint64)
        self._keys, self._heads = np.zeros(1 << slots, np.uint64), np.full(1 << slots, -1, np.int32)
        _place(hashes, self._entries, self._shift, self._table, self._slot_shift, self._keys, self._heads)

    def search(self, data: Any, starts: Any, best: Any) -> None:
        """Lower `best` of each text to its lowest pattern of this class."""
        for base in range(0, 8, self._stride):
            count = (int(starts[-1]) - base - self._gap) // 8
            if count > 0:
                a = np.frombuffer(data, np.uint64, count, base)
                b = np.frombuffer(data, np.uint64, count, base + self._gap)
                _scan(
                    a, b, base, data, starts, self._shift, self._table, self._slot_shift, self._keys, self._heads,
                    self._entries, self._patterns, self._bounds, best,
                )  # fmt: skip


NONE: Final = np.iinfo(np.int32).max
"""What stands for no pattern."""


class Scan:
    """Finds patterns without ASCII capitals, each of at least `SHORTEST` bytes."""

    def __init__(self, patterns: Sequence[bytes], sample: bytes) -> None:
        """Take the patterns, and text like that which will be searched: what is frequent there makes no window."""
        lengths = np.fromiter(map(len, patterns), np.int64, len(patterns))
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        joined = np.frombuffer(b"".join(patterns), np.uint8)
        known = np.frombuffer(sample, np.uint8)
        self._classes = [
            _Class(joined, bounds, chosen, gap=gap, stride=stride, sample=known)
            for chosen, gap, stride in (
                (np.flatnonzero(lengths >= LONG), 3, 8),
                (np.flatnonzero((lengths < LONG) & (lengths >= SHORTEST)), 0, 4),
            )
            if len(chosen)
        ]

    def first(self, data: Any, starts: Any) -> Any:
        """Return the number of the lowest pattern of each text, `NONE` where there is none.

        data     the texts one behind another (bytes, or an Arrow buffer)
        starts   where each begins (int64), and behind the last where it ends
        """
        values = np.frombuffer(data, np.uint8)
        best = np.full(len(starts) - 1, NONE, np.int32)
        for of_like_length in self._classes:
            of_like_length.search(values, starts, best)
        return best
