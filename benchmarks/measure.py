"""How two things are timed against each other, what autograd keeps, what convolutions compute, and on which machine."""
import os
import platform
import statistics
import time
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

ROUNDS = 9


def in_turns(one, other, rounds=ROUNDS, warm_ups=2):
    "Median seconds of each, measured alternately after a warm-up of both"
    for f in (one, other):
        for _ in range(warm_ups): f()
    times = [], []
    for _ in range(rounds):
        for f, seen in zip((one, other), times):
            start = time.perf_counter()
            f()
            seen.append(time.perf_counter() - start)
    return [statistics.median(seen) for seen in times]


def kept_bytes(compute):
    "Bytes of distinct memory that autograd keeps for the backward pass"
    kept = {}

    def pack(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x): compute()
    return sum(kept.values())


class ConvolutionFlops(TorchDispatchMode):
    "Counts the floating-point operations of all convolutions, forward and backward; two for a multiply-add"
    flops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            x, kernel, transposed = args[0], args[1], args[6]
            self.flops += 2*(x if transposed else out).numel()*kernel[0].numel()
        if func is torch.ops.aten.convolution_backward.default:
            grad, x, kernel, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
            self.flops += 2*(x if transposed else grad).numel()*kernel[0].numel()*sum(wanted[:2])
        return out


def best_matmul(dtype=torch.float32, sizes=(512, 1024, 2048)):
    "Operations a second of the fastest square matrix product"
    rates = []
    for n in sizes:
        a, b = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)
        seconds, _ = in_turns(lambda: a @ b, lambda: None)
        rates.append(2*n**3/seconds)
    return max(rates)


def machine():
    "What was measured on"
    return dict(cpu=cpu(), threads=torch.get_num_threads(), torch=torch.__version__, python=platform.python_version())


def cpu():
    "The processor's name"
    lines = Path('/proc/cpuinfo').read_text().splitlines() if os.path.exists('/proc/cpuinfo') else []
    return next((line.split(':')[1].strip() for line in lines if line.startswith('model name')), platform.processor())
