"""What a run came to, as figures: read from manifests and rejections, shown by the card, the report and the CLI."""

from collections import Counter
from collections.abc import Iterator
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
        reasons=_sorted(reasons),
        facts=artifact.manifest.facts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictCount:
    """What came of the programs of one language, rejected rows included.

    outcomes    most frequent first; `no_code` where nothing could be run
    checked     likewise, what the outcomes of kept rows rest on
    strength    mean share of faults that the tests noticed, None where none were put in
    """

    language: str
    rows: int
    outcomes: dict[str, int]
    checked: dict[str, int]
    strength: float | None


def count_verdicts(artifact: Artifact[Any]) -> list[VerdictCount]:
    """Count what the stage `verify` found, by language, all languages together last (its name is "")."""
    outcomes: dict[str, Counter[str]] = {}
    checked: dict[str, Counter[str]] = {}
    strengths: dict[str, list[float]] = {}
    for name in artifact.manifest.parts:
        rows = read_table(artifact.folder / name, ["language", "outcome", "checked", "test_strength"]).to_pylist()
        for row in rows:
            for key in (row["language"], ""):
                outcomes.setdefault(key, Counter())[row["outcome"] or "no_code"] += 1
                checked.setdefault(key, Counter())[row["checked"]] += 1
                if row["test_strength"] is not None:
                    strengths.setdefault(key, []).append(row["test_strength"])
        for row in read_table(artifact.folder / "rejected" / name, ["language", "reason"]).to_pylist():
            for key in (row["language"], ""):
                outcomes.setdefault(key, Counter())[row["reason"]] += 1
    return [
        VerdictCount(
            language=key,
            rows=outcomes[key].total(),
            outcomes=_sorted(outcomes[key]),
            checked=_sorted(Counter({k: n for k, n in checked.get(key, Counter()).items() if k})),
            strength=sum(strengths[key]) / len(strengths[key]) if key in strengths else None,
        )
        for key in [*sorted(k for k in outcomes if k), *([""] if outcomes else [])]
    ]


def failures(artifact: Artifact[Any]) -> Iterator[tuple[str, str, str]]:
    """Yield id, outcome and detail of what did not pass in the stage `verify`, rejected or not."""
    for index, name in enumerate(artifact.manifest.parts):
        columns = ["id", "outcome", "outcome_detail"]
        for row in read_table(artifact.folder / name, columns).to_pylist():
            if row["outcome"] not in ("", "passed", "toolchain_missing"):
                yield row["id"], row["outcome"], row["outcome_detail"]
        for gone in artifact.rejections_of_part(index):
            yield gone.id, gone.reason, gone.detail


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def count_column(artifact: Artifact[Any], column: str) -> dict[str, int]:
    """Return how often each value of a text column occurs in a published stage, most frequent first."""
    counts: Counter[str] = Counter()
    for name in artifact.manifest.parts:
        counts.update(_values(artifact.folder / name, column))
    return _sorted(counts)


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
