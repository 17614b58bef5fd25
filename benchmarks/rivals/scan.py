"""One search for many patterns, in the environment of its tool: which file holds which pattern first, case aside.

PYTHON scan.py WAY FOLDER SET SHARE: `FOLDER/documents.parquet` (column content) and `FOLDER/SET.json`, the patterns in
order. Prints build and CPU seconds, bytes and the answers. A way that ends in `-bytes` is handed what it reads, UTF-8;
the others begin with Python's strings, as the stage has them, and pay for what they make of them.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.parquet as pq

BATCH = 500
Search = Callable[[list[Any]], list[int | None]]


def lowest(found: Any) -> int | None:
    return min(found, default=None)


def nested_loops(patterns: list[str]) -> Search:
    """As the original: every pattern lowered for every file."""
    return lambda texts: [
        next((i for i, p in enumerate(patterns) if p.lower() in text), None) for text in map(str.lower, texts)
    ]


def pyahocorasick(patterns: list[str]) -> Search:
    import ahocorasick

    automaton = ahocorasick.Automaton()
    for i, pattern in reversed(list(enumerate(patterns))):
        automaton.add_word(pattern, i)
    automaton.make_automaton()
    return lambda texts: [lowest(i for _, i in automaton.iter(text.lower())) for text in texts]


def ahocorasick_rs(patterns: list[str]) -> Search:
    from ahocorasick_rs import AhoCorasick, Implementation

    # Its DFA takes a gigabyte for 2,300 patterns, and more than there is for 24,000.
    kind = Implementation.DFA if len(patterns) < 5000 else Implementation.ContiguousNFA
    automaton = AhoCorasick(patterns, implementation=kind)
    return lambda texts: [
        lowest(i for i, _, _ in automaton.find_matches_as_indexes(text.lower(), overlapping=True)) for text in texts
    ]


def daachorse(patterns: list[str]) -> Search:
    from daachorse import DoubleArrayAhoCorasick

    automaton = DoubleArrayAhoCorasick([p.encode() for p in patterns])
    return lambda texts: [lowest(i for _, _, i in automaton.find_overlapping(text.lower().encode())) for text in texts]


def hyperscan(patterns: list[str], form: Callable[[Any], bytes] = str.encode) -> Search:
    import hyperscan as hs

    database = hs.Database(mode=hs.HS_MODE_BLOCK)
    database.compile(
        expressions=[p.encode() for p in patterns],
        ids=list(range(len(patterns))),
        flags=hs.HS_FLAG_CASELESS | hs.HS_FLAG_SINGLEMATCH,
        literal=True,
    )
    found: list[int] = []

    def took(number: int, *_: Any) -> None:
        found.append(number)

    def first(text: Any) -> int | None:
        found.clear()
        database.scan(form(text), match_event_handler=took)
        return lowest(found)

    return lambda texts: [first(text) for text in texts]


def polars(patterns: list[str]) -> Search:
    """It says where, not what: the few files with a match are searched for which."""
    import polars as pl

    given = pl.Series(patterns).implode()

    def search(texts: list[str]) -> list[int | None]:
        forms = pl.Series(texts).str.to_lowercase()
        hits = forms.str.find_many(given, overlapping=True).list.len().to_list()
        return [
            next(i for i, p in enumerate(patterns) if p in form) if hit else None
            for form, hit in zip(forms, hits, strict=True)
        ]

    return search


def magicoder(patterns: list[str], *, compiled: bool = True) -> Search:
    from magicoder.text.contamination import Whole
    from magicoder.text.patterns import Pattern
    from magicoder.text.substrings import lowered

    whole = Whole(
        [Pattern(name="", benchmark="", task=str(i), text=p, form=lowered(p)) for i, p in enumerate(patterns)],
        compiled=compiled,
    )
    return lambda texts: [found and int(found.task) for found in whole(texts)]


def kernel(patterns: list[str]) -> Search:
    """The kernel alone on bytes, ASCII case only."""
    from magicoder.kernels.scan import NONE, Scan
    from magicoder.kernels.texts import joined

    made: list[Any] = []

    def search(texts: list[bytes]) -> list[int | None]:
        data, starts = joined(texts)
        made[:] = made or [Scan([p.encode() for p in patterns], data)]
        return [None if n == NONE else n for n in made[0].first(data, starts).tolist()]

    return search


WAYS: dict[str, Callable[[list[str]], Search]] = {
    "nested loops": nested_loops,
    "pyahocorasick": pyahocorasick,
    "ahocorasick_rs": ahocorasick_rs,
    "daachorse": daachorse,
    "hyperscan": hyperscan,
    "hyperscan-bytes": lambda patterns: hyperscan(patterns, form=bytes),
    "polars": polars,
    "magicoder": magicoder,
    "magicoder-plain": lambda patterns: magicoder(patterns, compiled=False),
    "kernel-bytes": kernel,
}


def main(way: str, folder: str, chosen: str, share: str) -> None:
    patterns = json.loads(Path(folder, f"{chosen}.json").read_text())
    column = pq.read_table(Path(folder) / "documents.parquet")["content"].to_pylist()[:: int(share)]
    texts = [text.encode() for text in column] if way.endswith("-bytes") else column
    batches = [texts[i : i + BATCH] for i in range(0, len(texts), BATCH)]
    began = time.process_time()
    search = WAYS[way](patterns if way == "nested loops" else [p.lower() for p in patterns])
    search(batches[0])
    built = time.process_time() - began
    spent: list[float] = []
    while sum(spent) < 1:  # what is fast, a few times
        began = time.process_time()
        answers = [answer for batch in batches for answer in search(batch)]
        spent.append(time.process_time() - began)
    size = sum(len(text.encode()) for text in column)
    json.dump({"build_s": built, "cpu_s": median(spent), "bytes": size, "answers": answers}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
