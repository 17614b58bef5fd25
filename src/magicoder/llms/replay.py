"""Recorded exchanges in place of a model: JSON lines with the exact messages and the response.

A row needs `messages` (role and content) and `response`; `finish_reason`, `model`, `fingerprint`, `prompt_tokens` and
`completion_tokens` are used where they are there, other fields are ignored. Rows with equal messages are further
samples of one prompt, in the order of the file.
"""

import functools
import hashlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from magicoder.errors import TeacherError
from magicoder.protocols import Meter
from magicoder.records import Completion, Failure, Message, Prompt

_CAPACITY: Final = 64
_EXCERPT: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The recording in the file `path`."""

    path: str

    @property
    def model(self) -> str:
        """The file's name; an answer carries the model of its row, if that names one."""
        return f"replay:{Path(self.path).name}"

    def body(self, prompt: Prompt) -> bytes:
        """Return the messages, the number of samples, and a digest of the recording: another one, another answer.

        Raises:
            TeacherError: the file is missing.
        """
        with _explained(self.path):
            status = Path(self.path).stat()
            recording = _content_digest(self.path, status.st_size, status.st_mtime_ns)
        request = {
            "recording": recording,
            "messages": [{"role": m.role, "content": m.content} for m in prompt.messages],
            "n": prompt.n,
            "random_seed": prompt.random_seed,
            **({"raw": True} if prompt.raw else {}),
        }
        return orjson.dumps(request, option=orjson.OPT_SORT_KEYS)

    @contextmanager
    def open(self, meter: Meter | None = None, folder: Path | None = None) -> Iterator["ReplaySession"]:  # noqa: ARG002
        """Index the file.

        Raises:
            TeacherError: it is missing or malformed; names the line.
        """
        with _explained(self.path):
            file = Path(self.path).open("rb")  # noqa: SIM115 - closed below
        with file:
            yield ReplaySession(self, file)


class ReplaySession:
    """An index from prompts to lines; the answers stay in the file, so that memory does not grow with them."""

    def __init__(self, settings: Replay, file: BinaryIO) -> None:
        self._settings = settings
        self._file = file
        self._offsets: dict[bytes, list[int]] = {}
        self._first: tuple[Message, ...] = ()
        self._pending: deque[tuple[int, Prompt]] = deque()
        offset = 0
        for number, line in enumerate(file, 1):
            if line.strip():
                messages = self._messages(number, line)
                if not self._offsets:
                    self._first = messages
                self._offsets.setdefault(_digest(messages), []).append(offset)
            offset += len(line)
        if not self._offsets:
            raise TeacherError(f"the recording {settings.path} is empty; give another file")

    @property
    def capacity(self) -> int:
        """How many prompts to submit before collecting."""
        return _CAPACITY

    def submit(self, ticket: int, prompt: Prompt) -> None:
        """Take one prompt."""
        self._pending.append((ticket, prompt))

    def collect(self) -> list[tuple[int, Completion | Failure]]:
        """Return the recorded answers to all that was submitted."""
        answered = [(ticket, self._answer(prompt)) for ticket, prompt in self._pending]
        self._pending.clear()
        return answered

    def _answer(self, prompt: Prompt) -> Completion | Failure:
        found = self._offsets.get(_digest(prompt.messages), [])
        if not found:
            return Failure(reason="no_recording", detail=f"not in {self._name}; {self._difference(prompt.messages)}")
        if len(found) < prompt.n:
            detail = f"{prompt.n} samples wanted, {self._name} holds {len(found)} of this prompt"
            return Failure(reason="no_recording", detail=detail)
        rows = [self._row(offset) for offset in found[: prompt.n]]
        return Completion(
            texts=tuple(row["response"] for row in rows),
            finish_reasons=tuple(row.get("finish_reason") or "stop" for row in rows),
            model=rows[0].get("model") or self._settings.model,
            prompt_tokens=rows[0].get("prompt_tokens") or 0,
            completion_tokens=sum(row.get("completion_tokens") or 0 for row in rows),
            fingerprint=rows[0].get("fingerprint") or "",
        )

    @property
    def _name(self) -> str:
        return Path(self._settings.path).name

    def _row(self, offset: int) -> dict[str, Any]:
        self._file.seek(offset)
        row: dict[str, Any] = orjson.loads(self._file.readline())
        return row

    def _messages(self, number: int, line: bytes) -> tuple[Message, ...]:
        try:
            row = orjson.loads(line)
            messages = tuple(Message(role=m["role"], content=m["content"]) for m in row["messages"])
            well_formed = isinstance(row["response"], str) and all(
                isinstance(m.role, str) and isinstance(m.content, str) for m in messages
            )
        except (orjson.JSONDecodeError, KeyError, TypeError) as e:
            problem = f"{type(e).__name__}: {e}"
        else:
            problem = "" if well_formed else "texts are not strings"
        if problem:
            raise TeacherError(
                f"{self._settings.path}:{number} is not a recorded exchange ({problem}); "
                'a line looks like {"messages": [{"role": …, "content": …}], "response": …}'
            )
        return messages

    def _difference(self, asked: tuple[Message, ...]) -> str:
        """Say where a prompt leaves the file's first one, which tells a changed template from another seed."""
        for number, (ours, theirs) in enumerate(zip(asked, self._first, strict=False), 1):
            if ours == theirs:
                continue
            if ours.role != theirs.role:
                return f"message {number} is of the {ours.role}, in the file's first prompt of the {theirs.role}"
            at = _common_prefix(ours.content, theirs.content)
            return (
                f"message {number} leaves the file's first prompt at character {at + 1}: "
                f"{ours.content[at : at + _EXCERPT]!r} instead of {theirs.content[at : at + _EXCERPT]!r}"
            )
        return f"it has {len(asked)} messages, the file's first prompt {len(self._first)}"


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise TeacherError(f"cannot read the recording {path} ({e.strerror}); correct its path") from e


@functools.lru_cache(maxsize=16)
def _content_digest(path: str, size: int, mtime_ns: int) -> str:  # noqa: ARG001 - they renew the cache
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, "blake2b").hexdigest()[:32]


def _digest(messages: tuple[Message, ...]) -> bytes:
    data = orjson.dumps([(m.role, m.content) for m in messages])
    return hashlib.blake2b(data, digest_size=16).digest()


def _common_prefix(a: str, b: str) -> int:
    for index, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return index
    return min(len(a), len(b))


PLUGIN = Replay
