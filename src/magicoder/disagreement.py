"""Which verdicts depend on the profile, and why: such samples are judged once more with one fault of the harness alone.

`strict` is what others are compared with. A fault is the reason for a verdict if `strict` with that fault comes to the
same one; where it takes several together, those without which the harness would not. That is not tried where time ran
out: what needs about as long as it may passes now and then, and reasons found so would be chance.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from magicoder.evaluation import STRICT, run_checks
from magicoder.protocols import Runner, Suite
from magicoder.records import Task
from magicoder.scores import TIMEOUTS, Checked, Result, percent, put

AS_IT_IS: Final = "as-it-is"
"""The reason where a harness takes a completion as it is, and `strict` reads it."""
CHANGES: Final = "changes"
"""The reason where no fault is one: the verdict may differ from run to run."""
_SAID: Final = {
    AS_IT_IS: "a completion is taken as it is, where `strict` cuts what is no part of the program",
    CHANGES: "no fault explains it: the verdict may differ from run to run",
}

Outcomes = dict[str, Checked]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """An answer whose verdict depends on the profile.

    scores       that differ
    verdicts     by profile, what decided the last of these
    why          by profile that differs from `strict`, the names of its reasons
    """

    task_id: str
    index: int
    scores: tuple[str, ...]
    verdicts: dict[str, Checked]
    why: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreements:
    """All of a benchmark, and what the names of reasons mean."""

    results: Sequence[Result]
    found: tuple[Disagreement, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)

    def counts(self) -> dict[str, Counter[str]]:
        """Return by profile how often each reason decided."""
        return {
            result.profile: Counter(name for one in self.found for name in one.why.get(result.profile, ()))
            for result in self.results
        }


def compared(profiles: Sequence[str]) -> list[str]:
    """Return the profiles to judge by: each once and, where there are several, `strict` first."""
    several = list(dict.fromkeys(profiles))
    return several if len(several) < 2 else list(dict.fromkeys((STRICT, *several)))


def explain(suite: Suite, results: Sequence[Result], runner: Runner) -> Disagreements:
    """Compare results of the same answers under several profiles, of which one is `strict`.

    The suite has been prepared; programs run in `runner`.

    Raises:
        ValueError: none is `strict`.
    """
    strict = next((result for result in results if result.profile == STRICT), None)
    if strict is None:
        raise ValueError("nothing to compare with: no result is strict")
    others = [result for result in results if result is not strict]
    tasks = {task.id: task for task in suite.tasks}
    why: dict[str, dict[int, tuple[str, ...]]] = {}
    for other in others:
        pairs = zip(strict.attempts, other.attempts, strict=True)
        cases = [
            _Case(place, tasks[one.task_id], one.code, two.code, one.checks, two.checks)
            for place, (one, two) in enumerate(pairs)
            if _differing(suite, one.checks, two.checks)
        ]
        why[other.profile] = _reasons(suite, cases, other.profile, runner)
    places = sorted({place for reasons in why.values() for place in reasons})
    known = {name: said for other in others for name, said in suite.faults(other.profile).items()}
    return Disagreements(
        results=[strict, *others],
        found=tuple(_one(suite, [strict, *others], why, place) for place in places),
        reasons=known | _SAID,
    )


@dataclass(frozen=True, slots=True)
class _Case:
    place: int
    task: Task
    ours: str
    theirs: str
    strict: Outcomes
    harness: Outcomes


def _one(
    suite: Suite, results: Sequence[Result], why: Mapping[str, Mapping[int, tuple[str, ...]]], place: int
) -> Disagreement:
    attempts = {result.profile: result.attempts[place] for result in results}
    ours = attempts[STRICT].checks
    scores = [s for s in suite.scores if any(s in _differing(suite, ours, a.checks) for a in attempts.values())]
    return Disagreement(
        task_id=attempts[STRICT].task_id,
        index=attempts[STRICT].index,
        scores=tuple(scores),
        verdicts={profile: _decided(attempt.checks, scores[-1]) for profile, attempt in attempts.items()},
        why={profile: reasons[place] for profile, reasons in why.items() if place in reasons},
    )


def _reasons(suite: Suite, cases: Sequence[_Case], profile: str, runner: Runner) -> dict[int, tuple[str, ...]]:
    """Return for each case which faults of a profile it is due to."""
    faults = list(suite.faults(profile))
    found: dict[int, list[str]] = {case.place: [] for case in cases}

    def same(some: Sequence[_Case], judged_by: str, *, ours: bool) -> Iterator[tuple[_Case, bool]]:
        codes = ((case.task, case.ours if ours else case.theirs) for case in some)
        for case, (_, checks) in zip(some, run_checks(suite, codes, judged_by, runner), strict=True):
            yield case, not _differing(suite, case.harness, checks)

    for case, is_same in same([c for c in cases if c.ours != c.theirs], STRICT, ours=False):
        found[case.place] += [AS_IT_IS] if is_same else []
    for fault in faults:
        for case, is_same in same([c for c in cases if AS_IT_IS not in found[c.place]], f"{STRICT}+{fault}", ours=True):
            found[case.place] += [fault] if is_same else []
    left = [case for case in cases if not found[case.place] and not _ran_out_of_time(suite, case)]
    for fault in faults if len(faults) > 1 else ():
        without = "+".join((STRICT, *(f for f in faults if f != fault)))
        for case, is_same in same(left, without, ours=False):
            found[case.place] += [] if is_same else [fault]
    return {place: tuple(names) or (CHANGES,) for place, names in found.items()}


def _ran_out_of_time(suite: Suite, case: _Case) -> bool:
    """Whether time decided a score that differs."""
    differing = _differing(suite, case.strict, case.harness)
    return any(_decided(checks, s).outcome in TIMEOUTS for checks in (case.strict, case.harness) for s in differing)


def _differing(suite: Suite, one: Outcomes, two: Outcomes) -> list[str]:
    """Return the scores that differ between two verdicts."""
    return [name for name in suite.scores if _passed(one, name) != _passed(two, name)]


def _passed(checks: Outcomes, score: str) -> bool:
    return score in checks and _decided(checks, score).passed


def _decided(checks: Outcomes, score: str) -> Checked:
    """Return the check that decides a score: the first that fails, else its own."""
    for name, checked in checks.items():
        if not checked.passed or name == score:
            return checked
    return Checked(outcome="")


# ---- what is written


def as_json(found: Disagreements) -> dict[str, Any]:
    """Return what stands in `profiles.json`."""
    first = found.results[0]
    return {
        "benchmark": first.benchmark,
        "version": first.version,
        "profiles": {
            result.profile: {
                "scores": {score: _pass_at_1(result, score) for score in result.scores},
                "reasons": dict(sorted(found.counts()[result.profile].items())),
            }
            for result in found.results
        },
        "reasons": {name: found.reasons[name] for name in _named(found)},
        "samples": [
            {
                "task_id": one.task_id,
                "index": one.index,
                "scores": list(one.scores),
                "verdicts": {
                    profile: {"outcome": checked.outcome, "detail": checked.detail}
                    for profile, checked in one.verdicts.items()
                },
                "why": {profile: list(names) for profile, names in one.why.items()},
            }
            for one in found.found
        ],
    }


def write(found: Disagreements, folder: Path) -> None:
    """Write `profiles.json` and `profiles.md`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    put(folder / "profiles.json", orjson.dumps(as_json(found), option=orjson.OPT_INDENT_2))
    put(folder / "profiles.md", markdown(found).encode())


def markdown(found: Disagreements) -> str:
    """Return the report for people."""
    first, counts = found.results[0], found.counts()
    lines = [f"# {first.benchmark} {first.version}: verdicts that depend on the profile", ""]
    lines += [
        f"| profile | {' | '.join(first.scores)} | judged otherwise |",
        "|---|" + "---|" * (len(first.scores) + 1),
    ]
    for result in found.results:
        figures = " | ".join(_percent(result, score) for score in result.scores)
        lines.append(f"| `{result.profile}` | {figures} | {sum(result.profile in one.why for one in found.found)} |")
    if not found.found:
        return "\n".join([*lines, "", "No verdict depends on the profile.", ""])
    lines += ["", "| reason | what it is | decided |", "|---|---|---|"]
    for name in _named(found):
        decided = ", ".join(f"`{profile}` {c[name]}" for profile, c in counts.items() if c[name])
        lines.append(f"| `{name}` | {_cell(found.reasons[name])} | {decided} |")
    profiles = [result.profile for result in found.results]
    lines += ["", f"| task | answer | score | {' | '.join(profiles)} | why |", "|---|" + "---|" * (len(profiles) + 3)]
    for one in found.found:
        verdicts = " | ".join(_cell(_said(one.verdicts[profile])) for profile in profiles)
        lines.append(f"| {one.task_id} | {one.index} | {', '.join(one.scores)} | {verdicts} | {_why(one)} |")
    return "\n".join([*lines, ""])


def text(found: Disagreements) -> str:
    """Return the report for a terminal: a line for each sample."""
    first = found.results[0]
    lines = [f"{first.benchmark}: {len(found.found)} of {len(first.attempts)} verdicts depend on the profile"]
    for one in found.found:
        verdicts = ", ".join(f"{profile} {checked.outcome}" for profile, checked in one.verdicts.items())
        lines.append(f"  {one.task_id} [{one.index}] {', '.join(one.scores)}: {verdicts}. Why: {_why(one)}")
    lines += [f"  {name}: {found.reasons[name]}" for name in _named(found)]
    return "\n".join(lines)


def _named(found: Disagreements) -> list[str]:
    """Return the reasons that decided something, in the order of the profiles."""
    named = {name for one in found.found for names in one.why.values() for name in names}
    return [name for name in found.reasons if name in named]


def _why(one: Disagreement) -> str:
    reasons = {profile: ", ".join(names) for profile, names in one.why.items()}
    if len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"{profile}: {said}" for profile, said in reasons.items())


def _said(checked: Checked) -> str:
    detail = checked.detail if len(checked.detail) <= 100 else f"{checked.detail[:100]}…"
    return f"{checked.outcome}: {detail}" if detail and not checked.passed else checked.outcome


def _cell(said: str) -> str:
    return " ".join(said.replace("|", "\\|").split())


def _pass_at_1(result: Result, score: str) -> float | None:
    found = result.pass_at(score).get(1)
    return None if found is None else found.estimate


def _percent(result: Result, score: str) -> str:
    found = result.pass_at(score).get(1)
    return "" if found is None else percent(found)
