"""Java."""

from magicoder.languages import Language

PLUGIN = Language(
    name="java",
    title="Java",
    extensions=(".java", ".jav", ".jsh"),
    fences=("java",),
    grammar="tree_sitter_java",
    function_nodes=("method_declaration",),
    comment_nodes=("line_comment", "block_comment"),
    member_context=("class _ {", "}"),
    in_paper=True,
)
