"""Windows of real files: ours, default and exact, beside `datasets.map` with the original's logic.

    python benchmarks/seeds.py --files 20000

The original seeds its generator anew with each batch of 1,000 files, splits each file into lines, and draws a start
and a length; `datasets.map` writes what it returns. Ours are timed as the stage calls them, without reading and
writing. The exact windows are checked against the original's. The files are those of `main_job.py`. Rounds are
interleaved; figures are medians of CPU time, one process.
"""

import argparse
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
from main_job import files

from magicoder.text.windows import ExactWindows, draw_windows

SEED, MOST, BATCH = 976, 15, 1000
LENGTHS = {"min_lines": 1, "max_lines": MOST}


def original(batch: dict[str, list[str]], rows: list[int]) -> dict[str, list[Any]]:
    random.seed(SEED + rows[0])
    snippets = []
    for content in batch["content"]:
        lines = content.splitlines(keepends=True)
        start = random.choice(range(len(lines)))
        snippets.append("".join(lines[start : start + random.randint(1, MOST)]))
    return {"seed": snippets, "raw_index": rows}


def default(texts: list[str]) -> list[str]:
    drawn = (draw_windows(t, random.Random(f"{SEED}:{i}"), **LENGTHS, count=1) for i, t in enumerate(texts))
    return [window.text for windows in drawn for window in windows]


def exact(texts: list[str]) -> list[str]:
    windows = ExactWindows(seed=SEED, **LENGTHS, chunk_size=BATCH)
    return [window.text for text in texts if (window := windows.draw(text))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    datasets.disable_progress_bars()
    texts = [text for _, _, text in itertools.islice(files(), arguments.files) if text]
    megabytes = sum(map(len, texts)) / 1e6
    table = datasets.Dataset.from_dict({"content": texts})
    with tempfile.TemporaryDirectory(dir=".") as folder:
        kept = {"cache_file_name": str(Path(folder, "mapped.arrow")), "load_from_cache_file": False}
        ways: dict[str, Callable[[], Any]] = {
            "datasets.map": lambda: table.map(
                original, with_indices=True, batched=True, batch_size=BATCH, remove_columns=["content"], **kept
            ),
            "ours, default": lambda: default(texts),
            "ours, exact": lambda: exact(texts),
        }
        assert ways["ours, exact"]() == ways["datasets.map"]()["seed"][:]
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _, (name, way) in itertools.product(range(arguments.rounds), ways.items()):
            before = time.process_time()
            way()
            taken[name].append(time.process_time() - before)
    base = statistics.median(taken["datasets.map"])
    print(f"{len(texts):,} files, {megabytes:.0f} M characters\n{'':<30}{'files/s':>10}{'M char/s':>10}{'ratio':>8}")
    for name, times in taken.items():
        s = statistics.median(times)
        print(f"{name:<30}{len(texts) / s:>10,.0f}{megabytes / s:>10,.0f}{base / s:>8.2f}")


if __name__ == "__main__":
    main()
