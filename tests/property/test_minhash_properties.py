"""Near-duplicate search against the definition of Jaccard similarity."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from magicoder.text.minhash import Index, sketches
from magicoder.text.sketches import jaccard, shingles

WORDS = st.lists(st.sampled_from(["if", "x", "y", "==", "return", "(", "0"]), max_size=25).map(" ".join)


@given(st.lists(WORDS, min_size=2, max_size=2))
def test_a_sketch_gives_the_exact_similarity(texts: list[str]) -> None:
    a, b = sketches(texts)
    assert a.jaccard(b) == jaccard(*map(shingles, texts))
    assert a.jaccard(b) == b.jaccard(a)


@settings(max_examples=60)
@given(st.lists(WORDS, max_size=15), st.sampled_from([0.5, 0.7, 0.9]))
def test_the_index_never_calls_near_what_is_not_and_always_finds_equals(texts: list[str], threshold: float) -> None:
    added: list[str] = []
    with tempfile.TemporaryDirectory() as folder, Index(threshold, Path(folder)) as index:
        for text, sketch in zip(texts, sketches(texts), strict=True):
            near = index.find(sketch)
            similar = [jaccard(shingles(text), shingles(other)) for other in added]
            if near is None:
                assert 1.0 not in similar
            else:
                assert near.similarity == similar[int(near.name)] >= threshold
            index.add(sketch, str(len(added)))
            added.append(text)
