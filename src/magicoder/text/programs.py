"""From an answer to a program: which of its code blocks are code of the language, and how they become files that run.

What a teacher writes is prose with code: the solution, perhaps in pieces, perhaps followed by an example of its use, by
output, or by a second version. The rules:

- Blocks in the wanted language count; if there are none, those in the language that most of the others name; if no
  block has a name, the nameless ones.
- A block that defines again at least half of what an earlier one defines replaces it: later versions are better.
- The rest is joined in order; languages with one public class to a file get several files.
- Where tests are to decide, the solution's own start (`if __name__ == "__main__":`, `main`) is put out of the way.
- What has no start of its own gets an empty one, so that it compiles.
"""

import ast
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from magicoder.records import Program
from magicoder.text.codeblocks import CodeBlock, code_blocks

_TYPE: Final = r"(?:class|interface|enum|record|@interface)"
_PUBLIC_TYPE = re.compile(rf"^public\s+(?:(?:final|abstract|sealed|strictfp|static)\s+)*{_TYPE}\s+(\w+)", re.M)
_ANY_TYPE = re.compile(
    rf"^[ \t]*(?:(?:public|final|abstract|sealed|static|strictfp|internal)\s+)*{_TYPE}\s+(\w+)", re.M
)

_STARTS: Final = {
    "c": re.compile(r"\bmain\s*\("),
    "cpp": re.compile(r"\bmain\s*\("),
    "csharp": re.compile(r"\bstatic\s+(?:async\s+)?(?:void|int|Task(?:<int>)?)\s+Main\s*\("),
    "go": re.compile(r"^func\s+main\s*\(", re.M),
    "java": re.compile(r"\bstatic\s+(?:final\s+)?void\s+main\s*\("),
    "kotlin": re.compile(r"\bfun\s+main\s*\("),
    "rust": re.compile(r"\bfn\s+main\s*\("),
}
"""Where programs of a language start; in the others they start at the top."""

_EMPTY_START: Final = {
    "c": "int main(void) { return 0; }\n",
    "cpp": "int main() { return 0; }\n",
    "csharp": "static class EmptyStart { static void Main() { } }\n",
    "go": "func main() {}\n",
    "java": "class EmptyStart { public static void main(String[] arguments) { } }\n",
    "kotlin": "fun main() {}\n",
    "rust": "fn main() {}\n",
}

_SIGNATURE: Final = r"^[A-Za-z_][\w \t*&<>:,]{0,120}?\b(\w+)\s*\([^;{}]{0,400}\)\s*(?:const\s*)?\{"
_SCRIPT: Final = r"^(?:export\s+)?(?:default\s+)?(?:abstract\s+)?(?:async\s+)?"
_DEFINED: Final = {
    "c": re.compile(_SIGNATURE, re.M),
    "cpp": re.compile(_SIGNATURE + r"|^(?:class|struct)\s+(\w+)\s*[:{]", re.M),
    "go": re.compile(r"^(?:func|type)\s+(\w+)", re.M),
    "javascript": re.compile(_SCRIPT + r"(?:function\*?|class)\s+(\w+)", re.M),
    "php": re.compile(r"^(?:(?:final|abstract|readonly)\s+)*(?:function|class|interface|trait|enum)\s+&?(\w+)", re.M),
    "ruby": re.compile(r"^(?:def|class|module)\s+([\w.?!]+)", re.M),
    "rust": re.compile(r"^(?:pub(?:\([^)]*\))?\s+)?(?:const\s+|unsafe\s+)*(?:fn|struct|enum|trait)\s+(\w+)", re.M),
    "shell": re.compile(r"^(?:function\s+)?([\w-]+)\s*\(\)", re.M),
    "swift": re.compile(r"^(?:(?:public|private|final|indirect)\s+)*(?:func|struct|class|enum|protocol)\s+(\w+)", re.M),
    "typescript": re.compile(_SCRIPT + r"(?:function\*?|class|interface|type|enum)\s+(\w+)", re.M),
}
"""Names that code defines at its outermost level; used to see that one block is a new version of another."""

_READS_INPUT: Final = {"python": re.compile(r"\binput\s*\(|\bsys\.stdin\b|\bfileinput\b")}
_DOCTEST = """\
import doctest as _doctest


class _Examples(_doctest.DocTestRunner):
    def report_start(self, out, test, example): pass

    def report_failure(self, out, test, example, got):
        raise AssertionError(f"{{example.source.strip()}} printed {{got.strip()!r}}, not {{example.want.strip()!r}}")

    def report_unexpected_exception(self, out, test, example, exc_info):
        raise exc_info[1]


_found = _doctest.DocTestParser().get_doctest({text!r}, dict(globals()), "examples", None, 0)
assert _found.examples, "no examples"
_Examples(verbose=False, optionflags=_doctest.ELLIPSIS | _doctest.NORMALIZE_WHITESPACE).run(_found, out=lambda _: None)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """The code of an answer: its language, and its pieces in order."""

    language: str
    pieces: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A program, and what its passing says: `tests`, `run` or `compile` (see `Sample.checked`)."""

    program: Program
    checked: str


def code_of(response: str, language: str, fences: Mapping[str, str]) -> Code | None:
    """Return the code of an answer, None if there is none.

    fences    info string → name of a language; what is not in there is no code that could run
    """
    blocks = [b for b in code_blocks(response) if b.code.strip()]
    named = [(fences[b.name], b) for b in blocks if b.name in fences]
    own = [b for found, b in named if found == language]
    if not own and named:
        found = [name for name, _ in named]
        language = max(found, key=lambda name: (found.count(name), -found.index(name)))
        own = [b for name, b in named if name == language]
    if not own:
        own = [b for b in blocks if not b.name]
    pieces = _kept([piece for b in own if (piece := _clean(b, language))], language)
    return Code(language=language, pieces=tuple(pieces)) if pieces else None


def check_of(code: Code, tests: str, test_format: str, group: str = "") -> Check:
    """Return the program that checks `code`, by `tests` (`assert` or `doctest`) where there are any."""
    language = code.language
    if language == "python":
        return _python_check(code.text, tests, test_format, group)
    if tests:
        code, text = set_aside(code), tests
        files = _files(language, (*code.pieces, text), main=len(code.pieces))
        return Check(program=Program(language=language, files=files, group=group), checked="tests")
    has_start = language not in _STARTS or _STARTS[language].search(code.text) is not None
    pieces = code.pieces if has_start else (*code.pieces, _EMPTY_START[language])
    main = next((i for i, p in enumerate(pieces) if language in _STARTS and _STARTS[language].search(p)), 0)
    program = Program(language=language, files=_files(language, pieces, main=main), group=group)
    return Check(program=program, checked="run" if has_start else "compile")


def set_aside(code: Code) -> Code:
    """Return `code` with its own start under another name, so that tests can bring theirs."""
    start = _STARTS.get(code.language)
    if start is None:
        return code

    def renamed(match: re.Match[str]) -> str:
        return re.sub(r"\b([mM])ain(\s*\()$", r"\1ain_of_solution\2", match[0])

    return Code(language=code.language, pieces=tuple(start.sub(renamed, piece) for piece in code.pieces))


def _python_check(text: str, tests: str, test_format: str, group: str) -> Check:
    if tests:
        body = _DOCTEST.format(text=tests) if test_format == "doctest" else tests
        if "__file__" in body:  # they were written to stand in one file with the solution
            body = f"__file__ = __import__('sys')._getframe().f_code.co_filename\n{body}"
        program = Program(language="python", files=(("", without_start(text)),), tests=body, group=group)
        return Check(program=program, checked="tests")
    if _READS_INPUT["python"].search(text):  # nothing stands on its standard input, and that is not its fault
        program = Program(language="python", files=(("", f"compile({text!r}, 'solution', 'exec')\n"),), group=group)
        return Check(program=program, checked="compile")
    return Check(program=Program(language="python", files=(("", text),), group=group), checked="run")


def without_start(text: str) -> str:
    """Return Python code without its `if __name__ == "__main__":` part; lines keep their numbers."""
    tree = parsed(text)
    if tree is None or "__main__" not in text:
        return text
    lines = text.split("\n")
    for node in reversed(tree.body):
        if isinstance(node, ast.If) and _is_start(node.test) and not node.orelse and node.end_lineno is not None:
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "\n".join(lines)


def _is_start(test: ast.expr) -> bool:
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq)):
        return False
    sides = [test.left, *test.comparators]
    names = [s.id for s in sides if isinstance(s, ast.Name)]
    return names == ["__name__"] and any(isinstance(s, ast.Constant) and s.value == "__main__" for s in sides)


def parsed(text: str) -> ast.Module | None:
    """Return the tree of Python code, None if it has syntax errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape is the author's business
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def defined(text: str, language: str) -> set[str]:
    """Return the names that code defines at its outermost level, as far as they can be seen."""
    if language == "python":
        tree = parsed(text)
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        return {node.name for node in tree.body if isinstance(node, kinds)} if tree else set()
    if language in ("java", "csharp"):
        return set(_ANY_TYPE.findall(text))
    pattern = _DEFINED.get(language)
    if pattern is None:
        return set()
    found = pattern.findall(text)
    return {name for names in found for name in ([names] if isinstance(names, str) else names) if name}


def _clean(block: CodeBlock, language: str) -> str:
    """Return a block's code, "" where it is something else: a session with a prompt, output, a call out of context."""
    code = block.code.replace("\r\n", "\n")
    first = code.lstrip()
    if first.startswith((">>>", "$ ", "% ")) and language not in ("php",):
        return ""
    if language in ("java", "csharp") and not _ANY_TYPE.search(code) and not _STARTS[language].search(code):
        # Statements alone are no program here; C# has them at the top only in newer versions, in a single file.
        return code if language == "csharp" and "using System" in code else ""
    return code


def _kept(pieces: list[str], language: str) -> list[str]:
    """Return the pieces that belong to the last version, without those that are no code beside others that are."""
    if language == "python" and any(parsed(p) for p in pieces):
        pieces = [p for p in pieces if parsed(p)]
    names = [defined(p, language) for p in pieces]
    kept = [p for i, p in enumerate(pieces) if not any(_replaces(later, names[i]) for later in names[i + 1 :])]
    if language == "php":
        kept = kept[:1] + [re.sub(r"^\s*<\?php\s*(?:declare\(strict_types=1\);)?", "", p) for p in kept[1:]]
        kept[0:1] = [p if p.lstrip().startswith(("<", "#!")) else f"<?php\n{p}" for p in kept[:1]]
    if language == "go":
        kept = kept[:1] + [re.sub(r"^\s*package\s+\w+\s*", "", p) for p in kept[1:]]
        kept[0:1] = [p if re.search(r"^package\s", p, re.M) else f"package main\n\n{p}" for p in kept[:1]]
        kept = [re.sub(r"^package\s+\w+", "package main", p, count=1, flags=re.M) for p in kept]
    return kept


def _replaces(later: set[str], earlier: set[str]) -> bool:
    return bool(earlier) and 2 * len(later & earlier) >= len(earlier)


def _files(language: str, pieces: tuple[str, ...], *, main: int) -> tuple[tuple[str, str], ...]:
    """Return the pieces as files, the one that starts first.

    Java wants a public class in a file of its name, so each piece is a file there; elsewhere all are one.
    """
    if language in _IMPORTS:
        pieces = _imports_first(language, pieces)
    if language != "java":
        return (("", "\n".join(pieces)),)
    named: dict[str, str] = {}
    for i in (main, *(i for i in range(len(pieces)) if i != main)):
        found = _PUBLIC_TYPE.search(pieces[i]) or _ANY_TYPE.search(pieces[i])
        name = f"{found[1] if found else f'Part{i}'}.java"
        named[name] = f"{named[name]}\n{pieces[i]}" if name in named else pieces[i]
    return tuple(named.items())


_IMPORTS: Final = {
    "csharp": re.compile(r"^using\s+(?:static\s+)?[\w.]+(?:\s*=\s*[\w.<>, ]+)?\s*;[ \t]*\n?", re.M),
    "go": re.compile(r"^import\s+(?:\([^)]*\)|(?:\w+\s+)?\"[^\"]+\")[ \t]*\n?", re.M),
    "kotlin": re.compile(r"^import\s+[\w.*]+(?:[ \t]+as[ \t]+\w+)?[ \t]*;?[ \t]*\n?", re.M),
}
"""Imports that have to stand before everything else, so that pieces cannot just follow each other."""
_GO_IMPORT = re.compile(r"(?:[\w.]+[ \t]+)?\"[^\"]+\"")
_PACKAGE = re.compile(r"^package[ \t]+[\w.]+[ \t]*;?[ \t]*\n?", re.M)


def _imports_first(language: str, pieces: tuple[str, ...]) -> tuple[str, ...]:
    """Return the pieces with all imports at the top, each once, behind the line that names the package."""
    if len(pieces) < 2:
        return pieces
    pattern = _IMPORTS[language]
    found = [line for piece in pieces for line in pattern.findall(piece)]
    if language == "go":
        found = [f"import {one}" for line in found for one in _GO_IMPORT.findall(line.removeprefix("import"))]
    imports = "\n".join(dict.fromkeys(line.strip() for line in found))
    bodies = [pattern.sub("", piece) for piece in pieces]
    package = _PACKAGE.search(bodies[0]) if language != "csharp" else None
    if package is not None:
        bodies[0] = bodies[0].replace(package[0], "", 1)
    return (f"{package[0].strip() if package else ''}\n{imports}\n", *bodies)
