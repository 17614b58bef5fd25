"""A corpus becomes clean, decontaminated seeds in one way: Parquet file → no near-duplicates → windows → no benchmarks.

    PYTHON whole_path.py WAY TABLE FOLDER

`TABLE` has the columns repo, path, lang, content; `FOLDER/patterns.json` the texts to search for, in order; the seeds
go to `FOLDER`. Prints bytes, counts, CPU seconds of all and of each step, as JSON. Not counted is what comes before the
first byte is read: imports, loading compiled code, reading the benchmarks (the caller sees the whole process).
"""

import hashlib
import json
import os
import random
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

THRESHOLD, SLOTS, BANDS, ROWS, SEED, MOST, BATCH = 0.7, 256, 42, 6, 976, 15, 1000
WORD = re.compile(r"\w+")
COLUMNS = ["repo", "path", "lang", "content"]


def cpu() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


class Times:
    """CPU seconds by step, from `ready` on."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}
        self._last = self.start = 0.0

    def ready(self) -> None:
        self._last = self.start = cpu()

    def took(self, step: str) -> None:
        now = cpu()
        self.steps[step] = round(self.steps.get(step, 0) + now - self._last, 3)
        self._last = now


Counts = dict[str, int]


def shingles(text: str) -> set[str]:
    found = WORD.findall(text)
    return set(map(" ".join, zip(*(found[i:] for i in range(5)), strict=False))) or {text}


def window(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True) or [""]
    start = int(rng.random() * len(lines))
    return "".join(lines[start : start + 1 + int(rng.random() * MOST)])


def patterns(folder: Path) -> list[str]:
    found: list[str] = json.loads((folder / "patterns.json").read_text())
    return found


# --- ours ---


def ours(table: Path, folder: Path, times: Times) -> Counts:
    """The same work as the peers': no screens, the original's benchmarks by its rule."""
    from magicoder.recipe import Recipe
    from magicoder.stages.decontaminate import Decontaminate
    from magicoder.stages.deduplicate import Deduplication
    from magicoder.stages.documents import Documents
    from magicoder.stages.seeds import Seeds

    documents = Documents(
        screens=(), secrets="keep", personal_data="keep", normalise_newlines=False, license_headers=False
    )
    recipe = Recipe(
        documents=documents,
        seeds=Seeds(kind="window"),
        deduplicate=Deduplication(seeds=False),
        decontaminate=Decontaminate(mode="original"),
    )
    return path_of(recipe, table, folder, times, data=os.environ["MAGICODER_DATA"])


def recipe_s(table: Path, folder: Path, times: Times) -> Counts:
    """What a recipe does by default: every screen, equal and similar seeds, all benchmarks by the shipped index."""
    from magicoder.recipe import Recipe
    from magicoder.strategies.oss_instruct import OssInstruct

    return path_of(Recipe(strategy=OssInstruct()), table, folder, times, data=None)


def path_of(recipe: Any, table: Path, folder: Path, times: Times, *, data: str | None) -> Counts:
    from dataclasses import replace

    import pyarrow as pa

    from magicoder import kernels
    from magicoder.corpora.tables import Tables
    from magicoder.engines.local import Local
    from magicoder.languages import all_languages
    from magicoder.pipeline import Line, Nobody, Surroundings
    from magicoder.store import RunFolder
    from magicoder.summary import StageCount

    if kernels.available():
        from magicoder.kernels import fingerprints, ngrams, pairs, scan, shingles, tokens, windows  # noqa: F401

    class Watcher(Nobody):
        def done(self, count: StageCount, *, built: bool) -> None:
            assert built
            counts[count.stage] = count.kept
            times.took(count.stage)

    # Imports that come late: Arrow's of pandas, where that is installed, with the first array; ours of the languages.
    pa.array([0])
    all_languages()
    counts: Counts = {}
    with RunFolder.locked(folder / "run") as run:
        around = Surroundings(engine=Local(), journal=folder / "journal", data=data, watcher=Watcher())
        line = Line(replace(recipe, corpora=(Tables(path=str(table)),)), run, around)
        times.ready()
        screened = line.seeds()
    files = line.artifacts["documents"].manifest
    stays = line.artifacts["distinct_files"].manifest.rows
    return {"bytes": files.facts["bytes"], "files": files.facts["files"], "distinct": stays} | {
        "seeds": line.artifacts["seeds"].manifest.rows,
        "clean": screened.manifest.rows,
    }


# --- peers ---


def glue(table: Path, folder: Path, times: Times) -> Counts:
    """The fastest of each that was measured: pyarrow, rensa's deduplicator, Python's windows, hyperscan."""
    import hyperscan as hs
    import pyarrow as pa
    import pyarrow.parquet as pq
    from rensa import RMinHash, RMinHashDeduplicator

    times.ready()
    texts = patterns(folder)
    database = hs.Database(mode=hs.HS_MODE_BLOCK)
    flags = hs.HS_FLAG_CASELESS | hs.HS_FLAG_SINGLEMATCH
    literals = [text.encode() for text in texts]
    database.compile(expressions=literals, ids=list(range(len(texts))), flags=flags, literal=True)
    times.took("patterns")
    index = RMinHashDeduplicator(THRESHOLD, BANDS * ROWS, True, BANDS, SEED)  # noqa: FBT003
    rng = random.Random(SEED)
    counts = {"bytes": 0, "files": 0, "distinct": 0, "seeds": 0, "clean": 0}
    hits: list[int] = []

    def matched(number: int, *_: Any) -> None:
        hits.append(number)

    def is_clean(text: str) -> bool:
        hits.clear()
        database.scan(text.encode(), match_event_handler=matched)
        return not hits

    writer: Any = None
    for batch in pq.ParquetFile(table).iter_batches(BATCH, columns=COLUMNS, use_threads=False):
        files = batch["content"].to_pylist()
        counts["bytes"] += sum(len(text.encode()) for text in files)
        times.took("read")
        sketches = RMinHash.from_token_sets([list(shingles(text)) for text in files], BANDS * ROWS, SEED)
        first = counts["files"]
        stays = index.add_pairs([(str(n), sketch) for n, sketch in enumerate(sketches, first)])
        stays = [bool(s) for s in stays]
        times.took("near-duplicates")
        seeds = [window(text, rng) if stay else None for text, stay in zip(files, stays, strict=True)]
        times.took("seeds")
        clean = [seed is not None and is_clean(seed) for seed in seeds]
        times.took("benchmarks")
        out = pa.table({name: batch[name] for name in COLUMNS[:3]} | {"seed": pa.array(seeds, pa.string())})
        writer = writer or pq.ParquetWriter(folder / "seeds.parquet", out.schema, compression="zstd")
        writer.write_table(out.filter(pa.array(clean)))
        counts["files"] += len(files)
        counts["distinct"] += sum(stays)
        counts["seeds"] += sum(stays)
        counts["clean"] += sum(clean)
        times.took("write")
    writer.close()
    return counts


def original(table: Path, folder: Path, times: Times) -> Counts:
    """As Magicoder's programs work: `datasets`, MinHash by SHA-1 and numpy, a loop over patterns for every seed.

    Re-implemented in a few lines to be measured, from what is published about them.
    """
    import datasets
    import numpy as np

    datasets.disable_progress_bars()
    times.ready()
    prime, largest = np.uint64((1 << 61) - 1), np.uint64((1 << 32) - 1)
    draws = np.random.RandomState(42)
    a = draws.randint(1, prime, SLOTS, np.uint64)[:, None]
    b = draws.randint(0, prime, SLOTS, np.uint64)[:, None]

    def hashed(shingle: str) -> int:
        return int.from_bytes(hashlib.sha1(shingle.encode()).digest()[:4], "little")

    def sketch(row: dict[str, Any], number: int) -> dict[str, Any]:
        hashes = np.array([hashed(shingle) for shingle in shingles(row["content"])], np.uint64)
        slots = np.minimum.reduce(((a * hashes + b) % prime) & largest, 1)
        keys = [slots[i * ROWS : (i + 1) * ROWS].byteswap().tobytes() for i in range(BANDS)]
        return {"number": number, "keys": keys}

    def draw(batch: dict[str, Any], rows: list[int]) -> dict[str, Any]:
        rng = random.Random(SEED + rows[0])
        return {"seed": [window(text, rng) for text in batch["content"]]}

    cache = str(folder / "cache")
    data = datasets.Dataset.from_parquet(str(table), columns=COLUMNS, cache_dir=cache)
    times.took("read")
    with_keys = data.map(sketch, with_indices=True, remove_columns=COLUMNS)
    holders: list[dict[bytes, int]] = [{} for _ in range(BANDS)]
    parents = list(range(len(data)))

    def root(n: int) -> int:
        while parents[n] != n:
            parents[n] = n = parents[parents[n]]
        return n

    for row in with_keys:
        for held, key in zip(holders, row["keys"], strict=True):
            one, other = root(row["number"]), root(held.setdefault(key, row["number"]))
            parents[max(one, other)] = min(one, other)
    kept = data.filter(lambda _, number: root(number) == number, with_indices=True)
    times.took("near-duplicates")
    seeds = kept.map(draw, with_indices=True, batched=True, batch_size=BATCH, remove_columns=["content"])
    times.took("seeds")
    texts = patterns(folder)

    def is_clean(row: dict[str, Any]) -> bool:
        lowered = row["seed"].lower()
        return not any(text.lower() in lowered for text in texts)

    clean = seeds.filter(is_clean)
    times.took("benchmarks")
    clean.to_json(str(folder / "seeds.jsonl"))
    size = sum(len(text.encode()) for text in data["content"])
    times.took("write")
    return {"bytes": size, "files": len(data), "distinct": len(kept), "seeds": len(seeds), "clean": len(clean)}


WAYS: dict[str, Callable[[Path, Path, Times], Counts]] = {
    "ours": ours,
    "recipe": recipe_s,
    "glue": glue,
    "original": original,
}


def main(way: str, table: str, folder: str) -> None:
    times = Times()
    counts = WAYS[way](Path(table), Path(folder), times)
    total = cpu() - times.start
    print(json.dumps({**counts, "cpu": total, "start": times.start, "steps": times.steps}))


if __name__ == "__main__":
    main(*sys.argv[1:])
