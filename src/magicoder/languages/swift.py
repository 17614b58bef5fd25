"""Swift."""

from magicoder.languages import Language, Toolchain

_TOOLCHAIN = Toolchain(
    # No package of it is in Debian: written from its documentation, and the one value here that no test has run.
    source="main.swift",
    compile=("swiftc", "-o", "program", "{sources}"),
    makes=("program",),
    run=("./program",),
    needs=("swiftc",),
    version=("swiftc", "--version"),
    install="a toolchain from swift.org, its usr/bin on PATH",
    hello='print("hello")\n',
    compile_cpu_s=60.0,
)

PLUGIN = Language(
    name="swift",
    title="Swift",
    extensions=(".swift",),
    interpreters=("swift",),
    fences=("swift",),
    grammar="tree_sitter_swift",
    function_nodes=("function_declaration",),
    comment_nodes=("comment", "multiline_comment"),
    member_context=("class _ {", "}"),
    in_paper=True,
    toolchain=_TOOLCHAIN,
)
