"""The store publishes whole artifacts or none, and resumes at the first missing part, wherever it was killed."""

import errno
import os
from pathlib import Path

import pytest

from magicoder.errors import StoreError
from magicoder.records import Document
from magicoder.store import RunFolder, Writer, write_atomic
from tests.stored import (
    PARTS,
    build_parts,
    document,
    locked_run_folder,  # noqa: F401 - a fixture
    publish,
    publish_readme,
    tree,
)


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
