"""Before the money is spent: what a run will cost, and what a few of its rows look like."""

import heapq
from dataclasses import dataclass

from magicoder.conversation import Turn, conversation
from magicoder.errors import RecipeError
from magicoder.fingerprint import number
from magicoder.journal import Journal
from magicoder.llms.mock import Mock
from magicoder.money import Estimate, estimate
from magicoder.pipeline import Line, Surroundings, first_choice
from magicoder.prices import Price, price_of
from magicoder.protocols import Session
from magicoder.recipe import Recipe
from magicoder.records import Completion, Outcome, Prompt, Sample, Seed, Verdict
from magicoder.stages.generate import Dialogue
from magicoder.store import Artifact, RunFolder
from magicoder.tokens import tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run would ask, and what that costs.

    seeds      of the whole run
    asked      of them, to begin with, if the run has a target; else all
    sampled    of these, whose dialogues were rehearsed with invented answers
    answered   share of the sampled ones that the journal can answer already, which cost nothing
    turns      prompts a dialogue, on average
    price      that was counted with, None if it is not known
    """

    seeds: int
    asked: int
    sampled: int
    answered: float
    turns: float
    price: Price | None
    estimate: Estimate


def forecast_cost(
    recipe: Recipe, folder: RunFolder, around: Surroundings, *, sample: int = 200, vocabulary: str | None = None
) -> Forecast:
    """Make the seeds, rehearse some dialogues, and return what the run would cost.

    `vocabulary` is a tokenizer.json or the name of an encoding; None for what is at hand.

    Raises:
        RecipeError: the strategy asks nobody.
    """
    recipe.check()
    if recipe.teacher is None or not recipe.strategy.needs_teacher:
        raise RecipeError(f"strategy {recipe.strategy.name} asks no teacher: the run costs nothing")
    seeds = asked = Line(recipe, folder, around).seeds()
    if recipe.target is not None:
        asked = Line(recipe, _aside(folder), around).chosen(seeds, first_choice(recipe.target, seeds))
    picked = _first(asked, sample)
    prompts, answered = [], 0
    with Journal.open(around.journal) as journal, Mock().open() as rehearsal:
        for seed in picked:
            rehearsed = rehearse(recipe, seed, rehearsal)
            known, next_prompt = conversation(recipe, seed, journal)
            answered += bool(known) and next_prompt is None
            prompts += rehearsed
        lengths = journal.lengths(recipe.teacher.model)
    price = price_of(recipe.teacher, around.prices)
    turns = len(prompts) / len(picked) if picked else 0.0
    share = answered / len(picked) if picked else 0.0
    return Forecast(
        seeds=seeds.manifest.rows,
        asked=asked.manifest.rows,
        sampled=len(picked),
        answered=share,
        turns=turns,
        price=price,
        estimate=estimate(
            prompts,
            round(asked.manifest.rows * turns * (1 - share)),
            price,
            tokenizer(vocabulary),
            lengths,
        ),
    )


def rehearse(recipe: Recipe, seed: Seed, session: Session) -> list[Prompt]:
    """Return the prompts of a seed's dialogue when invented answers are given."""
    prompts = []
    dialogue = Dialogue(seed, recipe.generate.start(recipe.strategy, seed))
    step = dialogue.advance(None)
    while step is not None:
        if not isinstance(step, Prompt):  # what would be tried out is taken to pass
            step = dialogue.advance(tuple(Verdict(outcome=Outcome.PASSED) for _ in step))
            continue
        prompts.append(step)
        session.submit(0, step)
        ((_, answer),) = session.collect()
        assert isinstance(answer, Completion), "the mock answers everything"
        step = dialogue.advance(answer)
    return prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One seed and what became of it: the turns, the samples that came through, and the verdict of each stage."""

    seed: Seed
    turns: list[Turn]
    samples: list[Sample]
    verdicts: list[str]


def preview(recipe: Recipe, folder: RunFolder, around: Surroundings, count: int) -> list[Shown]:
    """Really make the rows of `count` seeds, the ones a run towards a target would begin with.

    The answers go to the journal, so that the run itself will not pay for them again.
    """
    recipe.check()
    seeds = Line(recipe, folder, around).seeds()
    line = Line(recipe, _aside(folder), around)
    chosen = line.chosen(seeds, count)
    rows = list(line.rows(chosen))
    with Journal.open(around.journal) as journal:
        return [
            Shown(
                seed=seed,
                turns=conversation(recipe, seed, journal)[0],
                samples=[r for r in rows if r.seed_id == seed.id],
                verdicts=_verdicts(line, seed),
            )
            for seed in chosen
        ]


def _aside(folder: RunFolder) -> RunFolder:
    """Return a place for what is made before the run, so that nothing of the run is replaced."""
    aside = RunFolder(folder.path / "preview")
    aside.path.mkdir(exist_ok=True)
    aside.check_layout()
    return aside


def _verdicts(line: Line, seed: Seed) -> list[str]:
    """Return what each stage after the choice said about a seed or its samples."""
    said = []
    for stage in ("samples", "cleaned", "distinct_rows", "decontaminated", "verified"):
        if stage not in line.artifacts:
            continue
        gone = [r for r in line.artifacts[stage].rejections() if f"{r.id}/".startswith(f"{seed.id}/")]
        said += [f"{stage}: {r.reason}" + (f" ({r.detail})" if r.detail else "") for r in gone]
    return said or ["kept"]


def _first(seeds: Artifact[Seed], count: int) -> list[Seed]:
    """Return a random sample of the seeds, the same one every time."""
    return heapq.nsmallest(count, seeds, key=lambda seed: (number(f"estimate:{seed.id}", 63), seed.id))
