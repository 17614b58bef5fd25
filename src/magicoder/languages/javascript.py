"""JavaScript."""

from magicoder.languages import Language, Toolchain

_TOOLCHAIN = Toolchain(
    source="main.js",
    run=("node", "--max-old-space-size={heap_mb}", "{source}"),
    needs=("node",),
    version=("node", "--version"),
    install="apt-get install nodejs",
    hello='console.log("hello");\n',
    shows=("/etc/ssl/openssl.cnf",),
)

PLUGIN = Language(
    name="javascript",
    title="JavaScript",
    extensions=(".js", ".mjs", ".cjs", ".jsx", ".es", ".es6", ".jsm", ".njs", ".pac", ".ssjs", ".xsjs", ".xsjslib"),
    filenames=("Jakefile",),
    interpreters=("node", "nodejs", "js", "gjs", "qjs", "d8", "v8", "v8-shell", "rhino", "chakra"),
    fences=("javascript", "js", "jsx", "mjs"),
    grammar="tree_sitter_javascript",
    function_nodes=("function_declaration", "method_definition"),
    comment_nodes=("comment",),
    wrapper_nodes=("export_statement",),
    attribute_nodes=("decorator",),
    member_context=("class _ {", "}"),
    toolchain=_TOOLCHAIN,
)
