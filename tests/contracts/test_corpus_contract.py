"""Every corpus keeps the promises of `protocols.Corpus`: a new module is under test as soon as it exists."""

import subprocess
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from magicoder import plugins
from magicoder.errors import CorpusError
from magicoder.fingerprint import digest
from magicoder.protocols import Corpus
from magicoder.records import RawDocument

MAX_BYTES = 200


def _tree(folder: Path) -> str:
    for name in ("b.py", "a/c.py", "a.py", "empty.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("" if name == "empty.py" else f"# {name}\n" * 100)
    return str(folder)


def _git(folder: Path) -> dict[str, Any]:
    path = _tree(folder / "repo")
    for command in (
        ["init"],
        ["add", "."],
        ["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-m", "x"],
    ):
        subprocess.run(["git", "-C", path, *command], check=True, capture_output=True)
    return {"path": path}


def _archives(folder: Path) -> dict[str, Any]:
    import tarfile

    with tarfile.open(folder / "x-1.0.tar.gz", "w:gz") as archive:
        archive.add(_tree(folder / "x-1.0"), "x-1.0")
    return {"path": str(folder / "x-1.0.tar.gz")}


def _tables(folder: Path) -> dict[str, Any]:
    pq.write_table(pa.table({"path": ["a", "b", "c"], "content": ["x" * 500, "y", ""]}), folder / "x.parquet")
    return {"path": str(folder / "x.parquet")}


def _instructions(folder: Path) -> dict[str, Any]:
    provenance = {"repository": "r", "commit": "c", "path": "a.py"}
    rows = [{"id": f"r@c:a.py#L{i}/made[0]", "instruction": "x" * i * 150, **provenance} for i in range(3)]
    (folder / "x.jsonl").write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in [*rows, {"instruction": "y"}]))
    return {"path": str(folder / "x.jsonl")}


def _hub(folder: Path) -> dict[str, Any]:
    pytest.importorskip("datasets")
    (folder / "set").mkdir()
    rows = [{"path": f"{i}.py", "content": "x" * i * 100} for i in range(5)]
    (folder / "set" / "train.jsonl").write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in rows))
    return {"dataset": str(folder / "set")}


SETTINGS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "archives": _archives,
    "git": _git,
    "hub": _hub,
    "instructions": _instructions,
    "local_files": lambda folder: {"path": _tree(folder / "code")},
    "standard_library": lambda folder: {},
    "tables": _tables,
}

NAMES = plugins.names("corpora")


@pytest.fixture
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Corpus:
    name: str = request.param
    assert name in SETTINGS, f"tell this test how to make a small source for {name}"
    made: Corpus = plugins.load("corpora", name)(**SETTINGS[name](tmp_path))
    return made


@pytest.mark.parametrize("name", NAMES)
def test_a_corpus_is_a_frozen_value_of_primitives(name: str) -> None:
    plugin = plugins.load("corpora", name)
    assert is_dataclass(plugin)
    assert plugin.__dataclass_params__.frozen
    assert hasattr(plugin, "__slots__")
    assert all(f.kw_only for f in fields(plugin))
    assert len(plugins.summary("corpora", name)) > 20


@pytest.mark.parametrize("corpus", NAMES, indirect=True)
def test_a_corpus_has_a_fingerprint(corpus: Corpus) -> None:
    assert digest(corpus) == digest(corpus)


@pytest.mark.parametrize("corpus", NAMES, indirect=True)
def test_documents_come_in_a_fixed_order_with_unique_ids(corpus: Corpus) -> None:
    first, second = list(corpus.documents(MAX_BYTES)), list(corpus.documents(MAX_BYTES))
    assert first == second
    assert len(first) > 1
    assert len({d.id for d in first}) == len(first)


@pytest.mark.parametrize("corpus", NAMES, indirect=True)
def test_documents_keep_the_limit_and_tell_their_size_and_origin(corpus: Corpus) -> None:
    found: list[RawDocument] = list(corpus.documents(MAX_BYTES))
    assert any(d.size > MAX_BYTES for d in found)
    for document in found:
        assert len(document.content) == min(document.size, MAX_BYTES + 1)
        at = f"@{document.commit}" if document.commit else ""
        assert document.id.partition("#")[0] == f"{document.repository}{at}:{document.path}"
        assert document.repository
        assert not document.path.startswith("/")
        document.id.encode()
        assert not document.problem


@pytest.mark.parametrize("corpus", NAMES, indirect=True)
def test_the_state_is_stable_and_reading_does_not_change_it(corpus: Corpus) -> None:
    before = corpus.state()
    assert before
    next(iter(corpus.documents(MAX_BYTES)))
    assert corpus.state() == before


@pytest.mark.parametrize("corpus", NAMES, indirect=True)
def test_a_reader_may_leave_early(corpus: Corpus) -> None:
    documents = corpus.documents(MAX_BYTES)
    next(documents)
    documents.close()  # type: ignore[attr-defined]
    assert next(documents, None) is None


@pytest.mark.parametrize("name", [n for n in NAMES if n != "standard_library"])
def test_a_missing_source_is_a_users_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "hub":
        pytest.importorskip("datasets")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    plugin = plugins.load("corpora", name)
    corpus = plugin(dataset="no/such") if name == "hub" else plugin(path=str(tmp_path / "nothing"))
    with pytest.raises(CorpusError) as caught:
        next(corpus.documents(MAX_BYTES))
    assert "such" in str(caught.value)
