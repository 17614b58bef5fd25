"""The pipeline as a library call on tiny corpora: nothing, one file, a full last part; and what makes a stage stale."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from magicoder import pipeline
from magicoder.corpora.local_files import LocalFiles
from magicoder.engines.local import Local
from magicoder.errors import CorpusError, Interrupted, RecipeError
from magicoder.llms.mock import Mock
from magicoder.llms.replay import Replay
from magicoder.pipeline import Result, Surroundings
from magicoder.recipe import Recipe
from magicoder.records import Document
from magicoder.stages.deduplicate import Deduplication
from magicoder.stages.documents import Documents
from magicoder.stages.generate import Generate
from magicoder.stages.seeds import Seeds
from magicoder.store import RunFolder
from magicoder.strategies.comment_pairs import CommentPairs
from magicoder.strategies.oss_instruct import OssInstruct

FUNCTION = '''\
def add_{name}(number):
    """Return the number plus what {name} is worth today."""
    return number + len("{name}")
'''


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    return folder


def write(source: Path, *names: str) -> None:
    for name in names:
        (source / f"{name}.py").write_text(FUNCTION.format(name=name))


def recipe(source: Path, **changes: object) -> Recipe:
    values = {"corpora": (LocalFiles(path=str(source)),), "documents": Documents(part_documents=2)} | changes
    return Recipe(**values)  # type: ignore[arg-type]


class Stages:
    """A watcher that remembers which stages were built."""

    def __init__(self) -> None:
        self.built: list[str] = []

    def stage(self, name: str) -> pipeline.Progress:
        return pipeline.Silent()

    def done(self, count: pipeline.StageCount, *, built: bool) -> None:
        if built:
            self.built.append(count.stage)


def run(tmp_path: Path, made: Recipe, out: str = "run", **around: object) -> tuple[Result, list[str]]:
    watcher = Stages()
    values = {"engine": Local(), "journal": tmp_path / "journal.sqlite", "watcher": watcher} | around
    with RunFolder.locked(tmp_path / out) as folder:
        return pipeline.run(made, folder, Surroundings(**values)), watcher.built  # type: ignore[arg-type]


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in (result.dataset / "jsonl" / "instruction.jsonl").read_text().splitlines()]


def test_a_corpus_without_files_is_an_error_and_one_without_documents_an_empty_dataset(
    tmp_path: Path, source: Path
) -> None:
    with pytest.raises(CorpusError):
        run(tmp_path, recipe(source))
    (source / "empty.py").write_text("")
    result, _ = run(tmp_path, recipe(source))
    assert lines(result) == []
    assert "documents kept none" in pipeline.empty_because(result.summary)


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_every_file_ends_in_a_row_also_where_a_part_is_full_at_the_end(
    tmp_path: Path, source: Path, count: int
) -> None:
    names = ["apple", "bread", "cider", "dough", "elder"][:count]
    write(source, *names)
    result, _ = run(tmp_path, recipe(source))
    assert [str(row["id"]) for row in lines(result)] == [f"code:{n}.py#L1/comment_pairs[0]" for n in names]


def test_a_part_that_gives_no_seed_is_passed_through_every_stage(tmp_path: Path, source: Path) -> None:
    write(source, "apple", "bread", "elder")
    for name in ("c1", "c2"):  # the second part: documents without a documented function
        (source / f"{name}.py").write_text(f"number_{name} = 1\nother_{name} = number_{name} + 41\n")
    result, _ = run(tmp_path, recipe(source))
    assert len(lines(result)) == 3


def test_a_second_run_builds_nothing_and_a_touched_file_only_what_reads_files(tmp_path: Path, source: Path) -> None:
    write(source, "apple", "bread", "cider")
    assert len(run(tmp_path, recipe(source))[1]) == 8
    assert run(tmp_path, recipe(source))[1] == []
    (source / "apple.py").touch()
    (source / "apple.py").write_text(FUNCTION.format(name="apple"))
    assert run(tmp_path, recipe(source))[1] == ["documents"]


BODY = "".join(f"    total = total * {n} + offset_{n}\n" for n in range(40))
LONG = 'def fold(total):\n    """Return the total, folded in {name}."""\n' + BODY + "    return total\n"


@pytest.mark.parametrize("has_teacher", [True, False])
def test_of_files_that_resemble_each_other_one_is_drawn_from(tmp_path: Path, source: Path, has_teacher: bool) -> None:
    write(source, "apple")
    for name in ("a", "b"):
        (source / f"long_{name}.py").write_text(LONG.format(name=name))
    given = {"strategy": OssInstruct(), "teacher": Mock()} if has_teacher else {}
    result, built = run(tmp_path, recipe(source, **given))
    assert built == [
        *("documents", "distinct_files", "seeds", *(["distinct_seeds"] if has_teacher else []), "screened"),
        *("samples", "cleaned", "distinct_rows", "decontaminated"),
    ]
    assert [str(row["id"]).partition("#")[0] for row in lines(result)] == ["code:apple.py", "code:long_a.py"]
    (gone,) = RunFolder(tmp_path / "run").artifact("distinct_files", Document).rejections()  # type: ignore[union-attr]
    assert (gone.id, gone.reason, json.loads(gone.detail)["of"]) == (
        "code:long_b.py",
        "near_duplicate",
        "code:long_a.py",
    )


def test_seeds_that_are_equal_but_for_white_space_are_paid_for_once(tmp_path: Path, source: Path) -> None:
    for name, text in (("a", "if ready: go(1)\n"), ("b", "if ready:  go( 1 )\n"), ("c", "if ready: go(2)\n")):
        (source / f"{name}.py").write_text(text)
    made = recipe(source, strategy=OssInstruct(), teacher=Mock(), documents=Documents(screens=()))
    result, _ = run(tmp_path, made)
    asked = next(count for count in result.summary.stages if count.stage == "samples")
    assert asked.kept + asked.rejected == 2
    everything = replace(made, deduplicate=Deduplication(seeds=False))
    result, built = run(tmp_path, everything)
    assert built[0] == "screened", "what came before is as it was"
    asked = next(count for count in result.summary.stages if count.stage == "samples")
    assert asked.kept + asked.rejected == 3
    assert "distinct_seeds" not in [stage for stage, *_ in pipeline.progress_of(RunFolder(tmp_path / "run"))]


def test_row_numbers_decide_the_originals_seeds_so_no_file_may_be_taken_out(tmp_path: Path, source: Path) -> None:
    write(source, "apple")
    exact = recipe(source, strategy=OssInstruct(), teacher=Mock(), seeds=Seeds(mode="exact"))
    with pytest.raises(RecipeError, match="deduplicating documents changes them"):
        run(tmp_path, exact)
    built = run(tmp_path, replace(exact, deduplicate=Deduplication(documents=False, seeds=False, samples=False)))[1]
    assert built == ["documents", "seeds", "screened", "samples", "cleaned", "decontaminated"]


def test_evidence_names_the_file_as_it_is_called_now(tmp_path: Path, source: Path) -> None:
    """Neither the rows nor any count changes when a rejected file is renamed."""
    data = tmp_path / "data" / "humaneval"
    data.mkdir(parents=True)
    task = {"task_id": "HumanEval/0", "test": "", "entry_point": "f", "prompt": 'def f():\n    """Add."""\n'}
    solution = "    return number_of_all_things + what_else_there_may_be\n"
    (data / "HumanEval.jsonl").write_text(json.dumps(task | {"canonical_solution": solution}) + "\n")
    write(source, "apple")
    (source / "bread.py").write_text(f'def f():\n    """Say how many things there are in all."""\n{solution}')

    def evidence() -> list[str]:
        result, _ = run(tmp_path, recipe(source), data=str(tmp_path / "data"))
        return [m["id"] for m in json.loads((result.dataset / "decontamination.json").read_bytes())["matches"]]

    assert evidence() == ["code:bread.py#L1"]
    (source / "bread.py").rename(source / "cider.py")
    assert evidence() == ["code:cider.py#L1"]


def test_another_recording_under_the_same_name_is_read(tmp_path: Path, source: Path) -> None:
    write(source, "apple")
    made = recipe(source, strategy=OssInstruct(), teacher=Mock())
    run(tmp_path, made, out="mock")
    prompt = _prompt(tmp_path, made)
    recording = tmp_path / "recording.jsonl"
    replayed = recipe(source, strategy=OssInstruct(), teacher=Replay(path=str(recording)))
    for word in ("one", "two"):
        answer = f"[Problem Description]\nWrite {word}.\n\n[Solution]\n```python\nprint('{word}')\n```\n"
        recording.write_text(json.dumps({"messages": prompt, "response": answer}) + "\n")
        result, _ = run(tmp_path, replayed)
        assert f"Write {word}." in str(lines(result)[0]["instruction"])


def _prompt(tmp_path: Path, made: Recipe) -> list[dict[str, str]]:
    with RunFolder.locked(tmp_path / "mock") as folder:
        artifact = folder.artifact("screened", pipeline.STAGES["screened"][0])
        assert artifact is not None
        prompt = next(Generate().start(made.strategy, next(iter(artifact))))
    return [{"role": m.role, "content": m.content} for m in prompt.messages]


def test_asked_to_stop_while_no_teacher_is_needed_it_stops_between_two_parts(tmp_path: Path, source: Path) -> None:
    write(source, "apple", "bread", "cider", "dough")
    samples = tmp_path / "run" / "samples.building"
    with pytest.raises(Interrupted):
        run(tmp_path, recipe(source, strategy=CommentPairs()), stop=samples.exists)
    assert samples.exists(), "stopped before the stage was whole"
    result, built = run(tmp_path, recipe(source, strategy=CommentPairs()))
    assert built[0] == "samples"
    assert len(lines(result)) == 4


def test_looking_at_a_run_changes_nothing_in_it(tmp_path: Path, source: Path) -> None:
    write(source, "apple", "bread", "cider")
    with pytest.raises(Interrupted):
        run(tmp_path, recipe(source), stop=(tmp_path / "run" / "seeds.building").exists)
    before = sorted(tmp_path.rglob("*"))
    states = [state for _, state, _, _ in pipeline.progress_of(RunFolder(tmp_path / "run"))]
    assert states[:4] == ["done", "done", "interrupted", "-"]
    with RunFolder.locked(tmp_path / "run") as folder:
        assert pipeline.progress_of(folder)[2][1] == "under way"
    assert sorted(tmp_path.rglob("*")) == before
