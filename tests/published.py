"""Runs made by hand, as the pipeline would publish them: for the tests of export, card and report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magicoder.records import Rejection, Sample
from magicoder.stages.export import Export
from magicoder.store import Artifact, RunFolder
from magicoder.summary import Summary, count_column, count_stage, sum_column

FACTS = {
    "benchmarks": [
        {"benchmark": "humaneval", "version": "1.0", "license": "MIT", "tasks": 164, "patterns": 326, "hits": 2},
        {"benchmark": "mbpp", "version": "2021", "license": "CC-BY-4.0", "tasks": 500, "patterns": 998, "hits": 0},
    ],
    "methods": ["lower-cased substrings"],
    "partly_covered": {"mbpp": "500 of 974 tasks at hand"},
    "tasks_not_searched": ["humaneval HumanEval/53"],
}

COMPARED = {
    "threshold": 0.7,
    "keep": "first",
    "records": 1200,
    "equal": 31,
    "comparisons": [
        {
            "compared": "samples",
            "clusters": 41,
            "removed": 57,
            "candidate_pairs": 301,
            "verified_pairs": 299,
            "joined_pairs": 58,
            "sizes": [{"from": 2, "to": 2, "clusters": 40}, {"from": 16, "to": 31, "clusters": 1}],
            "largest": [{"kept": "code:<b>.py#L1/s[0]", "size": 18}, {"kept": "code:a|b.py#L1/s[0]", "size": 2}],
        }
    ],
}


def make_sample(i: int = 0, **changes: Any) -> Sample:
    """A row; `i` tells rows apart."""
    values: dict[str, Any] = {
        "repository": "github.com/acme/tools",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "path": f"src/part_{i}.py",
        "first_line": 10,
        "last_line": 14,
        "language": "python",
        "strategy": "oss_instruct",
        "instruction": f"Write a function number {i}.\nIt returns {i}.",
        "response": f"Like this:\n\n```python\ndef f():\n    return {i}\n```",
        "tests": "",
        "test_format": "",
        "parser": "original",
        "teacher": "some-model",
        "fingerprint": "fp_1",
        "prompt_tokens": 400,
        "completion_tokens": 300,
        "seed": "def g():\n    pass\n",
        "license": "MIT",
        "index": i,
        "raw_index": 7 * i,
    } | changes
    document = f"{values['repository']}@{values['commit']}:{values['path']}"
    seed_id = f"{document}#L{values['first_line']}"
    identity = {"id": f"{seed_id}/{values['strategy']}[0]", "seed_id": seed_id, "document_id": document}
    return Sample(**(identity | values))


def reject(stage: str, reason: str, count: int = 1, **changes: Any) -> list[Rejection]:
    """Some rejections."""
    return [
        Rejection(**({"id": f"{stage}/{reason}/{i}", "stage": stage, "reason": reason} | changes)) for i in range(count)
    ]


@dataclass(frozen=True)
class Run:
    """Published stages and their summary; the last stage holds the rows."""

    stages: list[Artifact[Any]]
    summary: Summary

    @property
    def rows(self) -> Artifact[Sample]:
        return self.stages[-1]

    def evidence(self) -> list[Rejection]:
        return [r for a in self.stages if a.manifest.stage in ("screened", "decontaminated") for r in a.rejections()]

    def export(self, folder: Path, **settings: Any) -> Path:
        """Write the dataset folder, twice under one name if asked twice under two."""
        folder.mkdir(parents=True)
        Export(**settings).run(self.rows, folder, self.summary, self.evidence())
        return folder


def make_run(
    path: Path,
    samples: list[Sample],
    rejected: Mapping[str, list[Rejection]] | None = None,
    facts: Mapping[str, Any] | None = FACTS,
    part_rows: int = 100,
    **changes: Any,
) -> Run:
    """Publish the stages named in `rejected`, then `decontaminated`, all with the same rows; sum them up."""
    stages = {"documents": [], **(rejected or {})}
    stages.setdefault("decontaminated", [])
    artifacts = []
    with RunFolder.locked(path) as folder:
        for stage, rejections in stages.items():
            known = {"screened": facts, "decontaminated": facts, "distinct_rows": COMPARED}
            build = _builder(samples, rejections, part_rows, known.get(stage))
            artifact, _ = folder.publish(stage, Sample, build, settings=stage, inputs=[])
            artifacts.append(artifact)
    artifacts.sort(key=lambda a: a.manifest.stage == "decontaminated")
    rows = artifacts[-1]
    values: dict[str, Any] = {
        "name": "toy",
        "recipe": "name: toy\nstrategy: oss_instruct\n",
        "strategy": "oss_instruct",
        "teacher": "some-model",
        "stages": tuple(
            count_stage(a, "documents" if a.manifest.stage == "documents" else "samples") for a in artifacts
        ),
        "rows": rows.manifest.rows,
        "languages": count_column(rows, "language"),
        "licenses": count_column(rows, "license"),
        "repositories": count_column(rows, "repository"),
        "prompt_tokens": sum_column(rows, "prompt_tokens"),
        "completion_tokens": sum_column(rows, "completion_tokens"),
        "cost_usd": 1.5,
    }
    return Run(stages=artifacts, summary=Summary(**(values | changes)))


def _builder(
    samples: list[Sample], rejections: list[Rejection], part_rows: int, facts: Mapping[str, Any] | None
) -> Callable[[Any], None]:
    def build(out: Any) -> None:
        for start in range(0, max(1, len(samples)), part_rows):
            out.write(samples[start : start + part_rows], rejections if start == 0 else [])
        if facts:
            out.add_facts(dict(facts))

    return build
