"""In how many records secrets and personal data were replaced, and of which kinds: for manifests, card and report.

Never what was found, nor where. A part carries its own counts in its Parquet metadata, so that a stage that goes on
after a kill has those of the parts that were written before.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

KEY: Final = b"redacted"
"""The metadata of a part in which something was replaced."""


class Redactions:
    """Counts records, and for each kind (`email`, `password` …) how many records had it; both in one stage or part."""

    def __init__(self) -> None:
        self.records = 0
        self._kinds: Counter[str] = Counter()

    def add(self, kinds: Iterable[str]) -> None:
        """Count one record in which these kinds were replaced; none of them: it stayed as it was."""
        found = set(kinds)
        self.records += bool(found)
        self._kinds.update(found)

    def facts(self) -> dict[str, Any]:
        """Return what goes into a manifest under `redacted`."""
        return {"records": self.records, "kinds": dict(sorted(self._kinds.items()))}

    def metadata(self) -> dict[bytes, bytes] | None:
        """Return what goes into a part's metadata, None for a part without redactions."""
        return {KEY: orjson.dumps(self.facts())} if self.records else None

    def take_over(self, metadata: Mapping[bytes, bytes] | None) -> None:
        """Add what a part's metadata tells."""
        if metadata and KEY in metadata:
            found = orjson.loads(metadata[KEY])
            self.records += found["records"]
            self._kinds.update(found["kinds"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted:
    """In how many records of a stage something was replaced, and how many had each kind, most frequent first."""

    stage: str
    records: int
    kinds: tuple[tuple[str, int], ...]


def redactions(facts_of_stages: Mapping[str, Mapping[str, Any]]) -> tuple[Redacted, ...]:
    """Read the facts of a run's stages; those that replaced nothing are passed over."""
    return tuple(
        Redacted(
            stage=stage,
            records=int(found["records"]),
            kinds=tuple(sorted(found["kinds"].items(), key=lambda item: (-item[1], item[0]))),
        )
        for stage, facts in facts_of_stages.items()
        if (found := facts.get("redacted")) and found["records"]
    )
