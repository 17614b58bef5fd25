"""C."""

from magicoder.languages import Language

PLUGIN = Language(
    name="c",
    title="C",
    extensions=(".c", ".h", ".cats", ".idc"),
    interpreters=("tcc",),
    fences=("c", "h"),
    grammar="tree_sitter_c",
    function_nodes=("function_definition",),
    comment_nodes=("comment",),
)
