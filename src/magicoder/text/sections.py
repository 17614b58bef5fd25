"""A teacher's answer taken apart into problem and solution: the original's rule, and one that reads what models write.

`parse_original` reproduces the decisions of the original program. `parse_tolerant` also reads `**Problem
Description**`, `### 1. Problem:` and their like, keeps text that follows a header on its line, and knows that a header
mentioned inside a sentence or a code block is none.
"""

import re
from typing import NamedTuple

ORIGINAL, TOLERANT = "original", "tolerant"


class Parsed(NamedTuple):
    """Both sections, stripped, and which rule accepts the answer (`original` or `tolerant`)."""

    problem: str
    solution: str
    parser: str


def parse_original(text: str) -> tuple[str, str] | None:
    """Return problem and solution as the original's `parse_problem_solution` does; either may be empty.

    The first line that holds `[problem description]` in any case begins the problem, the first that holds
    `[solution]` ends it; None unless both are there in this order. What else stands on those lines is lost, and a
    problem that mentions [Solution] is cut there. Lines are those of `str.splitlines`.
    """
    lines = text.splitlines(keepends=True)
    lowered = [line.lower() for line in lines]
    problem = next((i for i, line in enumerate(lowered) if "[problem description]" in line), None)
    solution = next((i for i, line in enumerate(lowered) if "[solution]" in line), None)
    if problem is None or solution is None or problem >= solution:
        return None
    return "".join(lines[problem + 1 : solution]).strip(), "".join(lines[solution + 1 :]).strip()


def parse_tolerant(text: str) -> Parsed | None:
    """Return problem and solution if `text` has headers for both in this order and something under each.

    `parser` is `original` where the original's rule gives the same two texts.
    """
    parsed = find_sections(text)
    return None if parsed is None or is_blank(parsed.problem) or is_blank(parsed.solution) else parsed


def find_sections(text: str) -> Parsed | None:
    """Return what stands under the headers, which may be nothing; None if a header is missing."""
    lines = _unwrapped(_without_thoughts(text).split("\n"))
    headers = _headers(lines)
    original = parse_original(text)
    found = None
    for kinds in _PREFERENCE:
        pair = _first_pair(headers, *kinds)
        if pair is None:
            continue
        first, second = pair
        problem = _section(first.rest, lines[first.line + 1 : second.line])
        solution = _section(second.rest, lines[second.line + 1 :])
        parsed = Parsed(problem, solution, ORIGINAL if original == (problem, solution) else TOLERANT)
        if not is_blank(problem) and not is_blank(solution):
            return parsed
        found = found or parsed
    return found


def is_blank(section: str) -> bool:
    """Return whether nothing is said: no characters but those of empty code blocks and rules."""
    return all(not line.strip() or _FENCE.match(line) or _RULE.match(line) for line in section.split("\n"))


# --- thoughts and wrapping ---

_THOUGHT = re.compile(r"\s*<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_LOOSE_END = re.compile(r"^[ \t]*</(?:think|thinking|reasoning)>[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_FENCE = re.compile(r"[ \t]*(?P<ticks>`{3,}|~{3,})(?P<info>[^`\r\n]*)\r?$")
_RULE = re.compile(r"[ \t]*(?:-{3,}|\*{3,}|_{3,}|={3,})[ \t]*\r?$")
_WRAPPERS = ("", "markdown", "md", "text", "txt", "plaintext")


def _without_thoughts(text: str) -> str:
    """Return the answer proper: some servers leave the model's reasoning in, some only the tag that ends it."""
    thought = _THOUGHT.match(text)
    if thought:
        return text[thought.end() :]
    end = _LOOSE_END.search(text)
    # Without an opening tag, a closing tag inside a code block is the answer's own text.
    if end and not any(inside for _, inside in _scan(text[: end.start()].split("\n"))[-1:]):
        return text[end.end() :]
    return text


def _unwrapped(lines: list[str]) -> list[str]:
    """Return the lines of an answer that stands in one code block as a whole, without that block's fences."""
    fences = [i for i, line in enumerate(lines) if _FENCE.match(line)]
    if not fences:
        return lines
    opening = _FENCE.match(lines[fences[0]])
    assert opening is not None
    first = next((line for line in lines[fences[0] + 1 :] if line.strip()), "")
    header = _header(0, first, after_blank=True)
    wraps = opening["info"].strip().lower() in _WRAPPERS and header is not None and header.section == "problem"
    if not wraps or _headers(lines[: fences[0]]):
        return lines
    inner = lines[fences[0] + 1 :]
    # What is left pairs up, but for the wrapper's own closing fence.
    unpaired = None
    for i, line in enumerate(inner):
        fence = _FENCE.match(line)
        if fence and unpaired is None:
            unpaired = i
        elif fence and not fence["info"].strip():
            unpaired = None
    if unpaired is not None and inner[unpaired].strip() == opening["ticks"]:
        del inner[unpaired]
    return inner


def _scan(lines: list[str]) -> list[tuple[str, bool]]:
    """Return each line and whether it belongs to a code block (its fences included), as CommonMark sees it."""
    scanned = []
    open_with = ""
    for line in lines:
        fence = _FENCE.match(line)
        if open_with:
            scanned.append((line, True))
            if fence and fence["ticks"].startswith(open_with) and not fence["info"].strip():
                open_with = ""
        else:
            scanned.append((line, fence is not None))
            open_with = fence["ticks"] if fence else ""
    return scanned


# --- headers ---

_BRACKETED, _HEADING, _LABEL = "bracketed", "heading", "label"
_PREFERENCE = (
    (_BRACKETED, _BRACKETED),
    (_HEADING, _HEADING),
    (_BRACKETED, _HEADING),
    (_HEADING, _BRACKETED),
    (_LABEL, _LABEL),
    (_BRACKETED, _LABEL),
    (_HEADING, _LABEL),
    (_LABEL, _BRACKETED),
    (_LABEL, _HEADING),
)
"""Which pairs of headers to look for first: those that were asked for, then ever looser ones."""

# Every repetition before the title is bounded, so that no line takes more than linear time.
_HEADER = re.compile(
    r"""
    [ ]{0,3}(?:>[ ]?){0,3}                                     # four spaces would be code
    (?P<hashes>\#{1,6}[ \t]{0,4})?
    (?P<bullet>[-+*•][ \t]{1,4})?
    (?:[^\w\s\[\]\\【】\#*`<>()+-]{1,3}[ \t]{1,4})?            # an emoji
    (?P<open>[*_`]{0,3})[ \t]{0,4}
    (?:(?:section|part|step)[ \t]{1,4})?
    (?:\(?\d{1,2}[.):]{1,2}[ \t]{0,4})?
    (?P<open2>[*_`]{0,3})
    (?P<bracket>\\?[\[【][ \t]{0,4})?(?P<open3>[*_]{0,3})
    (?:the[ \t]{1,4})?
    (?P<title>(?:(?:programming|coding)[ \t]{1,4})?problem(?:[ \t]{1,4}(?:description|statement))?
            |(?:(?:complete|full|proposed|sample|reference)[ \t]{1,4})?solution)(?![^\W_])
    (?P<close>(?:[*_`\\]|[ \t]{0,4}[\]】:：])*)
    (?P<rest>.*)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_INTRODUCED = re.compile(r".{0,60}\[(?P<title>problem description|solution)\][*_`]*:[*_`]*\s*$", re.IGNORECASE)
_ASIDE = re.compile(r"\(.*\)|(?:in|using)[ \t]+\S+(?:[ \t]\S+)?", re.IGNORECASE)
_DASH = re.compile(r"[-–—]+[ \t]+")


class _Header(NamedTuple):
    """A header line: which section it begins, how plainly it is one, and what follows it on the line."""

    line: int
    section: str
    kind: str
    rest: str


def _headers(lines: list[str]) -> list[_Header]:
    found = []
    after_blank = True
    for number, (line, inside) in enumerate(_scan(lines)):
        header = None if inside else _header(number, line, after_blank=after_blank)
        if header:
            found.append(header)
        after_blank = not line.strip() or header is not None
    return found


def _header(number: int, line: str, *, after_blank: bool) -> _Header | None:
    m = _HEADER.match(line.rstrip("\r"))
    kind = _kind(m, after_blank=after_blank) if m else None
    if m and kind:
        return _Header(number, _section_of(m["title"]), kind, _rest(m))
    introduced = _INTRODUCED.match(line) if after_blank else None
    return _Header(number, _section_of(introduced["title"]), _LABEL, "") if introduced else None


def _kind(m: re.Match[str], *, after_blank: bool) -> str | None:
    """Return how plainly the line is a header, None if it is a sentence that begins with the word."""
    rest = m["rest"].strip()
    bare = not rest or ":" in m["close"] or "：" in m["close"]
    aside = _ASIDE.fullmatch(rest) or _DASH.match(rest)
    emphasis = bool(m["open"] or m["open2"] or m["open3"])
    if m["bracket"]:
        if ("]" not in m["close"] and "】" not in m["close"]) or m["rest"].startswith("("):
            return None
        if bare or aside or (emphasis and re.search(r"[*_`]\Z", m["close"])):
            return _BRACKETED
        return _LABEL if after_blank else None
    if (m["hashes"] or emphasis) and not m["bullet"]:
        return _HEADING if bare or (m["hashes"] and aside) else None
    if not bare or not m["title"][0].isupper():
        return None
    if not rest and after_blank and not m["bullet"]:
        return _HEADING
    return _LABEL if m["close"] and (after_blank or not rest) else None


def _section_of(title: str) -> str:
    return "problem" if "problem" in title.lower() else "solution"


def _rest(m: re.Match[str]) -> str:
    """Return what stands on the line after the header, as Markdown of its own: `**Problem: two words**` stays bold."""
    opened = m["open2"] or m["open"]
    rest: str = m["rest"].strip()
    if _ASIDE.fullmatch(rest):
        return ""
    rest = _DASH.sub("", rest, count=1) if _DASH.match(rest) else rest
    if opened and rest and opened not in m["close"]:
        return opened + rest
    if not opened and not m["open3"]:
        stray = re.search(r"[*_`]+\Z", m["close"])
        return (stray[0] if stray else "") + rest
    return rest


def _first_pair(headers: list[_Header], problem_kind: str, solution_kind: str) -> tuple[_Header, _Header] | None:
    problem = next((h for h in headers if h.section == "problem" and h.kind == problem_kind), None)
    if problem is None:
        return None
    after = (h for h in headers if h.line > problem.line)
    solution = next((h for h in after if h.section == "solution" and h.kind == solution_kind), None)
    return None if solution is None else (problem, solution)


def _section(rest: str, lines: list[str]) -> str:
    if lines and not rest and re.match(r"[ \t]*(?:={3,}|-{3,})[ \t]*\r?$", lines[0]):
        lines = lines[1:]  # the underline of a header
    return "\n".join([rest, *lines] if rest else lines).strip()
