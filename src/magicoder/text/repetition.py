"""What a dataset was deduplicated by: the facts in the manifests of deduplication, read for card and report.

A stage's facts are those of `stages/deduplicate.py`: `threshold`, `keep`, `records`, `equal` (None where equal texts
were not looked for) and `comparisons`, a list of `{compared, clusters, removed, candidate_pairs, verified_pairs,
joined_pairs, sizes, largest}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Large:
    """One of the largest clusters: how many records it has, and which one stayed."""

    kept: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One comparison of all records of a stage.

    compared     what of them: texts, samples, instructions, responses
    clusters     of two records or more; `removed` is how many records of them did not stay
    equal        records removed because their text is that of another, white space aside; None if not looked for
    sizes        sizes of clusters (`2`, `3`, `4–7`, …) and how many have them
    largest      clusters, the largest first
    """

    stage: str
    compared: str
    records: int
    equal: int | None
    clusters: int
    removed: int
    candidate_pairs: int
    verified_pairs: int
    joined_pairs: int
    sizes: tuple[tuple[str, int], ...]
    largest: tuple[Large, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """What was compared on the way; no comparison, no threshold."""

    comparisons: tuple[Comparison, ...] = ()
    threshold: float = 0.0
    keep: str = ""


def repetition(facts_of_stages: Mapping[str, Mapping[str, Any]]) -> Repetition:
    """Read the facts of a run's stages; those that compared nothing are passed over."""
    comparing = {stage: facts for stage, facts in facts_of_stages.items() if facts.get("comparisons")}
    if not comparing:
        return Repetition()
    last = list(comparing.values())[-1]
    return Repetition(
        comparisons=tuple(
            _comparison(stage, facts, number, found)
            for stage, facts in comparing.items()
            for number, found in enumerate(facts["comparisons"])
        ),
        threshold=float(last["threshold"]),
        keep=str(last["keep"]),
    )


def _comparison(stage: str, facts: Mapping[str, Any], number: int, found: Mapping[str, Any]) -> Comparison:
    return Comparison(
        stage=stage,
        compared=str(found["compared"]),
        records=int(facts["records"]),
        equal=facts["equal"] if number == 0 else None,  # they are looked for once
        clusters=int(found["clusters"]),
        removed=int(found["removed"]),
        candidate_pairs=int(found["candidate_pairs"]),
        verified_pairs=int(found["verified_pairs"]),
        joined_pairs=int(found["joined_pairs"]),
        sizes=tuple((_range(entry["from"], entry["to"]), int(entry["clusters"])) for entry in found["sizes"]),
        largest=tuple(Large(kept=str(one["kept"]), size=int(one["size"])) for one in found["largest"]),
    )


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}–{high}"
