"""Python."""

from magicoder.languages import Language

PLUGIN = Language(
    name="python",
    title="Python",
    extensions=(".py", ".pyi", ".pyw"),
    filenames=("SConstruct", "SConscript", "wscript"),
    interpreters=("python", "pypy"),
    fences=("python", "py", "python3"),
    grammar="tree_sitter_python",
    function_nodes=("function_definition",),
    comment_nodes=("comment",),
    comment_prefix="#",
    in_paper=True,
)
