"""The store gives back what was written, makes nothing twice, and refuses what it cannot trust."""

import dataclasses
import errno
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from magicoder.errors import StoreError
from magicoder.records import Document, Rejection
from magicoder.store import LAYOUT, Artifact, RunFolder, Writer, account, explained, read_table, swap
from tests.stored import (
    build_parts,
    document,
    locked_run_folder,  # noqa: F401 - a fixture
    publish,
    publish_readme,
    tree,
)


def test_rows_and_rejections_come_back_as_written(run_folder: RunFolder) -> None:
    artifact, built = publish(run_folder)
    assert built
    assert [d.path for d in artifact] == ["a", "b", "c"]
    assert next(iter(artifact)) == document("a")
    assert [r.id for r in artifact.rejections()] == ["r@c:x", "r@c:y", "r@c:z"]
    assert (artifact.manifest.rows, artifact.manifest.rejected) == (3, 3)
    assert artifact.manifest.facts == {"what": "a test"}


def test_same_key_is_not_built_again_and_another_key_is(run_folder: RunFolder) -> None:
    publish(run_folder)
    assert publish(run_folder, build=lambda out: pytest.fail("built again"))[1] is False
    assert publish(run_folder, settings="other")[1] is True
    assert publish(run_folder, settings="other", inputs=("j",))[1] is True


def test_equal_rows_made_from_another_key_have_equal_content(run_folder: RunFolder) -> None:
    first, _ = publish(run_folder)
    second, _ = publish(run_folder, settings="other")
    assert first.manifest.key != second.manifest.key
    assert first.manifest.content == second.manifest.content


def test_another_version_of_the_software_makes_everything_again(
    run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(run_folder)
    publish_readme(run_folder)
    monkeypatch.setattr("magicoder.store.software", lambda: {"magicoder": "9.9.9"})
    assert publish(run_folder)[1] is True
    assert publish_readme(run_folder)[1] is True


def test_a_published_folder_is_made_once_for_each_key_and_holds_nothing_of_ours(run_folder: RunFolder) -> None:
    assert publish_readme(run_folder)[1] is True
    assert publish_readme(run_folder)[1] is False
    place, built = publish_readme(run_folder, text="other", settings="t")
    assert built
    assert tree(place) == {"data/README.md": b"other"}


def test_a_published_file_is_made_once_for_each_key_and_again_when_it_is_gone(run_folder: RunFolder) -> None:
    def publish(text: str, settings: str = "s") -> tuple[bytes, bool]:
        place, built = run_folder.publish_file("page.html", text.encode, settings=settings, inputs=[])
        return place.read_bytes(), built

    assert publish("one") == (b"one", True)
    assert publish("unread") == (b"one", False)
    assert publish("two", "t") == (b"two", True)
    (run_folder.path / "page.html").unlink()
    assert publish("three", "t") == (b"three", True)


def test_two_runs_in_one_folder_are_refused_by_name(tmp_path: Path) -> None:
    with RunFolder.locked(tmp_path / "run"):
        code = (
            "from pathlib import Path; from magicoder.store import RunFolder\n"
            f"with RunFolder.locked(Path({str(tmp_path / 'run')!r})): pass"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"in use by another magicoder run (process {os.getpid()})" in done.stderr


def test_a_folder_of_another_layout_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_bytes(orjson.dumps({"layout": LAYOUT + 1, "magicoder": "9.9"}))
    with (
        pytest.raises(StoreError, match=r"made by magicoder 9\.9.*use another --out"),
        RunFolder.locked(tmp_path / "run"),
    ):
        pass


def test_a_folder_with_foreign_files_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match="holds files but is not a run folder"), RunFolder.locked(tmp_path):
        pass


def test_a_damaged_part_is_named(run_folder: RunFolder) -> None:
    artifact, _ = publish(run_folder)
    (artifact.folder / "part-00000.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(StoreError, match="missing or damaged"):
        list(artifact)


def test_a_part_whose_pages_are_damaged_is_named_with_the_folder_to_delete(run_folder: RunFolder) -> None:
    artifact, _ = publish(run_folder)
    for path in (artifact.folder / "part-00000.parquet", artifact.folder / "rejected" / "part-00000.parquet"):
        data = bytearray(path.read_bytes())
        data[4:200] = bytes(196)
        path.write_bytes(data)
    wanted = f"delete {artifact.folder} and run again"
    with pytest.raises(StoreError, match=wanted):
        list(artifact)
    with pytest.raises(StoreError, match=wanted):
        list(artifact.rejections())


def test_a_damaged_manifest_is_named(run_folder: RunFolder) -> None:
    artifact, _ = publish(run_folder)
    (artifact.folder / "manifest.json").write_bytes(b"{}")
    with pytest.raises(StoreError, match=r"manifest\.json is damaged"):
        publish(run_folder)


def test_a_part_with_other_columns_is_refused_with_their_names(run_folder: RunFolder) -> None:
    artifact, _ = publish(run_folder)
    pq.write_table(pa.table({"id": ["1"], "colour": ["red"]}), artifact.folder / "part-00000.parquet")
    with pytest.raises(StoreError, match=r"missing columns: \['commit'.*unknown: \['colour'\]"):
        list(artifact)


def test_a_full_disk_says_so_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="disk is full"), explained(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_swap_replaces_a_folder_whole(tmp_path: Path) -> None:
    for name, text in (("old", "1"), ("new", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(text)
    swap(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old" / "f").read_text() == "2"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old"]


def test_accounting_notices_a_lost_and_a_doubled_id() -> None:
    account(["a", "b"], ["a"], ["b"])
    with pytest.raises(AssertionError, match="'b'"):
        account(["a", "b"], ["a"], [])
    with pytest.raises(AssertionError, match="'a'"):
        account(["a", "b"], ["a", "a"], ["b"])


def test_accounting_works_without_assertions(tmp_path: Path) -> None:
    code = "from magicoder.store import account; account(['a'], [], [])"
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False)
    assert "ids lost or doubled: ['a']" in done.stderr


def test_a_row_with_a_hole_is_refused_without_assertions_too(tmp_path: Path) -> None:
    code = (
        "from magicoder.records import Rejection; from magicoder.schema import to_table\n"
        "to_table(Rejection, [Rejection(id=None, stage='s', reason='r')])"
    )
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False)
    assert "Rejection.id is None in a row" in done.stderr


def test_an_artifact_can_be_sent_to_a_worker(run_folder: RunFolder) -> None:
    import pickle

    artifact, _ = publish(run_folder)
    again: Artifact[Document] = pickle.loads(pickle.dumps(artifact))
    assert list(again) == list(artifact)


# ---- parts without texts


def kept_of(folder: RunFolder, made: Artifact[Document], rows: list[list[int]]) -> Artifact[Document]:
    """Publish `distinct_files`: of each part the rows named."""

    def build(out: Writer[Document]) -> None:
        names = [n for n in pq.read_schema(made.part_path(0)).names if n != "text"]
        for index in range(out.done, made.part_count):
            table = read_table(made.part_path(index), names)
            stays = pa.array(rows[index], pa.int64())
            gone = [r for n, r in enumerate(made.read_part(index)) if n not in rows[index]]
            rejected = [Rejection(id=d.id, stage="distinct_files", reason="near_duplicate") for d in gone]
            out.write_kept(table.take(stays), stays, made.part_path(index), rejected)

    return folder.publish("distinct_files", Document, build, settings=rows, inputs=[made.manifest.content])[0]


def test_what_leaves_records_out_reads_like_any_stage_and_holds_no_text(run_folder: RunFolder) -> None:
    made, _ = publish(run_folder, build_parts((["a", "b", "d"], []), (["c"], []), ([], ["y"]), (["e", "f"], [])))
    kept = kept_of(run_folder, made, [[0, 2], [0], [], []])
    assert list(kept) == [document("a"), document("d"), document("c")]
    assert (kept.manifest.rows, kept.manifest.rejected) == (3, 3)
    assert "text" not in pq.read_schema(kept.part_path(0)).names
    assert read_table(kept.part_path(0), ["text"]).to_pydict() == {"text": [document(n).text for n in "ad"]}
    assert read_table(kept.part_path(0), ["path"])["path"].to_pylist() == ["a", "d"]
    assert read_table(kept.part_path(3), ["id", "text"]).num_rows == 0
    found = read_table(kept.part_path(0), ids=["r@c:d", "r@c:b"])
    assert found.to_pylist() == [dataclasses.asdict(document("d"))]
    assert read_table(kept.part_path(1), ["path"], ids=["r@c:d"]).num_rows == 0


def test_parts_without_texts_notice_that_their_texts_were_made_again(run_folder: RunFolder) -> None:
    made, _ = publish(run_folder, build_parts((["a", "b", "c"], [])))
    kept = kept_of(run_folder, made, [[0, 2]])
    for others in (["a", "c", "b"], ["a", "b"]):
        publish(run_folder, build_parts((others, [])), settings=others)
        with pytest.raises(StoreError, match="made again since"):
            list(kept)
        assert read_table(kept.part_path(0), ["id"])["id"].to_pylist() == ["r@c:a", "r@c:c"]
    (run_folder.path / "documents" / "part-00000.parquet").unlink()
    with pytest.raises(StoreError, match="missing or damaged"):
        list(kept)
