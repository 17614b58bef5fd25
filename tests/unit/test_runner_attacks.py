# ruff: noqa: E501 - programs in one string each
"""Attacks through the whole runner: false passes of every way to judge, programs that stop it, what it leaves behind."""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from magicoder.benchmarks import _contest_judges
from magicoder.errors import SandboxError
from magicoder.protocols import Runner
from magicoder.records import Limits, Outcome, Program
from magicoder.sandboxes import _java_names, _ladder, _plan, _toolchains
from magicoder.sandboxes.cells import Cells
from magicoder.text import outputs

QUICK = Limits(cpu_s=1, wall_s=30, memory_mb=256, tmp_mb=16)
SOURCE = "def f(x):\n    return x + 1"
TESTS = "assert f(20) == 21"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plus:
    """Asks twice, with a list that is looked at afterwards."""

    entry_point: str = "f"

    def __call__(self, call: Callable[..., Any]) -> None:
        assert call(20) == 21
        given = [3, 1, 2]
        answer = call(given)
        assert given == [3, 1, 2]
        assert sorted(answer) == [1, 2, 3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Takes an answer apart, as tests of generators do."""

    entry_point: str = "f"

    def __call__(self, call: Callable[..., Any]) -> None:
        assert list(call(3)) == [0, 1, 2]


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    try:
        _ladder.choose()
    except SandboxError as e:
        pytest.skip(f"programs cannot be isolated here: {e}")
    with Cells().open(2) as opened:
        yield opened


def python(source: str, **settings: Any) -> Program:
    return Program(language="python", files=(("", source),), limits=settings.pop("limits", QUICK), **settings)


def one(runner: Runner, program: Program) -> Outcome:
    """The outcome of a program, and that an honest one behind it passes."""
    first, honest = runner.run([program, python(f"{SOURCE}  # after {os.urandom(4).hex()}", tests=TESTS)])
    assert honest.outcome is Outcome.PASSED, honest
    return first.outcome


HONEST = "def f(x):\n    return x + 1 if isinstance(x, int) else sorted(x)"
LIES = "import os, struct\ndef f(x):\n    os.write(701, struct.pack('=I', {size}) + {data})\n    os._exit(0)"
CHEATS = {
    "equals everything": "class A:\n    __eq__ = lambda s, o: True\n    __iter__ = lambda s: iter([1, 2, 3])\ndef f(x):\n    return A()",
    "says that it is a number": "class A:\n    __class__ = int\n    __eq__ = lambda s, o: True\n    __index__ = lambda s: 21\ndef f(x):\n    return A()",
    "a number that equals everything": "class A(int):\n    __eq__ = lambda s, o: True\n    __hash__ = int.__hash__\ndef f(x):\n    return A(0)",
    "a class that lies about its equality": (
        "class M(type):\n    def __getattribute__(c, n):\n        return getattr(int, n) if n in ('__eq__', '__ne__') else type.__getattribute__(c, n)\n"
        "class A(int, metaclass=M):\n    def __eq__(s, o):\n        return True\ndef f(x):\n    return A(0)"
    ),
    "how it is pickled runs code": "import os\nclass A:\n    def __reduce__(s):\n        return (os._exit, (0,))\ndef f(x):\n    return A()",
    "has every attribute": "class A:\n    def __getattr__(s, n):\n        return lambda *a: True\ndef f(x):\n    return A()",
    "is longer than it says": LIES.format(size=3, data="b'Vb\\\\x15Vb\\\\x15'"),
    "is shorter than it says": LIES.format(size="0x0fffffff", data="b'Vb\\\\x15'"),
    "is not what it says": LIES.format(size=5, data="b'Vl\\\\xff\\\\xff\\\\xff'"),
    "is a pickle": LIES.format(size=26, data="b'Vcos\\\\nsystem\\\\n(S\"true\"\\\\ntR.'"),
    "exits when asked": "import sys\ndef f(x):\n    sys.exit(0)",
    "a thread answers wrongly for ever": (
        "import os, threading\ndef w():\n    while True:\n        os.write(701, b'\\x00' * 64)\n"
        "def f(x):\n    threading.Thread(target=w).start()\n    return 21"
    ),
    "a child answers": "import os\ndef f(x):\n    if os.fork():\n        os._exit(0)\n    return 0",
    "sorts its argument in place and gives nothing": "def f(x):\n    if isinstance(x, int):\n        return x + 1\n    x.sort()",
}  # fmt: skip


@pytest.mark.parametrize("name", CHEATS)
def test_no_answer_from_inside_passes_unless_it_is_right(runner, name):
    assert one(runner, python(CHEATS[name], judge=Plus())) not in (Outcome.PASSED, Outcome.TOOLCHAIN_MISSING)


def test_the_same_judge_passes_an_honest_program(runner):
    assert one(runner, python(HONEST, judge=Plus())) is Outcome.PASSED


@pytest.mark.parametrize(
    "source",
    [
        "def f(x):\n    return range(10**15)",
        "def f(x):\n    return range(300_000_000)",
        "import itertools\ndef f(x):\n    return itertools.count()",
        "def f(x):\n    while True:\n        yield x",
        "def f(x):\n    a = [0] * 9\n    for _ in range(30):\n        a = [a] * 9\n    return a",
    ],
)
def test_an_endless_answer_is_wrong_and_costs_us_little(runner, source):
    assert one(runner, python(source, judge=Listed())) in {
        *(Outcome.WRONG_ANSWER, Outcome.OUTPUT_LIMIT, Outcome.CPU_TIMEOUT, Outcome.OUT_OF_MEMORY)
    }


@pytest.mark.parametrize(
    ("source", "printed"),
    [
        ("print('5')\nimport os\nos._exit(3)", "5"),
        ("import os\nif os.fork() == 0:\n    print('5', flush=True)\n    os._exit(0)\nos.wait()\nos.abort()", "5"),
        ("import sys\nsys.stderr.write('5')", "5"),
        ("print('5' + '\\0')", "5"),
        ("print('\\u0665')", "5"),
        ("print('5_0')", "50"),
        ("print('nan')", "5"),
        ("print('inf')", "1e400"),
    ],
)
@pytest.mark.parametrize("compare", ["exact", "tokens"])
def test_output_is_the_programs_own_whole_and_equal(runner, source, printed, compare):
    outcome = one(runner, python(source, expected_stdout=printed, compare=compare))
    assert outcome in {Outcome.WRONG_ANSWER, Outcome.EXCEPTION, Outcome.CRASHED}


ODD = {
    "a file that is a folder too": (("", SOURCE), ("a", ""), ("a/b", "")),
    "a name that is too long": (("", SOURCE), ("a" * 300, "")),
    "a name that is no text": (("", SOURCE), ("a\ud800", "")),
    "a name of nothing": (("", SOURCE), (".", "")),
    "a name that leads away": (("", SOURCE), ("a/../../b", "")),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_file_names_are_the_programs_own_fault(runner, name):
    assert one(runner, Program(language="python", files=ODD[name], limits=QUICK)) is Outcome.COMPILE_ERROR


def test_what_does_not_fit_is_the_programs_own_fault(runner):
    large = (("", SOURCE), ("data", "x" * (20 << 20)))
    assert one(runner, Program(language="python", files=large, limits=QUICK)) is Outcome.OUT_OF_MEMORY
    if _toolchains.find("c").version:
        binary = (("", "int a[20 << 20] = {1};\nint main(void) { return 0; }"),)
        assert one(runner, Program(language="c", files=binary, limits=QUICK)) is Outcome.OUT_OF_MEMORY


def test_many_folders_do_not_keep_a_program_from_its_compiled_self(runner):
    if not _toolchains.find("c").version:
        pytest.skip("no C compiler")
    folders = tuple((f"d{i}/x.h", "") for i in range(3000))
    program = Program(language="c", files=(("", "int main(void) { return 0; }"), *folders))
    assert one(runner, program) is Outcome.PASSED


# These take a moment, or far longer than anybody waits.


def test_long_output_is_compared_in_time_that_grows_with_its_length():
    for word in (b"1" * 300_000 + b"x", b"1." * 150_000, b"1e" * 150_000, b"." + b"1" * 300_000 + b"x"):
        assert outputs.difference(word, "5", "tokens")
        assert outputs.difference(b"5", word.decode(), "tokens")
        for compare in ("tokens", "lcb", "apps"):
            assert _contest_judges.difference(word.decode(), "5", compare)


@pytest.mark.parametrize(
    "source",
    [
        *("'" + r"\'" * 200_000, '"' + r"\"" * 200_000, '"""' + r"\"" "" * 100_000, "/*" * 100_000),
        *("class A{" * 100_000, "class A{}" * 50_000, "public static void " * 50_000),
    ],
)
def test_java_source_is_read_in_time_that_grows_with_its_length(source):
    assert len(_java_names.file_class(source)) < 20
    assert len(_java_names.main_class(source)) < 200


def test_programs_of_any_depth_are_planned():
    for source in ("+".join("1" * 100_000), "-" * 90_000 + "1", "(" * 90_000, "y" + ".a" * 90_000, "1," * 400_000):
        assert _plan.tier(f"import numpy\nx = {source}") in {"plain", "numpy"}


def traces() -> dict[str, set[str]]:
    """What a run could leave on this machine: its folders, control groups, mounts, open files, shared memory."""
    groups = Path("/sys/fs/cgroup")
    ours = re.compile(r"magicoder-.*-(\d+)\Z")
    mine = {"0", str(os.getpid())}
    return {
        "folders": {p.name for p in Path(tempfile.gettempdir()).glob("magicoder-*")},
        "groups": {p.name for p in groups.rglob("magicoder-*") if ours.match(p.name)} if groups.exists() else set(),
        "mounts": set(Path("/proc/self/mounts").read_text().splitlines()),
        "files": {f"{len(list(Path('/proc/self/fd').iterdir()))}"},
        "memory": {p.name for p in Path("/dev/shm").iterdir()} if Path("/dev/shm").exists() else set(),
        "queues": {
            line
            for kind in ("shm", "sem", "msg")
            for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]
        },
        "processes": {str(pid) for pid in descendants(os.getpid())} - mine,
    }


def descendants(root: int) -> set[int]:
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found, todo = set(), [root]
    while todo:
        children = parents.get(todo.pop(), [])
        found.update(children)
        todo += children
    return found


LEAVES = (
    "import os, time\nfor name in ('a b', '-rf', 'x' * 255, '\\n'):\n    open(name, 'w').close()\nos.mkdir('d', 0)\n"
    "if os.access('/dev/shm', os.W_OK):\n    open('/dev/shm/left', 'w').write('x' * 9999)\n"
    "if os.fork() == 0:\n    os.setsid() if hasattr(os, 'setsid') else 0\n    time.sleep(600)\n"
)


@pytest.mark.parametrize("rung", [-1, 1])
@pytest.mark.parametrize("way", ["to the end", "cancelled", "an error"])
def test_the_machine_is_as_it_was_after_a_run(way, rung):
    before = traces()
    programs = [python(f"{LEAVES}# {i}", limits=Limits(cpu_s=1, wall_s=60)) for i in range(6)]
    endless = [python(f"while True: pass  # {i}", limits=Limits(cpu_s=60)) for i in range(4)]
    with contextlib.suppress(ZeroDivisionError), Cells(rung=rung).open(2) as runner:
        if way == "to the end":
            list(runner.run(programs))
        else:
            run = runner.run([*programs[:2], *endless])
            next(run)
            if way == "an error":
                _ = 1 / 0
            run.close()
            assert next(runner.run(programs[:1])).outcome is not None
    after = traces()
    for name in before:
        # Other runs of this machine come and go meanwhile.
        grown = after[name] - before[name]
        assert not grown or name in {"folders", "groups", "memory", "queues"}, (name, grown)
    mine = {str(pid) for pid in descendants(os.getpid())}
    assert not [group for group in after["groups"] - before["groups"] if group.rpartition("-")[2] in mine]


def test_the_same_verdict_every_time_among_hogs(runner):
    """Twenty copies of three programs (of which no two are equal), with spinning neighbours on every core."""
    programs, wanted = [], []
    for i in range(20):
        programs += [
            python(f"{SOURCE}  # {i}", tests=TESTS),
            python(f"def f(x):\n    return x  # {i}", judge=Plus()),
            python(f"print(sum(range({10**5 + i})))\nprint(1 / 0)"),
        ]
        wanted += [Outcome.PASSED, Outcome.WRONG_ANSWER, Outcome.EXCEPTION]
        if i % 5 == 0:
            programs.append(
                python(f"import os\nos.fork(), os.fork()\nwhile True: pass  # {i}", limits=Limits(cpu_s=0.3, wall_s=60))
            )
            wanted.append(Outcome.CPU_TIMEOUT)
    assert [verdict.outcome for verdict in runner.run(programs)] == wanted
