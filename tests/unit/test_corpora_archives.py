"""Archives, read without unpacking."""

import io
import lzma
import stat
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest

from magicoder.corpora.archives import Archives
from magicoder.errors import CorpusError
from magicoder.records import RawDocument

MIT = b"SPDX-License-Identifier: MIT\n"
PKG_INFO = (
    b"Metadata-Version: 2.1\nName: Foo.Bar\nVersion: 1.2\nClassifier: License :: OSI Approved :: MIT License\n\nText"
)


def tar(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def zipped(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def read(path: Path, max_bytes: int = 10_000, **settings: object) -> list[RawDocument]:
    return list(Archives(path=str(path), **settings).documents(max_bytes))  # type: ignore[arg-type]


def test_a_wheel_gives_package_version_and_its_own_licence(tmp_path: Path) -> None:
    wheel = zipped(
        tmp_path / "Foo_Bar-2.0-py3-none-any.whl",
        {
            "foo_bar/__init__.py": b"x = 1",
            "foo_bar/vendored/LICENSE": b"SPDX-License-Identifier: ISC",
            "foo_bar/vendored/v.py": b"",
            "foo_bar-2.0.dist-info/METADATA": b"Name: Foo-Bar\nVersion: 2.0\nLicense-Expression: MIT\n\n",
        },
    )
    found = {d.path: d for d in read(wheel)}
    assert found["foo_bar/__init__.py"].id == "pypi/foo-bar@2.0:foo_bar/__init__.py"
    assert found["foo_bar/__init__.py"].license == "MIT"
    assert found["foo_bar/vendored/v.py"].license == "ISC"


def test_a_source_distribution_loses_its_top_folder(tmp_path: Path) -> None:
    sdist = tar(tmp_path / "foo_bar-1.2.tar.gz", {"foo_bar-1.2/src/a.py": b"1", "foo_bar-1.2/PKG-INFO": PKG_INFO})
    assert [(d.id, d.license) for d in read(sdist, include=("*.py",))] == [("pypi/foo-bar@1.2:src/a.py", "MIT")]


def test_packages_of_other_registries_are_known(tmp_path: Path) -> None:
    npm = tar(
        tmp_path / "x.tgz",
        {"package/a.js": b"1", "package/package.json": b'{"name": "@o/x", "version": "3.0.0", "license": "ISC"}'},
    )
    crate = tar(tmp_path / "y-0.4.1.crate", {"y-0.4.1/src/lib.rs": b"", "y-0.4.1/LICENSE": MIT})
    assert (read(npm)[0].id, read(npm)[0].license) == ("npm/@o/x@3.0.0:a.js", "ISC")
    assert (read(crate)[0].id, read(crate)[0].license) == ("crates/y@0.4.1:src/lib.rs", "MIT")


@pytest.mark.parametrize(
    ("name", "top", "expected"),
    [
        ("linux-6.1.tar.gz", "linux-6.1/", "linux@6.1:a.c"),
        ("project-main.tar.gz", "project-main/", "project-main:a.c"),
        ("mono_6.8.0+dfsg.orig.tar.xz", "mono-6.8.0/", "mono@6.8.0+dfsg:mono-6.8.0/a.c"),
        ("loose.tar", "", "loose:a.c"),
        ("tool-v2.tgz", "src/", "tool@2:src/a.c"),
    ],
)
def test_other_archives_are_called_by_their_file_names(tmp_path: Path, name: str, top: str, expected: str) -> None:
    mode = {".xz": "w:xz", "tar": "w"}.get(name[-3:], "w:gz")
    path = tar(tmp_path / name, {f"{top}a.c": b"1", f"{top}b/c.c": b"2"}, mode)
    assert read(path)[0].id == expected


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip", ".jar"])
def test_every_compression_gives_the_same_documents(tmp_path: Path, ending: str) -> None:
    members = {f"d/{i}.py": Random(i).randbytes(i * 37) for i in range(40)}
    path = tmp_path / f"x{ending}"
    if ending in (".zip", ".jar"):
        zipped(path, members)
    elif ending == ".tar.zst":
        plain = tar(tmp_path / "plain.tar", members, "w")
        with pa.output_stream(str(path), compression="zstd") as out:
            out.write(plain.read_bytes())
    else:
        tar(path, members, {".tar": "w", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}.get(ending, "w:gz"))
    found = read(path, 1000)
    assert [(d.id, d.content, d.size) for d in found] == [(f"x:{n}", c[:1001], len(c)) for n, c in members.items()]


def test_xz_files_of_several_streams_are_read_to_the_end(tmp_path: Path) -> None:
    plain = tar(tmp_path / "p.tar", {"a.py": b"1" * 3000, "b.py": b"2"}, "w").read_bytes()
    (tmp_path / "x.tar.xz").write_bytes(lzma.compress(plain[:1000]) + b"\0" * 8 + lzma.compress(plain[1000:]))
    assert [d.path for d in read(tmp_path / "x.tar.xz")] == ["a.py", "b.py"]


def test_paths_cannot_leave_the_archive(tmp_path: Path) -> None:
    names = {"../../etc/a.py": b"", "/root/b.py": b"", "x/../../c.py": b"", "./d.py": b""}
    assert [d.path for d in read(tar(tmp_path / "x.tar.gz", names))] == ["etc/a.py", "root/b.py", "x/c.py", "d.py"]
    assert read(zipped(tmp_path / "x.zip", {"..\\..\\w\\a.py": b"", **names}))[0].path == "w/a.py"


def test_version_control_and_hidden_members_are_left_out(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar.gz", {"x/.git/config.py": b"", "x/.ci.py": b"", "x/a.py": b""})
    assert [d.path for d in read(path)] == ["a.py"]
    assert [d.path for d in read(path, hidden=True)] == [".ci.py", "a.py"]


def test_links_and_devices_come_with_a_problem(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in (("s.py", tarfile.SYMTYPE), ("h.py", tarfile.LNKTYPE), ("d.py", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert [(d.path, d.problem) for d in read(tmp_path / "x.tar")] == [
        ("s.py", "link"),
        ("h.py", "link"),
        ("d.py", "not_a_file"),
    ]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipfile_:
        entry = zipfile.ZipInfo("s.py")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipfile_.writestr(entry, "/etc/passwd")
    assert [d.problem for d in read(tmp_path / "x.zip")] == ["link"]


def test_encrypted_and_damaged_zip_members_do_not_stop_the_others(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a.py": b"a" * 50, "b.py": b"b" * 50, "c.py": b"c" * 50}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.find(b"b" * 50) + 3] ^= 0xFF
    entry = data.rfind(b"PK\x01\x02", 0, data.rfind(b"a.py"))
    data[entry + 8] |= 1
    path.write_bytes(data)
    assert [(d.path, d.problem) for d in read(path)] == [("a.py", "encrypted"), ("b.py", "unreadable"), ("c.py", "")]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_truncated_archive_keeps_what_can_be_read(tmp_path: Path, mode: str) -> None:
    members = {f"{i}.py": Random(i).randbytes(30_000) for i in range(80)}
    path = tar(tmp_path / f"x.tar{mode[1:].replace(':', '.')}", members, mode)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    *good, last = read(path, 100)
    assert 10 < len(good) < 80
    assert not any(d.problem for d in good)
    assert (last.path, last.problem) == (path.name, "corrupt_archive")


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", {f"{i}.py": b"x" * 512 for i in range(9)}, "w")
    data = bytearray(path.read_bytes())
    data[4 * 1024 + 20] ^= 0xFF
    path.write_bytes(data)
    assert [(d.path, d.problem) for d in read(path)][3:] == [("3.py", ""), ("x.tar", "corrupt_archive")]


def test_a_header_that_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    good = tar(tmp_path / "good.tar", {"a.py": b"1"}, "w").read_bytes()[:1024]
    bomb = tarfile.TarInfo("long")
    bomb.type, bomb.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    (tmp_path / "x.tar").write_bytes(good + bomb.tobuf(tarfile.GNU_FORMAT) + b"\0" * 4096)
    assert [(d.path, d.problem) for d in read(tmp_path / "x.tar")] == [("a.py", ""), ("x.tar", "corrupt_archive")]


@pytest.mark.parametrize("name", ["x.tar.gz", "x.zip", "x.tar.zst", "x.tar.xz", "x.tar", "x.whl"])
def test_a_file_that_is_no_archive_is_an_error_alone_and_a_document_among_others(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is not an archive " * 100)
    with pytest.raises(CorpusError, match="cannot be read as an archive"):
        read(tmp_path / name)
    tar(tmp_path / "good.tar.gz", {"a.py": b"1"})
    assert {d.path: d.problem for d in read(tmp_path)} == {"a.py": "", name: "corrupt_archive"}


def test_a_compression_bomb_is_read_up_to_the_limit(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a.py": bytes(60 << 20)})
    tracemalloc.start()
    (found,) = read(path, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(found.content), found.size) == (1001, 60 << 20)
    assert peak < 8 << 20


def test_archives_of_a_folder_are_told_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        tar(tmp_path / "all" / folder / "x.tar.gz", {"a.py": folder.encode()})
    (tmp_path / "all" / "readme.txt").write_text("not an archive")
    assert [d.id for d in read(tmp_path / "all")] == ["one/x:a.py", "two/x:a.py"]
    assert len(read(Path(f"{tmp_path}/all/*/x.tar.gz"))) == 2
    with pytest.raises(CorpusError, match="no file matches"):
        read(tmp_path / "*.zip")
    (tmp_path / "none").mkdir()
    with pytest.raises(CorpusError, match="are archives"):
        read(tmp_path / "none")


def test_an_archive_without_files_and_one_without_chosen_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no files in"):
        read(zipped(tmp_path / "e.zip", {}))
    with pytest.raises(CorpusError, match="none of the 1 files"):
        read(tar(tmp_path / "x.tar.gz", {"a.py": b""}), include=("*.rs",))


def test_undecodable_member_names_give_valid_ids(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", {f"a{chr(0xDC00 + byte)}.py": b"1" for byte in (0xFE, 0xFF)}, "w")
    assert len({d.id.encode() for d in read(path)}) == 2


def test_the_state_follows_the_files(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar.gz", {"a.py": b"1"})
    corpus = Archives(path=str(path))
    first = corpus.state()
    assert corpus.state() == first
    tar(path, {"a.py": b"1", "b.py": b"2"})
    assert corpus.state() != first
