"""Which of many texts no screen that counts can hold back, without looking at them one by one.

What is told here is told on the safe side: a text that is not called calm may still pass every screen.
"""

from typing import Any, Final

import pyarrow as pa

from magicoder import kernels
from magicoder.text import screens

COUNTED: Final = ("binary", "blank", "too_short", "long_line", "data", "few_letters")
"""Screens that a calm text passes; so is it one whose line ends and mark need no change."""

_LEAST_COMPILED: Final = 1 << 22
"""Bytes of text that are worth loading the compiled loops for, where numba is not in memory yet."""


def calm(texts: pa.StringArray, *, min_bytes: int, max_line_length: int) -> pa.BooleanArray:
    """Say of each text whether it is calm; none is where there is no numba."""
    if not kernels.available() or not (kernels.loaded() or texts.nbytes >= _LEAST_COMPILED):
        return pa.repeat(pa.scalar(value=False), len(texts))
    import numpy as np

    from magicoder.kernels import signs

    _, offsets, data = texts.buffers()
    starts = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    whole = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8)
    counts, has_long = signs.of_texts(whole, starts, max_line_length)
    size = np.diff(starts)
    dense = size - counts[:, signs.BLANKS]
    letters = counts[:, signs.LETTERS]
    is_calm = (counts[:, signs.CONTROLS] == 0) & ~has_long
    is_calm &= counts[:, signs.GRAPHIC] >= max(min_bytes, 1)
    is_calm &= letters >= screens.FEWEST_LETTERS * dense
    few_quotes = counts[:, signs.QUOTES] < screens.DATA_QUOTES * dense
    is_calm &= few_quotes & (counts[:, signs.DIGITS] < screens.DATA_DIGITS * dense)
    is_calm &= ~_marked(whole, starts)
    return pa.array(is_calm)


def _marked(data: Any, starts: Any) -> Any:
    """Say which texts begin with a byte-order mark, or are too short to have one."""
    import numpy as np

    is_long = np.diff(starts) >= 3
    first = np.where(is_long, starts[:-1], 0)
    if len(data) < 3:
        return ~is_long
    return ~is_long | ((data[first] == 0xEF) & (data[first + 1] == 0xBB) & (data[first + 2] == 0xBF))
