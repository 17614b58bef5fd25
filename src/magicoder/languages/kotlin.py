"""Kotlin."""

from magicoder.languages import Language

PLUGIN = Language(
    name="kotlin",
    title="Kotlin",
    extensions=(".kt", ".kts", ".ktm"),
    interpreters=("kotlin",),
    fences=("kotlin", "kt", "kts"),
    grammar="tree_sitter_kotlin",
    function_nodes=("function_declaration",),
    comment_nodes=("line_comment", "block_comment"),
    member_context=("class _ {", "}"),
    comment_prefix="//",
)
