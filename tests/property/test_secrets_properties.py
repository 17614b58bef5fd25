"""The gate hides nothing, and redaction takes everything, on texts put together from what rules look for."""

import random
import re
from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from magicoder.text import secret_patterns
from magicoder.text.personal_data import Span
from magicoder.text.secrets import _apart, _is_secret, _private_key, apply, find
from tests.planted import FORMS, KEYS, planted

RULES = [(rule, re.compile(rule.pattern.encode())) for rule in (*secret_patterns.KEYS, *secret_patterns.NAMED)]

PIECES = st.one_of(
    st.builds(lambda kind, n, form: planted(kind, random.Random(n), form)[0], st.sampled_from(sorted(KEYS)),
              st.integers(0, 99), st.sampled_from(FORMS)),
    st.sampled_from([word for rule, _ in RULES for word in rule.literals]),
    st.sampled_from(["ann@x-y.org", "81.169.145.66", "2a01:4f8:0:59ed::2", "phone: +49 228 738 9120", " ", "\n", "'",
                     '"', "= ", ": ", "://", "@", ".", "é", "\ud800", "Passwd = "]),
    st.text(max_size=12),
    st.text("abcAB019_-.:/=+", max_size=44),
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=8).map("".join)


def everywhere(text: str) -> list[Span]:
    """Try every rule on keys at every place: what the gated search must equal."""
    data = text.encode("utf-8", "surrogatepass")

    def spans() -> Iterator[Span]:
        for rule, pattern in RULES:
            for start in range(len(data)):
                found = pattern.match(data, start)
                if found and rule.kind == "private_key":
                    yield from _private_key(data, found)
                elif found and _is_secret(rule, found["value"] if pattern.groups else found[0]):
                    yield *found.span("value" if pattern.groups else 0), rule.kind

    return _apart(spans(), [])


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_the_gate_finds_what_trying_everywhere_finds(text: str) -> None:
    assert [(f.start, f.end, f.kind) for f in find(text, personal=False)] == everywhere(text)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_after_redaction_nothing_is_found_and_lines_stand_where_they_stood(text: str) -> None:
    (changed,) = apply((text,), secrets="redact", personal_data="redact").texts
    assert find(changed) == []
    assert changed.count("\n") == text.count("\n")
    untouched = {n for n, _ in enumerate(text.split("\n"), 1)} - {
        line for f in find(text) for line in range(f.line, f.line + 40 if f.kind == "private_key" else f.line + 1)
    }
    before, after = text.split("\n"), changed.split("\n")
    assert all(before[n - 1] == after[n - 1] for n in untouched)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_findings_are_in_order_and_apart(text: str) -> None:
    findings = find(text)
    data = text.encode("utf-8", "surrogatepass")
    assert all(a.end <= b.start for a, b in pairwise(findings))
    assert all(0 <= f.start < f.end <= len(data) and f.line == data[: f.start].count(b"\n") + 1 for f in findings)


SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=12).map(
    lambda pairs: [(start, start + length, "k") for start, length in pairs]
)


@given(SPANS, SPANS)
def test_spans_are_taken_as_one_after_the_other_would_be(first: list[Span], then: list[Span]) -> None:
    def one_by_one(spans: list[Span], kept: list[Span]) -> list[Span]:
        for span in sorted(set(spans), key=lambda s: (s[0], -s[1], s[2])):
            if all(span[1] <= other[0] or other[1] <= span[0] for other in kept):
                kept = [*kept, span]
        return sorted(kept)

    kept = one_by_one(first, [])
    assert _apart(iter(first), []) == kept
    assert _apart(iter(then), kept) == one_by_one(then, kept)
