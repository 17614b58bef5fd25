"""The verify stage as a part of a run: what it adds to the dataset, what it never changes, and `magicoder verify`."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from magicoder import pipeline
from magicoder.cli import main
from magicoder.corpora.local_files import LocalFiles
from magicoder.engines.local import Local
from magicoder.errors import SandboxError
from magicoder.llms.mock import Mock
from magicoder.pipeline import Result, Surroundings
from magicoder.recipe import Recipe, parse, to_yaml
from magicoder.stages.export import Export
from magicoder.stages.verify import Verify
from magicoder.store import RunFolder
from magicoder.strategies.oss_instruct import OssInstruct
from magicoder.trace import trace
from tests import fake_sandbox
from tests.fake_sandbox import FakeSandbox

FUNCTION = '''\
def add_{name}(number):
    """Return the number plus the length of {name}.

    >>> add_{name}(1)
    {result}
    """
    return number + len("{name}")
'''


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    for name, result in (("apple", 6), ("bread", 6), ("cider", 7), ("dough", 6)):  # what is said of cider is wrong
        (folder / f"{name}.py").write_text(FUNCTION.format(name=name, result=result))
    return folder


def run(
    tmp_path: Path, source: Path, out: str = "run", *, home: str = "home", again: bool = False, **changes: Any
) -> Result:
    recipe = Recipe(corpora=(LocalFiles(path=str(source)),), sandbox=FakeSandbox(), **changes)
    (tmp_path / home).mkdir(exist_ok=True)
    around = Surroundings(engine=Local(), journal=tmp_path / home / "journal.sqlite", verify=again)
    with RunFolder.locked(tmp_path / out) as folder:
        return pipeline.run(recipe.with_verdicts() if again else recipe, folder, around)


def rows(result: Result) -> list[dict[str, Any]]:
    return [row for p in sorted((result.dataset / "data").iterdir()) for row in pq.read_table(p).to_pylist()]


def digests(result: Result) -> dict[str, str]:
    files = [p for p in result.dataset.rglob("*") if p.is_file()]
    return {str(p.relative_to(result.dataset)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_nothing_is_run_unless_the_recipe_asks_for_it(tmp_path: Path, source: Path) -> None:
    before = len(fake_sandbox.RUN)
    result = run(tmp_path, source)
    assert [r["outcome"] for r in rows(result)] == [""] * 4
    assert len(fake_sandbox.RUN) == before
    assert not (tmp_path / "run" / "verified").exists()


def test_rows_are_labelled_or_dropped_and_the_loss_is_counted(tmp_path: Path, source: Path) -> None:
    labelled = rows(run(tmp_path, source, "a", verify=Verify(mode="label", mutants=2)))
    assert [r["outcome"] for r in labelled] == ["passed", "passed", "wrong_answer", "passed"]
    assert labelled[0]["test_strength"] > 0
    assert labelled[2]["test_strength"] is None
    dropped = run(tmp_path, source, "b", verify=Verify(mode="drop", mutants=2))
    assert [r["outcome"] for r in rows(dropped)] == ["passed"] * 3
    (count,) = [s for s in dropped.summary.stages if s.stage == "verified"]
    assert (count.kept, count.reasons) == (3, {"wrong_answer": 1})


def test_a_target_is_reached_in_spite_of_what_is_dropped(tmp_path: Path, source: Path) -> None:
    result = run(tmp_path, source, target=3, verify=Verify(mode="drop", mutants=2))
    assert [r["outcome"] for r in rows(result)] == ["passed"] * 3


def test_equal_recipes_give_equal_datasets_although_programs_take_their_time(tmp_path: Path, source: Path) -> None:
    first = run(tmp_path, source, "a", home="one", verify=Verify(mode="label", mutants=2))
    second = run(tmp_path, source, "b", home="two", verify=Verify(mode="label", mutants=2))
    assert digests(first) == digests(second)
    assert "measurements.jsonl" not in digests(first)


def test_measurements_are_published_when_asked_for(tmp_path: Path, source: Path) -> None:
    result = run(tmp_path, source, verify=Verify(mode="drop", mutants=2), export=Export(measurements=True))
    lines = (result.dataset / "measurements.jsonl").read_text().splitlines()
    assert len(lines) == 3
    assert all(f'"id":"{r["id"]}"' in line for r, line in zip(rows(result), lines, strict=True))


def test_a_finished_run_gets_verdicts_afterwards_and_the_second_time_nothing_is_executed(
    tmp_path: Path, source: Path
) -> None:
    plain = run(tmp_path, source)
    before = len(fake_sandbox.RUN)
    labelled = run(tmp_path, source, again=True)
    ran = len(fake_sandbox.RUN)
    assert ran > before
    assert digests(labelled) == digests(run(tmp_path, source, again=True))
    assert len(fake_sandbox.RUN) == ran
    verdicts = {"outcome", "outcome_detail", "checked", "toolchain", "mutants", "test_strength"}
    bare = [{k: v for k, v in row.items() if k not in verdicts} for row in rows(labelled)]
    assert bare == [{k: v for k, v in row.items() if k not in verdicts} for row in rows(plain)]


def test_the_command_prints_a_table_by_language_and_ends_well(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recipe, "isolation", lambda _self: FakeSandbox())
    monkeypatch.setenv("MAGICODER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    calls = CliRunner()
    made = calls.invoke(main, ["run", "--source", str(source), "--out", "made", "-q", "--workers", "1"])
    assert made.exit_code == 0, made.output
    shown = calls.invoke(main, ["verify", "made", "-q", "--workers", "1"], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert lines[0].split() == ["language", "rows", "passed", "wrong_answer", "test", "strength"]
    assert lines[2].split()[:4] == ["python", "4", "3", "1"]
    assert lines[3].split()[:4] == ["all", "4", "3", "1"]
    assert "Isolation: none: trusted programs only" in lines
    assert any("cider" in line and "printed '6', not '7'" in line for line in lines)
    told = calls.invoke(main, ["verify", "made", "-q", "--json", "--workers", "1"], catch_exceptions=False)
    assert '"outcome": "wrong_answer"' in told.output
    assert calls.invoke(main, ["status", "made"]).output.count("verified") == 1


def test_trace_says_what_came_of_running_a_row(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recipe, "isolation", lambda self: FakeSandbox())
    for mode, verdict in (("label", "kept"), ("drop", "rejected")):
        recipe = Recipe(corpora=(LocalFiles(path=str(source)),), verify=Verify(mode=mode))
        with RunFolder.locked(tmp_path / mode) as folder:
            pipeline.run(recipe, folder, Surroundings(engine=Local(), journal=tmp_path / "journal.sqlite"))
        step = trace(RunFolder(tmp_path / mode), "code:cider.py#L1/comment_pairs[0]")["history"][-1]
        assert (step["stage"], step["verdict"], step["reason"]) == ("verified", verdict, "wrong_answer")
        assert step["detail"]
    kept = trace(RunFolder(tmp_path / "drop"), "code:apple.py#L1/comment_pairs[0]")["history"][-1]
    assert (kept["verdict"], kept["reason"], kept["detail"]) == ("kept", "passed", "rests on tests")


class NoSandbox(FakeSandbox):
    """One that cannot keep programs apart."""

    def open(self, workers: int = 1, cache: Path | None = None) -> Any:
        raise SandboxError("programs cannot be isolated here")


def test_that_nothing_can_be_run_is_said_before_a_teacher_is_paid(tmp_path: Path, source: Path) -> None:
    recipe = Recipe(
        corpora=(LocalFiles(path=str(source)),),
        strategy=OssInstruct(),
        teacher=Mock(),
        verify=Verify(mode="drop"),
        sandbox=NoSandbox(),
    )
    around = Surroundings(engine=Local(), journal=tmp_path / "journal.sqlite")
    with (
        RunFolder.locked(tmp_path / "run") as folder,
        pytest.raises(SandboxError, match="cannot be isolated"),
    ):
        pipeline.run(recipe, folder, around)
    assert (tmp_path / "run" / "screened").exists()
    assert not (tmp_path / "journal.sqlite").exists()


def test_the_settings_go_through_yaml() -> None:
    recipe = parse(
        "corpora: [standard_library]\nverify:\n  mode: drop\n  drop: [wrong_answer, proves_nothing]\n  mutants: 5\n"
    )
    assert recipe.verify == Verify(mode="drop", drop=("wrong_answer", "proves_nothing"), mutants=5)
    assert parse("corpora: [standard_library]\nverify: {mode: off}\n").verify == Verify()
    assert parse(to_yaml(recipe)) == replace(recipe)
