"""The main job on real input: fourteen languages of real source files, and recorded exchanges with a real teacher."""

import json
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import Command


def assert_no_id_lost(run: Path) -> None:
    """Every row of a stage's input is kept or rejected by the stage, exactly once."""

    def ids(folder: Path, column: str = "id") -> list[str]:
        files = sorted(folder.glob("part-*.parquet"))
        return [v for f in files for v in pq.read_table(f, columns=[column])[column].to_pylist()]

    def one_way(before: list[str], kept: list[str], rejected: list[str]) -> None:
        assert len(set(kept)) + len(set(rejected)) == len(set(before))
        assert set(kept) | set(rejected) == set(before)

    if (run / "distinct_files").exists():
        one_way(ids(run / "documents"), ids(run / "distinct_files"), ids(run / "distinct_files" / "rejected"))
    documents = ids(run / ("distinct_files" if (run / "distinct_files").exists() else "documents"))
    seeds_of, dropped = ids(run / "seeds", "document_id"), ids(run / "seeds" / "rejected")
    dropped += [name.rpartition("#L")[0] for name in dropped]  # a document whose every function was rejected
    assert set(documents) <= set(seeds_of) | set(dropped)
    for before, after in pairwise(stage for stage in ("seeds", "distinct_seeds", "screened") if (run / stage).exists()):
        one_way(ids(run / before), ids(run / after), ids(run / after / "rejected"))
    one_way(ids(run / "screened"), ids(run / "samples", "seed_id"), ids(run / "samples" / "rejected"))
    for before, after in pairwise(("samples", "cleaned", "distinct_rows", "decontaminated")):
        one_way(ids(run / before), ids(run / after), ids(run / after / "rejected"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_comment_pairs_over_fourteen_languages(magicoder: Command, shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "corpus_sample.parquet"
    done = magicoder("run", "--source", source, "--out", "out", "--data", shared_data, "--json", timeout=800)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)["summary"]
    documents = summary["stages"][0]
    assert documents["kept"] + documents["rejected"] == 10_700
    assert len(summary["languages"]) == 14
    assert all(count >= 20 for count in summary["languages"].values()), summary["languages"]
    assert_no_id_lost(tmp_path / "out")


def test_a_hundred_and_twenty_recorded_exchanges_are_all_parsed(
    magicoder: Command, shared_data: Path, tmp_path: Path
) -> None:
    recorded = shared_data / "recorded_teacher" / "oss_instruct.jsonl"
    exchanges = [json.loads(line) for line in recorded.read_text().splitlines()]
    columns = {
        "repo": [e["repo"] for e in exchanges],
        "path": [f"{e['id']}/{e['path']}" for e in exchanges],
        "lang": [e["lang"] for e in exchanges],
        "content": [e["seed"] for e in exchanges],
    }
    pq.write_table(pa.table(columns), tmp_path / "seeds.parquet")
    # A document that is the seed itself: the whole of it is the window.
    (tmp_path / "replay.yaml").write_text(
        "name: replay\n"
        "corpora: [{tables: {path: seeds.parquet}}]\n"
        "documents: {screens: [], normalise_newlines: false}\n"
        "seeds: {min_lines: 15, max_lines: 15}\n"
        "strategy: oss_instruct\n"
        f"teacher: {{replay: {{path: '{recorded}'}}}}\n"
    )
    done = magicoder("run", "replay.yaml", "--out", "out", "--data", shared_data, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)["summary"]
    stages = {s["stage"]: s for s in summary["stages"]}
    assert stages["samples"]["kept"] == 120, stages["samples"]["reasons"]
    assert_no_id_lost(tmp_path / "out")
    samples = pq.read_table(tmp_path / "out" / "samples" / "part-00000.parquet").to_pylist()
    by_seed = {e["seed"]: e for e in exchanges}
    assert all(s["response"] and s["response"] in by_seed[s["seed"]]["response"] for s in samples)
