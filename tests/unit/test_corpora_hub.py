"""Data sets streamed by the `datasets` package, from a folder laid out like one."""

import sys
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from magicoder.corpora.hub import Hub
from magicoder.errors import CorpusError

pytest.importorskip("datasets")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    data = tmp_path / "stack" / "data" / "swift"
    data.mkdir(parents=True)
    for part in range(2):
        rows = range(part * 5, part * 5 + 5)
        table = pa.table(
            {
                "content": [f"let a = {i}" for i in rows],
                "max_stars_repo_name": ["o/n"] * 5,
                "max_stars_repo_path": [f"{i}.swift" for i in rows],
                "max_stars_repo_licenses": [["MIT"]] * 5,
            }
        )
        pq.write_table(table, data / f"train-{part:05d}-of-00002.parquet")
    return tmp_path / "stack"


def test_a_local_data_set_is_streamed_in_order(folder: Path) -> None:
    found = list(Hub(dataset=str(folder), data_dir="data/swift").documents(7))
    assert [d.id for d in found] == [f"o/n:{i}.swift" for i in range(10)]
    assert (found[3].content, found[3].size, found[3].license) == (b"let a = 3"[:8], 9, "MIT")


def test_only_the_first_rows_are_taken(folder: Path) -> None:
    assert len(list(Hub(dataset=str(folder), data_dir="data/swift", limit=7).documents(9))) == 7
    with pytest.raises(CorpusError, match="limit is 0"):
        list(Hub(dataset=str(folder), limit=0).documents(9))


def test_json_lines_without_provenance_are_named_after_the_data_set(folder: Path) -> None:
    rows = [{"text": "a"}, {"text": None}]
    (folder / "data" / "swift" / "extra.jsonl").write_bytes(b"")
    plain = folder.parent / "plain"
    plain.mkdir()
    (plain / "train.jsonl").write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in rows))
    found = list(Hub(dataset=str(plain)).documents(9))
    assert [(d.id, d.problem) for d in found] == [("plain:row-000000", ""), ("plain:row-000001", "no_text")]


def test_wrong_columns_and_splits_are_explained(folder: Path) -> None:
    with pytest.raises(CorpusError, match=r"no column 'body' \(text\); its columns: content, "):
        list(Hub(dataset=str(folder), data_dir="data/swift", text="body").documents(9))
    with pytest.raises(CorpusError, match="choose one with split=<name>"):
        list(Hub(dataset=str(folder), data_dir="data/swift", split="tets").documents(9))
    with pytest.raises(CorpusError, match="not text"):
        list(Hub(dataset=str(folder), data_dir="data/swift", text="max_stars_repo_licenses").documents(9))


def test_what_cannot_be_reached_is_explained(folder: Path) -> None:
    with pytest.raises(CorpusError, match="cannot read the data set no-such-owner/no-such-set"):
        list(Hub(dataset="no-such-owner/no-such-set").documents(9))
    with pytest.raises(CorpusError, match="cannot read the data set no-such-owner/no-such-set"):
        Hub(dataset="no-such-owner/no-such-set").state()


def test_without_the_package_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusError, match=r"pip install 'magicoder\[hub\]'"):
        list(Hub(dataset=str(folder)).documents(9))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CorpusError, match=r"pip install 'magicoder\[hub\]'"):
        Hub(dataset="owner/name").state()


def test_the_state_follows_the_folder_or_the_commit(folder: Path) -> None:
    corpus = Hub(dataset=str(folder))
    first = corpus.state()
    assert corpus.state() == first
    (folder / "data" / "new.jsonl").write_text("{}")
    assert corpus.state() != first
    assert Hub(dataset="o/n", revision="a" * 40).state() != Hub(dataset="o/n", revision="b" * 40).state()
