"""One cell on the best rung: what it runs, what it reports, what it survives."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import magicoder.sandboxes._values_inside as inside
from magicoder.errors import SandboxError
from magicoder.records import Limits
from magicoder.sandboxes._cell import Cell
from magicoder.sandboxes._ladder import Rung, choose
from magicoder.sandboxes._wire import Ended, Request
from tests import attacks

SPRAY = """
import os
def f(x):
    for fd in range(3, 999):
        try:
            os.write(fd, b"\\xff" * 8)
        except OSError:
            pass
"""
SCRIPT = """
import dataclasses, helper, inspect, multiprocessing, pickle
@dataclasses.dataclass
class A:
    x: int
def g(x):
    return x * x
if __name__ == '__main__':
    assert pickle.loads(pickle.dumps(A(1))) == A(1)
    assert 'x * x' in inspect.getsource(g)
    assert helper.Y == 3
    with multiprocessing.get_context('fork').Pool(2) as pool:
        print(pool.map(g, [1, 2, 3]))
"""
SERVER = b"""
import struct, sys, time
while head := sys.stdin.buffer.read(4):
    data = sys.stdin.buffer.read(struct.unpack('>I', head)[0])
    if data == b'die':
        sys.exit(4)
    if data == b'sleep':
        time.sleep(60)
    sys.stdout.buffer.write(head + data.upper())
    sys.stdout.buffer.flush()
"""
PARENT = """
import os, sys
from magicoder.sandboxes._cell import Cell
from magicoder.sandboxes._ladder import Rung
from magicoder.sandboxes._wire import Request
with Cell.open(Rung(level=int(sys.argv[1]), line="")) as cell:
    print("ready", flush=True)
    cell.run(Request(argv=("/bin/sh", "-c", f"sleep {sys.argv[2]} & sleep {sys.argv[2]}")))
"""
SOON = Limits(cpu_s=0.5, wall_s=1.5, memory_mb=200, tmp_mb=16, output_kb=300)


@pytest.fixture(scope="module")
def rung() -> Rung:
    try:
        return choose(3)
    except SandboxError as e:
        pytest.skip(f"no namespaces here: {e}")


@pytest.fixture(scope="module")
def cell(rung):
    codec = Path(inside.__file__).read_text(encoding="utf-8")
    with Cell.open(rung, codec=codec) as opened:
        yield opened


def fine(cell: Cell) -> bool:
    report = cell.run(Request(source=attacks.HONEST, tests=attacks.CHECK))
    return report.completed and report.exit_code == 0


def sleeping(marker: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes().decode(errors="replace")
            if line.startswith("sleep") and marker in line:
                found.append(line)
    return found


def test_no_attack_passes_breaks_out_or_stops_the_cell(cell):
    assert attacks.problems(cell) == []


def test_there_are_forty_attacks():
    assert len(attacks.ATTACKS) >= 40


def test_nothing_runs_under_the_programs_uid_between_programs(cell):
    if os.geteuid() != 0:
        pytest.skip("in a user namespace programs have the uid of this test")
    mine = int(cell.run(Request(source="import os\nprint(os.getuid())")).stdout)
    cell.run(Request(source=attacks.HOGS["daemon"].source))
    owners = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            owners.add(process.stat().st_uid)
    assert os.getuid() in owners
    assert mine not in owners


def test_a_program_that_passes_its_tests_is_completed(cell):
    report = cell.run(Request(source=attacks.HONEST, tests=attacks.CHECK))
    assert (report.completed, report.exit_code, report.error, report.timed_out) == (True, 0, "", "")
    assert report.cpu_s > 0
    assert report.wall_s > 0


def test_a_failed_assert_is_told_from_an_exception_and_from_bad_syntax(cell):
    report = cell.run(Request(source="def f(x): return x", tests="assert f(1) == 2, 'two'"))
    assert report.error == "AssertionError: two"
    kinds = [cell.run(Request(source=s)).error_kind for s in ("assert 0", "1/0", "def f(:", "x = '\0'", "int('x')")]
    assert kinds == ["assert", "exception", "syntax", "syntax", "exception"]


def test_a_traceback_shows_the_program_and_nothing_of_ours(cell):
    report = cell.run(Request(source="def f():\n    return {}['key']\nf()"))
    assert report.error == "KeyError: 'key'"
    assert report.stderr.startswith(
        b'Traceback (most recent call last):\n  File "main.py", line 3, in <module>\n    f()'
    )
    assert report.stderr.endswith(b"KeyError: 'key'\n")
    assert b"_zygote" not in report.stderr


@pytest.mark.parametrize(
    ("source", "stdin", "stdout"),
    [
        ("import sys\nfor line in sys.stdin: print(int(line) + 1)", b"1\n2\n", b"2\n3\n"),
        ("print(open(0).read())", b"all", b"all\n"),
        ("import os\nos.write(1, os.read(0, 3))", b"abc", b"abc"),
        ("import sys\nprint(sys.stdin.buffer.readline(), next(sys.stdin))", b"a\nb\n", b"b'a\\n' b\n\n"),
        ("n = 0\ndef g():\n    global n\n    n += int(input())\ng()\nprint(n)\nquit()", b"4\n", b"4\n"),
        (
            "import sys\nif __name__ == '__main__':\n    print(sys.argv[1:], sys.stdin.read())\n    sys.exit(0)",
            b"",
            b"[] \n",
        ),
        ("import atexit\natexit.register(print, 'last')\nprint('first')", b"", b"first\nlast\n"),
        ("import threading, time\nthreading.Thread(target=lambda: (time.sleep(.05), print('t'))).start()", b"", b"t\n"),
    ],
)
def test_ordinary_ways_of_reading_and_printing_work(cell, source, stdin, stdout):
    report = cell.run(Request(source=source, stdin=stdin))
    assert (report.stdout, report.exit_code, report.completed) == (stdout, 0, True), report


def test_an_honest_class_may_define_equality(cell):
    source = (
        "import fractions\nclass Money:\n    def __init__(self, n):\n        self.n = n\n"
        "    def __eq__(self, o):\n        return self.n == (o.n if isinstance(o, Money) else o)\ndef half(n):\n"
        "    return fractions.Fraction(n, 2)"
    )
    tests = (
        "assert Money(5) == 5\nassert Money(5) == Money(5) != 4\n"
        "assert [Money(1)] == [1]\nassert Money(5) != 6\n"
        "assert half(1) == 0.5\nassert not Money(1) == None\nassert (1 == 1) == True\n"
        "assert {'a': Money(2)} == {'a': 2}"
    )
    report = cell.run(Request(source=source, tests=tests))
    assert report.completed, report


def test_an_exit_code_comes_back(cell):
    report = cell.run(Request(source="import sys\nsys.exit(7)"))
    assert (report.exit_code, report.completed) == (7, True)
    assert cell.run(Request(source="import sys\nsys.exit('no')")).stderr == b"no\n"


def test_classes_processes_and_modules_behave_as_in_a_script(cell):
    report = cell.run(Request(source=SCRIPT, files=(("helper.py", b"Y = 3\n"),)))
    assert report.stdout == b"[1, 4, 9]\n", report


def test_the_same_program_does_the_same_every_time(cell):
    source = "print(hash('x'), list({'a', 'b', 'c', 'd'}))"
    assert len({cell.run(Request(source=source)).stdout for _ in range(5)}) == 1


def test_a_command_gets_files_and_gives_files(cell):
    script = "cat sub/in > out; mkdir -p a/b; cp out a/b/c.o; ln -s /etc/passwd a/l; echo $X $HOME; exit "
    given = {"files": (("sub/in", b"data"),), "environment": (("X", "y"),), "collect": ("a/**", "o*")}
    report = cell.run(Request(argv=("/bin/sh", "-c", script + "3"), **given))
    assert (report.exit_code, report.completed, report.stdout) == (3, True, b"y /tmp/w\n")
    assert report.files == ()  # only of what succeeded
    report = cell.run(Request(argv=("/bin/sh", "-c", script + "0"), **given))
    assert report.files == (("a/b/c.o", b"data"), ("out", b"data"))


def test_a_command_that_is_not_there_says_so(cell):
    report = cell.run(Request(argv=("no-such-program",)))
    assert report.exit_code == 127
    assert "No such file" in report.error


def test_much_output_below_the_cap_is_all_there(cell):
    report = cell.run(Request(argv=("/bin/sh", "-c", "head -c 900000 /dev/zero; head -c 900000 /dev/zero >&2")))
    assert (len(report.stdout), len(report.stderr), report.output_limit) == (900_000, 900_000, False)


def test_output_beyond_the_cap_ends_the_program_and_is_cut(cell):
    report = cell.run(Request(argv=("/bin/cat", "/dev/zero"), limits=SOON))
    assert report.output_limit
    assert 300 << 10 <= len(report.stdout) <= (300 << 10) + 1


def test_processor_time_decides_and_not_the_clock(cell):
    report = cell.run(Request(source="while True: pass", limits=Limits(cpu_s=0.3, wall_s=30.0)))
    assert (report.timed_out, report.completed) == ("cpu", False)
    assert 0.25 <= report.cpu_s < 3.0
    many = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
    assert cell.run(Request(source=many, limits=Limits(cpu_s=0.4, wall_s=30.0))).timed_out == "cpu"


def test_sleeping_is_ended_by_the_backstop(cell):
    report = cell.run(Request(source="import time\ntime.sleep(60)", limits=Limits(cpu_s=1.0, wall_s=0.3)))
    assert (report.timed_out, report.signal, report.exit_code) == ("wall", 9, None)
    assert report.cpu_s < 0.3


def test_memory_is_charged_to_the_program(cell):
    source = "x = bytearray(b'1') * (50 << 20)"
    assert cell.run(Request(source=source, limits=Limits(memory_mb=80))).completed
    report = cell.run(Request(source=source, limits=Limits(memory_mb=30)))
    assert report.out_of_memory
    assert not report.completed


def test_peak_memory_is_of_this_program(cell):
    big = cell.run(Request(source="x = bytearray(b'1') * (60 << 20)"))
    small = cell.run(Request(source="x = 1"))
    assert 50 < big.peak_memory_mb < 120
    assert small.peak_memory_mb < 30


def test_files_that_do_not_fit_are_the_programs_own_fault(cell):
    report = cell.run(Request(source="x = 1", files=(("big", bytes(3 << 20)),), limits=Limits(tmp_mb=1)))
    assert (report.out_of_memory, report.completed, report.exit_code) == (True, False, 1)
    assert "do not fit" in report.error
    report = cell.run(Request(argv=("/bin/true",), files=(("a", b""), ("a/b", b""))))
    assert (report.error_kind, report.exit_code) == ("exception", 1)
    assert fine(cell)


def test_what_is_collected_is_whole_or_refused(cell):
    many = "import os\nfor i in range(3000):\n    os.mkdir(f'd{i}')\nopen('z', 'w').write('made')"
    python = (sys.executable, "-S", "-c")
    report = cell.run(Request(argv=(*python, many), collect=("z", "**/*.x")))
    assert report.files == (("z", b"made"),)
    named = "for i in range(900): open(f'{i}' + 'é' * 100, 'w').close()"
    report = cell.run(Request(argv=(*python, named), collect=("*",)))
    assert (report.output_limit, report.files) == (True, ())
    named = "for i in range(900): open(f'{i}.class', 'w').close()"
    assert len(cell.run(Request(argv=(*python, named), collect=("*.class",))).files) == 900
    assert fine(cell)


def test_an_answer_that_trickles_is_ended_by_the_backstop(cell):
    slow = (
        "import os, struct\ndef f(x):\n    os.write(701, struct.pack('=I', 200 << 20))\n"
        "    while True:\n        os.write(701, b'x')"
    )
    request = Request(source=slow, entry_point="f", limits=Limits(cpu_s=60, wall_s=0.5))
    with cell.converse(request) as conversation, pytest.raises(Ended) as caught:
        conversation.call(pickle.dumps(((1,), {})))
    assert caught.value.report.timed_out == "wall"


def test_a_function_is_called_from_outside(cell):
    request = Request(source="n = 0\ndef f(x):\n    global n\n    n += x\n    print(n)\n    return n", entry_point="f")
    with cell.converse(request) as conversation:
        answers = [conversation.call(pickle.dumps(((i,), {}))) for i in (1, 2, 3)]
    assert len(set(answers)) == 3
    assert conversation.report.stdout == b"1\n3\n6\n"
    assert conversation.report.completed


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("import os\ndef f(x): os._exit(0)", lambda r: r.exit_code == 0 and not r.completed),
        ("1/0", lambda r: r.error == "ZeroDivisionError: division by zero"),
        ("def g(): pass", lambda r: r.error == "NameError: name 'f' is not defined"),
        ("def f(x):\n    while True: pass", lambda r: r.timed_out),
        ("import time\ndef f(x): time.sleep(60)", lambda r: r.timed_out == "wall"),
        (SPRAY, lambda r: not r.completed),
        ("def f(x): return bytearray(400 << 20)", lambda r: r.out_of_memory),
    ],
)
def test_a_conversation_ends_with_a_report(cell, source, wanted):
    with cell.converse(Request(source=source, entry_point="f", limits=SOON)) as conversation:
        arguments = pickle.dumps(((1,), {}))
        with pytest.raises(Ended) as caught:
            [conversation.call(arguments) for _ in range(3)]
    assert wanted(caught.value.report), caught.value.report
    assert fine(cell)


def test_the_callers_own_thinking_does_not_count(cell):
    request = Request(source="def f(x): return x", entry_point="f", limits=Limits(cpu_s=1, wall_s=0.5))
    with cell.converse(request) as conversation:
        conversation.call(pickle.dumps(((1,), {})))
        time.sleep(0.8)
        conversation.call(pickle.dumps(((1,), {})))
    assert conversation.report.completed


def test_a_service_answers_and_is_started_again_when_it_dies(cell):
    argv = (sys.executable, "-S", "server.py")
    service = cell.serve(argv, files=(("server.py", SERVER),), limits=Limits(cpu_s=5, wall_s=0.8))
    assert service.ask(b"abc") == b"ABC"
    time.sleep(1.0)  # idle time is nobody's
    for last in (b"die", b"sleep"):
        with pytest.raises(Ended) as caught:
            service.ask(last)
        assert caught.value.report.exit_code == (4 if last == b"die" else None)
        assert service.ask(b"again") == b"AGAIN"
    service.close()


def test_a_tier_whose_packages_are_missing_still_runs(rung):
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    with Cell.open(rung, python=python) as bare:
        assert bare.run(Request(source="print(1)", tier="numpy")).stdout == b"1\n"


def test_numpy_is_warm_in_its_tier(cell):
    pytest.importorskip("numpy")
    source = "import sys\nassert 'numpy' in sys.modules\nimport numpy\nprint(numpy.arange(3).sum())"
    report = cell.run(Request(source=source, tier="numpy"))
    assert report.stdout == b"3\n", report
    assert cell.run(Request(source="import sys\nprint('numpy' in sys.modules)")).stdout == b"False\n"


def test_a_keeper_that_dies_is_replaced(cell):
    jail = cell._jail("plain")
    jail._process.send_signal(signal.SIGKILL)
    jail._process.wait()
    assert fine(cell)


def test_a_missing_interpreter_is_our_error(rung):
    with pytest.raises(SandboxError, match="does not start"), Cell.open(rung, python="/no/such/python"):
        pass


@pytest.mark.parametrize("level", [3, 1])
def test_nothing_outlives_a_parent_that_is_killed(rung, level):
    marker = f"3{os.getpid()}{level}.5"
    command = [sys.executable, "-c", PARENT, str(level), marker]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "ready\n"
        until = time.monotonic() + 10
        while len(sleeping(marker)) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        assert len(sleeping(marker)) == 2
        parent.kill()
        parent.wait()
    until = time.monotonic() + 2
    while sleeping(marker) and time.monotonic() < until:
        time.sleep(0.02)
    assert sleeping(marker) == []
