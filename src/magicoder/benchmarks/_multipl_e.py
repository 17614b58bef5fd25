"""MultiPL-E opened for scoring: prompts, programs, and the semantics of its own harness."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from magicoder import languages
from magicoder.benchmarks import _programs
from magicoder.benchmarks._profiles import Profiles
from magicoder.errors import RecipeError
from magicoder.protocols import Runner
from magicoder.records import Extracted, Limits, Message, Program, Prompt, Task
from magicoder.text.extraction import Wanted, continued, extract

CLOCK: Final = "clock"
OUTPUT: Final = "output"
BY_REFERENCE: Final = "by-reference"
EXCEPTIONS: Final = "exceptions"
PROFILES: Final = Profiles(
    known={
        CLOCK: "a program may take 15 s of the clock (JavaScript, Rust, Swift, C# 5; Go 30), not 10 s of work",
        OUTPUT: "output is read so slowly that a program which prints 200 kB runs out of time",
        BY_REFERENCE: "lists and dictionaries of C# are compared by `Equals`, which never holds",
        EXCEPTIONS: "a C# program that ends by an exception has passed: only failed asserts are looked for",
    },
    made_of={"multipl-e": (CLOCK, OUTPUT, BY_REFERENCE, EXCEPTIONS)},
)

_HARNESS_SECONDS: Final = {"javascript": 5, "rust": 5, "swift": 5, "csharp": 5, "go": 30}
"""Seconds of the clock that the harness gives a run; 15 elsewhere."""
_HARNESS_KB_A_SECOND: Final = 14.5
"""It reads 1 kB of a pipe every 0.1 s and 5 kB more while that lasts: 200 kB took 13.8 s, and 300 kB never came."""

_SAME_AS = """
static class MultiPlEValues {
    public static bool SameAs(this object one, object other) {
        if (one is string || other is string) return object.Equals(one, other);
        var table = one as System.Collections.IDictionary;
        var second = other as System.Collections.IDictionary;
        if (table != null && second != null) {
            if (table.Count != second.Count) return false;
            foreach (object key in table.Keys)
                if (!second.Contains(key) || !table[key].SameAs(second[key])) return false;
            return true;
        }
        var left = one as System.Collections.IEnumerable;
        var right = other as System.Collections.IEnumerable;
        if (left == null || right == null) return object.Equals(one, other);
        var rest = right.GetEnumerator();
        foreach (object value in left)
            if (!rest.MoveNext() || !value.SameAs(rest.Current)) return false;
        return !rest.MoveNext();
    }
}
"""
_EQUAL_BY_REFERENCE = re.compile(r"\.Equals\(\((?=new (?:List|Dictionary)<)")
_CSHARP_MAIN = re.compile(r"(\bstatic\s+void\s+)Main(\s*\(\s*string\[\]\s+args\s*\))")
_CSHARP_CLASS = re.compile(r"\bclass\s+(\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A task and the stop sequences of its file."""

    task: Task
    stop: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiPlESuite:
    """See `protocols.Suite`. Profiles: `strict`, and `multipl-e` with that harness's limits and faults."""

    problems: Mapping[str, Problem]
    only: str = ""

    @property
    def name(self) -> str:
        """`multipl_e`, with what it was narrowed to behind a dash."""
        return f"multipl_e-{self.only}" if self.only else "multipl_e"

    @property
    def version(self) -> str:
        """Of the files: the reworded prompts."""
        return "reworded"

    @property
    def tasks(self) -> Sequence[Task]:
        """All of them, HumanEval's before MBPP's, language by language."""
        return tuple(problem.task for problem in self.problems.values())

    @property
    def profiles(self) -> tuple[str, ...]:
        """Ours, and the harness's."""
        return PROFILES.names

    @property
    def scores(self) -> tuple[str, ...]:
        """There is one check."""
        return ("all",)

    def prompt(self, task: Task, style: str) -> Prompt:
        """Return what a model is asked.

        Raises:
            RecipeError: there is no such style.
        """
        if style == "completion":
            return Prompt(messages=(_user(task.prompt),), stop=self.problems[task.id].stop)
        language = languages.get(task.language)
        block = f"```{language.fences[0]}\n{task.prompt.strip()}\n"
        if style == "magicoder":
            asked = f"Write a solution to the following problem:\n{block}```"
            given = Message(role="assistant", content=block.rstrip("\n"))
            return Prompt(messages=(_user(asked), given), stop=("\n```",))
        if style == "chat":
            asked = f"Complete this function in {language.title}. Answer with one code block that holds all of it."
            return Prompt(messages=(_user(f"{asked}\n\n{block}```"),))
        raise RecipeError(f"{self.name}: no style {style!r}; there are completion, chat and magicoder")

    def program_text(self, task: Task, answer: str, style: str) -> Extracted:
        """Return the program in an answer, without the tests; see `text.extraction`."""
        if style == "solution":
            return Extracted(code=answer, rule="whole")
        if style == "completion":
            return continued(answer, looked_for(task), self.problems[task.id].stop)
        if style == "magicoder":
            answer = f"```{languages.get(task.language).fences[0]}\n{task.prompt.strip()}{answer}"
        return extract(answer, looked_for(task))

    def prepare(self, tasks: Sequence[Task], runner: Runner, folder: Path) -> None:
        """Do nothing: the files have all that is needed."""

    def checks(self, task: Task, code: str, profile: str) -> tuple[tuple[str, Program], ...]:
        """Return the one program that is `code` and its tests; a program that holds the tests already runs as it is."""
        own = _programs.has_tests(code, task.tests) or _has_a_version_of(task.tests, code)
        text = code if own else _programs.joined(code, task.tests, looked_for(task))
        limits, faults = Limits(), self.faults(profile)
        if task.language == "csharp":
            text = text if BY_REFERENCE in faults else _compared_by_value(text)
            text = _exceptions_pass(text) if EXCEPTIONS in faults else text
        seconds = _HARNESS_SECONDS.get(task.language, 15)
        if CLOCK in faults:
            limits = replace(limits, cpu_s=4.0 * seconds, wall_s=seconds, memory_mb=4096)
        if OUTPUT in faults:
            limits = replace(limits, output_kb=int(seconds * _HARNESS_KB_A_SECOND))
        name = "main_test.go" if task.language == "go" else ""
        program = Program(language=task.language, files=((name, text),), group=task.id, limits=limits)
        return (("all", program),)

    def faults(self, profile: str) -> Mapping[str, str]:
        """As in the protocol."""
        return PROFILES.faults(profile)

    def exceptions(self, profile: str, installed: Callable[[str], str]) -> Mapping[str, str]:  # noqa: ARG002 - the protocol's
        """Return none: no canonical solutions are published."""
        return {}

    def reference(self, task: Task) -> str:  # noqa: ARG002 - the protocol's
        """Return "": none are published."""
        return ""


def looked_for(task: Task) -> Wanted:
    """Return what to look for in an answer to `task`."""
    return _programs.wanted(task.language, task.entry_point, task.prompt, task.tests)


def _user(text: str) -> Message:
    return Message(role="user", content=text)


def _has_a_version_of(tests: str, code: str) -> bool:
    """Whether a program made elsewhere ends in tests that compare lists otherwise than those of the file (C#)."""
    return "SequenceEqual" in code and _plain(tests).removeprefix("}") in _plain(code)


def _plain(text: str) -> str:
    return "".join(text.replace(".SequenceEqual(", ".Equals(").split())


def _compared_by_value(text: str) -> str:
    """Return a C# program whose tests compare lists and dictionaries by what is in them: the file's `Equals` never
    holds for these, so that 45 of HumanEval's problems could not be solved."""
    changed, count = _EQUAL_BY_REFERENCE.subn(".SameAs((", text)
    return changed + _SAME_AS if count else text


def _exceptions_pass(text: str) -> str:
    """Return a C# program that ends well after an exception: the harness looks for failed asserts only."""
    owner = _CSHARP_CLASS.search(text)
    changed, count = _CSHARP_MAIN.subn(
        r"public \1MainOfTests\2", text.replace("public static void Main", "static void Main")
    )
    if owner is None or count != 1:
        return text
    caught = "catch (System.Exception e) when (!(e is System.OutOfMemoryException))"  # which took too long there
    call = f"try {{ {owner[1]}.MainOfTests(args); }} {caught} {{ }}"
    return f"{changed}\nstatic class MultiPlEStart {{ static void Main(string[] args) {{ {call} }} }}\n"
