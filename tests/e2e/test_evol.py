"""Instructions evolved and invented end to end by the mock: accounted, deterministic, resumable, decontaminated."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from magicoder.text.sections import find_sections
from tests.e2e.conftest import Command, environment, tree

RECIPES = Path(__file__).parents[2] / "recipes"
FAULTY = "teacher: {mock: {truncate_every: 9, refuse_every: 11, empty_every: 13, latency_s: 0.01, concurrency: 16}}\n"
STAGES = ("documents", "seeds", "screened", "samples", "cleaned", "decontaminated", "dataset")


def write_instructions(path: Path, count: int = 40) -> Path:
    """Write a file in the form of Code Alpaca."""
    rows = [
        {
            "instruction": f'Write function number {n} that counts <{n}> & "friends".',
            "input": "" if n % 3 else f"[{n}]",
            "output": f"```{('python', 'rust')[n % 2]}\npass\n```",
        }
        for n in range(count)
    ]
    path.write_text(json.dumps(rows, indent=1))
    return path


def faulty_recipe(folder: Path, strategy: str = "evol_instruct: {rounds: 3}") -> Path:
    write_instructions(folder / "instructions.json")
    path = folder / "recipe.yaml"
    path.write_text(
        "name: evolved\ncorpora: [instructions: {path: instructions.json}]\n"
        "documents: {screens: [blank, duplicate], part_documents: 8}\n"
        f"strategy: {{{strategy}}}\n{FAULTY}"
        "deduplicate: {documents: false, seeds: false, samples: false}\n"
    )
    return path


def column(folder: Path, name: str) -> list[str]:
    return [
        v for f in sorted(folder.glob("part-*.parquet")) for v in pq.read_table(f, columns=[name])[name].to_pylist()
    ]


def assert_accounted(run: Path, strategy: str) -> None:
    """Every seed gave a sample or was rejected under its own id; what it lost besides has an id of its own."""
    seeds, samples = column(run / "screened", "id"), column(run / "samples", "id")
    kept, gone = set(column(run / "samples", "seed_id")), column(run / "samples" / "rejected", "id")
    own = [i for i in gone if f"/{strategy}[" not in i]
    assert sorted([*kept, *own]) == sorted(seeds)
    lost = [i for i in gone if f"/{strategy}[" in i]
    assert len({*samples, *lost}) == len(samples) + len(lost)
    assert {i.rpartition("/")[0] for i in lost} <= set(seeds)
    for before, after in (("samples", "cleaned"), ("cleaned", "decontaminated")):
        passed = [*column(run / after, "id"), *column(run / after / "rejected", "id")]
        assert sorted(passed) == sorted(column(run / before, "id"))


def test_the_recorded_problems_are_evolved_in_five_rounds(
    magicoder: Command, shared_data: Path, tmp_path: Path
) -> None:
    recorded = (shared_data / "recorded_teacher" / "oss_instruct.jsonl").read_text().splitlines()
    found = [find_sections(json.loads(line)["response"]) for line in recorded]
    rows = [{"instruction": p.problem, "input": "", "output": p.solution} for p in found if p is not None]
    (tmp_path / "code_alpaca_20k.json").write_text(json.dumps(rows))
    done = magicoder("run", RECIPES / "evol-instruct-110k.yaml", "--llm", "mock", "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)["summary"]
    assert summary["rows"] == 120 * 6
    assert len(summary["languages"]) == 9
    assert_accounted(tmp_path / "out", "evol_instruct")
    card = (tmp_path / "out" / "dataset" / "README.md").read_text()
    assert "each made from an instruction" in card
    assert "snippet of open-source code" not in card
    published = pq.read_table(tmp_path / "out" / "dataset" / "data").to_pylist()
    given = [r for r in published if r["parser"] == "given"]
    assert [r["instruction"] for r in given] == [r["instruction"] for r in rows]
    assert len({r["instruction"] for r in published}) == len(published)


def test_a_dataset_of_ours_goes_in_with_its_provenance_and_new_tasks_come_out(
    magicoder: Command, small_source: Path, tmp_path: Path
) -> None:
    first = magicoder("run", "--source", small_source, "--out", "runs/mine", "--limit", "20")
    assert first.returncode == 0, first.stderr
    done = magicoder("run", RECIPES / "self-instruct.yaml", "--llm", "mock", "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    assert_accounted(tmp_path / "out", "self_instruct")
    ours = {r["id"]: r for r in pq.read_table(tmp_path / "runs" / "mine" / "dataset" / "data").to_pylist()}
    made = pq.read_table(tmp_path / "out" / "dataset" / "data").to_pylist()
    assert len(made) > len(ours) > 20
    for row in made:
        source = ours[row["document_id"]]
        assert all(row[c] == source[c] for c in ("repository", "commit", "path", "license", "language"))
        assert row["seed"] == source["instruction"]


def test_flags_alone_evolve_a_file(magicoder: Command, tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "mine.json", 5)
    done = magicoder(
        "run", "--source", source, "--strategy", "evol_instruct", "--llm", "mock", "--out", "out", "--json"
    )
    assert done.returncode == 0, done.stderr
    kept = {s["stage"]: s["kept"] for s in json.loads(done.stdout)["summary"]["stages"]}
    assert (kept["distinct_seeds"], kept["samples"]) == (5, 20)


def test_benchmark_problems_are_taken_out_before_they_cost_money(
    magicoder: Command, shared_data: Path, tmp_path: Path
) -> None:
    problem = next(iter(json_lines(shared_data / "benchmarks" / "humaneval" / "HumanEval.jsonl.gz")))
    rows = [
        {"instruction": f"Write a solution:\n{problem['prompt']}", "output": "x"},
        {"instruction": "Write a function that folds paper.", "output": "x"},
    ]
    (tmp_path / "code_alpaca_20k.json").write_text(json.dumps(rows))
    done = magicoder(
        *("run", RECIPES / "evol-instruct-110k.yaml", "--llm", "mock", "--out", "out", "--data", shared_data, "--json")
    )
    assert done.returncode == 0, done.stderr
    stages = {s["stage"]: s for s in json.loads(done.stdout)["summary"]["stages"]}
    assert (stages["screened"]["kept"], stages["screened"]["rejected"]) == (1, 1)
    assert "humaneval" in next(iter(stages["screened"]["reasons"]))
    assert stages["decontaminated"]["facts"]["benchmarks"], "samples are searched too"


def json_lines(path: Path) -> list[dict[str, str]]:
    import gzip

    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.mark.parametrize(
    "strategy",
    [
        "evol_instruct: {rounds: 3}",
        "evol_instruct: {after_rejection: skip, check_gain: true, style: wizardcoder}",
        "self_instruct",
    ],
)
def test_faults_are_accounted_for_and_one_and_two_workers_make_the_same_bytes(
    magicoder: Command, tmp_path: Path, strategy: str
) -> None:
    recipe = faulty_recipe(tmp_path, strategy)
    for workers in (1, 2):
        done = magicoder(
            *("run", recipe, "--out", f"w{workers}", "--workers", workers, "--journal", f"{workers}.sqlite")
        )
        assert done.returncode == 0, done.stderr
    for stage in STAGES:
        assert tree(tmp_path / "w1" / stage) == tree(tmp_path / "w2" / stage), stage
    name = strategy.split(":", maxsplit=1)[0]
    assert_accounted(tmp_path / "w1", name)
    rejected = tmp_path / "w1" / "samples" / "rejected"
    reasons = set(column(rejected, "reason"))
    # So far each fault of the teacher has a name; none went through as a sample.
    assert reasons >= ({"tasks_unparsed"} if name == "self_instruct" else {"rewrite_truncated", "rewrite_apology"})
    assert all("sorry" not in r.lower() for r in column(tmp_path / "w1" / "samples", "response"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_run_ends_in_the_same_bytes(executable: str, magicoder: Command, tmp_path: Path, home: Path) -> None:
    recipe = faulty_recipe(tmp_path)
    began = time.perf_counter()
    whole = magicoder("run", recipe, "--out", "whole", "--journal", "whole.sqlite")
    duration = time.perf_counter() - began
    assert whole.returncode == 0, whole.stderr
    rng = random.Random(1)
    killed = 0
    for attempt in range(4):
        command = [executable, "run", str(recipe), "--out", "killed", "--journal", "killed.sqlite"]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment(home),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(rng.uniform(0.4, 0.7 + 0.1 * attempt) * duration)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    resumed = magicoder("run", recipe, "--out", "killed", "--journal", "killed.sqlite")
    assert resumed.returncode == 0, resumed.stderr
    assert killed >= 2, "the kills came too late to show anything"
    assert tree(tmp_path / "killed" / "samples") == tree(tmp_path / "whole" / "samples")
    assert tree(tmp_path / "killed" / "dataset") == tree(tmp_path / "whole" / "dataset")
