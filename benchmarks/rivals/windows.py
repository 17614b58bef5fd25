"""One way to draw windows of lines from a Parquet file's column `content`: CPU seconds of each round, as JSON.

python benchmarks/rivals/windows.py polars data.parquet 5
"""

import json
import random
import sys
import time

SEED, MOST, BATCH = 976, 15, 1000


def original(batch, rows):
    random.seed(SEED + rows[0])
    snippets = []
    for content in batch["content"]:
        lines = content.splitlines(keepends=True)
        start = random.choice(range(len(lines)))
        snippets.append("".join(lines[start : start + random.randint(1, MOST)]))
    return {"seed": snippets, "raw_index": rows}


def with_datasets(path):
    import datasets

    datasets.disable_progress_bars()
    table = datasets.Dataset.from_parquet(path, columns=["content"], cache_dir=f"{path}.cache")

    def run():
        table.map(
            original,
            with_indices=True,
            batched=True,
            batch_size=BATCH,
            remove_columns=["content"],
            load_from_cache_file=False,
            cache_file_name=f"{path}.cache/mapped.arrow",
        )

    return run


def with_python(path):
    import pyarrow.parquet as pq

    texts = pq.read_table(path, columns=["content"])["content"].to_pylist()

    def run():
        rng = random.Random(SEED)
        snippets = []
        for text in texts:
            lines = text.splitlines(keepends=True)
            start = int(rng.random() * len(lines))
            snippets.append("".join(lines[start : start + 1 + int(rng.random() * MOST)]))
        return snippets

    return run


def with_polars(path):
    import polars as pl

    frame = pl.read_parquet(path, columns=["content"])

    def run():
        rng = random.Random(SEED)
        draws = pl.DataFrame(
            {
                "at": [rng.random() for _ in range(frame.height)],
                "lines": [rng.randint(1, MOST) for _ in range(frame.height)],
            }
        )
        lines = pl.col("content").str.split("\n")
        both = frame.hstack(draws).with_columns(lines=lines, count=pl.col("lines"))
        start = (pl.col("at") * pl.col("lines").list.len()).cast(pl.Int64)
        return both.select(pl.col("lines").list.slice(start, pl.col("count")).list.join("\n"))

    return run


def main():
    way, path, rounds = sys.argv[1:]
    run = {"datasets.map": with_datasets, "plain Python": with_python, "polars": with_polars}[way](path)
    run()
    taken = []
    for _ in range(int(rounds)):
        before = time.process_time()
        run()
        taken.append(time.process_time() - before)
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
