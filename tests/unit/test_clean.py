"""Which samples are taken for repetitions, in which order, and which for broken; resuming changes nothing."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from magicoder.engines.local import Local
from magicoder.errors import RecipeError
from magicoder.records import Sample, Seed
from magicoder.schema import to_table
from magicoder.stages.clean import Clean
from magicoder.store import Artifact, RunFolder, Writer
from magicoder.text import redaction

EXACT = Clean(solution_parses=False)


def sample(name: str, seed: str = "", instruction: str = "", response: str = "", **more: Any) -> Sample:
    """A sample whose texts are its own unless given."""
    origin = Seed(
        id=f"seed of {name}", text=seed or f"seed {name}", language="python", document_id="d", repository="r",
        commit="c", path="p.py", license="MIT", first_line=1, last_line=1, kind="window", index=0, raw_index=0,
    )  # fmt: skip
    made = Sample.from_seed(
        origin, strategy="s", instruction=instruction or f"instruction {name}", response=response or f"response {name}"
    )
    return replace(made, **({"id": name} | more))


def artifact(folder: Path, parts: Sequence[Sequence[Sample]]) -> Artifact[Sample]:
    def build(out: Writer[Sample]) -> None:
        for part in parts[out.done :]:
            out.write(list(part), [])

    return RunFolder(folder).publish("input", Sample, settings=None, inputs=[], build=build)[0]


def cleaned(folder: Path, given: Artifact[Sample], clean: Clean = EXACT, workers: int = 1) -> Artifact[Sample]:
    return RunFolder(folder).publish(
        f"output{workers}",
        Sample,
        settings=clean,
        inputs=[],
        build=lambda out: clean.run(given, out, Local(workers=workers)),
    )[0]


def reasons(folder: Path, *samples: Sample, clean: Clean = EXACT) -> dict[str, str]:
    return {r.id: r.reason for r in cleaned(folder, artifact(folder, [samples]), clean).rejections()}


# ---- exact duplicates


def test_equal_texts_are_duplicates_whatever_their_white_space(tmp_path: Path) -> None:
    assert reasons(
        tmp_path,
        sample("a", seed="x = 1\n", instruction="Do it.", response="Like this."),
        sample("b", seed="x=1"),
        sample("c", instruction=" Do\r\n\tit. "),
        sample("d", response="Likethis\u2003."),
        sample("e", seed="X = 1"),
    ) == {"b": "duplicate_seed", "c": "duplicate_instruction", "d": "duplicate_response"}


def test_of_several_duplicate_texts_seed_then_instruction_is_reported(tmp_path: Path) -> None:
    first = sample("a", seed="s", instruction="i", response="r")
    assert reasons(
        tmp_path,
        first,
        sample("b", seed="s", instruction="i", response="r"),
        sample("c", instruction="i", response="r"),
    ) == {"b": "duplicate_seed", "c": "duplicate_instruction"}


def test_only_kept_samples_count_as_seen(tmp_path: Path) -> None:
    """b falls because of a, so c, which repeats b alone, stays: as in the original."""
    a, b = sample("a", seed="s"), sample("b", seed="s", instruction="i")
    assert reasons(tmp_path, a, b, sample("c", instruction="i")) == {"b": "duplicate_seed"}


def test_samples_of_one_seed_do_not_repeat_each_other(tmp_path: Path) -> None:
    a, b = sample("a", seed="s", seed_id="same"), sample("b", seed="s", seed_id="same")
    assert reasons(tmp_path, a, sample("other"), b, sample("c", seed="s")) == {"c": "duplicate_seed"}


@pytest.mark.parametrize("switch", ["duplicate_seeds", "duplicate_instructions", "duplicate_responses"])
def test_each_rule_can_be_switched_off(tmp_path: Path, switch: str) -> None:
    samples = [
        sample("a", seed="s", instruction="i", response="r"),
        sample("b", seed="s"),
        sample("c", instruction="i"),
        sample("d", response="r"),
    ]
    found = reasons(tmp_path, *samples, clean=replace(EXACT, **{switch: False}))
    assert sorted(found.values()) == sorted({f"{r[:-1]}" for r in SWITCHES} - {switch[:-1]})


SWITCHES = ("duplicate_seeds", "duplicate_instructions", "duplicate_responses")


def many(count: int) -> list[Sample]:
    rng = random.Random(7)
    texts = [str(rng.randrange(count)) for _ in range(3 * count)]
    return [sample(f"n{i}", *(f"{k}{texts[3 * i + k]}" for k in range(3))) for i in range(count)]


def the_original(samples: list[Sample], random_seed: int | None) -> tuple[set[str], dict[str, str]]:
    """Its rule, from its description: shuffle, then keep what repeats nothing that was kept."""
    order = list(samples)
    if random_seed is not None:
        random.seed(random_seed)
        random.shuffle(order)
    seen: tuple[set[str], ...] = (set(), set(), set())
    kept, why = set(), {}
    for s in order:
        keys = ["".join(text.split()) for text in (s.seed, s.instruction, s.response)]
        repeated = [n for n, (key, known) in enumerate(zip(keys, seen, strict=True)) if key in known]
        if repeated:
            why[s.id] = ("duplicate_seed", "duplicate_instruction", "duplicate_response")[repeated[0]]
            continue
        kept.add(s.id)
        for key, known in zip(keys, seen, strict=True):
            known.add(key)
    return kept, why


@pytest.mark.parametrize("random_seed", [None, 666, 0])
def test_what_is_kept_is_what_the_original_keeps_in_its_order(tmp_path: Path, random_seed: int | None) -> None:
    samples = many(300)
    given = artifact(tmp_path, [samples[i : i + 70] for i in range(0, 300, 70)])
    found = cleaned(tmp_path, given, replace(EXACT, shuffle_seed=random_seed))
    kept, why = the_original(samples, random_seed)
    assert 50 < len(kept) < 250
    assert {s.id for s in found} == kept
    assert {r.id: r.reason for r in found.rejections()} == why
    assert [s.id for s in found] == [s.id for s in samples if s.id in kept]  # published in the order they came in


# ---- code


def fenced(name: str, code: str) -> str:
    return f"Here it is:\n\n```{name}\n{code}\n```\nThat is all."


@pytest.mark.parametrize(
    ("language", "response", "reason"),
    [
        ("python", fenced("python", "def f(:"), "does_not_parse"),
        ("python", fenced("python", "def f(): pass"), ""),
        ("python", fenced("", "def f(:"), "does_not_parse"),
        ("rust", fenced("", "fn f() -> i32 { 1 }"), ""),
        ("python", fenced("java", "int f() { return 1 }"), "does_not_parse"),
        ("python", fenced("java", "int f() { return 1; }"), ""),  # a method alone, as it stands in a class
        ("python", fenced("text", "anything ] goes"), ""),
        ("python", fenced("python", "print(1)") + fenced("", "1 ) output"), ""),
        ("python", fenced("python", "print(1)") + fenced("cpp", "int main( {"), "does_not_parse"),
        ("klingon", fenced("", "whatever ("), ""),
        ("python", "No code at all.", ""),
        ("python", fenced("python", "x = (1,\n     2"), "does_not_parse"),
    ],
)
def test_code_blocks_must_parse_in_their_language(tmp_path: Path, language: str, response: str, reason: str) -> None:
    found = reasons(tmp_path, sample("a", response=response, language=language), clean=Clean())
    assert found == ({"a": reason} if reason else {})


def test_the_block_that_does_not_parse_is_named(tmp_path: Path) -> None:
    given = artifact(tmp_path, [[sample("a", response=fenced("python", "x = 1") + "\n" + fenced("c++", "int ("))]])
    (rejection,) = cleaned(tmp_path, given, Clean()).rejections()
    assert rejection.detail == "the C++ block at line 9 of the response"


@pytest.mark.parametrize(
    ("language", "instruction", "response", "reason"),
    [
        ("python", 'def f(x):\n    """Add one."""', "\n    return x + 1", ""),
        ("python", 'def f(x):\n    """Add one."""', "\n    return x +", "does_not_parse"),
        ("python", "Write f, which adds one.", "```python\ndef f(x):\n    return x + 1\n```", ""),
        ("shell", "Write f, which adds one.", "```sh\nf() { echo $(($1 + 1))\n```", "does_not_parse"),
        ("java", "/** Adds one. */\npublic int f(int x) {", " return x + 1;\n}", ""),
        ("java", "/** Adds one. */\npublic int f(int x) {", " return x + 1;", "does_not_parse"),
    ],
)
def test_comment_pairs_are_parsed_as_the_function_they_were(
    tmp_path: Path, language: str, instruction: str, response: str, reason: str
) -> None:
    pair = sample("a", instruction=instruction, response=response, language=language, strategy="comment_pairs")
    assert reasons(tmp_path, pair, clean=Clean(require_code=True)) == ({"a": reason} if reason else {})


def test_samples_without_code_are_rejected_only_if_code_is_required(tmp_path: Path) -> None:
    bare = sample("a", response="Use `sorted`.\n\n```python\n\n```")
    assert reasons(tmp_path, bare, clean=Clean()) == {}
    (tmp_path / "x").mkdir()
    assert reasons(tmp_path / "x", bare, clean=Clean(require_code=True)) == {"a": "no_code"}


def test_copying_the_problem_is_found_only_if_asked(tmp_path: Path) -> None:
    copied = sample("a", instruction=fenced("py", "x  =  1"), response="Sure:\n" + fenced("python", "x = 1"))
    assert reasons(tmp_path, copied, clean=Clean()) == {}
    (tmp_path / "x").mkdir()
    assert reasons(tmp_path / "x", copied, clean=Clean(copied_from_problem=True)) == {"a": "copied_from_problem"}


def test_a_broken_sample_does_not_take_its_repetitions_with_it(tmp_path: Path) -> None:
    broken, whole = fenced("python", "def f(:"), fenced("python", "def f(): pass")
    samples = [sample("a", seed="s", response=broken), sample("b", seed="s", response=whole)]
    assert reasons(tmp_path, *samples, clean=Clean()) == {"a": "does_not_parse"}
    (tmp_path / "x").mkdir()
    assert reasons(tmp_path / "x", *samples, clean=Clean(shuffle_seed=666)) == {"a": "does_not_parse"}


def test_every_recorded_answer_of_a_teacher_parses(shared_data: Path, tmp_path: Path) -> None:
    samples = []
    for line in (shared_data / "recorded_teacher/oss_instruct.jsonl").read_text().split("\n"):
        if line:
            row = json.loads(line)
            problem, _, solution = row["response"].partition("[Solution]")
            samples.append(sample(row["id"], row["seed"], problem, solution, language=row["lang"]))
    assert len(samples) == 120
    assert reasons(tmp_path, *samples, clean=Clean(require_code=True)) == {}


# ---- workers, resuming


def mixed() -> list[list[Sample]]:
    samples = many(120)
    samples[7] = sample("broken", response=fenced("python", "x = ("))
    return [samples[i : i + 15] for i in range(0, 120, 15)]


@pytest.mark.parametrize("clean", [Clean(), Clean(shuffle_seed=666)])
def test_two_workers_give_the_same_bytes_as_one(tmp_path: Path, clean: Clean) -> None:
    given = artifact(tmp_path, mixed())
    one, two = (cleaned(tmp_path, given, clean, workers=n) for n in (1, 2))
    assert one.manifest.content == two.manifest.content
    assert [replace(r, stage="") for r in one.rejections()] == [replace(r, stage="") for r in two.rejections()]
    found = {r.reason for r in one.rejections()}
    assert found == {
        "duplicate_seed",
        "duplicate_instruction",
        "duplicate_response",
        "does_not_parse",
    }


class Killed(Exception):
    pass


class Killer:
    def __init__(self, after: int) -> None:
        self.left = after

    def expect(self, total: int | None, unit: str) -> None: ...

    def tick(self, count: int, note: str = "") -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.mark.parametrize("clean", [Clean(), Clean(shuffle_seed=666)])
@pytest.mark.parametrize("after", [1, 5])
def test_a_killed_run_goes_on_as_if_it_had_not_been_killed(tmp_path: Path, clean: Clean, after: int) -> None:
    given = artifact(tmp_path, mixed())
    whole = cleaned(tmp_path, given, clean)

    def publish(progress: Any) -> Artifact[Sample]:
        return RunFolder(tmp_path).publish(
            "killed",
            Sample,
            settings=clean,
            inputs=[],
            build=lambda out: clean.run(given, out, Local()),
            progress=progress,
        )[0]

    with pytest.raises(Killed):
        publish(Killer(after))
    assert len(list((tmp_path / "killed.building").glob("part-*"))) == after
    resumed = publish(None)
    assert resumed.manifest.content == whole.manifest.content
    assert [replace(r, stage="") for r in resumed.rejections()] == [replace(r, stage="") for r in whole.rejections()]
    assert sorted(p.name for p in resumed.folder.iterdir()) == sorted(p.name for p in whole.folder.iterdir())


# ---- what answers may be, each rule a switch

DONE = "Here:\n\n```python\ndef area(w, h):\n    return w * h\n```\n"


def faults(folder: Path, *samples: Sample, **switches: Any) -> dict[str, tuple[str, str]]:
    found = cleaned(folder, artifact(folder, [samples]), replace(EXACT, **switches))
    return {r.id: (r.reason, r.detail) for r in found.rejections()}


@pytest.mark.parametrize(
    ("switches", "response", "fault"),
    [
        ({"refused": True}, "I'm sorry, but I can't do that.", ("refused", "")),
        ({"prose_only": True}, "Use a loop, and add as you go.", ("prose_only", "")),
        ({"several_fences": True}, DONE + "\n```sh\npython a.py\n```\n", ("several_fences", "2 code blocks")),
        ({"wrong_language": True}, "```cpp\nint a;\n```\n", ("wrong_language", "cpp for python")),
        ({"unfinished": True}, "```python\ndef f():\n    pass\n```\n", ("unfinished", "f has no body in line 2")),
        ({"response_words": (1, 5)}, DONE, ("too_long", "10 words of response")),
        ({"response_characters": (500, 900)}, DONE, ("too_short", f"{len(DONE)} characters of response")),
        ({"code_lines": (3, 100)}, DONE, ("too_short", "2 lines of code")),
        ({"words_before_code": (0, 2)}, "One two three.\n" + DONE, ("too_long", "4 words before the code")),
        ({"instruction_words": (10, 1000)}, DONE, ("too_short", "2 words of instruction")),
        ({"instruction_characters": (1, 3)}, DONE, ("too_long", "13 characters of instruction")),
    ],
)
def test_each_rule_rejects_its_case_when_it_is_on_and_only_then(
    tmp_path: Path, switches: dict[str, Any], response: str, fault: tuple[str, str]
) -> None:
    bad = sample("a", response=response)
    assert faults(tmp_path, bad, **switches) == {"a": fault}
    assert faults(tmp_path / "off", bad) == {}


def test_a_finished_answer_passes_all_rules(tmp_path: Path) -> None:
    everything = Clean(
        refused=True, prose_only=True, require_code=True, several_fences=True, copied_from_problem=True,
        wrong_language=True, unfinished=True, code_lines=(1, 100), words_before_code=(0, 200),
        instruction_words=(1, 200), response_characters=(1, 10_000), secrets="reject", personal_data="reject",
    )  # fmt: skip
    assert reasons(tmp_path, sample("a", response=DONE), clean=everything) == {}


def test_the_first_of_several_faults_is_reported(tmp_path: Path) -> None:
    bad = sample("a", response="I'm sorry, I can't. ```\n\n```java\nx ( TODO\n```\n```java\n// TODO\n```\n")
    on: dict[str, Any] = {"refused": True, "several_fences": True, "unfinished": True, "solution_parses": True}
    assert faults(tmp_path / "1", bad, response_words=(50, 99), **on)["a"][0] == "too_short"
    for n, (switch, reason) in enumerate(
        {"refused": "refused", "several_fences": "several_fences", "unfinished": "unfinished"}.items()
    ):
        assert faults(tmp_path / f"x{n}", bad, **on)["a"][0] == reason
        on[switch] = False
    assert faults(tmp_path / "2", bad, **on)["a"][0] == "does_not_parse"


def test_the_wrong_language_needs_a_seed_in_a_known_one_and_a_named_block(tmp_path: Path) -> None:
    bash_too = sample("a", response=DONE + "\n```sh\npython area.py\n```\n")
    unnamed = sample("b", response="```\nint a;\n```\n")
    unknown = sample("c", response="```cpp\nint c;\n```\n", language="cobol")
    assert faults(tmp_path, bash_too, unnamed, unknown, wrong_language=True) == {}


@pytest.mark.parametrize("limits", [(5,), (5, 1), (-1, 3), (1, 2, 3)])
def test_limits_are_the_least_and_the_most(limits: tuple[int, ...]) -> None:
    with pytest.raises(RecipeError, match=r"clean\.code_lines is .*; it is the least and the most"):
        Clean(code_lines=limits)


# ---- secrets in what came back

KEY = "ghp_" + "9aQ4mZk7LxT2vB8nWc5RyD3fHj6GsP1uEoKi"


def test_secrets_in_answers_are_replaced_alike_in_all_texts(tmp_path: Path) -> None:
    given = sample("a", seed="# ann@x-y.org", instruction="Mail ann@x-y.org!", response=f'call("{KEY}")  # ann@x-y.org')
    (kept,) = cleaned(tmp_path, artifact(tmp_path, [[given, sample("b")]])).read_part(0)[:1]
    assert (kept.seed, kept.instruction, kept.response) == (
        "# user1@example.com",
        "Mail user1@example.com!",
        'call("<KEY>")  # user1@example.com',
    )
    assert replace(kept, seed=given.seed, instruction=given.instruction, response=given.response) == given


def test_secrets_may_reject_and_may_stay(tmp_path: Path) -> None:
    bad = sample("a", response=f"x\n{KEY}")
    found = cleaned(tmp_path, artifact(tmp_path, [[bad]]), replace(EXACT, secrets="reject"))
    assert [(r.reason, r.detail, r.text) for r in found.rejections()] == [
        ("secret", "github_token in line 2 of the response", "")
    ]
    as_it_was = replace(EXACT, secrets="keep", personal_data="keep")
    assert cleaned(tmp_path / "k", artifact(tmp_path / "k", [[bad]]), as_it_was).read_part(0) == [bad]


@pytest.mark.parametrize("shuffle_seed", [None, 666])
def test_answers_that_differ_in_a_secret_alone_are_duplicates(tmp_path: Path, shuffle_seed: int | None) -> None:
    a, b = (sample(n, response=f"Write to {n}@x-y.org.") for n in ("ann", "bob"))
    found = cleaned(tmp_path, artifact(tmp_path, [[a, b]]), replace(EXACT, shuffle_seed=shuffle_seed))
    assert [r.reason for r in found.rejections()] == ["duplicate_response"]


def test_redacting_resumes_as_if_it_had_gone_on(tmp_path: Path) -> None:
    parts = [[sample(f"s{p}{i}", response=f"{i} m{i % 3}@x-y.org {p % 2}") for i in range(4)] for p in range(4)]
    given = artifact(tmp_path, parts)
    whole, again = Writer(tmp_path / "w", "cleaned", Sample), Writer(tmp_path / "r", "cleaned", Sample)
    Clean().run(given, whole, Local())
    for i in range(2):
        metadata = {redaction.KEY: pq.read_schema(whole.part_path(i)).metadata[redaction.KEY]}
        again.write_table(to_table(Sample, whole.read_part(i)), whole.rejections_of_part(i), metadata=metadata)
    Clean().run(given, again, Local())
    assert again._facts == whole._facts
    counted = whole._facts["redacted"]
    assert counted["records"] == counted["kinds"]["email"] == sum(len(whole.read_part(i)) for i in range(4)) > 0
    assert [again.read_part(i) for i in range(4)] == [whole.read_part(i) for i in range(4)]
    assert [again.rejections_of_part(i) for i in range(4)] == [whole.rejections_of_part(i) for i in range(4)]
