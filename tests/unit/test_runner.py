"""What stands around the cells: order, bounds, equal programs, timeouts, deaths, the cache, judges."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from magicoder.errors import SandboxError
from magicoder.records import Limits, Outcome, Program
from magicoder.sandboxes._judging import Bench, CandidateError
from magicoder.sandboxes._plain import Opaque
from magicoder.sandboxes._runner import Controller
from magicoder.sandboxes._verdicts import Verdicts
from magicoder.sandboxes._workers import Workers
from tests.fake_cells import FakeJails


def program(source: str, **fields: Any) -> Program:
    return Program(language="python", files=(("", source),), **fields)


@contextmanager
def opened(
    workers: int = 2, cache: Path | None = None, *, again: bool = False, level: str = "fake"
) -> Iterator[Controller]:
    with ExitStack() as stack:
        verdicts = None if cache is None else stack.enter_context(Verdicts.open(cache))
        jails = FakeJails()
        processes = Workers(jails, workers)
        stack.callback(processes.close)
        yield Controller(jails, processes, verdicts, "fake", level, again=again)


@pytest.fixture(scope="module")
def runner() -> Iterator[Controller]:
    with opened() as controller:
        yield controller


def alive(runner: Controller) -> list[int]:
    return [w._process.pid for w in runner.workers.all if w._process is not None and w._process.pid is not None]


def test_verdicts_come_in_order_whatever_finishes_first(runner: Controller) -> None:
    programs = [
        program("sleep 0.1"),
        *(program(f"say {i}") for i in range(100)),
        program("sleep 0.05"),
        program("say x"),
    ]
    verdicts = list(runner.run(programs))
    assert [v.outcome for v in verdicts] == [Outcome.PASSED] * 103
    assert [v.stdout for v in verdicts] == ["", *map(str, range(100)), "", "x"]


def test_no_programs_no_verdicts(runner: Controller) -> None:
    assert list(runner.run([])) == []


def test_a_long_stream_is_pulled_a_bounded_number_ahead(runner: Controller) -> None:
    pulled = 0

    def stream() -> Iterator[Program]:
        nonlocal pulled
        for pulled in range(1, 5001):
            yield program(f"say {pulled}")

    most = 0
    for count, verdict in enumerate(runner.run(stream()), 1):
        assert verdict.stdout == str(count)
        most = max(most, pulled - count)
    assert count == 5000
    assert most < 1000


def test_large_programs_are_pulled_fewer_ahead(runner: Controller) -> None:
    pulled = itertools.count()
    programs = (program(f"say {next(pulled)}\n" + "#" * 4_000_000) for _ in range(60))
    verdicts = runner.run(programs)
    assert next(verdicts).stdout == "0"
    assert next(pulled) < 30
    verdicts.close()


def test_equal_programs_run_once(runner: Controller, tmp_path: Path) -> None:
    file = tmp_path / "count"
    again = [program(f"count {file}", group=str(i % 3)) for i in range(2000)]
    assert {v.outcome for v in runner.run(again)} == {Outcome.PASSED}
    assert {v.outcome for v in runner.run(again)} == {Outcome.PASSED}
    assert file.read_bytes() == b"."
    other = [program(f"count {file}", limits=Limits(cpu_s=11))]  # another program, as far as anybody can tell
    list(runner.run(other))
    assert file.read_bytes() == b".."


def test_closing_ends_what_is_running_and_the_runner_goes_on(runner: Controller) -> None:
    list(runner.run([program("say 1"), program("say 2")]))
    verdicts = runner.run([program("say first"), *(program(f"sleep {60 + i}") for i in range(6))])
    assert next(verdicts).stdout == "first"
    start = time.monotonic()
    verdicts.close()
    assert next(runner.run([program("say next")])).stdout == "next"
    assert time.monotonic() - start < 20


def test_one_run_at_a_time(runner: Controller) -> None:
    verdicts = runner.run([program("say a"), program("say b")])
    next(verdicts)
    with pytest.raises(SandboxError, match="at work"):
        next(runner.run([program("say c")]))
    verdicts.close()


def test_an_error_of_the_source_passes_through(runner: Controller) -> None:
    def stream() -> Iterator[Program]:
        yield program("say a")
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        list(runner.run(stream()))
    assert next(runner.run([program("say b")])).stdout == "b"


@pytest.mark.parametrize(
    ("source", "outcome", "detail"),
    [
        ("cpu", Outcome.CPU_TIMEOUT, "processor time"),
        ("wall", Outcome.WALL_TIMEOUT, "not finished"),
        ("oom", Outcome.OUT_OF_MEMORY, "memory"),
        ("crash 11", Outcome.CRASHED, "SIGSEGV"),
        ("flood", Outcome.OUTPUT_LIMIT, "more than"),
        ("syntax", Outcome.COMPILE_ERROR, "SyntaxError"),
        ("assert", Outcome.WRONG_ANSWER, "1 != 2"),
        ("raise KeyError: 'a'", Outcome.EXCEPTION, "KeyError: 'a'"),
        ("exit", Outcome.EXITED_EARLY, "exit"),
        ("quiet-exit", Outcome.EXITED_EARLY, "before the end"),
        ("leave 3", Outcome.EXCEPTION, "last"),
        ("say", Outcome.PASSED, ""),
    ],
)
def test_each_end_has_its_outcome(runner: Controller, source: str, outcome: Outcome, detail: str) -> None:
    verdict = next(runner.run([program(source, tests="assert True")]))
    assert verdict.outcome is outcome
    assert detail in verdict.detail
    assert verdict.toolchain.startswith("python3 3.")


def test_a_missing_toolchain_says_how_to_get_it(runner: Controller) -> None:
    missing = Program(language="rust", files=(("", "x"),))
    verdict, other = runner.run([missing, program("say a")])
    assert verdict.outcome is Outcome.TOOLCHAIN_MISSING
    assert "cobc" in verdict.detail
    assert other.outcome is Outcome.PASSED
    assert runner.toolchain("rust") == ""


def test_a_language_that_nothing_runs_stops_nobody(runner: Controller) -> None:
    nowhere = Program(language="nowhere", files=(("", "x"),))
    verdict, other = runner.run([nowhere, program("say a")])
    assert (verdict.outcome, verdict.detail) == (Outcome.TOOLCHAIN_MISSING, "nothing runs nowhere")
    assert other.outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("mistaken", "why"),
    [
        (Program(language="ruby", files=(("", "x"),), tests="assert 0"), "ruby.*for Python"),
        (program("x", compare="loosely"), "loosely"),
        (Program(language="python", files=()), "one file"),
    ],
)
def test_what_would_be_judged_by_less_than_meant_is_refused(runner: Controller, mistaken: Program, why: str) -> None:
    with pytest.raises(SandboxError, match=why):
        next(runner.run([mistaken]))


def test_a_timeout_is_only_final_when_it_happens_alone(runner: Controller, tmp_path: Path) -> None:
    programs = [program(f"slow {tmp_path / 'a'}"), *(program(f"say {i}") for i in range(200)), program("wall")]
    outcomes = Counter(v.outcome for v in runner.run(programs))
    assert outcomes == {Outcome.PASSED: 201, Outcome.WALL_TIMEOUT: 1}


def test_a_worker_that_dies_once_is_no_ones_fault(runner: Controller, tmp_path: Path) -> None:
    programs = [program(f"say {i}") for i in range(20)] + [program(f"kill {tmp_path / 'a'}")]
    programs += [program(f"say {i}") for i in range(20, 40)] + [program(f"break {tmp_path / 'b'}")]
    assert {v.outcome for v in runner.run(programs)} == {Outcome.PASSED}


@pytest.mark.parametrize(("source", "why"), [("kill", "SIGKILL"), ("break", "walls")])
def test_what_breaks_the_sandbox_twice_is_an_error_and_no_verdict(runner: Controller, source: str, why: str) -> None:
    with pytest.raises(SandboxError, match=f"twice.*{why}"):
        list(runner.run([program("say a"), program(source), program("say b")]))
    assert next(runner.run([program("say c")])).stdout == "c"


def test_an_idle_worker_that_was_killed_is_replaced(runner: Controller) -> None:
    list(runner.run([program(f"say {i}") for i in range(64)]))
    for pid in alive(runner):
        os.kill(pid, signal.SIGKILL)
    assert len(list(runner.run([program(f"say again {i}") for i in range(64)]))) == 64


def test_the_process_that_workers_come_from_is_replaced_with_them(runner: Controller) -> None:
    list(runner.run([program(f"say before {i}") for i in range(64)]))
    first, nursery = alive(runner), runner.workers._nursery._process
    assert nursery is not None
    nursery.kill()
    nursery.wait()
    assert len(list(runner.run([program(f"say after {i}") for i in range(64)]))) == 64
    assert alive(runner)
    assert not set(first) & set(alive(runner))


def run_script(path: Path, source: str, judge: str) -> "subprocess.CompletedProcess[str]":
    path.write_text(
        "from magicoder.records import Program\nfrom magicoder.sandboxes._runner import Controller\n"
        "from magicoder.sandboxes._workers import Workers\nfrom tests.fake_cells import FakeJails\n"
        f"{judge}\n"
        "workers = Workers(FakeJails(), 1)\n"
        "runner = Controller(FakeJails(), workers, None, 'fake', 'fake', again=False)\n"
        f"program = Program(language='python', files=(('', {source!r}),), judge=judge)\n"
        "try:\n    print(next(runner.run([program])).outcome)\n"
        "finally:\n    workers.close()\n"
    )
    root = Path(__file__).parent.parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(
        [sys.executable, path], check=False, env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_script_without_a_guard_is_told_so_if_workers_have_to_import_it(tmp_path: Path) -> None:
    own = (
        "from dataclasses import dataclass\n@dataclass(frozen=True, slots=True, kw_only=True)\nclass One:\n"
        "    entry_point: str = 'f'\n    def __call__(self, call):\n        assert call(1) == 1\njudge = One()"
    )
    done = run_script(tmp_path / "script.py", "def f(x): return x", own)
    assert done.returncode == 1
    assert "under `if __name__" in done.stderr.splitlines()[-1]


def test_a_script_that_workers_need_nothing_of_needs_no_guard(tmp_path: Path) -> None:
    done = run_script(tmp_path / "script.py", "say a", "judge = None")
    assert (done.returncode, done.stdout) == (0, "passed\n"), done.stderr


def test_ctrl_c_ends_the_run_at_once(runner: Controller) -> None:
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(runner.run([program("sleep 61"), program("sleep 62")]))
    timer.join()
    assert time.monotonic() - start < 20
    assert next(runner.run([program("say c")])).stdout == "c"


def test_nothing_is_left_when_it_is_closed() -> None:
    with opened() as controller:
        list(controller.run([program(f"say {i}") for i in range(64)]))
        pids = alive(controller)
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_what_the_cache_knows_is_not_run(tmp_path: Path) -> None:
    file, cache = tmp_path / "count", tmp_path / "verdicts.db"
    programs = [program(f"count {file}"), program("say a"), program("wall"), program("raise A: b")]
    with opened(cache=cache) as controller:
        first = list(controller.run(programs))
    with opened(cache=cache) as controller:
        assert list(controller.run(programs)) == first
        assert not alive(controller)
    with opened(cache=cache, again=True) as controller:
        assert list(controller.run(programs)) == first
        assert alive(controller)  # for the timeout
    assert file.read_bytes() == b"."
    with opened(cache=cache, level="other") as controller:
        list(controller.run(programs))
    assert file.read_bytes() == b".."


# Judges


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubles:
    """Wants f(x) == 2 x."""

    inputs: tuple[int, ...] = (1, 2, 3)
    entry_point: str = "f"

    def __call__(self, call: Callable[..., Any]) -> None:
        for x in self.inputs:
            answer = call(x)
            assert answer == 2 * x, f"f({x}) is {answer!r}, not {2 * x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lenient:
    """Swallows everything; what ends a program must count nevertheless."""

    entry_point: str = "f"

    def __call__(self, call: Callable[..., Any]) -> None:
        for _ in range(3):
            with suppress(BaseException):
                call(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd:
    """Does what `what` says."""

    what: str
    entry_point: str = "f"

    def __call__(self, call: Callable[..., Any]) -> None:
        if self.what == "asks nothing":
            return
        if self.what == "broken before":
            raise KeyError("mine")
        if self.what == "index":
            assert call(1)[0] == 1
        if self.what == "expects":
            with pytest.raises(CandidateError) as raised:
                call(1)
            assert (raised.value.kind, raised.value.message) == ("ValueError", "no: really")
        if self.what == "opaque":
            assert isinstance(call(1), Opaque)
        if self.what == "unsendable":
            call(lambda: 0)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(FakeJails(), -1)


@pytest.mark.parametrize(
    ("source", "judge", "outcome", "detail"),
    [
        ("def f(x): return 2 * x", Doubles(), Outcome.PASSED, ""),
        ("def f(x): return x", Doubles(), Outcome.WRONG_ANSWER, "f(1) is 1, not 2"),
        ("def f(x): return f", Doubles(), Outcome.WRONG_ANSWER, "Opaque"),
        ("def f(x): raise ValueError('no: really')", Doubles(), Outcome.EXCEPTION, "ValueError: no: really"),
        ("def f(x): raise MemoryError", Doubles(), Outcome.OUT_OF_MEMORY, "MemoryError"),
        ("def f(x): raise SystemExit(0)", Doubles(), Outcome.EXITED_EARLY, "SystemExit"),
        ("def f(x): raise SystemExit('die')", Doubles(), Outcome.EXITED_EARLY, "instead of answering"),
        ("def f(x): raise SystemExit('die')", Lenient(), Outcome.EXITED_EARLY, "instead of answering"),
        ("cpu", Doubles(), Outcome.CPU_TIMEOUT, ""),
        ("cpu", Lenient(), Outcome.CPU_TIMEOUT, ""),
        ("syntax", Doubles(), Outcome.COMPILE_ERROR, "SyntaxError"),
        ("crash", Lenient(), Outcome.PASSED, ""),
        ("def f(x): return b'!forged'", Doubles(), Outcome.WRONG_ANSWER, "unknown tag"),
        ("def f(x): return b'!forged'", Lenient(), Outcome.WRONG_ANSWER, "unknown tag"),
        ("def f(x): return 1 << (1 << 24)", Lenient(), Outcome.OUTPUT_LIMIT, "bits"),
        ("def f(x): return None", Odd(what="index"), Outcome.WRONG_ANSWER, "TypeError"),
        ("def f(x): raise ValueError('no: really')", Odd(what="expects"), Outcome.PASSED, ""),
        ("def f(x): return iter(())", Odd(what="opaque"), Outcome.PASSED, ""),
    ],
)
def test_a_judge_decides(bench: Bench, source: str, judge: Any, outcome: Outcome, detail: str) -> None:
    verdict = bench.judge(program(source, judge=judge))
    assert (verdict.outcome, detail in verdict.detail) == (outcome, True), verdict


@pytest.mark.parametrize("what", ["asks nothing", "broken before"])
def test_a_judge_that_is_broken_judges_nobody(bench: Bench, what: str) -> None:
    with pytest.raises(SandboxError, match="judge"):
        bench.judge(program("def f(x): return 1", judge=Odd(what=what)))


def test_judges_travel_to_workers(runner: Controller) -> None:
    judges = [Doubles(inputs=tuple(range(i, i + 3))) for i in range(20)]
    good = [program(f"def f(x): return 2 * x  # {i}", judge=judges[i % 20], group=str(i % 20)) for i in range(200)]
    bad = [program(f"def f(x): return 2 * x + (x == {i})", judge=judges[i], group=str(i)) for i in range(20)]
    assert Counter(v.outcome for v in runner.run(good + bad)) == {Outcome.PASSED: 200, Outcome.WRONG_ANSWER: 20}
