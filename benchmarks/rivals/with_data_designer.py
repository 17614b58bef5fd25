"""NeMo Data Designer: one text column over a seed file, resuming where it can."""

import os

import job

os.environ.update(NEMO_TELEMETRY_ENABLED="false", HF_HUB_OFFLINE="1", DO_NOT_TRACK="1")

import pandas
from data_designer import config as dd
from data_designer.config.run_config import ResumeMode
from data_designer.interface import DataDesigner


def main(j: job.Job) -> None:
    os.environ.setdefault("DATA_DESIGNER_HOME", str(j.folder / "home"))
    seeds = j.folder / "seeds.parquet"
    pandas.DataFrame({"text": j.prompts()}).to_parquet(seeds, index=False)
    builder = dd.DataDesignerConfigBuilder(
        model_configs=[
            dd.ModelConfig(
                alias="teacher",
                model="mock",
                provider="loopback",
                inference_parameters=dd.ChatCompletionInferenceParams(
                    max_tokens=512, max_parallel_requests=j.concurrency
                ),
                skip_health_check=True,
            )
        ]
    )
    builder.with_seed_dataset(dd.LocalFileSeedSource(path=str(seeds)))
    builder.add_column(dd.LLMTextColumnConfig(name="answer", prompt="{{ text }}", model_alias="teacher"))
    provider = dd.ModelProvider(name="loopback", endpoint=j.url, api_key="none")
    designer = DataDesigner(artifact_path=j.folder / "artifacts", model_providers=[provider])
    designer.set_run_config(dd.RunConfig(otel_metrics_port=None, max_in_flight_tasks=max(1024, 2 * j.concurrency)))
    data = designer.create(
        builder, num_records=j.count, dataset_name="run", resume=ResumeMode.IF_POSSIBLE
    ).load_dataset()
    job.report(int((data["answer"].str.len() > 0).sum()), int("finish_reason" in data.columns))


if __name__ == "__main__":
    main(job.read())
