"""Every text of the real benchmarks is found, none of them by chance; the original's rule keeps its quirks."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from magicoder.benchmarks import at_hand
from magicoder.benchmarks._files import rows
from magicoder.errors import BenchmarkError
from magicoder.records import Sample, Seed, Task
from magicoder.stages.decontaminate import Decontaminate
from magicoder.text.benchmark_index import index_of
from magicoder.text.contamination import LAYERS, Layered
from magicoder.text.patterns import ORIGINAL_ALLOWED, TRIVIAL, original_patterns, patterns_of
from magicoder.text.substrings import Automaton, letters, lowered
from tests.contaminated import FILLER, artifact, decontaminated, sample, seed, task


@pytest.fixture(scope="module")
def tasks(shared_data: Path) -> list[Task]:
    return at_hand(str(shared_data)).tasks


def disguised(text: str) -> str:
    return f"{FILLER}\n \t{text.upper()}\r\n\n  {FILLER}"


# ---- the rule `all`


def test_every_text_of_every_task_is_found_where_it_is_planted(tasks: list[Task], tmp_path: Path) -> None:
    """All 15,269 tasks: the statement in an instruction, the reference in a response, either in a seed."""
    samples = [sample(f"{i} description", instruction=disguised(t.description)) for i, t in enumerate(tasks)]
    samples += [sample(f"{i} reference", response=disguised(t.reference)) for i, t in enumerate(tasks) if t.reference]
    given = artifact(tmp_path, Sample, [samples[i : i + 2000] for i in range(0, len(samples), 2000)])
    found = decontaminated(tmp_path, given, tasks)

    skipped = patterns_of(tasks, Decontaminate().min_characters)
    numbers = {f"{t.benchmark} {t.id}": i for i, t in enumerate(tasks)}
    expected = set()
    for entry in (*skipped.short, *skipped.trivial):
        name, _, kind = entry.rpartition(" ")
        if kind != "prompt":
            expected.add(f"{numbers[name]} {kind}")
    kept = {s.id for s in found}
    assert kept <= expected  # a short text may still hold another task's longer one
    assert len(expected) <= 170
    assert all(kind.endswith("reference") for kind in kept if kind != f"{numbers['humaneval_x Rust/53']} description")
    facts = found.manifest.facts
    assert facts["patterns_skipped_short"] + len(facts["skipped_trivial"]) == len(skipped.short) + len(skipped.trivial)
    assert facts["tasks_not_searched"] == []
    assert sum(b["hits"] for b in facts["benchmarks"]) == len(samples) - len(kept)


def test_every_whole_task_is_found_in_seeds(tasks: list[Task], tmp_path: Path) -> None:
    seeds = [seed(str(i), disguised(f"{t.prompt}{t.reference}")) for i, t in enumerate(tasks)]
    given = artifact(tmp_path, Seed, [seeds[i : i + 2000] for i in range(0, len(seeds), 2000)])
    assert list(decontaminated(tmp_path, given, tasks)) == []


def test_every_record_of_every_variant_file_is_found(tasks: list[Task], shared_data: Path) -> None:
    """Mini, NoExtreme, OriginFmt, sanitized, annotation …: files that the loaders do not read hold nothing new."""
    searched = patterns_of(tasks, 20).searched
    automaton = Automaton([p.form for p in searched])
    missed, count = [], 0
    for path in sorted((shared_data / "benchmarks").glob("*/*.json*")):
        if path.name.startswith(("example_", "3rd_party", "test_example_tests")):
            continue  # a toy, a list of libraries, tests without statements
        for row in rows(path):
            for column in ("prompt", "text", "complete_prompt", "instruct_prompt", "question"):
                text = row.values.get(column)
                # BigCodeBench-Hard's question is the Stack Overflow post it was matched with, never shown to a model.
                if text and (column, path.parent.name) != ("question", "bigcodebench"):
                    count += 1
                    if automaton.first(letters(disguised(text))) is None:
                        missed.append(f"{row.where} {text[:60]!r}")
    assert count > 16_000
    (rust,) = missed  # Rust/53: its statement has 18 letters, so that prompt and solution are searched for as one
    assert "Add two numbers x and y" in rust


def test_no_text_occurs_by_chance_in_real_code(tasks: list[Task], shared_data: Path) -> None:
    """In 10,700 files the only hit is a prompt of EvalPlus, which quotes HumanEval/53."""
    searched = patterns_of(tasks, Decontaminate().min_characters).searched
    automaton = Automaton([p.form for p in searched])
    hits = []
    table = pq.read_table(shared_data / "corpus_sample.parquet", columns=["repo", "path", "content"])
    for row in table.to_pylist():
        match = automaton.first(letters(row["content"]))
        if match:
            hits.append((row["repo"], row["path"], searched[match.pattern].task))
    assert hits == [("github/evalplus+evalplus", "evalplus/perf/sas.py", "HumanEval/53")]


def test_no_recorded_answer_of_a_teacher_is_taken_for_a_benchmark(tasks: list[Task], shared_data: Path) -> None:
    search = Layered(index_of(tasks, dict.fromkeys({t.benchmark for t in tasks}, "")), LAYERS, 0.5)
    answers = [r.text("response") for r in rows(shared_data / "recorded_teacher/oss_instruct.jsonl")]
    assert len(answers) == 120
    assert [m for m in search(answers) if m] == []


def test_every_trivial_string_is_a_solution_of_humaneval(shared_data: Path) -> None:
    solutions = {t.reference.strip() for t in at_hand(str(shared_data)).tasks if t.benchmark == "humaneval"}
    assert set(TRIVIAL) <= solutions
    assert set(ORIGINAL_ALLOWED) - solutions == {"return .join(strings)"}  # the quoting bug: it never matches


# ---- the rule `original`


def test_the_originals_sets_have_the_originals_counts(tasks: list[Task]) -> None:
    assert Counter(p.name for p in original_patterns(tasks)) == {
        "mbpp_docstrings": 500,
        "mbpp_solutions": 500,
        "human_eval_docstrings": 164,
        "human_eval_solutions": 161,
        "ds_1000_prompts": 1000,
    }


def test_the_originals_sets_are_searched_in_its_order() -> None:
    tasks = [
        task("a", benchmark="ds1000", prompt="q\nBEGIN SOLUTION\n"),
        task("gsm8k/test/0", benchmark="gsm8k", prompt=" eggs "),
        task("apps/test/0000", benchmark="apps", prompt="count\n"),
        task("apps/train/0000", benchmark="apps", prompt="train"),
        task("HumanEval/0", description="doc", reference="  return 1\n"),
        task("MBPP/10", benchmark="mbpp", prompt="few-shot", reference="x"),
        task("MBPP/11", benchmark="mbpp", prompt="text ", reference="code\r\n"),
        task("MBPP/11/sanitized", benchmark="mbpp", prompt="other", reference="other"),
    ]
    assert [(p.name, p.text) for p in original_patterns(tasks)] == [
        ("mbpp_docstrings", "text "),
        ("mbpp_solutions", "code\r\n"),
        ("human_eval_docstrings", "doc"),
        ("human_eval_solutions", "return 1"),
        ("apps_docstrings", "count"),
        ("gsm8k_questions", "eggs"),
        ("ds_1000_prompts", "q\n"),
    ]
    with pytest.raises(BenchmarkError, match="a: the prompt has no single solution marker"):
        list(original_patterns([task("a", benchmark="ds1000", prompt="no marker")]))


def test_the_original_rule_agrees_with_its_nested_loops(tasks: list[Task], tmp_path: Path) -> None:
    patterns = list(original_patterns(tasks))
    planted = [patterns[i] for i in range(0, len(patterns), 97)]
    samples = [sample(str(i), instruction=f"{FILLER} {p.text.upper()}") for i, p in enumerate(planted)]
    samples += [sample(f"near {i}", response=p.text[:-1].replace("\r\n", "\n")) for i, p in enumerate(planted)]
    given = artifact(tmp_path, Sample, [samples])
    found = decontaminated(tmp_path, given, tasks, Decontaminate(mode="original"))
    naive = {}
    for s in samples:
        content = "\n\n".join(column.lower() for column in (s.instruction, s.response))
        for p in patterns:
            if p.text.lower() in content:
                naive[s.id] = (f"{p.name}_match", p.task)
                break
    assert {r.id: (r.reason, json.loads(r.detail)["task"]) for r in found.rejections()} == naive
    assert len(naive) >= len(planted)


def test_the_original_rule_keeps_its_quirks(tmp_path: Path) -> None:
    tasks = [
        task("HumanEval/28", description="Concatenate", reference="    return ''.join(strings)\n"),
        task("HumanEval/53", description="Add two", reference="    return x + y\n"),
        task("MBPP/11", benchmark="mbpp", prompt="remove", reference="a = 1\r\nb = 2"),
    ]
    seeds = [
        seed("join", "def f(strings):\n    return ''.join(strings)"),
        seed("allowed", "return x + y"),
        seed("line feeds", "a = 1\nb = 2"),
        seed("spaces", "add  two"),
    ]
    given = artifact(tmp_path, Seed, [seeds])
    found = decontaminated(tmp_path, given, tasks, Decontaminate(mode="original"))
    assert [s.id for s in found] == ["allowed", "line feeds", "spaces"]
    assert [r.reason for r in found.rejections()] == ["human_eval_solutions_match"]


def test_the_rule_all_finds_whatever_the_original_finds(tasks: list[Task]) -> None:
    """But for short and trivial texts, which the floor and the allow-list are there to let through."""
    searched = Automaton([p.form for p in patterns_of(tasks, Decontaminate().min_characters).searched])
    missed = [p for p in original_patterns(tasks) if searched.first(letters(f"{FILLER} {p.text}")) is None]
    assert all(len(letters(p.text)) < 20 for p in missed)
    assert len(missed) <= 12
    assert lowered("A") == b"a"
