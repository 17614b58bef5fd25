"""What a source file imports: under which local name, from which module, and whether that comes with the language.

Read from the text by patterns, one set a language: no file is resolved, nothing is looked up. Where an import brings
names that the file does not tell (`import java.util.*`, `#include`, `using`), the name is "" and every function of the
file may depend on it.
"""

import re
import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

STANDARD, PROJECT, PACKAGE = "standard_library", "project", "package"
"""What a module is: with the language, a file of the same project (relative), or another package."""


class Import(NamedTuple):
    """A `module`, and the `name` by which the file knows it or something in it, "" if the file does not say."""

    module: str
    name: str


_C: Final = (
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg"
    " stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype"
)
_NODE: Final = (
    "assert async_hooks buffer child_process cluster console constants crypto dgram diagnostics_channel dns"
    " domain events fs http http2 https inspector module net os path perf_hooks process punycode querystring"
    " readline repl stream string_decoder sys timers tls trace_events tty url util v8 vm wasi worker_threads"
    " zlib"
)
_RUBY: Final = (
    "abbrev base64 benchmark bigdecimal cgi coverage csv date delegate digest drb English erb etc fcntl fiddle"
    " fileutils find forwardable getoptlong io/console ipaddr json logger matrix monitor mutex_m net/http"
    " objspace observer open-uri open3 openssl optparse ostruct pathname pp prettyprint prime pstore psych pty"
    " racc rbconfig readline resolv ripper securerandom set shellwords singleton socket stringio strscan syslog"
    " tempfile time timeout tmpdir tsort uri weakref yaml zlib"
)
_STANDARD: Final[dict[str, str]] = {
    "java": r"(?:java|javax|jdk)\.",
    "kotlin": r"(?:kotlin|java|javax)\.",
    "csharp": r"System(?:\.|$)",
    "rust": r"(?:std|core|alloc)(?:::|$)",
    "swift": r"(?:Swift|Foundation|Dispatch|Darwin|Glibc|XCTest)$",
    "go": r"(?!\.)[^./]+(?:/|$)",
    "c": rf"(?:{'|'.join(_C.split())})\.h$",
    "cpp": rf"(?:{'|'.join(_C.split())})\.h$|[a-z_]+$",
    "javascript": rf"node:|(?:{'|'.join(_NODE.split())})(?:/|$)",
    "ruby": rf"(?:{'|'.join(_RUBY.split())})$",
}
_PROJECT: Final = re.compile(r"[.\"]|crate(?:::|$)|self(?:::|$)|super(?:::|$)|/")
_LINES: Final[dict[str, str]] = {
    "java": r"^[ \t]*import[ \t]+(?:static[ \t]+)?(?P<module>[\w.]+?)(?:\.(?P<names>\w+|\*))?[ \t]*;",
    "kotlin": r"^[ \t]*import[ \t]+(?P<module>[\w.]+?)(?:\.(?P<names>(?:\w+(?:[ \t]+as[ \t]+\w+)?)|\*))?"
    r"[ \t]*;?[ \t]*$",
    "csharp": r"^[ \t]*(?:global[ \t]+)?using[ \t]+(?:static[ \t]+)?(?:(?P<names>\w+)[ \t]*=[ \t]*)?"
    r"(?P<module>[\w.]+)[ \t]*;",
    "php": r"^use[ \t]+(?:function[ \t]+|const[ \t]+)?(?P<module>[\w\\]+?)"
    r"(?:\\(?P<names>\w+(?:[ \t]+as[ \t]+\w+)?))?[ \t]*;",
    "rust": r"^[ \t]*(?:pub(?:\([^)]*\))?[ \t]+)?use[ \t]+(?P<module>(?:\w+::)*\w+)(?:::(?P<names>\{[^;]*\}|\*))?"
    r"(?:[ \t]+as[ \t]+(?P<alias>\w+))?[ \t\n]*;",
    "swift": r"^[ \t]*(?:@\w+[ \t]+)?import[ \t]+(?:(?:class|struct|enum|func|protocol)[ \t]+)?(?P<module>\w+)",
    "c": r"^[ \t]*#[ \t]*include[ \t]*(?:<(?P<module>[^>\n]+)>|(?P<quoted>\"[^\"\n]+)\")",
    "ruby": r"^[ \t]*require(?:_relative[ \t(]+[\"'](?P<quoted>[^\"'\n]+)|[ \t(]+[\"'](?P<module>[^\"'\n]+))",
    "shell": r"^[ \t]*(?:source|\.)[ \t]+(?P<quoted>\S+)",
    "javascript": r"^[ \t]*(?:import|export)\b[ \t]*(?:(?P<names>[^;'\"]*?)[ \t\n]*\bfrom[ \t\n]*)?"
    r"[\"'](?P<module>[^\"'\n]+)[\"']"
    r"|\b(?:const|let|var)[ \t]+(?P<bound>\w+|\{[^}]*\})[ \t]*=[ \t]*require\([\"'](?P<required>[^\"'\n]+)[\"']\)",
}
_SHARED: Final = {"cpp": "c", "typescript": "javascript"}
_PYTHON = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<module>[.\w]+)[ \t]+import[ \t]*(?P<names>\([^)]*\)|[^\n;#\\]*(?:\\\n[^\n;#\\]*)*)"
    r"|import[ \t]+(?P<modules>[^\n;#\\]+(?:\\\n[^\n;#\\]*)*))",
    re.MULTILINE,
)
_GO = re.compile(r"^import[ \t]*(?:\((?P<block>[^)]*)\)|(?P<line>[^\n]*))", re.MULTILINE)
_GO_ENTRY = re.compile(r"(?P<name>[\w.]+)?[ \t]*\"(?P<module>[^\"\n]+)\"")
_ALIASED = re.compile(r"(?:type[ \t]+)?(?P<name>[\w*]+)(?:\s+as\s+(?P<as>\w+)|\s*:\s*(?P<renamed>\w+))?")


def is_known(language: str) -> bool:
    """Whether the imports of a language can be read."""
    return language in ("python", "go") or _SHARED.get(language, language) in _LINES


def imports(text: str, language: str) -> list[Import]:
    """Return the imports in a file, those inside of functions too."""
    if language == "python":
        return list(_python(text))
    if language == "go":
        return list(_go(text))
    pattern = re.compile(_LINES[_SHARED.get(language, language)], re.MULTILINE)
    return [found for match in pattern.finditer(text) for found in _read(match, language)]


def kind_of(module: str, language: str) -> str:
    """Return whether a module is `STANDARD`, of the `PROJECT`, or a `PACKAGE`."""
    if language == "python":
        root = module.partition(".")[0]
        return PROJECT if not root else STANDARD if root in sys.stdlib_module_names else PACKAGE
    standard = _STANDARD.get(language) or _STANDARD.get(_SHARED.get(language, ""), "")
    if standard and re.match(standard, module):
        return STANDARD
    return PROJECT if _PROJECT.match(module) else PACKAGE


def _python(text: str) -> Iterator[Import]:
    for match in _PYTHON.finditer(text):
        if match["modules"]:
            for part in match["modules"].replace("\\\n", " ").split(","):
                module, _, alias = part.strip().partition(" as ")
                yield Import(module.strip(), alias.strip() or module.partition(".")[0].strip())
            continue
        names = re.sub(r"#[^\n]*|[()\\]", " ", match["names"])
        for part in filter(None, (p.strip() for p in names.split(","))):
            name, _, alias = part.partition(" as ")
            module = match["module"] if match["module"].strip(".") else f"{match['module']}{name.strip()}"
            yield Import(module, "" if name.strip() == "*" else alias.strip() or name.strip())


def _go(text: str) -> Iterator[Import]:
    for match in _GO.finditer(text):
        for entry in _GO_ENTRY.finditer(match["block"] or match["line"] or ""):
            last = re.sub(r"(?:^|.*/)(?:go-)?([\w-]+?)(?:/v\d+|\.v\d+|\.go|-go)?$", r"\1", entry["module"])
            name = entry["name"] or last.replace("-", "_")
            yield Import(entry["module"], "" if name in (".", "_") else name)


def _read(match: re.Match[str], language: str) -> Iterator[Import]:
    found = match.groupdict()
    if found.get("quoted"):
        yield Import(f'"{found["quoted"].strip(chr(34))}', "")
        return
    module = found.get("module") or found.get("required") or ""
    written = found.get("alias") or found.get("names") or found.get("bound") or ""
    if language == "rust" and not written:
        written = module.rpartition("::")[2]
    written = re.sub(r"^\s*type\b(?!\s*,)", "", written) if language == "typescript" else written
    names = [m for part in re.split(r"[{},]", written) if (m := _ALIASED.search(part.strip().rpartition("::")[2]))]
    locals_ = [m["as"] or m["renamed"] or m["name"] for m in names]
    last = module.rpartition("::")[2]  # what Rust's `use a::b::{self}` brings
    for name in locals_ or [""]:
        yield Import(module, {"*": "", "self": last}.get(name, name))
