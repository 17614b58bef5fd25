"""Each sample's solution is run: against its tests where it has some, by itself otherwise, or it is compiled at least.

What came of it stands in the row. What it took stands beside the rows (`Measurement`), since it differs from run to
run. Every program goes through the cache of verdicts, so a stage made again executes nothing.

Tests are tested in turn: small faults are put into a solution that passes (`text/mutants.py`), and `test_strength` is
the share of them that the tests notice. A mutant that does not compile does not count; one that behaves like the
original cannot be told from one that the tests miss, so the figure is a lower bound.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from magicoder.errors import RecipeError
from magicoder.languages import all_languages, executable, get
from magicoder.plugins import suggest
from magicoder.protocols import Runner
from magicoder.records import Limits, Measurement, Outcome, Program, Rejection, Sample, Verdict
from magicoder.schema import to_table
from magicoder.store import Artifact, Writer, account, read_table, replacing
from magicoder.text.feedback import one_line
from magicoder.text.mutants import mutants
from magicoder.text.programs import Check, Code, check_of, code_of

MODES: Final = ("off", "label", "drop")
PROVES_NOTHING: Final = "proves_nothing"
NO_CODE: Final = "no_code"
FAILURES: Final = tuple(o.value for o in Outcome if o not in (Outcome.PASSED, Outcome.TOOLCHAIN_MISSING))
DROPPABLE: Final = (*FAILURES, PROVES_NOTHING, NO_CODE)

_QUICK_S: Final = 0.1
_MUTANT_S: Final = 1.0
"""Processor seconds of a mutant whose original took less than `_QUICK_S`: faults like to make loops that never end."""
_TOGETHER: Final = 256
"""Rows whose mutants are in memory at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """Settings of the stage.

    mode        `off`, `label` (write what came of it into the rows) or `drop` (and reject what `drop` names)
    drop        outcomes that are rejected, the outcome being the reason; also `proves_nothing` (tests that notice none
                of the faults) and `no_code`. Never `toolchain_missing`: that says nothing about a row
    mutants     at most so many faulty copies of each solution that passes its tests; 0 for none
    cpu_s, memory_mb   what a program may use
    """

    mode: str = "off"
    drop: tuple[str, ...] = FAILURES
    mutants: int = 10
    cpu_s: float = 10.0
    memory_mb: int = 1024

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            known = ", ".join(MODES)
            raise RecipeError(f"verify.mode has no {self.mode!r}{suggest(self.mode, list(MODES))}; there are: {known}")
        for name in self.drop:
            if name == Outcome.TOOLCHAIN_MISSING:
                raise RecipeError("verify.drop names toolchain_missing, which says nothing about a row: leave it out")
            if name not in DROPPABLE:
                raise RecipeError(
                    f"verify.drop has no {name!r}{suggest(name, list(DROPPABLE))}; there are: {', '.join(DROPPABLE)}"
                )
        for name, least in (("mutants", 0), ("cpu_s", 0.1), ("memory_mb", 16)):
            if getattr(self, name) < least:
                raise RecipeError(f"verify.{name} is {getattr(self, name)}; it must be at least {least}")

    @property
    def is_on(self) -> bool:
        """Whether anything is run."""
        return self.mode != "off"

    def run(self, samples: Artifact[Sample], out: Writer[Sample], runner: Runner) -> None:
        """Write a part of judged samples for each part of `samples`.

        Raises:
            SandboxError: the sandbox broke; run again to go on.
        """
        out.progress.expect(samples.manifest.rows, "samples")
        for index in range(out.done):
            out.progress.tick(len(samples.read_part(index)))
        (out.folder / "measured").mkdir(exist_ok=True)
        for index in range(out.done, samples.part_count):
            rows = samples.read_part(index)
            judged = self._judge(rows, out, runner)
            reasons = [self._reason(row) for row, _ in judged]
            kept = [row for (row, _), reason in zip(judged, reasons, strict=True) if not reason]
            rejections = [
                Rejection(id=r.id, stage=out.stage, reason=reason, detail=r.outcome_detail, language=r.language)
                for (r, _), reason in zip(judged, reasons, strict=True)
                if reason
            ]
            account((r.id for r in rows), (r.id for r in kept), (r.id for r in rejections))
            figures = [_measured(row, verdict) for row, verdict in judged if verdict is not None]
            with replacing(_measurements(out.folder, index)) as f:
                pq.write_table(to_table(Measurement, figures), f, compression="zstd")
            out.write(kept, rejections)
        out.add_facts({"isolation": runner.isolation})

    def _judge(self, rows: list[Sample], out: Writer[Sample], runner: Runner) -> list[tuple[Sample, Verdict | None]]:
        """Return the rows with their outcomes; no verdict where there is nothing to run."""
        codes = [_code(row) for row in rows]
        checks = [_check(row, code) for row, code in zip(rows, codes, strict=True)]
        judged: list[tuple[Sample, Verdict | None]] = []
        with _running(runner, (self._limited(check.program) for check in checks if check is not None)) as verdicts:
            for row, check in zip(rows, checks, strict=True):
                verdict = next(verdicts) if check is not None else None
                judged.append((_labelled(row, check, verdict), verdict))
                out.progress.tick(0 if self._is_tested(judged[-1][0]) else 1)
        tested = [
            (i, row, code, verdict)
            for i, ((row, verdict), code) in enumerate(zip(judged, codes, strict=True))
            if code and verdict and self._is_tested(row)
        ]
        for start in range(0, len(tested), _TOGETHER):
            for i, row in self._test_the_tests(tested[start : start + _TOGETHER], out, runner):
                judged[i] = (row, judged[i][1])
        return judged

    def _is_tested(self, row: Sample) -> bool:
        return self.mutants > 0 and row.checked == "tests" and row.outcome == Outcome.PASSED

    def _test_the_tests(
        self, tested: list[tuple[int, Sample, Code, Verdict]], out: Writer[Sample], runner: Runner
    ) -> Iterator[tuple[int, Sample]]:
        """Yield the rows with what their tests noticed."""
        faulty = [self._faulty(row, code, verdict) for _, row, code, verdict in tested]
        with _running(runner, (program for programs in faulty for program in programs)) as verdicts:
            found = []
            for programs in faulty:
                found.append([next(verdicts).outcome for _ in programs])
                out.progress.tick(1, "testing the tests")  # is also where the user may stop
        for (i, row, _, _), outcomes in zip(tested, found, strict=True):
            ran = [o for o in outcomes if o not in (Outcome.COMPILE_ERROR, Outcome.TOOLCHAIN_MISSING)]
            killed = sum(o != Outcome.PASSED for o in ran)
            yield i, replace(row, mutants=len(ran), test_strength=killed / len(ran) if ran else None)

    def _faulty(self, row: Sample, code: Code, verdict: Verdict) -> list[Program]:
        cpu_s = min(self.cpu_s, _MUTANT_S) if verdict.cpu_s < _QUICK_S else self.cpu_s
        limits = Limits(cpu_s=cpu_s, memory_mb=self.memory_mb)
        copies = (Code(language=code.language, pieces=pieces) for pieces in _mutated(code, self.mutants))
        checks = (check_of(copy, row.tests, row.test_format, row.seed_id) for copy in copies)
        return [replace(check.program, limits=limits) for check in checks]

    def _limited(self, program: Program) -> Program:
        return replace(program, limits=Limits(cpu_s=self.cpu_s, memory_mb=self.memory_mb))

    def _reason(self, row: Sample) -> str:
        """Return why a row is rejected, "" if it is not."""
        if self.mode != "drop":
            return ""
        if row.mutants and row.test_strength == 0 and PROVES_NOTHING in self.drop:
            return PROVES_NOTHING
        if not row.outcome and NO_CODE in self.drop:
            return NO_CODE
        return row.outcome if row.outcome in self.drop else ""


@contextmanager
def _running(runner: Runner, programs: Iterable[Program]) -> Iterator[Iterator[Verdict]]:
    """Give the verdicts on `programs`, and end what is still running when they are no longer wanted."""
    verdicts = runner.run(programs)
    try:
        yield verdicts
    finally:
        if isinstance(verdicts, Generator):
            verdicts.close()


def _mutated(code: Code, most: int) -> Iterator[tuple[str, ...]]:
    """Yield the pieces of faulty copies; of several, the longest is mutated: the solution, not a use of it."""
    longest = max(range(len(code.pieces)), key=lambda i: len(code.pieces[i]))
    for mutant in mutants(code.pieces[longest], get(code.language), most):
        yield (*code.pieces[:longest], mutant.text, *code.pieces[longest + 1 :])


def measurements(folder: Path) -> Iterator[Measurement]:
    """Yield what the programs of a published stage took, in the order of its input."""
    for path in sorted((folder / "measured").glob("*.parquet")):
        for row in read_table(path).to_pylist():
            yield Measurement(**row)


def _measurements(folder: Path, index: int) -> Path:
    return folder / "measured" / f"part-{index:05d}.parquet"


def _measured(row: Sample, verdict: Verdict) -> Measurement:
    return Measurement(id=row.id, cpu_s=verdict.cpu_s, wall_s=verdict.wall_s, peak_memory_mb=verdict.peak_memory_mb)


def _code(row: Sample) -> Code | None:
    if row.strategy == "comment_pairs" and not row.response.startswith("```"):  # a function cut in two
        return Code(language=row.language, pieces=(row.instruction + row.response,))
    return code_of(row.response, row.language, _fences())


def _check(row: Sample, code: Code | None) -> Check | None:
    """Return what is to be run, None where there is no code or nothing here could run its language anywhere."""
    if code is None or code.language not in _runnable():
        return None
    tests = row.tests if code.language == row.language else ""  # of a solution in the language that was asked for
    return check_of(code, tests, row.test_format, row.seed_id)


def _labelled(row: Sample, check: Check | None, verdict: Verdict | None) -> Sample:
    if check is None or verdict is None:
        return replace(row, outcome="", outcome_detail="", checked="", toolchain="", mutants=0, test_strength=None)
    return replace(
        row,
        outcome=verdict.outcome.value,
        outcome_detail=one_line(verdict.detail),
        checked=check.checked if verdict.outcome != Outcome.TOOLCHAIN_MISSING else "",
        toolchain=verdict.toolchain,
        mutants=0,
        test_strength=None,
    )


@cache
def _runnable() -> frozenset[str]:
    return frozenset(language.name for language in executable())


@cache
def _fences() -> dict[str, str]:
    return {name: language.name for language in (*all_languages(), *executable()) for name in language.fences}
