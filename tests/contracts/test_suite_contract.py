"""What every benchmark that can be scored has to do; a new one is covered the moment it has a `suite`."""

from functools import cache
from pathlib import Path

import pytest

from magicoder import plugins
from magicoder.errors import BenchmarkError, RecipeError
from magicoder.protocols import Suite
from magicoder.records import STYLES

SCORABLE = [n for n in plugins.names("benchmarks") if hasattr(plugins.load("benchmarks", n), "suite")]


@cache
def opened(name: str, data: str) -> Suite:
    try:
        suite: Suite = plugins.load("benchmarks", name)().suite(data)
    except BenchmarkError as e:
        pytest.skip(f"{name}: {e}")
    return suite


@pytest.fixture(params=SCORABLE)
def suite(request: pytest.FixtureRequest, shared_data: Path) -> Suite:
    return opened(request.param, str(shared_data))


def test_tasks_are_named_once_and_in_a_fixed_order(suite: Suite) -> None:
    ids = [task.id for task in suite.tasks]
    assert ids
    assert len({i.lower() for i in ids}) == len(ids)


def test_the_default_profile_is_ours(suite: Suite) -> None:
    assert suite.profiles[0] == "strict"
    assert suite.scores
    assert suite.version


def test_profiles_are_made_of_faults_that_are_profiles_too(suite: Suite) -> None:
    assert suite.faults("strict") == {}
    for profile in suite.profiles[1:]:
        assert suite.faults(profile)
        for name, said in suite.faults(profile).items():
            assert suite.faults(f"strict+{name}") == {name: said}
    for wrong in ("no-such-profile", "strict+no-such-fault"):
        with pytest.raises(RecipeError):
            suite.faults(wrong)


def test_known_exceptions_are_tasks_with_a_canonical_solution_and_a_reason(suite: Suite) -> None:
    tasks = {task.id: task for task in suite.tasks}
    for profile in suite.profiles:
        for task, why in suite.exceptions(profile, lambda _: "").items():
            assert why
            assert suite.reference(tasks[task])


def test_models_are_asked_in_styles_that_exist(suite: Suite) -> None:
    task = suite.tasks[0]
    asked = 0
    for style in STYLES[:-1]:
        try:
            prompt = suite.prompt(task, style)
        except RecipeError:
            continue
        asked += 1
        assert prompt.messages
        assert all(message.content for message in prompt.messages)
        assert prompt.messages[-1].role == ("assistant" if style == "magicoder" else "user")
        assert prompt.temperature == 0.0
    assert asked
    with pytest.raises(RecipeError):
        suite.prompt(task, "poem")


def test_any_answer_has_a_program_or_none(suite: Suite) -> None:
    task = suite.tasks[0]
    for style in STYLES:
        for answer in ("", "I cannot.", "```", "```python\n", "\0", "def f(:", "```\nx = 1\n```\n```\ny = 2"):
            found = suite.program_text(task, answer, style)
            assert found.rule
            assert suite.program_text(task, answer, style) == found


def test_a_whole_program_stays_what_it_is(suite: Suite) -> None:
    for task in suite.tasks[:5]:
        reference = suite.reference(task)
        if reference:
            assert suite.program_text(task, reference, "solution").code.split() == reference.split()
