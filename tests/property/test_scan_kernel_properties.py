"""Kernels of decontamination against the plain functions that they stand in for: verdict and first match."""

import random
import sys
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from magicoder.records import Task
from magicoder.text.benchmark_index import index_of
from magicoder.text.contamination import LAYERS, Layered
from magicoder.text.fingerprints import Letters, Marks, marks_of
from magicoder.text.identifiers import code, symbols_of
from magicoder.text.ngrams import Statements, grams_of
from magicoder.text.substrings import Automaton, Lowest, folded, letters, letters_of, lowered

# What lower-cases to ASCII (U+0130, U+212A) or grows, white space and digits beyond ASCII, half a surrogate pair.
PIECES = [
    *[
        "a",
        "B",
        "ab",
        "ABA",
        "abab",
        "K",
        "k",
        "i",
        "\u0130",
        "\u212a",
        "ß",
        "Σ",
        "é",
        "\u00a0",
        "\u2028",
        "٣",
        "²",
        "日本",
    ],
    *[
        "\ud800",
        "\r\n",
        "\n",
        " ",
        "\t",
        "\x1c",
        ".",
        "=",
        "(",
        "'",
        '"',
        "\\",
        "#",
        "//",
        "/*",
        "*/",
        "{",
        "}",
        "f",
        "_",
    ],
    *["0", "1x", "return", "len", "max(", "...", "==", "=>", "x = "],
]
TEXT = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
SETTINGS = settings(max_examples=150, deadline=None)


def naive(patterns: list[str], text: str) -> int | None:
    """The original's nested loop."""
    return next((i for i, p in enumerate(patterns) if p.lower() in text.lower()), None)


@SETTINGS
@given(
    st.lists(TEXT.filter(bool), min_size=1, max_size=12), st.lists(TEXT, max_size=6), st.randoms(use_true_random=False)
)
@example(["a" * 11, "a" * 17, "a" * 18, "a" * 25, "a" * 10, "a"], ["a" * n for n in range(30)], random.Random(0))
@example(
    ["KELVIN and kelvin, İstanbul"],
    ["\u212aelvin and \u212aELVIN, \u0130stanbul", "kelvin and kelvin, istanbul"],
    random.Random(0),
)
def test_the_scan_finds_what_nested_loops_find(patterns: list[str], texts: list[str], rng: random.Random) -> None:
    """Patterns of every length, inside one another, planted whole, short of one character, and across two texts."""
    forms = [lowered(p) for p in patterns]
    for p in patterns:
        cut = rng.randrange(len(p) + 1)
        texts = [
            *texts,
            f"{rng.choice(PIECES)}{p.upper()}{rng.choice(PIECES)}",
            p[:-1],
            p[cut:],
            p[:cut],
            p.replace("\n", "\r\n"),
        ]
    lowest = Lowest(forms)
    found = lowest.first_compiled(texts)
    assert found == lowest.first(texts)
    assert [m and m.pattern for m in found] == [naive(patterns, text) for text in texts]


@pytest.mark.parametrize("length", [1, 7, 8, 10, 11, 12, 14, 15, 17, 18, 19, 26, 64, 5000])
def test_a_pattern_of_any_length_is_found_at_any_place(length: int) -> None:
    rng = random.Random(length)
    pattern = "".join(rng.choices("abcdefgh(){}\n ", k=length))
    texts = [f"{'x' * n}{pattern.upper()}{'y' * 40}" for n in range(40)] + [
        f"{'x' * n}{pattern[:-1]}Z" for n in range(40)
    ]
    found = Lowest([lowered(pattern)]).first_compiled(texts)
    assert [m and m.start for m in found] == [lowered(t).find(lowered(pattern)) for t in texts[:40]] + [None] * 40


def test_thousands_of_patterns_that_begin_alike_are_told_apart() -> None:
    patterns = [f"def solve():\n    return compute({i}) + offset\n" for i in range(5000)]
    lowest = Lowest([lowered(p) for p in patterns])
    texts = [f"import os\n{patterns[i]}pass" for i in range(0, 5000, 7)] + [p[:-2] for p in patterns[:50]]
    found = lowest.first_compiled(texts)
    assert [m and m.pattern for m in found] == [*range(0, 5000, 7), *[None] * 50]


@SETTINGS
@given(st.lists(TEXT, max_size=6))
def test_letters_and_words_of_the_kernels_are_those_of_the_plain_functions(texts: list[str]) -> None:
    values, starts = letters_of([folded(t) for t in texts])
    assert [values[a:b].tobytes() for a, b in pairwise(starts)] == [letters(t) for t in texts]
    statements = Statements([g for t in texts if (g := grams_of(t))] or [[1]], 0.5)
    assert statements.first_compiled([folded(t) for t in texts]) == statements.first(texts)


@SETTINGS
@given(st.lists(TEXT, max_size=6), st.lists(st.text(max_size=50), max_size=3))
@example(
    [
        "f'{a}{{b}} {c' x",
        "/*/ */ a /* b",
        "..a ...b .5 5.5.x ..5",
        "a  == b => a = b a =",
        "f \t( g \n(",
        "a'b\\'c'd' '\\\n'",
    ],
    [],
)
def test_the_kernel_s_tokens_are_those_of_the_expression(texts: list[str], others: list[str]) -> None:
    texts += others
    values, starts, coded = symbols_of(texts)
    for i, text in enumerate(texts):
        plain = code(text)
        assert values[starts[i] : starts[i + 1]].tobytes() == plain.values
        for start in range(len(plain.tokens)):
            length = min(3, len(plain.tokens) - start)
            assert coded(i).strong(start, length) == plain.strong(start, length)


@SETTINGS
@given(
    st.lists(st.lists(st.sampled_from("ab c9"), min_size=16, max_size=40).map("".join), max_size=5),
    st.lists(TEXT, max_size=4),
)
def test_marks_are_found_where_the_plain_search_finds_them(patterns: list[str], texts: list[str]) -> None:
    forms = [f for p in patterns if len(f := letters(p)) >= 16]
    marks = Marks(marks_of([Letters(f) for f in forms], 1), 1)
    given_texts = [*texts, *patterns, *(f"{a}{b}" for a, b in pairwise(patterns))]
    values, starts = letters_of([folded(t) for t in given_texts])
    found = marks.first_compiled(values, starts, lambda i: Letters(values[starts[i] : starts[i + 1]].tobytes()))
    automaton = Automaton(forms)
    assert found == [automaton.first(letters(t)) for t in given_texts]


SOME = ["add", "the", "all", "numbers", "of", "list", "for", "total", "+=", "in", "range(len(", "x", "y", "ß", "7"]
WORDS = st.lists(st.sampled_from(SOME), max_size=60)


@SETTINGS
@given(
    st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4), st.lists(WORDS, max_size=4), st.sampled_from([1, 5, 20])
)
def test_all_layers_say_the_same_with_and_without_kernels(given_tasks, others, floor: int) -> None:
    tasks = [
        Task(id=str(i), benchmark="b", language="", prompt=" ".join(d), description=" ".join(d), reference="\n".join(r))
        for i, (d, r) in enumerate(given_tasks)
    ]
    index = index_of(tasks, {"b": "1"}, floor)
    texts = [f"{t.prompt.upper()} -- {t.reference}" for t in tasks] + [t.reference.replace("x", "count") for t in tasks]
    texts += [" ".join(w) for w in others] + [" ".join([*d[: len(d) * 3 // 4], "İ"]) for d, _ in given_tasks]
    for layers in (LAYERS, *((layer,) for layer in LAYERS)):
        plain, compiled = (Layered(index, layers, 0.5, compiled=way)(texts) for way in (False, True))
        assert compiled == plain


def test_white_space_and_case_of_every_character_are_python_s() -> None:
    characters = [c for i in range(sys.maxunicode + 1) if not 0xD800 <= i < 0xE000 and not (c := chr(i)).isalnum()]
    text = "".join(f"a{c}b" for c in [*characters, "\u0130", "\u212a", "ß", "Σ", "ı"])
    values, _ = letters_of([folded(text)])
    assert values.tobytes() == letters(text)
    statements = Statements([grams_of(text)], 0.5)
    assert statements.first_compiled([folded(text)]) == statements.first([text])
