"""Near-duplicates of a whole collection: what is joined, what it costs, and recall and precision on real code."""

import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import combinations
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from magicoder import kernels
from magicoder.text import near_duplicates, sketches
from magicoder.text.near_duplicates import Clusters, NearDuplicates, least_agreeing, sketch_batch
from magicoder.text.sketches import jaccard, shingles, words

BASE = [f"word{i}" for i in range(100)]


@pytest.fixture(params=["plain", "compiled"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of joining."""
    if request.param == "compiled":
        pytest.importorskip("numba")
        monkeypatch.setattr(near_duplicates, "_LEAST_COMPILED", 0)
    else:
        monkeypatch.setattr(kernels, "available", lambda: False)
    return str(request.param)


def clusters_of(texts: Sequence[str], folder: Path, threshold: float = 0.7, batch: int = 1000) -> Clusters:
    with NearDuplicates(threshold, folder) as search:
        for start in range(0, len(texts), batch):
            search.add(sketch_batch(texts[start : start + batch]))
        assert len(search) == len(texts)
        return search.clusters()


def test_words_are_runs_of_letters_digits_underscores_and_whatever_is_not_ascii() -> None:
    assert words("def f_1(x): return x+1  # é") == [b"def", b"f_1", b"x", b"return", b"x", b"1", "é".encode()]


def test_a_shingle_is_five_words_in_their_order_and_case() -> None:
    assert shingles("a b, C (d) e f") == {b"a b C d e", b"b C d e f"}


def test_texts_of_fewer_than_five_words_resemble_only_their_equals(tmp_path: Path) -> None:
    few = ["", "x", "a b c d", "a b c e", "return x + y", "return x - y", "{ }", "( )", "{\n}", "  return x - y\r\n"]
    assert list(clusters_of([*few, "{\r\n} "], tmp_path).members()) == [(5, 9), (8, 10)]


@pytest.mark.usefixtures("way")
def test_no_text_one_text_and_equal_texts(tmp_path: Path) -> None:
    assert list(clusters_of([], tmp_path).members()) == []
    one = clusters_of(["a b c d e f"], tmp_path)
    assert (one.count_texts, one.leader(0)) == (1, 0)
    with pytest.raises(KeyError):
        one.nearest(0)
    equal = clusters_of(["a b c d e f"] * 3, tmp_path)
    assert list(equal.members()) == [(0, 1, 2)]
    assert [equal.leader(i) for i in range(3)] == [0, 0, 0]
    assert equal.nearest(2) == (0, 1.0)


@pytest.mark.usefixtures("way")
def test_a_cluster_is_led_by_its_first_text_and_names_what_each_was_joined_with(tmp_path: Path) -> None:
    whole = " ".join(BASE)
    changed = " ".join([*BASE[:-4], "other", "last", "words", "here"])
    texts = ["something of quite another kind, said once", changed, "x", whole, whole]
    found = clusters_of(texts, tmp_path)
    assert list(found.members()) == [(1, 3, 4)]
    assert found.nearest(4) == (3, 1.0)
    assert found.nearest(3)[0] in (1, 4)
    assert found.nearest(1)[0] in (3, 4)
    assert found.nearest(1)[1] == pytest.approx(92 / 100)
    assert list(clusters_of(texts, tmp_path, 0.95).members()) == [(3, 4)]


@pytest.mark.usefixtures("way")
def test_a_text_belongs_to_a_cluster_by_any_of_its_members(tmp_path: Path) -> None:
    """0 resembles 1 and 1 resembles 2; 0 and 2 alone are too far apart."""
    texts = [" ".join(BASE[start : start + 60]) for start in (0, 6, 12)]
    assert jaccard(shingles(texts[0]), shingles(texts[2])) < 0.7
    assert list(clusters_of(texts, tmp_path).members()) == [(0, 1, 2)]


@pytest.mark.usefixtures("way")
def test_ten_thousand_equal_texts_cost_one_comparison_each(tmp_path: Path) -> None:
    found = clusters_of([" ".join(BASE)] * 10_000, tmp_path)
    assert set(found.leaders) == {0}
    assert found.candidate_pairs == found.verified_pairs == found.joined_pairs == 9_999


@pytest.mark.usefixtures("way")
def test_a_thousand_texts_that_share_a_long_beginning_cost_linear_work(tmp_path: Path) -> None:
    """All share most bands, none resembles another; each is compared with a bounded number of them in each band."""
    texts = [" ".join([*BASE[:60], *(f"own{i}x{j}" for j in range(40))]) for i in range(1000)]
    found = clusters_of(texts, tmp_path)
    assert list(found.members()) == []
    assert found.candidate_pairs <= 64 * 43 * 1000
    twins = clusters_of(texts + texts[::-1], tmp_path)
    assert sorted(twins.members()) == [(i, 1999 - i) for i in range(1000)]


def test_keys_beyond_a_block_are_read_back_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(f"w{i % 70}x{j}" for j in range(30)) for i in range(140)]
    whole = clusters_of(texts, tmp_path)
    monkeypatch.setattr(near_duplicates, "_BLOCK", 16)
    assert clusters_of(texts, tmp_path, batch=9) == whole
    assert sorted(whole.members()) == [(i, i + 70) for i in range(70)]


def test_long_collections_are_sketched_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(f"w{i}x{j}" for j in range(30)) for i in range(20)]
    whole = sketch_batch(texts)
    monkeypatch.setattr(sketches, "_CHUNK", 1000)
    monkeypatch.setattr(sketches, "_KNOWN_WORDS", 10)
    assert sketch_batch(texts) == whole


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    with NearDuplicates(0.7, tmp_path) as search:
        search.add(sketch_batch(["a b c d e f"] * 3))
        search.clusters()
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_to_be_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = partial(open, "/dev/full", "wb", buffering=0)
    monkeypatch.setattr(near_duplicates, "_scratch", lambda folder: full())
    with NearDuplicates(0.7, tmp_path) as search, pytest.raises(OSError, match="No space left on device"):
        search.add(sketch_batch(["a b c d e f"]))


def test_a_write_that_is_cut_short_goes_on(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with os.fdopen(write, "wb", buffering=0) as file, os.fdopen(read, "rb") as other:
        with pytest.raises(OSError, match="No space left on device"):  # a full pipe takes nothing, as a full disk does
            near_duplicates._append(file, b"x" * 1_000_000)
        file.close()
        assert len(other.read()) > 0


def test_pairs_of_the_threshold_have_enough_slots_in_common() -> None:
    assert least_agreeing(1.0) == 256
    assert 0.55 * 256 < least_agreeing(0.7) < 0.6 * 256
    assert least_agreeing(0.01) == 0


def alike(sets: list[set[bytes]], threshold: float) -> set[tuple[int, int]]:
    """Return every pair at or above the threshold, by way of every pair that shares a shingle."""
    holders: dict[bytes, list[int]] = {}
    for number, found in enumerate(sets):
        for shingle in found:
            holders.setdefault(shingle, []).append(number)
    common: Counter[tuple[int, int]] = Counter()
    for numbers in holders.values():
        common.update(combinations(numbers, 2))
    return {(a, b) for (a, b), shared in common.items() if shared >= threshold * (len(sets[a]) + len(sets[b]) - shared)}


def test_on_real_code_it_finds_what_exact_jaccard_finds(shared_data: Path, tmp_path: Path) -> None:
    """Recall at least 0.99 and precision 1.0 on 1,600 files, against every pair that shares a shingle."""
    column = pq.read_table(shared_data / "corpus_sample.parquet", columns=["content"])["content"]
    texts: list[str] = column.slice(400, 1600).to_pylist()
    sets = [shingles(text) for text in texts]
    pairs = alike(sets, 0.7)
    flagged = {text for pair in pairs for text in pair}
    found = clusters_of(texts, tmp_path, batch=250)
    in_clusters = {text for members in found.members() for text in members}
    assert len(flagged) > 30
    assert len(in_clusters & flagged) / len(flagged) >= 0.99
    assert in_clusters <= flagged
    assert sum(found.leader(a) == found.leader(b) for a, b in pairs) / len(pairs) >= 0.99
    for members in found.members():
        for text in members:
            other, similarity = found.nearest(text)
            assert similarity == jaccard(sets[text], sets[other]) >= 0.7
