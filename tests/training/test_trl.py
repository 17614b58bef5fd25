"""Beside TRL's SFTTrainer: as an oracle of our losses and updates, and as the backend of a run."""

import errno
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from magicoder.console import Watch
from magicoder.errors import Interrupted, RecipeError
from magicoder.recipe import read_training
from tests.training import runs

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")
trl = pytest.importorskip("trl")

from safetensors.torch import load_file  # noqa: E402 - after torch was looked for
from transformers.trainer_callback import PrinterCallback  # noqa: E402

from magicoder.training import run  # noqa: E402
from magicoder.training.encoded import Encoded  # noqa: E402

RATE = 1e-3
EXAMPLES = 8  # of a step


# TRL as the oracle.


@dataclass
class Seen:
    """What training showed: the figures of each step, and the weights after it."""

    told: list[dict[str, float]] = field(default_factory=list)
    weights: list[dict[str, Any]] = field(default_factory=list)

    @property
    def losses(self) -> list[float]:
        return [told["loss"] for told in self.told]


@dataclass(frozen=True)
class Ours:
    """Runs of our own backend, packed, and their examples in the order of the steps."""

    model: Path
    tokenizer: Any
    encoded: Encoded
    order: list[int]
    runs: dict[str, Seen]


def without_warm_up(optimizer: str) -> dict[str, Any]:
    return {"optimizer": optimizer, "learning_rate": RATE, "schedule": "constant", "warmup_steps": 0}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory, model: Path, data: Path, tokenizer: Any) -> Ours:
    found = {}
    for optimizer in ("adamw", "adafactor"):
        folder = tmp_path_factory.mktemp(optimizer)
        recipe = runs.recipe(
            folder,
            model,
            data,
            stages=[{"name": "one", "data": [str(data)], "epochs": 1, "max_length": 160}],
            optimization=without_warm_up(optimizer),
            checkpoints={"every_steps": 1, "keep": 9},
        )
        assert runs.run(recipe, "--out", folder / "run") == 0
        places = sorted((folder / "run" / "stages" / "one" / "checkpoints").glob("step-*"))
        weights = [dict(load_file(place / "model.safetensors")) for place in places]
        found[optimizer] = Seen(runs.figures(folder / "run"), weights)
    encoded = Encoded.open(next((folder / "run" / "examples" / "one").iterdir()))
    from magicoder.training import batches, settings

    plan = batches.plan(len(encoded), 1, settings.Batches(examples=EXAMPLES), "clean", 42)
    return Ours(model, tokenizer, encoded, plan.seen.tolist(), found)


def by_trl(ours: Ours, folder: Path, optimizer: str, rows: int, examples: int = 0, **how: Any) -> Seen:
    """What TRL alone makes of our examples, which of their tokens are completions being all that it is told."""
    order = ours.order[: examples or len(ours.order)]
    seen = Seen()

    class Watching(transformers.TrainerCallback):  # type: ignore[misc, unused-ignore]
        def on_step_end(self, *_: Any, model: Any, **__: Any) -> None:
            seen.weights.append({name: p.detach().clone() for name, p in model.named_parameters()})

        def on_log(self, *_: Any, logs: Any, **__: Any) -> None:
            if "loss" in logs:
                seen.told.append(dict(logs))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(42)
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(ours.model))
        settings = trl.SFTConfig(
            output_dir=str(folder),
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=EXAMPLES // rows,
            max_steps=len(order) // EXAMPLES,
            train_sampling_strategy="sequential",
            learning_rate=RATE,
            lr_scheduler_type="constant",  # another one would waste the first step at a rate of 0, as our paper-exact
            optim={"adamw": "adamw_torch", "adafactor": "adafactor"}[optimizer],
            max_grad_norm=0.0,
            completion_only_loss=True,
            bf16=False,
            gradient_checkpointing=None,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            **{"max_length": None, **how},
        )
        table = {
            "input_ids": [ours.encoded.tokens(i).tolist() for i in order],
            "completion_mask": [ours.encoded.mask(i).astype(int).tolist() for i in order],
        }
        trainer = trl.SFTTrainer(
            model=model,
            args=settings,
            train_dataset=datasets.Dataset.from_dict(table),
            processing_class=padded(ours.tokenizer),
            callbacks=[Watching()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return seen


def padded(tokenizer: Any) -> Any:
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def agree(found: Seen, expected: Seen, steps: int) -> None:
    """See that losses are equal to 1e-5, and so are the weights after every step."""
    assert len(found.losses) == len(found.weights) == steps
    assert found.losses == pytest.approx(expected.losses[:steps], rel=1e-5)
    for left, right in zip(found.weights, expected.weights, strict=False):
        assert left.keys() == right.keys()
        assert max(float((left[n] - right[n]).norm() / right[n].norm()) for n in left) < 1e-5


@pytest.fixture(scope="module")
def oracle(ours: Ours, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Seen]:
    made: dict[str, Seen] = {}

    def make(optimizer: str, rows: int) -> Seen:
        name = f"{optimizer}-{rows}"
        if name not in made:
            made[name] = by_trl(ours, tmp_path_factory.mktemp(name), optimizer, rows)
        return made[name]

    return make


@pytest.mark.parametrize(("optimizer", "rows"), [("adamw", 1), ("adamw", 2), ("adamw", 4), ("adafactor", 2)])
def test_losses_and_weights_are_those_of_trl(ours: Ours, oracle: Any, optimizer: str, rows: int) -> None:
    agree(oracle(optimizer, rows), ours.runs[optimizer], 5)


def test_examples_count_by_their_tokens(ours: Ours) -> None:
    """Where a mean of micro-batches' means would be seen: they differ fourfold in what they train."""
    trained = ours.encoded.trained[ours.order[:EXAMPLES]]
    assert trained.max() > 3.5 * trained.min()


def test_trl_tells_entropy_as_a_mean_over_micro_batches_whatever_their_size(oracle: Any) -> None:
    """Its loss is a mean over tokens; what it says beside it is not, and depends on how a step is cut."""
    alone, by_four = oracle("adamw", 1), oracle("adamw", 4)
    assert alone.losses == pytest.approx(by_four.losses, rel=1e-6)
    assert [told["entropy"] for told in alone.told] != pytest.approx([t["entropy"] for t in by_four.told], rel=1e-6)


def test_trl_without_padding_keeps_examples_apart_here(ours: Ours, tmp_path: Path) -> None:
    """On a CPU transformers makes a mask from the positions; with flash attention it would be TRL's boundaries."""
    agree(by_trl(ours, tmp_path, "adamw", 4, padding_free=True), ours.runs["adamw"], 5)


def test_a_step_of_trl_packed_is_of_rows_not_of_examples(ours: Ours, tmp_path: Path) -> None:
    """So the examples of one step, packed, are compared: all its rows fit into what eight rows would be."""
    found = by_trl(ours, tmp_path, "adamw", 1, EXAMPLES, packing=True, max_length=160)
    agree(found, ours.runs["adamw"], 1)


# TRL as the backend.


ROWS = {"examples": EXAMPLES, "layout": "rows", "micro_batch_rows": 2}


def recipe(folder: Path, model: Path, data: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    stages = [{"name": name, "data": [str(data)], "epochs": 1, "max_length": 160} for name in ("one", "two")]
    usual = {"stages": stages, "backend": "trl", "batches": ROWS, "held_out": {"examples": 4, "every_steps": 2}}
    return runs.recipe(folder, model, data, **{**usual, "checkpoints": {"every_steps": 2}, **changes})


def of_one(data: Path, **more: Any) -> list[dict[str, Any]]:
    return [{"name": "one", "data": [str(data)], "epochs": 1, "max_length": 160, **more}]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, model: Path, data: Path) -> Path:
    """A run of two stages of 5 steps that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert runs.run(recipe(folder, model, data), "--out", folder / "run") == 0
    return folder / "run"


def facts(out: Path, stage: str) -> dict[str, Any]:
    return dict(orjson.loads((out / "stages" / stage / "done.json").read_bytes()))


def test_a_run_of_two_stages_is_that_of_our_own_backend(tmp_path: Path, model: Path, data: Path, whole: Path) -> None:
    assert runs.run(recipe(tmp_path, model, data, backend="own"), "--out", tmp_path / "run") == 0
    for stage in ("one", "two"):
        own, by_trl = runs.figures(tmp_path / "run", stage), runs.figures(whole, stage)
        for left, right in zip(own, by_trl, strict=True):
            assert left.keys() == right.keys()
            for name in set(left) - {"seconds", "tokens_per_s", "flops_per_s"}:
                assert right[name] == pytest.approx(left[name], rel=1e-5), name
        own_facts, facts_by_trl = facts(tmp_path / "run", stage), facts(whole, stage)
        assert own_facts.keys() == facts_by_trl.keys()
        assert facts_by_trl["held_out_after"] == pytest.approx(own_facts["held_out_after"], rel=1e-5)
        assert {**own_facts, "held_out_after": 0, "held_out_before": 0, "loss": 0} == {
            **facts_by_trl,
            "held_out_after": 0,
            "held_out_before": 0,
            "loss": 0,
        }
        places = [out / "stages" / stage / "model" for out in (tmp_path / "run", whole)]
        assert len({tuple(sorted(file.name for file in place.iterdir())) for place in places}) == 1
        assert len({(place / "config.json").read_text() for place in places}) == 1


def ended_by_stop(recipe: Path, out: Path, after: int) -> None:
    """Ask a run to stop after so many steps of its first stage."""
    with pytest.raises(Interrupted, match=f"after step {after} of 5 of stage one, which is saved"):
        run.train(read_training(recipe), out, Watch(quiet=True), lambda: len(runs.seen(out)) >= after, recipe="")


def same_bits(whole: Path, out: Path) -> None:
    for stage in ("one", "two"):
        expected, found = (load_file(x / "stages" / stage / "model" / "model.safetensors") for x in (whole, out))
        assert all(torch.equal(expected[name], found[name]) for name in expected)
        assert facts(whole, stage) == facts(out, stage)
        assert [line["loss"] for line in runs.figures(whole, stage)] == [x["loss"] for x in runs.figures(out, stage)]
        assert len(list((out / "stages" / stage / "checkpoints").iterdir())) == 2  # checkpoints.keep


def test_killed_it_goes_on_to_the_same_bits(tmp_path: Path, model: Path, data: Path, whole: Path) -> None:
    command, out = recipe(tmp_path, model, data), tmp_path / "run"
    started = runs.Started(tmp_path, command, "--out", out)
    runs.until(started, out, 3)
    started.send(signal.SIGKILL)
    assert started.ended() == -signal.SIGKILL
    assert not (out / "stages" / "one" / "done.json").exists()
    assert runs.run(command, "--out", out) == 0
    same_bits(whole, out)


def without_its_end(place: Path) -> None:
    (place / "trainer_state.json").unlink()  # which is written last


def with_weights_cut_off(place: Path) -> None:
    file = place / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-64])


def with_an_optimizer_cut_off(place: Path) -> None:
    file = place / "optimizer.pt"
    file.write_bytes(file.read_bytes()[:-64])


@pytest.mark.parametrize("damage", [without_its_end, with_weights_cut_off, with_an_optimizer_cut_off])
def test_stopped_and_with_half_a_checkpoint_it_goes_on_to_the_same_bits(
    tmp_path: Path, model: Path, data: Path, whole: Path, capsys: Any, damage: Callable[[Path], None]
) -> None:
    command, out = recipe(tmp_path, model, data), tmp_path / "run"
    ended_by_stop(command, out, 3)
    places = out / "stages" / "one" / "checkpoints"
    damage(places / "checkpoint-3")
    assert runs.run(command, "--out", out) == 0
    said = capsys.readouterr().err
    assert "checkpoint-3 was not written to its end" in said
    assert "goes on after step 2 of 5" in said
    same_bits(whole, out)


def test_what_cannot_be_read_or_is_none_of_ours_is_no_half_checkpoint(
    tmp_path: Path, model: Path, data: Path, whole: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, out = recipe(tmp_path, model, data), tmp_path / "run"
    ended_by_stop(command, out, 3)
    places = out / "stages" / "one" / "checkpoints"
    (places / "checkpoint-2-copy").mkdir()
    read = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "trainer_state.json":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refused)
        assert runs.run(command, "--out", out) != 0
    assert "Permission denied" in capsys.readouterr().err
    assert (places / "checkpoint-3").exists()
    assert runs.run(command, "--out", out) == 0
    (places / "checkpoint-2-copy").rmdir()
    same_bits(whole, out)


def test_two_processes_train_as_one(tmp_path: Path, model: Path, data: Path, whole: Path) -> None:
    started = runs.members(tmp_path, recipe(tmp_path, model, data, stages=of_one(data)), "--out", tmp_path / "run")
    assert [process.ended() for process in started] == [0, 0], started[0].said
    losses = [[line["loss"] for line in runs.figures(out)] for out in (tmp_path / "run", whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_adapters_are_those_of_our_own_backend(tmp_path: Path, model: Path, data: Path) -> None:
    pytest.importorskip("peft")
    changes = {"adapter": {"rank": 4}, "stages": of_one(data, max_examples=24), "held_out": {}, "checkpoints": {}}
    adapters = []
    for backend in ("own", "trl"):
        folder = tmp_path / backend
        assert runs.run(recipe(folder, model, data, backend=backend, **changes), "--out", folder / "run") == 0
        adapters.append(load_file(folder / "run/stages/one/model/adapter/adapter_model.safetensors"))
    assert adapters[0].keys() == adapters[1].keys()
    torch.testing.assert_close(adapters[0], adapters[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"mode": "paper-exact"}, "mode: paper-exact"),
        ({"precision": {"weights": "bfloat16"}}, "precision.master"),
        ({"precision": {"weights": "float32", "fp8": True}}, "precision.fp8"),
        ({"batches": {"layout": "packed"}}, "batches.layout: packed"),
        ({"batches": {"layout": "sorted"}}, "batches.layout: sorted"),
        ({"machine": {"strategy": "fsdp2"}}, "machine.strategy: fsdp2"),
        ({"checkpoints": {"average": 2}}, "checkpoints.average"),
        ({"backend": "tlr"}, "backend is one of own, trl, not 'tlr'; did you mean trl"),
    ],
)
def test_what_trl_cannot_do_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(RecipeError, match=named):
        read_training(recipe(tmp_path, tmp_path, tmp_path, **changes))


def test_steps_that_its_micro_batches_cannot_make_are_refused(
    tmp_path: Path, model: Path, data: Path, capsys: Any
) -> None:
    batches = {"examples": 8, "micro_batch_rows": 3}
    assert runs.run(recipe(tmp_path, model, data, batches=batches), "--out", tmp_path / "run") == 2
    assert "set batches.micro_batch_rows" in capsys.readouterr().err


def test_without_trl_it_says_what_to_install_before_anything_is_computed(
    tmp_path: Path, model: Path, data: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run.importlib.util.find_spec
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None if name == "trl" else real(name))
    assert runs.run(recipe(tmp_path, model, data), "--out", tmp_path / "run") == 2
    assert "pip install 'magicoder[trl]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_stops_it(tmp_path: Path, model: Path, data: Path, capsys: Any) -> None:
    wild = {**without_warm_up("adamw"), "learning_rate": 1e30}
    command = recipe(tmp_path, model, data, optimization=wild, checkpoints={"every_steps": 1})
    assert runs.run(command, "--out", tmp_path / "run") == 1
    assert "stage one: the loss of step 2 is no number" in capsys.readouterr().err
    assert not (tmp_path / "run/stages/one/checkpoints/checkpoint-2").exists()


def test_a_full_disk_is_explained(
    tmp_path: Path, model: Path, data: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 248384 vs 248272")

    monkeypatch.setattr("transformers.trainer.torch.save", full)
    assert runs.run(recipe(tmp_path, model, data), "--out", tmp_path / "run") == 3
    assert "is the disk full?" in capsys.readouterr().err


def test_a_stage_stays_with_the_backend_that_it_was_begun_with(
    tmp_path: Path, model: Path, data: Path, whole: Path, capsys: Any
) -> None:
    decides = orjson.loads((whole / "stages" / "one" / "stage.json").read_bytes())["decides"]
    assert decides.pop("backend") == "trl"
    own = recipe(tmp_path, model, data, backend="own")
    assert runs.run(own, "--out", whole) == 3
    assert "(backend" in capsys.readouterr().err
    assert yaml.safe_load(own.read_text())["backend"] == "own"
