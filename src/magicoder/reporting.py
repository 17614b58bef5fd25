"""The command that puts results side by side: a report, the paper's figures beside ours, a plot, lm-eval's form."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from magicoder.errors import RecipeError

if TYPE_CHECKING:
    from magicoder.scores import Result


@click.command()
@click.argument("given", nargs=-1, required=True, metavar="RESULTS...")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write the report there.")
@click.option("--json", "as_json", is_flag=True, help="Print lm-eval's form as JSON.")
def report(given: tuple[str, ...], out: Path | None, *, as_json: bool) -> None:
    """Put RESULTS of evaluations side by side, and beside the figures of the Magicoder paper.

    \b
    Examples:
      magicoder report results --out report
      magicoder report base=runs/base tuned=runs/tuned --out report

    RESULTS are results.json or EvalPlus' eval_results.json, or folders with results.json somewhere in them; `NAME=`
    before one says what tables call it. Published figures are marked with how sure they are
    (docs/evaluation-published.md).
    """
    from magicoder import standings
    from magicoder.machine import as_text

    results = _titled([found for one in given for found in _found(one)])
    written = standings.write(results, out) if out is not None else []
    if as_json:
        click.echo(as_text(standings.lm_eval(results)))
        return
    tables = (standings.leaderboard(results), standings.summary(results))
    click.echo("\n".join(standings.markdown(table, level=0) for table in tables).rstrip())
    if out is not None:
        click.echo(f"\n{', '.join(written)} are in {out}")


def _found(given: str) -> "Iterator[tuple[str, Result]]":
    """Yield the results that an argument names, and what to call their model.

    Raises:
        RecipeError: there are none.
    """
    from magicoder import scores
    from magicoder.scores import RESULTS

    name, equals, place = given.partition("=")
    if not equals or Path(given).exists():
        name, place = "", given
    path = Path(place)
    paths = sorted(path.rglob(RESULTS)) if path.is_dir() else [path]
    if not paths or not paths[0].is_file():
        raise RecipeError(f"{place}: there is no {RESULTS}; name a folder that `magicoder evaluate --out` wrote")
    folder = (path if path.is_dir() else path.parent).resolve().name
    for one in paths:
        result = scores.read(one)
        yield name or str(result.generation.get("model") or folder), result


def _titled(results: "list[tuple[str, Result]]") -> "list[tuple[str, Result]]":
    """Return results with names that tell them apart: with their profile, where a model has several on a benchmark."""
    counts = Counter((name, result.benchmark) for name, result in results)
    several = {name for (name, _), count in counts.items() if count > 1}
    titled = [(f"{name} ({result.profile})" if name in several else name, result) for name, result in results]
    again = Counter((name, result.benchmark) for name, result in titled)
    for (name, benchmark), count in again.items():
        if count > 1:
            raise RecipeError(f"there are {count} results of {name} on {benchmark}; name them apart, as in one=PATH")
    return titled
