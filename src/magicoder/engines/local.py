"""Processes on this machine: ordered results, a bounded number of items ahead."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from magicoder.errors import MagicoderError
from magicoder.protocols import NOT_IDENTITY, Engine

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """`workers` processes; 1 works in this process, without a pool."""

    workers: int = field(default=1, metadata=NOT_IDENTITY)

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield results in the order of `items`; at most two items per worker are under way.

        Raises:
            MagicoderError: a worker was killed.
        """
        if self.workers <= 1:
            yield from map(function, items)
            return
        with self.opened() as engine:
            yield from engine.map(function, items)

    @contextmanager
    def opened(self) -> Iterator[Engine]:
        """Keep the same processes from one `map` to the next: a new one spends up to half a second on imports."""
        if self.workers <= 1:
            yield self
            return
        # spawn, not fork: Arrow and SQLite threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_die_with_parent)
        try:
            yield _Pool(pool, self.workers)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Pool:
    """A Local's processes, as long as they are kept."""

    def __init__(self, pool: ProcessPoolExecutor, workers: int) -> None:
        self._pool = pool
        self._workers = workers

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """As `Local.map`."""
        pending: deque[Future[R]] = deque()
        try:
            for item in items:
                pending.append(_submit(self._pool, function, item))
                if len(pending) > 2 * self._workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise MagicoderError(
                "a worker process was killed, most often because memory ran out; what is finished is kept: "
                "run the same command again, with fewer --workers if memory is short"
            ) from None
        finally:  # when all is done, there is nothing to cancel
            for future in pending:
                future.cancel()


def _submit(pool: ProcessPoolExecutor, function: Callable[[T], R], item: T) -> "Future[R]":
    """Submit with SIGINT blocked, as the workers that are started here inherit: Ctrl-C is the parent's business."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(function, item)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_with_parent() -> None:
    """End this worker when its parent is killed: nobody else would tell it, and it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


PLUGIN = Local
