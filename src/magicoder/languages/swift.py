"""Swift."""

from magicoder.languages import Language

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
)
