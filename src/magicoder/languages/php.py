"""PHP."""

from magicoder.languages import Language

PLUGIN = Language(
    name="php",
    title="PHP",
    extensions=(".php", ".php3", ".php4", ".php5", ".phps", ".phpt"),
    filenames=(".php", ".php_cs", ".php_cs.dist", "Phakefile"),
    interpreters=("php",),
    fences=("php",),
    grammar="tree_sitter_php",
    grammar_function="language_php",
    function_nodes=("function_definition", "method_declaration"),
    comment_nodes=("comment",),
    line_comments=("//", "#"),
    member_context=("<?php class _ {", "}"),
    in_paper=True,
)
