"""The tables of CRC-32 as `zlib.crc32` computes it."""

import zlib

import numpy as np

_ALL = 0xFFFFFFFF


def _tables() -> "np.ndarray[tuple[int, ...], np.dtype[np.uint32]]":
    """Return for each of four places the CRC of a byte there, zeros behind it, in one table each."""
    # Without the inversions at either end the CRC of a sum (XOR) is the sum of the CRCs.
    zero = [zlib.crc32(bytes(n + 1), _ALL) ^ _ALL for n in range(4)]
    rows = [[zlib.crc32(bytes([b, *bytes(n)]), _ALL) ^ _ALL ^ zero[n] for b in range(256)] for n in range(4)]
    made = np.array(rows, np.uint32)
    made.flags.writeable = False
    return made


TABLES = _tables()
"""`TABLES[n, b]`: the register after byte `b` and `n` bytes of zero, from an empty one."""
