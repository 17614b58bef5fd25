"""The worker processes as their parent sees them: started, given batches, listened to, ended."""

import contextlib
import math
import multiprocessing
import os
import pickle
import signal
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import connection as connections
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Final

from magicoder.errors import SandboxError
from magicoder.records import Judge, Program
from magicoder.sandboxes import _worker
from magicoder.sandboxes._judging import Opens
from magicoder.sandboxes._worker import Batch, News

_JUDGES_PER_WORKER: Final = 4


class Worker:
    """One worker process, started when it is first needed, and again after it ended."""

    def __init__(self, opens: Opens, cpu: int, starter: ThreadPoolExecutor) -> None:
        self._opens = opens
        self._cpu = cpu
        self._starter = starter
        self._process: SpawnProcess | None = None
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
            self._starter.submit(self._start).result()
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

    def _start(self) -> None:
        """Start the process, in the thread whose end would end it (PR_SET_PDEATHSIG goes by thread)."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited until it has its own process group
        # spawn, not fork: threads of Arrow and SQLite do not survive a fork.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_worker.work, args=(theirs, self._opens, self._cpu, os.getpid()), daemon=True, name="sandbox"
        )
        process.start()
        theirs.close()
        self._process, self._connection = process, ours


class Workers:
    """All workers of a runner."""

    def __init__(self, opens: Opens, count: int) -> None:
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="sandbox")
        cores = sorted(os.sched_getaffinity(0))
        # Fewer workers than processors go where there is room: the first ones may be another runner's.
        cpus = cores if count == len(cores) else [-1] * count
        self.all = [Worker(opens, cpu, self._starter) for cpu in cpus]

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
        self._starter.shutdown()


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
