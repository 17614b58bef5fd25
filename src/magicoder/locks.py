"""One process at a time: locks on files, which the system frees when their process ends, however it ends."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from magicoder.errors import StoreError


@contextmanager
def held(path: Path, busy: Callable[[str], str]) -> Iterator[None]:
    """Create the file `path` and hold its lock; `busy` says what is wrong where the process of that number has it.

    Raises:
        StoreError: another process holds it, or its file system has no locks.
        OSError: it cannot be created.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(busy(os.read(lock, 32).decode("ascii", "replace").strip() or "unknown")) from None
        except OSError as e:
            raise StoreError(f"the file system of {path} cannot lock files ({e.strerror}); use a local disk") from e
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(lock, 0)  # equal runs leave equal files
    finally:
        os.close(lock)


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Create the folder that `--out` names, if need be, and keep other processes out of it.

    Raises:
        StoreError: another process works in it, or it is a file.
        OSError: it cannot be created.
    """
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; give another folder with --out")
    folder.mkdir(parents=True, exist_ok=True)

    def busy(holder: str) -> str:
        return f"{folder} is in use by another magicoder run (process {holder}); wait for it, or use another --out"

    with held(folder / ".lock", busy):
        yield
