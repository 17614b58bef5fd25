"""Results side by side: the tables of a report, the paper's figures among them, and the form that lm-eval has.

Everything is a function of results alone, so that equal results give equal files.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

import orjson

from magicoder import statistics
from magicoder.published import Column, Ours, PublishedTable, published
from magicoder.scores import Attempt, Result, kind_of, percent, put
from magicoder.web.intervals import Estimate, chart

SIGNS: Final = {"confirmed": "", "total": "‡", "unverified": "†"}
_LEGEND: Final = (
    "Published figures: unmarked ones are confirmed by a third party that quotes or checked them; ‡ their total was "
    "computed again and agrees with a confirmed one; † recalled only, unverified. Ours stand in bold, with the number "
    "of tasks where it is not the whole benchmark."
)
_NUMBER: Final = re.compile(r"(\d+)\Z")
_STYLE: Final = (
    "body{font:15px/1.5 sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0;font-size:14px}th,td{border:1px solid #ddd;padding:.2rem .6rem;"
    "text-align:left;vertical-align:top}th{background:#f4f4f4}.wide{overflow-x:auto}svg{max-width:100%;height:auto}"
)

Titled = tuple[str, Result]
"""What a report calls a result, and the result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of a report: a title, a head, rows as long as it, and what is to be said below."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


# ---- tables


def leaderboard(results: Sequence[Titled]) -> Table:
    """Return a row a model (or file), a column a score, in per cent with 95 % intervals."""
    columns = list(dict.fromkeys((r.benchmark, s) for _, r in results for s in r.scores))
    cells: dict[str, dict[tuple[str, str], str]] = {}
    for name, result in results:
        for score in result.scores:
            cells.setdefault(name, {})[result.benchmark, score] = _pass_at_1(result, score)
    head = [f"{benchmark} {score}" if score != "all" else benchmark for benchmark, score in columns]
    rows = [(name, *(found.get(column, "") for column in columns)) for name, found in cells.items()]
    return Table(
        title="Leaderboard",
        head=("model", *head),
        rows=tuple(rows),
        note="pass@1 in %, with 95 % intervals over tasks.",
    )


def summary(results: Sequence[Titled]) -> Table:
    """Return lm-eval's table: a row a score and k, values between 0 and 1 with their standard errors."""
    rows = []
    for name, result in results:
        for score in result.scores:
            for k, found in result.pass_at(score).items():
                error = statistics.standard_error(list(result.shares(score, k).values()))
                label = result.benchmark if len(results) == 1 else f"{result.benchmark} ({name})"
                metric, value, stderr = f"pass@{k}", f"{found.estimate:.4f}", f"{error:.4f}"
                rows.append((label, result.version, _filter(score), "0", metric, "↑", value, "±", stderr))
    head = ("Tasks", "Version", "Filter", "n-shot", "Metric", "", "Value", "", "Stderr")
    return Table(
        title="Summary",
        head=head,
        rows=tuple(rows),
        note="No examples are given; answers made elsewhere may have seen some.",
    )


def failures(results: Sequence[Titled]) -> Table:
    """Return how often each kind of failure decided, a column a result and score."""
    columns = [(name, result, score) for name, result in results for score in result.scores]
    counts = [result.failures(score) for _, result, score in columns]
    total: Counter[str] = Counter()
    for found in counts:
        total.update(found)
    kinds = sorted(total, key=lambda kind: (-total[kind], kind))
    rows = [(f"`{kind}`", *(str(found.get(kind, 0)) for found in counts)) for kind in kinds]
    rows.append(("answers", *(str(len(result.attempts)) for _, result, _ in columns)))
    head = [f"{name}: {result.benchmark} {score}" for name, result, score in columns]
    note = "An outcome, or the type of an exception; failing an earlier check counts as that check's failure."
    return Table(title="Failures", head=("kind", *head), rows=tuple(rows), note=note)


def extraction(results: Sequence[Titled]) -> Table:
    """Return by which rule programs were found in answers, and how many of these pass."""
    rows = []
    for name, result in results:
        rules: dict[str, list[Attempt]] = {}
        for attempt in result.attempts:
            rules.setdefault(attempt.rule, []).append(attempt)
        for rule, tried in sorted(rules.items(), key=lambda item: (-len(item[1]), item[0])):
            passed = sum(attempt.passed(result.scores[-1]) for attempt in tried)
            noted = sum(bool(attempt.note) for attempt in tried)
            rows.append((name, result.benchmark, f"`{rule}`", str(len(tried)), str(noted), str(passed)))
    head = ("model", "benchmark", "rule", "answers", "with a note", "passed")
    return Table(title="How programs were found in answers", head=head, rows=tuple(rows))


def problems(results: Sequence[Titled]) -> list[Table]:
    """Return a table a benchmark: a row a task, and what came of it in each result and score."""
    tables = []
    for benchmark in dict.fromkeys(result.benchmark for _, result in results):
        some = [(name, result) for name, result in results if result.benchmark == benchmark]
        by_task = [result.by_task() for _, result in some]
        columns = [(i, name, score) for i, (name, result) in enumerate(some) for score in result.scores]
        tasks = dict.fromkeys(task for found in by_task for task in found)
        rows = [(task, *(_said(by_task[i].get(task, []), score) for i, _, score in columns)) for task in tasks]
        head = [name if score == "all" else f"{name} {score}" for _, name, score in columns]
        tables.append(Table(title=benchmark, head=("task", *head), rows=tuple(rows)))
    return tables


def self_check(results: Sequence[Titled]) -> Table:
    """Return what came of the canonical solutions, and the scores of the tasks that can be passed here."""
    rows = []
    for name, result in results:
        known, rest = len(result.exceptions), result.without_exceptions()
        for score in result.scores:
            here = _pass_at_1(rest, score) if known and rest.attempts else ""
            tried = f"{result.self_check - known} of {result.self_check}" if result.self_check else "not run"
            shown = ", ".join(result.surprises)
            rows.append((name, result.benchmark, score, tried, _pass_at_1(result, score), here, shown))
    head = ("model", "benchmark", "score", "canonical solutions pass", "all tasks", "those that pass here", "surprises")
    return Table(title="Self-check", head=head, rows=tuple(rows))


def beside_published(results: Sequence[Titled]) -> list[Table]:
    """Return the paper's tables, with ours below where a column can be compared."""
    tables = []
    for table in published().tables:
        rows = [(row.name, *(_figure(v, m) for v, m in zip(row.values, row.marks, strict=True))) for row in table.rows]
        for name, of_model in _by_name(results).items():
            ours = [_of_column(column, table, of_model) for column in table.columns]
            if any(ours):
                rows.append((f"**ours: {name}**", *(f"**{said}**" if said else "" for said in ours)))
        title = f"{table.id[0].upper()}{table.id[1:]}: {table.title}"
        head = ("model", *(column.name for column in table.columns))
        note = f"Source: {table.source}{', ' + table.id if table.id.startswith('table') else ''}."
        note += f" {table.note[0].upper()}{table.note[1:]}." if table.note else ""
        tables.append(Table(title=title, head=head, rows=tuple(rows), note=note))
    return tables


def _by_name(results: Sequence[Titled]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for name, result in results:
        found.setdefault(name, []).append(result)
    return found


def _of_column(column: Column, table: PublishedTable, results: Sequence[Result]) -> str:
    """Return our figure for a column, "" if there is none."""
    wanted = [column.ours] if column.ours else [c.ours for c in table.columns if c.ours] if column.total else []
    if wanted and wanted[0].mean_of:
        wanted = [c.ours for c in published().table(wanted[0].mean_of).columns if c.ours]
    shares = [share for ours in wanted for share in _shares(ours, results)]
    if not shares:
        return ""
    whole = sum(c.tasks for c in table.columns) if column.total else column.tasks or wanted[0].tasks
    of = f" of {len(shares)}" if (whole and len(shares) != whole) or (wanted and len(wanted) > 1) else ""
    return f"{100 * sum(shares) / len(shares):.1f}{of}"


def _shares(ours: Ours, results: Sequence[Result]) -> Iterator[float]:
    """Yield pass@1 of each task that fits, each once."""
    seen: set[str] = set()
    for result in results:
        if result.benchmark.partition("-")[0] != ours.benchmark or ours.score not in result.scores:
            continue
        for task, share in result.shares(ours.score).items():
            if task not in seen and _fits(task, ours):
                seen.add(task)
                yield share


def _fits(task: str, ours: Ours) -> bool:
    if not task.startswith(ours.prefix):
        return False
    if ours.numbers is None:
        return True
    number = _NUMBER.search(task)
    return number is not None and ours.numbers[0] <= int(number[1]) <= ours.numbers[1]


def _figure(value: float | None, mark: str) -> str:
    return "" if value is None else f"{value:.1f}{SIGNS[mark]}"


def _pass_at_1(result: Result, score: str) -> str:
    found = result.pass_at(score).get(1)
    return "" if found is None else percent(found)


def _said(tried: Sequence[Attempt], score: str) -> str:
    if not tried:
        return ""
    passed = sum(attempt.passed(score) for attempt in tried)
    if len(tried) > 1:
        return f"{passed}/{len(tried)}"
    return "pass" if passed else kind_of(tried[0], score)


def _filter(score: str) -> str:
    return "none" if score == "all" else score


# ---- lm-eval


def lm_eval(results: Sequence[Titled]) -> dict[str, Any]:
    """Return results in the shape of lm-eval's results file; where a benchmark has several, names stand behind it."""
    several = Counter(result.benchmark for _, result in results)
    found: dict[str, Any] = {}
    for name, result in results:
        label = result.benchmark if several[result.benchmark] == 1 else f"{result.benchmark}@{name}"
        metrics: dict[str, Any] = {"alias": label}
        for score in result.scores:
            for k, interval in result.pass_at(score).items():
                error = statistics.standard_error(list(result.shares(score, k).values()))
                metrics[f"pass@{k},{_filter(score)}"] = interval.estimate
                metrics[f"pass@{k}_stderr,{_filter(score)}"] = error
        found[label] = (result, metrics)
    kinds = {
        label: sorted({key.partition(",")[0] for key in metrics if "," in key and "stderr" not in key})
        for label, (_, metrics) in found.items()
    }
    return {
        "results": {label: metrics for label, (_, metrics) in found.items()},
        "group_subtasks": {label: [] for label in found},
        "configs": {
            label: {"task": label, "metadata": {"version": result.version, "profile": result.profile}}
            for label, (result, _) in found.items()
        },
        "versions": {label: result.version for label, (result, _) in found.items()},
        "n-shot": dict.fromkeys(found, 0),
        "higher_is_better": {label: dict.fromkeys(names, True) for label, names in kinds.items()},
        "n-samples": {
            label: {"original": len(result.by_task()), "effective": len(result.by_task())}
            for label, (result, _) in found.items()
        },
    }


# ---- files


def sections(results: Sequence[Titled]) -> list[tuple[str, list[Table], str]]:
    """Return what a report says: sections of a title, tables, and a sentence below."""
    return [
        ("Scores", [leaderboard(results), summary(results)], ""),
        ("What can be passed here", [self_check(results)], ""),
        ("What went wrong", [failures(results), extraction(results)], ""),
        ("Beside published figures", beside_published(results), _LEGEND),
    ]


def plot(results: Sequence[Titled]) -> str:
    """Return pass@1 with intervals as SVG."""
    estimates = [
        Estimate(
            group=result.benchmark if score == "all" else f"{result.benchmark} {score}",
            name=name,
            value=found.estimate,
            low=found.low,
            high=found.high,
        )
        for name, result in results
        for score in result.scores
        if (found := result.pass_at(score).get(1)) is not None
    ]
    return chart("pass@1 in %, with 95 % intervals over tasks", estimates)


def write(results: Sequence[Titled], folder: Path) -> list[str]:
    """Write the report's files, each whole or not at all, and return their names."""
    parts = sections(results)
    rows = problems(results)
    files = {
        "leaderboard.md": markdown(leaderboard(results), level=0),
        "problems.md": "# Problems\n\n" + "\n".join(markdown(table) for table in rows),
        "report.md": _page(parts),
        "report.html": _html_page(parts, plot(results)),
        "pass_at_1.svg": plot(results),
        "lm_eval.json": orjson.dumps(lm_eval(results), option=orjson.OPT_INDENT_2).decode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        put(folder / name, text.encode())
    return list(files)


def markdown(table: Table, *, level: int = 2) -> str:
    """Return a table as Markdown, with a title of that level (0 for none)."""
    lines = [f"{'#' * level} {table.title}", ""] if level else []
    lines += [_line(table.head), "|---" * len(table.head) + "|", *map(_line, table.rows)]
    return "\n".join([*lines, *(["", table.note] if table.note and level else []), ""])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def _page(parts: Sequence[tuple[str, list[Table], str]]) -> str:
    lines = ["# Evaluation", ""]
    for title, tables, below in parts:
        lines += [f"## {title}", "", *(markdown(table, level=3) for table in tables)]
        lines += [below, ""] if below else []
    return "\n".join(lines)


def _html_page(parts: Sequence[tuple[str, list[Table], str]], drawing: str) -> str:
    body = [f"<h1>Evaluation</h1>{drawing}"]
    for title, tables, below in parts:
        body += [f"<h2>{escape(title)}</h2>", *map(_html, tables), f"<p>{escape(below)}</p>" if below else ""]
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Evaluation</title><style>{_STYLE}</style>'
    )
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    return "\n".join([f"{head}{policy}</head><body>", *body, "</body></html>", ""])


def _html(table: Table) -> str:
    head = "".join(f"<th>{_marked(cell)}</th>" for cell in table.head)
    rows = "".join("<tr>" + "".join(f"<td>{_marked(c)}</td>" for c in row) + "</tr>\n" for row in table.rows)
    note = f"<p>{_marked(table.note)}</p>" if table.note else ""
    return f'<h3>{escape(table.title)}</h3><div class="wide"><table><tr>{head}</tr>\n{rows}</table></div>{note}'


def _marked(cell: str) -> str:
    """Return a cell's text with its bold and its code as HTML."""
    text = re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(cell))
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text)
