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
    from magicoder.training.run import Prepared
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
    _check_plan(only_plan=only_plan, gpu=gpu, gpus=gpus, usd_per_hour=usd_per_hour)
    from magicoder.training import launch, run  # wants numpy, which `_check` looks for

    folder = out or Path("runs") / training.name
    watch = console.Watch(quiet=quiet or not _is_first())
    try:
        if only_plan:
            plan = _plan(training, run.prepare(training, folder, watch), gpu, gpus, usd_per_hour)
            click.echo(as_text(plan) if as_json else _plan_text(plan))
            return
        wanted = _processes(training)
        if wanted > 1 and not launch.is_member():
            launch.together(sys.argv[1:], wanted, folder / "logs", {_PARENT: str(os.getpid())})
        with launch.ending_at_once(watch.close) if launch.is_member() else nullcontext():
            facts = run.train(training, folder, watch, _stop(), recipe=to_yaml(training, private=True))
    finally:
        watch.close()
    if _is_first() and _PARENT not in os.environ:  # else the process that started this one goes on
        if benchmarks:
            _score(training, folder, facts, benchmarks, benchmark_data or "")
        with explained(folder):
            scores = _scores(folder, facts)
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
    if _is_first() and _PARENT not in os.environ:
        _check_benchmarks(benchmarks, data)


def _check_benchmarks(benchmarks: Sequence[str], data: str) -> None:
    """See that the benchmarks are known and their files here.

    Raises:
        RecipeError: one is not, or its files are missing or damaged.
    """
    from magicoder.errors import BenchmarkError
    from magicoder.evaluation import suite_of

    names: set[str] = set()
    for benchmark in benchmarks:
        try:
            name = suite_of(benchmark, data).name
        except BenchmarkError as e:
            raise RecipeError(f"--evaluate {str(e).replace('--data', '--benchmark-data')}") from e
        if name in names:
            raise RecipeError(f"--evaluate: {name} is named twice; name each benchmark once")
        names.add(name)


def _check_plan(*, only_plan: bool, gpu: str | None, gpus: int | None, usd_per_hour: float | None) -> None:
    """See that a plan was asked for where its options are, and that its GPU is known, before rows become tokens.

    Raises:
        RecipeError: they do not go together, or there is no such GPU.
    """
    from magicoder.training import hardware

    given = {"--gpu": gpu, "--gpus": gpus, "--usd-per-hour": usd_per_hour}
    alone = [name for name, value in given.items() if value is not None and not only_plan]
    if alone:
        raise RecipeError(f"{alone[0]} is of --plan; add --plan, or leave it out (--processes says how many train)")
    if gpu is not None:
        hardware.named(gpu)


def _score(training: "Training", folder: Path, facts: dict[str, Any], benchmarks: Sequence[str], data: str) -> None:
    """Score the base and each stage's model, each in a process of its own, which finds the memory free.

    Raises:
        MagicoderError: an evaluation failed; what it said stands above.
    """
    asked = "magicoder" if training.examples.template == "magicoder" else "chat"
    models = [] if training.base.random_weights else [("base", training.base.model, "completion")]
    models += [(s["stage"], str((folder / "stages" / s["stage"] / "model").resolve()), asked) for s in facts["stages"]]
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


def _scores(folder: Path, facts: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the scores in the run's folder: of each model and benchmark the newest, none older than the model."""
    from magicoder import scores

    rows = []
    ends = [(s["stage"], (folder / "stages" / s["stage"] / "done.json").stat().st_mtime) for s in facts["stages"]]
    for name, since in [("base", 0.0), *ends]:
        found = {}
        paths = (folder / "scores" / name).rglob(scores.RESULTS)
        for written, path in sorted((path.stat().st_mtime, path) for path in paths):
            if written >= since:
                result = scores.read(path)
                found[result.benchmark] = result
        for result in found.values():
            rows += [(name, result.benchmark, s, scores.percent(result.pass_at(s)[1])) for s in result.scores]
    return rows


def _report(
    training: "Training", folder: Path, facts: dict[str, Any], scores: Sequence[tuple[str, str, str, str]]
) -> Path:
    """Write the page of the run and the cards of its models; return the page."""
    from magicoder.recipe import to_yaml
    from magicoder.store import write_atomic
    from magicoder.training import metrics
    from magicoder.web.training_report import render

    figures = {s["stage"]: metrics.read(folder / "stages" / s["stage"]) for s in facts["stages"]}
    for count in range(1, len(facts["stages"]) + 1):
        _write_cards(training, folder, facts["stages"][:count], scores, is_last=count == len(facts["stages"]))
    page = render(training.name, to_yaml(training), facts["stages"], figures, scores)
    write_atomic(folder / "report.html", page.encode())
    return folder / "report.html"


def _write_cards(
    training: "Training",
    folder: Path,
    stages: Sequence[dict[str, Any]],
    scores: Sequence[tuple[str, str, str, str]],
    *,
    is_last: bool,
) -> None:
    """Write the card of the last of `stages`, and of the mean of its checkpoints."""
    from magicoder.store import write_atomic
    from magicoder.text.model_card import How, model_card

    name = stages[-1]["stage"]
    place = folder / "stages" / name
    how = How(
        weights=training.precision.weights,
        master=training.has_master,
        adapter_rank=training.adapter.rank if training.adapter else 0,
        alone=training.adapter is not None and not training.adapter.merge,
        drawn=training.base.random_weights,
        backend=training.backend,
        balanced=_is_balanced(place / "model" / "config.json"),
        settings=_settings(training, len(stages)),
        datasets=_on_hub(training, len(stages)),
    )
    means = [(place / "model-average", training.checkpoints.average)] if training.checkpoints.average else []
    for where, averaged in ((place / "model", 0), *means):
        if not where.is_dir():
            continue
        card = model_card(
            (training.name if is_last else f"{training.name}-{name}") + ("-average" if averaged else ""),
            _base_name(training.base.model),
            stages,
            mode=training.mode,
            template=training.examples.template,
            how=replace(how, averaged=averaged),
            scores=[] if averaged else [row[1:] for row in scores if row[0] == name],
        )
        write_atomic(where / "README.md", card.encode())


def _settings(training: "Training", count: int) -> tuple[tuple[str, str], ...]:
    """Return what a card says of the recipe's first stages; of data that lie here no more than their names."""
    common, rows = training.optimization, []
    for stage in training.stages[:count]:
        own = training.optimization_of(stage)
        rows.append((f"data of {stage.name}", ", ".join(map(_data_name, stage.data))))
        rows.append((f"rate of {stage.name}", f"{own.learning_rate:g}, {own.warmup_steps} steps of warm-up"))
    clipped = f", gradients clipped at {common.max_grad_norm:g}" if common.max_grad_norm else ""
    decayed = f", weight decay {common.weight_decay:g}" if common.weight_decay else ""
    return (
        *rows,
        ("optimizer", f"{common.optimizer}{clipped}{decayed}"),
        ("schedule", common.schedule),
        ("examples of a step", f"{training.batches.examples:,}"),
        ("random seed", str(training.random_seed)),
    )


def _on_hub(training: "Training", count: int) -> tuple[str, ...]:
    """Return the datasets of the hub that the first stages learn from."""
    data = [name for stage in training.stages[:count] for name in stage.data]
    return tuple(dict.fromkeys(name.removeprefix("hub:") for name in data if name.startswith("hub:")))


def _data_name(data: str) -> str:
    """Return what a card calls a stage's data: the name on the hub, of the run that made it, or of the file."""
    path = Path(data.removeprefix("hub:"))
    if data.startswith("hub:"):
        return str(path)
    return path.resolve().parent.name if path.name == "dataset" else path.name


def _is_balanced(config: Path) -> bool:
    """Return whether a model's configuration asks for the loss that balances experts (`training/balancing.py`)."""
    import orjson

    try:
        found = orjson.loads(config.read_bytes())
    except FileNotFoundError:  # adapters alone
        return False
    return bool(found.get("text_config", found).get("output_router_logits"))


def _base_name(model: str) -> str:
    """Return what a card calls a base: its name on the hub, that of its folder, or of the run and stage it is of."""
    path = Path(model)
    if not path.is_dir():
        return model
    path = path.resolve()
    return f"{path.parents[2].name}-{path.parent.name}" if path.parts[-3:-2] == ("stages",) else path.name


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


def _plan(
    training: "Training", prepared: "list[Prepared]", gpu: str | None, gpus: int | None, usd_per_hour: float | None
) -> dict[str, Any]:
    """Return the plan, with `usd` where it is known what an hour costs."""
    from magicoder.training import estimate

    plan = estimate.estimate(training, prepared, gpu=gpu, gpus=gpus)
    known = usd_per_hour is not None and plan["gpu_hours"] is not None
    return {**plan, "usd": plan["gpu_hours"] * usd_per_hour} if known else plan


def _plan_text(plan: dict[str, Any]) -> str:
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
    if "usd" in plan:
        lines.append(f"Cost: {plan['usd']:,.2f} USD")
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
