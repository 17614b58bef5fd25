"""TypeScript."""

from magicoder.languages import Language

PLUGIN = Language(
    name="typescript",
    title="TypeScript",
    extensions=(".ts", ".tsx", ".mts", ".cts"),
    interpreters=("deno", "bun", "ts-node", "tsx"),
    fences=("typescript", "ts", "tsx"),
    grammar="tree_sitter_typescript",
    grammar_function="language_typescript",
    function_nodes=("function_declaration", "method_definition"),
    comment_nodes=("comment",),
    wrapper_nodes=("export_statement",),
    attribute_nodes=("decorator",),
    member_context=("class _ {", "}"),
    in_paper=True,
)
