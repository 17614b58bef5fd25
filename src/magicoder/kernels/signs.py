"""What screens count of a text, for many texts at once: letters, digits, quotes, blanks, control characters, lines.

Plain counterparts: `text.screens`. Compiling takes about a second, once for each version and machine.
"""

from typing import Any, Final

import numpy as np
from numba import boolean, int64, njit, types, uint8, void

_BLOCK: Final = 128
"""Bytes that are counted in numbers of eight bits, which go 64 at a time."""

_BYTES = types.Array(uint8, 1, "C", readonly=True)
_NUMBERS = types.Array(int64, 1, "C", readonly=True)

NEWLINES, BLANKS, LETTERS, DIGITS, QUOTES, CONTROLS, GRAPHIC, COLUMNS = range(8)
"""The columns of `counts`.

BLANKS are those of `str.split` in ASCII, CONTROLS all bytes that `is_binary` counts, NUL, and carriage returns;
LETTERS are of ASCII or bytes beyond it; GRAPHIC is printable ASCII but the space.
"""


@njit(void(_BYTES, _NUMBERS, int64[:, ::1]), nogil=True, cache=True)
def counts(data, starts, found):  # type: ignore[no-untyped-def]
    """Count the bytes of each text `data[starts[i]:starts[i + 1]]`; `found` has a row of `COLUMNS` for each."""
    for text in range(len(starts) - 1):
        piece = data[starts[text] : starts[text + 1]]
        sums = found[text]
        for k in range(COLUMNS):
            sums[k] = 0
        for base in range(0, len(piece), _BLOCK):
            stop = min(base + _BLOCK, len(piece))
            newlines = blanks = letters = digits = quotes = controls = graphic = uint8(0)
            for i in range(base, stop):
                c = piece[i]
                newlines += uint8(c == 10)
                blanks += uint8((c == 32) | ((c >= 9) & (c <= 13)))
                letters += uint8(uint8((c | uint8(32)) - uint8(97)) < 26) | uint8(c >= 128)
                digits += uint8(uint8(c - uint8(48)) < 10)
                quotes += uint8((c == 34) | (c == 39))
                is_control = (c < 32) & (c != 9) & (c != 10) & (c != 12) & (c != 27)
                controls += uint8(is_control | (c == 127))
                graphic += uint8((c > 32) & (c < 127))
            sums[NEWLINES] += int64(newlines)
            sums[BLANKS] += int64(blanks)
            sums[LETTERS] += int64(letters)
            sums[DIGITS] += int64(digits)
            sums[QUOTES] += int64(quotes)
            sums[CONTROLS] += int64(controls)
            sums[GRAPHIC] += int64(graphic)


@njit(void(_BYTES, _NUMBERS, int64, boolean[::1]), nogil=True, cache=True)
def long_lines(data, starts, most, found):  # type: ignore[no-untyped-def]
    """Say of each text whether a line has more than `most` bytes, looking at few of them."""
    for text in range(len(starts) - 1):
        at, stop = starts[text], starts[text + 1]
        found[text] = False
        while at + most < stop:
            newline = at + most
            while newline >= at and data[newline] != 10:
                newline -= 1
            if newline < at:
                found[text] = True
                break
            at = newline + 1


def of_texts(data: Any, starts: Any, longest: int) -> tuple[Any, Any]:
    """Return the counts of each text, and whether one of its lines has more than `longest` bytes."""
    number = len(starts) - 1
    found, long = np.empty((number, COLUMNS), np.int64), np.empty(number, np.bool_)
    counts(data, starts, found)
    long_lines(data, starts, longest, long)
    return found, long
