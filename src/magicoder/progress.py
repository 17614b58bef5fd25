"""How far something is, told to whoever watches."""

from typing import Protocol


class Progress(Protocol):
    """Where a stage tells how far it is."""

    def expect(self, total: int | None, unit: str) -> None:
        """Say how many `unit`s are to come, None if that cannot be known."""
        ...

    def tick(self, count: int, note: str = "") -> None:
        """Say that `count` more are done; `note` is shown beside the bar."""
        ...


class Silent:
    """Progress that nobody watches."""

    def expect(self, total: int | None, unit: str) -> None:
        """Ignore it."""

    def tick(self, count: int, note: str = "") -> None:
        """Ignore it."""
