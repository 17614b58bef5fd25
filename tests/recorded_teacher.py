"""A run over the recorded teacher: its seeds as a corpus, its answers replayed, its asserts as the second turn."""

import random
from pathlib import Path

import orjson

from magicoder.corpora.tables import Tables
from magicoder.llms.replay import Replay
from magicoder.recipe import Recipe
from magicoder.records import Completion, Prompt, Seed
from magicoder.stages.clean import Clean
from magicoder.stages.decontaminate import Decontaminate
from magicoder.stages.deduplicate import Deduplication
from magicoder.stages.documents import Documents
from magicoder.stages.seeds import Seeds
from magicoder.stages.verify import Verify
from magicoder.strategies.oss_instruct import OssInstruct

OSS_INSTRUCT = OssInstruct(tests="asserts")


def recipe_of(recording: Path, folder: Path, *, languages: tuple[str, ...] = (), verify: Verify = Verify()) -> Recipe:  # noqa: B008 - frozen
    """Write corpus and recording into `folder`, and return the recipe that makes rows of them."""
    rows = [orjson.loads(line) for line in recording.read_bytes().splitlines()]
    rows = [row for row in rows if not languages or row["lang"] in languages]
    with (folder / "seeds.jsonl").open("wb") as corpus, (folder / "teacher.jsonl").open("wb") as teacher:
        for row in rows:
            file = {"content": row["seed"], "language": row["lang"], "repo": row["repo"], "path": row["id"]}
            corpus.write(orjson.dumps(file, option=orjson.OPT_APPEND_NEWLINE))
            for messages, answer in _turns(row):
                recorded = {"messages": messages, "response": answer}
                teacher.write(orjson.dumps(recorded, option=orjson.OPT_APPEND_NEWLINE))
    return Recipe(
        name="recorded",
        corpora=(Tables(path=str(folder / "seeds.jsonl")),),
        documents=Documents(screens=("blank",), secrets="keep", personal_data="keep"),
        seeds=Seeds(kind="instruction"),
        strategy=OSS_INSTRUCT,
        teacher=Replay(path=str(folder / "teacher.jsonl")),
        deduplicate=Deduplication(documents=False, seeds=False, samples=False),
        clean=Clean(secrets="keep", personal_data="keep"),
        decontaminate=Decontaminate(mode="off"),
        verify=verify,
    )


def _turns(row: dict[str, str]) -> list[tuple[list[dict[str, str]], str]]:
    """Return what the strategy asks, with the recorded answer and, where there are any, the recorded asserts."""
    dialogue = OSS_INSTRUCT.write(_seed(row), random.Random())
    answers = (row["response"], f"```python\n{row['tests']}\n```" if row["tests"] else "The solution checks itself.")
    turns = []
    for number, answer in enumerate(answers):
        prompt = next(dialogue) if not number else dialogue.send(_completion(answers[0]))
        assert isinstance(prompt, Prompt)
        turns.append(([{"role": m.role, "content": m.content} for m in prompt.messages], answer))
    return turns


def _completion(text: str) -> Completion:
    return Completion(texts=(text,), finish_reasons=("stop",), model="recorded")


def _seed(row: dict[str, str]) -> Seed:
    text = row["seed"].replace("\r\n", "\n")  # as documents are read
    return Seed(
        id=row["id"], text=text, language=row["lang"], document_id=row["id"], repository=row["repo"], commit="",
        path=row["id"], license="", first_line=1, last_line=1, kind="instruction", index=0, raw_index=0,
    )  # fmt: skip
