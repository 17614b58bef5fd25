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
_LOOK_FROM_KB = 32 << 10
_FREE_FILES, _BUFFER_KB = 16, 416
"""Descriptors that a process may have at no charge, and what the kernel may hold in the buffers of any other one."""


class Processes:
    """The descendants of this process. It must be a subreaper, or the first of its namespace, to miss none."""

    def __init__(self, view: int, *, alone: bool) -> None:
        """`view` is a descriptor of /proc; `alone`: everything in it but this process is a descendant."""
        self._view = view
        self._alone = alone
        self._own_kb = 0
        self._seen: list[int] = []
        self._reserved_kb = 0

    def own(self) -> tuple[int, int]:
        """Return this process's memory: kilobytes resident, megabytes that count towards RLIMIT_DATA."""
        fields = self._read(f"{os.getpid()}/statm").split()
        self._own_kb = int(fields[0]) * _PAGE_KB
        return int(fields[1]) * _PAGE_KB, (int(fields[5]) * _PAGE_KB >> 10) + 1

    def look(self) -> tuple[float, list[int]]:
        """Return the processor seconds used, and the resident kilobytes of each."""
        seconds, sizes = 0.0, []
        self._seen, self._reserved_kb = [], 0
        for pid in self._descendants():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = self._read(f"{pid}/stat").rpartition(b")")[2].split()
                seconds += sum(int(ticks) for ticks in fields[11:15]) / _TICK
                sizes.append(int(fields[21]) * _PAGE_KB)
                self._seen.append(pid)
                self._reserved_kb += max(0, (int(fields[20]) >> 10) - self._own_kb - sizes[-1])
        return seconds, sizes

    def hidden_kb(self) -> int:
        """Return the memory of those that `look` saw which is not resident in any: shared pages, sockets' buffers.

        Shared memory stays where it is when nobody's page table names it any more; it counts as a whole, once.
        """
        mapped: dict[bytes, int] = {}
        resident = buffers = 0
        for pid in self._seen:
            with contextlib.suppress(OSError):
                buffers += max(0, len(self._list(f"{pid}/fd")) - _FREE_FILES) * _BUFFER_KB
            if self._reserved_kb > _LOOK_FROM_KB:
                with contextlib.suppress(OSError, ValueError, IndexError):
                    here, shown = self._shared(pid)
                    mapped |= here
                    resident += shown
        return buffers + max(0, sum(mapped.values()) - resident)

    def _shared(self, pid: int) -> tuple[dict[bytes, int], int]:
        """Return the sizes of a process's shared memory by what identifies it, and how much of it is resident."""
        found: dict[bytes, int] = {}
        for line in self._read(f"{pid}/maps", whole=True).splitlines():
            if line.endswith(b"/dev/zero (deleted)"):
                span, _, offset, _, inode, _ = line.split(None, 5)
                start, _, end = span.partition(b"-")
                # A part that is not mapped any more may be in use all the same.
                reach = (int(offset, 16) + int(end, 16) - int(start, 16)) >> 10
                found[inode] = max(found.get(inode, 0), reach)
        status = self._read(f"{pid}/status")
        return found, int(status.partition(b"RssShmem:")[2].split(None, 1)[0])

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

    def _read(self, path: str, *, whole: bool = False) -> bytes:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._view)
        try:
            data = part = os.read(fd, 1 << 16)
            while whole and part and len(data) < 16 << 20:
                part = os.read(fd, 1 << 16)
                data += part
            return data
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
