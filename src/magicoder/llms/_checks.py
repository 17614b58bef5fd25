"""What the mock says about its own problems when they come back: a solution, tests, a repaired solution.

It reads a problem of `_problems.py` again and knows from it what is right, whatever the solution beside it does.
"""

import random
import re
from dataclasses import dataclass
from typing import Final

from magicoder.llms._problems import CHANGE, COMBINE, KEEP, function

_CALL: Final = re.compile(r"`(\w+)\((\w+)\)`")
_KEPT: Final = re.compile(
    r"(?:keep each number|drops any that is not|in which only integers) (.+?)(?: matter)?\.(?:\s|$)"
)
_REST: Final = (
    re.compile(r"Each survivor is then (.+?); return (.+?)\.(?:\s|$)"),
    re.compile(r"What remains is (.+?), one by one, and the result is (.+?)\.(?:\s|$)"),
    re.compile(r"With every one of those (.+?), in unchanged order, the \w+ wants (.+?)\.(?:\s|$)"),
)
_PROBLEM: Final = re.compile(r"<problem>\n(.*?)\n</problem>", re.DOTALL)
_COUNT: Final = re.compile(r"(\d+) or more")
_MOST_TESTS: Final = 50
_DRAWS: Final = 400


@dataclass(frozen=True, slots=True)
class _Problem:
    """A problem that was read again; `does` are expressions of x and values, with the numbers filled in."""

    name: str
    things: str
    doc: str
    does: tuple[str, str, str]

    def code(self) -> str:
        """Return the right solution."""
        return function(self.name, self.things, self.doc, self.does)

    def answer(self, numbers: list[int]) -> object:
        """Return what is right for `numbers`."""
        keep, change, combine = self.does
        # Expressions of our own, of which nothing but a number was ever read from a prompt.
        values = [eval(change, {"x": x}) for x in numbers if eval(keep, {"x": x})]  # noqa: S307 - see above
        return eval(combine, {"values": values})  # noqa: S307 - see above

    def keeps(self, number: int) -> bool:
        """Whether the first condition holds for `number`."""
        return bool(eval(self.does[0], {"x": number}))  # noqa: S307 - as in `answer`


def reply(rng: random.Random, asked: tuple[str, ...]) -> str | None:
    """Return the answer to the last message of `asked`, None if it is not about a problem of the mock's own.

    A problem alone gets a solution, a request for tests as many asserts as it wants, and a failure that is given back
    the right solution.
    """
    if not asked:
        return None
    if asked[-1].startswith("I ran this solution") and len(asked) >= 3:
        return _repaired(asked)
    inside = _PROBLEM.search(asked[-1])
    problem = _read(inside[1] if inside else asked[-1])
    if problem is None:
        return None
    if inside is None:
        return f"This is one way to do it:\n\n```python\n{problem.code()}```\n"
    count = _COUNT.search(asked[-1])
    return _tests(rng, problem, min(_MOST_TESTS, int(count[1]) if count else 8))


def slip(code: str) -> str:
    """Return an answer with a slip: the first number is overlooked, which no answer for an empty list shows."""
    return re.sub(r"( for x in \w+)( if )", r"\1[1:]\2", code)


def _repaired(asked: tuple[str, ...]) -> str | None:
    problem = next((found for text in asked if (found := _read(text)) is not None), None)
    if problem is None:
        return None
    return f"The first number was overlooked.\n\n```python\n{problem.code()}```\n"


def _tests(rng: random.Random, problem: _Problem, count: int) -> str:
    lines = [f"assert {problem.name}([]) == {problem.answer([])!r}"]
    while len(lines) < count:
        numbers = rng.sample(range(-_DRAWS, _DRAWS), _DRAWS)
        kept = [x for x in numbers if problem.keeps(x)][: rng.randrange(1, 4)]
        given = [*kept, *numbers[: rng.randrange(1, 4)]]
        lines.append(f"assert {problem.name}({given}) == {problem.answer(given)!r}")
    return "```python\n" + "\n".join(lines) + "\n```\n"


def _read(text: str) -> _Problem | None:
    """Return the mock's problem in a text, None if there is none."""
    call, kept = _CALL.search(text), _KEPT.search(text)
    rest = next((found for pattern in _REST if (found := pattern.search(text))), None)
    if call is None or kept is None or rest is None:
        return None
    keep = _code(kept[1], KEEP)
    change = _code(rest[1], CHANGE)
    combine = _code(rest[2], tuple((said, code) for said, code, _ in COMBINE))
    if keep is None or change is None or combine is None:
        return None
    doc = f"Return {rest[2]}, over {call[2]} {kept[1]}, {rest[1]}."
    return _Problem(call[1], call[2], doc, (keep, change, combine))


def _code(said: str, known: tuple[tuple[str, str], ...]) -> str | None:
    """Return the expression for a phrase, its numbers filled in."""
    for phrase, code in known:
        pattern = re.sub(r"\\\{(\w)\\\}", r"(?P<\1>\\d+)", re.escape(phrase))
        if found := re.fullmatch(pattern, said):
            return code.format(**found.groupdict())
    return None
