"""The journal: what it acknowledges survives, one answer per request, and no file is ever overwritten."""

import random
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from magicoder.errors import StoreError
from magicoder.journal import Journal, JournalStats
from magicoder.journal import key as request_key
from magicoder.records import Completion


def completion(text: str = "an answer", **changes: object) -> Completion:
    fields = {
        "texts": (text,),
        "finish_reasons": ("stop",),
        "model": "m",
        "prompt_tokens": 7,
        "completion_tokens": 11,
        "fingerprint": "fp",
    }
    return Completion(**{**fields, **changes})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def test_what_was_recorded_is_found_after_reopening(path: Path) -> None:
    key = request_key("m", b"{}")
    answer = completion("größer\n\x00 🎲", finish_reasons=("length",))
    with Journal.open(path) as journal:
        assert journal.find([key]) == {}
        assert journal.record([(key, answer, b'{"a": 1}')]) == {}
    with Journal.open(path) as journal:
        assert journal.find([key, request_key("m", b"other")]) == {key: answer}
        assert journal.request(key) == b'{"a": 1}'
        assert journal.request(b"unknown") is None


def test_keys_differ_by_model_body_and_sample() -> None:
    keys = {request_key(m, b, s) for m in ("a", "a:1") for b in (b"x", b"1:x") for s in (0, 1)}
    assert len(keys) == 8
    assert request_key("a", b"x") == request_key("a", b"x", 0)
    assert len(request_key("a", b"x")) == 20


def test_a_lookup_may_be_larger_than_sqlites_parameter_limit(path: Path) -> None:
    entries = [(request_key("m", b"%d" % i), completion(str(i)), b"%d" % i) for i in range(1200)]
    with Journal.open(path) as journal:
        journal.record(entries)
        keys = [key for key, _, _ in entries] + [request_key("m", b"x%d" % i) for i in range(40_000)]
        found = journal.find(keys)
    assert len(found) == 1200
    assert found[entries[1199][0]].texts == ("1199",)


def test_the_first_answer_stays_and_the_loser_is_told(path: Path) -> None:
    key = request_key("m", b"{}")
    with Journal.open(path) as one, Journal.open(path) as two:
        assert one.record([(key, completion("first"), b"{}")]) == {}
        other = request_key("m", b"2")
        told = two.record([(other, completion("new"), b"2"), (key, completion("second"), b"{}")])
        assert told == {key: completion("first")}
        assert one.find([key, other]) == two.find([key, other]) == {key: completion("first"), other: completion("new")}


def test_recording_the_same_answer_again_changes_nothing(path: Path) -> None:
    key = request_key("m", b"{}")
    with Journal.open(path) as journal:
        for _ in range(2):
            assert journal.record([(key, completion(), b"{}")]) == {}
        assert journal.stats().answers == 1


def test_stats_count_answers_tokens_and_bytes(path: Path) -> None:
    with Journal.open(path) as journal:
        empty = journal.stats()
        assert (empty.answers, empty.prompt_tokens, empty.completion_tokens) == (0, 0, 0)
        journal.record([(request_key("m", b"%d" % i), completion(), b"") for i in range(3)])
        stats = journal.stats()
    assert stats == JournalStats(answers=3, prompt_tokens=21, completion_tokens=33, bytes=stats.bytes)
    assert stats.bytes > empty.bytes


def test_commits_are_synced_before_they_are_acknowledged(path: Path) -> None:
    with Journal.open(path) as journal:
        pragma = journal._connection.execute
        assert pragma("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert pragma("PRAGMA journal_mode").fetchone() == ("wal",)


def test_every_acknowledged_answer_survives_kill_9(path: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from magicoder.journal import Journal
        from magicoder.journal import key as request_key
        from magicoder.records import Completion
        with Journal.open(Path(sys.argv[1])) as journal:
            for i in range(10**9):
                body = b"%d" % i
                answer = Completion(texts=("x" * 3000,), finish_reasons=("stop",), model="m")
                journal.record([(request_key("m", body), answer, body)])
                print(i, flush=True)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), str(path)], stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        acknowledged = [int(child.stdout.readline()) for _ in range(50)]
        child.kill()
        acknowledged += [int(line) for line in child.stdout.read().split()]
    with Journal.open(path) as journal:
        keys = [request_key("m", b"%d" % i) for i in acknowledged]
        assert set(journal.find(keys)) == set(keys)


def test_two_processes_fill_one_new_journal_at_once(path: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from magicoder.journal import Journal
        from magicoder.journal import key as request_key
        from magicoder.records import Completion
        with Journal.open(Path(sys.argv[1])) as journal:
            for i in range(60):
                body = b"%d" % i
                answer = Completion(texts=(sys.argv[2],), finish_reasons=("stop",), model="m")
                journal.record([(request_key("m", body), answer, body)])
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    children = [subprocess.Popen([*command, name]) for name in "ab"]
    assert [child.wait(60) for child in children] == [0, 0]
    with Journal.open(path) as journal:
        assert journal.stats().answers == 60


def test_many_may_make_the_same_new_journal_at_once(tmp_path: Path) -> None:
    everybody = threading.Barrier(6)

    def make(path: Path) -> int:
        everybody.wait(10)
        with Journal.open(path) as journal:
            return journal.stats().answers

    with ThreadPoolExecutor(6) as pool:
        for round_ in range(60):
            assert list(pool.map(make, [tmp_path / f"{round_}.sqlite"] * 6)) == [0] * 6


@pytest.mark.parametrize("content", [b"my precious notes\n" * 50, b"SQLite format 2\x00" + b"x" * 4000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is not a journal of magicoder"), Journal.open(path):
        pass
    assert path.read_bytes() == content


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program's database"), Journal.open(path):
        pass
    assert path.read_bytes() == before


def test_a_journal_of_another_version_is_refused(path: Path) -> None:
    with Journal.open(path):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="journal of version 99"), Journal.open(path):
        pass


def test_a_file_left_empty_by_a_kill_becomes_a_journal(path: Path) -> None:
    path.touch()
    with Journal.open(path) as journal:
        assert journal.stats().answers == 0


def test_a_torn_database_is_an_error_that_says_what_to_do(path: Path) -> None:
    entries = [(request_key("m", b"%d" % i), completion("z" * 500 + str(i)), b"") for i in range(500)]
    with Journal.open(path) as journal:
        journal.record(entries)
    whole = path.read_bytes()
    torn = whole[: len(whole) // 3]
    path.write_bytes(torn)
    with pytest.raises(StoreError, match=r"damaged.*move it away"), Journal.open(path) as journal:
        journal.find([key for key, _, _ in entries])
    assert path.read_bytes()[100:] == torn[100:]


def test_a_flipped_bit_in_an_answer_is_noticed(path: Path) -> None:
    key = request_key("m", b"{}")
    with Journal.open(path) as journal:
        journal.record([(key, completion("a long enough answer " * 20), b"{}")])
        journal._connection.execute("UPDATE answers SET completion = CAST(substr(completion, 1, 30) || x'00' AS BLOB)")
        with pytest.raises(StoreError, match="an answer in it is damaged"):
            journal.find([key])


def test_a_full_disk_loses_nothing_acknowledged(path: Path) -> None:
    first, second = request_key("m", b"1"), request_key("m", b"2")
    with Journal.open(path) as journal:
        journal.record([(first, completion(), b"1")])
        (pages,) = journal._connection.execute("PRAGMA page_count").fetchone()
        journal._connection.execute(f"PRAGMA max_page_count = {pages}")
        noise = random.Random(1).randbytes(200_000).hex()
        with pytest.raises(StoreError, match=r"disk is full.*recorded before is safe"):
            journal.record([(second, completion(noise), b"2")])
        journal._connection.execute("PRAGMA max_page_count = 1000000")
        assert journal.find([first, second]) == {first: completion()}
        journal.record([(second, completion(noise), b"2")])
        assert set(journal.find([first, second])) == {first, second}


def record_until_it_fails(journal: Journal, acknowledged: list[bytes]) -> None:
    for i in range(1000):
        key = request_key("m", b"%d" % i)
        journal.record([(key, completion(), b"%d" % i)])
        acknowledged.append(key)


def test_a_write_refused_by_the_system_loses_nothing_acknowledged(path: Path) -> None:
    previous = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    acknowledged: list[bytes] = []
    try:
        with Journal.open(path) as journal:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, previous[1]))
            with pytest.raises(StoreError, match="recorded before is safe"):
                record_until_it_fails(journal, acknowledged)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, previous)
        signal.signal(signal.SIGXFSZ, ignored)
    assert len(acknowledged) > 3
    with Journal.open(path) as journal:
        assert set(journal.find(acknowledged)) == set(acknowledged)


def test_a_folder_in_place_of_the_journal_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a folder"), Journal.open(tmp_path):
        pass


def test_a_read_only_journal_can_be_read_and_explains_that_it_cannot_be_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal.open(path):
        pass
    connect = sqlite3.connect

    def read_only(database: Path, **settings: object) -> sqlite3.Connection:
        return connect(f"file:{database}?mode=ro", uri=True, **settings)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    key = request_key("m", b"{}")
    with Journal.open(path) as journal:
        assert journal.find([key]) == {}
        with pytest.raises(StoreError, match="cannot be opened for writing"):
            journal.record([(key, completion(), b"{}")])


def test_a_write_waits_for_another_writer(path: Path) -> None:
    key = request_key("m", b"{}")
    with Journal.open(path) as journal:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, other.execute, ["ROLLBACK"])
        release.start()
        journal.record([(key, completion(), b"{}")])
        release.join()
        other.close()
        assert key in journal.find([key])
