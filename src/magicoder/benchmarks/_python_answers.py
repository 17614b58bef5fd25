"""How models are asked for a Python function, and how what they say becomes a program: HumanEval's and MBPP's forms.

The style `magicoder` is the paper's: an instruction, and a response that begins with a fence (and the prompt).
"""

from typing import Final

from magicoder import languages
from magicoder.benchmarks import _programs
from magicoder.errors import RecipeError
from magicoder.records import STYLES, Extracted, Message, Prompt, Task
from magicoder.text import extraction
from magicoder.text.programs import without_start

MAX_TOKENS: Final = 512
_ASKED: Final = STYLES[:-1]
_FUNCTION_STOPS: Final = (
    "\ndef ",
    "\nclass ",
    "\nimport ",
    "\nfrom ",
    "\nassert ",
    "\nif __name__",
    "\nprint(",
    "\n```",
)
_SENTENCE_STOPS: Final = ('\n"""', "\nassert ", "\nif __name__", "\nprint(", "\n```")


def function_prompt(task: Task, style: str) -> Prompt:
    """Return the prompt of a task that is the beginning of a program.

    Raises:
        RecipeError: no such style.
    """
    text = task.prompt.strip()
    instruction = f"Write a solution to the following problem:\n```python\n{text}\n```"
    return _prompt(style, instruction, f"```python\n{text}", task.prompt, _FUNCTION_STOPS)


def sentence_prompt(task: Task, style: str) -> Prompt:
    """Return the prompt of a task that is a sentence and an assert.

    Raises:
        RecipeError: no such style.
    """
    sentence, _, rest = task.prompt.strip().strip('"').strip().partition("\nassert ")
    sentence = sentence.strip()
    sentence += "" if sentence.endswith(".") else "."
    assertion = f"assert {rest.strip()}"
    instruction = f"{sentence} Your code should satisfy the following assertion:\n```python\n{assertion}\n```"
    return _prompt(style, instruction, "```python", task.prompt, _SENTENCE_STOPS)


def _prompt(style: str, instruction: str, begun: str, raw: str, stops: tuple[str, ...]) -> Prompt:
    if style not in _ASKED:
        raise RecipeError(f"there is no prompt style {style!r}; there are: {', '.join(_ASKED)}")
    if style == "completion":
        return Prompt(messages=(Message(role="user", content=raw),), max_tokens=MAX_TOKENS, stop=stops)
    asked = Message(role="user", content=instruction)
    if style == "chat":
        return Prompt(messages=(asked,), max_tokens=2 * MAX_TOKENS)
    return Prompt(messages=(asked, Message(role="assistant", content=begun)), max_tokens=MAX_TOKENS, stop=("\n```",))


def program_text(task: Task, answer: str, style: str) -> Extracted:
    """Return the program in an answer; see `protocols.Suite`."""
    if style == "solution":
        return _whole(answer)
    if style == "completion":
        return Extracted(code=without_start(task.prompt + answer), rule="completion")
    if style == "magicoder":
        code, fence, rest = answer.partition("```")
        begun = "" if _is_sentence(task) else task.prompt.strip()
        note = "what follows the code block was left away" if fence and rest.strip() else ""
        return Extracted(code=without_start(begun + code), rule="completion", note=note)
    wanted = extraction.Wanted(
        language="python",
        fences=_programs.fences(),
        grammar=languages.get("python"),
        entry_point=task.entry_point,
        prompt="" if _is_sentence(task) else task.prompt,
    )
    return extraction.extract(answer, wanted)


def _is_sentence(task: Task) -> bool:
    return "def " not in task.prompt


def _whole(text: str) -> Extracted:
    return Extracted(code=without_start(text), rule="whole")
