"""Go."""

from magicoder.languages import Language, Toolchain

_TOOLCHAIN = Toolchain(
    source="main.go",
    compile=("go", "build", "-o", "program", "{sources}"),
    # A test file is built into a program that runs its tests; vet belongs to review, not to running.
    variants=(("_test.go", ("go", "test", "-c", "-vet=off", "-o", "program", "{sources}")),),
    makes=("program",),
    run=("./program",),
    warm="go",
    needs=("go",),
    version=("go", "version"),
    install="apt-get install golang-go",
    hello='package main\n\nimport "fmt"\n\nfunc main() {\n\tfmt.Println("hello")\n}\n',
    environment=(
        ("GOCACHE", "{cache}/build"),
        ("GO111MODULE", "off"),
        ("GOFLAGS", ""),
        ("GOTOOLCHAIN", "local"),
        ("GOPROXY", "off"),
        ("GOTELEMETRY", "off"),
        ("CGO_ENABLED", "0"),
        ("GOMEMLIMIT", "{heap_mb}MiB"),
    ),
)

PLUGIN = Language(
    name="go",
    title="Go",
    extensions=(".go",),
    fences=("go", "golang"),
    grammar="tree_sitter_go",
    function_nodes=("function_declaration", "method_declaration"),
    comment_nodes=("comment",),
    comment_prefix="//",
    toolchain=_TOOLCHAIN,
)
