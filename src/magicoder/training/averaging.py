"""The mean of several states of a model: often a little better than the last, and free."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from magicoder.errors import StoreError
from magicoder.store import explained

_ALSO: Final = (".json", ".jinja", ".txt", ".model", ".py")
"""Endings of the files of a model that are not weights."""


def mean(states: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the mean of each tensor over `states`, in float32; tensors that are no floats come from the last.

    One tensor of each state is held at a time, if the states read theirs when asked.

    Raises:
        StoreError: the states are not of one model.
    """
    last = states[-1]
    for state in states[:-1]:
        odd = sorted(state.keys() ^ last.keys())
        if odd:
            raise StoreError(f"These are states of different models ({odd[0]} is not in all)")
    for name in last:
        tensor = last[name]
        if not tensor.is_floating_point():
            yield name, tensor
            continue
        total = torch.zeros_like(tensor, dtype=torch.float64)
        for state in states:
            part = state[name]
            if part.shape != tensor.shape:
                raise StoreError(f"These are states of different models ({name} has other shapes)")
            total += part
        yield name, (total / len(states)).float()


def average(folders: Sequence[Path], out: Path) -> None:
    """Write a model whose weights are the means of those of the models in `folders`; all else comes from the last.

    Files, names and types are those of the last model. The sums are made in float64, a tensor at a time; memory holds
    the result.

    Raises:
        StoreError: a folder has no weights, the models are different ones, or `out` cannot be written.
    """
    from safetensors.torch import save_file

    states = [Folder(folder) for folder in folders]
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
        dtypes = {name: states[-1][name].dtype for name in states[-1]}
        means = dict.fromkeys(dtypes)
        for name, tensor in mean(states):
            means[name] = tensor.to(dtypes[name])
        for path, names in states[-1].files.items():
            save_file({name: means.pop(name) for name in names}, out / path.name, metadata={"format": "pt"})
        for path in sorted(folders[-1].iterdir()):
            if path.suffix in _ALSO and path.is_file():
                (out / path.name).write_bytes(path.read_bytes())


class Folder(Mapping[str, Any]):
    """The weights in a model's folder by name, whatever files they are in; each is read when it is asked for.

    Raises:
        StoreError: there are none.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        opened = {path: safe_open(path, framework="pt") for path in sorted(folder.glob("model*.safetensors"))}
        if not opened:
            raise StoreError(f"{folder} has no weights (model*.safetensors); name folders of trained models")
        self.files = {path: list(file.keys()) for path, file in opened.items()}
        self._places = {name: file for path, file in opened.items() for name in self.files[path]}

    def __getitem__(self, name: str) -> Any:
        return self._places[name].get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
