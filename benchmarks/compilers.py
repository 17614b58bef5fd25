"""What it costs to compile a program: the cold compiler beside the one that stays loaded, on real programs.

    python benchmarks/compilers.py [--programs 24] [--cold 8]

The programs are a model's answers to MultiPL-E (HumanEval) with their tests, recorded in the folder that MAGICODER_DATA
names (else ../shared/data). Cost is CPU time of all processes, a program; for servers their start is part of it, over
all programs, and what they take once they have run for a while stands beside it. No jail is around either side (its
cost is the same for both). Every verdict of the warm compiler is compared: with the cold one's where that ran, and with
the recorded ones everywhere, since what passed there has compiled.
"""

import argparse
import gzip
import json
import os
import resource
import statistics
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from magicoder.records import Limits
from magicoder.sandboxes import _compilers, _toolchains
from magicoder.sandboxes._toolchains import Found, Job

DATA = Path(os.environ.get("MAGICODER_DATA") or Path(__file__).parents[2] / "shared" / "data")
LANGUAGES = {"java": ("java", 10), "typescript": ("ts", 20), "cpp": ("cpp", 3)}


def programs(short: str) -> list[tuple[str, str, bool]]:
    folder = DATA / "recorded_completions" / "qwen25coder_1.5b-base" / "multipl-e"
    rows = json.loads(gzip.decompress((folder / f"humaneval-{short}-details.json.gz").read_bytes()))
    return [(key, rows[key][0][1]["code"], rows[key][0][1]["passed"]) for key in sorted(rows)]


def children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(command: tuple[str, ...], job: Job) -> tuple[bool, float, float]:
    """Return whether a compile command succeeds, and its CPU and wall seconds."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in job.files:
            Path(folder, name).write_bytes(content)
        before, start = children_s(), time.perf_counter()
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
        return done.returncode == 0, children_s() - before, time.perf_counter() - start


class Process:
    """A server without a jail."""

    def __init__(self, argv: tuple[str, ...]) -> None:
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, data: bytes, *, wall_s: float = 0.0) -> bytes:
        assert wall_s == 0.0
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(struct.pack(">I", len(data)) + data)
        self.process.stdin.flush()
        (length,) = struct.unpack(">I", self.process.stdout.read(4))
        return self.process.stdout.read(length)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self.process.communicate()


def served(found: Found, jobs: list[Job]) -> tuple[list[bool], float, float, list[float]]:
    """Return verdicts, CPU seconds a program with the server's start, those of a second round, wall seconds."""
    server = _compilers.server(found)
    assert server, f"{found.version} cannot stay loaded"
    process = Process(server.argv)
    verdicts, walls = [], []
    for job in jobs:
        start = time.perf_counter()
        compiled = _compilers.ask(process, job)
        walls.append(time.perf_counter() - start)
        assert compiled, "unsure"
        verdicts.append(compiled.ok)
    first = process.cpu_s()
    for job in jobs:
        _compilers.ask(process, job)
    second = process.cpu_s() - first
    process.close()
    return verdicts, first / len(jobs), second / len(jobs), walls


def begun(found: Found, jobs: list[Job]) -> tuple[list[bool], float, float, list[float]]:
    runs = [run(_compilers.begun(found, job).compile, job) for job in jobs]
    cpu = statistics.mean(cpu for _, cpu, _ in runs)
    return [ok for ok, _, _ in runs], cpu, cpu, [wall for _, _, wall in runs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=0, help="how many of each language, 0 for all (C++: 24)")
    parser.add_argument("--cold", type=int, default=8, help="how many of them the cold compiler compiles too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for language, (short, target) in LANGUAGES.items():
        found = _toolchains.find(language)
        if not found.version:
            print(f"{language}: {found.missing}; {found.install}")
            continue
        _compilers.prepare(found)
        some = programs(short)
        wanted = options.programs or (24 if language == "cpp" else len(some))
        some = some[:: max(1, len(some) // wanted)]
        jobs = [_toolchains.job(found, [("", code)], Limits()) for _, code, _ in some]
        step = max(1, len(jobs) // options.cold)
        cold = {n: run(jobs[n].compile, jobs[n]) for n in range(0, len(jobs), step)}
        verdicts, cpu, later, walls = (begun if language == "cpp" else served)(found, jobs)
        against_cold = [some[n][0] for n, (ok, _, _) in cold.items() if ok != verdicts[n]]
        against_recorded = [key for (key, _, passed), ok in zip(some, verdicts, strict=True) if passed and not ok]
        cold_cpu = statistics.mean(cpu for _, cpu, _ in cold.values())
        rows.append(
            {
                "compiler": found.version,
                "programs": len(jobs),
                "cold CPU s": round(cold_cpu, 4),
                "warm CPU s": round(cpu, 4),
                "times": round(cold_cpu / cpu, 1),
                "warm CPU s, later": round(later, 4),
                "times, later": round(cold_cpu / later, 1),
                "target": target,
                "cold wall s": round(statistics.median(wall for _, _, wall in cold.values()), 3),
                "warm wall s": round(statistics.median(walls), 4),
                "other verdicts": [*against_cold, *against_recorded],
                "compared with cold": len(cold),
            }
        )
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
