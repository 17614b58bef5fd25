"""Small programming problems with runnable solutions, put together from word lists; for the mock teacher."""

import random
import re
from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ADJECTIVES: Final = _words(
    "amber ancient autumn bright brisk calm careful coastal copper crooked distant dusty eager early faded "
    "floating gentle glass golden hidden hollow humble icy idle iron ivory jade kindly lively lonely lucky marble "
    "mellow misty narrow northern patient polished quiet rapid restless rusty scarlet silent silver sleepy slender "
    "stormy sunny tidy velvet violet wandering western wooden"
)
_PLACES: Final = _words(
    "airport archive aquarium arcade bakery bank brewery bridge cabin canal casino cellar chapel clinic dairy dock "
    "factory ferry forge foundry garage garden glacier greenhouse harbour hospital hotel island kitchen laboratory "
    "library lighthouse market meadow mill mine monastery museum nursery observatory orchard pharmacy quarry railway "
    "refinery reservoir school shipyard stadium station studio tannery theatre tunnel vineyard warehouse workshop zoo"
)
_THINGS: Final = _words(
    "anchors barrels beacons bottles bricks buckets cables candles cards crates crystals dials drums engines feathers "
    "filters flags gauges gears goblets hammers invoices kettles keys ladders lamps lanterns ledgers lenses letters "
    "magnets maps medals meters mirrors needles nets orders packets parcels pebbles pipes probes pumps readings "
    "ribbons ropes samples scales sensors shells signals spools stamps tickets tiles tokens turbines valves wheels"
)
_PEOPLE: Final = _words(
    "accountant apprentice archivist astronomer auditor baker botanist captain caretaker carpenter chemist clerk "
    "conductor curator dispatcher editor engineer farmer forester gardener geologist inspector janitor keeper "
    "librarian mason mechanic merchant miller navigator nurse operator painter pilot planner porter ranger sailor "
    "surveyor tailor teacher warden weaver"
)
_VERBS: Final = _words(
    "assess balance chart collect compare compile condense count decode digest estimate evaluate examine explore "
    "gauge grade inspect measure merge monitor rank rate reconcile reduce resolve review score settle sort study "
    "summarise survey tally trace weigh"
)

# (what the text says, what the code does), with the numbers p and q; x is a number, values the list.
KEEP: Final = (
    ("divisible by {p}", "x % {p} == 0"),
    ("one more than a multiple of {p}", "x % {p} == 1"),
    ("greater than {q}", "x > {q}"),
    ("at most {q}", "x <= {q}"),
    ("made of an odd number of decimal digits, sign aside", "len(str(abs(x))) % 2 == 1"),
    ("with a digit sum above {p}", "sum(map(int, str(abs(x)))) > {p}"),
    ("holding an even number of ones in binary", "abs(x).bit_count() % 2 == 0"),
    ("closer to {q} than to zero", "abs(x - {q}) < abs(x)"),
    ("not ending in the digit of {p} modulo ten", "abs(x) % 10 != {p} % 10"),
)
CHANGE: Final = (
    ("multiplied by {p}", "x * {p}"),
    ("squared, then reduced modulo {q}", "x * x % {q}"),
    ("raised by {q}", "x + {q}"),
    ("replaced by its digit sum", "sum(map(int, str(abs(x))))"),
    ("read backwards, sign dropped", "int(str(abs(x))[::-1])"),
    ("replaced by its distance from {q}", "abs(x - {q})"),
    ("combined with {q} by exclusive or", "x ^ {q}"),
    ("halved, rounding down, then lowered by {p}", "x // 2 - {p}"),
    ("clipped to at most {q}", "min(x, {q})"),
)
COMBINE: Final = (
    ("their sum", "sum(values)", "0"),
    ("their sum modulo {q}", "sum(values) % {q}", "0"),
    ("how many different values there are", "len(set(values))", "0"),
    ("the spread between the largest and the smallest one", "max(values) - min(values) if values else 0", "0"),
    ("the {p} largest ones in falling order", "sorted(values, reverse=True)[:{p}]", "[]"),
    ("their running totals", "[sum(values[: i + 1]) for i in range(len(values))]", "[]"),
    ("every second one, starting with the first", "values[::2]", "[]"),
    ("the sum of those in even positions minus the others", "sum(values[::2]) - sum(values[1::2])", "0"),
    (
        "a dictionary from the remainder modulo {p} to how many have it",
        "{{r: sum(v % {p} == r for v in values) for r in {{v % {p} for v in values}}}}",
        "{{}}",
    ),
    ("how often a value is followed by a larger one", "sum(a < b for a, b in zip(values, values[1:]))", "0"),
)
_LINES: Final = 6
_LINE_LENGTH: Final = 100


_KEPT_WORDS: Final = 40
_MOST_TASKS: Final = 50
# How prompts begin that ask for something else than OSS-Instruct's sections (`strategies/evol_instruct.py`,
# `self_instruct.py`); where the given instruction begins and ends in those that hold one.
_GIVEN: Final = re.compile(r"#Given Prompt#:\n(.*)\n#\w+ Prompt#:\s*\Z", re.DOTALL)
_FRAMES: Final = (
    "Please increase the difficulty of the given programming test question",
    "I want you to act as a Prompt",
    "Translate #Given Prompt#",
)
_COMPARED: Final = re.compile(r"The first instruction:\n(.*)\nThe second instruction:\n(.*)\n[^\n]*\Z", re.DOTALL)
_WANTED: Final = re.compile(r"numbers (\d+) to\s+(\d+)\.")


def reply(rng: random.Random, prompt: str) -> str | None:
    """Return the answer to anything but a request for OSS-Instruct's two sections, None to that one.

    A request to rewrite an instruction gets its first words with another task added, or another task altogether where
    a new one is asked for; a request to compare, whether both are equal; one for tasks, a numbered list; and a task
    gets a code block. The code solves a task of the mock's own, not the one that was asked (one of its own that is
    given back to it, it solves: `_checks.py`).
    """
    if prompt.startswith("Please gain inspiration"):
        return None
    if prompt.startswith(_FRAMES):
        return _rewritten(rng, prompt)
    if compared := _COMPARED.search(prompt):
        return "Equal" if compared[1].split() == compared[2].split() else "Not Equal"
    if prompt.startswith("Below is the beginning of a list of programming tasks") and (
        wanted := _WANTED.search(prompt)
    ):
        numbers = range(int(wanted[1]), min(int(wanted[2]), int(wanted[1]) + _MOST_TASKS) + 1)
        return "".join(f"{number}. {write(rng, '')[0]}\n" for number in numbers)
    return f"This is one way to do it:\n\n```python\n{write(rng, '')[1]}```\n"


def _rewritten(rng: random.Random, prompt: str) -> str:
    found = _GIVEN.search(prompt)
    given = found[1] if found else prompt.split("\n\n", 2)[-1]
    more, _ = write(rng, "")
    if prompt.startswith("I want you to act as a Prompt Creator"):
        return more
    kept = given.split("```")[0].split()[:_KEPT_WORDS]
    return f"{' '.join(kept)}\n\nBeyond that: {more}"


def write(rng: random.Random, prompt: str) -> tuple[str, str]:
    """Return a problem and Python code that solves it; the problem quotes the code found in `prompt`."""
    adjective, other = rng.sample(_ADJECTIVES, 2)
    place, things, person = rng.choice(_PLACES), rng.choice(_THINGS), rng.choice(_PEOPLE)
    numbers = {"p": rng.randrange(2, 20), "q": rng.randrange(20, 400)}
    keep, change, combine = rng.choice(KEEP), rng.choice(CHANGE), rng.choice(COMBINE)
    name = f"{rng.choice(_VERBS)}_{adjective}_{things}"
    kept, changed = keep[0].format(**numbers), change[0].format(**numbers)
    combined = combine[0].format(**numbers)
    sentences = [
        rng.choice(
            [
                f"The {person} of the {adjective} {place} numbers all {other} {things}.",
                f"At the {other} {place}, {adjective} {things} are logged by one {person} as integers.",
                f"Every {adjective} {place} needs a {person} for its {other} {things}.",
                f"A {person} inherited {other} {things} from a {adjective} {place}.",
            ]
        ),
        rng.choice(
            [
                f"Write `{name}({things})`: of the given integers, keep each number {kept}.",
                f"Your function `{name}({things})` gets a list of integers and drops any that is not {kept}.",
                f"Implement `{name}({things})`, in which only integers {kept} matter.",
            ]
        ),
        rng.choice(
            [
                f"Each survivor is then {changed}; return {combined}.",
                f"What remains is {changed}, one by one, and the result is {combined}.",
                f"With every one of those {changed}, in unchanged order, the {person} wants {combined}.",
            ]
        ),
        rng.choice(
            [
                f"No {things} at all give `{combine[2].format()}`.",
                f"For an empty list answer `{combine[2].format()}`.",
                f"A {place} without {things} yields `{combine[2].format()}`.",
            ]
        ),
    ]
    excerpt = _excerpt(prompt)
    if excerpt:
        sentences.append(f"The {adjective} {person} left this note:\n\n```\n{excerpt}\n```")
    doc = f"Return {combined}, over {other} {things} {kept}, {changed}."
    does = (keep[1].format(**numbers), change[1].format(**numbers), combine[1].format(**numbers))
    code = function(name, things, doc, does)
    code += f"\n\nassert {name}([]) == {combine[2].format()}\n"
    return " ".join(sentences), code


def function(name: str, things: str, doc: str, does: tuple[str, str, str]) -> str:
    """Return the code of a function; `does` says what it keeps, makes of each number and returns."""
    keep, change, combine = does
    return (
        f"def {name}({things}):\n"
        f'    """{doc}"""\n'
        f"    values = [{change} for x in {things} if {keep}]\n"
        f"    return {combine}\n"
    )


def _excerpt(prompt: str) -> str:
    """Return the first lines of the last fenced block, or of the text if there is none."""
    blocks = prompt.split("```")
    code = blocks[-2] if len(blocks) >= 3 else prompt
    lines = [line[:_LINE_LENGTH] for line in code.splitlines() if line.strip() and "[" not in line[:1]]
    return "\n".join(lines[:_LINES])
