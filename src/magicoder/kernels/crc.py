"""The tables of CRC-32 as `zlib.crc32` computes it."""

import zlib
from typing import Final

import numpy as np

PLACES: Final = 16

_ALL: Final = 0xFFFFFFFF
# Without the inversions at either end the CRC of a sum (XOR) is the sum of the CRCs.
_ROWS = [
    [zlib.crc32(bytes([byte, *bytes(n)])) ^ zlib.crc32(bytes(n + 1)) for byte in range(256)] for n in range(PLACES)
]

TABLES = np.array(_ROWS, np.uint32)
"""`TABLES[n, b]`: what byte `b` with `n` bytes behind it adds to the CRC."""

OF_ZEROS = np.array([zlib.crc32(bytes(n)) for n in range(PLACES + 1)], np.uint32)
"""The CRC of so many bytes of zero, which the bytes add to."""
