"""Which column of a table means what: shared by tables on disk and data sets on the Hugging Face hub."""

import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from magicoder.corpora._files import document
from magicoder.errors import CorpusError
from magicoder.languages import all_languages
from magicoder.records import RawDocument
from magicoder.text.licenses import normalise

UNUSED: Final = "-"
"""What a user writes for a column that must not be used, even if one of a usual name is there."""

# Usual names, best first: The Stack v1 and StarCoderData (max_stars_*), The Stack v2, and plain tables.
USUAL: Final[dict[str, tuple[str, ...]]] = {
    "text": ("content", "text", "code", "source_code", "source"),
    "path": ("max_stars_repo_path", "path", "file_path", "filepath", "filename", "file_name"),
    "repository": ("max_stars_repo_name", "repo_name", "repo", "repository", "repository_name"),
    "commit": ("max_stars_repo_head_hexsha", "revision_id", "commit", "commit_id", "commit_sha"),
    "language": ("lang", "language", "programming_language"),
    "license": ("max_stars_repo_licenses", "detected_licenses", "licenses", "license"),
}

# Names that data sets use for languages beside their name, title and fences.
_ALIASES: Final = {
    "c-sharp": "csharp",
    "c++": "cpp",
    "cplusplus": "cpp",
    "objective-c++": "",
    "bash": "shell",
    "sh": "shell",
}


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns to read, "" for a meaning that no column has; `text` is always there."""

    text: str
    path: str
    repository: str
    commit: str
    language: str
    license: str

    @property
    def used(self) -> list[str]:
        """The columns' names without repetition."""
        found = (self.text, self.path, self.repository, self.commit, self.language, self.license)
        return list(dict.fromkeys(name for name in found if name))


def choose(source: str, present: Iterable[str], asked: Mapping[str, str]) -> Columns:
    """Return the column for every meaning: the one `asked` for, else the first usual name that is present.

    Raises:
        CorpusError: a column asked for is missing, or none looks like the text; lists what is there.
    """
    names = list(present)
    listed = ", ".join(names) or "none"
    chosen: dict[str, str] = {}
    for meaning, usual in USUAL.items():
        wanted = asked.get(meaning, "")
        option = "text" if meaning == "text" else f"{meaning}_column"
        if wanted and wanted != UNUSED and wanted not in names:
            near = difflib.get_close_matches(wanted, names, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise CorpusError(f"{source} has no column {wanted!r} ({option}); {hint}its columns: {listed}")
        found = wanted or next((name for name in usual if name in names), "")
        if names.count(found) > 1:
            raise CorpusError(f"{source} has {names.count(found)} columns named {found!r}; rename all but one")
        chosen[meaning] = "" if found == UNUSED else found
    if not chosen["text"]:
        raise CorpusError(
            f"{source} has no column named {', '.join(USUAL['text'][:3])}; say which one holds the source code "
            f"with text=<column>; its columns: {listed}"
        )
    return Columns(**chosen)


@functools.cache
def _language_names() -> dict[str, str]:
    known: dict[str, str] = {}
    languages = all_languages()
    for spellings in (lambda x: (x.name,), lambda x: (x.title,), lambda x: x.fences):
        for language in languages:
            for spelling in spellings(language):
                known.setdefault(spelling.lower(), language.name)
    for alias, name in _ALIASES.items():
        if name in {x.name for x in languages}:
            known.setdefault(alias, name)
    return known


def language_of(value: Any) -> str:
    """Return our name for a language as a table writes it (`C#`, `c-sharp`, `Bash`), "" if it is unknown."""
    return _language_names().get(value.strip().lower(), "") if isinstance(value, str) else ""


def license_of(value: Any) -> str:
    """Return an SPDX expression for a table's licence cell; of a list, which names all that were found, all hold."""
    if isinstance(value, str):
        return normalise(value)
    if not isinstance(value, (list, tuple)):
        return ""
    parts = [normalise(v) if isinstance(v, str) else "" for v in value]
    if not parts or not all(parts):
        return ""
    unique = list(dict.fromkeys(parts))
    return unique[0] if len(unique) == 1 else " AND ".join(f"({p})" if " OR " in p else p for p in unique)


@dataclass(frozen=True, slots=True)
class RowReader:
    """Makes documents of a table's rows. The constants are used where no column gives a value."""

    columns: Columns
    repository: str
    commit: str = ""
    language: str = ""
    license: str = ""

    def document(
        self,
        row: int,
        cells: Mapping[str, Any],
        content: bytes | None,
        size: int,
        *,
        problem: str = "",
        detail: str = "",
    ) -> RawDocument:
        """Return the document of row `row` (from 0); `content` None means that the cell is empty."""
        columns = self.columns
        if content is None and not problem:
            problem, detail = "no_text", self.no_text(row)
        return document(
            repository=shown(cells.get(columns.repository)) or self.repository,
            commit=shown(cells.get(columns.commit)) or self.commit,
            path=shown(cells.get(columns.path)) or f"row-{row:06d}",
            content=content or b"",
            size=size,
            language=language_of(cells.get(columns.language)) or self.language,
            license=license_of(cells.get(columns.license)) or self.license,
            problem=problem,
            detail=detail,
        )

    def no_text(self, row: int) -> str:
        """Say that the row holds no text."""
        return f"row {row} has no value in column {self.columns.text}"


def shown(value: Any) -> str:
    """Return a cell as a name; "" where it can be none."""
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else ""
