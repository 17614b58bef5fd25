"""Reading numbers by address, for kernels of many small functions.

An array that is handed from one compiled function to another is counted, by atomic instructions; an address is not.
Whoever passes an address keeps the array alive and stays within it.
"""

from typing import Any, Final

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import int64, njit, types, uint8, uint32, uint64
from numba.extending import intrinsic


def _reader(kind: Any, bits: int) -> Any:
    """Return a function that reads element `index` of numbers of `bits` bits from `address` on."""

    def read(typingctx, address, index):  # type: ignore[no-untyped-def]  # noqa: ARG001
        def lower(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # noqa: ARG001
            pointer = builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())
            return builder.load(builder.gep(pointer, [arguments[1]]), align=1)

        return kind(types.int64, types.int64), lower

    return intrinsic(read)


byte_at = _reader(uint8, 8)
word_at = _reader(uint32, 32)
_long_at = _reader(uint64, 64)

_LOW: Final = np.uint64(0x7F7F7F7F7F7F7F7F)
_ONES: Final = np.uint64(0x0101010101010101)
_HIGH: Final = np.uint64(0x8080808080808080)


@njit(uint64(int64, int64), cache=True)
def eight_at(address, i):  # type: ignore[no-untyped-def]
    """Return the eight bytes from `address + i` on, the first the lowest; they may lie anywhere."""
    return _long_at(address + i, 0)


_FROM_A: Final = np.uint64(0x0101010101010101 * (0x80 - 0x41))
_BEYOND_Z: Final = np.uint64(0x0101010101010101 * (0x80 - 0x5B))


@njit(uint64(uint64), inline="always", cache=True)
def lower(eight):  # type: ignore[no-untyped-def]
    """Lower the ASCII letters of eight bytes; every other byte stays."""
    low = eight & _LOW
    capital = (low + _FROM_A) & ~(low + _BEYOND_Z) & ~eight & _HIGH
    return eight | (capital >> np.uint64(2))


@njit(uint64(uint64), cache=True)
def filled(eight):  # type: ignore[no-untyped-def]
    """Return the highest bit of each byte that is not 0."""
    return (((eight & _LOW) + _LOW) | eight) & _HIGH


@njit(int64(uint64), cache=True)
def first_of(marks):  # type: ignore[no-untyped-def]
    """Return which byte has the first of some highest bits; 8 if there is none."""
    below = (marks & (~marks + np.uint64(1))) - np.uint64(1)  # all ones below it
    return np.int64((((below >> np.uint64(7)) & _ONES) * _ONES) >> np.uint64(56))


@njit(int64(int64, int64, int64, uint64), nogil=True, cache=True)
def find_byte(address, i, stop, eight):  # type: ignore[no-untyped-def]
    """Return the first place from `i` on of the byte that fills `eight`, `stop` if there is none before it."""
    while i < stop:
        n = first_of(~filled(eight_at(address, i) ^ eight) & _HIGH)
        i += n
        if n < 8:
            break
    return min(i, stop)


def eight_of(character: str) -> np.uint64:
    """Return eight bytes that are all this ASCII character."""
    return np.uint64(ord(character) * 0x0101010101010101)
