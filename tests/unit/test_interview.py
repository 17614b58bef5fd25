"""A model is asked on the command line: which flags go together, and what a person is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from magicoder import interview
from magicoder.answering import Answered
from magicoder.cli import main
from magicoder.errors import OverBudget, RecipeError, TeacherError
from magicoder.llms.openai_chat import OpenAIChat
from magicoder.llms.transformers import Transformers
from magicoder.records import Answer, Failure
from tests.faulty_server import FaultyServer


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        yield server


@pytest.mark.parametrize(
    ("flags", "says", "code"),
    [
        ((), "--model MODEL asks one, --samples FILE has them", 2),
        (("--temperature", "0.2"), "--model MODEL asks one", 2),
        (("--model", "owner/name"), "--base-url URL of a server, or --model transformers:owner/name", 2),
        (("--model", "./nowhere"), "there is no folder ./nowhere", 4),
        (
            ("--model", "transformers:owner/name", "--base-url", "{url}"),
            "--base-url is not a setting of transformers",
            2,
        ),
        (("--model", "m", "--base-url", "{url}", "--device", "cpu"), "--device is not a setting of openai_chat", 2),
        (("--model", "none.yaml"), "there is no recipe none.yaml", 2),
        (("--model", "other", "--base-url", "{url}"), "has no model 'other'; it has: mock", 4),
        (("--model", "mock", "--base-url", "http://127.0.0.1:9/v1"), "cannot reach http://127.0.0.1:9/v1", 4),
        (("--model", "gpt-5"), "OPENAI_API_KEY is not set", 4),
        (("--model", "gpt-5", "--api-key-env", "MY_KEY"), "MY_KEY is not set", 4),
        (("--model", "mock", "--only-answers"), "--only-answers needs --out DIR", 2),
        (("--model", "mock", "-n", "3"), "all the same at temperature 0", 2),
        (("--model", "mock", "--top-p", "0.5"), "--top-p says nothing at temperature 0", 2),
        (("--model", "mock", "--samples", "{samples}"), "give one of the two", 2),
        (("--samples", "{samples}", "--style", "chat"), "--style is about a model that is asked", 2),
    ],
)
def test_mistakes_are_named(
    server: FaultyServer,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    says: str,
    code: int,
) -> None:
    monkeypatch.setenv("MAGICODER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.jsonl").write_text('{"task_id": "HumanEval/0", "solution": "x = 1"}\n')
    given = [flag.format(url=server.url, samples=tmp_path / "s.jsonl") for flag in flags]
    found = CliRunner().invoke(main, ["evaluate", "humaneval", *given, "--data", str(shared_data)])
    assert found.exit_code == code, found.output
    assert says in found.stderr


FLAGS = {"model": "m", "revision": None, **dict.fromkeys(interview._SETTINGS)}


def test_a_revision_belongs_to_a_model_of_the_hub_or_tells_an_endpoint_s_versions_apart() -> None:
    llm, version = interview.model({**FLAGS, "model": "transformers:owner/name", "revision": "abc"})
    assert isinstance(llm, Transformers)
    assert (llm.revision, version) == ("abc", "")
    llm, version = interview.model({**FLAGS, "revision": "step 100"})
    assert (llm, version) == (OpenAIChat(model="m"), "step 100")
    assert interview.model(FLAGS) == (OpenAIChat(model="m"), "")
    with pytest.raises(RecipeError, match="--revision is not for openai_batch"):
        interview.model({**FLAGS, "model": "openai_batch:m", "revision": "step 100"})


ANSWER = Answer(task_id="T/0", text="", style="chat")


def test_tasks_without_an_answer_are_an_error_unless_the_others_are_wanted() -> None:
    def lost(reason: str) -> Answered:
        return Answered(answers=(ANSWER,), lost={"T/1": Failure(reason=reason, detail="60 s")})

    with pytest.raises(TeacherError, match=r"without an answer: 1 \(T/1: timed_out: 60 s\); run the same command"):
        interview._refuse([lost("timed_out"), Answered(answers=())], partial=False)
    with pytest.raises(OverBudget, match="larger --budget"):
        interview._refuse([lost("over_budget"), Answered(answers=())], partial=False)
    two = Answered(answers=(), lost={"U/1": Failure(reason="over_budget", detail="")})
    with pytest.raises(TeacherError, match="without an answer: 2"):
        interview._refuse([lost("timed_out"), two], partial=False)
    interview._refuse([lost("timed_out")], partial=True)
    with pytest.raises(TeacherError, match="without an answer"):
        interview._refuse([Answered(answers=(), lost=lost("timed_out").lost)], partial=True)


def test_a_person_is_told_what_made_the_answers_and_what_is_odd_about_them() -> None:
    record = {
        "model": "m",
        "style": "magicoder",
        "template": "paper",
        "decoding": {"samples": 1, "temperature": 0.2, "top_p": 0.95, "max_tokens": 512},
        "answers": 164,
        "completion_tokens": 12345,
        "truncated": [f"T/{n}" for n in range(12)],
        "unanswered": {"T/3": "prompt_too_long: 9,000 tokens"},
        "asked_alone": {"tasks": ["T/0", "T/1"], "differ": ["T/1"]},
    }
    made, cut, none, alone = interview.text(record)
    assert made == (
        "164 answers of m: style magicoder (paper template), temperature 0.2, top_p 0.95, at most 512 tokens, "
        "12,345 in all"
    )
    assert cut.startswith("Cut off at the limit of tokens (--max-tokens), tasks: 12 (T/0, T/1,")
    assert cut.endswith("T/9, … and 2 more)")
    assert none.endswith("tasks: 1 (T/3 (prompt_too_long: 9,000 tokens))")
    assert alone == "Asked one at a time, 1 of 2 tasks are answered otherwise: T/1"
