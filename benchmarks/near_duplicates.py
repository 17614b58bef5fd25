"""Near-duplicates of real files: ours, with and without compiled kernels, beside other tools, and beside the truth.

    python benchmarks/near_duplicates.py --env rensa=ENVS/rensa/bin/python --env gaoya=ENVS/gaoya/bin/python

The truth is every pair of files with a Jaccard similarity of word 5-grams of 0.7 or more, found without sketches: two
such sets share one of their rarest shingles. A file counts as found if the tool says that it has a near-duplicate
(text-dedup says only what it removed). Each way runs in a process of its own (`rivals/near_duplicates.py`), rounds
interleaved; CPU time of one round is without imports and reading, the figures are medians. Growth is measured on every
fourth and second run of 100 files and on all. Environments: `pip install pyarrow` and one of `rensa==0.5.0`,
`gaoya==0.2.2`, `"datasketch==2.0.0" xxhash`, `text-dedup==0.4.0`.
"""

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.parquet as pq
from tqdm import tqdm

from magicoder import kernels
from magicoder.text.sketches import jaccard, shingles

HERE = Path(__file__).parent
SAMPLE = Path(os.environ.get("MAGICODER_DATA", HERE.parent.parent / "shared" / "data")) / "corpus_sample.parquet"
THRESHOLD = 0.7
OURS = ("ours", "plain")


def alike(texts: Iterable[str]) -> set[int]:
    """Return the numbers of the texts that resemble another one."""
    sets = [shingles(text) for text in texts]
    holders: dict[int, int] = {}  # by a hash, so that the shingles themselves need not stay
    for found in sets:
        for shingle in found:
            key = hash(shingle)
            holders[key] = holders.get(key, 0) + 1
    rare: dict[bytes, list[int]] = {}
    for number, found in enumerate(sets):
        ordered = sorted(found, key=lambda shingle: (holders[hash(shingle)], shingle))
        for shingle in ordered[: len(found) - math.ceil(THRESHOLD * len(found)) + 1]:
            if holders[hash(shingle)] > 1:
                rare.setdefault(shingle, []).append(number)
    pairs = {pair for numbers in rare.values() for pair in itertools.combinations(numbers, 2)}
    return {n for a, b in pairs if jaccard(sets[a], sets[b]) >= THRESHOLD for n in (a, b)}


def measure(way: str, python: str, data: Path, share: int) -> dict[str, Any]:
    command = [python, str(HERE / "rivals" / "near_duplicates.py"), way, str(data), str(share)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": "0"})
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def speed(reports: list[dict[str, Any]], field: str = "cpu") -> float:
    return float(reports[0]["bytes"] / 1e6 / median(r[field] for r in reports))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SAMPLE, help="Parquet file with a column content")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-truth", action="store_true", help="leave out recall and precision (much memory)")
    args = parser.parse_args(argv)
    ways = {way: sys.executable for way in OURS if way != "ours" or kernels.available()}
    ways |= dict(env.split("=", 1) for env in args.env)
    reports: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    runs = [(way, python) for _ in range(args.rounds) for way, python in ways.items()]
    for way, python in tqdm(runs, disable=None):
        reports[way].append(measure(way, python, args.data, 1))
    column = pq.read_table(args.data, columns=["content"])["content"]
    truth = set() if args.no_truth else alike(column.to_pylist())
    best = max((speed(reports[way]) for way in ways if way not in OURS), default=math.nan)
    size = reports[next(iter(ways))][0]["bytes"] / 1e6
    print(f"{len(column):,} files, {size:,.0f} MB; {len(truth):,} have a near-duplicate")
    print(
        f"{'':<12}{'MB/CPU s':>9}{'to best':>9}{'files/s':>9}{'peak MB':>9}{'found':>8}{'recall':>9}{'precision':>10}"
    )
    for way, of_way in reports.items():
        found = set(of_way[0]["flagged"])
        recall = len(found & truth) / len(truth) if truth else math.nan
        precision = len(found & truth) / len(found) if truth and found else math.nan
        rate, peak = speed(of_way), max(r["peak_mb"] for r in of_way)
        print(
            f"{way:<12}{rate:>9.1f}{rate / best:>9.2f}{len(column) * rate / size:>9,.0f}{peak:>9,.0f}"
            f"{len(found):>8,}{recall:>9.4f}{precision:>10.4f}"
        )
    for way in ways.keys() & set(OURS):
        print(f"{way}: sketching alone {speed(reports[way], 'sketching'):,.1f} MB/CPU s")
    print("\ngrowth: MB, CPU ns a byte, lasting anonymous memory in MB")
    for share in (4, 2, 1):
        grown = [measure(next(iter(ways)), sys.executable, args.data, share) for _ in range(args.rounds)]
        memory = median(r["anonymous_mb"] for r in grown)
        print(f"{grown[0]['bytes'] / 1e6:>8,.0f}{1000 / speed(grown):>8.2f}{memory:>8,.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
