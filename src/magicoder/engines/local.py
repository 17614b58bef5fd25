"""Processes on this machine: ordered results, a bounded number of items ahead."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from magicoder.protocols import NOT_IDENTITY

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """`workers` processes; 1 works in this process, without a pool."""

    workers: int = field(default=1, metadata=NOT_IDENTITY)

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield results in the order of `items`; at most two items per worker are under way."""
        if self.workers <= 1:
            yield from map(function, items)
            return
        # spawn, not fork: Arrow and SQLite threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_quiet_worker)
        try:
            pending: deque[Future[R]] = deque()
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 2 * self.workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _quiet_worker() -> None:
    """Leave Ctrl-C to the parent: it stops the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


PLUGIN = Local
