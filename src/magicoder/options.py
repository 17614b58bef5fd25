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

about_model = bundle(
    click.option(
        "--model",
        metavar="MODEL",
        help="Who answers: a model of the endpoint at --base-url, a folder, `transformers:NAME` or `vllm:NAME` in this "
        "process, or a YAML file with a component as in a recipe (docs/evaluation-models.md).",
    ),
    click.option(
        "--base-url",
        metavar="URL",
        help="An OpenAI-compatible endpoint, e.g. http://localhost:8000/v1.",
    ),
    click.option(
        "--api-key-env", metavar="NAME", help="Environment variable that holds its key. Default: OPENAI_API_KEY."
    ),
    click.option(
        "--revision",
        metavar="TEXT",
        help="Of a model on the hub: branch, tag or commit. Of an endpoint: what it serves under the name now, in "
        "words of yours; under others everything is asked again.",
    ),
    click.option("--device", metavar="NAME", help="Where a model in this process computes: auto, cpu, cuda:0, ..."),
    click.option("--dtype", metavar="NAME", help="Of its weights: auto, float32, float16, bfloat16."),
    click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Sequences computed together at most."),
    click.option("--concurrency", type=click.IntRange(min=1), metavar="N", help="Requests under way at most."),
    click.option(
        "--style",
        type=click.Choice(["chat", "magicoder", "completion"]),
        help="How the model is asked: by its chat template (default), in the paper's template with the response begun, "
        "or by raw text that it continues.",
    ),
    click.option(
        "--template",
        type=click.Choice(["paper", "own"]),
        help="In which template the style magicoder begins the response: the paper's (default) or the model's own.",
    ),
    click.option(
        "--samples-per-task", "-n", "samples", type=click.IntRange(min=1), metavar="N", help="Answers to each task."
    ),
    click.option("--temperature", type=click.FloatRange(min=0), metavar="T", help="Default: 0, greedy."),
    click.option("--top-p", type=click.FloatRange(min=0, max=1, min_open=True), metavar="P", help="Default: 1."),
    click.option(
        "--max-tokens", type=click.IntRange(min=1), metavar="N", help="Of an answer. Default: the benchmark's."
    ),
    click.option("--seed", type=int, metavar="N", help="What sampled answers are drawn from. Default: 0."),
    click.option(
        "--paper-decoding",
        is_flag=True,
        help="Sample where the paper did: DS-1000 40 answers, MultiPL-E 50. Slow; the flags above overrule it.",
    ),
    click.option("--only-answers", is_flag=True, help="Write the answers to --out and score nothing."),
    click.option(
        "--check-batch-invariance",
        type=click.IntRange(min=1),
        metavar="N",
        help="Ask N tasks of each benchmark again, one at a time, and name those that are answered otherwise.",
    ),
    click.option(
        "--budget",
        type=click.FloatRange(min=0),
        metavar="USD",
        help="A hard cap on what may be spent under --out, over all evaluations into it.",
    ),
    prices,
    click.option(
        "--journal",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Where answers are kept. Default: MAGICODER_HOME/journal.sqlite.",
    ),
)
