"""One run of `evol_instruct` towards 100,000 rows against the mock: killed with -9 and resumed five times.

    python benchmarks/evol_100k.py --rows 100000 --kills 5

Each leg is `magicoder run` in a process of its own. Printed are its seconds, the rows published by then, the answers
in the journal, and the peak resident memory of the leg's main process (VmHWM) and of its largest worker. The journal
tells what was paid: in the end it holds each answer once, and as many as a run without kills asks for. At
`--compare-rows` the same is done beside a run without kills, and the published folders must be equal byte for byte.
"""

import argparse
import math
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pyarrow.parquet as pq

ROUNDS = 3
# One request in so many is refused, cut off or answered with nothing; each of those ends its chain.
FAULTS = {"refuse_every": 97, "truncate_every": 89, "empty_every": 83}
ROWS_PER_INSTRUCTION = 3.55
"""Of at most four; a little fewer than measured at those rates, so that there are rows enough."""

WORDS = ("parse", "merge", "count", "sort", "walk", "split", "hash", "queue", "tree", "graph", "stack", "date", "token")

RECIPE = """\
name: evol-{rows}
corpora: [instructions: {{path: {path}}}]
documents: {{screens: [blank, duplicate]}}
strategy: {{evol_instruct: {{rounds: {rounds}}}}}
teacher: {{mock: {{{faults}}}}}
deduplicate: {{documents: false, seeds: false, samples: false}}
clean: {{solution_parses: false}}
"""


def write_inputs(folder: Path, rows: int) -> Path:
    """Write instructions for about `rows` rows, and the recipe."""
    rng = random.Random(rows)
    source = folder / f"instructions-{rows}.jsonl"
    with source.open("wb") as f:
        for n in range(math.ceil(rows / ROWS_PER_INSTRUCTION)):
            text = f"Write function {n}: {' '.join(rng.choices(WORDS, k=12))}, if a < {n} && b > 1."
            f.write(orjson.dumps({"instruction": text, "output": "```python\npass\n```"}) + b"\n")
    recipe = folder / f"recipe-{rows}.yaml"
    faults = ", ".join(f"{k}: {v}" for k, v in FAULTS.items())
    recipe.write_text(RECIPE.format(rows=rows, path=source, rounds=ROUNDS, faults=faults))
    return recipe


@dataclass
class Leg:
    """One process: how long it lived, how it ended, and the most memory it and its workers held, in MB."""

    seconds: float = 0.0
    ended: str = ""
    main_mb: float = 0.0
    worker_mb: float = 0.0
    seen: set[int] = field(default_factory=set)

    def look(self, pid: int) -> None:
        self.main_mb = max(self.main_mb, high_water(pid))
        for child in children(pid):
            self.worker_mb = max(self.worker_mb, high_water(child))


def high_water(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def children(pid: int) -> list[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(c) for c in found]


def run_leg(recipe: Path, out: Path, journal: Path, kill_when: int | None, workers: int) -> Leg:
    """Run until the end, or until the journal holds `kill_when` answers and the process is killed."""
    executable = Path(sys.executable).with_name("magicoder")
    command = [executable, "run", recipe, "--out", out, "--journal", journal, "--workers", str(workers), "--quiet"]
    leg, began = Leg(), time.perf_counter()
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            leg.look(process.pid)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        while process.poll() is None:
            if kill_when is not None and answers(journal) >= kill_when:
                os.killpg(process.pid, signal.SIGKILL)
                leg.ended = "killed"
                break
            time.sleep(0.05)
        process.wait()
    finally:
        done.set()
        watcher.join()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    leg.seconds = time.perf_counter() - began
    leg.ended = leg.ended or ("done" if process.returncode == 0 else f"exit {process.returncode}")
    return leg


def answers(journal: Path) -> int:
    """Return how many answers a journal holds, without disturbing whoever writes it."""
    if not journal.exists():
        return 0
    try:
        connection = sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=5)
    except sqlite3.Error:
        return 0
    try:
        return int(connection.execute("SELECT max(sequence) FROM answers").fetchone()[0] or 0)
    except sqlite3.Error:
        return 0
    finally:
        connection.close()


def published(out: Path) -> tuple[int, int]:
    """Return the rows and the rejections of the samples, finished or under way."""
    for folder in (out / "samples", out / "samples.building"):
        if folder.exists():
            return tuple(  # type: ignore[return-value]
                sum(pq.read_metadata(f).num_rows for f in place.glob("part-*.parquet"))
                for place in (folder, folder / "rejected")
            )
    return 0, 0


def killed_and_resumed(folder: Path, rows: int, kills: int, workers: int) -> tuple[Path, int]:
    """Run with kills; return where the result is and how many answers were paid."""
    recipe, out, journal = write_inputs(folder, rows), folder / f"run-{rows}", folder / f"{rows}.sqlite"
    expected = round(rows / ROWS_PER_INSTRUCTION * (2 * ROUNDS + 1) * 0.92)
    print(f"\n{rows:,} rows wanted, about {expected:,} requests, {kills} kills")
    heads = {"leg": 4, "ended": 9, "seconds": 10, "answers": 11, "rows": 10, "rejected": 10}
    heads |= {"main MB": 9, "worker MB": 11}
    print("".join(f"{head:>{width}}" for head, width in heads.items()))
    total = 0.0
    for number in range(kills + 1):
        when = None if number == kills else expected * (number + 1) // (kills + 1)
        leg = run_leg(recipe, out, journal, when, workers)
        total += leg.seconds
        made, rejected = published(out)
        print(
            f"{number + 1:>4}{leg.ended:>9}{leg.seconds:>10.1f}{answers(journal):>11,}{made:>10,}{rejected:>10,}"
            f"{leg.main_mb:>9.0f}{leg.worker_mb:>11.0f}",
            flush=True,
        )
        if leg.ended not in ("killed", "done"):
            sys.exit(f"leg {number + 1} failed: {leg.ended}")
    print(f"     {total:.1f} s in all, {answers(journal) / total:,.0f} answers/s, restarts included")
    return out, answers(journal)


def accounted(out: Path) -> None:
    """Check that each seed gave samples or was rejected under its own id, and that no id occurs twice."""

    def ids(folder: Path, column: str = "id") -> list[str]:
        return [
            v
            for f in sorted(folder.glob("part-*.parquet"))
            for v in pq.read_table(f, columns=[column])[column].to_pylist()
        ]

    seeds, samples = set(ids(out / "screened")), ids(out / "samples")
    gone = ids(out / "samples" / "rejected")
    assert len({*samples, *gone}) == len(samples) + len(gone), "an id occurs twice"
    assert {*ids(out / "samples", "seed_id"), *(i for i in gone if i in seeds)} == seeds, "a seed was lost"


def compare(folder: Path, rows: int, kills: int, workers: int) -> None:
    """Do it at small size with and without kills, and compare what is published byte for byte."""
    out, paid = killed_and_resumed(folder, rows, kills, workers)
    whole, journal = folder / "whole", folder / "whole.sqlite"
    leg = run_leg(folder / f"recipe-{rows}.yaml", whole, journal, None, workers)
    print(f"     without kills: {leg.seconds:.1f} s, {answers(journal):,} answers")
    assert paid == answers(journal), "the journal of the killed run holds another number of answers"
    for stage in ("samples", "dataset"):
        one, other = (
            {str(p.relative_to(base / stage)): p.read_bytes() for p in (base / stage).rglob("*") if p.is_file()}
            for base in (out, whole)
        )
        assert one == other, f"{stage} differs"
    print("     samples and dataset are equal byte for byte")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--compare-rows", type=int, default=2_000, help="0: no comparison")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder, deleted afterwards")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="evol-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if options.compare_rows:
            compare(folder, options.compare_rows, options.kills, options.workers)
        out, _ = killed_and_resumed(folder, options.rows, options.kills, options.workers)
        accounted(out)
        print("     every seed is accounted for, no id occurs twice")
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
