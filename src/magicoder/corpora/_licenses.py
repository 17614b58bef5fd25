"""Which licence a folder states: by its licence file, or by its package metadata."""

import functools
import re
import tomllib
from collections.abc import Callable, Mapping
from email.parser import HeaderParser
from typing import Any, Final

import orjson

from magicoder.text.licenses import identify_text, normalise

MAX_BYTES: Final = 1 << 18
"""How much of a licence file or of package metadata is read, in bytes; the longest common licence has 40 kB."""

_LICENSE_FILE: Final = re.compile(
    r"(?:(?:mit|bsd|apache|gpl)[-_.])?(?:un)?(?:licen[cs]e|copying)s?"
    r"(?:[-_.](?:lib|lesser|v?\d[\w.]*|[al]?gpl[\w.-]*|mit|apache[\w.-]*|bsd[\w-]*|mpl[\w.-]*|isc|zlib|boost|psf|cc0))?"
    r"(?:\.(?:txt|md|rst|markdown|text))?",
    re.IGNORECASE,
)
_METADATA: Final = frozenset({"PKG-INFO", "METADATA", "package.json", "Cargo.toml", "pyproject.toml", "composer.json"})


def is_relevant(name: str) -> bool:
    """Return whether a file of this name may state a licence."""
    return name in _METADATA or _LICENSE_FILE.fullmatch(name) is not None


def stated(files: Mapping[str, bytes]) -> str | None:
    """Return what one folder says: an SPDX expression, "" if it says something unknown, None if it says nothing.

    `files` holds the contents of the folder's files for which `is_relevant`.
    """
    return settled({name: answer(name, data) for name, data in files.items()})


def answer(name: str, data: bytes) -> str | None:
    """Return what one file says; the same three answers as `stated`."""
    return _declared(name, data) if name in _METADATA else identify_text(data.decode("utf-8", "replace"))


def settled(answers: Mapping[str, str | None]) -> str | None:
    """Return what files of one folder say together, keyed by their names or by paths below the folder.

    If all recognised licence texts are the same licence, it is that, or the expression of package metadata that names
    it; else package metadata decides; else all hold (joined by AND). A licence file that is not recognised is an
    answer, too: what lies further up does not apply.
    """
    texts = {path: found for path, found in answers.items() if path.rpartition("/")[2] not in _METADATA}
    known = sorted({found for found in texts.values() if found})
    lesser = [
        found for path, found in texts.items() if found and "LGPL" in found and path.lower().startswith("copying")
    ]
    declared = [found for path, found in sorted(answers.items()) if path not in texts]
    if len(known) == 1:
        # Metadata may say more: that there is a choice, or that another licence holds as well.
        return next((d for d in declared if d and known[0] in d.replace("(", "").replace(")", "").split()), known[0])
    if lesser:  # COPYING.LESSER adds permissions to the GPL's text in COPYING, which must lie beside it
        return lesser[0]
    for expression in declared:
        if expression:
            return expression
    if known:
        return " AND ".join(f"({k})" if " OR " in k else k for k in known)
    return "" if texts or "" in declared else None


def nearest(lookup: Callable[[str], str | None]) -> Callable[[str], str]:
    """Return a function from a folder (`a/b`, "" is the root) to the licence of the nearest folder that states one.

    `lookup` gives what a single folder states, as `stated` does. Answers are kept for the last few hundred folders.
    """

    @functools.lru_cache(maxsize=512)
    def of(folder: str) -> str:
        while True:
            answer = cached(folder)
            if answer is not None or not folder:
                return answer or ""
            folder = folder.rpartition("/")[0]

    cached = functools.lru_cache(maxsize=512)(lookup)
    return of


def _declared(name: str, data: bytes) -> str | None:
    """Return what package metadata says; the same three answers as `stated`."""
    text = data.decode("utf-8", "replace")
    try:
        if name in ("PKG-INFO", "METADATA"):
            return _core_metadata(text)
        if name.endswith(".json"):
            value = orjson.loads(data)
            declared = (value.get("license") or value.get("licenses")) if isinstance(value, dict) else None
        else:
            value = tomllib.loads(text)
            declared = value.get("package" if name == "Cargo.toml" else "project", {}).get("license")
    except (ValueError, AttributeError):
        return None
    return _one_of(declared)


def _one_of(declared: Any) -> str | None:
    """Read npm's, Composer's, Cargo's and PEP 621's ways to write a licence; a list means a choice."""
    if isinstance(declared, list):
        parts = [_one_of(d) for d in declared]
        return " OR ".join(dict.fromkeys(p for p in parts if p)) if parts and all(parts) else ("" if parts else None)
    if isinstance(declared, dict):
        declared = declared.get("type") or declared.get("text")
    return normalise(declared) if isinstance(declared, str) else None


def _core_metadata(text: str) -> str | None:
    """Read Python's core metadata: the expression (PEP 639), else the free-form field, else the classifiers."""
    headers = HeaderParser().parsestr(text)
    written = [str(headers.get(f) or "").strip() for f in ("License-Expression", "License")]
    for value in written:
        # The free-form field may hold a whole licence text, folded into one header.
        if found := identify_text(value) if "\n" in value else normalise(value):
            return found
    classifiers = [str(c) for c in headers.get_all("Classifier") or [] if str(c).startswith("License ::")]
    known = [normalise(c) for c in classifiers]
    if known and all(known):
        return " AND ".join(sorted(set(known)))
    return "" if classifiers or any(written) else None
