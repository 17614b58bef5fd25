"""PHP."""

from magicoder.languages import Language, Toolchain

_TOOLCHAIN = Toolchain(
    source="main.php",
    # Asserts count, and errors go where a person looks for them. Without its settings (-n) PHP lacks its extensions.
    run=("php", "-d", "zend.assertions=1", "-d", "display_errors=stderr", "-d", "memory_limit=-1", "{source}"),
    needs=("php",),
    version=("php", "--version"),
    install="apt-get install php-cli php-mbstring",
    hello='<?php\necho "hello\\n";\n',
    shows=("/etc/php",),
)

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
    toolchain=_TOOLCHAIN,
)
