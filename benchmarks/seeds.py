"""From documents to seeds: windows beside other ways to draw them, functions beside the bare parser, and the growth.

    python benchmarks/seeds.py --env polars=ENVS/polars/bin/python

Windows: every way gets the same files in memory and makes a column of snippets; CPU time (all threads) without
reading, rounds interleaved, medians. `datasets.map` runs the original's function, "plain Python" the same with a cheap
generator, polars splits, slices and joins (`pip install polars`; without `--env`, the interpreter's own if it has one).
Ours in exact mode is checked against the original in `tests/unit/test_exact_seeds.py`, compiled against plain here.

Functions: parsing alone; parsing and a query for function nodes; ours, whose functions come with their documentation.
Stage: the corpus as a table, `documents` and `seeds` as a run does them, in one process; with and without the screens
for secrets and personal data. Growth: the seeds stage over 1, 4 and 16 times the files, each in a process of its own;
memory is the largest RssAnon seen, without imports.
The files are those of `corpus_sample.parquet` (MAGICODER_DATA, else ../shared/data).
"""

import argparse
import importlib.util
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tree_sitter as ts

from magicoder import kernels
from magicoder.corpora.tables import Tables
from magicoder.engines.local import Local
from magicoder.languages import all_languages
from magicoder.records import Document, Seed
from magicoder.schema import schema_of
from magicoder.stages.documents import Documents
from magicoder.stages.seeds import Seeds
from magicoder.store import Artifact, Writer
from magicoder.text.syntax import documented_functions, find_functions, tree_of
from magicoder.text.window_tables import window_table
from magicoder.text.windows import ExactWindows

HERE = Path(__file__).parent
SAMPLE = Path(os.environ.get("MAGICODER_DATA", HERE.parent.parent / "shared" / "data")) / "corpus_sample.parquet"
RIVALS = ("datasets.map", "plain Python", "polars")
LARGEST = 200_000
"""Characters of the largest file that is parsed: what larger ones take is their own story."""


def rival(way: str, python: str, data: Path) -> float:
    command = [python, str(HERE / "rivals" / "windows.py"), way, str(data), "1"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return float(json.loads(done.stdout)[0])


def timed(run: Callable[[], Any]) -> float:
    before = time.process_time()
    run()
    return time.process_time() - before


def windows(rounds: int, pythons: dict[str, str], folder: Path) -> None:
    table = pq.read_table(SAMPLE, columns=["path", "content"])
    table = table.filter(pc.greater(pc.binary_length(table["content"]), 0)).combine_chunks()
    data = folder / "texts.parquet"
    pq.write_table(table, data)
    texts = table["content"].to_pylist()
    megabytes = sum(len(text.encode()) for text in texts) / 1e6

    def ours(*, compiled: bool) -> pa.Table:
        return window_table(table["path"], table["content"], random_seed=976, compiled=compiled)

    def exact() -> None:
        draws = ExactWindows()
        for text in texts:
            draws.draw(text)

    ways: dict[str, Callable[[], Any]] = {"ours": lambda: ours(compiled=False), "ours, exact mode": exact}
    if kernels.available():
        assert ours(compiled=True).equals(ours(compiled=False))
        ways["ours, compiled"] = lambda: ours(compiled=True)
    taken: dict[str, list[float]] = {name: [] for name in (*pythons, *ways)}
    for _ in range(rounds):
        for name, python in pythons.items():
            taken[name].append(rival(name, python, data))
        for name, way in ways.items():
            taken[name].append(timed(way))
    times = {name: median(values) for name, values in taken.items()}
    print(f"\nWindows of {len(texts):,} files, {megabytes:.1f} MB")
    print(f"{'':<20}{'files/s':>12}{'MB/s':>9}{'x datasets.map':>16}")
    for name, seconds in times.items():
        ratio = f"{times['datasets.map'] / seconds:.2f}" if "datasets.map" in times else "–"
        print(f"{name:<20}{len(texts) / seconds:>12,.0f}{megabytes / seconds:>9,.0f}{ratio:>16}")


def functions(rounds: int, files: int) -> None:
    rows = pq.read_table(SAMPLE, columns=["lang", "content"]).to_pylist()
    random.Random(0).shuffle(rows)
    totals = [0.0] * 4
    print(f"\nFunctions: of the bare parser's speed\n{'':<14}{'MB/s, bare':>12}{'+ query':>9}{'ours':>7}{'all':>7}")
    for language in all_languages():
        texts = [r["content"] for r in rows if r["lang"] == language.name and len(r["content"]) < LARGEST][:files]

        def bare(texts: list[str] = texts, language: Any = language) -> list[Any]:
            return [tree_of(text, language) for text in texts]

        cursors: dict[Any, ts.QueryCursor] = {}
        pattern = "[" + " ".join(f"({node})" for node in language.function_nodes) + "] @function"

        def query(bare: Callable[[], list[Any]] = bare, cursors: Any = cursors, pattern: str = pattern) -> int:
            count = 0
            for tree in bare():
                if tree.language not in cursors:
                    cursors[tree.language] = ts.QueryCursor(ts.Query(tree.language, pattern))
                count += len(cursors[tree.language].captures(tree.root_node).get("function", []))
            return count

        query()
        ways: list[Callable[[], Any]] = [
            bare,
            query,
            lambda texts=texts, language=language: [documented_functions(t, language) for t in texts],
            lambda texts=texts, language=language: [find_functions(t, language, documented=False) for t in texts],
        ]
        seconds = [
            median(round_) for round_ in zip(*([timed(way) for way in ways] for _ in range(rounds)), strict=True)
        ]
        totals = [a + b for a, b in zip(totals, seconds, strict=True)]
        size = sum(len(t.encode()) for t in texts) / 1e6
        print(
            f"{language.name:<14}{size / seconds[0]:>12.1f}" + "".join(f"{seconds[0] / s:>8.2f}" for s in seconds[1:])
        )
    print(f"{'all':<14}{'':>12}" + "".join(f"{totals[0] / s:>8.2f}" for s in totals[1:]))


def stages(rounds: int, folder: Path) -> None:
    corpus = Tables(path=str(SAMPLE))

    def stream() -> None:
        with pq.ParquetFile(SAMPLE) as file:
            for _ in file.iter_batches(1024, columns=["repo", "path", "lang", "content"], use_threads=False):
                pass

    def documents(place: Path, **settings: Any) -> Writer[Document]:
        out = Writer(place, "documents", Document)
        Documents(**settings).run(corpus.documents(1_000_000), out, Local())
        return out

    keep = {"secrets": "keep", "personal_data": "keep"}
    number = itertools.count()
    ways: dict[str, Callable[[], Any]] = {
        "pyarrow, streamed": stream,
        "corpus, as files": lambda: [None for _ in corpus.documents(1_000_000)],
        "documents": lambda: documents(folder / f"documents-{next(number)}"),
        "documents, secrets kept": lambda: documents(folder / f"documents-{next(number)}", **keep),
        "documents, unscreened": lambda: documents(folder / f"documents-{next(number)}", screens=(), **keep),
    }
    out = documents(folder / "documents")
    artifact = Artifact(out.folder, Document, out.manifest(""))
    ways["seeds, windows"] = lambda: Seeds().run(
        artifact, Writer(folder / f"seeds-{next(number)}", "seeds", Seed), Local(), "window"
    )
    ways["seeds, functions"] = lambda: Seeds().run(
        artifact, Writer(folder / f"seeds-{next(number)}", "seeds", Seed), Local(), "function"
    )
    size = out.manifest("").facts["bytes"] / 1e6
    print(f"\nStages, one process, {size:.1f} MB\n{'':<26}{'CPU s':>8}{'MB/s':>8}")
    for name, way in ways.items():
        seconds = median(timed(way) for _ in range(rounds))
        print(f"{name:<26}{seconds:>8.2f}{size / seconds:>8.0f}")


def grown(times: int, folder: Path) -> Artifact[Document]:
    """Write the sample so many times over, with other ids."""
    out = Writer(folder / f"{times}x", "documents", Document)
    for copy in range(times):
        for batch in pq.ParquetFile(SAMPLE).iter_batches(1000, columns=["repo", "path", "lang", "content"]):
            names = [
                f"{r}:{p}~{copy}" for r, p in zip(batch["repo"].to_pylist(), batch["path"].to_pylist(), strict=True)
            ]
            empty = pa.array([""] * len(names))
            columns = [
                names,
                batch["content"].cast(pa.string()),
                batch["lang"],
                batch["repo"],
                empty,
                batch["path"],
                empty,
            ]
            out.write_table(pa.table(columns, schema=schema_of(Document)), [])
    return Artifact(out.folder, Document, out.manifest(""))


def anonymous() -> int:
    """Return this process's anonymous memory in KB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0])


def measure_growth(folder: Path) -> None:
    """The child: run the stage over the documents in `folder`."""
    if kernels.available():
        import magicoder.kernels.windows  # noqa: F401 - its loading is told apart
    out: Writer[Document] = Writer(folder, "documents", Document)
    artifact = Artifact(folder, Document, out.manifest(""))
    before, seen, done = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            seen.append(anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    seconds = timed(lambda: Seeds().run(artifact, Writer(folder / "seeds", "seeds", Seed), Local(), "window"))
    done.set()
    thread.join()
    print(json.dumps({"seconds": seconds, "mb": (max(seen) - before) / 1024, "rows": artifact.manifest.rows}))


def growth(folder: Path) -> None:
    print(f"\nGrowth of the seeds stage\n{'':<6}{'files':>10}{'CPU s':>8}{'x':>7}{'anonymous MB':>14}{'x':>7}")
    first: dict[str, float] = {}
    for times in (1, 4, 16):
        place = grown(times, folder).folder
        command = [sys.executable, __file__, "--child", str(place)]
        environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
        found = json.loads(done.stdout)
        first = first or found
        print(
            f"{times:<6}{found['rows']:>10,}{found['seconds']:>8.2f}{found['seconds'] / first['seconds']:>7.2f}"
            f"{found['mb']:>14.0f}{found['mb'] / first['mb']:>7.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--env", action="append", default=[], metavar="WAY=PYTHON", help="an interpreter that has it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=60, help="files of each language that are parsed")
    parser.add_argument("--only", choices=["windows", "functions", "stages", "growth"], help="one part of it")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        measure_growth(arguments.child)
        return
    given = dict(pair.split("=", 1) for pair in arguments.env)
    has = {"datasets.map": "datasets", "polars": "polars"}
    here = [way for way in RIVALS if way not in has or importlib.util.find_spec(has[way])]
    pythons = {way: given.get(way, sys.executable) for way in RIVALS if way in given or way in here}
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        parts: dict[str, Callable[[], None]] = {
            "windows": lambda: windows(arguments.rounds, pythons, folder),
            "functions": lambda: functions(arguments.rounds, arguments.files),
            "stages": lambda: stages(arguments.rounds, folder),
            "growth": lambda: growth(folder),
        }
        for part, run in parts.items():
            if arguments.only in (None, part):
                run()


if __name__ == "__main__":
    main()
