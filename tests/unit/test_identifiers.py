"""Code without names and comments: what is equal, what is not, and every benchmark's solutions, disguised."""

from collections import Counter
from pathlib import Path

import pytest

from magicoder.benchmarks import at_hand
from magicoder.text.contamination import Layered
from magicoder.text.identifiers import MIN_TOKENS, code, place
from tests.renamed import disguised

ORIGINAL = "total = 0\nfor n in range(len(rows)):\n    total += rows[n].cost\nreturn total"


def same(a: str, b: str) -> bool:
    first, second = code(a), code(b)
    n = len(first.tokens)
    return n == len(second.tokens) and first.values == second.values and first.strong(0, n) == second.strong(0, n)


@pytest.mark.parametrize(
    "other",
    [
        "s = 0\nfor i in range(len(xs)):\n    s += xs[i].cost\nreturn s",
        "s = 0  # nothing yet\n// from the start\nfor i in range(len(xs)):\r\n\ts += xs[i].cost /* more */\nreturn s",
        "max = 0\nfor id in range(len(list)): max += list[id].cost; return max".replace(";", ""),
    ],
)
def test_names_comments_and_white_space_do_not_count(other: str) -> None:
    assert same(ORIGINAL, other)


@pytest.mark.parametrize(
    "other",
    [
        ORIGINAL.replace(".cost", ".price"),
        ORIGINAL.replace("range", "reversed"),
        ORIGINAL.replace("return total", "return n"),
        ORIGINAL.replace("= 0", "= 1"),
        ORIGINAL.replace("for n", "while n"),
    ],
)
def test_attributes_functions_keywords_numbers_and_which_name_stands_where_count(other: str) -> None:
    assert not same(ORIGINAL, other)


def test_the_name_of_an_argument_is_not_renamed_with_a_variable_of_that_name() -> None:
    assert same("axis = 1\nf(a, axis=axis)", "k = 1\nf(a, axis=k)")


def test_quotes_and_names_in_formatted_texts_do_not_count_other_texts_do() -> None:
    assert same("""print(f"{a} left")""", """print(f'{b} left')""")
    assert same("""x("it")""", """x('it')""")
    assert not same("""x("it")""", """x("that")""")


def test_no_quote_swallows_the_lines_behind_it() -> None:
    assert code("it's\nx + 1").tokens[-3:] == ["x", "+", "1"]
    assert code('rest of a docstring."""\nx + 1').tokens[-3:] == ["x", "+", "1"]


def test_a_place_is_that_of_the_tokens_without_the_comments() -> None:
    text = "a # one\n+ b"
    assert code(text).tokens == ["a", "+", "b"]
    assert text[slice(*place(text, 1, 2))] == "+ b"


def test_every_solution_of_every_benchmark_is_found_renamed_and_without_comments(shared_data: Path) -> None:
    """All 4,319 solutions that the layer claims, renamed by Python's own parser and tree-sitter's."""
    tasks = [t for t in at_hand(str(shared_data)).tasks if len(code(t.reference).tokens) >= MIN_TOKENS]
    search = Layered(at_hand(None).index, ("identifiers",), 0.5)
    texts = [f"Here's how:\n```\n{disguised(t)}\n```\nDone." for t in tasks]
    found = search(texts)
    missed = [f"{t.benchmark} {t.id}" for t, match in zip(tasks, found, strict=True) if match is None]
    assert missed == []
    assert all(m.name == f"{m.benchmark}_identifiers" for m in found)
    assert Counter(t.benchmark for t in tasks) == {
        "apps": 5, "bigcodebench": 1126, "ds1000": 659, "humaneval": 131, "humaneval_plus": 134, "humaneval_x": 897,
        "livecodebench": 4, "mbpp": 1139, "mbpp_plus": 224,
    }  # fmt: skip
    changed = sum(disguised(t).strip() != t.reference.replace("\r\n", "\n").strip() for t in tasks)
    assert changed > 0.98 * len(tasks)
