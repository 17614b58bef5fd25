"""What a report means: from how a program ended and what it printed to one outcome and one line for a person."""

import re
import signal
from typing import Final

from magicoder.records import Outcome, Program, Verdict
from magicoder.sandboxes._wire import Report
from magicoder.text.outputs import difference

# How runtimes with a heap of their own say that it is full, before the kernel would.
_HEAP_IS_FULL: Final = re.compile(
    rb"java\.lang\.OutOfMemoryError|std::bad_alloc|JavaScript heap out of memory|System\.OutOfMemoryException"
    rb"|Allowed memory size of \d+ bytes exhausted|runtime: out of memory|memory allocation of \d+ bytes failed"
    rb"|failed to allocate memory \(NoMemoryError\)|not enough memory"
)


def verdict(program: Program, report: Report, toolchain: str) -> Verdict:
    """Return what `report` says about a whole program, with tests or without."""
    outcome, detail = ended(report) or _finished(program, report)
    return of(report, outcome, detail, toolchain)


def of(report: Report, outcome: Outcome, detail: str, toolchain: str) -> Verdict:
    """Return a verdict with the figures of `report`."""
    return Verdict(
        outcome=outcome,
        detail=line(detail),
        exit_code=report.exit_code,
        stdout=report.stdout.decode("utf-8", "replace"),
        stderr=report.stderr.decode("utf-8", "replace"),
        cpu_s=report.cpu_s,
        wall_s=report.wall_s,
        peak_memory_mb=report.peak_memory_mb,
        toolchain=toolchain,
    )


def ended(report: Report) -> tuple[Outcome, str] | None:
    """Return why a program was ended from outside or by itself before its time; None if it finished."""
    if report.timed_out == "wall":
        return Outcome.WALL_TIMEOUT, f"still not finished after {report.wall_s:.1f} s"
    if report.timed_out:
        return Outcome.CPU_TIMEOUT, f"used {report.cpu_s:.1f} s of processor time"
    failed = report.exit_code != 0 or bool(report.error)
    if report.out_of_memory or (failed and _HEAP_IS_FULL.search(report.stderr[-65536:])):
        return Outcome.OUT_OF_MEMORY, report.error or "used more memory than it may"
    if report.output_limit:
        return Outcome.OUTPUT_LIMIT, "printed more than it may"
    if report.signal:
        return Outcome.CRASHED, _signal_name(report.signal)
    if report.error_kind == "syntax":
        return Outcome.COMPILE_ERROR, report.error
    if report.error_kind == "assert":
        return Outcome.WRONG_ANSWER, report.error
    if report.error_kind == "exit":
        return Outcome.EXITED_EARLY, report.error or "exited before its tests"
    if report.error_kind:
        return Outcome.EXCEPTION, report.error
    return None


def _finished(program: Program, report: Report) -> tuple[Outcome, str]:
    if program.tests and not report.completed:
        return Outcome.EXITED_EARLY, "ended before the end of its tests"
    if report.exit_code != 0:
        if report.exit_code is None:
            return Outcome.EXITED_EARLY, "ended without an exit code"
        return Outcome.EXCEPTION, _last_line(report.stderr) or f"exit code {report.exit_code}"
    if program.expected_stdout is not None:
        wrong = difference(report.stdout, program.expected_stdout, program.compare)
        if wrong:
            return Outcome.WRONG_ANSWER, wrong
    return Outcome.PASSED, ""


def line(text: str) -> str:
    """Return the first line that says something, at most 500 characters, without any that a terminal would obey."""
    first = next((stripped for part in text.splitlines() if (stripped := part.strip())), "")[:500]
    return first if first.isprintable() else "".join(c if c.isprintable() else f"{c!a}"[1:-1] for c in first)


def _last_line(data: bytes) -> str:
    lines = data[-4096:].decode("utf-8", "replace").splitlines()
    return next((stripped for part in reversed(lines) if (stripped := part.strip())), "")


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"ended by {name}"
