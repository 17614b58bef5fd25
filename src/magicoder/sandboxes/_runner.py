"""The controller: takes programs as they come, gives them to workers, yields verdicts in order.

Executes no program. What it holds is bounded by a window, in programs and in bytes: equal programs are judged once,
what the cache knows not at all; a group's programs run together, the longest group first; what timed out is run once
more with nothing beside it before that is its verdict; what broke a worker is tried once more alone, too.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from magicoder.errors import SandboxError
from magicoder.records import Limits, Outcome, Program, Verdict
from magicoder.sandboxes import _wire
from magicoder.sandboxes._judging import Opens
from magicoder.sandboxes._plan import Costs, Keys, ordered
from magicoder.sandboxes._verdicts import Verdicts
from magicoder.sandboxes._workers import Worker, Workers

_WINDOW: Final = 512  # programs ahead of the oldest without a verdict, and as many a worker as below
_PER_WORKER: Final = 128
_AHEAD: Final = 512  # without a verdict and not begun: among so many the longest are looked for
_CHUNK: Final = 128
_BATCH: Final = 16
_WINDOW_BYTES: Final = 64 << 20
_RECENT: Final = 4096
_RECENT_BYTES: Final = 16 << 20
_RECORD: Final = 256

_TIMEOUTS: Final = frozenset({Outcome.CPU_TIMEOUT, Outcome.WALL_TIMEOUT})


@dataclass(slots=True, eq=False)
class _Case:
    """A program in the window, or several equal ones."""

    program: Program
    key: bytes
    judge: str
    size: int
    verdict: Verdict | None = None
    alone: bool = False  # to be run, or being run, with nothing beside it
    breaks: list[str] = field(default_factory=list)


class Controller:
    """A `Runner` over worker processes."""

    def __init__(
        self, opens: Opens, workers: Workers, cache: Verdicts | None, isolation: str, level: str, *, again: bool
    ) -> None:
        self._opens = opens
        self._workers = workers
        self._cache = cache
        self._again = again
        self._isolation = isolation
        self._keys = Keys(level)
        self._costs = Costs()
        self._toolchains: dict[str, _Known] = {}
        self._recent: OrderedDict[bytes, Verdict] = OrderedDict()
        self._recent_bytes = 0
        self._unrecorded: list[tuple[bytes, Verdict]] = []
        self._running = False

    @property
    def isolation(self) -> str:
        """As in the protocol."""
        return self._isolation

    def toolchain(self, language: str) -> str:
        """As in the protocol."""
        return self._toolchain(language).version

    def run(self, programs: Iterable[Program]) -> Generator[Verdict, None, None]:
        """As in the protocol; one run at a time."""
        if self._running:
            raise SandboxError("this runner is at work; end that run first, or open another runner")
        self._running = True
        stream = _Stream(self, programs)
        try:
            yield from stream.verdicts()
        finally:
            self._running = False
            self._workers.drop()
            self.record(0)

    # What a run asks

    def case(self, program: Program) -> _Case:
        """Return `program` as a case, with a verdict where none needs to be found."""
        _check(program)
        toolchain = self._toolchain(program.language)
        key = self._keys.key(program, toolchain.identity)
        judge = "" if program.judge is None else self._keys.judge(program.judge)
        case = _Case(program, key, judge, _size(program))
        if not toolchain.version:
            case.verdict = Verdict(outcome=Outcome.TOOLCHAIN_MISSING, detail=toolchain.missing)
        else:
            case.verdict = self._recent.get(key)
        return case

    def remember(self, cases: Iterable[_Case]) -> None:
        """Give the cases without verdict those that the cache knows."""
        if self._cache is None:
            return
        wanted = {case.key: case for case in cases if case.verdict is None}
        for key, verdict in self._cache.find(list(wanted), doubtful=not self._again).items():
            wanted[key].verdict = verdict

    def keep(self, case: _Case) -> None:
        """Remember a new verdict, for the rest of this runner's life and beyond."""
        assert case.verdict is not None
        self._costs.learn(case.program, case.verdict.wall_s)
        self._unrecorded.append((case.key, case.verdict))
        self.record(_RECORD)
        if case.key in self._recent:
            return
        self._recent[case.key] = case.verdict
        self._recent_bytes += _verdict_size(case.verdict)
        while len(self._recent) > _RECENT or self._recent_bytes > _RECENT_BYTES:
            self._recent_bytes -= _verdict_size(self._recent.popitem(last=False)[1])

    def record(self, unless_fewer: int) -> None:
        """Write down what has gathered."""
        if len(self._unrecorded) > unless_fewer:
            entries, self._unrecorded = self._unrecorded, []
            if self._cache is not None:
                self._cache.record(entries)

    def planned(self, cases: Iterable[tuple[int, _Case]]) -> list[int]:
        """Return the numbers of cases in the order to run them."""
        return ordered([(number, case.program) for number, case in cases], self._costs)

    @property
    def workers(self) -> Workers:
        """The workers."""
        return self._workers

    def _toolchain(self, language: str) -> "_Known":
        known = self._toolchains.get(language)
        if known is None:
            known = self._toolchains[language] = self._look(language)
        return known

    def _look(self, language: str) -> "_Known":
        try:
            found = self._opens.find(language)
        except SandboxError as e:  # a language that nothing runs anywhere
            return _Known(missing=str(e))
        if not found.version:
            return _Known(missing=f"{found.missing} ({found.install})" if found.install else found.missing)
        return _Known(version=found.version, identity=self._opens.identity(language))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A toolchain as the controller knows it: its version, what decides what it does, or why there is none."""

    version: str = ""
    identity: str = ""
    missing: str = ""


class _Stream:
    """One call of `Controller.run`."""

    def __init__(self, controller: Controller, programs: Iterable[Program]) -> None:
        self._controller = controller
        self._workers = controller.workers
        self._source = iter(programs)
        self._exhausted = False
        self._window: deque[_Case] = deque()
        self._by_key: dict[bytes, _Case] = {}
        self._bytes = 0
        self._limit = _WINDOW + _PER_WORKER * len(self._workers.all)
        self._open: dict[int, _Case] = {}  # without a verdict, by number
        self._count = 0
        self._waiting: deque[int] = deque()
        self._suspects: deque[int] = deque()

    def verdicts(self) -> Iterator[Verdict]:
        """Yield the verdicts in order."""
        while True:
            self._fill()
            while self._window and (verdict := self._window[0].verdict) is not None:
                self._leave(self._window.popleft())
                yield verdict
                if len(self._waiting) <= _AHEAD - _CHUNK:  # keep the workers supplied while the caller takes its time
                    self._fill()
                    self._dispatch()
            if not self._window:
                if self._exhausted:
                    return
                continue
            self._dispatch()
            for worker in self._workers.wait():
                self._hear(worker)

    def _fill(self) -> None:
        """Take programs while there is room, as many as keep the workers busy; a whole chunk, since planning costs."""
        if self._waiting and self._limit - len(self._window) < _CHUNK:
            return
        while not self._exhausted and len(self._waiting) < _AHEAD and self._has_room():
            new: list[_Case] = []
            while len(new) < _CHUNK and self._has_room():
                program = next(self._source, None)
                if program is None:
                    self._exhausted = True
                    break
                case = self._controller.case(program)
                twin = self._by_key.get(case.key)
                self._window.append(twin or case)
                if twin is None:
                    self._by_key[case.key] = case
                    self._bytes += case.size
                    new.append(case)
            self._controller.remember(new)
            for case in new:
                if case.verdict is None:
                    self._open[self._count] = case
                    self._waiting.append(self._count)
                    self._count += 1
                else:
                    self._bytes += _verdict_size(case.verdict)
            self._waiting = deque(self._controller.planned((n, self._open[n]) for n in self._waiting))

    def _has_room(self) -> bool:
        return len(self._window) < self._limit and (self._bytes < _WINDOW_BYTES or not self._window)

    def _leave(self, case: _Case) -> None:
        """Forget a case whose verdict is yielded. Equal ones behind it hold it themselves."""
        if self._by_key.pop(case.key, None) is not None:
            self._bytes -= case.size + _verdict_size(case.verdict)

    def _dispatch(self) -> None:
        busy = self._workers.busy()
        if any(self._open[number].alone for worker in busy for number in worker.batch):
            return
        if not self._waiting and not busy and self._suspects:
            number = self._suspects.popleft()
            self._send(self._workers.all[0], [number])
            return
        for worker in self._workers.idle():
            if not self._waiting:
                return
            size = min(_BATCH, math.ceil(len(self._waiting) / (2 * len(self._workers.all))))
            self._send(worker, [self._waiting.popleft() for _ in range(size)])

    def _send(self, worker: Worker, numbers: list[int]) -> None:
        cases = [self._open[number] for number in numbers]
        judges = {case.judge: case.program.judge for case in cases if case.program.judge is not None}
        bare = [
            (number, replace(case.program, judge=None) if case.judge else case.program, case.judge)
            for number, case in zip(numbers, cases, strict=True)
        ]
        worker.send(bare, judges, 120 + sum(_longest(case.program.limits) for case in cases))

    def _hear(self, worker: Worker) -> None:
        """Take a worker's news, or find out that it has died or hangs."""
        if not worker.connection.poll():
            self._broken(worker, "a worker did not answer in time and was ended")
            return
        news = worker.hear()
        if news is None:
            self._broken(worker, "")
            return
        for number, verdict in news.verdicts:
            self._found(number, verdict)
        if not news.done:
            return
        rest, worker.batch = worker.batch, []
        if news.broken is not None:
            number, why = news.broken
            rest.remove(number)
            self._suspect(number, why)
        self._waiting.extendleft(reversed(rest))

    def _broken(self, worker: Worker, why: str) -> None:
        """Clear up after a worker: the program it was at is a suspect, the others have not been begun."""
        rest = list(worker.batch)
        died_of = worker.kill(grace_s=1.0)
        if died_of.startswith(
            "exit code"
        ):  # no program can make it end like that: it did not start, or is ours to mend
            raise SandboxError(
                f"a worker process ended by itself ({died_of}); what it printed says why. A script that runs programs"
                ' has to do so under `if __name__ == "__main__":`, since workers import it'
            )
        if rest:
            self._suspect(rest[0], why or f"a worker died ({died_of or 'of nothing that it told'})")
        self._waiting.extendleft(reversed(rest[1:]))

    def _suspect(self, number: int, why: str) -> None:
        case = self._open[number]
        case.breaks.append(why)
        if len(case.breaks) > 1:
            first = next((text for text in case.program.files[0][1].splitlines() if text.strip()), "")
            raise SandboxError(
                f"the sandbox broke twice over one {case.program.language} program, the second time with nothing else"
                f" running: {why}. The program begins with {first[:80]!r}"
            )
        case.alone = True
        self._suspects.append(number)

    def _found(self, number: int, verdict: Verdict) -> None:
        case = self._open[number]
        if verdict.outcome in _TIMEOUTS and not case.alone:
            case.alone = True
            self._suspects.append(number)
            return
        del self._open[number]
        case.verdict = verdict
        self._bytes += _verdict_size(verdict)
        self._controller.keep(case)


def _check(program: Program) -> None:
    """Refuse what would be judged by less than its caller thinks.

    Raises:
        SandboxError: it is that.
    """
    if program.language != "python" and (program.tests or program.judge is not None):
        raise SandboxError(
            f"a {program.language} program has its tests in its own files; `tests` and `judge` are for Python"
        )
    if program.compare not in ("exact", "tokens"):
        raise SandboxError(f"outputs are compared as `exact` or `tokens`, not as {program.compare!r}")
    if not program.files:
        raise SandboxError("a program has at least one file")


def _longest(limits: Limits) -> float:
    """Return how long at most a program keeps its worker, compilation and judge included."""
    return 2 * (_wire.wall_s(limits) + 3 * limits.cpu_s) + 600


def _size(program: Program) -> int:
    texts = (program.tests, program.stdin, program.expected_stdout or "", *(text for _, text in program.files))
    return 1000 + sum(map(len, texts))


def _verdict_size(verdict: Verdict | None) -> int:
    return 500 + len(verdict.stdout) + len(verdict.stderr) if verdict is not None else 0
