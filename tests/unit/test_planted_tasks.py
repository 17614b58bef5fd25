"""Tasks of every benchmark planted in disguise, with and without kernels; the seven sets against their loops."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from magicoder import kernels
from magicoder.benchmarks import at_hand
from magicoder.benchmarks.apps import Apps
from magicoder.records import Task
from magicoder.text.benchmark_index import Index
from magicoder.text.contamination import LAYERS, Layered, Whole
from magicoder.text.identifiers import MIN_TOKENS, code
from magicoder.text.ngrams import grams_of
from magicoder.text.patterns import original_patterns
from magicoder.text.substrings import letters
from tests.renamed import disguised

WAYS = [False, *([True] if kernels.available() else [])]


@pytest.fixture(scope="module")
def tasks(shared_data: Path) -> list[Task]:
    return at_hand(str(shared_data)).tasks


@pytest.fixture(scope="module")
def some(tasks: list[Task]) -> list[Task]:
    """Up to 40 tasks of each benchmark, from all over it."""
    by_benchmark: dict[str, list[Task]] = {}
    for task in tasks:
        by_benchmark.setdefault(task.benchmark, []).append(task)
    return [t for those in by_benchmark.values() for t in those[:: max(len(those) // 40, 1)]]


@pytest.fixture(scope="module")
def index() -> Index:
    found = at_hand(None).index
    assert found is not None
    return found


def both_ways(index: Index, layers: tuple[str, ...], texts: list[str]) -> list[str | None]:
    """Return the layer that finds each text, the same with kernels and without."""
    plain, *others = ([*Layered(index, layers, 0.5, compiled=way)(texts)] for way in WAYS)
    assert all(other == plain for other in others)
    return [match and match.layer for match in plain]


@pytest.mark.parametrize(
    "disguise",
    [
        str.upper,
        lambda text: "\t\t".join(text.split(" ")),
        lambda text: " ".join(text.split()),
        lambda text: text.replace("\r\n", "\n").replace("\n", "\r\n"),
        lambda text: "\n// ".join(text.splitlines()),
        lambda text: f"> **{text}**",
    ],
    ids=["upper case", "tabs", "one line", "CRLF", "in comments", "Markdown"],
)
def test_every_solution_and_statement_is_found_in_any_layout(
    some: list[Task], index: Index, disguise: Callable[[str], str]
) -> None:
    texts = [f"x = 1\n{disguise(t.prompt + t.reference)}\ny" for t in some]
    texts += [disguise(text) for t in some for text in t.more_references if len(letters(text)) >= 20]
    assert Counter(t.benchmark for t in some).keys() == set(index.sources)
    assert both_ways(index, ("text",), texts) == ["text"] * len(texts)


def test_every_renamed_solution_without_its_comments_is_found(some: list[Task], index: Index) -> None:
    solved = [t for t in some if len(code(t.reference).tokens) >= MIN_TOKENS]
    texts = [f"It's so:\n```\n{disguised(t)}\n```" for t in solved]
    assert both_ways(index, ("identifiers",), texts) == ["identifiers"] * len(texts)
    assert len({t.benchmark for t in solved}) == 9


def test_every_statement_is_found_by_its_words(some: list[Task], index: Index) -> None:
    stated = [text for t in some for text in [t.description if grams_of(t.description) else t.prompt] if grams_of(text)]
    texts = [", ".join(text.upper().split()) for text in stated]
    assert both_ways(index, ("ngrams",), texts) == ["ngrams"] * len(texts)


def test_real_code_is_judged_alike_with_and_without_kernels(index: Index, shared_data: Path) -> None:
    """Every 20th real file: none is contaminated; with tasks between them, the same is found."""
    files = pq.read_table(shared_data / "corpus_sample.parquet", columns=["content"])["content"].to_pylist()[::20]
    assert both_ways(index, LAYERS, files) == [None] * len(files)


# ---- the original's rule


def seven_sets(tasks: list[Task]) -> list[tuple[str, str]]:
    """The sets as the original describes them, in its order: names and texts."""
    of: dict[str, list[Task]] = {}
    for t in tasks:
        of.setdefault(t.benchmark, []).append(t)
    mbpp = [
        t for t in of["mbpp"] if t.id.removeprefix("MBPP/").isdigit() and 11 <= int(t.id.removeprefix("MBPP/")) <= 510
    ]
    allowed = ["return x + y", "return len(string)", "return n**2", "return .join(strings)"]  # as Python read the last
    sets = [
        ("mbpp_docstrings", [t.prompt for t in mbpp]),
        ("mbpp_solutions", [t.reference for t in mbpp]),
        ("human_eval_docstrings", [t.prompt.replace("'''", '"""').split('"""')[-2].strip() for t in of["humaneval"]]),
        ("human_eval_solutions", [s for t in of["humaneval"] if (s := t.reference.strip()) not in allowed]),
        ("apps_docstrings", [t.prompt.strip() for t in of["apps"] if t.id.startswith("apps/test/")]),
        ("gsm8k_questions", [t.prompt.strip() for t in of["gsm8k"]]),
        ("ds_1000_prompts", [t.prompt.split("SOLUTION START")[0].split("BEGIN SOLUTION")[0] for t in of["ds1000"]]),
    ]
    return [(name, text) for name, texts in sets for text in texts]


def test_the_seven_sets_find_row_for_row_what_nested_loops_find(tasks: list[Task], shared_data: Path) -> None:
    questions = [replace(t, id=t.id.replace("train", "test")) for t in Apps().tasks(str(shared_data))]
    eggs = Task(
        id="gsm8k/test/0", benchmark="gsm8k", language="", prompt=" A hen lays 3 eggs a day. How many in a week?\n"
    )
    every = [*tasks, *questions, eggs]
    sets = seven_sets(every)
    assert Counter(name for name, _ in sets) == {
        "mbpp_docstrings": 500, "mbpp_solutions": 500, "human_eval_docstrings": 164, "human_eval_solutions": 161,
        "apps_docstrings": 5, "gsm8k_questions": 1, "ds_1000_prompts": 1000,
    }  # fmt: skip
    planted = [text for _, text in sets[::37]] + [
        text for name, text in sets if name in ("apps_docstrings", "gsm8k_questions")
    ]
    files = pq.read_table(shared_data / "corpus_sample.parquet", columns=["content"])["content"].to_pylist()
    rows = [f"{a[:2000]}\n{text.upper()}{a[:50]}" for a, text in zip(files[::50], planted, strict=False)]
    rows += [text[:-1] for text in planted] + [text.replace("\r\n", "\n") for text in planted] + files[::100]
    naive = []
    for row in rows:
        content = row.lower()
        naive.append(next((name for name, text in sets if text.lower() in content), None))
    for way in WAYS:
        found = Whole(list(original_patterns(every)), compiled=way)(rows)
        assert [match and match.name for match in found] == naive
    assert {name for name in naive if name} == {name for name, _ in sets}
    assert naive.count(None) > len(planted)
