"""The options that several commands share, and what they say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def bundle(*options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Bundle options that several commands share."""

    def bundled(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return bundled


about_recipe = bundle(
    click.argument("recipe", required=False, type=click.Path(path_type=Path)),
    click.option(
        "--source",
        "sources",
        multiple=True,
        metavar="SOURCE",
        help="Code to read: a folder, a git checkout or bare repository (PATH#REVISION), an archive, a Parquet or "
        "JSONL file, hf://OWNER/NAME, or `stdlib`. May be repeated.",
    ),
    click.option(
        "--llm",
        metavar="MODEL",
        help="The teacher: a model of the endpoint, `transformers:FOLDER_OR_NAME` or `vllm:NAME` in this process, "
        "`mock` (offline, invented), or `replay:FILE`. Default: none.",
    ),
    click.option(
        "--base-url",
        metavar="URL",
        help="An OpenAI-compatible endpoint, e.g. http://localhost:8000/v1. The key is read from OPENAI_API_KEY.",
    ),
    click.option(
        "--strategy",
        metavar="NAME",
        help="How samples are made (magicoder list strategies). "
        "Default: oss_instruct with a teacher, else comment_pairs.",
    ),
    click.option(
        "--language", "languages", multiple=True, metavar="NAME", help="Keep only this language. May be repeated."
    ),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Read at most N files."),
    click.option(
        "--target", type=click.IntRange(min=1), metavar="N", help="Stop when there are N rows. Default: ask about all."
    ),
)

about_place = bundle(
    click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The run folder. Default: runs/NAME."),
    click.option(
        "--data",
        envvar="MAGICODER_DATA",
        metavar="DIR",
        help="Folder with local benchmark files, read instead of the shipped index (docs/benchmarks.md). "
        "Also MAGICODER_DATA.",
    ),
)

about_work = bundle(
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Processes. Default: one a core. Never changes the result.",
    ),
    click.option(
        "--journal",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Where paid answers are kept, shared by runs. Default: MAGICODER_HOME/journal.sqlite.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    click.option("--quiet", "-q", is_flag=True, help="No progress."),
)

prices = click.option(
    "--prices",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Prices of your own, before those that come with magicoder (docs/money.md).",
)

budget = click.option(
    "--budget",
    type=click.FloatRange(min=0),
    metavar="USD",
    help="A hard cap on what this run folder may spend, over all runs in it.",
)
