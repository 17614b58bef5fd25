"""Words of texts and known runs of ten of them: `text.ngrams.plain_words` and what `Statements` looks up.

A word's value is the CRC-32 of its bytes, the sum of what each adds by its place. Compiling takes about two seconds,
once for each version and machine.
"""

from typing import Any, Final

import numpy as np
from numba import int64, njit, uint8, uint32, uint64, void

from magicoder.kernels.crc import OF_ZEROS, TABLES
from magicoder.kernels.fingerprints import Known, sift
from magicoder.kernels.memory import byte_at, eight_at, lower, word_at

SPAN: Final = 10
"""Words in the runs of `grams`."""
BITS: Final = 48

_EVERY: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
_BLOCK: Final = 1024
_BASE: Final = 0x9E3779B97F4A7C15
_B1, _B2, _B4, _B8 = (np.uint64(pow(_BASE, n, 1 << 64)) for n in (1, 2, 4, 8))


@njit(int64(int64, int64, int64, int64), nogil=True, cache=True)
def _value(data, start, end, crc):  # type: ignore[no-untyped-def]
    """Return the register of the CRC after the word from `start` to `end`, byte by byte."""
    state = np.int64(0xFFFFFFFF)
    for i in range(start, end):
        byte = np.int64(byte_at(data, i))
        if 65 <= byte <= 90:
            byte |= 32
        state = np.int64(word_at(crc, (state ^ byte) & 255)) ^ (state >> 8)
    return state ^ 0xFFFFFFFF


@njit(int64(int64, int64, int64, int64, int64), nogil=True, cache=True)
def _sum(data, end, size, after, crc):  # type: ignore[no-untyped-def]
    """Return what the last `size` bytes before `end`, at most eight, add to a CRC, `after` bytes being behind them."""
    eight = lower(eight_at(data, end - 8) & (_EVERY << np.uint64(64 - 8 * size)))
    found = np.uint32(0)
    for n in range(8):
        byte = np.int64(eight >> np.uint64(56 - 8 * n) & np.uint64(255))
        found ^= word_at(crc, (after + n) * 256 + byte)
    return np.int64(found)


@njit(int64(int64, int64, int64, uint8[::1], int64[::1]), nogil=True, cache=True)
def _edges(data, start, stop, within, edges):  # type: ignore[no-untyped-def]
    """Put down where words begin and end, in turn, between `start` and `stop`; return how many places that are."""
    size = stop - start
    within[0] = 0
    for i in range(size):
        byte = byte_at(data, start + i)
        letter, digit = np.uint8((byte | 32) - 97) < 26, np.uint8(byte - 48) < 10
        within[i + 1] = letter | digit | (byte > 127)
    within[size + 1] = 0
    found = np.uint64(0)
    for i in range(np.uint64(size + 1)):
        edges[found] = i + np.uint64(start)
        found += np.uint64(within[i] ^ within[i + np.uint64(1)])
    return np.int64(found)


@njit(int64(int64, int64[::1], int64, int64, uint32[::1], int64[::1]), nogil=True, cache=True)
def _words(data, starts, crc, zeros, values, value_starts):  # type: ignore[no-untyped-def]  # noqa: PLR0917 - addresses
    longest = 0
    for text in range(starts.shape[0] - 1):
        longest = max(longest, starts[text + 1] - starts[text])
    within, edges, found = np.empty(longest + 2, np.uint8), np.empty(longest + 2, np.int64), 0
    for text in range(starts.shape[0] - 1):
        value_starts[text] = found
        for n in range(0, _edges(data, starts[text], starts[text + 1], within, edges), 2):
            start, end = edges[n], edges[n + 1]
            size = end - start
            if size > 16 or end < 16:
                value = _value(data, start, end, crc)
            else:
                value = np.int64(word_at(zeros, size)) ^ _sum(data, end, min(size, 8), 0, crc)
                if size > 8:
                    value ^= _sum(data, end - 8, size - 8, 8, crc)
            values[found] = value
            found += 1
    value_starts[-1] = found
    return found


def words(data: bytes, starts: Any) -> tuple[Any, Any]:
    """Return the value of each word (a run of letters, digits and bytes beyond ASCII), and where each text's begin."""
    values, value_starts = np.empty(len(data) // 2 + len(starts), np.uint32), np.empty_like(starts)
    read = np.frombuffer(data, np.uint8)
    end = _words(read.ctypes.data, starts, TABLES.ctypes.data, OF_ZEROS.ctypes.data, values, value_starts)
    return values[:end], value_starts


@njit(void(uint64[::1], uint64[::1], int64, uint64, uint64[::1]), nogil=True, cache=True)
def _beside(left, right, count, power, joined):  # type: ignore[no-untyped-def]
    for i in range(count):
        joined[i] = left[i] * power + right[i]


@njit(
    int64(uint32[::1], uint64, uint64[::1], uint64, uint64[::1], int64[::1], uint64[::1]),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _grams(values, shift, table, slot_shift, keys, places, found):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Find the runs of ten values whose hash is known; return how many there are."""
    a, b, c = np.empty(_BLOCK + 9, np.uint64), np.empty(_BLOCK + 9, np.uint64), np.empty(_BLOCK + 9, np.uint64)
    near = np.empty(_BLOCK + 1, np.int64)
    end = 0
    for first in range(0, values.shape[0] - 9, _BLOCK):
        count = min(_BLOCK, values.shape[0] - 9 - first)
        for i in range(count + 9):
            a[i] = values[first + i]
        _beside(a, a[1:], count + 8, _B1, b)  # runs of two, in b
        _beside(b, b[2:], count + 6, _B2, a)
        _beside(a, a[4:], count + 2, _B4, c)
        for i in range(count):
            a[i] = (b[i] * _B8 + c[i + 2]) >> np.uint64(64 - BITS)
        end = sift(a, count, first, shift, table, slot_shift, keys, near, places, found, end)
    return end


def grams(known: Known, values: Any) -> tuple[list[int], list[int]]:
    """Return place and hash (48 bits) of the runs of ten values that are known."""
    return known.found(lambda places, found: _grams(values, *known.tables, places, found), len(values))
