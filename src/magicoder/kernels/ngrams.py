"""Words of texts and known runs of ten of them: `text.ngrams.plain_words` and what `Statements` looks up.

A word's value is the CRC-32 of its bytes, taken four bytes at a time. Compiling takes about a second, once for each
version and machine.
"""

from typing import Any, Final

import numpy as np
from numba import int64, njit, types, uint8, uint32, uint64, void

from magicoder.kernels.crc import TABLES
from magicoder.kernels.fingerprints import Known, sift

SPAN: Final = 10
"""Words in the runs of `grams`."""
BITS: Final = 48

_BYTES = types.Array(uint8, 1, "C", readonly=True)
_CRC = types.Array(uint32, 2, "C", readonly=True)
_BLOCK: Final = 1024
_BASE: Final = 0x9E3779B97F4A7C15
_B1, _B2, _B4, _B8 = (np.uint64(pow(_BASE, n, 1 << 64)) for n in (1, 2, 4, 8))


@njit(int64(_BYTES, _BYTES, int64[::1], _CRC, uint32[::1], int64[::1]), nogil=True, cache=True)
def _words(data, form, starts, crc, values, value_starts):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    end = 0
    for text in range(starts.shape[0] - 1):
        value_starts[text] = end
        i, stop = starts[text], starts[text + 1]
        while i < stop:
            value = form[data[i]]
            i += 1
            if value == 0:
                continue
            state = np.uint32(0xFFFFFFFF)
            while value != 0:
                state = crc[0, (state ^ value) & 255] ^ (state >> np.uint32(8))
                value = np.uint8(0)
                if i < stop:
                    value = form[data[i]]
                    i += 1
            values[end] = state ^ np.uint32(0xFFFFFFFF)
            end += 1
    value_starts[-1] = end
    return end


def words(data: bytes, starts: Any, form: bytes) -> tuple[Any, Any]:
    """Return the value of each word (a run of bytes that `form` does not map to 0), and where each text then begins."""
    values, value_starts = np.empty(len(data) // 2 + len(starts), np.uint32), np.empty_like(starts)
    end = _words(np.frombuffer(data, np.uint8), np.frombuffer(form, np.uint8), starts, TABLES, values, value_starts)
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
