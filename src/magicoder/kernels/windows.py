"""Windows of lines from the bytes of many texts (`text.windows.draw_windows`, compiled).

Newlines are counted in blocks of 128 bytes; where the counts of a text's blocks are at hand, finding a line looks into
one block. Compiling takes about three seconds, once for each version and machine.
"""

import numpy as np
from numba import boolean, int64, njit, types, uint8, uint64, void

_BLOCK = 128
_TRIES = 16  # text.windows.TRIES

_BYTES = types.Array(uint8, 1, "C", readonly=True)
_NUMBERS = types.Array(int64, 1, "C", readonly=True)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_SPREAD = np.uint64(0xD6E8FEB86659FD93)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_HALF = np.uint64(0xFFFFFFFF)


@njit(uint64(uint64), inline="always", cache=True)
def _mix(x):  # type: ignore[no-untyped-def]
    x = (x ^ (x >> np.uint64(30))) * _M1
    x = (x ^ (x >> np.uint64(27))) * _M2
    return x ^ (x >> np.uint64(31))


@njit(uint64(uint64, _BYTES, int64, int64), nogil=True, cache=True)
def _key(random_seed, data, start, stop):  # type: ignore[no-untyped-def]
    h = _mix(random_seed ^ np.uint64(stop - start))
    i = start
    while i < stop:
        word = np.uint64(0)
        for j in range(min(8, stop - i)):
            word |= np.uint64(data[i + j]) << np.uint64(8 * j)
        h = (h ^ word) * _SPREAD
        h ^= h >> np.uint64(32)
        i += 8
    return _mix(h)


@njit(boolean(_BYTES, int64, int64), nogil=True, cache=True)
def _is_blank(data, start, stop):  # type: ignore[no-untyped-def]
    """Whether valid UTF-8 is nothing but what `str.isspace` holds for."""
    i = start
    while i < stop:
        c = data[i]
        if c == 32 or 9 <= c <= 13 or 28 <= c <= 31:
            i += 1
        elif c < 0xC2 or i + 1 >= stop:
            return False
        elif c == 0xC2:
            if data[i + 1] != 0x85 and data[i + 1] != 0xA0:
                return False
            i += 2
        elif i + 2 >= stop:
            return False
        else:
            b, d = data[i + 1], data[i + 2]
            space = (c == 0xE1 and b == 0x9A and d == 0x80) or (c == 0xE3 and b == 0x80 and d == 0x80)
            space = space or (c == 0xE2 and b == 0x80 and (0x80 <= d <= 0x8A or d in (0xA8, 0xA9, 0xAF)))
            space = space or (c == 0xE2 and b == 0x81 and d == 0x9F)
            if not space:
                return False
            i += 3
    return True


@njit(int64(_BYTES, int64, int64, int64[::1]), nogil=True, cache=True)
def _count(data, start, stop, blocks):  # type: ignore[no-untyped-def]
    """Write how many newlines stand before each block, and return how many there are."""
    text = data[
        start:stop
    ]  # indices from 0, so that the compiler need not allow for negative ones: five times the speed
    total = int64(0)
    number = 0
    i = 0
    while i + _BLOCK <= len(text):
        blocks[number] = total
        number += 1
        within = uint8(0)
        for j in range(_BLOCK):
            within += uint8(text[i + j] == 10)
        total += int64(within)
        i += _BLOCK
    blocks[number] = total
    for j in range(i, len(text)):
        total += int64(text[j] == 10)
    blocks[number + 1] = total
    return total


@njit(int64(_BYTES, int64, int64, int64, int64[::1]), nogil=True, cache=True)
def _line(data, start, stop, line, blocks):  # type: ignore[no-untyped-def]
    """Return where the line begins, counted from 0; `stop` for one behind the last."""
    if line == 0:
        return start
    last = (stop - start) // _BLOCK
    if blocks[last + 1] < line:
        return stop
    low, high = int64(0), last
    while low < high:  # the last block before which fewer newlines stand
        middle = (low + high + 1) // 2
        if blocks[middle] < line:
            low = middle
        else:
            high = middle - 1
    left = line - blocks[low]
    i = start + low * _BLOCK
    while left > 0:
        left -= int64(data[i] == 10)
        i += 1
    return i


@njit(void(int64[:, ::1], int64), nogil=True, cache=True)
def _sort(windows, count):  # type: ignore[no-untyped-def]
    """Sort by first line, in place; they are few."""
    for i in range(1, count):
        for j in range(i, 0, -1):
            if windows[j - 1, 0] <= windows[j, 0]:
                break
            for column in range(4):
                windows[j - 1, column], windows[j, column] = windows[j, column], windows[j - 1, column]


@njit(
    void(_BYTES, _NUMBERS, _NUMBERS, _BYTES, _NUMBERS, uint64, int64, int64, int64, int64[::1], int64[:, :, ::1]),
    nogil=True,
    cache=True,
)
def draw(  # type: ignore[no-untyped-def]  # noqa: PLR0917 - as the signature
    data, begins, ends, ids, id_offsets, random_seed, least, most, count, found, windows
):
    """Draw windows of each text `data[begins[i]:ends[i]]`.

    `found[i]` becomes how many there are: 0 of a blank text, -1 where every try was blank and the plain way must draw.
    `windows[i, k]` becomes first and last line, and first and last byte (the last not included).
    """
    longest = int64(0)
    for d in range(len(begins)):
        longest = max(longest, ends[d] - begins[d])
    blocks = np.empty(longest // _BLOCK + 3, np.int64)
    for d in range(len(begins)):
        start, stop = begins[d], ends[d]
        found[d] = 0
        if _is_blank(data, start, stop):
            continue
        newlines = _count(data, start, stop, blocks)
        total = newlines + int64(data[stop - 1] != 10)
        room = np.uint64(max(1, total - least + 1))
        at = _key(random_seed, ids, id_offsets[d], id_offsets[d + 1])
        kept = int64(0)
        while kept < count:
            hit = False
            for _ in range(_TRIES):
                at += _STEP
                bits = _mix(at)
                first = int64(((bits >> np.uint64(32)) * room) >> np.uint64(32))
                more = int64(((bits & _HALF) * np.uint64(most - least + 1)) >> np.uint64(32))
                last = min(total, first + least + more)
                apart = True
                for k in range(kept):
                    apart = apart and not (first < windows[d, k, 1] and windows[d, k, 0] <= last)
                if not apart:
                    continue
                a = _line(data, start, stop, first, blocks)
                b = _line(data, start, stop, last, blocks)
                if not _is_blank(data, a, b):
                    windows[d, kept, 0], windows[d, kept, 1] = first + 1, last
                    windows[d, kept, 2], windows[d, kept, 3] = a, b
                    hit = True
                    break
            if not hit:
                break
            kept += 1
        _sort(windows[d], kept)
        found[d] = kept if kept else -1


@njit(void(_BYTES, _NUMBERS, _NUMBERS, _NUMBERS, uint8[::1]), nogil=True, cache=True)
def gather(data, begins, ends, offsets, out):  # type: ignore[no-untyped-def]
    """Copy `data[begins[i]:ends[i]]` to `out[offsets[i]:]`."""
    for k in range(len(begins)):
        to = offsets[k]
        for i in range(begins[k], ends[k]):
            out[to] = data[i]
            to += 1
