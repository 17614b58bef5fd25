"""Rows of datasets as conversations, whatever columns they come in.

Read are folders as `stages/export.py` writes them, other folders of tables, Parquet, JSON Lines and JSON arrays (also
`.gz` and `.zst`), and `hub:NAME` or `hub:NAME@REVISION`. The columns say what a row means:

    messages, conversations         a talk, with role and content, or from and value
    instruction, response           one question, one answer (`output` for response; Alpaca's `input` is joined)
    problem, solution               OSS-Instruct as published; gets the prefix that the original gives it
    prompt, completion              texts, or talks that are joined
"""

import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, TypeAlias, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from magicoder.errors import RecipeError
from magicoder.fingerprint import digest
from magicoder.plugins import suggest
from magicoder.records import Message
from magicoder.store.parts import digest_file
from magicoder.training.settings import Stage

PREFIX: Final = "Write a solution to the following coding problem:\n"
"""What the original's `preprocess_data.py` puts before a problem of OSS-Instruct."""
HUB: Final = "hub:"
_TALKS: Final = ("messages", "conversations", "conversation")
_PAIRS: Final = (
    ("instruction", ("response", "output", "completion", "answer", "solution")),
    ("problem", ("solution",)),
    ("prompt", ("completion", "response", "output")),
    ("question", ("answer", "response", "solution")),
    ("query", ("response", "answer")),
)
_OURS: Final = ("instruction", "response", "turns", "strategy", "id")
_ROLES: Final = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
_NAMES: Final = ("id", "instruction", "input", "response", "messages")
_ENDINGS: Final = (".parquet", ".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
_BATCH_ROWS: Final = 1000

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row. `id` names it for people: the row's own id, or its file and number."""

    id: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Conversations:
    """The rows of a stage, in the order of its data; they can be read more than once.

    Reading raises RecipeError where a file is missing, is no table, has no rows, has no columns that are known, or has
    a row that is malformed; it says which file, which row and what to do. A text that is null is read as "".
    """

    stage: Stage

    def __iter__(self) -> Iterator[Conversation]:
        """Read them."""
        left = self.stage.max_examples or -1
        for table in self._tables():
            for conversation in table.conversations(self.stage.columns):
                yield conversation
                left -= 1
                if not left:
                    return

    def digest(self) -> str:
        """Return what changes when the rows do; where the files lie and what they are called does not matter."""
        contents = [table.digest() for table in self._tables()]
        return digest([contents, dict(sorted(self.stage.columns.items())), self.stage.max_examples])

    def _tables(self) -> "Iterator[_File | _Hub]":
        if not self.stage.data:
            raise RecipeError(f"stage {self.stage.name} has no data; name a dataset folder, files, or hub:NAME")
        for name in self.stage.data:
            if name.startswith(HUB):
                yield _Hub(name)
            else:
                yield from (_File(path) for path in _files(Path(name).expanduser()))


def conversations(stage: Stage) -> Conversations:
    """Return the rows of a stage; nothing is read yet."""
    unknown = next((name for name in stage.columns if name not in _NAMES), None)
    if unknown is not None:
        raise RecipeError(
            f"stage {stage.name}: columns has no {unknown!r}{suggest(unknown, list(_NAMES))}; there are: "
            f"{', '.join(_NAMES)}"
        )
    return Conversations(stage)


def _files(path: Path) -> list[Path]:
    """Return the tables that `path` stands for.

    Raises:
        RecipeError: there is nothing, or no telling which of several forms of the same rows is meant.
    """
    if path.is_file():
        if not path.name.lower().endswith(_ENDINGS):
            raise RecipeError(f"{path} is no table; known are {', '.join(_ENDINGS)}")
        return [path]
    if not path.is_dir():
        raise RecipeError(f"{path} does not exist; name a dataset folder, a file, or hub:NAME")
    shards = _within(path / "data", ".parquet")
    shards = [shard for shard in shards if shard.name.startswith("train")] or shards
    if shards:
        return shards
    for form in ("messages", "instruction", "original"):
        if (path / "jsonl" / f"{form}.jsonl").is_file():
            return [path / "jsonl" / f"{form}.jsonl"]
    tables, lines = _within(path, ".parquet"), _within(path, *_ENDINGS[1:])
    if tables and lines:
        raise RecipeError(
            f"{path} holds Parquet ({tables[0].name}) and JSON ({lines[0].name}); these may be the same rows twice: "
            "name the files that are meant"
        )
    if not tables and not lines:
        raise RecipeError(f"{path} holds no table ({', '.join(_ENDINGS)}), and neither does its folder data/")
    return tables or lines


def _within(folder: Path, *endings: str) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_file() and p.name.lower().endswith(endings))


@dataclass(frozen=True, slots=True)
class _File:
    """A table on disk."""

    path: Path

    def digest(self) -> str:
        return digest_file(self.path)

    def conversations(self, columns: Mapping[str, str]) -> Iterator[Conversation]:
        try:
            rows = self._parquet(columns) if self.path.name.lower().endswith(".parquet") else self._json(columns)
            yield from rows
        except (pa.ArrowException, EOFError, gzip.BadGzipFile, UnicodeDecodeError) as e:
            raise RecipeError(f"{self.path} cannot be read ({e}); it is damaged or of another format") from e

    def _parquet(self, columns: Mapping[str, str]) -> Iterator[Conversation]:
        with pq.ParquetFile(self.path) as table:
            form = _form(str(self.path), table.schema_arrow.names, columns)
            if not table.metadata.num_rows:
                raise RecipeError(f"{self.path} has no rows")
            number = 0
            for batch in table.iter_batches(_BATCH_ROWS, columns=list(form.used)):
                for row in batch.to_pylist():
                    number += 1
                    yield form.conversation(self.path, number, row)

    def _json(self, columns: Mapping[str, str]) -> Iterator[Conversation]:
        form = None
        for number, row in self._values():
            if not isinstance(row, dict):
                raise RecipeError(
                    f"{self.path}, row {number}: it is a {type(row).__name__}, not an object with columns"
                )
            form = form or _form(str(self.path), list(row), columns)
            yield form.conversation(self.path, number, row)
        if form is None:
            raise RecipeError(f"{self.path} has no rows")

    def _values(self) -> Iterator[tuple[int, Any]]:
        """Yield the values of JSON Lines, by line, or of a JSON array, by position; both count from 1."""
        with self._opened() as file:
            first = file.peek(1 << 12)[: 1 << 12].lstrip() if isinstance(file, io.BufferedReader) else b""
            if first.startswith(b"["):
                yield from enumerate(_parsed(file.read(), self.path, 1), start=1)
                return
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _parsed(line, self.path, number)

    def _opened(self) -> IO[bytes]:
        name = self.path.name.lower()
        if name.endswith(".gz"):
            return cast(IO[bytes], io.BufferedReader(cast(Any, gzip.open(self.path))))
        if name.endswith(".zst"):
            return io.BufferedReader(pa.input_stream(str(self.path), compression="zstd"))
        return self.path.open("rb")


def _parsed(data: bytes, path: Path, number: int) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as e:
        raise RecipeError(f"{path}, line {number}: no valid JSON ({e.msg}, character {e.pos + 1})") from e


@dataclass(frozen=True, slots=True)
class _Hub:
    """The training split of a data set on the Hugging Face hub, `hub:NAME[@REVISION]`; a folder will do as a name."""

    name: str

    def digest(self) -> str:
        _, _, revision = self.name.partition("@")
        return self.name if len(revision) == 40 else digest([self.name, str(self._loaded()._fingerprint)])

    def conversations(self, columns: Mapping[str, str]) -> Iterator[Conversation]:
        rows = self._loaded()
        form = _form(self.name, rows.column_names, columns)
        if not len(rows):
            raise RecipeError(f"{self.name} has no rows")
        number = 0
        for batch in rows.select_columns(list(form.used)).iter(_BATCH_ROWS):
            for values in zip(*(batch[name] for name in form.used), strict=True):
                number += 1
                yield form.conversation(self.name, number, dict(zip(form.used, values, strict=True)))

    def _loaded(self) -> Any:
        try:
            from datasets import load_dataset
        except ImportError as e:
            raise RecipeError(f"{self.name} needs the package datasets; pip install 'magicoder[hub]'") from e
        name, _, revision = self.name.removeprefix(HUB).partition("@")
        try:
            return load_dataset(name, split="train", revision=revision or None)
        except Exception as e:  # the errors of `datasets` and its HTTP client have no common base
            said = (str(e).strip().splitlines() or [type(e).__name__])[0]
            raise RecipeError(
                f"cannot read {self.name}: {said}; check the name and the network; a private one needs `hf auth login`"
            ) from e


@dataclass(frozen=True, slots=True)
class _Form:
    """What the columns of a table mean: `used` are read, `talk` makes the messages of a row. `id` "": has none."""

    used: tuple[str, ...]
    talk: Callable[[Row], Iterable[Message]]
    id: str = ""

    def conversation(self, where: Path | str, number: int, row: Row) -> Conversation:
        name = row.get(self.id) if self.id else None
        try:
            messages = tuple(self.talk(row))
        except _Malformed as e:
            raise RecipeError(f"{where}, row {number}: {e}; correct the row or take it out") from e
        short = where.name if isinstance(where, Path) else where
        return Conversation(str(name) if name not in (None, "") else f"{short}:{number}", messages)


class _Malformed(ValueError):  # noqa: N818 - a verdict on a row
    """A row that means nothing; says what is wrong with it."""


def _form(where: str, present: list[str], columns: Mapping[str, str]) -> _Form:
    """Return what the columns mean.

    Raises:
        RecipeError: they mean nothing known, or one that was asked for is not there.
    """
    for meaning, name in columns.items():
        if name not in present:
            raise RecipeError(
                f"{where} has no column {name!r} (columns.{meaning}){suggest(name, present)}; its columns: "
                f"{', '.join(present)}"
            )
    identity = columns.get("id") or ("id" if "id" in present else "")
    talk = _chosen(present, columns)
    if talk is None:
        raise RecipeError(
            f"{where} has no columns instruction and response, problem and solution, prompt and completion, or "
            "messages; say which hold them with columns: {instruction: …, response: …}, or columns: {messages: …}; "
            f"its columns: {', '.join(present)}"
        )
    used = tuple(dict.fromkeys((*talk.used, *([identity] if identity else []))))
    return _Form(used, talk, identity)


def _chosen(present: list[str], columns: Mapping[str, str]) -> "_Talk | _Pair | _Ours | None":
    if not {"instruction", "response", "messages"} & set(columns):
        if set(_OURS) <= set(present):
            return _Ours()
        name = next((name for name in _TALKS if name in present), "")
        if name:
            return _Talk(name)
    if "messages" in columns:
        return _Talk(columns["messages"])
    wanted, answer = columns.get("instruction"), columns.get("response")
    for usual, answers in _PAIRS:
        instruction = wanted or usual
        response = answer or next((name for name in answers if name in present), "")
        if instruction in present and response and response != instruction:
            more = columns.get("input") or ("input" if instruction == "instruction" and "input" in present else "")
            # Columns that were asked for are taken as they are.
            prefix = PREFIX if (instruction, response) == ("problem", "solution") and not (wanted or answer) else ""
            return _Pair(instruction, response, more, prefix)
    return None


@dataclass(frozen=True, slots=True)
class _Talk:
    """A column of messages."""

    column: str

    @property
    def used(self) -> tuple[str, ...]:
        return (self.column,)

    def __call__(self, row: Row) -> Iterable[Message]:
        return _messages(row.get(self.column), self.column)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A question and its answer; `input` is a column of Alpaca's form, joined as the original joins it."""

    instruction: str
    response: str
    input: str
    prefix: str

    @property
    def used(self) -> tuple[str, ...]:
        return (self.instruction, self.response, *([self.input] if self.input else []))

    def __call__(self, row: Row) -> Iterable[Message]:
        asked, answered = row.get(self.instruction), row.get(self.response)
        if isinstance(asked, list) and isinstance(answered, list):
            return (*_messages(asked, self.instruction), *_messages(answered, self.response))
        text = self.prefix + _text(asked, self.instruction)
        more = _text(row.get(self.input), self.input) if self.input else ""
        if more.strip():
            text += f"\nInput: {more}"
        return (
            Message(role="user", content=text),
            Message(role="assistant", content=_text(answered, self.response)),
        )


@dataclass(frozen=True, slots=True)
class _Ours:
    """Rows as `stages/export.py` writes them to Parquet; the talk is that of its form `messages`."""

    @property
    def used(self) -> tuple[str, ...]:
        return _OURS

    def __call__(self, row: Row) -> Iterable[Message]:
        prefix = PREFIX if row["strategy"] == "oss_instruct" else ""
        texts = (prefix + row["instruction"], *row["turns"], row["response"])
        return [Message(role=("user", "assistant")[i % 2], content=text) for i, text in enumerate(texts)]


def _messages(value: Any, column: str) -> list[Message]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _Malformed(f"{column} holds a {type(value).__name__}, not a list of messages")
    made = []
    for message in value:
        if not isinstance(message, dict):
            raise _Malformed(f"{column} holds a {type(message).__name__} where a message should be")
        said = message.get("role") or message.get("from")
        role = _ROLES.get(str(said))
        if role is None:
            raise _Malformed(f"{column} has a message of role {said!r}; known are {', '.join(_ROLES)}")
        content = message.get("content", message.get("value"))
        if isinstance(content, list) and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
            content = "".join(part["text"] for part in content)
        made.append(Message(role=role, content=_text(content, column)))
    return made


def _text(value: Any, column: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _Malformed(f"{column} holds a {type(value).__name__}, not text")
    return value
