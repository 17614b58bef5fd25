"""Find the near-duplicates among the files of a Parquet table in one way, in whatever environment has it.

    PYTHON near_duplicates.py WAY TABLE SHARE

Prints CPU seconds without reading, bytes, peak resident and lasting anonymous memory (MB), and the numbers of the
files that have a near-duplicate, as JSON. Word 5-grams, 256 slots (252 where that is 42 bands of 6), 0.7.
"""

import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

THRESHOLD, SLOTS, BANDS, ROWS, SEED = 0.7, 256, 42, 6, 42
BATCH, RUN = 500, 100
WORD = re.compile(r"\w+")

Batches = Iterator[list[str]]
Times = dict[str, float]


def cpu() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def batches(table: Path, share: int, times: Times) -> Batches:
    """Yield every `share`-th run of 100 files, so that neighbours stay together; what that costs is noted."""
    number = 0
    before = cpu()
    for batch in pq.ParquetFile(table).iter_batches(BATCH, columns=["content"], use_threads=False):
        rows = range(number, number + batch.num_rows)
        texts = [t for i, t in zip(rows, batch["content"].to_pylist(), strict=True) if i // RUN % share == 0]
        times["bytes"] += sum(len(text.encode()) for text in texts)
        times["reading"] += cpu() - before
        yield texts
        before = cpu()
        number = rows.stop
    times["reading"] += cpu() - before


def ready(times: Times) -> None:
    """Note that everything is imported."""
    times["before"] = cpu() - times["reading"]


def shingles(text: str) -> set[str]:
    found = WORD.findall(text)
    return set(map(" ".join, zip(*(found[i:] for i in range(5)), strict=False))) or {text}


def ours(texts: Batches, times: Times) -> list[int]:
    from magicoder import kernels
    from magicoder.text.near_duplicates import NearDuplicates, sketch_batch

    if kernels.available():
        from magicoder.kernels import pairs, shingles  # noqa: F401
    ready(times)
    times["sketching"] = 0
    with tempfile.TemporaryDirectory(dir=".") as folder, NearDuplicates(THRESHOLD, Path(folder)) as search:
        for batch in texts:
            start = cpu()
            sketches = sketch_batch(batch)
            times["sketching"] += cpu() - start
            search.add(sketches)
        return sorted(text for members in search.clusters().members() for text in members)


def plain(texts: Batches, times: Times) -> list[int]:
    from magicoder import kernels

    kernels.available = lambda: False  # type: ignore[assignment]
    return ours(texts, times)


def rensa(texts: Batches, times: Times) -> list[int]:
    from rensa import RMinHash, RMinHashLSH

    ready(times)
    index = RMinHashLSH(THRESHOLD, BANDS * ROWS, BANDS)
    matrices, count = [], 0
    for batch in texts:
        matrices.append(RMinHash.digest_matrix_from_token_sets([list(shingles(t)) for t in batch], BANDS * ROWS, SEED))
        index.insert_matrix(matrices[-1], count)
        count += len(batch)
    flags = [flag for matrix in matrices for flag in index.query_duplicate_flags_matrix(matrix)]
    return [number for number, flag in enumerate(flags) if flag]


def datasketch(texts: Batches, times: Times) -> list[int]:
    from datasketch import MinHash, MinHashLSH
    from xxhash import xxh3_64_intdigest

    ready(times)
    index = MinHashLSH(THRESHOLD, SLOTS)
    sketches = []
    for text in (text for batch in texts for text in batch):
        sketch = MinHash(SLOTS, SEED, lambda data: xxh3_64_intdigest(data) & 0xFFFFFFFF)
        sketch.update_batch([shingle.encode() for shingle in shingles(text)])
        index.insert(len(sketches), sketch)
        sketches.append(sketch)
    return [number for number, sketch in enumerate(sketches) if len(index.query(sketch)) > 1]


def gaoya(texts: Batches, times: Times) -> list[int]:
    from gaoya.minhash import MinHashStringIndex

    ready(times)
    index = MinHashStringIndex(32, THRESHOLD, BANDS, ROWS, None, "word", False, (5, 5), "vec")  # noqa: FBT003
    every = [text for batch in texts for text in batch]
    index.par_bulk_insert_docs(list(range(len(every))), every)
    return [number for number, found in enumerate(index.par_bulk_query(every)) if len(found) > 1]


def text_dedup(texts: Batches, times: Times) -> list[int]:
    """Its command keeps one of each cluster and does not say which files were like it: these are the removed ones."""
    every = [text for batch in texts for text in batch]
    with tempfile.TemporaryDirectory(dir=".") as folder:
        pq.write_table(pa.table({"content": every, "number": range(len(every))}), f"{folder}/in.parquet")
        options = f"--path parquet --data_files {folder}/in.parquet --split train --cache_dir {folder}/cache --output"
        options += f" {folder}/out --column content --ngram 5 --min_length 0 --num_perm {SLOTS} --threshold {THRESHOLD}"
        options += " --hash_func xxh3 --hash_bits 32 --num_proc 1 --batch_size 1000"
        command = [sys.executable, "-m", "text_dedup.minhash", *options.split()]
        ready(times)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times["after"] = cpu()
        from datasets import load_from_disk

        return sorted(set(range(len(every))) - set(load_from_disk(f"{folder}/out")["number"]))


WAYS: dict[str, Callable[[Batches, Times], list[int]]] = {
    way.__name__: way for way in (ours, plain, rensa, datasketch, gaoya, text_dedup)
}


def anonymous_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) / 1024


def main(way: str, table: str, share: str) -> None:
    times: Times = {"reading": 0.0, "bytes": 0.0}
    texts = batches(Path(table), int(share), times)
    start = time.perf_counter()
    flagged = WAYS[way](texts, times)
    report = {
        "cpu": times.get("after", cpu()) - times["before"] - times["reading"],
        "wall": time.perf_counter() - start,
        "sketching": times.get("sketching"),
        "bytes": times["bytes"],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "anonymous_mb": anonymous_mb(),
        "flagged": flagged,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
