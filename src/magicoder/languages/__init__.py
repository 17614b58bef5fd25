"""One value per file: what a programming language is called, how it is recognised, how its functions look.

Data, not code: adding a language is one new file whose `PLUGIN` is a `Language`. Extensions, file names and
interpreters follow Linguist's public table, without the entries that say little (`.inc`, `.cgi`, `login`).
"""

import re
from dataclasses import dataclass
from functools import cache

from magicoder import plugins


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """How programs of a language are compiled and run. Commands are argument lists; `sandboxes/_toolchains.py` fills in

        {source}    the main file                        {sources}   the main file, then the others of its kind
        {stem}      the main file without its ending     {main}      the class or object that is started
        {cache}     the folder of what was made once for this compiler
        {heap_mb}   three quarters of a program's memory, for runtimes that collect garbage only when they must

    source           the main file's name where a program does not name it
    run              runs the program in its working folder
    compile          makes what `run` needs, in the same folder; () for a language without that step
    variants         (ending of the main file's name, what compiles it instead of `compile`): test files, mostly
    makes            patterns of the files that compiling leaves and running needs
    main             a pattern whose group finds `{main}` in the source; "java" for the class with a `main` method
    warm             the compiler in `sandboxes/compilers/` that does the same while staying loaded, "" for none
    needs            executables that must be there; the first names the toolchain in verdicts
    version          prints the version; `versions` are further commands whose version can change a verdict
    install          how to get it, in one line
    hello            a program that prints `hello`
    environment      variables it needs; programs see no others
    beside           (name, text) of files of ours that lie beside the program while it is compiled and run
    shows            files and folders outside /usr that it reads, as patterns
    proc             it does not work without /proc
    least_rung       how far down the ladder of isolation it works; 3 if its own entries of /proc must be readable
    compile_cpu_s, compile_memory_mb   what compiling may use
    """

    source: str
    run: tuple[str, ...]
    needs: tuple[str, ...]
    version: tuple[str, ...]
    install: str
    hello: str
    compile: tuple[str, ...] = ()
    variants: tuple[tuple[str, tuple[str, ...]], ...] = ()
    makes: tuple[str, ...] = ()
    main: str = ""
    warm: str = ""
    versions: tuple[tuple[str, ...], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    beside: tuple[tuple[str, str], ...] = ()
    shows: tuple[str, ...] = ()
    proc: bool = False
    least_rung: int = 1
    compile_cpu_s: float = 30.0
    compile_memory_mb: int = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """What the system knows about a programming language. One without a grammar is run, but gives no seeds.

    name             our key, the original's file tag (`csharp`, `cpp`, `shell`, …)
    title            how a person writes it (`C#`, `C++`, `Shell`)
    extensions       file name endings with the dot, lower case, most typical first (Linguist's table)
    filenames        whole file names without a typical ending (`Rakefile`, `.bashrc`)
    interpreters     names after `#!` (`python3` matches `python`)
    fences           info strings of Markdown fences that mean this language, most typical first
    grammar          module of the tree-sitter grammar wheel, "" if source files in the language are not read;
                     `grammar_function` the function that returns it
    function_nodes   grammar node types that are functions or methods (paper: the direct-finetuning baseline)
    comment_nodes    grammar node types that are comments
    comment_prefix   what starts a one-line documentation comment when one is written (`///`, `###`)
    line_comments    what starts a comment that ends with its line
    block_comment    what opens and what closes a comment of many lines, () if there is none
    wrapper_nodes    grammar node types around a function that belong to it (`export`, `template`, decorators)
    attribute_nodes  grammar node types that may stand between a comment and its function (`#[inline]`)
    member_context   what to put before and after a lone method so that it parses, ("", "") if it does as it is
    docstrings       documentation is the first string in the body, not the comment above the function
    doc_markup       `xml` if documentation is written in tags, else ""
    in_paper         one of the nine languages of the paper
    toolchain        how its programs run, None where nothing here runs them
    """

    name: str
    title: str
    extensions: tuple[str, ...]
    fences: tuple[str, ...]
    grammar: str = ""
    function_nodes: tuple[str, ...] = ()
    comment_nodes: tuple[str, ...] = ()
    filenames: tuple[str, ...] = ()
    interpreters: tuple[str, ...] = ()
    grammar_function: str = "language"
    comment_prefix: str = "///"
    line_comments: tuple[str, ...] = ("//",)
    block_comment: tuple[str, ...] = ("/*", "*/")
    wrapper_nodes: tuple[str, ...] = ()
    attribute_nodes: tuple[str, ...] = ()
    member_context: tuple[str, str] = ("", "")
    docstrings: bool = False
    doc_markup: str = ""
    in_paper: bool = False
    toolchain: Toolchain | None = None


@cache
def get(name: str) -> Language:
    """Return the language with our key `name`.

    Raises:
        RecipeError: no such language; the message suggests the nearest name and lists all.
    """
    language = plugins.load("languages", name)
    assert isinstance(language, Language)
    return language


@cache
def all_languages() -> tuple[Language, ...]:
    """Return every language whose source files are read, in alphabetical order of the names."""
    return tuple(language for name in plugins.names("languages") if (language := get(name)).grammar)


@cache
def executable() -> tuple[Language, ...]:
    """Return every language whose programs can be run where its toolchain is, in alphabetical order of the names."""
    return tuple(language for name in plugins.names("languages") if (language := get(name)).toolchain)


def detect(path: str, head: str) -> str:
    """Return the name of the language that the file `path` is written in, "" when unknown.

    The file name decides, then its ending; a file without a known ending is judged by the `#!` line at the start of
    `head`, the file's first few thousand characters. Where an ending has several meanings, `head` decides.
    """
    by_filename, by_extension, _ = _tables()
    base = path[path.rfind("/") + 1 :]
    dot = base.rfind(".")
    found = by_extension.get(base[dot:].lower(), "") if dot >= 0 else ""
    if base in by_filename:
        return by_filename[base]
    if found in _BY_CONTENT:
        return _BY_CONTENT[found](head)
    return found or _by_interpreter(head)


@cache
def _tables() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Return file name, extension and interpreter → language; an ambiguous extension maps to itself."""
    by_filename, by_extension, by_interpreter = {}, {}, {}
    for language in all_languages():
        by_filename.update(dict.fromkeys(language.filenames, language.name))
        by_extension.update(dict.fromkeys(language.extensions, language.name))
        by_interpreter.update(dict.fromkeys(language.interpreters, language.name))
    by_extension.update({extension: extension for extension in _BY_CONTENT})
    return by_filename, by_extension, by_interpreter


def _by_interpreter(head: str) -> str:
    """Read `#!/usr/bin/env -S python3.11 -u` and its kin."""
    if not head.startswith("#!"):
        return ""
    words = head[2:].partition("\n")[0].split()
    names = [word.rpartition("/")[2] for word in words]
    if names and names[0] == "env":
        names = [n for n, word in zip(names[1:], words[1:], strict=True) if not (word.startswith("-") or "=" in word)]
    known = _tables()[2]
    return known.get(names[0]) or known.get(names[0].rstrip("0123456789.-"), "") if names else ""


# Signs that only C++ or only Objective-C has, most of them at the start of a line.
_CPP = re.compile(
    r"^[ \t]*(?:namespace\b|template[ \t]*<|using[ \t]+(?:namespace\b|\w+[ \t]*=)|(?:public|private|protected)[ \t]*:"
    r"|(?:enum[ \t]+)?class[ \t]+\w+(?:[ \t]+\w+)?[ \t]*(?:final[ \t]*)?(?:$|[{;]|:[^:])"
    r"|(?:virtual|constexpr|explicit|friend)[ \t]+\w|#[ \t]*include[ \t]*<\w+>)"
    r"|\bstd::|\bstatic_cast<|\boperator[ \t]*[-+*/=<>!\[(]",
    re.MULTILINE,
)
_OBJECTIVE_C = re.compile(r"^[ \t]*(?:@(?:interface|protocol|class|property|end)\b|#[ \t]*import\b)", re.MULTILINE)


def _header(head: str) -> str:
    """Tell C from C++ in a `.h` file; Objective-C is neither."""
    if _OBJECTIVE_C.search(head):
        return ""
    return "cpp" if _CPP.search(head) else "c"


def _typescript(head: str) -> str:
    """Tell TypeScript from the XML of a Qt translation file."""
    return "" if head.lstrip("\ufeff \t\r\n").startswith(("<?xml", "<!DOCTYPE", "<TS")) else "typescript"


_BY_CONTENT = {".h": _header, ".ts": _typescript}
