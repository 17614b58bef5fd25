"""Julia (its programs can be run; no seeds are taken from it)."""

from magicoder.languages import Language, Toolchain

_TOOLCHAIN = Toolchain(
    # No package of it is in Debian: written from its documentation.
    source="main.jl",
    run=("julia", "--startup-file=no", "--history-file=no", "--color=no", "--compile=min", "{source}"),
    needs=("julia",),
    version=("julia", "--version"),
    install="a release from julialang.org, its bin on PATH",
    hello='println("hello")\n',
)

PLUGIN = Language(
    name="julia",
    title="Julia",
    extensions=(".jl",),
    interpreters=("julia",),
    fences=("julia", "jl"),
    line_comments=("#",),
    block_comment=("#=", "=#"),
    toolchain=_TOOLCHAIN,
)
