"""Keys, passwords and personal data in a text: where they stand, and the text with stand-ins for them.

Two steps. A cheap search for the literals that every match contains goes over the whole text (Aho-Corasick with the
processor's vector instructions; addresses are searched after all digits became 0). Only where one is found, the
careful rule looks. The gate hides nothing: what comes out is what trying every rule at every place would give.

Placeholders are no secrets: `AKIAIOSFODNN7EXAMPLE`, `<your-key>`, `${TOKEN}`, `xxxx`.
"""

import functools
import itertools
import math
import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ahocorasick_rs import BytesAhoCorasick, MatchKind

from magicoder.errors import RecipeError
from magicoder.text import personal_data as addresses
from magicoder.text import secret_patterns as patterns
from magicoder.text.secret_patterns import Rule

POLICIES: Final = ("keep", "redact", "reject")
BATCH_LITERALS: Final = 64
"""Literals searched at once: with more, the search does without vector instructions."""
SHORT: Final = 4
"""Characters: shorter literals are searched apart, and words up to it make no placeholder of a long value."""
LEAST_ENTROPY: Final = 3.0
"""Bits a character, below which a value of 16 or more characters is no random one (16 random hex digits: 3.3)."""
LEAST_CHANGES: Final = 0.2
"""Share of neighbours of different classes (letter, capital, digit) in random values; in names it is lower."""
SHOWN: Final = 3
"""How many findings the detail of a rejection names."""
LONG: Final = 40
"""Characters of a value in which any four letters may occur by chance."""
PEM_REACH: Final = 20_000
"""How far behind its opening line a private key may end, in bytes."""
PEM_LEAST: Final = 60
"""Base64 characters in the smallest private key (Ed25519: 64)."""

_PEM_RUN = re.compile(
    rb"(?:(?<![\\A-Za-z0-9+/])|(?<=\\[nr]))(?:[A-Za-z0-9+/]{16,}={0,2}|[A-Za-z0-9+/]{2,15}={1,2}(?![A-Za-z0-9=]))"
)
_EXPRESSION = re.compile(rb"[()\[\]{}<>=;,/|\\]|\.\w+\.|::|->")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Where something stands that must not be published; never what it is.

    kind         `aws_access_key_id`, `password`, `email` …
    line         counted from 1
    start, end   its place in the UTF-8 form of the text, in bytes
    """

    kind: str
    line: int
    start: int
    end: int

    @property
    def is_personal(self) -> bool:
        """Whether this is personal data rather than a secret."""
        return self.kind in addresses.KINDS


def find(text: str, *, secrets: bool = True, personal: bool = True) -> list[Finding]:
    """Return the secrets and personal data in `text` by place; of what overlaps, secrets before the rest."""
    data = text.encode("utf-8", "surrogatepass")
    lowered = data.lower()
    spans: list[addresses.Span] = []
    if secrets:
        spans = _apart(_keys(data, lowered), spans)
    if personal:
        spans = _apart(addresses.spans(data, lowered), spans)
    findings, line, counted = [], 1, 0
    for start, end, kind in spans:
        line += data.count(b"\n", counted, start)
        counted = start
        findings.append(Finding(kind=kind, line=line, start=start, end=end))
    return findings


def _apart(spans: Iterator[addresses.Span], kept: list[addresses.Span]) -> list[addresses.Span]:
    """Return `kept`, which are apart, and those of `spans` that overlap with nothing: the earlier, then the longer."""
    kept = list(kept)
    for span in sorted(set(spans), key=lambda s: (s[0], -s[1], s[2])):
        place = bisect(kept, span)
        if (place == 0 or kept[place - 1][1] <= span[0]) and (place == len(kept) or span[1] <= kept[place][0]):
            kept.insert(place, span)
    return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a policy makes of some texts.

    texts     as they may be used
    reason    "" or why they may not: `secret` or `personal_data`; `detail` names kinds and lines, never the finding
    kinds     what was replaced, each kind once
    """

    texts: tuple[str, ...]
    reason: str = ""
    detail: str = ""
    kinds: tuple[str, ...] = ()


def check_policies(*, secrets: str, personal_data: str) -> None:
    """Check what a recipe says.

    Raises:
        RecipeError: a policy is none of `POLICIES`.
    """
    for name, policy in (("secrets", secrets), ("personal_data", personal_data)):
        if policy not in POLICIES:
            raise RecipeError(f"{name} is {policy!r}; it must be one of: {', '.join(POLICIES)}")


def apply(texts: tuple[str, ...], *, secrets: str, personal_data: str, titles: tuple[str, ...] = ("",)) -> Verdict:
    """Return what may be used of `texts`, called `titles`, which belong together.

    Line ends stay where they are. Equal addresses of all the texts get equal stand-ins, from what is reserved for
    documentation: `user1@example.com`, `192.0.2.1`, `2001:db8::1`, `555-0100`, numbered in order of appearance. A key
    becomes `<KEY>`, a password `<PASSWORD>`, without the brackets outside quotes, where they could break the syntax.
    """
    if secrets == personal_data == "keep":
        return Verdict(texts=texts)
    found = [find(text, secrets=secrets != "keep", personal=personal_data != "keep") for text in texts]
    for reason, policy, is_personal in (("secret", secrets, False), ("personal_data", personal_data, True)):
        places = [
            f"{f.kind} in line {f.line}{title}"
            for findings, title in zip(found, titles, strict=True)
            for f in findings
            if f.is_personal == is_personal
        ]
        if policy == "reject" and places:
            more = f", and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
            return Verdict(texts=texts, reason=reason, detail=", ".join(places[:SHOWN]) + more)
    known: dict[str, dict[bytes, bytes]] = {}
    replaced = tuple(_replaced(t, f, known) if f else t for t, f in zip(texts, found, strict=True))
    return Verdict(texts=replaced, kinds=tuple(sorted({f.kind for findings in found for f in findings})))


def _replaced(text: str, findings: list[Finding], known: dict[str, dict[bytes, bytes]]) -> str:
    data = text.encode("utf-8", "surrogatepass")
    pieces, done = [], 0
    for f in findings:
        pieces.append(data[done : f.start])
        value = data[f.start : f.end]
        if f.is_personal:
            of_kind = known.setdefault(f.kind, {})
            pieces.append(of_kind.setdefault(value.lower(), addresses.stand_in(f.kind, len(of_kind))))
        elif f.kind == "private_key":
            pieces.append(_PEM_RUN.sub(b"<KEY>", value))
        else:
            tag = _tags()[f.kind]
            pieces.append(b"<%b>" % tag if _is_quoted(data, f.start) else tag)
        done = f.end
    return b"".join([*pieces, data[done:]]).decode("utf-8", "surrogatepass")


@functools.cache
def _tags() -> dict[str, bytes]:
    return {rule.kind: rule.tag.encode() for rule in (*patterns.KEYS, *patterns.NAMED)}


def _is_quoted(data: bytes, start: int) -> bool:
    """Whether an odd number of one kind of quotes stands before `start` in its line."""
    line = data[data.rfind(b"\n", 0, start) + 1 : start]
    return any(line.count(quote) % 2 for quote in (b'"', b"'", b"`"))


class _Gate:
    """Finds literals, and tries the rules that they belong to where they stand."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        tries: dict[bytes, list[tuple[Rule, re.Pattern[bytes]]]] = {}
        for rule in rules:
            for literal in rule.literals:
                tries.setdefault(literal.encode(), []).append((rule, re.compile(rule.pattern.encode())))
        # Of two literals that start alike, the search reports the one that comes first: the longer. Short ones are
        # searched apart, since the vector search looks at as many characters as the shortest has, four at most; and
        # those inside of a key, since any other literal in the key could overlap with them and hide them.
        inside = {literal.encode() for rule in rules if rule.before != (0,) for literal in rule.literals}
        ordered = sorted(tries, key=lambda word: (word in inside, len(word) < SHORT, word), reverse=True)
        groups = (list(some) for _, some in itertools.groupby(ordered, lambda w: (w in inside, len(w) < SHORT)))
        batches = [some[i : i + BATCH_LITERALS] for some in groups for i in range(0, len(some), BATCH_LITERALS)]
        self._searches = [
            (
                BytesAhoCorasick(batch, matchkind=MatchKind.LeftmostFirst),
                [[one for start in tries if word.startswith(start) for one in tries[start]] for word in batch],
            )
            for batch in batches
        ]

    def spans(self, data: bytes, searched: bytes) -> Iterator[addresses.Span]:
        """Yield what the rules find in `data` at the literals in `searched`, a form of `data` of equal length."""
        for search, tries in self._searches:
            for number, at, _ in search.find_matches_as_indexes(searched):
                for rule, pattern in tries[number]:
                    for before in rule.before:
                        found = pattern.match(data, at - before) if at >= before else None
                        if found and rule.kind == "private_key":
                            yield from _private_key(data, found)
                        elif found and _is_secret(rule, found["value"] if pattern.groups else found[0]):
                            yield *found.span("value" if pattern.groups else 0), rule.kind


@functools.cache
def _gates() -> tuple[_Gate, _Gate]:
    """Return the gate for literals as they are, and the one for literals in lower case."""
    return _Gate(patterns.KEYS), _Gate(patterns.NAMED)


def _keys(data: bytes, lowered: bytes) -> Iterator[addresses.Span]:
    exact, named = _gates()
    yield from exact.spans(data, data)
    yield from named.spans(data, lowered)


def _private_key(data: bytes, opening: re.Match[bytes]) -> Iterator[addresses.Span]:
    """Yield the body of a PEM block; it holds as much as a key has, the mark alone is code that reads keys."""
    limit = opening.end() + PEM_REACH
    ends = (data.find(b"-----END ", opening.end(), limit), data.find(b"-----BEGIN ", opening.end(), limit))
    runs = list(_PEM_RUN.finditer(data, opening.end(), min((e for e in ends if e >= 0), default=limit)))
    if sum(len(run[0]) for run in runs) >= PEM_LEAST and max(len(run[0]) for run in runs) >= PEM_LEAST // 2:
        yield runs[0].start(), runs[-1].end(), "private_key"


def _is_secret(rule: Rule, value: bytes) -> bool:
    """Whether `value`, which has the shape of `rule`, is rather a secret than a placeholder, a name or code."""
    lower = value.lower().decode("latin-1")
    if any(word in lower for word in _placeholders() if len(word) > SHORT or len(value) < LONG):
        return False
    if rule.kind == "url_password":
        return not re.fullmatch(rb"[A-Z]?[a-z]+|[A-Z]+", value) and len(set(value)) > 4 and "pass" not in lower
    if rule.kind == "password":
        return _is_password(value)
    return (len(value) < 16 or _entropy(value) >= LEAST_ENTROPY) and (not rule.strict or _is_random(value))


@functools.cache
def _placeholders() -> tuple[str, ...]:
    return tuple(patterns.PLACEHOLDERS.split())


def _entropy(value: bytes) -> float:
    """Return Shannon's entropy in bits a character."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())


def _is_password(value: bytes) -> bool:
    """Whether letters meet digits, and the whole is no path, expression or name."""
    text = value.decode("latin-1")
    return (
        any(map(str.isalpha, text))
        and any(map(str.isdigit, text))
        and len(set(value)) >= 6
        and _EXPRESSION.search(value) is None
    )


def _is_random(value: bytes) -> bool:
    """Whether the classes of characters change as often as chance has it: in names they seldom do."""
    bare = value.rstrip(b"=")
    kinds = ["d" if 48 <= c <= 57 else "u" if 65 <= c <= 90 else "l" if 97 <= c <= 122 else "" for c in bare]
    if "d" not in kinds or not {"u", "l"} & set(kinds) or re.search(rb"[^\w+/=.~!@#$%^&*-]", value):
        return False
    changes = sum(1 for a, b in itertools.pairwise(kinds) if a and b and a != b and (a, b) != ("u", "l"))
    return changes >= LEAST_CHANGES * len(bare)
