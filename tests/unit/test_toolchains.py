"""Finding compilers, and turning a program into the commands that compile and run it."""

import os
import subprocess
from pathlib import Path

import pytest

from magicoder.errors import SandboxError
from magicoder.languages import all_languages, executable, get
from magicoder.records import Limits
from magicoder.sandboxes import _toolchains
from magicoder.sandboxes._compilers import prepare
from magicoder.sandboxes._java_names import file_class, main_class

PRESENT = [language.name for language in executable() if _toolchains.find(language.name).version]


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A machine of our own making: a PATH with nothing on it, and nothing remembered."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_toolchains, "cache_folder", lambda: tmp_path / "cache")
    _toolchains.find.cache_clear()
    yield tmp_path
    _toolchains.find.cache_clear()


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def job(language: str, *files: tuple[str, str], limits: Limits | None = None) -> _toolchains.Job:
    if not _toolchains.find(language).version:
        pytest.skip(f"no toolchain for {language}: {_toolchains.find(language).install}")
    return _toolchains.job(_toolchains.find(language), files, limits or Limits())


@pytest.mark.parametrize("name", PRESENT)
def test_a_greeting_compiles_and_runs(name, tmp_path):
    found = _toolchains.find(name)
    prepare(found)
    made = _toolchains.job(found, [("", found.toolchain.hello)], Limits())
    for file, content in made.files:
        (tmp_path / file).write_bytes(content)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8", **dict(made.environment)}
    before = set(tmp_path.rglob("*"))
    if made.compile:
        subprocess.run(made.compile, cwd=tmp_path, env=environment, check=True, capture_output=True)
        left = set(tmp_path.rglob("*")) - before
        assert {path for pattern in made.makes for path in tmp_path.glob(pattern)} & left
    done = subprocess.run(made.run, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout == "hello\n"
    assert done.stderr == ""


def test_the_languages_of_ci_are_all_there():
    wanted = {"python", "javascript", "typescript", "java", "cpp", "rust", "php", "go", "shell", "csharp"}
    if os.environ.get("CI"):
        assert wanted <= set(PRESENT)
    else:
        assert "python" in PRESENT


def test_every_language_that_is_read_can_be_run_somewhere():
    assert {language.name for language in all_languages()} <= {language.name for language in executable()}


def test_what_is_missing_is_said_with_how_to_get_it(fresh):
    for language in executable():
        found = _toolchains.find(language.name)
        if language.name != "python":
            assert not found.version
            assert found.missing.split()[0] in language.toolchain.needs
            assert found.install == language.toolchain.install
            assert (found.commands, found.shows, found.cache) == ((), (), "")
    assert _toolchains.shown([language.name for language in executable() if language.name != "python"]) == ()


def test_a_tool_that_prints_no_version_is_not_taken_for_a_toolchain(fresh):
    script(fresh / "swiftc", "echo broken >&2; exit 1")
    assert _toolchains.find("swift").version == ""
    assert _toolchains.find("swift").missing == "swiftc --version prints no version"


def test_swift_by_construction(fresh):
    script(fresh / "swift-6.0" / "usr" / "bin" / "swiftc", "echo 'Swift version 6.0.3 (swift-6.0.3-RELEASE)'")
    (fresh / "swiftc").symlink_to(fresh / "swift-6.0" / "usr" / "bin" / "swiftc")
    found = _toolchains.find("swift")
    assert found.version == "swiftc 6.0.3"
    assert str(fresh / "swift-6.0" / "usr") in found.shows
    made = _toolchains.job(found, [("", 'print("hello")'), ("more.swift", ""), ("data.txt", "")], Limits())
    assert made.compile[1:] == ("-o", "program", "main.swift", "more.swift")
    assert made.compile[0] == str(fresh / "swift-6.0" / "usr" / "bin" / "swiftc")
    assert made.run == ("./program",)


def test_the_stand_in_of_a_version_manager_is_seen_through(fresh):
    toolchain = fresh / "toolchains" / "stable"
    script(toolchain / "bin" / "rustc", "echo 'rustc 1.90.0 (abc 2025-01-01)'")
    script(fresh / "cargo" / "rustup", f'if [ "$1" = --print ]; then echo {toolchain}; else echo rustup 1.28.0; fi')
    (fresh / "rustc").symlink_to(fresh / "cargo" / "rustup")
    script(fresh / "gcc", "echo gcc 12.2.0")
    found = _toolchains.find("rust")
    assert found.version == "rustc 1.90.0"
    assert dict(found.commands)["rustc"] == (str(toolchain / "bin" / "rustc"),)
    assert str(toolchain) in found.shows
    assert not any("cargo" in path for path in found.shows)


def test_typescript_is_found_beside_its_command_and_in_the_cache_folder(fresh):
    script(fresh / "node", 'case "$1" in *tsc.js) echo Version 5.9.3;; *) echo v20.20.2;; esac')
    assert _toolchains.find("typescript").missing == "tsc not found"
    package = fresh / "cache" / "node_modules" / "typescript"
    (package / "lib").mkdir(parents=True)
    (package / "lib" / "tsc.js").touch()
    _toolchains.find.cache_clear()
    found = _toolchains.find("typescript")
    assert found.version == "tsc 5.9.3, node 20.20.2"
    assert str(package) in found.shows
    own = fresh / "node-22" / "lib" / "node_modules" / "typescript"
    (own / "lib").mkdir(parents=True)
    (own / "lib" / "tsc.js").touch()
    script(own / "bin" / "tsc", "")
    (fresh / "tsc").symlink_to(own / "bin" / "tsc")
    _toolchains.find.cache_clear()
    assert dict(_toolchains.find("typescript").commands)["tsc"][1] == str(own / "lib" / "tsc.js")


def test_another_version_has_another_cache(fresh):
    script(fresh / "g++", "echo 'g++ (Debian) 12.2.0'")
    one = _toolchains.find("cpp").cache
    script(fresh / "g++", "echo 'g++ (Debian) 13.1.0'")
    _toolchains.find.cache_clear()
    assert one != _toolchains.find("cpp").cache


def test_what_a_jail_shows_has_no_folder_inside_another(fresh):
    script(fresh / "tool" / "bin" / "swiftc", "echo 6.0")
    script(fresh / "tool" / "more" / "bin" / "julia", "echo 1.10")
    for name, place in (("swiftc", "tool/bin"), ("julia", "tool/more/bin")):
        (fresh / name).symlink_to(fresh / place / name)
    shown = _toolchains.shown(["julia", "swift"])
    assert str(fresh / "tool") in shown
    assert not any(a != b and a.startswith(f"{b}/") for a in shown for b in shown)


def test_no_home_folder_and_no_whole_settings_folder_is_shown():
    shown = _toolchains.shown(PRESENT)
    assert not {"/", "/etc", "/root", "/home", "/var", "/tmp", str(Path.home())} & set(shown)
    assert not any(path.startswith(("/etc/passwd", "/etc/shadow", "/etc/ssh")) for path in shown)


def test_a_program_without_memory_of_its_own_gets_a_heap_below_its_limit():
    small = job("javascript", ("", ""), limits=Limits(memory_mb=256))
    assert "--max-old-space-size=192" in small.run


def test_files_keep_their_names_and_the_first_gets_one():
    made = job("javascript", ("", "main"), ("lib/other.js", "other"))
    assert made.files == (("main.js", b"main"), ("lib/other.js", b"other"))
    assert made.run[-1] == "main.js"


@pytest.mark.parametrize("name", ["../main.js", "/main.js", "a/../../b.js", "a//b.js", "-e.js", "a\0b.js", "./a.js"])
def test_a_name_that_leaves_the_folder_or_reads_as_an_option_is_refused(name):
    with pytest.raises(ValueError, match="no relative name"):
        job("javascript", (name, ""))


def test_two_files_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two files of one name"):
        job("javascript", ("", ""), ("main.js", ""))
    with pytest.raises(ValueError, match="at least one"):
        job("javascript")


def test_a_go_test_file_is_built_into_its_tests():
    assert job("go", ("x_test.go", "")).compile[1:3] == ("test", "-c")
    assert job("go", ("", "")).compile[1:2] == ("build",)


def test_a_failed_debug_assert_ends_a_csharp_program(tmp_path):
    made = job("csharp", ("", "using System.Diagnostics;\nclass A { static void Main() { Debug.Assert(1 > 2); } }"))
    for file, content in made.files:
        (tmp_path / file).write_bytes(content)
    subprocess.run(made.compile, cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run(made.run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 134
    assert "Assertion failed" in done.stderr


def test_asking_for_a_language_that_nothing_runs_says_so(monkeypatch):
    _toolchains.find.cache_clear()
    monkeypatch.setattr(_toolchains, "get", lambda _: type("Unrunnable", (), {"toolchain": None}))
    with pytest.raises(SandboxError, match="has no toolchain"):
        _toolchains.find("c")


@pytest.mark.parametrize(
    ("source", "file", "main"),
    [
        (get("java").toolchain.hello, "Hello", "Hello"),
        ("public class A { } class B { public static void main(String[] a) {} }", "A", "B"),
        ("class A { } class B { static public void main(String... a) {} }", "B", "B"),
        ("interface Shape { } record P(int x) { public static void main(String[] a) { } }", "P", "P"),
        ("package a.b;\nfinal class A { public static void main(String[] x) {} }", "A", "a.b.A"),
        ("class A { static class Inner { public static void main(String[] a) {} } }", "A", "A$Inner"),
        ('class A { String s = "class B { public static void main("; }', "A", ""),
        ("// public class N {}\n/* public class M { */ enum E { X; public static void main(String[] a) {} }", "E", "E"),
        ('class A { String t = """\n  class Q { "quoted" \\""" }\n"""; char c = \'"\'; } public class Z {}', "Z", ""),
        ("class A { void f() { Object o = A.class; } public static void main(String[] a) { main(null); } }", "A", "A"),
        ("class A { void f() { class Local { } } } @Deprecated public sealed interface I permits J {}", "I", ""),
        ("class A { int main; void main(int x) { } }", "A", ""),
        ("import java.util.*;", "Main", ""),
        ("class Ä { public static void main(String[] a) {} }", "Ä", "Ä"),
        ("class A<T extends I<T>> extends B implements C { public static final void main(String[] a) {} }", "A", "A"),
        ("", "Main", ""),
        ("class {{{ class", "Main", ""),
    ],
)  # fmt: skip
def test_java_files_are_named_and_started_as_the_language_wants(source, file, main):
    assert file_class(source) == file
    assert main_class(source) == main


def test_a_toolchain_that_programs_could_not_read_is_missing_not_wrong(fresh):
    script(fresh / "home" / "swift" / "bin" / "swiftc", "echo 6.0")
    (fresh / "swiftc").symlink_to(fresh / "home" / "swift" / "bin" / "swiftc")
    for folder in (*fresh.parents, fresh):
        if folder.stat().st_uid == os.geteuid() and len(folder.parts) > 2:
            folder.chmod(0o755)
    (fresh / "home").chmod(0o700)
    found = _toolchains.find("swift")
    assert _toolchains.on_rung(found, 3) == _toolchains.on_rung(found, 1) == found
    closed = _toolchains.on_rung(found, 2)
    assert closed.version == ""
    assert closed.missing == f"{fresh}/home is closed to the users that programs run as"
    (fresh / "home").chmod(0o711)
    assert _toolchains.on_rung(found, 2) == found


def test_csharp_is_missing_where_its_own_proc_is_not_to_be_had():
    found = _toolchains.find("csharp")
    if not found.version:
        pytest.skip(found.install)
    assert _toolchains.on_rung(found, 3) == found
    assert not _toolchains.on_rung(found, 1).version
    assert "rung 3" in _toolchains.on_rung(found, 2).missing
