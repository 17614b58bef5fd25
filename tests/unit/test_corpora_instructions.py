"""Files of instructions: every published form is recognised, provenance goes along, damage is told."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from magicoder.corpora._rows import array_values
from magicoder.corpora.instructions import Instructions
from magicoder.errors import CorpusError
from magicoder.records import RawDocument


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in rows))
    return path


def read(path: Path, max_bytes: int = 10_000, **settings: str) -> list[RawDocument]:
    return list(Instructions(path=str(path), **settings).documents(max_bytes))


def texts(path: Path, **settings: str) -> list[str]:
    return [d.content.decode() for d in read(path, **settings)]


def test_code_alpaca_is_one_json_array_whose_inputs_are_joined_as_the_original_joins_them(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Sort it.", "input": "[3, 1]", "output": "[1, 3]"},
        {"instruction": "Add.", "input": "", "output": "1"},
        {"instruction": "Blank.", "input": " \n", "output": "1"},
    ]
    path = tmp_path / "code_alpaca_20k.json"
    path.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
    assert texts(path) == ["Sort it.\nInput: [3, 1]", "Add.", "Blank."]
    (first, *_) = read(path)
    assert (first.id, first.repository, first.path) == (
        "code_alpaca_20k:row-000000", "code_alpaca_20k", "row-000000",
    )  # fmt: skip
    assert texts(path, input="-")[0] == "Sort it."


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "Do it.", "output": "done"},
        {"lang": "python", "problem": "Do it.", "solution": "done", "seed": "x"},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "Do it."},
                      {"role": "assistant", "content": "done"}, {"role": "user", "content": "More."}]},
        {"conversations": [{"from": "human", "value": "Do it."}, {"from": "gpt", "value": "done"}]},
        {"id": "7", "input": "Do it.", "output": "done"},
    ],
)  # fmt: skip
def test_published_forms_are_recognised_in_lines_arrays_and_parquet(tmp_path: Path, row: dict[str, Any]) -> None:
    assert texts(lines(tmp_path / "a.jsonl", [row])) == ["Do it."]
    (tmp_path / "b.json").write_bytes(orjson.dumps([row, row]))
    assert texts(tmp_path / "b.json") == ["Do it.", "Do it."]
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(orjson.dumps(row)))
    assert texts(tmp_path / "c.jsonl.gz") == ["Do it."]
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "d.parquet")
    assert texts(tmp_path / "d.parquet") == ["Do it."]


def test_our_own_rows_keep_their_provenance_and_their_ids(tmp_path: Path) -> None:
    provenance = {"repository": "o/n", "commit": "abc", "path": "src/a.rs", "license": "MIT", "language": "rust"}
    rows = [
        {"id": f"o/n@abc:src/a.rs#L{i}/oss_instruct[0]", "instruction": f"Task {i}", "response": "r", **provenance}
        for i in (1, 20)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    found = read(tmp_path / "train.parquet")
    assert [d.id for d in found] == [r["id"] for r in rows]
    assert {(d.repository, d.commit, d.path, d.license, d.language) for d in found} == {
        ("o/n", "abc", "src/a.rs", "MIT", "rust")
    }


def test_an_id_that_does_not_belong_to_the_file_is_not_taken_over(tmp_path: Path) -> None:
    (found,) = read(lines(tmp_path / "x.jsonl", [{"id": "elsewhere#L1", "instruction": "a"}]))
    assert found.id == "x:row-000000"


@pytest.mark.parametrize(
    ("row", "language"),
    [
        ({"instruction": "a", "response": "```\nx\n```\n```rs\nfn f() {}\n```"}, "rust"),
        ({"instruction": "~~~cpp\nint x;\n~~~", "response": "plain"}, "cpp"),
        ({"instruction": "a", "response": "```output\n1\n```"}, "java"),
        ({"instruction": "a", "response": "```rust\n```", "lang": "Go"}, "go"),
        ({"instruction": "a", "response": "```rust\n```", "language": "en"}, "rust"),
    ],
)
def test_the_language_is_the_columns_then_a_fences_then_the_setting(
    tmp_path: Path, row: dict[str, Any], language: str
) -> None:
    assert read(lines(tmp_path / "x.jsonl", [row]), language="java")[0].language == language


def test_settings_stand_in_for_what_no_column_tells(tmp_path: Path) -> None:
    (found,) = read(lines(tmp_path / "x.jsonl", [{"q": "a", "problem": "b"}]),
                    instruction="q", repository="someone/set", license="Apache-2.0")  # fmt: skip
    assert (found.id, found.license, found.content) == ("someone/set:row-000000", "Apache-2.0", b"a")


def test_rows_without_text_and_broken_lines_are_told_with_their_place(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", [{"instruction": "a"}, {"instruction": None}, {"other": 1}, [1]])
    path.write_bytes(path.read_bytes() + b"\n{broken\n")
    found = [(d.path, d.problem, d.detail) for d in read(path)]
    assert found[0] == ("row-000000", "", "")
    assert [problem for _, problem, _ in found[1:]] == ["no_text", "no_text", "malformed_row", "malformed_row"]
    assert found[-1][0] == "row-000005"
    assert "line 6" in found[-1][2]


def test_text_is_bounded_and_lone_surrogates_become_valid(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[{"instruction": "\\ud83d' + "x" * 500 + '"}]')
    (found,) = read(path, max_bytes=10)
    assert (len(found.content), found.size) == (11, 503)
    found.content.decode()


def test_a_file_without_instructions_says_what_it_has(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", [{"content": "a", "path": "b"}])
    with pytest.raises(CorpusError, match=r"instruction=<column>; its columns: content, path"):
        read(path)
    with pytest.raises(CorpusError, match="did you mean content"):
        read(path, instruction="contents")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"instruction": "a"}, {"instruction": "b"', "value 2 of its array is malformed"),
        ('[{"instruction": "a"} {"instruction": "b"}]', "value 2 of its array is not separated"),
        ('[{"instruction": "a"}, ] ', "value 2 of its array is malformed"),
        ('[{"instruction": "a"}] x', "something follows"),
        ('[{"instruction": "a"},', "breaks off before value 2"),
        ('[{"instruction": "a"} ', "value 2 of its array is not separated"),
        ('[{"instruction": "a"}, "\udce9"]', "not UTF-8"),
    ],
)
def test_a_damaged_array_gives_what_stands_before_the_damage_and_says_where(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "x.json").write_bytes(text.encode(errors="surrogateescape").replace(b'"a"}', b'"a"}' + b" " * 70_000))
    first, damage = read(tmp_path / "x.json")
    assert first.content == b"a"
    assert damage.problem == "corrupt_table"
    assert said in damage.detail


@pytest.mark.parametrize("text", ["[nothing]", '[{"instruction": "a"', "[1, 2]"])
def test_a_file_that_is_damaged_from_the_start_is_a_users_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(CorpusError, match=r"x\.json"):
        read(tmp_path / "x.json")


class Chopped:
    """A stream that gives a byte or two at a time."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def read(self, size: int) -> bytes:
        piece = self.data[self.at : self.at + 1 + self.at % 2]
        self.at += len(piece)
        return piece


@pytest.mark.parametrize("values", [[], [1, 23, -4.5], ["é,]", {"a": ["]", "\N{GRINNING FACE}"]}, None, [[]]]])
def test_an_array_is_read_the_same_however_its_bytes_arrive(values: list[Any]) -> None:
    data = b"\xef\xbb\xbf \n" + orjson.dumps(values, option=orjson.OPT_INDENT_2) + b"\n"
    assert list(array_values(Chopped(data), 1000)) == values  # type: ignore[arg-type]


def test_a_long_array_is_not_held_whole() -> None:
    served = 0

    def pieces() -> Iterator[bytes]:
        nonlocal served
        yield b"["
        while True:
            served += 1
            yield b'{"instruction": "' + b"x" * 1000 + b'"},'

    class Endless:
        source = pieces()

        def read(self, size: int) -> bytes:
            return next(self.source)

    values = array_values(Endless(), 10_000)  # type: ignore[arg-type]
    for _ in range(100):
        next(values)
    assert served <= 102
