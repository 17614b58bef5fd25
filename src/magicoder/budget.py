"""A cap on spending that holds across crashes: spent + reserved ≤ limit, at every moment.

All sums are whole nano-dollars, rounded up (see `Price.nanos`).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import orjson

from magicoder.errors import MagicoderError, RecipeError, StoreError
from magicoder.locks import held
from magicoder.prices import NANOS, Price, check_bounded, completion_bound, price_of, prompt_bound, worst_nanos
from magicoder.protocols import LLM
from magicoder.records import Completion, Prompt
from magicoder.store import explained, write_atomic

_STEPS: Final = 100
_VERSION: Final = 1
_ONE: Final = Fraction(1)


@dataclass(slots=True)
class _Reservation:
    """What the attempt under way for one ticket may be billed, and the bounds of its tokens before any factor.

    `counted` is what of it was counted as spent before this run.
    """

    nanos: int
    prompt_tokens: int
    completion_tokens: int | None
    counted: int = 0


class Budget:
    """A hard cap on spending: a request is sent only when its worst case fits under the limit. Implements `Purse`.

    At every moment spent + outstanding ≤ limit, where *outstanding* is the worst case of what is on its way. A reported
    usage settles a reservation at what it really cost; where a server reports none, the worst case stands.

    It survives `kill -9` and power cuts without a sync per request: a small file holds a high-water mark D ≥ spent +
    outstanding, on the disk before any request that needs it is sent. D rises in steps of a hundredth of the limit (or
    one reservation, if that is more), never above the limit. A clean end sets it back to what was spent. After a kill
    everything up to D counts as spent: at most one step and the worst case of what was in flight too much, never
    too little. The same file with a higher limit goes on where it stopped.

    What goes on at the endpoint without us (batches) is counted once: after a clean end its reservations stand in the
    file by the keys of the requests, and whoever asks again takes them over; after a kill it is within D already.

    What a server bills beyond the worst case (hidden reasoning outside `max_tokens`, a prompt it adds) is counted
    in full, and later reservations of this run are larger by the greatest such factor seen. Only by that excess,
    on requests already sent, can the bill exceed the limit.

    One thread at a time. Amounts are in nano-dollars inside, in dollars outside.
    """

    def __init__(self, path: Path, limit: int, price: Price, spent: int, left: dict[str, int]) -> None:
        self._path = path
        self._limit = limit
        self._price = price
        self._spent = spent
        self._mark = spent
        self._outstanding = 0
        self._left = left  # worst cases, by key, of what an earlier run left under way; part of what is spent
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
                spent, left = _read(path)
                if left:
                    _write(path, spent)  # after a kill nobody knows any more which of them are settled
            budget = cls(path, math.floor(limit_usd * NANOS), price, spent, left)
            try:
                yield budget
            except BaseException as e:
                try:
                    budget._close()
                except (OSError, MagicoderError) as second:  # the mark on the disk is high enough without it
                    e.add_note(f"the budget's file was left as it is: {second}")
                raise
            budget._close()

    @classmethod
    def for_teacher(
        cls, path: Path, limit_usd: float, teacher: LLM, prices: Path | None, warn: Callable[[str], None]
    ) -> AbstractContextManager["Budget"]:
        """Open the budget in `path` for what `teacher` costs, and warn where it may not mean what it seems to.

        Raises:
            RecipeError: a field of the teacher can make a request cost any amount; or as in `opened`.
        """
        check_bounded(getattr(teacher, "extra_body", {}))
        price = price_of(teacher, prices)
        if price is not None and price.is_free:
            warn("the budget never binds: this teacher costs nothing as far as is known")
        elif price is not None and not price.verified:
            warn(f"the budget counts with an unverified price ({price.source}, {price.as_of})")
        return cls.opened(path, limit_usd, price)

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

    def adopt(self, ticket: int, key: bytes, prompt: Prompt, body_bytes: int) -> None:
        """Take on a prompt that is under way already, with the reservation that an earlier run has left for it.

        Without one it was counted before a kill, or by another run; then only a bill beyond its worst case counts.
        """
        reservation = self._reservation(prompt, body_bytes)
        left = self._left.pop(key.hex(), None)
        if left is None:
            reservation.counted, reservation.nanos = reservation.nanos, 0
        else:
            reservation.nanos = left
            self._spent -= left
            self._outstanding += left
        self._tickets[ticket] = reservation

    def leave(self, keys: Mapping[int, bytes]) -> None:
        """Keep, at the end, the reservations of these tickets for a later run, whose requests have these keys."""
        reserved = ((key, self._tickets[ticket].nanos) for ticket, key in keys.items())
        self._left |= {key.hex(): nanos for key, nanos in reserved if nanos}

    def settle(self, ticket: int, completion: Completion | None, *, maybe_paid: bool = False) -> None:
        """Replace a reservation by what was spent: the completion's tokens, all of it if `maybe_paid`, else nothing.

        A part of the usage that the server did not report counts at its worst.
        """
        reservation = self._tickets[ticket]
        # Spent first, so that an interrupt in between leaves too much rather than too little.
        if completion is not None:
            self._spent += max(0, self._actual(reservation, completion) - reservation.counted)
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
        return self.cover(ticket)

    def cover(self, ticket: int) -> bool:
        """Set an attempt at `ticket` aside if none is, as for what was adopted; False if there is no room for it.

        Raises:
            StoreError: the mark cannot be written; nothing is set aside.
        """
        reservation = self._tickets[ticket]
        if reservation.nanos:
            return True
        nanos = self._bound(reservation.prompt_tokens, reservation.completion_tokens)
        if not self._set_aside(nanos):
            return False
        reservation.nanos, reservation.counted = nanos, 0
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
        if final != self._mark or self._left:
            with explained(self._path):
                _write(self._path, final, self._left)


def _read(path: Path) -> tuple[int, dict[str, int]]:
    """Return the mark, and what of it is set aside for what was left under way."""
    if not path.exists():
        return 0, {}
    try:
        value = orjson.loads(path.read_bytes())
        version, mark, left = value["budget"], value["nano_usd"], value.get("under_way", {})
        amounts = [mark, *left.values()]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        version, mark, left, amounts = _VERSION, 0, {}, [None]
    if version != _VERSION:
        raise StoreError(f"the budget in {path} is of another version of magicoder; use the one that made it")
    if any(type(amount) is not int or amount < 0 for amount in amounts) or sum(left.values()) > mark:
        raise StoreError(f"the budget in {path} is damaged; look up what was spent, then delete the file to begin anew")
    return mark, left


def _write(path: Path, mark: int, left: Mapping[str, int] | None = None) -> None:
    under_way = {"under_way": left} if left else {}
    write_atomic(path, orjson.dumps({"budget": _VERSION, "nano_usd": mark, **under_way}) + b"\n")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock beside `path`, which itself is replaced at every write."""
    with ExitStack() as stack:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(path.with_name(path.name + ".lock"), lambda holder: _busy(path, holder)))
        yield


def _busy(path: Path, holder: str) -> str:
    return f"another magicoder run (process {holder}) is spending from the budget {path}; wait for it to end"
