"""C."""

from magicoder.languages import Language, Toolchain

_TOOLCHAIN = Toolchain(
    source="main.c",
    compile=("gcc", "-std=gnu17", "-pipe", "-w", "-o", "program", "{sources}", "-lm"),
    makes=("program",),
    run=("./program",),
    needs=("gcc",),
    version=("gcc", "--version"),
    install="apt-get install gcc libc6-dev",
    hello='#include <stdio.h>\nint main(void) { puts("hello"); }\n',
)

PLUGIN = Language(
    name="c",
    title="C",
    extensions=(".c", ".h", ".cats", ".idc"),
    interpreters=("tcc",),
    fences=("c", "h"),
    grammar="tree_sitter_c",
    function_nodes=("function_definition",),
    comment_nodes=("comment",),
    toolchain=_TOOLCHAIN,
)
