"""What programs try while they are compiled: reading the machine, running code, never ending, growing without end."""

import os
from collections.abc import Iterator

import pytest

from magicoder.errors import SandboxError
from magicoder.records import Limits
from magicoder.sandboxes import _compilers, _ladder, _toolchains
from magicoder.sandboxes._cell import Cell
from magicoder.sandboxes._wire import Ended, Report, Request

SECRET = "the-secret-of-this-machine"
LANGUAGES = ("c", "cpp", "csharp", "d", "go", "java", "rust", "typescript")


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    try:
        rung = _ladder.choose()
    except SandboxError as e:
        pytest.skip(str(e))
    os.environ["A_KEY_OF_THIS_MACHINE"] = SECRET
    present = [name for name in LANGUAGES if _toolchains.on_rung(_toolchains.find(name), rung.level).version]
    for name in present:
        _compilers.prepare(_toolchains.find(name))
    with Cell.open(rung, read_only=_toolchains.shown(present), proc=_toolchains.wants_proc(present)) as opened:
        yield opened
    del os.environ["A_KEY_OF_THIS_MACHINE"]


def compiled(cell: Cell, language: str, *files: tuple[str, str], limits: Limits | None = None) -> Report:
    found = _toolchains.find(language)
    if not found.version:
        pytest.skip(f"no toolchain for {language}: {found.install}")
    job = _compilers.begun(found, _toolchains.job(found, files, Limits()))
    wanted = limits or Limits(cpu_s=20, memory_mb=2048, tmp_mb=512, processes=256, output_kb=4096)
    return cell.run(
        Request(argv=job.compile, files=job.files, environment=job.environment, collect=job.makes, limits=wanted)
    )


@pytest.fixture
def secret(tmp_path) -> str:
    """A file that this user may read, with what should not get out."""
    (tmp_path / "secret").write_text(f'"{SECRET}"\n')
    return str(tmp_path / "secret")


@pytest.mark.parametrize(
    ("language", "source"),
    [
        ("c", '#include "{path}"\nint main(void) {}'),
        ("c", 'const char s[] =\n#include "{path}"\n;\nint main(void) {}'),
        ("c", '__asm__(".incbin \\"{path}\\"");\nint main(void) {}'),
        ("c", '#include "/proc/1/environ"\nint main(void) {}'),
        ("cpp", 'const char* s =\n#include "{path}"\n;\nint main() {}'),
        ("rust", 'fn main() { println!("{}", include_str!("{path}")); }'),
        ("rust", 'const S: &[u8] = include_bytes!("{path}"); fn main() {}'),
        ("rust", '#[path = "{path}"] mod secret; fn main() {}'),
        ("go", 'package main\nimport _ "embed"\n//go:embed {path}\nvar s string\nfunc main() {}'),
        ("go", 'package main\n// #include "{path}"\nimport "C"\nfunc main() {}'),
        ("d", 'import std.stdio; void main() { writeln(import("{path}")); }'),
        ("typescript", '/// <reference path="{path}" />\n'),
        ("typescript", 'import * as secret from "{path}"; console.log(secret);'),
    ],
)
def test_compiling_reads_nothing_of_the_machine(cell, language, source, secret):
    report = compiled(cell, language, ("", source.replace("{path}", secret)))
    assert report.exit_code != 0
    assert report.completed
    told = report.stdout + report.stderr + b"".join(content for _, content in report.files)
    assert SECRET.encode() not in told


def test_a_compiler_has_no_environment_but_ours(cell):
    for source in ('#include "/proc/self/environ"', '__asm__(".incbin \\"/proc/self/environ\\"");'):
        report = compiled(cell, "c", ("", f"{source}\nint main(void) {{}}"))
        assert SECRET.encode() not in report.stdout + report.stderr + b"".join(content for _, content in report.files)


LOOP = Limits(cpu_s=1.5, memory_mb=1024, tmp_mb=64, processes=256, output_kb=256)


@pytest.mark.parametrize(
    ("language", "source"),
    [
        ("cpp", "constexpr int f(int n) { return n < 2 ? n : f(n - 1) + f(n - 2); }\n"
                "template<int N> struct A { enum { v = f(N) + A<N + 1>::v }; };\nint main() { return A<20>::v; }"),
        ("cpp", "#include __FILE__\n#include __FILE__\n"),
        ("c", "#define A(x) x x x x x x x x\n#define B(x) A(A(A(A(x))))\nint a[] = { B(B(B(1,))) };"),
        ("c", "int a[1 << 30] = {1};\nint main(void) {}"),
        ("rust", "const fn f(n: u64) -> u64 { let mut i = 0; while i < n { i += 1; } i }\n"
                 "#[allow(long_running_const_eval)] const X: u64 = f(u64::MAX); fn main() { println!(\"{}\", X); }"),
        ("rust", "macro_rules! m { ($($t:tt)*) => { m!($($t)* $($t)* $($t)*) } }\nfn main() { m!(a b c); }"),
        ("d", "int f() { int i; while (true) i++; return i; }\nenum x = f();\nvoid main() {}"),
    ],
)  # fmt: skip
def test_compiling_that_never_ends_or_grows_is_ended(cell, language, source):
    report = compiled(cell, language, ("", source), limits=LOOP)
    assert report.exit_code != 0
    assert report.cpu_s < 3 * LOOP.cpu_s
    assert report.files == ()
    fine = compiled(cell, language, ("", _toolchains.find(language).toolchain.hello))
    assert fine.exit_code == 0


# Each alias has the compiler count to 999 by recursion, and compare the result with the next one's.
ENDLESS = "type F<N extends number, A extends any[] = []> = A['length'] extends N ? A : F<N, [...A, 1]>;\n" + "".join(
    f"type T{i} = F<{900 + i}>;\nlet t{i}: T{i} = [] as any as F<{901 + i}>;\n" for i in range(95)
)


def test_a_warm_compiler_that_is_kept_busy_is_ended_and_started_again(cell):
    found = _toolchains.find("typescript")
    if not found.version:
        pytest.skip(found.install)
    server = _compilers.server(found)
    limits = Limits(cpu_s=3, wall_s=300, memory_mb=server.limits.memory_mb, output_kb=server.limits.output_kb)
    service = cell.serve(server.argv, server.environment, limits=limits)
    try:
        greeting = _toolchains.job(found, [("", found.toolchain.hello)], Limits())
        before = _compilers.ask(service, greeting)
        assert before.ok, before.said
        with pytest.raises(Ended) as ended:
            _compilers.ask(service, _toolchains.job(found, [("", ENDLESS)], Limits()))
        assert ended.value.report.timed_out == "cpu"
        assert _compilers.ask(service, greeting) == before
    finally:
        service.close()


def test_a_warm_compiler_sees_nothing_of_the_machine(cell, secret):
    found = _toolchains.find("typescript")
    if not found.version:
        pytest.skip(found.install)
    server = _compilers.server(found)
    service = cell.serve(server.argv, server.environment, limits=server.limits)
    try:
        job = _toolchains.job(found, [("", f'/// <reference path="{secret}" />\n')], Limits())
        answer = _compilers.ask(service, job)
        assert not answer.ok
        assert SECRET not in answer.said
    finally:
        service.close()
