"""datatrove: `InferenceRunner` on an endpoint, with checkpoints (and so its request cache) on."""

import json
import os

import job

os.environ.update(HF_HUB_OFFLINE="1", DO_NOT_TRACK="1", DATATROVE_COLORIZE_LOGS="0")

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter


async def rollout(document, generate):
    result = await generate({"messages": [{"role": "user", "content": document.text}], "max_tokens": 512})
    return {"text": result.text, "finish_reason": result.finish_reason}


def main(j: job.Job) -> None:
    config = InferenceConfig(
        server_type="endpoint",
        model_name_or_path="mock",
        endpoint_url=j.url.removesuffix("/v1") if "127.0.0.1" in j.url else j.url,
        api_key="none",
        max_concurrent_generations=j.concurrency,
        metric_interval=3600,
    )
    runner = InferenceRunner(
        rollout,
        config,
        JsonlWriter(str(j.folder / "out"), output_filename="${rank}_${chunk_index}.jsonl", compression=None),
        checkpoints_local_dir=str(j.folder / "checkpoints"),
        records_per_chunk=500,
    )
    documents = [Document(text=text, id=str(i)) for i, text in enumerate(j.prompts())]
    LocalPipelineExecutor([documents, runner], logging_dir=str(j.folder / "logs"), tasks=1).run()
    rows = [json.loads(line) for path in (j.folder / "out").rglob("*.jsonl") for line in path.open()]
    answers = [answer for row in rows for answer in row["metadata"]["rollout_results"]]
    job.report(len(answers), sum(a["finish_reason"] == "length" for a in answers))


if __name__ == "__main__":
    main(job.read())
