"""Code without its names and comments: what is left when variables are renamed and remarks are stripped.

One lexer for all languages, on purpose: a solution is looked for in seeds that begin in the middle of a function and in
answers that mix prose and fences, where no parser holds. What it takes for a comment in one language (`//` is division
in Python) it takes for one on both sides, so equal code stays equal.

Two forms of a token. Its *symbol* is the same for every name, so that the symbols of a part are a part of the symbols;
they are what a scan runs over. Its *canonical* form numbers names by first use within the part that is compared
(Baker's parameterized matching), so that renaming one for another is seen.
"""

import re
import sys
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import blake2b
from itertools import islice
from typing import Any
from zlib import crc32

_TEXT = r"""(?:"[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\\\n]*(?:\\.[^'\\\n]*)*')"""
# The most frequent first: a name, with what tells its use: assigned to (or of an argument), called, a text's prefix.
_TOKEN = re.compile(
    rf"[^\W\d]\w*(?:[ \t]*(?:=(?![=>])|\()|{_TEXT})?"
    r"|[(){},;\[\]+*]"
    r"|//.*|\#.*|/\*[\s\S]*?\*/"
    rf"|{_TEXT}"
    r"|(?<!\.)\.[^\W\d]\w*"  # an attribute, but not what three dots spread
    r"|\.?\d\w*(?:\.\d\w*)*"
    r"|\\[^\r\n]"  # in a pattern: no name begins behind a backslash
    r"|[^\w\s]"
)

# Words of the languages, without those that name variables where they are no keywords (`end`, `match`, `type`).
_KEYWORDS = (
    "and as assert async await break case catch class const constexpr continue def defer delete do elif else except "
    "export extends extern finally for foreach global goto if impl implements import in include inline instanceof "
    "interface is lambda let mut namespace new nonlocal not operator or package pass private protected pub public "
    "raise return self sizeof static struct super switch template this throw throws trait try typedef typename union "
    "unsafe using var virtual void volatile while with yield "
    "True False None true false null undefined nullptr int float bool"
)

# Functions of Python and its kin, by their names where they are called: a variable may be called `list` or `max`.
_FUNCTIONS = (
    "abs all any append bin bytes chr cap complex dict dir divmod enumerate eval exec filter format frozenset getattr "
    "hasattr hash hex id input isinstance issubclass iter len list make map max min next open ord pow print property "
    "range repr reversed round set setattr slice sorted str string sum tuple type vars zip"
)

_LONG_TEXT = re.compile(r"\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|`[^`]*`")
_WORD = re.compile(r"[^\W\d]\w*")

_KEPT = frozenset(_KEYWORDS.split())
_KEPT_CALLED = frozenset(_FUNCTIONS.split()) | _KEPT

MIN_TOKENS = 20
"""A solution of fewer tokens is not searched for in this form. At 20 none of 4,319 occurs by chance in 99 MB of real
code; at 18 one does in 3 files (copy a dictionary, update it, return it), and `def f(a, b): return a == b` at 12."""


@dataclass(frozen=True, slots=True)
class Code:
    """The tokens of a text without its comments, and their symbols (4 bytes each)."""

    tokens: list[str]
    values: bytes

    def strong(self, start: int, length: int) -> bytes:
        """Return the digest of `length` tokens from `start` on: equal for equal code with other names."""
        return blake2b(canonical(self.tokens[start : start + length]), digest_size=16).digest()


def code(text: str, symbols: "Symbols | None" = None) -> Code:
    """Return the code of `text`; `symbols` may be shared by the texts of a batch."""
    symbols = Symbols() if symbols is None else symbols
    tokens = _TOKEN.findall(text)
    values = array("I", map(symbols.__getitem__, tokens))
    if 0 in values:
        tokens = [token for token, value in zip(tokens, values, strict=True) if value]
        values = array("I", filter(None, values))
    return Code(tokens, values.tobytes())


def spellings(text: str) -> list[Code]:
    """Return the code of a solution, and once more with words in its texts of many lines apart from its variables.

    Such texts are read like code here, since a seed may begin within one. A word in them that is also the name of a
    variable that the solution assigns to is not renamed with it.
    """
    found = [code(text)]
    assigned = {token[:-1].rstrip() for token in found[0].tokens if token[-1] == "=" and token[0] not in "=\"'"}
    changed = _LONG_TEXT.sub(lambda m: _WORD.sub(lambda w: w[0] + "_" * (w[0] in assigned), m[0]), text)
    if changed == text:
        return found
    apart = code(changed)
    if apart.strong(0, len(apart.tokens)) != found[0].strong(0, len(found[0].tokens)):
        found.append(apart)
    return found


def place(text: str, start: int, length: int) -> tuple[int, int]:
    """Return the first and the last index, exclusive, of `length` tokens of the code of `text` from `start` on."""
    spans = [m.span() for m in _TOKEN.finditer(text) if any(_form(m.group()))][start : start + length]
    return spans[0][0], spans[-1][1]


@dataclass(frozen=True, slots=True)
class Placed:
    """The tokens of a text without its comments, each by the byte where it begins; lexed where a part is asked for."""

    text: str
    places: Sequence[int]

    def strong(self, start: int, length: int) -> bytes:
        """Return the digest that `Code.strong` returns."""
        begin = int(self.places[start])
        if not self.text.isascii():
            begin = len(self.text.encode("utf-8", "surrogatepass")[:begin].decode("utf-8", "surrogatepass"))
        tokens = (m.group() for m in _TOKEN.finditer(self.text, begin))
        part = list(islice((token for token in tokens if any(_form(token))), length))
        return blake2b(canonical(part), digest_size=16).digest()


def symbols_of(texts: Sequence[str]) -> tuple[Any, Any, Callable[[int], Placed]]:
    """Return the symbols of the codes of texts, one behind another (uint32), where each begins, and a code by number.

    Needs numba.
    """
    from magicoder.kernels.texts import joined

    data, starts = joined([text.encode("utf-8", "surrogatepass") for text in texts])
    values, places, value_starts = _lexer().symbols(data, starts)
    return values, value_starts, lambda i: Placed(texts[i], places[value_starts[i] : value_starts[i + 1]])


@cache
def _lexer() -> Any:
    """Return the lexer above as tables for the kernel."""
    from magicoder.kernels import tokens

    every = "".join(map(chr, range(sys.maxunicode + 1)))
    kinds = bytearray([tokens.OTHER]) * len(every)
    for pattern, kind in ((r"[^\W\d]+", tokens.WORD), (r"\d+", tokens.DIGIT), (r"\s+", tokens.SPACE)):
        for run in re.finditer(pattern, every):
            kinds[run.start() : run.end()] = bytes([kind]) * (run.end() - run.start())
    for point in range(128, len(every)):
        if kinds[point] == tokens.WORD and not every[point].isalpha():
            kinds[point] = tokens.NUMERIC
    known = Symbols()
    any_name = "x" * 11
    kept = [
        (word.encode(), known[word if word in _KEPT else any_name], known[f"{word}("]) for word in sorted(_KEPT_CALLED)
    ]
    return tokens.Lexer(bytes(kinds), kept, (known[any_name], known[f"{any_name}("], known[f"{any_name}="]))


@lru_cache(maxsize=1 << 16)  # few tokens are most of any code
def _form(token: str) -> tuple[str, str]:
    """Return the name in a token, "" if it has none that may be renamed, and the rest as it is compared.

    Both are "" for a comment. A name that is assigned to is left out: it may be that of an argument, which the
    function called has given. So is what stands in the braces of a formatted text. Quotes of either kind are one.
    """
    first, last = token[0], token[-1]
    if first == "_" or first.isalpha():
        if last == "=":
            return "", "="
        if last in "\"'":
            return "", _content(token)
        if last == "(":
            name = token[:-1].rstrip()
            return ("", f"{name}(") if name in _KEPT_CALLED else (name, "(")
        return ("", token) if token in _KEPT else (token, "")
    if first == "#" or token.startswith(("//", "/*")):
        return "", ""
    return "", _content(token) if first in "\"'" and len(token) > 1 else token


def _content(text: str) -> str:
    quote = text.index(text[-1])
    content = text[quote + 1 : -1]
    return "'" + (re.sub(r"\{[^{}]*\}", "{}", content) if "f" in text[:quote].lower() else content)


class Symbols(dict[str, int]):
    """Token → symbol, 0 for a comment; remembers every token asked for, so keep one for a batch, not for a corpus."""

    def __missing__(self, token: str) -> int:
        """Return the symbol of a token that was not seen yet."""
        name, rest = _form(token)
        symbol = crc32((f"\x1f{rest}" if name else rest).encode("utf-8", "surrogatepass")) or 1
        self[token] = symbol = symbol if name or rest else 0
        return symbol


def canonical(part: Sequence[str]) -> bytes:
    """Return code tokens (no comments) with names numbered by first use: equal for equal code with other names."""
    numbers: dict[str, int] = {}
    forms = []
    for token in part:
        name, rest = _form(token)
        forms.append(f"\x1f{numbers.setdefault(name, len(numbers))}{rest}" if name else rest)
    return "\x1e".join(forms).encode("utf-8", "surrogatepass")
