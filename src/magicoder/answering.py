"""A model answers the tasks of benchmarks: what it is asked, how it decodes, and what of its answers counts.

Answers are durable in the journal before anybody sees them. So what was interrupted goes on where it stopped, and more
samples a task ask only for those that are new.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import orjson

from magicoder.asking import LOOK_UP, OVER_BUDGET, Asker, Desk
from magicoder.errors import RecipeError
from magicoder.fingerprint import number, software
from magicoder.protocols import LLM, Suite
from magicoder.recipe import published
from magicoder.records import STYLES, Answer, Completion, Extracted, Failure, Message, Prompt, Task
from magicoder.store import Progress, write_atomic
from magicoder.text import templates

ASKED: Final = STYLES[:-1]
"""The styles in which a model can be asked."""
_MAX_TOKENS: Final = {"chat": 1024}
_MAX_TOKENS_ELSE: Final = 512
_WINDOW: Final = 4096
"""How many prompts are made ahead of their answers."""
_OF_THE_MODEL: Final = ("prompt_too_long", "refused_by_server")
"""Failures that are the model's: it has no answer to that task."""

Place = tuple[int, int, int]
"""Of an answer: the number of the suite, of the task in it, and of the sample."""


def _ignore(_note: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How texts are drawn from a model; `max_tokens` bounds the answer."""

    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int | None = None


PAPER: Final[Mapping[str, Decoding]] = {
    "ds1000": Decoding(samples=40, temperature=0.2, top_p=0.5, max_tokens=1024),
    "multipl_e": Decoding(samples=50, temperature=0.2, top_p=0.95, max_tokens=512),
}
"""The paper's decoding (2312.02120, section 4) where it is not greedy. Its limits on tokens count the prompt, too; the
number of samples of MultiPL-E is that of the work it follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a model said to the tasks of one suite.

    answers      in the order of tasks; empty where the model has none
    truncated    tasks with answers that reached the limit of tokens
    unanswered   tasks that the model cannot be asked, or refuses, and why; their answers are empty
    lost         tasks without an answer for other reasons, such as an outage: reason and detail
    record       what made the answers, for `results.json`; without times, paths and keys
    """

    answers: tuple[Answer, ...]
    truncated: tuple[str, ...] = ()
    unanswered: dict[str, str] = field(default_factory=dict)
    lost: dict[str, Failure] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def is_over_budget(self) -> bool:
        """Whether all that is lost is so for want of money."""
        return bool(self.lost) and all(failure.reason == OVER_BUDGET for failure in self.lost.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """How a model is asked.

    style         one of `ASKED`
    template      of the style `magicoder`: `paper`, its text as it stands; `own`, the model's chat template with the
                  response begun, where the endpoint knows how to continue one
    paper         decode as the paper did where nothing else is said, see `PAPER`; else greedily
    samples, temperature, top_p, max_tokens   None: the paper's or the benchmark's
    random_seed   from which the seed of each sampled answer is drawn, with its task and its number
    """

    style: str = "chat"
    template: str = "paper"
    paper: bool = False
    samples: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    random_seed: int = 0

    def __post_init__(self) -> None:
        if self.style not in ASKED:
            raise RecipeError(f"there is no prompt style {self.style!r}; there are: {', '.join(ASKED)}")

    def decoding(self, benchmark: str) -> Decoding:
        """Return how answers to a benchmark's tasks are drawn.

        Raises:
            RecipeError: several answers to a task, all of them greedy.
        """
        usual = PAPER.get(benchmark, Decoding()) if self.paper else Decoding()
        given = {name: getattr(self, name) for name in ("samples", "temperature", "top_p", "max_tokens")}
        chosen = replace(usual, **{name: value for name, value in given.items() if value is not None})
        if chosen.samples > 1 and chosen.temperature <= 0:
            raise RecipeError(
                f"{chosen.samples} answers to a task are all the same at temperature 0; give --temperature, such as "
                "0.2 for pass@1 or 0.8 for pass@100"
            )
        return chosen

    def prompt(self, suite: Suite, task: Task, sample: int = 0) -> Prompt:
        """Return what is asked for one answer.

        Raises:
            RecipeError: the benchmark has no such style.
        """
        asked, decoding = suite.prompt(task, self.style), self.decoding(task.benchmark)
        messages, raw = asked.messages, False
        if self.style == "completion" or (self.style == "magicoder" and self.template == "paper"):
            text = messages[-1].content if self.style == "completion" else templates.prompt(messages)
            messages, raw = (Message(role="user", content=text),), True
        most = decoding.max_tokens or asked.max_tokens or _MAX_TOKENS.get(self.style, _MAX_TOKENS_ELSE)
        is_drawn = decoding.temperature > 0
        return replace(
            asked,
            messages=messages,
            raw=raw,
            max_tokens=most,
            temperature=decoding.temperature,
            top_p=decoding.top_p if is_drawn else 1.0,
            random_seed=number(f"{self.random_seed}:{task.id}:{sample}") if is_drawn else None,
        )

    def run(
        self, suites: Sequence[Suite], desk: Desk, progress: Progress, tell: Callable[[str], object] = _ignore
    ) -> list[Answered]:
        """Ask for the answers to all tasks, without a barrier between one suite and the next.

        `tell` hears in the end how many were asked for, and how many were in the journal.

        Raises:
            RecipeError: a benchmark has no such style.
            TeacherError: the model as a whole fails; what it answered is kept.
            Interrupted: the desk's `stop()` became true; what was in flight has been waited for and kept.
        """
        for suite in suites:
            if not suite.tasks:
                raise RecipeError(f"{suite.name}: there are no such tasks; name another part of the benchmark")
            self.prompt(suite, suite.tasks[0])
        places = [
            (at, number, sample)
            for at, suite in enumerate(suites)
            for number, task in enumerate(suite.tasks)
            for sample in range(self.decoding(task.benchmark).samples)
        ]
        progress.expect(len(places), "answers")
        found = self._asked(suites, places, desk, progress, tell)
        return [self._of(at, suite, found, desk) for at, suite in enumerate(suites)]

    def compare_alone(
        self, suites: Sequence[Suite], desk: Desk, count: int, progress: Progress
    ) -> list[tuple[list[str], list[str]]]:
        """Ask `count` tasks of each suite again, one at a time; return of each what was asked, and what differs.

        Sums of floating-point numbers are rounded otherwise in another batch, which now and then tips a token and all
        after it: a limitation that the paper states of its own figures.

        Raises:
            RecipeError: this model cannot be asked one prompt at a time.
        """
        some = [(at, task, 0) for at, suite in enumerate(suites) for task in _spread(len(suite.tasks), count)]
        progress.expect(2 * len(some), "answers")
        together = self._asked(suites, some, replace(desk, ask=False), progress)
        singly = self._asked(suites, some, replace(desk, teacher=alone(desk.teacher), repetition=1), progress)
        compared: list[tuple[list[str], list[str]]] = [([], []) for _ in suites]
        for place in some:
            one, other = together[place], singly[place]
            if isinstance(one, Completion) and isinstance(other, Completion):
                tried, differ = compared[place[0]]
                name = suites[place[0]].tasks[place[1]].id
                tried.append(name)
                differ += [name] if one.texts != other.texts else []
        return compared

    def _asked(
        self,
        suites: Sequence[Suite],
        places: Sequence[Place],
        desk: Desk,
        progress: Progress,
        tell: Callable[[str], object] = _ignore,
    ) -> dict[Place, Completion | Failure]:
        """Return what came for each place."""
        found: dict[Place, Completion | Failure] = {}
        tasks = [list(suite.tasks) for suite in suites]
        incoming = iter(places)
        asked = 0
        with ExitStack() as stack:
            asker: Asker[Place] = Asker(desk, stack=stack, progress=progress)
            while len(found) < len(places):
                while len(asker.asking) < LOOK_UP and asked - len(found) < max(_WINDOW, asker.capacity):
                    place = next(incoming, None)
                    if place is None:
                        break
                    at, task, sample = place
                    asker.ask(self.prompt(suites[at], tasks[at][task], sample), place)
                    asked += 1
                came = asker.send() or asker.collect()
                found.update(came)
                progress.tick(len(came), asker.note())
            tell(asker.note())
        return found

    def _of(self, at: int, suite: Suite, found: Mapping[Place, Completion | Failure], desk: Desk) -> Answered:
        """Return a suite's answers, and what is to be said of them."""
        answers: list[Answer] = []
        truncated: dict[str, None] = {}
        unanswered: dict[str, str] = {}
        lost: dict[str, Failure] = {}
        completions: list[Completion] = []
        for index, task in enumerate(suite.tasks):
            for sample in range(self.decoding(task.benchmark).samples):
                came = found[at, index, sample]
                if isinstance(came, Completion):
                    prompt = self.prompt(suite, task, sample)
                    text, is_cut = said(prompt, came)
                    truncated |= {task.id: None} if is_cut else {}
                    completions.append(came)
                elif came.reason in _OF_THE_MODEL:
                    text = ""
                    unanswered[task.id] = f"{came.reason}: {came.detail}"
                else:
                    lost[task.id] = came
                    continue
                answers.append(Answer(task_id=task.id, text=text, style=self.style, index=sample))
        record = self._record(suite, desk, completions) | {
            "truncated": list(truncated),
            "unanswered": unanswered,
            "lost": {task: failure.reason for task, failure in lost.items()},
        }
        return Answered(
            answers=tuple(answers), truncated=tuple(truncated), unanswered=unanswered, lost=lost, record=record
        )

    def _record(self, suite: Suite, desk: Desk, completions: Sequence[Completion]) -> dict[str, Any]:
        prompt = self.prompt(suite, suite.tasks[0])
        return {
            "model": published(desk.teacher.model),
            "settings": published(desk.teacher),
            "version": desk.version,
            "style": self.style,
            "template": self.template if self.style == "magicoder" else "",
            "decoding": {
                "samples": self.decoding(suite.tasks[0].benchmark).samples,
                "temperature": prompt.temperature,
                "top_p": prompt.top_p,
                "max_tokens": prompt.max_tokens,
                "random_seed": self.random_seed if prompt.random_seed is not None else None,
            },
            "answers": len(completions),
            "prompt_tokens": sum(c.prompt_tokens for c in completions),
            "completion_tokens": sum(c.completion_tokens for c in completions),
            "answered_as": sorted({published(c.model) for c in completions}),
            "fingerprints": sorted({c.fingerprint for c in completions} - {""}),
            "software": software(),
        }


def said(prompt: Prompt, completion: Completion) -> tuple[str, bool]:
    """Return what of a completion is the answer, and whether it reached the limit of tokens.

    The answer ends at the first stop sequence, wherever the server ends it. If it says the beginning again that it was
    given, that is left away.
    """
    text = completion.texts[0]
    begun = prompt.messages[-1].content if not prompt.raw and prompt.messages[-1].role == "assistant" else ""
    text = text.removeprefix(begun)
    ends = [at for stop in prompt.stop if stop and (at := text.find(stop)) >= 0]
    text = text[: min(ends)] if ends else text
    return text, completion.finish_reasons[0] == "length" and not ends


def alone(llm: LLM) -> LLM:
    """Return the same model, asked one prompt at a time.

    Raises:
        RecipeError: it has no setting for that, or is asked so already.
    """
    names = {f.name for f in fields(llm)}  # type: ignore[arg-type]  # a component is a dataclass
    which = next((name for name in ("batch_size", "concurrency") if name in names), None)
    if which is None or getattr(llm, which) == 1 or getattr(llm, "is_batch", False):
        raise RecipeError(f"{llm.model} is not asked in batches that can be undone, so there is nothing to compare")
    changes: dict[str, Any] = {which: 1}
    if "continuous_batching" in names:
        changes["continuous_batching"] = False
    alone: LLM = replace(llm, **changes)  # type: ignore[type-var]
    return alone


def _spread(total: int, count: int) -> Iterator[int]:
    """Yield `count` of the first `total` numbers, evenly spread."""
    count = min(count, total)
    return (i * total // count for i in range(count))


# ---- files


def write_answers(answers: Sequence[Answer], path: Path) -> None:
    """Write what a model said, as `scores.answers` reads it, whole or not at all."""
    lines = []
    for answer in answers:
        said = {"completion": answer.text} if answer.style == "completion" else {"answer": answer.text}
        style = {} if answer.style == "completion" else {"style": answer.style}
        lines.append(orjson.dumps({"task_id": answer.task_id, **said, **style}) + b"\n")
    write_atomic(path, b"".join(lines))


def write_programs(
    suite: Suite, answers: Sequence[Answer], extracted: Callable[[Suite, Task, Answer], Extracted], path: Path
) -> None:
    """Write the programs in the answers as EvalPlus' samples, whole or not at all."""
    tasks = {task.id: task for task in suite.tasks}
    codes = ((a.task_id, extracted(suite, tasks[a.task_id], a).code) for a in answers)
    lines = (orjson.dumps({"task_id": task, "solution": code}) + b"\n" for task, code in codes)
    write_atomic(path, b"".join(lines))
