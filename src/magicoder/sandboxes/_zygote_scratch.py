"""Where a program may write, and how that is empty again for the next one.

Runs inside jails, in whatever Python is there: the standard library only.
"""
# A jail's Python need not pay for pathlib, and its places have fixed names.
# ruff: noqa: PTH101, PTH102, PTH103, PTH104, PTH106, PTH112, PTH116, S108

from __future__ import annotations

import contextlib
import os
import re
import stat

from magicoder.sandboxes import _kernel as kernel

_FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV
_DEPTH, _ENTRIES, _NAMES = 32, 65_536, 128 << 10


class Mounted:
    """/tmp and /dev/shm as file systems in memory, of limited size: replaced when a program left anything."""

    writable = ("/tmp", "/dev/shm")
    temporary = "/tmp"
    work = "/tmp/w"

    def __init__(self, uid: int, gid: int, shown: list[tuple[str, str]]) -> None:
        """`shown`: folders of the outside that belong below these, and where they are until then."""
        self._owner = (uid, gid)
        self._shown = shown
        self._size = 0
        self.generation = 0
        """Changes with the folders themselves: what is allowed below them must be said anew."""
        self._fresh: tuple[int, ...] = ()

    def prepare(self, size_mb: int) -> None:
        """Get ready for the next program: empty, with room for `size_mb`. Raises OSError."""
        if self._size == size_mb and self._untouched():
            return
        for place in reversed(self.writable):
            if self._size:
                kernel.unmount(place, kernel.DETACH)
            options = f"size={max(1, size_mb)}m,nr_inodes=65536,mode=1777"
            kernel.mount("tmpfs", place, "tmpfs", _FLAGS, options)
        self._size = size_mb
        self.generation += 1
        os.mkdir(self.work, 0o700)
        os.chown(self.work, *self._owner)
        for source, target in self._shown:
            os.makedirs(target, 0o755, exist_ok=True)
            kernel.mount(source, target, "", kernel.MS_BIND | kernel.MS_REC)
        self._fresh = self._look()

    def clean(self) -> None:
        """Forget what the last program wrote. Raises OSError."""
        self.prepare(self._size)

    def _look(self) -> tuple[int, ...]:
        found: list[int] = []
        for place in (*self.writable, self.work):
            at = os.stat(place, follow_symlinks=False)
            found += (at.st_dev, at.st_ino, at.st_mode, at.st_uid, at.st_gid)
            # A time stamp alone is too coarse: a short program ends within one tick of the clock. The size counts
            # the entries.
            found += (at.st_ctime_ns, at.st_size, at.st_nlink, len(os.listxattr(place, follow_symlinks=False)))
        return tuple(found)

    def _untouched(self) -> bool:
        """Whether nothing about the folders has changed since they were made."""
        try:
            return self._look() == self._fresh
        except OSError:
            return False


class Folder:
    """A folder on the disk, where there are no mounts of our own. Its size is not limited as a whole."""

    def __init__(self, base: str, uid: int | None) -> None:
        self._base = base
        self._uid = uid
        self.temporary = f"{base}/tmp"
        self.work = f"{base}/tmp/w"
        self.writable = (self.temporary,)
        self.generation = 0
        self._make()

    def _make(self) -> None:
        self.generation += 1
        for place in (self.temporary, self.work):
            os.mkdir(place, 0o700)
            if self._uid is not None:
                os.chown(place, self._uid, self._uid)

    def prepare(self, size_mb: int) -> None:
        """Get ready for the next program."""

    def clean(self) -> None:
        """Forget what the last program wrote. Raises OSError."""
        if os.path.lexists(self.temporary):
            os.rename(self.temporary, f"{self._base}/old")
            remove_tree(f"{self._base}/old")
        self._make()

    @staticmethod
    def clear(base: str) -> None:
        """Remove everything, as far as it goes."""
        with contextlib.suppress(OSError):
            if base and os.path.isdir(base):
                remove_tree(base)


def remove_tree(top: str) -> None:
    """Remove a folder that a program has had its way with: however deep, whatever its modes, without following links.

    Raises:
        OSError: something cannot be removed.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    os.chmod(top, 0o700)
    at = os.open(top, flags)
    try:
        while True:
            with os.scandir(at) as found:
                entries = [(e.name, e.is_dir(follow_symlinks=False)) for e in found]
            if not entries:
                break
            for name, is_folder in entries:
                if not is_folder:
                    os.unlink(name, dir_fd=at)
                    continue
                # Folders inside are moved up beside it, so that no path grows and nothing recurses. All of it was the
                # program's, which is dead: nobody swaps a folder for a link between these lines.
                os.chmod(name, 0o700, dir_fd=at)
                inner = os.open(name, flags, dir_fd=at)
                try:
                    with os.scandir(inner) as found:
                        below = [(e.name, e.is_dir(follow_symlinks=False)) for e in found]
                    for child, nested in below:
                        if nested:
                            os.chmod(child, 0o700, dir_fd=inner)
                            # A name that the program cannot have taken.
                            os.rename(child, os.urandom(12).hex(), src_dir_fd=inner, dst_dir_fd=at)
                        else:
                            os.unlink(child, dir_fd=inner)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=at)
    finally:
        os.close(at)
    os.rmdir(top)


def gather(work: str, patterns: list[str], limit: int, owners: frozenset[int]) -> tuple[int, list[tuple[str, int]]]:
    """Copy what a finished program made into a file in memory: its descriptor, and names with sizes in order.

    Only plain files of the program's own, reached without any link.

    Raises:
        OverflowError: more than `limit` bytes, or more files or longer names than a report holds.
        OSError: something cannot be read.
    """
    wanted = re.compile("|".join(f"(?:{_translate(p)})" for p in patterns) or r"(?!)")
    target = os.memfd_create("collected", os.MFD_CLOEXEC)
    found: list[tuple[str, int]] = []
    total = 0
    try:
        for name in _files(work, wanted):
            # All processes of the program are dead: no folder on the way becomes a link by now.
            try:
                fd = os.open(f"{work}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                continue
            try:
                about = os.fstat(fd)
                if not stat.S_ISREG(about.st_mode) or about.st_uid not in owners:
                    continue
                total += about.st_size
                if total > limit:
                    raise OverflowError
                _copy(fd, target, about.st_size)
                found.append((name, about.st_size))
            finally:
                os.close(fd)
    except BaseException:
        os.close(target)
        raise
    return target, found


def _copy(source: int, target: int, size: int) -> None:
    """Copy a file whole. Raises OSError; half a file is never taken for one."""
    at = 0
    while at < size:
        sent = os.sendfile(target, source, at, size - at)
        if not sent:
            raise OSError(5, "a file shrank while it was being collected")
        at += sent


def _files(work: str, wanted: re.Pattern[str]) -> list[str]:
    """The names of files to collect, in order. Holds no descriptors: there may be more folders than one may open."""
    names: list[str] = []
    left = [("", 0)]
    seen = said = 0
    while left:
        prefix, depth = left.pop()
        with contextlib.suppress(OSError), os.scandir(f"{work}/{prefix}") as entries:
            for entry in entries:
                seen += 1
                if seen > _ENTRIES:
                    raise OverflowError
                path = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    if depth < _DEPTH:
                        left.append((f"{path}/", depth + 1))
                elif entry.is_file(follow_symlinks=False) and wanted.fullmatch(path):
                    names.append(path)
                    said += 6 * len(path) + 32  # as it is written in a report, which is one message
                    if said > _NAMES:
                        raise OverflowError
    return sorted(names)


def _translate(pattern: str) -> str:
    """A pattern of names as an expression: `**/` any folders, `*` and `?` within one name."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "(?s:" + "".join(meaning.get(p, re.escape(p)) for p in parts) + ")"
