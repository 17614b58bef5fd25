"""Bespoke Curator: `curator.LLM` over a list of prompts, its openai backend, rate caps out of the way."""

import json
import os

import job

os.environ.update(TELEMETRY_ENABLED="false", CURATOR_DISABLE_RICH_DISPLAY="1", HF_HUB_OFFLINE="1")
os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", OPENAI_API_KEY="none")

import tiktoken


def offline_encoding(name: str) -> tiktoken.Encoding:
    """Stand in for a vocabulary that would be downloaded: single bytes."""
    return tiktoken.Encoding(
        name, pat_str=r"\s*\S+|\s+", mergeable_ranks={bytes([i]): i for i in range(256)}, special_tokens={}
    )


tiktoken.get_encoding = offline_encoding

from bespokelabs import curator  # noqa: E402 - after what it reads when imported


class Ask(curator.LLM):
    def prompt(self, row: dict) -> str:
        return row["prompt"]

    def parse(self, row: dict, response: str) -> dict:
        return {"prompt": row["prompt"], "answer": response}


def main(j: job.Job) -> None:
    llm = Ask(
        model_name="mock",
        backend="openai",
        generation_params={"max_tokens": 512},
        backend_params={
            "base_url": j.url,
            "max_concurrent_requests": j.concurrency,
            "max_requests_per_minute": 10_000_000,
            "max_tokens_per_minute": 10_000_000_000,
            "require_all_responses": False,
        },
    )
    try:
        rows = sum(
            bool(row["answer"]) for row in llm([{"prompt": p} for p in j.prompts()], working_dir=str(j.folder)).dataset
        )
    except ValueError as e:  # what it raises when no row is left
        print(e)
        rows = 0
    marked = 0
    for path in j.folder.rglob("responses_*.jsonl"):
        for line in path.open():
            response = json.loads(line)
            marked += bool(response["response_message"]) and response.get("finish_reason") == "length"
    job.report(rows, marked)


if __name__ == "__main__":
    main(job.read())
