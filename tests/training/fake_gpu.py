"""A GPU without a GPU: tensors that say they are on one, and compute nothing.

torch's FakeTensorMode runs every operator on shapes, dtypes and devices alone. So what only a GPU can do is called as
it is there (kernels for variable lengths, products in 8 bits, products with a wider result), and what mixes the CPU's
tensors with the GPU's is refused. Values are not there: nothing can be asked of them.

Without a CUDA build of torch, autograd cannot run backward over such tensors: its engine asks the driver for streams.
It is told that they are on `meta` instead, where there are none; Python sees the GPU.
"""

import contextlib
import os
import types
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional

GPU = torch.device("cuda", 0)
META = torch.device("meta")
MEMORY = 139 * 2**30
DEVICE = torch.ops.prim.device.default


class Gpu(FakeTensorMode):
    """Fake tensors, and how often which operator was called; what autograd puts on `meta` belongs on the GPU."""

    avoid_device_init = True  # also while the driver's answers are ours

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.counts: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        self.counts[name] = self.counts.get(name, 0) + 1
        if func is torch.ops.aten.equal.default:
            return False  # asked for by the proof of `attention.install`: values that are not there differ
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1.0  # counted: whoever asks for a number waits for the GPU
        return super().__torch_dispatch__(func, types, args, _on_gpu(kwargs))


@contextlib.contextmanager
def fake_gpu(capability: tuple[int, int] = (9, 0)) -> Iterator[Gpu]:
    """Let this machine have a GPU of that capability for a while; yields it."""
    inner = FakeTensor.__torch_dispatch__

    def dispatch(_cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _where(args) if func is DEVICE else inner(func, types, args, _on_gpu(kwargs))

    on_gpu = property(lambda tensor: tensor.fake_device.type == "cuda")
    gpu = Gpu()
    with contextlib.ExitStack() as stack:
        for place, name, new in (
            (FakeTensor, "__torch_dispatch__", classmethod(dispatch)),
            (FakeTensor, "is_cuda", on_gpu),
            (torch.Tensor, "pin_memory", lambda tensor: tensor),
            (torch.nn.Module, "to", _moved),
            (functional, "scaled_dot_product_attention", _attention),
        ):
            stack.enter_context(mock.patch.object(place, name, new, create=True))
        stack.enter_context(mock.patch.dict(fake_tensor._DISPATCH_META_HANDLERS, {DEVICE: _where}))
        stack.enter_context(_driver(capability))
        stack.enter_context(mock.patch.dict(os.environ))
        stack.callback(torch.use_deterministic_algorithms, mode=False)
        yield stack.enter_context(gpu)


@contextlib.contextmanager
def _driver(capability: tuple[int, int]) -> Iterator[None]:
    """Answer what torch and our code ask the driver."""
    told = types.SimpleNamespace(name="NVIDIA H200", total_memory=MEMORY, major=capability[0], minor=capability[1])
    answers = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda _: None,
        "get_device_capability": lambda _=None: capability,
        "get_device_properties": lambda _=None: told,
        "max_memory_allocated": lambda _=None: 0,
        "synchronize": lambda _=None: None,
        "manual_seed_all": lambda _: None,
        "get_rng_state": lambda _=None: torch.empty(16, dtype=torch.uint8),
        "set_rng_state": lambda _state, _device=None: None,
    }
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        yield


def _where(args: Any) -> torch.device:
    """The device by which autograd chooses streams."""
    return META if args[0].device.type == "cuda" else args[0].device


def _moved(module: Any, *args: Any, **kwargs: Any) -> Any:
    """`Module.to` by new tensors: fake ones cannot be exchanged in place."""
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is None:
                continue
            new = parameter.detach().to(*args, **kwargs)
            if (new.device, new.dtype) != (parameter.device, parameter.dtype):
                part._parameters[name] = torch.nn.Parameter(new, requires_grad=parameter.requires_grad)
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[name] = buffer.to(*args, **kwargs)
    return module


def _on_gpu(kwargs: Any) -> dict[str, Any]:
    given = dict(kwargs or {})
    return {**given, "device": GPU} if given.get("device") == META else given


def _attention(query: Any, key: Any, value: Any, mask: Any = None, dropout_p: float = 0.0, **given: Any) -> Any:
    """What torch chooses on a GPU where the fast kernels can do it: flash in 16 bits, the other one in 32.

    With a mask it is a model's own attention, as the proof of `attention.install` runs it once.
    """
    if given.get("attn_mask", mask) is not None:
        return torch.empty_like(query)
    assert given.get("is_causal")
    shares = query.shape[1] != key.shape[1]
    assert not shares or given.get("enable_gqa"), "fewer heads of keys have to be asked for"
    scale = given.get("scale")
    assert query.shape[-1] % 8 == 0 or query.dtype == torch.float32, "torch would pad, which this does not"
    if query.dtype in (torch.bfloat16, torch.float16):
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        return flash(query, key, value, dropout_p, True, False, scale=scale)[0]
    assert not shares, "the kernel for float32 does not share heads: torch would make all scores"
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    return efficient(query, key, value, None, True, dropout_p, True, scale=scale)[0]
