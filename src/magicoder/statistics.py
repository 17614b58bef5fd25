"""Scores of samples, and how sure they are: pass@k, intervals over problems, whether two models differ.

All random draws come from a given seed, so that equal results give equal figures. Pure Python: a few milliseconds for a
benchmark of a thousand problems.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

RESAMPLES: Final = 2000
SEED: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate, and the interval that holds the true value in `level` of all cases; all between 0 and 1."""

    estimate: float
    low: float
    high: float
    level: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two models on the same problems.

    difference   of the means, second minus first, with its interval by a paired bootstrap
    only_first, only_second     problems that just one of them solves, where each has one answer to a problem; else
                 problems on which it is better
    p            that a difference as large arises by chance between equal models (McNemar's exact test on these)
    """

    difference: Interval
    only_first: int
    only_second: int
    problems: int
    p: float

    @property
    def is_one(self) -> bool:
        """Whether to call it a difference: the interval leaves out zero, and the test agrees."""
        return self.p < 1 - self.difference.level and (self.difference.low > 0 or self.difference.high < 0)


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Return the chance that at least one of k answers, drawn from `samples` of which `passed` pass, does.

    The unbiased estimator 1 − C(n−c, k) / C(n, k) of the Codex paper (2107.03374, section 2.1).

    Raises:
        ValueError: fewer samples than k, or more passed than there are.
    """
    if not 0 < k <= samples or not 0 <= passed <= samples:
        raise ValueError(f"pass@{k} of {passed} in {samples}")
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)


def ranks(samples: Sequence[int]) -> tuple[int, ...]:
    """Return the k for which pass@k is worth saying: 1, 10, 100, …, as far as every problem has as many answers."""
    most = min(samples, default=0)
    return tuple(k for k in (1, 5, 10, 25, 50, 100, 200) if k <= most)


def standard_error(values: Sequence[float]) -> float:
    """Return the standard error of a mean over problems: their standard deviation by the root of their number.

    0 where there is but one. As lm-eval says it; see `mean` for an interval.
    """
    count = len(values)
    if count < 2:
        return 0.0
    middle = math.fsum(values) / count
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (count - 1) / count)


def mean(values: Sequence[float], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = SEED) -> Interval:
    """Return the mean over problems with a percentile bootstrap interval, problems being drawn with replacement.

    Where all values are equal a bootstrap sees no doubt at all; there the interval is that of the rule of succession
    (Clopper–Pearson with none or all passed), which is never empty.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("no problems")
    count, estimate = len(values), math.fsum(values) / len(values)
    if min(values) == max(values):
        doubt = 1 - ((1 - level) / 2) ** (1 / count)
        return Interval(
            estimate=estimate,
            low=max(0.0, estimate - doubt) if estimate > 0 else 0.0,
            high=min(1.0, estimate + doubt) if estimate < 1 else 1.0,
            level=level,
        )
    low, high = _percentiles(values, level, resamples, seed)
    return Interval(estimate=estimate, low=low, high=high, level=level)


def compare(
    first: Sequence[float],
    second: Sequence[float],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Compare the scores of two models on the same problems, in the same order.

    Raises:
        ValueError: no problems, or not the same number.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"{len(first)} problems beside {len(second)}")
    differences = [b - a for a, b in zip(first, second, strict=True)]
    only_first, only_second = sum(d < 0 for d in differences), sum(d > 0 for d in differences)
    estimate = math.fsum(differences) / len(differences)
    low, high = _percentiles(differences, level, resamples, seed)
    return Comparison(
        difference=Interval(estimate=estimate, low=low, high=high, level=level),
        only_first=only_first,
        only_second=only_second,
        problems=len(first),
        p=mcnemar(only_first, only_second),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p of the exact test: heads and tails of a fair coin, tossed once a problem that differs."""
    tossed = only_first + only_second
    if not tossed:
        return 1.0
    tail = sum(math.comb(tossed, i) for i in range(min(only_first, only_second) + 1))
    return float(min(1.0, 2 * tail / 2**tossed))


def _percentiles(values: Sequence[float], level: float, resamples: int, seed: int) -> tuple[float, float]:
    """Return the ends of the percentile interval of the mean."""
    distinct = sorted(set(values))
    weights = [0] * len(distinct)
    place = {value: i for i, value in enumerate(distinct)}
    for value in values:
        weights[place[value]] += 1
    rng = random.Random(f"{seed}:{len(values)}")
    count = len(values)
    means = sorted(math.fsum(rng.choices(distinct, weights, k=count)) / count for _ in range(resamples))
    tail = (1 - level) / 2
    return means[round(tail * (resamples - 1))], means[round((1 - tail) * (resamples - 1))]
