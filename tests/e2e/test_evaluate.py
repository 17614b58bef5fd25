"""Recorded completions of a real model are judged by the installed command, as they were published."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Command

pytestmark = pytest.mark.skipif(not Path("/proc/self/ns").exists(), reason="the sandbox needs Linux")

RECORDED = Path("recorded_completions") / "qwen25coder_1.5b-base" / "evalplus"
# A few of each kind: passed, wrong on the added inputs only, wrong on all, no function of that name; helpers of the
# prompt (38, 50), roots (32), floats (4), sets (Mbpp/2), tuples (Mbpp/63), matches (Mbpp/737), no added inputs (793).
HUMANEVAL = (0, 1, 2, 4, 6, 10, 32, 38, 50, 75, 129, 160)
MBPP = (2, 3, 9, 56, 63, 88, 111, 138, 581, 737, 787, 793)


def subset(shared_data: Path, name: str, ids: list[str], place: Path) -> dict[str, Any]:
    """Write the samples of some tasks to `place`, and return their published verdicts."""
    folder = shared_data / RECORDED / name
    with gzip.open(folder / "generated.jsonl.gz", "rt") as lines, place.open("a") as out:
        out.writelines(line for line in lines if json.loads(line)["task_id"] in ids)
    published = json.loads(gzip.decompress((folder / "generated_eval_results.json.gz").read_bytes()))["eval"]
    return {task: published[task][0] for task in ids}


def test_verdicts_are_the_published_ones(magicoder: Command, shared_data: Path, tmp_path: Path) -> None:
    samples = tmp_path / "qwen.jsonl"
    published = subset(shared_data, "humaneval", [f"HumanEval/{n}" for n in HUMANEVAL], samples)
    published |= subset(shared_data, "mbpp", [f"Mbpp/{n}" for n in MBPP], samples)
    arguments = ("evaluate", "humaneval+", "mbpp+", "--samples", str(samples), "--data", str(shared_data), "--partial")
    arguments += ("--profile", "evalplus-0.2", "--out", "out")  # they were published in 2024
    first = magicoder(*arguments)
    assert first.returncode == 0, first.stderr
    assert f"All {len(HUMANEVAL)} canonical solutions pass here." in first.stdout
    for name in ("humaneval_plus", "mbpp_plus"):
        found = json.loads((tmp_path / "out" / name / "eval_results.json").read_bytes())["eval"]
        for task, (row,) in found.items():
            expected = published.pop(task)
            assert row["solution"] == expected["solution"]
            for score in ("base_status", "plus_status"):
                assert (row[score] == "pass") == (expected[score] == "pass"), (task, score)
    assert not published
    assert "| qwen | " in (tmp_path / "out" / "leaderboard.md").read_text()

    before = (tmp_path / "out" / "mbpp_plus" / "results.json").read_bytes()
    again = magicoder(*arguments, "--json", "--quiet")
    assert again.returncode == 0, again.stderr
    assert [row["benchmark"] for row in json.loads(again.stdout)["results"]] == ["humaneval_plus", "mbpp_plus"]
    assert (tmp_path / "out" / "mbpp_plus" / "results.json").read_bytes() == before

    arguments = ("evaluate", "mbpp+", *arguments[3:8], "--profile", "evalplus", "--out", "newer", "--no-self-check")
    newer = magicoder(*arguments)
    assert newer.returncode == 0, newer.stderr
    changed = json.loads((tmp_path / "newer" / "eval_results.json").read_bytes())["eval"]["Mbpp/2"]
    assert changed[0]["base_status"] == "pass"  # a set beside a tuple, which the older harness does not accept

    compared = magicoder("compare", "newer", "newer/eval_results.json")
    assert compared.returncode == 0, compared.stderr
    assert "0 only the first, 0 only the second of 12, p = 1: no difference" in compared.stdout


def test_the_report_says_which_verdicts_depend_on_the_profile(
    magicoder: Command, shared_data: Path, tmp_path: Path
) -> None:
    with gzip.open(shared_data / "benchmarks" / "humanevalplus" / "HumanEvalPlus.jsonl.gz", "rt") as lines:
        rows = {row["task_id"]: row for row in map(json.loads, lines)}
    wanted = [rows[f"HumanEval/{n}"] for n in (0, 32, 53)]
    samples = ({"task_id": row["task_id"], "solution": row["prompt"] + row["canonical_solution"]} for row in wanted)
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    arguments = ("evaluate", "humaneval+", "--samples", "s.jsonl", "--data", str(shared_data), "--partial", "--quiet")
    done = magicoder(*arguments, "--profile", "evalplus", "--profile", "evalplus-0.3.1", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert "2 of 3 canonical solutions pass here; those that are known not to:" in done.stdout
    assert "humaneval_plus: 1 of 3 verdicts depend on the profile\n  HumanEval/32 [0] base, plus: " in done.stdout
    found = json.loads((tmp_path / "out" / "profiles.json").read_bytes())
    assert [sample["why"] for sample in found["samples"]] == [{"evalplus-0.3.1": ["unrecorded"]}]
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"strict", "evalplus", "evalplus-0.3.1", "report.html"}

    printed = magicoder(*arguments, "--profile", "evalplus", "--profile", "evalplus-0.3.1", "--json")
    assert printed.returncode == 0, printed.stderr
    assert json.loads(printed.stdout)["profiles"] == [found]

    told = magicoder("report", "canonical=out", "--out", "report")
    assert told.returncode == 0, told.stderr
    assert "| canonical (evalplus-0.3.1) | 66.7 (" in told.stdout
    assert "ours: canonical (strict)" in (tmp_path / "report" / "report.md").read_text()


def test_mistakes_are_named(magicoder: Command, shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('{"task_id": "HumanEval/0", "solution": "x = 1"}\n')
    for arguments, says in (
        (("humaneval+", "--samples", "s.jsonl"), "--data or MAGICODER_DATA"),
        (("humaneval+", "--samples", "s.jsonl", "--data", str(shared_data)), "163 of 164 tasks have no answer"),
        (("humanevel", "--samples", "s.jsonl", "--data", str(shared_data)), "did you mean humaneval"),
        (("humaneval", "--samples", "s.jsonl", "--data", str(shared_data), "--profile", "x"), "has no profile 'x'"),
    ):
        found = magicoder("evaluate", *arguments)
        assert found.returncode == 2, found.stderr
        assert says in found.stderr
        assert "Traceback" not in found.stderr
