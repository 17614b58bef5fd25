"""What a Java source file must be called, and which of its classes is started: read from its tokens, not guessed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Text blocks, strings, characters and comments are passed over; words and braces are what counts.
_TOKEN = re.compile(
    # What is left open reaches to the end: looking for its end again from every character would take for ever.
    r'"""(?:\\.|[^\\])*?(?:"""|\Z)|"(?:\\.|[^"\\\n])*"?|\'(?:\\.|[^\'\\\n])*\'?|//[^\n]*|/\*.*?(?:\*/|\Z)'
    r"|(?P<word>@?[\w$]+)|(?P<mark>[{}();.,<>\[\]=])",
    re.DOTALL,
)
_DEPTH = 32  # of classes in classes: each one's name holds those around it
_KINDS = frozenset({"class", "interface", "enum", "record"})


@dataclass(slots=True)
class _Type:
    name: str
    public: bool
    has_main: bool = False


def file_class(source: str) -> str:
    """Return the class that the file is named after: the public one, else the one that is started, else the first."""
    types = [t for t in _types(source) if "$" not in t.name]
    for chosen in (
        (t for t in types if t.public),
        (t for t in types if t.has_main),
        iter(types),
    ):
        first = next(chosen, None)
        if first is not None:
            return first.name
    return "Main"


def main_class(source: str) -> str:
    """Return the class with a `main` method as `java` wants it (`com.example.Outer$Inner`), "" if there is none."""
    found = next((t.name for t in _types(source) if t.has_main), "")
    package = _package(source)
    return f"{package}.{found}" if found and package else found


def _package(source: str) -> str:
    words: list[str] = []
    for token in _TOKEN.finditer(source):
        text = token["word"] or token["mark"]
        if text is None:
            continue
        if words and text == ";":
            return "".join(words[1:])
        if not words and text != "package":
            return ""
        words.append(text)
    return ""


def _types(source: str) -> list[_Type]:
    """Return the types of a file in the order in which they begin, inner ones as `Outer$Inner`."""
    found: list[_Type] = []
    blocks: list[_Type | None] = []  # what each open brace belongs to
    opening: _Type | None = None  # a type whose brace has not come yet
    modifiers: list[str] = []
    tokens = _significant(source)
    for text in tokens:
        if text == "{":
            blocks.append(opening)
            opening = None
            modifiers = []
        elif text == "}":
            if blocks:
                blocks.pop()
            modifiers = []
        elif text in {";", ")", "="}:
            modifiers = []
        elif text in _KINDS and opening is None and (not modifiers or modifiers[-1] != "."):
            name = next(tokens, "")
            if re.fullmatch(r"[^\W\d][\w$]*", name) and len(blocks) < _DEPTH and all(b is not None for b in blocks):
                opening = _Type(
                    "$".join([b.name.rpartition("$")[2] for b in blocks if b] + [name]), "public" in modifiers
                )
                found.append(opening)
            modifiers = []
        else:
            owner = blocks[-1] if blocks else None
            if text == "main" and owner and {"static", "void"} <= set(modifiers) and modifiers[-1] == "void":
                owner.has_main = True
            modifiers.append(text)
    return found


def _significant(source: str) -> Iterator[str]:
    for token in _TOKEN.finditer(source):
        text = token["word"] or token["mark"]
        if text is not None:
            yield text
