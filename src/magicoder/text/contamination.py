"""Says of texts whether they hold a benchmark's, layer by layer, the surest first.

`text`         letters and digits only: other case, white space, line breaks, punctuation, comment markers
`identifiers`  solutions without comments, names numbered by first use: renamed variables
`ngrams`       statements that share many sequences of ten words: some words changed, put in or left out
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from magicoder.text.benchmark_index import Index
from magicoder.text.fingerprints import Letters, Marks
from magicoder.text.identifiers import Symbols, code, place
from magicoder.text.ngrams import SPAN, Statements, word_place
from magicoder.text.patterns import Pattern
from magicoder.text.substrings import Automaton, letters, locate, lowered

LAYERS: Final = ("text", "identifiers", "ngrams")
"""In the order in which they are asked; what one finds, the next is not asked about."""

_SHOWN: Final = 200


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


class Whole:
    """The original's search: patterns in a form of their own, the first in order wins."""

    def __init__(self, patterns: Sequence[Pattern], form: Callable[[str], bytes] = lowered) -> None:
        self._patterns = patterns
        self._form = form
        self._automaton = Automaton([p.form for p in patterns])

    def __call__(self, texts: Sequence[str]) -> list[Found | None]:
        """Search; see `Search`."""
        return [self._first(text) for text in texts]

    def _first(self, text: str) -> Found | None:
        match = self._automaton.first(self._form(text))
        if match is None:
            return None
        p = self._patterns[match.pattern]
        position, matched = _shown(text, match.start, len(p.form), self._form)
        return Found("text", p.name, p.benchmark, p.task, position, matched)


class Layered:
    """The search by figures."""

    def __init__(self, index: Index, layers: Sequence[str], share: float) -> None:
        """Take what to search for; `share` of a statement's grams makes a match."""
        self._index = index
        self._layers = [layer for layer in LAYERS if layer in layers]
        self._texts = Marks([p.mark for p in index.texts], 1, index.window)
        self._solutions = Marks([p.mark for p in index.solutions], 4)
        self._statements = Statements([s.grams for s in index.statements], share)

    def __call__(self, texts: Sequence[str]) -> list[Found | None]:
        """Search; see `Search`."""
        found: list[Found | None] = [None] * len(texts)
        ask = {"text": self._in_letters, "identifiers": self._in_code, "ngrams": self._in_words}
        for layer in self._layers:
            left = [i for i, known in enumerate(found) if known is None]
            for i, match in zip(left, ask[layer]([texts[i] for i in left]), strict=True):
                found[i] = match
        return found

    def _in_letters(self, texts: Sequence[str]) -> list[Found | None]:
        found: list[Found | None] = []
        for text, match in zip(texts, self._texts.first([Letters(letters(text)) for text in texts]), strict=True):
            if match is None:
                found.append(None)
                continue
            p = self._index.texts[match.pattern]
            position, matched = _shown(text, match.start, p.mark.length, letters)
            found.append(Found("text", p.name, p.benchmark, p.task, position, matched))
        return found

    def _in_code(self, texts: Sequence[str]) -> list[Found | None]:
        symbols = Symbols()
        found: list[Found | None] = []
        for text, match in zip(texts, self._solutions.first([code(text, symbols) for text in texts]), strict=True):
            if match is None:
                found.append(None)
                continue
            p = self._index.solutions[match.pattern]
            start, end = place(text, match.start, p.mark.length)
            found.append(Found("identifiers", p.name, p.benchmark, p.task, start, text[start:end][:_SHOWN]))
        return found

    def _in_words(self, texts: Sequence[str]) -> list[Found | None]:
        found: list[Found | None] = []
        for text, overlap in zip(texts, self._statements.first(texts), strict=True):
            if overlap is None:
                found.append(None)
                continue
            s = self._index.statements[overlap.statement]
            start, end = word_place(text, overlap.start, SPAN)
            grams = (overlap.found, overlap.size)
            name = f"{s.benchmark}_ngrams"
            found.append(Found("ngrams", name, s.benchmark, s.task, start, text[start:end][:_SHOWN].rstrip(), grams))
        return found


def _shown(text: str, start: int, length: int, form: Callable[[str], bytes]) -> tuple[int, str]:
    """Return where bytes of a text's form stand in it, and the first characters of that place."""
    position = locate(text, start, form)
    end = locate(text, start + length - 1, form) + 1
    return position, text[position:end][:_SHOWN]
