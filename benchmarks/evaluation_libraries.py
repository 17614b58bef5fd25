"""Runs the canonical solutions of DS-1000 and BigCodeBench in an environment of pinned libraries, and says which fail.

With `--recorded`, scores BigCodeBench completions with published verdicts too, and prints every disagreement.

    python benchmarks/evaluation_libraries.py ENVIRONMENT/bin/python ds1000 --data DIR
"""

import argparse
import collections
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from magicoder.plugins import load
from magicoder.protocols import Suite
from magicoder.records import Task, Verdict
from magicoder.sandboxes.cells import Cells


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", help="the interpreter with the libraries")
    parser.add_argument("benchmark", help="a name, with a part behind a colon: ds1000:pandas, bigcodebench:hard")
    parser.add_argument("--data", required=True, help="the folder with the benchmarks' files")
    parser.add_argument("--only", default="", help="ids of tasks, with commas; default: all")
    parser.add_argument("--profile", default="strict")
    parser.add_argument("--proc", action="store_true", help="show programs their own /proc: TensorFlow needs it")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--recorded", type=Path, help="folder with completions and published verdicts")
    parser.add_argument("--out", type=Path, help="write verdicts there, a record a line")
    arguments = parser.parse_args()
    name, _, part = arguments.benchmark.partition(":")
    plugin = load("benchmarks", name)
    suite = (plugin.narrowed(tuple(part.split(","))) if part else plugin()).suite(arguments.data)
    if arguments.recorded is None:
        codes = {task.id: suite.reference(task) for task in suite.tasks if suite.reference(task)}
        published: dict[str, str] = {}
    else:
        codes, published = _recorded(arguments.recorded)
    found = _run(suite, codes, arguments)
    if arguments.out is not None:
        with arguments.out.open("w") as file:
            for task, verdict in found:
                file.write(json.dumps({"id": task.id, "outcome": verdict.outcome, "detail": verdict.detail}) + "\n")
    _tell(suite, found, published)


def _run(suite: Suite, codes: dict[str, str], arguments: argparse.Namespace) -> list[tuple[Task, Verdict]]:
    only = set(filter(None, arguments.only.split(",")))
    tasks = [task for task in suite.tasks if task.id in codes and (not only or task.id in only)]
    begun = time.monotonic()
    sandbox = Cells(python=arguments.python, proc=arguments.proc)
    with sandbox.open(workers=arguments.workers, cache=arguments.cache) as runner:
        programs = (suite.checks(task, codes[task.id], arguments.profile)[0][1] for task in tasks)
        found = list(zip(tasks, runner.run(programs), strict=True))
        print(f"{runner.isolation}; {runner.toolchain('python')}")
    cpu_s = sum(verdict.cpu_s for _, verdict in found)
    print(f"{len(found)} programs, {time.monotonic() - begun:.0f} s, {cpu_s:.0f} s of processor time inside")
    for task, verdict in sorted(found, key=lambda pair: -pair[1].cpu_s)[:3]:
        print(f"  {task.id}: {verdict.cpu_s:.1f} s, {verdict.peak_memory_mb:.0f} MB, {verdict.outcome}")
    return found


def _recorded(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    results: dict[str, Any] = json.loads(gzip.decompress(next(folder.glob("*_eval_results.json.gz")).read_bytes()))
    codes = {name: rows[0]["solution"] for name, rows in results["eval"].items()}
    return codes, {name: rows[0]["status"] for name, rows in results["eval"].items()}


def _tell(suite: Suite, found: list[tuple[Task, Verdict]], published: dict[str, str]) -> None:
    libraries = getattr(suite, "libraries", {})
    counts: collections.Counter[tuple[str, bool]] = collections.Counter()
    for task, verdict in found:
        counts[libraries.get(task.id, "all"), verdict.outcome == "passed"] += 1
    for library in sorted({name for name, _ in counts}):
        passed, failed = counts[library, True], counts[library, False]
        print(f"{library}: {passed} of {passed + failed} pass")
    for line in _differences(found, published):
        print(line)


def _differences(found: list[tuple[Task, Verdict]], published: dict[str, str]) -> Iterator[str]:
    for task, verdict in found:
        wanted = published.get(task.id, "pass")
        if (wanted == "pass") != (verdict.outcome == "passed"):
            yield f"{task.id}: {verdict.outcome}: {verdict.detail[:200]}" + (
                f" (published: {wanted})" if published else ""
            )


if __name__ == "__main__":
    main()
