"""The whole path, top to bottom: the one module that knows both the stages and what they work on.

    corpora → documents → seeds → screened → samples → cleaned → decontaminated → dataset, report

Each step is published under the run folder and skipped when it is already there, made from the same settings and
inputs. Seeds are decontaminated before money is spent on them, samples after.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from magicoder.benchmarks import at_hand
from magicoder.errors import Interrupted
from magicoder.fingerprint import digest
from magicoder.journal import Journal
from magicoder.protocols import Corpus, Engine
from magicoder.recipe import Recipe, to_yaml
from magicoder.records import Document, RawDocument, Rejection, Sample, Seed
from magicoder.store import Artifact, Progress, RunFolder, Silent, Writer, write_atomic
from magicoder.summary import StageCount, Summary, count_column, count_stage, sum_column
from magicoder.web import report

R = TypeVar("R")

STAGES: dict[str, tuple[type, str]] = {
    "documents": (Document, "documents"),
    "seeds": (Seed, "seeds"),
    "screened": (Seed, "seeds"),
    "samples": (Sample, "samples"),
    "cleaned": (Sample, "samples"),
    "decontaminated": (Sample, "samples"),
}
"""The stages in order: what each publishes, and the unit of its rows."""


class Watcher(Protocol):
    """Who is told how a run goes."""

    def stage(self, name: str) -> Progress:
        """Say that a stage starts; return where it reports to."""
        ...

    def done(self, count: StageCount, *, built: bool) -> None:
        """Say that a stage is published; `built` is False if it was there already."""
        ...


class Nobody:
    """A watcher that does not look."""

    def stage(self, name: str) -> Progress:  # noqa: ARG002 - part of the protocol
        """Ignore it."""
        return Silent()

    def done(self, count: StageCount, *, built: bool) -> None:
        """Ignore it."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a run needs and what cannot change its result.

    journal   the SQLite file of paid answers, shared by runs
    data      the folder with local benchmark files, or None
    stop      asked now and then; when it answers True the run waits for what is in flight and ends
    """

    engine: Engine
    journal: Path
    data: str | None = None
    watcher: Watcher = field(default_factory=Nobody)
    stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True, kw_only=True)
class Result:
    """Where everything is, and what it came to."""

    dataset: Path
    report: Path
    summary: Summary


def run(recipe: Recipe, folder: RunFolder, around: Surroundings) -> Result:
    """Make the dataset of `recipe` in `folder`, going on where an earlier run stopped.

    Raises:
        MagicoderError: what the user can mend; everything finished so far stays.
    """
    recipe.check()
    folder.write_json("recipe.json", {"name": recipe.name, "recipe": to_yaml(recipe)})
    known = at_hand(around.data)
    steps = _Steps(folder, around)

    documents = steps.publish(
        "documents",
        lambda out: recipe.documents.run(_read(recipe.corpora, recipe.documents.max_bytes), out, around.engine),
        settings=[recipe.documents, recipe.corpora],
        inputs=[corpus.state() for corpus in recipe.corpora],
    )
    kind = recipe.seeds.kind or recipe.strategy.seed_kind
    seeds = steps.publish(
        "seeds",
        lambda out: recipe.seeds.run(documents, out, around.engine, kind),
        settings=[recipe.seeds, kind],
        inputs=[documents.manifest.content],
    )
    screened = steps.publish(
        "screened",
        lambda out: recipe.decontaminate.run(seeds, out, around.engine, known.tasks),
        settings=recipe.decontaminate,
        inputs=[seeds.manifest.content, known.digest],
    )
    samples = steps.publish(
        "samples",
        lambda out: _generate(recipe, screened, out, around),
        settings=[recipe.generate, recipe.strategy, recipe.teacher],
        inputs=[screened.manifest.content],
    )
    cleaned = steps.publish(
        "cleaned",
        lambda out: recipe.clean.run(samples, out, around.engine),
        settings=recipe.clean,
        inputs=[samples.manifest.content],
    )
    decontaminated = steps.publish(
        "decontaminated",
        lambda out: recipe.decontaminate.run(cleaned, out, around.engine, known.tasks),
        settings=recipe.decontaminate,
        inputs=[cleaned.manifest.content, known.digest],
    )
    return _finish(recipe, steps, decontaminated)


def _read(corpora: tuple[Corpus, ...], max_bytes: int) -> Iterator[RawDocument]:
    for corpus in corpora:
        yield from corpus.documents(max_bytes)


def _generate(recipe: Recipe, seeds: Artifact[Seed], out: Writer[Sample], around: Surroundings) -> None:
    with ExitStack() as stack:
        teacher = recipe.teacher if recipe.strategy.needs_teacher else None
        journal = stack.enter_context(Journal.open(around.journal)) if teacher else None
        recipe.generate.run(
            seeds, out, around.engine, strategy=recipe.strategy, teacher=teacher, journal=journal, stop=around.stop
        )


class _Steps:
    """Publishes stages one after the other and keeps what they came to."""

    def __init__(self, folder: RunFolder, around: Surroundings) -> None:
        self.folder = folder
        self.around = around
        self.counts: list[StageCount] = []
        self.artifacts: list[Artifact[Any]] = []

    def publish(
        self, stage: str, build: Callable[[Writer[Any]], None], *, settings: Any, inputs: list[str]
    ) -> Artifact[Any]:
        record, unit = STAGES[stage]
        progress = self.around.watcher.stage(stage)
        if stage != "samples":  # which waits for what is in flight before it stops
            progress = _Stoppable(progress, self.around.stop)
        artifact, built = self.folder.publish(stage, record, build, settings=settings, inputs=inputs, progress=progress)
        count = count_stage(artifact, unit)
        self.counts.append(count)
        self.artifacts.append(artifact)
        self.around.watcher.done(count, built=built)
        return artifact


class _Stoppable:
    """Progress that ends a stage, between two parts, when the user asks to stop."""

    def __init__(self, progress: Progress, stop: Callable[[], bool]) -> None:
        self.progress = progress
        self.stop = stop

    def expect(self, total: int | None, unit: str) -> None:
        """Pass on."""
        self.progress.expect(total, unit)

    def tick(self, count: int, note: str = "") -> None:
        """Pass on, unless it is time to stop.

        Raises:
            Interrupted: `stop()` answered True.
        """
        if self.stop():
            raise Interrupted("stopped as asked; run the same command again to go on")
        self.progress.tick(count, note)


def _finish(recipe: Recipe, steps: _Steps, rows: Artifact[Sample]) -> Result:
    """Write the dataset folder and the report."""
    summary = summarise(recipe, steps.counts, rows, steps.artifacts)
    folder = steps.folder
    dataset, _ = folder.publish_folder(
        "dataset",
        lambda place: recipe.export.run(rows, place, summary, _evidence(steps.artifacts)),
        settings=[recipe.export, recipe.name],
        inputs=[rows.manifest.content, digest(summary)],
    )
    page = folder.path / "report.html"
    write_atomic(page, report.render(summary, report.collect(rows, steps.artifacts)).encode())
    return Result(dataset=dataset, report=page, summary=summary)


def _evidence(artifacts: list[Artifact[Any]]) -> Iterator[Rejection]:
    for artifact in artifacts:
        if artifact.manifest.stage in ("screened", "decontaminated"):
            yield from artifact.rejections()


def summarise(
    recipe: Recipe, counts: list[StageCount], rows: Artifact[Sample], artifacts: list[Artifact[Any]]
) -> Summary:
    """Gather the figures of a finished run."""
    samples = next(a for a in artifacts if a.manifest.stage == "samples")
    prompt_tokens, completion_tokens = (
        sum_column(samples, column) + sum(getattr(r, column) for r in samples.rejections())
        for column in ("prompt_tokens", "completion_tokens")
    )
    return Summary(
        name=recipe.name,
        recipe=to_yaml(recipe),
        strategy=recipe.strategy.name,
        teacher=recipe.teacher.model if recipe.teacher and recipe.strategy.needs_teacher else "",
        stages=tuple(counts),
        rows=rows.manifest.rows,
        languages=count_column(rows, "language"),
        licenses=count_column(rows, "license"),
        repositories=count_column(rows, "repository"),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=_cost(recipe, prompt_tokens, completion_tokens),
    )


def _cost(recipe: Recipe, prompt_tokens: int, completion_tokens: int) -> float | None:
    """Return what the tokens cost at the teacher's stated prices, None where it states none."""
    prompt_price = getattr(recipe.teacher, "usd_per_million_prompt_tokens", None)
    completion_price = getattr(recipe.teacher, "usd_per_million_completion_tokens", None)
    if prompt_price is None or completion_price is None:
        return None
    return float(prompt_tokens * prompt_price + completion_tokens * completion_price) / 1e6


def empty_because(summary: Summary) -> str:
    """Say at which stage a run without rows lost everything, and to which reasons."""
    for count in summary.stages:
        if count.kept == 0:
            reasons = ", ".join(f"{reason} {number:,}" for reason, number in list(count.reasons.items())[:4])
            return f"stage {count.stage} kept none of {count.rejected:,} {count.unit}: {reasons or 'nothing came in'}"
    return ""


def progress_of(folder: RunFolder) -> list[tuple[str, str, int, int]]:
    """Return stage, state (`done`, `under way`, `-`), rows kept and rejected, for every stage in order."""
    rows = []
    for stage, (record, _) in STAGES.items():
        building = folder.path / f"{stage}.building"
        manifest = folder.manifest(stage)
        if building.exists():
            kept, rejected = Writer(building, stage, record).counts()
            rows.append((stage, "under way", kept, rejected))
        elif manifest is not None:
            rows.append((stage, "done", manifest.rows, manifest.rejected))
        else:
            rows.append((stage, "-", 0, 0))
    return rows
