"""Rows of datasets as conversations, whatever columns they come in."""

from collections.abc import Iterator
from dataclasses import dataclass

from magicoder.records import Message
from magicoder.training.settings import Stage


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row. `id` names it for people: the row's own id, or its file and number."""

    id: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Conversations:
    """The rows of a stage; they can be read more than once."""

    stage: Stage

    def __iter__(self) -> Iterator[Conversation]:
        """Read them."""
        raise NotImplementedError

    def digest(self) -> str:
        """Return what changes when the rows do."""
        raise NotImplementedError


def conversations(stage: Stage) -> Conversations:
    """Return the rows of a stage."""
    return Conversations(stage)
