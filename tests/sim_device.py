"""A device that nobody has to own: tensors that say they live on `simgpu:0` and hold their values on the CPU.

What it promises, so that a test which is green here means something on a GPU:

* A tensor of the device meets only tensors of the device; a CPU tensor of no dimensions is welcome, as on CUDA. Otherwise an error as CUDA's.
* Values are those of the CPU's kernels, so equal arithmetic gives equal bits.
* Its random streams are of another kind: 16 bytes of state (Philox's seed and offset), other numbers than the CPU's, and neither side takes the other's generator.
* `crossings()` counts what crosses over, by direction. Everything that crosses BLOCKS here, as it does on CUDA with memory that is not pinned:
  - to the device: `.to('simgpu')`, `copy_` from the CPU, `torch.tensor(..., device='simgpu')`, and an index that lies on the CPU;
  - to the host: `.cpu()`, `.to('cpu')`, `.tolist()`, `.item()` and whatever makes a number or a truth of a tensor, `torch.equal`,
    and every operation whose shape only the values know (a mask as an index, `nonzero`, `masked_select`, `bincount`, `unique`), because the host waits for it.
  Not counted: numbers that travel with the call of a kernel (`x*2`, a CPU tensor of no dimensions in an operation), and reading a shape, a type or a layout.

The device is there from the import on, in every thread. What changes the process beyond that is in `simulated`, the fixture `simgpu` of conftest.py.
"""
import sys
import traceback
import weakref
from collections import Counter
from contextlib import contextmanager
from functools import cache
from hashlib import sha256

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

try: from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend
except ImportError: _DummyBackendModule, _setup_privateuseone_for_python_backend = object, None  # an older torch knows no devices made in Python
AVAILABLE = _setup_privateuseone_for_python_backend is not None

KIND = 'simgpu'
aten = torch.ops.aten


# --- what crosses over

COUNTING = []  # counters that are open


@contextmanager
def crossings():
    "Count in a `Counter` of ('to device' or 'to host', what, where) all that crosses over inside, in every thread."
    counter = Counter()
    COUNTING.append(counter)
    try: yield counter
    finally: COUNTING[:] = [c for c in COUNTING if c is not counter]


def total(counter, direction=''):
    "How often something crossed over, in one direction or in both."
    return sum(n for (way, *_), n in counter.items() if way.startswith(direction))


def crossed(direction, what):
    if not COUNTING: return
    ours = [f for f in traceback.extract_stack() if '/site-packages/' not in f.filename and f.filename != __file__]
    where = f'{ours[-1].filename.rsplit("/", 1)[-1]}:{ours[-1].lineno}' if ours else '?'
    for counter in COUNTING: counter[direction, what, where] += 1


# --- random streams

GENERATORS = weakref.WeakValueDictionary()  # by what the dispatcher still knows of them: it makes a new Python object for the same stream


class SimGenerator(torch.Generator):
    "A stream of the device: what it draws is a function of its seed and of how often something was drawn."
    def __init__(self):
        self.key, self.offset = 0, 0
        GENERATORS[self._cdata] = self

    @property
    def device(self): return torch.device(KIND, 0)
    def initial_seed(self): return self.key
    def manual_seed(self, seed):
        self.key, self.offset = seed % 2**64, 0
        return self

    def get_state(self): return torch.tensor(list(self.key.to_bytes(8, 'little') + self.offset.to_bytes(8, 'little')), dtype=torch.uint8)
    def set_state(self, state):
        if state.numel() != 16: raise RuntimeError('RNG state is wrong size')
        both = bytes(state.tolist())
        self.key, self.offset = (int.from_bytes(part, 'little') for part in (both[:8], both[8:]))
        return self

    def next_seed(self):
        "The CPU seed of the next draw."
        self.offset += 1
        return int.from_bytes(sha256(f'{self.key}/{self.offset}'.encode()).digest()[:8], 'little')


class AnyGenerator(type):
    "`torch.Generator` with one more device."
    def __call__(cls, device='cpu'): return SimGenerator() if torch.device(device).type == KIND else torch._C.Generator(device)
    def __instancecheck__(cls, g): return isinstance(g, torch._C.Generator)


class Generators(metaclass=AnyGenerator): pass


@contextmanager
def drawing(func, generators, on_device):
    "Let the CPU draw what the device would: from its generator, or from the device's default one, and never from the CPU's."
    for g in generators:
        if (g._cdata in GENERATORS) != on_device:
            there, here = (KIND, 'cpu') if on_device else ('cpu', KIND)
            raise RuntimeError(f"Expected a '{there}' device type for generator but found '{here}' ({func})")
    if not on_device or torch.Tag.nondeterministic_seeded not in func.tags:
        yield
        return
    ours = [GENERATORS[g._cdata] for g in generators]
    used = generators[0] if ours else torch.default_generator
    before = used.get_state()
    used.manual_seed((ours[0] if ours else Module.default).next_seed())
    try: yield
    finally: used.set_state(before)


# --- tensors

class SimTensor(torch.Tensor):
    "A tensor of the device; `held` has its values."
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held, requires_grad=False):
        return torch.Tensor._make_wrapper_subclass(cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
                                                   layout=held.layout, device=torch.device(KIND, 0), requires_grad=requires_grad)

    def __init__(self, held, requires_grad=False): self.held = held.detach() if held.requires_grad else held

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None): return run(func, args, kwargs or {})

    def __repr__(self): return f'SimTensor({self.held})'

    def tolist(self):
        crossed('to host', 'tolist')
        return self.held.tolist()

    def numpy(self, *args, **kwargs): raise TypeError(f"can't convert {KIND}:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first.")
    __array__ = numpy

    def __reduce_ex__(self, protocol):  # what a checkpoint or a pickle holds; a GPU's tensors are read back with map_location, these lie on the CPU at once
        crossed('to host', 'saved')
        return self.held.__reduce_ex__(protocol)

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            memo[id(self)] = copy = SimTensor(self.held.clone(), self.requires_grad)
            if getattr(self, '_is_param', False): copy._is_param = True
        return memo[id(self)]


def of_device(x): return isinstance(x, SimTensor)


def goes_to_device(func, kwargs, ours):
    "Does the result lie on the device?"
    return torch.device(kwargs['device']).type == KIND if kwargs.get('device') is not None else bool(ours)


def refuse_mixture(func, ours, others):
    "CUDA takes CPU tensors without dimensions only."
    if ours and any(t.ndim for t in others):
        raise RuntimeError(f'Expected all tensors to be on the same device, but found at least two devices, {KIND}:0 and cpu! ({func})')


COPIES = {aten._to_copy.default, aten.copy_.default}
INDEXED = {aten.index.Tensor, aten._unsafe_index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
WAITS = {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output}  # the host must see values


def copied(func, args, kwargs, ours):
    "`to` and `copy_` are the two that may cross."
    source = of_device(args[0 if func is aten._to_copy.default else 1])
    target = goes_to_device(func, kwargs, ours) if func is aten._to_copy.default else of_device(args[0])
    if source != target: crossed('to device' if target else 'to host', 'copy')


def indexed(func, args):
    "A tensor of the device takes indices from either side; one of the CPU only its own kind."
    target, indices, values = args[0], [i for i in args[1] if i is not None], args[2:3]
    both = [target, *values]
    refuse_mixture(func, [t for t in both if of_device(t)], [t for t in both if not of_device(t)])
    if not of_device(target) and any(map(of_device, indices)): raise RuntimeError('indices should be either on cpu or on the same device as the indexed tensor (cpu)')
    if not of_device(target): return
    for i in indices:
        if not of_device(i): crossed('to device', 'index')
        if i.dtype in (torch.bool, torch.uint8): crossed('to host', 'mask')


def run(func, args, kwargs):
    "One operation: check the devices, count, compute with the CPU's kernel."
    ours, others, generators = [], [], []
    for x in each((*args, *kwargs.values())):
        if isinstance(x, SimTensor): ours.append(x)
        elif isinstance(x, torch.Tensor): others.append(x)
        elif isinstance(x, torch._C.Generator): generators.append(x)
    if not (ours or generators) and kwargs.get('device') is None: return func(*args, **kwargs)  # nobody asks for the device
    if func in COPIES: copied(func, args, kwargs, ours)
    elif func in INDEXED: indexed(func, args)
    else:
        refuse_mixture(func, ours, others)
        if ours and WAITS & set(func.tags): crossed('to host', str(func))
    on_device = of_device(args[0]) if func is aten.copy_.default else goes_to_device(func, kwargs, ours)
    plain = {k: v for k, v in kwargs.items() if k not in ('device', 'pin_memory')} | ({'device': torch.device('cpu')} if kwargs.get('device') is not None else {})
    with drawing(func, generators, on_device): out = func(*mapped(held, args), **{k: mapped(held, v) for k, v in plain.items()})
    known = {id(t.held): t for t in ours}  # what is changed in place stays the same tensor
    return mapped(lambda x: placed(x, known), out) if on_device else out


def each(values):
    "What arguments hold: the dispatcher knows lists of tensors, nothing deeper and no dicts, and torch's trees cost more than most operations."
    for x in values:
        if isinstance(x, (list, tuple)): yield from each(x)
        else: yield x


def mapped(f, x): return type(x)([mapped(f, v) for v in x]) if isinstance(x, (list, tuple)) else f(x)
def held(x): return x.held if of_device(x) else x
def placed(x, known): return known[id(x)] if id(x) in known else SimTensor(x) if isinstance(x, torch.Tensor) else x


# --- the device

class Module(_DummyBackendModule):
    "`torch.simgpu`."
    default = SimGenerator()  # the stream of those who give no generator
    free = 2**33              # bytes; a test may change it

    def manual_seed_all(self, seed): self.default.manual_seed(seed)
    def get_rng_state(self, device=None): return self.default.get_state()
    def set_rng_state(self, state, device=None): self.default.set_state(state)
    def get_amp_supported_dtype(self): return [torch.bfloat16, torch.float16]
    def is_bf16_supported(self, including_emulation=True): return True
    def mem_get_info(self, device=None): return self.free, 2**34


@cache
def make_known():
    "Tell this process of the device: before its first backward pass, because autograd begins its threads then; a process that has such threads can't fork children that train."
    _setup_privateuseone_for_python_backend(KIND, Module())
    library = torch.library.Library('aten', 'IMPL')  # where no tensor says who is meant: `torch.randn(3, device='simgpu')`, `torch.tensor(3, device='simgpu')`
    for op in (aten.empty.memory_format, aten.empty_strided.default): library.impl(op, lambda *args, op=op, **kwargs: run(op, args, kwargs), 'PrivateUse1')
    library.impl('_copy_from', lambda source, target, non_blocking=False: run(aten.copy_.default, (target, source), {}), 'PrivateUse1')
    return library  # kept by the cache: it ends with its object


class Strict(TorchDispatchMode):
    "Sees operations in which no tensor of the device takes part, too: a stream of the device that is to draw on the CPU. Of one thread."
    def __torch_dispatch__(self, func, types, args=(), kwargs=None): return run(func, args, kwargs or {})


@contextmanager
def simulated(monkeypatch):
    "The device's name, in a process where modules can move there and `torch.Generator` knows it: what the fixture `simgpu` gives."
    if not AVAILABLE: pytest.skip(f'torch {torch.__version__} knows no devices that are made in Python')
    make_known()
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a parameter of another kind of tensor can't be put into the old one
    places = [torch, *(m for name, m in sys.modules.items() if name.startswith('degas_nb.'))]
    for m in places:
        for name, value in list(vars(m).items()):
            if value is torch._C.Generator: monkeypatch.setattr(m, name, Generators)
    with Strict(): yield f'{KIND}:0'
    torch.__future__.set_overwrite_module_params_on_conversion(before)
