"""A model behind an endpoint is evaluated by the installed command: asked once, whatever happens, and judged."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from magicoder.benchmarks.humaneval import HumanEval
from magicoder.records import Task
from tests.e2e.conftest import Command, environment
from tests.faulty_server import KEY, FaultyServer

pytestmark = pytest.mark.skipif(not Path("/proc/self/ns").exists(), reason="the sandbox needs Linux")

WRONG = ("HumanEval/3", "HumanEval/77")


@pytest.fixture
def tasks(few_tasks: Path) -> list[Task]:
    return list(HumanEval().tasks(str(few_tasks)))


@pytest.fixture
def server(tasks: list[Task]) -> Iterator[FaultyServer]:
    """It knows all but two solutions, and goes on talking."""

    def say(prompt: str) -> str:
        task = next(task for task in tasks if task.prompt.strip() in prompt)
        return "    return None\n" if task.id in WRONG else f"{task.reference}\n\nprint('and this is how it is used')\n"

    with FaultyServer(latency_s=0.02) as server:
        server.say = say
        yield server


def arguments(server: FaultyServer, few_tasks: Path, *more: object) -> list[object]:
    asked = ["--model", "mock", "--base-url", server.url, "--style", "completion"]
    return ["evaluate", "humaneval", *asked, "--data", few_tasks, "--out", "out", *more]


def test_a_model_is_asked_and_judged_and_nothing_is_asked_or_run_again(
    magicoder: Command, server: FaultyServer, few_tasks: Path, tmp_path: Path
) -> None:
    first = magicoder(*arguments(server, few_tasks))
    assert first.returncode == 0, first.stderr
    assert "97.5" in first.stdout
    assert "80 answers of mock: style completion, greedy, at most 512 tokens" in first.stdout
    found = json.loads((tmp_path / "out" / "results.json").read_bytes())
    failed = [
        t["task_id"]
        for t in found["tasks"]
        if any(c["outcome"] != "passed" for c in t["answers"][0]["checks"].values())
    ]
    assert tuple(failed) == WRONG
    assert found["generation"]["fingerprints"] == ["fp_1"]
    assert server.url.encode() not in (tmp_path / "out" / "results.json").read_bytes()
    assert set(server.requests.values()) == {1}
    assert all("prompt" in body and body["temperature"] == 0 for body in server.bodies)
    assert "| mock | " in (tmp_path / "out" / "leaderboard.md").read_text()

    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    server.stop()
    again = magicoder(*arguments(server, few_tasks))
    assert again.returncode == 0, again.stderr
    assert "80 reused" in again.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before

    handed_in = magicoder("evaluate", "humaneval", "--samples", "out/answers.jsonl", "--data", few_tasks, "--json")
    assert handed_in.returncode == 0, handed_in.stderr
    assert json.loads(handed_in.stdout)["results"][0]["scores"] == found["scores"]


def test_a_killed_evaluation_goes_on_and_asks_no_more_than_was_in_flight(
    executable: str, home: Path, magicoder: Command, server: FaultyServer, few_tasks: Path, tmp_path: Path
) -> None:
    command = [executable, *map(str, arguments(server, few_tasks, "--only-answers", "--concurrency", "4"))]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(home), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while sum(server.answered.values()) < 30 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "out" / "answers.jsonl").exists()
    done = magicoder(*command[1:])
    assert done.returncode == 0, done.stderr
    assert "reused" in done.stderr
    assert len(server.requests) == 80
    # What was on its way, and what had come and was not yet recorded: one round of four each.
    assert sum(server.requests.values()) - 80 <= 8
    whole = (tmp_path / "out" / "answers.jsonl").read_bytes()
    other = magicoder(*command[1:], "--journal", "other.sqlite")
    assert other.returncode == 0, other.stderr
    assert (tmp_path / "out" / "answers.jsonl").read_bytes() == whole


def test_an_interrupt_keeps_what_was_answered(
    executable: str, home: Path, magicoder: Command, server: FaultyServer, few_tasks: Path, tmp_path: Path
) -> None:
    command = [executable, *map(str, arguments(server, few_tasks, "--only-answers", "--concurrency", "4"))]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(home), stderr=subprocess.PIPE, text=True)
    while sum(server.answered.values()) < 20 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "waited for, and all are in the journal" in said
    assert magicoder(*command[1:]).returncode == 0
    assert set(server.requests.values()) == {1}, "nothing was asked twice"


def test_a_budget_ends_the_asking_and_keeps_the_answers(
    magicoder: Command, server: FaultyServer, few_tasks: Path, tmp_path: Path
) -> None:
    (tmp_path / "m.yaml").write_text(
        f"openai_chat: {{model: mock, base_url: '{server.url}', usd_per_million_prompt_tokens: 1.0, "
        "usd_per_million_completion_tokens: 1.0}\n"
    )
    command = ["evaluate", "humaneval", "--model", "m.yaml", "--style", "chat", "--data", few_tasks, "--out", "out"]
    small = magicoder(*command, "--only-answers", "--budget", "0.003")
    assert small.returncode == 5, small.stderr
    assert "larger --budget" in small.stderr
    asked = sum(server.requests.values())
    assert 0 < asked < 80
    enough = magicoder(*command, "--only-answers", "--budget", "1")
    assert enough.returncode == 0, enough.stderr
    assert sum(server.requests.values()) == 80
    assert json.loads((tmp_path / "out" / "budget.json").read_bytes())["nano_usd"] == 80 * 52 * 1000


def test_the_key_is_in_no_file(magicoder: Command, server: FaultyServer, few_tasks: Path, tmp_path: Path) -> None:
    server.key = KEY
    refused = magicoder(*arguments(server, few_tasks, "--only-answers"), env={"MY_KEY": "wrong"})
    assert refused.returncode == 4
    assert "wants a key" in refused.stderr
    command = arguments(server, few_tasks, "--only-answers", "--api-key-env", "MY_KEY")
    done = magicoder(*command, env={"MY_KEY": KEY})
    assert done.returncode == 0, done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
