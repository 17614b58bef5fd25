"""The directory listing is the registry: a module in a family's folder is a plugin, found by name, never guessed.

Nothing is imported to list names. A missing dependency inside a plugin surfaces as that error, not as "unknown".
"""

import difflib
import importlib
import pkgutil
from typing import Any

from magicoder.errors import RecipeError

FAMILIES = ("corpora", "strategies", "llms", "sandboxes", "benchmarks", "engines", "languages")


def names(family: str) -> list[str]:
    """Return the plugins of `family` in alphabetical order; modules that start with `_` are private."""
    package = importlib.import_module(f"magicoder.{family}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def load(family: str, name: str) -> Any:
    """Return the `PLUGIN` of a module: a component class, or a value for `languages`.

    Raises:
        RecipeError: no such plugin; the message suggests the nearest name.
    """
    known = names(family)
    if name not in known:
        raise RecipeError(f"{family} has no {name!r}{suggest(name, known)}; there are: {', '.join(known)}")
    return importlib.import_module(f"magicoder.{family}.{name}").PLUGIN


def summary(family: str, name: str) -> str:
    """Return the first line of a plugin module's docstring."""
    doc = importlib.import_module(f"magicoder.{family}.{name}").__doc__ or ""
    return doc.strip().splitlines()[0] if doc.strip() else ""


def suggest(name: str, known: list[str]) -> str:
    """Return `; did you mean x?` for a near miss, else an empty string."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
