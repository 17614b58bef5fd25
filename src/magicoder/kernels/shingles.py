"""Sketches of many texts from their bytes (`text.sketches.plain`, compiled).

Compiling takes a few seconds, once for each version and machine.
"""

from itertools import accumulate
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numba import int64, njit, types, uint8, uint32, uint64, void
from numba.cpython.unsafe import numbers

_SLOTS: Final = 256  # text.sketches.SLOTS, BANDS, ROWS and so on
_BANDS: Final = 42
_ROWS: Final = 6
_PASSES: Final = 32
_WORD_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_SHINGLE_FACTOR: Final = np.uint64(0xA24BAED4963EE407)
_MIX_FACTOR: Final = np.uint64(0xD6E8FEB86659FD93)
_PASS_STEP: Final = np.uint64(0xA0761D6478BD642F)
_SHORT: Final = np.uint64(0x8EBC6AF09C88C6E3)

_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)
_BYTE: Final = np.uint64(8)
_HALF: Final = np.uint64(32)
_SEVEN: Final = np.uint64(7)
_EMPTY: Final = np.uint64(0xFFFFFFFFFFFFFFFF)

_BYTES: Final = types.Array(uint8, 1, "C", readonly=True)
_NUMBERS: Final = types.Array(int64, 1, "C", readonly=True)

_WORDS: Final = types.Array(uint64, 1, "A", readonly=True, aligned=False)

_trailing_zeros: Any = numbers.trailing_zeros  # one machine instruction; Python has nothing of the kind

_BLOCK: Final = 64
_GATHER: Final = np.uint64(0x0102040810204080)
"""Multiplied by eight bytes of 0 or 1, these stand as bits in the highest byte."""


@njit(uint64(uint64), inline="always", cache=True)
def _mix(x):  # type: ignore[no-untyped-def]
    x = (x ^ (x >> _HALF)) * _MIX_FACTOR
    x = (x ^ (x >> _HALF)) * _MIX_FACTOR
    return x ^ (x >> _HALF)


@njit(uint64(uint64, uint64), inline="always", cache=True)
def _fold(value, packed):  # type: ignore[no-untyped-def]
    value = (value ^ packed) * _WORD_FACTOR
    return value ^ (value >> _HALF)


@njit(uint64(_BYTES), nogil=True, cache=True)
def _short(text):  # type: ignore[no-untyped-def]
    """Hash a text of few words whole: newlines of one kind, no white space around it."""
    start, stop = int64(0), int64(len(text))
    while start < stop and (text[start] == 32 or 9 <= text[start] <= 13):
        start += 1
    while stop > start and (text[stop - 1] == 32 or 9 <= text[stop - 1] <= 13):
        stop -= 1
    value, packed, length = _SHORT, _ZERO, _ZERO
    for i in range(start, stop):
        byte = text[i]
        if byte == 13:
            byte = uint8(10)
        elif byte == 10 and i > start and text[i - 1] == 13:
            continue
        packed |= np.uint64(byte) << (_BYTE * (length & _SEVEN))
        length += _ONE
        if length & _SEVEN == 0:
            value, packed = _fold(value, packed), _ZERO
    if length & _SEVEN:
        value = _fold(value, packed)
    return _mix(_fold(value, length))


@njit(int64(_BYTES, int64, int64, uint64[::1], int64[::1]), nogil=True, cache=True)
def _edges(data, start, stop, packed, edges):  # type: ignore[no-untyped-def]
    """Write where words begin and end, in turn, and return how many places that are.

    64 bytes at a time: a flag for each (in vectors), the flags as bits, the bits that differ from the one before.
    The flags stand in `packed`, eight numbers; `data` goes on for 64 bytes behind the last text.
    """
    flags = packed.view(np.uint8)
    found = int64(0)
    before = _ZERO
    for base in range(np.uint64(start), np.uint64(stop), np.uint64(_BLOCK)):
        for i in range(np.uint64(_BLOCK)):
            c = data[base + i]
            letter, digit = np.uint8((c | 32) - 97) < 26, np.uint8(c - 48) < 10
            flags[i] = letter | digit | (c > 127) | (c == 95)
        bits = _ZERO
        for k in range(8):
            bits |= ((packed[k] * _GATHER) >> np.uint64(56)) << np.uint64(8 * k)
        left = np.uint64(stop) - base
        if left < _BLOCK:
            bits &= (_ONE << left) - _ONE
        changes = bits ^ ((bits << _ONE) | before)
        before = bits >> np.uint64(63)
        while changes:
            edges[found] = base + np.uint64(_trailing_zeros(changes))
            changes &= changes - _ONE
            found += 1
    if found & 1:
        edges[found] = stop
        found += 1
    return found


@njit(int64(_WORDS, int64[::1], int64, uint64[::1], uint64[::1]), nogil=True, cache=True)
def _shingles(eights, edges, count, values, out):  # type: ignore[no-untyped-def]
    """Write the hash of each shingle of the words within `edges`, and return how many there are; 0 of few words.

    `eights[i]` are the eight bytes from byte i of the texts on.
    """
    words = count >> 1
    for word in range(words):
        place, left = edges[2 * word], edges[2 * word + 1] - edges[2 * word]
        value = _ZERO
        while left > 8:
            value = _fold(value, eights[place])
            place += 8
            left -= 8
        values[word] = _fold(value, eights[place] & (_EMPTY >> np.uint64(64 - 8 * left)))
    for i in range(np.uint64(max(words - 4, 0))):
        joined = values[i]
        for behind in range(1, 5):
            joined = joined * _SHINGLE_FACTOR + values[i + np.uint64(behind)]
        out[i] = _mix(joined)
    return max(words - 4, 0)


@njit(void(uint64[::1], uint64[::1], uint64[::1], uint64[::1]), nogil=True, cache=True)
def _throw(hashes, mixed, row, fresh):  # type: ignore[no-untyped-def]
    """Fill the slots of a row."""
    for j in range(_SLOTS):
        row[j] = _EMPTY
    if len(hashes) > 1:
        for number in range(_PASSES):
            step = np.uint64(number) * _PASS_STEP
            for i in range(len(hashes)):
                mixed[i] = _mix(hashes[i] ^ step)
            for r in range(8):
                shift = np.uint64(8 * r)
                for j in range(_SLOTS):
                    fresh[j] = _EMPTY
                for i in range(len(hashes)):
                    slot = np.uint8(mixed[i] >> shift)
                    fresh[slot] = min(fresh[slot], hashes[i])
                empty = 0
                for j in range(_SLOTS):
                    row[j] = row[j] if row[j] != _EMPTY else fresh[j]
                    empty += row[j] == _EMPTY
                if empty == 0:
                    return
    least = _EMPTY
    for i in range(len(hashes)):
        least = min(least, hashes[i])
    for j in range(_SLOTS):
        row[j] = row[j] if row[j] != _EMPTY else least


_TUPLE: Any = types.Tuple  # numba has no types of its own
_OUT: Final = _TUPLE((uint64[::1], uint32[::1], uint8[:, ::1], uint32[:, ::1]))


@njit(int64(_BYTES, _WORDS, _NUMBERS, _OUT), nogil=True, cache=True)
def _sketch(data, eights, bounds, out):  # type: ignore[no-untyped-def]
    """Write the fields of a batch, and return how many shingles there are."""
    hashes, sizes, slots, keys = out
    longest = int64(0)
    for text in range(len(sizes)):
        longest = max(longest, bounds[text + 1] - bounds[text])
    packed, edges = np.empty(_BLOCK // 8, np.uint64), np.empty(longest + 2, np.int64)
    mixed = np.empty(longest // 2 + 2, np.uint64)
    row, fresh = np.empty(_SLOTS, np.uint64), np.empty(_SLOTS, np.uint64)
    total = int64(0)
    for text in range(len(sizes)):
        start, stop = bounds[text], bounds[text + 1]
        size = _shingles(eights, edges, _edges(data, start, stop, packed, edges), mixed, hashes[total:])
        if size == 0:
            hashes[total] = _short(data[start:stop])
            size = 1
        _throw(hashes[total : total + size], mixed, row, fresh)
        total += size
        sizes[text] = size
        every = _ZERO
        for j in range(_SLOTS):
            slots[text, j] = np.uint8(row[j] >> _HALF)
            every += row[j]
        keys[text, 0] = np.uint32(every)
        for band in range(_BANDS):
            some = _ZERO
            for j in range(band * _ROWS, (band + 1) * _ROWS):
                some += row[j]
            keys[text, band + 1] = np.uint32(some)
    return total


def sketch(texts: list[bytes]) -> tuple[bytes, bytes, bytes, bytes]:
    """Return the four fields of `text.sketches.SketchBatch` for encoded texts."""
    bounds = np.fromiter(accumulate(map(len, texts), initial=0), np.int64, len(texts) + 1)
    return _fields(b"".join([*texts, bytes(_BLOCK + 8)]), bounds)


def sketch_column(texts: Any) -> tuple[bytes, bytes, bytes, bytes]:
    """Return the same for an Arrow array of strings without nulls."""
    _, offsets, data = texts.buffers()
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    bounds = np.zeros(1, np.int64)
    if len(texts):
        bounds = np.frombuffer(offsets, kind)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    first, last = int(bounds[0]), int(bounds[-1])
    whole = memoryview(data)[first:last] if data else b""
    return _fields(b"".join([whole, bytes(_BLOCK + 8)]), bounds - first)


def _fields(joined: bytes, bounds: Any) -> tuple[bytes, bytes, bytes, bytes]:
    """`joined` goes on behind the last text, for the kernel reads 64 bytes at a time."""
    count = len(bounds) - 1
    data = np.frombuffer(joined, np.uint8)
    eights = np.ndarray(len(data) - 8, np.uint64, data, 0, (1,))
    hashes = np.empty(bounds[-1] // 2 + count + 1, np.uint64)
    sizes = np.empty(count, np.uint32)
    slots, keys = np.empty((count, _SLOTS), np.uint8), np.empty((count, _BANDS + 1), np.uint32)
    total = _sketch(data, eights, bounds, (hashes, sizes, slots, keys))
    return hashes[:total].tobytes(), sizes.tobytes(), slots.tobytes(), keys.tobytes()
