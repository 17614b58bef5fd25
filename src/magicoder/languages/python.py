"""Python."""

from magicoder.languages import Language, Toolchain

_TOOLCHAIN = Toolchain(
    source="main.py",
    run=("python3", "-X", "utf8", "{source}"),
    needs=("python3",),
    version=("python3", "--version"),
    install="comes with Python",
    hello='print("hello")\n',
    environment=(("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONHASHSEED", "0")),
)

PLUGIN = Language(
    name="python",
    title="Python",
    extensions=(".py", ".pyi", ".pyw", ".py3", ".gyp", ".gypi", ".lmi", ".pyde", ".pyt", ".tac", ".wsgi", ".xpy"),
    filenames=(".gclient", "DEPS", "SConscript", "SConstruct", "Snakefile", "wscript"),
    interpreters=("python", "pypy", "uv"),
    fences=("python", "py", "python3"),
    grammar="tree_sitter_python",
    function_nodes=("function_definition",),
    comment_nodes=("comment",),
    comment_prefix="#",
    line_comments=("#",),
    block_comment=(),
    wrapper_nodes=("decorated_definition",),
    docstrings=True,
    in_paper=True,
    toolchain=_TOOLCHAIN,
)
