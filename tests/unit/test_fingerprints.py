"""Texts known by figures alone: the hashing, the search, the file, and the shipped index against the full texts."""

import random
import sysconfig
import zlib
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from magicoder.benchmarks import INDEX, at_hand, build_index
from magicoder.errors import BenchmarkError
from magicoder.text import fingerprints
from magicoder.text.benchmark_index import decode, encode, index_of
from magicoder.text.contamination import Layered
from magicoder.text.fingerprints import Letters, Marks, Sieve, marks_of, runs
from magicoder.text.patterns import patterns_of
from magicoder.text.substrings import Automaton, letters

SHIPPED = Path(fingerprints.__file__).parent.parent / "benchmarks" / INDEX


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 16, 20])
@pytest.mark.parametrize("bits", [32, 64])
def test_a_run_s_hash_is_the_polynomial_of_its_values(n: int, bits: int) -> None:
    rng = random.Random(n)
    values = [rng.randrange(1 << 32) for _ in range(40)]
    base = {32: 0x9E3779B1, 64: 0x9E3779B97F4A7C15}[bits]
    expected = []
    for i in range(len(values) - n + 1):
        h = 0
        for value in values[i : i + n]:
            h = (h * base + value) % (1 << bits)
        expected.append(h)
    assert runs(pa.array(values, {32: pa.uint32(), 64: pa.uint64()}[bits]), n).to_pylist() == expected


def test_fewer_values_than_a_run_have_none() -> None:
    assert runs(pa.array([1, 2], pa.uint32()), 3).to_pylist() == []
    assert runs(pa.array([], pa.uint32()), 16).to_pylist() == []


def test_a_sieve_finds_the_known_numbers_and_no_neighbour() -> None:
    known = [7, 1 << 31, (1 << 32) - 1]
    given = [6, 7, 8, 1 << 31, (1 << 31) + 1, (1 << 32) - 1, 7]
    assert list(Sieve(known, 32).places(pa.array(given, pa.uint32()))) == [
        (1, 7),
        (3, 1 << 31),
        (5, (1 << 32) - 1),
        (6, 7),
    ]
    assert list(Sieve([], 48).places(pa.array([1], pa.uint64()))) == []


@pytest.mark.parametrize("chunk", [1 << 17, 16, 5])
def test_marks_find_what_the_texts_themselves_find(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """Random texts over two letters: windows repeat, patterns overlap and begin alike, records are cut anywhere."""
    monkeypatch.setattr(fingerprints, "_CHUNK", chunk)
    rng = random.Random(chunk)
    for n in (1, 4, 16):
        patterns = ["".join(rng.choices("ab", weights=(9, 1), k=rng.randint(n, n + 12))).encode() for _ in range(20)]
        texts = ["".join(rng.choices("ab", weights=(9, 1), k=rng.randint(0, 80))).encode() for _ in range(60)]
        texts += [p[:-1] for p in patterns] + [b"a" + p for p in patterns] + [b""]
        found = Marks(marks_of([Letters(p) for p in patterns], 1, n), 1, n).first([Letters(t) for t in texts])
        automaton = Automaton(patterns)
        assert found == [automaton.first(t) for t in texts]


def test_the_window_of_a_mark_is_rare_among_texts_that_begin_alike() -> None:
    texts = [b"writeapythonfunctionto" + word for word in (b"sortalistofnumbers", b"findthelongestword")]
    first, second = marks_of([Letters(t) for t in texts], 1)
    assert first.window != second.window
    assert first.offset >= len(b"writeapythonfunctionto") - 15


def test_an_index_is_read_back_as_it_was_written(shared_data: Path) -> None:
    found = at_hand(str(shared_data))
    made = index_of(found.tasks, found.versions)
    read = decode(encode(made, "mine"), "x")
    assert (read.texts, read.solutions, read.statements) == (made.texts, made.solutions, made.statements)
    assert (read.short, read.trivial, read.unsearched) == (made.short, made.trivial, made.unsearched)
    assert {n: s.tasks for n, s in read.sources.items()} == {n: s.tasks for n, s in made.sources.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: b"hello", "is no index of benchmarks"),
        (lambda d: d[:8] + b"\x63" + d[9:], "has format 99, this magicoder reads 2"),
        (lambda d: d[:-1], "is damaged"),
        (lambda d: d[:-9] + b"x" + d[-8:], "is damaged"),
        (lambda d: d[:40] + b"\0\0\0\0" + d[44:], "is damaged"),
    ],
)
def test_a_damaged_index_is_refused(change, message: str) -> None:
    with pytest.raises(BenchmarkError, match=f"the file {message}.*magicoder index build"):
        decode(change(SHIPPED.read_bytes()), "the file")


# ---- the shipped index


def test_the_shipped_index_is_what_the_builder_makes_of_the_files(shared_data: Path) -> None:
    file, made = build_index(str(shared_data), "shipped index 2")
    shipped = decode(SHIPPED.read_bytes(), "x")
    assert (shipped.texts, shipped.solutions, shipped.statements) == (made.texts, made.solutions, made.statements)
    assert (shipped.short, shipped.trivial) == (made.short, made.trivial)
    assert {n: (s.version, s.tasks) for n, s in shipped.sources.items()} == {
        n: (s.version, s.tasks) for n, s in made.sources.items()
    }
    assert sum(s.tasks for s in shipped.sources.values()) == 15_269
    assert len(file) < 2_000_000


def test_the_shipped_index_holds_no_text_of_a_benchmark(shared_data: Path) -> None:
    """Readable in it are names and ids; no statement, prompt or solution, nor any ten words of a statement."""
    data = SHIPPED.read_bytes()
    header = zlib.decompress(data[13 : 13 + int.from_bytes(data[9:13], "little")])
    assert set(orjson.loads(header)) == {
        "name", "digest", "floor", "sources", "tasks", "names", "columns", "short", "trivial", "unsearched",
    }  # fmt: skip
    readable = [header.decode(), zlib.decompress(data[13 + int.from_bytes(data[9:13], "little") :]).decode("latin-1")]
    tasks = at_hand(str(shared_data)).tasks
    automaton = Automaton([p.form for p in patterns_of(tasks, 20).searched])
    assert [automaton.first(letters(part)) for part in readable] == [None, None]
    ids = set(header.decode().split('"'))
    assert {t.id for t in tasks} <= ids


def test_the_shipped_index_agrees_with_the_full_texts_on_real_code(shared_data: Path) -> None:
    """10,700 files of 14 languages and the standard library, 99 MB: same record, same text of a task, same place."""
    patterns = patterns_of(at_hand(str(shared_data)).tasks, 20).searched
    automaton = Automaton([p.form for p in patterns])
    index = at_hand(None).index
    marks = Marks([p.mark for p in index.texts], 1)
    texts = pq.read_table(shared_data / "corpus_sample.parquet", columns=["content"])["content"].to_pylist()
    library = Path(sysconfig.get_paths()["stdlib"])
    texts += [p.read_text("utf-8", "replace") for p in library.rglob("*.py") if "site-packages" not in p.parts]
    assert len(texts) > 12_000
    forms = [Letters(letters(text)) for text in texts]
    expected = [automaton.first(form.values) for form in forms]
    assert marks.first(forms) == expected
    assert [patterns[m.pattern].task for m in expected if m] == ["HumanEval/53"]


def test_the_shipped_index_agrees_with_the_full_texts_on_planted_texts(shared_data: Path) -> None:
    patterns = patterns_of(at_hand(str(shared_data)).tasks, 20).searched
    automaton = Automaton([p.form for p in patterns])
    rng = random.Random(4)
    planted = [f"Look: \t{p.text.upper()}\r\n done" for p in patterns]
    near = [p.text[: rng.randrange(len(p.text))] + "zq" + p.text[rng.randrange(len(p.text)) :] for p in patterns[::7]]
    index = at_hand(None).index
    found = Layered(index, ("text",), 0.5)([*planted, *near])
    for text, match in zip([*planted, *near], found, strict=True):
        first = automaton.first(letters(text))
        p = patterns[first.pattern] if first else None
        assert (match and (match.name, match.benchmark, match.task)) == (p and (p.name, p.benchmark, p.task))
    assert None not in found[: len(planted)]


def test_no_layer_finds_a_benchmark_by_chance_in_the_standard_library() -> None:
    library = Path(sysconfig.get_paths()["stdlib"])
    texts = [p.read_text("utf-8", "replace") for p in sorted(library.rglob("*.py")) if "site-packages" not in p.parts]
    found = Layered(at_hand(None).index, ("text", "identifiers", "ngrams"), 0.5)(texts[::4])
    assert [m for m in found if m] == []


def test_an_index_of_one_s_own_in_the_folder_takes_the_place_of_the_shipped_one(
    tmp_path: Path, shared_data: Path
) -> None:
    tasks = [t for t in at_hand(str(shared_data)).tasks if t.benchmark == "leetcode"]
    (tmp_path / INDEX).write_bytes(encode(index_of(tasks, {"leetcode": "x"}), "mine"))
    found = at_hand(str(tmp_path))
    assert {n: s.version for n, s in found.index.sources.items()} == {"leetcode": "x"}
    assert found.digest != at_hand(None).digest
    (tmp_path / INDEX).write_bytes(b"broken")
    with pytest.raises(BenchmarkError, match=r"index\.bin is no index"):
        at_hand(str(tmp_path))


def test_an_index_of_an_older_format_does_not_keep_a_new_one_from_being_made(tmp_path: Path) -> None:
    lines = tmp_path / "leetcode_deepseek" / "20240121-Jul.jsonl"
    lines.parent.mkdir()
    prompt = 'def f():\n    """Count the pairs of a long list."""'
    lines.write_bytes(orjson.dumps({"task_id": "a", "prompt": prompt, "test": ""}) + b"\n")
    (tmp_path / INDEX).write_bytes(b"MAGICIDX\x01" + bytes(40))
    file, made = build_index(str(tmp_path), "mine")
    assert list(made.sources) == ["leetcode"]
    (tmp_path / INDEX).write_bytes(file)
    assert at_hand(str(tmp_path)).index == decode(file, "x")


def test_a_folder_without_benchmark_files_makes_no_index(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="has no benchmark files"):
        build_index(str(tmp_path), "x")
