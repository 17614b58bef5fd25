"""How a process that works through many parts keeps its memory: pages stay with it from one part to the next."""

import contextlib
import ctypes
import functools
import gc
from typing import Final

import pyarrow as pa

_TRIM_THRESHOLD: Final = -1  # glibc's malloc.h
_TOP_PAD: Final = -2
_MMAP_THRESHOLD: Final = -3
_KEPT: Final = 256 * 2**20
_LARGE: Final = 64 * 2**20
_STEP: Final = 16 * 2**20


@functools.cache
def keep_pages() -> None:
    """Tune this process, once, for blocks of megabytes that come and go; changes no result.

    Arrow's own allocator gives freed pages back to the system, which clears them when they are asked for again: an
    eighth of the time of stages that look at every byte once. The C library's, told to, keeps up to 256 MB.
    What was imported so far is never garbage; without looking at it, a full collection takes no twentieth of a second.
    """
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):  # no glibc, no gain
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_TOP_PAD, _STEP)
        pa.set_memory_pool(pa.system_memory_pool())
