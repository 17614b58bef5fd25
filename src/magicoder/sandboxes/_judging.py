"""One program at a time, from source to verdict: compile it, run it or talk to it, and say what came of it.

Trusted code. What a judge expects stays here; only arguments go into a cell, only plain data come out.
"""

import contextlib
import resource
import signal
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol, runtime_checkable

from magicoder.errors import SandboxError
from magicoder.records import Judge, Limits, Outcome, Program, Verdict
from magicoder.sandboxes import _compilers, _outcomes, _plan, _toolchains, _values, _values_inside
from magicoder.sandboxes._plain import BadValue
from magicoder.sandboxes._toolchains import Found, Job
from magicoder.sandboxes._values import Raised
from magicoder.sandboxes._wire import Ended, Report, Request

CODEC: Final = Path(_values_inside.__file__).read_text(encoding="utf-8")
"""What a cell's interpreters use to write answers down."""

_KEPT_COMPILATIONS: Final = 8
_KEPT_BYTES: Final = 64 << 20
_FEW: Final = 2
_AHEAD_BYTES: Final = 32 << 10  # fits into a socket that nobody reads from yet
_JUDGE_CPU_S: Final = 30.0
_JUDGE_MEMORY: Final = 3 << 30  # what the largest answer takes, and room: `list(range(10**9))` is 36 GB of ours


class Talks(Protocol):
    """`_cell.Conversation`, or one in a container."""

    @property
    def report(self) -> Report: ...

    def call(self, args: bytes) -> bytes: ...


@runtime_checkable
class TalksAhead(Protocol):
    """What a conversation has to which calls can be handed in before their answers are wanted."""

    def hand_in(self, calls: Sequence[bytes]) -> None: ...

    def take(self) -> bytes: ...


class Serves(_compilers.Asks, Protocol):
    """`_cell.Service`."""

    def close(self) -> None: ...


class Runs(Protocol):
    """`_cell.Cell`, or one in a container."""

    def run(self, request: Request) -> Report: ...

    def converse(self, request: Request) -> AbstractContextManager[Talks]: ...

    def serve(
        self,
        argv: tuple[str, ...],
        environment: tuple[tuple[str, str], ...] = (),
        files: tuple[tuple[str, bytes], ...] = (),
        limits: Limits | None = None,
    ) -> Serves: ...


class Opens(Protocol):
    """Where cells come from; travels to the workers."""

    def open(self, languages: Sequence[str], cpu: int) -> AbstractContextManager[Runs]:
        """Make a cell in which programs of all these languages run. Raises SandboxError."""
        ...

    def find(self, language: str) -> Found:
        """Return the toolchain of `language` as it is where the cells are."""
        ...

    def identity(self, language: str) -> str:
        """Return all that decides what its programs do there: the version, and for Python what can be imported."""
        ...

    def serves(self) -> bool:
        """Whether `Runs.serve` works there."""
        ...


class CandidateError(Exception):
    """The judged function raised; `kind` is the class's name."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind
        self.message = message


class _Over(BaseException):
    """There will be no more answers. No judge catches this by mistake, and if it does, it is remembered anyway."""


class Bench:
    """A cell with what belongs to it, where programs are judged one after another. Used by one thread, the main one."""

    def __init__(self, opens: Opens, cpu: int) -> None:
        self._opens = opens
        self._cpu = cpu
        self._stack = ExitStack()
        self._cell: Runs | None = None
        self._languages: set[str] = set()
        self._servers: dict[str, tuple[Serves, int]] = {}
        self._compiled: OrderedDict[Job, tuple[tuple[str, bytes], ...] | Verdict] = OrderedDict()

    def close(self) -> None:
        """End the cell and all that runs in it."""
        self._cell = None
        self._servers.clear()
        self._stack.close()

    def judge(self, program: Program) -> Verdict:
        """Return what comes of `program`.

        Raises:
            SandboxError: the cell or the judge is broken, which says nothing about the program.
        """
        found = self._opens.find(program.language)
        if not found.version:
            return Verdict(outcome=Outcome.TOOLCHAIN_MISSING, detail=f"{found.missing}: {found.install}")
        try:
            return self._python(program, found) if program.language == "python" else self._command(program, found)
        except _Misnamed as e:
            return Verdict(outcome=Outcome.COMPILE_ERROR, detail=_outcomes.line(str(e)), toolchain=found.version)

    def _ready(self, language: str) -> Runs:
        """Return the cell, made again with more in it if `language` is new to it."""
        if self._cell is not None and language in self._languages:
            return self._cell
        self.close()
        self._languages.add(language)
        self._stack = ExitStack()
        self._cell = self._stack.enter_context(self._opens.open(sorted(self._languages), self._cpu))
        return self._cell

    def _python(self, program: Program, found: Found) -> Verdict:
        # A main file that nobody has named is looked for by nobody.
        lone = len(program.files) == 1 and not program.files[0][0]
        files = () if lone else _job(program, found).files[0 if program.files[0][0] else 1 :]
        source = program.files[0][1]
        request = Request(
            files=files,
            source=source,
            tests=program.tests,
            tier=_plan.tier(source, program.tests),
            entry_point="" if program.judge is None else program.judge.entry_point,
            stdin=program.stdin.encode("utf-8", "surrogatepass"),
            limits=program.limits,
        )
        cell = self._ready(program.language)
        if program.judge is not None:
            return self._interrogate(cell, program.judge, request, found.version)
        return _outcomes.verdict(program, cell.run(request), found.version)

    # Functions that a judge calls

    def _interrogate(self, cell: Runs, judge: Judge, request: Request, toolchain: str) -> Verdict:
        with cell.converse(request) as conversation:
            questions = _Questions(conversation)
            try:
                with _bounded(max(_JUDGE_CPU_S, 3 * request.limits.cpu_s), questions):
                    found = _asked(judge, questions)
            except _TooLong:
                found = _TOO_LONG
        outcome, detail = questions.end or found
        return _outcomes.of(conversation.report, outcome, detail, toolchain)

    # Programs of other languages

    def _command(self, program: Program, found: Found) -> Verdict:
        job = _job(program, found)
        cell = self._ready(program.language)
        made = self._compile(cell, found, job) if job.compile else ()
        if isinstance(made, Verdict):
            return made
        report = cell.run(
            Request(
                argv=job.run,
                files=(*job.files, *made),
                environment=job.environment,
                stdin=program.stdin.encode("utf-8", "surrogatepass"),
                limits=program.limits,
            )
        )
        return _outcomes.verdict(program, report, found.version)

    def _compile(self, cell: Runs, found: Found, job: Job) -> tuple[tuple[str, bytes], ...] | Verdict:
        """Return what the compiler makes of a program, or what it has against it. The last few are remembered."""
        known = self._compiled.pop(job, None)
        if known is None:
            known = self._compile_warm(cell, found, job)
        if known is None:
            known = self._compile_cold(cell, found, job)
        if isinstance(known, Verdict) and known.outcome is not Outcome.COMPILE_ERROR:
            return known  # to be tried again, with nothing beside it
        self._compiled[job] = known
        while len(self._compiled) > _KEPT_COMPILATIONS or self._weight() > _KEPT_BYTES:
            self._compiled.popitem(last=False)
        return known

    def _weight(self) -> int:
        return sum(len(data) for files in self._compiled.values() if isinstance(files, tuple) for _, data in files)

    def _compile_warm(self, cell: Runs, found: Found, job: Job) -> tuple[tuple[str, bytes], ...] | Verdict | None:
        if not found.toolchain.warm or not self._opens.serves():
            return None
        server = _compilers.server(found)
        if server is None:
            return None
        service, programs = self._servers.pop(found.language, (None, 0))
        if service is not None and programs >= server.programs:
            service.close()
            service = None
        if service is None:
            service, programs = cell.serve(server.argv, server.environment, limits=server.limits), 0
        self._servers[found.language] = (service, programs + 1)
        try:
            compiled = _compilers.ask(service, job)
        except Ended:
            return None
        if compiled is None:
            return None
        return compiled.files if compiled.ok else _refused(compiled.said, found.version)

    def _compile_cold(self, cell: Runs, found: Found, job: Job) -> tuple[tuple[str, bytes], ...] | Verdict:
        job = _compilers.begun(found, job) if self._opens.serves() else job
        limits = Limits(
            cpu_s=found.toolchain.compile_cpu_s,
            memory_mb=found.toolchain.compile_memory_mb,
            processes=256,
            output_kb=65536,
            tmp_mb=512,
        )
        report = cell.run(
            Request(argv=job.compile, files=job.files, environment=job.environment, collect=job.makes, limits=limits)
        )
        if report.exit_code == 0 and not _outcomes.ended(report):
            return report.files
        said = "\n".join(part.decode("utf-8", "replace") for part in (report.stderr, report.stdout) if part)
        outcome, detail = _outcomes.ended(report) or (Outcome.COMPILE_ERROR, "")
        if outcome is Outcome.COMPILE_ERROR:
            return _refused(said, found.version)
        return Verdict(
            outcome=outcome,
            detail=_outcomes.line(f"while compiling: {detail}"),
            stderr=said[:65536],
            toolchain=found.version,
        )


class _Misnamed(Exception):  # noqa: N818 - what the program's files are
    """A program's files have names that they cannot have."""


def _job(program: Program, found: Found) -> Job:
    try:
        return _toolchains.job(found, program.files, program.limits)
    except ValueError as e:
        raise _Misnamed(str(e)) from None


class _Questions:
    """What a judge calls. `end` is why there are no more answers, whatever the judge makes of it."""

    def __init__(self, conversation: Talks) -> None:
        self._conversation = conversation
        # Asked once: what a class has is looked up name by name for a protocol.
        self._early = conversation if isinstance(conversation, TalksAhead) else None
        self._ahead: deque[str] = deque()
        self.asked = 0
        self.end: tuple[Outcome, str] | None = None

    def ahead(self, calls: Sequence[Sequence[Any]]) -> None:
        """Hand in the arguments of calls that the judge is certain to make next: nobody then waits for each of them.

        A hint: where it does not help (a container), or is wrong, calls are made one by one.
        """
        if self._early is None or len(calls) < _FEW:
            return
        requests = [_values.request(arguments, {}) for arguments in calls]
        if sum(map(len, requests)) <= _AHEAD_BYTES:
            self._early.hand_in(requests)
            self._ahead.extend(repr(tuple(arguments)) for arguments in calls)

    def _reply(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bytes:
        if self._ahead:
            assert self._early is not None
            if not keywords and repr(arguments) == self._ahead.popleft():
                return self._early.take()
            self._early.take()
            while self._ahead:
                self._ahead.popleft()
                self._early.take()
        return self._conversation.call(_values.request(arguments, keywords))

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if self.end is not None:
            raise _Over
        self.asked += 1
        try:
            answer = _values.reply(self._reply(arguments, keywords))
        except Ended as e:
            self.end = _outcomes.ended(e.report) or (Outcome.EXITED_EARLY, "ended instead of answering")
            raise _Over from None
        except BadValue as e:
            self.end = (Outcome.OUTPUT_LIMIT if e.too_large else Outcome.WRONG_ANSWER, str(e))
            raise _Over from None
        if isinstance(answer, Raised):
            raise CandidateError(answer.kind, answer.message)
        return answer


def _asked(judge: Judge, questions: _Questions) -> tuple[Outcome, str]:
    """Let `judge` ask, and return what it found."""
    try:
        judge(questions)
    except AssertionError as e:
        return Outcome.WRONG_ANSWER, str(e) or "an assertion failed"
    except CandidateError as e:
        special = {"MemoryError": Outcome.OUT_OF_MEMORY, "SystemExit": Outcome.EXITED_EARLY}
        return special.get(e.kind, Outcome.EXCEPTION), str(e)
    except _Over:
        assert questions.end is not None
        return questions.end
    except Exception as e:
        if not questions.asked:
            raise SandboxError(f"the judge {type(judge).__qualname__} is broken: {type(e).__name__}: {e}") from e
        # An answer of another type than expected: the test's own line fails on it, as it would in one process.
        return Outcome.WRONG_ANSWER, f"the test fails on its answer: {type(e).__name__}: {e}"
    if not questions.asked:
        raise SandboxError(f"the judge {type(judge).__qualname__} asks nothing, which proves nothing")
    return Outcome.PASSED, ""


class _TooLong(BaseException):
    """A judge has been at it for longer than any honest answer takes."""


_TOO_LONG: Final = (Outcome.CPU_TIMEOUT, "its answers take too long to compare")


@contextlib.contextmanager
def _bounded(cpu_s: float, questions: _Questions) -> Iterator[None]:
    """Bound our own time and memory while an answer that may be hostile is looked at."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        questions.end = _TOO_LONG  # whatever the judge makes of the exception
        raise _TooLong

    before = signal.signal(signal.SIGPROF, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = _JUDGE_MEMORY if hard == resource.RLIM_INFINITY else min(_JUDGE_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
    # Again and again, in case a judge catches everything.
    signal.setitimer(signal.ITIMER_PROF, cpu_s, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _refused(said: str, toolchain: str) -> Verdict:
    """Return the verdict on a program that its compiler refuses."""
    lines = [stripped for part in said.splitlines() if (stripped := part.strip())]
    first = next((part for part in lines if "error" in part.lower()), lines[0] if lines else "does not compile")
    return Verdict(
        outcome=Outcome.COMPILE_ERROR, detail=_outcomes.line(first), stderr=said[:65536], toolchain=toolchain
    )
