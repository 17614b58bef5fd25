"""From a model's answer to a program: what a person would copy out of it, and why.

An answer is prose with code, code alone, the rest of a function, a session with several tries, cut in the middle, or
all of that. Candidates are made in a fixed order; the first that parses and defines the wanted function is taken:

1. the fenced blocks of the language, joined, where a later version of a function replaces an earlier one
2. each block, the last first; blocks of other info strings after those of the language
3. without fences: the whole answer, else the longest run of its lines that parses and defines the function
4. the same, cut back to their last complete part (an answer that ran into its limit, a brace too many)
5. the prompt continued by a block, or by the answer: models often write only the body; then that, cut back

A candidate is completed by what stands before the function in the prompt (imports, functions that were given, the class
around it) as far as it lacks that: models repeat the signature and leave the imports to the reader. It loses what would
stand in the way of tests: definitions that tests bring themselves (`main`), a main guard, examples of use after the
function. If nothing parses the first candidate is taken all the same: a grammar may be wrong, and a compiler decides.

Where there is no grammar for a language, a candidate defines a function if it names it, and always parses.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from magicoder.records import Extracted
from magicoder.text.codeblocks import CodeBlock, code_blocks
from magicoder.text.declarations import Grammar, decode
from magicoder.text.outline import DEFINITION, IMPORT, Item, Outline, members, outline, without
from magicoder.text.programs import code_of, parsed

_CLOSERS: Final = ("", "\n}", "\n}\n}", "\nend", "\n    pass")
"""What an open function lacks to parse; only ever added to see whether it does."""
_PRINTS = re.compile(r"^(?:print|puts|console\.\w+|echo|printf|System\.out\.\w+|println!|fmt\.Print\w*|var_dump|p)\b")
_GUARD = re.compile(r"__name__.{0,8}__main__|BASH_SOURCE|require\.main\b|\$PROGRAM_NAME\b|__FILE__ == \$0")
_TEST_CALL = re.compile(r"^(?:unittest\.main|doctest\.testmod|import doctest)\b")
_GO_TEST = re.compile(r"(?:Test|Example|Benchmark|Fuzz)(?![a-z])|main$")
"""What `go test` runs beside the tests that decide, and what calls that."""
_NAMES_FUNCTION = re.compile(
    r"^[ \t]*(?:(?:public|private|static|local|async|export|pub|override|inline)\s+)*"
    r"(?:function|func|fn|def|sub|\(define \(?)\s*(\w+)",
    re.M,
)
_ASSIGNED_FUNCTION = re.compile(r"^(?:(?:const|let|var)\s+)?(\w+)\s*(?:<-|=)\s*(?:function\b|\([^()]*\)\s*=>)", re.M)
_COMMENT_LINE = re.compile(r"^\s*(?://|#(?!\[)|--|;|\*|/\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is looked for in an answer.

    language     our name of it; `fences` info string → name, for all languages; `grammar` None if there is none
    entry_point  the function that is called; "" if the whole program is run, of which nothing is then cut
    prompt       the code that the answer repeats or continues, up to and with the signature; "" if it was prose
    taken        names that the tests define themselves
    """

    language: str
    fences: Mapping[str, str]
    grammar: Grammar | None = None
    entry_point: str = ""
    prompt: str = ""
    taken: frozenset[str] = frozenset()


class _Candidate(NamedTuple):
    rule: str
    text: str
    note: str = ""


def extract(answer: str, wanted: Wanted) -> Extracted:
    """Return the program in an answer of prose and code. Pure; never raises on malformed text."""
    answer, thought = _without_thoughts(answer.replace("\r\n", "\n"))
    given = _outline(wanted.prompt, wanted) if wanted.prompt else None
    candidates = list(dict.fromkeys(_candidates(answer, wanted)))
    rest = list(_continuing(answer, wanted)) if wanted.prompt and wanted.entry_point else []
    tried = [(candidate, given) for candidate in candidates]
    tried += [(cut, given) for candidate in candidates if (cut := _cut_back(candidate, wanted))]
    tried += [(candidate, None) for candidate in rest]
    tried += [(cut, None) for candidate in rest if (cut := _cut_back(candidate, wanted))]
    second: Extracted | None = None
    left_open: Extracted | None = None
    for candidate, head in tried:
        found, state = _finished(candidate, wanted, head)
        if state == _CLOSED:
            return _noted(found, thought)
        left_open = left_open or (found if state == _OPEN else None)
        if second is None and candidate in candidates and _defines(found.code, wanted):
            second = found
    if left_open is not None:
        return _noted(left_open, thought)
    if second is None and (other := _of_another_name(candidates, wanted)):
        return _noted(other, thought)
    if second is None and (rest or candidates):
        second, _ = _finished((rest or candidates)[0], wanted, given if not rest else None)
    if second is None or not second.code.strip():
        return Extracted(code="", rule="nothing", note="no code in the answer")
    return _noted(second, thought, "does not parse")


def continued(answer: str, wanted: Wanted, stop: Sequence[str], *, whole: bool = False) -> Extracted:
    """Return the prompt continued by a raw completion, which ends where the first of `stop` begins.

    `whole`: the tests do not close the function, so that what the completion began and did not end is cut away.

    A completion that opens with a fence is an answer to read as one: the model began to chat.
    """
    answer = answer.replace("\r\n", "\n")
    if answer.lstrip().startswith(("```", "~~~")):
        return extract(answer, wanted)
    ends = [place for word in stop if (place := answer.find(word)) >= 0]
    cut = min(ends, default=len(answer))
    note = f"cut at {answer[cut : cut + 12].splitlines()[1:2] or [answer[cut : cut + 12]]}" if ends else ""
    found = Extracted(code=wanted.prompt + answer[:cut], rule="completion", note=note)
    if whole and not _works(found.code, wanted):
        tail = _cut_back(_Candidate("completion", found.code), wanted)
        if tail is not None and _works(tail.text, wanted):
            return _noted(Extracted(code=tail.text, rule=tail.rule, note=note), tail.note)
    return found


def entry_point_of(prompt: str) -> str:
    """Return the name of the last function that `prompt` begins, "" if none can be seen; for files that do not say."""
    found = [(m.start(), m[1]) for pattern in (_NAMES_FUNCTION, _ASSIGNED_FUNCTION) for m in pattern.finditer(prompt)]
    if found:
        return max(found)[1]
    for line in reversed(prompt.split("\n")):
        called = re.search(r"(\w+)\s*\(", line)
        if called and not _COMMENT_LINE.match(line):
            return called[1]
    return ""


def is_open(code: str, wanted: Wanted) -> bool:
    """Whether the body of the wanted function still lacks its closing brace."""
    if wanted.grammar is not None:
        laid_out = outline(code, wanted.grammar, wanted.entry_point)
        if laid_out.clean and laid_out.entry is not None:
            return False
        if any(_works(code + closer, wanted) for closer in _CLOSERS[1:3]):
            return True
    return _depth(code, wanted) > 0


# ---- candidates


def _without_thoughts(answer: str) -> tuple[str, str]:
    _, mark, rest = answer.rpartition("</think>")
    return (rest, "the reasoning was left away") if mark and rest.strip() else (answer, "")


def _candidates(answer: str, wanted: Wanted) -> Iterator[_Candidate]:
    blocks = [block for block in code_blocks(answer) if block.code.strip()]
    joined = code_of(answer, wanted.language, wanted.fences)
    own = [b for b in blocks if wanted.fences.get(b.name) == wanted.language]
    others = [b for b in blocks if b not in own]
    if joined is not None and joined.pieces:
        left = len(blocks) - len(joined.pieces)
        note = f"of {len(blocks)} blocks {len(joined.pieces)} count" if left > 0 else ""
        yield _Candidate("fence", "\n".join(joined.pieces), note)
    for block in [*reversed(own), *reversed(others)]:
        yield _Candidate("fence", block.code, f"of {len(blocks)} blocks one counts" if len(blocks) > 1 else "")
    if blocks:
        return
    yield _Candidate("whole", answer)
    yield from _runs_of_lines(answer, wanted)


def _runs_of_lines(answer: str, wanted: Wanted) -> Iterator[_Candidate]:
    """Yield the longest run of lines that parses and defines the function, prose around it left away."""
    if wanted.grammar is None or not wanted.entry_point:
        return
    lines = answer.split("\n")
    best = ""
    named = next((i for i in range(len(lines) - 1, -1, -1) if wanted.entry_point in lines[i]), -1)
    for start in range(min(named + 1, _MAX_STARTS)):
        if not lines[start].strip() or lines[start][0] in " \t":
            continue
        text = _clean_head("\n".join(lines[start:]), wanted)
        if len(text) > len(best):
            best = text
    if best:
        yield _Candidate("prose", best, "the prose around it was left away")


_MAX_STARTS: Final = 300
"""Lines that are tried as the first of a program: an answer is not longer, and each costs a parse."""


def _clean_head(text: str, wanted: Wanted) -> str:
    """Return `text` up to its first syntax error, if the function is complete before that; else ""."""
    assert wanted.grammar is not None
    laid_out = outline(text, wanted.grammar, wanted.entry_point)
    items = laid_out.items
    if not items or items[0].node.has_error or _is_prose(laid_out, items[0]):
        return ""
    broken = next((i for i, item in enumerate(items) if item.node.has_error or item.node.type == "ERROR"), len(items))
    ends = [item.end for item in items[:broken] if _is_whole(item)]
    for end in ends[: -_MAX_CUTS - 1 : -1]:
        head = decode(laid_out.data[:end])
        if _works(head, wanted):
            return head
    return ""


_MAX_CUTS: Final = 20
"""Ends of complete parts that are tried, the last first, each by a parse."""


def _is_whole(item: Item) -> bool:
    """Whether `item` is complete; where the parser gave up on a file, loose tokens lie beside what it could read."""
    return item.role in (IMPORT, DEFINITION) or item.node.parent is None or item.node.parent.type != "ERROR"


def _is_prose(laid_out: Outline, item: Item) -> bool:
    """Whether a statement is no more than words (`Hope`, `this is it`): that parses in some languages."""
    return item.role not in (IMPORT, DEFINITION) and re.fullmatch(r"[\w\s',.:!?]*", laid_out.text(item)) is not None


def _of_another_name(candidates: list[_Candidate], wanted: Wanted) -> Extracted | None:
    """Return a whole program whose function has a name that nobody calls: wrong, but not for its extraction."""
    for candidate in candidates:
        if wanted.grammar is None:
            break
        laid_out = outline(candidate.text, wanted.grammar)
        names = sorted(
            {n for item in laid_out.items if item.role == DEFINITION and not item.binding for n in item.names}
        )
        if laid_out.clean and names and not any(item.node.type == "return_statement" for item in laid_out.items):
            note = f"defines {', '.join(names[:3])}, not {wanted.entry_point}"
            return Extracted(code=candidate.text, rule=candidate.rule, note=note)
    return None


def _continuing(answer: str, wanted: Wanted) -> Iterator[_Candidate]:
    """Yield the prompt continued by each block, by what stands before the first fence, or by the answer."""
    blocks: list[CodeBlock] = [block for block in code_blocks(answer) if block.code.strip()]
    blocks.sort(key=lambda b: wanted.fences.get(b.name) != wanted.language)
    for block in blocks:
        rule, note = ("fence", _REST) if block.closed else ("truncated", "the answer ends inside of the function")
        for text in _after_prompt(block.code, wanted):
            yield _Candidate(rule, text, note)
    first = min((b.first_line for b in blocks), default=0)
    before = "\n".join(answer.split("\n")[: first - 1]) if blocks else answer
    if before.strip():
        for text in _after_prompt(before, wanted):
            yield _Candidate("completion", text, _REST)


_REST: Final = "the rest of the function"


def _after_prompt(code: str, wanted: Wanted) -> Iterator[str]:
    """Yield the prompt and what continues it; a brace that was repeated, or an indent that was lost, made good."""
    prompt = wanted.prompt
    if code.lstrip().startswith("{") and prompt.rstrip().endswith("{"):
        yield prompt.rstrip()[:-1] + code.lstrip()
    if prompt and not prompt.endswith("\n") and not code.startswith("\n"):
        prompt += "\n"
    if wanted.language == "python" and re.match(r"\n*(?!def |class |import |from |async |@)\S", code):
        first, _, others = code.lstrip("\n").partition("\n")
        if all(line[0] in " \t" for line in others.split("\n") if line):
            yield f"{prompt}    {first}\n{others}"  # only the beginning of the answer was stripped
        yield prompt + textwrap.indent(code, "    ")
    yield prompt + code


def _cut_back(candidate: _Candidate, wanted: Wanted) -> _Candidate | None:
    """Return a candidate up to its last complete item before the first broken one, None if nothing was cut."""
    if wanted.grammar is None or not wanted.entry_point:
        return None
    cut = _clean_head(candidate.text, wanted)
    if not cut.strip() or cut.strip() == candidate.text.strip():
        return None
    return _Candidate("truncated", cut, "cut back to the last complete part")


# ---- finishing


_CLOSED: Final = "closed"
_OPEN: Final = "open"
_BROKEN: Final = "broken"


def _finished(candidate: _Candidate, wanted: Wanted, given: Outline | None) -> tuple[Extracted, str]:
    """Return a candidate completed and trimmed, and how it is.

    `closed`: it parses and defines the function; `open`: it does with the braces that tests or nobody will add, after
    all that needs none has been tried; else `broken`.
    """
    text, notes = candidate.text, [candidate.note]
    if wanted.grammar is None:
        text = _with_lines_above(text, wanted)
        state = _CLOSED if _names_entry(candidate.text, wanted) else _BROKEN
        return Extracted(code=text, rule=candidate.rule, note=candidate.note), state
    if not wanted.entry_point:
        state = _CLOSED if _works(text, wanted) else _BROKEN
        return Extracted(code=text, rule=candidate.rule, note=candidate.note), state
    if wanted.language == "php" and not text.lstrip().startswith(("<", "#!")):
        text = f"<?php\n{text}"
    laid_out = outline(text, wanted.grammar, wanted.entry_point)
    state = _BROKEN
    if laid_out.entry is not None:
        works = next((closer for closer in _CLOSERS[:3] if _works(text + closer, wanted)), None)
        state = _BROKEN if works is None else _OPEN if works else _CLOSED
    if laid_out.entry is not None and _is_sound(laid_out):
        text, dropped = _trimmed(laid_out, wanted)
        notes.append(dropped)
        if given is not None:
            text, added = _completed(outline(text, wanted.grammar, wanted.entry_point), given, wanted)
            notes.append(added)
    return Extracted(code=text, rule=candidate.rule, note="; ".join(n for n in notes if n)), state


def _is_sound(laid_out: Outline) -> bool:
    """Whether items are told apart: all is well, or the parser stumbled inside of some and went on behind them."""
    return laid_out.clean or all(
        item.node.type != "ERROR" and (item.node.parent is None or item.node.parent.type != "ERROR")
        for item in laid_out.items
    )


def _trimmed(laid_out: Outline, wanted: Wanted) -> tuple[str, str]:
    """Return a program without what would stand in the way of tests, and what that was."""
    entry = laid_out.entry
    assert entry is not None
    drop: list[Item] = []
    reasons: dict[str, None] = {}
    tainted: set[str] = set()
    items = laid_out.items if laid_out.container is None else (*laid_out.siblings, *laid_out.items)
    defined = {name for item in items if not item.binding for name in item.names}
    for item in items:
        reason = _in_the_way(laid_out, item, wanted, defined, tainted)
        if reason and item not in (entry, laid_out.container):
            drop.append(item)
            reasons[reason] = None
            if reason == "examples":
                tainted |= item.names
    return (without(laid_out, drop), f"without {', '.join(reasons)}") if drop else (decode(laid_out.data), "")


def _in_the_way(laid_out: Outline, item: Item, wanted: Wanted, defined: set[str], tainted: set[str]) -> str:
    """Say what `item` is if it is to be cut, else ""."""
    entry = laid_out.entry
    assert entry is not None
    if item.names & wanted.taken:
        return f"what the tests bring ({', '.join(sorted(item.names & wanted.taken))})"
    if laid_out.container is not None and item != laid_out.container and _brings(laid_out, item, wanted):
        return "a class with a start of its own"
    if wanted.language == "go" and any(map(_GO_TEST.match, item.names)):
        return "tests of its own"
    text = laid_out.text(item)
    if item.role not in (IMPORT, DEFINITION) and _GUARD.search(text):
        return "the main guard"
    if item.role == IMPORT or item.start < entry.start or (item.role == DEFINITION and not item.binding):
        return ""
    words = laid_out.words(item) - item.names
    if item.binding:
        calls = re.search(rf"(?<![\w.]){re.escape(wanted.entry_point)}\s*[(.]", text) is not None
        rebinds = wanted.entry_point in item.names
        return "examples" if not rebinds and (calls or words & tainted) else ""
    is_example = (
        wanted.entry_point in words
        or words & tainted
        or _PRINTS.match(text)
        or _TEST_CALL.match(text)
        or item.node.type in ("assert_statement", "echo_statement")
        or _is_prose(laid_out, item)
        or (re.match(r"(\w+)\s*\(", text) and words & defined)
    )
    return "examples" if is_example else ""


def _brings(laid_out: Outline, item: Item, wanted: Wanted) -> bool:
    """Whether a class beside the one with the function has a member that the tests have too, such as `Main`."""
    return item in laid_out.items and any(member.names & wanted.taken for member in members(laid_out, item))


def _completed(laid_out: Outline, given: Outline, wanted: Wanted) -> tuple[str, str]:
    """Return a program with what the prompt had before the function, as far as it lacks it."""
    entry = laid_out.entry
    if entry is None or given.entry is None:
        return decode(laid_out.data), ""
    if given.container is not None and laid_out.container is None:
        return _in_class(laid_out, given)
    known = {name for item in (*laid_out.items, *laid_out.siblings) for name in item.names}
    imported = {" ".join(laid_out.text(item).split()) for item in laid_out.items if item.role == IMPORT}
    lacking = [
        item
        for item in given.items
        if item.start < given.entry.start
        and item != given.container
        and (" ".join(given.text(item).split()) not in imported if item.role == IMPORT else not item.names & known)
    ]
    if wanted.language == "go" and any("package_clause" in item.node.type for item in laid_out.items):
        lacking = [item for item in lacking if item.node.type != "package_clause"]
    inside = [] if given.container is None else [
        item for item in given.siblings if item.start < given.entry.start and not item.names & known
    ]  # fmt: skip
    data = laid_out.data
    if inside:
        text = b"".join(given.data[item.begin : item.end] + b"\n" for item in inside)
        data = data[: entry.begin] + text + data[entry.begin :]
    text = b"".join(given.data[item.start : item.end].rstrip(b"\n") + b"\n" for item in lacking)
    top = _top(laid_out)
    added = "with what the prompt had before it" if lacking or inside else ""
    return decode(data[:top] + text + data[top:]), added


def _in_class(laid_out: Outline, given: Outline) -> tuple[str, str]:
    """Return free functions put into the prompt's class; imports stay before it."""
    assert given.entry is not None
    imports = [item for item in laid_out.items if item.role == IMPORT]
    head = given.data[: given.entry.begin]
    known = b" ".join(head.split())
    lines = [laid_out.data[i.start : i.end] for i in imports]
    new = b"".join(line + b"\n" for line in lines if b" ".join(line.split()) not in known)
    body = without(laid_out, imports)
    return decode(new + head) + body.rstrip() + "\n}\n", "put into the class of the prompt"


def _with_lines_above(text: str, wanted: Wanted) -> str:
    """Return a program of a language without grammar, with the lines of code above the function that it lacks."""
    head = re.sub(r'""".*?"""|/\*.*?\*/', "", wanted.prompt, flags=re.S).rstrip().split("\n")
    signature = next((i for i, line in enumerate(head) if wanted.entry_point in line and "(" in line), 0)
    known = {line.strip() for line in text.split("\n")}
    lacking = [
        line
        for line in head[:signature]
        if line.strip() and not _COMMENT_LINE.match(line.replace("#lang", "lang")) and line.strip() not in known
    ]
    return "".join(f"{line}\n" for line in lacking) + text


def _top(laid_out: Outline) -> int:
    """Return where imports can be put: below an interpreter's line, `<?php`, a package clause or future imports."""
    data = laid_out.data
    top = 0
    if data.startswith((b"#!", b"<?php")):
        top = data.find(b"\n") + 1 or len(data)
    for item in laid_out.items:
        if item.node.type in ("package_clause", "package_declaration", "future_import_statement"):
            top = (data.find(b"\n", item.end) + 1) or len(data)
    return top


# ---- looking


def _outline(prompt: str, wanted: Wanted) -> Outline | None:
    """Lay out the open prompt, closed so that it parses."""
    if wanted.grammar is None or not wanted.entry_point:
        return None
    tried = [outline(prompt + closer, wanted.grammar, wanted.entry_point) for closer in _CLOSERS]
    found = next((o for o in tried if o.clean and o.entry is not None), None)
    return found or next((o for o in tried if o.entry is not None), None)


def _works(text: str, wanted: Wanted) -> bool:
    if wanted.grammar is None:
        return _names_entry(text, wanted)
    laid_out = outline(text, wanted.grammar, wanted.entry_point)
    if not laid_out.clean or (laid_out.entry is None and wanted.entry_point):
        return False
    if wanted.language != "python":
        return True
    # The grammar of Python takes more than Python does, such as what is left of a body that lost its indent.
    return parsed(text) is not None and all(item.node.type != "return_statement" for item in laid_out.items)


def _defines(text: str, wanted: Wanted) -> bool:
    """Whether the wanted function is defined, however broken the rest."""
    if wanted.grammar is None or not wanted.entry_point:
        return _names_entry(text, wanted)
    return outline(text, wanted.grammar, wanted.entry_point).entry is not None


def _names_entry(text: str, wanted: Wanted) -> bool:
    return not wanted.entry_point or re.search(rf"(?<!\w){re.escape(wanted.entry_point)}(?!\w)", text) is not None


def _depth(code: str, wanted: Wanted) -> int:
    """Count the braces that stay open, those in texts and comments left away."""
    marks = "|".join(re.escape(mark) for mark in (wanted.grammar.line_comments if wanted.grammar else ("//",)))
    bare = re.sub(
        rf'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'|(?:(?<=\s)|^)(?:{marks})[^\n]*|/\*.*?\*/',
        "",
        code,
        flags=re.S | re.M,
    )
    return bare.count("{") - bare.count("}")


def _noted(found: Extracted, *notes: str) -> Extracted:
    note = "; ".join(n for n in (found.note, *notes) if n)
    return Extracted(code=found.code, rule=found.rule, note=note)
