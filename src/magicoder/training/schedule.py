"""The learning rate of a step: linear, cosine or constant, after a linear warm-up. Plain arithmetic."""

import math

from magicoder.training.settings import Optimization


def learning_rate(step: int, total: int, optimization: Optimization, mode: str) -> float:
    """Return the learning rate of the update `step`, counted from 1, of `total`.

    `paper-exact` is what transformers' schedulers give (torch's LambdaLR, which counts from 0): the first update of a
    warmed-up run has rate 0 and moves nothing. `clean` repairs both ends: step `warmup_steps` has the peak, and neither
    the first nor the last step is lost to a rate of 0.
    """
    assert 1 <= step <= total, f"step {step} of {total}"
    if mode == "paper-exact":
        factor = _counted_from_zero(step - 1, total, optimization)
    else:
        factor = _counted_from_one(step, total, optimization)
    return optimization.learning_rate * factor


def _counted_from_zero(done: int, total: int, optimization: Optimization) -> float:
    warmup = optimization.warmup_steps
    if done < warmup:
        return done / max(1, warmup)
    if optimization.schedule == "linear":
        return max(0.0, (total - done) / max(1, total - warmup))
    if optimization.schedule == "cosine":
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((done - warmup) / max(1, total - warmup)))))
    return 1.0


def _counted_from_one(step: int, total: int, optimization: Optimization) -> float:
    warmup = max(1, optimization.warmup_steps)
    if step <= warmup:
        return step / warmup
    # One more than there are steps: the rate would be 0 at the step after the last.
    left = (total + 1 - step) / (total + 1 - warmup)
    if optimization.schedule == "linear":
        return left
    if optimization.schedule == "cosine":
        return 0.5 * (1.0 - math.cos(math.pi * left))
    return 1.0
