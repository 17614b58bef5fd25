"""Evol-Instruct: a teacher makes instructions harder, round by round, and answers them (WizardCoder, evol-dataset)."""

import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from magicoder.errors import RecipeError, Unusable
from magicoder.fingerprint import number
from magicoder.plugins import suggest
from magicoder.records import Completion, Message, Prompt, Rejection, Sample, Seed
from magicoder.text.elimination import (
    LONG_REWRITE_TOKENS,
    LONG_TOTAL_TOKENS,
    RULES,
    estimate,
    rewrite_problem,
    sound_answer,
    whole_text,
    without_header,
)

CODE: Final = {
    "diversion": "Add new constraints and requirements to the original problem, adding approximately 10 additional "
    "words.",
    "increase": "Replace a commonly used requirement in the programming task with a less common and more specific one.",
    "addition": "If the original problem can be solved with only a few logical steps, please add more reasoning steps.",
    "misdirection": "Provide a piece of erroneous code as a reference to increase misdirection.",
    "complexity": "Propose higher time or space complexity requirements, but please refrain from doing so frequently.",
}
"""WizardCoder's five operations (its paper, section 3.1), which evol-dataset has too."""

GENERAL: Final = {
    "deepening": "If #Given Prompt# contains inquiries about certain issues, the depth and breadth of the inquiry can "
    "be increased.",
    "concretizing": "Please replace general concepts with more specific concepts.",
    "reasoning": "If #Given Prompt# can be solved with just a few simple thinking processes, you can rewrite it to "
    "explicitly request multiple-step reasoning.",
}
"""Three of WizardLM's in-depth operations, as evol-dataset has them."""

BREADTH, LANGUAGE, GIVEN = "breadth", "language", "given"
STYLES: Final = {"evol_dataset": (*CODE, *GENERAL, BREADTH, LANGUAGE), "wizardcoder": tuple(CODE)}
"""The operations that each style has."""
_DEFAULTS: Final = {"evol_dataset": (*CODE, *GENERAL, BREADTH), "wizardcoder": tuple(CODE)}

# The frames around the given instruction: those of the code operations are the originals'; the others are our words
# for what WizardLM's ask for.
_WIZARDCODER: Final = (
    "Please increase the difficulty of the given programming test question a bit.\n\n"
    "You can increase the difficulty using, but not limited to, the following methods:\n{method}\n\n",
    "",
)
_EVOL_DATASET: Final = (
    "Please increase the difficulty of the given programming test question abit.\n"
    "You can increase the difficulty using, but not limited to, the following methods:\n{method}\n#Given Prompt#:\n",
    "\n#Created Prompt#:",
)
_REWRITER: Final = (
    "I want you to act as a Prompt Rewriter.\n"
    "Rewrite #Given Prompt# into a more demanding version that well-known AI systems find a bit harder to handle. It "
    "has to stay reasonable: people must be able to understand it and to respond to it.\n"
    "Keep all that is not plain text in it, such as tables and code, and every input that it names.\n"
    "Make it more demanding with this method:\n{method}\n"
    "Be brief: #Rewritten Prompt# may have only 10 to 20 words more than #Given Prompt#. Write #Rewritten Prompt# "
    "alone, without these marks.\n#Given Prompt#:\n",
    "\n#Rewritten Prompt#:",
)
_CREATOR: Final = (
    "I want you to act as a Prompt Creator.\n"
    "Let #Given Prompt# inspire a brand-new prompt. It belongs to the same domain as #Given Prompt# but is even rarer "
    "there, is about as long and as difficult, and has to be reasonable: people must be able to understand it and to "
    "respond to it. Write #Created Prompt# alone, without these marks.\n#Given Prompt#:\n",
    "\n#Created Prompt#:",
)
_TRANSLATOR: Final = (
    "Translate #Given Prompt# into the language with the ISO 639 code {method}. You may twist the task as long as it "
    "stays within programming, and you may raise its requirements on complexity. Leave code as it is. Write "
    "#Translated Prompt# alone, without these marks.\n#Given Prompt#:\n",
    "\n#Translated Prompt#:",
)
_COMPARISON: Final = (
    "Here are two instructions to an AI system. Do they ask for the same thing? They are equal if both of this holds:\n"
    "1. They have the same constraints and requirements.\n"
    "2. They inquire equally deeply and broadly.\n"
    "The first instruction:\n",
    "\nThe second instruction:\n",
    "\nYour judgement, just Equal or Not Equal, without giving a reason:",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvolInstruct:
    """Rounds of two requests: rewrite the last instruction by an operation drawn at random, and answer the result.

    A sample's number is its round, 0 the given instruction; its `parser` is the operation, `given` in round 0.

    style            `evol_dataset`, whose data are evol-codealpaca, or `wizardcoder`; decides frame and operations
    operations       names from the style's; none: all of them, but for `language`, as evol-dataset does
    rounds           how often an instruction is evolved (evol-dataset 5; WizardCoder and evol-teacher 3)
    keep_original    answer the given instruction too, as WizardCoder merges the rounds with their seeds
    after_rejection  `end` the chain where a rewrite or its answer is thrown away, or `skip` the round and evolve the
                     last sound instruction again, as WizardLM does
    check_gain       ask the teacher whether the rewrite gained anything (WizardLM): one more request a round
    rules            of `text.elimination.RULES`; leave one out to switch it off
    temperature, top_p, max_tokens          of rewrites (evol-teacher's; WizardLM's top_p is 0.95)
    answer_temperature, answer_max_tokens   of answers, likewise
    max_rewrite_tokens, max_total_tokens    from which on rewrites, or instruction and answer, are too long
    translate_to     ISO 639 codes of which the operation `language` draws one
    random_seed      from which the requests' seeds are derived
    """

    name: ClassVar[str] = "evol_instruct"
    seed_kind: ClassVar[str] = "instruction"
    needs_teacher: ClassVar[bool] = True

    style: str = "evol_dataset"
    operations: tuple[str, ...] = ()
    rounds: int = 3
    keep_original: bool = True
    after_rejection: str = "end"
    check_gain: bool = False
    rules: tuple[str, ...] = RULES
    temperature: float = 1.0
    top_p: float = 0.9
    max_tokens: int = 2048
    answer_temperature: float = 1.0
    answer_max_tokens: int = 2048
    max_rewrite_tokens: int = LONG_REWRITE_TOKENS
    max_total_tokens: int = LONG_TOTAL_TOKENS
    translate_to: tuple[str, ...] = ("zh", "es", "fr", "de", "ja", "pt", "ru", "ko")
    random_seed: int = 976

    def __post_init__(self) -> None:
        _among("style", [self.style], list(STYLES))
        _among("operations", self.operations, list(STYLES[self.style]))
        _among("after_rejection", [self.after_rejection], ["end", "skip"])
        _among("rules", self.rules, list(RULES))
        least = {"rounds": 0 if self.keep_original else 1, "max_tokens": 1, "answer_max_tokens": 1}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise RecipeError(f"evol_instruct: {name} is {getattr(self, name)}; it must be at least {lowest}")
        if not self.translate_to:
            raise RecipeError("evol_instruct: translate_to is empty; name a language such as es, or leave it out")

    def write(self, seed: Seed, rng: random.Random) -> Generator[Prompt, Completion, Sequence[Sample | Rejection]]:
        """Evolve and answer; each round gives a sample, or a rejection that says why not."""
        made: list[Sample | Rejection] = []
        instruction = seed.text
        for ordinal in range(0 if self.keep_original else 1, self.rounds + 1):
            # Both are drawn in every round, so that no answer moves what is drawn later.
            operation = rng.choice(self.operations or _DEFAULTS[self.style]) if ordinal else GIVEN
            code = rng.choice(self.translate_to)
            evolved = instruction
            try:
                if ordinal:
                    evolved = yield from self._rewrite(seed, ordinal, instruction, operation, code)
                completion = yield self._prompt(seed, f"{ordinal}:answer", evolved, answer=True)
                response = sound_answer(completion, evolved, rules=self.rules, most_tokens=self.max_total_tokens)
            except Unusable as e:
                made.append(
                    Rejection.from_seed(
                        seed,
                        strategy=self.name,
                        ordinal=ordinal,
                        reason=e.reason,
                        detail=f"{operation}: {e.detail}",
                        text=e.text,
                        retryable=e.retryable,
                    )
                )
                if ordinal and self.after_rejection == "end":
                    break
                continue
            instruction = evolved
            made.append(
                Sample.from_seed(
                    seed,
                    strategy=self.name,
                    ordinal=ordinal,
                    instruction=evolved,
                    response=response,
                    parser=operation,
                    completion=completion,
                )
            )
        return made

    def _rewrite(
        self, seed: Seed, ordinal: int, given: str, operation: str, code: str
    ) -> Generator[Prompt, Completion, str]:
        """Return `given` made harder.

        Raises:
            Unusable: the rewrite was not ended, one of the rules throws it away, or it gained nothing.
        """
        request = rewrite_request(self.style, operation, given, code)
        completion = yield self._prompt(seed, f"{ordinal}:rewrite", request)
        text = whole_text(completion, "rewrite")
        evolved = without_header(text)
        reason, detail = rewrite_problem(
            evolved,
            given,
            tokens=completion.completion_tokens or estimate(evolved),
            rules=self._rules(operation),
            most_tokens=self.max_rewrite_tokens,
        )
        if reason:
            raise Unusable(reason, detail, text)
        if self.check_gain:
            first, between, last = _COMPARISON
            question = f"{first}{given}{between}{evolved}{last}"
            verdict = yield self._prompt(seed, f"{ordinal}:gain", question, greedy=True)
            if verdict.texts[0].strip(" \n*'\"").lower().startswith("equal"):
                raise Unusable("rewrite_no_gain", "the teacher calls it equal to the given instruction", text)
        return evolved

    def _rules(self, operation: str) -> tuple[str, ...]:
        """Return the rules for a rewrite: a translation may begin in another script."""
        return tuple(rule for rule in self.rules if operation != LANGUAGE or rule != "rewrite_not_ascii")

    def _prompt(self, seed: Seed, turn: str, text: str, *, answer: bool = False, greedy: bool = False) -> Prompt:
        return Prompt(
            messages=(Message(role="user", content=text),),
            max_tokens=16 if greedy else self.answer_max_tokens if answer else self.max_tokens,
            temperature=0.0 if greedy else self.answer_temperature if answer else self.temperature,
            top_p=1.0 if greedy else self.top_p,
            random_seed=number(f"{self.random_seed}:{seed.id}:{turn}"),
        )


def rewrite_request(style: str, operation: str, given: str, code: str) -> str:
    """Return what the teacher is told, `given` in it character for character.

    evol-dataset fills its templates in with HTML escapes, so that `a < b` reaches its teacher as `a &lt; b`.
    """
    if operation in CODE:
        before, after = _WIZARDCODER if style == "wizardcoder" else _EVOL_DATASET
        method = CODE[operation]
    elif operation in GENERAL:
        (before, after), method = _REWRITER, GENERAL[operation]
    else:
        (before, after), method = (_CREATOR, "") if operation == BREADTH else (_TRANSLATOR, code)
    return before.replace("{method}", method) + given + after


def _among(field: str, values: Sequence[str], known: list[str]) -> None:
    for value in values:
        if value not in known:
            raise RecipeError(
                f"evol_instruct: {field} has no {value!r}{suggest(value, known)}; there are: {', '.join(known)}"
            )


PLUGIN = EvolInstruct
