import hashlib
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from magicoder.errors import RecipeError, StoreError
from magicoder.records import Sample
from magicoder.schema import from_table, schema_of
from magicoder.stages.export import Export
from tests.published import make_run, make_sample, reject

FOURTEEN = ["c", "cpp", "csharp", "go", "java", "javascript", "kotlin", "php", "python", "ruby", "rust", "shell"]
FOURTEEN += ["swift", "typescript"]


def jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_folder_holds_every_promised_file(tmp_path):
    folder = make_run(tmp_path / "run", [make_sample(i) for i in range(3)]).export(tmp_path / "dataset")
    assert sorted(files_of(folder)) == [
        "ATTRIBUTION.jsonl",
        "ATTRIBUTION.md",
        "LICENSE.md",
        "README.md",
        "SHA256SUMS",
        "data/train-00000-of-00001.parquet",
        "decontamination.json",
        "jsonl/instruction.jsonl",
        "jsonl/messages.jsonl",
        "jsonl/original.jsonl",
        "recipe.yaml",
        "stats.json",
    ]


def test_parquet_holds_every_row_in_the_schema_of_a_sample(tmp_path):
    samples = [make_sample(i, instruction=f"Zähle „{i}“ 🎲\x00\u2028.") for i in range(25)]
    folder = make_run(tmp_path / "run", samples, part_rows=7).export(tmp_path / "dataset", shard_rows=10)
    shards = sorted((folder / "data").iterdir())
    assert [s.name for s in shards] == [f"train-{i:05d}-of-00003.parquet" for i in range(3)]
    assert [pq.read_metadata(s).num_rows for s in shards] == [10, 10, 5]
    assert all(pq.read_schema(s).equals(schema_of(Sample)) for s in shards)
    assert [row for s in shards for row in from_table(Sample, pq.read_table(s), s.name)] == samples


def test_a_row_group_never_outgrows_its_cap(tmp_path):
    samples = [make_sample(i) for i in range(2500)]
    folder = make_run(tmp_path / "run", samples, part_rows=2000).export(tmp_path / "dataset", shard_rows=2100)
    groups = []
    for shard in sorted((folder / "data").iterdir()):
        metadata = pq.read_metadata(shard)
        groups.append([metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)])
        assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert groups == [[1000, 1000, 100], [400]]


def test_the_original_form_has_the_published_columns_in_order(tmp_path):
    sample = make_sample(3, language="cpp", instruction="Zähle 🎲", seed="int x;\n", response="```cpp\n```")
    folder = make_run(tmp_path / "run", [sample]).export(tmp_path / "dataset")
    line = (folder / "jsonl" / "original.jsonl").read_bytes()
    assert line.endswith(b"}\n")
    assert "Zähle 🎲".encode() in line
    assert list(json.loads(line).items()) == [
        ("lang", "cpp"),
        ("raw_index", 21),
        ("index", 3),
        ("seed", "int x;\n"),
        ("openai_fingerprint", "fp_1"),
        ("problem", "Zähle 🎲"),
        ("solution", "```cpp\n```"),
    ]


def test_chat_forms_put_the_original_s_sentence_before_an_oss_instruct_problem_only(tmp_path):
    samples = [make_sample(0, instruction="Add."), make_sample(1, instruction="Sub.", strategy="comment_pairs")]
    folder = make_run(tmp_path / "run", samples).export(tmp_path / "dataset")
    asked = ["Write a solution to the following coding problem:\nAdd.", "Sub."]
    assert jsonl(folder / "jsonl" / "messages.jsonl") == [
        {"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": s.response}], "id": s.id}
        for a, s in zip(asked, samples, strict=True)
    ]
    assert jsonl(folder / "jsonl" / "instruction.jsonl") == [
        {"instruction": a, "response": s.response, "id": s.id} for a, s in zip(asked, samples, strict=True)
    ]


def test_only_the_wanted_formats_are_written(tmp_path):
    run = make_run(tmp_path / "run", [make_sample()])
    assert not (run.export(tmp_path / "a", formats=("parquet",)) / "jsonl").exists()
    files = files_of(run.export(tmp_path / "b", formats=("messages",)))
    assert "jsonl/messages.jsonl" in files
    assert not any(name.startswith("data/") or "original" in name for name in files)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"formats": ("parket",)}, "did you mean parquet"),
        ({"formats": ()}, "at least one of"),
        ({"shard_rows": 0}, "at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        Export(**settings)


def test_two_exports_are_byte_identical(tmp_path):
    samples = [make_sample(i, license=["MIT", "ISC"][i % 2]) for i in range(30)]
    rejected = {"decontaminated": reject("decontaminated", "humaneval_match", 2, detail='{"benchmark":"humaneval"}')}
    one = make_run(tmp_path / "one", samples, rejected, part_rows=9).export(tmp_path / "a")
    two = make_run(tmp_path / "two", samples, rejected, part_rows=9).export(tmp_path / "elsewhere" / "b")
    assert files_of(one) == files_of(two)


def test_no_file_names_this_machine_or_the_time(tmp_path):
    folder = make_run(tmp_path / "run", [make_sample(i) for i in range(3)]).export(tmp_path / "dataset")
    for name, data in files_of(folder).items():
        assert str(tmp_path).encode() not in data, name
        assert not re.search(rb"\b20\d\d-\d\d-\d\d\b", data), name


@pytest.mark.parametrize("missing", [{"repository": ""}, {"path": ""}, {"first_line": 0}])
def test_a_row_without_provenance_is_never_published(tmp_path, missing):
    run = make_run(tmp_path / "run", [make_sample(0), make_sample(1, **missing)])
    with pytest.raises(StoreError, match=f"{next(iter(missing))} missing"):
        run.export(tmp_path / "dataset")


def test_a_row_may_have_no_commit_and_no_known_licence(tmp_path):
    folder = make_run(tmp_path / "run", [make_sample(commit="", license="")]).export(tmp_path / "dataset")
    assert jsonl(folder / "ATTRIBUTION.jsonl") == [
        {"repository": "github.com/acme/tools", "commit": "", "license": "", "rows": 1, "files": 1}
    ]
    assert "not stated" in (folder / "ATTRIBUTION.md").read_text()


def test_attribution_names_every_source_and_its_counts_add_up(tmp_path):
    samples = [
        make_sample(
            i,
            repository=f"github.com/o/r{i % 3}",
            commit=f"{i % 2:040x}",
            path=f"f{i % 4}.py",
            license=["MIT", "Apache-2.0"][i % 2],
        )
        for i in range(60)
    ]
    folder = make_run(tmp_path / "run", samples, part_rows=11).export(tmp_path / "dataset")
    sources = jsonl(folder / "ATTRIBUTION.jsonl")
    expected: dict[tuple, list] = {}
    for s in samples:
        expected.setdefault((s.repository, s.commit, s.license), []).append(s.path)
    found = {(s["repository"], s["commit"], s["license"]): (s["rows"], s["files"]) for s in sources}
    assert found == {key: (len(paths), len(set(paths))) for key, paths in expected.items()}
    assert list(found) == sorted(found)
    readable = (folder / "ATTRIBUTION.md").read_text()
    assert all(s.repository in readable and s.commit[:12] in readable for s in samples)


def test_decontamination_evidence_is_kept_match_by_match(tmp_path):
    detail = {"benchmark": "humaneval", "task": "HumanEval/23", "matched": 'return "ß"\n', "position": 5}
    rejected = {
        "screened": reject("screened", "humaneval_match", 2, detail=json.dumps(detail), language="python"),
        "decontaminated": reject("decontaminated", "mbpp_match", 1, detail="not JSON"),
    }
    folder = make_run(tmp_path / "run", [make_sample()], rejected).export(tmp_path / "dataset")
    found = json.loads((folder / "decontamination.json").read_text())
    assert found["decontaminated"] is True
    assert found["stages"]["decontaminated"]["benchmarks"][0]["patterns"] == 326
    assert "humaneval" not in found["not_covered"]
    assert [m["evidence"] for m in found["matches"]] == [detail, detail, "not JSON"]
    assert found["matches"][0] | {"evidence": None} == {
        "id": "screened/humaneval_match/0",
        "language": "python",
        "stage": "screened",
        "reason": "humaneval_match",
        "evidence": None,
    }


def test_without_benchmarks_the_evidence_says_so(tmp_path):
    folder = make_run(tmp_path / "run", [make_sample()], facts=None).export(tmp_path / "dataset")
    found = json.loads((folder / "decontamination.json").read_text())
    assert (found["decontaminated"], found["matches"]) == (False, [])


def test_statistics_count_rows_and_lengths_by_language(tmp_path):
    samples = [make_sample(i, language=name, instruction="ab\ncd" * (i + 1)) for i, name in enumerate(FOURTEEN)]
    folder = make_run(tmp_path / "run", samples).export(tmp_path / "dataset")
    found = json.loads((folder / "stats.json").read_text())
    assert {name: entry["rows"] for name, entry in found["languages"].items()} == dict.fromkeys(FOURTEEN, 1)
    lengths = found["lengths"]["instruction_characters"]
    assert (lengths["count"], lengths["min"], lengths["median"], lengths["max"]) == (14, 5, 35, 70)
    assert lengths["mean"] == 37.5
    assert found["languages"]["c"]["instruction_lines"]["max"] == 2
    assert found["steps"][0]["stage"] == "documents"


def test_checksums_cover_every_other_file(tmp_path):
    folder = make_run(tmp_path / "run", [make_sample()]).export(tmp_path / "dataset")
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    found = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = files_of(folder)
    del files["SHA256SUMS"]
    assert found == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def test_the_recipe_is_published_as_it_is(tmp_path):
    folder = make_run(tmp_path / "run", [make_sample()], recipe="name: x\nseeds: {n: 1}").export(tmp_path / "dataset")
    assert yaml.safe_load((folder / "recipe.yaml").read_text()) == {"name": "x", "seeds": {"n": 1}}


def test_an_empty_dataset_is_still_a_valid_folder_and_says_why(tmp_path):
    run = make_run(tmp_path / "run", [], {"documents": reject("documents", "too_large", 5)})
    folder = run.export(tmp_path / "dataset")
    assert pq.read_table(folder / "data" / "train-00000-of-00001.parquet").num_rows == 0
    assert (folder / "jsonl" / "original.jsonl").read_bytes() == b""
    assert (folder / "ATTRIBUTION.jsonl").read_bytes() == b""
    assert json.loads((folder / "stats.json").read_text())["lengths"]["instruction_characters"] == {"count": 0}
    card = (folder / "README.md").read_text()
    assert "This dataset is empty" in card
    assert "`too_large` 5" in card


def test_datasets_loads_the_folder_without_a_network(tmp_path, monkeypatch):
    samples = [make_sample(i, instruction=f"Zähle {i} 🎲") for i in range(3)]
    folder = make_run(tmp_path / "run", samples).export(tmp_path / "dataset", shard_rows=2)
    program = """
        import sys
        from datasets import load_dataset
        folder, cache = sys.argv[1:]
        rows = load_dataset(folder, split="train", cache_dir=cache)
        print([row["instruction"] for row in rows], list(rows.features))
    """
    # In a child: `datasets` reads its offline switch at import, and warns in ways that are not ours to mend.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    command = [sys.executable, "-c", textwrap.dedent(program), str(folder), str(tmp_path / "cache")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    expected = f"{[s.instruction for s in samples]} {schema_of(Sample).names}"
    assert result.stdout.strip().splitlines()[-1] == expected


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path):
    program = """
        import sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from magicoder.records import Sample
        from magicoder.stages.export import Export
        from magicoder.store import RunFolder
        from magicoder.summary import Summary
        from tests.published import make_sample
        path, parts = Path(sys.argv[2]), int(sys.argv[3])

        def build(out):
            for part in range(parts):
                out.write([make_sample(part * 200 + i, response=f"{i}" * 10_000) for i in range(200)], [])

        with RunFolder.locked(path) as folder:
            rows, _ = folder.publish("decontaminated", Sample, build, settings=0, inputs=[])
        summary = Summary(name="n", recipe="", strategy="s", teacher="", stages=(), rows=parts * 200, languages={},
                          licenses={}, repositories={}, prompt_tokens=0, completion_tokens=0, cost_usd=None)
        target = path.with_name(path.name + "-dataset")
        target.mkdir()
        Export().run(rows, target, summary, [])
        status = Path("/proc/self/status").read_text()
        print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    """
    root = str(Path(__file__).parents[2])
    peaks = []
    for parts in (15, 60):
        arguments = [root, str(tmp_path / str(parts)), str(parts)]
        command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    added_kib = 45 * 200 * 28_000 / 1024
    assert peaks[1] - peaks[0] < added_kib / 4, peaks


def test_the_documentation_names_every_column_in_order():
    text = (Path(__file__).parents[2] / "docs" / "dataset.md").read_text(encoding="utf-8")
    table = text.split("## Columns")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    found = [(name, cells[1]) for cells in rows for name in re.findall(r"`(\w+)`", cells[0])]
    assert found == [(field.name, str(field.type)) for field in schema_of(Sample)]
