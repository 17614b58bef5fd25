"""The store publishes whole artifacts or none, resumes at the first missing part, and refuses what it cannot trust."""

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
from magicoder.store import LAYOUT, Artifact, RunFolder, Writer, account, explained, swap


def document(name: str) -> Document:
    return Document(
        id=f"r@c:{name}",
        text=f"text of {name} é\n",
        language="python",
        repository="r",
        commit="c",
        path=name,
        license="",
    )


def rejection(name: str) -> Rejection:
    return Rejection(id=f"r@c:{name}", stage="documents", reason="binary")


def build_parts(*parts: tuple[list[str], list[str]]):
    def build(out: Writer[Document]) -> None:
        for kept, rejected in parts[out.done :]:
            out.write([document(k) for k in kept], [rejection(r) for r in rejected])
        out.add_facts({"what": "a test"})

    return build


PARTS = ((["a", "b"], ["x"]), (["c"], []), ([], ["y", "z"]))


def publish(folder: RunFolder, build=None, settings: object = "s", inputs: tuple[str, ...] = ("i",)):
    return folder.publish("documents", Document, build or build_parts(*PARTS), settings=settings, inputs=list(inputs))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def run_folder(tmp_path: Path):
    with RunFolder.locked(tmp_path / "run") as folder:
        yield folder


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


@pytest.mark.parametrize("stop_after", [0, 1, 2])
def test_an_interrupted_build_goes_on_at_the_first_missing_part_with_equal_bytes(
    tmp_path: Path, stop_after: int
) -> None:
    with RunFolder.locked(tmp_path / "whole") as folder:
        publish(folder)
    written: list[int] = []

    def dies(out: Writer[Document]) -> None:
        build_parts(*PARTS[:stop_after])(out)
        raise KeyboardInterrupt

    def goes_on(out: Writer[Document]) -> None:
        written.append(out.done)
        build_parts(*PARTS)(out)

    with RunFolder.locked(tmp_path / "halved") as folder:
        with pytest.raises(KeyboardInterrupt):
            publish(folder, build=dies)
        assert folder.artifact("documents", Document) is None
        publish(folder, build=goes_on)
    assert written == [stop_after]
    assert tree(tmp_path / "whole" / "documents") == tree(tmp_path / "halved" / "documents")


def test_an_interrupted_build_of_another_key_is_thrown_away(run_folder: RunFolder) -> None:
    def dies(out: Writer[Document]) -> None:
        out.write([document("stale")], [])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(run_folder, build=dies, settings="old")
    artifact, _ = publish(run_folder, settings="new")
    assert "stale" not in [d.path for d in artifact]


def test_the_old_artifact_stays_until_the_new_one_is_whole(run_folder: RunFolder) -> None:
    publish(run_folder)

    def dies(out: Writer[Document]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(run_folder, build=dies, settings="other")
    found = run_folder.artifact("documents", Document)
    assert found is not None
    assert len(list(found)) == 3


def test_a_half_written_part_is_not_taken_for_a_part(run_folder: RunFolder) -> None:
    def dies(out: Writer[Document]) -> None:
        build_parts(PARTS[0])(out)
        (out.folder / "part-00001.parquet.partial").write_bytes(b"torn")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(run_folder, build=dies)
    artifact, _ = publish(run_folder)
    assert [d.path for d in artifact] == ["a", "b", "c"]
    assert not list(run_folder.path.rglob("*.partial"))


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


def test_an_artifact_can_be_sent_to_a_worker(run_folder: RunFolder) -> None:
    import pickle

    artifact, _ = publish(run_folder)
    again: Artifact[Document] = pickle.loads(pickle.dumps(artifact))
    assert list(again) == list(artifact)
