"""One stage of training: micro-batches give gradients, a step's gradients one update, and checkpoints lie between.

Nothing waits for the device inside a step: how much each token counts is known beforehand
(`batches.MicroBatch.weight`), and the losses of a step are fetched once, at its end, before the update is made. Random
draws (dropout) begin anew with every step, from its number, so that a resumed run draws what an uninterrupted one
would have.
"""

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from magicoder.errors import Interrupted, MagicoderError, StoreError
from magicoder.fingerprint import number
from magicoder.store import Progress, explained, swap
from magicoder.store.files import sync_tree
from magicoder.training import (
    averaging,
    batches,
    building,
    hardware,
    loss,
    metrics,
    models,
    optimizers,
    parallel,
    saving,
    schedule,
    tensors,
)
from magicoder.training.checkpoints import Checkpoints
from magicoder.training.encoded import Encoded
from magicoder.training.settings import Base, Stage, Training

HELD_OUT: Final = "held_out_loss/"
"""Beginning of the names of figures: the loss on what the stage whose name follows holds out."""
_NAMED: Final = 8

Tell = Callable[[int, dict[str, float]], None]
"""Takes the number of a step and its figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a stage's loop needs to know.

    base       where the model comes from: the run's base, or the folder of the stage before
    learned    the examples that are learned from
    aside      those that are held out, of every stage of the run
    folder     of the stage
    key        of all that decides the result; checkpoints of another are not gone on with
    tell       says something on a line of its own
    """

    training: Training
    stage: Stage
    base: Base
    learned: Encoded
    aside: Mapping[str, Encoded]
    folder: Path
    key: str
    tell: Callable[[str], None]


def train(
    course: Course,
    world: parallel.World,
    progress: Progress,
    stop: Callable[[], bool],
    kind: "Callable[..., Loop] | None" = None,
) -> dict[str, Any]:
    """Train the stage from its last checkpoint, or its beginning, to its end, and return its facts.

    The model is written to `<folder>/model`. `kind` takes the steps; None: ours.

    Raises:
        Interrupted: `stop()` became true; a checkpoint was written first.
        MagicoderError: the loss is no number, or memory is short; the last checkpoint stays.
        StoreError: the disk is full.
    """
    with _explained(course):
        return (kind or Loop)(course, world, progress, stop).run()


class Loop:
    """A stage and all that it holds in memory; `run` trains it."""

    def __init__(self, course: Course, world: parallel.World, progress: Progress, stop: Callable[[], bool]) -> None:
        training, stage = course.training, course.stage
        self.course, self.training, self.world, self.progress, self.stop = course, training, world, progress, stop
        self.optimization = training.optimization_of(stage)
        self.plan = batches.plan(
            len(course.learned),
            stage.epochs,
            training.batches,
            training.mode,
            training.random_seed,
        )
        self.tokenizer = models.load_tokenizer(course.base)
        longest = max(int(encoded.lengths.max(initial=1)) for encoded in (course.learned, *course.aside.values()))
        built = building.build(training, stage, course.base, world, tokenizer=self.tokenizer, longest=longest)
        self.model, installed = built.model, built.installed
        if installed.why and world.is_main:
            course.tell(f"examples are padded, not packed: {installed.why}")
        self.layout, self.size, self.shares = installed.layout, built.size, installed.shares
        self.prefix = self._prefix(course.learned)
        if self.layout == "packed" and not self.shares and self._shareable(course.learned) and world.is_main:
            course.tell("what examples begin with is computed with each: attention failed the proof for sharing it")
        self.peak = hardware.peak_flops() if world.device.type == "cuda" else 0.0
        self.optimizer = self._built_optimizer()
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.checkpoints = Checkpoints(course.folder / "checkpoints", self._keep())
        self.batches = training.batches
        if training.machine.compile and self.layout == "packed":  # compiled rows are of one size: what costs least
            fitting = batches.row_tokens(
                self.plan, course.learned.lengths, training.batches, world.size, prefix=self.prefix
            )
            self.batches = replace(training.batches, micro_batch_tokens=fitting)
        self.bound = self._bound() if training.machine.compile else None

    def _built_optimizer(self) -> Any:
        precision = replace(self.training.precision, master=self.training.has_master)
        return optimizers.build(self.model.named_parameters(), self.optimization, precision, world=self.world)

    def run(self) -> dict[str, Any]:
        """Train from the last checkpoint to the end, write the model, and return the stage's facts."""
        course, total = self.course, len(self.plan)
        done, facts = self._resume()
        if self.optimization.warmup_steps > total and self.world.is_main:
            course.tell(
                f"stage {course.stage.name} has {total} step{'s'[: total > 1]}, fewer than warmup_steps "
                f"({self.optimization.warmup_steps}): its learning rate never reaches {self.optimization.learning_rate}"
            )
        self.progress.expect(total, "steps")
        self.progress.tick(done)
        with self._told(after=done) as told:
            if not done:
                facts["held_out_before"] = self._held_out()
                told(0, _named(facts["held_out_before"]))
            self._steps(done, facts, told)
            facts["held_out_after"] = self._held_out()
            told(total, _named(facts["held_out_after"]))
        self._publish()
        learned = course.learned
        return {
            **facts,
            "steps": total,
            "unused": self.plan.unused,
            "tokens": int(learned.lengths[self.plan.seen].sum(dtype=int)),
            "trained_tokens": int(learned.trained[self.plan.seen].sum(dtype=int)),
            "parameters": self.size.parameters,
        }

    # Steps.

    def _steps(self, done: int, facts: dict[str, Any], told: Tell) -> None:
        """Take the steps behind `done`; `facts` is what a checkpoint keeps besides."""
        for index in range(done, len(self.plan)):
            figures = self._step(self.plan[index])
            self._tell(index + 1, figures, facts, told)
            asked = self.world.any(self.stop())
            if asked or self._is_to_be_saved(index + 1):
                self._save(index + 1, facts)
            if asked and index + 1 < len(self.plan):
                raise self._stopped(index + 1)

    def _tell(self, step: int, figures: dict[str, float], facts: dict[str, Any], told: Tell) -> None:
        """Tell a step's figures, and the loss on what is held out where it is due."""
        if step < len(self.plan) and _is_due(self.training.held_out.every_steps, step):
            figures = figures | _named(self._held_out())
        told(step, figures)
        facts["loss"] = figures["loss"]
        self.progress.tick(1, _note(figures))

    def _is_to_be_saved(self, step: int) -> bool:
        return step == len(self.plan) or _is_due(self.training.checkpoints.every_steps, step)

    def _stopped(self, step: int) -> Interrupted:
        return Interrupted(
            f"stopped as asked after step {step} of {len(self.plan)} of stage {self.course.stage.name}, which is "
            "saved; run the same command again to go on"
        )

    def _step(self, step: batches.Step) -> dict[str, float]:
        began = time.perf_counter()
        rate = self._rate(step.number)
        torch.manual_seed(number(f"{self.training.random_seed}:{self.course.key}:{step.number}:{self.world.rank}"))
        hands = self._micro_batches(step)
        work = hands[self.world.rank]
        losses = []
        for micro in work:
            batch = self._batch(self.course.learned, micro, bound=self.bound)
            if batch is None:
                continue
            value = loss.loss(self.model, batch, exact=self.training.is_exact)
            value.backward()
            losses.append(value.detach())
        self.world.sum_gradients(self.parameters)
        found = self.world.sum_of([float(torch.stack(losses).double().sum()) if losses else 0.0])[0]
        if not math.isfinite(found):
            raise self._no_number(step, rate, "the loss")
        figures = {"epoch": round(step.epoch, 6), "loss": found, "learning_rate": rate}
        if self.optimization.max_grad_norm:
            figures["grad_norm"] = float(self.optimizer.clip(self.optimization.max_grad_norm))
            if not math.isfinite(figures["grad_norm"]):
                raise self._no_number(step, rate, "the norm of the gradients")
        self.optimizer.step(rate)
        self.optimizer.zero_grad()
        rows = sum(len(micro.rows) for hand in hands for micro in hand)
        return figures | self._speed(step, time.perf_counter() - began, rows)

    def _rate(self, step: int) -> float:
        return schedule.learning_rate(step, len(self.plan), self.optimization, self.training.mode)

    def _prefix(self, encoded: Encoded) -> int:
        """Return how many tokens the examples share in a row."""
        return self._shareable(encoded) if self.shares else 0

    def _shareable(self, encoded: Encoded) -> int:
        return batches.shared(encoded.prefix, encoded.lengths, self.training.batches)

    def _micro_batches(self, step: batches.Step) -> tuple[tuple[batches.MicroBatch, ...], ...]:
        learned = self.course.learned
        return batches.micro_batches(
            step,
            learned.lengths,
            learned.trained,
            self.batches,
            self.layout,
            self.training.mode,
            self.world.size,
            prefix=self.prefix,
        )

    def _batch(
        self, encoded: Encoded, micro: batches.MicroBatch, *, layout: str = "", bound: tensors.Bound | None = None
    ) -> tensors.Batch | None:
        """Return the tensors; None where there is nothing to do, and nobody waits for this process meanwhile."""
        how: dict[str, Any] = {
            "layout": layout or self.layout,
            "pad_id": self.tokenizer.pad_token_id,
            "device": self.world.device,
            "bound": bound,
        }
        batch = tensors.collate(micro, encoded, **how)
        return tensors.idle(**how) if batch is None and parallel.is_spread(self.model) else batch

    def _speed(self, step: batches.Step, seconds: float, rows: int) -> dict[str, float]:
        """Return the figures of a step; of a shared prefix the tokens count with each example, the operations once."""
        chosen = list(step.examples)
        lengths = self.course.learned.lengths[chosen]
        tokens, trained = int(lengths.sum()), int(self.course.learned.trained[chosen].sum())
        flops = self.size.flops(lengths) - self.size.flops([self.prefix]) * (len(chosen) - rows)
        figures = {
            "tokens": tokens,
            "trained_tokens": trained,
            "seconds": seconds,
            "tokens_per_s": tokens / seconds,
            "flops_per_s": flops / seconds / self.world.size,
        }
        if self.peak:
            figures["mfu"] = figures["flops_per_s"] / self.peak
        if self.world.device.type == "cuda":
            figures["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        return figures

    def _no_number(self, step: batches.Step, rate: float, what: str) -> MagicoderError:
        """Return the error that names what to look at; nothing of this step is kept."""
        names = ", ".join(self.course.learned.id(i) for i in step.examples[:_NAMED])
        more = f" and {len(step.examples) - _NAMED} more" if len(step.examples) > _NAMED else ""
        return MagicoderError(
            f"stage {self.course.stage.name}: {what} of step {step.number} is no number (learning rate {rate:.3g}); "
            f"its examples are {names}{more}. The checkpoints before it are kept. Lower optimization.learning_rate, "
            "set optimization.max_grad_norm (1.0 is usual), or look at those examples, and train into another --out"
        )

    def _bound(self) -> tensors.Bound:
        every = (micro for step in self.plan for micro in self._micro_batches(step)[self.world.rank])
        return tensors.bound(every, self.course.learned.lengths.tolist())

    # The held-out examples.

    def _held_out(self) -> dict[str, float]:
        """Return the loss on what each stage holds out, by stage."""
        return {stage: self._loss_of(encoded) for stage, encoded in self.course.aside.items() if encoded.trained.any()}

    def _loss_of(self, aside: Encoded) -> float:
        whole = batches.Step(1, 0.0, tuple(range(len(aside))))
        settings = replace(self.training.batches, examples=len(aside))
        layout = "sorted" if self.layout == "rows" else self.layout
        prefix = self._prefix(aside)
        work = batches.micro_batches(
            whole, aside.lengths, aside.trained, settings, layout, "clean", self.world.size, prefix=prefix
        )[self.world.rank]
        bound = tensors.bound(work, aside.lengths.tolist()) if self.bound else None
        found = (self._batch(aside, micro, layout=layout, bound=bound) for micro in work)
        mine, count = loss.held_out(self.model, (batch for batch in found if batch is not None))
        total, tokens = self.world.sum_of([mine, count])
        return total / tokens

    # What is kept.

    def _keep(self) -> int:
        return max(self.training.checkpoints.keep, self.training.checkpoints.average)

    def _resume(self) -> tuple[int, dict[str, Any]]:
        checkpoint = self.checkpoints.latest(self.world, self.course.tell)
        if checkpoint is None:
            if self.checkpoints.places() and self.world.is_main:
                self.course.tell(f"stage {self.course.stage.name} begins anew: none of its checkpoints is whole")
            return 0, {"held_out_before": {}, "loss": None}
        groups = checkpoint.load(self.world)
        parallel.load(self.model, groups["model"])
        self.optimizer.load(groups["optimizer"])
        if self.world.is_main:
            self.course.tell(f"stage {self.course.stage.name} goes on after step {checkpoint.step} of {len(self.plan)}")
        return checkpoint.step, dict(checkpoint.facts)

    def _save(self, step: int, facts: dict[str, Any]) -> None:
        groups = {"model": parallel.trained(self.model), "optimizer": self.optimizer.state()}
        self._see_that_weights_are_numbers(step, groups["model"])
        self.checkpoints.save(step, groups, facts, self.world)

    def _see_that_weights_are_numbers(self, step: int, weights: Mapping[str, torch.Tensor]) -> None:
        """Raise where they are not: their checkpoint would push a good one out."""
        if self.world.any(not parallel.is_finite(weights.values())):
            raise self._no_number(self.plan[step - 1], self._rate(step), "a weight")

    def _publish(self) -> None:
        """Write the stage's model, and the mean of the last checkpoints if that is asked for."""
        self._write("model", {})
        count = self.training.checkpoints.average
        if count > 1:
            states = [c.load(self.world)["model"] for c in self.checkpoints.last(count, self.world)]
            self._write("model-average", dict(averaging.mean(states)))

    def _write(self, name: str, weights: Mapping[str, torch.Tensor]) -> None:
        """Write a model, whole or not at all; `weights` take the place of the model's own."""
        place = self.course.folder / name
        building = place.with_name(f"{name}.building")
        if self.world.is_main and building.exists():
            shutil.rmtree(building)
        try:
            saving.save(
                self.model,
                self.tokenizer,
                building,
                world=self.world,
                adapter=self.training.adapter,
                template=self.training.examples.template,
                weights=weights,
            )
            if self.world.is_main:
                with explained(building):
                    sync_tree(building)
                    swap(building, place)
        except StoreError:
            shutil.rmtree(building, ignore_errors=True)  # gives back what room it took
            raise

    @contextlib.contextmanager
    def _told(self, after: int) -> Iterator[Tell]:
        """Yield who is told a step's figures; process 0 writes them down."""
        if not self.world.is_main:
            yield _silent
            return
        run = f"{self.training.name}-{self.course.stage.name}"
        with metrics.opened(self.course.folder, after=after, boards=self.training.boards, run=run) as written:
            yield lambda step, figures: written.write(step, figures) if figures else None


def _silent(_step: int, _figures: dict[str, float]) -> None:
    """Say nothing."""


def _named(losses: dict[str, float]) -> dict[str, float]:
    return {f"{HELD_OUT}{stage}": loss for stage, loss in losses.items()}


def _is_due(every: int, step: int) -> bool:
    return every > 0 and step % every == 0


def _note(figures: dict[str, float]) -> str:
    mfu = f", MFU {100 * figures['mfu']:.0f} %" if "mfu" in figures else ""
    return f"loss {figures['loss']:.4f}, {figures['tokens_per_s']:,.0f} tokens/s{mfu}"


@contextlib.contextmanager
def _explained(course: Course) -> Iterator[None]:
    """Turn a lack of memory, or of an operator that adds in one order, into an error that says what to change."""
    try:
        yield
    except RuntimeError as e:
        if "deterministic implementation" in str(e):
            raise MagicoderError(
                f"stage {course.stage.name}: {str(e).splitlines()[0]}. Set machine.deterministic: false; a run that is "
                "gone on with then equals one never stopped up to rounding only"
            ) from e
        if not isinstance(e, torch.OutOfMemoryError):
            raise
        tokens = max(course.stage.max_length, course.training.batches.micro_batch_tokens // 2)
        smaller = f"batches.micro_batch_tokens: {tokens}, or "
        if course.training.layout == "rows":
            smaller = "batches.micro_batch_rows: 1, or "
        if course.training.is_exact:  # the size of micro-batches decides the result
            smaller = ""
        raise MagicoderError(
            f"stage {course.stage.name} does not fit into the GPU's memory ({str(e).splitlines()[0]}). Set {smaller}"
            "machine.checkpointing: true, or several GPUs with machine.strategy: fsdp2, and run again: it goes on from "
            "the last checkpoint. `magicoder train RECIPE --plan` says what fits"
        ) from e
