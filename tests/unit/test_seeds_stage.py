"""The seeds stage: what is drawn, what is rejected and why, and that nothing else decides it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from magicoder.engines.local import Local
from magicoder.errors import RecipeError
from magicoder.records import Document, Rejection, Seed
from magicoder.stages.seeds import Seeds
from magicoder.store import Artifact, RunFolder, Writer
from magicoder.text.functions import Functions

PYTHON = 'x = 1\n\n\ndef add(a, b):\n    """Return the sum of a and b, whatever they are."""\n    return a + b\n'


def document(name: str, text: str, language: str = "python") -> Document:
    return Document(
        id=f"repo@c0:{name}", text=text, language=language, repository="repo", commit="c0", path=name, license="MIT"
    )


def corpus(count: int = 60) -> list[Document]:
    languages = ["python", "python", "rust", "go"]
    return [
        document(f"f{i}", "".join(f"{i}: line {j}\n" for j in range(i % 7 + 1)), languages[i % 4]) for i in range(count)
    ]


class Runs:
    """Runs the stage over documents, in a folder of its own for each run."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.count = 0

    def documents(self, run: RunFolder, rows: list[Document], part_rows: int) -> Artifact[Document]:
        def write(out: Writer[Document]) -> None:
            for i in range(0, len(rows), part_rows):
                out.write(rows[i : i + part_rows], [])

        return run.publish("documents", Document, write, settings=None, inputs=[])[0]

    def __call__(
        self,
        stage: Seeds,
        rows: list[Document],
        *,
        kind: str = "window",
        part_rows: int = 1000,
        workers: int = 1,
        kill_after: int | None = None,
    ) -> Artifact[Seed]:
        self.count += 1
        with RunFolder.locked(self.place / str(self.count)) as run:
            inputs = self.documents(run, rows, part_rows)

            def build(out: Writer[Seed]) -> None:
                stage.run(inputs, out, Local(workers=workers), kind)

            def killed(out: Writer[Seed]) -> None:
                out.write_table = _dies_after(out, kill_after or 0)  # type: ignore[method-assign]
                build(out)

            if kill_after is not None:
                with pytest.raises(KeyboardInterrupt):
                    run.publish("seeds", Seed, killed, settings=stage, inputs=[])
            return run.publish("seeds", Seed, build, settings=stage, inputs=[])[0]


def _dies_after(out: Writer[Seed], parts: int) -> Any:
    write = out.write_table

    def dying(rows: pa.Table, rejections: list[Rejection]) -> None:
        if out.done == parts:
            raise KeyboardInterrupt
        write(rows, rejections)

    return dying


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def reasons(seeds: Artifact[Seed]) -> dict[str, str]:
    return {r.id: r.reason for r in seeds.rejections()}


def test_a_seed_carries_its_provenance(runs: Runs) -> None:
    (seed,) = runs(Seeds(), [document("a.py", "one\n")])
    assert seed == Seed(
        id="repo@c0:a.py#L1",
        text="one\n",
        language="python",
        document_id="repo@c0:a.py",
        repository="repo",
        commit="c0",
        path="a.py",
        license="MIT",
        first_line=1,
        last_line=1,
        kind="window",
        index=0,
        raw_index=0,
    )


def test_documents_without_a_window_are_rejected_with_the_reason(runs: Runs) -> None:
    rows = [document("empty", ""), document("blank", " \n\n\t\n"), document("full", "x\n")]
    seeds = runs(Seeds(), rows)
    assert reasons(seeds) == {"repo@c0:empty": "no_lines", "repo@c0:blank": "blank"}
    assert [r.language for r in seeds.rejections()] == ["python", "python"]
    assert [s.document_id for s in seeds] == ["repo@c0:full"]
    assert next(iter(seeds)).raw_index == 2


def test_index_numbers_the_seeds_and_raw_index_the_rows_of_a_language(runs: Runs) -> None:
    rows = corpus()
    seeds = list(runs(Seeds(), rows, part_rows=7))
    assert [s.index for s in seeds] == list(range(60))
    by_language: Counter[str] = Counter()
    for seed, row in zip(seeds, rows, strict=True):
        assert (seed.document_id, seed.raw_index) == (row.id, by_language[row.language])
        by_language[row.language] += 1


def test_part_i_of_the_seeds_comes_from_part_i_of_the_documents(runs: Runs) -> None:
    rows = corpus()
    seeds = runs(Seeds(), rows, part_rows=13)
    assert seeds.part_count == 5
    for part in range(5):
        assert [s.document_id for s in seeds.read_part(part)] == [d.id for d in rows[13 * part : 13 * part + 13]]


@pytest.mark.parametrize("stage", [Seeds(), Seeds(quotas={"python": 9, "*": 4}, per_document=2)])
def test_workers_change_no_byte(runs: Runs, stage: Seeds) -> None:
    one = runs(stage, corpus(), part_rows=9)
    two = runs(stage, corpus(), part_rows=9, workers=2)
    assert one.manifest == two.manifest
    assert list(one.rejections()) == list(two.rejections())


@pytest.mark.parametrize(
    "stage",
    [
        Seeds(),
        Seeds(quotas={"python": 9, "*": 4}),
        Seeds(mode="exact", chunk_size=8),
        Seeds(mode="exact", chunk_size=1000, start_index=3, max_new_data=9),
    ],
)
@pytest.mark.parametrize("parts", [0, 1, 4])
def test_a_killed_run_goes_on_to_the_same_bytes(runs: Runs, stage: Seeds, parts: int) -> None:
    whole = runs(stage, corpus(), part_rows=11)
    resumed = runs(stage, corpus(), part_rows=11, kill_after=parts)
    assert whole.manifest == resumed.manifest
    assert list(whole.rejections()) == list(resumed.rejections())


def test_several_windows_of_a_document_do_not_overlap(runs: Runs) -> None:
    seeds = list(runs(Seeds(per_document=3), [document("long", "line\n" * 400)]))
    assert len(seeds) == 3
    assert seeds[0].last_line < seeds[1].first_line <= seeds[1].last_line < seeds[2].first_line
    assert len({s.id for s in seeds}) == 3


def test_another_random_seed_draws_other_windows(runs: Runs) -> None:
    rows = [document(str(i), "".join(f"{j}\n" for j in range(200))) for i in range(20)]
    first, second = runs(Seeds(), rows), runs(Seeds(random_seed=1), rows)
    assert sum(a.id == b.id for a, b in zip(first, second, strict=True)) <= 3


def test_the_metadata_line_is_left_out_when_asked(runs: Runs) -> None:
    rows = [document("a", "<reponame>a/b<gh_stars>1\ncode\n"), document("b", "<filename>only.py\n")]
    kept = runs(Seeds(min_lines=2, max_lines=2), rows)
    assert [s.text for s in kept] == [rows[0].text, rows[1].text]
    stripped = runs(Seeds(strip_metadata=True), rows)
    assert [(s.text, s.first_line, s.last_line) for s in stripped] == [("code\n", 2, 2)]
    assert reasons(stripped) == {"repo@c0:b": "no_lines"}


# --- quotas ---


def test_a_quota_is_filled_and_what_is_over_is_rejected(runs: Runs) -> None:
    seeds = runs(Seeds(quotas={"python": 10, "rust": 100}), corpus(), part_rows=7)
    assert Counter(s.language for s in seeds) == {"python": 10, "rust": 15}
    assert Counter(r.reason for r in seeds.rejections()) == {"over_quota": 20, "language_not_wanted": 15}
    assert all(r.id.startswith("repo@c0:f") and "#" not in r.id for r in seeds.rejections())


@pytest.mark.parametrize("others", ["*", "other"])
def test_the_star_is_the_quota_of_each_language_not_named(runs: Runs, others: str) -> None:
    seeds = runs(Seeds(quotas={"python": 2, others: 5}), corpus())
    assert Counter(s.language for s in seeds) == {"python": 2, "rust": 5, "go": 5}


def test_a_quota_of_none_keeps_none(runs: Runs) -> None:
    seeds = runs(Seeds(quotas={"python": 0, "*": 1}), corpus())
    assert Counter(s.language for s in seeds) == {"rust": 1, "go": 1}


def test_a_quota_prefers_no_part_of_the_corpus(runs: Runs) -> None:
    rows = [document(str(i), f"{i}\n") for i in range(400)]
    kept = [s.raw_index for s in runs(Seeds(quotas={"python": 200}), rows, part_rows=50)]
    assert 75 <= sum(row < 200 for row in kept) <= 125  # five standard deviations
    more = [s.raw_index for s in runs(Seeds(quotas={"python": 201}), rows, part_rows=50)]
    assert set(kept) < set(more)


def test_over_quota_among_several_windows_names_the_seed(runs: Runs) -> None:
    seeds = runs(Seeds(quotas={"python": 1}, per_document=3), [document("long", "line\n" * 400)])
    kept = [s.id for s in seeds]
    assert len(kept) == 1
    assert len(reasons(seeds)) == 2
    assert all(i.startswith("repo@c0:long#L") and i not in kept for i in reasons(seeds))


# --- functions ---


def test_functions_are_seeds_too(runs: Runs) -> None:
    rows = [document("a.py", PYTHON), document("b.py", "x = 1\n"), document("c", PYTHON, "cobol")]
    seeds = runs(Seeds(), rows, kind="function")
    (seed,) = seeds
    assert (seed.id, seed.kind, seed.first_line, seed.last_line) == ("repo@c0:a.py#L4", "function", 4, 6)
    assert seed.text.startswith("def add")
    assert reasons(seeds) == {"repo@c0:b.py": "no_documented_function", "repo@c0:c": "unknown_language"}


def test_the_recipes_kind_overrules_the_strategys(runs: Runs) -> None:
    (seed,) = runs(Seeds(kind="function"), [document("a.py", PYTHON)], kind="window")
    assert seed.kind == "function"


def many_functions(count: int) -> str:
    return "".join(PYTHON.replace("add", f"add{i}").replace("sum", f"sum number {i}") + "\n\n" for i in range(count))


def test_functions_over_a_limit_are_rejected_by_their_own_ids(runs: Runs) -> None:
    seeds = runs(Seeds(max_functions_per_document=2), [document("a.py", many_functions(5))], kind="function")
    assert len(list(seeds)) == 2
    assert list(reasons(seeds).values()) == ["over_document_limit"] * 3
    quota = runs(Seeds(quotas={"python": 2}), [document("a.py", many_functions(5))], kind="function")
    assert list(quota) == list(seeds)
    assert list(reasons(quota).values()) == ["over_quota"] * 3


def test_functions_that_begin_on_one_line_do_not_share_an_id(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    from magicoder.text import syntax

    find = syntax.find_functions

    def doubled(text: str, language: Any, *, documented: bool) -> list[Any]:
        return [found for found in find(text, language, documented=documented) for _ in range(2)]

    monkeypatch.setattr(syntax, "find_functions", doubled)
    seeds = runs(Seeds(), [document("a.py", PYTHON)], kind="function")
    assert [s.id for s in seeds] == ["repo@c0:a.py#L4"]
    assert reasons(seeds) == {"repo@c0:a.py#L4": "same_line"}


# --- instructions ---


def test_the_filters_on_functions_reject_with_reasons(runs: Runs) -> None:
    text = 'import numpy\n\n\ndef mean(a):\n    """Mean."""\n    return numpy.mean(a)\n\n\n' + PYTHON
    rows = [document("a.py", text), document("tests/b.py", PYTHON), document("c.py", "x = (\n")]
    wanted = Functions(tests=False, dependencies="standard_library")
    seeds = runs(Seeds(functions=wanted), rows, kind="function")
    assert [s.text.split("(")[0] for s in seeds] == ["def add"]
    assert reasons(seeds) == {
        "repo@c0:a.py#L4": "needs_package",
        "repo@c0:tests/b.py#L4": "test_function",
        "repo@c0:c.py": "no_documented_function",
    }
    assert next(r.detail for r in seeds.rejections()) == "numpy"


def test_functions_without_documentation_are_seeds_where_that_is_wanted(runs: Runs) -> None:
    rows = [document("a.py", "def add(a, b):\n    return a + b\n"), document("b.py", "x = 1\n")]
    assert len(list(runs(Seeds(), rows, kind="function"))) == 0
    seeds = runs(Seeds(functions=Functions(documented=False)), rows, kind="function")
    assert [s.id for s in seeds] == ["repo@c0:a.py#L1"]
    assert reasons(seeds) == {"repo@c0:b.py": "no_function"}


def test_a_documented_function_that_is_broken_is_told(runs: Runs) -> None:
    text = "/** Adds. */\nint add(int a) { return ((a; }\n\n/** Sub. */\nint sub(int a) { return a - 1; }\n"
    seeds = runs(Seeds(), [document("a.c", text, "c")], kind="function")
    assert len(list(seeds)) == 1
    assert reasons(seeds) == {"repo@c0:a.c#L2": "does_not_parse"}


def test_an_instruction_is_the_whole_document(runs: Runs) -> None:
    text = "Write f.\n\n```python\ndef f(): ...\n```\n"
    one, two = runs(Seeds(), [document("a", text), document("b", "one line")], kind="instruction")
    assert (one.id, one.text, one.kind, one.first_line, one.last_line) == ("repo@c0:a#L1", text, "instruction", 1, 5)
    assert (two.first_line, two.last_line, two.index) == (1, 1, 1)


def test_quotas_hold_for_instructions_and_blank_ones_are_no_seeds(runs: Runs) -> None:
    rows = [document(f"{i}", f"task {i}") for i in range(9)] + [document("blank", " \n"), document("c", "x", "c")]
    seeds = runs(Seeds(quotas={"python": 4}), rows, kind="instruction")
    assert len(list(seeds)) == 4
    found = Counter(r.reason for r in seeds.rejections())
    assert found == {"over_quota": 5, "blank": 1, "language_not_wanted": 1}
    assert {r.id for r in seeds.rejections()} | {s.document_id for s in seeds} == {d.id for d in rows}


# --- settings ---


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mode": "exakt"}, "did you mean exact"),
        ({"kind": "lines"}, "kind has no 'lines'"),
        ({"min_lines": 0}, "min_lines 0"),
        ({"min_lines": 16}, "max_lines 15"),
        ({"per_document": 0}, "at least 1"),
        ({"quotas": {"pyhton": 3}}, "did you mean python"),
        ({"quotas": {"python": -1}}, "quotas.python is -1"),
        ({"mode": "exact", "per_document": 2}, "leave out per_document"),
        ({"mode": "exact", "strip_metadata": True}, "strips nothing"),
        ({"max_new_data": 10}, "mode: exact"),
        ({"mode": "exact", "chunk_size": 0}, "chunk_size is 0"),
    ],
)
def test_impossible_settings_say_what_to_do(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        Seeds(**settings)


@pytest.mark.parametrize("kind", ["function", "instruction"])
def test_exact_mode_draws_windows_only(runs: Runs, kind: str) -> None:
    with pytest.raises(RecipeError, match=f"wants {kind}s"):
        runs(Seeds(mode="exact"), corpus(), kind=kind)
