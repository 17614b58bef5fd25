"""The journal behaves like a dictionary that keeps the first value, across reopenings."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from magicoder.journal import Journal
from magicoder.journal import key as request_key
from magicoder.records import Completion

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
counts = st.integers(0, 2**40)
completions = st.builds(
    Completion,
    texts=st.lists(texts, min_size=1, max_size=3).map(tuple),
    finish_reasons=st.lists(st.sampled_from(["stop", "length", "content_filter"]), min_size=1, max_size=3).map(tuple),
    model=texts,
    prompt_tokens=counts,
    completion_tokens=counts,
    fingerprint=texts,
)
batches = st.lists(st.lists(st.tuples(st.binary(max_size=2), completions), max_size=6), max_size=5)


@settings(max_examples=40, deadline=None)
@given(batches)
def test_the_first_answer_to_each_request_is_read_back_exactly(batches: list[list[tuple[bytes, Completion]]]) -> None:
    expected: dict[bytes, Completion] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        for batch in batches:
            with Journal.open(path) as journal:
                entries = [(request_key("m", body), completion, body) for body, completion in batch]
                told = journal.record(entries)
                for key, completion, _ in entries:
                    expected.setdefault(key, completion)
                    # Whatever one goes on with is what every later reader sees.
                    assert told.get(key, expected[key]) == expected[key]
        with Journal.open(path) as journal:
            assert journal.find(list(expected)) == expected
            assert journal.stats().answers == len(expected)


@given(st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=8), st.integers(0, 12)), unique=True, max_size=30))
def test_different_requests_have_different_keys(requests: list[tuple[str, bytes, int]]) -> None:
    usable = [r for r in requests if r[0].isprintable()]
    assert len({request_key(*r) for r in usable}) == len(usable)
