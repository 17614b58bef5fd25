"""Reports: what they put side by side, and the command that writes them."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from magicoder import scores, standings, statistics
from magicoder.reporting import report
from magicoder.scores import Attempt, Checked, Result
from magicoder.standings import markdown


def attempt(task: str, *outcomes: str, index: int = 0, detail: str = "", rule: str = "whole") -> Attempt:
    names = ("base", "plus") if len(outcomes) == 2 else ("all",)
    checks = {name: Checked(outcome=o, detail=detail) for name, o in zip(names, outcomes, strict=True)}
    return Attempt(task_id=task, index=index, rule=rule, note="cut" if rule == "fence" else "", code="x", checks=checks)


def result(benchmark: str, *attempts: Attempt, profile: str = "strict") -> Result:
    names = tuple(attempts[0].checks)
    return Result(benchmark=benchmark, version="1", profile=profile, scores=names, attempts=attempts, self_check=2)


FIRST = result(
    "humaneval_plus",
    attempt("HumanEval/0", "passed", "passed"),
    attempt("HumanEval/1", "passed", "wrong_answer"),
    attempt("HumanEval/2", "exception", "passed", detail="ValueError: <b>", rule="fence"),
    attempt("HumanEval/3", "no_code", "no_code"),
)
JAVA = result("multipl_e-java", attempt("humaneval-java/a", "passed"), attempt("humaneval-java/b", "compile_error"))
RUST = result("multipl_e-rust", attempt("humaneval-rs/a", "passed"), attempt("mbpp-rs/b", "crashed"))
BOTH = [("small", FIRST), ("large", replace(FIRST, exceptions={"HumanEval/3": "why"}, surprises=("HumanEval/0",)))]


def test_the_leaderboard_has_a_row_a_model_and_a_column_a_score() -> None:
    text = markdown(standings.leaderboard([*BOTH, ("small", JAVA)]), level=0)
    assert text.splitlines()[0] == "| model | humaneval_plus base | humaneval_plus plus | multipl_e-java |"
    small, large = text.splitlines()[2:4]
    assert small.startswith("| small | 50.0 (")
    assert small.count("50.0 (") == 2
    assert large.endswith("|  |")


def test_the_summary_has_the_columns_that_people_know() -> None:
    lines = markdown(standings.summary([("small", FIRST)]), level=0).splitlines()
    assert lines[0] == "| Tasks | Version | Filter | n-shot | Metric |  | Value |  | Stderr |"
    assert lines[2] == "| humaneval_plus | 1 | base | 0 | pass@1 | ↑ | 0.5000 | ± | 0.2887 |"


def test_standard_errors_are_those_of_a_mean() -> None:
    assert statistics.standard_error([1, 1, 0, 0]) == pytest.approx(0.288675, abs=1e-6)
    assert statistics.standard_error([1]) == 0.0
    assert statistics.standard_error([1, 1, 1]) == 0.0


def test_the_form_of_lm_eval_has_metrics_with_filters_and_standard_errors() -> None:
    found = standings.lm_eval([("small", FIRST), ("small", JAVA)])
    assert found["results"]["humaneval_plus"]["pass@1,base"] == 0.5
    assert found["results"]["humaneval_plus"]["pass@1_stderr,plus"] == pytest.approx(0.25)
    assert found["results"]["multipl_e-java"]["pass@1,none"] == 0.5
    assert found["higher_is_better"]["multipl_e-java"] == {"pass@1": True}
    assert found["n-samples"]["humaneval_plus"] == {"original": 4, "effective": 4}
    assert list(standings.lm_eval(BOTH)["results"]) == ["humaneval_plus@small", "humaneval_plus@large"]


def test_failures_are_counted_for_each_score() -> None:
    rows = {row[0]: row[1:] for row in standings.failures([("small", FIRST)]).rows}
    assert rows == {
        "`ValueError`": ("1", "1"),
        "`no_code`": ("1", "1"),
        "`wrong_answer`": ("0", "1"),
        "answers": ("4", "4"),
    }
    assert standings.extraction([("small", FIRST)]).rows == (
        ("small", "humaneval_plus", "`whole`", "3", "0", "1"),
        ("small", "humaneval_plus", "`fence`", "1", "1", "0"),
    )


def test_every_problem_has_a_row() -> None:
    many = result("x", attempt("a", "passed"), attempt("a", "crashed", index=1), attempt("b", "crashed"))
    (table, other) = standings.problems([("small", FIRST), ("large", many)])
    assert table.head == ("task", "small base", "small plus")
    assert table.rows[2] == ("HumanEval/2", "ValueError", "ValueError")
    assert other.rows == (("a", "1/2"), ("b", "crashed"))


def test_scores_of_what_can_be_passed_here_stand_beside_those_of_all_tasks() -> None:
    rows = standings.self_check(BOTH).rows
    assert rows[0][3:6:2] == ("2 of 2", "")
    assert rows[2][3] == "1 of 2"
    assert rows[2][4].startswith("50.0 (")
    assert rows[2][5].startswith("66.7 (")
    assert rows[2][6] == "HumanEval/0"


def test_ours_stand_in_the_papers_tables_where_they_can_be_compared() -> None:
    tables = {
        t.title.partition(":")[0]: t for t in standings.beside_published([*BOTH, ("small", JAVA), ("small", RUST)])
    }
    assert tables["Table 1"].rows[-2] == ("**ours: small**", "**50.0 of 4**", "**25.0 of 4**", "", "")
    assert tables["Table 1"].rows[0] == ("GPT-3.5 Turbo (Nov 2023)", "72.6", "65.9", "81.7", "69.4")
    assert tables["Table 1"].rows[2] == ("CodeLlama-Python 34B", "51.8", "42.7†", "67.2†", "52.9†")
    java_js_cpp_php_swift_rust_mean = tables["Table 2"].rows[-1]
    assert java_js_cpp_php_swift_rust_mean == (
        *("**ours: small**", "**50.0 of 2**", "", "", "", "", "**100.0 of 1**", "**66.7 of 3**"),
    )
    assert tables["Table 3"].rows[0][-1] == "7.4‡"
    assert not any("ours" in row[0] for row in tables["Table 8"].rows)
    assert tables["Table 5"].rows[-2] == ("**ours: small**", "**25.0 of 4**", "**66.7 of 3**")
    assert "2312.02120" in tables["Table 4"].note


def test_the_number_of_tasks_stands_beside_ours_unless_it_is_the_whole_benchmark() -> None:
    whole = result("humaneval_plus", *(attempt(f"HumanEval/{n}", "passed", "passed") for n in range(164)))
    table = standings.beside_published([("m", whole)])[0]
    assert table.rows[-1] == ("**ours: m**", "**100.0**", "**100.0**", "", "")


def test_the_libraries_of_ds1000_are_told_apart_by_number() -> None:
    found = result(
        "ds1000", attempt("DS-1000/511", "passed"), attempt("DS-1000/0", "crashed"), attempt("DS-1000/999", "passed")
    )
    table = next(t for t in standings.beside_published([("m", found)]) if t.title.startswith("Table 3"))
    assert table.rows[-1] == (
        *("**ours: m**", "**100.0 of 1**", "", "**0.0 of 1**", "**100.0 of 1**", "", "", "", "**66.7 of 3**"),
    )


def test_files_are_whole_equal_and_safe(tmp_path: Path) -> None:
    names = standings.write([("<script>|", FIRST)], tmp_path)
    assert set(names) == {p.name for p in tmp_path.iterdir()}
    before = {name: (tmp_path / name).read_bytes() for name in names}
    standings.write([("<script>|", FIRST)], tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in names} == before
    page = (tmp_path / "report.html").read_text()
    assert "<script>" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "<b>ours: &lt;script&gt;|</b>" in page
    drawing = ET.fromstring((tmp_path / "pass_at_1.svg").read_text())
    assert next(t.text for t in drawing.iter("{http://www.w3.org/2000/svg}title")).startswith("<script>|: 50.0 (")  # type: ignore[union-attr]
    assert "| <script>\\| | 50.0 (" in (tmp_path / "report.md").read_text()


def invoke(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(report, arguments)
    return done.exit_code, done.output + str(done.exception or "")


def test_the_command_takes_folders_files_and_names(tmp_path: Path) -> None:
    for place, one in (("a/x", FIRST), ("a/y", JAVA), ("b", replace(FIRST, generation={"model": "tuned"}))):
        (tmp_path / place).mkdir(parents=True)
        scores.write(one, tmp_path / place / "results.json")
    code, said = invoke(str(tmp_path / "a"), f"other={tmp_path / 'b'}", "--out", str(tmp_path / "out"))
    assert code == 0, said
    assert "| a | 50.0 (" in said
    assert "| other | 50.0 (" in said
    assert "report.html" in said
    assert (tmp_path / "out" / "report.html").is_file()
    assert "| tuned | " in invoke(str(tmp_path / "b" / "results.json"))[1]
    code, said = invoke(str(tmp_path / "a"), "--json")
    assert list(json.loads(said)["results"]) == ["humaneval_plus", "multipl_e-java"]


def test_profiles_tell_results_of_a_model_apart_and_what_is_left_is_an_error(tmp_path: Path) -> None:
    for place, one in (("a/strict", FIRST), ("a/evalplus", replace(FIRST, profile="evalplus"))):
        (tmp_path / place).mkdir(parents=True)
        scores.write(one, tmp_path / place / "results.json")
    said = invoke(str(tmp_path / "a"))[1]
    assert "| a (strict) | " in said
    assert "| a (evalplus) | " in said
    code, said = invoke(str(tmp_path / "a"), str(tmp_path / "a"))
    assert (code, "name them apart" in said) == (1, True)
    code, said = invoke(str(tmp_path / "nothing"))
    assert (code, "there is no results.json" in said) == (1, True)
