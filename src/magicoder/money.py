"""Money: what a request can cost at most, a cap that holds across crashes, and forecasts from a sample of prompts.

    prices      a dated table, the user's own over it (`magicoder.prices`)
    worst_case  the most that one request can be billed
    Budget      spent + reserved ≤ limit, at every moment, also over kills and power cuts
    estimate    tokens and dollars of a whole run, low, likely and high
    forecast    seeds that are needed for so many rows
    ledger_rows what each reason for rejecting cost

All sums are whole nano-dollars, rounded up (see `Price.nanos`).
"""

import fcntl
import math
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import orjson

from magicoder.errors import MagicoderError, RecipeError, StoreError
from magicoder.prices import (
    NANOS,
    Price,
    check_bounded,
    completion_bound,
    price_of,
    price_of_model,
    prompt_bound,
    worst_case,
    worst_nanos,
)
from magicoder.records import Completion, Prompt
from magicoder.store import explained, write_atomic
from magicoder.tokens import TokenCounter, tokenizer

__all__ = [
    "Budget",
    "Estimate",
    "LedgerRow",
    "Price",
    "TokenCounter",
    "check_bounded",
    "estimate",
    "forecast",
    "ledger_rows",
    "price_of",
    "price_of_model",
    "prompt_bound",
    "tokenizer",
    "worst_case",
]

_STEPS: Final = 100
_VERSION: Final = 1
_ONE: Final = Fraction(1)
_Z90: Final = 1.645  # of the normal distribution: 90 % lie within


@dataclass(slots=True)
class _Reservation:
    """What the attempt under way for one ticket may be billed, and the bounds of its tokens before any factor."""

    nanos: int
    prompt_tokens: int
    completion_tokens: int | None


class Budget:
    """A hard cap on spending: a request is sent only when its worst case fits under the limit. Implements `Purse`.

    At every moment spent + outstanding ≤ limit, where *outstanding* is the worst case of what is on its way. A reported
    usage settles a reservation at what it really cost; where a server reports none, the worst case stands.

    It survives `kill -9` and power cuts without a sync per request: a small file holds a high-water mark D ≥ spent +
    outstanding, on the disk before any request that needs it is sent. D rises in steps of a hundredth of the limit (or
    one reservation, if that is more), never above the limit. A clean end sets it back to what was spent. After a kill
    everything up to D counts as spent: at most one step and the worst case of what was in flight too much, never
    too little. The same file with a higher limit goes on where it stopped.

    What a server bills beyond the worst case (hidden reasoning outside `max_tokens`, a prompt it adds) is counted
    in full, and later reservations of this run are larger by the greatest such factor seen. Only by that excess,
    on requests already sent, can the bill exceed the limit.

    One thread at a time. Amounts are in nano-dollars inside, in dollars outside.
    """

    def __init__(self, path: Path, limit: int, price: Price, spent: int) -> None:
        self._path = path
        self._limit = limit
        self._price = price
        self._spent = spent
        self._mark = spent
        self._outstanding = 0
        self._tickets: dict[int, _Reservation] = {}
        self._prompt_factor = self._completion_factor = _ONE

    @classmethod
    @contextmanager
    def opened(cls, path: Path, limit_usd: float, price: Price | None) -> Iterator["Budget"]:
        """Open the budget kept in the file `path`, or begin one there.

        Raises:
            RecipeError: the price is not known, or the limit is no amount of money.
            StoreError: another process spends from it, it is damaged, or it cannot be written.
        """
        if price is None:
            raise RecipeError(
                "the price of this teacher's model is not known, so a budget in dollars cannot be kept: set "
                "usd_per_million_prompt_tokens and usd_per_million_completion_tokens of the teacher "
                "(0 for a server of your own)"
            )
        if not (math.isfinite(limit_usd) and limit_usd >= 0):
            raise RecipeError(f"a budget is an amount in US dollars such as 20 or 0.5, not {limit_usd}")
        with _locked(path):
            with explained(path):
                spent = _read(path)
            budget = cls(path, math.floor(limit_usd * NANOS), price, spent)
            try:
                yield budget
            except BaseException as e:
                try:
                    budget._close()
                except (OSError, MagicoderError) as second:  # the mark on the disk is high enough without it
                    e.add_note(f"the budget's file was left as it is: {second}")
                raise
            budget._close()

    def reserve(self, ticket: int, prompt: Prompt, body_bytes: int) -> bool:
        """Set aside the most that `prompt` can cost; False if there is no room for it now.

        Raises:
            RecipeError: nothing bounds the answer.
            StoreError: the mark cannot be written; nothing is set aside.
        """
        assert ticket not in self._tickets, f"ticket {ticket} is reserved already"
        reservation = self._reservation(prompt, body_bytes)
        if not self._set_aside(reservation.nanos):
            return False
        self._tickets[ticket] = reservation
        return True

    def settle(self, ticket: int, completion: Completion | None, *, maybe_paid: bool = False) -> None:
        """Replace a reservation by what was spent: the completion's tokens, all of it if `maybe_paid`, else nothing.

        A part of the usage that the server did not report counts at its worst.
        """
        reservation = self._tickets[ticket]
        # Spent first, so that an interrupt in between leaves too much rather than too little.
        if completion is not None:
            self._spent += self._actual(reservation, completion)
        elif maybe_paid:
            self._spent += reservation.nanos
        self._outstanding -= reservation.nanos
        del self._tickets[ticket]
        if self._spent + self._outstanding > self._mark:  # billed beyond the worst case
            self._put_mark(self._spent + self._outstanding)

    def again(self, ticket: int) -> bool:
        """Count the last attempt at `ticket` as paid in full, and set aside another, if there is room for it.

        Raises:
            StoreError: the mark cannot be written; nothing is set aside.
        """
        reservation = self._tickets[ticket]
        self._spent += reservation.nanos
        self._outstanding -= reservation.nanos
        reservation.nanos = 0  # nothing is under way for it now
        again = self._bound(reservation.prompt_tokens, reservation.completion_tokens)
        if not self._set_aside(again):
            return False
        reservation.nanos = again
        return True

    def affords_nothing(self, prompt: Prompt, body_bytes: int) -> bool:
        """Say whether `prompt` would not fit even when everything on its way turned out to be free."""
        return self._spent + self._reservation(prompt, body_bytes).nanos > self._limit

    @property
    def limit_usd(self) -> float:
        """The cap."""
        return self._limit / NANOS

    @property
    def spent_usd(self) -> float:
        """What was spent under this file, by this run and earlier ones; rounded up and never below the bill."""
        return self._spent / NANOS

    @property
    def outstanding_usd(self) -> float:
        """The worst case of what is on its way."""
        return self._outstanding / NANOS

    @property
    def remaining_usd(self) -> float:
        """What can still be set aside."""
        return max(0, self._limit - self._spent - self._outstanding) / NANOS

    @property
    def note(self) -> str:
        """A few words for a progress line."""
        return f"${self.spent_usd:,.2f} of ${self.limit_usd:,.2f} spent"

    def _reservation(self, prompt: Prompt, body_bytes: int) -> _Reservation:
        tokens = prompt_bound(prompt, body_bytes), completion_bound(prompt)
        return _Reservation(self._bound(*tokens), *tokens)

    def _bound(self, prompt_tokens: int, completion_tokens: int | None) -> int:
        if self._prompt_factor > 1:
            prompt_tokens = math.ceil(prompt_tokens * self._prompt_factor)
        if completion_tokens is not None and self._completion_factor > 1:
            completion_tokens = math.ceil(completion_tokens * self._completion_factor)
        return worst_nanos(self._price, prompt_tokens, completion_tokens)

    def _set_aside(self, nanos: int) -> bool:
        needed = self._spent + self._outstanding + nanos
        if needed > self._limit:
            return False
        if needed > self._mark:
            step = max(self._limit // _STEPS, nanos)
            self._put_mark(max(needed, min(self._limit, self._mark + step)))
        self._outstanding += nanos
        return True

    def _actual(self, reservation: _Reservation, completion: Completion) -> int:
        """Return what a completion cost, and learn from a count beyond the bound."""
        most = reservation.completion_tokens or 0
        prompt_tokens = completion.prompt_tokens or reservation.prompt_tokens
        completion_tokens = completion.completion_tokens or most
        self._prompt_factor = max(self._prompt_factor, Fraction(prompt_tokens, reservation.prompt_tokens))
        if most:
            self._completion_factor = max(self._completion_factor, Fraction(completion_tokens, most))
        return self._price.nanos(prompt_tokens, completion_tokens)

    def _put_mark(self, mark: int) -> None:
        with explained(self._path):
            _write(self._path, mark)
        self._mark = mark

    def _close(self) -> None:
        final = self._spent + self._outstanding  # what nobody settled may be billed yet
        if final != self._mark:
            self._put_mark(final)


def _read(path: Path) -> int:
    if not path.exists():
        return 0
    try:
        value = orjson.loads(path.read_bytes())
        version, mark = value["budget"], value["nano_usd"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        version, mark = _VERSION, None
    if version != _VERSION:
        raise StoreError(f"the budget in {path} is of another version of magicoder; use the one that made it")
    if type(mark) is not int or mark < 0:
        raise StoreError(f"the budget in {path} is damaged; look up what was spent, then delete the file to begin anew")
    return mark


def _write(path: Path, mark: int) -> None:
    write_atomic(path, orjson.dumps({"budget": _VERSION, "nano_usd": mark}) + b"\n")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock beside `path`, which itself is replaced at every write."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if not isinstance(e, BlockingIOError):
                raise StoreError(f"the file system of {path} cannot lock files ({e}); put it on a local disk") from e
            holder = os.read(lock, 32).decode("ascii", "replace").strip() or "unknown"
            raise StoreError(
                f"another magicoder run (process {holder}) is spending from the budget {path}; wait for it to end"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


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
