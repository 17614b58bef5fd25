"""HumanEval-X opened for scoring: prompts, programs, and what the published tests need of a machine."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from magicoder import languages
from magicoder.benchmarks import _exceptions, _programs
from magicoder.benchmarks._profiles import ONLY_STRICT
from magicoder.errors import RecipeError
from magicoder.protocols import Runner
from magicoder.records import Extracted, Message, Program, Prompt, Task
from magicoder.text.extraction import Wanted, continued, extract

_TESTIFY: Final = "github.com/stretchr/testify/assert"
_ASSERTS: Final = """package main

import (
	"bytes"
	"math"
	"reflect"
	"testing"
)

// What the tests use of testify, by its rules: Equal is deep, and knows types.
type asserts struct{ t *testing.T }

var assert asserts

func (asserts) New(t *testing.T) asserts { return asserts{t} }

func (a asserts) fail(got ...interface{}) bool {
	a.t.Helper()
	a.t.Errorf("not as expected: %#v", got)
	return false
}

func same(expected, actual interface{}) bool {
	left, isLeft := expected.([]byte)
	right, isRight := actual.([]byte)
	if isLeft && isRight && left != nil && right != nil {
		return bytes.Equal(left, right)
	}
	return reflect.DeepEqual(expected, actual)
}

func (a asserts) Equal(expected, actual interface{}, _ ...interface{}) bool {
	return same(expected, actual) || a.fail(expected, actual)
}

func (a asserts) NotEqual(expected, actual interface{}, _ ...interface{}) bool {
	return !same(expected, actual) || a.fail(expected, actual)
}

func (a asserts) True(value bool, _ ...interface{}) bool  { return value || a.fail(value) }
func (a asserts) False(value bool, _ ...interface{}) bool { return !value || a.fail(value) }

func (a asserts) Nil(value interface{}, _ ...interface{}) bool {
	return value == nil || a.fail(value)
}

func (a asserts) InDelta(expected, actual, delta float64, _ ...interface{}) bool {
	return math.Abs(expected-actual) <= delta || a.fail(expected, actual)
}
"""
_LOUD_ASSERT: Final = (
    "console.assert = (holds, ...words) => { if (!holds) throw new Error(`assertion failed: ${words}`); };\n"
)
_CRATES = re.compile(r"^[ \t]*use (rand|regex|md5)\b[^;\n]*;[ \t]*\n?", re.M)
_CRATE_SIGNS: Final = {"rand": r"\brand::|thread_rng|gen_range|\bRng\b", "regex": r"\bRegex\b", "md5": r"\bmd5::"}
_STOP: Final = {
    "cpp": ("\nint main(", "\n#include", "\n/*"),
    "go": ("\nfunc main(", "\nfunc Test", "\npackage ", "\nimport "),
    "java": ("\npublic class", "\nclass ", "\nimport "),
    "javascript": ("\nconsole.log", "\n/*", "\nmodule.exports"),
    "python": ("\nif __name__", "\nprint(", "\nassert ", "\nclass "),
    "rust": ("\nfn main(", "\n#[cfg(test)]", "\nmod tests"),
}
"""Of raw completions: what comes after the function, never a part of it, since the tests do not close it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A task, and what its file has beside: the code to continue, and what stands above a Go test."""

    task: Task
    given: str
    setup: str = ""


@dataclass(frozen=True, kw_only=True)
class HumanEvalXSuite:
    """See `protocols.Suite`. One profile, `strict`."""

    problems: Mapping[str, Problem]
    only: str = ""

    @property
    def name(self) -> str:
        """`humaneval_x`, with what it was narrowed to behind a dash."""
        return f"humaneval_x-{self.only}" if self.only else "humaneval_x"

    @property
    def version(self) -> str:
        """Of the files."""
        return "1.0"

    @cached_property
    def tasks(self) -> Sequence[Task]:
        """All of them, language by language."""
        return tuple(problem.task for problem in self.problems.values())

    @property
    def profiles(self) -> tuple[str, ...]:
        """Ours."""
        return ONLY_STRICT.names

    @property
    def scores(self) -> tuple[str, ...]:
        """There is one check."""
        return ("all",)

    def prompt(self, task: Task, style: str) -> Prompt:
        """Return what a model is asked.

        Raises:
            RecipeError: there is no such style.
        """
        given = self.problems[task.id].given
        if style == "completion":
            return Prompt(messages=(_user(given),), stop=_STOP[task.language])
        language = languages.get(task.language)
        block = f"```{language.fences[0]}\n{given.strip()}\n"
        if style == "magicoder":
            asked = f"Write a solution to the following problem:\n{block}```"
            beginning = Message(role="assistant", content=block.rstrip("\n"))
            return Prompt(messages=(_user(asked), beginning), stop=("\n```",))
        if style == "chat":
            asked = f"Complete this function in {language.title}. Answer with one code block that holds all of it."
            return Prompt(messages=(_user(f"{asked}\n\n{block}```"),))
        raise RecipeError(f"{self.name}: no style {style!r}; there are completion, chat and magicoder")

    def program_text(self, task: Task, answer: str, style: str) -> Extracted:
        """Return the program in an answer, without the tests; see `text.extraction`."""
        if style == "solution":
            return Extracted(code=answer, rule="whole")
        if style == "completion":
            return continued(answer, self._looked_for(task), _STOP[task.language], whole=True)
        if style == "magicoder":
            given = self.problems[task.id].given
            answer = f"```{languages.get(task.language).fences[0]}\n{given.strip()}{answer}"
        return extract(answer, self._looked_for(task))

    def prepare(self, tasks: Sequence[Task], runner: Runner, folder: Path) -> None:
        """Do nothing: the files have all that is needed."""

    def checks(self, task: Task, code: str, profile: str) -> tuple[tuple[str, Program], ...]:  # noqa: ARG002 - one profile
        """Return the one program that is `code` and its tests."""
        # Of Python it can be proven that the tests came to their end.
        tests = task.tests if task.language == "python" else ""
        program = Program(language=task.language, files=self._files(task, code), tests=tests, group=task.id)
        return (("all", program),)

    def faults(self, profile: str) -> Mapping[str, str]:
        """As in the protocol."""
        return ONLY_STRICT.faults(profile)

    def exceptions(self, profile: str, installed: Callable[[str], str]) -> Mapping[str, str]:
        """As in the protocol."""
        return _exceptions.known("humaneval_x", self.faults(profile), installed)

    def reference(self, task: Task) -> str:
        """Return the canonical program: what is given, and the published continuation."""
        return self.problems[task.id].given + task.reference

    def _looked_for(self, task: Task) -> Wanted:
        return _programs.wanted(task.language, task.entry_point, self.problems[task.id].given, task.tests)

    def _files(self, task: Task, code: str) -> tuple[tuple[str, str], ...]:
        if task.language == "go":
            setup = self.problems[task.id].setup
            text = _programs.go_file(code, task.tests, setup=setup, left_out=(_TESTIFY,))
            return (("main_test.go", text), ("asserts_test.go", _ASSERTS))
        if task.language == "rust":
            return (("main_test.rs", _without_unused_crates(f"{code}\n{task.tests}")),)
        if task.language == "javascript":
            return (("", f"{_LOUD_ASSERT}{code}\n{task.tests}"),)
        if task.language == "python":
            return (("", code),)
        return (("", f"{code}\n{task.tests}"),)


def _user(text: str) -> Message:
    return Message(role="user", content=text)


def _without_unused_crates(text: str) -> str:
    """Return a Rust program without `use` of crates that it does not use: all have the same three at the top."""
    body = re.sub(r"/\*.*?\*/|//[^\n]*", "", _CRATES.sub("", text), flags=re.S)

    def kept(match: re.Match[str]) -> str:
        return match[0] if re.search(_CRATE_SIGNS[match[1]], body) else ""

    return _CRATES.sub(kept, text)
