"""What a strategy can do with an answer before it is a sample: ask for tests, for more solutions, for repair.

The prompts are our own. Everything asked is a prompt like any other: journaled, paid once.
"""

import ast
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from magicoder.fingerprint import number
from magicoder.languages import Language, all_languages, executable, get
from magicoder.records import Completion, Message, Outcome, Program, Prompt, Sample, Seed, Verdict
from magicoder.text.agreement import choose, difficulty
from magicoder.text.feedback import what_happened
from magicoder.text.programs import Code, check_of, code_of, defined, parsed

Steps = Generator[Prompt | tuple[Program, ...], Any, "Tried"]

TESTS: Final = """\
Here is a programming problem, and a solution that may be right or wrong. Write tests that tell a right solution from \
a wrong one.

<problem>
{problem}
</problem>

<solution>
{solution}
</solution>

Put all tests into one code block: {form} The block is run right behind the code of the solution, in the same file, so \
do not repeat that code and do not import it.

- Work out each expected value from the problem, never from what the solution does.
- Test the ordinary cases, the limits (nothing, one, the smallest, the largest), and each rule that the problem states.
- Use the standard library alone: no files, no network, no clock, no random values, no input."""
"""The request for tests; ours."""

_ASSERTS: Final = "{count} or more `assert` statements in Python, each on a call that the problem describes."
_PROGRAM: Final = (
    "{title} code that makes {count} or more checks when the program starts (in a `main` of its own where the language "
    "has one, in Java in a class `SolutionTests`, in TypeScript without imports and with `throw new Error`), and that "
    "ends with an exit status other than 0 as soon as one fails."
)

REPAIR: Final = """\
I ran this solution{against}, and it does not work: {what}

Find the mistake, explain in one or two sentences what was wrong, and give the whole corrected solution in one code \
block."""
"""The request for repair; ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """What is asked for beyond problem and solution (see `OssInstruct` for the fields)."""

    system: str
    tests: str
    test_count: int
    solutions: int
    solution_temperature: float
    bands: str
    repair: int
    max_tokens: int
    random_seed: int

    @property
    def are_wanted(self) -> bool:
        """Whether anything is asked for at all."""
        return self.tests != "none" or self.solutions > 1 or self.repair > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of it: the fields of a sample."""

    response: str
    tests: str = ""
    turns: tuple[str, ...] = ()
    solutions: int = 0
    pass_rate: float | None = None
    agreement: float | None = None
    difficulty: str = ""

    def put_into(self, sample: Sample) -> Sample:
        """Return `sample` with these fields."""
        return replace(
            sample,
            response=self.response,
            tests=self.tests,
            test_format="assert" if self.tests else "",
            turns=self.turns,
            solutions=self.solutions,
            pass_rate=self.pass_rate,
            agreement=self.agreement,
            difficulty=self.difficulty,
        )


def tried(trials: Trials, seed: Seed, problem: str, solution: str) -> Steps:
    """Ask for what is wanted, try it out, and return the best of it."""
    candidates = [solution]
    for ordinal in range(1, trials.solutions):
        completion = yield _prompt(trials, seed, f"solution:{ordinal}", [problem], trials.solution_temperature)
        candidates.append(_whole(completion))
    codes = [code_of(text, seed.language, _fences()) for text in candidates]
    tests = []
    for ordinal, (text, code) in enumerate(zip(candidates, codes, strict=True)):
        if trials.tests == "none" or code is None or code.language not in _runnable():
            tests.append("")
            continue
        request = _request_for_tests(trials, problem, text, get(code.language))
        completion = yield _prompt(trials, seed, f"tests:{ordinal}", [request])
        tests.append(read_tests(_whole(completion), code))
    result = Tried(response=solution, tests=tests[0])
    if trials.solutions > 1:
        result = yield from _chosen(trials, seed, candidates, codes, tests)
    return (yield from _repaired(trials, seed, problem, result))


def _request_for_tests(trials: Trials, problem: str, solution: str, language: Language) -> str:
    form = _ASSERTS if language.name == "python" else _PROGRAM
    form = form.format(title=language.title, count=trials.test_count)
    return TESTS.replace("{form}", form).replace("{problem}", problem).replace("{solution}", solution)


def read_tests(answer: str, solution: Code) -> str:
    """Return the tests in an answer, without what it repeats of the solution; "" if there are none that can run."""
    found = code_of(answer, solution.language, _fences())
    if found is None or found.language != solution.language:
        return ""
    if solution.language != "python":
        return found.text
    tree = parsed(found.text)
    if tree is None or not any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        return ""
    repeated = defined(solution.text, "python")
    lines = found.text.split("\n")
    for node in reversed(tree.body):
        is_import = isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (
            "solution",
            "your_module",
        )
        if (getattr(node, "name", None) in repeated or is_import) and node.end_lineno is not None:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            del lines[first - 1 : node.end_lineno]
    return "\n".join(lines).strip("\n") + "\n"


def _chosen(trials: Trials, seed: Seed, candidates: list[str], codes: list[Code | None], tests: list[str]) -> Steps:
    """Run every candidate against the tests of all, and return the one that is believed."""
    columns = [j for j, text in enumerate(tests) if text]
    programs = {
        (i, j): check_of(code, tests[j], "assert", seed.id).program
        for i, code in enumerate(codes)
        for j in columns
        if code is not None and codes[j] is not None and code.language == getattr(codes[j], "language", "")
    }
    verdicts: tuple[Verdict, ...] = (yield tuple(programs.values())) if programs else ()
    outcomes = dict(zip(programs, (v.outcome for v in verdicts), strict=True))
    if not programs or Outcome.TOOLCHAIN_MISSING in outcomes.values():
        return Tried(response=candidates[0], tests=tests[0], solutions=len(candidates))
    passes = [[outcomes.get((i, j)) == Outcome.PASSED for j in range(len(tests))] for i in range(len(candidates))]
    choice = choose(passes)
    code = codes[choice.best]
    kept = [tests[j] for j in choice.tests] or [tests[choice.best]]
    if code is not None and code.language != "python":  # each is a program of its own
        kept = [tests[choice.best]] if choice.best in choice.tests else kept[:1]
    return Tried(
        response=candidates[choice.best],
        tests="\n".join(dict.fromkeys(kept)),
        solutions=len(candidates),
        pass_rate=choice.pass_rate,
        agreement=choice.agreement,
        difficulty=difficulty(choice, trials.bands),
    )


def _repaired(trials: Trials, seed: Seed, problem: str, given: Tried) -> Steps:
    """Give failures back to the teacher, at most `repair` times, and return the last answer with the turns before."""
    response, turns = given.response, given.turns
    for attempt in range(trials.repair):
        code = code_of(response, seed.language, _fences())
        if code is None or code.language not in _runnable():
            break
        (verdict,) = yield (check_of(code, given.tests, "assert", seed.id).program,)
        if verdict.outcome in (Outcome.PASSED, Outcome.TOOLCHAIN_MISSING):
            break
        against = " against tests" if given.tests else ""
        feedback = REPAIR.replace("{against}", against).replace("{what}", what_happened(verdict))
        completion = yield _prompt(trials, seed, f"repair:{attempt}", [problem, *turns, response, feedback])
        answer = _whole(completion)
        if code_of(answer, seed.language, _fences()) is None:
            break
        response, turns = answer, (*turns, response, feedback)
    return replace(given, response=response, turns=turns)


def _prompt(trials: Trials, seed: Seed, turn: str, texts: list[str], temperature: float = 0.0) -> Prompt:
    """Return a request; `texts` are the user's and the assistant's in turn."""
    turns = tuple(Message(role=("user", "assistant")[i % 2], content=text) for i, text in enumerate(texts))
    return Prompt(
        messages=(Message(role="system", content=trials.system), *turns),
        max_tokens=trials.max_tokens,
        temperature=temperature,
        random_seed=number(f"{trials.random_seed}:{seed.id}:{turn}"),
    )


def _whole(completion: Completion) -> str:
    """Return an answer, "" if the model did not end it itself."""
    return completion.texts[0] if completion.texts and completion.finish_reasons[:1] == ("stop",) else ""


@cache
def _runnable() -> frozenset[str]:
    return frozenset(language.name for language in executable())


@cache
def _fences() -> dict[str, str]:
    return {name: language.name for language in (*all_languages(), *executable()) for name in language.fences}
