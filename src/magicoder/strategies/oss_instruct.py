"""OSS-Instruct: a teacher is inspired by a random snippet to write a problem with its solution (Magicoder)."""

import random
import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar

from magicoder.errors import RecipeError, Unusable
from magicoder.fingerprint import number
from magicoder.plugins import suggest
from magicoder.records import Message, Program, Prompt, Sample, Seed
from magicoder.strategies._tests import Trials, tried
from magicoder.text import sections
from magicoder.text.agreement import BANDS

SYSTEM = "You are exceptionally skilled at crafting high-quality programming problems and offering precise solutions."
"""The paper's system prompt (appendix; the original's `generate_data.py`)."""

PROMPT = """\
Please gain inspiration from the following random code snippet to create a high-quality programming problem. \
Present your output in two distinct sections: [Problem Description] and [Solution].

Code snippet for inspiration:
```
{code}
```

Guidelines for each section:

1. [Problem Description]: This should be **completely self-contained**, providing all the contextual information one \
needs to understand and solve the problem. Assume common programming knowledge, but ensure that any specific context, \
variables, or code snippets pertinent to this problem are explicitly included.

2. [Solution]: Offer a comprehensive, **correct** solution that accurately addresses the [Problem Description] you \
provided."""
"""The paper's prompt (figure 4; the original's `data/prompt.txt`). It names no language, and the snippet's is free."""

MARGIN = 10
"""Tokens kept free for what a chat adds around a message (the original's ERROR_MARGIN)."""

_REFUSAL = re.compile(
    r"\b(i['’]?m|i am) (\w+ )?sorry|\b(i|we) (cannot|can['’]t|can not|won['’]t|am (not able|unable))|"
    r"\b(i['’]m|i am) (unable|not able)|^\W*sorry\b|\bas an ai\b|unable to (assist|help|comply)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OssInstruct:
    """The paper's strategy, with the original's values as defaults.

    temperature        0 is greedy; the original's reason is that problem and solution fit together
    max_tokens         most tokens of an answer
    model_max_tokens   tokens a prompt and its answer may have together; a long snippet leaves less for the answer
    parsing            `original` accepts what the original program accepts; `tolerant` reads other headers too
    seeding            `by_id`: the request's seed comes from the snippet's id, so that a corpus that grows changes
                       no request; `by_index`: `random_seed` plus the snippet's index, as the original does
    random_seed        from which the requests' seeds are derived
    tests              `asserts`: a second turn asks for tests of the solution; `none`
    test_count         how many checks are asked for
    solutions          how many solutions of each problem are asked for; with more than one, which needs tests, each is
                       run against the tests of all, and the one that most agree with becomes the response
    solution_temperature   of those after the first, which have to differ
    bands              what the sample's `difficulty` says: `kodcode` or `rstar_coder` (`text/agreement.py`)
    repair             how often a solution that fails is given back with the error; all turns are kept
    """

    name: ClassVar[str] = "oss_instruct"
    seed_kind: ClassVar[str] = "window"
    needs_teacher: ClassVar[bool] = True

    temperature: float = 0.0
    max_tokens: int = 2500
    model_max_tokens: int = 8192
    parsing: str = "tolerant"
    seeding: str = "by_id"
    random_seed: int = 976
    tests: str = "none"
    test_count: int = 8
    solutions: int = 1
    solution_temperature: float = 0.8
    bands: str = "kodcode"
    repair: int = 0

    def __post_init__(self) -> None:
        _one_of("parsing", self.parsing, ["original", "tolerant"])
        _one_of("seeding", self.seeding, ["by_id", "by_index"])
        if self.max_tokens < 1:
            raise RecipeError(f"oss_instruct: max_tokens is {self.max_tokens}; an answer needs at least 1")
        _one_of("tests", self.tests, ["none", "asserts"])
        _one_of("bands", self.bands, list(BANDS))
        for name, least in (("test_count", 1), ("solutions", 1), ("repair", 0)):
            if getattr(self, name) < least:
                raise RecipeError(f"oss_instruct: {name} is {getattr(self, name)}; it must be at least {least}")
        if self.solutions > 1 and self.tests == "none":
            raise RecipeError("oss_instruct: several solutions are told apart by tests; add `tests: asserts`")

    def write(
        self,
        seed: Seed,
        rng: random.Random,  # noqa: ARG002 - part of the protocol
    ) -> Generator[Prompt | tuple[Program, ...], Any, list[Sample]]:
        """Ask once, take the answer apart, ask for tests and more if that is wanted, return one sample.

        Raises:
            Unusable: prompt_too_long, truncated, filtered, unfinished, empty_answer, refused, unparsed, empty_problem
                or empty_solution, with the raw answer.
        """
        completion = yield self.prompt(seed)
        answer = completion.texts[0] if completion.texts else ""
        _check_end(completion.finish_reasons[0] if completion.finish_reasons else "", answer)
        parsed = self.parse(answer)
        sample = Sample.from_seed(
            seed,
            strategy=self.name,
            instruction=parsed.problem,
            response=parsed.solution,
            parser=parsed.parser,
            completion=completion,
        )
        trials = self.trials()
        if trials.are_wanted:
            found = yield from tried(trials, seed, parsed.problem, parsed.solution)
            sample = found.put_into(sample)
        return [sample]

    def trials(self) -> Trials:
        """Return what is asked for beyond problem and solution."""
        return Trials(
            system=SYSTEM,
            tests=self.tests,
            test_count=self.test_count,
            solutions=self.solutions,
            solution_temperature=self.solution_temperature,
            bands=self.bands,
            repair=self.repair,
            max_tokens=self.max_tokens,
            random_seed=self.random_seed,
        )

    def prompt(self, seed: Seed) -> Prompt:
        """Return the request for `seed`.

        Raises:
            Unusable: prompt_too_long.
        """
        user = PROMPT.replace("{code}", seed.text)
        room = self.model_max_tokens - estimate_tokens(user) - MARGIN
        if room <= 0:
            raise Unusable(
                "prompt_too_long",
                f"about {estimate_tokens(user):,} tokens of prompt leave no room in {self.model_max_tokens:,}",
            )
        by_id = number(f"{self.random_seed}:{seed.id}")
        return Prompt(
            messages=(Message(role="system", content=SYSTEM), Message(role="user", content=user)),
            max_tokens=min(self.max_tokens, room),
            temperature=self.temperature,
            random_seed=by_id if self.seeding == "by_id" else self.random_seed + seed.index,
        )

    def parse(self, answer: str) -> sections.Parsed:
        """Return the two sections of an answer.

        Raises:
            Unusable: empty_answer, refused, unparsed, empty_problem or empty_solution.
        """
        if not answer.strip():
            raise Unusable("empty_answer", text=answer)
        parsed = self._sections(answer)
        if parsed is None:
            refused = _REFUSAL.search(answer.lstrip()[:200])
            raise Unusable("refused" if refused else "unparsed", "the two sections were not found", answer)
        for part in ("problem", "solution"):
            text = getattr(parsed, part)
            if not text or (self.parsing == "tolerant" and sections.is_blank(text)):
                raise Unusable(f"empty_{part}", "nothing stands under its header", answer)
        return parsed

    def _sections(self, answer: str) -> sections.Parsed | None:
        if self.parsing == "tolerant":
            return sections.find_sections(answer)
        pair = sections.parse_original(answer)
        return None if pair is None else sections.Parsed(*pair, sections.ORIGINAL)


def estimate_tokens(text: str) -> int:
    """Return about how many tokens `text` has, rather too many than too few: one for each three bytes of UTF-8.

    The original counts with tiktoken, whose vocabulary has to be downloaded. A count that depends on what is installed
    would make requests differ between machines; byte-level vocabularies have 3 to 4 bytes of code a token. The answer's
    limit is the same as the original's for any snippet below about 16,000 bytes.
    """
    return -(-len(text.encode("utf-8", "surrogatepass")) // 3)


def _check_end(finish_reason: str, answer: str) -> None:
    if finish_reason == "stop":
        return
    reason = {"length": "truncated", "content_filter": "filtered"}.get(finish_reason, "unfinished")
    raise Unusable(reason, f"the answer ended with {finish_reason or 'no finish reason'}", answer)


def _one_of(field: str, value: str, known: list[str]) -> None:
    if value not in known:
        raise RecipeError(
            f"oss_instruct: {field} has no {value!r}{suggest(value, known)}; there are: {', '.join(known)}"
        )


PLUGIN = OssInstruct
