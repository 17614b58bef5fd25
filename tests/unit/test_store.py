"""The store publishes whole artifacts or none, resumes at the first missing part, and refuses what it cannot trust."""

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
from magicoder.store import LAYOUT, Artifact, RunFolder, Writer, account, explained, read_table, swap, write_atomic


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


class Killed(BaseException):
    """What a kill looks like from inside: nothing after it happens."""


def kill_at(monkeypatch: pytest.MonkeyPatch, method: str, name: str) -> None:
    """Die just before the next `Path.<method>` of a path called `name`."""
    real = getattr(Path, method)

    def deadly(self: Path, *args: object, **more: object) -> object:
        if self.name == name:
            monkeypatch.undo()
            raise Killed
        return real(self, *args, **more)

    monkeypatch.setattr(Path, method, deadly)


@pytest.mark.parametrize("method", ["rename", "unlink"])
def test_a_build_killed_at_its_publication_is_published_by_the_next_run_without_building(
    run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    publish(run_folder, settings="old")
    kill_at(monkeypatch, method, "documents.building" if method == "rename" else "key")
    with pytest.raises(Killed):
        publish(run_folder, settings="new")
    artifact, built = publish(run_folder, build=lambda out: pytest.fail("built again"), settings="new")
    assert built
    assert len(list(artifact)) == 3
    assert sorted(p.name for p in run_folder.path.iterdir()) == [".lock", "documents", "run.json"]


def test_a_build_killed_at_its_publication_that_is_to_be_made_again_is_made_again(
    run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_at(monkeypatch, "unlink", "key")
    with pytest.raises(Killed):
        publish(run_folder)
    artifact, _ = run_folder.publish(
        "documents", Document, build_parts(PARTS[0]), settings="s", inputs=["i"], redo=lambda found: found.rows == 3
    )
    assert [d.path for d in artifact] == ["a", "b"]


def test_a_kill_while_an_unwanted_build_is_cleared_away_leaves_nothing_to_go_on_with(
    run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(out: Writer[Document]) -> None:
        build_parts(*PARTS[:2])(out)
        raise Killed

    with pytest.raises(Killed):
        publish(run_folder, build=dies, settings="wanted")

    def killed_halfway(folder: Path) -> None:
        for path in (folder / "rejected").iterdir():
            path.unlink()
        monkeypatch.undo()
        raise Killed

    monkeypatch.setattr("shutil.rmtree", killed_halfway)
    with pytest.raises(Killed):
        publish(run_folder, settings="another")
    artifact, _ = publish(run_folder, settings="wanted")
    assert [r.id for r in artifact.rejections()] == ["r@c:x", "r@c:y", "r@c:z"]


def test_looking_at_a_build_counts_what_is_whole_and_touches_nothing(run_folder: RunFolder) -> None:
    looked: list[object] = []

    def looks(out: Writer[Document]) -> None:
        build_parts(*PARTS[:2])(out)
        looked.append(run_folder.under_way("documents"))
        build_parts(*PARTS)(out)

    assert run_folder.under_way("documents") is None
    publish(run_folder, build=looks)
    assert looked == [(3, 1)]
    assert run_folder.under_way("documents") is None
    assert sorted(p.name for p in run_folder.path.iterdir()) == [".lock", "documents", "run.json"]


def test_a_part_without_its_rejections_is_written_again(run_folder: RunFolder) -> None:
    def dies(out: Writer[Document]) -> None:
        build_parts(*PARTS[:2])(out)
        raise Killed

    with pytest.raises(Killed):
        publish(run_folder, build=dies)
    (run_folder.path / "documents.building" / "rejected" / "part-00001.parquet").unlink()
    artifact, _ = publish(run_folder)
    assert (artifact.manifest.rows, artifact.manifest.rejected) == (3, 3)


def test_another_version_of_the_software_makes_everything_again(
    run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(run_folder)
    publish_readme(run_folder)
    monkeypatch.setattr("magicoder.store.software", lambda: {"magicoder": "9.9.9"})
    assert publish(run_folder)[1] is True
    assert publish_readme(run_folder)[1] is True


def publish_readme(folder: RunFolder, text: str = "read me", settings: object = "s") -> tuple[Path, bool]:
    def build(place: Path) -> None:
        (place / "data").mkdir()
        (place / "data" / "README.md").write_text(text)

    return folder.publish_folder("dataset", build, settings=settings, inputs=[])


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


def test_a_file_killed_at_its_publication_is_never_taken_for_the_one_of_another_key(
    run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def publish(text: str) -> bytes:
        return run_folder.publish_file("page.html", text.encode, settings=text, inputs=[])[0].read_bytes()

    publish("old")
    kill_at(monkeypatch, "replace", "page.html.json.partial")
    with pytest.raises(Killed):
        publish("new")
    assert publish("old") == b"old"


@pytest.mark.parametrize("place", ["dataset", "dataset.building", "dataset.json.partial"])
def test_a_folder_killed_at_its_publication_is_never_taken_for_the_one_of_another_key(
    run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    publish_readme(run_folder, text="old", settings="old")
    kill_at(monkeypatch, "replace" if place.endswith(".partial") else "rename", place)
    with pytest.raises(Killed):
        publish_readme(run_folder, text="new", settings="new")
    assert tree(publish_readme(run_folder, text="old", settings="old")[0]) == {"data/README.md": b"old"}
    assert sorted(p.name for p in run_folder.path.iterdir() if "dataset" in p.name) == ["dataset", "dataset.json"]


def test_everything_is_on_disk_before_it_is_given_its_name(
    run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut keeps a rename and loses what was not synced: so each file, then its folder, then the name."""
    events: list[tuple[str, str]] = []
    fsync, rename, replace = os.fsync, Path.rename, Path.replace

    def log_fsync(descriptor: int) -> None:
        fsync(descriptor)
        events.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))

    def log_rename(self: Path, target: Path) -> Path:
        events.append(("name", target.name))
        return rename(self, target)

    def log_replace(self: Path, target: Path) -> Path:
        events.append(("name", target.name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", log_fsync)
    monkeypatch.setattr(Path, "rename", log_rename)
    monkeypatch.setattr(Path, "replace", log_replace)
    publish(run_folder)
    publish_readme(run_folder)
    run = run_folder.path.name
    assert in_order(
        events, ("sync", "part-00000.parquet.partial"), ("name", "part-00000.parquet"), ("sync", "rejected")
    )
    assert in_order(
        events, ("sync", "rejected"), ("name", "part-00000.parquet"), ("sync", "documents.building"),
        ("name", "manifest.json"), ("sync", "documents.building"), ("name", "documents"), ("sync", run),
    )  # fmt: skip
    assert in_order(
        events, ("sync", "README.md"), ("sync", "dataset.building"), ("name", "dataset"), ("sync", run),
        ("name", "dataset.json"), ("sync", run),
    )  # fmt: skip
    assert in_order(events, ("sync", "data"), ("name", "dataset"))


def in_order(events: list[tuple[str, str]], *wanted: tuple[str, str]) -> bool:
    left = iter(events)
    return all(event in left for event in wanted)


def test_a_folder_whose_very_first_write_was_cut_off_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "run.json.partial").write_bytes(b"")
    with RunFolder.locked(tmp_path) as folder:
        publish(folder)


def test_a_full_disk_leaves_no_half_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="disk is full"), RunFolder.locked(tmp_path / "run"):
        pass
    assert [p.name for p in (tmp_path / "run").iterdir()] == [".lock"]
    with pytest.raises(OSError, match="No space"):
        write_atomic(tmp_path / "x.json", b"{}")
    assert not list(tmp_path.glob("x.json*"))


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
