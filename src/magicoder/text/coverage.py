"""What a dataset was checked against: the facts in the manifests of decontamination, read for card and report.

Decontamination runs twice, over seeds before they are sent to a teacher and over rows. The facts it reads of each, all
optional: `benchmarks`, a list of `{benchmark, version, license, tasks, patterns, hits}`, and `methods`, sentences on
how was searched.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """One benchmark that was searched for.

    tasks        problems of the benchmark
    patterns     texts made of them that were searched for
    hits         records removed because of it, in the order of `Decontamination.stages`
    """

    benchmark: str
    version: str
    license: str
    tasks: int
    patterns: int
    hits: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decontamination:
    """What was searched for, in which stages, and how."""

    stages: tuple[str, ...] = ()
    covered: tuple[Coverage, ...] = ()
    methods: tuple[str, ...] = ()

    @classmethod
    def of_facts(cls, facts_of_stages: Mapping[str, Mapping[str, Any]]) -> "Decontamination":
        """Read the facts of a run's stages; those that say nothing of benchmarks are passed over."""
        searching = {stage: facts for stage, facts in facts_of_stages.items() if facts.get("benchmarks")}
        found: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
        for i, facts in enumerate(searching.values()):
            for entry in facts["benchmarks"]:
                found.setdefault(str(entry["benchmark"]), []).append((i, entry))
        covered = []
        for name, entries in sorted(found.items()):
            hits = [0] * len(searching)
            for i, entry in entries:
                hits[i] += int(entry.get("hits", 0))
            first = entries[0][1]
            covered.append(
                Coverage(
                    benchmark=name,
                    version=str(first.get("version", "")),
                    license=str(first.get("license", "")),
                    tasks=int(first.get("tasks", 0)),
                    patterns=int(first.get("patterns", 0)),
                    hits=tuple(hits),
                )
            )
        methods = dict.fromkeys(str(m) for facts in searching.values() for m in facts.get("methods", ()))
        return cls(stages=tuple(searching), covered=tuple(covered), methods=tuple(methods))

    def missing(self, known: Iterable[str]) -> tuple[str, ...]:
        """Return those of the benchmarks `known` that were not searched for."""
        covered = {c.benchmark for c in self.covered}
        return tuple(name for name in known if name not in covered)


def evidence_of(detail: str) -> Any:
    """Return the evidence in a rejection's detail: the value it is JSON of, or the text itself."""
    try:
        return orjson.loads(detail)
    except orjson.JSONDecodeError:
        return detail
