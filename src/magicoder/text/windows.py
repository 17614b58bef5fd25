"""Random windows of consecutive lines: the seeds of OSS-Instruct, our way and exactly the original's way.

Both draw the start uniformly over the lines, then the number of lines, and cut what reaches over the end, so the
distribution is that of the paper. They differ in where the randomness comes from: ours depends on the document alone,
the original's on the batch of 1,000 documents a row falls into. `window_tables` draws ours for whole tables.
"""

import random
from typing import NamedTuple

from magicoder.text.draws import Draws

TRIES = 16
"""How often a blank or overlapping window is drawn again."""

METADATA = ("<reponame>", "<filename>", "<gh_stars>")
"""What a line of metadata begins with."""


class Window(NamedTuple):
    """Lines `first_line` to `last_line` (both included, counted from 1, split on newline) and their text."""

    first_line: int
    last_line: int
    text: str


def without_metadata(text: str) -> str:
    """Return `text` without the line of metadata tags that starcoderdata puts before some files."""
    return text[text.find("\n") + 1 or len(text) :] if text.startswith(METADATA) else text


def draw_windows(text: str, draws: Draws, *, min_lines: int = 1, max_lines: int = 15, count: int = 1) -> list[Window]:
    """Return up to `count` windows of `text` in the order of their lines; none overlap and none is blank.

    Lines end at newlines only, and keep their ends. A window has at least `min_lines` lines wherever the text has,
    and fewer than were drawn where the text ends. There are no windows only if all of the text is blank; there are
    fewer than `count` if no room for another is found in a few tries. Raising `count` keeps the earlier windows.
    """
    if not text or text.isspace():
        return []
    total = text.count("\n") + (not text.endswith("\n"))
    found: list[Window] = []
    while len(found) < count:
        sizes = (min_lines, max_lines)
        window = _try_to_draw(text, draws, total, sizes, found)
        if window is None and not found:
            window = _around_a_word(text, draws, total, sizes)
        if window is None:
            break
        found.append(window)
    return sorted(found)


def _try_to_draw(text: str, draws: Draws, total: int, sizes: tuple[int, int], found: list[Window]) -> Window | None:
    for _ in range(TRIES):
        start, more = draws.pair(max(1, total - sizes[0] + 1), sizes[1] - sizes[0] + 1)
        stop = min(total, start + sizes[0] + more)
        if any(start < w.last_line and w.first_line <= stop for w in found):
            continue
        snippet = _lines(text, start, stop)
        if not snippet.isspace():
            return Window(start + 1, stop, snippet)
    return None


def _around_a_word(text: str, draws: Draws, total: int, sizes: tuple[int, int]) -> Window:
    """Return a window that begins at a line which is not blank: for texts that are nearly all blank."""
    written = [number for number, line in enumerate(text.split("\n")) if line and not line.isspace()]
    choice, more = draws.pair(len(written), sizes[1] - sizes[0] + 1)
    stop = min(total, written[choice] + sizes[0] + more)
    start = max(0, min(written[choice], stop - sizes[0]))
    return Window(start + 1, stop, _lines(text, start, stop))


def _lines(text: str, start: int, stop: int) -> str:
    """Return lines `start` to `stop` (from 0, `stop` excluded) of `text` with their ends."""
    pieces = text.split("\n", stop)  # the rest of a long file stays in one piece
    end = "\n" if len(pieces) > stop else ""
    return "\n".join(pieces[start:stop]) + end


class ExactWindows:
    """The original's windows of one language's rows, bit for bit (its `generate_data.py`), in constant memory.

    `draw` takes the texts in order from row `first_row` on, which must begin a batch of `chunk_size` rows: there the
    generator is seeded anew with `seed` plus the row. Lines are those of `str.splitlines`, so form feeds and U+2028
    end lines too, while `first_line` and `last_line` count newlines as everywhere else.
    """

    def __init__(
        self, *, first_row: int = 0, seed: int = 976, min_lines: int = 1, max_lines: int = 15, chunk_size: int = 1000
    ) -> None:
        assert first_row % chunk_size == 0, "a batch can only be reproduced from its first row"
        self.row = first_row
        self.seed = seed
        self.min_lines = min_lines
        self.max_lines = max_lines
        self.chunk_size = chunk_size
        self._rng = random.Random()

    def draw(self, text: str) -> Window | None:
        """Return the window of the next row.

        A text without lines, which crashes the original, gives None and takes nothing from the generator: no later
        window moves.
        """
        if self.row % self.chunk_size == 0:
            self._rng.seed(self.seed + self.row)
        self.row += 1
        lines = text.splitlines(keepends=True)
        if not lines:
            return None
        start = self._rng.choice(range(len(lines)))  # the same draw as from a list of the line indices
        count = self._rng.randint(self.min_lines, self.max_lines)
        snippet = "".join(lines[start : start + count])
        first_line = 1 + "".join(lines[:start]).count("\n")
        return Window(first_line, first_line + snippet.count("\n", 0, -1), snippet)
