"""What a dataset was checked against: the facts in the manifests of decontamination, read for card and report.

Decontamination runs twice, over seeds before they are sent to a teacher and over rows. The facts it reads of each, all
optional: `benchmarks`, a list of `{benchmark, version, license, tasks, patterns, hits}`; `methods`, phrases that say
how was searched; `partly_covered`, benchmark → what is missing; `not_covered` and `tasks_not_searched`, lists.
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
    gap          "" or what of the benchmark was not there to search for
    """

    benchmark: str
    version: str
    tasks: int
    patterns: int
    hits: tuple[int, ...]
    gap: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decontamination:
    """What was searched for, in which stages, and how; and what was not.

    methods      phrases that say how was searched
    not_covered  benchmarks that this program knows and did not search for
    unsearched   tasks of covered benchmarks that have no text long or telling enough to search for
    """

    stages: tuple[str, ...] = ()
    covered: tuple[Coverage, ...] = ()
    methods: tuple[str, ...] = ()
    not_covered: tuple[str, ...] = ()
    unsearched: int = 0


def decontamination(facts_of_stages: Mapping[str, Mapping[str, Any]], known: Iterable[str]) -> Decontamination:
    """Read the facts of a run's stages; those that say nothing of benchmarks are passed over.

    known            names of all benchmarks, for what is not covered
    """
    searching = {stage: facts for stage, facts in facts_of_stages.items() if facts.get("benchmarks")}
    # The stages search for the same; where they should differ, the last has the word, since it judges the rows.
    entries = {str(e["benchmark"]): e for facts in searching.values() for e in facts["benchmarks"]}
    last: Mapping[str, Any] = list(searching.values())[-1] if searching else {}
    covered = tuple(
        Coverage(
            benchmark=name,
            version=str(entry.get("version", "")),
            tasks=int(entry.get("tasks", 0)),
            patterns=int(entry.get("patterns", 0)),
            hits=tuple(_hits(facts, name) for facts in searching.values()),
            gap=str(last.get("partly_covered", {}).get(name, "")),
        )
        for name, entry in sorted(entries.items())
    )
    return Decontamination(
        stages=tuple(searching),
        covered=covered,
        methods=tuple(dict.fromkeys(str(m) for facts in searching.values() for m in facts.get("methods", ()))),
        not_covered=tuple(name for name in known if name not in entries),
        unsearched=len(last.get("tasks_not_searched", ())),
    )


def _hits(facts: Mapping[str, Any], benchmark: str) -> int:
    return sum(int(e.get("hits", 0)) for e in facts["benchmarks"] if e["benchmark"] == benchmark)


def evidence_of(detail: str) -> Any:
    """Return the evidence in a rejection's detail: the value it is JSON of, or the text itself."""
    try:
        return orjson.loads(detail)
    except orjson.JSONDecodeError:
        return detail
