"""Keep a number of records, the same ones every time: those whose ids have the smallest digests.

Which records are kept depends on the ids alone, not on their order or the parts; choosing more keeps the earlier ones.
So a run towards a target asks for a few more seeds at a time and pays nothing twice.
"""

import heapq
from dataclasses import dataclass
from typing import TypeVar

from magicoder.fingerprint import number
from magicoder.records import Rejection, Sample, Seed
from magicoder.store import Artifact, Writer, account

R = TypeVar("R", Seed, Sample)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choose:
    """Keep `count` records; `random_seed` decides which."""

    count: int
    random_seed: int = 976

    def run(self, records: Artifact[R], out: Writer[R]) -> None:
        """Write the chosen records; the others are rejected as `not_needed`. Memory: 8 bytes for each one kept."""
        out.progress.expect(records.manifest.rows, "records")
        last = self._last(records)
        for index in range(records.part_count):
            rows = records.read_part(index)
            if index >= out.done:
                kept = [r for r in rows if self._rank(r) <= last]
                rejected = [
                    Rejection(id=r.id, stage=out.stage, reason="not_needed", language=r.language)
                    for r in rows
                    if self._rank(r) > last
                ]
                account((r.id for r in rows), (r.id for r in kept), (r.id for r in rejected))
                out.write(kept, rejected)
            out.progress.tick(len(rows))

    def _last(self, records: Artifact[R]) -> tuple[int, str]:
        """Return the rank of the last record that is kept."""
        smallest = heapq.nsmallest(self.count, (self._rank(r) for r in records))
        return smallest[-1] if smallest else (-1, "")

    def _rank(self, record: Seed | Sample) -> tuple[int, str]:
        # Samples stand in the order of their seeds, so that rows beyond a target are those asked for last.
        seed_id = record.seed_id if isinstance(record, Sample) else record.id
        return number(f"{self.random_seed}:{seed_id}", 63), record.id
