"""What a recipe may not say: found when it is read, by name, before anything is loaded."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from magicoder.cli import main
from magicoder.errors import RecipeError
from magicoder.recipe import read_training
from magicoder.training.settings import Base, Optimization, Stage, Training


def read(tmp_path: Path, **changes: Any) -> Training:
    value = {"name": "x", "base": {"model": "m"}, "stages": [{"name": "one", "data": ["rows"]}], **changes}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(value))
    return read_training(tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimization": {"learning_rate": 0}}, "learning_rate is 0.0; it must be above 0"),
        ({"optimization": {"learning_rate": float("nan")}}, "learning_rate is nan"),
        ({"optimization": {"learning_rate": float("inf")}}, "learning_rate is inf"),
        ({"optimization": {"weight_decay": -1.0}}, "weight_decay is -1.0; it must be at least 0"),
        ({"optimization": {"epsilon": 0.0}}, "epsilon is 0.0"),
        ({"optimization": {"max_grad_norm": float("nan")}}, "max_grad_norm is nan"),
        ({"stages": [{"name": "one", "data": ["r"], "learning_rate": -1e-3}]}, "learning_rate is -0.001"),
        ({"stages": [{"name": "one", "data": ["r"], "warmup_steps": -3}]}, "warmup_steps is -3"),
        ({"held_out": {"examples": -5}}, "examples is -5"),
        ({"held_out": {"every_steps": -5}}, "every_steps is -5"),
        ({"machine": {"device": "gpu"}}, "device is one of auto, cpu, cuda"),
        ({"adapter": {"dropout": 2.0}}, "dropout is 2.0"),
        ({"adapter": {"alpha": 0.0}}, "alpha is 0.0"),
        ({"checkpoints": {"average": 1}}, "average is 1"),
    ],
)
def test_what_is_impossible_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as found:
        read(tmp_path, **changes)
    assert said in str(found.value)
    assert "recipe.yaml" in str(found.value)


def test_what_is_not_installed_is_named_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read(tmp_path)
    there = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "torch" else there(name, *more))
    assert main(["train", str(tmp_path / "recipe.yaml")], standalone_mode=False) == 2
    said = capsys.readouterr().err
    assert "torch" in said
    assert "pip install 'magicoder[train]'" in said


def test_an_installation_without_numpy_says_what_to_install(tmp_path: Path) -> None:
    read(tmp_path)
    program = "import sys; sys.modules['numpy'] = None; from magicoder.cli import main; main(['train', sys.argv[1]])"
    said = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "recipe.yaml")], capture_output=True, text=True, check=False
    )
    assert said.returncode == 2
    assert "numpy" in said.stderr
    assert "pip install 'magicoder[train]'" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_stage_has_the_common_rate_unless_it_says_otherwise() -> None:
    stages = (Stage(name="a", data=("r",)), Stage(name="b", data=("r",), learning_rate=1e-4, warmup_steps=0))
    whole = Training(name="x", base=Base(model="m"), stages=stages, optimization=Optimization(warmup_steps=7))
    found = [(o.learning_rate, o.warmup_steps) for o in map(whole.optimization_of, stages)]
    assert found == [(5e-5, 7), (1e-4, 0)]
