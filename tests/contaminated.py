"""Records with benchmark texts planted in them, and the stage run over them: for the tests of decontamination."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from magicoder.engines.local import Local
from magicoder.records import Sample, Seed, Task
from magicoder.stages.decontaminate import Decontaminate
from magicoder.store import Artifact, RunFolder, Writer

R = TypeVar("R", Seed, Sample)

FILLER = "Configure the widget registry, then reload it: registry.reload(force=True)"


def seed(name: str, text: str = FILLER) -> Seed:
    return Seed(
        id=name, text=text, language="python", document_id="d", repository="r", commit="c", path="p.py", license="MIT",
        first_line=1, last_line=1, kind="window", index=0, raw_index=0,
    )  # fmt: skip


def sample(name: str, instruction: str = FILLER, response: str = FILLER) -> Sample:
    made = Sample.from_seed(seed(name), strategy="s", instruction=instruction, response=response)
    return replace(made, id=name)


def task(name: str = "T/1", **texts: str) -> Task:
    texts = {"prompt": "", "language": "python", "benchmark": "humaneval"} | texts
    return Task(id=name, **texts)


def artifact(folder: Path, record: type[R], parts: Sequence[Sequence[R]]) -> Artifact[R]:
    def build(out: Writer[R]) -> None:
        for part in parts[out.done :]:
            out.write(list(part), [])

    return RunFolder(folder).publish("input", record, settings=None, inputs=[], build=build)[0]


def decontaminated(
    folder: Path, given: Artifact[R], tasks: list[Task], settings: Decontaminate | None = None, workers: int = 1
) -> Artifact[R]:
    stage = settings or Decontaminate()
    return RunFolder(folder).publish(
        f"output{workers}",
        given.record,
        settings=stage,
        inputs=[],
        build=lambda out: stage.run(given, out, Local(workers=workers), tasks),
    )[0]
