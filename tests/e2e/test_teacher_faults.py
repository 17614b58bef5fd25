"""Whole runs against a teacher that fails, and runs that are killed: what was paid is kept, and nothing is paid twice
but what was in flight. The server counts, not the client.
"""

import hashlib
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Command, environment, tree
from tests.faulty_server import FaultyServer

KILLS = 20
CONCURRENCY = 16
RECIPE = """
name: paid
corpora:
  - local_files: {{path: {source}}}
seeds: {{min_lines: 4, max_lines: 4, per_document: 40}}
strategy: oss_instruct
teacher: {{openai_chat: {{model: mock, base_url: "{url}", concurrency: {concurrency}, retry_delay_s: 0.05, {more}}}}}
"""


def answer(prompt: str) -> str:
    """Say something that parses, different for each prompt."""
    words = hashlib.sha256(prompt.encode()).hexdigest()
    body = "\n".join(f"    v{words[i : i + 4]} = a * 0x{words[i : i + 4]} + {i}" for i in range(0, 40, 4))
    sentence = " ".join(words[i : i + 3] for i in range(0, 60, 3))
    return (
        f"[Problem Description]\nWrite f{words[:8]}(a), which is about {sentence}.\n\n"
        f"[Solution]\n```python\ndef f{words[:8]}(a):\n{body}\n    return v{words[36:40]}\n```\n"
    )


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer(latency_s=0.1) as server:
        server.say = answer
        yield server


def write_recipe(folder: Path, server: FaultyServer, *, files: int, more: str = "") -> Path:
    source = folder / "project"
    source.mkdir()
    (source / "LICENSE").write_bytes((Path(__file__).parents[2] / "LICENSE").read_bytes())
    for n in range(files):
        lines = (f"value_{n}_{i} = compute_{(n * 31 + i * 7) % 97}(input_{i}, {n * i})" for i in range(200))
        (source / f"module_{n:03}.py").write_text("\n".join(lines) + "\n")
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(source=source, url=server.url, concurrency=CONCURRENCY, more=more))
    return path


def paid_twice(server: FaultyServer) -> int:
    return sum(n - 1 for n in server.billed.values() if n > 1)


class Runner:
    """Starts runs that will be stopped."""

    def __init__(self, executable: str, folder: Path, home: Path, recipe: Path) -> None:
        self.command = [
            executable,
            "run",
            str(recipe),
            "--out",
            "out",
            "--workers",
            "1",
            "--quiet",
            "--journal",
            "paid.sqlite",
        ]
        self.folder, self.home = folder, home

    def start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command,
            cwd=self.folder,
            env=environment(self.home),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )


def wait_for_requests(server: FaultyServer, more: int, process: "subprocess.Popen[str]") -> None:
    """Wait until so many more requests have come in, or the run has ended."""
    goal = len(server.times) + more
    limit = time.monotonic() + 60
    while len(server.times) < goal and process.poll() is None:
        assert time.monotonic() < limit
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_killed_at_twenty_random_moments_no_run_pays_twice_for_more_than_was_in_flight(
    executable: str, magicoder: Command, server: FaultyServer, tmp_path: Path, home: Path
) -> None:
    server.latency_s = 0.05
    recipe = write_recipe(tmp_path, server, files=36)
    runner = Runner(executable, tmp_path, home, recipe)
    rng = random.Random(20)
    killed, before = 0, 0
    for _ in range(KILLS):
        process = runner.start()
        wait_for_requests(server, 1, process)
        time.sleep(rng.uniform(0.0, 0.25))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        again, before = paid_twice(server) - before, paid_twice(server)
        assert again <= CONCURRENCY
    assert killed == KILLS, "the runs ended before they could be killed"
    done = magicoder("run", recipe, "--out", "out", "--journal", tmp_path / "paid.sqlite")
    assert done.returncode == 0, done.stderr
    assert paid_twice(server) - before <= CONCURRENCY
    assert paid_twice(server) > 0, "no kill hit a request in flight"
    assert set(server.answered) == set(server.billed)
    # An undisturbed run from the same answers has the same bytes, and asks nothing.
    asked = len(server.times)
    whole = magicoder("run", recipe, "--out", "whole", "--journal", tmp_path / "paid.sqlite")
    assert whole.returncode == 0, whole.stderr
    assert len(server.times) == asked
    assert tree(tmp_path / "out" / "dataset") == tree(tmp_path / "whole" / "dataset")


def test_a_run_that_is_stopped_gracefully_pays_nothing_twice(
    executable: str, magicoder: Command, server: FaultyServer, tmp_path: Path, home: Path
) -> None:
    recipe = write_recipe(tmp_path, server, files=8)
    runner = Runner(executable, tmp_path, home, recipe)
    for number, more in ((signal.SIGINT, 40), (signal.SIGTERM, 70), (signal.SIGINT, 5)):
        process = runner.start()
        wait_for_requests(server, more, process)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130, stderr
        assert "run the same command again" in stderr
    done = magicoder("run", recipe, "--out", "out", "--journal", tmp_path / "paid.sqlite")
    assert done.returncode == 0, done.stderr
    assert len(server.billed) > 200
    assert set(server.billed.values()) == {1}


def test_a_run_goes_on_by_itself_after_an_outage(
    executable: str, magicoder: Command, server: FaultyServer, tmp_path: Path, home: Path
) -> None:
    recipe = write_recipe(tmp_path, server, files=7)
    runner = Runner(executable, tmp_path, home, recipe)
    process = runner.start()
    wait_for_requests(server, 60, process)
    server.stop()
    time.sleep(2)
    assert process.poll() is None
    server.start()
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert len(server.billed) > 200
    assert set(server.answered) == set(server.billed)
    assert paid_twice(server) <= CONCURRENCY


def test_a_run_through_every_fault_at_once_loses_no_seed(
    magicoder: Command, server: FaultyServer, tmp_path: Path
) -> None:
    server.latency_s = 0.01
    server.mix(0.3, "429 ms", "429 later", "500", "hang", "cut", "cut in the middle", "malformed", "garbage")
    recipe = write_recipe(tmp_path, server, files=7, more="timeout_s: 1")
    healer = threading.Timer(20, server.heal)
    healer.start()
    done = magicoder("run", recipe, "--out", "out", "--journal", tmp_path / "paid.sqlite")
    healer.cancel()
    assert done.returncode == 0, done.stderr
    assert sum(server.failed.values()) > 80
    assert len(server.answered) == len(server.requests) > 200
    for prompt, count in server.requests.items():
        assert count <= 1 + server.failed[prompt]
