"""Says of texts whether they hold a benchmark's, layer by layer, the surest first.

`text`         letters and digits only: other case, white space, line breaks, punctuation, comment markers
`identifiers`  solutions without comments, names numbered by first use: renamed variables
`ngrams`       statements that share many sequences of ten words: some words changed, put in or left out
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from magicoder import kernels
from magicoder.text.benchmark_index import Index
from magicoder.text.fingerprints import Letters, Marks
from magicoder.text.identifiers import Symbols, code, place, symbols_of
from magicoder.text.ngrams import SPAN, Overlap, Statements, word_place
from magicoder.text.patterns import Pattern
from magicoder.text.substrings import Lowest, Match, folded, letters, letters_of, lowered, span

LAYERS: Final = ("text", "identifiers", "ngrams")
"""In the order in which they are asked; what one finds, the next is not asked about."""

_SHOWN: Final = 200

_ENOUGH: Final = 4_000_000
"""Characters from which on kernels pay for being loaded (half a second, where they are compiled already)."""

_ENOUGH_LOADED: Final = 100_000
"""The same where others have been loaded before."""

_BATCH: Final = 1_000_000
"""Characters that kernels work on at a time: what the cache of a core holds, and little memory."""


class Found(NamedTuple):
    """What a text was found to hold.

    name         `<benchmark>_<kind>`
    position     where it begins, in characters from 0
    matched      the first 200 characters of what matched, as it stands in the text
    grams        of layer `ngrams`: how many of the statement's sequences of words were found, of how many
    """

    layer: str
    name: str
    benchmark: str
    task: str
    position: int
    matched: str
    grams: tuple[int, int] | None = None


class Search(Protocol):
    """A search for benchmarks."""

    def __call__(self, texts: Sequence[str]) -> list[Found | None]:
        """Return for each text the first that it holds, in the order of layers and then of tasks."""
        ...


class _Pace:
    """Whether to search with kernels: once the texts so far are many enough, if numba is installed."""

    def __init__(self, *, compiled: bool | None) -> None:
        self._compiled = compiled
        self._seen = 0

    def compiled(self, texts: Sequence[str]) -> bool:
        """Return whether kernels are to search these texts."""
        if self._compiled is not None:
            return self._compiled
        self._seen += sum(map(len, texts))
        return self._seen > (_ENOUGH_LOADED if kernels.loaded() else _ENOUGH) and kernels.available()


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the texts in order, about `_BATCH` characters at a time."""
    first, size = 0, 0
    for i, text in enumerate(texts):
        size += len(text)
        if size >= _BATCH:
            yield texts[first : i + 1]
            first, size = i + 1, 0
    if first < len(texts):
        yield texts[first:]


class Whole:
    """The original's search: lower-cased substrings, the first in order wins."""

    def __init__(self, patterns: Sequence[Pattern], *, compiled: bool | None = None) -> None:
        """Take the patterns, `lowered`; `compiled` says whether kernels search, None lets the amount of text decide."""
        self._patterns = patterns
        self._lowest = Lowest([p.form for p in patterns])
        self._pace = _Pace(compiled=compiled)

    def __call__(self, texts: Sequence[str]) -> list[Found | None]:
        """Search; see `Search`."""
        first = self._lowest.first_compiled if self._pace.compiled(texts) else self._lowest.first
        return [self._found(t, match) for part in _batches(texts) for t, match in zip(part, first(part), strict=True)]

    def _found(self, text: str, match: Match | None) -> Found | None:
        if match is None:
            return None
        p = self._patterns[match.pattern]
        position, matched = _shown(text, match.start, len(p.form), lowered)
        return Found("text", p.name, p.benchmark, p.task, position, matched)


class Layered:
    """The search by figures."""

    def __init__(self, index: Index, layers: Sequence[str], share: float, *, compiled: bool | None = None) -> None:
        """Take what to search for; `share` of a statement's grams makes a match. `compiled` is as in `Whole`."""
        self._index = index
        self._layers = [layer for layer in LAYERS if layer in layers]
        self._texts = Marks([p.mark for p in index.texts], 1, index.window)
        self._solutions = Marks([p.mark for p in index.solutions], 4)
        self._statements = Statements([s.grams for s in index.statements], share)
        self._pace = _Pace(compiled=compiled)

    def __call__(self, texts: Sequence[str]) -> list[Found | None]:
        """Search; see `Search`."""
        compiled = self._pace.compiled(texts)
        return [found for part in _batches(texts) for found in self._search(part, compiled=compiled)]

    def _search(self, texts: Sequence[str], *, compiled: bool) -> list[Found | None]:
        found: list[Found | None] = [None] * len(texts)
        forms = [folded(text) for text in texts] if compiled and self._layers != ["identifiers"] else []
        ask = {"text": self._in_letters, "identifiers": self._in_code, "ngrams": self._in_words}
        for layer in self._layers:
            left = [i for i, known in enumerate(found) if known is None]
            those = [forms[i] for i in left] if forms else None
            for i, match in zip(left, ask[layer]([texts[i] for i in left], those, compiled=compiled), strict=True):
                found[i] = match
        return found

    def _in_letters(
        self, texts: Sequence[str], forms: Sequence[bytes] | None, *, compiled: bool
    ) -> Iterator[Found | None]:
        if compiled and forms is not None:
            values, starts = letters_of(forms)
            matches = self._texts.first_compiled(
                values, starts, lambda i: Letters(values[starts[i] : starts[i + 1]].tobytes())
            )
        else:
            matches = self._texts.first([Letters(letters(text)) for text in texts])
        for text, match in zip(texts, matches, strict=True):
            if match is None:
                yield None
                continue
            p = self._index.texts[match.pattern]
            position, matched = _shown(text, match.start, p.mark.length, letters)
            yield Found("text", p.name, p.benchmark, p.task, position, matched)

    def _in_code(
        self, texts: Sequence[str], _forms: Sequence[bytes] | None, *, compiled: bool
    ) -> Iterator[Found | None]:
        if compiled:
            matches = self._solutions.first_compiled(*symbols_of(texts))
        else:
            symbols = Symbols()
            matches = self._solutions.first([code(text, symbols) for text in texts])
        for text, match in zip(texts, matches, strict=True):
            if match is None:
                yield None
                continue
            p = self._index.solutions[match.pattern]
            start, end = place(text, match.start, p.mark.length)
            yield Found("identifiers", p.name, p.benchmark, p.task, start, text[start:end][:_SHOWN])

    def _in_words(
        self, texts: Sequence[str], forms: Sequence[bytes] | None, *, compiled: bool
    ) -> Iterator[Found | None]:
        overlaps: list[Overlap | None]
        if compiled and forms is not None:
            overlaps = self._statements.first_compiled(forms)
        else:
            overlaps = self._statements.first(texts)
        for text, overlap in zip(texts, overlaps, strict=True):
            if overlap is None:
                yield None
                continue
            s = self._index.statements[overlap.statement]
            start, end = word_place(text, overlap.start, SPAN)
            grams = (overlap.found, overlap.size)
            name = f"{s.benchmark}_ngrams"
            yield Found("ngrams", name, s.benchmark, s.task, start, text[start:end][:_SHOWN].rstrip(), grams)


def _shown(text: str, start: int, length: int, form: Callable[[str], bytes]) -> tuple[int, str]:
    """Return where bytes of a text's form stand in it, and the first characters of that place."""
    position, end = span(text, start, length, form)
    return position, text[position:end][:_SHOWN]
