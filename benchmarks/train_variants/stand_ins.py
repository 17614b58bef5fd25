"""Packages that are not here, for a machine with nothing but torch, transformers, accelerate and peft."""

import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
from typing import Any
from unittest import mock


class _Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds stand-ins for packages that are not here, with whatever is looked for in them."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        del path, target
        here = fullname.partition(".")[0] in self.names
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True) if here else None

    def create_module(self, spec: Any) -> Any:
        return mock.MagicMock(__name__=spec.name, __spec__=spec)

    def exec_module(self, module: Any) -> None:
        if module.__name__ == "orjson":
            module.JSONDecodeError = json.JSONDecodeError
            module.OPT_SORT_KEYS = module.OPT_INDENT_2 = module.OPT_APPEND_NEWLINE = 0
            module.loads = json.loads
            module.dumps = lambda value, *_, **__: json.dumps(value).encode()


def stand_in() -> None:
    """Put stand-ins in the place of packages that our modules import and these measurements hardly call."""
    wanted = ("orjson", "pyarrow", "yaml", "click", "aiohttp", "tree_sitter")
    sys.meta_path.append(_Absent({name for name in wanted if importlib.util.find_spec(name) is None}))
