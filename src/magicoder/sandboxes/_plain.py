"""What stands for values that have no plain form of their own, and the refusal of those that are malformed."""

from collections.abc import Mapping
from dataclasses import dataclass


class BadValue(ValueError):  # noqa: N818 - says what the value is
    """An answer that no honest end would have sent, or that is beyond the bounds (`too_large`)."""

    def __init__(self, why: str, *, too_large: bool = False) -> None:
        super().__init__(why)
        self.too_large = too_large


@dataclass(frozen=True, slots=True, eq=False)
class Opaque:
    """What came back was no plain data (a generator, an object of the program's own class): equal to nothing."""

    type_name: str


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """A match of a regular expression: true, and as much of it as tests look at."""

    first: int
    last: int
    text: str
    others: tuple[str | None, ...]
    named: Mapping[str, str | None]

    def span(self) -> tuple[int, int]:
        """Return where the whole match begins and ends."""
        return self.first, self.last

    def start(self) -> int:
        """Return where the whole match begins."""
        return self.first

    def end(self) -> int:
        """Return where the whole match ends."""
        return self.last

    def group(self, which: int | str = 0) -> str | None:
        """Return one group's text; 0 is the whole match."""
        if isinstance(which, str):
            return self.named[which]
        return (self.text, *self.others)[which]

    __getitem__ = group

    def groups(self) -> tuple[str | None, ...]:
        """Return the texts of all groups."""
        return self.others

    def groupdict(self) -> dict[str, str | None]:
        """Return the texts of the named groups."""
        return dict(self.named)


@dataclass(frozen=True, slots=True)
class Array:
    """A numpy array or scalar where there is no numpy: its type as numpy writes it, shape, and bytes in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes
