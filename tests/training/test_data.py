import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from magicoder.errors import RecipeError
from magicoder.records import Sample
from magicoder.schema import to_table
from magicoder.stages.export import FORMS
from magicoder.training import data
from magicoder.training.settings import Stage
from tests.published import make_sample

PAIR = ("user", "ask"), ("assistant", "say")


def talks(path: Path | str, **settings: Any) -> list[tuple[tuple[str, str], ...]]:
    return [tuple((m.role, m.content) for m in c.messages) for c in data.conversations(stage(path, **settings))]


def stage(*paths: Path | str, **settings: Any) -> Stage:
    return Stage(name="one", data=tuple(str(path) for path in paths), **settings)


def lines(path: Path, *rows: Any) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    elif path.name.endswith(".zst"):
        with pa.output_stream(str(path), compression="zstd") as f:
            f.write(text.encode())
    else:
        path.write_text(text)
    return path


ONE_QUESTION = [
    {"instruction": "ask", "response": "say"},
    {"instruction": "ask", "output": "say"},
    {"instruction": "ask", "input": "  ", "output": "say"},
    {"prompt": "ask", "completion": "say"},
    {"question": "ask", "answer": "say", "prompt": "unused"},
    {"messages": [{"role": "user", "content": "ask"}, {"role": "assistant", "content": "say"}]},
    {"conversations": [{"from": "human", "value": "ask"}, {"from": "gpt", "value": "say"}]},
    {"prompt": [{"role": "user", "content": "ask"}], "completion": [{"role": "assistant", "content": "say"}]},
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "ask"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "say"}]},
        ]
    },
]


@pytest.mark.parametrize("row", ONE_QUESTION, ids="+".join)
@pytest.mark.parametrize("form", ["rows.jsonl", "rows.jsonl.gz", "rows.jsonl.zst", "rows.json", "rows.parquet"])
def test_usual_columns_are_known_in_every_kind_of_file(tmp_path: Path, row: dict[str, Any], form: str) -> None:
    path = tmp_path / form
    if form == "rows.parquet":
        pq.write_table(pa.Table.from_pylist([row, row]), path)
    elif form == "rows.json":
        path.write_text("\n " + json.dumps([row, row]))
    else:
        lines(path, row, row)
    assert talks(path) == [PAIR, PAIR]


def test_a_problem_gets_the_prefix_of_the_original(tmp_path: Path) -> None:
    path = lines(tmp_path / "oss.jsonl", {"lang": "python", "problem": "ask", "solution": "say"})
    assert talks(path) == [(("user", "Write a solution to the following coding problem:\nask"), ("assistant", "say"))]


def test_named_columns_are_taken_as_they_are(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"problem": "ask", "solution": "say", "instruction": "no", "response": "no"})
    assert talks(path, columns={"instruction": "problem", "response": "solution"}) == [PAIR]
    talk = [{"role": "user", "content": "ask"}, {"role": "assistant", "content": "say"}]
    path = lines(tmp_path / "b.jsonl", {"dialogue": talk, "instruction": "no", "response": "no"})
    assert talks(path, columns={"messages": "dialogue"}) == [PAIR]


def test_alpacas_input_is_joined_as_the_original_joins_it(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"instruction": "sort", "input": "3 1", "output": "1 3"})
    assert talks(path) == [(("user", "sort\nInput: 3 1"), ("assistant", "1 3"))]


def test_every_form_of_our_own_dataset_gives_the_same_talks(tmp_path: Path) -> None:
    rows = [
        make_sample(0, instruction="ask", response="say", strategy="oss_instruct"),
        make_sample(1, instruction="ask", response="say", strategy="evol_instruct"),
        make_sample(2, instruction="ask", response="bye", strategy="dialogue", turns=("what?", "this")),
    ]
    pq.write_table(to_table(Sample, rows), tmp_path / "rows.parquet")
    for form in ("messages", "instruction"):
        lines(tmp_path / f"{form}.jsonl", *[FORMS[form](row, data.PREFIX) for row in rows])
    found = talks(tmp_path / "rows.parquet")
    assert found == talks(tmp_path / "messages.jsonl")
    assert found[:2] == talks(tmp_path / "instruction.jsonl")[:2]
    assert found[0] == (("user", data.PREFIX + "ask"), ("assistant", "say"))
    assert found[2] == (("user", "ask"), ("assistant", "what?"), ("user", "this"), ("assistant", "bye"))
    assert [c.id for c in data.conversations(stage(tmp_path / "rows.parquet"))] == [row.id for row in rows]


def test_rows_are_named_by_their_id_or_by_file_and_number(tmp_path: Path) -> None:
    named = lines(tmp_path / "a.jsonl", {"id": "x/1", "instruction": "a", "response": "b"})
    unnamed = tmp_path / "b.jsonl"
    unnamed.write_text('{"instruction":"a","response":"b"}\n\n{"instruction":"a","response":"b"}\n')
    assert [c.id for c in data.conversations(stage(named, unnamed))] == ["x/1", "b.jsonl:1", "b.jsonl:3"]


def test_no_more_rows_are_read_than_asked_for(tmp_path: Path) -> None:
    rows = [{"instruction": str(i), "response": "b"} for i in range(5)]
    path, other = lines(tmp_path / "a.jsonl", *rows), tmp_path / "damaged.jsonl"
    other.write_text("{")
    assert len(list(data.conversations(stage(path, other, max_examples=5)))) == 5
    assert len(list(data.conversations(stage(path, max_examples=0)))) == 5


def test_null_is_an_empty_text(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"instruction": "a", "response": None})
    assert talks(path) == [(("user", "a"), ("assistant", ""))]


class TestFolders:
    def test_a_published_folder_is_read_from_its_parquet(self, tmp_path: Path) -> None:
        self.tables(tmp_path / "data", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-0.parquet")
        (tmp_path / "jsonl").mkdir()
        lines(tmp_path / "jsonl" / "messages.jsonl", {"messages": []})
        assert [c.id for c in data.conversations(stage(tmp_path))] == ["train-00000-of-00002", "train-00001-of-00002"]

    def test_without_parquet_its_talks_are_read(self, tmp_path: Path) -> None:
        (tmp_path / "jsonl").mkdir()
        lines(tmp_path / "jsonl" / "original.jsonl", {"problem": "no", "solution": "no"})
        lines(tmp_path / "jsonl" / "messages.jsonl", ONE_QUESTION[5])
        assert talks(tmp_path) == [PAIR]

    def test_two_kinds_of_files_may_be_the_same_rows_twice(self, tmp_path: Path) -> None:
        self.tables(tmp_path, "a.parquet")
        lines(tmp_path / "a.jsonl", ONE_QUESTION[0])
        with pytest.raises(RecipeError, match="name the files"):
            list(data.conversations(stage(tmp_path)))

    def test_a_folder_without_tables_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match="holds no table"):
            list(data.conversations(stage(tmp_path)))

    @staticmethod
    def tables(folder: Path, *names: str) -> None:
        folder.mkdir(exist_ok=True)
        for name in names:
            table = pa.table({"id": [name.removesuffix(".parquet")], "instruction": ["a"], "response": ["b"]})
            pq.write_table(table, folder / name)


BAD: Sequence[tuple[str, str]] = [
    ('{"foo": "a", "bar": "b"}', "its columns: foo, bar"),
    ("", "has no rows"),
    ('{"instruction": "a", "response": "b"}\n{"instruction"', "line 2: no valid JSON"),
    ('{"instruction": "a", "response": "b"}\n[1]', "row 2: it is a list"),
    ('{"instruction": "a", "response": 5}', "row 1: response holds a int, not text"),
    ('{"messages": "hello"}', "row 1: messages holds a str, not a list"),
    ('{"messages": [{"role": "tool", "content": "a"}]}', "role 'tool'; known are system"),
    ('{"messages": ["hello"]}', "where a message should be"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_what_cannot_be_read_says_where_and_what(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(RecipeError) as error:
        list(data.conversations(stage(path)))
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_a_damaged_or_missing_file_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"instruction": "a"}' * 99)[:-20])
    for name, said in (("a.parquet", "damaged"), ("a.jsonl.gz", "damaged"), ("b.jsonl", "does not exist")):
        with pytest.raises(RecipeError, match=said):
            list(data.conversations(stage(tmp_path / name)))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(RecipeError, match="is no table"):
        list(data.conversations(stage(tmp_path / "notes.txt")))


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"instruction": pa.array([], pa.string()), "response": pa.array([], pa.string())}),
        tmp_path / "a.parquet",
    )
    with pytest.raises(RecipeError, match="has no rows"):
        list(data.conversations(stage(tmp_path / "a.parquet")))


def test_wrong_names_of_columns_are_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean response"):
        data.conversations(stage("a.jsonl", columns={"respnse": "a"}))
    path = lines(tmp_path / "a.jsonl", {"question": "a", "answer": "b"})
    with pytest.raises(RecipeError, match="did you mean answer"):
        list(data.conversations(stage(path, columns={"response": "answr"})))


def test_the_digest_follows_content_and_settings_not_names(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", ONE_QUESTION[0])
    first = data.conversations(stage(path)).digest()
    moved = path.rename(tmp_path / "b.jsonl")
    assert data.conversations(stage(moved)).digest() == first
    assert data.conversations(stage(moved, max_examples=3)).digest() != first
    assert data.conversations(stage(moved, moved)).digest() != first
    lines(moved, ONE_QUESTION[0], ONE_QUESTION[0])
    assert data.conversations(stage(moved)).digest() != first


def test_a_data_set_of_the_hub_is_read_by_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    lines(tmp_path / "set" / "train.jsonl", ONE_QUESTION[0], ONE_QUESTION[0])
    found = data.conversations(stage(f"hub:{tmp_path / 'set'}"))
    assert [len(c.messages) for c in found] == [2, 2]
    assert found.digest() == data.conversations(stage(f"hub:{tmp_path / 'set'}")).digest()
    with pytest.raises(RecipeError, match="cannot read hub:nowhere/at/all"):
        list(data.conversations(stage("hub:nowhere/at/all")))
