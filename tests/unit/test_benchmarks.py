"""What the loaders read, how they find a task's statement, and what they say about bad files."""

import gzip
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from magicoder.benchmarks import _prose, at_hand
from magicoder.benchmarks._files import rows
from magicoder.benchmarks.apps import Apps
from magicoder.benchmarks.bigcodebench import BigCodeBench
from magicoder.benchmarks.ds1000 import Ds1000, before_solution
from magicoder.benchmarks.gsm8k import Gsm8k
from magicoder.benchmarks.humaneval import HumanEval
from magicoder.benchmarks.humaneval_x import HumanEvalX
from magicoder.benchmarks.livecodebench import LiveCodeBench
from magicoder.benchmarks.mbpp import Mbpp
from magicoder.benchmarks.mbpp_plus import MbppPlus
from magicoder.benchmarks.multipl_e import MultiPlE
from magicoder.errors import BenchmarkError, RecipeError
from magicoder.text.benchmark_index import decode, encode, index_of
from magicoder.text.contamination import LAYERS, Layered
from magicoder.text.substrings import letters

HUMAN_EVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'def f(x):\n    """ Add one.\n    """\n',
    "canonical_solution": "    return x + 1\n",
    "test": "def check(f): ...",
    "entry_point": "f",
}


def write(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


# ---- files


@pytest.mark.parametrize("name", ["benchmarks/humaneval/HumanEval.jsonl", "humaneval/HumanEval.jsonl.gz"])
def test_files_are_found_plain_or_gzipped_under_benchmarks_or_not(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, HUMAN_EVAL)
    (task,) = HumanEval().tasks(str(tmp_path))
    assert (task.id, task.benchmark, task.language, task.entry_point) == ("HumanEval/0", "humaneval", "python", "f")
    assert (task.description, task.reference) == ("Add one.", "    return x + 1\n")


def test_a_missing_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"humaneval: .*HumanEval\.jsonl is not there; put .*docs/benchmarks\.md"):
        list(HumanEval().tasks(str(tmp_path)))


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "humaneval" / "HumanEval.jsonl", HUMAN_EVAL, HUMAN_EVAL)
    path.write_text(path.read_text() + '{"task_id": \n')
    with pytest.raises(BenchmarkError, match=r"HumanEval\.jsonl:3: not JSON"):
        list(HumanEval().tasks(str(tmp_path)))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    write(tmp_path / "humaneval" / "HumanEval.jsonl", HUMAN_EVAL | {"canonical_solution": None})
    with pytest.raises(BenchmarkError, match=r"HumanEval\.jsonl:1: no 'canonical_solution' in this record"):
        list(HumanEval().tasks(str(tmp_path)))


def test_a_column_of_another_type_is_named(tmp_path: Path) -> None:
    write(tmp_path / "humaneval" / "HumanEval.jsonl", HUMAN_EVAL | {"prompt": 5})
    with pytest.raises(BenchmarkError, match=r":1: 'prompt' is int, not text"):
        list(HumanEval().tasks(str(tmp_path)))


def test_a_broken_archive_an_empty_file_and_a_list_are_refused(tmp_path: Path) -> None:
    cut = tmp_path / "a.jsonl.gz"
    cut.write_bytes(gzip.compress(b'{"a": 1}\n' * 99)[:-20])
    for path in (cut, tmp_path / "b.jsonl.gz"):
        path.exists() or path.write_bytes(b"no gzip")
        with pytest.raises(BenchmarkError, match="the archive is damaged"):
            list(rows(path))
    (tmp_path / "c.jsonl").write_text("\n")
    with pytest.raises(BenchmarkError, match=r"c\.jsonl: no records"):
        list(rows(tmp_path / "c.jsonl"))
    with pytest.raises(BenchmarkError, match=r"d\.jsonl:1: a list, not a record"):
        list(rows(write(tmp_path / "d.jsonl", [1])))


def test_lines_end_at_newlines_only_and_infinity_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one\u2028two"}\n\n{"text": "x", "input": [-Infinity, NaN]}\n')
    assert [row.text("text") for row in rows(path)] == ["one\u2028two", "x"]


def test_a_json_array_is_read_as_records(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"x": "1"}, {"x": "2"}]))
    assert [(row.text("x"), row.where.rpartition("/")[2]) for row in rows(path)] == [
        ("1", "a.json[0]"),
        ("2", "a.json[1]"),
    ]


# ---- statements


def test_of_four_quotes_the_second_docstring_is_the_tasks() -> None:
    prompt = 'def helper():\n    """help"""\n\ndef f():\n    """ task """\n'
    assert _prose.docstring(prompt, "x") == "task"
    assert _prose.docstring("def f():\n    ''' single '''\n", "x") == "single"


@pytest.mark.parametrize("prompt", ["def f(): ...", '"""a""" """b""" """c"""', '"""open', "'''a'''b'''"])
def test_any_other_number_of_quotes_is_an_error(prompt: str) -> None:
    with pytest.raises(BenchmarkError, match=r"file:7: the prompt has \d triple quotes"):
        _prose.docstring(prompt, "file:7")


@pytest.mark.parametrize(
    ("language", "prompt"),
    [
        ("cpp", "#include<assert.h>\n// Add one\n// to x.\nint f(int x) {"),
        ("csharp", "class P {\n    // Add one\n    // to x.\n    public static"),
        ("d", "import std.math;\n/*\n Add one\nto x.\n*/\nint f(int x) "),
        ("julia", '"""\tAdd one\nto x."""\nfunction f(x)'),
        ("racket", "#lang racket\n\n;; Add one\n;; to x.\n(define (f x)"),
        ("shell", "#!/bin/bash\n# Add one\n# to x.\nf() {"),
        ("rust", "\n/// Add one\n/// to x.\nfn f("),
        ("lua", "-- Add one\n-- to x.\nlocal function f(x)"),
        ("php", "<?php\n// Add one\n// to x.\nfunction f($x) {"),
        ("go", 'package p\nimport (\n    "fmt"\n)\n\n// Add one\n// to x.\nfunc f('),
    ],
)
def test_the_comment_of_a_translated_prompt_is_found_without_its_markers(language: str, prompt: str) -> None:
    assert _prose.comment(prompt, language).split() == ["Add", "one", "to", "x."]


def test_a_prompt_without_a_comment_has_no_statement() -> None:
    assert _prose.comment("int f(int x) {", "cpp") == ""
    assert _prose.comment("whatever", "an unknown language") == ""


@pytest.mark.parametrize(
    "heading", ["Example 1:", "-----Input-----", "Example:", "**Example 2:**", "-----Example-----"]
)
def test_a_statement_ends_before_its_examples(heading: str) -> None:
    assert _prose.statement(f"Add the numbers.\n\n{heading}\n1 2\n") == "Add the numbers."
    assert _prose.statement(f"{heading}\nonly an example") == f"{heading}\nonly an example"


def test_ds1000_statements_end_before_the_answer_and_the_marker() -> None:
    prompt = "Problem:\nShuffle the rows.\n\nA:\n<code>\nimport x\n</code>\nBEGIN SOLUTION\n<code>\n"
    row = {"prompt": prompt, "reference_code": "df.x", "metadata": {"problem_id": 3}}
    plot = {"prompt": "import x\n# Plot y\n# SOLUTION START\n", "reference_code": "plot()", "metadata": {}}
    with pytest.raises(BenchmarkError, match="neither 'SOLUTION START' nor 'BEGIN SOLUTION'"):
        before_solution("no marker", "f:1")
    with pytest.raises(BenchmarkError, match="f:1: 'BEGIN SOLUTION' occurs 2 times"):
        before_solution(prompt + prompt, "f:1")
    assert _tasks(Ds1000(), "ds1000/ds1000.jsonl", row, plot) == [
        ("DS-1000/3", "Shuffle the rows.", "df.x"),
        ("DS-1000/1", "import x\n# Plot y", "plot()"),
    ]


def test_mbpp_gives_sanitized_tasks_only_where_they_differ(tmp_path: Path) -> None:
    full = [
        {"text": f"Task {i}.", "code": "x\r\n", "task_id": i, "test_list": ["assert 1", "assert 2"]} for i in (1, 2)
    ]
    write(tmp_path / "mbpp/mbpp.jsonl", *full)
    clean = [{"prompt": "Task 1.", "code": "x\r\n", "task_id": 1}, {"prompt": "Task two.", "code": "x", "task_id": 2}]
    (tmp_path / "mbpp/sanitized-mbpp.json").write_text(json.dumps(clean))
    tasks = list(Mbpp().tasks(str(tmp_path)))
    assert [t.id for t in tasks] == ["MBPP/1", "MBPP/2", "MBPP/2/sanitized"]
    assert tasks[0].tests == "assert 1\nassert 2"
    assert tasks[0].reference == "x\r\n"  # as published: what to do about it is the search's affair


def test_mbpp_plus_leaves_the_shown_assert_out_of_the_statement() -> None:
    row = {
        "task_id": "Mbpp/2",
        "prompt": '"""\nFind shared elements.\nassert f((1,)) == (1,)\n"""\n',
        "canonical_solution": "c",
        "entry_point": "f",
    }
    assert _tasks(MbppPlus(), "mbppplus/MbppPlus.jsonl", row) == [("Mbpp/2", "Find shared elements.", "c")]


def test_apps_reads_the_folders_of_its_authors_with_every_solution(tmp_path: Path) -> None:
    folder = tmp_path / "apps/test/0007"
    folder.mkdir(parents=True)
    (folder / "question.txt").write_text("Count.\n\n-----Input-----\n5")
    (folder / "solutions.json").write_text('["print(1)", "print(2)", "print(3)", "print(2)"]')
    (folder / "input_output.json").write_text('{"inputs": ["5"], "outputs": ["1"]}')
    bare = tmp_path / "apps/train/12"
    bare.mkdir(parents=True)
    (bare / "question.txt").write_text("Sum up.")
    first, second = Apps().tasks(str(tmp_path))
    assert (first.id, first.description, first.reference) == ("apps/test/0007", "Count.", "print(1)")
    assert first.more_references == ("print(2)", "print(3)")
    assert json.loads(first.tests)["outputs"] == ["1"]
    assert (second.id, second.reference, second.more_references, second.tests) == ("apps/train/0012", "", (), "")
    (folder / "solutions.json").write_text("[1]")
    with pytest.raises(BenchmarkError, match=r"solutions\.json: solutions are not an array of text"):
        list(Apps().tasks(str(tmp_path)))
    (folder / "solutions.json").write_text('["cut')
    with pytest.raises(BenchmarkError, match=r"solutions\.json: solutions are not JSON"):
        list(Apps().tasks(str(tmp_path)))


@pytest.mark.parametrize("key", ["id", "problem_id"])
@pytest.mark.parametrize("solutions", ['["print(1)", "print(2)"]', ["print(1)", "print(2)"]])
def test_apps_reads_the_lines_of_the_hub_with_every_solution(tmp_path: Path, key: str, solutions: Any) -> None:
    row = {key: 3, "question": "Sum up.", "solutions": solutions, "input_output": "{}", "difficulty": "interview",
           "url": "", "starter_code": ""}  # fmt: skip
    write(tmp_path / "apps/test.jsonl.gz", row, row | {key: 4, "solutions": ""})
    first, second = Apps().tasks(str(tmp_path))
    assert (first.id, first.reference, first.more_references) == ("apps/test/0003", "print(1)", ("print(2)",))
    assert (second.id, second.reference, second.more_references) == ("apps/test/0004", "", ())


def test_every_solution_of_apps_is_searched_for_and_the_index_knows_them_all(tmp_path: Path) -> None:
    solutions = [
        f"n = int(input())\ntotal = n * {i}\nfor k in range(n):\n    total += k\nprint(total)" for i in range(40)
    ]
    write(tmp_path / "apps/test.jsonl", {"id": 0, "question": "Sum up.", "solutions": json.dumps([*solutions, "x"])})
    found = at_hand(str(tmp_path))
    index = index_of(found.tasks, found.versions)
    assert len(index.texts) == len(index.solutions) == 40
    assert index.short == (
        "apps apps/test/0000 description",
        "apps apps/test/0000 reference",
        "apps apps/test/0000 prompt",
    )
    texts = [f"Here:\n{s.upper()}" for s in solutions] + [s.replace("total", "s") for s in solutions]
    search = Layered(decode(encode(index, "apps"), "x"), LAYERS, 0.5)
    assert [m and m.layer for m in search(texts)] == ["text"] * 40 + ["identifiers"] * 40
    assert search(["n = int(input())\ntotal = n * 41\nfor k in range(n):\n    total += k\nprint(total)"]) == [None]


def test_livecodebench_reads_its_releases() -> None:
    row = {"question_id": "abc301_a", "question_content": "Decide who won.\n\nExample 1:\n1", "public_test_cases": "[]"}
    assert _tasks(LiveCodeBench(), "livecodebench/test6.jsonl", row) == [("abc301_a", "Decide who won.", "")]


def test_gsm8k_is_read_where_it_is_at_hand() -> None:
    row = {"question": "How many eggs?", "answer": "16 - 3 = 13\n#### 13"}
    assert _tasks(Gsm8k(), "gsm8k/test.jsonl", row) == [("gsm8k/test/0", "How many eggs?", row["answer"])]


def test_bigcodebench_hard_is_a_subset_or_adds_what_differs(tmp_path: Path) -> None:
    def record(number: int, description: str) -> dict[str, str]:
        return {
            "task_id": f"BigCodeBench/{number}",
            "complete_prompt": f"def task_func():\n    '''{description}\n    More.\n\n    Example:\n    1\n    '''",
            "canonical_solution": "c",
            "test": "t",
            "entry_point": "task_func",
            "doc_struct": json.dumps({"description": [description, "More.", "1"]}),
        }

    write(tmp_path / "bigcodebench/hf_BigCodeBench.jsonl.gz", record(1, "One."), record(2, "Two."))
    write(tmp_path / "bigcodebench/BigCodeBench_Hard.jsonl", record(1, "One."), record(2, "Second."))
    full = list(BigCodeBench().tasks(str(tmp_path)))
    assert [t.id for t in full] == ["BigCodeBench/1", "BigCodeBench/2", "BigCodeBench/2/hard"]
    assert full[0].description == "One.\nMore."
    assert [t.id for t in BigCodeBench(subset="hard").tasks(str(tmp_path))] == ["BigCodeBench/1", "BigCodeBench/2"]
    with pytest.raises(RecipeError, match="subset is 'easy'"):
        BigCodeBench(subset="easy")


def _tasks(benchmark: Any, name: str, *records: dict[str, Any]) -> list[tuple[str, str, str]]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name, *records)
        return [(t.id, t.description, t.reference) for t in benchmark.tasks(folder)]


# ---- the Hub


def test_the_hub_is_asked_only_if_the_field_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    hub = ModuleType("datasets")

    def load_dataset(name: str, configuration: str | None, *, split: str) -> list[dict[str, str]]:
        asked.append((name, configuration, split))
        return [HUMAN_EVAL]

    hub.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", hub)
    with pytest.raises(BenchmarkError):
        list(HumanEval().tasks(str(tmp_path)))
    assert asked == []
    assert [t.id for t in HumanEval(hub=True).tasks(str(tmp_path))] == ["HumanEval/0"]
    assert asked == [("openai/openai_humaneval", None, "test")]
    write(tmp_path / "humaneval/HumanEval.jsonl", HUMAN_EVAL | {"task_id": "local"})
    assert [t.id for t in HumanEval(hub=True).tasks(str(tmp_path))] == ["local"]
    assert len(asked) == 1


def test_a_hub_that_cannot_be_reached_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = ModuleType("datasets")

    def load_dataset(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    hub.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", hub)
    with pytest.raises(BenchmarkError, match=r"nuprl/MultiPL-E could not be loaded from the Hub \(no route\); check"):
        list(MultiPlE(hub=True).tasks(str(tmp_path)))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BenchmarkError, match=r"needs the `datasets` package; install magicoder\[hub\]"):
        list(Gsm8k(hub=True).tasks(str(tmp_path)))


# ---- what is at hand


def test_without_a_folder_nothing_is_at_hand() -> None:
    found = at_hand(None)
    assert found.tasks == []
    assert found.versions == {}
    assert set(found.not_covered) >= {"humaneval", "mbpp", "gsm8k"}


def test_what_is_missing_is_named_and_what_is_malformed_raises(tmp_path: Path) -> None:
    write(tmp_path / "humaneval/HumanEval.jsonl", HUMAN_EVAL)
    found = at_hand(str(tmp_path))
    assert [t.id for t in found.tasks] == ["HumanEval/0"]
    assert found.versions == {"humaneval": "1.0"}
    assert "humaneval" not in found.not_covered
    assert "MbppPlus.jsonl is not there" in found.not_covered["mbpp_plus"]
    write(tmp_path / "mbpp/mbpp.jsonl", {"text": "no code", "task_id": 1})
    with pytest.raises(BenchmarkError, match=r"mbpp\.jsonl:1: no 'code'"):
        at_hand(str(tmp_path))


def test_bulky_tests_are_not_held(tmp_path: Path) -> None:
    write(tmp_path / "humaneval/HumanEval.jsonl", HUMAN_EVAL)
    assert [t.tests for t in HumanEval().tasks(str(tmp_path))] != [""]
    assert [t.tests for t in at_hand(str(tmp_path)).tasks] == [""]


def test_the_digest_follows_the_tasks(tmp_path: Path) -> None:
    write(tmp_path / "humaneval/HumanEval.jsonl", HUMAN_EVAL)
    before = at_hand(str(tmp_path)).digest
    assert at_hand(str(tmp_path)).digest == before
    write(tmp_path / "humaneval/HumanEval.jsonl", HUMAN_EVAL | {"canonical_solution": "    return 2\n"})
    assert at_hand(str(tmp_path)).digest != before


def test_the_published_files_hold_what_was_published(shared_data: Path) -> None:
    found = at_hand(str(shared_data))
    assert Counter(t.benchmark for t in found.tasks) == {
        "apps": 5,
        "bigcodebench": 1140,
        "ds1000": 1000,
        "humaneval": 164,
        "humaneval_plus": 164,
        "humaneval_x": 984,
        "leetcode": 180,
        "livecodebench": 4,
        "mbpp": 974 + 425,
        "mbpp_plus": 378,
        "multipl_e": 9851,
    }
    assert list(found.not_covered) == ["gsm8k"]


def test_every_statement_on_file_is_part_of_its_prompt(shared_data: Path) -> None:
    assert [t.id for t in at_hand(str(shared_data)).tasks if letters(t.description) not in letters(t.prompt)] == []


def test_all_languages_of_humaneval_x_are_read(shared_data: Path) -> None:
    languages = Counter(t.language for t in HumanEvalX().tasks(str(shared_data)))
    assert languages == dict.fromkeys(("cpp", "go", "java", "javascript", "python", "rust"), 164)
