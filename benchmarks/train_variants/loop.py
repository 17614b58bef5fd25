"""What the loop adds to forward and backward."""

import contextlib
import dataclasses
import statistics
from typing import Any

from train_variants.bench import Bench
from train_variants.ours import settings_of

LOOP_STEPS = 8


class _Enough(BaseException):
    """The loop has run long enough."""


class _Tick:
    """The loop's progress: after each step a bare step over the same micro-batches, so that both see one machine.

    The bare step takes the loop's own model and optimizer, so that memory has to hold one of each.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.running: Any = None
        self.micro_batches: list[int] = []
        self.loop_s: list[float] = []
        self.bare_s: list[float] = []
        self.update_s: list[float] = []
        self.at = 0.0

    def expect(self, *_: Any) -> None:
        """Say how many there will be: nobody asks."""

    def tick(self, count: int = 1, note: str = "") -> None:
        del note
        now = self.bench.now()
        if count:
            self.loop_s.append(now - self.at)
            self._bare(self.running.plan[len(self.loop_s) - 1])
        if len(self.loop_s) == LOOP_STEPS:
            raise _Enough
        self.at = self.bench.now()

    def _bare(self, step: Any) -> None:
        from magicoder.training import loss

        running = self.running
        held = [running._batch(running.course.learned, micro) for micro in running._micro_batches(step)[0]]
        self.micro_batches.append(len(held))
        began = self.bench.now()
        for batch in held:
            loss.loss(running.model, batch).backward()
        middle = self.bench.now()
        running.optimizer.step(5e-5)
        running.optimizer.zero_grad()
        self.bare_s.append(middle - began)
        self.update_s.append(self.bench.now() - middle)


def loop(bench: Bench) -> dict[str, Any]:
    """Steps of the loop itself beside forward and backward alone of the same micro-batches, in turn."""
    from magicoder.training import loop as training_loop
    from magicoder.training import parallel, settings

    of = settings_of(bench, layout="packed", tokens=8_192)
    stage = settings.Stage(name="oss", data=("lengths",), epochs=2)
    training = settings.Training(
        name="loop",
        base=of.base,
        stages=(stage,),
        batches=dataclasses.replace(of.batches, examples=64),
        machine=of.machine,
        checkpoints=settings.Checkpoints(every_steps=0),
    )
    course = training_loop.Course(
        training=training,
        stage=stage,
        base=training.base,
        learned=bench.sets["oss"],
        aside={},
        folder=bench.folder / "stage",
        key="benchmark",
        tell=print,
    )
    course.folder.mkdir()
    clock = _Tick(bench)
    with contextlib.suppress(_Enough), parallel.start(training.machine) as world:
        clock.running = training_loop.Loop(course, world, clock, lambda: False)
        clock.running.run()
    over = [
        (whole - update - bare) / bare
        for whole, bare, update in zip(clock.loop_s[1:], clock.bare_s[1:], clock.update_s[1:], strict=True)
    ]
    count = statistics.mean(clock.micro_batches)
    return {
        "overhead": statistics.median(over),
        "overhead_of_steps": [round(value, 4) for value in over],
        "bare_s": statistics.median(clock.bare_s),
        "micro_batches": count,
        "overhead_ms_per_micro_batch": statistics.median(over) * statistics.median(clock.bare_s) / count * 1e3,
        "peak_memory_gib": bench.memory_gib(),
    }
