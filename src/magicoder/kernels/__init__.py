"""Short compiled loops over the bytes of many texts, with numba (`pip install 'magicoder[fast]'`).

Each kernel computes exactly what a plain function in `text/` does, which is its test and its stand-in where numba is
not installed: the extra changes how long a run takes, never what comes out.
"""

import importlib.util
import sys
from functools import cache


@cache
def available() -> bool:
    """Say whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def loaded() -> bool:
    """Say whether numba is in memory already: what is left to load of a kernel takes a fiftieth of a second."""
    return available() and "numba" in sys.modules
