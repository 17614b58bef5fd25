"""Which record of a cluster stays, what is said of the others, and that neither kills nor workers change it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from magicoder.engines.local import Local
from magicoder.records import Document, Sample, Seed
from magicoder.stages.deduplicate import Deduplicate, Deduplication
from magicoder.store import Artifact, RunFolder, Writer
from magicoder.text.repetition import repetition
from magicoder.text.sketches import jaccard, shingles

TEXTS = Deduplicate(compare=("texts",))


def document(name: str, text: str) -> Document:
    return Document(id=name, text=text, language="python", repository="r", commit="c", path=f"{name}.py", license="")


def seed(name: str, text: str) -> Seed:
    return Seed(
        id=name, text=text, language="python", document_id="d", repository="r", commit="c", path="p.py", license="MIT",
        first_line=1, last_line=1, kind="window", index=0, raw_index=0,
    )  # fmt: skip


def sample(name: str, instruction: str, response: str) -> Sample:
    made = Sample.from_seed(seed("s", "x"), strategy="s", instruction=instruction, response=response, turns=("a", "b"))
    return replace(made, id=name)


def words(first: int, count: int = 60, *changed: int) -> str:
    """So many words, all of their own; those at the places `changed` are different ones."""
    return " ".join(f"w{first + i}{'x' if i in changed else ''}" for i in range(count))


def artifact(folder: Path, parts: Sequence[Sequence[Any]]) -> Artifact[Any]:
    def build(out: Writer[Any]) -> None:
        for part in parts[out.done :]:
            out.write(list(part), [])

    record = next(type(row) for part in parts for row in part)
    return RunFolder(folder).publish("input", record, settings=None, inputs=[], build=build)[0]


def distinct(
    folder: Path,
    given: Artifact[Any],
    stage: Deduplicate = TEXTS,
    name: str = "output",
    workers: int = 1,
    progress: Any = None,
) -> Artifact[Any]:
    return RunFolder(folder).publish(
        name,
        given.record,
        settings=stage,
        inputs=[given.manifest.content],
        build=lambda out: stage.run(given, out, Local(workers=workers)),
        progress=progress,
    )[0]


def run(folder: Path, *rows: Any, **settings: Any) -> tuple[list[str], dict[str, tuple[str, dict[str, Any]]]]:
    """Return the ids that stay, and reason and detail of the others."""
    found = distinct(folder, artifact(folder, [rows]), replace(TEXTS, **settings))
    return [row.id for row in found], {r.id: (r.reason, json.loads(r.detail)) for r in found.rejections()}


# ---- which one stays


def test_the_first_of_those_that_resemble_each_other_stays_and_the_others_name_it(tmp_path: Path) -> None:
    texts = {"a": words(0), "b": words(0, 60, 30), "c": words(500), "d": words(0, 60, 59)}
    kept, gone = run(tmp_path, *(document(name, text) for name, text in texts.items()))
    assert kept == ["a", "c"]
    assert {name: (reason, detail["of"]) for name, (reason, detail) in gone.items()} == {
        "b": ("near_duplicate", "a"),
        "d": ("near_duplicate", "a"),
    }
    for name, (_, detail) in gone.items():
        exact = jaccard(shingles(texts[name]), shingles(texts[detail["resembles"]]))
        assert detail["similarity"] == round(exact, 4)
        assert 0.7 <= exact < 1


def test_the_longest_may_stay_instead_and_of_equally_long_ones_the_first(tmp_path: Path) -> None:
    rows = [document("a", words(0)), document("b", words(0, 70)), document("c", words(0, 70)[::-1][::-1])]
    kept, gone = run(tmp_path, *rows, keep="longest")
    assert kept == ["b"]
    assert gone["a"][1] == {"of": "b", "resembles": "b", "similarity": round(56 / 66, 4)}
    assert gone["c"][1]["of"] == "b"


def test_a_chain_of_near_duplicates_is_one_cluster_and_can_be_walked(tmp_path: Path) -> None:
    a, b, c = words(0, 60), words(8, 60), words(16, 60)
    assert jaccard(shingles(a), shingles(c)) < 0.6 < 0.7 < jaccard(shingles(a), shingles(b)), "the ends differ"
    kept, gone = run(tmp_path, document("a", a), document("b", b), document("c", c))
    assert kept == ["a"]
    assert [(name, detail["of"], detail["resembles"]) for name, (_, detail) in gone.items()] == [
        ("b", "a", "a"),
        ("c", "a", "b"),
    ]


def test_the_threshold_decides(tmp_path: Path) -> None:
    rows = [document("a", words(0)), document("b", words(0, 60, 30))]
    similarity = jaccard(*(shingles(row.text) for row in rows))
    for folder, threshold, kept in (("low", similarity, ["a"]), ("high", similarity + 0.01, ["a", "b"])):
        (tmp_path / folder).mkdir()
        assert run(tmp_path / folder, *rows, threshold=threshold)[0] == kept


def test_very_short_texts_resemble_equal_ones_only(tmp_path: Path) -> None:
    kept, _ = run(tmp_path, *(seed(f"s{i}", text) for i, text in enumerate(["}", "{", "}", "x = 1", "x = 2", "", ""])))
    assert kept == ["s0", "s1", "s3", "s4", "s5"]


def test_texts_that_differ_in_white_space_alone_are_equal_where_that_is_asked_for(tmp_path: Path) -> None:
    rows = [seed("a", "if(x){\n  y();\n}"), seed("b", "if (x) { y (); }\n"), seed("c", "IF(x){y();}")]
    kept, gone = run(tmp_path, *rows, exact=True)
    assert kept == ["a", "c"]
    assert gone == {"b": ("duplicate", {"of": "a"})}


def test_what_equals_a_near_duplicate_names_the_one_that_stays_in_the_end(tmp_path: Path) -> None:
    rows = [seed("a", words(0)), seed("b", words(0, 60, 30)), seed("c", words(0, 60, 30).replace(" ", "\n"))]
    kept, gone = run(tmp_path, *rows, exact=True)
    assert kept == ["a"]
    assert {name: (reason, detail["of"]) for name, (reason, detail) in gone.items()} == {
        "b": ("near_duplicate", "a"),
        "c": ("duplicate", "a"),
    }


# ---- samples


def pairs() -> list[Sample]:
    return [
        sample("a", words(0), words(1000)),
        sample("b", words(0, 60, 30), words(2000)),  # asks nearly the same
        sample("c", words(3000), words(1000, 60, 30)),  # answers nearly the same
        sample("d", words(0, 60, 31), words(1000, 60, 31)),  # both
    ]


@pytest.mark.parametrize(
    ("compare", "kept"),
    [
        (["samples"], ["a", "b", "c"]),
        (["instructions"], ["a", "c"]),
        (["responses"], ["a", "b"]),
        (["instructions", "responses"], ["a"]),
    ],
)
def test_samples_are_compared_whole_or_by_problem_or_by_solution(
    tmp_path: Path, compare: list[str], kept: list[str]
) -> None:
    found, gone = run(tmp_path, *pairs(), compare=tuple(compare))
    assert found == kept
    assert all(detail["of"] in kept for _, detail in gone.values())
    if len(compare) > 1:
        assert {name: detail["compared"] for name, (_, detail) in gone.items()} == {
            "b": "instructions",
            "c": "responses",
            "d": "instructions",
        }


def test_rows_are_passed_on_as_they_are(tmp_path: Path) -> None:
    rows = pairs()
    given = artifact(tmp_path, [rows[:1], rows[1:]])
    found = distinct(tmp_path, given, replace(TEXTS, compare=("samples",)))
    assert found.read_part(0) + found.read_part(1) == rows[:3]
    assert found.part_count == 2
    assert found.folder.joinpath("part-00000.parquet").read_bytes() == given.part_path(0).read_bytes()


# ---- what is said of it


def test_the_manifest_says_how_many_clusters_of_which_sizes_there_are(tmp_path: Path) -> None:
    rows = [seed(f"{c}{i}", words(1000 * c, 60, i)) for c, size in enumerate((2, 2, 3, 9, 1)) for i in range(size)]
    facts = distinct(tmp_path, artifact(tmp_path, [rows[:7], rows[7:]]), replace(TEXTS, exact=True)).manifest.facts
    (found,) = facts["comparisons"]
    assert (facts["records"], facts["equal"], facts["threshold"], facts["keep"]) == (17, 0, 0.7, "first")
    assert (found["compared"], found["clusters"], found["removed"]) == ("texts", 4, 12)
    assert [(e["from"], e["to"], e["clusters"]) for e in found["sizes"]] == [(2, 2, 2), (3, 3, 1), (8, 15, 1)]
    assert found["largest"] == [
        {"kept": "30", "size": 9}, {"kept": "20", "size": 3}, {"kept": "00", "size": 2}, {"kept": "10", "size": 2},
    ]  # fmt: skip
    assert found["candidate_pairs"] >= found["joined_pairs"] == 12
    (read,) = repetition({"documents": {"files": 3}, "distinct_seeds": facts}).comparisons
    assert (read.stage, read.removed, read.equal, read.largest[0].size) == ("distinct_seeds", 12, 0, 9)
    assert not repetition({"documents": {}}).comparisons


def test_a_vendored_copy_of_a_file_is_found(tmp_path: Path, shared_data: Path) -> None:
    """Real files, and copies as they stand in other projects: another header, a renamed package, lines added."""
    import pyarrow.parquet as pq

    table = pq.read_table(shared_data / "corpus_sample.parquet", columns=["content"])[:400]
    texts = [text for text in table["content"].to_pylist() if 2_000 < len(text) < 20_000][:60]
    originals = [document(f"upstream:{i}", text) for i, text in enumerate(texts)]
    copies = [document(f"vendored:{i}", vendored(text, i)) for i, text in enumerate(texts)]
    alone, _ = run(tmp_path / "alone", *originals)
    kept, gone = run(tmp_path / "both", *originals, *copies)
    assert kept == alone
    assert {f"vendored:{i}" for i in range(len(texts))} <= set(gone)


def vendored(text: str, number: int) -> str:
    lines = text.splitlines(keepends=True)
    middle = len(lines) // 2
    lines[middle:middle] = [f"// LOCAL PATCH {number}: keep this\n"]
    return f"/* Copied from upstream, release {number}; see NOTICE. */\n" + "".join(lines)


# ---- workers, kills


def mixed() -> list[list[Seed]]:
    rng = Random(7)
    rows = [seed(f"s{i}", words(1000 * rng.randrange(40), 80, rng.randrange(80))) for i in range(120)]
    rows[50] = replace(rows[3], id="equal", text=rows[3].text.replace(" ", "  "))
    return [rows[i : i + 15] for i in range(0, 120, 15)]


BOTH = Deduplicate(compare=("texts",), exact=True)


def test_two_workers_give_the_same_bytes_as_one(tmp_path: Path) -> None:
    given = artifact(tmp_path, mixed())
    one, two = (distinct(tmp_path, given, BOTH, f"w{n}", workers=n) for n in (1, 2))
    assert replace(one.manifest, stage="", key="") == replace(two.manifest, stage="", key="")
    assert [replace(r, stage="") for r in one.rejections()] == [replace(r, stage="") for r in two.rejections()]
    assert {r.reason for r in one.rejections()} == {"duplicate", "near_duplicate"}
    assert 30 <= one.manifest.rows <= 40


def test_the_size_of_the_parts_decides_nothing(tmp_path: Path) -> None:
    rows = [row for part in mixed() for row in part]
    kept = []
    for size in (120, 11):
        folder = tmp_path / str(size)
        folder.mkdir()
        given = artifact(folder, [rows[i : i + size] for i in range(0, 120, size)])
        kept.append([row.id for row in distinct(folder, given, BOTH)])
    assert kept[0] == kept[1]


class Killed(Exception):
    pass


class Killer:
    def __init__(self, after: int) -> None:
        self.left = after

    def expect(self, total: int | None, unit: str) -> None: ...

    def tick(self, count: int, note: str = "") -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.mark.parametrize("after", [1, 5, 8, 9, 12, 16])
def test_a_run_killed_in_either_pass_goes_on_to_the_same_bytes(tmp_path: Path, after: int) -> None:
    given = artifact(tmp_path, mixed())
    whole = distinct(tmp_path, given, BOTH)
    with pytest.raises(Killed):
        distinct(tmp_path, given, BOTH, "killed", progress=Killer(after))
    written = list((tmp_path / "killed.building").glob("part-*.parquet"))
    assert len(written) == max(0, after - 8), "the second of two passes over 8 parts writes"
    before = {path.name: path.stat().st_mtime_ns for path in written}
    resumed = distinct(tmp_path, given, BOTH, "killed")
    assert replace(resumed.manifest, stage="", key="") == replace(whole.manifest, stage="", key="")
    assert [replace(r, stage="") for r in resumed.rejections()] == [replace(r, stage="") for r in whole.rejections()]
    assert {name: (resumed.folder / name).stat().st_mtime_ns for name in before} == before, "written once"
    assert sorted(p.name for p in resumed.folder.iterdir()) == sorted(p.name for p in whole.folder.iterdir())


def test_nothing_to_compare_is_nothing_to_write(tmp_path: Path) -> None:
    given = artifact(tmp_path, [[document("a", "x")]])
    empty = replace(given, manifest=replace(given.manifest, parts=(), rows=0))
    found = distinct(tmp_path, empty)
    assert (found.manifest.rows, found.part_count) == (0, 0)


# ---- the recipe's settings


def test_each_kind_of_record_is_a_switch_and_seeds_are_compared_before_a_teacher_only() -> None:
    on, off = Deduplication(), Deduplication(documents=False, seeds=False, samples=False)
    assert on.of_documents() == Deduplicate(compare=("texts",))
    assert on.of_seeds(are_paid_for=True) == Deduplicate(compare=("texts",), exact=True)
    assert on.of_seeds(are_paid_for=False) is None
    assert on.of_samples() == Deduplicate(compare=("samples",))
    assert [off.of_documents(), off.of_seeds(are_paid_for=True), off.of_samples()] == [None, None, None]
    chosen = Deduplication(threshold=0.9, keep="longest", compare=("instructions", "responses")).of_samples()
    assert chosen == Deduplicate(threshold=0.9, keep="longest", compare=("instructions", "responses"))
