"""Which examples a step has, and how they share micro-batches: plain numbers, known before anything is computed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One update of the weights.

    number     counts the steps of a stage from 1
    epoch      epochs done after it, e.g. 0.25
    examples   indices into the encoded examples, in order
    """

    number: int
    epoch: float
    examples: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What one process computes at once.

    rows      the examples of each row: several in a row of a packed batch, one in others; () computes nothing, so that
              every process has equally many micro-batches
    weight    what the sum of its tokens' losses is multiplied with; over all micro-batches of a step, on all processes,
              the products add up to the step's loss
    """

    rows: tuple[tuple[int, ...], ...]
    weight: float
