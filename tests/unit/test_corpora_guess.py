"""What a --source means, and the standard library."""

import platform
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from magicoder.corpora import guess
from magicoder.corpora.archives import Archives
from magicoder.corpora.git import Git
from magicoder.corpora.hub import Hub
from magicoder.corpora.instructions import Instructions
from magicoder.corpora.local_files import LocalFiles
from magicoder.corpora.standard_library import StandardLibrary
from magicoder.corpora.tables import Tables
from magicoder.errors import CorpusError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("1")
    subprocess.run(["git", "init", "-q", str(tmp_path / "checkout")], check=True)
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "bare.git")], check=True)
    (tmp_path / "rows").mkdir()
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "rows" / "a.parquet")
    (tmp_path / "rows" / "README.md").write_text("about")
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed" / "x.tar.gz", "w:gz"):
        pass
    with zipfile.ZipFile(tmp_path / "packed" / "x.whl", "w"):
        pass
    (tmp_path / "x.jsonl.gz").write_bytes(b"")
    (tmp_path / "x.json").write_text("{}")
    (tmp_path / "odd#name").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("code", LocalFiles),
        ("code/a.py", LocalFiles),
        ("checkout", LocalFiles),
        ("odd#name", LocalFiles),
        ("x.json", LocalFiles),
        ("bare.git", Git),
        ("checkout/.git", Git),
        ("rows", Tables),
        ("rows/a.parquet", Tables),
        ("rows/*.parquet", Tables),
        ("x.jsonl.gz", Tables),
        ("packed", Archives),
        ("packed/x.whl", Archives),
        ("packed/*.tar.gz", Archives),
    ],
)
def test_a_path_is_read_by_what_it_is(place: Path, source: str, kind: type) -> None:
    assert guess(str(place / source)) == kind(path=str(place / source))


def test_names_that_are_no_paths(place: Path) -> None:
    assert guess("stdlib") == StandardLibrary()
    assert guess("hf://bigcode/the-stack/data/swift@v1.2") == Hub(
        dataset="bigcode/the-stack", data_dir="data/swift", revision="v1.2"
    )
    assert guess(f"{place}/checkout#v1.0") == Git(path=f"{place}/checkout", revision="v1.0")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{}/cod", r"no such file or folder: .*; did you mean .*code\?"),
        ("{}/nothing/like/this.py", "no such file or folder"),
        ("https://git.example.org/o/n", "fetch it first, such as with: git clone https"),
        ("git@git.example.org:o/n", "fetch it first"),
        ("hf://", "write hf://owner/name"),
        ("{}/*", "a pattern must end like its files"),
        ("", "empty path"),
    ],
)
def test_what_means_nothing_is_explained(place: Path, source: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        guess(source.format(place))


def test_importing_the_family_loads_nothing_heavy() -> None:
    program = (
        "import sys, magicoder.corpora; "
        "print([m for m in ('pyarrow', 'pathspec', 'datasets', 'orjson', 'tarfile', 'subprocess') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_standard_library_is_that_of_this_python() -> None:
    found = {d.path: d for d in StandardLibrary().documents(1 << 20)}
    version = f"v{platform.python_version()}"
    assert found["Lib/json/decoder.py"].id == f"python/cpython@{version}:Lib/json/decoder.py"
    assert found["Lib/json/decoder.py"].license == "PSF-2.0"
    assert found["Lib/json/decoder.py"].content == Path(sysconfig.get_path("stdlib"), "json/decoder.py").read_bytes()
    assert len(found) > 400
    assert all(p.endswith(".py") and not d.problem for p, d in found.items())
    unwanted = ("site-packages", "dist-packages", "__pycache__", "/test/", "/tests/", "_sysconfigdata")
    assert not [p for p in found if any(u in p for u in unwanted)]


def test_tests_of_the_standard_library_are_asked_for() -> None:
    fewer, more = StandardLibrary(), StandardLibrary(include_tests=True)
    assert sum(1 for _ in more.documents(1)) >= sum(1 for _ in fewer.documents(1))
    assert fewer.state() == StandardLibrary().state()


@pytest.mark.parametrize("source", ["x.json", "x.jsonl.gz", "rows"])
def test_for_a_strategy_that_wants_instructions_tables_hold_instructions(place: Path, source: str) -> None:
    found = guess(str(place / source), "instruction")
    assert found == Instructions(path=str(place / source))
