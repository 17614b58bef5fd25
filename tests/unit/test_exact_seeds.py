"""Mode exact against the original's procedure, made again here with the libraries it uses."""

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from magicoder.engines.local import Local
from magicoder.records import Document, Seed
from magicoder.stages.seeds import Seeds
from magicoder.store import Artifact, RunFolder, Writer

SETTINGS = [
    Seeds(mode="exact"),
    Seeds(mode="exact", start_index=17, max_new_data=150, max_considered_data=2500),
    Seeds(mode="exact", random_seed=7, chunk_size=64, min_lines=3, max_lines=5, max_considered_data=333),
]


def by_the_book(contents: list[str], stage: Seeds) -> list[dict[str, Any]]:
    """Section 1.3 of the method: seeded for each batch, the start drawn first, shuffled, numbered, selected."""
    rows = datasets.Dataset.from_dict({"content": contents[: stage.max_considered_data]})

    def draw(batch: dict[str, list[str]], indices: list[int]) -> dict[str, list[Any]]:
        random.seed(stage.random_seed + indices[0])
        seeds = []
        for content in batch["content"]:
            lines = content.splitlines(keepends=True)
            start = random.choice([number for number, _ in enumerate(lines)])
            length = random.randint(stage.min_lines, stage.max_lines)
            seeds.append("".join(lines[start : start + length]))
        return {"seed": seeds, "raw_index": indices}

    rows = rows.map(
        draw,
        with_indices=True,
        batched=True,
        batch_size=stage.chunk_size,
        remove_columns=["content"],
        keep_in_memory=True,
    )
    rows = rows.shuffle(seed=stage.random_seed)
    rows = rows.map(lambda _, index: {"index": index}, with_indices=True, keep_in_memory=True)
    stop = len(rows) if stage.max_new_data is None else min(stage.start_index + stage.max_new_data, len(rows))
    return list(rows.select(range(min(stage.start_index, stop), stop)))


def publish(place: Path, documents: list[Document], stage: Seeds, part_rows: int) -> Artifact[Seed]:
    def write(out: Writer[Document]) -> None:
        for i in range(0, len(documents), part_rows):
            out.write(documents[i : i + part_rows], [])

    with RunFolder.locked(place) as run:
        inputs, _ = run.publish("documents", Document, write, settings=None, inputs=[])
        seeds, _ = run.publish(
            "seeds", Seed, lambda out: stage.run(inputs, out, Local(), "window"), settings=stage, inputs=[]
        )
        return seeds


def document(row: int, text: str, language: str) -> Document:
    return Document(
        id=f"r@c:{row}", text=text, language=language, repository="r", commit="c", path=str(row), license=""
    )


@pytest.fixture(scope="module", autouse=True)
def quiet() -> None:
    datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def sample(shared_data: Path) -> list[Document]:
    """Every file of the sample; its rows stand in the order of the file, languages interleaved by one in ten."""
    table = pq.read_table(shared_data / "corpus_sample.parquet", columns=["lang", "content"]).to_pylist()
    rows = [document(i, row["content"], row["lang"]) for i, row in enumerate(table)]
    return [row for offset in range(10) for row in rows[offset::10]]


@pytest.mark.parametrize("stage", SETTINGS, ids=["paper", "slice", "other"])
def test_exact_seeds_are_the_originals_for_every_language(sample: list[Document], stage: Seeds, tmp_path: Path) -> None:
    seeds = publish(tmp_path / "run", sample, stage, 900)
    ours, contents = defaultdict(list), defaultdict(list)
    for row in sample:
        contents[row.language].append(row.text)
    for seed in seeds:
        ours[seed.language].append({"seed": seed.text, "raw_index": seed.raw_index, "index": seed.index})
    assert len(contents) == 14
    for language in contents:
        got = sorted(ours[language], key=lambda seed: seed["index"])
        assert got == by_the_book(contents[language], stage), language


def test_exact_seeds_do_not_depend_on_parts(sample: list[Document], tmp_path: Path) -> None:
    rows = sample[:700]
    assert list(publish(tmp_path / "a", rows, SETTINGS[2], 700)) == list(publish(tmp_path / "b", rows, SETTINGS[2], 41))


def test_exact_windows_are_cut_from_their_documents(sample: list[Document], tmp_path: Path) -> None:
    texts = {row.id: row.text for row in sample[:1500]}
    for seed in publish(tmp_path / "run", sample[:1500], SETTINGS[0], 500):
        lines = texts[seed.document_id].split("\n")
        assert seed.text.rstrip("\n") in "\n".join(lines[seed.first_line - 1 : seed.last_line])
        assert seed.id == f"{seed.document_id}#L{seed.first_line}"


def test_what_is_not_used_is_rejected_with_the_reason(tmp_path: Path) -> None:
    rows = [document(i, "" if i == 3 else f"{i}\n", "python") for i in range(10)] + [document(10, "x\n", "rust")]
    stage = Seeds(mode="exact", max_considered_data=8, quotas={"python": 4})
    seeds = publish(tmp_path / "run", rows, stage, 4)
    found = {r.id: r.reason for r in seeds.rejections()}
    assert found.pop("r@c:3") == "no_lines"
    assert found.pop("r@c:10") == "language_not_wanted"
    assert [found.pop(f"r@c:{i}") for i in (8, 9)] == ["not_considered"] * 2
    assert set(found.values()) == {"not_selected"}
    assert {s.index for s in seeds} <= set(range(4))
    assert len(found) + seeds.manifest.rows == 7


def test_unusual_line_ends_are_the_originals_too(tmp_path: Path) -> None:
    contents = [f"a\x0cb\r\nc\rd\u2028e\x85f\x1cg{i}\n\n  \nh" for i in range(50)]
    seeds = publish(tmp_path / "run", [document(i, c, "go") for i, c in enumerate(contents)], SETTINGS[0], 50)
    got = sorted(
        ({"seed": s.text, "raw_index": s.raw_index, "index": s.index} for s in seeds), key=lambda s: s["index"]
    )
    assert got == by_the_book(contents, SETTINGS[0])
