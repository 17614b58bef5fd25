"""Programs of several languages: what is looked for in an answer, and how it and its tests become one program."""

import re
from functools import cache
from typing import Final

from magicoder import languages
from magicoder.text import extraction
from magicoder.text.outline import Outline, outline

_GO_SPEC = re.compile(r'(?:([\w.]+)[ \t]+)?"([^"\n]+)"')
_GO_IMPORT = re.compile(r"^import\s*(\((?:[^()]*)\)|(?:[\w.]+[ \t]+)?\"[^\"\n]+\")[ \t]*\n?", re.M)
_GO_PACKAGE = re.compile(r"^package[ \t]+(\w+)[ \t]*;?[ \t]*\n?", re.M)

GO_PACKAGES: Final = (
    *("bytes", "crypto/md5", "errors", "fmt", "math", "math/big", "math/bits", "math/rand", "reflect", "regexp"),
    *("sort", "strconv", "strings", "testing", "time", "unicode", "unicode/utf8"),
)
"""What Go programs of the benchmarks may use without saying so, as HumanEval-X has it."""


@cache
def fences() -> dict[str, str]:
    """Return info string → name, for all languages that can run."""
    return {fence: language.name for language in languages.executable() for fence in language.fences}


def wanted(language: str, entry_point: str, prompt: str, tests: str) -> extraction.Wanted:
    """Return what to look for in an answer to a task whose tests follow the program in the same file."""
    found = languages.get(language)
    grammar = found if found.grammar else None
    taken: frozenset[str] = frozenset()
    if grammar is not None:
        laid_out = outline(_after_brace(tests) if closes(tests) else tests, grammar)
        taken = frozenset(name for item in laid_out.items for name in item.names) - {entry_point}
    return extraction.Wanted(
        language=language, fences=fences(), grammar=grammar, entry_point=entry_point, prompt=prompt, taken=taken
    )


def closes(tests: str) -> bool:
    """Whether tests begin with the brace that closes the wanted function, as most of MultiPL-E's do."""
    return tests.lstrip().startswith("}")


def has_tests(code: str, tests: str) -> bool:
    """Whether a program holds its tests already."""
    return (_after_brace(tests) if closes(tests) else tests).strip() in code


def joined(code: str, tests: str, looked_for: extraction.Wanted) -> str:
    """Return a program with its tests behind it, or, where they begin by closing the function, inside of its class."""
    if has_tests(code, tests):
        return code
    if looked_for.language == "php":
        code = re.sub(r"\?>\s*$", "", code)
    if looked_for.language == "go":
        return go_file(code, tests)
    if not closes(tests) or extraction.is_open(code, looked_for):
        return f"{code}\n{tests}"
    rest = _after_brace(tests)
    laid_out = outline(code, looked_for.grammar, looked_for.entry_point) if looked_for.grammar else None
    if laid_out is not None and laid_out.container is not None:
        return _in_class(laid_out, rest)
    if looked_for.grammar is None and rest.rstrip().endswith("}"):  # Scala: an object around the functions
        head, brace, tail = code.rpartition("}")
        return f"{head}\n{rest}\n{tail}" if brace else f"{code}\n{rest}"
    return f"{code}\n{rest}"


def _in_class(laid_out: Outline, tests: str) -> str:
    """Return the program with `tests`, which close the class, in the place of the brace that closes it."""
    assert laid_out.container is not None
    data, node = laid_out.data, laid_out.container.node
    end = data.rfind(b"}", 0, node.end_byte)
    head, tail = data[:end].decode("utf-8", "surrogatepass"), data[end + 1 :].decode("utf-8", "surrogatepass")
    return f"{head}\n{tests}\n{tail}"


def _after_brace(tests: str) -> str:
    return tests.lstrip()[1:]


def go_file(code: str, tests: str, *, setup: str = "", left_out: tuple[str, ...] = ()) -> str:
    """Return one Go file of a program and tests: a package, the imports that are used, and the rest.

    An import without use is an error in Go, and so is a use without import: both would come from putting texts
    together. `left_out` are packages that a file beside it stands in for.
    """
    package = _GO_PACKAGE.search(setup) or _GO_PACKAGE.search(code)
    specs: dict[str, str] = dict.fromkeys(GO_PACKAGES, "")
    for text in (setup, code, tests):
        for block in _GO_IMPORT.findall(text):
            specs |= {path: alias for alias, path in _GO_SPEC.findall(block)}
    body = "\n".join(_GO_IMPORT.sub("", _GO_PACKAGE.sub("", text, count=1)) for text in (code, tests))
    used = re.sub(r"//[^\n]*|\"(?:\\.|[^\"\\\n])*\"", "", body)
    lines = [
        f'import {alias} "{path}"' if alias else f'import "{path}"'
        for path, alias in specs.items()
        if path not in left_out
        and (alias in ("_", ".") or re.search(rf"(?<![\w.]){re.escape(alias or path.rpartition('/')[2])}\.", used))
    ]
    return f"package {package[1] if package else 'main'}\n\n" + "\n".join(lines) + f"\n\n{body}"
