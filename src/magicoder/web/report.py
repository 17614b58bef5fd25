"""The report: one HTML file that shows a run, without network, server or build step.

What is shown is collected in one pass over the artifacts, in memory that does not grow with them, and chosen by the
digests of ids, so the same run gives the same page.
"""

import base64
import functools
import hashlib
from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Generic, TypeVar

import jinja2
from markupsafe import Markup

from magicoder.fingerprint import number
from magicoder.plugins import load, names
from magicoder.records import Rejection, Sample
from magicoder.store import Artifact
from magicoder.summary import StageCount, Summary
from magicoder.text.coverage import decontamination, evidence_of
from magicoder.text.lengths import Lengths
from magicoder.text.redaction import redactions
from magicoder.text.repetition import repetition
from magicoder.text.verdicts import Verdicts
from magicoder.web.passages import passages, source_address, visible

T = TypeVar("T")

EXAMPLES = 24
"""How many examples there are of all languages together, as long as each has at least `EXAMPLES_PER_LANGUAGE`."""

EXAMPLES_PER_LANGUAGE = 4
EXAMPLES_PER_REASON = 3
SHOWN_CHARACTERS = 6000
"""A text longer than this is cut on the page, and the page says by how much."""

HEADLINE = 150
"""Characters of an instruction that stand for it in the list of examples."""

TOP = 12
"""Rows of a table of repositories, licences or reasons; the rest is counted."""

NOTES = {
    "documents": "source files that passed the screens",
    "distinct_files": "of files that resemble each other, one",
    "seeds": "snippets drawn from the files",
    "distinct_seeds": "of snippets that resemble each other, one",
    "screened": "snippets in which no benchmark was found",
    "samples": "problems with solutions, made from the snippets",
    "cleaned": "without equal texts and broken code",
    "distinct_rows": "of pairs that resemble each other, one",
    "decontaminated": "rows in which no benchmark was found",
    "verified": "rows whose solutions were run",
}


class _Chosen(Generic[T]):
    """The values with the smallest digests of their ids: a fair choice that depends on nothing else."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._kept: list[tuple[int, str, T]] = []

    def offer(self, identity: str, value: T) -> None:
        rank = (number(identity, 63), identity)
        if len(self._kept) < self._at_most or rank < self._kept[-1][:2]:
            insort(self._kept, (*rank, value), key=lambda item: item[:2])
            del self._kept[self._at_most :]

    def values(self) -> list[T]:
        return [value for _, _, value in self._kept]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """What a report shows beside the summary.

    examples     language → published rows
    rejected     stage → reason → rejections
    """

    instruction_lengths: Lengths = field(default_factory=Lengths)
    response_lengths: Lengths = field(default_factory=Lengths)
    examples: Mapping[str, list[Sample]] = field(default_factory=dict)
    rejected: Mapping[str, Mapping[str, list[Rejection]]] = field(default_factory=dict)
    verdicts: Verdicts = field(default_factory=Verdicts)


def collect(samples: Artifact[Sample], stages: Iterable[Artifact[Any]]) -> ReportData:
    """Read published rows and rejections once, and keep lengths and a few of each kind."""
    instructions, responses, verdicts = Lengths(), Lengths(), Verdicts()
    examples: dict[str, _Chosen[Sample]] = {}
    for sample in samples:
        instructions.add(len(sample.instruction))
        responses.add(len(sample.response))
        verdicts.add(sample)
        examples.setdefault(sample.language, _Chosen(EXAMPLES)).offer(sample.id, sample)
    rejected: dict[str, dict[str, _Chosen[Rejection]]] = {}
    for artifact in stages:
        reasons = rejected.setdefault(artifact.manifest.stage, {})
        for rejection in artifact.rejections():
            reasons.setdefault(rejection.reason, _Chosen(EXAMPLES_PER_REASON)).offer(rejection.id, rejection)
    each = max(EXAMPLES_PER_LANGUAGE, EXAMPLES // max(1, len(examples)))
    return ReportData(
        instruction_lengths=instructions,
        response_lengths=responses,
        examples={language: chosen.values()[:each] for language, chosen in sorted(examples.items())},
        verdicts=verdicts,
        rejected={s: {r: chosen.values() for r, chosen in reasons.items()} for s, reasons in rejected.items()},
    )


def render(summary: Summary, data: ReportData) -> str:
    """Return the page. Every text of the run is escaped, and the page allows no script but its own."""
    script = _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _template().render(
        summary=summary,
        data=data,
        css=Markup(_asset("report.css")),  # noqa: S704 - our own file
        js=Markup(script),  # noqa: S704 - our own file, allowed by its digest
        script_digest=digest,
        steps=_steps(summary.stages),
        languages=_bars({_title(k): n for k, n in summary.languages.items()}, summary.rows, at_most=100),
        licenses=_bars(summary.licenses, summary.rows, at_most=TOP),
        repositories=_bars(summary.repositories, summary.rows, at_most=TOP),
        outcomes=_bars(data.verdicts.outcomes, summary.rows, at_most=TOP) if _were_run(summary) else None,
        histograms=[
            _histogram("Instruction", data.instruction_lengths),
            _histogram("Response", data.response_lengths),
        ],
        redactions=redactions({s.stage: s.facts for s in summary.stages}),
        repetition=repetition({s.stage: s.facts for s in summary.stages}),
        decontamination=decontamination({s.stage: s.facts for s in summary.stages}, names("benchmarks")),
        reasons={stage.stage: stage.reasons for stage in summary.stages},
        cost_per_thousand=_per_thousand(summary),
    )


def _were_run(summary: Summary) -> bool:
    return any(stage.stage == "verified" for stage in summary.stages)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bar:
    label: str
    count: int
    share: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bars:
    """Bars of a table, and what is left off: how many more there are, and the sum of their counts."""

    bars: list[_Bar]
    more: int
    more_count: int


def _bars(counts: Mapping[str, int], whole: int, at_most: int) -> _Bars:
    shown = list(counts.items())[:at_most]
    rest = list(counts.values())[at_most:]
    largest = max(counts.values(), default=0)
    return _Bars(
        bars=[_Bar(label=label, count=n, share=_percent(n, whole), width=_percent(n, largest)) for label, n in shown],
        more=len(rest),
        more_count=sum(rest),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One step of the funnel; widths are per cent of the largest step that counts the same unit."""

    count: StageCount
    note: str
    kept_width: float
    rejected_width: float
    reasons: _Bars


def _steps(stages: Iterable[StageCount]) -> list[_Step]:
    stages = list(stages)
    largest: dict[str, int] = {}
    for s in stages:
        largest[s.unit] = max(largest.get(s.unit, 0), s.kept + s.rejected)
    return [
        _Step(
            count=s,
            note=NOTES.get(s.stage, ""),
            kept_width=_percent(s.kept, largest[s.unit]),
            rejected_width=_percent(s.rejected, largest[s.unit]),
            reasons=_bars(s.reasons, s.rejected, at_most=TOP),
        )
        for s in stages
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    x: float
    width: float
    height: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Histogram:
    """A drawing 1000 wide and 100 high, its scale, and the figures below it."""

    title: str
    columns: list[_Column]
    ticks: list[tuple[float, str]]
    median_x: float
    figures: dict[str, int | float]


def _histogram(title: str, lengths: Lengths) -> _Histogram:
    bins = lengths.bins(at_most=40)
    highest = max((b.count for b in bins), default=0)
    step = 1000 / max(1, len(bins))
    columns = [
        _Column(
            x=round(i * step, 2),
            width=round(step, 2),
            height=round(100 * b.count / highest, 2),
            label=f"{b.first:,} to {b.last:,}: {b.count:,}"
            if b.last is not None
            else f"{b.first:,} or more: {b.count:,}",
        )
        for i, b in enumerate(bins)
    ]
    every = max(1, len(bins) // 4)
    ticks = [
        (round(i * step / 10, 2), f"{b.first:,}") for i, b in enumerate(bins) if i % every == 0 and i * step <= 900
    ]
    scale = bins[0].last + 1 if bins and bins[0].last is not None else 1
    median_x = min(1000.0, round(lengths.quantile(0.5) / scale * step, 2)) if bins else 0.0
    return _Histogram(title=title, columns=columns, ticks=ticks, median_x=median_x, figures=lengths.summary())


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def _per_thousand(summary: Summary) -> float | None:
    return None if summary.cost_usd is None or not summary.rows else 1000 * summary.cost_usd / summary.rows


def _title(language: str) -> str:
    return load("languages", language).title if language in names("languages") else language


def _provenance(sample: Sample) -> str:
    at = f"@{sample.commit}" if sample.commit else ""
    return f"{sample.repository}{at}:{sample.path}#L{sample.first_line}-L{sample.last_line}"


def _address(sample: Sample) -> str:
    return source_address(sample.repository, sample.commit, sample.path, (sample.first_line, sample.last_line))


def _cut(text: str) -> tuple[str, int]:
    """Return what of a text is shown, and how many characters are not."""
    return text[:SHOWN_CHARACTERS], max(0, len(text) - SHOWN_CHARACTERS)


def _headline(text: str) -> str:
    """Return the first line that says something, without Markdown, cut after a word."""
    plain = text.replace("`", "").replace("**", "")
    line = next((line.strip(" #*") for line in plain.splitlines() if line.strip(" #*")), "")
    return visible(line if len(line) <= HEADLINE else line[:HEADLINE].rsplit(" ", 1)[0] + " …")


def _short(value: int) -> str:
    """Return a number to three digits when it is long: 39.1 M."""
    for size, name in ((10**9, "B"), (10**6, "M")):
        if value >= size:
            return f"{value / size:,.3g} {name}" if value < 1000 * size else f"{value / size:,.0f} {name}"
    return f"{value:,}"


def _evidence(detail: str) -> list[tuple[str, str]]:
    """Return a rejection's detail as pairs: the fields of its JSON, or the text without a name."""
    found = evidence_of(detail)
    if isinstance(found, dict):
        return [(str(key), visible(str(value))) for key, value in found.items()]
    return [("", visible(detail))] if detail else []


def _asset(name: str) -> str:
    return (resources.files("magicoder.web") / "templates" / name).read_text(encoding="utf-8")


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("magicoder.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "n": "{:,}".format,
        "short": _short,
        "usd": "{:,.2f}".format,
        "pct": "{:.1f}".format,
        "title": _title,
        "passages": passages,
        "visible": visible,
        "cut": _cut,
        "headline": _headline,
        "evidence": _evidence,
        "provenance": _provenance,
        "address": _address,
    }
    return environment.get_template("report.html.j2")
