"""Which canonical solutions are known to fail, and where."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from magicoder.benchmarks import _exceptions
from magicoder.benchmarks._exceptions import holds, known
from magicoder.evaluation import suite_of
from magicoder.sandboxes.cells import Cells

LISTS = sorted(p.name.removesuffix(".yaml") for p in (files("magicoder.benchmarks") / "exceptions").iterdir())


def has(**versions: str) -> Callable[[str], str]:
    return lambda library: versions.get(library, "")


@pytest.mark.parametrize(
    ("version", "said", "expected"),
    [
        ("", "absent", True),
        ("1.0", "absent", False),
        ("1.0", "present", True),
        ("2.1", "<2.1", False),
        ("2.0.9", "<2.1", True),
        ("2.1.0", "==2.1", True),
        ("2.13.0+cpu", ">2.9", True),
        ("10.0rc1", ">=10", True),
        ("1.9", ">=1.10", False),
        ("", "<2", False),
    ],
)
def test_what_can_be_said_of_a_version(version: str, said: str, expected: bool) -> None:
    assert holds(version, said) is expected


def test_what_cannot_be_said_is_refused() -> None:
    with pytest.raises(ValueError, match="no condition"):
        holds("1.0", "new")


def test_problems_about_tensorflow_are_exceptions_where_it_is_absent() -> None:
    without = known("ds1000", (), has())
    assert "TensorFlow" in without["DS-1000/379"]
    assert len(without) == 45 + 17
    beside = known("ds1000", (), has(tensorflow="2.16.1"))
    assert len(beside) == 15
    assert known("ds1000", (), has(**{"tensorflow-cpu": "2.16.1"})) == beside
    assert list(known("ds1000", (), has(tensorflow="2"), at_hand=("seaborn-data",))) == ["DS-1000/819"]


def test_some_hold_in_the_profile_of_a_harness_alone() -> None:
    assert known("humaneval_plus", (), has()) == {}
    assert list(known("humaneval_plus", ("unrecorded", "types"), has())) == ["HumanEval/32"]
    assert list(known("mbpp_plus", ("heap",), has())) == ["Mbpp/255"]


def test_a_benchmark_without_a_list_has_none() -> None:
    assert known("humaneval", (), has()) == {}


@pytest.mark.parametrize("name", LISTS)
def test_every_list_names_tasks_that_there_are_once_and_says_why(name: str, shared_data: Path) -> None:
    ids = {task.id for task in suite_of(name, str(shared_data)).tasks}
    text = (files("magicoder.benchmarks") / "exceptions" / f"{name}.yaml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)["exceptions"]
    named: list[str] = []
    for entry in entries:
        assert len(entry["why"]) > 20
        for said in entry.get("where", {}).values():
            holds("1", said)
        faults = [entry["fault"]] if "fault" in entry else []
        whole, _ = _exceptions._read(name)
        named += [f"{whole}{task}" for task in _exceptions._ids(entry["tasks"])]
        if faults:
            suite = suite_of(name, str(shared_data))
            assert any(faults[0] in suite.faults(profile) for profile in suite.profiles)
    assert set(named) <= ids
    assert len(named) == len(set(named))


def test_lists_are_as_long_as_the_measured_exceptions() -> None:
    assert len(known("bigcodebench", (), has())) == 1140 - 1106
    assert len(known("humaneval_x", (), has())) == 3 + 1 + 3 + 5


def test_libraries_are_asked_for_in_the_interpreter_that_runs_programs() -> None:
    from importlib.metadata import version

    from magicoder.evaluation import _installed

    with Cells().open(workers=1) as runner:
        installed = _installed(runner)
        assert installed("PyYAML") == version("pyyaml")
        assert installed("no-such-library") == ""


def test_a_task_of_the_hard_set_whose_test_was_mended_is_no_exception_there(shared_data: Path) -> None:
    sets = [suite_of(name, str(shared_data)) for name in ("bigcodebench", "bigcodebench:hard")]
    full, hard = (suite.exceptions("strict", has()) for suite in sets)
    assert set(full) - set(hard) == {"BigCodeBench/1006"}
    assert len(set(hard) & {task.id for task in sets[1].tasks}) == 148 - 140
