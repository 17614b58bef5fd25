"""A control group that a cell's programs are charged to, one after the other: memory, tasks, processor time.

Made once per cell, since making one per program costs more than the program; used through open descriptors, since a
jail shows no /sys. Versions 1 and 2, wherever the part of the tree that this process is in may be written to.
Runs inside jails too: the standard library only.
"""

# A jail's Python need not pay for pathlib, and its places have fixed names.
# ruff: noqa: PTH102, PTH106, PTH110, PTH116, PTH120, PTH123, PTH208

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import Final

_NAME: Final = re.compile(r"magicoder-(\d+)-(\d+)\Z")
_MB: Final = 1 << 20


class Group:
    """One program at a time is in it. Descriptors stay open in the jail's keeper only."""

    def __init__(self, folders: dict[str, str], *, unified: bool) -> None:
        self._folders = folders
        self._unified = unified
        self._fds: dict[str, int] = {}
        self._set = (-1, -1)
        self._base = (0.0, 0, 0)
        names = {
            "memory": ("memory.max", "memory.current", "memory.peak", "memory.events")
            if unified
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"),
            "pids": ("pids.max",),
            "cpu": ("cpu.stat",) if unified else ("cpuacct.usage",),
        }
        for part, files in names.items():
            for name in files:
                with contextlib.suppress(OSError):
                    self._fds[name] = _open(f"{folders[part]}/{name}")
        self.joins = tuple(_open(f"{folder}/cgroup.procs") for folder in sorted(set(folders.values())))
        limit = "memory.max" if unified else "memory.limit_in_bytes"
        if limit not in self._fds or "pids.max" not in self._fds or len(self._fds) < 5:
            raise OSError(f"the control group lacks files: it has {sorted(self._fds)}")
        if unified:
            with contextlib.suppress(OSError):
                _write(f"{folders['memory']}/memory.swap.max", "0")

    def prepare(self, memory_mb: int, processes: int) -> None:
        """Set the limits of the next program, and begin to count anew. Raises OSError."""
        if self._set != (memory_mb, processes):
            limit = "memory.max" if self._unified else "memory.limit_in_bytes"
            os.pwrite(self._fds[limit], str(memory_mb * _MB).encode(), 0)
            os.pwrite(self._fds["pids.max"], str(processes).encode(), 0)
            self._set = (memory_mb, processes)
        peak = "memory.peak" if self._unified else "memory.max_usage_in_bytes"
        if peak in self._fds:
            with contextlib.suppress(OSError):  # resetting memory.peak takes Linux 6.12
                os.pwrite(self._fds[peak], b"0", 0)
        self._base = (self._cpu(), self._kills(), self._number(self._usage_name()))

    def cpu_s(self) -> float:
        """Return the processor seconds used since `prepare`, by everything that is or was in the group."""
        return self._cpu() - self._base[0]

    def killed(self) -> bool:
        """Whether the kernel has killed for memory since `prepare`."""
        return self._kills() > self._base[1]

    def peak_mb(self) -> float:
        """Return the most memory that was in use since `prepare`, beyond what was before (cached files)."""
        peak = "memory.peak" if self._unified else "memory.max_usage_in_bytes"
        if peak not in self._fds:
            return 0.0
        return max(0.0, (self._number(peak) - self._base[2]) / _MB)

    def _usage_name(self) -> str:
        return "memory.current" if self._unified else "memory.usage_in_bytes"

    def _number(self, name: str) -> int:
        return int(os.pread(self._fds[name], 64, 0))

    def _cpu(self) -> float:
        if self._unified:
            return int(os.pread(self._fds["cpu.stat"], 4096, 0).split()[1]) / 1e6
        return self._number("cpuacct.usage") / 1e9

    def _kills(self) -> int:
        text = os.pread(self._fds["memory.events" if self._unified else "memory.oom_control"], 4096, 0)
        words = text.split()
        return int(words[words.index(b"oom_kill") + 1]) if b"oom_kill" in words else 0

    def remove(self) -> None:
        """Remove the group once everything in it is gone; waits a moment for that."""
        for folder in set(self._folders.values()):
            for _ in range(50):
                try:
                    os.rmdir(folder)
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.02)
                else:
                    break


def create() -> Group:
    """Make a group below this process's own.

    Raises:
        OSError: there is no control group that may be written to; says what is in the way.
    """
    mine = _memberships()
    mounts = _mounts()
    # Process ids mean something within their namespace only, while the tree may be shared by several.
    name = f"magicoder-{_namespace()}-{os.getpid()}"
    problems = []
    for unified, parts in ((False, {"memory": "memory", "pids": "pids", "cpu": "cpuacct"}), (True, {"": ""})):
        parents = {
            part: mounts[controller] + mine[controller].rstrip("/")
            for part, controller in parts.items()
            if controller in mine and controller in mounts
        }
        if len(parents) < len(parts):
            problems.append(f"no version {2 if unified else 1} controllers")
            continue
        if unified:
            parents = dict.fromkeys(("memory", "pids", "cpu"), parents[""])
        folders = {part: f"{parent}/{name}" for part, parent in parents.items()}
        try:
            for folder in sorted(set(folders.values())):
                _sweep(os.path.dirname(folder))
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder)
            return Group(folders, unified=unified)
        except OSError as e:
            problems.append(str(e))
            for folder in set(folders.values()):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
    raise OSError("; ".join(problems))


def _sweep(parent: str) -> None:
    """Remove groups that keepers left behind which were killed. One in use does not let itself be removed."""
    for name in os.listdir(parent):
        found = _NAME.match(name)
        if found and found[1] == _namespace() and not os.path.exists(f"/proc/{found[2]}"):
            with contextlib.suppress(OSError):
                os.rmdir(f"{parent}/{name}")


def _namespace() -> str:
    return str(os.stat("/proc/self/ns/pid").st_ino)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _memberships() -> dict[str, str]:
    """The group of this process by controller; "" stands for version 2."""
    found = {}
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            for controller in controllers.split(","):
                found[controller] = path
    return found


def _mounts() -> dict[str, str]:
    """Where each controller is mounted from its root."""
    found = {}
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            root, place = before.split(" ")[3:5]
            kind, _, options = after.split(" ")[:3]
            if root != "/" or "\\" in place:
                continue
            if kind == "cgroup2":
                found[""] = place
            elif kind == "cgroup":
                found.update(dict.fromkeys(options.strip().split(","), place))
    return found
