"""The mock teacher: the same answers every time, many different ones, and code that runs."""

import hashlib
import random
import time
from typing import Any

import pytest

from magicoder.errors import RecipeError
from magicoder.llms.mock import Mock
from magicoder.records import Completion, Message, Outcome, Program, Prompt, Sample, Seed, Verdict
from magicoder.strategies.evol_instruct import STYLES, rewrite_request
from magicoder.strategies.oss_instruct import OssInstruct
from magicoder.strategies.self_instruct import SelfInstruct, numbered
from magicoder.text.elimination import rewrite_problem

SEED = "import zlib\n\ndef checksum(data):\n    return zlib.crc32(data)\n"


def prompt(number: int, code: str = SEED, **changes: Any) -> Prompt:
    content = f"Please gain inspiration.\n\nCode snippet for inspiration:\n```\n{code}\n```\n\nGuidelines follow."
    return Prompt(messages=(Message(role="user", content=content),), **{"random_seed": number} | changes)


def ask(mock: Mock, *prompts: Prompt) -> list[Completion]:
    answers: dict[int, Completion] = {}
    with mock.open() as session:
        for ticket, asked in enumerate(prompts):
            session.submit(ticket, asked)
        while len(answers) < len(prompts):
            answers |= {t: a for t, a in session.collect() if isinstance(a, Completion)}
    return [answers[ticket] for ticket in range(len(prompts))]


def code_of(answer: Completion) -> str:
    return answer.texts[0].split("```python\n")[1].split("```")[0]


def words(text: str) -> set[tuple[str, ...]]:
    found = text.replace("[Problem Description]", "").replace("[Solution]", "").split()
    return {tuple(found[i : i + 5]) for i in range(len(found) - 4)}


def test_the_answer_depends_on_messages_and_random_seed_only() -> None:
    mock = Mock()
    together = ask(mock, prompt(1), prompt(2), prompt(1, "other code"))
    assert together == [ask(mock, p)[0] for p in (prompt(1), prompt(2), prompt(1, "other code"))]
    assert len({a.texts for a in together}) == 3
    assert ask(Mock(latency_s=0.001, concurrency=3), prompt(1)) == together[:1]


def test_this_answer_never_changes() -> None:
    # Demo runs and recorded reports rest on it; whoever changes a word list says so in the changelog.
    text = ask(Mock(), prompt(976))[0].texts[0]
    assert text.startswith("[Problem Description]\nEvery sleepy brewery needs a teacher for its dusty signals.")
    assert hashlib.blake2b(text.encode(), digest_size=8).hexdigest() == "2654baa01fdae4e4"


def test_an_answer_has_a_problem_about_the_seed_and_a_solution() -> None:
    (answer,) = ask(Mock(), prompt(1))
    head, solution = answer.texts[0].split("[Solution]\n")
    assert head.startswith("[Problem Description]\n")
    assert "def checksum(data):\n    return zlib.crc32(data)" in head
    assert solution.startswith("```python\ndef ")
    assert answer.finish_reasons == ("stop",)
    assert answer.prompt_tokens > 20
    assert answer.completion_tokens > 50


def test_every_solution_runs_and_takes_a_list_of_integers() -> None:
    numbers = [0, 1, -7, 22, 99, 100, 399, 12345, -40, 7, 7]
    for answer in ask(Mock(), *(prompt(i) for i in range(400))):
        scope: dict[str, Any] = {}
        exec(code_of(answer), scope)  # its own assert included
        (function,) = [v for name, v in scope.items() if name != "__builtins__"]
        assert isinstance(function(numbers), int | list | dict)


def test_thousands_of_answers_to_one_seed_are_all_different_and_no_near_duplicates() -> None:
    texts = [a.texts[0] for a in ask(Mock(), *(prompt(i) for i in range(3000)))]
    assert len(set(texts)) == 3000
    shingles = [words(text) for text in texts[:250]]
    closest = max(
        len(a & b) / len(a | b) for i, a in enumerate(shingles) for b in shingles[:i]
    )  # Jaccard; near-duplicate cleaning starts at 0.7
    assert closest < 0.6


def test_solutions_alone_can_be_asked_for() -> None:
    (answer,) = ask(Mock(answers="solution"), prompt(1))
    assert answer.texts[0].startswith("```python\ndef ")


@pytest.mark.parametrize("fault", ["truncate_every", "refuse_every", "garble_every", "empty_every"])
def test_about_one_in_so_many_has_the_fault_and_the_others_are_untouched(fault: str) -> None:
    prompts = [prompt(i) for i in range(600)]
    healthy, faulty = ask(Mock(), *prompts), ask(Mock(**{fault: 5}), *prompts)
    hit = [(a, b) for a, b in zip(healthy, faulty, strict=True) if a != b]
    assert 80 < len(hit) < 160
    for sound, broken in hit:
        assert (broken.finish_reasons == ("length",)) is (fault == "truncate_every")
        assert sound.texts[0].startswith(broken.texts[0]) is (fault in ("truncate_every", "empty_every"))
        assert ("[Solution]" in broken.texts[0]) is False or fault == "truncate_every"


def test_faults_are_independent_of_each_other() -> None:
    answers = ask(Mock(refuse_every=2, truncate_every=2), *(prompt(i) for i in range(400)))
    refused = sum("sorry" in a.texts[0] for a in answers)
    truncated = sum(a.finish_reasons == ("length",) for a in answers)
    assert 160 < refused < 240
    assert 70 < truncated < 130


def test_a_token_limit_truncates() -> None:
    (answer,) = ask(Mock(), prompt(1, max_tokens=10))
    assert answer.finish_reasons == ("length",)
    assert answer.completion_tokens == 10


def test_samples_of_one_prompt_differ() -> None:
    (answer,) = ask(Mock(), prompt(1, n=3))
    assert len(set(answer.texts)) == len(answer.finish_reasons) == 3


def test_answers_overtake_each_other_in_an_order_of_the_prompts_own() -> None:
    def order(tickets: list[int]) -> list[int]:
        seen: list[int] = []
        with Mock().open() as session:
            for ticket in tickets:
                session.submit(ticket, prompt(ticket))
            while len(seen) < len(tickets):
                seen += [ticket for ticket, _ in session.collect()]
        return seen

    forwards = order(list(range(20)))
    assert forwards != list(range(20))
    assert forwards == order(list(reversed(range(20))))


def test_latency_takes_time_and_answers_come_as_they_fall_due() -> None:
    began = time.monotonic()
    with Mock(latency_s=0.1).open() as session:
        for ticket in range(8):
            session.submit(ticket, prompt(ticket))
        batches = []
        while sum(map(len, batches)) < 8:
            batches.append(session.collect())
    assert time.monotonic() - began >= 0.05
    assert len(batches) > 1
    assert all(batches)


def test_faults_are_part_of_the_request_and_speed_is_not() -> None:
    assert Mock().body(prompt(1)) == Mock(latency_s=3.0, concurrency=1).body(prompt(1))
    assert Mock().body(prompt(1)) != Mock(truncate_every=3).body(prompt(1))


@pytest.mark.parametrize("settings", [{"answers": "poems"}, {"concurrency": 0}])
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        Mock(**settings)


def evolve(operation: str, given: str = "Add two numbers.", style: str = "evol_dataset") -> Prompt:
    text = rewrite_request(style, operation, given, "es")
    return Prompt(messages=(Message(role="user", content=text),), random_seed=1)


@pytest.mark.parametrize("operation", STYLES["evol_dataset"])
def test_a_request_to_rewrite_gets_a_longer_or_another_task(operation: str) -> None:
    (answer,) = ask(Mock(), evolve(operation))
    assert rewrite_problem(answer.texts[0], "Add two numbers.", tokens=answer.completion_tokens) == ("", "")
    assert answer.texts[0].startswith("Add two numbers.") is (operation != "breadth")


def test_rewrites_do_not_grow_from_round_to_round_and_all_differ() -> None:
    given, seen = "Add two numbers.", set()
    for _ in range(20):
        (answer,) = ask(Mock(), evolve("diversion", given, "wizardcoder"))
        given = answer.texts[0]
        seen.add(given)
    assert len(seen) == 20
    assert len(given) < 1000


def test_a_task_gets_code_that_runs() -> None:
    for i in range(50):
        (answer,) = ask(Mock(), Prompt(messages=(Message(role="user", content=f"Task {i}: add."),), random_seed=i))
        assert "[Solution]" not in answer.texts[0]
        exec(code_of(answer), {})


def test_what_our_strategies_ask_is_answered_in_their_form() -> None:
    seed = Seed(
        id="d#L1", text="Add two numbers.", language="python", document_id="d", repository="r", commit="c", path="p",
        license="MIT", first_line=1, last_line=1, kind="instruction", index=0, raw_index=0,
    )  # fmt: skip
    request = next(SelfInstruct(count=7).write(seed, random.Random(0)))
    (answer,) = ask(Mock(), request)
    assert len(numbered(answer.texts[0])) == 7


def conversation(mock: Mock, strategy: OssInstruct, ordinal: int) -> tuple[Sample, list[bool]]:
    """Return what a strategy makes of the mock's answers, and how the programs that it wanted to run ended."""
    seed = Seed(
        id=f"d#L{ordinal}", text=f"value = {ordinal}", language="python", document_id="d", repository="r", commit="c",
        path="p", license="MIT", first_line=ordinal, last_line=ordinal, kind="window", index=ordinal, raw_index=0,
    )  # fmt: skip
    steps = strategy.write(seed, random.Random(0))
    ran: list[bool] = []
    answer: Any = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as stop:
            (sample,) = stop.value
            return sample, ran
        if isinstance(step, Prompt):
            (answer,) = ask(mock, step)
        else:
            answer = tuple(verdict(program) for program in step)
            ran += [v.outcome == Outcome.PASSED for v in answer]


def verdict(program: Program) -> Verdict:
    """Run a program of the mock's own: a function and asserts on it."""
    try:
        exec("\n".join([*(text for _, text in program.files), program.tests]), {})
    except AssertionError:
        return Verdict(outcome=Outcome.WRONG_ANSWER)
    return Verdict(outcome=Outcome.PASSED)


def test_its_tests_and_further_solutions_are_about_the_problem_that_was_asked() -> None:
    for ordinal in range(60):
        sample, ran = conversation(Mock(), OssInstruct(tests="asserts", solutions=3), ordinal)
        function = sample.instruction.split("`")[1].split("(")[0]
        asserted = [line for line in sample.tests.splitlines() if line.startswith("assert ")]
        assert all(line.startswith(f"assert {function}(") for line in asserted)
        assert len(asserted) >= 8
        assert len(ran) == 9
        assert all(ran)
        assert (sample.pass_rate, sample.difficulty) == (1.0, "easy")


def test_its_slips_are_noticed_by_its_tests_and_repaired_by_itself() -> None:
    mock, strategy = Mock(slip_every=2), OssInstruct(tests="asserts", repair=1)
    made = [conversation(mock, strategy, ordinal) for ordinal in range(60)]
    repaired = [sample for sample, _ in made if sample.turns]
    assert 15 < len(repaired) < 45
    assert {len(sample.turns) for sample in repaired} == {2}
    for sample in repaired:
        assert "[1:] if" in sample.turns[0]
        assert "WRONG_ANSWER" in sample.turns[1] or "wrong" in sample.turns[1]
    sound = [sample for sample in repaired if "[1:] if" not in sample.response]
    assert len(sound) > 3
    for sample in sound:
        exec(sample.response.split("```python\n")[1].split("```")[0] + sample.tests, {})


def test_a_slip_changes_the_solution_of_its_answer_alone() -> None:
    prompts = [prompt(i) for i in range(300)]
    healthy, slipped = ask(Mock(), *prompts), ask(Mock(slip_every=3), *prompts)
    hit = [(a.texts[0], b.texts[0]) for a, b in zip(healthy, slipped, strict=True) if a != b]
    assert 60 < len(hit) < 140
    assert all(b.replace("[1:] if", " if") == a for a, b in hit)
