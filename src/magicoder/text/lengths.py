"""How long texts are, counted one by one: exact quantiles and histograms without keeping the texts."""

import math
from collections import Counter
from dataclasses import dataclass, field

QUANTILES = {"p10": 0.10, "p25": 0.25, "median": 0.50, "p75": 0.75, "p90": 0.90, "p99": 0.99}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """How many lengths lie in `first` … `last`, both included; the last bin of a histogram may be open (None)."""

    first: int
    last: int | None
    count: int


@dataclass(slots=True)
class Lengths:
    """Lengths seen so far. Memory is one counter per distinct length, whatever the number of texts."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, length: int) -> None:
        """Count one more text of this length."""
        self.counts[length] += 1

    def merge(self, other: "Lengths") -> None:
        """Count everything that `other` has counted."""
        self.counts.update(other.counts)

    @property
    def total(self) -> int:
        """How many texts were counted."""
        return self.counts.total()

    def quantile(self, q: float) -> int:
        """Return the smallest length that a share `q` of the texts does not exceed; 0 when there are none."""
        rank = max(1, math.ceil(q * self.total))
        seen = 0
        for length in sorted(self.counts):
            seen += self.counts[length]
            if seen >= rank:
                return length
        return 0

    def summary(self) -> dict[str, int | float]:
        """Return count, extremes, mean (two decimals) and quantiles; only the count when there are no texts."""
        if not self.counts:
            return {"count": 0}
        mean = sum(length * n for length, n in self.counts.items()) / self.total
        return {
            "count": self.total,
            "min": min(self.counts),
            **{name: self.quantile(q) for name, q in QUANTILES.items()},
            "max": max(self.counts),
            "mean": round(mean, 2),
        }

    def bins(self, at_most: int = 24) -> list[Bin]:
        """Return equal bins of a round width; when a long tail would flatten them, the last one is open.

        The closed bins reach to the 99th percentile, so that one enormous text does not hide the rest.
        """
        if not self.counts:
            return []
        width = _round_width(self.quantile(0.99) / at_most)
        number = self.quantile(0.99) // width + 1
        found: Counter[int] = Counter()
        for length, n in self.counts.items():
            found[min(length // width, number)] += n
        closed = [Bin(first=i * width, last=(i + 1) * width - 1, count=found[i]) for i in range(number)]
        tail = [Bin(first=number * width, last=None, count=found[number])] if found[number] else []
        return closed + tail


def line_count(text: str) -> int:
    """Return the number of lines of `text`; a final newline starts no further line."""
    return text.count("\n") + (not text.endswith("\n")) if text else 0


def _round_width(width: float) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, 50, … that is at least `width`."""
    if width <= 1:
        return 1
    power: int = 10 ** math.floor(math.log10(width))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= width)
