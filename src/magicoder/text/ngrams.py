"""Word n-grams: what near-duplicates are measured by."""

import re

_WORD = re.compile(r"\w+")
WORDS = 5
"""Words in a shingle."""


def words(text: str) -> list[str]:
    """Return the words of `text` in order: runs of letters, digits and underscores, case kept."""
    return _WORD.findall(text)


def shingles(text: str, n: int = WORDS) -> set[str]:
    """Return the distinct runs of `n` words, joined by spaces.

    A text of fewer than `n` words is its own only shingle, so it resembles nothing but an equal text. (The original's
    script gives all such texts one and the same signature, and so takes them for duplicates of each other.)
    """
    found = words(text)
    if len(found) < n:
        return {text.strip()}
    if n == 1:
        return set(found)
    return set(map(" ".join, zip(*(found[i:] for i in range(n)), strict=False)))


def jaccard(a: set[str], b: set[str]) -> float:
    """Return the share of the shingles of either set that are in both, 1.0 for two empty sets."""
    union = len(a | b)
    return len(a & b) / union if union else 1.0
