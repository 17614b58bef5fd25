"""Mode `paper-exact` beside what the original recipe did: a trajectory recorded under transformers 4.35.

What was recorded, how, and from what it starts: tests/training/golden.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from magicoder.training import batches
from magicoder.training.launch import MEETING
from magicoder.training.settings import Batches
from tests.training.golden import given

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

RECORDED: dict[str, Any] = json.loads(given.TRAJECTORY.read_text(encoding="utf-8"))
RUNS: dict[str, Any] = RECORDED["runs"]
COMPARED = ("paper-1", "brisk-2")
"""Both rates and both numbers of processes; the other two of the recording take as long again and are equal as well."""
LAUNCHER = """
import sys, torch
torch.set_num_threads(1)
torch.backends.mkldnn.set_flags(False)
from magicoder.cli import main
main(sys.argv[1:])
"""
"""The command, with the arithmetic that the recording was made with."""


def step_batches(processes: int) -> Batches:
    return Batches(examples=8, layout="rows", micro_batch_rows=2, processes=processes)


@pytest.mark.parametrize("processes", [1, 2])
def test_every_micro_batch_has_the_rows_that_the_original_gave_it(processes: int) -> None:
    settings = step_batches(processes)
    plan = batches.plan(given.ROWS, given.EPOCHS, settings, "paper-exact", 42, world=processes)
    lengths, trained = np.array(RECORDED["tokens"]["lengths"]), np.array(RECORDED["tokens"]["trained"])
    found = [
        [
            [[example for row in micro.rows for example in row] for micro in rank]
            for rank in batches.micro_batches(step, lengths, trained, settings, "rows", "paper-exact", processes)
        ]
        for step in plan
    ]
    assert found == [step["rows"] for step in RUNS[f"paper-{processes}"]["steps"]]


def prepare(folder: Path, run: dict[str, Any]) -> None:
    """Write model, rows and recipe."""
    given.write_model(folder / "base")
    rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in given.rows())
    (folder / "rows.jsonl").write_text(rows, encoding="utf-8")
    stage = {
        "name": "only",
        "data": [str(folder / "rows.jsonl")],
        "epochs": given.EPOCHS,
        "max_length": given.MAX_LENGTH,
    }
    settings = {
        "name": "golden",
        "mode": "paper-exact",
        "base": {"model": str(folder / "base")},
        "stages": [stage],
        "random_seed": 42,
        "batches": {"examples": 8, "micro_batch_rows": 2, "processes": run["processes"]},
        "optimization": {"learning_rate": run["learning_rate"], "warmup_steps": 15},
        "machine": {"device": "cpu"},
    }
    (folder / "recipe.yaml").write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML


def train(folder: Path, processes: int) -> None:
    """Run `magicoder train` on the recipe of the folder in `processes` processes."""
    whole = {"WORLD_SIZE": str(processes), MEETING: str(folder / "meeting")} if processes > 1 else {}
    options = ["train", str(folder / "recipe.yaml"), "--out", str(folder / "run"), "--quiet"]
    command = [sys.executable, "-c", LAUNCHER, *options]
    started = [
        subprocess.Popen(
            command,
            env={**os.environ, **given.ARITHMETIC, **whole, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in range(processes)
    ]
    try:
        told = [process.communicate(timeout=200)[0].decode() for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * processes, "\n".join(told)


def bits(file: Path) -> "np.ndarray[Any, Any]":
    """Return all weights of a safetensors file as they lie in memory, tensors in the order of their names."""
    from safetensors import safe_open

    with safe_open(file, "pt") as tensors:
        parts = [tensors.get_tensor(name) for name in sorted(tensors.keys())]
    assert {part.dtype for part in parts} == {torch.bfloat16}
    return np.concatenate([part.flatten().view(torch.int16).numpy() for part in parts])


def share_of_equal(run: dict[str, Any], before: "np.ndarray[Any, Any]", after: "np.ndarray[Any, Any]") -> float:
    """Return how many of the weights that were written down after the last step are these, bit for bit."""
    every = RECORDED["sampled_every"]
    moved = np.frombuffer(zlib.decompress(base64.b85decode(run["steps"][-1]["sample"])), dtype=np.int16)
    return float((before[::every] + moved == after[::every]).mean())


@pytest.mark.parametrize("name", COMPARED)
def test_a_run_is_the_original_step_by_step(name: str, tmp_path: Path) -> None:
    run = RUNS[name]
    prepare(tmp_path, run)
    train(tmp_path, run["processes"])
    stage = tmp_path / "run" / "stages" / "only"
    told = [json.loads(line) for line in (stage / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [line for line in told if "loss" in line]
    assert len(steps) == len(run["steps"]) == 24
    for ours, theirs in zip(steps, run["steps"], strict=True):
        assert ours["learning_rate"] == pytest.approx(theirs["lr"], rel=1e-12)
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-3)
    before, after = bits(tmp_path / "base" / "model.safetensors"), bits(stage / "model" / "model.safetensors")
    assert int((after != before).sum()) == pytest.approx(run["steps"][-1]["moved"], rel=1e-3)
    assert share_of_equal(run, before, after) >= 0.999
    if torch.__version__.split("+")[0] == RECORDED["made_with"]["torch"].split("+")[0]:
        assert hashlib.sha256(after.tobytes()).hexdigest() == run["steps"][-1]["digest"]
