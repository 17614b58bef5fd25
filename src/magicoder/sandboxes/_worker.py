"""A worker process: owns one cell, takes programs in small batches, sends verdicts as they come.

Trusted code in a process of its own, so that judging uses every core and a hostile answer cannot take the caller
along. It ends with its parent, and its cell with it.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, Final

from magicoder.errors import MagicoderError, SandboxError
from magicoder.records import Judge, Program, Verdict
from magicoder.sandboxes import _kernel
from magicoder.sandboxes._judging import Bench, Opens

_HAND_BACK_S: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Programs to judge, in this order, as (number, program without its judge, the judge's digest or "").

    judges    new ones, pickled, by their digests; a task's programs share one, so that it travels once
    forget    digests of judges that will not be needed again
    """

    programs: tuple[tuple[int, Program, str], ...]
    judges: tuple[tuple[str, bytes], ...] = ()
    forget: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a worker has to say: verdicts so far; with `done`, the batch is over, `broken` if not by finishing.

    Programs of a batch without a verdict when it is over have not been started, the one in `broken` aside.
    """

    verdicts: tuple[tuple[int, Verdict], ...] = ()
    done: bool = False
    broken: tuple[int, str] | None = None


def work(connection: Connection, opens: Opens, cpu: int, parent: int, load: Callable[[bytes], Any]) -> None:
    """Serve until the connection closes. `load` unpickles."""
    os.setpgrp()  # Ctrl-C is for the parent
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _kernel.control(_kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    sys.setrecursionlimit(10_000)
    bench = Bench(opens, cpu)
    judges = _Judges(load)
    try:
        while True:
            batch: Batch = connection.recv()
            judges.update(batch)
            connection.send(_judged(bench, batch, judges, connection))
    except (EOFError, ConnectionError):
        pass
    finally:
        bench.close()


def _judged(bench: Bench, batch: Batch, judges: "_Judges", connection: Connection) -> News:
    """Judge a batch and return the last news of it; earlier ones have been sent."""
    begun = time.monotonic()
    last = batch.programs[-1][0]
    for number, bare, digest in batch.programs:
        try:
            program = replace(bare, judge=judges.get(digest)) if digest else bare
            verdict = _steady(bench, program)
        except MagicoderError as e:
            return News(done=True, broken=(number, str(e)))
        except Exception as e:
            return News(done=True, broken=(number, f"{type(e).__name__}: {e}"))
        if number == last or time.monotonic() - begun > _HAND_BACK_S:
            # Others may be idle by now: what is left is for whoever comes first.
            return News(verdicts=((number, verdict),), done=True)
        # At once, since nobody knows how long the next one takes.
        connection.send(News(verdicts=((number, verdict),)))
    raise AssertionError("a batch has programs")


def _steady(bench: Bench, program: Program) -> Verdict:
    """Judge a program; a cell that breaks under it is replaced once."""
    try:
        return bench.judge(program)
    except SandboxError:
        bench.close()
        return bench.judge(program)


class _Judges:
    """The judges that were sent, by digest; each is unpacked when it is first needed."""

    def __init__(self, load: Callable[[bytes], Any]) -> None:
        self._load = load
        self._held: dict[str, bytes | Judge] = {}

    def update(self, batch: Batch) -> None:
        """Take those of a batch."""
        for digest in batch.forget:
            self._held.pop(digest, None)
        self._held.update(batch.judges)

    def get(self, digest: str) -> Judge:
        """Return one. Raises SandboxError."""
        judge: Any = self._held[digest]
        if isinstance(judge, bytes):
            try:
                judge = self._held[digest] = self._load(judge)
            except (AttributeError, ImportError) as e:
                raise SandboxError(f"a judge cannot be loaded in a worker; define it in a module ({e})") from None
        found: Judge = judge
        return found
