"""R (its programs can be run; no seeds are taken from it)."""

from magicoder.languages import Language, Toolchain

_TOOLCHAIN = Toolchain(
    source="main.r",
    run=("Rscript", "--vanilla", "{source}"),
    needs=("Rscript",),
    version=("Rscript", "--version"),
    install="apt-get install r-base-core",
    hello='cat("hello\\n")\n',
    environment=(("R_LIBS_USER", "none"),),
    shows=("/etc/R", "/etc/alternatives"),
)

PLUGIN = Language(
    name="r",
    title="R",
    extensions=(".r",),
    interpreters=("rscript",),
    fences=("r",),
    line_comments=("#",),
    block_comment=(),
    toolchain=_TOOLCHAIN,
)
