"""What goes wrong on a person's machine: said in a sentence with what to do, and nothing is lost by it."""

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import orjson
import pytest

from magicoder import scores, statistics
from tests.training import runs

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from magicoder.training import metrics, models, optimizers, saving  # noqa: E402 - after torch was looked for
from magicoder.training.encoded import Encoded  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")  # of libraries, which are not ours to mend


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, model: Path, data: Path) -> Path:
    """A run of two stages with examples held out; copy it before changing it."""
    folder = tmp_path_factory.mktemp("finished")
    assert runs.run(of_two(folder, model, data), "--out", folder / "run") == 0
    return folder


def of_two(folder: Path, model: Path, data: Path, **changes: Any) -> Path:
    stages = [{"name": name, "data": [str(data)], "epochs": 2, "max_length": 160} for name in ("one", "two")]
    return runs.recipe(folder, model, data, **{"stages": stages, "held_out": {"examples": 5}, **changes})


@pytest.fixture
def copied(tmp_path: Path, finished: Path) -> Path:
    shutil.copytree(finished / "run", tmp_path / "run")
    return tmp_path / "run"


def facts(out: Path) -> list[dict[str, Any]]:
    return [orjson.loads((out / "stages" / name / "done.json").read_bytes()) for name in ("one", "two")]


# What is refused.


def test_a_base_without_weights_says_how_to_do_without(tmp_path: Path, model: Path, data: Path, capsys: Any) -> None:
    recipe = runs.recipe(tmp_path, model, data, base={"model": str(model)})
    assert runs.run(recipe, "--out", tmp_path / "run") == 2
    assert "base.random_weights: true" in capsys.readouterr().err


def test_an_example_longer_than_the_model_reads_is_refused(tmp_path: Path, model: Path, capsys: Any) -> None:
    rows = runs.write_rows(tmp_path / "long.jsonl", [{"instruction": "a", "response": "x = 1\n" * 800}] * 9)
    stages = [{"name": "one", "data": [str(rows)], "max_length": 1000}]
    recipe = runs.recipe(tmp_path, model, rows, stages=stages)
    assert runs.run(recipe, "--out", tmp_path / "run") == 2
    assert "1000 tokens, and the model reads 512" in capsys.readouterr().err
    assert not (tmp_path / "run" / "stages").exists()


def test_the_folder_of_a_dataset_is_left_alone(tmp_path: Path, model: Path, data: Path, capsys: Any) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    assert runs.run(runs.recipe(tmp_path, model, data), "--out", tmp_path / "run") == 3
    assert "is the folder of a dataset" in capsys.readouterr().err
    assert not (tmp_path / "run" / "stages").exists()


def test_adapters_alone_cannot_be_scored(tmp_path: Path, model: Path, data: Path, capsys: Any) -> None:
    recipe = runs.recipe(tmp_path, model, data, adapter={"merge": False})
    asked = ("--evaluate", "humaneval", "--benchmark-data", tmp_path)
    assert runs.run(recipe, "--out", tmp_path / "run", *asked) == 2
    assert "adapter.merge" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_drawn_weights_are_not_said_to_be_in_four_bits(tmp_path: Path, model: Path, data: Path, capsys: Any) -> None:
    recipe = runs.recipe(tmp_path, model, data, adapter={"quantized": True})
    assert runs.run(recipe, "--out", tmp_path / "run") == 2
    assert "adapter.quantized" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("benchmarks", "said"),
    [
        (["humaneavl"], "did you mean humaneval"),
        (["humaneval"], "name their folder with --benchmark-data"),
    ],
)
def test_benchmarks_that_cannot_be_scored_are_refused_before_anything_is_trained(
    tmp_path: Path, model: Path, data: Path, capsys: Any, benchmarks: list[str], said: str
) -> None:
    asked = (*(word for name in benchmarks for word in ("--evaluate", name)), "--benchmark-data", tmp_path)
    assert runs.run(runs.recipe(tmp_path, model, data), "--out", tmp_path / "run", *asked) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--gpu", "h200"), "--gpu is of --plan"),
        (("--usd-per-hour", "2"), "--usd-per-hour is of --plan"),
        (("--plan", "--gpu", "h20"), "did you mean h200"),
    ],
)
def test_a_plan_that_cannot_be_made_is_refused_before_rows_become_tokens(
    tmp_path: Path, model: Path, data: Path, capsys: Any, asked: tuple[str, ...], said: str
) -> None:
    assert runs.run(runs.recipe(tmp_path, model, data), "--out", tmp_path / "run", *asked) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (" ", "(empty response 9); see how columns"),
        ("x = 1", "(nothing learned after cutting 9); raise max_length (8)"),
    ],
)
def test_rows_of_which_none_is_left_say_what_to_look_at(
    tmp_path: Path, model: Path, capsys: Any, response: str, said: str
) -> None:
    rows = runs.write_rows(tmp_path / "rows.jsonl", [{"instruction": "a", "response": response}] * 9)
    stages = [{"name": "one", "data": [str(rows)], "max_length": 8}]
    assert runs.run(runs.recipe(tmp_path, model, rows, stages=stages), "--out", tmp_path / "run") == 2
    assert said in capsys.readouterr().err


# What is said.


def test_scores_stay_on_the_page_and_the_card_until_the_model_is_another(
    copied: Path, tmp_path: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = statistics.Interval(estimate=0.5, low=0.4, high=0.6)
    result = SimpleNamespace(benchmark="humaneval", scores=("all",), pass_at=lambda _: {1: half})
    monkeypatch.setattr(scores, "read", lambda _: result)
    path = copied / "scores" / "two" / scores.RESULTS
    path.parent.mkdir(parents=True)
    path.touch()
    recipe = of_two(tmp_path, model, data)

    def shown() -> list[bool]:
        assert runs.run(recipe, "--out", copied) == 0
        pages = copied / "report.html", copied / "stages/two/model/README.md", copied / "stages/one/model/README.md"
        return ["50.0 (40.0–60.0)" in page.read_text("utf-8") for page in pages]

    assert shown() == [True, True, False]
    os.utime(path, (1, 1))
    assert shown() == [False, False, False]


def test_rows_that_are_left_out_and_steps_that_take_all_there_is_are_told(
    tmp_path: Path, model: Path, capsys: Any
) -> None:
    given = [*runs.rows(5), {"instruction": "Write nothing.", "response": " "}]
    recipe = runs.recipe(tmp_path, model, runs.write_rows(tmp_path / "few.jsonl", given))
    assert runs.run(recipe, "--out", tmp_path / "run") == 0
    said = capsys.readouterr().err
    assert "1 of 6 rows are left out (" in said
    assert "has 5 examples to learn from, fewer than batches.examples (8)" in said
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "<td>one</td><td>5</td><td>1</td>" in page


def test_a_warm_up_that_never_ends_is_told(tmp_path: Path, model: Path, data: Path, capsys: Any) -> None:
    slow = {"optimizer": "adamw", "warmup_steps": 1000}
    assert runs.run(runs.recipe(tmp_path, model, data, optimization=slow), "--out", tmp_path / "run") == 0
    assert "10 steps, fewer than warmup_steps (1000)" in capsys.readouterr().err


def test_what_is_held_out_and_learned_all_the_same_is_told(
    tmp_path: Path, model: Path, finished: Path, data: Path, capsys: Any
) -> None:
    again = [
        {"name": "one", "data": [str(data)], "epochs": 1, "max_length": 160},
        {"name": "two", "data": [str(data), str(data)], "epochs": 1, "max_length": 160},
    ]
    recipe = of_two(tmp_path, model, data, stages=again)
    assert runs.run(recipe, "--out", tmp_path / "run") == 0
    said = capsys.readouterr().err
    assert "stage two learns" in said
    assert "held out of one" in said


def test_figures_are_those_of_what_was_learned(finished: Path) -> None:
    """Tokens, epochs and operations, counted by hand; what is held out is in no step."""
    out = finished / "run"
    folder = next((out / "examples" / "one").iterdir())
    encoded = Encoded.open(folder)
    aside = {"stages": facts(out)[0]}["stages"]
    lines = runs.figures(out)
    assert sum(line["tokens"] for line in lines) == aside["tokens"]
    assert sum(line["trained_tokens"] for line in lines) == aside["trained_tokens"]
    steps = len(lines)
    assert steps == 2 * (39 // 8) == aside["steps"]
    assert aside["unused"] == 2 * 39 - steps * 8
    assert [line["epoch"] for line in lines] == [round((i + 1) * 8 / 39, 6) for i in range(steps)]
    assert aside["tokens"] < 2 * int(encoded.lengths.sum())
    # Parameters that a token is multiplied with: two layers (q, k, v, o, gate, up, down), and the head.
    one_layer = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64
    size = models.count(models.skeleton(_base(finished), models.Precision()))
    lengths = np.array([100, 50])
    by_hand = 6 * (2 * one_layer + 32 * 384) * 150 + 6 * 2 * 32 * (100**2 + 50**2)
    assert size.flops(lengths) == by_hand


def _base(finished: Path) -> Any:
    import yaml

    return models.Base(model=yaml.safe_load((finished / "recipe.yaml").read_text())["base"]["model"])


def test_card_and_report_hold_the_figures_and_no_path_of_the_machine(finished: Path) -> None:
    out = finished / "run"
    one, two = facts(out)
    card = (out / "stages" / "two" / "model" / "README.md").read_text()
    for stage in (one, two):
        assert f"| 39 | 2 | 160 | {stage['steps']} | {stage['tokens']:,} | {stage['loss']:.4f} |" in card
    assert f"{one['held_out_before']['two']:.4f}" in (out / "report.html").read_text()
    published = [out / "report.html", *(out / "stages").rglob("*")]
    assert [p for p in published if p.is_file() and str(out.parent.parent).encode() in p.read_bytes()] == []


# What is lost, and made again.


def test_a_model_that_was_deleted_is_written_again_from_the_checkpoint(
    copied: Path, finished: Path, model: Path, data: Path, tmp_path: Path
) -> None:
    place = copied / "stages" / "one" / "model" / "model.safetensors"
    before = place.read_bytes()
    place.unlink()
    (copied / "stages" / "two" / "done.json").write_text("{")
    assert runs.run(of_two(tmp_path, model, data), "--out", copied) == 0
    assert place.read_bytes() == before
    assert facts(copied) == facts(finished / "run")
    for stage in ("one", "two"):
        found, expected = (metrics.read(run / "stages" / stage) for run in (copied, finished / "run"))
        assert [line["step"] for line in found] == [line["step"] for line in expected]


def test_a_damaged_description_of_a_stage_says_what_to_delete(
    copied: Path, model: Path, data: Path, tmp_path: Path, capsys: Any
) -> None:
    (copied / "stages" / "one" / "stage.json").write_text("{")
    assert runs.run(of_two(tmp_path, model, data), "--out", copied) == 3
    assert "stage.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another"},
        {"machine": {"device": "cpu", "strategy": "fsdp2"}},
        {"checkpoints": {"every_steps": 5, "keep": 1}},
        {"held_out": {"examples": 5, "every_steps": 7}},
        {"batches": {"examples": 8, "layout": "sorted", "micro_batch_tokens": 300}},
        {"precision": {"weights": "float32", "master": False}},
        {"moved": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_decides_nothing_may_change(
    copied: Path, model: Path, data: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    before = (copied / "stages" / "two" / "checkpoints").stat().st_mtime_ns
    if changes == {"moved": True}:
        changes, data = {}, Path(shutil.copy(data, tmp_path / "moved.jsonl"))
    assert runs.run(of_two(tmp_path, model, data, **changes), "--out", copied) == 0
    assert (copied / "stages" / "two" / "checkpoints").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batches": {"examples": 4}}, "batches.examples: 8 then, 4 now"),
        ({"random_seed": 1}, "random_seed"),
        ({"precision": {"weights": "bfloat16"}}, "precision.weights"),
        ({"held_out": {"examples": 4}}, "held_out.examples"),
        ({"mode": "paper-exact", "batches": {"examples": 8, "processes": 1}}, "mode"),
        ({"adapter": {"rank": 2}}, "adapter"),
    ],
)
def test_what_decides_is_refused_by_name(
    copied: Path, model: Path, data: Path, tmp_path: Path, changes: dict[str, Any], said: str, capsys: Any
) -> None:
    assert runs.run(of_two(tmp_path, model, data, **changes), "--out", copied) == 3
    assert said in capsys.readouterr().err


def test_damaged_checkpoints_are_named_and_a_stage_without_any_begins_anew(
    copied: Path, finished: Path, model: Path, data: Path, tmp_path: Path, capsys: Any
) -> None:
    for name in ("one", "two"):
        (copied / "stages" / name / "done.json").unlink()
    places = sorted((copied / "stages" / "one" / "checkpoints").iterdir())
    for place in places:
        with (place / "model.safetensors").open("r+b") as file:
            file.seek(-5, os.SEEK_END)
            file.write(b"\0damn")
    assert runs.run(of_two(tmp_path, model, data), "--out", copied) == 0
    said = capsys.readouterr().err
    assert [place.name for place in places if f"{place} is damaged" in said] == [place.name for place in places]
    assert "stage one begins anew" in said
    assert facts(copied) == facts(finished / "run")


def test_figures_that_were_cut_off_in_the_middle_are_no_trouble(
    copied: Path, model: Path, data: Path, tmp_path: Path
) -> None:
    stage = copied / "stages" / "one"
    whole = (stage / "metrics.jsonl").read_bytes()
    (stage / "metrics.jsonl").write_bytes(whole[:-20])
    (stage / "done.json").unlink()
    assert runs.run(of_two(tmp_path, model, data), "--out", copied) == 0
    assert (stage / "metrics.jsonl").read_bytes() == whole


# What the machine lacks.


class _Full(Exception):
    """As Rust's libraries say it: no OSError, only its text."""


@pytest.mark.parametrize("where", ["weights", "tokenizer"])
def test_a_disk_that_is_full_for_the_model_is_explained_and_given_back(
    tmp_path: Path, model: Path, data: Path, where: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise _Full(f"I/O error: {os.strerror(errno.ENOSPC)} (os error {errno.ENOSPC})")

    recipe = runs.recipe(tmp_path, model, data)
    with monkeypatch.context() as patch:
        if where == "weights":
            patch.setattr("transformers.modeling_utils.safe_save_file", full)
        else:
            patch.setattr(saving, "_save_tokenizer", full)
        assert runs.run(recipe, "--out", tmp_path / "run") == 3
    assert "the disk is full" in capsys.readouterr().err
    stage = tmp_path / "run" / "stages" / "one"
    assert not list(stage.glob("model*"))
    assert list((stage / "checkpoints").glob("step-*"))
    assert runs.run(recipe, "--out", tmp_path / "run") == 0


def test_weights_that_are_no_numbers_push_no_good_checkpoint_out(
    tmp_path: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    step = optimizers.Optimizer.step
    rates: list[float] = []

    def broken(self: Any, lr: float) -> None:
        step(self, lr)
        rates.append(lr)
        if len(rates) == 2:
            self._trained[3].parameter.data[0] = float("nan")

    monkeypatch.setattr(optimizers.Optimizer, "step", broken)
    recipe = runs.recipe(tmp_path, model, data, checkpoints={"every_steps": 1, "keep": 1})
    assert runs.run(recipe, "--out", tmp_path / "run") == 1
    assert "a weight of step 2 is no number" in capsys.readouterr().err
    kept = list((tmp_path / "run" / "stages" / "one" / "checkpoints").glob("step-*"))
    assert [place.name for place in kept] == ["step-00000001"]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "Set batches.micro_batch_tokens: 200"),
        (RuntimeError("histc does not have a deterministic implementation"), "Set machine.deterministic: false"),
    ],
)
def test_what_a_gpu_cannot_do_names_the_setting_that_helps(
    tmp_path: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, error: Exception, advice: str
) -> None:
    monkeypatch.setattr(optimizers.Optimizer, "step", mock.Mock(side_effect=error))
    assert runs.run(runs.recipe(tmp_path, model, data), "--out", tmp_path / "run") == 1
    assert advice in capsys.readouterr().err


def test_gradients_that_are_no_numbers_are_never_applied(
    tmp_path: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(optimizers.Optimizer, "clip", lambda *_: torch.tensor(float("inf")))
    clipped = {"optimizer": "adamw", "max_grad_norm": 1.0, "warmup_steps": 2}
    assert runs.run(runs.recipe(tmp_path, model, data, optimization=clipped), "--out", tmp_path / "run") == 1
    assert "the norm of the gradients of step 1 is no number" in capsys.readouterr().err


def test_asked_to_stop_while_rows_become_tokens_it_stops_there(
    tmp_path: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("magicoder.finetuning._stop", lambda: lambda: True)
    assert runs.run(runs.recipe(tmp_path, model, data), "--out", tmp_path / "run") == 130
    assert "before anything was trained" in capsys.readouterr().err
    assert not list((tmp_path / "run").rglob("examples.arrow"))


def test_asked_to_stop_at_the_end_of_a_stage_the_next_is_not_begun(
    tmp_path: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    done = tmp_path / "run" / "stages" / "one" / "done.json"
    monkeypatch.setattr("magicoder.finetuning._stop", lambda: done.exists)
    recipe = of_two(tmp_path, model, data)
    assert runs.run(recipe, "--out", tmp_path / "run") == 130
    assert "before stage two" in capsys.readouterr().err
    assert not (tmp_path / "run" / "stages" / "two").exists()
