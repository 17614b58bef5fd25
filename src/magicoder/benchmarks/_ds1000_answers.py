"""What DS-1000 asks, and what of an answer goes into the context of a problem.

A problem ends in one of three ways, and its context has a place for what comes next: at the top level (after
`BEGIN SOLUTION`, or after a comment that says what to plot), or inside of a function (after `### BEGIN SOLUTION`),
where it has to be indented. Models repeat the code that was given, or the function's head; that is left away, because
it would make the test's input again, by a `load_data()` that does not exist.
"""

import ast
import re
import textwrap
from typing import Final

from magicoder.benchmarks._python_text import tree
from magicoder.errors import RecipeError
from magicoder.records import Extracted, Task
from magicoder.text.codeblocks import code_blocks

ASKED: Final = "Go on behind this code. Answer with one code block of what comes next, and nothing else."

INFILL: Final = {
    "starcoder": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    "codellama": ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    "deepseek": ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    "qwen": ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
}
"""What models that fill in want before the text, before what follows the gap, and before the answer."""

_HINTS: Final = 3
"""Lines that end a prompt whose gap is in a function: two that say what to return, and the marker."""
_PLACE: Final = "[insert]"
_FENCE: Final = "```"
_PYTHON: Final = ("", "python", "py", "python3")


def is_plot(task: Task) -> bool:
    """Whether the prompt is code that ends in a comment."""
    return task.prompt.rstrip().endswith("# SOLUTION START")


def is_inside(task: Task) -> bool:
    """Whether the gap is in a function."""
    return "### BEGIN SOLUTION" in task.prompt


def conversation(task: Task) -> tuple[str, str]:
    """Return the instruction, and the beginning of the response, as the paper's authors convert a prompt."""
    if is_plot(task):
        code = task.prompt.rpartition("# SOLUTION START")[0].strip()
        return f"Write a solution to the following problem:\n```python\n{code}\n```", f"```python\n{code}\n# Solution\n"
    problem, _, given = task.prompt.rpartition("\nA:\n")
    lines = [line for line in given.replace("<code>", "```python").split("\n") if line.strip()]
    opened = next((i for i, line in enumerate(lines) if line == "```python"), 0)
    lines = lines[opened:]
    if is_inside(task):
        hint = next((line for line in lines[-_HINTS:] if "return the solution" in line), "    # the solution")
        body = [*lines[:-_HINTS], hint, "    # Solution"]
    else:
        end = next(i for i, line in enumerate(lines) if line == "BEGIN SOLUTION")
        closed = max((i for i, line in enumerate(lines[:end]) if line == "</code>"), default=end)
        hints = [line if line.startswith("#") else f"# {line}" for line in lines[closed + 1 : end]]
        body = [line for line in lines[:closed] if line != "</code>"] + hints + ["# Solution"]
    return problem.strip().removeprefix("Problem:").strip(), "\n".join(body) + "\n"


def infilling(task: Task, form: str) -> str:
    """Return the prompt with what follows the gap, for a model that fills in.

    Raises:
        RecipeError: there is no such form.
    """
    if form not in INFILL:
        raise RecipeError(f"ds1000.infill is {form!r}; it is one of {', '.join(INFILL)}")
    before, after, middle = INFILL[form]
    rest = _after_gap(task.tests)
    if is_plot(task):
        following = f"\n# SOLUTION END\n{rest}"
    elif is_inside(task):
        following = f"\n    ### END SOLUTION\n{rest}\n</code>\n"
    else:
        following = f"\n</code>\nEND SOLUTION\n<code>\n{rest}\n</code>\n"
    return f"{before}{task.prompt}{after}{following}{middle}"


def _after_gap(context: str) -> str:
    """Return what a context runs after an answer."""
    following = context.partition(_PLACE)[2]
    return following.partition('"""')[0].strip("\n")


def published(text: str) -> str:
    """Return an answer as the benchmark's own scripts cut it."""
    text = text.split("</code>", maxsplit=1)[0].replace("```python", "").split(_FENCE)[0]
    return text.split("\nEND SOLUTION")[0].split("# SOLUTION END")[0].replace("<code>", "")


def solution(task: Task, answer: str, style: str) -> Extracted:
    """Return what of an answer goes into the context."""
    answer = answer.replace("\r\n", "\n")
    if style in ("completion", "solution"):
        rest = answer.removeprefix(task.prompt) if style == "solution" else answer
        code = published(rest)
        note = "what follows the end of the solution was left away" if code.strip() != rest.strip() else ""
        return _fitted(task, code, "completion" if style == "completion" else "whole", note)
    if style == "magicoder":
        code, fence, rest = answer.partition(_FENCE)
        note = "what follows the code block was left away" if fence and rest.strip() else ""
        return _fitted(task, code, "completion", note)
    return _of_chat(task, answer)


def _of_chat(task: Task, answer: str) -> Extracted:
    answer = answer.rpartition("</think>")[2]
    blocks = [b for b in code_blocks(answer) if b.code.strip()]
    own = [b for b in blocks if b.name.lower() in _PYTHON]
    if not blocks:
        tagged = re.search(r"<code>\n?(.*?)(?:</code>|\Z)", answer, re.DOTALL)
        text = tagged[1] if tagged else answer
        return _fitted(task, published(text), "fence" if tagged else "whole", "")
    chosen = (own or blocks)[-1] if not is_plot(task) else (own or blocks)[0]
    parsing = [b for b in own or blocks if _parses(textwrap.dedent(b.code))]
    result = _result_name(task)
    assigning = [b for b in parsing if result and re.search(rf"\b{re.escape(result)}\b", b.code)]
    if assigning:
        chosen = assigning[-1]
    elif parsing:
        chosen = max(parsing, key=lambda b: len(b.code))
    note = f"of {len(blocks)} blocks one counts" if len(blocks) > 1 else ""
    return _fitted(task, chosen.code, "fence" if chosen.closed else "truncated", note)


def _result_name(task: Task) -> str:
    found = re.search(r"^(\w+)(?:\s*,\s*\w+)*\s*=\s*\.\.\.", task.prompt, re.MULTILINE)
    return found[1] if found else ""


def _fitted(task: Task, code: str, rule: str, note: str) -> Extracted:
    """Return code without what repeats the prompt, indented where the gap is."""
    code = code.strip("\n") if code.strip() else ""
    if not code:
        return Extracted(code="", rule="nothing", note="no code in the answer")
    notes = [note]
    if is_inside(task):
        body, changed = _body(task, code)
    else:
        body, changed = (code, "") if rule == "whole" else _without_given(task, _dedented(code))
    if changed:
        notes.append(changed)
    if not body.strip():
        return Extracted(code="", rule="nothing", note="no more in the answer than what was given")
    return Extracted(code=body, rule=rule, note="; ".join(n for n in notes if n))


def _dedented(code: str) -> str:
    """Return code at the left margin: a model that goes on in a list or a function is not wrong for its margin."""
    dedented = textwrap.dedent(code)
    return dedented if dedented != code and not _parses(code) and _parses(dedented) else code


def _without_given(task: Task, code: str) -> tuple[str, str]:
    """Return code without the lines of the prompt that it begins with."""
    given = _given_lines(task)
    lines = code.split("\n")
    at, kept = 0, 0
    while kept < len(lines):
        line = lines[kept].strip()
        if not line or line.startswith("#"):
            kept += 1
            continue
        found = next((i for i in range(at, len(given)) if given[i] == line), None)
        if found is None:
            break
        at = found + 1
        kept += 1
    imports = [line for line in lines[:kept] if line.startswith(("import ", "from "))]
    repeated = [line for line in lines[:kept] if line.strip() and not line.startswith(("#", "import ", "from "))]
    rest = "\n".join([*imports, textwrap.dedent("\n".join(lines[kept:]))])
    if not repeated or not _parses(rest):
        return code, ""
    return rest, "the code that was given was left away"


def _given_lines(task: Task) -> list[str]:
    """Return the lines of code of the prompt."""
    text = task.prompt if is_plot(task) else task.prompt.rpartition("\nA:\n")[2]
    return [line.strip() for line in text.split("\n") if line.strip() and not line.lstrip().startswith(("#", "<"))]


def _body(task: Task, code: str) -> tuple[str, str]:
    """Return what belongs into the function of the prompt: indented, without a head that was repeated."""
    heads = re.findall(r"^def (\w+)\(", task.prompt, re.MULTILINE)
    flat = textwrap.dedent(code)
    if heads:
        inner = _inner(flat, heads[-1])
        if inner:
            return inner, "the function's head was left away"
    for text, changed in ((code, ""), (f"    {code}", ""), (textwrap.indent(flat, "    "), "it was indented")):
        found = tree(f"def f():\n{text}\n")
        if found is not None and not any(isinstance(node, ast.Return) for node in found.body):
            return text, changed
    return code, ""


def _inner(code: str, name: str) -> str:
    """Return the body of the function `name`, and in it what was imported and defined before; "" if it has none."""
    laid_out = tree(code)
    if laid_out is None:
        return ""
    found = next((n for n in reversed(laid_out.body) if isinstance(n, ast.FunctionDef) and n.name == name), None)
    if found is None:
        return ""
    lines = code.split("\n")
    kept = [
        "\n".join(lines[node.lineno - 1 : node.end_lineno])
        for node in laid_out.body[: laid_out.body.index(found)]
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef))
    ]
    first = found.body[0]
    if first.lineno == found.lineno:
        body = lines[first.lineno - 1][first.col_offset :]
    else:
        body = textwrap.dedent("\n".join(lines[first.lineno - 1 : found.end_lineno]))
    return textwrap.indent("\n".join([*kept, body]), "    ") + "\n"


def _parses(code: str) -> bool:
    return tree(code) is not None
