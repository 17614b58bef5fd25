"""Lua (its programs can be run; no seeds are taken from it)."""

from magicoder.languages import Language, Toolchain

_TOOLCHAIN = Toolchain(
    source="main.lua",
    run=("lua", "{source}"),
    needs=("lua",),
    version=("lua", "-v"),
    install="apt-get install lua5.3 (and lua-unit for MultiPL-E)",
    hello='print("hello")\n',
)

PLUGIN = Language(
    name="lua",
    title="Lua",
    extensions=(".lua",),
    interpreters=("lua", "luajit"),
    fences=("lua",),
    line_comments=("--",),
    block_comment=("--[[", "]]"),
    toolchain=_TOOLCHAIN,
)
