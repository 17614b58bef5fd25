"""What a run came to, as figures: read from manifests and rejections, shown by the card, the report and the CLI."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from magicoder.store import Artifact, read_table


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCount:
    """One step of the funnel. `unit` is what comes out (documents, seeds, samples); reasons are most frequent first."""

    stage: str
    unit: str
    kept: int
    rejected: int
    reasons: dict[str, int]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A whole run. Counts of `languages`, `licenses` and `repositories` are over published rows.

    stages               in order; a stage's `facts` are its manifest's (decontamination: benchmarks and hits)
    repositories         all of them, about 150 bytes each
    cost_usd             None where the teacher's prices are not known
    """

    name: str
    recipe: str
    strategy: str
    teacher: str
    stages: tuple[StageCount, ...]
    rows: int
    languages: dict[str, int]
    licenses: dict[str, int]
    repositories: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


def count_stage(artifact: Artifact[Any], unit: str) -> StageCount:
    """Count one published stage, reading only the column it needs."""
    reasons: Counter[str] = Counter()
    for name in artifact.manifest.parts:
        reasons.update(_values(artifact.folder / "rejected" / name, "reason"))
    return StageCount(
        stage=artifact.manifest.stage,
        unit=unit,
        kept=artifact.manifest.rows,
        rejected=artifact.manifest.rejected,
        reasons=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        facts=artifact.manifest.facts,
    )


def count_column(artifact: Artifact[Any], column: str) -> dict[str, int]:
    """Return how often each value of a text column occurs in a published stage, most frequent first."""
    counts: Counter[str] = Counter()
    for name in artifact.manifest.parts:
        counts.update(_values(artifact.folder / name, column))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def sum_column(artifact: Artifact[Any], column: str) -> int:
    """Return the sum of a number column of a published stage."""
    return _sum([artifact.folder / name for name in artifact.manifest.parts], column)


def sum_rejected(artifact: Artifact[Any], column: str) -> int:
    """Return the sum of a number column of what a stage rejected."""
    return _sum([artifact.folder / "rejected" / name for name in artifact.manifest.parts], column)


def _sum(paths: list[Path], column: str) -> int:
    return sum(pc.sum(read_table(path, [column])[column]).as_py() or 0 for path in paths)


def _values(path: Path, column: str) -> list[str]:
    values: list[str] = read_table(path, [column])[column].to_pylist()
    return values
