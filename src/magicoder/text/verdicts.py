"""What came of running the rows of a dataset, counted as they go by."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from magicoder.records import Sample


@dataclass(slots=True)
class Verdicts:
    """How many rows came to what.

    outcomes     rows by what came of running them ("": nothing to run)
    checked      rows by what their outcome rests on
    strengths    how many rows' tests were tested themselves, and the sum of their shares of noticed faults
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    strengths: tuple[int, float] = (0, 0.0)

    def add(self, row: Sample) -> None:
        """Count a row."""
        self.outcomes[row.outcome] += 1
        if row.checked:
            self.checked[row.checked] += 1
        if row.test_strength is not None:
            self.strengths = (self.strengths[0] + 1, self.strengths[1] + row.test_strength)

    @property
    def strength(self) -> float | None:
        """The mean share of faults that tests noticed, None where none were put in."""
        return self.strengths[1] / self.strengths[0] if self.strengths[0] else None

    def summary(self) -> dict[str, Any]:
        """Return the figures, most frequent first."""
        strength = None if self.strength is None else round(self.strength, 4)
        return {"outcomes": _ranked(self.outcomes), "checked": _ranked(self.checked), "test_strength": strength}


def _ranked(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
