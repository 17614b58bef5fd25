"""A change of one place in a text."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Bytes `start` to `end` of the UTF-8 text become `new`. `kind` is a word for a table, `line` counts from 1."""

    kind: str
    line: int
    start: int
    end: int
    new: str

    def applied(self, data: bytes) -> bytes:
        """Return the text with the change."""
        return data[: self.start] + self.new.encode() + data[self.end :]
