"""What of a benchmark's tasks records must not hold: as whole texts, and as the original chose them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from magicoder.errors import BenchmarkError
from magicoder.records import Task
from magicoder.text.substrings import letters, lowered

TRIVIAL: Final = ("return x + y", "return len(string)", "return n**2", "return ''.join(strings)")
"""HumanEval solutions that any code may hold: the original's allow-list as it was meant."""

ORIGINAL_ALLOWED: Final = ("return x + y", "return len(string)", "return n**2", "return .join(strings)")
"""The allow-list as Python read it: adjacent literals were joined, so the last entry matches no solution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One text that records must not hold.

    name         `<benchmark>_<kind>` (`humaneval_reference`), or the original's key of the set (`mbpp_docstrings`)
    text         as in the benchmark
    form         as it is searched for
    """

    name: str
    benchmark: str
    task: str
    text: str
    form: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """What is searched for, in the order in which a match is reported, and what is not.

    short        texts below the floor, as `<benchmark> <task id> <kind>`
    trivial      texts of the allow-list, likewise
    unsearched   tasks none of whose texts is searched for, as `<benchmark> <task id>`
    """

    searched: tuple[Pattern, ...]
    short: tuple[str, ...] = ()
    trivial: tuple[str, ...] = ()
    unsearched: tuple[str, ...] = ()


def patterns_of(tasks: Iterable[Task], min_characters: int) -> Patterns:
    """Return the statement and the references of each task, and its prompt where the statement does not do.

    The prompt is searched for where the statement is below the floor or is not part of the prompt, and prompt and
    reference as one text where each is below the floor.
    """
    searched: list[Pattern] = []
    short: list[str] = []
    trivial: list[str] = []
    unsearched: list[str] = []
    allowed = {letters(text) for text in TRIVIAL}
    for task in tasks:
        before = len(searched)
        description, prompt = letters(task.description), letters(task.prompt)
        covered = len(description) >= min_characters and description in prompt
        texts = [("description", task.description, description)]
        texts += [("reference", text, letters(text)) for text in (task.reference, *task.more_references)]
        if not covered:
            texts.append(("prompt", task.prompt, prompt))
        for kind, text, form in texts:
            if form in allowed:
                trivial.append(f"{task.benchmark} {task.id} {kind}")
            elif len(form) >= min_characters:
                name = f"{task.benchmark}_{kind}"
                searched.append(Pattern(name=name, benchmark=task.benchmark, task=task.id, text=text, form=form))
            elif text.strip():
                short.append(f"{task.benchmark} {task.id} {kind}")
        if len(searched) == before:
            whole = Pattern(
                name=f"{task.benchmark}_whole",
                benchmark=task.benchmark,
                task=task.id,
                text=f"{task.prompt}{task.reference}",
                form=letters(task.prompt + task.reference),
            )
            if len(whole.form) >= min_characters:
                searched.append(whole)
            else:
                unsearched.append(f"{task.benchmark} {task.id}")
    # Of a task with many solutions, several may be short.
    lists = {"short": short, "trivial": trivial, "unsearched": unsearched}
    return Patterns(
        searched=tuple(searched), **{name: tuple(dict.fromkeys(entries)) for name, entries in lists.items()}
    )


def original_patterns(tasks: Iterable[Task]) -> Iterator[Pattern]:
    """Yield the original's patterns, set by set in its order, as far as their benchmarks are among `tasks`.

    Raises:
        BenchmarkError: a DS-1000 prompt without its marker, or with two.
    """
    by_benchmark: dict[str, list[Task]] = {}
    for task in tasks:
        by_benchmark.setdefault(task.benchmark, []).append(task)
    mbpp = [t for t in by_benchmark.get("mbpp", ()) if t.id in _MBPP_TEST]
    human_eval = by_benchmark.get("humaneval", [])
    apps = [t for t in by_benchmark.get("apps", ()) if t.id.startswith("apps/test/")]
    sets: dict[str, list[tuple[Task, str]]] = {
        "mbpp_docstrings": [(t, t.prompt) for t in mbpp],
        "mbpp_solutions": [(t, t.reference) for t in mbpp],
        "human_eval_docstrings": [(t, t.description) for t in human_eval],
        "human_eval_solutions": [(t, s) for t in human_eval if (s := t.reference.strip()) not in ORIGINAL_ALLOWED],
        "apps_docstrings": [(t, t.prompt.strip()) for t in apps],
        "gsm8k_questions": [(t, t.prompt.strip()) for t in by_benchmark.get("gsm8k", ())],
        "ds_1000_prompts": [(t, _before_solution(t)) for t in by_benchmark.get("ds1000", ())],
    }
    for name, members in sets.items():
        for task, text in members:
            if text:
                yield Pattern(name=name, benchmark=task.benchmark, task=task.id, text=text, form=lowered(text))


_MBPP_TEST: Final = frozenset(f"MBPP/{number}" for number in range(11, 511))


def _before_solution(task: Task) -> str:
    for marker in ("SOLUTION START", "BEGIN SOLUTION"):
        if marker in task.prompt:
            before, *after = task.prompt.split(marker)
            if len(after) == 1:
                return before
    raise BenchmarkError(f"{task.id}: the prompt has no single solution marker; replace the DS-1000 files")
