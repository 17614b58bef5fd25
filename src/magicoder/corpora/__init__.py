"""Where code comes from: one module per kind of source."""

import os
from collections.abc import Iterator
from pathlib import Path

from magicoder.errors import CorpusError
from magicoder.protocols import Corpus

_HUB = "hf://"
# What a folder of tables or archives may hold beside them.
_DESCRIPTIONS = ("readme", "license", "dataset_info", "dataset_infos", "state.json", "citation", "croissant")


def guess(source: str, seed_kind: str = "") -> Corpus:
    """Return the corpus that a `--source` means.

    For a strategy whose `seed_kind` is `instruction`, tables and JSON files hold instructions; else:

    `stdlib` · `hf://owner/name[/folder][@revision]` · `folder#revision` of a Git repository · a checkout or another
    folder · a bare repository · a table or an archive, a pattern, or a folder that holds nothing else · any file.

    Raises:
        CorpusError: it is none of these; says what to do.
    """
    from magicoder.corpora._files import explained

    with explained(source):
        return _instructions(source) if seed_kind == "instruction" else _guess(source)


def _instructions(source: str) -> Corpus:
    from magicoder.corpora.instructions import Instructions

    return Instructions(path=source)


def _guess(source: str) -> Corpus:
    from magicoder.corpora._files import require

    if source == "stdlib":
        from magicoder.corpora.standard_library import StandardLibrary

        return StandardLibrary()
    if source.startswith(_HUB):
        return _hub(source)
    found = _repository_at_revision(source) or _by_name(source)
    if found is not None:
        return found
    if "://" in source or source.startswith("git@"):
        raise CorpusError(f"{source} is not on this machine; fetch it first, such as with: git clone {source}")
    path = require(source)
    if path.is_dir():
        return _folder(source, path)
    from magicoder.corpora.local_files import LocalFiles

    return LocalFiles(path=source)


def _hub(source: str) -> Corpus:
    from magicoder.corpora.hub import Hub

    name, _, revision = source.removeprefix(_HUB).removeprefix("datasets/").partition("@")
    parts = [p for p in name.split("/") if p]
    if not parts:
        raise CorpusError(f"{source} names no data set; write hf://owner/name")
    return Hub(dataset="/".join(parts[:2]), data_dir="/".join(parts[2:]), revision=revision)


def _repository_at_revision(source: str) -> Corpus | None:
    folder, mark, revision = source.rpartition("#")
    if not (mark and folder and revision) or os.path.lexists(Path(source).expanduser()):
        return None
    if not Path(folder).expanduser().is_dir():
        return None
    from magicoder.corpora.git import Git

    return Git(path=folder, revision=revision)


def _by_name(source: str) -> Corpus | None:
    """Return a corpus for a table, an archive or a pattern, None for anything else."""
    path = Path(source).expanduser()
    is_pattern = any(c in source for c in "*?[") and not os.path.lexists(path)
    if not path.is_file() and not is_pattern:
        return None
    from magicoder.corpora._rows import is_table
    from magicoder.corpora.archives import Archives, is_archive
    from magicoder.corpora.tables import Tables

    if is_archive(source):
        return Archives(path=source)
    # A single .json file is data or configuration far more often than rows.
    if is_table(source) and (is_pattern or ".json" not in path.suffixes):
        return Tables(path=source)
    if is_pattern:
        raise CorpusError(f"{source}: a pattern must end like its files, such as *.parquet, *.jsonl or *.tar.gz")
    return None


def _folder(source: str, path: Path) -> Corpus:
    from magicoder.corpora._git import is_bare
    from magicoder.corpora._rows import is_table
    from magicoder.corpora.archives import Archives, is_archive
    from magicoder.corpora.git import Git
    from magicoder.corpora.local_files import LocalFiles
    from magicoder.corpora.tables import Tables

    if is_bare(path):
        return Git(path=source)
    kinds: set[str] = set()
    if not os.path.lexists(path / ".git"):
        for name in _names(path):
            if not name.lower().startswith(_DESCRIPTIONS):
                is_rows = is_table(name) and ".json" not in Path(name).suffixes
                kinds.add("rows" if is_rows else "archive" if is_archive(name) else "other")
            if len(kinds) > 1 or "other" in kinds:
                break
    if kinds == {"rows"}:
        return Tables(path=source)
    return Archives(path=source) if kinds == {"archive"} else LocalFiles(path=source)


def _names(folder: Path) -> Iterator[str]:
    """Yield the names of the files in a folder and below; hidden ones are not looked at."""
    for _, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".")]
        yield from (n for n in names if not n.startswith("."))
