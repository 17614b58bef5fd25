"""distilabel: `LoadDataFromDicts >> TextGeneration`, its cache on."""

import os

import job

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", DISTILABEL_LOG_LEVEL="WARNING")

from distilabel.models.llms import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration


def main(j: job.Job) -> None:
    os.environ["HF_DATASETS_CACHE"] = str(j.folder / "datasets")
    with Pipeline(name="run", cache_dir=str(j.folder / "cache")) as pipeline:
        load = LoadDataFromDicts(data=[{"instruction": p} for p in j.prompts()], batch_size=j.concurrency)
        llm = OpenAILLM(model="mock", base_url=j.url, api_key="none", generation_kwargs={"max_new_tokens": 512})
        load >> TextGeneration(llm=llm, input_batch_size=j.concurrency)
    data = pipeline.run(use_cache=True)["default"]["train"]
    job.report(
        sum(bool(text) for text in data["generation"]), sum("length" in str(m) for m in data["distilabel_metadata"])
    )


if __name__ == "__main__":
    main(job.read())
