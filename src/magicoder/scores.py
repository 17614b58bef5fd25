"""What an evaluation found: one record an answer, the scores over them, and the files that hold them.

`results.json` is ours. EvalPlus' samples (a line `{"task_id", "solution" or "completion"}` each) and its
`*_eval_results.json` are read and written. Nothing in a file depends on the machine's speed or on the time of day.
"""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import orjson

from magicoder import statistics
from magicoder.errors import RecipeError
from magicoder.records import STYLES, Answer, Outcome
from magicoder.statistics import Comparison, Interval

RESULTS: Final = "results.json"
"""What `write` calls its file in a folder of results."""
FORMAT: Final = 1
NO_CODE: Final = "no_code"
"""The outcome of an answer in which no program was found."""
ONE_CALL: Final = "one call used more processor time than it may"
"""The detail of a timeout of a single call, which EvalPlus calls a failure; it has a word for a whole check only."""

TIMEOUTS: Final = (Outcome.CPU_TIMEOUT, Outcome.WALL_TIMEOUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What came of one check: an `Outcome`, or `NO_CODE`; and why, in one line."""

    outcome: str
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether it passed."""
        return self.outcome == Outcome.PASSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One answer to one task, judged.

    rule, note   how its program was found, see `Extracted`
    checks       by name of the score, in order
    """

    task_id: str
    index: int
    rule: str
    note: str
    code: str
    checks: dict[str, Checked]

    def passed(self, score: str) -> bool:
        """Whether the check and all before it pass."""
        for name, checked in self.checks.items():
            if not checked.passed:
                return False
            if name == score:
                return True
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The evaluation of one benchmark.

    toolchains   what ran the programs, by language
    unknown      ids of answers to tasks that the benchmark does not have
    self_check   how many canonical solutions were tried, all of which passed but for
    exceptions   those that are known to fail: ids of tasks, and why
    surprises    tasks whose canonical solution is known to fail and passed here
    generation   how the answers were made, where a model was asked: see `answering.Answered.record`
    """

    benchmark: str
    version: str
    profile: str
    scores: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    isolation: str = ""
    toolchains: dict[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    self_check: int = 0
    exceptions: dict[str, str] = field(default_factory=dict)
    surprises: tuple[str, ...] = ()
    magicoder: str = ""
    generation: dict[str, Any] = field(default_factory=dict)

    def by_task(self) -> dict[str, list[Attempt]]:
        """Return the attempts at each task, in order."""
        found: dict[str, list[Attempt]] = {}
        for attempt in self.attempts:
            found.setdefault(attempt.task_id, []).append(attempt)
        return found

    def shares(self, score: str, k: int = 1) -> dict[str, float]:
        """Return pass@k of each task."""
        return {
            task: statistics.pass_at_k(len(tried), sum(a.passed(score) for a in tried), k)
            for task, tried in self.by_task().items()
        }

    def pass_at(self, score: str) -> dict[int, Interval]:
        """Return pass@k over all tasks with its interval, for each k that all of them have answers for."""
        counts = [len(tried) for tried in self.by_task().values()]
        return {k: statistics.mean(list(self.shares(score, k).values())) for k in statistics.ranks(counts)}

    def without_exceptions(self) -> "Result":
        """Return the part about tasks whose canonical solution passes here."""
        return replace(self, attempts=tuple(a for a in self.attempts if a.task_id not in self.exceptions))

    def failures(self, score: str) -> dict[str, int]:
        """Return how often each kind of failure decided, most frequent first.

        Kinds are outcomes, exceptions by their type; failing an earlier check counts as that check's failure.
        """
        kinds = Counter(kind for attempt in self.attempts if (kind := kind_of(attempt, score)))
        return dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0])))


def kind_of(attempt: Attempt, score: str) -> str:
    """Return what an attempt failed by: an outcome, or the type of an exception; "" if it passed."""
    for name, checked in attempt.checks.items():
        if not checked.passed:
            if checked.outcome == Outcome.EXCEPTION:
                error = checked.detail.partition(":")[0].strip()
                return error if error.isidentifier() else checked.outcome
            return checked.outcome
        if name == score:
            break
    return ""


# ---- our own file


def as_json(result: Result) -> dict[str, Any]:
    """Return a result as it stands in `results.json`."""
    tasks = [
        {
            "task_id": task,
            "answers": [
                {
                    "index": attempt.index,
                    "extraction": {"rule": attempt.rule, "note": attempt.note},
                    "checks": {name: asdict(checked) for name, checked in attempt.checks.items()},
                    "code": attempt.code,
                }
                for attempt in tried
            ],
        }
        for task, tried in result.by_task().items()
    ]
    return {
        "format": FORMAT,
        "magicoder": result.magicoder,
        "benchmark": result.benchmark,
        "version": result.version,
        "profile": result.profile,
        "isolation": result.isolation,
        "toolchains": result.toolchains,
        "self_check": result.self_check,
        **({"generation": result.generation} if result.generation else {}),
        "exceptions": result.exceptions,
        "surprises": list(result.surprises),
        "unknown": list(result.unknown),
        "scores": _scores(result),
        "scores_without_exceptions": _scores(result.without_exceptions()) if result.exceptions else {},
        "failures": {score: result.failures(score) for score in result.scores},
        "tasks": tasks,
    }


def _scores(result: Result) -> dict[str, Any]:
    return {
        score: {f"pass@{k}": asdict(found) for k, found in result.pass_at(score).items()} for score in result.scores
    }


def write(result: Result, path: Path) -> None:
    """Write `results.json`, whole or not at all."""
    put(path, orjson.dumps(as_json(result), option=orjson.OPT_INDENT_2))


def read(path: Path) -> Result:
    """Read a `results.json`, or EvalPlus' `*_eval_results.json`; gzipped or not.

    Raises:
        RecipeError: it is neither.
    """
    try:
        found = orjson.loads(_bytes(path))
    except orjson.JSONDecodeError as e:
        raise RecipeError(f"{path} is no JSON ({e}); give a results.json or EvalPlus' eval_results.json") from None
    try:
        if isinstance(found, dict) and "eval" in found:
            return _from_evalplus(found, path)
        return _from_ours(found, path)
    except RecipeError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise RecipeError(f"{path} holds no results ({e!r}); give a results.json or EvalPlus' eval_results.json") from e


def _from_ours(found: Any, path: Path) -> Result:
    if found["format"] != FORMAT:
        raise RecipeError(f"{path} is of format {found['format']}, this magicoder reads {FORMAT}: evaluate again")
    attempts = [
        Attempt(
            task_id=task["task_id"],
            index=answer["index"],
            rule=answer["extraction"]["rule"],
            note=answer["extraction"]["note"],
            code=answer["code"],
            checks={name: Checked(**checked) for name, checked in answer["checks"].items()},
        )
        for task in found["tasks"]
        for answer in task["answers"]
    ]
    return Result(
        benchmark=found["benchmark"],
        version=found["version"],
        profile=found["profile"],
        scores=tuple(found["scores"]),
        attempts=tuple(attempts),
        isolation=found["isolation"],
        toolchains=found["toolchains"],
        unknown=tuple(found["unknown"]),
        self_check=found["self_check"],
        exceptions=found.get("exceptions", {}),  # not there before 2026-11-26
        surprises=tuple(found.get("surprises", ())),
        magicoder=found["magicoder"],
        generation=found.get("generation", {}),
    )


# ---- EvalPlus


_FROM_STATUS: Final = {"pass": Outcome.PASSED, "success": Outcome.PASSED, "timeout": Outcome.CPU_TIMEOUT}


def evalplus(result: Result) -> dict[str, Any]:
    """Return a result in the form of EvalPlus' `*_eval_results.json`."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for attempt in result.attempts:
        row: dict[str, Any] = {"task_id": attempt.task_id, "solution": attempt.code}
        for score in ("base", "plus"):
            checked = attempt.checks.get(score)
            row[f"{score}_status"] = None if checked is None else _status(checked)
            row[f"{score}_fail_tests"] = []
        rows.setdefault(attempt.task_id, []).append(row)
    pass_at = {
        score: {f"pass@{k}": found.estimate for k, found in result.pass_at(score).items()} for score in result.scores
    }
    return {"date": "", "hash": f"{result.benchmark} {result.version}", "eval": rows, "pass_at_k": pass_at}


def _status(checked: Checked) -> str:
    if checked.outcome in TIMEOUTS and checked.detail != ONE_CALL:
        return "timeout"
    return "pass" if checked.passed else "fail"


def write_evalplus(result: Result, path: Path) -> None:
    """Write EvalPlus' form, whole or not at all."""
    put(path, orjson.dumps(evalplus(result), option=orjson.OPT_INDENT_2))


def _from_evalplus(found: Mapping[str, Any], path: Path) -> Result:
    attempts = []
    scores: dict[str, None] = {}
    for task, rows in found["eval"].items():
        for index, row in enumerate(rows):
            statuses = {name: row[f"{name}_status"] for name in ("base", "plus") if row.get(f"{name}_status")}
            scores.update(dict.fromkeys(statuses))
            attempts.append(
                Attempt(
                    task_id=task,
                    index=index,
                    rule="whole",
                    note="",
                    code=row.get("solution", ""),
                    checks={
                        name: Checked(outcome=_FROM_STATUS.get(status, Outcome.WRONG_ANSWER).value)
                        for name, status in statuses.items()
                    },
                )
            )
    if not attempts:
        raise RecipeError(f"{path} has no results in it; evaluate again")
    is_mbpp = attempts[0].task_id.lower().startswith("mbpp")
    return Result(
        benchmark="mbpp_plus" if is_mbpp else "humaneval_plus",
        version="",
        profile="evalplus",
        scores=tuple(scores),
        attempts=tuple(attempts),
    )


# ---- samples


def answers(path: Path) -> Iterator[Answer]:
    """Yield the answers in a file of samples: one JSON record a line, gzipped or not.

    A record has a `task_id` and one of `solution` (a whole program), `completion` (to be put behind the prompt), or
    `answer` with its `style`. Several records of a task are several answers.

    Raises:
        RecipeError: a record is something else; names the line.
    """
    seen: Counter[str] = Counter()
    for number, line in enumerate(_bytes(path).split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise RecipeError(f"{where}: not JSON ({e}); a file of samples has one record a line") from None
        task = found.get("task_id") if isinstance(found, dict) else None
        if not isinstance(task, str):
            raise RecipeError(f"{where}: no task_id in this record; a file of samples has one record a line")
        text, style = _said(found, where)
        yield Answer(task_id=_clean(task), text=_clean(text), style=style, index=seen[task])
        seen[task] += 1
    if not seen:
        raise RecipeError(f"{path} has no answers in it")


def _clean(text: str) -> str:
    """Return a text without halves of surrogate pairs, which no file can hold: models that are cut off leave some."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _said(found: Mapping[str, Any], where: str) -> tuple[str, str]:
    for name, style in (("solution", "solution"), ("completion", "completion"), ("answer", found.get("style", "chat"))):
        text = found.get(name)
        if isinstance(text, str):
            if style not in STYLES:
                raise RecipeError(f"{where}: no style {style!r}; there are: {', '.join(STYLES)}")
            return text, str(style)
    raise RecipeError(f"{where}: no solution, completion or answer in this record; one of them has to be text")


def write_samples(attempts: Iterable[Attempt], path: Path) -> None:
    """Write the programs that were judged as EvalPlus' samples, whole or not at all."""
    lines = (orjson.dumps({"task_id": a.task_id, "solution": a.code}) + b"\n" for a in attempts)
    put(path, b"".join(lines))


# ---- two results


def compared(first: Result, second: Result) -> dict[str, tuple[Comparison, list[str], list[str]]]:
    """Return for each score that both have how they differ, and which tasks one of them is better on.

    Raises:
        RecipeError: they are not about the same tasks, or judged by different profiles.
    """
    if first.benchmark != second.benchmark:
        raise RecipeError(f"results on {first.benchmark} and on {second.benchmark} have nothing to compare")
    if first.profile != second.profile:
        raise RecipeError(
            f"one was judged by the profile {first.profile}, the other by {second.profile}: evaluate one of them again"
        )
    tasks = list(first.by_task())
    others = set(second.by_task())
    if set(tasks) != others:
        odd = sorted(set(tasks) ^ others)
        raise RecipeError(
            f"{len(odd)} tasks are in one of the results only, such as {odd[0]}: evaluate both on the same"
        )
    found = {}
    for score in (s for s in first.scores if s in second.scores):
        one, two = first.shares(score), second.shares(score)
        comparison = statistics.compare([one[t] for t in tasks], [two[t] for t in tasks])
        found[score] = (comparison, [t for t in tasks if one[t] > two[t]], [t for t in tasks if one[t] < two[t]])
    return found


# ---- for people


def percent(found: Interval) -> str:
    """Return an estimate and its interval in per cent."""
    return f"{100 * found.estimate:.1f} ({100 * found.low:.1f}–{100 * found.high:.1f})"


def put(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(data)
    partial.replace(path)


def _bytes(path: Path) -> bytes:
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as e:
        raise RecipeError(f"{path}: the archive is damaged ({e}); get it again") from None
