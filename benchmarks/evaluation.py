"""Evaluation measured whole: recorded completions against their published verdicts, canonical solutions, time.

    python benchmarks/evaluation.py --data DIR [--workers N] [--profile evalplus] [--only humaneval_plus]

Prints, for HumanEval+ and MBPP+: how many canonical solutions pass, scores beside the published ones, each verdict that
differs, and wall and processor seconds of all processes: with empty caches, with answers of canonical solutions at hand
(what a user has from the second model on), and again (from the cache of verdicts).
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from magicoder import scores
from magicoder.evaluation import Evaluate, suite_of
from magicoder.sandboxes.cells import Cells
from magicoder.scores import Result
from magicoder.store import Silent

RECORDED = Path("recorded_completions") / "qwen25coder_1.5b-base" / "evalplus"
NAMES = {"humaneval_plus": "humaneval", "mbpp_plus": "mbpp"}


@contextmanager
def measured(what: str) -> Iterator[None]:
    """Print the wall seconds and the processor seconds of this process and its children."""

    def used() -> float:
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))

    wall, cpu = time.perf_counter(), used()
    yield
    print(f"  {what:<34} {time.perf_counter() - wall:8.1f} s wall {used() - cpu:8.1f} s of processor time")


def published(result: Result, recorded: Result) -> None:
    """Print scores beside the published ones, and each verdict that differs."""
    ours, theirs = result.by_task(), recorded.by_task()
    for score in result.scores:
        known = recorded.shares(score)
        same = [known[task] for task in ours if task in known]
        print(
            f"  {score}: {100 * result.pass_at(score)[1].estimate:.1f}, published "
            f"{100 * sum(known.values()) / len(known):.1f} of {len(known)}, {100 * sum(same) / len(same):.1f} of the "
            f"{len(same)} that are in this version"
        )
    differing = 0
    for task, (attempt, *_) in ours.items():
        for score, checked in attempt.checks.items():
            before = theirs[task][0].checks.get(score) if task in theirs else None
            if before is not None and before.passed != checked.passed:
                differing += 1
                print(f"  differs: {task} {score}: {checked.outcome} {checked.detail} (published: {before.outcome})")
    print(f"  {differing} verdicts differ")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--profile", default="evalplus")
    parser.add_argument("--only", choices=sorted(NAMES))
    options = parser.parse_args()
    for name, folder in NAMES.items():
        if options.only not in (None, name):
            continue
        print(name)
        place = options.data / RECORDED / folder
        suite = suite_of(name, str(options.data))
        answers = list(scores.answers(place / "generated.jsonl.gz"))
        with tempfile.TemporaryDirectory() as home:
            for what, cache in (("first time, all canonical solutions", "a"), ("another model", "b"), ("again", "b")):
                with measured(what):
                    settings = Evaluate(profile=options.profile, self_check=cache == "a")
                    result = settings.run(
                        suite,
                        answers,
                        Cells(),
                        folder=Path(home) / "evaluation",
                        cache=Path(home) / f"{cache}.db",
                        progress=Silent(),
                        workers=options.workers,
                    )
                if cache == "a":
                    print(f"  {result.self_check} canonical solutions pass")
        published(result, scores.read(place / "generated_eval_results.json.gz"))


if __name__ == "__main__":
    main()
