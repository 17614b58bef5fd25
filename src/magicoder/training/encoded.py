"""Encoded examples on disk: tokens and which of them are learned, in a file that is mapped and never read whole.

<folder>/examples.arrow   id, tokens, learned (1 where it is), trained (how many are)
<folder>/report.json      what became of the rows, and the key of what it was all made from
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from magicoder.errors import StoreError
from magicoder.store.files import explained, replacing, write_atomic

EXAMPLES: Final = "examples.arrow"
REPORT: Final = "report.json"
BIN_TOKENS: Final = 64
"""Width of a bar of the histogram of lengths."""
_BATCH_ROWS: Final = 1000
_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("tokens", pa.list_(pa.field("item", pa.int32(), nullable=False)), nullable=False),
        pa.field("learned", pa.list_(pa.field("item", pa.uint8(), nullable=False)), nullable=False),
        pa.field("trained", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Example:
    """One encoded row.

    tokens   ids
    mask     which of them are learned: True where the model is trained to predict that token
    """

    id: str
    tokens: Sequence[int] | NDArray[np.int32]
    mask: Sequence[bool] | NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of the rows.

    dropped         rows by reason
    truncated       examples that were longer than the window; lost_eos: those of them whose last token (end of text,
                    end of turn) would have been learned and was cut off
    special_in_text rows of template `magicoder` whose own text has a special token in it, say `</s>`: it is taken as
                    such, as in the original, so that a model may learn to stop there
    trained_tokens  tokens that are learned, over all examples, once each
    lengths         examples by length: (up to so many tokens, how many), only bars that are not empty
    """

    rows: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    truncated: int = 0
    lost_eos: int = 0
    special_in_text: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    longest: int = 0
    lengths: tuple[tuple[int, int], ...] = ()


class Encoded:
    """Encoded examples, read-only, in the order of their rows.

    key       of what they were made from: data, tokenizer, settings
    lengths   tokens of each example
    trained   tokens of each example that are learned (the first token of an example never is)
    prefix    tokens that all of them begin with
    """

    def __init__(self, key: str, report: Report, batches: Sequence[Any]) -> None:
        """Use `open`."""
        self.key = key
        self.report = report
        self._batches = batches
        tokens = [batch.column("tokens") for batch in batches]
        learned = [batch.column("learned") for batch in batches]
        self._offsets = [column.offsets.to_numpy() for column in tokens]
        self._tokens = [column.values.to_numpy() for column in tokens]
        self._masks = [column.values.to_numpy().view(np.bool_) for column in learned]
        # Of each example: its batch, and its place in it.
        sizes = [batch.num_rows for batch in batches]
        self._batch = np.repeat(np.arange(len(sizes)), sizes)
        self._place = np.concatenate([np.arange(size) for size in sizes] or [np.arange(0)])
        self.lengths: NDArray[np.int32] = _joined([np.diff(offsets) for offsets in self._offsets])
        self.trained: NDArray[np.int32] = _joined([batch.column("trained").to_numpy() for batch in batches])

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Return the examples in `folder`.

        Raises:
            StoreError: they are not there, or damaged.
        """
        try:
            raw = orjson.loads((folder / REPORT).read_bytes())
            key = raw.pop("key")
            report = Report(**{**raw, "lengths": tuple((top, count) for top, count in raw["lengths"])})
            file = pa.ipc.open_file(pa.memory_map(str(folder / EXAMPLES)))
            batches = [file.get_batch(i) for i in range(file.num_record_batches)]
            if sum(batch.num_rows for batch in batches) != report.kept:
                raise StoreError(f"it does not hold the {report.kept} examples of its report")
            return cls(key, report, batches)
        except FileNotFoundError as e:
            raise StoreError(f"there are no encoded examples in {folder}: {e.filename or e} is missing") from e
        except (pa.ArrowException, orjson.JSONDecodeError, KeyError, TypeError, StoreError) as e:
            raise StoreError(f"the encoded examples in {folder} are damaged ({e}); delete the folder, run again") from e

    def __len__(self) -> int:
        return len(self._batch)

    @property
    def ids(self) -> list[str]:
        """The id of every example."""
        return [self.id(i) for i in range(len(self))]

    def id(self, i: int) -> str:
        """Return the id of example `i`."""
        return str(self._batches[self._batch[i]].column("id")[int(self._place[i])].as_py())

    def tokens(self, i: int) -> NDArray[np.int32]:
        """Return the tokens of example `i`, a view of the file."""
        batch, place = self._batch[i], self._place[i]
        offsets = self._offsets[batch]
        view: NDArray[np.int32] = self._tokens[batch][offsets[place] : offsets[place + 1]]
        return view

    def mask(self, i: int) -> NDArray[np.bool_]:
        """Return which tokens of example `i` are learned: True at j where the model is trained to predict token j."""
        batch, place = self._batch[i], self._place[i]
        offsets = self._offsets[batch]
        view: NDArray[np.bool_] = self._masks[batch][offsets[place] : offsets[place + 1]]
        return view

    @functools.cached_property
    def prefix(self) -> int:
        """Tokens that all examples begin with and none learns; the one behind them is not learned either.

        What predicts a learned token is never in it, and every example has a token of its own.
        """
        if not len(self):
            return 0
        heads = [(self._offsets[b][:-1][self._place[self._batch == b]], b) for b in np.unique(self._batch)]
        most = int(self.lengths.min()) - 1
        for starts, b in heads:
            learned = np.flatnonzero(self._masks[b])
            behind = np.append(learned, len(self._masks[b]) + most)[np.searchsorted(learned, starts)]
            most = min(most, int((behind - starts).min()) - 1)
        model = self.tokens(0)
        for at in range(most):
            if any((self._tokens[b][starts + at] != model[at]).any() for starts, b in heads):
                return at
        return max(0, most)

    def select(self, indices: Sequence[int]) -> "Encoded":
        """Return some of the examples, in that order, with `key` and `report` of them all."""
        chosen = object.__new__(Encoded)
        chosen.__dict__ |= {name: value for name, value in self.__dict__.items() if name != "prefix"}
        at = np.asarray(indices, dtype=np.int64)
        chosen._batch, chosen._place = self._batch[at], self._place[at]
        chosen.lengths, chosen.trained = self.lengths[at], self.trained[at]
        return chosen


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[np.int32]:
    return np.concatenate([part.astype(np.int32) for part in parts] or [np.zeros(0, np.int32)])


def write(
    folder: Path, examples: Iterable[Example], *, key: str, counts: Callable[[], Report] | None = None
) -> Encoded:
    """Write `examples` into `folder`, and open them. A file is there whole or not at all; the report comes last.

    `counts` is asked last, when all examples are read, for what they do not show: rows, dropped, truncated, lost_eos,
    special_in_text.

    Raises:
        StoreError: the disk is full or read-only.
    """
    lengths: list[int] = []
    trained = 0
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / EXAMPLES) as f, pa.ipc.new_file(f, _SCHEMA) as out:
            for batch in _batched(examples):
                made = _record_batch(batch)
                out.write_batch(made)
                lengths += [len(example.tokens) for example in batch]
                trained += int(made.column("trained").to_numpy().sum())
        report = _finished(counts() if counts else Report(rows=len(lengths)), lengths, trained)
        write_atomic(folder / REPORT, orjson.dumps({"key": key, **asdict(report)}, option=orjson.OPT_INDENT_2))
    return Encoded.open(folder)


def _batched(examples: Iterable[Example]) -> Iterator[list[Example]]:
    batch: list[Example] = []
    for example in examples:
        batch.append(example)
        if len(batch) == _BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _record_batch(examples: list[Example]) -> Any:
    offsets = np.zeros(len(examples) + 1, dtype=np.int32)
    np.cumsum([len(example.tokens) for example in examples], out=offsets[1:])
    tokens = np.concatenate([np.asarray(example.tokens, dtype=np.int32) for example in examples])
    learned = np.concatenate([np.asarray(example.mask, dtype=np.uint8) for example in examples])
    lists = [
        pa.ListArray.from_arrays(offsets, values, type=_SCHEMA.field(name).type)
        for name, values in (("tokens", pa.array(tokens)), ("learned", pa.array(learned)))
    ]
    ids = pa.array([example.id for example in examples])
    trained = pa.array([int(np.count_nonzero(example.mask)) for example in examples], pa.int32())
    return pa.record_batch([ids, *lists, trained], schema=_SCHEMA)


def _finished(counts: Report, lengths: list[int], trained: int) -> Report:
    tops, numbers = np.unique(-(-np.asarray(lengths, dtype=np.int64) // BIN_TOKENS) * BIN_TOKENS, return_counts=True)
    return Report(
        rows=counts.rows,
        kept=len(lengths),
        dropped=dict(sorted(counts.dropped.items())),
        truncated=counts.truncated,
        lost_eos=counts.lost_eos,
        special_in_text=counts.special_in_text,
        tokens=sum(lengths),
        trained_tokens=trained,
        longest=max(lengths, default=0),
        lengths=tuple(zip(tops.tolist(), numbers.tolist(), strict=True)),
    )
