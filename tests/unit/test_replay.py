"""Recorded exchanges: exact prompts are answered, others are told apart, and files that are none are refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from magicoder.errors import TeacherError
from magicoder.llms.replay import Replay
from magicoder.records import Completion, Failure, Message, Prompt


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "be brief"}, {"role": "user", "content": text}]


def prompt(text: str, **changes: Any) -> Prompt:
    return Prompt(messages=tuple(Message(**m) for m in messages(text)), **changes)


def recording(path: Path, *rows: dict[str, Any]) -> Replay:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return Replay(path=str(path))


def ask(replay: Replay, *prompts: Prompt) -> list[Completion | Failure]:
    with replay.open() as session:
        for ticket, asked in enumerate(prompts):
            session.submit(ticket, asked)
        return [answer for _, answer in sorted(session.collect())]


def test_the_recorded_answer_to_the_exact_prompt_is_returned(tmp_path: Path) -> None:
    rows = [{"messages": messages(f"größe {i}"), "response": f"antwort {i}", "finish_reason": "length"} for i in (1, 2)]
    replay = recording(tmp_path / "teacher.jsonl", *rows)
    assert ask(replay, prompt("größe 2"))[0] == Completion(
        texts=("antwort 2",), finish_reasons=("length",), model="replay:teacher.jsonl"
    )


def test_model_tokens_and_fingerprint_of_a_row_are_used(tmp_path: Path) -> None:
    facts = {"model": "m", "prompt_tokens": 3, "completion_tokens": 4, "fingerprint": "fp"}
    replay = recording(tmp_path / "r.jsonl", {"messages": messages("x"), "response": "y", **facts})
    assert ask(replay, prompt("x"))[0] == Completion(texts=("y",), finish_reasons=("stop",), **facts)


def test_an_unknown_prompt_is_a_failure_that_says_where_it_differs(tmp_path: Path) -> None:
    replay = recording(tmp_path / "r.jsonl", {"messages": messages("Please write a poem"), "response": "y"})
    (failure,) = ask(replay, prompt("Please write a novel"))
    assert isinstance(failure, Failure)
    assert failure.reason == "no_recording"
    assert failure.detail.endswith(
        "message 2 leaves the file's first prompt at character 16: 'novel' instead of 'poem'"
    )


def test_a_prompt_with_other_roles_or_more_messages_is_told_apart(tmp_path: Path) -> None:
    replay = recording(tmp_path / "r.jsonl", {"messages": messages("x"), "response": "y"})
    longer = Prompt(messages=(*prompt("x").messages, Message(role="user", content="more")))
    swapped = Prompt(messages=tuple(reversed(prompt("x").messages)))
    details = [failure.detail for failure in ask(replay, longer, swapped) if isinstance(failure, Failure)]
    assert details[0].endswith("it has 3 messages, the file's first prompt 2")
    assert details[1].endswith("message 1 is of the user, in the file's first prompt of the system")


def test_rows_with_equal_messages_are_further_samples(tmp_path: Path) -> None:
    rows = [{"messages": messages("x"), "response": text, "completion_tokens": 2} for text in "abc"]
    two, four = ask(recording(tmp_path / "r.jsonl", *rows), prompt("x", n=2), prompt("x", n=4))
    assert isinstance(two, Completion)
    assert (two.texts, two.completion_tokens) == (("a", "b"), 4)
    assert isinstance(four, Failure)
    assert "4 samples wanted, r.jsonl holds 3" in four.detail


def test_a_changed_recording_changes_every_request(tmp_path: Path) -> None:
    row = {"messages": messages("x"), "response": "y"}
    bodies = [recording(tmp_path / "r.jsonl", row | {"response": r}).body(prompt("x")) for r in ("y", "changed", "y")]
    assert bodies[0] == bodies[2] != bodies[1]


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        '{"messages": []}',
        '{"messages": [{"role": "user"}], "response": "x"}',
        '{"messages": [{"role": "user", "content": 1}], "response": "x"}',
        '{"messages": [], "response": null}',
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"messages": messages("x"), "response": "y"}) + "\n\n" + line + "\n")
    with pytest.raises(TeacherError, match=r"r\.jsonl:3 is not a recorded exchange"):
        ask(Replay(path=str(path)))


def test_a_missing_or_empty_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=r"cannot read the recording .*No such file"):
        ask(Replay(path=str(tmp_path / "nothing.jsonl")))
    with pytest.raises(TeacherError, match=r"cannot read the recording .*No such file"):
        Replay(path=str(tmp_path / "nothing.jsonl")).body(prompt("x"))
    with pytest.raises(TeacherError, match="is empty"):
        ask(recording(tmp_path / "r.jsonl"))


def test_every_prompt_of_the_shared_recording_is_answered(shared_data: Path) -> None:
    path = shared_data / "recorded_teacher" / "oss_instruct.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    prompts = [Prompt(messages=tuple(Message(**m) for m in row["messages"])) for row in rows]
    answers = ask(Replay(path=str(path)), *prompts)
    assert len(rows) == 120
    assert [a.texts for a in answers if isinstance(a, Completion)] == [(row["response"],) for row in rows]
