"""Files of instructions: our datasets, Code-Alpaca, evol-codealpaca, OSS-Instruct, chats; what is evolved further."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow.parquet as pq

from magicoder.corpora._columns import UNUSED, RowReader, choose, language_of
from magicoder.corpora._files import digest_files, explained, find_inputs
from magicoder.corpora._rows import (
    array_values,
    batch_rows,
    compression_of,
    each_file,
    first_array_keys,
    first_keys,
    is_array,
    is_table,
    json_lines,
    line_limit,
    stem,
)
from magicoder.corpora._streams import open_stream
from magicoder.errors import CorpusError
from magicoder.plugins import suggest
from magicoder.records import RawDocument
from magicoder.text.codeblocks import code_blocks

# Usual names, best first. `input` alone is the instruction in some data sets (OpenCodeInstruct).
INSTRUCTION: Final = ("instruction", "problem", "prompt", "question", "query", "input")
RESPONSE: Final = ("response", "output", "solution", "completion", "answer")
MESSAGES: Final = ("messages", "conversations", "conversation")

_ROLES: Final = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """The instructions of one file, of a pattern's matches or of all tables in a folder, one document a row.

    Read are Parquet, JSON Lines and files that are one JSON array. Known by their columns: our own datasets and
    evol-codealpaca (`instruction`), Code-Alpaca (`instruction` and `input`, joined as the original's
    `preprocess_data.py` joins them), the original's OSS-Instruct (`problem`), and chats (`messages`, of which the first
    turn of the user is the instruction). A row's repository, commit, path and licence go with it; where it has none,
    the file's name and the row's number stand in.

    instruction, input, response   columns; "" finds them, `-` means to use none
    language                       for rows whose language neither a column nor the name of a fence tells
    repository, license            used where no column gives a value
    """

    path: str
    instruction: str = ""
    input: str = ""
    response: str = ""
    language: str = "python"
    repository: str = ""
    license: str = ""

    def documents(self, max_bytes: int) -> Iterator[RawDocument]:
        """Yield every row. A damaged row or file is a document with a `problem`, and reading goes on behind it.

        Raises:
            CorpusError: there is no table, a column is missing, or a single file is no table at all.
        """
        yield from each_file(self.path, self._files(), lambda file: self._documents(file, max_bytes), self.repository)

    def state(self) -> str:
        """Return a digest of the files' names, sizes and times."""
        with explained(self.path):
            return digest_files(self._files())

    def _files(self) -> list[Path]:
        with explained(self.path):
            return find_inputs(self.path, is_table, "tables (.parquet, .jsonl, .json …)")

    def _documents(self, file: Path, max_bytes: int) -> Iterator[RawDocument]:
        if file.name.lower().endswith(".parquet"):
            yield from self._parquet(file, max_bytes)
            return
        compression, limit = compression_of(file), line_limit(max_bytes)
        with open_stream(file, compression) as stream:
            array = is_array(stream)
        with open_stream(file, compression) as stream:
            present = (first_array_keys if array else first_keys)(stream, limit, file)
        if not present:
            return
        form = self._form(file, present)
        with open_stream(file, compression) as stream:
            values = array_values(stream, limit) if array else _line_values(stream, limit)
            for row, value in enumerate(values):
                if value is not _BLANK:
                    yield form.document(row, value, max_bytes)

    def _parquet(self, file: Path, max_bytes: int) -> Iterator[RawDocument]:
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 16) as table:
            form = self._form(file, table.schema_arrow.names)
            rows = batch_rows(table, form.used)
            row = 0
            for batch in table.iter_batches(rows, columns=form.used, use_threads=False):
                for value in batch.to_pylist():
                    yield form.document(row, value, max_bytes)
                    row += 1

    def _form(self, file: Path, present: list[str]) -> "_Form":
        instruction = _find(file, "instruction", self.instruction, INSTRUCTION, present)
        messages = "" if instruction else next((n for n in MESSAGES if n in present), "")
        if not instruction and not messages:
            raise CorpusError(
                f"{file} has no column named {', '.join(INSTRUCTION[:3])} or {MESSAGES[0]}; say which one holds the "
                f"instructions with instruction=<column>; its columns: {', '.join(present)}"
            )
        # `input` belongs to Alpaca's `instruction` alone.
        usual = ("input",) if instruction == "instruction" else ()
        # The columns with provenance have the same names as in tables of source files.
        columns = choose(str(file), present, {"text": instruction or messages})
        return _Form(
            reader=RowReader(columns, self.repository or stem(file), license=self.license),
            present=frozenset(present),
            instruction=instruction,
            input=_find(file, "input", self.input, usual, present),
            response=_find(file, "response", self.response, RESPONSE, present),
            messages=messages,
            language=self.language,
        )


def _find(file: Path, option: str, wanted: str, usual: tuple[str, ...], present: list[str]) -> str:
    if wanted == UNUSED:
        return ""
    if wanted and wanted not in present:
        raise CorpusError(
            f"{file} has no column {wanted!r} ({option}){suggest(wanted, present)}; its columns: {', '.join(present)}"
        )
    return wanted or next((name for name in usual if name in present), "")


class _Malformed:
    """A row that could not be read."""

    def __init__(self, problem: str, detail: str) -> None:
        self.problem = problem
        self.detail = detail


_BLANK: Final = object()


def _line_values(stream: Any, limit: int) -> Iterator[Any]:
    for number, (line, size) in enumerate(json_lines(stream, limit), start=1):
        if line is None:
            yield _Malformed("row_too_large", f"line {number} has {size} bytes, more than {limit}")
        elif not line.strip():
            yield _BLANK
        else:
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as e:
                yield _Malformed("malformed_row", f"line {number}: {e.msg} (character {e.pos + 1})")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """Which columns of a file mean what, "" for none; either `instruction` or `messages` is there."""

    reader: RowReader
    present: frozenset[str]
    instruction: str
    input: str
    response: str
    messages: str
    language: str

    @property
    def used(self) -> list[str]:
        """The columns to read, without repetition; `id` names a row of our own datasets."""
        own = ["id"] if "id" in self.present else []
        asked = (*self.reader.columns.used, self.instruction, self.input, self.response, self.messages, *own)
        return list(dict.fromkeys(name for name in asked if name))

    def document(self, row: int, value: Any, max_bytes: int) -> RawDocument:
        """Return the document of row `row` (from 0)."""
        if isinstance(value, _Malformed):
            return self.reader.document(row, {}, None, 0, problem=value.problem, detail=value.detail)
        if not isinstance(value, dict):
            detail = f"row {row} is a {type(value).__name__}, not an object"
            return self.reader.document(row, {}, None, 0, problem="malformed_row", detail=detail)
        instruction, response = self._pair(value)
        if instruction is None:
            detail = f"row {row} has no text in {self.instruction or self.messages}"
            return self.reader.document(row, value, None, 0, problem="no_text", detail=detail)
        content = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", instruction).encode()
        made = self.reader.document(row, value, content[: max_bytes + 1], len(content))
        own = value.get("id")
        if isinstance(own, str) and own.startswith(f"{made.id}#"):
            made = replace(made, id=own)  # a row of ours: several may come from one file
        return replace(made, language=made.language or _fenced_language((response, instruction)) or self.language)

    def _pair(self, value: Mapping[str, Any]) -> tuple[str | None, str]:
        """Return the instruction, None where there is no text, and the response, "" where there is none."""
        if self.messages:
            turns = _turns(value.get(self.messages))
            return turns.get("user"), turns.get("assistant", "")
        response = value.get(self.response)
        return self._instruction(value), response if isinstance(response, str) else ""

    def _instruction(self, value: Mapping[str, Any]) -> str | None:
        text = value.get(self.instruction)
        if not isinstance(text, str):
            return None
        more = value.get(self.input)
        return f"{text}\nInput: {more}" if isinstance(more, str) and more.strip() else text


def _turns(messages: Any) -> dict[str, str]:
    """Return the first text of each side of a chat, as OpenAI and ShareGPT write them."""
    first: dict[str, str] = {}
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict):
            role = _ROLES.get(str(message.get("role") or message.get("from") or ""))
            text = message.get("content", message.get("value"))
            if role and isinstance(text, str):
                first.setdefault(role, text)
    return first


def _fenced_language(texts: Iterable[str]) -> str:
    """Return the language that the first fence with a known name tells, "" if none does."""
    names = (language_of(block.name) for text in texts if "```" in text or "~~~" in text for block in code_blocks(text))
    return next((name for name in names if name), "")


PLUGIN = Instructions
