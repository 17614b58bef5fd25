"""The worker processes as their parent sees them: started, given batches, listened to, ended."""

import contextlib
import json
import math
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import connection as connections
from multiprocessing import spawn
from multiprocessing.connection import Connection
from typing import Any, Final

from magicoder.errors import SandboxError
from magicoder.records import Judge, Program
from magicoder.sandboxes._judging import Opens
from magicoder.sandboxes._worker import Batch, News

_JUDGES_PER_WORKER: Final = 4
_START_S: Final = 120.0
_BOOT: Final = """
import pickle, sys
sys.path[:], opens, script = pickle.load(sys.stdin.buffer)
from magicoder.sandboxes._nursery import main
main(int(sys.argv[1]), int(sys.argv[2]), opens, script)
"""


class _Child:
    """A process that the nursery has forked."""

    def __init__(self, pid: int, pidfd: int, told: int) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._told = told
        self.exitcode: int | None = None

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for its end, at most that long; then `exitcode` is set."""
        if self.exitcode is not None:
            return
        poll = select.poll()
        poll.register(self._told, select.POLLIN)
        if poll.poll(None if timeout_s is None else timeout_s * 1000):
            text = os.read(self._told, 16)
            self.exitcode = int(text) if text else -signal.SIGKILL  # it goes with the nursery

    def kill(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Forget it."""
        os.close(self._pidfd)
        os.close(self._told)


class Nursery:
    """What workers are forked from (`_nursery`), started when the first one is needed, and again if it has died."""

    def __init__(self, opens: Opens, before: Callable[[], None], inherited: tuple[int, ...]) -> None:
        self._opens = opens
        self._before = before
        self._inherited = inherited
        # Of its own, and as old as we are: PR_SET_PDEATHSIG goes by thread.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="sandbox")
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def fork(self, cpu: int, modules: Sequence[str]) -> tuple[_Child, Connection]:
        """Return a new worker, and the line to it. `modules` are loaded before.

        Raises:
            SandboxError: none comes.
        """
        for again in (True, False):
            if self._line is None:
                self._starter.submit(self._start).result()
            with contextlib.suppress(OSError):
                return self._asked(cpu, modules)
            self.close_line()
            if not again:
                break
        raise SandboxError("the process that workers are forked from does not start; what it printed says why")

    def _asked(self, cpu: int, modules: Sequence[str]) -> tuple[_Child, Connection]:
        assert self._line is not None
        ours, theirs = socket.socketpair()
        told, tell = os.pipe()
        try:
            order = json.dumps({"cpu": cpu, "modules": list(modules)}).encode()
            socket.send_fds(self._line, [order], [theirs.fileno(), tell])
            data, fds, _, _ = socket.recv_fds(self._line, 64, 1)
            if not data:
                raise ConnectionError("it has ended")
        except BaseException:
            os.close(told)
            ours.close()
            raise
        finally:
            os.close(tell)
            theirs.close()
        return _Child(int(data), fds[0], told), Connection(ours.detach())

    def _start(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited until it has its own process group
        self._before()
        data: dict[str, Any] = spawn.get_preparation_data("sandbox")
        script = {name: data[name] for name in data if name.startswith("init_main")}
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        near.settimeout(_START_S)
        flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags")()  # noqa: B009 - as multiprocessing does
        with far:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter
                [sys.executable, *flags, "-c", _BOOT, str(far.fileno()), str(os.getpid())],
                stdin=subprocess.PIPE,
                pass_fds=(far.fileno(), *self._inherited),
            )
        assert self._process.stdin is not None
        with contextlib.suppress(OSError), self._process.stdin as pipe:
            pickle.dump((data["sys_path"], pickle.dumps(self._opens, protocol=5), script), pipe)
        self._line = near

    def close_line(self) -> None:
        """End it, if that has not happened; workers go with it."""
        if self._line is not None:
            self._line.close()
            self._line = None
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self) -> None:
        """End it for good."""
        self.close_line()
        self._starter.shutdown()


class Worker:
    """One worker process, started when it is first needed, and again after it ended."""

    def __init__(self, nursery: Nursery, cpu: int) -> None:
        self._nursery = nursery
        self._cpu = cpu
        self._process: _Child | None = None
        self._connection: Connection | None = None
        self._held: OrderedDict[str, None] = OrderedDict()
        self.batch: list[int] = []
        """Numbers of the programs that it has and that have no verdict yet, in its order."""
        self.deadline = math.inf

    @property
    def busy(self) -> bool:
        """Whether it has a batch."""
        return self.deadline < math.inf

    @property
    def connection(self) -> Connection:
        """What to wait for."""
        assert self._connection is not None
        return self._connection

    def send(self, programs: Sequence[tuple[int, Program, str]], judges: dict[str, Judge], allowed_s: float) -> None:
        """Give it a batch; `allowed_s` is when at the latest it has something to say."""
        if self._connection is None:
            # Modules of others may do anything when they are loaded, such as starting threads: not before a fork.
            modules = sorted(
                {module for j in judges.values() if (module := type(j).__module__).startswith("magicoder.")}
            )
            self._process, self._connection = self._nursery.fork(self._cpu, modules)
        new = []
        for digest in dict.fromkeys(digest for _, _, digest in programs if digest):
            if digest not in self._held:
                new.append((digest, _pickled(judges[digest])))
            self._held[digest] = None
            self._held.move_to_end(digest)
        needed = {digest for _, _, digest in programs}
        spare = [digest for digest in self._held if digest not in needed]
        forget = spare[: max(0, len(self._held) - _JUDGES_PER_WORKER)]
        for digest in forget:
            del self._held[digest]
        self.batch = [number for number, _, _ in programs]
        self.deadline = time.monotonic() + allowed_s
        with contextlib.suppress(ConnectionError):  # it has died, which `hear` finds out
            self.connection.send(Batch(programs=tuple(programs), judges=tuple(new), forget=tuple(forget)))

    def hear(self) -> News | None:
        """Return its news, which there are; None if it has died."""
        try:
            news: News = self.connection.recv()
        except (EOFError, ConnectionError, pickle.UnpicklingError):
            return None
        done = {number for number, _ in news.verdicts}
        self.batch = [number for number in self.batch if number not in done]
        if news.done:
            self.deadline = math.inf
        return news

    def kill(self, grace_s: float = 0.0) -> str:
        """End it and everything in its cell, at once; return what it has died of if that is so within `grace_s`."""
        process, self._process = self._process, None
        if process is None:
            return ""
        process.join(grace_s)
        code = process.exitcode
        process.kill()
        self._forget_connection()
        process.join()
        process.close()
        return "" if code is None else _died_of(code)

    def stop(self) -> None:
        """End it in order: it clears away its cell."""
        process, self._process = self._process, None
        self._forget_connection()
        if process is None:
            return
        process.join(10)
        if process.exitcode is None:
            process.kill()
            process.join()
        process.close()

    def _forget_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._held.clear()
        self.batch = []
        self.deadline = math.inf


class Workers:
    """All workers of a runner."""

    def __init__(
        self,
        opens: Opens,
        count: int,
        *,
        before: Callable[[], None] = lambda: None,
        inherited: tuple[int, ...] = (),
    ) -> None:
        """Start nothing yet; `before` is called when that begins, and `opens` uses what is `inherited` by number."""
        self._nursery = Nursery(opens, before, inherited)
        cores = sorted(os.sched_getaffinity(0))
        # Fewer workers than processors go where there is room: the first ones may be another runner's.
        cpus = cores if count == len(cores) else [-1] * count
        self.all = [Worker(self._nursery, cpu) for cpu in cpus]

    def idle(self) -> list[Worker]:
        """Return those without a batch."""
        return [worker for worker in self.all if not worker.busy]

    def busy(self) -> list[Worker]:
        """Return those with one."""
        return [worker for worker in self.all if worker.busy]

    def wait(self) -> list[Worker]:
        """Block until some have news or are dead or overdue, and return those."""
        busy = self.busy()
        now = time.monotonic()
        timeout = max(0.0, min(worker.deadline for worker in busy) - now)
        ready = connections.wait([worker.connection for worker in busy], timeout)
        return [worker for worker in busy if worker.connection in ready or worker.deadline <= time.monotonic()]

    def drop(self) -> None:
        """End what is running, without waiting for it."""
        for worker in self.busy():
            worker.kill()

    def close(self) -> None:
        """End all."""
        self.drop()
        for worker in self.all:
            worker.stop()
        self._nursery.close()


def _pickled(judge: Judge) -> bytes:
    try:
        return pickle.dumps(judge, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError) as e:
        raise SandboxError(
            f"the judge {type(judge).__qualname__} cannot be sent to a worker; define it in a module ({e})"
        ) from None


def _died_of(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
