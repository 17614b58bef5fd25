"""Training runs as a person starts them: the same weights whatever the machine does in between."""

import random
import signal
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from tests.training import runs

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file  # noqa: E402 - after torch was looked for

pytestmark = pytest.mark.filterwarnings("default")  # of libraries, which are not ours to mend


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, model: Path, data: Path) -> Path:
    """A run that nothing disturbed: 10 steps of 8 examples."""
    folder = tmp_path_factory.mktemp("whole")
    assert runs.run(runs.recipe(folder, model, data), "--out", folder / "run") == 0
    return folder / "run"


def other(tmp_path: Path, model: Path, data: Path, **changes: Any) -> Path:
    assert runs.run(runs.recipe(tmp_path, model, data, **changes), "--out", tmp_path / "run") == 0
    return tmp_path / "run"


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def apart(left: dict[str, Any], right: dict[str, Any]) -> float:
    """The largest relative difference of the weights."""
    assert left.keys() == right.keys()
    return max(float((left[n] - right[n]).norm() / right[n].norm()) for n in left)


def close_losses(left: Path, right: Path, tolerance: float = 1e-5) -> bool:
    pairs = zip(runs.figures(left), runs.figures(right), strict=True)
    return all(abs(a["loss"] - b["loss"]) <= tolerance * b["loss"] for a, b in pairs)


def test_a_run_ends_with_a_model_that_transformers_loads_and_a_report(whole: Path) -> None:
    import transformers

    place = whole / "stages" / "one" / "model"
    model = transformers.AutoModelForCausalLM.from_pretrained(place)
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    messages = [{"role": "user", "content": "Add two numbers."}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert "@@ Response\n" in tokenizer.decode(ids["input_ids"][0])
    model.generate(**ids, max_new_tokens=3, do_sample=False)
    assert "base_model" in (place / "README.md").read_text()
    assert "<svg" in (whole / "report.html").read_text()


def test_the_loss_falls(whole: Path) -> None:
    losses = [line["loss"] for line in runs.figures(whole)]
    assert len(losses) == 10
    assert losses[-1] < losses[0]


def test_every_step_is_told_once_with_its_rate_and_speed(whole: Path) -> None:
    lines = runs.figures(whole)
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert all(line["tokens"] > line["trained_tokens"] > 0 and line["tokens_per_s"] > 0 for line in lines)
    assert max(line["learning_rate"] for line in lines) == 1e-3


def test_padded_rows_give_what_packed_ones_give(tmp_path: Path, model: Path, data: Path, whole: Path) -> None:
    batches = {"examples": 8, "layout": "sorted", "micro_batch_tokens": 700}
    padded = other(tmp_path, model, data, batches=batches)
    assert close_losses(padded, whole)
    assert (
        apart(runs.weights(padded), runs.weights(whole)) < 1e-4
    )  # AdamW magnifies rounding where gradients are near 0


def test_a_prefix_that_is_computed_once_gives_what_whole_examples_give(
    tmp_path: Path, model: Path, data: Path, whole: Path
) -> None:
    batches = {"examples": 8, "layout": "packed", "micro_batch_tokens": 400, "share_prefix": False}
    apiece = other(tmp_path, model, data, batches=batches)
    assert close_losses(apiece, whole)
    assert apart(runs.weights(apiece), runs.weights(whole)) < 1e-4
    once, each = (runs.figures(out)[1] for out in (whole, apiece))
    assert once["tokens"] == each["tokens"]  # of examples, however they are computed
    assert once["flops_per_s"] * once["seconds"] < 0.9 * each["flops_per_s"] * each["seconds"]


def test_one_micro_batch_gives_what_many_give(tmp_path: Path, model: Path, data: Path, whole: Path) -> None:
    batches = {"examples": 8, "layout": "packed", "micro_batch_tokens": 4000}
    at_once = other(tmp_path, model, data, batches=batches)
    assert close_losses(at_once, whole)


def test_killed_at_any_moment_it_ends_with_the_same_bits(tmp_path: Path, model: Path, data: Path, whole: Path) -> None:
    recipe = runs.recipe(tmp_path, model, data, checkpoints={"every_steps": 2})
    out, moments, kills = tmp_path / "run", random.Random(5), 0
    for _ in range(3):
        process = runs.Started(tmp_path, recipe, "--out", out)
        runs.until(process, out, len(runs.seen(out)) + moments.randint(2, 4))
        time.sleep(moments.random() * 0.02)
        process.send(signal.SIGKILL)
        kills += process.ended() == -signal.SIGKILL
    assert kills >= 2, "it ended before it could be killed"
    assert runs.run(recipe, "--out", out) == 0
    assert same(runs.weights(out), runs.weights(whole))
    assert [line["step"] for line in runs.figures(out)] == list(range(1, 11))


def test_sigterm_saves_and_says_how_to_go_on(tmp_path: Path, model: Path, data: Path, whole: Path) -> None:
    recipe = runs.recipe(tmp_path, model, data, checkpoints={"every_steps": 0})
    process = runs.Started(tmp_path, recipe, "--out", tmp_path / "run")
    runs.until(process, tmp_path / "run", 2)
    process.send(signal.SIGTERM)
    assert process.ended() == 130, process.said
    assert "run the same command again to go on" in process.said
    assert list((tmp_path / "run" / "stages" / "one" / "checkpoints").glob("step-*"))
    assert runs.run(recipe, "--out", tmp_path / "run") == 0
    assert same(runs.weights(tmp_path / "run"), runs.weights(whole))


def test_a_stage_that_is_done_is_not_trained_again(tmp_path: Path, model: Path, data: Path) -> None:
    out = other(tmp_path, model, data)
    before = (out / "stages" / "one" / "metrics.jsonl").stat().st_mtime_ns
    assert runs.run(tmp_path / "recipe.yaml", "--out", out) == 0
    assert (out / "stages" / "one" / "metrics.jsonl").stat().st_mtime_ns == before


def test_other_settings_in_the_same_folder_are_refused_by_name(
    tmp_path: Path, model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = other(tmp_path, model, data)
    recipe = runs.recipe(tmp_path, model, data, optimization={"optimizer": "adamw", "learning_rate": 2e-3})
    assert runs.run(recipe, "--out", out) == 3
    error = capsys.readouterr().err
    assert "optimization.learning_rate: 0.001 then, 0.002 now" in error
    assert "another --out" in error


def test_a_second_stage_starts_from_the_first_and_is_judged_on_what_both_hold_out(
    tmp_path: Path, model: Path, data: Path
) -> None:
    more = runs.write_rows(tmp_path / "more.jsonl", runs.rows(30, start=100))
    stages = [
        {"name": "one", "data": [str(data)], "epochs": 1, "max_length": 160},
        {"name": "two", "data": [str(more)], "epochs": 2, "max_length": 128, "learning_rate": 5e-4},
    ]
    out = other(tmp_path, model, data, stages=stages, held_out={"examples": 6})
    one, two = (orjson.loads((out / "stages" / name / "done.json").read_bytes()) for name in ("one", "two"))
    assert one["held_out_before"].keys() == {"one", "two"}
    # The model is written in bfloat16, so that the second stage begins near, not at, where the first ended.
    assert two["held_out_before"]["two"] == pytest.approx(one["held_out_after"]["two"], rel=1e-3)
    assert two["held_out_after"]["two"] < one["held_out_before"]["two"]


def test_a_loss_that_is_no_number_stops_with_the_step_and_keeps_the_checkpoints(
    tmp_path: Path, model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = {"optimizer": "adamw", "learning_rate": 1e30, "warmup_steps": 0, "schedule": "constant"}
    recipe = runs.recipe(tmp_path, model, data, optimization=wild, checkpoints={"every_steps": 1})
    assert runs.run(recipe, "--out", tmp_path / "run") == 1
    error = capsys.readouterr().err
    assert "is no number" in error
    assert "optimization.learning_rate" in error
    assert list((tmp_path / "run" / "stages" / "one" / "checkpoints").glob("step-*"))


def test_a_run_that_ended_early_says_what_it_was(tmp_path: Path, model: Path, data: Path) -> None:
    wild = {"optimizer": "adamw", "learning_rate": 1e30, "warmup_steps": 0, "schedule": "constant"}

    def written(**changes: Any) -> tuple[int, Any]:
        recipe = runs.recipe(tmp_path, model, data, **changes)
        code = runs.run(recipe, "--out", tmp_path / "run")
        return code, yaml.safe_load((tmp_path / "run" / "training.yaml").read_text())

    code, first = written(optimization=wild)
    assert (code, first["optimization"]["learning_rate"]) == (1, 1e30)
    code, again = written(optimization=wild, checkpoints={"keep": 7})
    assert (code, again) == (1, {**first, "checkpoints": {**first["checkpoints"], "every_steps": 50, "keep": 7}})
    assert written(optimization={**wild, "learning_rate": 1e29}) == (3, again)  # refused: the run is what it was


def test_adapters_are_trained_saved_and_merged(tmp_path: Path, model: Path, data: Path) -> None:
    import peft
    import transformers

    out = other(tmp_path, model, data, adapter={"rank": 4, "dropout": 0.1})
    place = out / "stages" / "one" / "model"
    merged = transformers.AutoModelForCausalLM.from_pretrained(place)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    assert peft.PeftConfig.from_pretrained(place / "adapter").r == 4


def test_the_mean_of_the_last_checkpoints_is_a_model_of_its_own(tmp_path: Path, model: Path, data: Path) -> None:
    import transformers

    out = other(tmp_path, model, data, checkpoints={"every_steps": 3, "average": 3})
    found = transformers.AutoModelForCausalLM.from_pretrained(out / "stages" / "one" / "model-average")
    place = sorted((out / "stages" / "one" / "checkpoints").glob("step-*"))
    assert [p.name[-2:] for p in place] == ["06", "09", "10"]
    states = [load_file(p / "model.safetensors") for p in place]
    name = "model.layers.0.mlp.up_proj.weight"
    mean = (sum(state[name].double() for state in states) / 3).to(torch.bfloat16)
    assert torch.equal(found.state_dict()[name].to(torch.bfloat16), mean)
    assert "mean of the last 3 checkpoints" in (out / "stages/one/model-average/README.md").read_text("utf-8")


def test_a_plan_says_steps_and_memory_and_trains_nothing(
    tmp_path: Path, model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = runs.recipe(tmp_path, model, data)
    assert runs.run(recipe, "--out", tmp_path / "run", "--plan", "--gpu", "h100", "--usd-per-hour", "3", "--json") == 0
    plan = orjson.loads(capsys.readouterr().out)
    assert plan["stages"][0]["steps"] == 10
    assert plan["usd"] == 3 * plan["gpu_hours"] > 0
    assert plan["memory_gib"]["all"] > plan["memory_gib"]["weights"] > 0
    assert not (tmp_path / "run" / "stages").exists()


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"base": {"model": "no/such-folder-or-model"}}, ["no/such-folder-or-model"]),
        ({"stages": [{"name": "one", "data": ["nowhere.jsonl"]}]}, ["nowhere.jsonl", "does not exist"]),
        ({"held_out": {"examples": 44}}, ["held_out.examples", "hold out fewer"]),
        ({"batches": {"micro_batch_tokens": 20, "layout": "packed"}}, ["micro_batch_tokens"]),
        ({"boards": ["chalk"]}, ["chalk", "tensorboard"]),
    ],
)
def test_bad_input_says_what_and_where(
    tmp_path: Path,
    model: Path,
    data: Path,
    changes: dict[str, Any],
    parts: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert runs.run(runs.recipe(tmp_path, model, data, **changes), "--out", tmp_path / "run") in (1, 2)
    error = capsys.readouterr().err
    assert all(part in error for part in parts), error
    assert "Traceback" not in error
