"""Planted benchmark texts are found, all of them; clean records pass; the original's rule keeps its quirks."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq
import pytest

from magicoder.benchmarks import at_hand
from magicoder.benchmarks._files import rows
from magicoder.engines.local import Local
from magicoder.errors import BenchmarkError, RecipeError
from magicoder.records import Sample, Seed, Task
from magicoder.stages.decontaminate import Decontaminate
from magicoder.store import Artifact, RunFolder, Writer
from magicoder.text.benchmark_index import Index, decode, encode, index_of
from magicoder.text.contamination import LAYERS, Layered
from magicoder.text.patterns import ORIGINAL_ALLOWED, TRIVIAL, original_patterns, patterns_of
from magicoder.text.substrings import Automaton, letters, lowered

R = TypeVar("R", Seed, Sample)

FILLER = "Configure the widget registry, then reload it: registry.reload(force=True)"


def search_text(record: Sample) -> str:
    """What positions in a rejection count in."""
    return f"{record.instruction}\n\n{record.response}"


def seed(name: str, text: str = FILLER) -> Seed:
    return Seed(
        id=name, text=text, language="python", document_id="d", repository="r", commit="c", path="p.py", license="MIT",
        first_line=1, last_line=1, kind="window", index=0, raw_index=0,
    )  # fmt: skip


def sample(name: str, instruction: str = FILLER, response: str = FILLER) -> Sample:
    made = Sample.from_seed(seed(name), strategy="s", instruction=instruction, response=response)
    return replace(made, id=name)


def task(name: str = "T/1", **texts: str) -> Task:
    texts = {"prompt": "", "language": "python", "benchmark": "humaneval"} | texts
    return Task(id=name, **texts)


def artifact(folder: Path, record: type[R], parts: Sequence[Sequence[R]]) -> Artifact[R]:
    def build(out: Writer[R]) -> None:
        for part in parts[out.done :]:
            out.write(list(part), [])

    return RunFolder(folder).publish("input", record, settings=None, inputs=[], build=build)[0]


def decontaminated(
    folder: Path, given: Artifact[R], tasks: list[Task], settings: Decontaminate | None = None, workers: int = 1
) -> Artifact[R]:
    stage = settings or Decontaminate()
    return RunFolder(folder).publish(
        f"output{workers}",
        given.record,
        settings=stage,
        inputs=[],
        build=lambda out: stage.run(given, out, Local(workers=workers), tasks),
    )[0]


ADD = task(
    prompt='def add_all(numbers):\n    """Add all the numbers of a list."""\n',
    description="Add all the numbers of a list.",
    reference="    total = 0\n    for number in numbers:\n        total += number\n    return total\n",
)


# ---- the rule `all`


def test_a_match_is_rejected_with_set_task_text_and_position(tmp_path: Path) -> None:
    given = artifact(tmp_path, Sample, [[sample("clean"), sample("bad", response=f"See:\n{ADD.reference}")]])
    found = decontaminated(tmp_path, given, [ADD])
    assert [s.id for s in found] == ["clean"]
    (rejection,) = found.rejections()
    assert (rejection.id, rejection.stage, rejection.reason) == ("bad", "output1", "humaneval_reference_match")
    assert rejection.language == "python"
    detail = json.loads(rejection.detail)
    assert (detail["benchmark"], detail["task"], detail["layer"]) == ("humaneval", "T/1", "text")
    assert detail["matched"] == ADD.reference.strip()  # as it stands in the record
    assert search_text(sample("", response=f"See:\n{ADD.reference}"))[detail["position"] :].startswith("total = 0")


@pytest.mark.parametrize(
    "text",
    [
        "ADD ALL THE NUMBERS OF A LIST",
        "  \t add all the numbers of a list.\r\n ",
        "// Add all the numbers\n// of a list.",
        "Add **all** the\r\nnumbers of a `list`",
    ],
)
def test_case_white_space_markers_and_punctuation_hide_nothing(tmp_path: Path, text: str) -> None:
    given = artifact(tmp_path, Seed, [[seed("x", f"before {text} after"), seed("clean")]])
    found = decontaminated(tmp_path, given, [ADD])
    assert [s.id for s in found] == ["clean"]
    assert [r.reason for r in found.rejections()] == ["humaneval_description_match"]


def test_crlf_in_a_reference_does_not_hide_it(tmp_path: Path) -> None:
    windows = replace(ADD, reference=ADD.reference.replace("\n", "\r\n"))
    given = artifact(tmp_path, Seed, [[seed("x", ADD.reference)]])
    assert list(decontaminated(tmp_path, given, [windows])) == []


def test_of_several_matches_the_first_task_is_named(tmp_path: Path) -> None:
    other = task("T/0", benchmark="mbpp", description="total number of numbers in total", prompt="x")
    text = f"{ADD.description} and total number of numbers in total"
    given = artifact(tmp_path, Seed, [[seed("x", text)]])
    (rejection,) = decontaminated(tmp_path, given, [other, ADD]).rejections()
    assert rejection.reason == "mbpp_description_match"


def test_short_texts_are_not_searched_for_but_listed(tmp_path: Path) -> None:
    short = task(
        "T/2", prompt='def twice(x):\n    """Give x back twice."""', description="Give x back twice.", reference="2x"
    )
    tiny = task("T/3", prompt="f", description="f", reference="x")
    given = artifact(tmp_path, Seed, [[seed("x", "Give x back twice. 2x")], [seed("y", short.prompt)]])
    found = decontaminated(tmp_path, given, [ADD, short, tiny])
    assert [s.id for s in found] == ["x"]
    assert [r.reason for r in found.rejections()] == ["humaneval_prompt_match"]
    facts = found.manifest.facts
    assert facts["skipped_short"] == [
        "humaneval T/2 description",
        "humaneval T/2 reference",
        "humaneval T/3 description",
        "humaneval T/3 reference",
        "humaneval T/3 prompt",
    ]
    assert facts["patterns_skipped_short"] == 5
    assert facts["tasks_not_searched"] == ["humaneval T/3"]


def test_a_task_of_short_texts_is_searched_for_as_a_whole() -> None:
    rust = task(prompt="// Add two numbers x and y", description="Add two numbers x and y", reference="x + y")
    (pattern,) = patterns_of([rust], 20).searched
    assert (pattern.name, pattern.form) == ("humaneval_whole", b"addtwonumbersxandyxy")


def test_a_statement_apart_from_its_prompt_is_searched_for_beside_it() -> None:
    apart = task(prompt="def f(): '''Counts the words of a file.'''", description="Count all the words of a file")
    assert [p.name for p in patterns_of([apart], 20).searched] == ["humaneval_description", "humaneval_prompt"]


def test_the_allow_list_is_what_the_original_meant() -> None:
    """At a floor of 1 each trivial solution is let through by the list, the fourth one too."""
    for text in TRIVIAL:
        found = patterns_of([task(reference=f"    {text}\n", prompt="p", description="p")], 1)
        assert found.trivial == ("humaneval T/1 reference",)
    assert [p.text for p in patterns_of([task(reference="return x * y + 1")], 1).searched] == ["return x * y + 1"]


def test_every_trivial_string_is_a_solution_of_humaneval(shared_data: Path) -> None:
    solutions = {t.reference.strip() for t in at_hand(str(shared_data)).tasks if t.benchmark == "humaneval"}
    assert set(TRIVIAL) <= solutions
    assert set(ORIGINAL_ALLOWED) - solutions == {"return .join(strings)"}  # the quoting bug: it never matches


# ---- settings


def test_mode_off_passes_everything_and_says_so(tmp_path: Path) -> None:
    given = artifact(tmp_path, Seed, [[seed("x", ADD.reference)]])
    found = decontaminated(tmp_path, given, [ADD], Decontaminate(mode="off"))
    assert [s.id for s in found] == ["x"]
    assert found.manifest.facts["mode"] == "off"
    assert found.manifest.facts["benchmarks"] == []


def test_without_tasks_everything_passes_and_nothing_is_covered(tmp_path: Path) -> None:
    given = artifact(tmp_path, Seed, [[seed("x")], []])
    found = decontaminated(tmp_path, given, [])
    assert found.manifest.rows == 1
    assert found.manifest.facts["benchmarks"] == []
    assert "humaneval" in found.manifest.facts["not_covered"]


def test_only_the_benchmarks_that_are_named_are_searched_for(tmp_path: Path) -> None:
    other = replace(ADD, benchmark="mbpp", description="Sort the words of a sentence.", reference="")
    given = artifact(tmp_path, Seed, [[seed("add", ADD.description), seed("sort", other.description)]])
    found = decontaminated(tmp_path, given, [ADD, other], Decontaminate(benchmarks=("mbpp",)))
    assert [s.id for s in found] == ["add"]
    assert [b["benchmark"] for b in found.manifest.facts["benchmarks"]] == ["mbpp"]
    assert "humaneval" in found.manifest.facts["not_covered"]
    with pytest.raises(BenchmarkError, match="names gsm8k, whose files are not at hand"):
        Decontaminate(benchmarks=("gsm8k", "mbpp")).known([ADD, other])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "orignal"}, "mode is 'orignal'; did you mean original"),
        ({"benchmarks": ("human_eval",)}, "has 'human_eval', which is unknown; did you mean humaneval"),
        ({"benchmarks": ("mbpp",), "mode": "original"}, "needs mode `all`"),
        ({"layers": ("text", "ngram")}, "layers has 'ngram', which is unknown; did you mean ngrams"),
        ({"layers": ()}, "layers is empty"),
        ({"ngram_share": 0.0}, "ngram_share is 0.0; it is above 0"),
        ({"ngram_share": 50.0}, "ngram_share is 50.0; it is above 0 and at most 1"),
        ({"min_characters": 0}, "min_characters is 0; it is at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Decontaminate(**settings)


# ---- the layers

SORT = task(
    prompt="def order(items): ...",
    description="Write a function that takes a list of whole numbers and gives back those that occur more than once, "
    "each of them a single time, please.",
    reference="seen, twice = set(), []\nfor item in items:\n    if item in seen and item not in twice:\n"
    "        twice.append(item)\n    seen.add(item)\nreturn twice\n",
)
RENAMED = (
    "known, out = set(), []\nfor x in values:  # all of them\n    if x in known and x not in out:\n"
    "        out.append(x)\n    known.add(x)\nreturn out\n"
)
REWORDED = (
    "Please write a function that takes a list of whole numbers and gives back those that occur more than once, "
    "every one of them only once."
)


def test_a_renamed_solution_is_found_and_named_with_its_evidence(tmp_path: Path) -> None:
    given = artifact(tmp_path, Sample, [[sample("bad", response=f"Here:\n```python\n{RENAMED}```"), sample("clean")]])
    found = decontaminated(tmp_path, given, [SORT])
    assert [s.id for s in found] == ["clean"]
    (rejection,) = found.rejections()
    assert rejection.reason == "humaneval_identifiers_match"
    detail = json.loads(rejection.detail)
    assert (detail["task"], detail["layer"]) == ("T/1", "identifiers")
    text = search_text(sample("", response=f"Here:\n```python\n{RENAMED}```"))
    assert text[detail["position"] :].startswith("known, out = set()")
    assert detail["matched"] == text[detail["position"] :][:200].removesuffix("\n```")


def test_a_swapped_name_is_other_code(tmp_path: Path) -> None:
    given = artifact(tmp_path, Sample, [[sample("other", response=RENAMED.replace("return out", "return known"))]])
    assert [s.id for s in decontaminated(tmp_path, given, [SORT])] == ["other"]


def test_a_statement_with_other_words_in_it_is_found_and_says_how_much_of_it(tmp_path: Path) -> None:
    given = artifact(tmp_path, Sample, [[sample("bad", instruction=REWORDED)]])
    (rejection,) = decontaminated(tmp_path, given, [SORT]).rejections()
    assert rejection.reason == "humaneval_ngrams_match"
    detail = json.loads(rejection.detail)
    assert (detail["layer"], detail["found"], detail["of"]) == ("ngrams", 10, 17)
    assert detail["matched"] == "write a function that takes a list of whole numbers"
    assert search_text(sample("", instruction=REWORDED))[detail["position"] :].startswith("write a function")


def test_the_share_decides(tmp_path: Path) -> None:
    given = artifact(tmp_path, Sample, [[sample("x", instruction=REWORDED)]])
    assert len(list(decontaminated(tmp_path, given, [SORT], Decontaminate(ngram_share=0.6)))) == 1


@pytest.mark.parametrize("layer", ["text", "identifiers", "ngrams"])
def test_a_layer_that_is_not_named_is_not_searched(tmp_path: Path, layer: str) -> None:
    texts = {"text": SORT.reference.upper(), "identifiers": RENAMED, "ngrams": REWORDED}
    given = artifact(tmp_path, Seed, [[seed(name, text) for name, text in texts.items()]])
    found = decontaminated(tmp_path, given, [SORT], Decontaminate(layers=(layer,)))
    assert [r.id for r in found.rejections()] == [layer]
    assert list(found.manifest.facts["layers"]) == [layer]
    assert len(found.manifest.facts["methods"]) == 1


# ---- an index instead of files


def published(folder: Path, given: Artifact[R], tasks: list[Task], index: Index | None) -> Artifact[R]:
    stage = Decontaminate()
    return RunFolder(folder).publish(
        f"with{len(tasks)}{index is None}",
        given.record,
        settings=stage,
        inputs=[],
        build=lambda out: stage.run(given, out, Local(), tasks, index),
    )[0]


def test_an_index_rejects_what_the_files_reject_with_the_same_evidence(tmp_path: Path) -> None:
    rows = [sample("text", ADD.description.upper()), sample("code", response=RENAMED), sample("words", REWORDED)]
    given = artifact(tmp_path, Sample, [[*rows, sample("clean")]])
    both = [replace(ADD, id="T/0"), SORT]
    by_files = published(tmp_path, given, both, None)
    index = decode(encode(index_of(both, {"humaneval": "1.0"}), "some index"), "x")
    by_index = published(tmp_path, given, [], index)
    assert by_index.manifest.content == by_files.manifest.content
    assert [replace(r, stage="") for r in by_index.rejections()] == [
        replace(r, stage="") for r in by_files.rejections()
    ]
    assert by_index.manifest.rejected == 3
    (entry,) = by_index.manifest.facts["benchmarks"]
    assert entry["origin"].startswith("some index (")
    assert entry["tasks"] == 2
    assert by_index.manifest.facts["methods"][-1] == f"humaneval by the fingerprints of {entry['origin']}"


def test_files_come_before_the_index_and_the_index_covers_the_rest(tmp_path: Path) -> None:
    index = index_of([replace(ADD, id="old"), replace(SORT, benchmark="mbpp")], {"humaneval": "0", "mbpp": "1.0"})
    given = artifact(tmp_path, Sample, [[sample("add", ADD.description), sample("sort", response=RENAMED)]])
    found = published(tmp_path, given, [replace(ADD, id="new")], index)
    assert [json.loads(r.detail)["task"] for r in found.rejections()] == ["new", "T/1"]
    assert [(b["benchmark"], b["version"]) for b in found.manifest.facts["benchmarks"]] == [
        ("humaneval", "1.0"),
        ("mbpp", "1.0"),
    ]


def test_an_index_for_another_floor_is_refused_or_left_out(tmp_path: Path) -> None:
    index = index_of([replace(ADD, benchmark="mbpp")], {"mbpp": "1.0"})
    with pytest.raises(
        BenchmarkError, match="min_characters is 30, and what there is of benchmarks is an index for 20"
    ):
        Decontaminate(min_characters=30).known([], index)
    assert set(Decontaminate(min_characters=30).known([ADD], index).sources) == {"humaneval"}


# ---- facts, workers, resuming


def parts_with_hits(folder: Path) -> Artifact[Sample]:
    rows = [sample(f"s{i}", response=ADD.reference if i % 3 == 0 else f"{FILLER} {i}") for i in range(24)]
    return artifact(folder, Sample, [rows[i : i + 4] for i in range(0, 24, 4)])


def test_facts_give_version_licence_tasks_patterns_and_hits(tmp_path: Path) -> None:
    found = decontaminated(tmp_path, parts_with_hits(tmp_path), [ADD])
    assert found.manifest.facts["benchmarks"] == [
        {
            "benchmark": "humaneval",
            "version": "1.0",
            "license": "MIT",
            "tasks": 1,
            "patterns": 3,
            "hits": 8,
            "origin": "files",
        }
    ]
    assert found.manifest.facts["partly_covered"] == {"humaneval": "1 of 164 tasks at hand"}
    assert found.manifest.facts["sets"] == {
        "humaneval_description": 1,
        "humaneval_ngrams": 1,
        "humaneval_reference": 1,
    }
    assert found.manifest.facts["layers"] == {
        "text": {"patterns": 2, "tasks": 1},
        "identifiers": {"patterns": 0, "tasks": 0},  # a reference of 13 tokens
        "ngrams": {"patterns": 1, "tasks": 1},
    }


def test_two_workers_give_the_same_bytes_as_one(tmp_path: Path) -> None:
    given = parts_with_hits(tmp_path)
    one, two = (decontaminated(tmp_path, given, [ADD], workers=n) for n in (1, 2))
    assert one.manifest.content == two.manifest.content
    assert one.manifest.facts == two.manifest.facts
    rejected = [[replace(r, stage="") for r in a.rejections()] for a in (one, two)]
    assert rejected[0] == rejected[1]
    assert sorted(p.name for p in two.folder.iterdir()) == sorted([*one.manifest.parts, "manifest.json", "rejected"])


def test_a_killed_run_goes_on_and_counts_all_hits(tmp_path: Path) -> None:
    given = parts_with_hits(tmp_path)
    whole = decontaminated(tmp_path, given, [ADD])

    class Killed(Exception):
        pass

    class Killer:
        left = 3

        def expect(self, total: int | None, unit: str) -> None: ...

        def tick(self, count: int, note: str = "") -> None:
            self.left -= 1
            if self.left == 0:
                raise Killed

    stage = Decontaminate()

    def publish(progress: Any) -> Artifact[Sample]:
        return RunFolder(tmp_path).publish(
            "killed",
            Sample,
            settings=stage,
            inputs=[],
            build=lambda out: stage.run(given, out, Local(), [ADD]),
            progress=progress,
        )[0]

    with pytest.raises(Killed):
        publish(Killer())
    assert len(list((tmp_path / "killed.building").glob("part-*"))) == 3
    resumed = publish(None)
    assert resumed.manifest.content == whole.manifest.content
    assert resumed.manifest.facts == whole.manifest.facts


# ---- real data


@pytest.fixture(scope="module")
def tasks(shared_data: Path) -> list[Task]:
    return at_hand(str(shared_data)).tasks


def disguised(text: str) -> str:
    return f"{FILLER}\n \t{text.upper()}\r\n\n  {FILLER}"


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
