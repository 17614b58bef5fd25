"""Comment-function pairs: real functions with their own documentation, no teacher (the paper's baseline)."""

import ast
import inspect
import random
import re
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

from magicoder.errors import RecipeError, Unusable
from magicoder.languages import Language, get
from magicoder.records import Completion, Prompt, Sample, Seed
from magicoder.text.docstrings import doc_problem
from magicoder.text.syntax import Function, whole_function

_STYLES = ("completion", "instruction")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentPairs:
    """Turn a documented function into a sample as it stands (paper section 4, "direct finetuning").

    style   `completion`, the original's: the response continues the instruction, character for character. Python:
            the code up to the end of the docstring, then the rest. Elsewhere: the doc as one-line comments (`/// `,
            in shell `### `) and the code to the end of the line with the function's name, then the rest.
            `instruction`: a request in words with doc and signature; the response is the function in a code block.

    The original's prompt ends with the first line of code even if that is an annotation; ours shows the name.
    """

    style: str = "completion"

    name: ClassVar[str] = "comment_pairs"
    seed_kind: ClassVar[str] = "function"
    needs_teacher: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.style not in _STYLES:
            raise RecipeError(f"comment_pairs: style is {self.style!r}; it must be one of: {', '.join(_STYLES)}")

    def write(self, seed: Seed, rng: random.Random) -> Generator[Prompt, Completion, list[Sample]]:  # noqa: ARG002 - nothing is left to chance
        """Return one sample without asking anything.

        Raises:
            Unusable: `does_not_parse`, `no_docstring`, `empty_doc`, `repeated_character_doc` or `empty_body`.
        """
        yield from ()
        language = get(seed.language)
        function = _documented(seed.text, language)
        if self.style == "completion":
            instruction, response = _completion_pair(function, language)
        else:
            instruction, response = _instruction_pair(function, language)
        tests = _doctests(function.documentation) if language.docstrings else ""
        return [
            Sample.from_seed(
                seed,
                strategy=self.name,
                instruction=instruction,
                response=response,
                tests=tests,
                test_format="doctest" if tests else "",
            )
        ]


def _documented(text: str, language: Language) -> Function:
    """Return the function that a seed's text is, moved to the left margin."""
    text = _dedent(text.replace("\r\n", "\n"))
    function = whole_function(text, language)
    if function is None:
        raise Unusable("does_not_parse", f"not one whole {language.title} function without syntax errors", text)
    if not function.documentation:
        raise Unusable("no_docstring", f"{function.name} has no documentation", text)
    problem = doc_problem(function.doc)
    if problem:
        raise Unusable(problem, f"the documentation of {function.name} says nothing", text)
    return function


def _dedent(text: str) -> str:
    """Take the first line's indentation from every line that has it; a string or a macro may have less."""
    text = text.strip("\n")
    indent = text[: len(text) - len(text.lstrip(" \t"))]
    return "\n".join(line.removeprefix(indent) for line in text.split("\n"))


def _completion_pair(function: Function, language: Language) -> tuple[str, str]:
    head = function.text[function.code_start : function.prompt_end]
    rest = function.text[function.prompt_end :]
    _check_body(rest, function)
    if language.docstrings:
        return head, rest
    doc = "".join(f"{language.comment_prefix} {line}".rstrip() + "\n" for line in function.doc.splitlines())
    return doc + head, rest


def _instruction_pair(function: Function, language: Language) -> tuple[str, str]:
    _check_body(function.text[function.prompt_end if language.docstrings else function.body_start :], function)
    signature = function.text[function.code_start : function.body_start].strip()
    instruction = (
        f"Write a {language.title} function that does the following.\n\n{function.doc}\n\n"
        f"Its signature is:\n\n{_fenced(signature, language)}"
    )
    return instruction, _fenced(function.text, language)


def _check_body(code: str, function: Function) -> None:
    if not re.search(r"\w", code):
        raise Unusable("empty_body", f"nothing is left of {function.name} after the prompt", function.text)


def _fenced(code: str, language: Language) -> str:
    """Put code into a Markdown block, with a fence longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language.fences[0]}\n{code}\n{fence}"


def _doctests(documentation: str) -> str:
    """Return the `>>>` examples of a docstring literal with their expected output, "" if there are none."""
    if ">>>" not in documentation:
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape is the author's business
        try:
            content = ast.literal_eval(f"({documentation})")
        except (SyntaxError, ValueError):
            return ""
    examples: list[str] = []
    inside = False
    for line in inspect.cleandoc(content).split("\n"):
        starts = line.lstrip().startswith(">>>")
        if starts and not inside and examples:
            examples.append("")
        inside = starts or (inside and line.strip() != "")
        if inside:
            examples.append(line)
    return inspect.cleandoc("\n" + "\n".join(examples)) if examples else ""


PLUGIN = CommentPairs
