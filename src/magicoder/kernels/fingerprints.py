"""Letters of texts, and known numbers among the hashes of runs: `text.substrings.letters`, `text.fingerprints.Sieve`.

Hashes of runs are polynomials (`text.fingerprints.runs`), made of those of shorter runs in vectors over a block that
fits the cache. Compiling takes about two seconds, once for each version and machine.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final, cast

import numpy as np
from numba import int32, int64, njit, types, uint8, uint32, uint64, void

WINDOW: Final = 16
"""Values in the window of a mark."""

_BYTES = types.Array(uint8, 1, "C", readonly=True)
_BLOCK: Final = 1024
_BASE: Final = 0x9E3779B1
_B1, _B2, _B4, _B8 = (np.uint32(pow(_BASE, n, 1 << 32)) for n in (1, 2, 4, 8))
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
_EMPTY: Final = np.uint64(0xFFFFFFFFFFFFFFFF)


_TABLES = (uint64, uint64[::1], uint64, uint64[::1])


@njit(int64(_BYTES, _BYTES, int64[::1], uint8[::1], int64[::1]), nogil=True, cache=True)
def _squeeze(data, form, starts, kept, kept_starts):  # type: ignore[no-untyped-def]
    end = 0
    for text in range(starts.shape[0] - 1):
        kept_starts[text] = end
        for i in range(starts[text], starts[text + 1]):
            value = form[data[i]]
            kept[end] = value
            end += value != 0
    kept_starts[-1] = end
    return end


def squeeze(data: bytes, starts: Any, form: bytes) -> tuple[Any, Any]:
    """Return the bytes of texts mapped by `form`, those mapped to 0 left out, and where each text then begins."""
    values = np.frombuffer(data, np.uint8)
    kept, kept_starts = np.empty(int(starts[-1]) + 1, np.uint8), np.empty_like(starts)
    end = _squeeze(values, np.frombuffer(form, np.uint8), starts, kept, kept_starts)
    return kept[:end], kept_starts


@njit(
    int64(uint64[::1], int64, int64, *_TABLES, int64[::1], int64[::1], uint64[::1], int64),
    nogil=True, cache=True, error_model="numpy",
)  # fmt: skip
def sift(  # type: ignore[no-untyped-def]  # noqa: PLR0917 - a kernel takes its arrays one by one
    hashes, count, first, shift, table, slot_shift, keys, near, places, found, end
):
    """Put place and value of the known among `hashes` behind the `end` that are found; return the new end.

    Past the room in `places` nothing is put down, but counted.
    """
    passed = np.uint64(0)
    for i in range(np.uint64(count)):
        bit = (hashes[i] * _SPREAD) >> shift
        near[passed] = i
        passed += (table[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1)
    for n in range(np.int64(passed)):
        number = hashes[near[n]]
        slot = np.int64((number * _SPREAD) >> slot_shift)
        while keys[slot] != _EMPTY and keys[slot] != number:
            slot = (slot + 1) & (keys.shape[0] - 1)
        if keys[slot] == number:
            if end < places.shape[0]:
                places[end], found[end] = first + near[n], number
            end += 1
    return end


@njit(void(uint32[::1], uint32[::1], int64, uint32, uint32[::1]), nogil=True, cache=True)
def _beside(left, right, count, power, joined):  # type: ignore[no-untyped-def]
    for i in range(count):
        joined[i] = left[i] * power + right[i]


@njit(int64(uint64, uint64, uint64[::1]), nogil=True, cache=True)
def _slot(number, slot_shift, keys):  # type: ignore[no-untyped-def]
    """Return where a number stands or would stand."""
    slot = np.int64((number * _SPREAD) >> slot_shift)
    while keys[slot] != _EMPTY and keys[slot] != number:
        slot = (slot + 1) & (keys.shape[0] - 1)
    return slot


@njit(
    [
        int64(kind, int64[::1], int64, int64, int64, int64[:, ::1], int64[:, ::1], int64)
        for kind in (uint8[::1], uint32[::1])
    ],
    nogil=True,
    cache=True,
)
def _fitting(  # type: ignore[no-untyped-def]  # noqa: PLR0917 - a kernel takes its arrays one by one
    values, starts, text, place, entry, entries, found, end
):
    """Put down the marks from `entry` on that fit at `place` behind the `end` there are; return the new end."""
    while entry >= 0:
        start = place - entries[entry, 1]
        stop = start + entries[entry, 2]
        if start >= starts[text] and stop <= starts[text + 1]:
            last = np.uint32(0)
            for i in range(stop - WINDOW, stop):
                last = np.uint32(last * _B1 + values[i])
            if last == entries[entry, 3]:
                if end < found.shape[0]:
                    found[end, 0], found[end, 1], found[end, 2] = text, start - starts[text], entries[entry, 4]
                end += 1
        entry = entries[entry, 5]
    return end


@njit(
    [int64(kind, int64[::1], *_TABLES, int32[::1], int64[:, ::1], int64[:, ::1]) for kind in (uint8[::1], uint32[::1])],
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _find(  # type: ignore[no-untyped-def]  # noqa: PLR0917 - a kernel takes its arrays one by one
    values, starts, shift, table, slot_shift, keys, heads, entries, found
):
    """Put down text, start and number of each mark whose first and last hash fit; return how many there are."""
    a, b = np.empty(_BLOCK + 16, np.uint32), np.empty(_BLOCK + 16, np.uint32)
    hashes, near = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK + 1, np.int64)
    places, known = np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.uint64)
    end = text = 0
    for first in range(0, values.shape[0] - 15, _BLOCK):
        count = min(_BLOCK, values.shape[0] - 15 - first)
        for i in range(count + 15):
            a[i] = values[first + i]
        _beside(a, a[1:], count + 14, _B1, b)
        _beside(b, b[2:], count + 12, _B2, a)
        _beside(a, a[4:], count + 8, _B4, b)
        for i in range(count):
            hashes[i] = np.uint32(b[i] * _B8 + b[i + 8])
        for n in range(sift(hashes, count, first, shift, table, slot_shift, keys, near, places, known, 0)):
            while starts[text + 1] <= places[n]:
                text += 1
            end = _fitting(
                values, starts, text, places[n], heads[_slot(known[n], slot_shift, keys)], entries, found, end
            )
    return end


@njit(void(uint64[::1], uint64, uint64[::1], uint64, uint64[::1]), nogil=True, cache=True)
def _put(numbers, shift, table, slot_shift, keys):  # type: ignore[no-untyped-def]
    for number in numbers:
        bit = (number * _SPREAD) >> shift
        table[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))
        keys[_slot(number, slot_shift, keys)] = number


@njit(void(int64[:, ::1], uint64, uint64[::1], int32[::1]), nogil=True, cache=True)
def _chain(entries, slot_shift, keys, heads):  # type: ignore[no-untyped-def]
    """Make a list of the entries of each window."""
    for entry in range(entries.shape[0]):
        slot = _slot(np.uint64(entries[entry, 0]), slot_shift, keys)
        entries[entry, 5] = heads[slot]
        heads[slot] = entry


class Known:
    """A set of numbers below 2**64 - 1: a table of bits lets few others through, and one of slots none."""

    def __init__(self, numbers: Collection[int]) -> None:
        bits = min(max((len(numbers) * 64).bit_length(), 12), 25)
        slots = max((len(numbers) * 2).bit_length(), 8)
        shift, slot_shift = np.uint64(64 - bits), np.uint64(64 - slots)
        table, keys = np.zeros((1 << bits) // 64, np.uint64), np.full(1 << slots, _EMPTY, np.uint64)
        _put(np.fromiter(numbers, np.uint64, len(numbers)), shift, table, slot_shift, keys)
        self.tables = (shift, table, slot_shift, keys)

    def found(self, kernel: Any, size: int) -> tuple[list[int], list[int]]:
        """Return what `kernel(places, found)` finds, with as much room as that takes."""
        room = size // 64 + 256
        while True:
            places, found = np.empty(room, np.int64), np.empty(room, np.uint64)
            end = kernel(places, found)
            if end <= room:
                return places[:end].tolist(), found[:end].tolist()
            room = end


class Windows:
    """Marks by their windows of 16 values."""

    def __init__(self, marks: Sequence[tuple[int, int, int, int, int]]) -> None:
        """Take of each mark window, offset, length, last hash (`text.fingerprints.Mark`) and number."""
        self._known = Known({mark[0] for mark in marks})
        _, _, slot_shift, keys = self._known.tables
        self._heads = np.full(len(keys), -1, np.int32)
        self._entries = np.empty((len(marks), 6), np.int64)
        if marks:
            self._entries[:, :5] = marks
        _chain(self._entries, slot_shift, keys, self._heads)

    def find(self, values: Any, starts: Any) -> list[list[int]]:
        """Return text, start and number of each mark whose window and last hash fit, by place.

        values   of the texts one behind another, uint8 or uint32; `starts` is where each begins, and the last ends
        """
        room = len(values) // 64 + 256
        while True:
            found = np.empty((room, 3), np.int64)
            end = _find(values, starts, *self._known.tables, self._heads, self._entries, found)
            if end <= room:
                return cast("list[list[int]]", found[:end].tolist())
            room = end
