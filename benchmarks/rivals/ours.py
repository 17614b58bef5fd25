"""magicoder: the stage that generates, with its journal, a strategy of one turn, and rows written as Parquet."""

import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

import job

from magicoder.engines.local import Local
from magicoder.errors import Unusable
from magicoder.journal import Journal
from magicoder.llms.openai_chat import OpenAIChat
from magicoder.records import Completion, Message, Prompt, Sample, Seed
from magicoder.stages.generate import Desk, Generate
from magicoder.store import RunFolder, Writer

PART = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class OneTurn:
    """Ask with the seed's text; an answer that was cut is rejected, with its text, as in `oss_instruct`."""

    name: ClassVar[str] = "one_turn"
    seed_kind: ClassVar[str] = "window"
    needs_teacher: ClassVar[bool] = True

    def write(self, seed: Seed, rng: random.Random) -> Generator[Prompt, Completion, list[Sample]]:  # noqa: ARG002 - protocol
        completion = yield Prompt(messages=(Message(role="user", content=seed.text),), max_tokens=512)
        if completion.finish_reasons[0] != "stop":
            raise Unusable("truncated", completion.finish_reasons[0], completion.texts[0])
        text = completion.texts[0]
        return [Sample.from_seed(seed, strategy=self.name, instruction=seed.text, response=text, completion=completion)]


def seed(number: int) -> Seed:
    return Seed(
        id=f"d{number}#L1", text=job.prompt(number), language="python", document_id=f"d{number}", repository="r",
        commit="c", path=f"{number}.py", license="MIT", first_line=1, last_line=59, kind="window",
        index=number, raw_index=number,
    )  # fmt: skip


def main(j: job.Job) -> None:
    teacher = OpenAIChat(model="mock", base_url=j.url, concurrency=j.concurrency)

    def seeds_into(out: Writer[Seed]) -> None:
        for start in range(out.done * PART, j.count, PART):
            out.write([seed(i) for i in range(start, min(start + PART, j.count))], [])

    with RunFolder.locked(j.folder / "run") as run, Journal.open(j.folder / "journal.sqlite") as journal:
        seeds, _ = run.publish("seeds", Seed, seeds_into, settings=j.count, inputs=[])

        def samples_into(out: Writer[Sample]) -> None:
            desk = Desk(teacher=teacher, journal=journal, folder=j.folder)
            Generate().run(seeds, out, Local(workers=1), strategy=OneTurn(), desk=desk)

        samples, _ = run.publish("samples", Sample, samples_into, settings=0, inputs=[seeds.manifest.content])
        marked = sum(r.reason == "truncated" and bool(r.text) for r in samples.rejections())
        job.report(samples.manifest.rows, marked)


main(job.read())
