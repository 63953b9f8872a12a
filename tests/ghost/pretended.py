"""A GPU that is none: whether every tensor is where it should be, tested on a machine without one.

Tensors keep their numbers in the memory of the CPU and are computed there. What is moved to "cuda" is marked by its
storage, and so is what is computed from it; ``Tensor.device`` and ``torch.cuda`` tell of the marks. An operation that
mixes devices raises as CUDA would, what makes the host wait for the device is counted with the place in the source, and
so is the kernel of attention that would be chosen.

What it does not know: streams, the memory of a GPU, numbers of its kernels, several processes, and gradients that
travel between devices.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import accelerate.utils.imports
import torch
import torch._dynamo  # looks at torch.cuda when it is first imported, which a mode may do
import transformers.utils.import_utils
from accelerate.state import AcceleratorState, GradientState
from torch.distributed.tensor import DTensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import ropewalk

aten = torch.ops.aten
CPU = torch.device("cpu")
MEMORY = 80 << 30
"""Bytes of a pretended GPU, all of them free."""
TO_DEVICE, TO_HOST, ITEM, LIST, SIZE = "copy to the device", "copy to the host", "item", "tolist", "size of a result"
"""Why a host waits. A copy to the device does so too, unless it is told not to block: torch waits for its stream."""

_OURS, _TORCH = str(Path(ropewalk.__file__).parent), str(Path(torch.__file__).parent)
_PACKAGES = str(Path(torch.__file__).parents[1])
_SHEDDING = 10_000
"""Marks after which those of freed storages are dropped."""
_WHERE_IT_IS = torch._C.TensorBase.device.__get__
_MOVE, _AUTOCAST, _SUBMIT = torch.Tensor.to, torch.autocast, ThreadPoolExecutor.submit
_AUTOCASTS, _AUTOCAST_DTYPE = torch.is_autocast_enabled, torch.get_autocast_dtype
_RUN_BACKWARD = torch.autograd._engine_run_backward
_BY_DEVICE = torch._C._group_tensors_by_device_and_dtype

_COPIES = {aten.copy_.default, aten._to_copy.default, aten._foreach_copy_.default}
_INDICES = {
    aten.index.Tensor: 1,
    aten._unsafe_index.Tensor: 1,
    aten.index_put.default: 1,
    aten.index_put_.default: 1,
    aten._index_put_impl_.default: 1,
    aten.index_fill_.int_Scalar: 2,
}
"""Operations that square brackets become, and the place of the indices among their arguments."""
_PRODUCTS = {aten.mm.default, aten.bmm.default, aten.addmm.default, aten.baddbmm.default}
_COUNTING = {
    aten.nonzero.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
    aten.repeat_interleave.Tensor,
    aten.bincount.default,
}
"""The host must learn how large the result is."""
_ASKING = {aten._local_scalar_dense.default, aten.equal.default, aten.allclose.default}
"""The result is a number of the host."""


class MixedDevices(RuntimeError):
    """An operation got tensors of different devices, or tensors of a GPU where it takes none."""


@dataclass(frozen=True)
class Place:
    """The nearest line of this project above a call.

    Attributes:
        file: below ``src/ropewalk``; a file's name where no line of the project is involved.
        function: by its qualified name; what is nested in it goes by it.
        line: of the file.
        through: the line of another library from which torch was called, where that is not this one.
    """

    file: str
    function: str
    line: int
    through: str | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line} ({self.function}{f', through {self.through}' if self.through else ''})"


@dataclass(frozen=True)
class Attention:
    """A call of attention.

    Attributes:
        kernel: that torch would choose on a GPU: ``flash`` (or cuDNN's, which asks for the same), ``efficient`` where
            there is a mask or numbers of 32 bits, or ``math``, which keeps a matrix of length × length.
        dtype: in which it is computed.
        queries: tokens.
        keys: tokens.
        masked: whether a mask was given.
    """

    kernel: str
    dtype: str
    queries: int
    keys: int
    masked: bool


@dataclass
class PretendedGpus:
    """The GPUs of a machine that has none, and what happened on them.

    Attributes:
        waits: how often the host waited for a device, by reason and place.
        products: matrix products by device and dtype, those of the CPU among them.
        attention: calls of attention on a GPU.
        forgotten: (file, function) whose own calls leave tensors where they are, as if the move had been forgotten.
        forgot: how often that happened.
    """

    waits: Counter[tuple[str, Place]] = field(default_factory=Counter)
    products: Counter[tuple[str, str]] = field(default_factory=Counter)
    attention: Counter[Attention] = field(default_factory=Counter)
    forgotten: set[tuple[str, str]] = field(default_factory=set)
    forgot: int = 0
    _marks: dict[int, tuple[StorageWeakRef, torch.device]] = field(default_factory=dict)
    _shed_at: int = _SHEDDING
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _here: threading.local = field(default_factory=threading.local)

    def device(self, tensor: torch.Tensor) -> torch.device:
        """Where a tensor is said to be."""
        with torch._C.DisableTorchFunction():
            while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
                tensor = torch._C._functorch.get_unwrapped(tensor)
            if isinstance(tensor, DTensor):
                tensor = tensor._local_tensor
            real: torch.device = _WHERE_IT_IS(tensor)
            if real.type != "cpu" or tensor.layout != torch.strided:
                return real
            _, device = self._marks.get(_storage(tensor), (None, CPU))
            return device

    def put(self, tensor: torch.Tensor, device: torch.device) -> None:
        """Say from now on that the storage of a tensor is on a device."""
        with torch._C.DisableTorchFunction():
            if _WHERE_IT_IS(tensor).type != "cpu" or tensor.layout != torch.strided:
                return
            with self._lock:
                if device.type == "cpu":
                    self._marks.pop(_storage(tensor), None)
                    return
                # The weak reference keeps the address of a freed storage from being used again, so that marks never
                # pass to others.
                self._marks[_storage(tensor)] = (StorageWeakRef(tensor.untyped_storage()), device)
                if len(self._marks) > self._shed_at:
                    self._marks = {key: mark for key, mark in self._marks.items() if not mark[0].expired()}
                    self._shed_at = len(self._marks) + _SHEDDING

    def device_of_all(self, tensors: Iterable[torch.Tensor]) -> torch.device:
        """The device on which an operation on tensors works: a GPU's where one is among them."""
        return next((device for device in map(self.device, tensors) if device.type != "cpu"), CPU)

    def wait(self, reason: str, times: int = 1) -> None:
        """Count that the host waits for a device here."""
        with self._lock:
            self.waits[reason, here()] += times

    def waits_by_function(self) -> Counter[tuple[str, str, str]]:
        """Waits by reason, file and function."""
        found: Counter[tuple[str, str, str]] = Counter()
        for (reason, place), count in self.waits.items():
            found[reason, place.file, place.function] += count
        return found

    def computed_on(self) -> set[str]:
        """The devices on which matrix products were computed."""
        return {device for device, _ in self.products}

    def forgets(self) -> bool:
        """Whether the line that calls torch is one whose moves are forgotten."""
        if not self.forgotten:
            return False
        place = here()
        found = place.through is None and (place.file, place.function) in self.forgotten
        self.forgot += found
        return found

    @property
    def ambient(self) -> torch.device:
        """Where torch's own code makes tensors from nothing: where the arguments of the call are."""
        return getattr(self._here, "ambient", CPU)

    @property
    def destination(self) -> torch.device | None:
        """Where the copy goes that is being made; None where it stays with its source."""
        return getattr(self._here, "destination", None)

    @contextlib.contextmanager
    def set(self, **values: torch.device | None) -> Iterator[None]:
        """Set ``ambient`` or ``destination`` in this thread for a while."""
        before = {name: getattr(self, name) for name in values}
        vars(self._here).update(values)
        try:
            yield
        finally:
            vars(self._here).update(before)


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def here() -> Place:
    """The nearest line of the project above the caller, or else the nearest line that is not torch's."""
    frame, outer = sys._getframe(1), None
    while frame is not None:
        name = frame.f_code.co_filename
        function = frame.f_code.co_qualname.split(".<locals>")[0]
        if name.startswith(_OURS):
            return Place(name[len(_OURS) + 1 :], function, frame.f_lineno, outer and outer[1])
        if outer is None and name != __file__ and not name.startswith(_TORCH):
            outer = Place(Path(name).name, function, frame.f_lineno), f"{_below(name)}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return outer[0] if outer else Place("", "", 0)


def _below(name: str) -> str:
    return name.removeprefix(_PACKAGES).lstrip("/")


def tensors_in(*values: Any) -> Iterator[torch.Tensor]:
    """The tensors in arguments, lists and dictionaries looked into."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(*value)
        elif isinstance(value, dict):
            yield from tensors_in(*value.values())


@functools.cache
def _is_composite(func: Any) -> bool:
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))


@functools.cache
def _reads_single_numbers(func: Any) -> bool:
    """Whether an operation on a GPU takes a tensor of one number from the CPU: those element by element do."""
    return torch.Tag.pointwise in func.tags or func.name().startswith(("aten::_fused", "aten::_foreach"))


@functools.cache
def _writes_its_first(func: Any) -> bool:
    arguments = func._schema.arguments
    return bool(arguments and arguments[0].alias_info is not None and arguments[0].alias_info.is_write)


class Operations(TorchDispatchMode):
    """Every operation, below autograd: may its tensors meet, where are the new ones, does the host wait?"""

    def __init__(self, gpus: PretendedGpus) -> None:
        super().__init__()
        self.gpus = gpus

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # what is done with its parts comes here
        with torch._C.DisableTorchFunction():
            if _is_composite(func):
                # Without gradients, operations made of others come here whole.
                with self:
                    return func._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
            tensors = list(tensors_in(args, kwargs))
            devices = [self.gpus.device(tensor) for tensor in tensors]
            self._check(func, args, tensors, devices)
            self._count(func, args, kwargs, tensors, devices)
            known = {_storage(t) for t in tensors if t.layout == torch.strided and _WHERE_IT_IS(t).type == "cpu"}
            out = func(*args, **kwargs)
            device = self._device_of_result(func, devices)
            if device.type == "cuda":
                for tensor in tensors_in(out):
                    if _WHERE_IT_IS(tensor).type == "cpu" and _storage(tensor) not in known:
                        self.gpus.put(tensor, device)
            return out

    def _device_of_result(self, func: Any, devices: list[torch.device]) -> torch.device:
        if func is aten._to_copy.default:
            return self.gpus.destination or devices[0]
        if func in _COPIES or func in _INDICES:
            return devices[0]
        if not devices:
            return self.gpus.ambient
        return next((device for device in devices if device.type != "cpu"), CPU)

    def _check(self, func: Any, args: Any, tensors: list[torch.Tensor], devices: list[torch.device]) -> None:
        """Raise where CUDA would: only single numbers of the CPU may meet tensors of a GPU, to be read."""
        if func in _COPIES or all(device == devices[0] for device in devices):
            return
        if func in _INDICES:
            self._check_indexing(func, args)
            return
        reads = _reads_single_numbers(func)
        single = [reads and t.dim() == 0 and d.type == "cpu" for t, d in zip(tensors, devices, strict=True)]
        if _writes_its_first(func):
            single[0] = False
        if len({device for device, one in zip(devices, single, strict=True) if not one}) > 1:
            found = ", ".join(f"{tuple(t.shape)} on {d}" for t, d in zip(tensors, devices, strict=True))
            raise MixedDevices(
                f"Expected all tensors to be on the same device, but found {found} in {func} at {here()}"
            )

    def _check_indexing(self, func: Any, args: Any) -> None:
        """The indices of a GPU's tensor may be on the CPU, from where they are copied; nothing else may differ."""
        base = self.gpus.device(args[0])
        indices = tensors_in(args[_INDICES[func]])
        values = [value for value in tensors_in(args[_INDICES[func] + 1 :]) if value.dim() > 0]
        if any(self.gpus.device(index) not in (base, CPU) for index in indices):
            raise MixedDevices(f"indices should be either on cpu or on the device of the tensor, {base}, at {here()}")
        if any(self.gpus.device(value) != base for value in values):
            raise MixedDevices(f"values are on another device than the tensor they are put in, {base}, at {here()}")

    def _count(
        self, func: Any, args: Any, kwargs: Any, tensors: list[torch.Tensor], devices: list[torch.device]
    ) -> None:
        on_gpu = any(device.type == "cuda" for device in devices)
        if func in _PRODUCTS:
            with self.gpus._lock:
                used = next((str(device) for device in devices if device.type == "cuda"), "cpu")
                self.gpus.products[used, str(tensors[0].dtype).removeprefix("torch.")] += 1
        if func in _ASKING and on_gpu:
            self.gpus.wait(ITEM)
        elif func in _COUNTING and on_gpu:
            self.gpus.wait(SIZE)
        elif func in _INDICES and devices[0].type == "cuda":
            indices = list(tensors_in(args[_INDICES[func]]))
            copied = sum(self.gpus.device(index).type == "cpu" for index in indices)
            if copied:
                self.gpus.wait(TO_DEVICE, copied)
            if any(i.dtype in (torch.bool, torch.uint8) and self.gpus.device(i).type == "cuda" for i in indices):
                self.gpus.wait(SIZE)
        elif func is aten._to_copy.default:
            self._count_copy(devices[0], self.gpus.destination or devices[0], kwargs.get("non_blocking"))
        elif func is aten.copy_.default:
            self._count_copy(devices[1], devices[0], args[2] if len(args) > 2 else kwargs.get("non_blocking"))

    def _count_copy(self, source: torch.device, target: torch.device, non_blocking: Any) -> None:
        if "cpu" in (source.type, target.type) and source != target and not non_blocking:
            self.gpus.wait(TO_DEVICE if target.type == "cuda" else TO_HOST)


class Calls(TorchFunctionMode):
    """Every call of torch from Python: where a device is named, and what cannot be done with a tensor of a GPU."""

    def __init__(self, gpus: PretendedGpus) -> None:
        super().__init__()
        self.gpus = gpus
        tensor = torch.Tensor
        self._own: dict[Any, Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]] = {
            tensor.to: self._to,
            tensor.cuda: self._cuda,
            tensor.cpu: self._cpu,
            tensor.type_as: lambda _, args, __: args[0].to(self.gpus.device(args[1]), args[1].dtype),
            tensor.numpy: self._numpy,
            tensor.__array__: self._numpy,
            tensor.tolist: self._tolist,
            tensor.pin_memory: lambda _, args, __: args[0].clone(),
            tensor.__deepcopy__: self._like_its_first,
            tensor.new_tensor: self._like_its_first,
            torch.tensor: self._from_numbers,
            torch.as_tensor: self._from_numbers,
            torch.asarray: self._from_numbers,
            torch.nn.functional.scaled_dot_product_attention: self._attention,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__name__", "") == "__get__":
            return func(*args, **kwargs)  # an attribute: nothing is made
        own = self._own.get(func)
        if own is not None:
            return own(func, args, kwargs)
        if kwargs.get("device") is not None:
            return self._named(func, args, kwargs)
        return self._where_arguments_are(func, args, kwargs)

    def _where_arguments_are(self, func: Any, args: Any, kwargs: Any) -> Any:
        with self.gpus.set(ambient=self.gpus.device_of_all(tensors_in(args, kwargs))):
            return func(*args, **kwargs)

    def _named(self, func: Any, args: Any, kwargs: Any) -> Any:
        """A call that says where its result shall be."""
        device = as_device(kwargs["device"])
        if device.type not in ("cpu", "cuda"):
            return func(*args, **kwargs)
        if device.type == "cuda" and self.gpus.forgets():
            device = CPU
        generator = kwargs.get("generator")
        if device.type == "cuda" and generator is not None and generator.device.type == "cpu":
            raise MixedDevices(f"Expected a 'cuda' device type for generator but found 'cpu' at {here()}")
        with self.gpus.set(ambient=device):
            out = func(*args, **{**kwargs, "device": CPU})
        for tensor in tensors_in(out):
            self.gpus.put(tensor, device)
        return out

    def _from_numbers(self, func: Any, args: Any, kwargs: Any) -> Any:
        """``torch.tensor`` and the like make tensors on the CPU and copy them."""
        device = kwargs.pop("device", None)
        made = self._where_arguments_are(func, args, kwargs)
        source = args[0] if args else next(iter(kwargs.values()))
        if isinstance(source, torch.Tensor) and made is not source:
            self.gpus.put(made, self.gpus.device(source))
        return made if device is None else self._moved(made, as_device(device), None, {})

    def _to(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensor, device, dtype, kwargs = self._parse_to(args, kwargs)
        return self._moved(tensor, device, dtype, kwargs)

    def _cuda(self, func: Any, args: Any, kwargs: Any) -> Any:
        device = args[1] if len(args) > 1 else kwargs.get("device")
        return self._moved(args[0], as_device("cuda" if device is None else device), None, {})

    def _cpu(self, func: Any, args: Any, kwargs: Any) -> Any:
        return self._moved(args[0], CPU, None, {})

    def _parse_to(
        self, args: Any, kwargs: Any
    ) -> tuple[torch.Tensor, torch.device | None, torch.dtype | None, dict[str, Any]]:
        """Tensor, device, dtype and the rest, of all the ways in which ``to`` can be called."""
        tensor, *rest = args
        device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
        other = kwargs.pop("other", None)
        flags = []
        for value in rest:
            if isinstance(value, torch.Tensor):
                other = value
            elif isinstance(value, torch.dtype):
                dtype = value
            elif isinstance(value, bool):
                flags.append(value)
            elif value is not None:
                device = value
        if other is not None:
            device, dtype = self.gpus.device(other), other.dtype
        kwargs = {**dict(zip(("non_blocking", "copy"), flags, strict=False)), **kwargs}
        return tensor, None if device is None else as_device(device), dtype, kwargs

    def _moved(
        self, tensor: torch.Tensor, device: torch.device | None, dtype: torch.dtype | None, kwargs: dict[str, Any]
    ) -> torch.Tensor:
        source = self.gpus.device(tensor)
        if device is None or self.gpus.forgets():
            device = source
        if "meta" in (device.type, source.type):
            return _MOVE(tensor, device if device.type == "meta" else _WHERE_IT_IS(tensor), dtype, **kwargs)
        if device != source:
            kwargs = {**kwargs, "copy": True}
        with self.gpus.set(destination=device):
            return _MOVE(tensor, CPU, tensor.dtype if dtype is None else dtype, **kwargs)

    def _numpy(self, func: Any, args: Any, kwargs: Any) -> Any:
        device = self.gpus.device(args[0])
        if device.type != "cpu":
            raise TypeError(
                f"can't convert {device} device type tensor to numpy at {here()}; use Tensor.cpu() to copy it first"
            )
        return func(*args, **kwargs)

    def _tolist(self, func: Any, args: Any, kwargs: Any) -> Any:
        if self.gpus.device(args[0]).type == "cuda":
            self.gpus.wait(LIST)
        return func(*args, **kwargs)

    def _like_its_first(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What these make is not seen as an operation."""
        if kwargs.get("device") is not None:
            return self._named(func, args, kwargs)
        out = func(*args, **kwargs)
        self.gpus.put(out, self.gpus.device(args[0]))
        return out

    def _attention(self, func: Any, args: Any, kwargs: Any) -> Any:
        device = self.gpus.device(args[0])
        if device.type == "cuda":
            call = _attention_of(*args, **kwargs)
            with self.gpus._lock:
                self.gpus.attention[call] += 1
        with self.gpus.set(ambient=device):
            return func(*args, **kwargs)


def _attention_of(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Attention:
    """What torch would choose, by what its kernels refuse."""
    dtype = query.dtype
    if dtype == torch.float32 and _AUTOCASTS("cpu"):
        dtype = _AUTOCAST_DTYPE("cpu")
    queries, keys, masked = query.shape[-2], key.shape[-2], attn_mask is not None
    uneven = is_causal and queries != keys
    small = query.shape[-1] == value.shape[-1] <= 256
    if dtype in (torch.bfloat16, torch.float16) and small and not masked and not uneven:
        kernel = "flash"
    else:
        # Without a mask of its own, this kernel takes no shared keys.
        kernel = "math" if enable_gqa and key.shape[1] != query.shape[1] else "efficient"
    return Attention(kernel, str(dtype).removeprefix("torch."), queries, keys, masked)


def as_device(value: Any) -> torch.device:
    """A device with its number."""
    device = torch.device("cuda", value) if isinstance(value, int) else torch.device(value)
    return torch.device("cuda", 0) if device == torch.device("cuda") else device


class Autocast(torch.autocast):
    """Lower precision "on a GPU" is that of the CPU, where all is computed."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)


def _said_of_cpu(ask: Callable[..., Any]) -> Callable[..., Any]:
    """What torch says of automatic precision on the CPU, where it is asked for that on a GPU."""
    return lambda *device: ask("cpu" if device in ((), ("cuda",)) else device[0])


class Event:
    """All that it marks has happened."""

    def __init__(self, **_: Any) -> None:
        self.record = self.wait = self.synchronize = lambda *_: None


class Stream:
    """The one line of work there is."""

    stream_id, device_index, device_type, device = 0, 0, 1, torch.device("cuda", 0)

    def __init__(self, *_: Any, **__: Any) -> None:
        self.wait_stream = self.wait_event = self.synchronize = lambda *_: None
        self.record_event = lambda event=None: event or Event()
        self.is_capturing = lambda: False


@contextlib.contextmanager
def pretended_gpus(count: int = 1) -> Iterator[PretendedGpus]:
    """Give this process GPUs for a while: torch and all above it see so many.

    Tensors that were made before are on the CPU. Tensors that outlive the block are there again.
    """
    gpus = PretendedGpus()
    with contextlib.ExitStack() as stack:
        for owner, name, value in [*_patches(gpus), *_cuda(count)]:
            stack.enter_context(mock.patch.object(owner, name, value, create=True))
        # GPUs that are none are not shared out.
        stack.enter_context(mock.patch.dict(os.environ, {"ROPEWALK_SHARE_GPU": "1"}))
        _forget_devices()
        stack.callback(_forget_devices)
        stack.enter_context(Calls(gpus))
        stack.enter_context(Operations(gpus))
        yield gpus


@contextlib.contextmanager
def group_of_one() -> Iterator[None]:
    """Make this process with its pretended GPU a group, in which weights can be shared out."""
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    with (
        mock.patch.dict(os.environ, alone),
        # This one asks a device itself.
        mock.patch.object(torch.distributed, "barrier"),
    ):
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
        try:
            yield
        finally:
            torch.distributed.destroy_process_group()
            _forget_devices()


def _forget_devices() -> None:
    """Make libraries that remember whether there is a GPU look again."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    for module in (transformers.utils.import_utils, accelerate.utils.imports):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def _patches(gpus: PretendedGpus) -> list[tuple[Any, str, Any]]:
    """What is put in the place of torch's own: owner, name, value."""
    calls = Calls(gpus)

    def by_device(*args: Any) -> dict[tuple[torch.device, torch.dtype], Any]:
        # Torch groups by the real device, and then moves what it needs to it.
        groups = _BY_DEVICE(*args)
        found = {}
        for (_, dtype), group in groups.items():
            first = next(tensor for tensors in group[0] for tensor in tensors if tensor is not None)
            found[gpus.device(first), dtype] = group
        return found

    def run_backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        # Activations that are computed again run Python, which is not watched within a call that is being handled.
        with calls, gpus.set(ambient=gpus.device_of_all(tensors_in(tensors))):
            return _RUN_BACKWARD(tensors, *args, **kwargs)

    def submit(pool: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        # Modes belong to a thread.
        def watched() -> Any:
            with Calls(gpus), Operations(gpus):
                return function(*args, **kwargs)

        return _SUBMIT(pool, watched)

    return [
        (torch.Tensor, "device", property(gpus.device)),
        (torch.Tensor, "is_cuda", property(lambda tensor: gpus.device(tensor).type == "cuda")),
        (torch.Tensor, "is_cpu", property(lambda tensor: gpus.device(tensor).type == "cpu")),
        (torch._C, "_group_tensors_by_device_and_dtype", by_device),
        (torch.autograd, "_engine_run_backward", run_backward),
        (torch, "autocast", Autocast),
        (torch.amp, "autocast", Autocast),
        (torch, "is_autocast_enabled", _said_of_cpu(_AUTOCASTS)),
        (torch, "get_autocast_dtype", _said_of_cpu(_AUTOCAST_DTYPE)),
        (ThreadPoolExecutor, "submit", submit),
    ]


def _cuda(count: int) -> list[tuple[ModuleType, str, Any]]:
    """What ``torch.cuda`` says of so many GPUs of the size of an H100."""
    about = SimpleNamespace(name="pretended", major=9, minor=0, total_memory=MEMORY, multi_processor_count=132)
    answers: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: count,
        "current_device": lambda: 0,
        "is_bf16_supported": lambda *_, **__: True,
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_name": lambda device=None: about.name,
        "get_device_properties": lambda device=None: about,
        "mem_get_info": lambda device=None: (MEMORY, MEMORY),
        "memory_reserved": lambda device=None: 0,
        "memory_allocated": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: 0,
        "get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
        "get_rng_state_all": lambda: [torch.zeros(16, dtype=torch.uint8)] * count,
        "is_current_stream_capturing": lambda: False,
    }
    silent = "_lazy_init set_device synchronize empty_cache manual_seed manual_seed_all set_rng_state set_rng_state_all"
    answers |= dict.fromkeys(silent.split(), lambda *_, **__: None)
    answers |= {"Stream": Stream, "Event": Event, "current_stream": lambda device=None: Stream()}
    answers["stream"] = lambda stream: contextlib.nullcontext()
    answered: list[tuple[ModuleType, str, Any]] = [(torch.cuda, name, answer) for name, answer in answers.items()]
    return [
        *answered,
        (torch.accelerator, "current_stream", lambda device=None: Stream()),
        (torch._C, "_get_accelerator", lambda *_: torch.device("cuda")),
    ]
