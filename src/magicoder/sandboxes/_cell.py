"""A cell: one jailed worker, made once, running one request at a time."""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from magicoder.errors import SandboxError
from magicoder.records import Limits
from magicoder.sandboxes import _cell_process as process
from magicoder.sandboxes import _wire as wire
from magicoder.sandboxes._cell_process import Jail
from magicoder.sandboxes._ladder import Rung
from magicoder.sandboxes._wire import Ended, Report, Request

_LEAVE_S = 1.0
"""How long a program may take to end when nobody calls its function any more."""


class Conversation:
    """A function in a cell that can be called. Leaving the context ends the program; `report` is there afterwards.

    Only the time in which the program, and not its caller, is at work counts towards the wall limit.
    """

    def __init__(self, cell: "Cell", request: Request) -> None:
        self._cell = cell
        self._request = request
        self._left_s = wire.wall_s(request.limits)
        self._near, far = socket.socketpair()
        self._report: Report | None = None
        self._come = bytearray()
        try:
            self._jail = cell._give(request, talk=far.fileno())
        except BaseException:
            self._near.close()
            raise
        finally:
            far.close()

    @property
    def report(self) -> Report:
        """What became of the program, once it has ended."""
        if self._report is None:
            raise RuntimeError("the conversation is not over")
        return self._report

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._near.close()
        if self._report is None:
            self._end("", _LEAVE_S)

    def call(self, args: bytes) -> bytes:
        """Hand `args` to the codec's `answer` beside the function, and return what it returns.

        Raises:
            Ended: the program ended, or was ended at a limit; before the first call too (it did not get so far).
            SandboxError: the cell itself broke.
        """
        return self._exchange(struct.pack("=I", len(args)) + args)

    def hand_in(self, calls: Sequence[bytes]) -> None:
        """Hand in the arguments of several calls, whose answers `take` returns in this order. At most 64 KB."""
        with contextlib.suppress(OSError):  # it has ended, as `take` will find
            self._near.sendall(b"".join(struct.pack("=I", len(args)) + args for args in calls))

    def take(self) -> bytes:
        """Return the next answer to what was handed in. `call`'s errors."""
        return self._exchange(b"")

    def _exchange(self, message: bytes) -> bytes:
        if self._report is not None:
            raise Ended(self._report)
        begun = time.monotonic()
        try:
            if message:
                self._near.settimeout(max(0.001, self._left_s))
                self._near.sendall(message)
            (size,) = struct.unpack("=I", self._receive(4, begun))
            if size > wire.REPLY_LIMIT_MB << 20:
                self._end("output", 0.0)
                raise Ended(self.report)
            return self._receive(size, begun)
        except TimeoutError:
            self._end("wall", 0.0)
        except (OSError, EOFError):
            self._end("", _LEAVE_S)
        except BaseException:
            self._near.close()
            if self._report is None:  # Ctrl-C: the answer to this call must not meet the next one
                self._cell._discard(self._request.tier)
            raise
        finally:
            self._left_s -= time.monotonic() - begun
        raise Ended(self.report)

    def _receive(self, size: int, begun: float) -> bytes:
        """Return so many bytes; what has come behind them is kept for the next time."""
        parts = self._come
        while len(parts) < size:
            left = self._left_s - (time.monotonic() - begun)
            if left <= 0:  # one that answers a byte at a time would never wait long
                raise TimeoutError
            self._near.settimeout(left)
            got = self._near.recv(min(max(size - len(parts), 1 << 16), 1 << 20))
            if not got:
                raise EOFError
            parts += got
        with memoryview(parts) as view:
            taken = bytes(view[:size])
        del parts[:size]
        return taken

    def _end(self, why: str, patience_s: float) -> None:
        """Get the report; stop the program first if it does not end by itself in time."""
        try:
            if not patience_s or not self._jail.reported(patience_s):
                self._jail.give({"op": "stop", "why": why})
            self._report = self._jail.report(time.monotonic() + process.GRACE_S)
        except BaseException:
            self._cell._discard(self._request.tier)
            raise


class Service:
    """A long-lived jailed process that answers: 4 bytes of length (big endian) and data, on stdin and stdout."""

    def __init__(self, jail: Jail, request: Request) -> None:
        self._jail = jail
        self._request = request
        self._near: socket.socket | None = None

    def ask(self, data: bytes, *, wall_s: float = 0.0) -> bytes:
        """Send `data` and return the answer. A process that died is started again first.

        `wall_s`: a limit for this answer other than the service's; its processor time is limited anyway.

        Raises:
            Ended: it died, or was ended at a limit, while answering.
            SandboxError: the cell itself broke.
        """
        limit = wall_s or wire.wall_s(self._request.limits)
        near = self._near or self._start()
        self._jail.give({"op": "mark", "wall": limit})
        try:
            near.settimeout(limit + process.GRACE_S)
            near.sendall(struct.pack(">I", len(data)) + data)
            (size,) = struct.unpack(">I", _exactly(near, 4))
            if size > wire.REPLY_LIMIT_MB << 20:
                self._jail.give({"op": "stop", "why": "output"})
                raise EOFError
            answer = _exactly(near, size)
        except (OSError, EOFError):
            near.close()
            self._near = None
            raise Ended(self._jail.report(time.monotonic() + process.GRACE_S)) from None
        except BaseException:
            self.close()
            raise
        self._jail.give({"op": "mark", "wall": 0.0})
        return answer

    def _start(self) -> socket.socket:
        near, far = socket.socketpair()
        try:
            order = wire.order(self._request, talk=True, serve=True)
            self._jail.give(order, wire.plan(self._request), talk=far.fileno())
        except BaseException:
            near.close()
            raise
        finally:
            far.close()
        self._near = near
        return near

    def close(self) -> None:
        """End it."""
        if self._near is not None:
            self._near.close()
            self._near = None
        self._jail.close()


def _exactly(line: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        got = line.recv(min(size - len(parts), 1 << 20))
        if not got:
            raise EOFError
        parts += got
    return bytes(parts)


class Cell:
    """One jailed worker: behind it a jail per tier, each started when it is first wanted."""

    def __init__(
        self, rung: Rung, cpu: int, *, python: str, read_only: tuple[str, ...], proc: bool, codec: str, warm: int
    ) -> None:
        self._rung = rung
        self._cpu = cpu
        self._python = python
        self._read_only = read_only
        self._proc = proc
        self._codec = codec
        self._warm = warm
        self._jails: dict[str, Jail] = {}
        self._services: list[Service] = []

    @classmethod
    @contextmanager
    def open(
        cls,
        rung: Rung,
        cpu: int = -1,
        *,
        python: str = "",
        read_only: tuple[str, ...] = (),
        proc: bool = False,
        codec: str = "",
        warm: int = -1,
    ) -> Iterator["Cell"]:
        """Make a cell.

        rung         what `_ladder.choose` returned
        cpu          number of the processor that it keeps to; -1 for any
        python       the interpreter of programs, "" for this one
        read_only    absolute paths that its programs may read and execute, at the same place, beside /usr
        proc         whether its programs see a /proc (of their own processes only), which some toolchains need
        codec        source text of a module with `answer(function, request: bytes) -> bytes`, for `converse`
        warm         the socket of a `_cell_process.Warm` of that interpreter; -1 for none

        Raises:
            SandboxError: it cannot be made; says why.
        """
        cell = cls(rung, cpu, python=python, read_only=read_only, proc=proc, codec=codec, warm=warm)
        try:
            cell.check()
            yield cell
        finally:
            cell.close()

    def check(self) -> None:
        """See that a program runs and can import what is loaded late, with the rights that programs have.

        Raises:
            SandboxError: it does not; says why.
        """
        report = self.run(Request(source=_CHECK, limits=Limits(cpu_s=20.0)))
        if not report.completed or report.exit_code:
            reason = report.error or f"exit {report.exit_code}, signal {report.signal}, {report.timed_out}"
            raise SandboxError(f"Python does not work inside a cell: {reason}")

    def ready(self, tier: str = "plain") -> dict[str, object]:
        """Return what the jail of a tier said about itself: version of Python, missing packages, notes."""
        return dict(self._jail(tier).ready)

    def run(self, request: Request) -> Report:
        """Execute `request` and return what became of it.

        Raises:
            SandboxError: the cell itself broke, twice; that says nothing about the program.
        """
        deadline = wire.wall_s(request.limits) + process.GRACE_S
        for again in (True, False):
            jail = self._give(request)
            try:
                return jail.report(time.monotonic() + deadline)
            except SandboxError:
                self._discard(request.tier)
                if not again:
                    raise
            except BaseException:
                self._discard(request.tier)
                raise
        raise AssertionError("unreachable")

    def converse(self, request: Request) -> Conversation:
        """Load `request.source` and make `request.entry_point` callable. `run`'s errors."""
        return Conversation(self, request)

    def serve(
        self,
        argv: tuple[str, ...],
        environment: tuple[tuple[str, str], ...] = (),
        files: tuple[tuple[str, bytes], ...] = (),
        limits: Limits | None = None,
    ) -> Service:
        """Start a long-lived process in a jail of its own, beside this cell's. `limits` hold for each answer.

        Raises:
            SandboxError: the jail cannot be made.
        """
        request = Request(argv=argv, environment=environment, files=files, limits=limits or Limits())
        service = Service(self._start(()), request)
        self._services.append(service)
        return service

    def close(self) -> None:
        """End everything in it."""
        for service in self._services:
            service.close()
        for tier in list(self._jails):
            self._discard(tier)

    def _jail(self, tier: str) -> Jail:
        if tier not in self._jails:
            self._jails[tier] = self._start(wire.TIERS[tier])
        return self._jails[tier]

    def _start(self, modules: tuple[str, ...]) -> Jail:
        return process.start(
            self._rung.level,
            cpu=self._cpu,
            python=self._python,
            modules=modules,
            read_only=self._read_only,
            proc=self._proc,
            codec=self._codec,
            cgroup=self._rung.cgroup,
            warm=self._warm,
        )

    def _give(self, request: Request, talk: int = -1) -> Jail:
        """Hand a request to the jail of its tier, started anew where it has died."""
        more = (request.tests.encode("utf-8", "surrogatepass"), request.stdin)
        order, payload = wire.order(request, talk=talk >= 0), wire.plan(request)
        try:
            jail = self._jail(request.tier)
            jail.give(order, payload, more, talk)
        except SandboxError:
            self._discard(request.tier)
            jail = self._jail(request.tier)
            jail.give(order, payload, more, talk)
        return jail

    def _discard(self, tier: str) -> None:
        jail = self._jails.pop(tier, None)
        if jail is not None:
            with contextlib.suppress(OSError):
                jail.close()


_CHECK = """
import cmath, _json, _heapq, _bisect, _struct, array, zlib, colorsys, xml.dom
import os
open("probe", "w").close()
os.remove("probe")
"""
