"""Rust."""

from magicoder.languages import Language, Toolchain

_FLAGS = (
    *("--edition", "2021", "--crate-name", "program", "-C", "debuginfo=0", "-A", "warnings"),
    *("-C", "linker=gcc", "-o", "program"),
)

_TOOLCHAIN = Toolchain(
    source="main.rs",
    compile=("rustc", *_FLAGS, "{source}"),
    # Tests in the file (`#[test]`) are run instead of `main` where its name says so.
    variants=(("_test.rs", ("rustc", "--test", *_FLAGS, "{source}")),),
    makes=("program",),
    run=("./program",),
    needs=("rustc", "gcc"),
    version=("rustc", "--version"),
    install="apt-get install rustc",
    hello='fn main() {\n    println!("hello");\n}\n',
    environment=(("RUST_BACKTRACE", "0"),),
    proc=True,
)

PLUGIN = Language(
    name="rust",
    title="Rust",
    extensions=(".rs",),
    interpreters=("rust-script",),
    fences=("rust", "rs"),
    grammar="tree_sitter_rust",
    function_nodes=("function_item",),
    comment_nodes=("line_comment", "block_comment"),
    attribute_nodes=("attribute_item",),
    in_paper=True,
    toolchain=_TOOLCHAIN,
)
