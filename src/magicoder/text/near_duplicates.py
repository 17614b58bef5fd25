"""Near-duplicates of a whole collection: clusters of texts that resemble each other, in memory that stays small.

Stub: the interface is agreed, the body is being written.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType


@dataclass(frozen=True, slots=True)
class SketchBatch:
    """Consecutive texts as the search sees them; made in worker processes, about as large as the texts."""

    shingles: bytes
    sizes: bytes
    slots: bytes
    keys: bytes

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.sizes) // 4


def sketch_batch(texts: Sequence[str]) -> SketchBatch:
    """Return the sketches of `texts`, the same whatever batches a collection is cut into. Picklable."""
    raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """Who resembles whom, by number of the text in the order of adding.

    leaders          for each text the lowest-numbered text of its cluster; itself if it is alone
    candidate_pairs  pairs that a band proposed and that were not in one cluster already
    verified_pairs   those of them whose exact Jaccard similarity was computed
    joined_pairs     those of them whose similarity reached the threshold
    """

    leaders: "array[int]"
    candidate_pairs: int = 0
    verified_pairs: int = 0
    joined_pairs: int = 0

    @property
    def count_texts(self) -> int:
        """Return the number of texts."""
        return len(self.leaders)

    def leader(self, text: int) -> int:
        """Return the lowest-numbered text of the cluster of `text`."""
        return self.leaders[text]

    def members(self) -> Iterator[tuple[int, ...]]:
        """Yield each cluster of two or more, sorted, in the order of their leaders."""
        raise NotImplementedError

    def nearest(self, text: int) -> tuple[int, float]:
        """Return the member that `text` was first joined with and their exact Jaccard similarity.

        Raises:
            KeyError: `text` is alone.
        """
        raise NotImplementedError


class NearDuplicates:
    """Takes sketches in, batch after batch, and says in the end which texts form clusters.

    Unnamed files in `folder` hold what grows with the text; they vanish with the process. Close it, or use `with`.

    Raises (from `add`):
        OSError: ENOSPC where the disk is full.
    """

    def __init__(self, threshold: float, folder: Path) -> None:
        """Take the Jaccard similarity of word 5-grams from which on two texts resemble each other, and the folder."""
        self.threshold = threshold
        self.folder = folder

    def __enter__(self) -> "NearDuplicates":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the files back."""

    def __len__(self) -> int:
        """Return the number of texts added."""
        raise NotImplementedError

    def add(self, batch: SketchBatch) -> None:
        """Add consecutive texts, numbered on from those added before."""
        raise NotImplementedError

    def clusters(self) -> Clusters:
        """Return the clusters of all texts added so far."""
        raise NotImplementedError
