"""Racket (its programs can be run; no seeds are taken from it)."""

from magicoder.languages import Language, Toolchain

_TOOLCHAIN = Toolchain(
    source="main.rkt",
    # Failed checks of rackunit only print; its log is asked in the end.
    run=("racket", "-l", "racket/base", "-l", "rackunit/log", "-t", "{source}", "-e", "(void (test-log #:exit? #t))"),
    needs=("racket",),
    version=("racket", "--version"),
    install="apt-get install racket",
    hello='#lang racket\n(displayln "hello")\n',
    shows=("/etc/racket",),
    proc=True,
)

PLUGIN = Language(
    name="racket",
    title="Racket",
    extensions=(".rkt",),
    interpreters=("racket",),
    fences=("racket", "rkt"),
    line_comments=(";",),
    block_comment=("#|", "|#"),
    toolchain=_TOOLCHAIN,
)
