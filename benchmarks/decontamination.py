"""Decontamination in full: what is planted and found, what is found by chance, and how fast it is, beside other tools.

    MAGICODER_DATA=DIR python benchmarks/decontamination.py [--env NAME=PYTHON …]

`DIR` holds `benchmarks/` (docs/benchmarks.md) and `corpus_sample.parquet` (columns repo, path, content); without the
variable it is `shared/data` beside the repository, and where that is not there nothing is measured. Planted are all
tasks: in upper case with other white space, with CRLF, and in comments (layer `text`), solutions renamed and without
comments by Python's parser and tree-sitter's (`identifiers`), statements with a fifth of their words struck out at the
end (`ngrams`). Found by chance: in the sample and in Python's standard library. The shipped index is held against the
full texts, kernels against plain Python and the original's rule against nested loops, on all of it.

Speed is MB of source text per CPU second of one process, the median of three interleaved rounds. With `--env`, other
tools search for the same patterns (`rivals/scan.py`), each in its own environment (`pip install pyarrow` and
`pyahocorasick`, `ahocorasick_rs`, `daachorse`, `hyperscan` or `polars`); every answer is compared.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tests.renamed import disguised  # noqa: E402

from magicoder import kernels  # noqa: E402
from magicoder.benchmarks import at_hand  # noqa: E402
from magicoder.records import Task  # noqa: E402
from magicoder.text.benchmark_index import Index  # noqa: E402
from magicoder.text.contamination import LAYERS, Layered, Whole  # noqa: E402
from magicoder.text.identifiers import MIN_TOKENS, code  # noqa: E402
from magicoder.text.ngrams import SPAN, grams_of, plain_words  # noqa: E402
from magicoder.text.patterns import original_patterns, patterns_of  # noqa: E402
from magicoder.text.substrings import Automaton, letters  # noqa: E402

BATCH, ROUNDS, SHARE, LENGTH = 500, 3, 0.5, 11
OURS = ("magicoder", "magicoder-plain", "nested loops", "kernel-bytes")
SETS = {"2.3K": 40, "24K": 400, "115K": 0}
"""Sets of patterns, and which share of the files nested loops can be waited for."""


def in_batches(search: Callable[[list[str]], list[Any]], texts: list[str]) -> list[Any]:
    return [found for i in range(0, len(texts), BATCH) for found in search(texts[i : i + BATCH])]


def planted(tasks: list[Task]) -> Iterator[tuple[str, str, list[tuple[Task, str]]]]:
    """Yield layer, disguise and cases."""
    whole = [(t, f"{t.prompt}{t.reference}") for t in tasks]
    whole += [(t, text) for t in tasks for text in t.more_references if len(letters(text)) >= 20]
    yield "text", "upper case, tabs", [(t, f"x: \t{text.upper()}\r\n") for t, text in whole]
    yield "text", "CRLF", [(t, text.replace("\r\n", "\n").replace("\n", "\r\n")) for t, text in whole]
    yield "text", "in comments", [(t, "\n// ".join(text.splitlines())) for t, text in whole]
    solved = [t for t in tasks if len(code(t.reference).tokens) >= MIN_TOKENS]
    yield "identifiers", "renamed, no comments", [(t, f"It's:\n{disguised(t)}\nend") for t in solved]
    cut = []
    for t in tasks:
        words = (t.description if grams_of(t.description) else t.prompt).split()
        # A statement of few grams loses most of them with its last words: those are not claimed.
        if len(grams_of(" ".join(words))) >= 20:
            cut.append((t, " ".join(words[: len(words) * 4 // 5])))
    yield "ngrams", "a fifth missing", cut


def recall(tasks: list[Task], index: Index) -> int:
    """Print what is found of what is planted; return how many disguises are not found whole that should be."""
    wrong = 0
    print("planted, by benchmark: found/planted")
    for layer, disguise, cases in planted(tasks):
        texts = [text for _, text in cases]
        found = in_batches(Layered(index, (layer,), SHARE), texts)
        wrong += found != in_batches(Layered(index, (layer,), SHARE, compiled=False), texts)
        total = Counter(t.benchmark for t, _ in cases)
        hits = Counter(t.benchmark for (t, _), match in zip(cases, found, strict=True) if match)
        shown = ", ".join(f"{name} {hits[name]:,}/{count:,}" for name, count in sorted(total.items()))
        print(f"  {layer}, {disguise}: {hits.total():,}/{total.total():,} ({shown})")
        wrong += layer != "ngrams" and hits != total
    return wrong


def real_files(data: Path) -> list[tuple[str, str]]:
    sample = pq.read_table(data / "corpus_sample.parquet", columns=["repo", "path", "content"]).to_pylist()
    library = sorted(p for p in Path(sysconfig.get_paths()["stdlib"]).rglob("*.py") if "site-packages" not in p.parts)
    named = [(f"{r['repo']} {r['path']}", r["content"]) for r in sample]
    return named + [(f"stdlib {p.name}", p.read_text("utf-8", "replace")) for p in library]


def by_chance(named: list[tuple[str, str]], tasks: list[Task], index: Index) -> int:
    """Print what real files are taken for, and whether all ways to search agree on them."""
    texts = [text for _, text in named]
    print(f"\nfound in {len(texts):,} real files, {sum(map(len, texts)) / 1e6:.0f} million characters")
    by_layer = {layer: in_batches(Layered(index, (layer,), SHARE), texts) for layer in LAYERS}
    for layer, found in by_layer.items():
        for (name, _), m in zip(named, found, strict=True):
            if m:
                print(f"  {layer:<12} {name}: {m.benchmark} {m.task} {m.grams or ''} {m.matched[:60]!r}")
    patterns = patterns_of(tasks, index.floor).searched
    automaton = Automaton([p.form for p in patterns])
    full = [match and patterns[match.pattern].task for match in (automaton.first(letters(text)) for text in texts)]
    every = list(original_patterns(tasks))
    hits = [m for m in in_batches(Whole(every), texts) if m]
    print(f"  mode original: {len(hits)} files: {dict(Counter(m.task for m in hits))}")
    checks = {
        "the index and the full texts agree on every file": full == [m and m.task for m in by_layer["text"]],
        "kernels and plain Python agree on every file": all(
            in_batches(Layered(index, (layer,), SHARE, compiled=False), texts) == found
            for layer, found in by_layer.items()
        ),
        "mode original agrees with nested loops on every 20th file": in_batches(Whole(every), texts[::20])
        == in_batches(Whole(every, compiled=False), texts[::20])
        and [m and (m.name, m.task) for m in in_batches(Whole(every), texts[::20])]
        == [
            next(((p.name, p.task) for p in every if p.text.lower() in text), None)
            for text in (t.lower() for t in texts[::20])
        ],
    }
    for what, holds in checks.items():
        print(f"  {what}: {holds}")
    return sum(not holds for holds in checks.values())


def python_sets(tasks: list[Task]) -> Callable[[list[str]], list[Any]]:
    """Sequences of ten words as Python's sets compare them."""
    known = {
        gram
        for t in tasks
        for words in [plain_words(t.description)]
        for gram in zip(*(words[i:] for i in range(SPAN)), strict=False)
    }

    def search(texts: list[str]) -> list[Any]:
        found = []
        for text in texts:
            words = plain_words(text)
            found.append(not known.isdisjoint(zip(*(words[i:] for i in range(SPAN)), strict=False)))
        return found

    return search


def speed(texts: list[str], tasks: list[Task], index: Index) -> None:
    few = texts[::10]
    ways: dict[str, tuple[Callable[[list[str]], list[Any]], list[str]]] = {
        f"{', '.join(layers)}{'' if compiled else ', plain'}": (
            Layered(index, layers, SHARE, compiled=compiled),
            texts if compiled else few,
        )
        for layers in (*((layer,) for layer in LAYERS), LAYERS)
        for compiled in ([True] if kernels.available() else []) + [False]
    } | {"sequences of ten words in Python's sets": (python_sets(tasks), few)}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number, (name, (search, given)) in itertools.product(range(ROUNDS + 1), ways.items()):
        began = time.process_time()
        in_batches(search, given)
        if number:  # the first loads the kernels
            rates[name].append(
                sum(len(t.encode("utf-8", "replace")) for t in given) / 1e6 / (time.process_time() - began)
            )
    print("\nMB of source text per CPU second, one process")
    for name, measured in rates.items():
        print(f"  {name:<40} {median(measured):7.1f}")


def pattern_sets(tasks: list[Task], unscanned: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the original's sets, the texts of all benchmarks, and those with pieces of real code beside them."""
    yield "2.3K", [p.text for p in original_patterns(tasks)]
    every = [text.strip() for t in tasks for text in (t.prompt, t.description, t.reference, *t.more_references)]
    texts = [text for text in dict.fromkeys(every) if len(text) >= LENGTH]
    yield "24K", texts[:: max(len(texts) // 24_000, 1)][:24_000]
    pieces = (text[i : i + 400 + i % 600].strip() for text in unscanned for i in range(0, len(text), 350))
    yield "115K", [*texts, *itertools.islice((p for p in pieces if len(p) > 100), 115_000 - len(texts))]


def beside_peers(data: Path, tasks: list[Task], pythons: dict[str, str]) -> int:
    """Print rates, build times and whose answers differ from whose; return how many of ours are wrong."""
    column = pq.read_table(data / "corpus_sample.parquet", columns=["content"])["content"].to_pylist()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, chosen in pattern_sets(tasks, column[1::2]):
            patterns = list({p.lower(): p for p in chosen}.values())
            files = [
                f"{a}\n{p.upper()}\n{p[:-1]}"
                for a, p in zip(column[::2], patterns[:: len(patterns) // 60], strict=False)
            ]
            files += column[::2][len(files) :]
            pq.write_table(pa.table({"content": files}), Path(folder) / "documents.parquet")
            Path(folder, f"{name}.json").write_text(json.dumps(patterns))
            ways = [(way, pythons.get(way.removesuffix("-bytes"), sys.executable)) for way in (*OURS, *pythons)]
            ways += [("hyperscan-bytes", pythons["hyperscan"])] if "hyperscan" in pythons else []
            ways = [
                w for w in ways if name != "115K" or w[0] in ("magicoder", "kernel-bytes", "daachorse", "hyperscan")
            ]
            runs: dict[str, list[dict[str, Any]]] = {way: [] for way, _ in ways}
            for _, (way, python) in itertools.product(range(1 if name == "115K" else ROUNDS), ways):
                if way == "nested loops" and runs[way]:
                    continue
                share = str(SETS[name]) if way == "nested loops" else "1"
                command = [python, str(HERE / "rivals" / "scan.py"), way, folder, name, share]
                runs[way].append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
            wrong += table(name, len(patterns), runs)
    return wrong


def table(name: str, count: int, runs: dict[str, list[dict[str, Any]]]) -> int:
    truth = runs["magicoder"][0]["answers"]
    print(
        f"\n{count:,} patterns, {runs['magicoder'][0]['bytes'] / 1e6:.0f} MB: MB per CPU s, times nested loops, build s"
    )
    rates = {way: median(r["bytes"] / 1e6 / r["cpu_s"] for r in of_way) for way, of_way in runs.items()}
    wrong = 0
    for way, of_way in sorted(runs.items(), key=lambda pair: rates[pair[0]]):
        share = SETS[name] if way == "nested loops" else 1
        differ = sum(a != b for r in of_way for a, b in zip(r["answers"], truth[::share], strict=True)) / len(of_way)
        ratio = f"{rates[way] / rates['nested loops']:8,.0f}" if "nested loops" in rates else " " * 8
        built = median(r["build_s"] for r in of_way)
        print(f"  {way:<18} {rates[way]:9,.1f} {ratio} {built:7.2f}  {differ:.0f} answers differ")
        wrong += way == "nested loops" and differ > 0
    return wrong + (not any(answer is not None for answer in truth))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", action="append", default=[], metavar="NAME=PYTHON", help="a peer's interpreter")
    parser.add_argument("--only", choices=("found", "speed", "peers"), help="leave the rest out")
    given = parser.parse_args(arguments)
    data = Path(os.environ.get("MAGICODER_DATA", HERE.parents[1] / "shared" / "data"))
    if not data.is_dir():
        print(
            f"skipped: {data} is not there; set MAGICODER_DATA to a folder with benchmarks/ and corpus_sample.parquet"
        )
        return 0
    pa.set_cpu_count(1)
    index = at_hand(None).index
    assert index is not None
    tasks = at_hand(str(data)).tasks
    wrong = 0
    if given.only in (None, "found"):
        wrong += recall(tasks, index)
        wrong += by_chance(real_files(data), tasks, index)
    if given.only in (None, "speed"):
        speed([text for _, text in real_files(data)], tasks, index)
    if given.only == "peers" or (given.only is None and given.env):
        wrong += beside_peers(data, tasks, dict(pair.split("=", 1) for pair in given.env))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
