"""The dataset card: what a published dataset holds, how it was made, and what it was and was not checked for."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jinja2
import yaml

from magicoder.text.attribution import NOT_STATED
from magicoder.text.coverage import Decontamination
from magicoder.text.lengths import Lengths
from magicoder.text.markdown import code, fenced, plain
from magicoder.text.redaction import Redacted
from magicoder.text.repetition import Repetition
from magicoder.text.verdicts import Verdicts

# fmt: off
HUB_LICENSES = frozenset(
    {
        "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd-2-clause", "bsd-3-clause",
        "bsd-3-clause-clear", "bsl-1.0", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0",
        "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
        "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "ecl-2.0", "epl-1.0", "epl-2.0",
        "etalab-2.0", "eupl-1.1", "gpl-2.0", "gpl-3.0", "isc", "lgpl-2.1", "lgpl-3.0", "lppl-1.3c", "mit",
        "mpl-2.0", "ms-pl", "ncsa", "ofl-1.1", "osl-3.0", "postgresql", "unlicense", "wtfpl", "zlib",
    }
)
# fmt: on
"""Identifiers that the Hugging Face hub accepts as `license:` and that name the same licence as in SPDX."""

_HUB_SPELLINGS = {"odbl-1.0": "odbl", "odc-by-1.0": "odc-by", "pddl-1.0": "pddl", "c-uda-1.0": "c-uda"}

DATA_FILES = {
    "parquet": "data/*.parquet",
    "original": "jsonl/original.jsonl",
    "messages": "jsonl/messages.jsonl",
    "instruction": "jsonl/instruction.jsonl",
}
"""Format → its files, as a pattern relative to the dataset folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the funnel, as in `summary.StageCount` (texts stand below summaries in the layers)."""

    stage: str
    unit: str
    kept: int
    rejected: int
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Everything the card says.

    strategy_note    one sentence about the strategy, may be ""
    from_instructions   the seeds are instructions, not snippets of code
    redactions       in how many records of which step what was replaced
    repetition       what was compared with what, and which near-duplicates went
    languages        rows by language title, `licenses` rows by SPDX expression ("" unknown), both most frequent first
    lengths          what was measured (`instruction, characters`) → lengths
    verdicts         rows by what came of running them ("": nothing to run), None if they were not run
    """

    name: str
    rows: int
    strategy: str
    strategy_note: str
    teacher: str
    recipe: str
    formats: tuple[str, ...]
    steps: tuple[Step, ...]
    languages: Mapping[str, int]
    licenses: Mapping[str, int]
    repositories: int
    lengths: Mapping[str, Lengths]
    decontamination: Decontamination
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    from_instructions: bool = False
    repetition: Repetition = field(default_factory=Repetition)
    redactions: tuple[Redacted, ...] = ()
    verdicts: Verdicts | None = None


def render_card(card: Card) -> str:
    """Return README.md: metadata that the hub reads, then the card for people."""
    front = yaml.safe_dump(metadata(card), sort_keys=False, allow_unicode=True, default_flow_style=False, width=1000)
    return f"---\n{front}---\n\n" + _template("card.md.j2").render(card=card, files=DATA_FILES)


def render_license(card: Card) -> str:
    """Return LICENSE.md: which licences the rows come under."""
    return _template("license.md.j2").render(card=card)


def metadata(card: Card) -> dict[str, Any]:
    """Return the card's metadata block as the hub defines it."""
    tags = ["code", *(["synthetic"] if card.teacher else []), "instruction-tuning", "magicoder"]
    return {
        "pretty_name": " ".join(card.name.split()),
        "language": ["en"],
        **license_metadata(card.licenses),
        "task_categories": ["text-generation"],
        "tags": tags,
        "size_categories": [size_category(card.rows)],
        **({"configs": _configs(card)} if _configs(card) else {}),
    }


def license_metadata(licenses: Mapping[str, int]) -> dict[str, str]:
    """Return the hub's licence fields: one id when all rows share a licence it knows, else `other` with a name.

    The hub wants `license_link` to be LICENSE, LICENSE.md or an address, so LICENSE.md leads on to ATTRIBUTION.md.
    """
    if len(licenses) == 1:
        (expression,) = licenses
        found = hub_license(expression)
        if found:
            return {"license": found}
        name = re.sub(r"[^a-z0-9.]+", "-", expression.lower()).strip("-") or "not-stated"
    else:
        name = "mixed-per-row" if licenses else "no-rows"
    return {"license": "other", "license_name": name, "license_link": "LICENSE.md"}


def hub_license(expression: str) -> str:
    """Return the hub's id for an SPDX expression, "" when it has none (compound expressions have none)."""
    name = expression.strip().lower()
    # The hub has one id for both SPDX forms of a GNU licence.
    if name.startswith(("gpl-", "lgpl-", "agpl-")):
        name = name.removesuffix("-only").removesuffix("-or-later").removesuffix("+")
    return _HUB_SPELLINGS.get(name, name if name in HUB_LICENSES else "")


def size_category(rows: int) -> str:
    """Return the hub's size class of a dataset."""
    limits = [10**power for power in range(3, 13)]
    names = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
    for i, (limit, name) in enumerate(zip(limits, names, strict=True)):
        if rows < limit:
            return f"n<{name}" if i == 0 else f"{names[i - 1]}<n<{name}"
    return "n>1T"


def _configs(card: Card) -> list[dict[str, Any]]:
    """Say which files are the dataset: the Parquet files alone, since a dataset's configurations share one reader.

    Without Parquet, each JSON Lines form is a configuration. Empty JSON Lines are left out: no reader takes them.
    """
    if "parquet" in card.formats:
        return [{"config_name": "default", "data_files": [{"split": "train", "path": DATA_FILES["parquet"]}]}]
    forms = [form for form in DATA_FILES if form in card.formats and card.rows]
    return [
        {"config_name": form, "data_files": [{"split": "train", "path": DATA_FILES[form]}], "default": form == forms[0]}
        for form in forms
    ]


@functools.cache
def _template(name: str) -> jinja2.Template:
    # The output is Markdown: foreign text goes through `plain`, `code` and `fenced`, HTML escaping would spoil it.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("magicoder.text"),
        autoescape=False,  # noqa: S701 - Markdown, see above
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": plain, "code": code, "fenced": fenced, "n": "{:,}".format, "share": _share}
    environment.globals["not_stated"] = NOT_STATED
    return environment.get_template(name)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""
