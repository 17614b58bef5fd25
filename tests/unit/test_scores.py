"""Results: what they say and the files that hold them."""

import gzip
import json
from pathlib import Path

import pytest

from magicoder import scores
from magicoder.errors import RecipeError
from magicoder.scores import Attempt, Checked, Result


def attempt(task: str, *outcomes: str, index: int = 0, detail: str = "") -> Attempt:
    names = ("base", "plus") if len(outcomes) == 2 else ("all",)
    checks = {name: Checked(outcome=o, detail=detail) for name, o in zip(names, outcomes, strict=True)}
    return Attempt(task_id=task, index=index, rule="whole", note="", code=f"# {task} {index}", checks=checks)


def result(*attempts: Attempt, names: tuple[str, ...] = ("base", "plus"), profile: str = "strict") -> Result:
    return Result(
        benchmark="humaneval_plus",
        version="1",
        profile=profile,
        scores=names,
        attempts=attempts,
        isolation="rung 3",
        toolchains={"python": "Python 3.11"},
        unknown=("HumanEval/999",),
        self_check=3,
        magicoder="0",
    )


MIXED = result(
    attempt("a", "passed", "passed"),
    attempt("b", "passed", "wrong_answer"),
    attempt("c", "exception", "passed", detail="ValueError: no"),
    attempt("d", "no_code", "no_code"),
)


def test_a_score_needs_all_checks_before_it() -> None:
    assert MIXED.shares("base") == {"a": 1.0, "b": 1.0, "c": 0.0, "d": 0.0}
    assert MIXED.shares("plus") == {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0}
    assert MIXED.pass_at("base")[1].estimate == 0.5
    assert MIXED.pass_at("plus")[1].estimate == 0.25


def test_failures_are_counted_by_what_decided() -> None:
    assert MIXED.failures("base") == {"ValueError": 1, "no_code": 1}
    assert MIXED.failures("plus") == {"ValueError": 1, "no_code": 1, "wrong_answer": 1}


def test_pass_at_k_over_several_answers() -> None:
    many = result(
        *(attempt("a", "passed" if i < 5 else "crashed", index=i) for i in range(10)),
        *(attempt("b", "crashed", index=i) for i in range(10)),
        names=("all",),
    )
    found = many.pass_at("all")
    assert list(found) == [1, 5, 10]
    assert found[1].estimate == 0.25
    assert found[10].estimate == 0.5


def test_our_file_comes_back_as_it_was(tmp_path: Path) -> None:
    scores.write(MIXED, tmp_path / "results.json")
    assert scores.read(tmp_path / "results.json") == MIXED
    first = (tmp_path / "results.json").read_bytes()
    scores.write(MIXED, tmp_path / "results.json")
    assert (tmp_path / "results.json").read_bytes() == first


def test_evalplus_results_are_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "x_eval_results.json"
    scores.write_evalplus(result(*MIXED.attempts, attempt("e", "cpu_timeout", "wall_timeout")), path)
    rows = json.loads(path.read_bytes())["eval"]
    assert [(rows[t][0]["base_status"], rows[t][0]["plus_status"]) for t in "abde"] == [
        ("pass", "pass"),
        ("pass", "fail"),
        ("fail", "fail"),
        ("timeout", "timeout"),
    ]
    assert rows["a"][0]["solution"] == "# a 0"
    back = scores.read(path)
    assert back.shares("plus") == {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0, "e": 0.0}


def test_recorded_evalplus_results_give_the_published_scores(shared_data: Path) -> None:
    folder = shared_data / "recorded_completions" / "qwen25coder_1.5b-base" / "evalplus" / "humaneval"
    recorded = scores.read(folder / "generated_eval_results.json.gz")
    published = json.loads((folder / "result.json").read_text())
    for score, name in (("base", "humaneval"), ("plus", "humaneval+")):
        assert round(100 * recorded.pass_at(score)[1].estimate, 1) == published[name]["pass@1"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "r.json holds no results"),
        ("{", "r.json is no JSON"),
        ('{"format": 99}', r"r.json is of format 99, this magicoder reads 1: evaluate again\Z"),
        ('{"eval": {}}', r"r.json has no results in it; evaluate again\Z"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(RecipeError, match=says):
        scores.read(tmp_path / "r.json")


def test_samples_of_all_kinds_are_read(tmp_path: Path) -> None:
    lines = [
        {"task_id": "a", "completion": "    return 1"},
        {"task_id": "a", "solution": "x = 1", "completion": "ignored"},
        {"task_id": "b", "answer": "Sure"},
        {"task_id": "b", "answer": "```", "style": "magicoder"},
    ]
    (tmp_path / "s.jsonl.gz").write_bytes(gzip.compress("\n\n".join(map(json.dumps, lines)).encode()))
    found = [(a.task_id, a.index, a.style, a.text) for a in scores.answers(tmp_path / "s.jsonl.gz")]
    assert found == [
        ("a", 0, "completion", "    return 1"),
        ("a", 1, "solution", "x = 1"),
        ("b", 0, "chat", "Sure"),
        ("b", 1, "magicoder", "```"),
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", ":2: not JSON"),
        ('{"completion": ""}', ":2: no task_id"),
        ('["x"]', ":2: no task_id"),
        ("[" * 100_000, ":2: not JSON"),
        ('{"task_id": "a", "completion": "\xe9"}', ":2: not JSON"),
        ('{"task_id": "a", "completion": 1}', ":2: no solution, completion or answer"),
        ('{"task_id": "a", "answer": "", "style": "poem"}', ":2: no style 'poem'"),
    ],
)
def test_a_bad_sample_is_named_with_its_line(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "s.jsonl").write_text('{"task_id": "a", "solution": ""}\n' + line, encoding="latin-1")
    with pytest.raises(RecipeError, match=says):
        list(scores.answers(tmp_path / "s.jsonl"))


def test_what_editors_and_models_leave_in_a_file_does_no_harm(tmp_path: Path) -> None:
    half = r'{"task_id": "c", "solution": "x = \"\ud83d\""}'
    lines = ['{"task_id": "a", "solution": "1"}', "", "  ", '{"task_id": "b", "solution": "2"}', half]
    (tmp_path / "s.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    found = {a.task_id: a.text for a in scores.answers(tmp_path / "s.jsonl")}
    assert (found.pop("a"), found.pop("b")) == ("1", "2")
    assert found["c"].strip('x ="') == 3 * "\N{REPLACEMENT CHARACTER}"
    (tmp_path / "s.jsonl").write_text("\n\n")
    with pytest.raises(RecipeError, match=r"s.jsonl has no answers in it"):
        list(scores.answers(tmp_path / "s.jsonl"))


def test_programs_that_were_judged_can_be_judged_again(tmp_path: Path) -> None:
    scores.write_samples(MIXED.attempts, tmp_path / "s.jsonl")
    assert [(a.task_id, a.text) for a in scores.answers(tmp_path / "s.jsonl")] == [
        (a.task_id, a.code) for a in MIXED.attempts
    ]


def test_comparing_names_the_tasks_that_differ() -> None:
    other = result(
        attempt("a", "passed", "wrong_answer"),
        attempt("b", "passed", "passed"),
        attempt("c", "passed", "passed"),
        attempt("d", "crashed", "crashed"),
    )
    found = scores.compared(MIXED, other)
    assert found["base"][1:] == ([], ["c"])
    assert found["plus"][1:] == (["a"], ["b", "c"])
    assert found["plus"][0].difference.estimate == 0.25
    assert not found["plus"][0].is_one


def test_only_like_is_compared_with_like() -> None:
    with pytest.raises(RecipeError, match="profile"):
        scores.compared(MIXED, result(*MIXED.attempts, profile="evalplus"))
    with pytest.raises(RecipeError, match="1 tasks are in one"):
        scores.compared(MIXED, result(*MIXED.attempts[:-1]))
