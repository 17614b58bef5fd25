"""Python."""

from magicoder.languages import Language

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
)
