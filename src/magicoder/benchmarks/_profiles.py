"""Profiles as sets of faults: what a harness does otherwise than `strict`, piece by piece, each with a name.

That makes it possible to say why a verdict depends on the profile: `strict+<fault>` judges with that piece alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from magicoder import plugins
from magicoder.errors import RecipeError

STRICT: Final = "strict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """The profiles of a suite.

    known        name of each fault, and what it is, as a clause without a period
    made_of      the faults of each profile but `strict`
    """

    known: Mapping[str, str] = field(default_factory=dict)
    made_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The profiles, `strict` first."""
        return (STRICT, *self.made_of)

    def faults(self, profile: str) -> dict[str, str]:
        """Return the faults of a profile, of which some may be written behind it: `strict+clock`.

        Raises:
            RecipeError: there is no such profile or fault.
        """
        name, *more = profile.split("+")
        if name not in self.names:
            hint = plugins.suggest(name, list(self.names))
            raise RecipeError(f"there is no profile {name!r}{hint}; there are: {', '.join(self.names)}")
        unknown = [fault for fault in more if fault not in self.known]
        if unknown:
            raise RecipeError(f"there is no fault {unknown[0]!r}; there are: {', '.join(self.known) or 'none'}")
        return {fault: self.known[fault] for fault in (*self.made_of.get(name, ()), *more)}


ONLY_STRICT: Final = Profiles()
