"""Many texts as one run of bytes, which kernels read."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def joined(parts: Sequence[bytes]) -> tuple[bytes, Any]:
    """Return the parts one behind another, and where each begins (int64); behind the last, where it ends."""
    starts = np.zeros(len(parts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), out=starts[1:])
    return b"".join(parts), starts
