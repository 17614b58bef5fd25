"""What the command line asks for, as a recipe, or as a model to be evaluated."""

import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from magicoder import corpora, plugins
from magicoder.errors import RecipeError
from magicoder.llms.mock import Mock
from magicoder.llms.openai_chat import OpenAIChat
from magicoder.llms.replay import Replay
from magicoder.llms.transformers import Transformers
from magicoder.llms.vllm import VLLM
from magicoder.protocols import LLM
from magicoder.recipe import Recipe, component, override, read


def from_flags(
    path: Path | None,
    *,
    sources: tuple[str, ...],
    llm: str | None,
    base_url: str | None,
    strategy: str | None,
    languages: tuple[str, ...],
    limit: int | None,
    target: int | None,
) -> Recipe:
    """Return the recipe of a file or of the flags alone, flags overruling the file.

    Raises:
        MagicoderError: the file, a source or a name is wrong, or the flags do not make a run.
    """
    if path is None and not sources:
        raise RecipeError("give a recipe file or --source PATH, e.g.: magicoder run --source stdlib")
    if llm == "":
        raise RecipeError("--llm is empty: name a model, or leave it away")
    base = _read(path) if path else Recipe(name=_name(sources[0]))
    kind = (plugins.load("strategies", strategy) if strategy else base.strategy).seed_kind
    found = tuple(corpora.guess(s, kind) for s in sources) or None
    chosen = override(base, corpora=found, teacher=_teacher(base, llm, base_url))
    if strategy is None and llm and not chosen.strategy.needs_teacher:
        strategy = "oss_instruct"  # a teacher was asked for: use it
    if strategy:
        chosen = override(chosen, strategy=plugins.load("strategies", strategy)())
    for language in languages:
        plugins.load("languages", language)
    # Instructions are prose; screens for code would reject some of them.
    screens = ("blank", "duplicate") if kind == "instruction" and path is None else None
    documents = override(chosen.documents, languages=languages or None, limit=limit, screens=screens)
    return override(chosen, documents=documents, target=target)


def _read(path: Path) -> Recipe:
    """Return the recipe in a file; code given in its place is told apart."""
    try:
        return read(path)
    except RecipeError:
        if path.exists() and path.suffix not in (".yaml", ".yml"):
            code = shlex.quote(str(path))
            raise RecipeError(f"{path} is not a recipe; to read code from it: magicoder run --source {code}") from None
        raise


def _teacher(base: Recipe, llm: str | None, base_url: str | None) -> LLM | None:
    """Return the teacher the flags ask for, None to keep the recipe's."""
    if llm == "mock" and not base_url:
        return Mock()
    if llm and llm.startswith("replay:"):
        return Replay(path=llm.removeprefix("replay:"))
    kind, _, name = (llm or "").partition(":")
    if name and kind in ("transformers", "vllm") and not base_url:
        return _in_process(base, Transformers if kind == "transformers" else VLLM, name)
    if not llm and not base_url:
        return None
    known = base.teacher if isinstance(base.teacher, OpenAIChat) else None
    if known is None and not llm:
        raise RecipeError("--base-url needs --llm MODEL: which model of that server should answer?")
    teacher = replace(known, model=llm) if known and llm else known or OpenAIChat(model=llm or "")
    if not base_url:
        return teacher
    return replace(teacher, base_url=base_url, base_urls=(), weights=(), api_key_envs=())  # this one alone


def _in_process(base: Recipe, cls: type[Transformers] | type[VLLM], model: str) -> LLM:
    """Return a teacher in this process, with the settings of the recipe's if that is of the same kind."""
    if isinstance(base.teacher, cls):
        return replace(base.teacher, model=model, path="", content="", revision="")
    return cls(model=model)


def model_of(text: str, settings: dict[str, Any]) -> LLM:
    """Return the model that a user names, with the settings (fields by name) that are not None.

    `KIND:NAME` names a module of `llms/`; a YAML file holds a component as in a recipe; a folder is a model in this
    process; anything else is a model of an endpoint.

    Raises:
        RecipeError: it is none of these, or has no such setting.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    kind, _, name = text.partition(":")
    kinds = plugins.names("llms")
    if text.endswith((".yaml", ".yml")):
        llm, kind = component(Path(text).expanduser(), "llms"), Path(text).name
    elif kind in kinds and (name or (kind == "mock" and "base_url" not in given)):
        llm = plugins.load("llms", kind)(**({"path" if kind == "replay" else "model": name} if name else {}))
    elif "base_url" not in given and (text.startswith(("/", "./", "../", "~")) or Path(text).is_dir()):
        llm, kind = Transformers(model=text), "transformers"
    elif "base_url" not in given and "/" in text:
        raise RecipeError(
            f"{text}: there is no such folder; say who has this model: --base-url URL of a server, or "
            f"--model transformers:{text} or vllm:{text} for one in this process"
        )
    else:
        llm, kind = OpenAIChat(model=text), "openai_chat"
    if isinstance(llm, OpenAIChat) and "base_url" in given:
        given |= {"base_urls": (), "weights": (), "api_key_envs": ()}
    known = {f.name for f in fields(llm)}
    for setting in given:
        if setting not in known:
            flag = setting.replace("_", "-")
            raise RecipeError(f"--{flag} is not a setting of {kind}; leave it out, or name another kind of model")
    changed: LLM = replace(llm, **given)
    return changed


def _name(source: str) -> str:
    """Return a run's name from its first source: the last part of its path, without endings such as `.tar.gz`."""
    place = source.rstrip("/").split("#")[0]
    last = place.rsplit("/", 1)[-1].split("@")[0]
    stem = Path(last if last.strip(".") else Path(place or "/").resolve().name)
    while stem.suffix == ".git" or (stem.suffix[1:].isalpha() and not Path(place).expanduser().is_dir()):
        stem = stem.with_suffix("")
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in stem.name)
    return name.strip("-.") or "magicoder"
