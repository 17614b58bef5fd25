"""A training run: its folder, its stages one after the other, and what a stage that is done need not do again.

<run>/training.yaml                    the recipe, every field written out
<run>/examples/<stage>/                rows as tokens, made once
<run>/stages/<stage>/stage.json        the key of all that decides the stage, and what that is
<run>/stages/<stage>/metrics.jsonl     a line a step
<run>/stages/<stage>/checkpoints/      the last few; a killed run goes on from the newest
<run>/stages/<stage>/model/            the stage's result, where the next one starts
<run>/stages/<stage>/done.json         written last
"""

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from magicoder.errors import Interrupted, RecipeError, StoreError
from magicoder.fingerprint import canonical, digest, digest_bytes, digest_files, number
from magicoder.locks import in_use
from magicoder.store import Progress, explained, write_atomic
from magicoder.training import data, encoding
from magicoder.training.encoded import Encoded
from magicoder.training.settings import Base, Stage, Training

DONE: Final = "done.json"
RECIPE: Final = "training.yaml"
_STAGE: Final = "stage.json"
_READ: Final = "see how columns are read in docs/training-data.md"
_DATASET: Final = "run.json"
"""What a folder has in which a dataset was made."""


class Watch(Protocol):
    """Who is told how far it is."""

    def stage(self, name: str) -> Progress:
        """Start to show a stage."""
        ...

    def warn(self, text: str) -> None:
        """Say something on a line of its own."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A stage with its examples.

    encoded  all of them
    learned  those to learn from
    aside    those held out
    folder   of the stage
    key      of all that decides its result, the stages before it included
    decides  the same, readable, to say what differs
    """

    stage: Stage
    base: Base
    encoded: Encoded
    learned: Encoded
    aside: Encoded
    folder: Path
    key: str
    decides: dict[str, Any]

    @property
    def facts(self) -> dict[str, Any] | None:
        """What the loop said when it was done; None if the stage's result is not there."""
        try:
            found: dict[str, Any] = orjson.loads((self.folder / DONE).read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None
        return found if any(self.model.rglob("*.safetensors")) else None

    @property
    def model(self) -> Path:
        """The folder of the stage's result."""
        return self.folder / "model"


def prepare(training: Training, folder: Path, watch: Watch, stop: Callable[[], bool] = lambda: False) -> list[Prepared]:
    """Turn the rows of every stage into tokens, where that is not done; nothing is computed yet.

    Raises:
        RecipeError: the base is unknown, data are missing or malformed, no row is left to learn from, an example is
            longer than the model can read.
        StoreError: `folder` has a stage made with other settings (says which), or a dataset.
        Interrupted: `stop()` became true.
    """
    from magicoder.training import models

    if (folder / _DATASET).exists():
        raise StoreError(f"{folder} is the folder of a dataset; give another one with --out")
    positions = models.positions(training.base)
    tokenizer = models.load_tokenizer(training.base)
    base, before, prepared = training.base, _content(training.base), []
    for stage in training.stages:
        encoded = _encoded(training, stage, tokenizer, folder / "examples" / stage.name, watch, stop)
        if positions and encoded.report.longest > positions:
            raise RecipeError(
                f"stage {stage.name} has an example of {encoded.report.longest} tokens, and the model reads "
                f"{positions} (max_position_embeddings); set max_length: {positions}"
            )
        if len(encoded.lengths) <= training.held_out.examples:
            raise RecipeError(
                f"stage {stage.name} has {len(encoded.lengths)} examples, and held_out.examples is "
                f"{training.held_out.examples}: nothing is left to learn from; hold out fewer"
            )
        decides = _deciding(training, stage, encoded, before)
        key = digest(decides)
        learned, aside = _split(encoded, training)
        if len(learned) < training.batches.examples and not training.is_exact:
            watch.warn(
                f"stage {stage.name} has {len(learned):,} examples to learn from, fewer than batches.examples "
                f"({training.batches.examples:,}): a step takes all of them, and an epoch is one step"
            )
        one = Prepared(
            stage=stage,
            base=base,
            encoded=encoded,
            learned=learned,
            aside=aside,
            folder=folder / "stages" / stage.name,
            key=key,
            decides=decides,
        )
        _refuse_other(one)
        prepared.append(one)
        base, before = replace(training.base, model=str(one.model), revision="", random_weights=False), key
    return prepared


def _split(encoded: Encoded, training: Training) -> tuple[Encoded, Encoded]:
    """Return the examples to learn from, and those held out: the ones whose ids have the smallest digests."""
    ids = encoded.ids if training.held_out.examples else []
    order = sorted(range(len(ids)), key=lambda i: number(f"{training.random_seed}:held out:{ids[i]}", 63))
    aside = set(order[: training.held_out.examples])
    return encoded.select([i for i in range(len(encoded)) if i not in aside]), encoded.select(sorted(aside))


@dataclass(frozen=True, slots=True)
class _Stoppable:
    """Progress that ends the work at its next tick once it is to stop."""

    shown: Progress
    stop: Callable[[], bool]

    def expect(self, total: int | None, unit: str) -> None:
        self.shown.expect(total, unit)

    def tick(self, count: int, note: str = "") -> None:
        self.shown.tick(count, note)
        if self.stop():
            raise Interrupted("stopped as asked before anything was trained; run the same command again to go on")


def _encoded(  # noqa: PLR0917 - private
    training: Training, stage: Stage, tokenizer: Any, folder: Path, watch: Watch, stop: Callable[[], bool]
) -> Encoded:
    progress = _Stoppable(watch.stage(f"tokens {stage.name}"), stop)
    encoded = encoding.encode(
        data.conversations(stage),
        tokenizer,
        training.examples,
        stage.max_length,
        folder,
        progress,
        keep_all=training.is_exact,  # the original drops nothing
    )
    report = encoded.report
    why = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in report.dropped.items())
    if not report.kept:
        raise RecipeError(
            f"stage {stage.name}: of {report.rows} rows none is left to learn from ({why or 'no rows'}); "
            + (f"raise max_length ({stage.max_length})" if "nothing_learned_after_cutting" in report.dropped else _READ)
        )
    if report.dropped:
        watch.warn(f"stage {stage.name}: {sum(report.dropped.values()):,} of {report.rows:,} rows are left out ({why})")
    if report.truncated:
        watch.warn(
            f"stage {stage.name}: {report.truncated:,} of {report.kept:,} examples are longer than {stage.max_length} "
            "tokens and were cut, so that they do not end with the end-of-text token"
        )
    if report.special_in_text:
        watch.warn(
            f"stage {stage.name}: {report.special_in_text:,} rows hold a special token in their own text, such as an "
            "end of text, which becomes that token"
        )
    return encoded


def _deciding(training: Training, stage: Stage, encoded: Encoded, before: str) -> dict[str, Any]:
    """Return what decides a stage's weights, but for rounding.

    Where data lie, what things are called, how a step is cut into micro-batches and how often the loss is looked at do
    not: who runs out of memory may take smaller micro-batches and go on. In `paper-exact` micro-batches weigh.
    """
    own = {name: value for name, value in canonical(stage).items() if name in ("epochs", "max_length", "max_examples")}
    batches = canonical(training.batches)
    kept = ("examples", "micro_batch_rows", "processes") if training.is_exact else ("examples",)
    return {
        **{name: canonical(getattr(training, name)) for name in ("mode", "random_seed", "examples", "adapter")},
        "batches": {name: batches[name] for name in kept},
        "optimization": canonical(training.optimization_of(stage)),
        "precision": {**canonical(training.precision), "master": training.has_master},
        "held_out": {"examples": training.held_out.examples},
        "stage": own,
        "base": before,
        "examples_key": encoded.key,
        **({} if training.backend == "own" else {"backend": training.backend}),
    }


def _content(base: Base) -> str:
    """Return what tells this base from others: the digest of a folder's files, or name and revision on the hub."""
    folder = Path(base.model).expanduser()
    if not folder.is_dir():
        return digest({"model": base.model, "revision": base.revision, "random_weights": base.random_weights})
    endings = (".json",) if base.random_weights else (".json", ".safetensors", ".bin")
    with explained(folder):
        files = sorted(f for f in folder.iterdir() if f.suffix in endings and f.is_file())
        states = [f.stat() for f in files]
        found = digest_files(tuple((str(f), s.st_size, s.st_mtime_ns) for f, s in zip(files, states, strict=True)))
    return digest({"files": found, "random_weights": base.random_weights})


def _refuse_other(one: Prepared) -> None:
    """See that what lies in the stage's folder was made with these settings.

    Raises:
        StoreError: it was not; says what differs.
    """
    path = one.folder / _STAGE
    if not path.exists():
        return
    try:
        found = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as e:
        raise StoreError(f"{path} is damaged ({e}); delete {one.folder} to train the stage anew") from e
    if found["key"] == one.key:
        return
    changed = ", ".join(_changed(found["decides"], one.decides)) or "something"
    raise StoreError(
        f"{one.folder} was trained with other settings ({changed}); undo the change, give another --out, or delete "
        "that folder to train the stage anew"
    )


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], at: str = "") -> Iterator[str]:
    for name in sorted(old.keys() | new.keys() - {""}):
        was, now = old.get(name), new.get(name)
        if was == now:
            continue
        if isinstance(was, dict) and isinstance(now, dict):
            yield from _changed(was, now, f"{at}{name}.")
        elif name in ("base", "examples_key"):
            yield "the base model or the stage before" if name == "base" else "the data or how they become tokens"
        else:
            yield f"{at}{name}: {was!r} then, {now!r} now"


def train(training: Training, folder: Path, watch: Watch, stop: Callable[[], bool], *, recipe: str) -> dict[str, Any]:
    """Make the run in `folder`, or go on with it, and return its facts: `model` and `stages`, one mapping each.

    Every process of the run calls it; the first one writes. `recipe` is `training` as it is written down once nothing
    speaks against it, so that a run that is killed says what it was; one that goes on with another machine, its own.

    Raises:
        RecipeError: a package is missing, or as `prepare`.
        StoreError: see `prepare`.
        Interrupted: `stop()` became true; a checkpoint was written first.
        MagicoderError: see `loop.train`.
    """
    from magicoder.training import parallel

    _refuse_missing(training)
    _quiet()
    with parallel.start(training.machine) as world, ExitStack() as stack:
        if world.is_main:
            with explained(folder):
                stack.enter_context(in_use(folder))
        first = prepare(training, folder, watch, stop) if world.is_main else None
        world.barrier()
        prepared = first or prepare(training, folder, watch)  # the others find the tokens made
        aside = {one.stage.name: one.aside for one in prepared}
        if world.is_main:
            with explained(folder):
                write_atomic(folder / RECIPE, recipe.encode())
            _warn_of_learned(prepared, aside, watch)
        for one in prepared:
            if world.share(one.facts is None):
                if world.any(stop()):
                    raise Interrupted(
                        f"stopped as asked before stage {one.stage.name}; run the same command again to go on"
                    )
                _train(training, one, world, watch, aside=aside, stop=stop)
            world.barrier()
        return {"model": str(prepared[-1].model), "stages": [_facts(one) for one in prepared]}


def _refuse_missing(training: Training) -> None:
    """See that what another backend than ours needs is installed, before anything is computed."""
    needed = () if training.backend == "own" else ("trl", "datasets", "accelerate")
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise RecipeError(
            f"backend: trl needs the packages {', '.join(missing)}; pip install 'magicoder[trl]', or set backend: own"
        )
    if needed and training.optimization.optimizer == "adamw_8bit" and not importlib.util.find_spec("bitsandbytes"):
        raise RecipeError("optimization.optimizer: adamw_8bit needs bitsandbytes: pip install bitsandbytes")


def _warn_of_learned(prepared: Sequence[Prepared], aside: Mapping[str, Encoded], watch: Watch) -> None:
    """Say so where what is held out is learned all the same, because the same tokens stand in another example."""
    held = {_tokens(encoded, i): name for name, encoded in aside.items() for i in range(len(encoded))}
    for one in prepared if held else ():
        same = (_tokens(one.learned, i) for i in range(len(one.learned)))
        twice = Counter(held[tokens] for tokens in same if tokens in held)
        for name, count in sorted(twice.items()):
            watch.warn(
                f"stage {one.stage.name} learns {count:,} examples that are equal to one held out of {name}; the loss "
                "on what is held out looks better than it is"
            )


def _tokens(encoded: Encoded, i: int) -> str:
    return digest_bytes(encoded.tokens(i).tobytes())


def _quiet() -> None:
    """Keep the library's own bars for loading and writing off the screen; ours says how far it is."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def _kind(training: Training) -> Any:
    """Return who takes the steps of a stage."""
    if training.backend == "trl":
        from magicoder.training.with_trl import LoopOfTRL

        return LoopOfTRL
    from magicoder.training.loop import Loop

    return Loop


def _train(
    training: Training,
    one: Prepared,
    world: Any,
    watch: Watch,
    *,
    aside: Mapping[str, Encoded],
    stop: Callable[[], bool],
) -> None:
    from magicoder.training import loop

    if world.is_main:
        with explained(one.folder):
            one.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(one.folder / _STAGE, _json({"key": one.key, "decides": one.decides}))
    world.barrier()
    course = loop.Course(
        training=training,
        stage=one.stage,
        base=one.base,
        learned=one.learned,
        aside=aside,
        folder=one.folder,
        key=one.key,
        tell=watch.warn if world.is_main else lambda _: None,
    )
    facts = loop.train(course, world, watch.stage(f"train {one.stage.name}"), stop, _kind(training))
    if world.is_main:
        with explained(one.folder):
            write_atomic(one.folder / DONE, _json(facts))


def _facts(one: Prepared) -> dict[str, Any]:
    """Return what is said of a stage: what became of its rows, and what the loop found."""
    report = one.encoded.report
    return {
        "stage": one.stage.name,
        "examples": len(one.learned),
        "dropped": report.dropped,
        "truncated": report.truncated,
        "epochs": one.stage.epochs,
        "max_length": one.stage.max_length,
        **(one.facts or {}),
    }


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2)
