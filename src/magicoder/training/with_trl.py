"""A stage trained by TRL's SFTTrainer: its loss, accumulation, optimizers and checkpoints.

Ours stay the examples, their order and their split into steps, the schedule, what is told and held out, and the model
that is written. So runs that differ in `backend` alone differ in nothing but what TRL does.
"""

import copy
import json
import math
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import datasets
import numpy as np
import pyarrow as pa
import torch
import transformers
import trl
from safetensors import SafetensorError, safe_open
from transformers.trainer_callback import PrinterCallback

from magicoder.errors import RecipeError, StoreError
from magicoder.store import Progress, explained
from magicoder.training import loop, loss, metrics, parallel
from magicoder.training.encoded import Encoded
from magicoder.training.saving import numbered
from magicoder.training.tensors import NO_TARGET

_OPTIMIZERS: Final = {"adafactor": "adafactor", "adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit"}
_STATE: Final = "trainer_state.json"
"""What a checkpoint gets last."""


class LoopOfTRL(loop.Loop):
    """A stage whose steps TRL takes."""

    def __init__(
        self, course: loop.Course, world: parallel.World, progress: Progress, stop: Callable[[], bool]
    ) -> None:
        whole = replace(course.training.machine, strategy="ddp")
        super().__init__(replace(course, training=replace(course.training, machine=whole)), world, progress, stop)
        self._accumulated = self._accumulation()

    def _built_optimizer(self) -> Any:
        """Return none: TRL makes its own."""

    def _resume(self) -> tuple[int, dict[str, Any]]:
        found = self.world.share(self._found() if self.world.is_main else None)
        self._from, done, facts = found
        if done and self.world.is_main:
            self.course.tell(f"stage {self.course.stage.name} goes on after step {done} of {len(self.plan)}")
        return done, facts

    def _found(self) -> tuple[Path | None, int, dict[str, Any]]:
        """Return the newest checkpoint that was written to its end, its step, and the facts up to there.

        Newer ones are removed, so that they do not count among those that are kept.
        """
        for place in reversed(self._places()):
            if _is_whole(place):
                return place, _step(place), self._facts(_step(place))
            self.course.tell(f"{place} was not written to its end, and is removed")
            with explained(place):
                shutil.rmtree(place)
        return None, 0, {"held_out_before": {}, "loss": None}

    def _facts(self, done: int) -> dict[str, Any]:
        """Return what was found up to step `done`, from what was told of it."""
        lines = [line for line in metrics.read(self.course.folder) if line["step"] <= done]
        first = next((line for line in lines if line["step"] == 0), {})
        before = {n.removeprefix(loop.HELD_OUT): v for n, v in first.items() if n.startswith(loop.HELD_OUT)}
        return {"held_out_before": before, "loss": next((x["loss"] for x in reversed(lines) if "loss" in x), None)}

    def _steps(self, done: int, facts: dict[str, Any], told: loop.Tell) -> None:  # noqa: ARG002 - its state knows
        whole = loss.core(self.model)
        before = copy.deepcopy(whole.config)
        asked: list[int] = []

        def after(number: int, logs: Mapping[str, float], seconds: float) -> tuple[bool, bool]:
            self._tell(number, self._figures(number, logs, seconds), facts, told)
            if self.world.any(self.stop()):
                asked.append(number)
            is_to_be_saved = bool(asked) or self._is_to_be_saved(number)
            if is_to_be_saved:
                self._see_that_weights_are_numbers(number, parallel.trained(self.model))
            return is_to_be_saved, bool(asked)

        trainer = _Trainer(
            model=self.model,
            args=self._settings(),
            train_dataset=_table(self.course.learned).select(self.plan.seen, keep_in_memory=True),
            processing_class=self.tokenizer,
            callbacks=[_Teller(after, self._remove_old)],
            rate=self._rate,
        )
        trainer.remove_callback(PrinterCallback)
        with _disk_explained(self._place):
            trainer.train(resume_from_checkpoint=str(self._from) if self._from else None)
        whole.config = before  # TRL writes into it, and it is saved with the model
        if asked and asked[0] < len(self.plan):
            raise self._stopped(asked[0])

    def _figures(self, number: int, logs: Mapping[str, float], seconds: float) -> dict[str, float]:
        """Return the figures of a step, as our own loop has them."""
        step = self.plan[number - 1]
        names = ("loss", "learning_rate", *(("grad_norm",) if self.optimization.max_grad_norm else ()))
        figures = {"epoch": round(step.epoch, 6)} | {name: float(logs[name]) for name in names}
        for name, what in (("loss", "the loss"), ("grad_norm", "the norm of the gradients")):
            if not math.isfinite(figures.get(name, 0.0)):
                raise self._no_number(step, figures["learning_rate"], what)
        return figures | self._speed(step, seconds, rows=len(step.examples))

    def _settings(self) -> Any:
        training, optimization, on_cpu = self.training, self.optimization, self.world.device.type == "cpu"
        balances = getattr(loss.core(self.model).config.get_text_config(), "output_router_logits", False)
        if self.world.size > 1:  # accelerate wants to know where processes meet, though they have met
            os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        settings = trl.SFTConfig(
            output_dir=str(self._place),
            seed=training.random_seed,
            use_cpu=on_cpu,
            per_device_train_batch_size=training.batches.micro_batch_rows,
            gradient_accumulation_steps=self._accumulated,
            max_steps=len(self.plan),
            train_sampling_strategy="sequential",  # the plan's order
            max_length=None,  # cut already
            dataset_kwargs={"skip_prepare_dataset": True},
            dataloader_pin_memory=not on_cpu,
            optim=_OPTIMIZERS[optimization.optimizer],
            learning_rate=optimization.learning_rate,
            weight_decay=optimization.weight_decay,
            max_grad_norm=optimization.max_grad_norm,
            adam_beta1=optimization.betas[0],
            adam_beta2=optimization.betas[1],
            adam_epsilon=optimization.epsilon,
            router_aux_loss_coef=None if balances else 0.0,  # TRL balances experts whatever the model says
            bf16=False,  # as precision.weights says, not mixed
            gradient_checkpointing=None,  # `models.load` has seen to it; False would be an old name for it
            ddp_find_unused_parameters=False,
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_strategy="no",  # `_Teller` says when
            report_to="none",
            disable_tqdm=True,
        )
        if not on_cpu:
            settings._n_gpu = 1  # a process uses its own GPU, whatever others it sees
        return settings

    def _accumulation(self) -> int:
        """Return how many micro-batches of each process make a step."""
        examples, rows = len(self.plan[0].examples), self.training.batches.micro_batch_rows
        count, rest = divmod(examples, rows * self.world.size)
        if rest or not count:
            raise RecipeError(
                f"backend: trl cannot make a step of {examples} examples from {rows} rows on each of {self.world.size} "
                f"processes at once; set batches.micro_batch_rows (1 does for one process), or batches.examples to a "
                f"multiple of {rows * self.world.size}"
            )
        return count

    def _places(self) -> list[Path]:
        found = (
            place for place in self._place.glob("checkpoint-*") if place.name.removeprefix("checkpoint-").isdigit()
        )
        return sorted(found, key=_step)

    def _remove_old(self) -> None:
        for place in self._places()[: -self.training.checkpoints.keep] if self.world.is_main else ():
            shutil.rmtree(place)

    @property
    def _place(self) -> Path:
        return self.course.folder / "checkpoints"


class _Teller(transformers.TrainerCallback):
    """Hands on each step's figures, and says to the trainer when to save and when to stop.

    after  takes the number of a step, its figures and its seconds; returns whether to save and whether to stop
    saved  is called when a checkpoint is written
    """

    def __init__(
        self, after: Callable[[int, Mapping[str, float], float], tuple[bool, bool]], saved: Callable[[], None]
    ) -> None:
        self._after, self._saved = after, saved
        self._began = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_log(self, _: Any, state: Any, control: Any, logs: Any = None, **__: Any) -> None:
        """Take the figures of a step. The trainer looks after this whether to save and to stop."""
        if "loss" not in logs:  # those of the whole run
            return
        control.should_save, is_to_stop = self._after(state.global_step, logs, time.perf_counter() - self._began)
        control.should_training_stop |= is_to_stop
        self._began = time.perf_counter()

    def on_save(self, *_: Any, **__: Any) -> None:
        """Leave the time that saving took out of the next step's."""
        self._saved()
        self._began = time.perf_counter()


class _Trainer(trl.SFTTrainer):
    """TRL's trainer with our schedule, which reports to nobody that it was started."""

    def __init__(self, *, rate: Callable[[int], float], **others: Any) -> None:
        self._rate = rate
        super().__init__(**others)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return a schedule of the rates that a stage has; transformers' own waste the first step at a rate of 0."""
        peak = self.args.learning_rate
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer, lambda done: self._rate(min(done + 1, num_training_steps)) / peak
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def create_model_card(self, *args: Any, **others: Any) -> None:
        """Write none beside checkpoints; the run has a card."""

    def _send_telemetry(self) -> None:
        """Send nothing."""


@contextmanager
def _disk_explained(place: Path) -> Iterator[None]:
    """Turn what the disk refuses into an error that says so; torch's own has no type."""
    try:
        with explained(place), numbered():
            yield
    except RuntimeError as e:
        if "inline_container" not in str(e):
            raise
        raise StoreError(
            f"a checkpoint in {place} could not be written (is the disk full?); earlier ones are as they were: free "
            "some space, or give another folder with --out, and run again"
        ) from e


def _table(encoded: Encoded) -> Any:
    """Return the examples as TRL takes them: tokens, and what is to be learned of them."""
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum(encoded.lengths, out=offsets[1:])
    tokens = np.concatenate([encoded.tokens(i) for i in range(len(encoded))])
    learned = np.concatenate([encoded.mask(i) for i in range(len(encoded))])
    columns = {"input_ids": tokens, "labels": np.where(learned, tokens, NO_TARGET)}
    lists = {name: pa.LargeListArray.from_arrays(offsets, pa.array(values)) for name, values in columns.items()}
    return datasets.Dataset(datasets.table.InMemoryTable(pa.table(lists)))


def _is_whole(place: Path) -> bool:
    """Whether a checkpoint was written to its end, and none of its files is cut off."""
    try:
        json.loads((place / _STATE).read_bytes())
        for file in place.glob("*.safetensors"):
            safe_open(file, "pt")  # refuses one that is not as long as its head says
    except (FileNotFoundError, ValueError, SafetensorError):
        return False
    return all(zipfile.is_zipfile(file) for file in place.iterdir() if file.suffix in {".pt", ".pth"})


def _step(place: Path) -> int:
    return int(place.name.removeprefix("checkpoint-"))
