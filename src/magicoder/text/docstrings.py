"""From a comment or a docstring as written to the words in it (paper: the direct-finetuning baseline, section 4)."""

import inspect
import re

_OPENING = re.compile(r"^/\*+(?!/)!?")
_SIGNS = "-=_~*#+{/|"
_FRAME = re.compile(r"^[-=_~*#+]{3,}\s+|^\{\{\{\s*|(?:\s{2,}[#*/|]|\s+[#*/]{2,}|\s+[-=_~*#/]{3,})$")
_RULER = re.compile(r"^(?:[^\w\s]|_){3,}$")

# Notes to tools, not to readers.
_DIRECTIVE = re.compile(
    r"^(?:@?(?:eslint|tslint|jshint|jslint|istanbul|prettier|biome|swiftlint|swiftformat|shellcheck|rubocop|phpcs|psalm"
    r"|phpstan|clang-format|cppcheck|nolint|noinspection|codeCoverageIgnore|ts-(?:ignore|expect-error|nocheck)|formatter)"
    r"\b|(?:c8|v8) ignore\b|go:\w+|MARK:|pragma\b|#?(?:end)?region\b|!/)",
    re.IGNORECASE,
)
_NOTICES = (
    "do not edit",
    "spdx-license-identifier",
    "licensed under the",
    "licenced under the",
    "all rights reserved",
    "permission is hereby granted",
    "redistribution and use in source",
)
_COPYRIGHT = re.compile(r"copyright\s+(?:\(c\)|©|\d{4})")
_HEADING = re.compile(
    r"\b(?:accessors|api|functions|helpers|implementations?|interface|members|methods|operations|overrides|properties"
    r"|routines|section|support|tests|types|utilities)\W*$",
    re.IGNORECASE,
)

# `{@link Foo#bar the label}` reads as its label, `{@code x}` as x; `{@inheritDoc}` says nothing.
_INLINE_TAG = re.compile(r"\{@(?:link|linkplain|code|literal|see|value)\s+([^{}\s]+)(?:[\s|]+([^{}]*))?\}")
_WORDLESS_TAG = re.compile(r"\{@\w+\}")
_SUMMARY_TAG = re.compile(r"^[@\\](?:brief|short|summary|details|description|desc)\b[ \t:-]*", re.MULTILINE)

_XML_SUMMARY = re.compile(r"<summary>(.*?)</summary>", re.DOTALL | re.IGNORECASE)
_XML_REFERENCE = re.compile(r"<\w+\s+(?:cref|name|langword|href)\s*=\s*\"(?:[A-Z]:)?([^\"]*)\"\s*/>")
_XML_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def clean_comment(raw: str, line_comments: tuple[str, ...], markup: str = "") -> str:
    """Strip the delimiters of a group of comments, and whatever only decorates it.

    `line_comments` are the language's marks (`//`, `#`); block comments are `/* */`. Lines of one repeated sign and
    notes to tools go, unless nothing else is left. With `markup` "xml" (C#), the summary is taken and tags go.
    """
    lines, inside = [], False
    for written in raw.splitlines():
        line = written.strip()
        opened = _OPENING.match(line) if not inside and line.startswith("/*") else None
        if opened:
            line, inside = line[opened.end() :], True
        elif inside:
            line = line if line.startswith("*/") else line.removeprefix("*")
        else:
            mark = next((m for m in line_comments if line.startswith(m)), "")
            line = line.lstrip(mark[-1:]).removeprefix("!") if mark else line
        if inside and line.endswith("*/"):
            line, inside = line[:-2].rstrip("*"), False
        line = line.strip()
        lines.append(_FRAME.sub("", line).strip() if line and (line[0] in _SIGNS or line[-1] in _SIGNS) else line)
    words = [line for line in lines if not (_RULER.match(line) or _DIRECTIVE.match(line))]
    text = "\n".join(words if any(words) else [line for line in lines if _RULER.match(line)]).strip()
    if markup == "xml":
        summary = _XML_SUMMARY.search(text)
        text = _XML_REFERENCE.sub(r"\1", summary[1] if summary else text)
        text = "\n".join(line.strip() for line in _XML_TAG.sub("", text).splitlines()).strip()
    if "@" in text or "\\" in text:
        text = _INLINE_TAG.sub(lambda m: (m[2] or m[1]).strip(), text)
        text = _SUMMARY_TAG.sub("", _WORDLESS_TAG.sub("", text)).strip()
    return text


def clean_docstring(content: str) -> str:
    """Strip the indentation of a Python docstring, its quotes already gone; escapes stay as written."""
    return "\n".join(line.rstrip() for line in inspect.cleandoc(content).split("\n")).strip()


def first_paragraph(doc: str, name: str = "") -> str:
    """Cut a clean doc to its first paragraph; if it has only one, at the first `@` (the original's rule).

    A first line that only repeats the function's `name` is passed over.
    """
    title, _, rest = doc.partition("\n")
    if name and title.strip(" :()") == name:
        doc = rest.strip()
    head, blank, _ = doc.partition("\n\n")
    return (head if blank else head.partition("@")[0]).strip()


def doc_problem(doc: str) -> str:
    """Return why a doc says nothing, "" if it may: `repeated_character_doc`, or `empty_doc` (not a letter in it)."""
    signs = set(doc) - set(" \t\r\n")
    if len(signs) == 1:
        return "repeated_character_doc"
    return "" if any(sign.isalpha() for sign in signs) else "empty_doc"


def belongs_elsewhere(documentation: str, doc: str, *, detached: bool) -> bool:
    """Whether a comment above a function is not about it: a licence, a generator's notice, code put out of use.

    A `detached` comment, with an empty line below, may also be the heading of what follows.
    """
    written = documentation[:2000].lower()
    if any(notice in written for notice in _NOTICES) or ("copyright" in written and _COPYRIGHT.search(written)):
        return True
    lines = doc.splitlines()
    if sum(line.endswith((";", "{", "}")) for line in lines) * 2 > len(lines):
        return True
    words = doc.split()
    return detached and (len(words) <= 2 or (len(words) <= 6 and _HEADING.search(doc) is not None))
