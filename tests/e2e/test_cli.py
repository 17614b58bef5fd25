"""The commands of the README, as a user runs them."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Command, tree


def test_run_makes_a_dataset_from_a_folder_and_says_what_is_where(
    magicoder: Command, small_source: Path, tmp_path: Path
) -> None:
    done = magicoder("run", "--source", small_source, "--out", "out")
    assert done.returncode == 0, done.stderr
    for expected in (
        "Rows per language",
        "python",
        "Rejections per reason",
        "Dataset",
        "report.html",
        "Next, the same code with an LLM",
    ):
        assert expected in done.stdout
    assert "documents" in done.stderr, "progress goes to stderr"
    dataset = tmp_path / "out" / "dataset"
    assert {p.name for p in dataset.iterdir()} >= {"README.md", "data", "jsonl", "ATTRIBUTION.md"}
    rows = [json.loads(line) for line in (dataset / "jsonl" / "instruction.jsonl").read_text().splitlines()]
    assert len(rows) >= 100


def test_the_next_command_works_when_pasted(
    magicoder: Command, small_source: Path, executable: str, tmp_path: Path
) -> None:
    """Also for a program outside PATH, a path with a space, and what was asked for besides."""
    spaced = shutil.copytree(small_source, tmp_path / "my project")
    done = magicoder("run", "--source", spaced, "--language", "python", "--limit", "9", env={"PATH": "/usr/bin:/bin"})
    pasted = next(line for line in done.stdout.splitlines() if "--llm gpt-4o-mini" in line)
    key, program, *arguments = shlex.split(pasted)
    assert key.startswith("OPENAI_API_KEY=")
    assert program == executable
    again = magicoder(*("mock" if a == "gpt-4o-mini" else a for a in arguments), "--json")
    documents = json.loads(again.stdout)["summary"]["stages"][0]
    assert documents["kept"] + documents["rejected"] == 9
    assert (tmp_path / "runs" / "my-project-oss" / "dataset").is_dir()


def test_what_the_rows_were_held_against_is_said(magicoder: Command, small_source: Path, tmp_path: Path) -> None:
    run = ("run", "--source", small_source, "--limit", "9", "--out", "out")
    shipped = "Decontaminated: 11 benchmarks, 15,269 tasks, by the shipped index 2 ("
    assert shipped in magicoder(*run).stdout
    (tmp_path / "empty").mkdir()
    assert shipped in magicoder(*run, "--data", "empty").stdout
    file = tmp_path / "data" / "benchmarks" / "gsm8k" / "test.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"question": "How many eggs does the farmer sell?", "answer": "#### 3"}) + "\n")
    said = magicoder(*run, "--data", "data").stdout
    assert "Decontaminated: 12 benchmarks, 15,270 tasks, by the shipped index 2 (" in said
    assert "only partly: apps, gsm8k, livecodebench" in said


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("click-8.5.1.tar.gz", "click-8.5.1"),
        ("data/code.parquet", "code"),
        ("repo.git#v1.2", "repo"),
        ("hf://bigcode/the-stack@v1", "the-stack"),
        ("my file.py", "my-file"),
        ("..", None),
        ("stdlib", "stdlib"),
    ],
)
def test_a_run_is_named_after_its_source(source: str, name: str | None) -> None:
    from magicoder.invocation import _name

    assert _name(source) == (name or Path("..").resolve().name)


def test_json_goes_to_stdout_alone(magicoder: Command, small_source: Path) -> None:
    done = magicoder("run", "--source", small_source, "--out", "out", "--json")
    result = json.loads(done.stdout)
    assert result["summary"]["rows"] == sum(result["summary"]["languages"].values()) > 0
    assert [s["stage"] for s in result["summary"]["stages"]] == [
        "documents", "distinct_files", "seeds", "screened", "samples", "cleaned", "distinct_rows", "decontaminated",
    ]  # fmt: skip


def test_running_again_does_nothing_over_and_changes_nothing(
    magicoder: Command, small_source: Path, tmp_path: Path
) -> None:
    magicoder("run", "--source", small_source, "--out", "out")
    before = tree(tmp_path / "out" / "dataset")
    again = magicoder("run", "--source", small_source, "--out", "out")
    assert again.stderr.count("done before") == 8
    assert tree(tmp_path / "out" / "dataset") == before


def test_every_row_walks_back_to_a_line_that_holds_it(magicoder: Command, small_source: Path) -> None:
    magicoder("run", "--source", small_source, "--out", "out")
    import pyarrow.parquet as pq

    rows = pq.read_table(small_source.parent / "out" / "dataset" / "data").to_pylist()
    assert rows
    for row in rows:
        lines = (small_source / row["path"]).read_text().split("\n")
        assert row["seed"].rstrip("\n") == "\n".join(lines[row["first_line"] - 1 : row["last_line"]])
        assert row["license"] == "Apache-2.0"
        assert row["repository"]
    traced = magicoder("trace", "out", rows[0]["id"], "--json")
    found = json.loads(traced.stdout)
    assert found["origin"]["path"] == rows[0]["path"]
    assert [h["stage"] for h in found["history"]][-1] == "decontaminated"


def test_trace_of_a_rejected_document_says_why(magicoder: Command, small_source: Path) -> None:
    done = magicoder("run", "--source", small_source, "--out", "out", "--json")
    assert done.returncode == 0
    shown = magicoder("trace", "out", "project:logo.png")
    assert "binary" in shown.stdout, shown.stdout + shown.stderr
    unknown = magicoder("trace", "out", "project:nothing.py#L1")
    assert unknown.returncode == 3
    assert "no stage" in unknown.stderr


def test_status_shows_every_stage(magicoder: Command, small_source: Path) -> None:
    magicoder("run", "--source", small_source, "--out", "out")
    rows = json.loads(magicoder("status", "out", "--json").stdout)
    assert {r["state"] for r in rows} == {"done"}
    assert rows[0]["kept"] >= 60


def test_a_mock_teacher_shows_oss_instruct_without_a_key(
    magicoder: Command, small_source: Path, tmp_path: Path
) -> None:
    done = magicoder("run", "--source", small_source, "--llm", "mock", "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)["summary"]
    assert summary["strategy"] == "oss_instruct"
    assert summary["rows"] >= 50
    assert summary["completion_tokens"] > 0
    original = (tmp_path / "out" / "dataset" / "jsonl" / "original.jsonl").read_text().splitlines()
    assert list(json.loads(original[0])) == [
        "lang",
        "raw_index",
        "index",
        "seed",
        "openai_fingerprint",
        "problem",
        "solution",
    ]


def test_init_writes_a_recipe_that_runs(magicoder: Command, small_source: Path, tmp_path: Path) -> None:
    assert magicoder("init", "mine.yaml").returncode == 0
    assert "nowhere/mine.yaml: No such file" in magicoder("init", "nowhere/mine.yaml").stderr
    assert "mine.yaml is already there" in magicoder("init", "mine.yaml").stderr
    done = magicoder("run", "mine.yaml", "--source", small_source, "--llm", "mock", "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"]["rows"] > 0


@pytest.mark.parametrize("family", ["corpora", "strategies", "llms", "sandboxes", "benchmarks", "languages"])
def test_list_shows_every_plugin_with_a_line_about_it(magicoder: Command, family: str) -> None:
    rows = json.loads(magicoder("list", family, "--json").stdout)
    assert len(rows) >= 2
    assert all(rows.values())
    assert magicoder("list", family).stdout.splitlines()[0].startswith("name")


def test_doctor_says_how_to_get_what_is_missing_and_shows_no_key(magicoder: Command) -> None:
    done = magicoder("doctor", env={"OPENAI_API_KEY": "sk-very-secret-1234"})
    assert done.returncode == 0
    assert "very-secret" not in done.stdout + done.stderr
    findings = json.loads(magicoder("doctor", "--json").stdout)
    assert {"python", "gpu", "sandbox", "toolchain rust", "key OPENAI_API_KEY", "server :8000", "benchmark files"} <= {
        f["what"] for f in findings
    }
    assert all(f["fix"] for f in findings if f["state"] != "ok")


def test_doctor_changes_nothing_and_reports_what_is_broken(magicoder: Command, home: Path, tmp_path: Path) -> None:
    magicoder("doctor")
    assert not (home / "magicoder").exists()
    (home / "magicoder").write_text("a file where the folder should be")
    file = tmp_path / "data" / "benchmarks" / "gsm8k" / "test.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("{not json")
    done = magicoder("doctor", "--data", "data", "--json")
    assert done.returncode == 1
    broken = {f["what"]: f for f in json.loads(done.stdout) if f["state"] == "broken"}
    assert broken.keys() == {"journal", "benchmark files"}
    assert "test.jsonl:1" in broken["benchmark files"]["found"]
    assert all(f["fix"] for f in broken.values())


def test_help_teaches_and_starts_faster_than_a_second_python(magicoder: Command, executable: str) -> None:
    """`--help` costs less than three bare interpreters that import the HTTP client (a ratio, not a time)."""
    import subprocess
    import time

    def seconds(*command: str) -> float:
        best = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            best.append(time.perf_counter() - start)
        return min(best)

    assert "magicoder run --source stdlib" in magicoder("--help").stdout
    assert seconds(executable, "--help") < 0.7 * seconds(sys.executable, "-c", "import aiohttp, pyarrow.parquet")
    for command in ("run", "init", "list", "status", "trace", "doctor"):
        assert "Usage: magicoder" in magicoder(command, "--help").stdout


def test_it_runs_as_a_module_too() -> None:
    done = subprocess.run([sys.executable, "-m", "magicoder", "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "magicoder" in done.stdout


def test_nothing_heavy_is_imported_for_help(executable: str) -> None:
    heavy = ("pyarrow", "aiohttp", "tree_sitter", "yaml", "jinja2", "orjson")
    code = f"import sys, magicoder.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
