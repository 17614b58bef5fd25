"""Money: what a run will cost, forecast from a sample of prompts, and what it went to.

    estimate    tokens and dollars of a whole run, low, likely and high
    forecast    seeds that are needed for so many rows
    ledger_rows what each reason for rejecting cost

Prices stand in `magicoder.prices`; `magicoder.budget` caps what is spent.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from magicoder.prices import NANOS, Price, completion_bound, worst_case
from magicoder.records import Prompt

_Z90: Final = 1.645  # of the normal distribution: 90 % lie within

ENOUGH_ANSWERS: Final = 30
"""From so many earlier answers on, their lengths say more than the defaults."""

DEFAULT_LENGTHS: Final = (300, 600, 1100)
"""Completion tokens of an answer, low, likely and high, where no earlier ones are known.

Likely: the paper's first stage trains 75,197 rows for 2 epochs on about 90 million tokens (table 4), 600 a row. Low is
half of it; high is about the mean of 120 recorded OSS-Instruct answers of a wordy teacher (1,060).
"""

_CHAT_PER_MESSAGE: Final = 4  # likely values, unlike the bounds above (OpenAI's cookbook: 3 and a role)
_CHAT_PER_REQUEST: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What `requests` requests will come to; low and high are 90 % or quantile limits, not bounds.

    prompt_*         from the sample, with the uncertainty of drawing it
    completion_*     if every answer had the 10 % quantile, the mean, the 90 % quantile of the lengths in `method`
    completion_most  if every answer were cut off at max_tokens; None if nothing limits them
    usd_*            None where the price is not known; `usd_most` is the sum of all worst cases, which a budget needs
                     at most
    method           how tokens were counted and where the lengths of answers come from
    """

    requests: int
    prompt_tokens: int
    prompt_low: int
    prompt_high: int
    completion_low: int
    completion_likely: int
    completion_high: int
    completion_most: int | None
    usd_low: float | None
    usd_likely: float | None
    usd_high: float | None
    usd_most: float | None
    method: str


def estimate(
    prompts: Sequence[Prompt],
    total: int,
    price: Price | None,
    count_tokens: Callable[[str], int],
    lengths: Sequence[int] = (),
) -> Estimate:
    """Estimate `total` requests like those in the sample `prompts`.

    `lengths` are the completion tokens of earlier answers of this model; fewer than 30 are not used, `DEFAULT_LENGTHS`
    are. An answer cannot be longer than its max_tokens. Hidden reasoning is in the estimate only as far as it is in
    `lengths`.
    """
    counted = getattr(count_tokens, "method", "the given tokenizer")
    if not prompts or total <= 0:
        zero = None if price is None else 0.0
        return Estimate(
            requests=max(0, total),
            **dict.fromkeys(("prompt_tokens", "prompt_low", "prompt_high"), 0),
            **dict.fromkeys(("completion_low", "completion_likely", "completion_high", "completion_most"), 0),
            **dict.fromkeys(("usd_low", "usd_likely", "usd_high", "usd_most"), zero),
            method=f"tokens by {counted}; no prompts to go by",
        )
    sizes = [_likely_prompt_tokens(p, count_tokens) for p in prompts]
    mean = statistics.fmean(sizes)
    spread = statistics.stdev(sizes) if len(sizes) > 1 else 0.0
    # Drawn without replacement: a sample of everything is certain.
    left_out = max(0.0, 1.0 - len(sizes) / total)
    margin = _Z90 * spread * math.sqrt(left_out / len(sizes))
    per_prompt = max(float(min(sizes)), mean - margin), mean, mean + margin
    per_answer, origin = _answer_lengths(prompts, lengths)
    bounds = [completion_bound(p) for p in prompts]
    most = statistics.fmean(b for b in bounds if b is not None) if None not in bounds else None

    def scaled(tokens: float) -> int:
        return round(tokens * total)

    def usd(prompt: float, completion: float) -> float | None:
        return None if price is None else price.usd(prompt, completion) * total

    worst = None
    if price is not None and (most is not None or not price.usd_per_million_completion_tokens):
        worst = statistics.fmean(worst_case(p, price, _body_bytes(p)) for p in prompts) * total
    return Estimate(
        requests=total,
        prompt_tokens=scaled(mean),
        prompt_low=scaled(per_prompt[0]),
        prompt_high=scaled(per_prompt[2]),
        completion_low=scaled(per_answer[0]),
        completion_likely=scaled(per_answer[1]),
        completion_high=scaled(per_answer[2]),
        completion_most=None if most is None else scaled(most),
        usd_low=usd(per_prompt[0], per_answer[0]),
        usd_likely=usd(mean, per_answer[1]),
        usd_high=usd(per_prompt[2], per_answer[2]),
        usd_most=worst,
        method=f"tokens by {counted}; lengths of answers from {origin}",
    )


def _likely_prompt_tokens(prompt: Prompt, count_tokens: Callable[[str], int]) -> int:
    return sum(count_tokens(m.content) + _CHAT_PER_MESSAGE for m in prompt.messages) + _CHAT_PER_REQUEST


def _body_bytes(prompt: Prompt) -> int:
    """Return about what a request's body has beside the text of its messages."""
    return sum(len(m.content.encode("utf-8", "surrogatepass")) + 40 for m in prompt.messages) + 150


def _answer_lengths(prompts: Sequence[Prompt], lengths: Sequence[int]) -> tuple[tuple[float, float, float], str]:
    """Return completion tokens a request, low, likely and high, and where they are from."""
    if len(lengths) >= ENOUGH_ANSWERS:
        tenths = statistics.quantiles(lengths, n=10, method="inclusive")
        given = tenths[0], statistics.fmean(lengths), max(tenths[-1], statistics.fmean(lengths))
        origin = f"{len(lengths):,} earlier answers of this model"
        copies = [1] * len(prompts)  # an earlier answer's tokens are those of all its texts
    else:
        given = DEFAULT_LENGTHS
        origin = "OSS-Instruct in general (too few earlier answers of this model)"
        copies = [p.n for p in prompts]
    limits = [math.inf if p.max_tokens is None else p.max_tokens * p.n for p in prompts]
    low, likely, high = (
        statistics.fmean(min(limit, length * n) for limit, n in zip(limits, copies, strict=True)) for length in given
    )
    return (low, likely, high), origin


def forecast(wanted: int, seen: int, accepted: int) -> tuple[int, int, int]:
    """Return how many more seeds `wanted` more rows take when `seen` seeds gave `accepted`: low, likely, high.

    The rule: the yield is (accepted + 0.94) / (seen + 1), which begins at the paper's own share (75,197 rows of 80,000
    seeds) and gives way to what is seen; likely is wanted / yield. Low and high hold 9 of 10 outcomes: a log-normal
    around it whose variance is that of the yield estimated so far plus that of the draws to come. A yield above one
    (several rows a seed) is handled alike.
    """
    if wanted <= 0:
        return 0, 0, 0
    rate = (accepted + _PRIOR_YIELD) / (seen + 1)
    unsure = max(1.0 - rate, 0.05)
    spread = _Z90 * math.sqrt(unsure * (1.0 / wanted + 1.0 / (rate * (seen + 1))))
    least = wanted if rate <= 1 else 1
    likely = max(least, math.ceil(wanted / rate))
    low, high = math.floor(wanted / rate * math.exp(-spread)), math.ceil(wanted / rate * math.exp(spread))
    return min(likely, max(least, low)), likely, max(likely, high)


_PRIOR_YIELD: Final = 0.94


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """What one kind of outcome of one model cost. `reason` is "" for what was kept.

    usd_per_accepted_row   its share of the cost of one accepted row; over all rows of a model they add up to the whole
                           cost of one. None without a price, or when nothing was accepted.
    """

    model: str
    reason: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    usd_per_accepted_row: float | None

    @property
    def kept(self) -> bool:
        """Whether these were accepted."""
        return not self.reason


def ledger_rows(
    outcomes: Iterable[tuple[str, str, int, int]], price_of_name: Callable[[str], Price | None]
) -> list[LedgerRow]:
    """Add up outcomes: (model, reason for rejecting or "", prompt tokens, completion tokens), one a paid dialogue.

    `price_of_name` gives the price of a model. Models in order; of each what was kept first, then by cost.
    """
    sums: dict[tuple[str, str], list[int]] = {}
    prices: dict[str, Price | None] = {}
    for model, reason, prompt_tokens, completion_tokens in outcomes:
        if model not in prices:
            prices[model] = price_of_name(model)
        price = prices[model]
        total = sums.setdefault((model, reason), [0, 0, 0, 0])
        cost = 0 if price is None else price.nanos(prompt_tokens, completion_tokens)
        for place, amount in enumerate((1, prompt_tokens, completion_tokens, cost)):
            total[place] += amount
    rows = []
    for (model, reason), (requests, prompt_tokens, completion_tokens, cost) in sums.items():
        usd = None if prices[model] is None else cost / NANOS
        accepted = sums.get((model, ""), [0])[0]
        rows.append(
            LedgerRow(
                model=model,
                reason=reason,
                requests=requests,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                usd=usd,
                usd_per_accepted_row=usd / accepted if usd is not None and accepted else None,
            )
        )
    return sorted(rows, key=lambda r: (r.model, bool(r.reason), -(r.prompt_tokens + r.completion_tokens), r.reason))
