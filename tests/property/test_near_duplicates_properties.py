"""Sketches against their definition, the estimate against Jaccard similarity, clusters against all pairs."""

import tempfile
from array import array
from collections.abc import Sequence
from itertools import combinations, pairwise
from math import exp
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magicoder.text import near_duplicates, sketches
from magicoder.text.near_duplicates import Clusters, NearDuplicates, chance, least_agreeing
from magicoder.text.sketches import KEYS, SLOTS, compiled, jaccard, plain, shingles, sketch_batch

WORDS = st.lists(st.sampled_from(["if", "x", "y", "==", "return", "(", "0"]), max_size=25).map(" ".join)
PIECES = st.one_of(
    st.text(st.characters(), max_size=20),  # lone surrogates too
    st.sampled_from(
        ["\r\n", "\r", "\n", "\0", " ", "\t", "\x0b", "\x1c", "a_longer_word_than_8", "12345678", "é", "字"]
    ),
    st.text("ab_1 \r\n\u3000é", max_size=60),
)
TEXTS = st.lists(PIECES, max_size=30).map("".join)


def encoded(texts: Sequence[str]) -> list[bytes]:
    return [text.encode("utf-8", "surrogatepass") for text in texts]


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, max_size=6))
def test_the_kernel_computes_the_same_bytes(texts: list[str]) -> None:
    pytest.importorskip("numba")
    assert compiled(encoded(texts)) == plain(encoded(texts))


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS.map(lambda text: text.encode("utf-8", "replace").decode()), max_size=8), st.integers(0, 8))
def test_a_column_has_the_sketches_of_its_texts(texts: list[str], cut: int) -> None:
    pytest.importorskip("numba")
    compiled([])  # so that few texts go through the kernel too
    array = pa.array(["before", *texts, "behind"], pa.string())
    pieces = [array.slice(1, min(cut, len(texts))), array.slice(1 + cut, max(len(texts) - cut, 0))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketches, "_CHUNK", 40)
        assert sketch_batch(pa.chunked_array(pieces, pa.string())) == sketch_batch(texts)
    assert sketch_batch(pa.chunked_array(pieces, pa.string()).cast(pa.large_string())) == plain(encoded(texts))


def test_the_kernel_computes_the_same_bytes_of_long_texts_and_of_every_number_of_shingles() -> None:
    pytest.importorskip("numba")
    rng = Random(1)
    counts = [*range(40), 100, 255, 256, 257, 600, 1000, 1500, 3000, 120_000]
    texts = [" ".join(str(rng.getrandbits(40)) for _ in range(n + 4)) for n in counts]
    texts += ["same " * 1000, "{}\r\n" * 5000, "\r\n" * 3000, "x" * 100_000]
    assert compiled(encoded(texts)) == plain(encoded(texts))


@given(st.lists(TEXTS, min_size=1, max_size=5), st.integers(0, 5))
def test_sketches_do_not_depend_on_the_batch(texts: list[str], cut: int) -> None:
    whole, first, second = sketch_batch(texts), sketch_batch(texts[:cut]), sketch_batch(texts[cut:])
    assert len(whole) == len(texts)
    for name in ("shingles", "sizes", "slots", "keys"):
        assert getattr(whole, name) == getattr(first, name) + getattr(second, name)


@given(TEXTS)
def test_windows_newlines_change_nothing(text: str) -> None:
    unix = text.replace("\r", "")
    assert sketch_batch([unix]) == sketch_batch([unix.replace("\n", "\r\n")])
    assert shingles(unix) == shingles(unix.replace("\n", "\r\n"))


@given(st.lists(TEXTS | WORDS, min_size=2, max_size=2))
def test_the_hashes_give_the_exact_similarity(texts: list[str]) -> None:
    batch = sketch_batch(texts)
    hashes, (size, _) = array("Q", batch.shingles), array("I", batch.sizes)
    mine, theirs = set(hashes[:size]), set(hashes[size:])
    assert len(mine & theirs) / len(mine | theirs) == jaccard(*map(shingles, texts))


def pair(size: int, common: int, rng: Random) -> tuple[str, str]:
    """Return two texts of `size` shingles of which `common` are the same."""
    start = [f"{rng.getrandbits(60):x}" for _ in range(common + 4)]
    ends = [[f"{rng.getrandbits(60):x}" for _ in range(size - common)] for _ in range(2)]
    return " ".join(start + ends[0]), " ".join(start + ends[1])


def agreeing(slots: bytes) -> list[int]:
    """Return how many slots agree of text 0 and 1, of 2 and 3, and so on."""
    rows = [slots[start : start + SLOTS] for start in range(0, len(slots), SLOTS)]
    return [sum(a == b for a, b in zip(*two, strict=True)) for two in zip(rows[::2], rows[1::2], strict=True)]


@pytest.mark.parametrize("size", [3, 6, 12, 25, 60, 250, 1000, 4000])
def test_slots_agree_as_often_as_jaccard_similarity_says(size: int) -> None:
    """The mean of many pairs within 4.5 standard deviations of its own, each pair within 5."""
    rng = Random(size)
    trials = max(15, min(300, 30_000 // size))
    for common in sorted({size // 3, size * 2 // 3, size * 9 // 10}):
        texts = [text for _ in range(trials) for text in pair(size, common, rng)]
        similarity = jaccard(shingles(texts[0]), shingles(texts[1]))
        assert similarity == common / (2 * size - common)
        found = agreeing(sketch_batch(texts).slots)
        expected = SLOTS * (similarity + (1 - similarity) / 256)
        deviation = (expected * (1 - expected / SLOTS)) ** 0.5
        assert abs(sum(found) / trials - expected) <= 4.5 * deviation / trials**0.5
        unreached = SLOTS * exp(-size)  # slots that 256 rounds miss all hold the smallest hash
        assert max(abs(agree - expected) for agree in found) <= 5 * deviation + unreached


def test_bands_propose_as_many_pairs_as_they_should() -> None:
    """At the threshold 99.5 %, and hardly any that are far from it."""
    rng = Random(7)
    for size, common, trials in ((200, 165, 600), (200, 120, 600), (200, 66, 600), (40, 33, 600)):
        texts = [text for _ in range(trials) for text in pair(size, common, rng)]
        keys = array("I", sketch_batch(texts).keys)
        bands = [set(enumerate(keys[start + 1 : start + KEYS])) for start in range(0, len(keys), KEYS)]
        proposed = sum(bool(a & b) for a, b in zip(bands[::2], bands[1::2], strict=True))
        share = chance(common / (2 * size - common))
        assert abs(proposed - trials * share) <= 4.5 * (trials * share * (1 - share)) ** 0.5 + 1


def found_in(texts: Sequence[str], threshold: float, cuts: Sequence[int] = ()) -> Clusters:
    bounds = [0, *sorted(min(cut, len(texts)) for cut in cuts), len(texts)]
    with tempfile.TemporaryDirectory() as folder, NearDuplicates(threshold, Path(folder)) as search:
        for start, stop in pairwise(bounds):
            search.add(sketch_batch(texts[start:stop]))
        return search.clusters()


def leaders_of(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Return the lowest number of each text's cluster, the plain way."""
    leaders = list(range(count))
    for a, b in pairs:
        low, high = sorted((leaders[a], leaders[b]))
        leaders = [low if leader == high else leader for leader in leaders]
    return leaders


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, max_size=20), st.sampled_from([0.5, 0.7, 0.9, 1.0]), st.lists(st.integers(0, 20), max_size=3))
def test_clusters_are_those_of_all_pairs_that_bands_propose(
    texts: list[str], threshold: float, cuts: list[int]
) -> None:
    """Of pairs at the threshold bands propose 99.5 %; equal texts are always found, and what is joined is alike."""
    sets = [shingles(text) for text in texts]
    batch = sketch_batch(texts)
    keys = array("I", batch.keys)
    alike, proposed = [], []
    for a, b in combinations(range(len(texts)), 2):
        if jaccard(sets[a], sets[b]) >= threshold:
            alike.append((a, b))
            rows = (keys[text * KEYS : (text + 1) * KEYS] for text in (a, b))
            slots = batch.slots[a * SLOTS : (a + 1) * SLOTS] + batch.slots[b * SLOTS : (b + 1) * SLOTS]
            if any(map(int.__eq__, *rows)) and agreeing(slots)[0] >= least_agreeing(threshold):
                proposed.append((a, b))
    clusters = found_in(texts, threshold, cuts)
    assert clusters.leaders.tolist() == leaders_of(len(texts), proposed)
    assert all(pair in proposed for pair in alike if sets[pair[0]] == sets[pair[1]])
    for members in clusters.members():
        for text in members:
            other, similarity = clusters.nearest(text)
            assert other in members
            assert similarity == jaccard(sets[text], sets[other]) >= threshold


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=20), st.sampled_from([0.5, 0.7, 1.0]))
def test_the_kernel_joins_the_same_pairs(texts: list[str], threshold: float) -> None:
    pytest.importorskip("numba")
    plainly = found_in(texts, threshold)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_LEAST_COMPILED", 1)
        assert found_in(texts, threshold) == plainly
