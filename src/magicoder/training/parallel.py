"""Processes that train together: who they are, what they add up, how a model is spread. One process is a world too.

What is counted and decided goes over the CPU (gloo), so that asking never waits for a GPU; gradients go over NCCL.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor, distribute_tensor

from magicoder.errors import Interrupted, MagicoderError, RecipeError
from magicoder.training.launch import LOST, MEETING
from magicoder.training.settings import Machine

BUCKET_BYTES: Final = 128 << 20
"""Gradients are summed in pieces of about this size: large enough for the wires, small beside the model."""

WHOLE: Final = 0.6
"""Share of a GPU that a whole model may take, with its gradients and optimizer; the rest is for activations."""
_GLOO: Final = re.compile(r"gloo/|Connection (reset|closed|refused)|Broken pipe")
"""What gloo's errors say, which have no type of their own, when another process is gone."""
_PATIENCE: Final = timedelta(hours=1)
"""How long processes wait for one that writes a checkpoint or compiles."""


class Lost(MagicoderError):  # noqa: N818 - not an error of this process
    """Another process of the run is gone; what ended it, it says itself."""

    exit_code = LOST


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run, as one of them sees it.

    rank    of this process, from 0
    size    how many there are
    device  what this process computes on
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def sum_gradients(self, parameters: Iterable[torch.Tensor]) -> None:
        """Replace every gradient by its sum over the processes, in the gradient's own dtype; once a step.

        The sum and not the mean: the weights of micro-batches already share the step out among processes. A gradient
        that some process lacks, because it had nothing to compute, counts as 0 there. Parameters spread by FSDP2 are
        left alone: their gradients were summed on the way back.
        """
        mine = [p for p in parameters if p.requires_grad and not isinstance(p, DTensor)]
        if self.size == 1 or not mine:
            return
        present = torch.tensor([p.grad is not None for p in mine], dtype=torch.uint8)
        dist.all_reduce(present, dist.ReduceOp.MAX)
        gradients = []
        for parameter, there in zip(mine, present.tolist(), strict=True):
            if there:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        waiting: list[tuple[Any, torch.Tensor, list[torch.Tensor]]] = []
        for bucket in _buckets(gradients):
            flat = torch.cat([g.reshape(-1) for g in bucket]) if len(bucket) > 1 else bucket[0].contiguous()
            waiting.append((dist.all_reduce(flat, async_op=True), flat, bucket))
            if len(waiting) == 2:  # one travels while the next is packed
                _unpack(*waiting.pop(0))
        for work in waiting:
            _unpack(*work)

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite tensors with those of process 0. Parts of spread tensors are left alone."""
        if self.size > 1:
            for tensor in tensors:
                if not isinstance(tensor, DTensor):
                    dist.broadcast(tensor.detach(), src=0)

    def share(self, value: Any) -> Any:
        """Return the `value` that process 0 has; anything that can be pickled."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Return the `value`s of all processes, by rank; anything that can be pickled."""
        if self.size == 1:
            return [value]
        boxes: list[Any] = [None] * self.size
        dist.all_gather_object(boxes, value)
        return boxes

    def sum_of(self, numbers: Sequence[float]) -> list[float]:
        """Return the sums over processes, number by number, in float64."""
        if self.size == 1:
            return [float(n) for n in numbers]
        sums = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(sums)
        return [float(n) for n in sums.tolist()]

    def any(self, flag: bool) -> bool:  # noqa: FBT001 - the question is the flag
        """Return whether any process says so; all processes get the same answer."""
        return self.sum_of([float(flag)])[0] > 0

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.any(False)  # noqa: FBT003


@contextmanager
def start(machine: Machine) -> Iterator[World]:
    """Join the processes that `launch.together` or torchrun started (RANK, WORLD_SIZE, LOCAL_RANK), or be alone.

    Raises:
        RecipeError: a GPU is asked for and there is none for this process.
        Lost: another process ended.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = _device(machine.device, int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda" and machine.deterministic:
        repeatable()
    if size == 1:
        yield World(0, 1, device)
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=_meeting(size), rank=rank, world_size=size, timeout=_PATIENCE)
    try:
        yield World(rank, size, device)
    except Interrupted:  # all stop; after any other error the others may wait, and leaving would wait for them
        dist.destroy_process_group()
        raise
    except RuntimeError as e:
        if isinstance(e, dist.DistError) or _GLOO.search(str(e)):
            raise Lost(f"process {rank} goes no further: it cannot reach the others, of which one has ended") from e
        raise
    dist.destroy_process_group()


def _meeting(size: int) -> Any:
    """Return where the processes of `launch.together` find each other; None: at MASTER_ADDR, as torchrun has them."""
    place = os.environ.get(MEETING)
    if place is None:
        return None
    store = dist.FileStore(place, size)
    store.set_timeout(_PATIENCE)
    return store


def fits_whole(shape: Any, world: World, kept: float) -> bool:
    """Return whether a model leaves 40 % of this process' device to activations, if every process holds all of it.

    shape  the model, or one without memory for its weights
    kept   bytes that the optimizer keeps beside a trained weight (`optimizers.bytes_kept`)
    """
    if world.device.type != "cuda":
        return True
    trained_weights = [p for p in shape.parameters() if p.requires_grad]
    states = sum(p.numel() * p.element_size() for p in shape.parameters())
    states += sum(p.numel() * (p.element_size() + kept) for p in trained_weights)
    total: int = torch.cuda.get_device_properties(world.device).total_memory
    return bool(states <= WHOLE * total)


def spread(model: Any, strategy: str, world: World) -> Any:
    """Make `model` one model for all processes, with the weights of process 0, and return it.

    `ddp`: every process holds all of it; call `World.sum_gradients` once a step.
    `fsdp2`: every process holds its part of each layer (torch's fully_shard), and gradients are SUMMED on the way back
    of every micro-batch, so that no process ever holds them whole. Every process has to run forward and backward for
    each micro-batch, an empty one with weight 0. Build the optimizer after this. Only process 0 has to have weights,
    wherever they lie; those of the others may be on `meta`, and never hold more than a layer at once.

    Raises:
        RecipeError: `fsdp2` for a model whose layers cannot be told.
    """
    if world.size == 1:
        return model
    if strategy == "ddp":
        world.broadcast([*model.parameters(), *model.buffers()])
        return model
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    parts = layers(model)
    if not parts:
        raise RecipeError(f"machine.strategy: fsdp2 cannot tell the layers of {type(model).__name__}; use ddp")
    weights = _Weights(model, world)
    mesh = init_device_mesh(world.device.type, (world.size,))
    for layer in parts:
        weights.bring(layer)
        fully_shard(layer, mesh=mesh)
    weights.bring(model)
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled sums
    return model


class _Weights:
    """The parameters and buffers of process 0 on their way to all processes, those of one module at a time."""

    def __init__(self, model: Any, world: World) -> None:
        self.world = world
        self.homes: dict[int, list[tuple[dict[str, Any], str]]] = {}
        """Where each tensor stands, by its identity; tied ones in several places."""
        self.kinds: dict[int, tuple[torch.Size, torch.dtype]] = {}
        """Shape and type of each on process 0: of some a loader decides the type itself."""
        paths: dict[int, list[str]] = {}
        for path, module in model.named_modules():
            for name, tensor, held in _tensors(module):
                self.homes.setdefault(id(tensor), []).append((held, name))
                paths.setdefault(id(tensor), []).append(f"{path}.{name}")
                self.kinds[id(tensor)] = (tensor.shape, tensor.dtype)
        theirs, kinds = world.share((list(paths.values()), list(self.kinds.values())))
        if world.any(theirs != list(paths.values())):
            raise RecipeError("machine.strategy: fsdp2 finds another model on some processes; use ddp")
        self.kinds = dict(zip(paths, kinds, strict=True))
        self._share_others(model)

    def _share_others(self, model: Any) -> None:
        """Tensors that are neither parameters nor buffers, small ones, for processes that have made them on `meta`."""
        found = {
            (path, name): value
            for path, module in model.named_modules()
            for name, value in vars(module).items()
            if isinstance(value, torch.Tensor)
        }
        for (path, name), value in self.world.share(found).items():
            if found[path, name].is_meta:
                setattr(model.get_submodule(path), name, value)

    def bring(self, module: Any) -> None:
        """Give all processes what process 0 has in `module`, on their own devices; what was brought is left alone."""
        for part in module.modules():
            for _, tensor, _ in _tensors(part):
                homes = self.homes.pop(id(tensor), None)
                if homes is not None:
                    here = self._brought(tensor)
                    for held, name in homes:
                        held[name] = here

    def _brought(self, tensor: Any) -> Any:
        here = tensor.detach()
        if here.device != self.world.device:
            shape, dtype = self.kinds[id(tensor)]
            empty = torch.empty(shape, dtype=dtype, device=self.world.device)
            here = here.to(self.world.device) if self.world.is_main else empty
        travels = here.contiguous()
        dist.broadcast(travels.reshape(-1).view(torch.uint8), src=0)  # bytes: not every type travels
        if travels is not here:
            here.copy_(travels)
        if here.device == tensor.device:
            return tensor
        return torch.nn.Parameter(here, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else here


def _tensors(module: Any) -> list[tuple[str, Any, dict[str, Any]]]:
    """Return the module's own parameters and buffers: name, tensor, where it stands."""
    places = (module._parameters, module._buffers)
    return [(name, tensor, held) for held in places for name, tensor in held.items() if tensor is not None]


def is_spread(model: Any) -> bool:
    """Return whether `spread` has given each process a part of `model` only."""
    from torch.distributed.fsdp import FSDPModule

    return isinstance(model, FSDPModule)


def trained(model: Any) -> dict[str, torch.Tensor]:
    """Return what training may change, by name: parameters with gradients, and buffers that are saved with a model.

    Spread tensors are returned as they are; `whole` gathers one. Tied parameters are there once.
    """
    _gather_up(model)
    found = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    kept = model.state_dict().keys()  # many buffers can be made again, and are not among them
    return found | {name: b for name, b in model.named_buffers() if name in kept}


def is_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Return whether this process' parts of `tensors` hold numbers only. Asks the device once."""
    parts = [t.to_local() if isinstance(t, DTensor) else t for t in tensors]
    found = [torch.isfinite(part).all() for part in parts if part.is_floating_point()]
    return bool(torch.stack(found).all()) if found else True


def load(model: Any, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put whole `tensors`, as `trained` names them, into `model`: bits are copied, no dtype is changed.

    Raises:
        RecipeError: names, shapes or dtypes are not those of the model.
    """
    into = trained(model)
    if into.keys() != tensors.keys():
        odd = sorted(into.keys() ^ tensors.keys())
        raise RecipeError(f"the checkpoint is of another model: {len(odd)} names differ, such as {odd[0]}")
    with torch.no_grad():
        for name, target in into.items():
            source = tensors[name]
            if source.shape != target.shape or source.dtype != target.dtype:
                raise RecipeError(
                    f"the checkpoint is of another model: {name} is {source.dtype} {tuple(source.shape)} there, "
                    f"{target.dtype} {tuple(target.shape)} here"
                )
            if isinstance(target, DTensor):
                target.to_local().copy_(part(source, target.device_mesh, target.placements))
            else:
                target.copy_(source)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a spread tensor gathered on every process (all have to ask), any other as it is."""
    if not isinstance(tensor, DTensor):
        return tensor
    with torch.no_grad():
        if tensor.dtype != torch.int16:
            return tensor.full_tensor()
        # Neither gloo nor NCCL carries int16; 16 bits travel as what they do carry.
        held = tensor.to_local().view(torch.bfloat16)
        return placed(held, tensor.device_mesh, tensor.placements, tensor.shape).full_tensor().view(torch.int16)


def placed(held: torch.Tensor, mesh: Any, placements: Any, shape: Sequence[int]) -> torch.Tensor:
    """Return a spread tensor of `shape` of which this process has `held`."""
    stride = torch.empty(*shape, device="meta").stride()
    return DTensor.from_local(held, mesh, placements, run_check=False, shape=torch.Size(shape), stride=stride)


def part(tensor: torch.Tensor, mesh: Any, placements: Any) -> torch.Tensor:
    """Return this process' part of a whole tensor that all processes have; nothing travels."""
    on_device = tensor.to(mesh.device_type)
    return distribute_tensor(on_device, mesh, placements, src_data_rank=None).to_local()


def _device(wanted: str, local_rank: int) -> torch.device:
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and not there):
        return torch.device("cpu")
    if not there:
        raise RecipeError("machine.device is cuda, but torch sees no GPU; use device: auto or cpu")
    if local_rank >= there:
        raise RecipeError(
            f"process {local_rank} of this machine has no GPU of its own ({there} there); start at most {there}"
        )
    # Micro-batches differ in size: without this the allocator keeps pieces that fit none of the next.
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def repeatable() -> None:
    """Let operators of a GPU add in one order, so that a run that goes on ends with the bits of one never stopped.

    The backward pass of attention is the one that matters. Of operators that know no order torch raises a RuntimeError.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch asks for it; the size is cuBLAS' own on H100
    torch.use_deterministic_algorithms(mode=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # what nobody wrote, nobody reads


def _buckets(gradients: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    bucket: list[torch.Tensor] = []
    size = 0
    for gradient in gradients:
        length = gradient.numel() * gradient.element_size()
        if bucket and (size + length > BUCKET_BYTES or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += length
    if bucket:
        yield bucket


def _unpack(work: Any, flat: torch.Tensor, bucket: list[torch.Tensor]) -> None:
    work.wait()
    if len(bucket) == 1 and flat.data_ptr() == bucket[0].data_ptr():
        return
    parts = flat.split([g.numel() for g in bucket]) if len(bucket) > 1 else (flat,)
    for gradient, summed in zip(bucket, parts, strict=True):
        gradient.copy_(summed.view_as(gradient))


def layers(model: Any) -> list[Any]:
    """Return the repeated layers of `model` (peft or not), in order: what transformers never splits over devices.

    Of what it names inside of such a layer, too (Mamba), the outer one.
    """
    names = {name for module in model.modules() for name in (getattr(module, "_no_split_modules", None) or ())}
    found: list[Any] = []
    inside: set[Any] = set()
    for module in model.modules():
        if type(module).__name__ in names and module not in inside:
            found.append(module)
            inside.update(module.modules())
    return found


def _gather_up(model: Any) -> None:
    """Make FSDP2 give back what it keeps gathered after a forward without a backward."""
    if is_spread(model):
        from torch.distributed.fsdp import FSDPModule

        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()
