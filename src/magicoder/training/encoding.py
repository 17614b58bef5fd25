"""From conversations to tokens, and which of them are learned."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from magicoder.store import Progress
from magicoder.training.data import Conversation
from magicoder.training.encoded import Encoded
from magicoder.training.settings import Examples


class Source(Protocol):
    """Conversations that can be read more than once (`data.conversations`)."""

    def __iter__(self) -> Iterator[Conversation]:
        """Read them."""
        ...

    def digest(self) -> str:
        """Return what changes when they do."""
        ...


def encode(  # noqa: PLR0917 - what, by what, how, where to: always in this order
    conversations: Source,
    tokenizer: Any,
    examples: Examples,
    max_length: int,
    folder: Path,
    progress: Progress | None = None,
    *,
    keep_all: bool = False,
) -> Encoded:
    """Encode `conversations` under `folder`, or return what an earlier call made of the same (being written)."""
    raise NotImplementedError
