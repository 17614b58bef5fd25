"""Which evolved instructions and which answers are thrown away, and why: the rules of the published programs.

Sources: `evol-dataset` (whose data are evol-codealpaca, the paper's second stage), `evol-teacher` (Evol-Instruct-Code),
WizardLM's paper, section 3.2, and Self-Instruct's. A rule's name is the reason in the table of what was rejected.
"""

import re
from collections import Counter
from collections.abc import Collection
from typing import Final

from magicoder.errors import Unusable
from magicoder.records import Completion

REWRITE_RULES: Final = (
    "rewrite_few_words",
    "rewrite_short",
    "rewrite_long",
    "rewrite_not_ascii",
    "rewrite_apology",
    "rewrite_stop_words",
    "rewrite_leak",
    "rewrite_no_gain",
)
"""Rules on an evolved instruction, in the order in which they are asked."""
ANSWER_RULES: Final = ("answer_few_words", "answer_stop_words", "answer_apology", "answer_long")
"""Rules on an answer, likewise."""
RULES: Final = REWRITE_RULES + ANSWER_RULES

FEW_WORDS: Final = 3
"""So many words or fewer are no instruction and no answer. Source: evol-teacher."""
SHORT_CHARACTERS: Final = 30
"""Fewer characters are no instruction. Source: evol-dataset."""
LONG_REWRITE_TOKENS: Final = 1000
"""An instruction of so many tokens or more is too long. Source: evol-teacher."""
LONG_TOTAL_TOKENS: Final = 2000
"""Instruction and answer of so many tokens or more together are too long. Source: evol-teacher."""
APOLOGY_WORDS: Final = 80
"""An answer with fewer words that says sorry is a refusal. Source: WizardLM."""
OVERLAP: Final = 0.7
"""ROUGE-L from which on two instructions are the same task. Source: Self-Instruct."""
MOST_TASK_WORDS: Final = 150
"""A new task with more words is an essay. Source: Self-Instruct."""
CHARACTERS_PER_TOKEN: Final = 4
"""For servers that count no tokens."""

_APOLOGIES: Final = ("sorry", "\u62b1\u6b49", "\u5bf9\u4e0d\u8d77")
# evol-dataset's list; the marks around an instruction are evol-teacher's and our own prompts'.
_LEAKS: Final = (
    "given prompt",
    "new prompt",
    "modified prompt",
    "translated prompt",
    "rewritten prompt",
    "created prompt",
    "updated prompt",
    "given test#",
    "rewritten test#",
    "replace a commonly used requirement",
    "if the original problem can be solved with only a",
    "modify the given programming",
    "propose higher time or space complexity",
    "modify the programming test",
)
_LEAKING_START: Final = "modify the"
# A header that a model repeats before an otherwise sound instruction.
_HEADER: Final = re.compile(
    r"\s*[#*]{1,3}\s*(?:created|rewritten|new|evolved|translated)\s+(?:prompt|test|instruction|question)"
    r"\s*(?:[#*]{1,3}\s*:?|:\s*[#*]{0,3}|\n)\s*",
    re.IGNORECASE,
)
_WORD: Final = re.compile(r"[^\W_]+")
_UNSPACED: Final = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")
_STOP_WORDS: Final = frozenset(
    _WORD.findall("""
    a about above after again all also am an and any are as at be because been before being below between both but
    by can could did do does doing down during each few for from further had has have having he her here hers him
    his how i if in into is it its itself just kindly me more most my no nor not now of off on once only or other
    our ours out over own please same she should so some such than that the their theirs them then there these they
    this those through to too under until up very was we were what when where which while who whom why will with
    would you your yours
    """)
)


def without_header(text: str) -> str:
    """Return an evolved instruction without blanks around it and without a header that repeats the prompt's mark."""
    return _HEADER.sub("", text, count=1).strip() if _HEADER.match(text) else text.strip()


def rewrite_problem(
    rewritten: str, given: str, *, tokens: int, rules: Collection[str] = RULES, most_tokens: int = LONG_REWRITE_TOKENS
) -> tuple[str, str]:
    """Return the first of `rules` that throws an evolved instruction away, and a detail; ("", "") if it is sound.

    tokens   of the instruction as the server counts them, 0 where it does not

    The originals differ. A phrase that `given` itself holds is no leak of the prompt, and where `given` begins with
    another script than ASCII its rewrite may too. WizardLM asks an LLM whether anything was gained; here a text gains
    nothing if it has no word, stop words aside, that `given` has not (or not as often).
    """
    lower = rewritten.lower()
    count = word_count(rewritten)
    size = tokens or estimate(rewritten)
    leak = next((leak for leak in _LEAKS if leak in lower and leak not in given.lower()), "")
    if lower.startswith(_LEAKING_START) and not given.lower().startswith(_LEAKING_START):
        leak = leak or _LEAKING_START
    apology = next((word for word in _APOLOGIES if word in lower and word not in given.lower()), "")
    foreign = given[:1].isascii() and not rewritten[:1].isascii()
    broken = {
        "rewrite_few_words": f"{count} words" if count <= FEW_WORDS else "",
        "rewrite_short": f"{len(rewritten)} characters" if len(rewritten) < SHORT_CHARACTERS else "",
        "rewrite_long": f"{size} tokens" if size >= most_tokens else "",
        "rewrite_not_ascii": f"it begins with {rewritten[:1]!r}" if foreign else "",
        "rewrite_apology": f"it says {apology}" if apology else "",
        "rewrite_stop_words": "no word of meaning" if only_stop_words(rewritten) else "",
        "rewrite_leak": f"it holds a piece of the prompt: {leak}" if leak else "",
        "rewrite_no_gain": "" if gained(rewritten, given) else "it says nothing that the given instruction does not",
    }
    return _first(broken, rules)


def answer_problem(
    answer: str, *, total_tokens: int, rules: Collection[str] = RULES, most_tokens: int = LONG_TOTAL_TOKENS
) -> tuple[str, str]:
    """Return the first of `rules` that throws an answer away, and a detail; ("", "") if it is sound.

    total_tokens   of instruction and answer together
    """
    count = word_count(answer)
    apology = next((word for word in _APOLOGIES if word in answer.lower()), "") if count < APOLOGY_WORDS else ""
    broken = {
        "answer_few_words": f"{count} words" if count <= FEW_WORDS else "",
        "answer_stop_words": "no word of meaning" if only_stop_words(answer) else "",
        "answer_apology": f"{count} words, and it says {apology}" if apology else "",
        "answer_long": f"{total_tokens} tokens with its instruction" if total_tokens >= most_tokens else "",
    }
    return _first(broken, rules)


def _first(broken: dict[str, str], rules: Collection[str]) -> tuple[str, str]:
    return next(((rule, detail) for rule, detail in broken.items() if detail and rule in rules), ("", ""))


def estimate(text: str) -> int:
    """Return about how many tokens a text has, for servers that do not say."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def word_count(text: str) -> int:
    """Return the number of words between blanks; of scripts without blanks, two characters make a word."""
    return len(text.split()) + len(_UNSPACED.findall(text)) // 2


def only_stop_words(text: str) -> bool:
    """Whether nothing but stop words and punctuation is in `text`."""
    return all(word in _STOP_WORDS for word in words(text))


def gained(rewritten: str, given: str) -> bool:
    """Whether `rewritten` has a word that `given` has not, or not as often; stop words do not count."""
    more = Counter(words(rewritten))
    more.subtract(Counter(words(given)))
    return any(count > 0 and word not in _STOP_WORDS for word, count in more.items())


def words(text: str) -> list[str]:
    """Return the words of a text without case and punctuation."""
    return _WORD.findall(text.lower())


def task_problem(task: str, others: Collection[str], overlap: float = OVERLAP) -> tuple[str, str]:
    """Return why a new task is thrown away, and a detail; ("", "") if it is sound and like none of `others`.

    Reasons: `task_few_words`, `task_long`, `task_start` (with punctuation or another script) and `task_overlap`.
    Self-Instruct also throws away tasks about images and files, which a program can very well be asked for.
    """
    count = word_count(task)
    if count <= FEW_WORDS:
        return "task_few_words", f"{count} words"
    if count > MOST_TASK_WORDS:
        return "task_long", f"{count} words"
    if not (task[0].isascii() and (task[0].isalnum() or task[0] in "`\"'(")):
        return "task_start", f"it begins with {task[0]!r}"
    own = words(task)
    for other in others:
        found = rouge_l(own, words(other))
        if found >= overlap:
            return "task_overlap", f"ROUGE-L {found:.2f} with: {other[:200]}"
    return "", ""


def rouge_l(a: list[str], b: list[str]) -> float:
    """Return ROUGE-L, the F-measure of the longest common subsequence of words: 0 for nothing shared, 1 for equal."""
    if not a or not b:
        return 0.0
    shared = _common(a, b)
    return 2 * shared / (len(a) + len(b))


def _common(a: list[str], b: list[str]) -> int:
    """Return the length of the longest common subsequence, a row of the table at a time as the bits of a number.

    Method: Hyyrö, "Bit-parallel LCS-length computation revisited" (2004).
    """
    places: dict[str, int] = {}
    for i, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << i
    full = (1 << len(a)) - 1
    row = full
    for word in b:
        hits = row & places.get(word, 0)
        row = ((row + hits) | (row - hits)) & full
    return len(a) - row.bit_count()


def whole_text(completion: Completion, what: str) -> str:
    """Return the text of an answer that the model ended itself; `what` begins the reasons.

    Raises:
        Unusable: `<what>_truncated`, `<what>_filtered` or `<what>_unfinished`, with the text.
    """
    text = completion.texts[0] if completion.texts else ""
    ended = completion.finish_reasons[0] if completion.finish_reasons else ""
    if ended != "stop":
        reason = {"length": "truncated", "content_filter": "filtered"}.get(ended, "unfinished")
        raise Unusable(f"{what}_{reason}", f"the answer ended with {ended or 'no finish reason'}", text)
    return text


def sound_answer(completion: Completion, instruction: str, *, rules: Collection[str], most_tokens: int) -> str:
    """Return the text of a completion that answers `instruction`, without blanks around it.

    Raises:
        Unusable: it was not ended, or one of `rules` throws it away; with the text.
    """
    answer = whole_text(completion, "answer").strip()
    tokens = (completion.prompt_tokens or estimate(instruction)) + (completion.completion_tokens or estimate(answer))
    reason, detail = answer_problem(answer, total_tokens=tokens, rules=rules, most_tokens=most_tokens)
    if reason:
        raise Unusable(reason, detail, answer)
    return answer
