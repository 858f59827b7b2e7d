"""How two things are timed against each other, and what autograd keeps."""
import statistics
import time

import torch

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
