"""The report of a training run: one HTML file with the curves of loss, rate and speed, and what it ended with."""

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Final

import jinja2
from markupsafe import Markup

from magicoder.web.curves import Curve, chart

_STAGE_HEADER: Final = ("stage", "examples", "left out", "cut", "steps", "tokens", "of them trained", "last loss")
_SCORE_HEADER: Final = ("model", "benchmark", "score", "% (95 % interval)")
HELD_OUT: Final = "held_out_loss/"
"""Beginning of the names of figures: the loss on what the stage whose name follows holds out."""
_WINDOW: Final = 20
"""Steps over which the loss is averaged for the curve, at most."""


def render(
    name: str,
    recipe: str,
    stages: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Sequence[Mapping[str, float]]],
    scores: Sequence[tuple[str, str, str, str]] = (),
) -> str:
    """Return the page.

    recipe    as YAML, without paths of this machine
    stages    the facts of each stage (`training.run.train`)
    figures   by stage, a mapping a step with `step`, `loss`, `learning_rate`, `tokens_per_s`,
              `held_out_loss/<stage>`
    scores    rows of model, benchmark, score and its interval, if the models were evaluated
    """
    first = _beginnings(figures)
    parameters = stages[-1]["parameters"] if stages else 0
    return _template().render(
        name=name,
        lead=f"{parameters:,} parameters, {len(stages)} stage{'s' if len(stages) != 1 else ''}, "
        f"{sum(s['steps'] for s in stages):,} steps, {sum(s['tokens'] for s in stages):,} tokens.",
        figures=[Markup(svg) for svg in _charts(figures, first) if svg],  # noqa: S704 - our own SVG, texts escaped
        stage_header=_STAGE_HEADER,
        stage_rows=[_row(s) for s in stages],
        loss_header=("model", *(f"held out of {stage}" for stage in _held_out(stages))),
        loss_rows=_losses(stages),
        score_header=_SCORE_HEADER,
        score_rows=list(scores),
        recipe=recipe,
        css=Markup(resources.files("magicoder.web.templates").joinpath("report.css").read_text("utf-8")),  # noqa: S704
    )


def _beginnings(figures: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """Return the number of steps before each stage, so that the stages stand one behind the other."""
    found, so_far = {}, 0.0
    for stage, lines in figures.items():
        found[stage] = so_far
        so_far += max((line["step"] for line in lines), default=0.0)
    return found


def _charts(figures: Mapping[str, Sequence[Mapping[str, float]]], first: Mapping[str, float]) -> list[str]:
    def curves(field: str, *, smooth: bool = False) -> list[Curve]:
        made = []
        for stage, lines in figures.items():
            points = [(first[stage] + line["step"], line[field]) for line in lines if line.get(field) is not None]
            made.append(Curve(name=stage, points=tuple(_smoothed(points) if smooth else points)))
        return [curve for curve in made if curve.points]

    held_out = [
        Curve(name=f"held out of {stage}", points=tuple(points), dots=True)
        for stage in figures
        if (points := _points(figures, first, HELD_OUT + stage))
    ]
    return [
        chart("Loss (running mean)", "step", "loss", [*curves("loss", smooth=True), *held_out]),
        chart("Learning rate", "step", "learning rate", curves("learning_rate")),
        chart("Speed", "step", "tokens/s", curves("tokens_per_s")),
    ]


def _points(
    figures: Mapping[str, Sequence[Mapping[str, float]]], first: Mapping[str, float], field: str
) -> list[tuple[float, float]]:
    return [
        (first[s] + line["step"], line[field]) for s in figures for line in figures[s] if line.get(field) is not None
    ]


def _smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    window = min(_WINDOW, max(1, len(points) // 10))
    found, total = [], 0.0
    for place, (x, y) in enumerate(points):
        total += y - (points[place - window][1] if place >= window else 0.0)
        found.append((x, total / min(window, place + 1)))
    return found


def _row(stage: Mapping[str, Any]) -> list[str]:
    return [
        stage["stage"],
        f"{stage['examples']:,}",
        f"{sum(stage['dropped'].values()):,}",
        *(f"{stage[field]:,}" for field in ("truncated", "steps", "tokens", "trained_tokens")),
        "" if stage["loss"] is None else f"{stage['loss']:.4f}",
    ]


def _held_out(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(stages[0]["held_out_before"]) if stages else []


def _losses(stages: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the loss of the base and of each stage's model on what every stage held out."""
    sets = _held_out(stages)
    models = [("base", stages[0]["held_out_before"])] if sets else []
    models += [(f"after {stage['stage']}", stage["held_out_after"]) for stage in stages if sets]
    return [[name, *("" if losses[one] is None else f"{losses[one]:.4f}" for one in sets)] for name, losses in models]


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("magicoder.web"),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("training.html.j2")
