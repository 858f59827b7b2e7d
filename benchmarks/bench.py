"""`make bench`: every figure is a ratio of two things measured in turns in one process; medians, on this machine, now.

Writes benchmarks/results.json and prints the table. Nothing else may run meanwhile.
"""
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from baselines import PlainSearch, PlainSuperGenerator, same_weights

from degas_nb.data import load
from degas_nb.search import Search, SearchConfig

ROUNDS = 9


def in_turns(one, other, rounds=ROUNDS):
    "Median seconds of each, measured alternately after a warm-up of both"
    for f in (one, other):
        for _ in range(2): f()
    times = [], []
    for _ in range(rounds):
        for f, seen in zip((one, other), times):
            start = time.perf_counter()
            f()
            seen.append(time.perf_counter() - start)
    return [statistics.median(seen) for seen in times]


def a_search(channels, batch, **kw):
    "Our search and its baseline on the same images, weights and latents"
    images = load('emoji', limit=max(256, batch))
    ours = Search.from_config(images, SearchConfig(width=channels, batch_size=batch, epochs=1000, **kw))
    plain = PlainSuperGenerator(channels)
    same_weights(plain, ours.net)
    index = torch.arange(batch)
    return ours, PlainSearch(plain, ours.latents.z[index].clone(), images.batch(index).contiguous())


def kept_bytes(compute):
    "Bytes of distinct memory that autograd keeps for the backward pass"
    kept = {}

    def pack(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x): compute()
    return sum(kept.values())


def search_iteration(channels, batch):
    ours, plain = a_search(channels, batch)
    slow, fast = in_turns(plain.step, lambda: next(ours))
    return dict(name=f'search iteration, C={channels}, batch {batch}, eager', against='plain sum of separate ops, default layout, two full backwards (as DARTS)', baseline=slow, ours=fast, ratio=slow/fast)


def strong_baseline(channels, batch):
    ours, _ = a_search(channels, batch)
    summed, _ = a_search(channels, batch, impl='sum')
    slow, fast = in_turns(lambda: next(summed), lambda: next(ours))
    return dict(name=f'search iteration, C={channels}, batch {batch}, eager', against='plain sum with one norm a node, channels_last and partial gradients', baseline=slow, ours=fast, ratio=slow/fast)


def memory(channels, batch):
    ours, plain = a_search(channels, batch)
    index = torch.arange(batch)
    less, more = kept_bytes(lambda: sum(ours.per_image_loss(ours.latents.gather(index), index).values()).mean()), kept_bytes(lambda: plain.loss(plain.z.requires_grad_()))
    return dict(name=f'bytes kept for the backward pass of the weight step, C={channels}, batch {batch}', against='plain sum', baseline=more, ours=less, ratio=less/more)


def import_time():
    def run(code): return lambda: subprocess.run([sys.executable, '-c', code], check=True)
    torch_, ours = in_turns(run('import torch'), run('import degas_nb'), rounds=7)
    return dict(name='import degas_nb', against='import torch', baseline=torch_, ours=ours, ratio=ours/torch_)


def main():
    machine = dict(cpu=cpu(), threads=torch.get_num_threads(), torch=torch.__version__, python=platform.python_version())
    rows = []
    for bench in (lambda: search_iteration(32, 64), lambda: search_iteration(64, 32), lambda: strong_baseline(32, 64), lambda: memory(32, 64), import_time):
        rows.append(bench())
        print(f"{rows[-1]['ratio']:6.2f}x  {rows[-1]['name']}  against  {rows[-1]['against']}", flush=True)
    Path(__file__).with_name('results.json').write_text(json.dumps(dict(machine=machine, rounds=ROUNDS, rows=rows), indent=1) + '\n')


def cpu():
    "The processor's name"
    lines = Path('/proc/cpuinfo').read_text().splitlines() if os.path.exists('/proc/cpuinfo') else []
    return next((line.split(':')[1].strip() for line in lines if line.startswith('model name')), platform.processor())


if __name__ == '__main__': main()
