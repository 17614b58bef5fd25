"""One value per file: what a programming language is called, how it is recognised, how its functions look.

Data, not code: adding a language is one new file whose `PLUGIN` is a `Language`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """What the system knows about a programming language.

    name             our key, the original's file tag (`csharp`, `cpp`, `shell`, …)
    title            how a person writes it (`C#`, `C++`, `Shell`)
    extensions       file name endings with the dot, lower case, most typical first (Linguist's table)
    filenames        whole file names without a typical ending (`Rakefile`, `.bashrc`)
    interpreters     names after `#!` (`python3` matches `python`)
    fences           info strings of Markdown fences that mean this language, most typical first
    grammar          module of the tree-sitter grammar wheel; `grammar_function` the function that returns it
    function_nodes   grammar node types that are functions or methods (paper: the direct-finetuning baseline)
    comment_nodes    grammar node types that are comments
    comment_prefix   what starts a one-line documentation comment when one is written (`///`, `###`)
    in_paper         one of the nine languages of the paper
    """

    name: str
    title: str
    extensions: tuple[str, ...]
    fences: tuple[str, ...]
    grammar: str
    function_nodes: tuple[str, ...]
    comment_nodes: tuple[str, ...]
    filenames: tuple[str, ...] = ()
    interpreters: tuple[str, ...] = ()
    grammar_function: str = "language"
    comment_prefix: str = "///"
    in_paper: bool = False
