"""Many texts as one run of bytes, which kernels read. Compiling takes half a second, once a version and machine."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit, uint8, void


def joined(parts: Sequence[bytes]) -> tuple[bytes, Any]:
    """Return the parts one behind another, and where each begins (int64); behind the last, where it ends.

    Behind that stand bytes of zero, so that kernels may read eight at a time.
    """
    starts = np.zeros(len(parts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), out=starts[1:])
    return b"".join([*parts, bytes(16)]), starts


@njit(void(uint8[::1]), nogil=True, cache=True)
def _blank(data):  # type: ignore[no-untyped-def]
    for i in range(data.shape[0] - 2):
        first, second, third = data[i], data[i + 1], data[i + 2]
        if first == 0xC2:
            if second == 0x85 or second == 0xA0:  # noqa: PLR1714 - compiles to less than a tuple
                data[i : i + 2] = 32
        elif 0xE1 <= first <= 0xE3:
            of_e2 = first == 0xE2 and (
                (second == 0x80 and (third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF))  # noqa: PLR1714
                or (second == 0x81 and third == 0x9F)
            )
            of_e1, of_e3 = first == 0xE1 and second == 0x9A, first == 0xE3 and second == 0x80
            if of_e2 or ((of_e1 or of_e3) and third == 0x80):
                data[i : i + 3] = 32


def blanked(data: bytes) -> bytes:
    """Return UTF-8 in which spaces stand for the white space beyond ASCII that `str.split` knows."""
    changed = np.frombuffer(data + bytes(2), np.uint8).copy()
    _blank(changed)
    return changed[: len(data)].tobytes()
