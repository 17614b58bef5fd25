"""C#."""

from magicoder.languages import Language

PLUGIN = Language(
    name="csharp",
    title="C#",
    extensions=(".cs", ".csx", ".cake"),
    fences=("csharp", "cs", "c#"),
    grammar="tree_sitter_c_sharp",
    function_nodes=("method_declaration",),
    comment_nodes=("comment",),
    member_context=("class _ {", "}"),
    doc_markup="xml",
    in_paper=True,
)
