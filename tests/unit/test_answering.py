"""A model answers benchmarks: what it is asked, what is asked again and what is not, and what its answers are."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from magicoder import scores
from magicoder.answering import Answered, Answering, alone, said, write_answers
from magicoder.asking import Desk
from magicoder.errors import Interrupted, RecipeError, TeacherError
from magicoder.journal import Journal
from magicoder.llms.mock import Mock
from magicoder.llms.openai_batch import OpenAIBatch
from magicoder.llms.openai_chat import OpenAIChat
from magicoder.llms.replay import Replay
from magicoder.llms.transformers import Transformers
from magicoder.llms.vllm import VLLM
from magicoder.protocols import NOT_IDENTITY, Suite
from magicoder.records import Completion, Failure, Message, Prompt, Task
from magicoder.store import Silent
from magicoder.text import templates
from tests.unit.test_evaluation import Sums


@dataclass
class Questions(Sums):
    """Tasks that are asked in all styles, with a stop sequence."""

    name: str = "questions"
    count: int = 20
    tasks: Sequence[Task] = ()

    def __post_init__(self) -> None:
        self.tasks = tuple(
            Task(id=f"{self.name}/{n}", benchmark=self.name, language="python", prompt=f"# {self.name} {n}\n")
            for n in range(self.count)
        )

    def prompt(self, task: Task, style: str) -> Prompt:
        if style == "chat" and self.name == "raw":
            raise RecipeError("raw has no style chat")
        user = Message(role="user", content=task.prompt)
        begun = (Message(role="assistant", content="```python"),) if style == "magicoder" else ()
        return Prompt(messages=(user, *begun), stop=("STOP",), max_tokens=99 if style == "magicoder" else None)


@dataclass(frozen=True, kw_only=True)
class Student:
    """Echoes the task with the seed; `concurrency` in flight."""

    concurrency: int = 4
    model: str = "student"
    fail: dict[str, Failure] = field(default_factory=dict, metadata=NOT_IDENTITY)
    breaks_after: int = field(default=10**9, metadata=NOT_IDENTITY)
    crowded: bool = False
    asked: list[Prompt] = field(default_factory=list, metadata=NOT_IDENTITY)

    def body(self, prompt: Prompt) -> bytes:
        return repr(prompt).encode()

    @contextmanager
    def open(self, meter: object = None, folder: object = None) -> Iterator["Session"]:
        yield Session(self)


@dataclass
class Session:
    student: Student
    flying: list[tuple[int, Prompt]] = field(default_factory=list)
    crowd: int = 0

    @property
    def capacity(self) -> int:
        return self.student.concurrency

    def submit(self, ticket: int, prompt: Prompt) -> None:
        self.flying.append((ticket, prompt))

    def collect(self) -> list[tuple[int, Completion | Failure]]:
        if len(self.student.asked) >= self.student.breaks_after:
            raise TeacherError("down")
        self.crowd = max(self.crowd, len(self.flying))
        ticket, prompt = self.flying.pop()  # the newest first: the order of answers is not that of the tasks
        return [(ticket, self.answer(prompt))]

    def answer(self, prompt: Prompt) -> Completion | Failure:
        self.student.asked.append(prompt)
        text = prompt.messages[-1].content
        failed = next((f for name, f in self.student.fail.items() if f"{name}\n" in prompt.messages[0].content), None)
        if failed is not None:
            return failed
        crowd = f" among {self.crowd}" if self.student.crowded and "7" in text else ""
        return Completion(
            texts=(f"{text.strip()} {prompt.random_seed}{crowd}STOP and more",),
            finish_reasons=("stop",),
            model="student",
            prompt_tokens=2,
            completion_tokens=3,
            fingerprint="abacus 1",
        )


Ask = Callable[..., list[Answered]]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    def call(
        student: Student,
        *suites: Suite,
        answering: Answering | None = None,
        told: list[str] | None = None,
        **desk: object,
    ) -> list[Answered]:
        with Journal.open(tmp_path / "journal.sqlite") as journal:
            at = Desk(teacher=student, journal=journal, **desk)  # type: ignore[arg-type]
            tell = [] if told is None else told
            return (answering or Answering()).run(suites or (Questions(),), at, Silent(), tell.append)

    return call


SAMPLED = Answering(temperature=0.5, samples=2)


def test_answers_stand_in_the_order_of_tasks_and_end_at_the_stop_sequence(ask: Ask) -> None:
    (found,) = ask(Student())
    assert [a.text for a in found.answers] == [f"# questions {n} None" for n in range(20)]
    assert {(a.style, a.index) for a in found.answers} == {("chat", 0)}
    assert not found.truncated
    assert not found.lost


def test_several_benchmarks_are_asked_in_one_go(ask: Ask) -> None:
    student = Student(concurrency=30)
    one, other = ask(student, Questions(), Questions(name="riddles", count=7))
    assert (len(one.answers), len(other.answers)) == (20, 7)
    assert other.answers[6].text == "# riddles 6 None"
    assert one.record["answers"] == 20


def test_a_chat_is_asked_as_one_and_raw_text_as_it_stands() -> None:
    suite = Questions()
    task = suite.tasks[3]
    chat = Answering().prompt(suite, task)
    assert (chat.raw, chat.messages, chat.max_tokens) == (False, suite.prompt(task, "chat").messages, 1024)
    completion = Answering(style="completion").prompt(suite, task)
    assert (completion.raw, completion.messages[0].content, completion.max_tokens) == (True, "# questions 3\n", 512)
    own = Answering(style="magicoder", template="own").prompt(suite, task)
    assert (own.raw, own.messages[-1]) == (False, Message(role="assistant", content="```python"))
    paper = Answering(style="magicoder").prompt(suite, task)
    assert paper.raw
    assert paper.max_tokens == 99, "the benchmark's"
    assert paper.messages[0].content == (
        f"{templates.SYSTEM}\n\n@@ Instruction\n# questions 3\n\n\n@@ Response\n```python"
    )


def test_greedy_answers_have_no_seed_and_sampled_ones_each_their_own() -> None:
    suite = Questions()
    greedy = Answering(top_p=0.5).prompt(suite, suite.tasks[0])
    assert (greedy.temperature, greedy.top_p, greedy.random_seed) == (0.0, 1.0, None)
    drawn = Answering(temperature=0.8, samples=3)
    seeds = {drawn.prompt(suite, task, k).random_seed for task in suite.tasks for k in range(3)}
    assert len(seeds) == 60
    assert replace(drawn, random_seed=1).prompt(suite, suite.tasks[0]).random_seed not in seeds
    with pytest.raises(RecipeError, match=r"all the same at temperature 0; give --temperature"):
        Answering(samples=3).prompt(suite, suite.tasks[0])


def test_the_paper_s_decoding_counts_where_nothing_else_is_said() -> None:
    usual = Answering().decoding("ds1000")
    assert (usual.samples, usual.temperature) == (1, 0.0)
    paper = Answering(paper=True)
    published = paper.decoding("ds1000")
    assert (published.samples, published.temperature, published.top_p, published.max_tokens) == (40, 0.2, 0.5, 1024)
    assert paper.decoding("humaneval") == usual, "greedily"
    assert replace(paper, samples=3).decoding("ds1000") == replace(published, samples=3)


def test_more_samples_ask_only_for_those_that_are_new(ask: Ask) -> None:
    first, second = Student(), Student()
    told: list[str] = []
    (few,) = ask(first, answering=SAMPLED)
    (more,) = ask(second, answering=replace(SAMPLED, samples=5), told=told)
    assert (len(first.asked), len(second.asked)) == (40, 60)
    assert [a for a in more.answers if a.index < 2] == list(few.answers)
    assert told == ["60 asked, 40 reused"]


def test_what_was_interrupted_goes_on_without_asking_again(ask: Ask) -> None:
    broken, whole, fresh = Student(breaks_after=9), Student(), Student()
    with pytest.raises(TeacherError, match="down"):
        ask(broken)
    (found,) = ask(whole)
    assert len(broken.asked) + len(whole.asked) == 20
    (again,) = ask(fresh)
    assert (again, fresh.asked) == (found, [])


def test_a_wish_to_stop_waits_for_what_is_in_flight(ask: Ask) -> None:
    student, other = Student(), Student()
    with pytest.raises(Interrupted, match="3 answers in flight were waited for"):
        ask(student, stop=lambda: len(student.asked) >= 6)
    ask(other)
    assert len(student.asked) + len(other.asked) == 20


def test_an_endpoint_s_other_version_and_another_asking_are_asked_anew(ask: Ask) -> None:
    for fields in ({}, {"version": "step 100"}, {"version": "step 200"}, {"repetition": 1}):
        student = Student()
        ask(student, **fields)
        assert len(student.asked) == 20, fields


def test_a_style_that_a_benchmark_lacks_is_told_before_anything_is_asked(ask: Ask) -> None:
    student = Student()
    with pytest.raises(RecipeError, match="raw has no style chat"):
        ask(student, Questions(), Questions(name="raw"))
    with pytest.raises(RecipeError, match="questions: there are no such tasks"):
        ask(student, Questions(count=0))
    assert not student.asked
    with pytest.raises(RecipeError, match="there is no prompt style 'solution'"):
        Answering(style="solution")


def test_what_a_model_cannot_be_asked_is_wrong_and_what_went_wrong_is_not(ask: Ask) -> None:
    too_long, lost = (
        Failure(reason="prompt_too_long", detail="9,000 tokens"),
        Failure(reason="timed_out", detail="60 s"),
    )
    (found,) = ask(Student(fail={"questions 3": too_long, "questions 5": lost}), answering=SAMPLED)
    assert found.unanswered == {"questions/3": "prompt_too_long: 9,000 tokens"}
    assert [a.text for a in found.answers if a.task_id == "questions/3"] == ["", ""]
    assert found.lost == {"questions/5": lost}
    assert not [a for a in found.answers if a.task_id == "questions/5"]
    assert not found.is_over_budget
    assert (found.record["answers"], found.record["lost"]) == (36, {"questions/5": "timed_out"})
    assert Answered(answers=(), lost={"a": Failure(reason="over_budget", detail="")}).is_over_budget


def completion(text: str, reason: str = "length") -> Completion:
    return Completion(texts=(text,), finish_reasons=(reason,), model="m")


def test_an_answer_that_ends_at_a_stop_sequence_was_not_cut_off() -> None:
    raw = Prompt(messages=(Message(role="user", content="def f("),), stop=("\n\n", "END"), raw=True)
    assert said(raw, completion("x): pass\n\nprint(")) == ("x): pass", False)
    assert said(raw, completion("x): passEND\n\n")) == ("x): pass", False)
    assert said(raw, completion("x): pa")) == ("x): pa", True)
    assert said(raw, completion("x): pass", "stop")) == ("x): pass", False)
    assert said(raw, completion("def f(x): pass", "stop"))[0] == "def f(x): pass"


def test_a_beginning_that_is_said_again_is_left_away() -> None:
    begun = Prompt(messages=(Message(role="user", content="why"), Message(role="assistant", content="```python\nx")))
    assert said(begun, completion(" = 1", "stop"))[0] == " = 1"
    assert said(begun, completion("```python\nx = 1", "stop"))[0] == " = 1"


def test_asking_one_at_a_time_names_the_tasks_that_are_answered_otherwise(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        for crowded, expected in ((True, ["questions/7", "questions/17"]), (False, [])):
            student = Student(crowded=crowded, model=f"student {crowded}")
            desk = Desk(teacher=student, journal=journal)
            Answering().run([Questions()], desk, Silent())
            before = len(student.asked)
            ((tried, differ),) = Answering().compare_alone([Questions()], desk, 50, Silent())
            assert (len(tried), differ) == (20, expected)
            assert len(student.asked) == before + 20, "what was answered together is in the journal"
            ((tried, _),) = Answering().compare_alone([Questions()], desk, 4, Silent())
            assert tried == ["questions/0", "questions/5", "questions/10", "questions/15"]
            assert len(student.asked) == before + 20, "and so is what was answered alone"


def test_each_kind_of_model_can_be_asked_one_prompt_at_a_time(tmp_path: Path) -> None:
    one = alone(Transformers(model="owner/name"))
    assert isinstance(one, Transformers)
    assert (one.batch_size, one.continuous_batching) == (1, False)
    for llm in (VLLM(model="owner/name"), OpenAIChat(model="m"), Mock()):
        assert getattr(alone(llm), "concurrency") == 1  # noqa: B009 - of each its own class
    for llm in (Transformers(model="owner/name", batch_size=1), Replay(path="recorded.jsonl"), OpenAIBatch(model="m")):
        with pytest.raises(RecipeError, match="nothing to compare"):
            alone(llm)


def test_the_record_says_what_made_the_answers_without_paths_and_keys(tmp_path: Path, ask: Ask) -> None:
    with Journal.open(tmp_path / "j.sqlite") as journal:
        server = OpenAIChat(model="/home/me/models/tiny", base_url="http://gpu7.lan/v1", api_key_env="SECRET_NAME")
        desk = Desk(teacher=server, journal=journal, ask=False)
        (found,) = Answering(style="magicoder", temperature=0.3).run([Questions()], desk, Silent())
    assert found.record["model"] == "…/tiny"
    assert found.record["settings"]["openai_chat"]["model"] == "…/tiny"
    text = json.dumps(found.record)
    assert not [word for word in ("/home", "gpu7", "SECRET") if word in text]
    assert (found.record["style"], found.record["template"]) == ("magicoder", "paper")
    assert found.record["decoding"] == {
        "samples": 1, "temperature": 0.3, "top_p": 1.0, "max_tokens": 99, "random_seed": 0
    }  # fmt: skip
    (answered,) = ask(Student())
    assert (answered.record["fingerprints"], answered.record["answered_as"]) == (["abacus 1"], ["student"])
    assert "magicoder" in answered.record["software"]


@pytest.mark.parametrize("style", ["chat", "magicoder", "completion"])
def test_a_file_of_answers_is_read_as_it_was_written(style: str, ask: Ask, tmp_path: Path) -> None:
    (found,) = ask(Student(), answering=replace(SAMPLED, style=style))
    write_answers(found.answers, tmp_path / "answers.jsonl")
    assert tuple(scores.answers(tmp_path / "answers.jsonl")) == found.answers
