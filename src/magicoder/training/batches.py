"""Which examples a step has, and how they share micro-batches: plain numbers, known before anything is computed."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from magicoder.errors import RecipeError
from magicoder.training import order, packing
from magicoder.training.settings import Batches

ROW_MULTIPLE: Final = 64
"""Packed rows are padded to a multiple of this many tokens."""
LEAST_PREFIX: Final = 1 / 32
"""Of the mean length; a shorter prefix is not shared."""
_STEPS_TRIED: Final = 24
_SIZES_TRIED: Final = 32


@dataclass(frozen=True, slots=True)
class Step:
    """One update of the weights.

    number     counts the steps of a stage from 1
    epoch      epochs done after it, e.g. 0.25
    examples   indices into the encoded examples, in order
    sizes      of the original's micro-batches, which the processes take in turn (`paper-exact`); (): the layout decides
    """

    number: int
    epoch: float
    examples: tuple[int, ...]
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What one process computes at once.

    rows      the examples of each row: several in a row of a packed batch, one in others; () computes nothing, so that
              every process has equally many micro-batches
    weight    what the sum of its tokens' losses is multiplied with; over all micro-batches of a step, on all processes,
              the products add up to the step's loss
    prefix    tokens that all examples begin with and that stand once in a packed row
    """

    rows: tuple[tuple[int, ...], ...]
    weight: float
    prefix: int = 0

    @property
    def examples(self) -> tuple[int, ...]:
        """The examples of all rows, in order."""
        return tuple(itertools.chain.from_iterable(self.rows))

    def tokens(self, lengths: Any) -> list[int]:
        """Return the tokens of each row, without padding."""
        return [int(sum(lengths[i] for i in row)) - self.prefix * max(0, len(row) - 1) for row in self.rows]


class Plan(Sequence[Step]):
    """The steps of a stage.

    unused   examples (each epoch's counted) that no step sees, because they do not fill one
    """

    def __init__(
        self, stream: NDArray[np.int64], ends: Sequence[int], per_epoch: float, sizes: Sequence[tuple[int, ...]] = ()
    ) -> None:
        """`stream` holds the examples of all epochs, `ends` where each step ends in it, `per_epoch` examples of one."""
        self._stream = stream
        self._ends = [0, *ends]
        self._per_epoch = per_epoch
        self._sizes = sizes
        self.unused = len(stream) - self._ends[-1]

    @property
    def seen(self) -> NDArray[np.int64]:
        """The examples of all steps, in order; one of several epochs as often as it is learned."""
        return self._stream[: self._ends[-1]]

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> "list[Step]": ...
    def __getitem__(self, index: int | slice) -> "Step | list[Step]":
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"step {index} of {len(self)}")
        start, end = self._ends[index : index + 2]
        return Step(
            number=index + 1,
            epoch=end / self._per_epoch,
            examples=tuple(self._stream[start:end].tolist()),
            sizes=self._sizes[index] if self._sizes else (),
        )


def plan(count: int, epochs: int, batches: Batches, mode: str, random_seed: int, *, world: int | None = None) -> Plan:
    """Return the steps over `count` examples.

    `clean`: the epochs, each in an order of its own, follow each other in one stream, and a step is exactly
    `batches.examples` of it; there are `epochs * (count // examples)` steps. Fewer examples than that: one step an
    epoch, with all of them.

    `paper-exact`: what transformers 4.35 does with micro-batches of `batches.micro_batch_rows` on `world` processes
    (docs/training-data.md), `batches.processes` where that is None: the run to reproduce. `micro_batches` spreads
    its steps over any number of processes.

    Raises:
        RecipeError: there is nothing to train on, or the original cannot form steps of that many examples.
    """
    if count < 1:
        raise RecipeError(
            "no example is left to train on; see the report of the encoded data for why they were dropped"
        )
    if mode == "paper-exact":
        return _original_plan(count, epochs, batches, random_seed, world or batches.processes)
    stream = np.concatenate([order.shuffled(count, epoch, random_seed) for epoch in range(epochs)])
    examples = min(count, batches.examples)
    steps = epochs * (count // examples)
    return Plan(stream, [examples * (i + 1) for i in range(steps)], count)


def _original_plan(count: int, epochs: int, batches: Batches, random_seed: int, world: int) -> Plan:
    """Return the steps as the Trainer's loop makes them.

    A round is one micro-batch on every process. Rounds are counted over all epochs, and a step ends at each multiple of
    the accumulation; there are `epochs * (rounds of an epoch // accumulation)` steps, at least one an epoch. An epoch
    of no more rounds than the accumulation ends a step with its last round, too.
    """
    rows = batches.micro_batch_rows
    accumulation, rest = divmod(batches.examples, rows * world)
    if rest or not accumulation:
        raise RecipeError(
            f"batches.examples is {batches.examples}, which is no multiple of {rows * world}: {rows} rows on each of "
            f"{world} processes at once; change batches.examples or batches.micro_batch_rows"
        )
    orders = order.as_the_original(count, epochs, random_seed, world)
    if world > 1:
        orders = [order.filled_up(one, rows * world) for one in orders]
    per_epoch = len(orders[0])
    sizes = [min(rows, per_epoch - start) for start in range(0, per_epoch, rows)]
    rounds = len(sizes) // world
    steps = epochs * max(1, rounds // accumulation)
    ends = [
        at
        for at in range(1, epochs * rounds + 1)
        if at % accumulation == 0 or (rounds <= accumulation and at % rounds == 0)
    ][:steps]
    starts = order.cut(sizes * epochs)
    return Plan(
        np.concatenate(orders),
        [starts[end * world] for end in ends],
        per_epoch,
        [tuple((sizes * epochs)[start * world : end * world]) for start, end in itertools.pairwise([0, *ends])],
    )


def micro_batches(  # noqa: PLR0917 - the step, the examples, the settings: always in this order
    step: Step,
    lengths: Any,
    trained: Any,
    batches: Batches,
    layout: str,
    mode: str,
    world: int = 1,
    *,
    prefix: int = 0,
) -> tuple[tuple[MicroBatch, ...], ...]:
    """Return the micro-batches of a step, `[process][k]`; every process has equally many.

    lengths, trained   tokens and trained tokens of every encoded example (`Encoded`)
    layout             the one that was chosen, where `batches.layout` is `auto`; `paper-exact` has rows as they come
    prefix             tokens that stand once in a packed row (`shared`)

    The weight is one over the trained tokens of the whole step (`clean`), or one over the micro-batches of a full step
    times the trained tokens of this one: the mean of means (`paper-exact`; of a micro-batch without any it is 0, where
    the original's loss is no number).

    Raises:
        RecipeError: an example is longer than `batches.micro_batch_tokens`.
    """
    examples = step.examples
    own: list[int] = np.asarray(lengths)[list(examples)].tolist()
    targets: list[int] = np.asarray(trained)[list(examples)].tolist()
    exact = mode == "paper-exact"
    prefix = prefix if layout == "packed" and not exact else 0
    rows = _as_they_come(step, batches) if exact else _laid_out(own, batches, layout, world, prefix)
    whole = sum(targets)
    of_a_step = batches.examples // batches.micro_batch_rows

    def weight(row_set: list[list[int]]) -> float:
        total = of_a_step * sum(targets[i] for row in row_set for i in row) if exact else whole
        return 1.0 / total if total and row_set else 0.0

    made = [
        MicroBatch(tuple(tuple(examples[i] for i in row) for row in row_set), weight(row_set), prefix if row_set else 0)
        for row_set in rows
    ]
    made += [MicroBatch((), 0.0)] * (-len(made) % world)
    if exact or layout == "rows":
        return tuple(tuple(made[rank::world]) for rank in range(world))
    costs = [_cost(micro, lengths) for micro in made]
    return tuple(tuple(made[k] for k in hand) for hand in packing.dealt(costs, world))


def _as_they_come(step: Step, batches: Batches) -> list[list[list[int]]]:
    rows = batches.micro_batch_rows
    count = len(step.examples)
    sizes = step.sizes or [min(rows, count - start) for start in range(0, count, rows)]
    starts = order.cut(sizes)
    return [[[i] for i in range(start, end)] for start, end in itertools.pairwise(starts)]


def _laid_out(lengths: list[int], batches: Batches, layout: str, world: int, prefix: int) -> list[list[list[int]]]:
    """Return the rows of each micro-batch as positions in the step, a multiple of `world` micro-batches."""
    if layout == "rows":
        return _as_they_come(Step(0, 0.0, tuple(range(len(lengths)))), batches)
    longest, budget = max(lengths), batches.micro_batch_tokens
    if longest > budget:
        raise RecipeError(
            f"an example has {longest} tokens, more than batches.micro_batch_tokens ({budget}); raise that, or cut "
            f"examples with max_length: {budget}"
        )
    if layout == "sorted":
        return [[[i] for i in group] for group in packing.of_like_length(lengths, budget, world)]
    assert layout == "packed", layout
    rows = packing.packed([length - prefix for length in lengths], budget - prefix, world)
    return [[sorted(row)] if row else [] for row in rows]


def _cost(micro: MicroBatch, lengths: Any) -> int:
    """Return the tokens that a micro-batch computes, padding included."""
    return len(micro.rows) * max(micro.tokens(lengths), default=0)


def shared(prefix: int, lengths: Any, batches: Batches) -> int:
    """Return how many tokens to compute once a row, where examples of these lengths have `prefix` in common.

    None of a short prefix: every layer copies its keys for every example. That was reckoned as a hundredth of the time;
    on an H200 it was not seen (docs/decisions/0008).
    """
    return prefix if batches.share_prefix and prefix >= LEAST_PREFIX * float(np.mean(lengths)) else 0


def row_tokens(plan: Plan, lengths: Any, batches: Batches, world: int = 1, *, prefix: int = 0) -> int:
    """Return the size of packed rows, at most `batches.micro_batch_tokens`, that costs least when all have one size.

    Steps differ in tokens by a few percent, so that at any one size some need a row more than others, nearly empty. The
    sizes tried are those from half to the whole; each is packed for some steps of the plan, which takes about a second.
    Compiled models want rows of one size: give them this as `micro_batch_tokens`.
    """
    sizes = np.asarray(lengths)
    longest, budget = int(sizes.max()), batches.micro_batch_tokens
    tried = [
        (sizes[list(plan[i].examples)] - prefix).tolist()
        for i in range(0, len(plan), max(1, len(plan) // _STEPS_TRIED))
    ]

    def cost(capacity: int) -> int:
        rows = sum(len(packing.packed(own, capacity - prefix, world)) for own in tried)
        return rows * (capacity + packing.GROUP_TOKENS)

    step = max(1, budget // (2 * _SIZES_TRIED) // ROW_MULTIPLE) * ROW_MULTIPLE
    candidates = [size for size in range(budget, budget // 2 - 1, -step) if size >= longest]
    return min(candidates, key=cost, default=budget)


@dataclass(frozen=True, slots=True)
class Fill:
    """What micro-batches hold.

    tokens    of the examples
    shared    those of them that are not computed, because another example of the row has them
    computed  padding included
    """

    tokens: int = 0
    shared: int = 0
    computed: int = 0

    def __add__(self, other: "Fill") -> "Fill":
        return Fill(self.tokens + other.tokens, self.shared + other.shared, self.computed + other.computed)

    @property
    def useful(self) -> float:
        """The share of what is computed that is no padding."""
        return (self.tokens - self.shared) / max(1, self.computed)


def fill(micro: Sequence[Sequence[MicroBatch]], lengths: Any, layout: str, *, row_tokens: int = 0) -> Fill:
    """Return what a step's micro-batches hold.

    Packed rows of a step are padded to the longest of them, rounded up to `ROW_MULTIPLE`, or to `row_tokens`, where all
    steps have rows of one size; others to the longest of their micro-batch.
    """
    every = [one for hand in micro for one in hand if one.rows]
    tokens = int(sum(np.asarray(lengths)[list(one.examples)].sum() for one in every))
    packs = [one.tokens(lengths) for one in every]
    shared = tokens - sum(map(sum, packs))
    if layout == "packed":
        longest = max((max(pack) for pack in packs), default=0)
        row = row_tokens or -(-longest // ROW_MULTIPLE) * ROW_MULTIPLE
        return Fill(tokens, shared, row * sum(map(len, packs)))
    return Fill(tokens, shared, sum(len(pack) * max(pack) for pack in packs))
