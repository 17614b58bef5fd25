"""Near-duplicates: what counts as one, what never does, and recall and precision on real code."""

import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from magicoder.text.minhash import Index, sketches
from magicoder.text.sketches import jaccard, shingles


def test_texts_of_fewer_than_five_words_resemble_only_their_equals() -> None:
    few = ["", "x", "a b c d", "a b c e", "return x + y", "return x - y", "{ }", "( )"]
    for a, b in combinations(sketches(few), 2):
        assert a.jaccard(b) == 0
    assert sketches(["  return x - y\n"])[0].jaccard(sketches(["return x - y"])[0]) == 1


def test_jaccard_is_the_share_of_common_shingles() -> None:
    a, b = shingles("one two three four five six seven"), shingles("one two three four five six eight")
    assert jaccard(a, b) == 2 / 4
    assert jaccard(set(), set()) == 1
    first, second = sketches(["one two three four five six seven", "one two three four five six eight"])
    assert first.jaccard(second) == 2 / 4


def test_the_index_names_the_text_and_the_similarity(tmp_path: Path) -> None:
    base = [f"word{i}" for i in range(100)]
    texts = [
        " ".join(base),
        " ".join([*base[:-4], "other", "last", "words", "here"]),
        "something of quite another kind, said once",
    ]
    whole, changed, other = sketches(texts)
    with Index(0.7, tmp_path) as index:
        index.add(other, "other")
        index.add(whole, "whole")
        near = index.find(changed)
        assert near is not None
        assert near.name == "whole"
        assert near.similarity == pytest.approx(92 / 100)
        assert index.find(whole) == ("whole", 1.0)
    with Index(0.95, tmp_path) as index:
        index.add(whole, "whole")
        assert index.find(changed) is None


def test_the_index_grows_and_still_finds_everything(tmp_path: Path) -> None:
    texts = [" ".join(f"w{i}x{j}" for j in range(30)) for i in range(600)]  # 25,200 entries in a table of 4,096
    found = sketches(texts)
    with Index(0.7, tmp_path) as index:
        for number, sketch in enumerate(found):
            assert index.find(sketch) is None
            index.add(sketch, f"text {number}")
        assert len(index) == 600
        assert [index.find(sketch) for sketch in found] == [(f"text {i}", 1.0) for i in range(600)]


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    with Index(0.7, tmp_path) as index:
        index.add(sketches(["a b c d e f"])[0], "x")
        assert list(tmp_path.iterdir()) == []


def test_sketches_do_not_depend_on_the_company() -> None:
    texts = ["a b c d e f g", "h i j k l m n", "x"]
    assert sketches(texts) == [sketches([text])[0] for text in texts]


def test_on_real_code_it_removes_what_exact_jaccard_removes(shared_data: Path, tmp_path: Path) -> None:
    """Recall and precision 1.0 on 1,600 files, against every pair that shares a shingle."""
    column = pq.read_table(shared_data / "corpus_sample.parquet", columns=["content"])["content"]
    texts: list[str] = column.slice(400, 1600).to_pylist()
    sets = [shingles(text) for text in texts]
    holders: dict[bytes, list[int]] = {}
    for number, found in enumerate(sets):
        for shingle in found:
            holders.setdefault(shingle, []).append(number)
    common: Counter[tuple[int, int]] = Counter()
    for numbers in holders.values():
        common.update(combinations(numbers, 2))
    resembling: dict[int, set[int]] = {}
    for (a, b), shared in common.items():
        if shared >= 0.7 * (len(sets[a]) + len(sets[b]) - shared):
            resembling.setdefault(b, set()).add(a)
    kept: set[int] = set()
    for number in range(len(texts)):
        if not resembling.get(number, set()) & kept:
            kept.add(number)
    exact = set(range(len(texts))) - kept
    assert len(exact) > 30

    removed = set()
    with Index(0.7, tmp_path) as index:
        for number, sketch in enumerate(s for i in range(0, len(texts), 250) for s in sketches(texts[i : i + 250])):
            if index.find(sketch):
                removed.add(number)
            else:
                index.add(sketch, str(number))
    assert len(removed & exact) / len(exact) >= 0.99
    assert len(removed & exact) / len(removed) == 1.0


def test_a_record_cut_short_by_a_full_disk_is_never_compared_with(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path; from magicoder.text.minhash import Index, Sketch\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "Index(0.7, Path(sys.argv[1])).add(Sketch(bytes(6000), bytes(168)), 'a')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert "No space left on device" in done.stderr
