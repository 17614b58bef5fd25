"""What a person sees in a terminal: progress on stderr, tables and summaries as plain text."""

import itertools
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from magicoder.store import Progress
from magicoder.summary import StageCount, Summary

if TYPE_CHECKING:
    from magicoder.money import LedgerRow
    from magicoder.planning import Forecast, Shown


def say(text: str = "") -> None:
    """Write a line for a person: stderr, so that stdout stays data."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Bar:
    """A progress bar with rate and time left; silent where stderr is not a terminal."""

    def __init__(self, stage: str, *, quiet: bool) -> None:
        self.stage = stage
        self.quiet = quiet
        self.bar: object | None = None

    def expect(self, total: int | None, unit: str) -> None:
        """Show an empty bar."""
        from tqdm import tqdm

        self.bar = tqdm(
            total=total,
            desc=f"{self.stage:<14}",
            unit=f" {unit}",
            unit_scale=False,
            dynamic_ncols=True,
            mininterval=0.2,
            leave=False,
            disable=True if self.quiet else None,
        )

    def tick(self, count: int, note: str = "") -> None:
        """Move the bar."""
        if self.bar is None:
            return
        if note:
            self.bar.set_postfix_str(note, refresh=False)  # type: ignore[attr-defined]
        self.bar.update(count)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()  # type: ignore[attr-defined]


class Watch:
    """Shows each stage's bar while it runs, and one line when it is done."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.bar: Bar | None = None

    def stage(self, name: str) -> Progress:
        """Start a stage's bar."""
        self.bar = Bar(name, quiet=self.quiet)
        return self.bar

    def done(self, count: StageCount, *, built: bool) -> None:
        """Replace the bar by the stage's result."""
        self.close()
        if not self.quiet:
            say(f"{count.stage:<14} {_result(count)}" + ("" if built else "  (done before)"))

    def warn(self, text: str) -> None:
        """Say it on a line of its own."""
        say(f"note: {text}")

    def close(self) -> None:
        """Take the bar away, also after an error."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _result(count: StageCount) -> str:
    text = f"{count.kept:>9,} kept  {count.rejected:>8,} rejected"
    if count.reasons:
        top = list(count.reasons.items())[:3]
        more = f", {len(count.reasons) - 3} more reasons" if len(count.reasons) > 3 else ""
        text += "  (" + ", ".join(f"{reason} {number:,}" for reason, number in top) + more + ")"
    return text


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
    return text


def forecast_text(forecast: "Forecast") -> str:
    """Return what a run would cost, for the terminal."""
    e = forecast.estimate
    money = (
        [("cost, USD", *(f"{usd:,.2f}" for usd in (e.usd_low, e.usd_likely, e.usd_high)))]
        if e.usd_low is not None
        else []
    )
    rows = [
        ("prompt tokens", e.prompt_tokens, e.prompt_tokens, e.prompt_tokens),
        ("completion tokens", e.completion_low, e.completion_likely, e.completion_high),
        *money,
    ]
    lines = [
        f"{forecast.seeds:,} seeds, {forecast.turns:.1f} prompts each; "
        f"{forecast.answered:.0%} of them answered by the journal already",
        f"{e.requests:,} requests to pay for",
        "",
        table(["", "low", "likely", "high"], rows),
        "",
        e.method,
    ]
    if not money:
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
    header = ["model", "went to", "answers", "tokens in", "tokens out", "USD", "USD per published row"]
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
