"""The stage that runs solutions: outcomes, tests of tests, what is dropped, what is run twice (nothing)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from magicoder.errors import Interrupted, RecipeError
from magicoder.records import Sample
from magicoder.stages.verify import FAILURES, Verify, measurements
from magicoder.store import Artifact, Progress, RunFolder
from magicoder.summary import count_verdicts, failures
from tests import fake_sandbox
from tests.fake_sandbox import FakeSandbox
from tests.published import make_sample

RIGHT = "```python\ndef double(x):\n    return x + x\n```"
WRONG = "```python\ndef double(x):\n    return x * x\n```"
TESTS = "assert double(3) == 6\nassert double(-1) == -2\n"


def asserted(i: int, response: str, tests: str = TESTS, **changes: Any) -> Sample:
    return make_sample(i, response=response, tests=tests, test_format="assert" if tests else "", **changes)


@pytest.fixture
def verified(tmp_path: Path) -> Callable[..., Artifact[Sample]]:
    def verify(samples: list[Sample], progress: Progress | None = None, **settings: Any) -> Artifact[Sample]:
        stage = Verify(**({"mode": "label"} | settings))
        with RunFolder.locked(tmp_path / "run") as folder, FakeSandbox().open(cache=tmp_path / "cache") as runner:
            source, _ = folder.publish(
                "samples",
                Sample,
                lambda out: [out.write(samples[i : i + 3], []) for i in range(3 * out.done, len(samples), 3)],
                settings=[s.id for s in samples],
                inputs=[s.response + s.tests for s in samples],
            )
            return folder.publish(
                "verified",
                Sample,
                lambda out: stage.run(source, out, runner),
                settings=stage,
                inputs=[source.manifest.content],
                redo=lambda found: found.stage == "verified",
                progress=progress,
            )[0]

    return verify


def test_a_row_says_what_came_of_it_and_what_that_rests_on(verified) -> None:
    rows = list(
        verified(
            [
                asserted(0, RIGHT),
                asserted(1, WRONG),
                asserted(2, RIGHT, tests=""),
                asserted(3, "```python\nraise ValueError('no')\n```", tests=""),
                asserted(4, "Just think.", tests=""),
                asserted(5, "```rust\nfn f() {}\n```", tests="", language="rust"),
                asserted(6, "```python\ndef f(:\n```", tests=""),
                asserted(7, "```python\nimport os\nos._exit(0)\n```", tests=""),
            ]
        )
    )
    assert [(r.outcome, r.checked) for r in rows] == [
        ("passed", "tests"),
        ("wrong_answer", "tests"),
        ("passed", "run"),
        ("exception", "run"),
        ("", ""),
        ("toolchain_missing", ""),
        ("compile_error", "run"),
        ("exited_early", "run"),
    ]
    assert rows[3].outcome_detail == "ValueError: no"
    assert rows[0].toolchain == "Python"
    assert rows[5].toolchain == ""


def test_a_function_cut_in_two_is_put_together_and_its_doctests_run(verified) -> None:
    head = 'def double(x):\n    """Twice.\n\n    >>> double(2)\n    4\n    """'
    pair = {"strategy": "comment_pairs", "instruction": head, "tests": ">>> double(2)\n4\n", "test_format": "doctest"}
    right, wrong = verified(
        [
            make_sample(0, response="\n    return x + x", **pair),
            make_sample(1, response="\n    return x + 3", **pair),
        ]
    )
    assert (right.outcome, right.checked) == ("passed", "tests")
    assert (wrong.outcome, wrong.outcome_detail) == ("wrong_answer", "AssertionError: double(2) printed '5', not '4'")


def test_strong_tests_notice_the_faults_and_tests_that_notice_none_prove_nothing(verified) -> None:
    weak = "double(3)\nassert True\n"
    strong, nothing, failed = verified([asserted(0, RIGHT), asserted(1, RIGHT, tests=weak), asserted(2, WRONG)])
    assert strong.mutants >= 2
    assert strong.test_strength == 1.0
    assert (nothing.mutants, nothing.test_strength) == (strong.mutants, 0.0)
    assert (failed.mutants, failed.test_strength) == (0, None)


class Watched:
    """Progress that counts, and ends the run when tests are tested if it is told to."""

    def __init__(self, *, stops: bool = False) -> None:
        self.stops, self.total, self.count, self.notes = stops, 0, 0, []

    def expect(self, total: int | None, unit: str) -> None:
        self.total = total or 0

    def tick(self, count: int, note: str = "") -> None:
        if self.stops and note:
            raise Interrupted("stopped as asked")
        self.count += count
        self.notes.append(note)


def test_the_bar_moves_while_tests_are_tested_and_a_run_can_be_stopped_there(verified) -> None:
    samples = [asserted(i, RIGHT) for i in range(3)] + [asserted(3, WRONG)]
    with pytest.raises(Interrupted):
        verified(samples, Watched(stops=True))
    watched = Watched()
    verified(samples, watched)
    assert watched.count == watched.total == 4
    assert watched.notes.count("testing the tests") == 3


def test_nothing_is_dropped_but_what_the_recipe_names(verified) -> None:
    samples = [
        asserted(0, RIGHT),
        asserted(1, WRONG),
        asserted(2, "```rust\nfn f() {}\n```", tests="", language="rust"),
        asserted(3, RIGHT, tests="assert True\n"),
        asserted(4, "No code.", tests=""),
    ]
    kept = verified(samples, mode="drop")
    assert [r.id for r in kept] == [samples[i].id for i in (0, 2, 3, 4)]
    assert [(r.id, r.reason) for r in kept.rejections()] == [(samples[1].id, "wrong_answer")]
    strict = verified(samples, mode="drop", drop=(*FAILURES, "proves_nothing", "no_code"))
    assert [r.id for r in strict] == [samples[i].id for i in (0, 2)]
    assert [r.reason for r in strict.rejections()] == ["wrong_answer", "proves_nothing", "no_code"]
    assert len(list(verified(samples, mode="label"))) == 5


def test_a_stage_made_again_executes_nothing_and_gives_the_same_bytes(verified) -> None:
    samples = [asserted(i, RIGHT if i % 2 else WRONG) for i in range(7)]
    first = verified(samples)
    before = len(fake_sandbox.RUN)
    again = verified(samples)
    assert len(fake_sandbox.RUN) == before
    assert again.manifest == first.manifest


def test_what_was_measured_stands_beside_the_rows(verified) -> None:
    samples = [asserted(0, RIGHT), asserted(1, "No code.", tests=""), asserted(2, WRONG), asserted(3, RIGHT)]
    artifact = verified(samples, mode="drop")
    assert [m.id for m in measurements(artifact.folder)] == [samples[i].id for i in (0, 2, 3)]
    assert all(m.cpu_s > 0 for m in measurements(artifact.folder))
    assert artifact.manifest.facts == {"isolation": "none: trusted programs only"}


def test_an_endless_mutant_costs_a_second_at_most(verified) -> None:
    loop = "```python\ndef f(n):\n    while n > 0:\n        n -= 1\n    return n\n```"
    (row,) = verified([asserted(0, loop, tests="assert f(3) == 0\n")], mutants=3)
    assert row.outcome == "passed"
    assert all(p.limits.cpu_s == 1.0 for p in fake_sandbox.RUN[-3:])


def test_outcomes_are_counted_by_language_and_failures_named(verified) -> None:
    samples = [
        asserted(0, RIGHT),
        asserted(1, WRONG),
        asserted(2, "```rust\nfn f() {}\n```", tests="", language="rust"),
    ]
    labelled = verified(samples)
    python, rust, everything = count_verdicts(labelled)
    assert (python.language, python.outcomes, python.strength) == ("python", {"passed": 1, "wrong_answer": 1}, 1.0)
    assert (rust.outcomes, rust.checked, rust.strength) == ({"toolchain_missing": 1}, {}, None)
    assert (everything.rows, everything.checked) == (3, {"tests": 2})
    assert [(i, o) for i, o, _ in failures(labelled)] == [(samples[1].id, "wrong_answer")]
    dropped = verified(samples, mode="drop")
    assert count_verdicts(dropped)[0].outcomes == python.outcomes
    assert [(i, o) for i, o, _ in failures(dropped)] == [(samples[1].id, "wrong_answer")]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mode": "lable"}, "did you mean label"),
        ({"drop": ("wrong_anwser",)}, "did you mean wrong_answer"),
        ({"drop": ("toolchain_missing",)}, "says nothing about a row"),
        ({"mutants": -1}, "at least 0"),
        ({"cpu_s": 0.0}, "at least 0.1"),
    ],
)
def test_impossible_settings_are_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        Verify(**settings)


def test_the_recorded_python_rows_pass_their_asserts_in_plain_processes(verified, shared_data: Path) -> None:
    recorded = [
        json.loads(line) for line in (shared_data / "recorded_teacher/oss_instruct.jsonl").read_bytes().splitlines()
    ]
    samples = [
        asserted(i, row["response"].partition("Solution]")[2], row["tests"])
        for i, row in enumerate(recorded)
        if row["lang"] == "python"
    ]
    rows = list(verified(samples, mutants=0))
    assert len(rows) == 53
    assert [r.outcome_detail for r in rows if r.outcome != "passed"] == []
