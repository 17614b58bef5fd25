"""The recipe: everything that decides a result, as one typed value, from a YAML file or from Python.

A recipe file is checked against the dataclasses themselves: an unknown field, a wrong type or an impossible value is
reported with file, line and field, and with the nearest name where there is one.
"""

import os
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import yaml

from magicoder.errors import RecipeError
from magicoder.plugins import load, names, suggest
from magicoder.protocols import LLM, Corpus, Sandbox, Strategy
from magicoder.stages.clean import Clean
from magicoder.stages.decontaminate import Decontaminate
from magicoder.stages.deduplicate import Deduplication
from magicoder.stages.documents import Documents
from magicoder.stages.export import Export
from magicoder.stages.generate import Generate
from magicoder.stages.seeds import Seeds
from magicoder.stages.verify import Verify
from magicoder.strategies.comment_pairs import CommentPairs
from magicoder.training.settings import Training

_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)e[+-]?\d+", re.IGNORECASE)
V = TypeVar("V")
S = TypeVar("S", "Recipe", Documents)


@dataclass(frozen=True, slots=True)
class Family:
    """Annotation: the field holds a plugin of this family, written `name` or `name: {field: value}`."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A run as one value.

    name           of the run and its dataset
    corpora        where code comes from, read in this order
    strategy       how a sample is made from a seed
    teacher        who answers its prompts; none is needed for `comment_pairs`
    target         how many rows to publish: seeds are asked about until there are so many; None asks about all
    deduplicate    near-duplicates of documents, seeds and samples
    verify         running the solutions, off unless asked for
    sandbox        where they run; None: the plugin `cells`
    """

    name: str = "magicoder"
    corpora: tuple[Annotated[Corpus, Family("corpora")], ...] = ()
    documents: Documents = field(default_factory=Documents)
    seeds: Seeds = field(default_factory=Seeds)
    strategy: Annotated[Strategy, Family("strategies")] = field(default_factory=CommentPairs)
    teacher: Annotated[LLM | None, Family("llms")] = None
    target: int | None = None
    generate: Generate = field(default_factory=Generate)
    clean: Clean = field(default_factory=Clean)
    deduplicate: Deduplication = field(default_factory=Deduplication)
    decontaminate: Decontaminate = field(default_factory=Decontaminate)
    verify: Verify = field(default_factory=Verify)
    sandbox: Annotated[Sandbox | None, Family("sandboxes")] = None
    export: Export = field(default_factory=Export)

    def __post_init__(self) -> None:
        if not self.name or self.name.startswith(".") or "/" in self.name:
            raise ValueError(f"name is {self.name!r}; it becomes a folder below runs/: no slash, no dot in front")

    def isolation(self) -> Sandbox:
        """Return where programs run."""
        sandbox: Sandbox = self.sandbox or load("sandboxes", "cells")()
        return sandbox

    def with_verdicts(self) -> "Recipe":
        """Return the recipe with its solutions run, at least to label them."""
        return self if self.verify.is_on else replace(self, verify=replace(self.verify, mode="label"))

    def check(self) -> None:
        """Check what no single field can.

        Raises:
            RecipeError: no corpus, a strategy without the teacher it needs, or seeds by the row numbers of a corpus of
                which rows are taken out.
        """
        if not self.corpora:
            raise RecipeError("the recipe names no corpora; add one under `corpora:`, or give --source PATH")
        if self.target is not None and self.target < 1:
            raise RecipeError(f"target is {self.target}; it must be at least 1, or absent for all rows")
        if self.seeds.mode == "exact" and self.deduplicate.documents:
            raise RecipeError(
                "seeds.mode exact draws by row numbers, and deduplicating documents changes them; "
                "add `deduplicate: {documents: false}`, or leave out `mode: exact`"
            )
        if self.strategy.needs_teacher and self.teacher is None:
            raise RecipeError(
                f"strategy {self.strategy.name} needs a teacher; give --llm MODEL [--base-url URL], add `teacher:` to "
                "the recipe, or use the strategy comment_pairs, which needs none"
            )


def read(path: Path) -> Recipe:
    """Return the recipe in a YAML file.

    Raises:
        RecipeError: no such file, not YAML, or a field that is unknown, ill-typed or impossible; says where.
    """
    return parse(_text(path, f"write one with: magicoder init {path}"), str(path))


def read_training(path: Path) -> Training:
    """Return the training recipe in a YAML file.

    Raises:
        RecipeError: as `read`.
    """
    text = _text(path, "the folder recipes/ has some to start from (docs/training.md)")
    return _value(text, str(path), Training)


def _text(path: Path, otherwise: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"there is no recipe {path}; {otherwise}") from None
    except (OSError, UnicodeDecodeError) as e:
        raise RecipeError(f"the recipe {path} cannot be read: {e}") from e


def parse(text: str, file: str = "recipe.yaml") -> Recipe:
    """Return the recipe in a YAML text; `file` is named in errors.

    Raises:
        RecipeError: as `read`.
    """
    return _value(text, file, Recipe)


def component(path: Path, family: str) -> Any:
    """Return the component of `family` in a YAML file, written `name` or `name: {field: value}` as in a recipe.

    Raises:
        RecipeError: as `read`.
    """
    text = _text(path, f"it would hold a component such as {names(family)[0]}, written as in a recipe")
    return _Reader(str(path)).plugin(_node(text, str(path)), family, family)


def published(value: Any) -> Any:
    """Return a component, or another value, as it is published with results: see `to_yaml`."""
    return _plain(value, private=False)


def _value(text: str, file: str, kind: type[V]) -> V:
    value: V = _Reader(file).dataclass(_node(text, file), kind, "")
    return value


def _node(text: str, file: str) -> yaml.Node:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 1
        raise RecipeError(f"{file}:{line}: not valid YAML: {e.problem or e.context}") from None
    except yaml.YAMLError as e:  # characters that no YAML file may hold
        raise RecipeError(f"{file}: not valid YAML: {e}") from None
    if node is None:
        raise RecipeError(f"{file} is empty; write a recipe with: magicoder init")
    return node


class _Reader:
    """Builds typed values from YAML nodes, which know their lines."""

    def __init__(self, file: str) -> None:
        self.file = file

    def fail(self, node: yaml.Node, message: str) -> RecipeError:
        return RecipeError(f"{self.file}:{node.start_mark.line + 1}: {message}")

    def value(self, node: yaml.Node, hint: Any, at: str) -> Any:
        if typing.get_origin(hint) is Annotated:
            inner, *marks = typing.get_args(hint)
            family = next((m for m in marks if isinstance(m, Family)), None)
            return self.plugin(node, family.name, at) if family else self.value(node, inner, at)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
            if _is_null(node):
                return None
            return self.value(node, next(a for a in typing.get_args(hint) if a is not types.NoneType), at)
        if typing.get_origin(hint) is tuple:
            return self.sequence(node, typing.get_args(hint)[0], at)
        if typing.get_origin(hint) is dict:
            return self.mapping(node, typing.get_args(hint)[1], at)
        if is_dataclass(hint):
            return self.dataclass(node, hint, at)
        if hint is Any:
            return self.plain(node, at)
        return self.scalar(node, hint, at)

    def scalar(self, node: yaml.Node, hint: type, at: str) -> Any:
        words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
        if not isinstance(node, yaml.ScalarNode):
            raise self.fail(node, f"{at} must be {words[hint]}, not a {_kind(node)}")
        found = self.plain(node, at)
        if hint is str and isinstance(found, bool):
            return node.value  # YAML reads `off` as false; a field that wants text means the word
        if hint is float and isinstance(found, int) and not isinstance(found, bool):
            return float(found)
        if hint is float and isinstance(found, str) and node.style is None and _NUMBER.fullmatch(found):
            return float(found)  # YAML 1.1 takes 5e-5, without a point, for text
        if not isinstance(found, hint) or (hint is int and isinstance(found, bool)):
            raise self.fail(node, f"{at} must be {words[hint]}, not {node.value!r}")
        return found

    def plain(self, node: yaml.Node, at: str) -> Any:
        try:
            return yaml.SafeLoader("").construct_document(node)
        except (yaml.YAMLError, ValueError) as e:
            raise self.fail(node, f"{at} is not what it looks like: {getattr(e, 'problem', None) or e}") from None

    def pairs(self, node: yaml.MappingNode, at: str) -> Iterator[tuple[yaml.ScalarNode, str, yaml.Node, str]]:
        """Yield each key's node and name, its value's node, and where that stands."""
        seen: set[str] = set()
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.fail(key, f"{at or 'the recipe'} has a {_kind(key)} for a name")
            where = f"{at}.{key.value}" if at else key.value
            if key.value in seen:
                raise self.fail(key, f"{where} is given twice")
            seen.add(key.value)
            yield key, key.value, item, where

    def sequence(self, node: yaml.Node, hint: Any, at: str) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.fail(node, f"{at} must be a list (one `- …` a line), not {_shown(node)}")
        return tuple(self.value(item, hint, f"{at}[{i}]") for i, item in enumerate(node.value))

    def mapping(self, node: yaml.Node, hint: Any, at: str) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, f"{at} must be a mapping (`key: value` lines), not {_shown(node)}")
        return {name: self.value(item, hint, where) for _, name, item, where in self.pairs(node, at)}

    def dataclass(self, node: yaml.Node, cls: Any, at: str) -> Any:
        if _is_null(node):
            node = yaml.MappingNode("tag:yaml.org,2002:map", [], node.start_mark, node.end_mark)
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, f"{at or 'the recipe'} must be a mapping (`key: value` lines), not {_shown(node)}")
        hints = typing.get_type_hints(cls, include_extras=True)
        known = [f.name for f in fields(cls)]
        given: dict[str, Any] = {}
        for key, name, item, where in self.pairs(node, at):
            if name not in known:
                advice = _elsewhere(cls, name) or _moved(where) or suggest(name, known) or _listed(known)
                raise self.fail(key, f"{where} is unknown{advice}")
            given[name] = self.value(item, hints[name], where)
        needed = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
        missing = [name for name in needed if name not in given]
        if missing:
            raise self.fail(node, f"{at or 'the recipe'} needs {' and '.join(missing)}")
        try:
            return cls(**given)
        except ValueError as e:
            where = at or "the recipe"
            raise self.fail(node, str(e) if str(e).startswith(f"{where}.") else f"{where}: {e}") from e

    def plugin(self, node: yaml.Node, family: str, at: str) -> Any:
        if _is_null(node):
            return None
        if isinstance(node, yaml.ScalarNode):
            key, name, body = node, node.value, None
        elif isinstance(node, yaml.MappingNode) and len(node.value) == 1:
            key, name, body, _ = next(self.pairs(node, at))
        else:
            raise self.fail(node, f"{at} must be a name or `name: {{…}}`, one of: {', '.join(names(family))}")
        try:
            cls = load(family, name)
        except RecipeError as e:
            raise self.fail(key, f"{at}: {e}") from None
        empty = yaml.MappingNode("tag:yaml.org,2002:map", [], key.start_mark, key.end_mark)
        return self.dataclass(body or empty, cls, f"{at}.{name}")


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _kind(node: yaml.Node) -> str:
    return "list" if isinstance(node, yaml.SequenceNode) else "mapping"


def _shown(node: yaml.Node) -> str:
    return repr(node.value) if isinstance(node, yaml.ScalarNode) else f"a {_kind(node)}"


_MOVED = {
    "llm": "teacher, where a recipe names what --llm does on the command line",
    "source": "corpora, where a recipe names what --source does on the command line",
    "clean.near_duplicates": "deduplicate, where near-duplicates of files, seeds and samples are settled",
    "clean.near_duplicate_threshold": "deduplicate.threshold",
    "verify.sandbox": "sandbox, beside verify",
}
"""Settings that stand elsewhere: of earlier versions, or named otherwise on the command line."""


def _elsewhere(cls: Any, name: str) -> str:
    """Return that a recipe is for the other command, if a field of that one's stands in it."""
    for other, command in ((Recipe, "run"), (Training, "train")):
        if cls in {Recipe, Training} and cls is not other and name in {f.name for f in fields(other)}:
            return f" here: this is a recipe for `magicoder {command}`"
    return ""


def _moved(where: str) -> str:
    return f"; use {_MOVED[where]}" if where in _MOVED else ""


def _listed(known: list[str]) -> str:
    return f"; there are: {', '.join(known)}"


def to_yaml(recipe: Recipe | Training, *, private: bool = False) -> str:
    """Return the recipe as YAML, every field that decides the result written out.

    Absolute paths are cut to their last part: what is published says what was read, not where a person keeps it.
    `private` writes everything as it is, for the run folder.
    """
    return yaml.safe_dump(_plain(recipe, private=private), sort_keys=False, allow_unicode=True, width=100)


def _plain(value: Any, *, private: bool) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        shown = [f.name for f in fields(value) if private or f.metadata.get("identity", True)]
        plain = {name: _plain(getattr(value, name), private=private) for name in shown}
        family = _family_of(value)
        return {family: plain} if family else plain
    if isinstance(value, Mapping):
        return {str(k): _plain(v, private=private) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, private=private) for v in value]
    if private:
        return value
    if isinstance(value, str) and value.startswith(("/", "~")) and len(value) > 1:
        return f"…/{os.path.basename(value.rstrip('/'))}"  # noqa: PTH119 - not a path of this machine
    return value


def _family_of(value: Any) -> str:
    """Return a plugin's name, "" for a component that is not one."""
    parts = type(value).__module__.split(".")
    is_plugin = len(parts) == 3 and parts[1] in ("corpora", "strategies", "llms", "sandboxes")
    return parts[2] if is_plugin else ""


def override(settings: S, **changes: Any) -> S:
    """Return a recipe or a stage's settings with the given fields replaced; None leaves a field as it is."""
    return replace(settings, **{name: value for name, value in changes.items() if value is not None})
