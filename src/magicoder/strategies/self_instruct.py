"""Self-Instruct: from an instruction and a few tasks of a pool, a teacher invents new ones and answers each."""

import random
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import ClassVar, Final

from magicoder.errors import RecipeError, Unusable
from magicoder.fingerprint import number
from magicoder.languages import get
from magicoder.plugins import suggest
from magicoder.records import Completion, Message, Prompt, Rejection, Sample, Seed
from magicoder.text.elimination import ANSWER_RULES, LONG_TOTAL_TOKENS, OVERLAP, sound_answer, task_problem

# Our words for what Self-Instruct and Code Alpaca ask for.
_PROMPT: Final = """\
Below is the beginning of a list of programming tasks. Continue it with {count} new ones, with the numbers {first} to \
{last}.

- Each task can be understood and solved without anything that is not written in it.
- No two tasks of the whole list resemble each other: vary subject, data and verb, and ask now for a program, now for \
a correction, an explanation, a test, a translation or an improvement.
- Each is one or two sentences long. The language is {language} where a task names none.
- Write the numbered tasks alone, without solutions.

{tasks}
"""

_ITEM: Final = re.compile(r"^[ \t]*[#*]{0,4}[ \t]*(?:[Tt]ask[ \t]+)?(\d{1,4})[.):][*]{0,2}(?=[ \t]|$)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfInstruct:
    """One request for new tasks (Genetic-Instruct calls it crossover), then one answer for each that passes the rules.

    A sample's number is the task's place in the teacher's list.

    count         how many tasks are asked for
    examples      how many tasks of the pool, drawn at random, stand beside the given instruction
    overlap       ROUGE-L with an example, the given instruction or an earlier task from which on a task is not new
    rules         of `text.elimination.ANSWER_RULES`; leave one out to switch it off
    temperature, top_p, max_tokens          of the request for tasks
    answer_temperature, answer_max_tokens   of answers
    max_total_tokens                        from which on instruction and answer together are too long
    random_seed   from which the requests' seeds are derived
    """

    name: ClassVar[str] = "self_instruct"
    seed_kind: ClassVar[str] = "instruction"
    needs_teacher: ClassVar[bool] = True

    count: int = 5
    examples: int = 3
    overlap: float = OVERLAP
    rules: tuple[str, ...] = ANSWER_RULES
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 1024
    answer_temperature: float = 0.0
    answer_max_tokens: int = 2048
    max_total_tokens: int = LONG_TOTAL_TOKENS
    random_seed: int = 976

    def __post_init__(self) -> None:
        least = {"count": 1, "examples": 0, "max_tokens": 1, "answer_max_tokens": 1}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise RecipeError(f"self_instruct: {name} is {getattr(self, name)}; it must be at least {lowest}")
        if self.examples > len(pool()):
            raise RecipeError(f"self_instruct: examples is {self.examples}; the pool has {len(pool())} tasks")
        if not 0 < self.overlap <= 1:
            raise RecipeError(f"self_instruct: overlap is {self.overlap}; it is above 0 and at most 1")
        for rule in self.rules:
            if rule not in ANSWER_RULES:
                known = list(ANSWER_RULES)
                raise RecipeError(
                    f"self_instruct: rules has no {rule!r}{suggest(rule, known)}; there are: {', '.join(known)}"
                )

    def write(self, seed: Seed, rng: random.Random) -> Generator[Prompt, Completion, Sequence[Sample | Rejection]]:
        """Ask for tasks and answer the new ones; each task gives a sample, or a rejection that says why not.

        Raises:
            Unusable: `tasks_unparsed`, where no numbered task is in the answer.
        """
        examples = rng.sample(pool(), self.examples)
        listed = yield self._prompt(seed, "tasks", self._request(seed, examples), answer=False)
        text = listed.texts[0] if listed.texts else ""
        tasks = numbered(text)
        if not tasks:
            raise Unusable("tasks_unparsed", "no numbered task was found", text)
        cut = listed.finish_reasons[0] != "stop"
        known = [*examples, seed.text]
        made: list[Sample | Rejection] = []
        for ordinal, task in enumerate(tasks):
            try:
                if cut and ordinal == len(tasks) - 1:
                    raise Unusable("task_truncated", f"the list ended with {listed.finish_reasons[0]}", task)
                reason, detail = task_problem(task, known, self.overlap)
                if reason:
                    raise Unusable(reason, detail, task)
                known.append(task)
                completion = yield self._prompt(seed, f"answer:{ordinal}", task, answer=True)
                response = sound_answer(completion, task, rules=self.rules, most_tokens=self.max_total_tokens)
            except Unusable as e:
                made.append(
                    Rejection.from_seed(
                        seed,
                        strategy=self.name,
                        ordinal=ordinal,
                        reason=e.reason,
                        detail=e.detail,
                        text=e.text,
                        retryable=e.retryable,
                    )
                )
            else:
                made.append(
                    Sample.from_seed(
                        seed,
                        strategy=self.name,
                        ordinal=ordinal,
                        instruction=task,
                        response=response,
                        parser="numbered",
                        completion=completion,
                    )
                )
        return made

    def _request(self, seed: Seed, examples: list[str]) -> str:
        tasks = [*examples, seed.text.strip()]
        first = len(tasks) + 1
        return _filled(
            count=str(self.count),
            first=str(first),
            last=str(first + self.count - 1),
            language=get(seed.language).title,
            tasks="\n".join(f"{place}. {task}" for place, task in enumerate(tasks, start=1)),
        )

    def _prompt(self, seed: Seed, turn: str, text: str, *, answer: bool) -> Prompt:
        return Prompt(
            messages=(Message(role="user", content=text),),
            max_tokens=self.answer_max_tokens if answer else self.max_tokens,
            temperature=self.answer_temperature if answer else self.temperature,
            top_p=1.0 if answer else self.top_p,
            random_seed=number(f"{self.random_seed}:{seed.id}:{turn}"),
        )


def _filled(**values: str) -> str:
    """Fill the prompt in, in one pass: braces in a task are text."""
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], _PROMPT)


@cache
def pool() -> tuple[str, ...]:
    """Return the tasks that examples are drawn from."""
    text = (files("magicoder.strategies") / "self_instruct_tasks.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def numbered(text: str) -> list[str]:
    """Return the items of a numbered list, wherever it begins to count.

    A number opens an item only if it follows the last one, so that numbered steps within an item stay in it.
    """
    marks: list[re.Match[str]] = []
    for mark in _ITEM.finditer(text):
        if not marks or int(mark[1]) == int(marks[-1][1]) + 1:
            marks.append(mark)
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    items = (text[mark.end() : end].strip().strip("*").strip() for mark, end in zip(marks, ends, strict=False))
    return [item for item in items if item]


PLUGIN = SelfInstruct
