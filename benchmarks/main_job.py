"""The main job at 1, 2 and 4 times a corpus: seconds and rows of each stage, peak memory, and how both grow.

    python benchmarks/main_job.py --scale 1 --workers 2

The corpus is real: the Python packages beside this interpreter, and `corpus_sample.parquet` of the folder that
MAGICODER_DATA names (else ../shared/data), shuffled by digest; 4x is all of it, 1x a quarter. At `--scale` above 1
there are copies with other words, so that nothing is a duplicate. Memory is VmHWM: of the parent, and of the largest
worker. Every figure is of one run in a process of its own; the seconds of a stage hold the start of its workers.
"""

import argparse
import contextlib
import hashlib
import os
import re
import resource
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

DATA = Path(os.environ.get("MAGICODER_DATA") or Path(__file__).parents[2] / "shared" / "data")
SAMPLE = DATA / "corpus_sample.parquet"
SCHEMA = pa.schema([(name, pa.string()) for name in ("repo", "path", "content")])
WORD = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b|\b[A-Za-z][a-z]+(?:[A-Z][a-z]+)+\b|(?<=[a-z] )[a-z]{4,}(?= [a-z])")
"""Compound names and words of prose: no keywords."""


def files() -> Iterator[tuple[str, str, str]]:
    packages = Path(sysconfig.get_path("purelib"))
    for path in sorted(packages.rglob("*.py")):
        text = path.read_bytes().decode("utf-8", "ignore")
        if len(text) < 1 << 20:
            yield "packages", path.relative_to(packages).as_posix(), text
    if SAMPLE.exists():
        for batch in pq.ParquetFile(SAMPLE).iter_batches(500, columns=["repo", "path", "content"]):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def make_corpora(folder: Path, scale: int) -> dict[int, Path]:
    """Write 1x, 2x and 4x; each holds the smaller ones."""
    one = sorted(files(), key=lambda f: hashlib.blake2b(f"{f[0]}:{f[1]}".encode()).digest())
    found = {}
    for times in (1, 2, 4):
        found[times] = folder / f"{times}x.parquet"
        with pq.ParquetWriter(found[times], SCHEMA, compression="zstd") as writer:
            for copy in range(scale):
                for start in range(0, len(one) * times // 4, 500):
                    rows = one[start : min(start + 500, len(one) * times // 4)]
                    if copy:
                        rows = [(f"{r}-{copy}", p, WORD.sub(rf"\g<0>{copy}", t)) for r, p, t in rows]
                    writer.write_table(pa.Table.from_arrays([*map(pa.array, zip(*rows, strict=True))], schema=SCHEMA))
    return found


@dataclass
class Run:
    """`stages` are (name, rows, seconds); `cpu` is seconds of all processes; memory is in MB."""

    stages: list[tuple[str, int, float]] = field(default_factory=list)
    cpu: float = 0.0
    parent: int = 0
    worker: int = 0


def peak(process: int) -> int:
    try:
        status = Path(f"/proc/{process}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024  # type: ignore[index]
    except (OSError, TypeError):  # gone, or about to go
        return 0


def watch(process: "subprocess.Popen[str]", run: Run) -> None:
    """Take down peaks while the run lasts; a process's peak never falls, so its last reading is it."""
    while process.poll() is None:
        run.parent = max(run.parent, peak(process.pid))
        for task in Path(f"/proc/{process.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                run.worker = max([run.worker, *(peak(int(child)) for child in task.read_text().split())])
        time.sleep(0.05)


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(corpus: Path, out: Path, workers: int, flags: list[str]) -> Run:
    command = [Path(sys.executable).parent / "magicoder", "run", "--source", corpus, "--out", out]
    command += ["--journal", out.with_suffix(".sqlite"), "--workers", str(workers), *flags]
    command += ["--data", DATA] if DATA.is_dir() else []
    run = Run()
    before, cpu = time.perf_counter(), cpu_s()
    process = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    watcher = threading.Thread(target=watch, args=(process, run))
    watcher.start()
    assert process.stderr is not None
    log = []
    for line in process.stderr:  # a line as each stage is done
        log.append(line)
        if found := re.match(r"(\w+) +([\d,]+) kept +([\d,]+) rejected", line):
            now = time.perf_counter()
            run.stages.append((found[1], sum(int(n.replace(",", "")) for n in found.groups()[1:]), now - before))
            before = now
    watcher.join()
    assert process.returncode == 0, "".join(log)
    run.cpu = cpu_s() - cpu
    run.stages.append(("dataset, report", run.stages[-1][1], time.perf_counter() - before))
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", type=int, default=1, help="how many times the corpus is taken; default 1")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        corpora = make_corpora(Path(folder), arguments.scale)
        for name, flags in (("comment_pairs", []), ("oss_instruct, mock teacher", ["--llm", "mock"])):
            runs = {n: measure(c, Path(folder, f"{name[:3]}{n}"), arguments.workers, flags) for n, c in corpora.items()}
            print(f"\n{name:<27}" + "".join(f"{f'{n}x: rows':>10}{'s':>7}{'rows/s':>8}" for n in runs) + "   4x/1x: s")
            for i, (stage, *_) in enumerate(runs[1].stages):
                cells = [r.stages[i] for r in runs.values()]
                text = "".join(f"{rows:>10,}{s:>7.2f}{rows / s:>8,.0f}" for _, rows, s in cells)
                print(f"{stage:<27}{text}{cells[-1][2] / cells[0][2]:>11.2f}")
            wholes = [sum(s for _, _, s in r.stages) for r in runs.values()]
            for what, seconds in (("whole", wholes), ("whole, CPU", [r.cpu for r in runs.values()])):
                text = "".join(f"{s:>17.2f}{'':8}" for s in seconds)
                print(f"{what:<27}{text}{seconds[-1] / seconds[0]:>11.2f}")
            for who in ("parent", "worker"):
                peaks = [getattr(r, who) for r in runs.values()]
                ratio = peaks[-1] / peaks[0] if peaks[0] else 0
                print(f"peak MB, {who:<18}" + "".join(f"{mb:>17,}{'':8}" for mb in peaks) + f"{ratio:>11.2f}")


if __name__ == "__main__":
    main()
