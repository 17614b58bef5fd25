"""A model is asked on the command line: from flags to answers, and what a person is told of them."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from magicoder.answering import Answered, Answering
from magicoder.asking import Desk
from magicoder.budget import Budget
from magicoder.console import Watch, say
from magicoder.errors import OverBudget, RecipeError, TeacherError
from magicoder.evaluation import some
from magicoder.invocation import model_of
from magicoder.journal import Journal
from magicoder.machine import home, stopping
from magicoder.protocols import LLM, Suite

_SETTINGS: Final = ("base_url", "api_key_env", "device", "dtype", "batch_size", "concurrency")


def check(flags: Mapping[str, Any], out: Path | None, *, has_samples: bool) -> None:
    """Check that the flags of `options.about_model` go together.

    Raises:
        RecipeError: they do not.
    """
    given = [name for name, value in flags.items() if value not in (None, False)]
    if not flags["model"]:
        if not has_samples:
            raise RecipeError("say whose answers are judged: --model MODEL asks one, --samples FILE has them")
        if given:
            raise RecipeError(f"--{given[0].replace('_', '-')} is about a model that is asked; it needs --model MODEL")
    elif has_samples:
        raise RecipeError("--model asks for answers and --samples has them: give one of the two")
    if flags["top_p"] not in (None, 1.0) and not flags["temperature"] and not flags["paper_decoding"]:
        raise RecipeError("--top-p says nothing at temperature 0; give --temperature as well, such as 0.2")
    for name in ("only_answers", "budget"):
        if name in given and out is None:
            raise RecipeError(f"--{name.replace('_', '-')} needs --out DIR, where it is kept")


def answers(
    suites: Sequence[Suite], flags: Mapping[str, Any], *, out: Path | None, partial: bool, watch: Watch
) -> list[Answered]:
    """Ask the model that the flags name, and return its answers to the tasks of each suite.

    Raises:
        RecipeError: there is no such model or style, or its flags do not go together.
        TeacherError: the model cannot be asked, or some tasks got no answer, unless `partial`.
        OverBudget: some were not asked for want of money, unless `partial`.
        Interrupted: the user asked to stop.
    """
    llm, version = model(flags)
    answering = Answering(
        style=flags["style"] or "chat",
        template=flags["template"] or "paper",
        paper=flags["paper_decoding"],
        random_seed=flags["seed"] or 0,
        **{name: flags[name] for name in ("samples", "temperature", "top_p", "max_tokens")},
    )
    with ExitStack() as stack:
        journal = stack.enter_context(Journal.open(flags["journal"] or home() / "journal.sqlite"))
        desk = Desk(
            teacher=llm,
            journal=journal,
            purse=stack.enter_context(_purse(llm, flags, out, watch)),
            folder=home(),
            stop=stack.enter_context(stopping()),
            version=version,
        )
        notes: list[str] = []
        answered = answering.run(suites, desk, watch.stage("answers"), notes.append)
        watch.close()
        if not watch.quiet:
            say(f"{'answers':<14} {notes[0]}")
        _refuse(answered, partial=partial)
        if flags["check_batch_invariance"]:
            compared = answering.compare_alone(suites, desk, flags["check_batch_invariance"], watch.stage("alone"))
            watch.close()
            answered = [
                replace(one, record=one.record | {"asked_alone": {"tasks": tried, "differ": differ}})
                for one, (tried, differ) in zip(answered, compared, strict=True)
            ]
    return answered


def model(flags: Mapping[str, Any]) -> tuple[LLM, str]:
    """Return the model that is meant, and its version where it cannot say it itself."""
    settings = {name: flags[name] for name in _SETTINGS}
    llm = model_of(flags["model"], settings)
    revision: str = flags["revision"] or ""
    if revision and getattr(llm, "is_batch", False):
        raise RecipeError("--revision is not for openai_batch: what is under way is known by the model's name alone")
    if revision and "revision" in {f.name for f in fields(llm)}:  # type: ignore[arg-type]  # a dataclass
        return model_of(flags["model"], settings | {"revision": revision}), ""
    return llm, revision


def _purse(llm: LLM, flags: Mapping[str, Any], out: Path | None, watch: Watch) -> AbstractContextManager[Budget | None]:
    if flags["budget"] is None or out is None:
        return nullcontext()
    return Budget.for_teacher(out / "budget.json", flags["budget"], llm, flags["prices"], watch.warn)


def _refuse(answered: Sequence[Answered], *, partial: bool) -> None:
    lost = {task: failure for one in answered for task, failure in one.lost.items()}
    if not lost or (partial and any(one.answers for one in answered)):
        return
    shown = some([f"{task}: {failure.reason}: {failure.detail}" for task, failure in lost.items()], 3)
    way = "or score the others with --partial; every answer so far is in the journal"
    if all(one.is_over_budget for one in answered if one.lost):
        raise OverBudget(f"tasks for which the budget left no room: {len(lost):,}; give a larger --budget, {way}")
    raise TeacherError(f"tasks without an answer: {len(lost):,} ({shown}); run the same command again, {way}")


def text(record: Mapping[str, Any]) -> list[str]:
    """Return in lines what made the answers, and what is to be known of them; see `Answered.record`."""
    decoding = record["decoding"]
    drawn = (
        f"temperature {decoding['temperature']:g}, top_p {decoding['top_p']:g}" if decoding["temperature"] else "greedy"
    )
    style = record["style"] + (f" ({record['template']} template)" if record["template"] else "")
    lines = [
        f"{record['answers']:,} answers of {record['model']}: style {style}, {drawn}, "
        f"at most {decoding['max_tokens']} tokens, {record['completion_tokens']:,} in all"
    ]
    if cut := record["truncated"]:
        lines.append(f"Cut off at the limit of tokens (--max-tokens), tasks: {len(cut):,} ({some(cut)})")
    if none := record["unanswered"]:
        shown = some([f"{task} ({why})" for task, why in none.items()], 3)
        lines.append(f"Without an answer, which counts as a wrong one, tasks: {len(none):,} ({shown})")
    if alone := record.get("asked_alone"):
        differ = f"{len(alone['differ'])} of {len(alone['tasks'])} tasks are answered otherwise"
        names = f": {some(alone['differ'])}" if alone["differ"] else ""
        lines.append(f"Asked one at a time, {differ}{names}")
    return lines
