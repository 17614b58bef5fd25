"""Files that are either as before or whole, whatever happens, and errors that say what to do."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from magicoder.errors import StoreError


def swap(new: Path, place: Path) -> None:
    """Put the finished folder `new`, whose files are synced, at `place`.

    A kill in between leaves `new` or `place` whole, and the old folder at `<place>.old` at worst.
    """
    old = place.with_name(place.name + ".old")
    if old.exists():
        shutil.rmtree(old)
    if place.exists():
        place.rename(old)
    new.rename(place)
    sync(place.parent)
    if old.exists():
        shutil.rmtree(old)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file so that it is either as before or whole, also after a kill or a power cut."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to a file as `replacing` does."""
    with replacing(path) as f:
        f.write(data)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until all files of a folder, and their names, are on the disk."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn operating-system errors about `path` into a StoreError that says what to do."""
    try:
        yield
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"the disk is full while writing under {path}; nothing finished is lost: "
                "free some space and run the same command again"
            ) from e
        if e.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreError(
                f"cannot write to {e.filename or path}: {e.strerror}; give another folder with --out"
            ) from e
        raise
