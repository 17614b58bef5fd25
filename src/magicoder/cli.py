"""The command line: commands and their texts, no logic. Everything heavy is imported by the command that needs it.

Data go to stdout, progress to stderr. Exit codes: 0 done, 1 failed, 2 usage or recipe, 3 run folder, 4 teacher
unavailable, 5 budget reached, 130 stopped by the user.
"""

import errno
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magicoder import __version__
from magicoder.errors import Interrupted, MagicoderError, RecipeError
from magicoder.evaluating import compare, evaluate
from magicoder.finetuning import train
from magicoder.machine import as_text, cores, home, stop_on_signals
from magicoder.options import about_place, about_recipe, about_work, budget, prices
from magicoder.reporting import report

if TYPE_CHECKING:
    from magicoder.pipeline import Result, Surroundings
    from magicoder.recipe import Recipe
    from magicoder.store import RunFolder

FAMILIES = ("corpora", "strategies", "llms", "sandboxes", "benchmarks", "languages")


class _Group(click.Group):
    """Prints an error that the user can mend as one message and exits with its code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MagicoderError as e:
            click.echo(f"error: {e}", err=True)
            ctx.exit(e.exit_code)
        except KeyboardInterrupt:
            click.echo("\nstopped", err=True)
            ctx.exit(Interrupted.exit_code)
        except OSError as e:
            if e.errno == errno.EPIPE:  # `| head`: click knows what to do
                raise
            where = f"{e.filename}: " if e.filename else ""
            click.echo(f"error: {where}{e.strerror or e}; mend it and run the same command again", err=True)
            ctx.exit(MagicoderError.exit_code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="magicoder")
def main() -> None:
    """Turn open-source code into an instruction dataset in which every row walks back to a line of code.

    \b
    First steps:
      magicoder run --source stdlib                     a dataset without any LLM
      magicoder run --source PATH --llm gpt-4o-mini     OSS-Instruct with your key in OPENAI_API_KEY
      magicoder run --source PATH --llm NAME --base-url http://localhost:8000/v1
                                                        … with a local server (vLLM, llama.cpp, Ollama, …)
      magicoder init recipe.yaml                        a commented recipe to edit
      magicoder doctor                                  what works here, and how to get the rest

    Running a command again goes on where it stopped. Nothing paid for is asked twice.
    """


@main.command()
@about_recipe
@about_place
@budget
@prices
@about_work
def run(as_json: bool, quiet: bool, out: Path | None, **options: Any) -> None:
    """Make a dataset from RECIPE (a YAML file) or --source.

    \b
    Examples:
      magicoder run --source stdlib
      magicoder run --source ~/code/project --out runs/mine
      magicoder run --source code.parquet --llm qwen3-coder --base-url http://localhost:8000/v1
      magicoder run recipe.yaml --budget 20 --target 1000

    Flags overrule the recipe. Ctrl-C waits for the answers in flight and keeps them; twice stops at once.
    """
    recipe = _recipe(options)
    _run(recipe, out or Path("runs") / recipe.name, options, as_json=as_json, quiet=quiet)


@main.command()
@about_recipe
@about_place
@click.option("--sample", type=click.IntRange(min=1), default=200, show_default=True, help="Seeds to rehearse.")
@click.option("--tokenizer", metavar="FILE", help="A tokenizer.json, or the name of a tiktoken encoding.")
@prices
@about_work
def estimate(as_json: bool, quiet: bool, out: Path | None, sample: int, tokenizer: str | None, **options: Any) -> None:
    """Say what a run would cost, without asking anybody.

    Reads the code and draws the seeds as `run` does (the run goes on from there), rehearses some dialogues with
    invented answers, and counts tokens. What the journal can answer already costs nothing.
    """
    from magicoder import console
    from magicoder.planning import forecast_cost

    recipe = _recipe(options)
    with _working(out or Path("runs") / recipe.name, options, quiet=quiet) as (folder, around):
        forecast = forecast_cost(recipe, folder, around, sample=sample, vocabulary=tokenizer)
    click.echo(as_text(forecast) if as_json else console.forecast_text(forecast))


@main.command()
@about_recipe
@about_place
@click.option("-n", "count", type=click.IntRange(min=1), default=5, show_default=True, help="Seeds to try.")
@about_work
def preview(as_json: bool, quiet: bool, out: Path | None, count: int, **options: Any) -> None:
    """Really make a few rows, and show how each came about.

    Shows prompt, raw answer, parse and verdict side by side. The answers are kept: the run itself will not ask
    for them again.
    """
    from magicoder import console
    from magicoder.planning import preview as make

    recipe = _recipe(options)
    with _working(out or Path("runs") / recipe.name, options, quiet=quiet) as (folder, around):
        shown = make(recipe, folder, around, count)
    click.echo(as_text(shown) if as_json else console.preview_text(shown))


@main.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@budget
@prices
@click.option("--data", envvar="MAGICODER_DATA", metavar="DIR", help="Folder with local benchmark files.")
@about_work
def retry(folder: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Ask again about what the endpoint did not answer.

    Only those seeds of RUN are paid for; the rest is made again for free.
    """
    _run_again(folder, options, as_json=as_json, quiet=quiet, retry=True)


@main.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--data", envvar="MAGICODER_DATA", metavar="DIR", help="Folder with local benchmark files.")
@about_work
def reparse(folder: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Make the dataset of RUN again from its answers, for free."""
    _run_again(folder, options, as_json=as_json, quiet=quiet, reparse=True)


@main.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--data", envvar="MAGICODER_DATA", metavar="DIR", help="Folder with local benchmark files.")
@about_work
def verify(folder: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Run the solutions of RUN in a sandbox and write what came of it into its dataset.

    Solutions run against their tests where they have some. Nothing is dropped unless the recipe says `verify: {mode:
    drop}`, nobody is asked, and what was run before is not run again.
    """
    from magicoder import console, pipeline
    from magicoder.records import Sample
    from magicoder.summary import count_verdicts, failures

    recipe, place, options = _as_before(folder, options)
    with _working(place, options, quiet=quiet, verify=True) as (opened, around):
        pipeline.run(recipe.with_verdicts(), opened, around)
        verified = opened.artifact("verified", Sample)
    assert verified is not None
    counts, isolation = count_verdicts(verified), verified.manifest.facts["isolation"]
    if as_json:
        failed = [dict(zip(("id", "outcome", "detail"), f, strict=True)) for f in failures(verified)]
        click.echo(as_text({"isolation": isolation, "languages": counts, "not_passed": failed}))
    else:
        click.echo(console.verdict_text(counts, failures(verified), isolation))


@main.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@prices
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def ledger(folder: Path, prices: Path | None, as_json: bool) -> None:
    """Show where the tokens and the money of RUN went.

    To published rows, and to each reason for a loss.
    """
    from magicoder import console
    from magicoder.pipeline import ledger_of

    rows = ledger_of(_open(folder), prices)
    click.echo(as_text(rows) if as_json else console.ledger_text(rows))


def _recipe(options: dict[str, Any]) -> "Recipe":
    from magicoder.invocation import from_flags

    names = ("sources", "llm", "base_url", "strategy", "languages", "limit", "target")
    return from_flags(options["recipe"], **{name: options[name] for name in names})


def _run_again(folder: Path, options: dict[str, Any], *, as_json: bool, quiet: bool, **how: bool) -> None:
    """Run what was run in `folder` before."""
    recipe, place, options = _as_before(folder, options)
    _run(recipe, place, options, as_json=as_json, quiet=quiet, **how)


def _as_before(folder: Path, options: dict[str, Any]) -> "tuple[Recipe, Path, dict[str, Any]]":
    """Go to where `folder` was run from; return its recipe, its place, and the options as seen from there."""
    from magicoder.pipeline import cwd_of, recipe_of

    opened = _open(folder)
    recipe, cwd = recipe_of(opened), cwd_of(opened)
    given = {name: Path(value).absolute() for name, value in options.items() if isinstance(value, Path)}
    data = str(Path(options["data"]).absolute()) if options["data"] else None
    place = folder.absolute()
    if cwd.is_dir():
        os.chdir(cwd)
    return recipe, place, {**options, **given, "data": data}


def _run(recipe: "Recipe", place: Path, options: dict[str, Any], *, as_json: bool, quiet: bool, **how: bool) -> None:
    """Make the dataset and say what came of it; exits with 5 where the budget was too small for all of it."""
    from magicoder import console, pipeline

    with _working(place, options, quiet=quiet, **how) as (folder, around):
        result = pipeline.run(recipe, folder, around)
    if as_json:
        click.echo(as_text({"dataset": str(result.dataset), "report": str(result.report), "summary": result.summary}))
    else:
        click.echo(console.summary_text(result.summary))
        click.echo(_where(recipe, place, result, options))
    if result.unasked and not how.get("reparse"):
        click.echo(f"the budget left no room for {result.unasked:,} seeds; a larger --budget asks about them", err=True)
        sys.exit(5)


@contextmanager
def _working(
    place: Path, options: dict[str, Any], *, quiet: bool, **how: bool
) -> "Iterator[tuple[RunFolder, Surroundings]]":
    """Open the run folder and gather what the work needs."""
    from magicoder import console
    from magicoder.engines.local import Local
    from magicoder.pipeline import Surroundings
    from magicoder.store import RunFolder

    watch = console.Watch(quiet=quiet)
    try:
        with RunFolder.locked(place) as folder, Local(workers=options["workers"] or cores()).opened() as engine:
            yield (
                folder,
                Surroundings(
                    engine=engine,
                    journal=options["journal"] or home() / "journal.sqlite",
                    data=options["data"],
                    prices=options.get("prices"),
                    budget_usd=options.get("budget"),
                    workers=options["workers"] or cores(),
                    watcher=watch,
                    stop=stop_on_signals(),
                    **how,
                ),
            )
    finally:
        watch.close()


def _where(recipe: "Recipe", place: Path, result: "Result", options: dict[str, Any]) -> str:
    from magicoder.pipeline import empty_because

    lines = [
        f"Dataset  {result.dataset}   (load_dataset({str(result.dataset)!r}), jsonl/ for trainers)",
        f"Card     {result.dataset / 'README.md'}",
        f"Report   {result.report}",
    ]
    if not result.summary.rows:
        lines += ["", f"No rows: {empty_because(result.summary)}"]
    elif recipe.teacher is None and "sources" in options:
        again = shlex.join([_program(), "run", *_asked(options)])
        out = shlex.join(["--out", f"{place}-oss"])
        lines += ["", "Next, the same code with an LLM as teacher (OSS-Instruct):"]
        lines += [f"  OPENAI_API_KEY=… {again} --llm gpt-4o-mini {out}"]
        lines += [f"  {again} --llm MODEL --base-url http://localhost:8000/v1 {out}"]
    return "\n".join(lines)


def _program() -> str:
    """Return what calls this program again from the shell that called it."""
    found = shutil.which("magicoder")
    is_found = found is not None and Path(sys.argv[0]).exists() and Path(found).samefile(sys.argv[0])
    return "magicoder" if is_found else sys.argv[0]


def _asked(options: dict[str, Any]) -> list[str]:
    """Return the arguments that say which code to read and what to hold it against."""
    asked = [str(options["recipe"])] if options["recipe"] else []
    for name in ("source", "language"):
        asked += [word for value in options[f"{name}s"] for word in (f"--{name}", value)]
    for name in ("limit", "data"):
        asked += [f"--{name}", str(options[name])] if options[name] else []
    return asked


@main.command()
@click.argument("path", default="recipe.yaml", type=click.Path(path_type=Path))
@click.option("--train", "trains", is_flag=True, help="A recipe of training.")
def init(path: Path, *, trains: bool) -> None:
    """Write a commented recipe to PATH (default recipe.yaml): of a dataset, or of training."""
    from importlib.resources import files

    if path.exists():
        raise RecipeError(f"{path} is already there; give another name, or edit it")
    template = files("magicoder").joinpath("training.template.yaml" if trains else "recipe.template.yaml")
    path.write_text(template.read_text(encoding="utf-8"), encoding="utf-8")
    command = [_program(), *(("train", str(path), "--plan") if trains else ("run", str(path)))]
    click.echo(f"wrote {path}\nnext: edit it, then: {shlex.join(command)}")


@main.command("list")
@click.argument("family", type=click.Choice(FAMILIES))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(family: str, as_json: bool) -> None:
    """Show what there is to choose from."""
    from magicoder import console, plugins

    rows = [(name, plugins.summary(family, name)) for name in plugins.names(family)]
    click.echo(as_text(dict(rows)) if as_json else console.table(["name", "what it is"], rows))


@main.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def status(folder: Path, as_json: bool) -> None:
    """Show how far the run in folder RUN is.

    Rows are counted as they are written, a few thousand at a time. `interrupted`: the same command goes on from there.
    """
    from magicoder import console
    from magicoder.pipeline import progress_of

    rows = progress_of(_open(folder))
    if as_json:
        click.echo(as_text([dict(zip(("stage", "state", "kept", "rejected"), row, strict=True)) for row in rows]))
    else:
        click.echo(console.table(["stage", "state", "kept", "rejected"], rows))


@main.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("sample_id")
@click.option("--journal", type=click.Path(path_type=Path), metavar="FILE", help="Where the answers were kept.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def trace(folder: Path, sample_id: str, journal: Path | None, as_json: bool) -> None:
    """Walk a row back to its line of code, or to why it was rejected.

    Shows repository, commit, lines and licence of SAMPLE_ID in RUN, the snippet, what the teacher was asked and
    answered, and what each stage decided.
    """
    from magicoder.trace import trace as find
    from magicoder.trace import turns_of

    found = find(_open(folder), sample_id)
    found["conversation"] = turns_of(_open(folder), sample_id, journal or home() / "journal.sqlite")
    if as_json:
        click.echo(as_text(found))
        return
    for name, value in found["origin"].items():
        if value != "" or name not in ("teacher", "parser"):  # which rows without a teacher do not have
            click.echo(f"{name:<12} {value if value != '' else '(unknown)'}")
    click.echo()
    for title, text in (
        *([("snippet", found["snippet"])] if found["snippet"] else []),
        *((k, t[k]) for t in found["conversation"] for k in t),
    ):
        click.echo(f"--- {title} ---\n{text}\n")
    for step in found["history"]:
        why = "".join(f"  {step[k]}" for k in ("reason", "detail") if step.get(k))
        click.echo(f"{step['stage']:<15} {step['verdict']:<9} {step['id']}{why}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option("--data", envvar="MAGICODER_DATA", metavar="DIR", help="Folder with local benchmark files.")
@click.option("--run", "run_greetings", is_flag=True, help="Also run a greeting in every language, in the sandbox.")
def doctor(as_json: bool, data: str | None, run_greetings: bool) -> None:
    """Check what works here, and say how to get the rest."""
    from magicoder import console
    from magicoder.doctor import examine

    findings = examine(data, home(), run=run_greetings)
    if as_json:
        click.echo(as_text(findings))
    else:
        click.echo(
            console.table(
                ["what", "state", "found", "to get it"], [(f.what, f.state, f.found, f.fix) for f in findings]
            )
        )
    if any(f.state == "broken" for f in findings):
        sys.exit(1)


@main.group()
def index() -> None:
    """Benchmarks as figures: what seeds and rows are held against where no files are at hand."""


@index.command("build")
@click.option(
    "--data", envvar="MAGICODER_DATA", metavar="DIR", required=True, help="Folder with local benchmark files."
)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@click.option("--name", default="own index", show_default=True, help="What reports call it.")
def build(data: str, out: Path, name: str) -> None:
    """Make an index of the benchmarks under --data: hashes, lengths and places, no text.

    Put it as index.bin into the --data folder of a machine that may not hold the files themselves.
    """
    from magicoder import console
    from magicoder.benchmarks import build_index

    file, made = build_index(data, name)
    out.write_bytes(file)
    click.echo(console.index_text(made))
    click.echo(f"wrote {out} ({len(file):,} bytes)")


def _open(folder: Path) -> Any:
    """Return a run folder for reading, without its lock.

    Raises:
        StoreError: not a run folder.
    """
    from magicoder.errors import StoreError
    from magicoder.store import RunFolder

    if not (folder / "run.json").exists():
        raise StoreError(f"{folder} is not a run folder; give the folder that `magicoder run` printed")
    opened = RunFolder(folder)
    opened.check_layout()
    return opened


main.add_command(evaluate)
main.add_command(compare)
main.add_command(report)
main.add_command(train)
