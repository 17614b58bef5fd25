"""What was asked and answered for a seed, replayed from the journal without asking anybody."""

from dataclasses import dataclass

from magicoder.journal import Journal
from magicoder.journal import key as key_of
from magicoder.recipe import Recipe
from magicoder.records import Completion, Outcome, Prompt, Seed, Verdict
from magicoder.stages.generate import Dialogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One prompt of a dialogue and its answer."""

    prompt: Prompt
    completion: Completion

    @property
    def request(self) -> str:
        """All messages as text."""
        return "\n\n".join(f"[{m.role}]\n{m.content}" for m in self.prompt.messages)

    @property
    def answer(self) -> str:
        """The texts that came back, one under the other."""
        return "\n---\n".join(self.completion.texts)


def conversation(recipe: Recipe, seed: Seed, answers: Journal) -> tuple[list[Turn], Prompt | None]:
    """Return the turns the journal knows, and the first prompt it does not know the answer to, None at the end.

    Nothing is run: programs that the strategy tries out are taken to pass. Where one did not, the turns that mended it
    are not found here, but stand in the sample.
    """
    if recipe.teacher is None or not recipe.strategy.needs_teacher:
        return [], None
    turns: list[Turn] = []
    dialogue = Dialogue(seed, recipe.generate.start(recipe.strategy, seed))
    step = dialogue.advance(None)
    while step is not None:
        if not isinstance(step, Prompt):
            step = dialogue.advance(tuple(Verdict(outcome=Outcome.PASSED) for _ in step))
            continue
        key = key_of(recipe.teacher.model, recipe.teacher.body(step))
        completion = answers.find([key]).get(key)
        if completion is None:
            return turns, step
        turns.append(Turn(prompt=step, completion=completion))
        step = dialogue.advance(completion)
    return turns, None
