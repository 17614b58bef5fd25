"""A data set of the Hugging Face hub, or a folder laid out like one, streamed by the `datasets` package."""

import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magicoder.corpora._columns import RowReader, choose
from magicoder.corpora._files import explained
from magicoder.errors import CorpusError
from magicoder.fingerprint import digest
from magicoder.records import RawDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """The rows of one split, in the data set's order, none kept on disk.

    Needs the extra `hub`. For data sets behind a form, log in with Hugging Face's own `hf auth login` (or HF_TOKEN).
    Columns are found as in `tables`.

    dataset    `owner/name`, or a folder
    data_dir   a folder inside, e.g. `data/swift` of The Stack (the paper: Swift is not in StarCoderData)
    config     the data set's configuration, if it has several
    revision   branch, tag or commit of the data set
    limit      only the first rows; the original considered 150,000 rows a language
    """

    dataset: str
    data_dir: str = ""
    config: str = ""
    split: str = "train"
    revision: str = ""
    limit: int | None = None
    text: str = ""
    path_column: str = ""
    repository_column: str = ""
    commit_column: str = ""
    language_column: str = ""
    license_column: str = ""
    repository: str = ""
    commit: str = ""
    language: str = ""
    license: str = ""

    def documents(self, max_bytes: int) -> Iterator[RawDocument]:
        """Yield every row of the split, up to `limit`.

        Raises:
            CorpusError: `datasets` is not installed, the data set or split cannot be reached, or a column is missing.
        """
        reader: RowReader | None = None
        rows = self._rows()
        for row in itertools.count():
            try:
                cells = next(rows, None)
            except Exception as e:
                raise self._explain(e) from e
            if cells is None:
                break
            if reader is None:
                reader = self._reader(list(cells))
            yield _from_cells(reader, row, cells, max_bytes)
        if reader is None:
            raise CorpusError(f"{self.dataset} has no rows in split {self.split!r}")

    def state(self) -> str:
        """Return a digest of the data set's commit on the hub, or of a folder's names, sizes and times."""
        folder = self._folder()
        if folder is not None:
            with explained(self.dataset):
                return _digest_tree(folder)
        if len(self.revision) == 40:
            return digest(self.revision)
        try:
            from huggingface_hub import HfApi
        except ImportError as e:
            raise _not_installed() from e
        try:
            return digest(HfApi().dataset_info(self.dataset, revision=self.revision or None).sha)
        except Exception as e:
            raise self._explain(e) from e

    def _folder(self) -> Path | None:
        folder = Path(self.dataset).expanduser()
        return folder if folder.is_dir() else None

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        if self.limit is not None and self.limit < 1:
            raise CorpusError(f"limit is {self.limit}; it must be at least 1")
        try:
            from datasets import load_dataset
        except ImportError as e:
            raise _not_installed() from e
        try:
            rows = load_dataset(
                str(self._folder() or self.dataset),
                self.config or None,
                data_dir=self.data_dir or None,
                split=self.split,
                revision=self.revision or None,
                streaming=True,
            )
        except Exception as e:
            raise self._explain(e) from e
        return iter(rows if self.limit is None else rows.take(self.limit))

    def _reader(self, present: list[str]) -> RowReader:
        asked = {
            "text": self.text,
            "path": self.path_column,
            "repository": self.repository_column,
            "commit": self.commit_column,
            "language": self.language_column,
            "license": self.license_column,
        }
        folder = self._folder()
        name = folder.resolve().name if folder else self.dataset
        columns = choose(self.dataset, present, asked)
        return RowReader(columns, self.repository or name, self.commit, self.language, self.license)

    def _explain(self, error: Exception) -> CorpusError:
        """Return the user's error for what `datasets` or its HTTP client raised; their classes have no common base."""
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        kind = type(error).__name__
        if isinstance(error, CorpusError):
            return error
        if "Gated" in kind or "gated" in said:
            advice = "accept its terms on its page, then `hf auth login`"
        elif "NotFound" in kind:
            advice = "check the name and data_dir; a private one needs `hf auth login`"
        elif "split" in said.lower():
            advice = "choose one with split=<name>"
        elif "onfig" in said:
            advice = "choose one with config=<name>"
        else:
            advice = "check the name, the network, and `hf auth whoami`"
        return CorpusError(f"cannot read the data set {self.dataset}: {said}; {advice}")


def _not_installed() -> CorpusError:
    return CorpusError("data sets of the hub need the package datasets; pip install 'magicoder[hub]'")


def _from_cells(reader: RowReader, row: int, cells: Mapping[str, Any], max_bytes: int) -> RawDocument:
    text = cells.get(reader.columns.text)
    if text is not None and not isinstance(text, (str, bytes)):
        raise CorpusError(
            f"column {reader.columns.text!r} of {reader.repository} holds a {type(text).__name__}, not text; "
            f"say which one holds the source code with text=<column>; its columns: {', '.join(cells)}"
        )
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    return reader.document(row, cells, None if data is None else data[: max_bytes + 1], len(data or b""))


def _digest_tree(folder: Path) -> str:
    """Return a digest of all files below a folder, in the order of their paths."""
    state = hashlib.blake2b(digest_size=16)
    for where, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            status = Path(where, name).lstat()
            place = os.path.relpath(where, folder)
            state.update(os.fsencode(f"{place}\0{name}\0{status.st_size}\0{status.st_mtime_ns}\0"))
    return state.hexdigest()


PLUGIN = Hub
