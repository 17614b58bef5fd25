"""Kept verdicts, and how output is compared."""

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from magicoder.errors import SandboxError
from magicoder.records import Outcome, Verdict
from magicoder.sandboxes import _verdicts
from magicoder.sandboxes._outcomes import line
from magicoder.sandboxes._verdicts import Verdicts
from magicoder.text.outputs import difference

PASSED = Verdict(outcome=Outcome.PASSED, stdout="é\0", cpu_s=0.25, exit_code=0, toolchain="python3 3.11")
SLOW = Verdict(outcome=Outcome.CPU_TIMEOUT, detail="used 10 s")


def test_a_verdict_comes_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "verdicts.db"
    with Verdicts.open(path) as verdicts:
        verdicts.record([(b"a", PASSED), (b"b", SLOW)])
        verdicts.record([])
    with Verdicts.open(path) as verdicts:
        assert verdicts.find([b"a", b"b", b"c"]) == {b"a": PASSED, b"b": SLOW}
        assert verdicts.find([b"a", b"b"], doubtful=False) == {b"a": PASSED}
        assert verdicts.find([]) == {}
        verdicts.record([(b"b", PASSED)])
        assert verdicts.find([b"b"], doubtful=False) == {b"b": PASSED}


def test_thousands_at_once(tmp_path: Path) -> None:
    with Verdicts.open(tmp_path / "v.db") as verdicts:
        keys = [str(i).encode() for i in range(3000)]
        verdicts.record([(key, PASSED) for key in keys])
        assert len(verdicts.find(keys)) == 3000


def test_processes_share_a_file(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from magicoder.records import Outcome, Verdict\n"
        "from magicoder.sandboxes._verdicts import Verdicts\n"
        "with Verdicts.open(Path(sys.argv[1])) as v:\n"
        "    for i in range(100): v.record([(f'{sys.argv[2]}{i}'.encode(), Verdict(outcome=Outcome.PASSED))])\n"
    )
    path = tmp_path / "v.db"
    started = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in "abc"]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    with Verdicts.open(path) as verdicts:
        assert len(verdicts.find([f"{name}{i}".encode() for name in "abc" for i in range(100)])) == 300


def test_a_file_that_another_process_makes_meanwhile_is_no_other_programs(tmp_path: Path) -> None:
    """Its number is looked at, then its tables: in between it is finished, or tried to be."""
    path = tmp_path / "v.db"

    class Slow(sqlite3.Connection):
        def execute(self, statement: str, *given: object) -> sqlite3.Cursor:
            if "sqlite_master" in statement:
                with (
                    contextlib.suppress(sqlite3.OperationalError),  # it may have to wait for us
                    contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other,
                ):
                    other.execute("BEGIN IMMEDIATE")
                    other.execute(_verdicts._TABLE)
                    other.execute(f"PRAGMA application_id = {_verdicts._APPLICATION_ID}")
                    other.execute(f"PRAGMA user_version = {_verdicts._VERSION}")
                    other.execute("COMMIT")
            return super().execute(statement, *given)

    with contextlib.closing(sqlite3.connect(path, isolation_level=None, factory=Slow)) as connection:
        _verdicts._prepare(path, connection)
    with Verdicts.open(path) as verdicts:
        verdicts.record([(b"a", PASSED)])


def test_other_files_are_left_as_they_are(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be looked at" * 50)
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    for path in (text, other, tmp_path):
        before = path.read_bytes() if path.is_file() else b""
        with pytest.raises(SandboxError, match=str(path)), Verdicts.open(path):
            pass
        assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_damaged_verdict_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "v.db"
    with Verdicts.open(path) as verdicts:
        verdicts.record([(b"a", PASSED)])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE verdicts SET verdict = x'00'")
    connection.commit()
    connection.close()
    with Verdicts.open(path) as verdicts, pytest.raises(SandboxError, match="damaged"):
        verdicts.find([b"a"])


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("1 2\n3\n", "1  2 3", True),
        ("1.0000000001", "1", True),
        ("1.00001", "1", False),
        ("1e3", "1000.0", True),
        ("1000000007", "1000000008", False),  # whole numbers have no tolerance
        ("+7", "7", True),
        ("1_0", "10", False),
        ("nan", "nan", True),
        ("inf", "1e999", False),
        ("a b", "a", False),
        ("", "", True),
        ("", "a", False),
        ("9" * 5000, "9" * 5000, True),
        ("9" * 5000, "9" * 4999 + "8", False),
        ("é", "é", True),
    ],
)
def test_tokens(printed: str, expected: str, *, same: bool) -> None:
    assert (difference(printed.encode(), expected, "tokens") == "") is same


@pytest.mark.parametrize(
    ("printed", "expected", "where"),
    [
        (b"a\nb\n", "a\nb\n", ""),
        (b"a\nb", "a\nb\n", "2 lines, expected 3"),
        (b"a\nc\n", "a\nb\n", "line 2 is 'c', expected 'b'"),
    ],
)
def test_exact(printed: bytes, expected: str, where: str) -> None:
    assert difference(printed, expected, "exact") == where


def test_a_difference_is_one_short_line() -> None:
    assert len(difference(b"x" * 100_000, "y" * 100_000, "exact")) < 300
    assert difference(b"\xff\0", "a", "tokens").isascii()
    assert line("\n\n  first \ud800 \nsecond") == "first \\ud800"
    assert line("\x1b[31mred\x07 é") == "\\x1b[31mred\\x07 é"


def test_an_unknown_comparison_is_an_error() -> None:
    with pytest.raises(ValueError, match="fuzzy"):
        difference(b"", "", "fuzzy")
