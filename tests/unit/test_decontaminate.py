"""Planted texts are rejected with their evidence, by every layer and from an index too; clean records pass."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from magicoder.engines.local import Local
from magicoder.errors import BenchmarkError, RecipeError
from magicoder.records import Sample, Seed, Task
from magicoder.stages.decontaminate import Decontaminate
from magicoder.store import Artifact, RunFolder
from magicoder.text.benchmark_index import Index, decode, encode, index_of
from magicoder.text.patterns import TRIVIAL, patterns_of
from tests.contaminated import FILLER, R, artifact, decontaminated, sample, seed, task


def search_text(record: Sample) -> str:
    """What positions in a rejection count in."""
    return f"{record.instruction}\n\n{record.response}"


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
