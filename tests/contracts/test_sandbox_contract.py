"""What every module in `sandboxes/` promises. A new one fails here until `BUILDERS` can make it."""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from magicoder import plugins
from magicoder.errors import SandboxError
from magicoder.fingerprint import digest
from magicoder.languages import all_languages, get
from magicoder.protocols import Runner
from magicoder.records import Limits, Outcome, Program
from magicoder.sandboxes._plain import Opaque


def cells(plugin: Any) -> Any:
    return plugin()


def container(plugin: Any) -> Any:
    image = os.environ.get("MAGICODER_TEST_IMAGE", "")
    if not image:
        pytest.skip(
            "no image to test containers with: set MAGICODER_TEST_IMAGE; test_container.py imitates the command"
        )
    return plugin(image=image)


BUILDERS: dict[str, Callable[[Any], Any]] = {"cells": cells, "container": container}
NAMES = plugins.names("sandboxes")
RUNNABLE = [language.name for language in all_languages() if language.toolchain is not None]
SHORT = Limits(cpu_s=0.5, wall_s=30)


@pytest.fixture(scope="module", params=NAMES)
def sandbox(request: pytest.FixtureRequest) -> Any:
    assert request.param in BUILDERS, f"sandboxes/{request.param}.py is new: give it a builder here"
    return BUILDERS[request.param](plugins.load("sandboxes", request.param))


@pytest.fixture(scope="module")
def runner(sandbox: Any) -> Iterator[Runner]:
    try:
        opened = sandbox.open(workers=2)
        entered = opened.__enter__()
    except SandboxError as e:
        pytest.skip(f"programs cannot be isolated here: {e}")
    yield entered
    opened.__exit__(None, None, None)


def python(source: str, **settings: Any) -> Program:
    return Program(language="python", files=(("", source),), **settings)


def one(runner: Runner, program: Program) -> Any:
    (verdict,) = runner.run([program])
    return verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubles:
    entry_point: str = "f"

    def __call__(self, call: Callable[..., Any]) -> None:
        for x in (1, "a", [2.5], (None,)):
            answer = call(x)
            assert answer == x + x if not isinstance(x, tuple) else answer == (None, None), f"f({x!r}) is {answer!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class IsOpaque:
    entry_point: str = "f"

    def __call__(self, call: Callable[..., Any]) -> None:
        assert isinstance(call(1), Opaque)


def asked(line: str, **settings: Any) -> Program:
    return python(f"def f(x):\n    {line}", judge=Doubles(), **settings)


def test_it_is_a_frozen_dataclass_with_a_summary(sandbox: Any) -> None:
    assert is_dataclass(sandbox)
    with pytest.raises((FrozenInstanceError, AttributeError)):
        setattr(sandbox, fields(sandbox)[0].name, "changed")
    assert not hasattr(sandbox, "__dict__")
    assert digest(sandbox) == digest(replace(sandbox))
    assert plugins.summary("sandboxes", type(sandbox).__module__.rpartition(".")[2]).endswith(".")


def test_it_says_how_programs_are_kept_apart(runner: Runner) -> None:
    assert runner.isolation
    assert "\n" not in runner.isolation


@pytest.mark.parametrize("language", RUNNABLE)
def test_every_language_says_hello(runner: Runner, language: str) -> None:
    toolchain = get(language).toolchain
    assert toolchain is not None
    hello = Program(language=language, files=(("", toolchain.hello),), expected_stdout="hello\n", compare="exact")
    verdict = one(runner, hello)
    if not runner.toolchain(language):
        assert verdict.outcome is Outcome.TOOLCHAIN_MISSING
        assert toolchain.install in verdict.detail
        pytest.skip(f"{verdict.detail}")
    assert verdict.outcome is Outcome.PASSED, verdict
    assert verdict.toolchain == runner.toolchain(language)
    wrong = one(runner, replace(hello, expected_stdout="good bye\n"))
    assert wrong.outcome is Outcome.WRONG_ANSWER, wrong
    if toolchain.compile:
        broken = one(runner, replace(hello, files=(("", f"{toolchain.hello}\n)(]["),)))
        assert broken.outcome is Outcome.COMPILE_ERROR, broken
        assert broken.detail


CHAMELEON = """
class C(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def f(x): return C(1)
"""
FILLS = python("x = []\nwhile True: x.append(bytes(1 << 20))", limits=Limits(memory_mb=200))
EXACT = python("print(0.1 + 0.2)", expected_stdout="0.3\n", compare="exact")

# What a program does, how it ends, and what the detail says of it.
ENDS: dict[str, tuple[Program, Outcome, str]] = {
    "passes": (python("x = 1", tests="assert x == 1"), Outcome.PASSED, ""),
    "prints": (python("print(input()[::-1])", stdin="abc\n", expected_stdout="cba"), Outcome.PASSED, ""),
    "prints something else": (python("print(1)", expected_stdout="2"), Outcome.WRONG_ANSWER, "'1'"),
    "prints nearly": (python("print(0.1 + 0.2)", expected_stdout="0.3"), Outcome.PASSED, ""),
    "prints nearly, exactly": (EXACT, Outcome.WRONG_ANSWER, "0.3"),
    "fails its tests": (python("x = 1", tests="assert x == 2, 'no two'"), Outcome.WRONG_ANSWER, "no two"),
    "raises": (python("raise KeyError('a')"), Outcome.EXCEPTION, "KeyError: 'a'"),
    "raises in its tests": (python("x = 1", tests="y + 1"), Outcome.EXCEPTION, "NameError"),
    "does not parse": (python("def f(:"), Outcome.COMPILE_ERROR, "SyntaxError"),
    "spins": (python("while True: pass", limits=SHORT), Outcome.CPU_TIMEOUT, "processor time"),
    "sleeps": (python("import time; time.sleep(60)", limits=Limits(wall_s=0.5)), Outcome.WALL_TIMEOUT, ""),
    "fills memory": (FILLS, Outcome.OUT_OF_MEMORY, ""),
    "asks for much memory": (python("x = bytearray(10 << 30)"), Outcome.OUT_OF_MEMORY, ""),
    "crashes": (python("import os; os.abort()"), Outcome.CRASHED, "SIGABRT"),
    "floods": (python("while True: print('x' * 1000)", limits=Limits(output_kb=64)), Outcome.OUTPUT_LIMIT, ""),
    "leaves": (python("import sys; sys.exit(0)", tests="assert False"), Outcome.EXITED_EARLY, ""),
    "leaves hard": (python("import os; os._exit(0)", tests="assert False"), Outcome.EXITED_EARLY, ""),
    "leaves by its tests": (python("def f(): raise SystemExit", tests="f()"), Outcome.EXITED_EARLY, ""),
    "leaves with a number": (python("import sys; sys.exit(3)"), Outcome.EXCEPTION, "3"),
    "is named outside": (Program(language="python", files=(("../x.py", ""),)), Outcome.COMPILE_ERROR, "folder"),
    "answers": (asked("return x + x"), Outcome.PASSED, ""),
    "answers wrongly": (asked("return x"), Outcome.WRONG_ANSWER, "f(1) is 1"),
    "answers with an exception": (asked("raise ValueError(x)"), Outcome.EXCEPTION, "ValueError: 1"),
    "answers with a generator": (python("def f(x): yield x", judge=IsOpaque()), Outcome.PASSED, ""),
    "answers with a chameleon": (python(CHAMELEON, judge=Doubles()), Outcome.WRONG_ANSWER, "Opaque"),
    "answers with too much": (asked("return 1 << (1 << 24)"), Outcome.OUTPUT_LIMIT, "bits"),
    "has no such function": (python("def g(x): return x", judge=Doubles()), Outcome.EXCEPTION, "f"),
    "does not parse, asked": (asked("return ("), Outcome.COMPILE_ERROR, "SyntaxError"),
    "spins, asked": (asked("while True: pass", limits=SHORT), Outcome.CPU_TIMEOUT, ""),
    "leaves, asked": (asked("import os; os._exit(0)"), Outcome.EXITED_EARLY, ""),
    "kills itself, asked": (asked("import os; os.kill(os.getpid(), 9)"), Outcome.CRASHED, "SIGKILL"),
}


@pytest.mark.parametrize("what", ENDS)
def test_each_end_has_its_outcome(runner: Runner, what: str) -> None:
    program, outcome, detail = ENDS[what]
    verdict = one(runner, program)
    assert verdict.outcome is outcome, verdict
    assert detail in verdict.detail


def test_a_verdict_has_figures(runner: Runner) -> None:
    verdict = one(runner, python("import sys\nx = sum(range(10**6))\nprint('out')\nprint('err', file=sys.stderr)"))
    assert (verdict.stdout, verdict.stderr, verdict.exit_code) == ("out\n", "err\n", 0)
    assert 0.001 < verdict.cpu_s < 10
    assert verdict.wall_s > 0.001
    assert "3." in verdict.toolchain


def test_verdicts_come_in_order(runner: Runner) -> None:
    programs = [python(f"import time; time.sleep({0.2 * (i % 50 == 0)}); print({i})") for i in range(150)]
    assert [v.stdout.strip() for v in runner.run(programs)] == list(map(str, range(150)))


def test_the_same_program_gets_the_same_verdict_a_hundred_times(runner: Runner) -> None:
    def versions(source: str, **settings: Any) -> list[Program]:
        return [python(f"{source}\n# {i}", **settings) for i in range(100)]

    programs = [
        *versions("x = {3, 1}", tests="assert x == {1, 3}"),
        *versions("print({'b', 'a', 'c'})"),
        *versions("def f(x): return x + x", judge=Doubles()),
        *versions("import os; os._exit(0)", tests="assert True"),
    ]
    outcomes = list(runner.run(programs))
    assert Counter(v.outcome for v in outcomes) == {Outcome.PASSED: 300, Outcome.EXITED_EARLY: 100}
    assert len({v.stdout for v in outcomes[100:200]}) == 1


def test_programs_do_not_meet(runner: Runner) -> None:
    leaves = python("open('a', 'w').write('x'); open('/tmp/a', 'w').write('x'); import builtins; builtins.a = 1")
    looks = "import os, builtins\nassert not hasattr(builtins, 'a')\nassert not os.listdir('.')"
    looks += "\nassert not os.path.exists('/tmp/a')"
    programs = [program for i in range(20) for program in (leaves, python(f"{looks}\n# {i}"))]
    assert {v.outcome for v in runner.run(programs)} == {Outcome.PASSED}


def test_closing_ends_what_is_running(runner: Runner) -> None:
    verdicts: Any = runner.run(
        [
            python("print(1)"),
            *(python(f"import time; time.sleep({100 + i})", limits=Limits(wall_s=200)) for i in range(4)),
        ]
    )
    assert next(verdicts).stdout == "1\n"
    begun = time.monotonic()
    verdicts.close()
    assert one(runner, python("print(2)")).stdout == "2\n"
    assert time.monotonic() - begun < 60
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=False).stdout
    assert "time.sleep(10" not in listed


def test_loops_do_not_make_a_fair_program_time_out(runner: Runner) -> None:
    loops = [python(f"while True: pass  # {i}", limits=Limits(cpu_s=0.2)) for i in range(8)]
    fair = python("x = sum(range(10**5))", tests="assert x", limits=Limits(cpu_s=1.0))
    *timeouts, verdict = runner.run([*loops, fair])
    assert {v.outcome for v in timeouts} == {Outcome.CPU_TIMEOUT}
    assert verdict.outcome is Outcome.PASSED


def test_the_cache_spares_running(sandbox: Any, runner: Runner, tmp_path: Path) -> None:
    program = python("import os; print(os.urandom(8).hex())")
    with sandbox.open(workers=1, cache=tmp_path / "verdicts") as first:
        once = one(first, program)
    with sandbox.open(workers=1, cache=tmp_path / "verdicts") as second:
        assert one(second, program) == once
        assert one(second, python("import os; print(os.urandom(8).hex()) # ")) != once
