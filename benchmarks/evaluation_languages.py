"""Published verdicts on programs of many languages, reproduced: MultiPL-E's recorded runs, and HumanEval-X's solutions.

    python benchmarks/evaluation_languages.py DATA recorded [LANGUAGE…]    whole programs with a recorded verdict each
    python benchmarks/evaluation_languages.py DATA chat [LANGUAGE…]        chat answers through extraction, pass@1 each
    python benchmarks/evaluation_languages.py DATA canonical [LANGUAGE…]   HumanEval-X: every canonical solution
    python benchmarks/evaluation_languages.py DATA answers [LANGUAGE…]     the model answers in MultiPL-E's own files

DATA is the folder with `benchmarks` and `recorded_completions`. `--profile P` judges as another harness does,
`--cache F` keeps verdicts. Every difference is named.
"""

import argparse
import gzip
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from magicoder.benchmarks._multipl_e_files import published
from magicoder.benchmarks.humaneval_x import LANGUAGES as X_LANGUAGES
from magicoder.benchmarks.humaneval_x import HumanEvalX
from magicoder.benchmarks.multipl_e import LANGUAGES, MultiPlE
from magicoder.protocols import Runner, Suite
from magicoder.records import Answer, Outcome, Task, Verdict
from magicoder.sandboxes.cells import Cells

RECORDED = Path("recorded_completions/qwen25coder_1.5b-base/multipl-e")
CHAT = Path("recorded_completions/qwen2_chat_multipl_e")


def main() -> None:
    """Run one of the comparisons and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("what", choices=("recorded", "chat", "canonical", "answers"))
    parser.add_argument("languages", nargs="*")
    parser.add_argument("--profile", default="strict")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    with Cells().open(workers=chosen.workers, cache=chosen.cache) as runner:
        print(runner.isolation)
        if chosen.what == "recorded":
            recorded(
                runner, chosen.data, chosen.languages or ["cpp", "cs", "java", "js", "php", "sh", "ts"], chosen.profile
            )
        elif chosen.what == "chat":
            everything = ["cpp", "cs", "java", "js", "php", "python", "sh", "ts"]
            chat(runner, chosen.data, chosen.languages or everything, chosen.profile)
        elif chosen.what == "answers":
            answers(runner, chosen.data, chosen.languages or list(LANGUAGES))
        else:
            canonical(runner, chosen.data, chosen.languages or list(X_LANGUAGES))


def recorded(runner: Runner, data: Path, languages: Sequence[str], profile: str) -> None:
    """Compare the verdict on each recorded program with the published one."""
    same = total = 0
    for short in languages:
        suite = MultiPlE().suite(str(data), only=f"humaneval-{short}")
        found = list(published(data / RECORDED / f"humaneval-{short}-details.json.gz"))
        verdicts = judged(runner, suite, [p.answer for p in found], profile)
        differing = [(p, v) for p, v in zip(found, verdicts, strict=True) if p.passed != (v.outcome is Outcome.PASSED)]
        ours = sum(v.outcome is Outcome.PASSED for v in verdicts)
        print(
            f"{short}: {len(found)} programs, published {sum(p.passed or False for p in found)}, ours {ours},"
            f" different {len(differing)}"
        )
        for p, v in differing:
            print(f"    {p.answer.task_id}: published {p.passed}, ours {v.outcome}: {v.detail[:150]}")
        same, total = same + len(found) - len(differing), total + len(found)
    print(f"equal: {same} of {total}")


def chat(runner: Runner, data: Path, languages: Sequence[str], profile: str) -> None:
    """Compare pass@1 of chat answers through extraction with the published figure."""
    for short in languages:
        shown = json.loads((data / CHAT / f"results_{short}.jsonl").read_text())["pass@1"]
        with gzip.open(data / CHAT / f"generations_{short}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        if short == "python":
            suite: Suite = HumanEvalX().suite(str(data), only="python")
            said = [Answer(task_id=row["task_id"], text=row["generation"], style="chat") for row in rows]
        else:
            suite = MultiPlE().suite(str(data), only=f"humaneval-{short}")
            said = [
                Answer(task_id=f"humaneval-{short}/{row['task_id']}", text=row["generation"], style="chat")
                for row in rows
            ]
        tasks = {task.id: task for task in suite.tasks}
        rules = Counter(suite.program_text(tasks[a.task_id], a.text, a.style).rule for a in said)
        verdicts = judged(runner, suite, said, profile)
        ours = sum(v.outcome is Outcome.PASSED for v in verdicts)
        print(
            f"{short}: published {shown * len(said):.0f}/{len(said)} = {100 * shown:.1f}, ours {ours}/{len(said)} ="
            f" {100 * ours / len(said):.1f}; {dict(Counter(str(v.outcome) for v in verdicts))}; {dict(rules)}"
        )
        for a, v in zip(said, verdicts, strict=True):
            if v.outcome in (Outcome.COMPILE_ERROR, Outcome.CPU_TIMEOUT, Outcome.WALL_TIMEOUT):
                print(f"    {a.task_id}: {v.outcome}: {v.detail[:150]}")


def answers(runner: Runner, data: Path, languages: Sequence[str]) -> None:
    """Judge the model answers that copies of MultiPL-E's files carry; they are not always right."""
    for split in [f"{origin}-{short}" for origin in ("humaneval", "mbpp") for short in languages]:
        suite = MultiPlE().suite(str(data), only=split)
        with gzip.open(data / "benchmarks" / "multiple" / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        said = [Answer(task_id=f"{split}/{row['name']}", text=row["gpt_solution"], style="chat") for row in rows]
        outcomes = Counter(str(v.outcome) for v in judged(runner, suite, said, "strict"))
        print(f"{split}: {len(said)} answers, {dict(outcomes.most_common())}")


def canonical(runner: Runner, data: Path, languages: Sequence[str]) -> None:
    """Judge HumanEval-X's canonical solutions."""
    for short in languages:
        suite = HumanEvalX().suite(str(data), only=short)
        said = [Answer(task_id=t.id, text=suite.reference(t), style="solution") for t in suite.tasks]
        verdicts = judged(runner, suite, said, "strict")
        ours = sum(v.outcome is Outcome.PASSED for v in verdicts)
        print(f"{short}: {ours} of {len(said)} canonical solutions pass")
        for a, v in zip(said, verdicts, strict=True):
            if v.outcome is not Outcome.PASSED:
                print(f"    {a.task_id}: {v.outcome}: {v.detail[:150]}")


def judged(runner: Runner, suite: Suite, said: Sequence[Answer], profile: str) -> list[Verdict]:
    """Return the verdict on each answer; the suites here have one check."""
    tasks: dict[str, Task] = {task.id: task for task in suite.tasks}

    def programs() -> Iterator:  # type: ignore[type-arg]
        for answer in said:
            task = tasks[answer.task_id]
            code = suite.program_text(task, answer.text, answer.style).code
            yield suite.checks(task, code, profile)[0][1]

    return list(runner.run(programs()))


if __name__ == "__main__":
    main()
