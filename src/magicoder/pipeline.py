"""The whole path, top to bottom: the one module that knows both the stages and what they work on.

    corpora → documents → distinct_files → seeds → distinct_seeds → screened (→ chosen)
            → samples → cleaned → distinct_rows → decontaminated (→ verified) (→ selected)
            → dataset, report

Each step is published under the run folder and skipped when it is already there, made from the same settings and
inputs. Seeds are compared and decontaminated before money is spent on them, samples after.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import orjson
import pyarrow as pa

from magicoder.benchmarks import at_hand
from magicoder.budget import Budget
from magicoder.errors import Interrupted, StoreError
from magicoder.fingerprint import digest, digest_bytes
from magicoder.journal import Journal
from magicoder.money import LedgerRow, forecast, ledger_rows
from magicoder.prices import price_of
from magicoder.protocols import Columnar, Corpus, Engine, Runner
from magicoder.recipe import Recipe, parse, to_yaml
from magicoder.records import Document, Prompt, RawDocument, Sample, Seed
from magicoder.stages.choose import Choose
from magicoder.stages.deduplicate import Deduplicate
from magicoder.stages.generate import Desk
from magicoder.stages.verify import measurements
from magicoder.store import Artifact, Manifest, Progress, RunFolder, Silent, Writer
from magicoder.store.memory import keep_pages
from magicoder.summary import StageCount, Summary, count_column, count_stage, sum_column, sum_rejected
from magicoder.web import report

R = TypeVar("R", Document, Seed, Sample)

STAGES: dict[str, tuple[type, str]] = {
    "documents": (Document, "documents"),
    "distinct_files": (Document, "documents"),
    "seeds": (Seed, "seeds"),
    "distinct_seeds": (Seed, "seeds"),
    "screened": (Seed, "seeds"),
    "chosen": (Seed, "seeds"),
    "samples": (Sample, "samples"),
    "cleaned": (Sample, "samples"),
    "distinct_rows": (Sample, "samples"),
    "decontaminated": (Sample, "samples"),
    "verified": (Sample, "samples"),
    "selected": (Sample, "samples"),
}
"""The stages in order: what each publishes, and the unit of its rows."""


def stages_of(recipe: Recipe) -> list[str]:
    """Return the stages that a run of `recipe` has, in order."""
    wanted = recipe.deduplicate
    has = {
        "distinct_files": wanted.of_documents() is not None,
        "distinct_seeds": wanted.of_seeds(are_paid_for=recipe.strategy.needs_teacher) is not None,
        "distinct_rows": wanted.of_samples() is not None,
        "verified": recipe.verify.is_on,
        "chosen": recipe.target is not None,
        "selected": recipe.target is not None,
    }
    return [stage for stage in STAGES if has.get(stage, True)]


class Watcher(Protocol):
    """Who is told how a run goes."""

    def stage(self, name: str) -> Progress:
        """Say that a stage starts; return where it reports to."""
        ...

    def done(self, count: StageCount, *, built: bool) -> None:
        """Say that a stage is published; `built` is False if it was there already."""
        ...

    def warn(self, text: str) -> None:
        """Say what the user should know although the run goes on."""
        ...


class Nobody:
    """A watcher that does not look."""

    def stage(self, name: str) -> Progress:  # noqa: ARG002 - part of the protocol
        """Ignore it."""
        return Silent()

    def done(self, count: StageCount, *, built: bool) -> None:
        """Ignore it."""

    def warn(self, text: str) -> None:
        """Ignore it."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a run needs and what cannot change its result.

    journal      the SQLite file of paid answers, shared by runs
    data         the folder with local benchmark files, or None
    prices       a table of the user's own prices (docs/money.md), or None
    budget_usd   a hard cap on what this run folder may spend, over all runs in it; None for none
    retry        ask again about seeds that the endpoint did not answer
    reparse      read all answers once more, asking nothing
    verify       judge the rows once more, asking nothing
    workers      how many programs a sandbox runs at a time
    stop         asked now and then; when it answers True the run waits for what is in flight and ends
    """

    engine: Engine
    journal: Path
    data: str | None = None
    prices: Path | None = None
    budget_usd: float | None = None
    retry: bool = False
    reparse: bool = False
    verify: bool = False
    workers: int = 1
    watcher: Watcher = field(default_factory=Nobody)
    stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True, kw_only=True)
class Result:
    """Where everything is, and what it came to. `unasked` seeds had no room in the budget."""

    dataset: Path
    report: Path
    summary: Summary
    unasked: int


def run(recipe: Recipe, folder: RunFolder, around: Surroundings) -> Result:
    """Make the dataset of `recipe` in `folder`, going on where an earlier run stopped.

    Raises:
        MagicoderError: what the user can mend; everything finished so far stays.
    """
    recipe.check()
    # With where it was run from: paths in a recipe may be relative.
    folder.write_json(
        "recipe.json", {"name": recipe.name, "recipe": to_yaml(recipe, private=True), "cwd": str(Path.cwd())}
    )
    line = Line(recipe, folder, around)
    seeds = line.seeds()
    rows = line.rows(seeds) if recipe.target is None else _towards(recipe.target, seeds, line)
    return _finish(line, rows)


def _towards(target: int, seeds: Artifact[Seed], line: "Line") -> Artifact[Sample]:
    """Ask about as many seeds as `target` rows need, a few more at a time, and keep exactly the target."""
    asked = first_choice(target, seeds)
    while True:
        rows = line.rows(line.chosen(seeds, asked))
        missing = target - rows.manifest.rows
        spent = line.artifacts["samples"].manifest.facts.get("unasked", 0) > 0
        if missing > 0 and asked >= seeds.manifest.rows and not spent:
            line.around.watcher.warn(f"{missing:,} rows short of the target: all {asked:,} seeds were asked about")
        if missing <= 0 or asked >= seeds.manifest.rows or spent:
            return line.selected(rows, target)
        low, likely, high = forecast(missing, asked, rows.manifest.rows)
        line.around.watcher.warn(
            f"{rows.manifest.rows:,} of {target:,} rows from {asked:,} seeds; the rest may take {likely:,} more seeds "
            f"({low:,} to {high:,}), {seeds.manifest.rows - asked:,} are left"
        )
        asked = min(seeds.manifest.rows, asked + max(likely, 1))


def first_choice(target: int, seeds: Artifact[Seed]) -> int:
    """Return about how many seeds a run towards a target begins with."""
    return min(seeds.manifest.rows, forecast(target, 0, 0)[1])


class Line:
    """The stages of one run. Publishes each under the run folder and keeps what it came to."""

    def __init__(self, recipe: Recipe, folder: RunFolder, around: Surroundings) -> None:
        self.recipe = recipe
        self.folder = folder
        self.around = around
        self.known = at_hand(around.data)
        self.artifacts: dict[str, Artifact[Any]] = {}

    def seeds(self) -> Artifact[Seed]:
        """Return the seeds that a teacher may be asked about; nothing is spent on the way."""
        keep_pages()
        recipe, engine = self.recipe, self.around.engine
        documents = self.publish(
            "documents",
            lambda out: recipe.documents.run(_read(recipe.corpora, recipe.documents.max_bytes), out, engine),
            settings=[recipe.documents, recipe.corpora],
            inputs=[corpus.state() for corpus in recipe.corpora],
        )
        documents = self._distinct("distinct_files", recipe.deduplicate.of_documents(), documents)
        kind = recipe.seeds.kind or recipe.strategy.seed_kind
        seeds = self.publish(
            "seeds",
            lambda out: recipe.seeds.run(documents, out, engine, kind),
            settings=[recipe.seeds, kind],
            inputs=[documents.manifest.content],
        )
        once = recipe.deduplicate.of_seeds(are_paid_for=recipe.strategy.needs_teacher)
        seeds = self._distinct("distinct_seeds", once, seeds)
        return self.publish(
            "screened",
            lambda out: recipe.decontaminate.run(seeds, out, engine, self.known.tasks, self.known.index),
            settings=recipe.decontaminate,
            inputs=[seeds.manifest.content, self.known.digest],
        )

    def chosen(self, seeds: Artifact[Seed], count: int) -> Artifact[Seed]:
        """Return `count` of the seeds."""
        stage = Choose(count=count)
        return self.publish(
            "chosen", lambda out: stage.run(seeds, out), settings=stage, inputs=[seeds.manifest.content]
        )

    def rows(self, seeds: Artifact[Seed]) -> Artifact[Sample]:
        """Return what the strategy makes of the seeds, cleaned and decontaminated."""
        recipe, engine = self.recipe, self.around.engine
        samples = self.publish(
            "samples",
            lambda out: self._generate(seeds, out),
            settings=[recipe.generate, recipe.strategy, recipe.teacher],
            inputs=[seeds.manifest.content, *self._teacher_state()],
        )
        cleaned = self.publish(
            "cleaned",
            lambda out: recipe.clean.run(samples, out, engine),
            settings=recipe.clean,
            inputs=[samples.manifest.content],
        )
        cleaned = self._distinct("distinct_rows", recipe.deduplicate.of_samples(), cleaned)
        sound = self.publish(
            "decontaminated",
            lambda out: recipe.decontaminate.run(cleaned, out, engine, self.known.tasks, self.known.index),
            settings=recipe.decontaminate,
            inputs=[cleaned.manifest.content, self.known.digest],
        )
        if not recipe.verify.is_on:
            return sound
        return self.publish(
            "verified", lambda out: self._verify(sound, out), settings=recipe.verify, inputs=[sound.manifest.content]
        )

    def _verify(self, rows: Artifact[Sample], out: Writer[Sample]) -> None:
        with self._sandbox() as runner:
            self.recipe.verify.run(rows, out, runner)

    def _sandbox(self) -> AbstractContextManager[Runner]:
        return self.recipe.isolation().open(self.around.workers, self.around.journal.with_name("verdicts.sqlite"))

    def _distinct(self, name: str, stage: Deduplicate | None, records: Artifact[R]) -> Artifact[R]:
        """Return one record of each cluster; all of them where the recipe does not compare them."""
        if stage is None:
            return records
        return self.publish(
            name,
            lambda out: stage.run(records, out, self.around.engine),
            settings=stage,
            inputs=[records.manifest.content],
        )

    def selected(self, rows: Artifact[Sample], count: int) -> Artifact[Sample]:
        """Return the `count` rows that were asked for first."""
        stage = Choose(count=count)
        return self.publish(
            "selected", lambda out: stage.run(rows, out), settings=stage, inputs=[rows.manifest.content]
        )

    def publish(
        self, stage: str, build: Callable[[Writer[Any]], None], *, settings: Any, inputs: list[str]
    ) -> Artifact[Any]:
        """Publish one stage, tell the watcher, and remember it."""
        record, unit = STAGES[stage]
        progress = self.around.watcher.stage(stage)
        if not (stage == "samples" and self.recipe.strategy.needs_teacher):  # waits for what is in flight, then stops
            progress = _Stoppable(progress, self.around.stop)
        artifact, built = self.folder.publish(
            stage, record, build, settings=settings, inputs=inputs, progress=progress, redo=self._redo
        )
        self.artifacts.pop(stage, None)  # a stage made again stands at its new place
        self.artifacts[stage] = artifact
        self.around.watcher.done(count_stage(artifact, unit), built=built)
        return artifact

    def _redo(self, found: Manifest) -> bool:
        """Say whether a stage that is there is to be made again: samples with seeds that got no answer, verdicts."""
        if self.around.verify:
            return found.stage == "verified"
        if found.stage != "samples" or self.recipe.teacher is None:
            return False
        unasked, failed = found.facts.get("unasked", 0), found.facts.get("failed", 0)
        return self.around.reparse or unasked > 0 or (self.around.retry and failed > 0)

    def _teacher_state(self) -> list[str]:
        """Return a digest of what decides an answer besides the prompt, such as the content of a recording."""
        teacher = self.recipe.teacher
        if teacher is None or not self.recipe.strategy.needs_teacher:
            return []
        return [digest_bytes(teacher.body(Prompt(messages=())))]

    def _generate(self, seeds: Artifact[Seed], out: Writer[Sample]) -> None:
        recipe, around = self.recipe, self.around
        with ExitStack() as stack:
            desk = None
            if recipe.strategy.needs_teacher:
                assert recipe.teacher is not None
                if recipe.verify.is_on:  # where programs cannot be isolated, that is said before money is spent
                    with self._sandbox():
                        pass
                desk = Desk(
                    teacher=recipe.teacher,
                    journal=stack.enter_context(Journal.open(around.journal)),
                    purse=self._purse(stack),
                    folder=around.journal.parent,
                    sandbox=self._sandbox,
                    ask=not (around.reparse or around.verify),
                    stop=around.stop,
                )
            recipe.generate.run(seeds, out, around.engine, strategy=recipe.strategy, desk=desk)

    def _purse(self, stack: ExitStack) -> Budget | None:
        around, teacher, limit_usd = self.around, self.recipe.teacher, self.around.budget_usd
        if limit_usd is None or teacher is None:
            return None
        path = self.folder.path / "budget.json"
        return stack.enter_context(Budget.for_teacher(path, limit_usd, teacher, around.prices, around.watcher.warn))


def _read(corpora: tuple[Corpus, ...], max_bytes: int) -> Iterator[RawDocument | pa.Table]:
    for corpus in corpora:
        yield from corpus.tables(max_bytes) if isinstance(corpus, Columnar) else corpus.documents(max_bytes)


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


def _finish(line: Line, rows: Artifact[Sample]) -> Result:
    """Write the dataset folder and the report."""
    artifacts = list(line.artifacts.values())
    recipe, folder = line.recipe, line.folder
    summary = summarise(recipe, rows, artifacts, line.around.prices)
    screened = [a for a in artifacts if a.manifest.stage in ("screened", "decontaminated")]
    evidence, measured = (r for a in screened for r in a.rejections()), measurements(folder.path / "verified")
    dataset, _ = folder.publish_folder(
        "dataset",
        lambda place: recipe.export.run(rows, place, summary, evidence, measured=measured),
        settings=[recipe.export, recipe.name],
        # What was rejected is published too, and no content digest covers it: the keys say what it was made from.
        inputs=[rows.manifest.content, digest(summary), *(a.manifest.key for a in screened)],
    )
    page, _ = folder.publish_file(
        "report.html",
        lambda: report.render(summary, report.collect(rows, artifacts)).encode(),
        settings=[],
        inputs=[digest(summary), *(key for a in artifacts for key in (a.manifest.key, a.manifest.content))],
    )
    unasked = line.artifacts["samples"].manifest.facts.get("unasked", 0)
    return Result(dataset=dataset, report=page, summary=summary, unasked=unasked)


def summarise(
    recipe: Recipe, rows: Artifact[Sample], artifacts: list[Artifact[Any]], prices: Path | None = None
) -> Summary:
    """Gather the figures of a finished run."""
    samples = next(a for a in artifacts if a.manifest.stage == "samples")
    prompt_tokens, completion_tokens = (
        sum_column(samples, column) + sum_rejected(samples, column) for column in ("prompt_tokens", "completion_tokens")
    )
    return Summary(
        name=recipe.name,
        recipe=to_yaml(recipe),
        strategy=recipe.strategy.name,
        teacher=recipe.teacher.model if recipe.teacher and recipe.strategy.needs_teacher else "",
        stages=tuple(count_stage(a, STAGES[a.manifest.stage][1]) for a in artifacts),
        rows=rows.manifest.rows,
        languages=count_column(rows, "language"),
        licenses=count_column(rows, "license"),
        repositories=count_column(rows, "repository"),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=_cost(
            recipe, prices, samples.manifest.rows + samples.manifest.rejected, prompt_tokens, completion_tokens
        ),
    )


def _cost(
    recipe: Recipe, prices: Path | None, answers: int, prompt_tokens: int, completion_tokens: int
) -> float | None:
    """Return what the tokens cost at the teacher's price, None where it is not known or nobody was asked."""
    price = price_of(recipe.teacher, prices) if recipe.teacher and recipe.strategy.needs_teacher else None
    if price is None:
        return None
    if not answers:
        return 0.0
    # Some vendors charge more for long prompts, so the average answer is priced, not the sum as if it were one.
    return answers * price.usd(prompt_tokens / answers, completion_tokens / answers)


def empty_because(summary: Summary) -> str:
    """Say at which stage a run without rows lost everything, and to which reasons."""
    for count in summary.stages:
        if count.kept == 0:
            reasons = ", ".join(f"{reason} {number:,}" for reason, number in list(count.reasons.items())[:4])
            return f"stage {count.stage} kept none of {count.rejected:,} {count.unit}: {reasons or 'nothing came in'}"
    return ""


def recipe_of(folder: RunFolder) -> Recipe:
    """Return the recipe that a run folder was last run with.

    Raises:
        StoreError: nothing was run there yet.
    """
    path = folder.path / "recipe.json"
    if not path.exists():
        raise StoreError(f"nothing was run in {folder.path} yet")
    return parse(orjson.loads(path.read_bytes())["recipe"], str(path))


def cwd_of(folder: RunFolder) -> Path:
    """Return the folder that the recipe's relative paths were meant from."""
    return Path(orjson.loads((folder.path / "recipe.json").read_bytes()).get("cwd", "."))


def ledger_of(folder: RunFolder, prices: Path | None = None) -> list[LedgerRow]:
    """Return where the money of a run went: for each model, to published rows and to each reason for a loss.

    Raises:
        StoreError: the run has no samples yet.
    """
    samples = folder.artifact("samples", Sample)
    if samples is None:
        raise StoreError(f"{folder.path} has no samples yet; see: magicoder status {folder.path}")
    lost: dict[str, str] = {}
    recipe = recipe_of(folder)
    after = [stage for stage in stages_of(recipe) if STAGES[stage][0] is Sample and stage != "samples"]
    for stage in after:
        artifact = folder.artifact(stage, Sample)
        lost |= {r.id: r.reason for r in artifact.rejections()} if artifact else {}
    teacher = recipe.teacher
    model = teacher.model if teacher else ""
    outcomes = itertools.chain(
        ((model, lost.get(s.id, ""), s.prompt_tokens, s.completion_tokens) for s in samples),
        ((model, r.reason, r.prompt_tokens, r.completion_tokens) for r in samples.rejections()),
    )
    return ledger_rows(outcomes, lambda _: price_of(teacher, prices) if teacher else None)


def progress_of(folder: RunFolder) -> list[tuple[str, str, int, int]]:
    """Return stage, state, rows kept and rejected, for every stage in order and the dataset.

    A state is `done`, `under way`, `interrupted` (begun, and no process is at it) or `-`.
    """
    rows = []
    # Before the first run (`estimate` and `preview` make seeds) nothing says which stages there will be.
    is_told = (folder.path / "recipe.json").exists()
    planned = stages_of(recipe_of(folder)) if is_told else list(STAGES)
    usual = planned if is_told else stages_of(Recipe())
    for stage in planned:
        under_way, manifest = folder.under_way(stage), folder.manifest(stage)
        if under_way is not None:
            rows.append((stage, "under way" if folder.is_busy() else "interrupted", *under_way))
        elif manifest is not None:
            rows.append((stage, "done", manifest.rows, manifest.rejected))
        elif stage in usual:
            rows.append((stage, "-", 0, 0))
    whole = (folder.path / "dataset.json").exists() and all(state == "done" for _, state, _, _ in rows)
    return [*rows, ("dataset", "done", rows[-1][2], 0) if whole else ("dataset", "-", 0, 0)]
