"""Publish a dataset: Parquet, the JSON Lines forms, card, attribution, decontamination evidence, figures, checksums.

The folder is complete in itself: it can be given to `datasets.load_dataset` or uploaded to a hub as it stands. Its
bytes depend on the rows and the settings only: no clock times, no machine's name or paths.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import orjson
import pyarrow.parquet as pq

from magicoder.errors import RecipeError, StoreError
from magicoder.plugins import load, names, suggest
from magicoder.plugins import summary as plugin_note
from magicoder.records import Measurement, Rejection, Sample
from magicoder.schema import schema_of, to_table
from magicoder.store import Artifact, Progress, Silent, explained
from magicoder.summary import Summary
from magicoder.text.attribution import Attribution
from magicoder.text.card import DATA_FILES, Card, Step, render_card, render_license
from magicoder.text.coverage import Decontamination, decontamination, evidence_of
from magicoder.text.lengths import Lengths, line_count
from magicoder.text.redaction import redactions
from magicoder.text.repetition import repetition
from magicoder.text.verdicts import Verdicts

ROW_GROUP_ROWS = 1000
"""Rows of a Parquet row group, and of memory: no more rows than these are held at a time."""

MEASURED = ("instruction, characters", "instruction, lines", "response, characters", "response, lines")


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Writes the dataset folder.

    formats              any of `parquet`, `original`, `messages`, `instruction`
    shard_rows           rows of a Parquet file
    instruction_prefix   put before a problem of `oss_instruct` in the forms `messages` and `instruction`, as the
                         original does when it prepares its data for training
    measurements         also write what each row's program took (`measurements.jsonl`); the figures are those of the
                         run that first measured them, so that the folder is no longer the same on every machine
    """

    formats: tuple[str, ...] = ("parquet", "original", "messages", "instruction")
    shard_rows: int = 50_000
    instruction_prefix: str = "Write a solution to the following coding problem:\n"
    measurements: bool = False

    def __post_init__(self) -> None:
        for name in self.formats:
            if name not in DATA_FILES:
                known = list(DATA_FILES)
                raise RecipeError(
                    f"export.formats: {name!r} is unknown{suggest(name, known)}; there are: {', '.join(known)}"
                )
        if not self.formats:
            raise RecipeError(f"export.formats is empty; name at least one of: {', '.join(DATA_FILES)}")
        if self.shard_rows < 1:
            raise RecipeError(f"export.shard_rows must be at least 1, not {self.shard_rows}")

    def run(
        self,
        samples: Artifact[Sample],
        folder: Path,
        summary: Summary,
        evidence: Iterable[Rejection],
        *,
        measured: Iterable[Measurement] = (),
        progress: Progress | None = None,
    ) -> None:
        """Write the dataset into the empty `folder`, in memory that does not grow with the number of rows.

        evidence         what decontamination rejected; the details are JSON text
        measured         what programs took, of these rows and perhaps of others

        Raises:
            StoreError: a row does not say where its seed is from, or the disk is full or read-only.
        """
        assert summary.rows == samples.manifest.rows, "the summary is of other rows"
        progress = progress or Silent()
        progress.expect(summary.rows, "rows")
        with explained(folder), Attribution() as attribution:
            figures = _Figures()
            self._write_rows(samples, folder, attribution, figures, progress)
            attribution.write_jsonl(folder / "ATTRIBUTION.jsonl")
            attribution.write_markdown(folder / "ATTRIBUTION.md", summary.name)
            card = _card(summary, self.formats, figures, attribution.licenses())
            _write_text(folder / "README.md", render_card(card))
            _write_text(folder / "LICENSE.md", render_license(card))
            _write_text(folder / "recipe.yaml", summary.recipe.rstrip("\n") + "\n")
            _write_evidence(folder / "decontamination.json", summary, card.decontamination, evidence)
            statistics = _statistics(summary, figures, attribution.licenses())
            if self.measurements:
                _write_measurements(folder / "measurements.jsonl", samples, measured)
            _write_text(folder / "stats.json", orjson.dumps(statistics, option=orjson.OPT_INDENT_2).decode() + "\n")
            _write_checksums(folder)

    def _write_rows(
        self, samples: Artifact[Sample], folder: Path, attribution: Attribution, figures: "_Figures", progress: Progress
    ) -> None:
        with ExitStack() as stack:
            outputs: list[_Parquet | _JsonLines] = []
            if "parquet" in self.formats:
                shards = max(1, -(-samples.manifest.rows // self.shard_rows))
                outputs.append(stack.enter_context(_Parquet(folder / "data", shards)))
            forms = [form for form in FORMS if form in self.formats]
            if forms:
                outputs.append(stack.enter_context(_JsonLines(folder / "jsonl", forms, self.instruction_prefix)))
            for shard, rows in _batches(samples, self.shard_rows):
                for row in rows:
                    _check_provenance(row)
                for output in outputs:
                    output.write(shard, rows)
                attribution.add(rows)
                figures.add(rows)
                progress.tick(len(rows))


def _batches(samples: Iterable[Sample], shard_rows: int) -> Iterator[tuple[int, list[Sample]]]:
    """Yield a shard's number and the next rows of it, at most a row group, never across two shards."""
    rows = iter(samples)
    for shard in itertools.count():
        left = shard_rows
        while left:
            batch = list(itertools.islice(rows, min(left, ROW_GROUP_ROWS)))
            if not batch:
                return
            yield shard, batch
            left -= len(batch)


def _check_provenance(row: Sample) -> None:
    missing = [name for name in ("repository", "path", "first_line") if not getattr(row, name)]
    if missing:
        raise StoreError(
            f"row {row.id!r} does not say where its seed is from ({', '.join(missing)} missing), and a row without "
            "provenance is never published; delete the run's stage folders and run again"
        )


class _Parquet:
    """The shards, one open at a time, one row group a write. Without rows there is one shard that holds the schema."""

    def __init__(self, folder: Path, shards: int) -> None:
        folder.mkdir()
        self._paths = [folder / f"train-{i:05d}-of-{shards:05d}.parquet" for i in range(shards)]
        self._opened = 0
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        self._open_next()
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer:
            self._writer.close()

    def write(self, shard: int, rows: list[Sample]) -> None:
        if shard == self._opened:
            self._open_next()
        assert self._writer is not None
        self._writer.write_table(to_table(Sample, rows), row_group_size=ROW_GROUP_ROWS)

    def _open_next(self) -> None:
        if self._writer:
            self._writer.close()
        path = self._paths[self._opened]
        self._writer = pq.ParquetWriter(path, schema_of(Sample), compression="zstd", compression_level=6)
        self._opened += 1


class _JsonLines:
    """The JSON Lines files, one a form."""

    def __init__(self, folder: Path, forms: list[str], prefix: str) -> None:
        folder.mkdir()
        self._prefix = prefix
        self._files = {form: (folder / f"{form}.jsonl").open("wb") for form in forms}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def write(self, _shard: int, rows: list[Sample]) -> None:
        for form, file in self._files.items():
            make = FORMS[form]
            file.writelines(orjson.dumps(make(row, self._prefix), option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def original_form(row: Sample, _prefix: str) -> dict[str, Any]:
    """Return the columns of the published OSS-Instruct dataset, in its order."""
    return {
        "lang": row.language,
        "raw_index": row.raw_index,
        "index": row.index,
        "seed": row.seed,
        "openai_fingerprint": row.fingerprint,
        "problem": row.instruction,
        "solution": row.response,
    }


def messages_form(row: Sample, prefix: str) -> dict[str, Any]:
    """Return a row as chat turns."""
    texts = (_asked(row, prefix), *row.turns, row.response)
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return {"messages": turns, "id": row.id}


def instruction_form(row: Sample, prefix: str) -> dict[str, Any]:
    """Return a row as instruction and response."""
    return {"instruction": _asked(row, prefix), "response": row.response, "id": row.id}


FORMS = {"original": original_form, "messages": messages_form, "instruction": instruction_form}


def _asked(row: Sample, prefix: str) -> str:
    return prefix + row.instruction if row.strategy == "oss_instruct" else row.instruction


class _Figures:
    """Rows and lengths by language, counted as rows go by."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.lengths: dict[str, dict[str, Lengths]] = {}
        self.verdicts = Verdicts()

    def add(self, rows: list[Sample]) -> None:
        for row in rows:
            self.rows[row.language] += 1
            self.verdicts.add(row)
            lengths = self.lengths.setdefault(row.language, {name: Lengths() for name in MEASURED})
            for text, (characters, lines) in ((row.instruction, MEASURED[:2]), (row.response, MEASURED[2:])):
                lengths[characters].add(len(text))
                lengths[lines].add(line_count(text))

    def overall(self) -> dict[str, Lengths]:
        total = {name: Lengths() for name in MEASURED}
        for lengths in self.lengths.values():
            for name in MEASURED:
                total[name].merge(lengths[name])
        return total


def _card(summary: Summary, formats: tuple[str, ...], figures: _Figures, licenses: dict[str, int]) -> Card:
    described = summary.strategy in names("strategies")
    return Card(
        name=summary.name,
        rows=summary.rows,
        strategy=summary.strategy,
        strategy_note=plugin_note("strategies", summary.strategy) if described else "",
        teacher=summary.teacher,
        recipe=summary.recipe,
        formats=formats,
        steps=tuple(
            Step(stage=s.stage, unit=s.unit, kept=s.kept, rejected=s.rejected, reasons=s.reasons)
            for s in summary.stages
        ),
        languages={
            _title(name): figures.rows[name] for name in sorted(figures.rows, key=lambda n: (-figures.rows[n], n))
        },
        licenses=licenses,
        repositories=len(summary.repositories),
        lengths=figures.overall(),
        decontamination=decontamination({s.stage: s.facts for s in summary.stages}, names("benchmarks")),
        prompt_tokens=summary.prompt_tokens,
        completion_tokens=summary.completion_tokens,
        cost_usd=summary.cost_usd,
        redactions=redactions({s.stage: s.facts for s in summary.stages}),
        repetition=repetition({s.stage: s.facts for s in summary.stages}),
        verdicts=figures.verdicts if _were_run(summary) else None,
        from_instructions=described and load("strategies", summary.strategy).seed_kind == "instruction",
    )


def _were_run(summary: Summary) -> bool:
    return any(stage.stage == "verified" for stage in summary.stages)


def _title(language: str) -> str:
    return load("languages", language).title if language in names("languages") else language


def _statistics(summary: Summary, figures: _Figures, licenses: dict[str, int]) -> dict[str, Any]:
    def measured(lengths: dict[str, Lengths]) -> dict[str, Any]:
        return {name.replace(", ", "_"): lengths[name].summary() for name in MEASURED}

    return {
        "name": summary.name,
        "strategy": summary.strategy,
        "teacher": summary.teacher,
        "rows": summary.rows,
        "steps": [{k: v for k, v in asdict(stage).items() if k != "facts"} for stage in summary.stages],
        "verdicts": figures.verdicts.summary() if _were_run(summary) else None,
        "near_duplicates": {s.stage: s.facts for s in summary.stages if "comparisons" in s.facts},
        "lengths": measured(figures.overall()),
        "languages": {
            name: {"rows": figures.rows[name], **measured(figures.lengths[name])} for name in sorted(figures.rows)
        },
        "licenses": licenses,
        "repositories": len(summary.repositories),
        "prompt_tokens": summary.prompt_tokens,
        "completion_tokens": summary.completion_tokens,
        "cost_usd": summary.cost_usd,
    }


def _write_evidence(path: Path, summary: Summary, checked: Decontamination, evidence: Iterable[Rejection]) -> None:
    """Write what was searched for, then one match a line: valid JSON as a whole, and never whole in memory."""
    head = {
        "decontaminated": bool(checked.covered),
        "not_covered": checked.not_covered,
        "stages": {s.stage: s.facts for s in summary.stages if "benchmarks" in s.facts},
    }
    with path.open("wb") as f:
        f.write(orjson.dumps(head, option=orjson.OPT_INDENT_2).removesuffix(b"\n}") + b',\n  "matches": [')
        separator = b"\n    "
        for r in evidence:
            match = {"id": r.id, "language": r.language, "stage": r.stage, "reason": r.reason}
            f.write(separator + orjson.dumps(match | {"evidence": evidence_of(r.detail)}))
            separator = b",\n    "
        f.write(b"\n  ]\n}\n" if separator.startswith(b",") else b"]\n}\n")


def _write_measurements(path: Path, samples: Iterable[Sample], measured: Iterable[Measurement]) -> None:
    """Write what the programs of the rows took, in the rows' order; both come in the order of the stage."""
    figures = iter(measured)
    with path.open("wb") as f:
        for row in samples:
            if row.outcome:
                figure = next(figure for figure in figures if figure.id == row.id)
                f.write(orjson.dumps(asdict(figure), option=orjson.OPT_APPEND_NEWLINE))


def _write_checksums(folder: Path) -> None:
    """Write SHA256SUMS in the form that `sha256sum --check` reads."""
    lines = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as f:
            lines.append(f"{hashlib.file_digest(f, 'sha256').hexdigest()}  {path.relative_to(folder).as_posix()}\n")
    _write_text(folder / "SHA256SUMS", "".join(lines))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
