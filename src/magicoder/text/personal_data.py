"""E-mail addresses, IP addresses and telephone numbers in a text, and what is written in their place.

Kept are addresses that nobody has: private, reserved and documentation ranges, hosts such as `example.org`, version
numbers, the address of a service (`git@github.com`), and numbers that name no one (well-known name servers).
"""

import functools
import ipaddress
import re
from collections.abc import Iterator
from typing import Final

from ahocorasick_rs import BytesAhoCorasick, MatchKind

from magicoder.text import secret_patterns as patterns

KINDS: Final = ("email", "ipv4", "ipv6", "phone")
SMALL_OCTET: Final = 30
"""Three numbers below it make a version or a section rather than an address: one address in 150 is missed."""

Span = tuple[int, int, str]
"""Start and end in bytes, and the kind."""

_TO_ZEROS = bytes(ord("0") if 48 <= i <= 57 else i for i in range(256))
_QUADS = tuple(f".{'0' * i}.{'0' * j}." for i in (1, 2, 3) for j in (1, 2, 3))
_GROUPS = (
    *("0000:", "0c00:", "0c0f:", "0C0F:"),
    *(f"{start}{x}:" for start in ("000", "0a0", "0A0") for x in "0abcdefABCDEF" if start != "000" or x != "0"),
)
"""What dotted quads and the first groups of the public IPv6 ranges are once every digit is 0."""
_IPV4 = re.compile(rb"(?<![\w.])(?<!\d-)(?:\d{1,3}\.){3}\d{1,3}(?![\w-])(?!\.\w)")
_IPV6 = re.compile(
    rb"(?<![\w:.])[23][0-9a-fA-F]{3}:"
    rb"(?:(?:[0-9a-fA-F]{1,4}:){6}[0-9a-fA-F]{1,4}|(?:[0-9a-fA-F]{1,4}:){0,5}:(?:[0-9a-fA-F]{1,4}:){0,5}[0-9a-fA-F]{0,4})"
    rb"(?![\w:])"
)
_VERSION = re.compile(
    rb"(?i:version|\bver\b|\bv|release|\brev\b|build|section|chapter|\xc2\xa7|rfc|oid|[=<>~^]=)[^\n]{0,20}$"
)
_DOMAIN = re.compile(
    rb"@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,5}([A-Za-z]{2,14}))(?![\w(\[=@-])(?!\.\w)"
)
_LOCAL = re.compile(rb"[A-Za-z0-9._%+\x80-\xff-]{1,64}\Z")
_PHONE = re.compile(
    rb"(?i:phone|tel|mobile|fax)(?:[ _-]?(?i:number|no|num)\.?)?[\"']?[ \t]{0,4}[:=][ \t]{0,4}[\"']?"
    rb"(\+?\(?\d[\d ().-]{7,18}\d)(?![\w.])"
)
_PHONE_LITERALS = ("phone", "tel:", "mobile", "fax:")
_SERVICES = frozenset(("git", "hg", "svn", "bzr", "noreply", "no-reply", "donotreply", "do-not-reply"))
_RESERVED = re.compile(
    r"(?:^|\.)(?:[\w-]*example[\w-]*|test|domain|(?:your|my|some)-?\w+|foo|bar|baz|foobar|localhost|host|email|mail|acme"
    r"|company|site|placeholder|\w)\.\w+$|\.(?:invalid|test|local|localhost|example)$|noreply\.github\.com$"
)
_WELL_KNOWN = frozenset(
    (
        *("8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "208.67.222.222", "208.67.220.220"),
        *("12.34.56.78", "123.45.67.89", "127.0.0.53"),
        *("2001:4860:4860::8888", "2001:4860:4860::8844", "2606:4700:4700::1111", "2606:4700:4700::1001"),
    )
)


def spans(data: bytes, lowered: bytes) -> Iterator[Span]:
    """Yield the personal data in `data`, whose lower case is `lowered`; they may overlap."""
    yield from _emails(data)
    yield from _addresses(data)
    yield from _phones(data, lowered)


def stand_in(kind: str, number: int) -> bytes:
    """Return what is written for the `number`-th address of a text, from what is reserved for documentation."""
    if kind == "email":
        return b"user%d@example.com" % (number + 1)
    if kind == "ipv4":
        nets = (b"192.0.2", b"198.51.100", b"203.0.113")
        return b"%b.%d" % (nets[number // 254 % 3], number % 254 + 1)
    if kind == "ipv6":
        return b"2001:db8::%x" % (number % 0xFFFF + 1)
    return b"555-01%02d" % (number % 100)


def _emails(data: bytes) -> Iterator[Span]:
    for found in _DOMAIN.finditer(data) if b"@" in data else ():
        local = _LOCAL.search(data, max(0, found.start() - 64), found.start())
        if local is None or not _is_address(local[0].decode("latin-1"), found[1].decode().lower()):
            continue
        start = local.start() + len(local[0]) - len(local[0].lstrip(b".-%+"))
        if start < found.start() and not _in_url(data, start):
            yield start, found.end(), "email"


def _is_address(local: str, domain: str) -> bool:
    return (
        domain.rpartition(".")[2] in _tlds()
        and local.lower() not in _SERVICES
        and not _RESERVED.search(domain)
        and not re.search(r"xxx|example|your|\.\.", local.lower())
    )


@functools.cache
def _tlds() -> frozenset[str]:
    return frozenset(f"{patterns.GENERIC_TLDS} {patterns.COUNTRY_TLDS}".split())


def _in_url(data: bytes, start: int) -> bool:
    """Whether what stands at `start` is the user of an URL: `ssh://me@host.org`."""
    window = data[max(0, start - 100) : start]
    slashes = window.rfind(b"://")
    return slashes >= 0 and not re.search(rb"[\s/\"'<>]", window[slashes + 3 :])


def _addresses(data: bytes) -> Iterator[Span]:
    for number, at, _ in _search((*_QUADS, *_GROUPS)).find_matches_as_indexes(data.translate(_TO_ZEROS)):
        if number >= len(_QUADS):
            found = _IPV6.match(data, at)
            if found and _is_public(found[0].decode()):
                yield at, found.end(), "ipv6"
            continue
        begin = at
        while begin > 0 and 48 <= data[begin - 1] <= 57:
            begin -= 1
        found = _IPV4.match(data, begin)
        if found and _is_public(found[0].decode()) and not _is_version(data, begin, found.end()):
            yield begin, found.end(), "ipv4"


@functools.cache
def _search(words: tuple[str, ...]) -> BytesAhoCorasick:
    return BytesAhoCorasick([word.encode() for word in words], matchkind=MatchKind.LeftmostFirst)


def _is_public(text: str) -> bool:
    """Whether `text` is an address of the internet that may be someone's."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if text in _WELL_KNOWN or not address.is_global or address.is_multicast:
        return False
    if address.version == 6:
        return not re.search(r"dead|beef|cafe|babe", text.lower())
    octets = sorted(address.packed)
    return octets[2] >= SMALL_OCTET and octets[0] != octets[3]


def _is_version(data: bytes, start: int, end: int) -> bool:
    line = data[max(data.rfind(b"\n", 0, start) + 1, start - 40) : start]
    return _VERSION.search(line) is not None or data[start:end].endswith((b".0.0", b".0.0.0"))


def _phones(data: bytes, lowered: bytes) -> Iterator[Span]:
    for _, start, _ in _search(_PHONE_LITERALS).find_matches_as_indexes(lowered):
        found = _PHONE.match(data, start)
        if found and _is_phone(found[1]):
            yield *found.span(1), "phone"


def _is_phone(value: bytes) -> bool:
    """Whether there are as many digits as numbers have, in no obvious row, and none of the fictional 555-01xx."""
    digits = re.sub(rb"\D", b"", value)
    return (
        9 <= len(digits) <= 15
        and len(set(digits)) > 3
        and b"55501" not in digits
        and b"123456" not in digits
        and (value.startswith((b"+", b"(", b"0")) or len(re.findall(rb"\d+", value)) >= 3)
    )
