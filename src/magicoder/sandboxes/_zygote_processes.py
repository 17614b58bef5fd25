"""A look at a program's processes through /proc: for cells that no control group counts for.

Runs inside jails, in whatever Python is there: the standard library only.
"""
# A jail's Python need not pay for pathlib, and its places have fixed names.
# ruff: noqa: PTH116, PTH208

from __future__ import annotations

import contextlib
import os
import signal
import time

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") >> 10


class Processes:
    """The descendants of this process. It must be a subreaper, or the first of its namespace, to miss none."""

    def __init__(self, view: int, *, alone: bool) -> None:
        """`view` is a descriptor of /proc; `alone`: everything in it but this process is a descendant."""
        self._view = view
        self._alone = alone

    def own(self) -> tuple[int, int]:
        """Return this process's memory: kilobytes resident, megabytes that count towards RLIMIT_DATA."""
        fields = self._read(f"{os.getpid()}/statm").split()
        return int(fields[1]) * _PAGE_KB, (int(fields[5]) * _PAGE_KB >> 10) + 1

    def look(self) -> tuple[float, list[int]]:
        """Return the processor seconds used, and the resident kilobytes of each."""
        seconds, sizes = 0.0, []
        for pid in self._descendants():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = self._read(f"{pid}/stat").rpartition(b")")[2].split()
                seconds += sum(int(ticks) for ticks in fields[11:15]) / _TICK
                sizes.append(int(fields[21]) * _PAGE_KB)
        return seconds, sizes

    def kill(self) -> None:
        """Kill every descendant that lives, and those which it makes meanwhile."""
        for _ in range(10_000):
            alive = 0
            for pid in self._descendants():
                with contextlib.suppress(OSError, IndexError):
                    if self._read(f"{pid}/stat").rpartition(b")")[2].split()[0] not in (b"Z", b"X"):
                        os.kill(pid, signal.SIGKILL)
                        alive += 1
            if not alive:
                return
            time.sleep(0.001)

    def _descendants(self) -> list[int]:
        me = os.getpid()
        if self._alone:
            return [int(name) for name in os.listdir(self._view) if name.isdigit() and int(name) != me]
        found: list[int] = []
        left = [me]
        while left:
            pid = left.pop()
            with contextlib.suppress(OSError):
                for thread in self._list(f"{pid}/task"):
                    children = [int(c) for c in self._read(f"{pid}/task/{thread}/children").split()]
                    found += children
                    left += children
        return found

    def _list(self, path: str) -> list[str]:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._view)
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def _read(self, path: str) -> bytes:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._view)
        try:
            return os.read(fd, 1 << 16)
        finally:
            os.close(fd)


def tasks_of(uid: int) -> int:
    """Return how many tasks a user has now, which is what RLIMIT_NPROC counts."""
    total = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == uid:
                    total += len(os.listdir(f"/proc/{name}/task"))
    return total
