"""Parquet and JSON Lines."""

import gzip
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from magicoder.corpora._columns import language_of
from magicoder.corpora.tables import Tables
from magicoder.errors import CorpusError
from magicoder.records import RawDocument


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in rows))
    return path


def read(path: Path, max_bytes: int = 1000, **settings: str) -> list[RawDocument]:
    return list(Tables(path=str(path), **settings).documents(max_bytes))


def test_the_stack_is_recognised_by_its_columns(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "data.parquet",
        {
            "hexsha": ["f" * 40],
            "lang": ["C#"],
            "max_stars_repo_path": ["src/A.cs"],
            "max_stars_repo_name": ["o/n"],
            "max_stars_repo_head_hexsha": ["abc"],
            "max_stars_repo_licenses": [["MIT", "Apache-2.0", "MIT"]],
            "max_forks_repo_name": ["someone/else"],
            "content": ["class A {}"],
        },
    )
    (found,) = read(path)
    assert (found.id, found.license, found.content) == ("o/n@abc:src/A.cs", "MIT AND Apache-2.0", b"class A {}")


def test_starcoderdata_and_the_stack_v2_are_recognised(tmp_path: Path) -> None:
    one = {"max_stars_repo_path": "a.py", "max_stars_repo_name": "o/n", "max_stars_count": 3, "id": "7", "content": "x"}
    two = {"repo_name": "o/n", "path": "/a.py", "revision_id": "abc", "detected_licenses": ["ISC"], "content": "x"}
    assert read(lines(tmp_path / "one.jsonl", [one]))[0].id == "o/n:a.py"
    (found,) = read(lines(tmp_path / "two.jsonl", [two]))
    assert (found.id, found.license) == ("o/n@abc:/a.py", "ISC")


def test_a_table_of_texts_alone_gets_rows_for_paths(tmp_path: Path) -> None:
    for name in ("text", "code", "content"):
        path = parquet(tmp_path / f"{name}.parquet", {name: ["a", "b"]})
        assert [d.id for d in read(path)] == [f"{name}:row-000000", f"{name}:row-000001"]


def test_columns_can_be_named_and_switched_off(tmp_path: Path) -> None:
    rows = [{"content": "wrong", "body": "right", "p": "a.py", "repo": "o/n", "license": "MIT"}]
    path = lines(tmp_path / "x.jsonl", rows)
    (found,) = read(path, text="body", path_column="p", repository_column="-", license_column="-", license="ISC")
    assert (found.id, found.content, found.license) == ("x:a.py", b"right", "ISC")


def test_a_wrong_column_is_named_with_what_is_there(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", {"contents": ["a"], "n": [1]})
    with pytest.raises(
        CorpusError, match=r"no column named content, text, code; .*text=<column>; its columns: contents, n"
    ):
        read(path)
    with pytest.raises(
        CorpusError, match=r"no column 'content' \(text\); did you mean contents\? its columns: contents, n"
    ):
        read(path, text="content")
    with pytest.raises(CorpusError, match=r"no column 'repository' \(repository_column\); its columns"):
        read(path, text="contents", repository_column="repository")
    with pytest.raises(CorpusError, match=r"column 'n' holds int64, not text"):
        read(path, text="n")


def test_text_is_cut_at_the_limit_and_its_size_told(tmp_path: Path) -> None:
    long = "ü" * 5000
    for path in (parquet(tmp_path / "x.parquet", {"text": [long]}), lines(tmp_path / "x.jsonl", [{"text": long}])):
        (found,) = read(path, 100)
        assert (found.content, found.size) == (long.encode()[:101], 10_000)


def test_empty_cells_are_told(tmp_path: Path) -> None:
    for path in (
        parquet(tmp_path / "x.parquet", {"text": ["a", None, ""]}),
        lines(tmp_path / "x.jsonl", [{"text": "a"}, {"text": None}, {"text": ""}]),
    ):
        assert [(d.content, d.problem) for d in read(path)] == [(b"a", ""), (b"", "no_text"), (b"", "")]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())])
def test_every_text_type_is_read(tmp_path: Path, kind: pa.DataType) -> None:
    path = parquet(tmp_path / "x.parquet", {"text": pa.array(["a", None, "b"]).cast(kind), "path": ["1", "2", "3"]})
    assert [(d.path, d.content, d.problem) for d in read(path)] == [
        ("1", b"a", ""),
        ("2", b"", "no_text"),
        ("3", b"b", ""),
    ]


def test_damaged_lines_are_told_by_number_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"text": "a"}\r\n\n{"text": \n[1]\n{"text": 3}\n{"text": "\\ud800"}\n'
        b'{"text": "l\xe2\x80\xa8s"}\n{"text": "torn'
    )
    found = read(path)
    assert [d.problem for d in found] == ["", *["malformed_row"] * 4, "", "malformed_row"]
    assert [d.path for d in found] == [f"row-{i:06}" for i in (0, 2, 3, 4, 5, 6, 7)]
    assert found[1].detail.startswith("line 3: ")
    assert found[3].detail == "line 5: text holds a int, not text"
    assert found[5].content == "l\u2028s".encode()


def test_a_line_that_is_too_long_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with path.open("wb") as f:
        f.write(b'{"text": "a"}\n{"text": "')
        for _ in range(64):
            f.write(b"x" * (1 << 17))
        f.write(b'"}\n{"text": "b"}\n')
    found = read(path, 100)
    assert [(d.content, d.problem) for d in found] == [(b"a", ""), (b"", "row_too_large"), (b"b", "")]
    assert found[1].size == (8 << 20) + 13


@pytest.mark.parametrize("ending", [".jsonl.gz", ".json.gz", ".ndjson"])
def test_lines_are_read_compressed_and_under_other_endings(tmp_path: Path, ending: str) -> None:
    data = b'{"text": "a"}\n{"text": "b"}\n'
    (tmp_path / f"x{ending}").write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    assert [d.id for d in read(tmp_path)] == ["x:row-000000", "x:row-000001"]


def test_a_truncated_file_keeps_what_can_be_read(tmp_path: Path) -> None:
    rows = [{"text": f"{i} " + "".join(chr(33 + (i * j) % 90) for j in range(2000))} for i in range(400)]
    data = gzip.compress(b"".join(orjson.dumps(r) + b"\n" for r in rows))
    (tmp_path / "x.jsonl.gz").write_bytes(data[: len(data) // 2])
    *good, last = read(tmp_path / "x.jsonl.gz", 10)
    assert len(good) > 100
    assert last.problem == "corrupt_table"


def test_a_file_that_is_no_table_is_an_error_alone_and_a_document_among_others(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    with pytest.raises(CorpusError, match="cannot be read as a table"):
        read(tmp_path / "bad.parquet")
    lines(tmp_path / "good.jsonl", [{"text": "a"}])
    assert [(d.path, d.problem) for d in read(tmp_path)] == [("bad.parquet", "corrupt_table"), ("row-000000", "")]


def test_json_that_is_not_one_object_a_line_is_explained(tmp_path: Path) -> None:
    (tmp_path / "array.json").write_text('[\n{"text": "a"}\n]\n')
    with pytest.raises(CorpusError, match="is one JSON array"):
        read(tmp_path / "array.json")
    (tmp_path / "prose.jsonl").write_text("hello\nworld\n")
    with pytest.raises(CorpusError, match="none of the first 2 lines is a JSON object"):
        read(tmp_path / "prose.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(CorpusError, match="has no rows"):
        read(tmp_path / "empty.jsonl")


def test_patterns_and_folders_are_read_by_file_name(tmp_path: Path) -> None:
    for name in ("b", "a"):
        parquet(tmp_path / f"{name}.parquet", {"text": [name]})
    (tmp_path / "notes.md").write_text("x")
    assert [d.content for d in read(tmp_path)] == [b"a", b"b"]
    assert [d.content for d in read(tmp_path / "b*.parquet")] == [b"b"]
    with pytest.raises(CorpusError, match="no file matches"):
        read(tmp_path / "c*.parquet")


def test_languages_are_mapped_to_ours_and_unknown_ones_left_open() -> None:
    assert [language_of(v) for v in ("Python", "python", "py", " PYTHON ", "Klingon", "", None, 3)] == [
        "python"
    ] * 4 + [""] * 4


def test_licence_cells_become_expressions(tmp_path: Path) -> None:
    cells = ["MIT", ["MIT"], ["MIT", "no such licence"], [], None, "Apache License 2.0", ["MIT OR ISC", "Zlib"]]
    path = lines(tmp_path / "x.jsonl", [{"text": "", "licenses": c} for c in cells])
    assert [d.license for d in read(path)] == ["MIT", "MIT", "", "", "", "Apache-2.0", "(MIT OR ISC) AND Zlib"]


def test_the_sample_corpus_is_read_whole(shared_data: Path) -> None:
    path = shared_data / "corpus_sample.parquet"
    table = pq.read_table(path, columns=["lang", "content"])
    texts = table["content"]
    ids, count = set(), 0
    for row, found in enumerate(Tables(path=str(path)).documents(1 << 20)):
        assert found.content == texts[row].as_py().encode()
        assert not found.problem
        ids.add(found.id)
        count += 1
    assert count == len(ids) == table.num_rows


def test_the_state_follows_the_files(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", [{"text": "a"}])
    first = Tables(path=str(path)).state()
    assert Tables(path=str(path)).state() == first
    lines(path, [{"text": "ab"}])
    assert Tables(path=str(path)).state() != first
