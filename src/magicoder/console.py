"""What a person sees in a terminal: progress on stderr, tables and summaries as plain text."""

import itertools
import shutil
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from magicoder.progress import Progress, Silent
from magicoder.summary import StageCount, Summary, VerdictCount

if TYPE_CHECKING:
    from tqdm import tqdm

    from magicoder.money import LedgerRow
    from magicoder.planning import Forecast, Shown
    from magicoder.text.benchmark_index import Index


def say(text: str = "") -> None:
    """Write a line for a person: stderr, so that stdout stays data."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Bar:
    """A progress bar with rate and time left; its clock goes on while nothing is done."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.bar: tqdm[Any] | None = None
        self.over = threading.Event()
        self.clock = threading.Thread(target=self._go_on, daemon=True)

    def expect(self, total: int | None, unit: str) -> None:
        """Show an empty bar."""
        self.bar = _bar()(
            total=total, desc=_label(self.stage), unit=f" {unit}", dynamic_ncols=True, mininterval=0.2, leave=False
        )
        self.clock.start()

    def tick(self, count: int, note: str = "") -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(count)

    def hide(self) -> None:
        """Clear the bar's line until it moves or its clock does."""
        if self.bar is not None:
            self.bar.clear()

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.over.set()
            self.clock.join()
            self.bar.close()

    def _go_on(self) -> None:
        while self.bar is not None and not self.over.wait(1.0):
            self.bar.refresh()


class Lines:
    """Progress where stderr is a file or a pipe: a line every half minute, for logs and those who wait beside them."""

    def __init__(self, stage: str, *, every_s: float = 30.0) -> None:
        self.stage = stage
        self.every_s = every_s
        self.unit = ""
        self.total: int | None = None
        self.count = self.said_count = 0
        self.began = self.said = time.monotonic()

    def expect(self, total: int | None, unit: str) -> None:
        """Remember what is to come."""
        self.total, self.unit = total, unit

    def tick(self, count: int, note: str = "") -> None:
        """Say how far it is, if the last line is old."""
        self.count += count
        now = time.monotonic()
        if now - self.said < self.every_s:
            return
        rate = (self.count - self.said_count) / max(now - self.said, 1e-9)
        self.said, self.said_count = now, self.count
        line = _bar().format_meter(
            self.count,
            self.total or 0,
            now - self.began,
            ncols=0,
            prefix=_label(self.stage),
            unit=f" {self.unit}",
            rate=rate,
            postfix=note,
        )
        say(line)

    def close(self) -> None:
        """Leave the lines as they are."""


class Watch:
    """Shows how far each stage is while it runs, and one line when it is done."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.shown: Bar | Lines | None = None

    def stage(self, name: str) -> Progress:
        """Start to show a stage."""
        self.close()
        if self.quiet:
            return Silent()
        self.shown = Bar(name) if sys.stderr.isatty() else Lines(name)
        return self.shown

    def done(self, count: StageCount, *, built: bool) -> None:
        """Replace the bar by the stage's result."""
        self.close()
        if not self.quiet:
            say(f"{_label(count.stage)} {_result(count)}" + ("" if built else "  (done before)"))

    def warn(self, text: str) -> None:
        """Say it on a line of its own, above a bar."""
        if isinstance(self.shown, Bar):
            self.shown.hide()
        say(f"note: {text}")

    def close(self) -> None:
        """Take the bar away, also after an error."""
        if self.shown is not None:
            self.shown.close()
            self.shown = None


@cache
def _bar() -> "type[tqdm[Any]]":
    """Return tqdm's bar, which writes what is slow as `35.20s/ steps`, so that it is `35.20 s/step` instead."""
    from tqdm import tqdm

    class Meter(tqdm):  # type: ignore[type-arg]  # its class takes no argument when it runs
        @staticmethod
        def format_meter(*args: Any, **options: Any) -> str:
            unit = str(options.get("unit", ""))
            shown = tqdm.format_meter(*args, **options)
            return shown.replace(f"s/{unit}", f" s/{unit.strip().removesuffix('s')}") if unit.strip() else shown

    return Meter


def _label(stage: str) -> str:
    return f"{stage:<14}"


def _result(count: StageCount) -> str:
    text = f"{count.kept:>9,} kept  {count.rejected:>8,} rejected"
    if count.reasons:
        top = list(count.reasons.items())[:3]
        more = f", {len(count.reasons) - 3} more reasons" if len(count.reasons) > 3 else ""
        text += "  (" + ", ".join(f"{reason} {number:,}" for reason, number in top) + more + ")"
    return text


def verdict_text(counts: list[VerdictCount], failed: Iterable[tuple[str, str, str]], isolation: str) -> str:
    """Return what came of the programs by language, and the first of those that did not pass."""
    if not counts:
        return "No rows: nothing was run."
    outcomes = list(counts[-1].outcomes)
    rows = [
        (
            count.language or "all",
            count.rows,
            *(count.outcomes.get(outcome, 0) or "" for outcome in outcomes),
            "" if count.strength is None else f"{count.strength:.2f}",
        )
        for count in counts
    ]
    checked = ", ".join(f"{name} {number:,}" for name, number in counts[-1].checked.items())
    lines = [table(["language", "rows", *outcomes, "test strength"], rows), ""]
    lines += [f"Rests on {checked}." if checked else "Nothing could be run.", f"Isolation: {isolation}"]
    shown = list(itertools.islice(failed, 21))
    if shown:
        lines += ["", "Not passed:", *(f"  {i}  {outcome}  {detail}".rstrip() for i, outcome, detail in shown[:20])]
        lines += ["  … (all of them: --json)"] if len(shown) > 20 else []
    return "\n".join(lines)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as aligned text columns; numbers are set to the right with thousands separators."""
    lines = [[_cell(v) for v in row] for row in rows]
    values = [list(row) for row in zip(*([list(header), *lines]), strict=True)]
    widths = [max(len(v) for v in column) for column in values]
    numeric = [all(v.replace(",", "").replace(".", "").isdigit() for v in column[1:]) for column in values]

    def line(cells: Sequence[str]) -> str:
        padded = (c.rjust(w) if right else c.ljust(w) for c, w, right in zip(cells, widths, numeric, strict=True))
        return "  ".join(padded).rstrip()

    return "\n".join([line(list(header)), line(["-" * w for w in widths]), *map(line, lines)])


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def summary_text(summary: Summary) -> str:
    """Return a run's outcome for the terminal: rows per language, rejections per stage and reason."""
    languages = table(["language", "rows"], [*summary.languages.items(), ("total", summary.rows)])
    reasons = [(c.stage, reason, number) for c in summary.stages for reason, number in c.reasons.items()]
    text = f"Rows per language\n{languages}\n"
    if reasons:
        text += f"\nRejections per reason\n{table(['stage', 'reason', 'count'], reasons)}\n"
    if summary.prompt_tokens or summary.completion_tokens:
        cost = "" if summary.cost_usd is None else f", {summary.cost_usd:,.2f} USD"
        text += f"\nTokens: {summary.prompt_tokens:,} in, {summary.completion_tokens:,} out{cost}\n"
    return f"{text}\n{_checked(summary)}\n"


def _checked(summary: Summary) -> str:
    """Say which benchmarks the rows are free of; that they were held against none is said as plainly."""
    facts = next(count.facts for count in summary.stages if count.stage == "decontaminated")
    if facts["mode"] == "off":
        return "Not decontaminated: the recipe says `decontaminate: {mode: off}`."
    if not facts["benchmarks"]:
        return "Not decontaminated: no benchmark files at hand; give their folder with --data (docs/benchmarks.md)."
    tasks = sum(b["tasks"] for b in facts["benchmarks"])
    partly = f"; only partly: {', '.join(facts['partly_covered'])}" if facts["partly_covered"] else ""
    missing = f"; not at hand: {', '.join(facts['not_covered'])}" if facts["not_covered"] else ""
    origins = dict.fromkeys(o for b in facts["benchmarks"] if (o := b.get("origin", "files")) != "files")
    by_index = f", by the {', '.join(origins)}" if origins else ""
    return f"Decontaminated: {len(facts['benchmarks'])} benchmarks, {tasks:,} tasks{by_index}{partly}{missing}."


def index_text(index: "Index") -> str:
    """Return what an index of benchmarks holds, for the terminal."""
    counts = [Counter(entry.benchmark for entry in layer) for layer in (index.texts, index.solutions, index.statements)]
    rows = [(name, s.version, s.tasks, *(c[name] for c in counts)) for name, s in index.sources.items()]
    return table(["benchmark", "version", "tasks", "texts", "solutions", "statements"], rows)


def forecast_text(forecast: "Forecast") -> str:
    """Return what a run would cost, for the terminal."""
    e = forecast.estimate
    towards = f", the target takes about {forecast.asked:,} of them" if forecast.asked < forecast.seeds else ""
    money = (
        [("cost, USD", *(f"{usd:,.2f}" for usd in (e.usd_low, e.usd_likely, e.usd_high)))]
        if e.usd_low is not None
        else []
    )
    rows = [
        ("prompt tokens", e.prompt_low, e.prompt_tokens, e.prompt_high),
        ("completion tokens", e.completion_low, e.completion_likely, e.completion_high),
        *money,
    ]
    lines = [
        f"{forecast.seeds:,} seeds{towards}, {forecast.turns:.1f} prompts each; "
        f"{forecast.answered:.0%} of them answered by the journal already",
        f"{e.requests:,} requests to pay for",
        "",
        table(["", "low", "likely", "high"], rows),
        "",
        e.method,
    ]
    if forecast.price is not None:
        p = forecast.price
        source = ", ".join(filter(None, (p.source, p.as_of, "" if p.verified else "unverified")))
        rates = f"{p.usd_per_million_prompt_tokens:g} in, {p.usd_per_million_completion_tokens:g} out"
        lines.append(f"prices, USD per million tokens: {rates} ({source})")
    else:
        lines.append("The price of this model is not known: set usd_per_million_prompt_tokens and …completion_tokens.")
    return "\n".join(lines)


def preview_text(shown: "Sequence[Shown]") -> str:
    """Return what became of a few seeds: asked and answered side by side, then the parse and the verdict."""
    blocks = []
    for one in shown:
        head = f"{one.seed.id}  [{one.seed.language}]"
        block = [head, "=" * min(len(head), 100)]
        for turn in one.turns:
            block += [beside(turn.prompt.messages[-1].content, turn.answer, ("asked", "answered"))]
        for sample in one.samples:
            block += [
                beside(sample.instruction, sample.response, (f"instruction ({sample.parser or 'parsed'})", "response"))
            ]
        block += [f"verdict: {'; '.join(one.verdicts)}", ""]
        blocks.append("\n".join(block))
    return "\n".join(blocks)


def beside(left: str, right: str, titles: tuple[str, str]) -> str:
    """Return two texts in two columns as wide as the terminal."""
    width = max(20, (shutil.get_terminal_size((160, 24)).columns - 3) // 2)

    def wrapped(text: str) -> list[str]:
        return [part for line in text.split("\n") for part in textwrap.wrap(line, width, drop_whitespace=False) or [""]]

    columns = itertools.zip_longest(
        [titles[0], "-" * width, *wrapped(left)], [titles[1], "-" * width, *wrapped(right)], fillvalue=""
    )
    return "\n".join(f"{a:<{width}} | {b}".rstrip() for a, b in columns) + "\n"


def ledger_text(rows: "Sequence[LedgerRow]") -> str:
    """Return where the money went, for the terminal."""
    header = ["model", "went to", "count", "tokens in", "tokens out", "USD", "USD per published row"]
    return table(
        header,
        [
            (
                r.model or "(no teacher)",
                r.reason or "published rows",
                r.requests,
                r.prompt_tokens,
                r.completion_tokens,
                "?" if r.usd is None else f"{r.usd:,.4f}",
                "" if r.usd_per_accepted_row is None else f"{r.usd_per_accepted_row:,.6f}",
            )
            for r in rows
        ],
    )
