"""estimate, preview, --budget, --target, retry and reparse, as a user runs them, against a server that counts."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.batch_server import BatchServer
from tests.e2e.conftest import Command, environment
from tests.faulty_server import FaultyServer

RECIPE = """
name: money
corpora: [{{local_files: {{path: {source}}}}}]
strategy: oss_instruct
teacher:
  openai_chat:
    model: teacher
    base_url: {url}
    concurrency: 8
    max_retries: 1
    retry_delay_s: 0.01
    usd_per_million_prompt_tokens: 1000
    usd_per_million_completion_tokens: 1000
deduplicate: {{documents: false, seeds: false, samples: false}}
clean:
  {{duplicate_seeds: false, duplicate_instructions: false, duplicate_responses: false, solution_parses: false}}
"""


@pytest.fixture
def server():
    with FaultyServer(models=("teacher",)) as running:
        yield running


@pytest.fixture
def recipe(server: FaultyServer, small_source: Path, tmp_path: Path) -> Path:
    path = tmp_path / "money.yaml"
    path.write_text(RECIPE.format(source=small_source, url=server.url))
    return path


def asked(server: FaultyServer) -> int:
    return sum(server.requests.values())


def samples(done) -> dict:
    return next(s for s in json.loads(done.stdout)["summary"]["stages"] if s["stage"] == "samples")


def test_an_estimate_asks_nobody_and_the_run_goes_on_from_there(
    magicoder: Command, recipe: Path, server: FaultyServer
) -> None:
    done = magicoder("estimate", recipe, "--json")
    assert done.returncode == 0, done.stderr
    assert asked(server) == 0
    forecast = json.loads(done.stdout)
    estimate = forecast["estimate"]
    assert estimate["requests"] == forecast["seeds"] == 60
    assert 0 < estimate["usd_low"] < estimate["usd_likely"] < estimate["usd_high"]
    shown = magicoder("estimate", recipe).stdout
    assert "likely" in shown
    assert "USD" in shown
    assert "1000 in, 1000 out (the recipe)" in shown
    run = magicoder("run", recipe)
    assert run.stderr.count("done before") == 3
    assert json.loads(magicoder("estimate", recipe, "--json").stdout)["estimate"]["requests"] == 0, "all is answered"


def test_a_preview_asks_about_a_few_seeds_and_the_run_does_not_pay_for_them_again(
    magicoder: Command, recipe: Path, server: FaultyServer
) -> None:
    done = magicoder("preview", recipe, "-n", 3)
    assert done.returncode == 0, done.stderr
    assert asked(server) == 3
    assert done.stdout.count("verdict: kept") == 3
    for word in ("asked", "answered", "instruction", "response"):
        assert word in done.stdout
    magicoder("run", recipe)
    assert asked(server) == 60


def test_a_budget_is_never_exceeded_and_a_larger_one_goes_on(
    magicoder: Command, recipe: Path, server: FaultyServer
) -> None:
    price = 52 * 1000 / 1e6  # what the server bills for one answer
    done = magicoder("run", recipe, "--budget", "5", "--json")
    assert done.returncode == 5, done.stderr
    assert "larger --budget" in done.stderr
    first = asked(server)
    assert 0 < first * price <= 5
    assert samples(done)["reasons"] == {"over_budget": 60 - first}
    again = magicoder("run", recipe, "--budget", "5", "--json")
    assert asked(server) * price <= 5, "the cap is on the run folder, not on one process"
    assert again.returncode == 5
    enough = magicoder("run", recipe, "--budget", "1000", "--json")
    assert enough.returncode == 0, enough.stderr
    assert asked(server) == 60, "nothing was paid twice"
    assert samples(enough)["kept"] == 60


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_budget_counts_once_what_a_stopped_run_has_left_in_a_batch(
    executable: str, magicoder: Command, recipe: Path, tmp_path: Path, home: Path, number: int
) -> None:
    with BatchServer(models=("teacher",), stage_s=1.0) as server:
        text = recipe.read_text().replace("openai_chat", "openai_batch")
        lines = [line for line in text.splitlines() if "max_retries" not in line and "base_url" not in line]
        lines.insert(lines.index("    model: teacher"), f"    base_url: {server.url}\n    poll_s: 0.1")
        recipe.write_text("\n".join(lines).replace("concurrency: 8", "concurrency: 100"))
        command = [executable, "run", str(recipe), "--out", "out", "--budget", "300"]  # the worst case is 3 or 4 each
        process = subprocess.Popen(command, cwd=tmp_path, env=environment(home), stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not server.batches and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)  # for its id to be written down
        process.send_signal(number)
        process.wait(60)
        done = magicoder(*command[1:], "--json")
        assert done.returncode == 0, done.stderr
        assert samples(done)["kept"] == 60
        assert set(server.paid.values()) == {1}
    spent = json.loads((tmp_path / "out" / "budget.json").read_text())["nano_usd"] / 1e9
    cost = 60 * 52 * 1000 / 1e6
    assert spent == cost if number == signal.SIGINT else cost < spent <= 300


def test_a_budget_without_a_known_price_says_which_fields_to_set(
    magicoder: Command, recipe: Path, server: FaultyServer
) -> None:
    lines = [line for line in recipe.read_text().splitlines() if "usd_per_million" not in line]
    recipe.write_text("\n".join(lines).replace(server.url, "http://example.invalid/v1"))
    done = magicoder("run", recipe, "--budget", "1")
    assert done.returncode == 2, done.stderr
    assert "usd_per_million_prompt_tokens" in done.stderr


def test_a_target_asks_about_as_many_seeds_as_it_needs(magicoder: Command, recipe: Path, server: FaultyServer) -> None:
    done = magicoder("run", recipe, "--target", "20", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"]["rows"] == 20
    assert 20 <= asked(server) <= 40
    more = magicoder("run", recipe, "--target", "30", "--json")
    assert json.loads(more.stdout)["summary"]["rows"] == 30
    assert asked(server) <= 55
    unreachable = magicoder("run", recipe, "--target", "500", "--json")
    assert json.loads(unreachable.stdout)["summary"]["rows"] == 60
    assert asked(server) == 60
    assert "440 rows short of the target: all 60 seeds were asked about" in unreachable.stderr


def test_a_target_says_how_many_more_seeds_it_may_take(magicoder: Command, recipe: Path, server: FaultyServer) -> None:
    server.say = lambda prompt: "no sections"
    done = magicoder("run", recipe, "--target", "20")
    assert "note: 0 of 20 rows from 22 seeds; the rest may take" in done.stderr
    assert "38 are left" in done.stderr


def test_an_estimate_of_a_run_towards_a_target_counts_what_that_run_asks_first(
    magicoder: Command, recipe: Path, server: FaultyServer
) -> None:
    forecast = json.loads(magicoder("estimate", recipe, "--target", "20", "--json").stdout)
    assert (forecast["seeds"], forecast["asked"], forecast["estimate"]["requests"]) == (60, 22, 22)
    magicoder("run", recipe, "--target", "20")
    assert asked(server) == 22
    after = magicoder("estimate", recipe, "--target", "20").stdout
    assert "60 seeds, the target takes about 22 of them" in after
    assert "0 requests to pay for" in after


def test_retry_asks_again_about_what_failed_and_nothing_else(
    magicoder: Command, recipe: Path, server: FaultyServer, tmp_path: Path
) -> None:
    server.fault("400", only="anchor")
    done = magicoder("run", recipe, "--json")
    failed = samples(done)["reasons"]["bad_request"]
    assert failed > 0
    asked_before = asked(server)
    server.heal()
    magicoder("run", recipe)
    assert asked(server) == asked_before, "a finished run is not asked again by itself"
    again = magicoder("retry", tmp_path / "runs" / "money", "--json")
    assert again.returncode == 0, again.stderr
    assert asked(server) == asked_before + failed
    assert samples(again)["kept"] == 60


def test_reparse_reads_the_answers_again_for_free(
    magicoder: Command, recipe: Path, server: FaultyServer, tmp_path: Path
) -> None:
    recipe.write_text(recipe.read_text().replace(str(tmp_path / "project"), "project"))  # relative to where it is run
    first = magicoder("run", recipe, "--json")
    server.stop()
    again = magicoder("reparse", ".", "--json", cwd=tmp_path / "runs" / "money")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["summary"] == json.loads(first.stdout)["summary"]


def test_the_ledger_says_where_the_money_went(
    magicoder: Command, recipe: Path, server: FaultyServer, tmp_path: Path
) -> None:
    server.fault("truncation", only="anchor")
    magicoder("run", recipe)
    rows = json.loads(magicoder("ledger", tmp_path / "runs" / "money", "--json").stdout)
    by_reason = {row["reason"]: row for row in rows}
    assert set(by_reason) == {"", "truncated"}
    assert sum(row["requests"] for row in rows) == 60
    kept = by_reason[""]
    assert kept["usd"] == pytest.approx(kept["requests"] * 52 * 1000 / 1e6)
    assert kept["usd_per_accepted_row"] == pytest.approx(0.052)
    assert "published rows" in magicoder("ledger", tmp_path / "runs" / "money").stdout


def test_a_table_of_prices_of_one_s_own_is_used(magicoder: Command, recipe: Path, tmp_path: Path) -> None:
    lines = [line for line in recipe.read_text().splitlines() if "usd_per_million" not in line]
    recipe.write_text("\n".join(lines))
    (tmp_path / "prices.yaml").write_text(
        "- {source: ours, as_of: 2026-11-01, models: {teacher: {prompt: 1000, completion: 1000}}}\n"
    )
    free = json.loads(magicoder("estimate", recipe, "--json").stdout)["estimate"]["usd_likely"]
    priced = magicoder("estimate", recipe, "--prices", "prices.yaml", "--json")
    assert free == 0, "a server on this machine"
    assert json.loads(priced.stdout)["estimate"]["usd_likely"] > 1, priced.stderr
