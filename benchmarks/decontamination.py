"""Decontamination in full: what is planted and found, what is found by chance, and how fast each layer is.

    MAGICODER_DATA=DIR python benchmarks/decontamination.py

`DIR` holds `benchmarks/` (docs/benchmarks.md) and `corpus_sample.parquet` (columns repo, path, content); without the
variable it is `shared/data` beside the repository, and where that is not there nothing is measured. Planted are all
tasks: in upper case with other white space (layer `text`), solutions renamed and without comments by
Python's parser and tree-sitter's (`identifiers`), statements with a fifth of their words struck out at the end
(`ngrams`). Found by chance: in the sample and in Python's standard library. The index is held against the full texts
on all of it. Speed is MB of source text per CPU second of one process, the median of three rounds; the peer is
Aho-Corasick over the full texts in the same round.
"""

import os
import statistics
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.renamed import disguised

from magicoder.benchmarks import at_hand
from magicoder.records import Task
from magicoder.text.contamination import Layered
from magicoder.text.identifiers import MIN_TOKENS, code
from magicoder.text.ngrams import grams_of
from magicoder.text.patterns import patterns_of
from magicoder.text.substrings import Automaton, letters

BATCH, ROUNDS, SHARE = 500, 3, 0.5


def in_batches(search: Callable[[list[str]], list[Any]], texts: list[str]) -> list[Any]:
    return [found for i in range(0, len(texts), BATCH) for found in search(texts[i : i + BATCH])]


def planted(tasks: list[Task]) -> dict[str, list[tuple[Task, str]]]:
    upper = [(t, f"x: \t{text.upper()}\r\n") for t in tasks for text in (f"{t.prompt}{t.reference}",)]
    renamed = [(t, f"It's:\n{disguised(t)}\nend") for t in tasks if len(code(t.reference).tokens) >= MIN_TOKENS]
    cut = []
    for t in tasks:
        words = (t.description if grams_of(t.description) else t.prompt).split()
        # A statement of few grams loses most of them with its last words: those are not claimed.
        if len(grams_of(" ".join(words))) >= 20:
            cut.append((t, " ".join(words[: len(words) * 4 // 5])))
    return {"text": upper, "identifiers": renamed, "ngrams": cut}


def main() -> int:
    data = os.environ.get("MAGICODER_DATA") or str(Path(__file__).parents[2] / "shared" / "data")
    if not Path(data).is_dir():
        print(
            f"skipped: {data} is not there; set MAGICODER_DATA to a folder with benchmarks/ and corpus_sample.parquet"
        )
        return 0
    pa.set_cpu_count(1)
    index = at_hand(None).index
    assert index is not None
    tasks = at_hand(data).tasks
    layers = {layer: Layered(index, (layer,), SHARE) for layer in ("text", "identifiers", "ngrams")}
    wrong = 0

    print("planted, by benchmark: found/planted")
    for layer, cases in planted(tasks).items():
        found = in_batches(layers[layer], [text for _, text in cases])
        total = Counter(t.benchmark for t, _ in cases)
        hits = Counter(t.benchmark for (t, _), match in zip(cases, found, strict=True) if match)
        print(f"  {layer:<12}", ", ".join(f"{name} {hits[name]:,}/{count:,}" for name, count in sorted(total.items())))
        wrong += layer != "ngrams" and hits != total

    sample = pq.read_table(Path(data) / "corpus_sample.parquet", columns=["repo", "path", "content"]).to_pylist()
    library = sorted(p for p in Path(sysconfig.get_paths()["stdlib"]).rglob("*.py") if "site-packages" not in p.parts)
    named = [(f"{r['repo']} {r['path']}", r["content"]) for r in sample]
    named += [(f"stdlib {p.name}", p.read_text("utf-8", "replace")) for p in library]
    texts = [text for _, text in named]
    size = sum(len(text.encode("utf-8", "replace")) for text in texts) / 1e6
    print(f"\nfound in {len(texts):,} real files, {size:.0f} MB")
    patterns = patterns_of(tasks, index.floor).searched
    automaton = Automaton([p.form for p in patterns])
    by_layer = {}
    for layer, search in layers.items():
        by_layer[layer] = in_batches(search, texts)
        for (name, _), match in zip(named, by_layer[layer], strict=True):
            if match:
                print(
                    f"  {layer:<12} {name}: {match.benchmark} {match.task} {match.grams or ''} {match.matched[:60]!r}"
                )
    full = [match and patterns[match.pattern].task for match in (automaton.first(letters(text)) for text in texts)]
    same = full == [match and match.task for match in by_layer["text"]]
    print(f"  the index and the full texts agree on every file: {same}")
    wrong += not same

    print("\nMB of source text per CPU second, one process")
    ways: dict[str, Callable[[list[str]], list[Any]]] = {
        **layers,
        "all three": Layered(index, tuple(layers), SHARE),
        "Aho-Corasick over full texts": lambda part: [automaton.first(letters(text)) for text in part],
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, search in ways.items():
            began = time.process_time()
            in_batches(search, texts)
            rates[name].append(size / (time.process_time() - began))
    for name, measured in rates.items():
        print(f"  {name:<30} {statistics.median(measured):7.1f}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
