"""The command that trains: options and texts, no logic."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magicoder.errors import Interrupted, MagicoderError, RecipeError
from magicoder.machine import as_text, stop_on_signals

if TYPE_CHECKING:
    from magicoder.training.settings import Training

_PARENT = "MAGICODER_PARENT"
_PACKAGES = ("numpy", "safetensors", "torch", "transformers")


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path), metavar="RECIPE")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Default: runs/NAME of the recipe.")
@click.option("--base", metavar="MODEL", help="Another base model than the recipe's: a folder, or a name on the hub.")
@click.option(
    "--data", "data", multiple=True, metavar="STAGE=PATH", help="Other data for a stage, e.g. oss=runs/mine/dataset."
)
@click.option("--plan", "only_plan", is_flag=True, help="Say what it would take, and train nothing.")
@click.option("--gpu", metavar="NAME", help="With --plan: on which GPU, e.g. h200, h100, a100-40. Default: this one.")
@click.option("--gpus", type=click.IntRange(min=1), metavar="N", help="With --plan: on how many.")
@click.option("--usd-per-hour", type=click.FloatRange(min=0), metavar="USD", help="With --plan: what a GPU costs.")
@click.option(
    "--evaluate",
    "benchmarks",
    multiple=True,
    metavar="BENCHMARK",
    help="Afterwards score the base and each stage's model, e.g. humaneval+. May be repeated.",
)
@click.option("--benchmark-data", envvar="MAGICODER_DATA", metavar="DIR", help="Folder with the benchmarks' files.")
@click.option("--processes", type=click.IntRange(min=1), metavar="N", help="On this machine. Default: one a GPU.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Default: the recipe's.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def train(
    *,
    recipe: Path,
    out: Path | None,
    base: str | None,
    data: tuple[str, ...],
    only_plan: bool,
    gpu: str | None,
    gpus: int | None,
    usd_per_hour: float | None,
    benchmarks: tuple[str, ...],
    benchmark_data: str | None,
    processes: int | None,
    device: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Fine-tune a model by RECIPE, a YAML file: base, stages, data (docs/training.md).

    \b
    Examples:
      magicoder train recipes/train/quickstart.yaml
      magicoder train recipes/train/magicoder-s-cl-7b.yaml --plan --gpu h200
      magicoder train recipe.yaml --base ./my-model --data oss=runs/mine/dataset

    Running the command again goes on at the last checkpoint, to the same weights bit for bit. Ctrl-C and SIGTERM save
    and stop. Several machines: start it by torchrun on each, `torchrun … -m magicoder train RECIPE`.
    """
    from magicoder import console
    from magicoder.recipe import read_training, to_yaml
    from magicoder.store import explained

    training = _overruled(read_training(recipe), base=base, data=data, processes=processes, device=device)
    _check(training, benchmarks, benchmark_data)
    from magicoder.training import launch, run  # wants numpy, which `_check` looks for

    folder = out or Path("runs") / training.name
    watch = console.Watch(quiet=quiet or not _is_first())
    try:
        if only_plan:
            from magicoder.training import estimate

            plan = estimate.estimate(training, run.prepare(training, folder, watch), gpu=gpu, gpus=gpus)
            click.echo(as_text(plan) if as_json else _plan_text(plan, usd_per_hour))
            return
        wanted = _processes(training)
        if wanted > 1 and not launch.is_member():
            launch.together(sys.argv[1:], wanted, folder / "logs", {_PARENT: str(os.getpid())})
        with launch.ending_at_once(watch.close) if launch.is_member() else nullcontext():
            facts = run.train(training, folder, watch, _stop(), recipe=to_yaml(training, private=True))
    finally:
        watch.close()
    if _is_first() and _PARENT not in os.environ:  # else the process that started this one goes on
        scores = _scores(training, folder, facts, benchmarks, benchmark_data or "") if benchmarks else []
        with explained(folder):
            report = _report(training, folder, facts, scores)
        click.echo(as_text({**facts, "scores": scores}) if as_json else _text(facts, folder, report, scores))
    if launch.is_member():
        launch.end()


def _check(training: "Training", benchmarks: Sequence[str], data: str | None) -> None:
    """See that models can be trained and scored here, before hours are spent on them.

    Raises:
        RecipeError: they cannot; says what is missing.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise RecipeError(f"training needs the packages {', '.join(missing)}; pip install 'magicoder[train]'")
    if not benchmarks:
        return
    if data is None:
        raise RecipeError("--evaluate needs the benchmarks' files; name their folder with --benchmark-data")
    if training.adapter is not None and not training.adapter.merge:
        raise RecipeError("--evaluate needs whole models, and adapter.merge is false; set it to true")


def _scores(
    training: "Training", folder: Path, facts: dict[str, Any], benchmarks: Sequence[str], data: str
) -> list[tuple[str, str, str, str]]:
    """Score the base and each stage's model, each in a process of its own, which finds the memory free.

    Raises:
        MagicoderError: an evaluation failed; what it said stands above.
    """
    from magicoder import scores

    asked = "magicoder" if training.examples.template == "magicoder" else "chat"
    models = [] if training.base.random_weights else [("base", training.base.model, "completion")]
    models += [(s["stage"], str((folder / "stages" / s["stage"] / "model").resolve()), asked) for s in facts["stages"]]
    rows = []
    for name, model, style in models:
        out = folder / "scores" / name
        what = model if Path(model).is_dir() else f"transformers:{model}"
        command = [sys.executable, "-m", "magicoder", "evaluate", *benchmarks, "--model", what, "--style", style]
        command += ["--data", data, "--out", str(out), "--name", name, "--device", training.machine.device]
        code = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode  # noqa: S603 - our own command
        if code == Interrupted.exit_code:
            raise Interrupted("stopped as asked; run the same command again to go on")
        if code:
            raise MagicoderError(
                f"the evaluation of {name} failed; training itself is done: run the same command again"
            )
        for path in sorted(out.rglob("results.json")):
            result = scores.read(path)
            rows += [(name, result.benchmark, s, scores.percent(result.pass_at(s)[1])) for s in result.scores]
    return rows


def _report(
    training: "Training", folder: Path, facts: dict[str, Any], scores: Sequence[tuple[str, str, str, str]]
) -> Path:
    """Write the page of the run and the cards of its models; return the page."""
    from magicoder.recipe import to_yaml
    from magicoder.store import write_atomic
    from magicoder.text.model_card import model_card
    from magicoder.training import metrics
    from magicoder.web.training_report import render

    figures = {s["stage"]: metrics.read(folder / "stages" / s["stage"]) for s in facts["stages"]}
    base = Path(training.base.model).name if Path(training.base.model).is_dir() else training.base.model
    for count, stage in enumerate(facts["stages"], 1):
        card = model_card(
            training.name if count == len(facts["stages"]) else f"{training.name}-{stage['stage']}",
            base,
            facts["stages"][:count],
            mode=training.mode,
            template=training.examples.template,
            weights=training.precision.weights,
            master=training.has_master,
            adapter_rank=training.adapter.rank if training.adapter else 0,
            drawn=training.base.random_weights,
            scores=[row[1:] for row in scores if row[0] == stage["stage"]],
        )
        write_atomic(folder / "stages" / stage["stage"] / "model" / "README.md", card.encode())
    page = render(training.name, to_yaml(training), facts["stages"], figures, scores)
    write_atomic(folder / "report.html", page.encode())
    return folder / "report.html"


def _stop() -> Callable[[], bool]:
    """Return whether to stop: somebody asked, or the process that started this one is gone."""
    asked, parent = stop_on_signals("this step and its checkpoint"), os.environ.get(_PARENT)
    return lambda: asked() or (parent is not None and os.getppid() != int(parent))


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _processes(training: "Training") -> int:
    machine = training.machine
    if machine.processes or machine.device == "cpu":
        return machine.processes or 1
    from magicoder.training import launch

    return max(1, launch.gpus())


def _overruled(
    training: "Training", *, base: str | None, data: tuple[str, ...], processes: int | None, device: str | None
) -> "Training":
    """Return the recipe with what the command line says otherwise.

    Raises:
        RecipeError: data for a stage that the recipe does not have.
    """
    machine = replace(
        training.machine, processes=processes or training.machine.processes, device=device or training.machine.device
    )
    stages = {stage.name: stage for stage in training.stages}
    given: dict[str, list[str]] = {}
    for word in data:
        name, equals, path = word.partition("=")
        if not equals or name not in stages:
            raise RecipeError(f"--data {word}: write STAGE=PATH; the stages are {', '.join(stages)}")
        given.setdefault(name, []).append(path)
    for name, paths in given.items():
        stages[name] = replace(stages[name], data=tuple(paths))
    model = replace(training.base, model=base, revision="") if base else training.base
    model = replace(model, model=_at_home(model.model), tokenizer=_at_home(model.tokenizer))
    return replace(training, base=model, machine=machine, stages=tuple(stages.values()))


def _at_home(name: str) -> str:
    return str(Path(name).expanduser()) if name.startswith("~") else name


def _plan_text(plan: dict[str, Any], usd_per_hour: float | None) -> str:
    from magicoder import console

    rows = [
        (
            s["stage"],
            f"{s['examples']:,}",
            s["steps"],
            f"{s['tokens']:,}",
            f"{100 * s['useful']:.1f} %",
            _time(s["hours"]),
        )
        for s in plan["stages"]
    ]
    lines = [console.table(["stage", "examples", "steps", "tokens", "useful", "time"], rows), ""]
    memory = plan["memory_gib"]
    parts = ", ".join(f"{name} {size:.2f}" for name, size in memory.items() if name != "all")
    lines.append(f"Memory of a process: {memory['all']:.1f} GiB ({parts})")
    lines += plan["notes"]
    if usd_per_hour is not None and plan["gpu_hours"] is not None:
        lines.append(f"Cost: {plan['gpu_hours'] * usd_per_hour:,.2f} USD")
    return "\n".join(lines)


def _time(hours: float | None) -> str:
    if hours is None:
        return "?"
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def _text(facts: dict[str, Any], folder: Path, report: Path, scores: Sequence[tuple[str, str, str, str]]) -> str:
    from magicoder import console
    from magicoder.text.model_card import losses_of

    rows = [(s["stage"], s["steps"], f"{s['tokens']:,}", *losses_of(s)) for s in facts["stages"]]
    parts = [console.table(["stage", "steps", "tokens", "last loss", "held out before", "after"], rows)]
    if scores:
        parts.append(console.table(["model", "benchmark", "score", "% (95 % interval)"], scores))
    parts.append(f"Model    {facts['model']}\nReport   {report}\nFigures  {folder}/stages/*/metrics.jsonl")
    return "\n\n".join(parts)
