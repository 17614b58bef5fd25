"""D (its programs can be run; no seeds are taken from it)."""

from magicoder.languages import Language, Toolchain

_TOOLCHAIN = Toolchain(
    source="main.d",
    # `unittest` blocks are how D asserts: they run, then `main` does.
    compile=("ldc2", "-unittest", "-w", "-of=program", "-gcc=gcc", "{sources}"),
    makes=("program",),
    run=("./program", "--DRT-testmode=run-main"),
    needs=("ldc2", "gcc"),
    version=("ldc2", "--version"),
    install="apt-get install ldc",
    hello='import std.stdio;\nvoid main() { writeln("hello"); }\n',
    shows=("/etc/ldc2.conf",),
)

PLUGIN = Language(
    name="d",
    title="D",
    extensions=(".d", ".di"),
    interpreters=("rdmd",),
    fences=("d", "dlang"),
    line_comments=("//",),
    block_comment=("/*", "*/"),
    toolchain=_TOOLCHAIN,
)
