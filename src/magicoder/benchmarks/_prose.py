"""The natural-language part of a prompt: docstrings, comment blocks, statements without their examples."""

import re

from magicoder.errors import BenchmarkError

_LINE_MARKERS = {
    "cpp": "//",
    "csharp": "//",
    "go": "//",
    "java": "//",
    "javascript": "//",
    "lua": "--",
    "perl": "#",
    "php": "//",
    "r": "#",
    "racket": ";;",
    "ruby": "#",
    "rust": "///",
    "scala": "//",
    "shell": "#",
    "swift": "///",
    "typescript": "//",
}
_BLOCK = re.compile(r'/\*+(.*?)\*+/|"""(.*?)"""', re.DOTALL)
_EXAMPLES = re.compile(r"^\s*(?:\**Examples?(?: \d+)?:?\**:?|-+ ?(?:Input|Examples?) ?-+)\s*$", re.MULTILINE)


def docstring(prompt: str, where: str) -> str:
    """Return the docstring of a HumanEval prompt by the original's rule.

    Two triple quotes enclose the only docstring; of four, the second docstring is the task's (the first belongs to a
    helper); single triple quotes are read where there are no double ones.

    Raises:
        BenchmarkError: any other number of quotes.
    """
    pieces = prompt.split('"""') if '"""' in prompt else prompt.split("'''")
    if len(pieces) not in (3, 5):
        raise BenchmarkError(f"{where}: the prompt has {len(pieces) - 1} triple quotes, not 2 or 4; replace the file")
    return pieces[-2].strip()


def comment(prompt: str, language: str) -> str:
    """Return the text of the comment that states a translated task, without comment markers; "" if there is none.

    A block comment (`/* */`, Julia's triple quotes) wins over line comments; of those, the longest run of lines.
    """
    block = _BLOCK.search(prompt)
    if block:
        return (block[1] if block[1] is not None else block[2]).strip()
    marker = _LINE_MARKERS.get(language)
    if marker is None:
        return ""
    runs: list[list[str]] = [[]]
    for line in prompt.split("\n"):
        text = line.strip()
        if text.startswith(marker) and not text.startswith("#!"):
            runs[-1].append(text.removeprefix(marker).removeprefix(" "))
        elif runs[-1]:
            runs.append([])
    return max(("\n".join(run).strip() for run in runs), key=len)


def statement(text: str) -> str:
    """Return the statement of a contest problem, up to its first example or input section."""
    first = _EXAMPLES.search(text)
    cut = text[: first.start()].strip() if first else ""
    return cut or text.strip()
