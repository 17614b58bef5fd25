"""Perl (its programs can be run; no seeds are taken from it)."""

from magicoder.languages import Language, Toolchain

_TOOLCHAIN = Toolchain(
    source="main.pl",
    run=("perl", "{source}"),
    needs=("perl",),
    version=("perl", "-e", "print substr($^V, 1)"),
    install="apt-get install perl (and libtest-deep-perl for MultiPL-E)",
    hello='print "hello\\n";\n',
)

PLUGIN = Language(
    name="perl",
    title="Perl",
    extensions=(".pl", ".pm"),
    interpreters=("perl",),
    fences=("perl", "pl"),
    line_comments=("#",),
    block_comment=(),
    toolchain=_TOOLCHAIN,
)
