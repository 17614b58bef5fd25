"""`kill -9` at random moments and worker counts leave no trace in the dataset."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Command, environment, tree

RECIPE = """
name: killed
corpora:
  - local_files: {{path: {source}}}
documents: {{part_documents: 8}}
strategy: {strategy}
{teacher}
"""
MOCK = "teacher: {mock: {latency_s: 0.05, concurrency: 6}}"


def write_recipe(path: Path, source: Path, strategy: str) -> Path:
    teacher = MOCK if strategy == "oss_instruct" else ""
    path.write_text(RECIPE.format(source=source, strategy=strategy, teacher=teacher))
    return path


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("strategy", ["oss_instruct", "comment_pairs"])
def test_a_run_killed_at_ten_random_moments_ends_in_the_same_bytes(
    executable: str, magicoder: Command, small_source: Path, tmp_path: Path, home: Path, strategy: str
) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", small_source, strategy)
    start = time.perf_counter()
    whole = magicoder("run", recipe, "--out", "whole", "--workers", "2", "--journal", tmp_path / "whole.sqlite")
    duration = time.perf_counter() - start
    assert whole.returncode == 0, whole.stderr
    expected = tree(tmp_path / "whole" / "dataset")
    rng = random.Random(strategy)
    for attempt in range(10):
        out, journal = f"killed-{attempt}", tmp_path / f"{attempt}.sqlite"
        command = [executable, "run", recipe, "--out", out, "--workers", 1 + attempt % 2, "--journal", journal]
        moment = rng.uniform(0.2, 0.8) * duration
        while not killed_after(moment, command, tmp_path, home):  # it was through already: once more, earlier
            shutil.rmtree(tmp_path / out)
            journal.unlink(missing_ok=True)
            moment *= 0.7
        resumed = magicoder("run", recipe, "--out", out, "--workers", "1", "--journal", journal)
        assert resumed.returncode == 0, resumed.stderr
        found = tree(tmp_path / out / "dataset")
        for name, data in expected.items():
            assert found.pop(name, None) == data, f"attempt {attempt}: {name}"
        assert not found


def killed_after(seconds: float, command: list[object], cwd: Path, home: Path) -> bool:
    """Run a command, kill it and its workers after so long, and tell whether it was still at work."""
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=cwd,
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


@pytest.mark.timeout(300)
def test_a_run_killed_before_any_change_in_its_folder_goes_on_to_the_same_bytes(
    small_source: Path, tmp_path: Path
) -> None:
    """Every 29th change here; each one of them in 10 minutes with step 1."""
    for path in sorted(small_source.glob("module_*.py"))[5:]:
        path.unlink()
    (tmp_path / "runs").mkdir()
    script = Path(__file__).with_name("every_moment.py")
    command = [sys.executable, str(script), str(tmp_path / "runs"), str(small_source), "29"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10, "too few kills to show anything"


@pytest.mark.parametrize("strategy", ["oss_instruct", "comment_pairs"])
def test_one_and_two_workers_make_the_same_bytes(
    magicoder: Command, small_source: Path, tmp_path: Path, strategy: str
) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", small_source, strategy)
    for workers in (1, 2):
        done = magicoder("run", recipe, "--out", f"w{workers}", "--workers", workers)
        assert done.returncode == 0, done.stderr
    seeds = ("seeds", "distinct_seeds") if strategy == "oss_instruct" else ("seeds",)
    stages = ("documents", "distinct_files", *seeds, "screened")
    stages += ("samples", "cleaned", "distinct_rows", "decontaminated", "dataset")
    for stage in stages:
        assert tree(tmp_path / "w1" / stage) == tree(tmp_path / "w2" / stage), stage
    assert (tmp_path / "w1" / "report.html").read_bytes() == (tmp_path / "w2" / "report.html").read_bytes()


def test_ctrl_c_waits_for_what_is_in_flight_and_the_next_run_goes_on(
    executable: str, magicoder: Command, small_source: Path, tmp_path: Path, home: Path
) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", small_source, "oss_instruct")
    process = subprocess.Popen(
        [executable, "run", str(recipe), "--out", "out"],
        cwd=tmp_path,
        env=environment(home),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "samples.building").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "run the same command again" in stderr
    done = magicoder("run", recipe, "--out", "out")
    assert done.returncode == 0, done.stderr
