"""Compilers that stay loaded say what the cold ones say, about real programs and hostile ones."""

import gzip
import json
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magicoder.errors import SandboxError
from magicoder.records import Limits
from magicoder.sandboxes import _compilers, _toolchains
from magicoder.sandboxes._compilers import messages

SHORT = {"java": "java", "typescript": "ts", "cpp": "cpp"}


class Process:
    """A server without a jail around it, as far as these tests need one."""

    def __init__(self, argv: tuple[str, ...]) -> None:
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def ask(self, data: bytes, *, wall_s: float = 0.0) -> bytes:
        self.process.stdin.write(struct.pack(">I", len(data)) + data)
        self.process.stdin.flush()
        (length,) = struct.unpack(">I", self.process.stdout.read(4))
        return self.process.stdout.read(length)

    def close(self) -> int:
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(timeout=10)


def found(language: str) -> _toolchains.Found:
    it = _toolchains.find(language)
    if not it.version:
        pytest.skip(f"no toolchain for {language}: {it.install}")
    _compilers.prepare(it)
    return it


def job(language: str, *files: tuple[str, str]) -> _toolchains.Job:
    return _toolchains.job(found(language), files, Limits())


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Process]]:
    started = {}
    for language in ("java", "typescript"):
        it = _toolchains.find(language)
        if it.version:
            _compilers.prepare(it)
            started[language] = Process(_compilers.server(it).argv)
    yield started
    assert [server.close() for server in started.values()] == [0] * len(started)


def warm(servers: dict[str, Process], language: str, *files: tuple[str, str]) -> messages.Compiled | None:
    made = job(language, *files)
    return _compilers.ask(servers[language], made)


@contextmanager
def cold(made: _toolchains.Job, folder: Path) -> Iterator[subprocess.CompletedProcess]:
    folder.mkdir()
    for name, content in made.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    yield subprocess.run(made.compile, cwd=folder, capture_output=True, text=True, check=False)


def recorded(shared_data: Path, language: str) -> list[tuple[str, str, bool]]:
    """Real programs of a model: name, text, whether they passed where they were recorded."""
    name = f"humaneval-{SHORT[language]}-details.json.gz"
    path = shared_data / "recorded_completions" / "qwen25coder_1.5b-base" / "multipl-e" / name
    rows = json.loads(gzip.decompress(path.read_bytes()))
    return [(key, rows[key][0][1]["code"], rows[key][0][1]["passed"]) for key in sorted(rows)]


def needs_tuples(language: str) -> None:
    if language == "java" and not Path("/usr/share/java/javatuples.jar").exists():
        pytest.skip("MultiPL-E's Java programs need libjavatuples-java")


@pytest.mark.parametrize("language", ["java", "typescript"])
def test_whatever_passed_where_it_was_recorded_compiles_here(language, servers, shared_data):
    found(language)
    needs_tuples(language)
    programs = recorded(shared_data, language)
    verdicts = {key: warm(servers, language, ("", code)) for key, code, _ in programs}
    assert None not in verdicts.values()
    assert [key for key, _, passed in programs if passed and not verdicts[key].ok] == []
    assert 5 < sum(not verdict.ok for verdict in verdicts.values()) < 30


@pytest.mark.parametrize(("language", "step"), [("java", 80), ("typescript", 100)])
def test_a_warm_compiler_says_and_makes_what_the_cold_one_does(language, step, servers, shared_data, tmp_path):
    found(language)
    needs_tuples(language)
    programs = recorded(shared_data, language)
    wrong = [p for p in programs if not warm(servers, language, ("", p[1])).ok][:1]
    for number, (_, code, _) in enumerate([*programs[::step], *wrong]):
        made = job(language, ("", code))
        ours = _compilers.ask(servers[language], made)
        with cold(made, tmp_path / str(number)) as theirs:
            assert ours.ok == (theirs.returncode == 0)
            assert ours.said == theirs.stdout + theirs.stderr
            if ours.ok:
                left = {p for pattern in made.makes for p in (tmp_path / str(number)).glob(pattern)}
                names = {p.relative_to(tmp_path / str(number)).as_posix(): p.read_bytes() for p in left}
                assert dict(ours.files) == names
            else:
                assert ours.files == ()


def test_cpp_begun_with_the_library_read_compiles_the_same_programs(shared_data, tmp_path):
    for number, (_, code, _) in enumerate(recorded(shared_data, "cpp")[::100]):
        made = job("cpp", ("", code))
        begun = _compilers.begun(found("cpp"), made)
        assert begun != made
        with cold(made, tmp_path / f"cold{number}") as theirs, cold(begun, tmp_path / f"warm{number}") as ours:
            assert ours.returncode == theirs.returncode
            assert ("error:" in ours.stderr) == ("error:" in theirs.stderr)


@pytest.mark.parametrize(
    ("source", "begins"),
    [
        ("#include <bits/stdc++.h>\nint main() {}", True),
        ("// a\n/* b\n*/\n#include <assert.h>\n # include <vector> // c\n#include<bits/stdc++.h>\nint x;", True),
        ("#include <vector>\nint main() {}", False),
        ("#define private public\n#include <bits/stdc++.h>", False),
        ('#include "mine.h"\n#include <bits/stdc++.h>', False),
        ("#include <boost/x.hpp>\n#include <bits/stdc++.h>", False),
        ("int x;\n#include <bits/stdc++.h>", False),
        ("#if 0\n#include <bits/stdc++.h>\n#endif", False),
        ("/* #include <bits/stdc++.h> */", False),
        ("// \\\n#include <bits/stdc++.h>\nint main() {}", False),
        ("", False),
    ],
)
def test_the_library_is_read_before_only_where_the_program_does_so_itself(source, begins):
    made = job("cpp", ("", source))
    assert (_compilers.begun(found("cpp"), made) != made) == begins


def test_a_forgotten_include_is_an_error_all_the_same(tmp_path):
    made = _compilers.begun(found("cpp"), job("cpp", ("", "int main() { std::vector<int> v; }")))
    with cold(made, tmp_path / "it") as done:
        assert done.returncode != 0


def test_several_java_files_and_packages_are_compiled_together(servers):
    made = warm(
        servers,
        "java",
        ("", "package a.b;\npublic class Main { public static void main(String[] x) { Other.f(); } class In {} }"),
        ("a/b/Other.java", "package a.b;\nclass Other { static void f() { Runnable r = () -> {}; } }"),
    )
    assert made.ok, made.said
    assert [name for name, _ in made.files] == ["a/b/Main$In.class", "a/b/Main.class", "a/b/Other.class"]
    assert all(content.startswith(b"\xca\xfe\xba\xbe") for _, content in made.files)


def test_several_typescript_files_import_one_another(servers):
    made = warm(servers, "typescript", ("", "import { f } from './other'; f(1);"), ("other.ts", _F))
    assert made.ok, made.said
    assert {name for name, _ in made.files} == {"main.js", "other.js"}
    assert not warm(servers, "typescript", ("", "import { f } from './other'; f('1');"), ("other.ts", _F)).ok


_F = "export function f(x: number) { return x; }"


def test_one_program_leaves_nothing_to_the_next(servers):
    first = "declare global { interface Array<T> { mine(): T } var leftover: number; }\nexport {};"
    assert warm(servers, "typescript", ("", first)).ok
    assert not warm(servers, "typescript", ("", "[1].mine();")).ok
    assert not warm(servers, "typescript", ("", "leftover = 1;")).ok
    assert warm(servers, "typescript", ("", "var leftover = 'text'; interface Array<T> { mine: T }")).ok
    assert warm(servers, "java", ("", "class Leftover { } class String { }")).ok
    assert not warm(servers, "java", ("", "class A { Leftover x; }")).ok
    assert warm(servers, "java", ("", "class A { String s = new String(); int n = s.length(); }")).ok


def test_what_a_compiler_is_unsure_about_is_left_to_the_cold_one(servers):
    deep = "class A { int x = " + "(" * 60_000 + "1" + ")" * 60_000 + "; }"
    answer = warm(servers, "java", ("", deep))
    assert answer is None or not answer.ok
    answer = warm(servers, "typescript", ("", "let x = " + "[" * 60_000 + "]" * 60_000 + ";"))
    assert answer is None or not answer.ok
    assert warm(servers, "java", ("", "class A { }")).ok
    assert warm(servers, "typescript", ("", "let x = 1;")).ok


SECRET = "the-secret-of-this-machine"


@pytest.mark.parametrize(
    ("language", "files"),
    [
        ("typescript", [("", '/// <reference path="{secret}" />\n')]),
        ("typescript", [("", '/// <reference path="../../../../../../../..{secret}" />\n')]),
        ("typescript", [("", 'import x from "{secret}";\n')]),
        ("typescript", [("", 'import * as x from "{folder}/secret.json"; console.log(x);')]),
        ("typescript", [("", '/// <reference types="{folder}" />\n')]),
        ("typescript", [("", 'import ts = require("{folder}/secret");\n')]),
        ("java", [("", "import secret.*; class A { Secret s; }")]),
    ],
)
def test_nothing_of_the_machine_gets_into_what_a_compiler_makes_or_says(language, files, servers, tmp_path):
    for name in ("secret.ts", "secret.d.ts", "secret.json"):
        (tmp_path / name).write_text(f'"{SECRET}"')
    (tmp_path / "secret").write_text(f"export const x = '{SECRET}'; {SECRET}")
    values = {"secret": str(tmp_path / "secret.ts"), "folder": str(tmp_path)}
    filled = [(name, text.replace("{secret}", values["secret"]).replace("{folder}", values["folder"]))
              for name, text in files]  # fmt: skip
    answer = warm(servers, language, *filled)
    assert not answer.ok
    assert SECRET not in answer.said


def test_settings_and_plugins_that_come_with_a_program_are_not_read(servers):
    plugin = '{"compilerOptions": {"plugins": [{"name": "./evil"}], "noEmit": true}, "extends": "/etc/passwd"}'
    made = warm(servers, "typescript", ("", "let x: number = 1;"), ("tsconfig.json", plugin), ("evil.js", "throw 1"))
    assert made.ok
    assert [name for name, _ in made.files] == ["main.js"]


def test_annotation_processors_that_come_with_a_program_do_not_run(servers, tmp_path):
    processor = (
        "import javax.annotation.processing.*; import java.util.*; import javax.lang.model.element.*;\n"
        "public class P extends AbstractProcessor {\n"
        f'  static {{ try {{ new java.io.File("{tmp_path}/ran").createNewFile(); }} catch (Exception e) {{ }} }}\n'
        "  public boolean process(Set<? extends TypeElement> a, RoundEnvironment r) { return true; }\n}"
    )
    service = ("META-INF/services/javax.annotation.processing.Processor", "P\n")
    files = (("", "@Deprecated class Main { }"), ("P.java", processor), service)
    assert not warm(servers, "java", *files).ok  # the service file is no Java, which is said, not hidden
    made = job("java", *files)
    only_java = tuple(f for f in made.files if f[0].endswith(".java"))
    assert messages.compiled(servers["java"].ask(messages.question(only_java))).ok
    with cold(made, tmp_path / "cold") as done:
        assert done.returncode == 0
    assert not (tmp_path / "ran").exists()


def elsewhere(language: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> _toolchains.Found:
    """The same toolchain, keeping its things in another folder."""
    found(language)
    monkeypatch.setattr(_toolchains, "cache_folder", lambda: folder)
    _toolchains.find.cache_clear()
    try:
        return _toolchains.find(language)
    finally:
        _toolchains.find.cache_clear()


def test_what_is_prepared_is_made_once_and_closed_to_writing(tmp_path, monkeypatch):
    it = elsewhere("java", tmp_path / "deep" / "cache", monkeypatch)
    _compilers.prepare(it)
    made = Path(it.cache, "CompileServer.class")
    assert made.stat().st_mode & 0o777 == 0o644
    before = made.stat().st_mtime_ns
    _compilers.prepare(it)
    assert made.stat().st_mtime_ns == before
    assert [path.name for path in Path(it.cache).parent.iterdir()] == [Path(it.cache).name]


def test_a_cache_that_cannot_be_made_is_a_broken_sandbox_not_a_wrong_program(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    it = elsewhere("cpp", tmp_path / "file", monkeypatch)
    with pytest.raises(SandboxError, match="cannot be written"):
        _compilers.prepare(it)


@given(st.binary(max_size=200))
def test_whatever_a_server_answers_is_read_without_harm(data):
    read = messages.compiled(data)
    assert read is None or all(name and not name.startswith("/") for name, _ in read.files)


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", "a\0b"])
def test_a_server_cannot_name_files_outside_the_folder(name):
    encoded = name.encode()
    files = struct.pack(">I", 1) + struct.pack(">I", len(encoded)) + encoded + struct.pack(">I", 0)
    assert messages.compiled(b"\1" + struct.pack(">I", 0) + files) is None
    good = struct.pack(">I", 1) + struct.pack(">I", 1) + b"x" + struct.pack(">I", 0)
    assert messages.compiled(b"\1" + struct.pack(">I", 0) + good).files == (("x", b""),)
