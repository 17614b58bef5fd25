"""TypeScript."""

from magicoder.languages import Language, Toolchain

_TOOLCHAIN = Toolchain(
    source="main.ts",
    compile=(
        *("tsc", "--target", "esnext", "--module", "commonjs", "--moduleResolution", "node10", "--esModuleInterop"),
        *("--typeRoots", "none", "--skipLibCheck", "--pretty", "false", "{sources}"),
    ),
    makes=("*.js",),
    run=("node", "--max-old-space-size={heap_mb}", "{stem}.js"),
    warm="typescript",
    needs=("tsc", "node"),
    version=("tsc", "--version"),
    versions=(("node", "--version"),),
    install="npm install --global typescript@5",
    hello='const text: string = "hello";\nconsole.log(text);\n',
    shows=("/etc/ssl/openssl.cnf",),
)

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
    toolchain=_TOOLCHAIN,
)
