"""What holds for windows of any text, and for seeds of any corpus."""

import random
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from magicoder.engines.local import Local
from magicoder.records import Document, Rejection, Seed
from magicoder.stages.seeds import Seeds
from magicoder.store import RunFolder
from magicoder.text.draws import Draws
from magicoder.text.window_tables import WINDOWS, window_table
from magicoder.text.windows import draw_windows

metadata_texts = st.text(alphabet="ab \t\n\r\x0c\x1c\x85\u2028\u3000é", max_size=400) | st.sampled_from(
    ["<reponame>x", "<reponame>x\n", "<filename>x\n\n", "<gh_stars>1\na\nb\n", "\n" * 700 + "x" + "\n" * 700]
)
texts = st.text(alphabet="ab \t\n\r\x0c\u2028é", max_size=60)


@given(text=texts, key=st.text(max_size=5), low=st.integers(1, 5), more=st.integers(0, 5), count=st.integers(1, 4))
def test_windows_are_disjoint_whole_lines_with_something_in_them(
    text: str, key: str, low: int, more: int, count: int
) -> None:
    windows = draw_windows(text, Draws(1, key), min_lines=low, max_lines=low + more, count=count)
    *ended, last = text.split("\n")
    lines = [line + "\n" for line in ended] + ([last] if last else [])
    assert bool(windows) == bool(text.strip())
    assert len(windows) <= count
    end = 0
    for window in windows:
        assert end < window.first_line <= window.last_line <= len(lines)
        end = window.last_line
        assert window.text == "".join(lines[window.first_line - 1 : window.last_line])
        assert window.text.strip()
        size = window.last_line - window.first_line + 1
        assert min(low, len(lines)) <= size <= low + more


documents = st.lists(st.tuples(st.sampled_from(["python", "rust", "go"]), texts), min_size=1, max_size=12).map(
    lambda rows: [document(str(i), language, text) for i, (language, text) in enumerate(rows)]
)


def document(identity: str, language: str, text: str) -> Document:
    return Document(
        id=f"repo@c:{identity}", text=text, language=language, repository="repo", commit="c", path=identity, license=""
    )


def seeds_of(stage: Seeds, rows: list[Document], part_rows: int) -> tuple[list[Seed], list[Rejection]]:
    with tempfile.TemporaryDirectory() as place, RunFolder.locked(Path(place) / "run") as run:

        def write(out):  # type: ignore[no-untyped-def]
            for i in range(0, len(rows), part_rows):
                out.write(rows[i : i + part_rows], [])

        inputs, _ = run.publish("documents", Document, write, settings=None, inputs=[])
        seeds, _ = run.publish(
            "seeds", Seed, lambda out: stage.run(inputs, out, Local(), "window"), settings=stage, inputs=[]
        )
        return list(seeds), list(seeds.rejections())


@settings(max_examples=40, deadline=None)
@given(
    rows=documents,
    shuffle=st.randoms(use_true_random=False),
    part_rows=st.integers(1, 12),
    quotas=st.sampled_from([{}, {"python": 2}, {"python": 1, "*": 2}, {"*": 0}]),
    per_document=st.integers(1, 3),
)
def test_seeds_depend_on_documents_alone(
    rows: list[Document], shuffle: random.Random, part_rows: int, quotas: dict[str, int], per_document: int
) -> None:
    stage = Seeds(quotas=quotas, per_document=per_document)
    shuffled = list(rows)
    shuffle.shuffle(shuffled)
    seeds, rejections = seeds_of(stage, rows, len(rows))
    others, other_rejections = seeds_of(stage, shuffled, part_rows)
    assert {(s.id, s.text, s.last_line) for s in seeds} == {(s.id, s.text, s.last_line) for s in others}
    assert {(r.id, r.reason) for r in rejections} == {(r.id, r.reason) for r in other_rejections}
    assert [s.index for s in others] == list(range(len(others)))
    for language in ("python", "rust", "go"):
        quota = stage.quota(language)
        if quota is not None:
            drawn = sum(s.language == language for s in seeds_of(Seeds(per_document=per_document), rows, 5)[0])
            assert sum(s.language == language for s in seeds) == min(quota, drawn)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.text(max_size=20), metadata_texts), max_size=8),
    random_seed=st.integers(0, 2**70),
    low=st.integers(1, 4),
    more=st.integers(0, 4),
    count=st.integers(1, 4),
    strip=st.booleans(),
    cut=st.integers(0, 3),
)
def test_compiled_windows_are_the_plain_ones(
    rows: list[tuple[str, str]], random_seed: int, low: int, more: int, count: int, strip: bool, cut: int
) -> None:
    ids, texts = ([row[i] for row in rows] for i in (0, 1))
    for kind in (pa.string(), pa.large_string()):
        columns = [
            pa.chunked_array([pa.array(c[:cut], kind), pa.array([*c[cut:], "?"], kind).slice(0, len(c[cut:]))])
            for c in (ids, texts)
        ]
        asked = {"min_lines": low, "max_lines": low + more, "count": count, "strip_metadata": strip}
        plain, compiled = (
            window_table(*columns, random_seed=random_seed, compiled=which, **asked) for which in (False, True)
        )
        assert compiled.equals(plain)
        assert plain.schema == compiled.schema == WINDOWS


def test_compiled_windows_take_the_same_characters_for_blanks() -> None:
    signs = [chr(i) for i in range(0x110000) if not 0xD800 <= i <= 0xDFFF]
    texts = pa.chunked_array([pa.array(signs)])
    found = {
        compiled: window_table(texts, texts, random_seed=1, compiled=compiled)["row"].to_pylist()
        for compiled in (False, True)
    }
    assert found[True] == found[False]
    assert len(signs) - len(found[True]) == sum(sign.isspace() for sign in signs)


def test_long_texts_have_their_lines_where_newlines_are(shared_data: Path) -> None:
    table = pq.read_table(shared_data / "corpus_sample.parquet", columns=["path", "content"]).slice(0, 1500)
    for asked in ({}, {"count": 4, "min_lines": 3}):
        plain, compiled = (
            window_table(table["path"], table["content"], random_seed=976, compiled=which, **asked)
            for which in (False, True)
        )
        assert compiled.equals(plain)
