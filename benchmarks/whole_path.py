"""The whole path from a corpus to clean, decontaminated seeds: ours beside glue of the best peers and the original's.

    python benchmarks/whole_path.py CORPUS.parquet --env glue=ENV/bin/python --env original=ENV/bin/python

`CORPUS` is what `benchmarks/corpus.py` writes (columns repo, path, lang, content; 1 GB of text shows the growth),
without it `DIR/corpus_sample.parquet`; `DIR`, which MAGICODER_DATA names, has `benchmarks` (docs/benchmarks.md) too.
Environments: `pip install pyarrow rensa==0.5.0 hyperscan` and `pip install datasets numpy`. Every run is a process of
its own (`rivals/whole_path.py`):

    ours       the work that the peers do: no screens, near-duplicates, windows, the original's sets as substrings
    recipe     what a recipe does by default: every screen, equal seeds too, eleven benchmarks in three layers
    glue       pyarrow, rensa's deduplicator, windows in Python, hyperscan
    original   `datasets`, MinHash by SHA-1 and numpy, a loop over patterns: on a slice, it takes a minute for 80 MB

Ours, recipe and glue get the same slice, rounds interleaved; ratios are medians of rounds. A slice is every 16th run of
100 files, so that neighbours, which are each other's near-duplicates, stay together; the growth is of every 16th, every
4th and all runs. CPU seconds are without imports and the loading of compiled code ("start", told apart), and with
everything else; memory is the most anonymous memory seen.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from magicoder.benchmarks import at_hand
from magicoder.text.patterns import original_patterns

HERE = Path(__file__).parent
DATA = Path(os.environ.get("MAGICODER_DATA") or HERE.parent.parent / "shared" / "data")
OURS = ("ours", "recipe")
RUN, GROUP_BYTES = 100, 64_000_000
SMALLER = 4
"""How much less the original is given than the others."""
TARGETS = {"glue": 8, "original": 60}


def cut(corpus: Path, share: int, out: Path) -> None:
    """Write every `share`-th run of files, in row groups bounded by bytes."""
    held: list[pa.RecordBatch] = []
    with pq.ParquetFile(corpus) as file:
        names = ["repo", "path", "lang", "content"]
        schema = pa.schema([(name, pa.string()) for name in names])
        with pq.ParquetWriter(out, schema, compression="zstd") as writer:
            number = 0
            for group in file.iter_batches(RUN * 10, columns=names, use_threads=False):
                for first in range(0, group.num_rows, RUN):
                    if number % share == 0:
                        held.append(group.slice(first, RUN).cast(schema))
                    number += 1
                if sum(batch.nbytes for batch in held) >= GROUP_BYTES:
                    writer.write_table(pa.Table.from_batches(held))
                    held = []
            if held:
                writer.write_table(pa.Table.from_batches(held))


def anonymous_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024 if "RssAnon:" in status else 0.0


def measure(way: str, python: str, table: Path, patterns: Path) -> dict[str, Any]:
    """Run one way in a fresh process and folder."""
    with tempfile.TemporaryDirectory(dir=patterns.parent) as folder:
        Path(folder, "patterns.json").write_bytes(patterns.read_bytes())
        environment = {**os.environ, "MAGICODER_DATA": str(DATA), "PYTHONHASHSEED": "0"}
        command = [python, str(HERE / "rivals" / "whole_path.py"), way, str(table), folder]
        before = os.times()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        most = 0.0
        while process.poll() is None:
            most = max(most, anonymous_mb(process.pid))
            time.sleep(0.02)
        assert process.stdout is not None
        told = process.stdout.read()
        if process.returncode:
            raise SystemExit(f"{way} failed ({process.returncode})")
        after = os.times()
    whole = after.children_user + after.children_system - before.children_user - before.children_system
    return {**json.loads(told), "whole": whole, "mb": most}


def rate(runs: list[dict[str, Any]]) -> float:
    return median(r["bytes"] / 1e6 / r["cpu"] for r in runs)


def paired(rounds: int, pythons: dict[str, str], folder: Path, patterns: Path) -> None:
    slices = {way: folder / f"slice-{SMALLER if way == 'original' else 1}.parquet" for way in pythons}
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in pythons}
    for _ in range(rounds):
        for way, python in pythons.items():
            runs[way].append(measure(way, python, slices[way], patterns))
    print(
        f"{'':<10}{'MB':>6}{'MB/CPU s':>10}{'start, s':>10}{'files/s':>10}{'mem, MB':>9}{'ours is':>9}{'from-to':>14}"
    )
    for way, of_way in runs.items():
        ratios = [(o["bytes"] / o["cpu"]) / (t["bytes"] / t["cpu"]) for o, t in zip(runs["ours"], of_way, strict=True)]
        first = of_way[0]
        print(
            f"{way:<10}{first['bytes'] / 1e6:>6.0f}{rate(of_way):>10.1f}"
            f"{median(r['whole'] - r['cpu'] for r in of_way):>10.2f}"
            f"{median(r['files'] / r['cpu'] for r in of_way):>10,.0f}{max(r['mb'] for r in of_way):>9.0f}"
            f"{median(ratios):>8.2f}x{min(ratios):>9.2f}-{max(ratios):.2f}"
            + (f"  target {TARGETS[way]}x" if way in TARGETS else "")
        )
    for way, of_way in runs.items():
        told(way, of_way)


def told(way: str, runs: list[dict[str, Any]]) -> None:
    """Print what came out, and where the time went."""
    first = runs[0]
    counts = ", ".join(f"{first[name]:,} {name}" for name in ("files", "distinct", "seeds", "clean"))
    steps = {step: median(r["steps"].get(step, 0) for r in runs) for step in first["steps"]}
    print(f"{way}: {counts}; CPU s: " + ", ".join(f"{step} {seconds:.2f}" for step, seconds in steps.items()))


def growth(rounds: int, folder: Path, patterns: Path) -> None:
    for way in OURS:
        print(f"\ngrowth of {way}\n{'MB':>8}{'CPU s':>9}{'x':>7}{'MB/CPU s':>10}{'mem, MB':>9}{'x':>7}")
        base: dict[str, float] = {}
        for times in (1, 4, 16):
            table = folder / f"{times}x.parquet"
            if not table.exists():
                continue
            runs = [measure(way, sys.executable, table, patterns) for _ in range(1 if times == 16 else rounds)]
            found = {"cpu": median(r["cpu"] for r in runs), "mb": median(r["mb"] for r in runs)}
            base = base or found
            print(
                f"{runs[0]['bytes'] / 1e6:>8,.0f}{found['cpu']:>9.2f}{found['cpu'] / base['cpu']:>7.2f}"
                f"{rate(runs):>10.1f}{found['mb']:>9.0f}{found['mb'] / base['mb']:>7.2f}",
                flush=True,
            )
            told(way, runs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="?", default=DATA / "corpus_sample.parquet")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=PYTHON", help="a peer's interpreter")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("paired", "growth"), help="leave the rest out")
    given = parser.parse_args()
    if not given.corpus.exists() or not DATA.is_dir():
        print(
            f"skipped: {given.corpus} or {DATA} is not there; benchmarks/corpus.py makes a corpus, MAGICODER_DATA names"
        )
        print("a folder with benchmarks/ (docs/benchmarks.md)")
        return 0
    pythons = dict.fromkeys(OURS, sys.executable) | dict(pair.split("=", 1) for pair in given.env)
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        patterns = folder / "patterns.json"
        patterns.write_text(json.dumps([p.text for p in original_patterns(at_hand(str(DATA)).tasks)]))
        shares = (1, 4, 16)
        for share in shares:
            cut(given.corpus, share, folder / f"{16 // share}x.parquet")
        with pq.ParquetFile(given.corpus) as file:
            size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
        # A corpus of 1 GB gives the rivals a slice of 64 MB; a smaller one goes to them whole.
        (folder / "slice-1.parquet").symlink_to("1x.parquet" if size > 500e6 else "16x.parquet")
        cut(folder / "slice-1.parquet", SMALLER, folder / f"slice-{SMALLER}.parquet")
        if given.only in (None, "paired"):
            paired(given.rounds, pythons, folder, patterns)
        if given.only in (None, "growth"):
            growth(given.rounds, folder, patterns)
    return 0


if __name__ == "__main__":
    sys.exit(main())
