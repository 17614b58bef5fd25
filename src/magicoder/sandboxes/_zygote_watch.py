"""The keeper of a cell: forks a program, watches its time, memory and output, ends everything it left, reports.

Runs inside jails, in whatever Python is there: the standard library only. It is forked from, never run in: no byte
of a program passes through this process's memory. What a program is given comes in files in memory that only the
child reads; what it prints is moved from pipe to file by the kernel.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from typing import Any, Final

from magicoder.sandboxes import _zygote_program as program
from magicoder.sandboxes import _zygote_scratch as scratch
from magicoder.sandboxes._kernel_cgroups import Group

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
_NONBLOCK: Final = 2  # SPLICE_F_NONBLOCK
_FIONREAD: Final = 0x541B
_READ: Final = select.POLLIN | select.POLLHUP | select.POLLERR
_CHUNK: Final = 1 << 20
KINDS: Final = ("assert", "exception", "syntax", "exit", "memory")
_WORDS: Final = 1024
_SHORTEST_S: Final = 0.004
_LOOK_EVERY_S: Final = 0.02
"""Between two looks at the memory of processes, where no control group watches it."""
_COLLECT_MB: Final = 256


def message(said: dict[str, Any]) -> bytes:
    """Return `said` as it goes to the other side: its length, and JSON; raw bytes may follow."""
    head = _encode(said).encode()
    return len(head).to_bytes(4, "little") + head


class Orphaned(Exception):  # noqa: N818 - an end, not an error
    """Whom this cell works for is gone."""


class Stream:
    """One captured output: a pipe whose content the kernel moves to a file in memory, up to a cap."""

    def __init__(self, cap: int) -> None:
        self.read, self.write = os.pipe()
        self.file = -1
        self.size = 0
        self._cap = cap

    def drain(self) -> bool:
        """Move what is there; False if there is more than the cap."""
        if self.file < 0:
            if not int.from_bytes(fcntl.ioctl(self.read, _FIONREAD, bytes(4)), sys.byteorder):
                return True  # most programs print nothing: no file for those
            self.file = os.memfd_create("output", os.MFD_CLOEXEC)
        while True:
            try:
                room = min(_CHUNK, self._cap + 1 - self.size)
                moved = os.splice(self.read, self.file, room, flags=_NONBLOCK)
            except BlockingIOError:
                return True
            self.size += moved
            if self.size > self._cap:
                return False
            if not moved:
                return True

    def close(self) -> None:
        """Close what is open."""
        for fd in (self.read, self.write, self.file):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)
        self.read = self.write = self.file = -1


class Line:
    """The keeper's end of the runner's private line.

    The order is fixed: G(o), then S(ource ended) if there are tests, D(one), T(oken); E(rror) instead of the last
    ones. Any other word, or a word twice, spoils it: a program that writes to every descriptor does not get through.
    """

    def __init__(self, *, tests: int) -> None:
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._tests = tests
        self._expect = b"G"
        self._secret = b""
        self._heard = bytearray(4096)
        self._error_text = bytearray(4096)
        self.started = self.completed = self.spoilt = False
        self.failed = ""
        self.kind = ""
        self.error_size = 0

    def hear(self) -> bool:
        """Take the words that are there; False when the other side has hung up.

        No more at a time than a line can hold, or a program that never stops talking would keep us from its limits.
        """
        for _ in range(_WORDS):
            try:
                size = self.near.recv_into(self._heard, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not size:
                return False
            self._take(size)
        return True

    def _take(self, size: int) -> None:
        word = bytes(self._heard[:1])
        if self.kind or self.completed:
            return  # nothing that comes after the end changes it
        if not self.started and word == b"!":
            self.failed = bytes(self._heard[1:size]).decode("utf-8", "replace") or "?"
        elif self.started and word in (b"E", b"X"):
            self._error(word, size)
        elif word != self._expect or (word != b"T" and size != 1):
            self.spoilt = True
        else:
            self._advance(word, size)

    def _advance(self, word: bytes, size: int) -> None:
        if word == b"G":
            self.started = True
            self._expect = b"S" if self._tests >= 0 else b"D"
        elif word == b"S":
            with contextlib.suppress(OSError):
                self.near.sendmsg([b"t"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", self._tests))])
            self._expect = b"D"
        elif word == b"D":
            self._secret = os.urandom(16).hex().encode()
            with contextlib.suppress(OSError):
                self.near.send(self._secret)
            self._expect = b"T"
        else:
            self.completed = bytes(self._heard[1:size]) == self._secret
            self.spoilt = not self.completed

    def _error(self, word: bytes, size: int) -> None:
        """The kind is kept; the text only goes through, and is wiped: it may hold what tests expect."""
        end = max(0, self._heard.find(b"\0", 0, size)) if word == b"E" else 0
        kind = bytes(self._heard[1:end]).decode("ascii", "replace") if word == b"E" else "start"
        self.kind = kind if kind in KINDS else "exception"
        self.error_size = size - end - 1
        self._error_text[: self.error_size] = self._heard[end + 1 : size]

    def error(self) -> memoryview:
        """Return the error's text."""
        return memoryview(self._error_text)[: self.error_size]

    def close(self) -> None:
        """Hang up, and forget what was said."""
        self.near.close()
        self.far.close()
        for buffer in (self._heard, self._error_text):
            buffer[:] = bytes(len(buffer))


class Usage:
    """What the program's processes use: from the control group, or by looking at each of them."""

    def __init__(self, group: Group | None, view: Any, *, base_kb: int) -> None:
        self._group = group
        self._view = view
        self._base_kb = base_kb
        self.reaped_s = 0.0
        self.peak_mb = 0.0

    @property
    def watched(self) -> bool:
        """Whether memory must be looked at while the program runs."""
        return self._group is None and self._view is not None

    def cpu_s(self) -> float:
        """Return the processor seconds used so far."""
        if self._group is not None:
            return self._group.cpu_s()
        if self._view is None:
            return self.reaped_s
        seconds, _ = self._view.look()
        return float(self.reaped_s + seconds)

    def memory_mb(self) -> float:
        """Return the memory in use now, where no control group watches it."""
        if self._view is None:
            return 0.0
        _, sizes = self._view.look()
        now = (sum(max(0, kb - self._base_kb) for kb in sizes) + self._view.hidden_kb()) / 1024
        self.peak_mb = max(self.peak_mb, now)
        return float(now)

    def add(self, usage: Any) -> None:
        """Count a process that has been waited for (with its own children that it waited for)."""
        self.reaped_s += usage.ru_utime + usage.ru_stime
        if self._group is None:
            self.peak_mb = max(self.peak_mb, (usage.ru_maxrss - self._base_kb) / 1024)


class Keeper:
    """What serves a cell's requests, one after the other."""

    def __init__(
        self,
        control: socket.socket,
        parent: int,
        walls: program.Walls,
        place: scratch.Mounted | scratch.Folder,
        *,
        group: Group | None,
        view: Any,
        kill: Any,
        answer: Any,
        processors: int,
        tasks: Any,
    ) -> None:
        self._control = control
        self._walls = walls
        self.place = place
        self._group = group
        self._view = view
        self._kill = kill
        self._answer = answer
        self._processors = processors
        self._tasks = tasks
        self._own_kb: int
        self._own_mb: int
        self._own_kb, self._own_mb = view.own() if view is not None else (0, 512)
        self._poll = select.poll()
        self._poll.register(control.fileno(), _READ)
        self._poll.register(parent, _READ)
        self._parent = parent

    def serve(self) -> None:
        """Serve until whom we serve is gone.

        Raises:
            Orphaned: it is.
        """
        while True:
            self._poll.poll()
            data, passed, _, _ = self._control.recvmsg(1 << 16, 64)
            fds = [fd for _, _, packed in passed for (fd,) in struct.iter_unpack("i", packed)]
            if not data:
                raise Orphaned
            order = json.loads(data)
            if order.get("op") != "run":
                continue  # a late "stop" for what has ended by itself
            try:
                Run(self, order, fds).perform()
            finally:
                for fd in fds:
                    os.close(fd)

    def answer_with(self, report: dict[str, Any], error: memoryview | None, fds: list[int]) -> None:
        """Send a report."""
        parts: list[Any] = [message(report), *([error] if error is not None else [])]
        try:
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
            self._control.sendmsg(parts, passed)
        except OSError:
            raise Orphaned from None

    def heard(self) -> dict[str, Any]:
        """Return an order that comes while a program runs. Raises Orphaned."""
        data = self._control.recv(1 << 16)
        if not data:
            raise Orphaned
        order: dict[str, Any] = json.loads(data)
        return order


class Run:
    """One program, from fork to report."""

    def __init__(self, keeper: Keeper, order: dict[str, Any], fds: list[int]) -> None:
        self._keeper = keeper
        self._order = order
        self._limits = order["limits"]
        names = ["payload", *(name for name in ("tests", "stdin", "talk") if order[name])]
        self._fds = {"tests": -1, "stdin": -1, "talk": -1, **dict(zip(names, fds, strict=True))}
        cap = self._limits["output"]
        self._streams = [Stream(cap), Stream(cap)]
        self._line = Line(tests=self._fds["tests"])
        base = keeper._own_kb if order["python"] else 0
        self._usage = Usage(keeper._group, keeper._view, base_kb=base)
        self._timed_out = ""
        self._memory = self._output = False
        self._files: list[tuple[str, int]] = []
        self._collected = -1
        self._deadline = float("inf")
        self._cpu_from = 0.0

    def perform(self) -> None:
        """Run the program and report. Raises Orphaned, OSError."""
        keeper, limits = self._keeper, self._limits
        keeper.place.prepare(limits["tmp"])
        keeper._walls.renew(keeper.place.generation)
        limits["tasks"], limits["data"] = keeper._tasks(limits), 0
        if keeper._group is not None:
            keeper._group.prepare(limits["memory"], limits["processes"])
        else:
            # Of other programs than Python's, the stacks of threads would be counted, used or not.
            spare = keeper._own_mb + 32 if self._order["python"] else 1024
            limits["data"] = (limits["memory"] + spare) << 20
        begun = time.monotonic()
        pid = os.fork()
        if pid == 0:
            self._become()
        try:
            self._line.far.close()
            for stream in self._streams:
                os.close(stream.write)
                stream.write = -1
            if limits["wall"]:
                self._deadline = begun + limits["wall"]
            self._watch(pid)
            wall = time.monotonic() - begun
            status = self._end(pid)
            self._report(status, wall)
        except Orphaned:
            self._end(pid)
            raise
        finally:
            self._line.close()
            for stream in self._streams:
                stream.close()
            if self._collected >= 0:
                os.close(self._collected)

    def _become(self) -> None:
        out, err = self._streams
        fds = {
            "payload": self._fds["payload"],
            "stdin": self._fds["stdin"],
            "talk": self._fds["talk"],
            "stdout": out.write,
            "stderr": err.write,
            "channel": self._line.far.detach(),
        }
        try:
            program.become(self._order, fds, self._keeper._walls, self._keeper.place.work, self._keeper._answer)
        finally:
            os._exit(120)

    def _watch(self, pid: int) -> None:
        """Until the main process has ended, or must."""
        poll = self._keeper._poll
        pidfd = os.pidfd_open(pid)
        line = self._line.near.fileno()
        streams = {stream.read: stream for stream in self._streams}
        own = [pidfd, line, *streams]
        for fd in own:
            poll.register(fd, _READ)
        try:
            look_at = time.monotonic() + self._patience()
            over = False
            while not over:
                for fd, _ in poll.poll(max(0.0, look_at - time.monotonic()) * 1000 + 0.5):
                    if fd == pidfd:
                        over = True
                    elif fd == line:
                        if not self._line.hear():
                            poll.unregister(line)
                            own.remove(line)
                        over = over or self._line.spoilt
                    elif fd in streams:
                        over = self._drain(streams[fd], own) or over
                    else:
                        over = self._order_came(fd) or over
                        look_at = 0.0
                if not over and time.monotonic() >= look_at:
                    over = self._over_limits()
                    look_at = time.monotonic() + self._patience()
        finally:
            for fd in own:
                poll.unregister(fd)
            os.close(pidfd)

    def _drain(self, stream: Stream, own: list[int]) -> bool:
        before = stream.size
        if not stream.drain():
            self._output = True
            return True
        if stream.size == before:  # closed by everybody
            self._keeper._poll.unregister(stream.read)
            own.remove(stream.read)
        return False

    def _order_came(self, fd: int) -> bool:
        if fd == self._keeper._parent:
            raise Orphaned
        order = self._keeper.heard()
        if order["op"] == "stop":
            self._output = order["why"] == "output"
            self._timed_out = "" if self._output else order["why"]
            return True
        if order["op"] == "mark":  # a service begins to answer (seconds), or has answered (0)
            self._deadline = time.monotonic() + order["wall"] if order["wall"] else float("inf")
            self._cpu_from = self._usage.cpu_s()
        return False

    @property
    def _counts(self) -> bool:
        """Whether time is running: always, but for a service that nobody has asked."""
        return not self._order["serve"] or self._deadline < float("inf")

    def _patience(self) -> float:
        """Seconds until a limit can be reached at the earliest."""
        left = self._deadline - time.monotonic()
        if self._counts and self._limits["cpu"]:
            spare = self._limits["cpu"] - (self._usage.cpu_s() - self._cpu_from)
            left = min(left, spare / self._keeper._processors)
        if self._usage.watched:
            left = min(left, _LOOK_EVERY_S)
        return max(_SHORTEST_S, min(left, 3600.0))

    def _over_limits(self) -> bool:
        if self._counts and self._limits["cpu"] and self._usage.cpu_s() - self._cpu_from >= self._limits["cpu"]:
            self._timed_out = "cpu"
        elif time.monotonic() >= self._deadline:
            self._timed_out = "wall"
        elif self._usage.watched and self._usage.memory_mb() > self._limits["memory"]:
            self._memory = True
        return bool(self._timed_out or self._memory)

    def _end(self, pid: int) -> int | None:
        """Kill everything that is left, wait for all of it, and empty the pipes. Returns the main one's status."""
        running = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        if self._usage.watched:
            self._usage.memory_mb()
        self._keeper._kill(pid)
        status = None
        while True:
            try:
                found, state, usage = os.wait4(-1, 0)
            except ChildProcessError:
                break
            self._usage.add(usage)
            if found == pid:
                status = state
        self._line.hear()
        for stream in self._streams:
            if not self._output and stream.read >= 0:
                self._output = not stream.drain()
        if running:
            return None
        return status

    def _report(self, status: int | None, wall: float) -> None:
        keeper, line = self._keeper, self._line
        cpu = keeper._group.cpu_s() if keeper._group is not None else self._usage.reaped_s
        killed = keeper._group is not None and keeper._group.killed()
        code = os.waitstatus_to_exitcode(status) if status is not None else None
        if code == -signal.SIGKILL and self._limits["cpu"] and cpu >= self._limits["cpu"] and not killed:
            self._timed_out = self._timed_out or "cpu"  # the rlimit was faster
        if self._order["collect"] and code == 0:
            self._collect()
        keeper.place.clean()
        fds = [stream.file for stream in self._streams if stream.size]
        if self._collected >= 0:
            fds.append(self._collected)
        report = {
            "exit": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else signal.SIGKILL if code is None else 0,
            "timed_out": self._timed_out,
            "memory": killed or self._memory or line.kind == "memory",
            "output": self._output,
            "started": line.started,
            "failed": line.failed,
            "completed": line.completed and not line.spoilt if self._order["python"] else code is not None,
            "kind": "exit" if line.spoilt else "exception" if line.kind == "memory" else line.kind,
            "spoilt": line.spoilt,
            "cpu": cpu,
            "wall": wall,
            "peak": keeper._group.peak_mb() if keeper._group is not None else max(0.0, self._usage.peak_mb),
            "sizes": [stream.size for stream in self._streams],
            "files": self._files,
        }
        keeper.answer_with(report, line.error(), fds)

    def _collect(self) -> None:
        owners = frozenset({self._keeper._walls.uid if self._keeper._walls.uid is not None else os.getuid()})
        place = self._keeper.place
        try:
            self._collected, self._files = scratch.gather(place.work, self._order["collect"], _COLLECT_MB << 20, owners)
        except OverflowError:
            self._output = True
