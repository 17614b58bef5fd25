"""Which of several solutions is to be believed, and how hard the problem is, from who passes whose tests.

Solutions that pass the same tests form a group. A group is believed by the number of its members and of the tests of
others that they pass, as in CodeT's dual agreement (Chen et al. 2022): wrong solutions are wrong each in its own way.
That a solution passes the tests written for it alone counts for nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BANDS: Final = ("kodcode", "rstar_coder")
_EASY: Final = 2 / 3
_MEDIUM: Final = 1 / 3
_RSTAR_CODER: Final = ((0.6, "agreed"), (0.4, "contested"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The solution that is believed, and what is known of the problem.

    best         number of the solution; of equals the first
    tests        numbers of the tests that it passes
    pass_rate    share of all solutions that pass these tests; 0 where there are none
    agreement    share of all solutions that pass and fail the same tests; 0 where it passes none
    """

    best: int
    tests: tuple[int, ...]
    pass_rate: float
    agreement: float


def choose(passes: Sequence[Sequence[bool]]) -> Choice:
    """Return the choice from a matrix: `passes[i][j]` says whether solution `i` passes the tests written for `j`.

    Ties go to the larger group, then to the one with the lowest number.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, row in enumerate(passes):
        groups.setdefault(tuple(j for j, passed in enumerate(row) if passed), []).append(i)

    def belief(tests: tuple[int, ...]) -> tuple[int, bool, int, int]:
        members = groups[tests]
        of_others = sum(j != i for i in members for j in tests)
        return of_others, bool(tests), len(members), -members[0]

    tests = max(groups, key=belief)
    members = groups[tests]
    count = len(passes)
    passing = sum(all(row[j] for j in tests) for row in passes) if tests else 0
    return Choice(
        best=members[0],
        tests=tests,
        pass_rate=passing / count,
        agreement=len(members) / count if tests else 0.0,
    )


def difficulty(choice: Choice, bands: str) -> str:
    """Return a word for how hard a problem is.

    `kodcode`       by pass rate: easy above 2/3, medium from 1/3 on, hard below, fail where nobody passes
    `rstar_coder`   by agreement: agreed from 60 % on, contested from 40 % on (it takes these if hard), else unsettled
    """
    if bands == "kodcode":
        rate = choice.pass_rate
        return "easy" if rate > _EASY else "medium" if rate >= _MEDIUM else "hard" if rate else "fail"
    return next((word for least, word in _RSTAR_CODER if choice.agreement >= least), "unsettled")
