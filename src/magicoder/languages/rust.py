"""Rust."""

from magicoder.languages import Language

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
)
