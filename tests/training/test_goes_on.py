"""A run that was ended at any point goes on to the same bits, whatever is trained and however."""

from pathlib import Path
from typing import Any

import pytest

from tests.training import runs

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from safetensors.torch import load_file  # noqa: E402

from magicoder.training import loop, metrics, run  # noqa: E402 - after torch was looked for

pytestmark = pytest.mark.filterwarnings("default")  # of libraries, which are not ours to mend

BFLOAT16 = {"weights": "bfloat16", "master": True}
HOW: dict[str, dict[str, Any]] = {
    "adapters with dropout": {"adapter": {"rank": 4, "dropout": 0.2}, "precision": BFLOAT16},
    "a master, Adafactor, clipped, sorted": {
        "precision": BFLOAT16,
        "batches": {"examples": 8, "layout": "sorted", "micro_batch_tokens": 400},
        "optimization": {"optimizer": "adafactor", "learning_rate": 1e-3, "warmup_steps": 2, "max_grad_norm": 0.5},
    },
    "the original's way": {
        "mode": "paper-exact",
        "batches": {"examples": 8},
        "optimization": {"optimizer": "adafactor", "learning_rate": 1e-3, "warmup_steps": 2},
    },
    "a mean of checkpoints": {"checkpoints": {"every_steps": 3, "average": 3}},
}


class Killed(BaseException):
    """Ends a run as a kill does: nothing of the program handles it."""


def ended(at: Any, monkeypatch: pytest.MonkeyPatch, *command: str | Path) -> None:
    """Run the command until `at`: a step that was written down, or the name of what comes after the last one."""
    write, publish, facts = metrics.Metrics.write, loop.Loop._publish, run._json

    def written(self: Any, step: int, figures: Any) -> None:
        write(self, step, figures)
        if step == at and "loss" in figures:
            raise Killed

    def published(self: Any) -> None:
        if at == "before the model":
            raise Killed
        publish(self)

    def told(value: Any) -> bytes:
        if at == "before done.json" and "steps" in value:
            raise Killed
        return facts(value)

    with monkeypatch.context() as patch:
        patch.setattr(metrics.Metrics, "write", written)
        patch.setattr(loop.Loop, "_publish", published)
        patch.setattr(run, "_json", told)
        with pytest.raises(Killed):
            runs.run(*command)


def results(out: Path) -> dict[str, Any]:
    """All weights that a run leaves, by file."""
    files = sorted((out / "stages").rglob("*.safetensors"))
    return {str(p.relative_to(out)): load_file(p) for p in files}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> tuple[Path, Path]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("given")
    return runs.base(folder / "base", tokenizer), runs.write_rows(folder / "rows.jsonl", runs.rows(44))


@pytest.mark.parametrize("how", HOW)
def test_ended_at_any_point_it_goes_on_to_the_same_bits(
    tmp_path: Path, given: tuple[Path, Path], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"held_out": {"examples": 4, "every_steps": 4}, **HOW[how]}
    recipe = runs.recipe(tmp_path, *given, **changes)
    assert runs.run(recipe, "--out", tmp_path / "whole") == 0
    for at in (1, 3, 5, 10, "before the model", "before done.json"):
        ended(at, monkeypatch, recipe, "--out", tmp_path / "ended")
    assert runs.run(recipe, "--out", tmp_path / "ended") == 0
    expected, found = results(tmp_path / "whole"), results(tmp_path / "ended")
    assert expected.keys() == found.keys()
    for file, tensors in expected.items():
        assert [n for n in tensors if not torch.equal(tensors[n], found[file][n])] == []
    lines = [metrics.read(tmp_path / run / "stages" / "one") for run in ("whole", "ended")]
    timeless = [
        [{n: v for n, v in line.items() if "per_s" not in n and n != "seconds"} for line in told] for told in lines
    ]
    assert timeless[0] == timeless[1]
