"""DS-1000 with warm imports: canonical solutions in cells, and each in a fresh interpreter without isolation.

    python benchmarks/evaluation_warm.py ENVIRONMENT/bin/python --data DIR [--problems 8]

Prints, for each library, milliseconds of processor time a problem, of all processes, and of wall time, one problem at a
time; and verdicts that differ. Starting cells is not counted: another problem of the library warms them. In cells every
problem runs `--times` times, made different by a comment.
"""

import argparse
import os
import resource
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from magicoder.evaluation import suite_of
from magicoder.records import Outcome, Program
from magicoder.sandboxes._ladder import choose
from magicoder.sandboxes._plan import tier
from magicoder.sandboxes.cells import Cells

LIBRARIES = ("pandas", "numpy", "sklearn", "matplotlib")


def cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def fresh(python: str, program: Program) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        path.write_text(f"{program.files[0][1]}\n{program.tests}")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        done = subprocess.run(
            [python, str(path)], cwd=folder, env=environment, capture_output=True, check=False, timeout=120
        )
        return done.returncode == 0


def marked(program: Program, number: int) -> Program:
    (name, text), *others = program.files
    return replace(program, files=((name, f"{text}# {number}\n"), *others))


def cells(python: str, first: Program, programs: list[Program]) -> tuple[float, float, list[bool]]:
    used = cpu_s()
    with Cells(python=python).open(1) as runner:
        list(runner.run([first]))
        begun = time.perf_counter()
        passed = [v.outcome is Outcome.PASSED for v in runner.run(programs)]
        wall = time.perf_counter() - begun
    return cpu_s() - used, wall, passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python")
    parser.add_argument("--data", required=True)
    parser.add_argument("--problems", type=int, default=8)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    choose(python=options.python)
    for library in LIBRARIES:
        suite = suite_of(f"ds1000:{library}", options.data)
        step = len(suite.tasks) // (options.problems + 1)
        tasks = [suite.tasks[number * step] for number in range(options.problems + 1)]
        programs = [suite.checks(task, suite.reference(task), "strict")[0][1] for task in tasks]
        first = programs.pop(0)
        alike = [p for p in programs if tier(p.files[0][1], p.tests) == tier(first.files[0][1], first.tests)]
        begun, used = time.perf_counter(), cpu_s()
        cold = [fresh(options.python, p) for p in alike]
        cold_ms = 1000 * (cpu_s() - used) / len(alike), 1000 * (time.perf_counter() - begun) / len(alike)

        copies = [marked(program, number) for number in range(options.times) for program in alike]
        alone = cells(options.python, first, [])[0]
        cpu, wall, warm = cells(options.python, first, copies)
        warm_ms = 1000 * (cpu - alone) / len(copies), 1000 * wall / len(copies)
        print(
            f"{library:<12} fresh {cold_ms[0]:7.0f} ms cpu {cold_ms[1]:7.0f} wall"
            f"   warm {warm_ms[0]:6.1f} {warm_ms[1]:6.1f}"
            f"   {cold_ms[0] / warm_ms[0]:5.1f} x cpu {cold_ms[1] / warm_ms[1]:5.1f} x wall   {len(alike)} problems,"
            f" {sum(a != b for a, b in zip(cold * options.times, warm, strict=True))} verdicts differ",
            flush=True,
        )


if __name__ == "__main__":
    main()
