"""Of records that repeat or resemble each other one stays: documents, seeds before they are paid for, samples.

MinHash proposes pairs and exact Jaccard settles them (`text/near_duplicates.py`); pairs make clusters, and of each
cluster one record stays. The paper's seeds come from a corpus that was near-deduplicated by its publishers; a corpus of
one's own was not. The original itself compares nothing but texts without their white space (`stages/clean.py`).
"""

import hashlib
import os
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import nlargest
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from magicoder.errors import RecipeError
from magicoder.plugins import suggest
from magicoder.protocols import Engine
from magicoder.records import Document, Rejection, Sample, Seed
from magicoder.schema import schema_of
from magicoder.store import Artifact, Writer, account, read_table
from magicoder.text.disk_set import DiskMap
from magicoder.text.near_duplicates import Clusters, NearDuplicates, SketchBatch, sketch_batch

R = TypeVar("R", Document, Seed, Sample)

COMPARED: Final = {
    "texts": ("text",),
    "samples": ("instruction", "response"),
    "instructions": ("instruction",),
    "responses": ("response",),
}
"""What may be compared, and the columns it is read from."""

KEEP: Final = ("first", "longest")
LARGEST: Final = 10
"""Clusters that the manifest names, the largest ones; what their rejected records are stands under `rejected/`."""

_EQUAL: Final = 1
_FIRST_COMPARISON: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Deduplication:
    """The recipe's settings: what is compared on the way.

    documents    files, before seeds are drawn from them, as the corpora were from which the paper's seeds came
    seeds        before a teacher is asked about them: equal but for white space, and near-duplicates. Where no teacher
                 is asked, a sample is its seed, and comparing samples is enough
    samples      what came of them, after `clean`
    compare      of two samples: `samples` (instruction and response together), `instructions`, `responses`, or
                 several of them, one after the other
    threshold, keep    see `Deduplicate`

    The original compares nothing here; in its exact mode a row's number decides its seed, so that `documents` and
    `seeds` change what is drawn: `{documents: false, seeds: false, samples: false}`.
    """

    documents: bool = True
    seeds: bool = True
    samples: bool = True
    compare: tuple[str, ...] = ("samples",)
    threshold: float = 0.7
    keep: str = "first"

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise RecipeError(f"deduplicate.threshold is {self.threshold}; it is above 0 and at most 1")
        if self.keep not in KEEP:
            raise RecipeError(
                f"deduplicate.keep is {self.keep!r}{suggest(self.keep, list(KEEP))}; it is one of {', '.join(KEEP)}"
            )
        known = [name for name in COMPARED if name != "texts"]
        for name in self.compare:
            if name not in known:
                raise RecipeError(
                    f"deduplicate.compare has {name!r}{suggest(name, known)}; there are: {', '.join(known)}"
                )
        if not self.compare or len(set(self.compare)) < len(self.compare):
            raise RecipeError("deduplicate.compare names each comparison once; `samples: false` compares none")

    def of_documents(self) -> "Deduplicate | None":
        """Return the stage for documents, None if they are not compared."""
        return self._stage("texts") if self.documents else None

    def of_seeds(self, *, are_paid_for: bool) -> "Deduplicate | None":
        """Return the stage for seeds, None if they are not compared or a teacher is not asked about them."""
        return self._stage("texts", exact=True) if self.seeds and are_paid_for else None

    def of_samples(self) -> "Deduplicate | None":
        """Return the stage for samples, None if they are not compared."""
        return self._stage(*self.compare) if self.samples else None

    def _stage(self, *compare: str, exact: bool = False) -> "Deduplicate":
        return Deduplicate(compare=compare, exact=exact, threshold=self.threshold, keep=self.keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deduplicate:
    """Passes on one record of each cluster, in two passes: all are sketched, then those that stay are written.

    compare      what is compared, names from `COMPARED`, one after the other: of what the first left, and so on
    exact        reject where the compared texts of an earlier record are equal, all white space removed (reason
                 `duplicate`); what remains is compared for likeness (reason `near_duplicate`)
    threshold    Jaccard similarity of word 5-grams from which on two texts are near-duplicates
    keep         which record of a cluster stays: the `first` in the order of the corpora, or the `longest` text in
                 characters, of equally long ones the first. Of equal texts the first one stays in any case.

    Two records are of one cluster if a chain of near-duplicates leads from one to the other. A rejection says which
    record stays (`of`), which one it `resembles`, and how much (`similarity`).
    """

    compare: tuple[str, ...]
    exact: bool = False
    threshold: float = 0.7
    keep: str = "first"

    def run(self, records: Artifact[R], out: Writer[R], engine: Engine) -> None:
        """Write what stays of each part of `records`, and of what the others are duplicates.

        An interrupted run is sketched once more. Memory: about 10 bytes a record besides what
        `NearDuplicates` takes.
        """
        out.progress.expect(2 * records.manifest.rows, "records")
        with ExitStack() as stack:
            found = stack.enter_context(_Found(self, out.folder))
            paths = [records.part_path(index) for index in range(records.part_count)]
            for sketched in engine.map(_Sketching(self), paths):
                found.add(sketched)
                out.progress.tick(len(sketched.names))
            found.settle()
            start = 0
            for index, path in enumerate(paths):
                if index >= out.done:
                    self._write_part(path, found, start, out)
                start += found.sizes[index]
                out.progress.tick(found.sizes[index])
            out.add_facts(found.facts())

    def _write_part(self, path: Path, found: "_Found", start: int, out: Writer[Any]) -> None:
        """Write what stays of the part `path`, whose first record has the number `start`."""
        names = schema_of(out.record).names
        texts_stay = out.record is Document  # the bulk of a corpus: where they are
        table = read_table(path, [name for name in names if name != "text"] if texts_stay else None)
        ids, languages = table["id"].to_pylist(), table["language"].to_pylist()
        rejections = [
            Rejection(id=ids[i], stage=out.stage, reason=reason, detail=detail, language=languages[i])
            for i, reason, detail in found.rejected(start, len(ids))
        ]
        stays = found.stays(start, len(ids))
        kept = table.filter(stays) if rejections else table
        account(ids, kept["id"].to_pylist(), (r.id for r in rejections))
        if texts_stay:
            out.write_kept(kept, pc.indices_nonzero(stays), path, rejections)
        else:
            out.write_table(kept, rejections)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sketched:
    """What is compared of a part's records; made in worker processes, which read the part themselves.

    digests      16 bytes a record, none if equal texts are not looked for
    lengths      of the compared texts in characters, none if the longest are not looked for
    batches      one for each comparison
    """

    names: list[str]
    digests: list[bytes]
    lengths: list[int]
    batches: list[SketchBatch]


@dataclass(frozen=True, slots=True)
class _Sketching:
    """The first pass as a value that worker processes can be sent."""

    stage: Deduplicate

    def __call__(self, path: Path) -> _Sketched:
        compare = self.stage.compare
        columns = list(dict.fromkeys(column for name in compare for column in COMPARED[name]))
        table = read_table(path, ["id", *columns])
        whole = _joined(table, columns)
        return _Sketched(
            names=table["id"].to_pylist(),
            digests=[_key(text) for text in whole.to_pylist()] if self.stage.exact else [],
            lengths=pc.utf8_length(whole).to_pylist() if self.stage.keep == "longest" else [],
            batches=[sketch_batch(_joined(table, COMPARED[name])) for name in compare],
        )


def _joined(table: pa.Table, columns: Sequence[str]) -> pa.ChunkedArray:
    if len(columns) == 1:
        return table[columns[0]]
    return pc.binary_join_element_wise(*(table[column] for column in columns), "\n\n")


def _key(text: str) -> bytes:
    """Return a digest of `text` without any white space, as the original compares texts."""
    return hashlib.blake2b("".join(text.split()).encode(), digest_size=16).digest()


class _Found:
    """What repeats what, by the numbers of the records: which are gone, why, and which one stays for them."""

    def __init__(self, stage: Deduplicate, folder: Path) -> None:
        self._stage = stage
        self._folder = folder
        self._stack = ExitStack()
        self._names = _Names(folder)
        self.sizes = array("Q")  # records of each part
        self._gone = bytearray()  # 0 for what stays, 1 for equal texts, 2 and so on for the first comparison and so on
        self._of = array("I")  # of what is gone: which one stayed when it went
        self._lengths = array("I")
        self._texts: DiskMap | None = None
        self._near: list[NearDuplicates] = []
        self._clusters: list[Clusters] = []
        self._facts: list[dict[str, Any]] = []

    def __enter__(self) -> "_Found":
        self._stack.callback(self._names.close)
        if self._stage.exact:
            self._texts = self._stack.enter_context(DiskMap.opened(self._folder / "texts.partial"))
        for _ in self._stage.compare:
            self._near.append(self._stack.enter_context(NearDuplicates(self._stage.threshold, self._folder)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, sketched: _Sketched) -> None:
        """Take in the next part."""
        first = len(self._gone)
        self.sizes.append(len(sketched.names))
        self._names.add(sketched.names)
        self._gone.extend(bytes(len(sketched.names)))
        self._of.extend(range(first, len(self._gone)))
        self._lengths.extend(sketched.lengths)
        if self._texts is not None:
            holders = self._texts.claim([(key, str(n)) for n, key in enumerate(sketched.digests, first)])
            for n, holder in enumerate(holders, first):
                if holder is not None:
                    self._gone[n], self._of[n] = _EQUAL, int(holder)
        for near, batch in zip(self._near, sketched.batches, strict=True):
            near.add(batch)

    def settle(self) -> None:
        """Decide which record of each cluster stays."""
        for number, (name, near) in enumerate(zip(self._stage.compare, self._near, strict=True)):
            clusters = near.clusters()
            self._clusters.append(clusters)
            sizes: Counter[int] = Counter()
            named: list[tuple[int, int]] = []  # size and kept record of the largest
            for members in clusters.members():
                there = [n for n in members if not self._gone[n]]
                if len(there) < 2:
                    continue
                kept = self._kept(there)
                for n in there:
                    if n != kept:
                        self._gone[n], self._of[n] = _FIRST_COMPARISON + number, kept
                sizes[len(there)] += 1
                named = nlargest(LARGEST, [*named, (len(there), -kept)])
            self._facts.append(self._described(name, clusters, sizes, named))

    def _kept(self, members: Sequence[int]) -> int:
        if self._stage.keep == "longest":
            return min(members, key=lambda n: (-self._lengths[n], n))
        return min(members)

    def _described(
        self, name: str, clusters: Clusters, sizes: Counter[int], largest: list[tuple[int, int]]
    ) -> dict[str, Any]:
        ranges: Counter[tuple[int, int]] = Counter()
        for size in sorted(sizes):
            ranges[_range(size)] += sizes[size]
        return {
            "compared": name,
            "clusters": sizes.total(),
            "removed": sum(count * (size - 1) for size, count in sizes.items()),
            "candidate_pairs": clusters.candidate_pairs,
            "verified_pairs": clusters.verified_pairs,
            "joined_pairs": clusters.joined_pairs,
            "sizes": [{"from": low, "to": high, "clusters": count} for (low, high), count in ranges.items()],
            "largest": [{"kept": self._names[-kept], "size": size} for size, kept in largest],
        }

    def facts(self) -> dict[str, Any]:
        """Return what the manifest says."""
        return {
            "threshold": self._stage.threshold,
            "keep": self._stage.keep,
            "records": len(self._gone),
            "equal": self._gone.count(_EQUAL) if self._stage.exact else None,
            "comparisons": self._facts,
        }

    def stays(self, start: int, count: int) -> pa.Array:
        """Return for each record of a part whether it stays."""
        gone = pa.py_buffer(bytes(self._gone[start : start + count]))
        return pc.equal(pa.Array.from_buffers(pa.uint8(), count, [None, gone]), 0)

    def rejected(self, start: int, count: int) -> Iterator[tuple[int, str, str]]:
        """Yield position in the part, reason and detail of each record that does not stay."""
        for n in range(start, start + count):
            if self._gone[n]:
                detail: dict[str, Any] = {"of": self._names[self._last(n)]}
                if self._gone[n] >= _FIRST_COMPARISON:
                    number = self._gone[n] - _FIRST_COMPARISON
                    other, similarity = self._clusters[number].nearest(n)
                    detail |= {"resembles": self._names[other], "similarity": round(similarity, 4)}
                    if len(self._stage.compare) > 1:
                        detail["compared"] = self._stage.compare[number]
                reason = "duplicate" if self._gone[n] == _EQUAL else "near_duplicate"
                yield n - start, reason, orjson.dumps(detail).decode()

    def _last(self, n: int) -> int:
        """Return the record that stays in the end: what `n` repeats may itself have gone in a later comparison."""
        while self._gone[n]:
            n = self._of[n]
        return n


def _range(size: int) -> tuple[int, int]:
    """Return the first and last of the sizes that are counted together: 2, 3, 4 to 7, 8 to 15, …"""
    if size < 4:
        return size, size
    low = 1 << (size.bit_length() - 1)
    return low, 2 * low - 1


class _Names:
    """The ids of the records, by their numbers, in two unnamed files that vanish with the process."""

    def __init__(self, folder: Path) -> None:
        self._text = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()
        self._ends = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - likewise
        self._ends.write(bytes(8))
        self._end = 0

    def close(self) -> None:
        """Give the files back."""
        self._text.close()
        self._ends.close()

    def add(self, names: list[str]) -> None:
        """Take in the ids of the next records."""
        data = [name.encode() for name in names]
        ends = array("Q", accumulate(map(len, data), initial=self._end))
        self._end = ends[-1]
        self._text.write(b"".join(data))
        self._ends.write(ends[1:].tobytes())
        self._text.flush()
        self._ends.flush()

    def __getitem__(self, number: int) -> str:
        start, end = array("Q", os.pread(self._ends.fileno(), 16, 8 * number))
        return os.pread(self._text.fileno(), end - start, start).decode()
