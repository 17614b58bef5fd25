"""Which licence a file, a licence text or a metadata field states, as an SPDX expression.

Only what is stated is answered: "" means that nothing was recognised, and a name that leaves the variant open gives a
`LicenseRef-` (see `license_phrases.NAMES`). Tables answer; the SPDX parser (`license-expression`) is loaded only for
expressions that no table knows, and its answers are cached.
"""

import difflib
import functools
import re
from typing import Any, Final

from ahocorasick_rs import AhoCorasick, MatchKind

from magicoder.errors import RecipeError
from magicoder.text.license_phrases import NAMES, NOTICES, PERMISSIVE, SHORT, TITLES

HEADER_LINES: Final = 100
"""How far into a file its licence header may reach, in lines."""
HEADER_CHARACTERS: Final = 8192
"""The same in characters, for files of long lines."""
TEXT_CHARACTERS: Final = 1_000_000
"""How much of a licence file is read: bundles of notices of whole distributions are larger than any licence."""

_EITHER = re.compile(r"\s*/\s*|\s+or\s+(?!any|later|newer|at your|higher|greater)", re.IGNORECASE)
"""What separates alternatives in a metadata value; Cargo's old form is `MIT/Apache-2.0`."""
_HINTS = ("licen", "permission", "redistribut", "public domain", "gpl")
"""One of these is in every header that states a licence."""
_SPDX = re.compile(r"SPDX-License-Identifier:[ \t]*([^\n]*)")
_SPDX_VALUE = re.compile(r"[A-Za-z0-9.+()\- ]*")
_TAG = re.compile(
    r"(?:@licen[sc]e|__licen[sc]e__\s*=|^(?:dnl|rem)?[\s#/*;:-]*licen[sc]e:)[ \t]*[\"']?([^\n\"',;(]{2,100})",
    re.MULTILINE | re.IGNORECASE,
)
_TAGS = re.compile(r"</?(?:p|br|a|b|i|tt|pre|code|h\d)\b[^<>]*>", re.IGNORECASE)
_COMMENT_WORDS = re.compile(r"^\s*(?:dnl|rem)\b", re.IGNORECASE | re.MULTILINE)
_COMMENT_WORD = (re.compile(r"dnl\b"), re.compile(r"rem\b"))
_WORD_BYTES = bytes(c if chr(c) in "abcdefghijklmnopqrstuvwxyz0123456789.+" else 32 for c in range(256))

_GPL = re.compile(
    r"\b(?:gnu )?(?:(lesser|library|library or lesser|affero) )?general public license"
    r"(?: (?:a|l)?gpl\b)?|\b(?:gnu )?(l|a)?gpl(?= |$|v?\d|\+)"
)
_GPL_CONTEXT = re.compile(
    r"\b(?:under|terms of|licensed?|subject to|conditions of|covered by|of|is|either|or)(?: both| either)?(?: the| a)?$"
)
_GPL_MENTION = re.compile(
    r"\b(?:see|copy of|copies of|text of|details of|version of|compatible with|not|non)(?: the| a)?$"
)
_GPL_VERSION_BEFORE = re.compile(
    r"version (\d(?:\.\d)?)( or (?:at your option )?(?:any )?(?:later|newer)\S*)?(?: version)? of the$"
)
_GPL_VERSION_NOW = re.compile(r"^ ?(?:license )?(?:v|ver|version)?\.? ?(\d(?:\.\d)?)(?![\d.])")
_GPL_VERSION_LATER = re.compile(
    r"as published by (?:the )?(?:free software foundation|fsf).{0,40}?version (\d(?:\.\d)?)"
)
_OR_LATER = re.compile(
    r"^.{0,60}?(?:\bor (?:at your (?:option|choice) )?(?:any )?(?:later|newer|higher|greater|above)\b)|^ ?\+"
)
_OR_OTHER = re.compile(r"^(?: of the license)? or at your option version (\d(?:\.\d)?)")
_GPL_VERSIONS: Final = {
    "GPL": {"1": "1.0", "1.0": "1.0", "2": "2.0", "2.0": "2.0", "3": "3.0", "3.0": "3.0"},
    "LGPL": {"2": "2.0", "2.0": "2.0", "2.1": "2.1", "3": "3.0", "3.0": "3.0"},
    "AGPL": {"3": "3.0", "3.0": "3.0"},
}
_GPL_FIRST: Final = {"GPL": "GPL-1.0-or-later", "LGPL": "LGPL-2.0-or-later", "AGPL": "AGPL-3.0-or-later"}
_GPL_FAMILY: Final = {
    "lesser": "LGPL",
    "library": "LGPL",
    "library or lesser": "LGPL",
    "affero": "AGPL",
    "l": "LGPL",
    "a": "AGPL",
}
_EXCEPTIONS: Final = (
    ("GPL-2.0", "classpath exception", "Classpath-exception-2.0"),
    ("GPL-3.0", "gcc runtime library exception", "GCC-exception-3.1"),
    ("GPL-3.0", "larger work that contains part or all of the bison parser skeleton", "Bison-exception-2.2"),
)
_CHOICE = re.compile(
    r"dual(?:ly)? licensed|dual license|multi licensed|under (?:the terms of )?(?:either|any) of|\balternatively\b"
    r"|(?:licensed|terms|available|released) (?:under|of) (?:either|both .{1,40} or)|your choice of"
    r"|at your option(?! any later| version \d)"
)
_BODY: Final = 2600
"""Length of the longest short licence after its opening, in characters of normalised text."""
_CHOICE_REACH: Final = 600
"""How far after the first licence of a licence file a choice may be offered, in characters of normalised text."""


def words(text: str) -> str:
    """Return `text` as words separated by single blanks: what licence phrases are matched against.

    Words are of letters a to z, digits, dots and plus signs; dots at either end of a word go, and so do HTML tags and
    the words that open a comment in M4 and Batch.
    """
    lower = text.lower()
    if any(word.search(lower) for word in _COMMENT_WORD):
        text = _COMMENT_WORDS.sub(" ", text)
        lower = text.lower()
    if "<" in text:
        lower = _TAGS.sub(" ", text).lower()
    # Bytes, split and joined: fifteen times the speed of regular expressions on the longest headers.
    spaced = lower.encode("ascii", "replace").translate(_WORD_BYTES)
    plain = b" " * spaced.startswith(b" ") + b" ".join(spaced.split())
    while b". " in plain:
        plain = plain.replace(b". ", b" ")
    plain = plain.rstrip(b".")
    while b" ." in plain:
        plain = plain.replace(b" .", b" ")
    return plain.decode("ascii").replace("licence", "license").strip()


def from_header(text: str) -> str:
    """Return the licence that the head of a source file states, as an SPDX expression, "" if none.

    `SPDX-License-Identifier` lines win (several mean AND, as in the REUSE specification), then licence texts and
    sentences, then `@license` tags. Several licences are joined by OR where the header offers a choice, else by AND.
    """
    head = text[:HEADER_CHARACTERS]
    lower = head.lower()
    if not any(hint in lower for hint in _HINTS):
        return ""
    head = "\n".join(head.split("\n", HEADER_LINES)[:HEADER_LINES])
    tagged = _spdx_lines(head)
    if tagged:
        return tagged
    plain = words(head)
    found, _ = _found(plain, with_titles=False)
    if found:
        return _joined(plain, found)
    tag = _TAG.search(head)
    return normalise(re.split(r"\.? see |\.\s*$", tag.group(1), flags=re.IGNORECASE)[0]) if tag else ""


def identify_text(text: str) -> str:
    """Return what a licence file (LICENSE, COPYING …) says, as an SPDX expression, "" if it is not recognised.

    A file of several texts answers all of them, joined by AND unless it offers a choice: bundled notices count, since
    leaving one out could only make a licence look freer than it is. A GPL text without a notice is `-only`, for the
    same reason.
    """
    text = text[:TEXT_CHARACTERS]
    tagged = _spdx_lines(text[:HEADER_CHARACTERS])
    if tagged:
        return tagged
    plain = words(text)
    found, first = _found(plain, with_titles=True)
    if found:
        return _joined(plain[: first + _CHOICE_REACH], found)
    return normalise(text) if len(text) < 100 else ""


def normalise(value: str) -> str:
    """Return the SPDX expression that a metadata value means (`Apache 2.0`, a trove classifier …), "" if unclear."""
    return _normalise(value.strip()[:300])


@functools.lru_cache(maxsize=4096)
def is_permissive(expression: str) -> bool:
    """Whether an SPDX expression asks for notices at most; OR needs one such side, AND both. "" does not."""
    if not expression:
        return False
    if expression in PERMISSIVE:
        return True
    parsed = _parse(expression)
    return parsed is not None and _permits(parsed)


def _permits(node: Any) -> bool:
    operator = getattr(node, "operator", "").strip()
    if operator == "AND":
        return all(_permits(a) for a in node.args)
    if operator == "OR":
        return any(_permits(a) for a in node.args)
    base = getattr(node, "license_symbol", node)
    return str(base.key) in PERMISSIVE


WORDS: Final = ("permissive", "unknown")
"""What an allow-list may name besides licences: whatever `is_permissive`, and files whose licence nothing states."""


@functools.lru_cache(maxsize=64)
def allow_list(names: tuple[str, ...]) -> frozenset[str]:
    """Return what `is_allowed` takes: the words of `WORDS`, and SPDX expressions in their normal form.

    Raises:
        RecipeError: a name is neither a word of `WORDS` nor a licence; the message suggests the nearest.
    """
    return frozenset(name if name in WORDS else _listed(name) for name in names)


def _listed(name: str) -> str:
    expression = "" if not name.strip() else name if name in PERMISSIVE else _tabled(name)
    if expression:
        return expression
    known = [*WORDS, *(key for key in _licensing().known_symbols if not key.startswith("LicenseRef-"))]
    raise RecipeError(
        f"licenses: {name!r} is no SPDX licence or expression{_nearest(name, known)} "
        f"(the words {' and '.join(WORDS)} are known too)"
    )


def _tabled(name: str) -> str:
    known = NAMES.get(words(name.strip()))
    parsed = None if known else _parse(name.strip())
    return known or (str(parsed.simplify().render()) if parsed is not None else "")


def _nearest(name: str, known: list[str]) -> str:
    if meant := normalise(name):
        return f"; did you mean {meant}?"
    lower = {k.lower(): k for k in reversed(known)}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    return f"; did you mean {lower[near[0]]}?" if near else ""


@functools.lru_cache(maxsize=4096)
def is_allowed(expression: str, allowed: frozenset[str]) -> bool:
    """Whether `allowed` (of `allow_list`) lets one use what is under an SPDX expression, "" being unknown.

    OR needs one allowed side, AND both; WITH an exception needs the licence or just that pair, since exceptions only
    add permissions; `-or-later` may be used as any allowed later version. A listed expression allows itself.
    """
    if not expression:
        return "unknown" in allowed
    if expression in allowed or ("permissive" in allowed and expression in PERMISSIVE):
        return True
    parsed = _parse(expression)
    return parsed is not None and _is_allowed(parsed, allowed)


def _is_allowed(node: Any, allowed: frozenset[str]) -> bool:
    if str(node.simplify().render()) in allowed:
        return True
    operator = getattr(node, "operator", "").strip()
    if operator:
        return (all if operator == "AND" else any)(_is_allowed(a, allowed) for a in node.args)
    key = str(getattr(node, "license_symbol", node).key)
    if key in allowed or ("permissive" in allowed and key in PERMISSIVE):
        return True
    family, _, version = key.removesuffix("-or-later").rpartition("-")
    later = (name.removesuffix("-only").removesuffix("-or-later").rpartition("-") for name in allowed)
    return key.endswith("-or-later") and any(f == family and _version(v) >= _version(version) for f, _, v in later)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(".")) if re.fullmatch(r"\d+(\.\d+)*", text) else ()


def _spdx_lines(head: str) -> str:
    """Return the expression of the `SPDX-License-Identifier` lines of `head`, "" if there is no valid one."""
    found = []
    for raw in _SPDX.findall(head):
        match = _SPDX_VALUE.match(raw)
        value = _normalise(match.group().strip()) if match else ""
        if value and value not in found:
            found.append(value)
    return _all_of(found)


def _all_of(expressions: list[str]) -> str:
    if len(expressions) < 2:
        return "".join(expressions)
    return " AND ".join(f"({e})" if " OR " in e else e for e in expressions)


def _found(plain: str, *, with_titles: bool) -> tuple[list[str], int]:
    """Return the distinct licences in `plain` in order of appearance, and where the first one is."""
    hits: list[tuple[int, str]] = []
    if with_titles:
        hits += [(m.start(), spdx) for pattern, spdx in TITLES if (m := pattern.search(plain))]
    # What a long text says about other licences, or as an example in its appendix, is no notice.
    preface = plain[: min((at for at, _ in hits), default=len(plain))]
    search, entries = _notice_words()
    present = {number for number, _, _ in search.find_matches_as_indexes(preface, overlapping=True)}
    likely = sorted(entry for number in present for entry in entries[number])
    notices = [
        (m.start(), spdx) for _, pattern, spdx in map(NOTICES.__getitem__, likely) if (m := pattern.search(preface))
    ]
    gnu = _gnu_notices(preface)
    gnu_families = {spdx.split("-or-later")[0].split("-only")[0] for _, spdx in gnu}
    hits = [(at, spdx) for at, spdx in hits if spdx.removesuffix("-only") not in gnu_families] + notices + gnu
    hits += _short_texts(plain)
    ordered: list[str] = []
    for _, spdx in sorted(hits, key=lambda hit: hit[0]):
        if spdx not in ordered:
            ordered.append(spdx)
    return _without_vaguer(ordered, plain), min((at for at, _ in hits), default=0)


@functools.cache
def _notice_words() -> tuple[AhoCorasick, list[list[int]]]:
    """Return a search for the words of `NOTICES`, and which of its entries each word is in."""
    entries: dict[str, list[int]] = {}
    for place, (word, _, _) in enumerate(NOTICES):
        entries.setdefault(word, []).append(place)
    return AhoCorasick(list(entries), matchkind=MatchKind.Standard), list(entries.values())


def _without_vaguer(found: list[str], plain: str) -> list[str]:
    """Drop answers that a more exact one contains, and attach exceptions."""
    if "LicenseRef-BSD" in found and any(f.startswith("BSD-") for f in found):
        found.remove("LicenseRef-BSD")
    if "Apache-2.0" in found and any(f.startswith("Apache-2.0 WITH ") for f in found):
        found.remove("Apache-2.0")
    for specific in ("Unlicense", "CC0-1.0"):
        if specific in found and "LicenseRef-Public-Domain" in found:
            found.remove("LicenseRef-Public-Domain")
    if "PSF-2.0" in found:
        # Python's licence tells its own history, in which all of these occur.
        found = [f for f in found if f not in ("HPND", "0BSD", "GPL-1.0-or-later")]
    found = [f for f in found if not (f.endswith("-only") and f.replace("-only", "-or-later") in found)]
    for vague in _GPL_FIRST.values():
        family = vague.split("-")[0]
        if vague in found and any(f.startswith(family + "-") and f != vague for f in found):
            found.remove(vague)
    return [
        next((f"{f} WITH {e}" for start, phrase, e in _EXCEPTIONS if f.startswith(start) and phrase in plain), f)
        for f in found
    ]


def _joined(plain: str, found: list[str]) -> str:
    """Join several licences by OR where a choice is offered, else by AND."""
    if len(found) > 1 and _CHOICE.search(plain):
        return " OR ".join(f"({f})" if " AND " in f else f for f in found)
    return _all_of(found)


def _short_texts(plain: str) -> list[tuple[int, str]]:
    """Return the short licences that stand whole in `plain`; their variants differ by single sentences."""
    found = sorted((m.start(), m.end(), m.group(), spdx) for pattern, spdx in SHORT for m in pattern.finditer(plain))
    ends = [*(start for start, *_ in found), len(plain)][1:]
    hits = []
    for (start, after, opening, spdx), end in zip(found, ends, strict=True):
        hits.append((start, _variant(spdx, opening, plain[after : min(end, after + _BODY)])))
    return hits


def _variant(spdx: str, opening: str, body: str) -> str:
    if spdx == "BSD":
        return _bsd(body)
    if spdx == "MIT":
        if "deal with the software" in body[:200]:
            return "NCSA"
        if "except as contained in this notice the name" in body[:1700]:
            return "X11"
        return "MIT" if "permission notice" in body[:700] or "copyright notice" in body[:700] else "MIT-0"
    if spdx == "ISC":
        if body.lstrip().startswith("provided that the above copyright notice appear") or "documentation" in opening:
            return "HPND"
        return "ISC" if "permission notice" in body[:200] else "0BSD"
    return spdx


def _bsd(body: str) -> str:
    if "all advertising materials mentioning features" in body:
        return "BSD-4-Clause"
    if "endorse or promote" in body or "neither the name" in body:
        return "BSD-3-Clause"
    if "in binary form must" in body or "binary forms must" in body:
        return "BSD-2-Clause"
    return "BSD-1-Clause" if "source code must retain" in body else "LicenseRef-BSD"


def _gnu_notices(plain: str) -> list[tuple[int, str]]:
    """Return the GPL family's licences that `plain` places itself under; mentions do not count."""
    hits: list[tuple[int, str]] = []
    if "gpl" not in plain and "general public" not in plain:
        return hits
    for match in _GPL.finditer(plain):
        before, after = (
            plain[max(0, match.start() - 80) : match.start()].rstrip(),
            plain[match.end() : match.end() + 220],
        )
        if _GPL_MENTION.search(before) or not (before == "" or _GPL_CONTEXT.search(before)):
            continue
        family = _GPL_FAMILY.get(match.group(1) or match.group(2) or "", "GPL")
        spdx = _gnu_version(family, before, after)
        if spdx:
            hits.append((match.start(), spdx))
    return hits


def _gnu_version(family: str, before: str, after: str) -> str:
    """Return the SPDX identifier for one mention, "" if the version is none of the family's."""
    versions = _GPL_VERSIONS[family]
    ahead = _GPL_VERSION_BEFORE.search(before)
    if ahead:
        number, rest, later = ahead.group(1), after, bool(ahead.group(2))
    else:
        match = _GPL_VERSION_NOW.search(after) or _GPL_VERSION_LATER.search(after)
        if match is None:
            return _GPL_FIRST[family]
        number, rest, later = match.group(1), after[match.end() :], False
    if number not in versions:
        return ""
    other = _OR_OTHER.search(rest)
    if other and other.group(1) in versions:
        return f"{family}-{versions[number]}-only OR {family}-{versions[other.group(1)]}-only"
    return f"{family}-{versions[number]}-{'or-later' if later or _OR_LATER.search(rest) else 'only'}"


@functools.lru_cache(maxsize=4096)
def _normalise(value: str) -> str:
    if not value or value.upper().startswith("SEE LICENSE"):
        return ""
    if value in PERMISSIVE:
        return value
    name = value.rsplit("::", 1)[-1].strip()
    known = NAMES.get(words(name))
    if known:
        return known
    parsed = _parse(value)
    if parsed is not None:
        return str(parsed.render())
    sides = [_normalise(p.strip()) for p in _EITHER.split(name)] if _EITHER.search(name) and "://" not in name else []
    if sides and all(sides):
        return " OR ".join(sides)
    if " with " in value.lower():
        return ""
    plain = words(name)
    gnu = _gnu_notices(f"license {plain}")
    if gnu:
        return gnu[0][1]
    return next((spdx for word, pattern, spdx in NOTICES if word in plain and pattern.search(plain)), "")


@functools.cache
def _licensing() -> Any:
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


def _parse(expression: str) -> Any | None:
    """Return the parsed SPDX expression, None if it is none; unknown names are accepted as `LicenseRef-` only."""
    from license_expression import ExpressionError, ExpressionParseError

    try:
        parsed = _licensing().parse(expression)
        unknown = _licensing().unknown_license_keys(parsed)
    except (ExpressionError, ExpressionParseError, ValueError):
        return None
    if parsed is None or any(not re.fullmatch(r"LicenseRef-[A-Za-z0-9.-]+", key) for key in unknown):
        return None
    return _licensing().dedup(parsed)
