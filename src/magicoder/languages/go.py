"""Go."""

from magicoder.languages import Language

PLUGIN = Language(
    name="go",
    title="Go",
    extensions=(".go",),
    fences=("go", "golang"),
    grammar="tree_sitter_go",
    function_nodes=("function_declaration", "method_declaration"),
    comment_nodes=("comment",),
    comment_prefix="//",
)
