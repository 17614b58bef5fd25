"""From conversations to tokens, and which of them are learned.

With the template `magicoder` and `boundary: separate` this is the original's preprocessing, id for id: prompt and
response are tokenized apart and without special tokens; the beginning-of-text token stands before them if there is one,
the end-of-text token behind; what is too long is cut on the right; learned are the response and the end of text.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from magicoder.errors import RecipeError, StoreError
from magicoder.fingerprint import digest, digest_bytes
from magicoder.store import Progress, Silent
from magicoder.text import templates
from magicoder.training import encoded, rendering
from magicoder.training.data import Conversation
from magicoder.training.encoded import Encoded, Example, Report
from magicoder.training.rendering import Segment
from magicoder.training.settings import Examples

_LAYOUT: Final = 1
"""Raised when the same input gives other tokens."""
_CHUNK_ROWS: Final = 1000


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
    """Encode `conversations` in a folder of `folder` named by their key, or return what is there of the same key.

    keep_all   drops no row that has a response, as the original; else those whose response is blank, and those of which
               nothing is left to learn after cutting, are dropped and counted

    Raises:
        RecipeError: data are missing or malformed (`data`), the tokenizer has no end-of-text token, or its chat
            template will not do; says what to do.
        StoreError: the disk is full or read-only.
    """
    if tokenizer.eos_token_id is None:
        raise RecipeError(
            "the tokenizer has no end-of-text token (eos_token), so that a model could not learn to stop; set one in "
            "its tokenizer_config.json, or take another tokenizer (base.tokenizer)"
        )
    if max_length < 2:
        raise RecipeError(f"max_length is {max_length}; an example needs at least 2 tokens")
    tokens = _Tokenizer(tokenizer)
    template = rendering.ChatTemplate(tokenizer) if examples.template == "chat" else None
    key = digest(
        [
            _LAYOUT,
            conversations.digest(),
            tokens.digest(),
            examples,
            max_length,
            keep_all,
            [template.text, metadata.version("transformers")] if template else templates.SYSTEM,
        ]
    )
    place = folder / key
    try:
        found = Encoded.open(place)
        if found.key == key:
            return found
    except StoreError:
        pass  # there is nothing, or what is there is not whole: it is made again
    work = _Encoding(tokens, template, examples, max_length, keep_all, progress or Silent())
    return encoded.write(place, work.examples(conversations), key=key, counts=work.counts)


class _Row(NamedTuple):
    """A row's tokens before they are cut."""

    id: str
    tokens: list[int]
    spans: list[tuple[int, int]]


class _Encoding:
    """One pass over the rows. `counts` tells what became of those read so far."""

    def __init__(  # noqa: PLR0917 - private
        self,
        tokens: "_Tokenizer",
        template: rendering.ChatTemplate | None,
        settings: Examples,
        max_length: int,
        keep_all: bool,  # noqa: FBT001 - private
        progress: Progress,
    ) -> None:
        self._tokens = tokens
        self._template = template
        self._settings = settings
        self._max_length = max_length
        self._keep_all = keep_all
        self._progress = progress
        self._blank: dict[tuple[int, ...], bool] = {}
        self._rows = self._truncated = self._lost_eos = self._special = 0
        self._dropped: Counter[str] = Counter()

    def counts(self) -> Report:
        """Return what the examples themselves do not show."""
        return Report(
            rows=self._rows,
            dropped=dict(self._dropped),
            truncated=self._truncated,
            lost_eos=self._lost_eos,
            special_in_text=self._special,
        )

    def examples(self, conversations: Iterable[Conversation]) -> Iterator[Example]:
        self._progress.expect(None, "rows")
        rows = iter(conversations)
        while chunk := list(islice(rows, _CHUNK_ROWS)):
            self._rows += len(chunk)
            kept = [ended for conversation in chunk if (ended := self._usable(conversation))]
            for row in self._encoded(kept):
                example = self._cut(row)
                if example is not None:
                    yield example
            self._progress.tick(len(chunk))

    def _usable(self, conversation: Conversation) -> Conversation | None:
        """Return a conversation up to its last response, None if it is dropped."""
        messages = conversation.messages
        answers = [i for i, message in enumerate(messages) if message.role == "assistant"]
        if not answers:
            self._dropped["no_response"] += 1
            return None
        learned = answers if self._settings.train_on == "all" else answers[-1:]
        if not self._keep_all and not all(messages[i].content.strip() for i in learned):
            self._dropped["empty_response"] += 1
            return None
        return Conversation(conversation.id, messages[: answers[-1] + 1])

    def _encoded(self, rows: Sequence[Conversation]) -> Iterator[_Row]:
        if not rows:
            return iter(())
        if self._template:
            return self._chats(rows, self._template)
        segments = [rendering.magicoder(row.messages, self._settings.train_on) for row in rows]
        apart = self._settings.boundary == "separate"
        return self._framed(rows, self._tokens.apart(segments) if apart else self._tokens.joined(segments))

    def _framed(
        self, rows: Sequence[Conversation], encodings: Iterable[tuple[list[int], list[tuple[int, int]]]]
    ) -> Iterator[_Row]:
        """Put the beginning and the end of text around, where the tokenizer has them. The end is learned."""
        begin, end = self._tokens.begin, self._tokens.end
        for row, (ids, spans) in zip(rows, encodings, strict=True):
            shift = len(begin)
            self._special += not self._tokens.special.isdisjoint(ids)
            moved = [(start + shift, stop + shift) for start, stop in spans]
            yield _Row(row.id, [*begin, *ids, end], [*moved, (shift + len(ids), shift + len(ids) + 1)])

    def _chats(self, rows: Sequence[Conversation], template: rendering.ChatTemplate) -> Iterator[_Row]:
        if template.marks_answers:
            encodings: Iterable[tuple[list[int], list[tuple[int, int]]]] = (
                (ids, _runs(mask)) for ids, mask in zip(*template.marked(rows), strict=True)
            )
        else:
            encodings = self._tokens.joined([template.segments(row, self._settings.train_on) for row in rows])
        for row, (ids, found) in zip(rows, encodings, strict=True):
            tokens, spans = self._ended(ids, found if self._settings.train_on == "all" else found[-1:])
            learned = sum(end - start for start, end in spans)
            if not 0 < learned < len(tokens):
                raise RecipeError(
                    f"{row.id}: by the tokenizer's chat template {'all' if learned else 'none'} of the {len(tokens)} "
                    "tokens are the assistant's; correct its {% generation %} marks, or take template: magicoder"
                )
            yield _Row(row.id, tokens, spans)

    def _ended(self, ids: list[int], spans: list[tuple[int, int]]) -> tuple[list[int], list[tuple[int, int]]]:
        """Let every answer end with the token that ends a turn, so that it is learned, and with nothing behind it.

        Templates differ in whether their marks, or what they add for an answer, include that token and the white space
        behind it. Where the last answer has none at all, the end of text is put there.
        """
        ended = []
        for start, end in spans:
            last = next((i for i in range(end - 1, start - 1, -1) if ids[i] in self._tokens.special), None)
            if last is not None and self._is_blank(ids[last + 1 : end]):
                ended.append((start, last + 1))
            elif end < len(ids) and ids[end] in self._tokens.special:
                ended.append((start, end + 1))
            elif end == len(ids):
                ids = [*ids, self._tokens.end]
                ended.append((start, end + 1))
            else:
                ended.append((start, end))
        return ids, ended

    def _is_blank(self, ids: list[int]) -> bool:
        key = tuple(ids)
        if key not in self._blank:
            self._blank[key] = not self._tokens.text(ids).strip()
        return self._blank[key]

    def _cut(self, row: _Row) -> Example | None:
        length = len(row.tokens)
        tokens = np.array(row.tokens[: self._max_length], dtype=np.int32)
        mask = np.zeros(len(tokens), dtype=np.bool_)
        for start, end in row.spans:
            mask[start:end] = True
        mask[0] = False  # nothing stands before it that could predict it
        if not self._keep_all and not mask.any():
            self._dropped["nothing_learned_after_cutting" if length > self._max_length else "nothing_learned"] += 1
            return None
        if length > self._max_length:
            self._truncated += 1
            self._lost_eos += row.spans[-1][1] > self._max_length
        return Example(row.id, tokens, mask)


class _Tokenizer:
    """A tokenizer of transformers, used in batches without the detours of its `__call__`.

    begin   its beginning-of-text token, if it has one
    special ids that are no text: those that end a turn are among them
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.begin = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
        self.end = int(tokenizer.eos_token_id)
        added = tokenizer.added_tokens_decoder.items()
        self.special = frozenset(number for number, token in added if token.special) | {self.end}
        self._core: Any = None
        if getattr(tokenizer, "is_fast", False):
            from tokenizers import Tokenizer

            # A copy: what its file says of cutting and padding must not happen, and the caller's stays as it is.
            self._core = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
            self._core.no_truncation()
            self._core.no_padding()
            self._core.encode_special_tokens = tokenizer.backend_tokenizer.encode_special_tokens

    def digest(self) -> str:
        """Return what decides the tokens of a text."""
        if self._core is None:
            vocabulary = sorted(self._tokenizer.get_vocab().items())
            content = digest([type(self._tokenizer).__name__, [list(pair) for pair in vocabulary]])
        else:
            content = digest_bytes(self._core.to_str().encode())
        return digest([content, self.begin, self.end, metadata.version("tokenizers")])

    def text(self, ids: list[int]) -> str:
        """Return the text of `ids`."""
        return str(self._tokenizer.decode(ids)) if ids else ""

    def apart(self, rows: Sequence[Sequence[Segment]]) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
        """Tokenize every segment alone; return each row's tokens, and from where to where they are learned."""
        pieces = iter(self._ids([segment.text for row in rows for segment in row]))
        for row in rows:
            tokens: list[int] = []
            spans = []
            for segment in row:
                start = len(tokens)
                tokens += next(pieces)
                if segment.learned:
                    spans.append((start, len(tokens)))
            yield tokens, spans

    def _ids(self, texts: list[str]) -> Iterator[list[int]]:
        if self._core is None:
            return iter(self._tokenizer(texts, add_special_tokens=False)["input_ids"])
        return (encoding.ids for encoding in self._core.encode_batch_fast(texts, add_special_tokens=False))

    def joined(self, rows: Sequence[Sequence[Segment]]) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
        """Tokenize every row as one text; returns as `apart`.

        A token with characters of two segments belongs to the later one, so that a response's first is always learned.

        Raises:
            RecipeError: the tokenizer cannot say which characters a token stands for.
        """
        if self._core is None:
            raise RecipeError(
                "the tokenizer is written in Python and does not say which characters its tokens stand for; take "
                "template: magicoder with boundary: separate, or a tokenizer with a tokenizer.json"
            )
        texts = ["".join(segment.text for segment in row) for row in rows]
        for row, text, encoding in zip(
            rows, texts, self._core.encode_batch(texts, add_special_tokens=False), strict=True
        ):
            at, spans = 0, []
            for segment in row:
                end = at + len(segment.text)
                if segment.learned:
                    spans.append((_token_at(encoding, at, len(text)), _token_at(encoding, end, len(text))))
                at = end
            yield encoding.ids, spans


def _token_at(encoding: Any, character: int, end: int) -> int:
    """Return the first token that stands for `character`, or for what follows where none does (white space)."""
    while character < end:
        token = encoding.char_to_token(character)
        if token is not None:
            return int(token)
        character += 1
    return len(encoding.ids)


def _runs(mask: Sequence[int]) -> list[tuple[int, int]]:
    """Return from where to where a mask is 1."""
    edges = np.flatnonzero(np.diff([0, *mask, 0]))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
