"""Clients that are killed, folders that are shared, endpoints that fail in passing: what is paid twice?"""

import gc
import os
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from magicoder.errors import TeacherError
from magicoder.journal import key
from magicoder.llms import _batch
from magicoder.llms._batch_book import Book
from magicoder.records import Completion
from tests.batch_client import (
    NOWHERE,
    Answers,
    Meter,
    batch_server,  # noqa: F401 - a fixture
    client,
    collect_some,
    drive,
    no_key,  # noqa: F401 - a fixture
    prompt,
    prompts,
    start,
    texts,
)
from tests.batch_server import BatchServer

# Killed and started again.


@pytest.mark.parametrize(
    ("call", "moment"),
    [(call, moment) for call in ("upload", "create", "get", "content") for moment in ("before", "after")],
)
def test_a_run_killed_around_any_call_pays_nothing_twice(call: str, moment: str, tmp_path: Path) -> None:
    with BatchServer(stage_s=0.02) as server:
        running: list[subprocess.Popen[bytes]] = []
        started = threading.Event()

        def kill(now: str, when: str, nth: int) -> None:
            if (now, when) == (call, moment) and nth == 1:
                started.wait(10)
                running[0].kill()
                running[0].wait()

        server.hook = kill
        running.append(start(server, tmp_path, 30))
        started.set()
        assert running[0].wait(60) == -signal.SIGKILL
        answers = drive(client(server.url), tmp_path, prompts(30))
        assert texts(answers) == [f"echo: p{i}" for i in range(30)]
        assert set(server.paid.values()) == {1}
        assert len(server.batches) == 1
    assert list((tmp_path / "batches").iterdir()) == []


@pytest.mark.parametrize("moment", ["handed", "recorded"])
def test_a_run_killed_around_the_recording_of_answers_pays_nothing_twice(moment: str, tmp_path: Path) -> None:
    with BatchServer() as server:
        assert start(server, tmp_path, 1500, moment).wait(60) == -signal.SIGKILL
        assert len(drive(client(server.url), tmp_path, prompts(1500))) == 1500
        assert set(server.paid.values()) == {1}
        assert len(server.batches) == 1


def test_a_run_killed_again_and_again_gets_all_answers_for_one_price(tmp_path: Path) -> None:
    with BatchServer(stage_s=0.1) as server:
        for delay_s in (0.25, 0.35, 0.45, 0.55):
            running = start(server, tmp_path, 200)
            time.sleep(delay_s)
            running.kill()
            running.wait()
        assert len(drive(client(server.url), tmp_path, prompts(200))) == 200
        assert set(server.paid.values()) == {1}
        assert sum(server.paid.values()) == 200


def test_leaving_leaves_the_batch_to_the_next_run(server: BatchServer, tmp_path: Path) -> None:
    server.stage_s = 0.3
    llm = client(server.url, linger_s=0)
    with llm.open(None, tmp_path) as session:
        for ticket, one in enumerate(prompts(20)):
            session.submit(ticket, one)
        session.collect()
        assert getattr(session, "resumable", False)
    assert len(drive(llm, tmp_path, prompts(25))) == 25
    assert [len(b.lines) for b in server.batches.values()] == [20, 5]
    assert set(server.paid.values()) == {1}


def test_a_run_that_stops_takes_back_what_is_in_no_batch(server: BatchServer, tmp_path: Path) -> None:
    server.stage_s = 30
    llm = client(server.url, linger_s=30)
    asked = prompts(6)
    keys = [key(llm.model, llm.body(one)) for one in asked]
    with llm.open(None, tmp_path) as session:
        assert isinstance(session, _batch.BatchSession)
        for ticket in (0, 1):
            session.submit(ticket, asked[ticket])
        while not server.batches:
            session.collect()
        for ticket in (2, 3):  # gathered for the next batch
            session.submit(ticket, asked[ticket])
            session.collect()
        session.submit(4, asked[4])
        assert [session.is_under_way(one) for one in keys] == [True, True, False, False, False, False]
        assert sorted(ticket for ticket, _ in session.withdraw()) == [2, 3, 4]
        assert session.withdraw() == []
    with llm.open(None, tmp_path) as session:
        assert isinstance(session, _batch.BatchSession)
        assert [session.is_under_way(one) for one in keys[:3]] == [True, True, False]


def test_what_an_earlier_run_sent_in_vain_is_sent_again_only_if_there_is_money(
    server: BatchServer, tmp_path: Path
) -> None:
    server.plan(end="expired", share=0.0)
    server.stage_s = 3600  # it expires after the first run has gone
    meter = Meter(0, uncovered=(1,))
    with client(server.url).open(None, tmp_path) as session:
        for ticket, one in enumerate(prompts(2)):
            session.submit(ticket, one)
        while not server.batches:
            session.collect()
    server.stage_s = 0
    answers = drive(client(server.url), tmp_path, prompts(2), meter=meter)
    assert isinstance(answers[0], Completion)
    assert getattr(answers[1], "reason", "") == "over_budget"


def test_answers_that_were_not_recorded_are_handed_out_again(server: BatchServer, tmp_path: Path) -> None:
    def full_disk(moment: str) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        drive(client(server.url), tmp_path, prompts(10), on_answers=full_disk)
    assert len(drive(client(server.url), tmp_path, prompts(10))) == 10
    assert set(server.paid.values()) == {1}
    assert server.calls["content"] == 1


def test_answers_nobody_asks_for_now_wait_for_who_does(server: BatchServer, tmp_path: Path) -> None:
    server.stage_s = 0.2
    llm = client(server.url, linger_s=0)
    with llm.open(None, tmp_path) as session:
        for ticket, one in enumerate(prompts(20)):
            session.submit(ticket, one)
        assert session.collect() == []
    assert len(drive(llm, tmp_path, prompts(5))) == 5
    assert len(drive(llm, tmp_path, prompts(20))) == 20
    assert set(server.paid.values()) == {1}
    assert list((tmp_path / "batches").iterdir()) == []


def test_an_interrupt_ends_collect_and_leaves_the_session_usable(server: BatchServer, tmp_path: Path) -> None:
    server.stage_s = 0.3
    with client(server.url, linger_s=0).open(None, tmp_path) as session:
        session.submit(0, prompt("x"))
        interrupt = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
        interrupt.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                collect_some(session)
        finally:
            interrupt.cancel()
        assert isinstance(collect_some(session)[0][1], Completion)
    assert server.paid["x"] == 1
    gc.collect()  # an unclosed socket, file or loop would warn now, and warnings are errors


def test_two_runs_that_share_a_folder_wait_for_each_others_prompts(server: BatchServer, tmp_path: Path) -> None:
    server.stage_s = 0.1
    results: dict[int, Answers] = {}

    def run(number: int) -> None:
        results[number] = drive(client(server.url), tmp_path, prompts(300)[number * 50 : number * 50 + 200])

    threads = [threading.Thread(target=run, args=[n]) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [len(results[n]) for n in range(3)] == [200, 200, 200]
    assert texts(results[2]) == [f"echo: p{i}" for i in range(100, 300)]
    assert sum(server.paid.values()) == 300
    assert list((tmp_path / "batches").iterdir()) == []


def test_only_one_holds_the_lock(tmp_path: Path) -> None:
    one, two = Book(tmp_path, NOWHERE), Book(tmp_path, NOWHERE)
    with one.sending() as first, two.sending() as second:
        assert (first, second) == (True, False)
    with two.sending() as second:
        assert second
    one.close()
    two.close()


def test_files_that_nobody_came_back_for_are_removed_in_the_end(tmp_path: Path) -> None:
    Book(tmp_path, NOWHERE).close()
    for name, days in {"a.output.jsonl": 29, "b.output.jsonl": 31, "c.output.jsonl.1.part": 2, "d.part": 0}.items():
        (tmp_path / "batches" / name).write_text("{}")
        then = time.time() - days * 86_400
        os.utime(tmp_path / "batches" / name, (then, then))
    Book(tmp_path, NOWHERE).close()
    assert sorted(f.name for f in (tmp_path / "batches").iterdir()) == ["a.output.jsonl", "d.part"]


# An endpoint that fails in passing.


@pytest.mark.parametrize("call", ["models", "upload", "create", "get", "content"])
@pytest.mark.parametrize("mode", ["429", "500", "503", "garbage", "cut before", "cut after", "cut in the middle"])
def test_a_call_that_fails_twice_is_made_again_and_nothing_is_paid_twice(
    call: str, mode: str, server: BatchServer, tmp_path: Path
) -> None:
    server.fault(call, mode, times=2)
    assert texts(drive(client(server.url), tmp_path, prompts(20))) == [f"echo: p{i}" for i in range(20)]
    assert set(server.paid.values()) == {1}


def test_a_batch_whose_creation_was_not_acknowledged_is_found_by_its_tag(server: BatchServer, tmp_path: Path) -> None:
    server.fault("create", "cut after", times=1)
    assert len(drive(client(server.url), tmp_path, prompts(20))) == 20
    assert (server.calls["create"], server.calls["list"]) == (1, 1)


def test_it_is_found_by_its_file_where_no_metadata_is_kept(server: BatchServer, tmp_path: Path) -> None:
    server.keeps_metadata = False
    server.fault("create", "cut after", times=1)
    assert len(drive(client(server.url), tmp_path, prompts(20))) == 20
    assert len(server.batches) == 1


def test_it_is_found_behind_hundreds_of_others(server: BatchServer, tmp_path: Path) -> None:
    def crowd(call: str, moment: str, nth: int) -> None:
        if (call, moment) == ("create", "after"):
            (ours,) = server.batches.values()
            for i in range(250):
                server.batches[f"batch_other{i}"] = replace(
                    ours, id=f"batch_other{i}", request={"endpoint": "e"} | {"input_file_id": "f"}
                )

    server.hook = crowd
    server.fault("create", "cut after", times=1)
    assert len(drive(client(server.url), tmp_path, prompts(20))) == 20
    assert server.calls["create"] == 1
    assert server.calls["list"] == 3


def test_a_batch_that_appears_after_it_was_given_up_is_cancelled(server: BatchServer, tmp_path: Path) -> None:
    server.stage_s = 0.5
    hidden: dict[str, Any] = {}

    def hide(call: str, moment: str, nth: int) -> None:
        if (call, moment, nth) == ("create", "after", 1):
            hidden.update(server.batches)
            server.batches.clear()
        elif (call, moment, nth) == ("create", "after", 2):
            for batch in hidden.values():
                batch.created = time.time()
            server.batches.update(hidden)

    server.hook = hide
    server.fault("create", "cut after", times=1)
    assert len(drive(client(server.url), tmp_path, prompts(20))) == 20
    assert [b.status for b in hidden.values()] == ["cancelled"]
    assert set(server.paid.values()) == {1}


def test_an_endpoint_that_does_not_list_batches_leaves_the_question_to_people(
    server: BatchServer, tmp_path: Path
) -> None:
    server.fault("create", "cut after", times=1)
    server.fault("list", "404")
    with pytest.raises(TeacherError, match=r"does not list batches.*input file file-"):
        drive(client(server.url), tmp_path, prompts(2))
    assert server.calls["create"] == 1


def test_an_outage_longer_than_patience_stops_the_run_and_loses_nothing(server: BatchServer, tmp_path: Path) -> None:
    server.fault("get", "503")
    with pytest.raises(TeacherError, match=r"has failed for .*batches under way go on"):
        drive(client(server.url, patience_s=0.1), tmp_path, prompts(5))
    server.heal()
    assert len(drive(client(server.url), tmp_path, prompts(5))) == 5
    assert set(server.paid.values()) == {1}


def test_an_outage_is_sat_out(server: BatchServer, tmp_path: Path) -> None:
    server.fault("get", "cut before")
    threading.Timer(0.5, server.heal).start()
    assert len(drive(client(server.url), tmp_path, prompts(5))) == 5
