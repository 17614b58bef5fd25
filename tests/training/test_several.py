"""Runs of several processes: the same result, and an end for all of them whatever ends one."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.training import runs

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("default")  # of libraries, which are not ours to mend


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> tuple[Path, Path]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("given")
    return runs.base(folder / "base", tokenizer), runs.write_rows(folder / "rows.jsonl", runs.rows(44))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, given: tuple[Path, Path]) -> list[float]:
    """The losses of one process."""
    folder = tmp_path_factory.mktemp("alone")
    assert runs.run(runs.recipe(folder, *given), "--out", folder / "run") == 0
    return losses(folder / "run")


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in runs.figures(out)]


def recipe(folder: Path, given: tuple[Path, Path], *, long: bool = True, **machine: Any) -> Path:
    model, data = given
    stage = {"name": "one", "data": [str(data)], "epochs": 2000 if long else 2, "max_length": 160}
    return runs.recipe(folder, model, data, stages=[stage], machine={"device": "cpu", **machine})


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children_of(command: runs.Started) -> list[str]:
    assert command.poll() is None, command.said
    return Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_give_what_one_gives(
    tmp_path: Path, given: tuple[Path, Path], alone: list[float], strategy: str
) -> None:
    both = runs.members(tmp_path, recipe(tmp_path, given, long=False, strategy=strategy), "--out", tmp_path / "run")
    assert [process.ended() for process in both] == [0, 0], both[0].said + both[1].said
    assert losses(tmp_path / "run") == pytest.approx(alone, rel=1e-5)
    assert (tmp_path / "run" / "report.html").exists()
    assert both[1].said.count("Model") == 0  # the first one speaks


def test_one_that_is_killed_ends_the_other_which_says_so(tmp_path: Path, given: tuple[Path, Path]) -> None:
    both = runs.members(tmp_path, recipe(tmp_path, given), "--out", tmp_path / "run")
    runs.until(both[0], tmp_path / "run", 3)
    both[1].send(signal.SIGKILL)
    assert [process.ended() for process in both] == [76, -signal.SIGKILL]
    assert "cannot reach the others" in both[0].said
    assert "Traceback" not in both[0].said


def test_what_only_the_first_one_cannot_do_ends_both(tmp_path: Path, given: tuple[Path, Path]) -> None:
    stage = tmp_path / "run" / "stages" / "one"
    stage.mkdir(parents=True)
    (stage / "model.building").write_text("a file where a folder is to be")
    both = runs.members(tmp_path, recipe(tmp_path, given, long=False), "--out", tmp_path / "run")
    assert [process.ended() for process in both] == [1, 76], both[0].said + both[1].said
    assert "model.building" in both[0].said


def test_a_loss_that_is_no_number_ends_both(tmp_path: Path, given: tuple[Path, Path]) -> None:
    wild = {"optimizer": "adamw", "learning_rate": 1e30, "warmup_steps": 0, "schedule": "constant"}
    machine = {"device": "cpu", "processes": 2}
    both = runs.members(tmp_path, runs.recipe(tmp_path, *given, optimization=wild, machine=machine), "--out", tmp_path)
    assert {process.ended() for process in both} <= {1, 76}
    assert "is no number" in both[0].said + both[1].said


def test_sigterm_to_the_command_saves_and_ends_all(tmp_path: Path, given: tuple[Path, Path]) -> None:
    """The command starts its processes itself."""
    out = tmp_path / "run"
    command = runs.Started(tmp_path, recipe(tmp_path, given, processes=2), "--out", out)
    runs.until(command, out, 2)
    children = children_of(command)
    assert len(children) >= 2
    command.send(signal.SIGTERM)
    assert command.ended() == 130, command.said
    assert [pid for pid in children if is_there(int(pid))] == []
    steps = len(runs.figures(out))
    assert (out / "stages" / "one" / "checkpoints" / f"step-{steps:08d}" / "checkpoint.json").exists()


def test_when_the_command_is_killed_its_processes_end(tmp_path: Path, given: tuple[Path, Path]) -> None:
    out = tmp_path / "run"
    command = runs.Started(tmp_path, recipe(tmp_path, given, processes=2), "--out", out)
    runs.until(command, out, 2)
    children = children_of(command)
    command.send(signal.SIGKILL)
    command.ended()
    for _ in range(600):
        if not any(is_there(int(pid)) for pid in children):
            break
        time.sleep(0.1)
    left = [pid for pid in children if is_there(int(pid))]
    for pid in left:
        os.kill(int(pid), signal.SIGKILL)
    assert left == []
