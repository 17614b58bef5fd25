"""What one process holds of a parameter, and how figures over all of it are made from the parts."""

import math
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor import Shard as Along

from magicoder.training.parallel import part, placed


class Shard:
    """The place of this process' part in a parameter. A parameter that is not spread is its own, only part.

    shape    of the whole parameter
    along    the dimension that is cut, None if it is whole here
    """

    def __init__(self, parameter: torch.Tensor) -> None:
        self.shape = tuple(parameter.shape)
        self.along: int | None = None
        self._mesh: Any = None
        self.held = tuple(parameter.shape)
        if isinstance(parameter, DTensor):
            placements = parameter.placements
            assert len(placements) == 1, "parameters are spread along one dimension of processes"
            assert isinstance(placements[0], Along), f"a parameter is spread as {placements}"
            self.along, self._mesh = placements[0].dim, parameter.device_mesh
            self.held = tuple(parameter.to_local().shape)

    @property
    def numel(self) -> int:
        """Numbers in the whole parameter."""
        return math.prod(self.shape)

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return `tensor` summed over the processes that hold parts, in place; equal on all of them, bit for bit."""
        if self.along is not None:
            dist.all_reduce(tensor, group=self._mesh.get_group())
        return tensor

    def whole(self, held: torch.Tensor, along: int | None) -> torch.Tensor:
        """Return a slot of this parameter, of which `held` is here and `along` is cut, as a tensor `whole` gathers."""
        if along is None or self._mesh is None:
            return held
        shape = list(held.shape)
        shape[along] = self.shape[along]
        return placed(held, self._mesh, [Along(along)], shape)

    def part(self, tensor: torch.Tensor, along: int | None) -> torch.Tensor:
        """Return what belongs here of a whole slot."""
        if self._mesh is None:
            return tensor
        return part(tensor, self._mesh, [Replicate() if along is None else Along(along)])


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return what is here of a tensor, sharing its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
