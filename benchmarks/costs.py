"""What a search costs: time, arithmetic, memory and traffic of a step against width, image size, latent length, images and ranks.

    python benchmarks/costs.py [PART ...]      all parts take about fifteen minutes; let nothing else run

Parts: steps, images, ranks, cifar10. Each is added to benchmarks/costs.json, which the guide `what_it_costs` reads, and prints the rows
that it is to show. But for `cifar10`, images are random pixels: the cost doesn't depend on what they show.
"""
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.profiler import profile

sys.path.insert(0, str(Path(__file__).parent))
from measure import ConvolutionFlops, best_matmul, kept_bytes, machine

from degas_nb.ground.data import Images, load
from degas_nb.search.alternating import Search, SearchConfig
from degas_nb.search.steps import reconstruction

HERE = Path(__file__).parent
CIFAR10 = HERE.parents[1]/'shared/data/cifar10.zip'
GRID = [*(dict(width=c) for c in (8, 16, 24, 32, 48, 64, 96, 128)), dict(img_size=48, z_dim=192), dict(img_size=64, z_dim=256), dict(z_dim=512),
        dict(batch_size=16), dict(batch_size=32), dict(batch_size=128), dict(joint=True), dict(joint=True, width=64)]
COUNTS = (1000, 2000, 4000, 8000)


def noise(n, size=32): return Images(torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)), name='noise')


def step_cost(**kw):
    "Median seconds of a step, its convolutions' operations, bytes kept for the backward pass, bytes that a rank sends"
    config = SearchConfig(epochs=1000, z_init='random', **kw)
    search = Search.from_config(noise(max(256, config.batch_size), config.img_size), config)
    next(search)
    with ConvolutionFlops() as counted: next(search)
    times = []
    for _ in range(9 if config.width < 96 else 5):
        start = time.perf_counter()
        next(search)
        times.append(time.perf_counter() - start)
    index = torch.arange(config.batch_size)
    kept = kept_bytes(lambda: sum(reconstruction(search.net, search.latents, search.images, index)[1].values()).mean())
    n_weights = sum(p.numel() for p in search.weights)
    settings = {name: getattr(config, name) for name in ('width', 'batch_size', 'img_size', 'z_dim', 'joint')}
    return dict(**settings, seconds=statistics.median(times), flops=counted.flops, kept=kept, n_weights=n_weights, sent=4*(n_weights + 59 + 4))


KINDS = {'convolutions': ('convolution',), 'batch norm': ('batch_norm',), 'pooling': ('pool',), 'optimisers': ('Optimizer', '_foreach', 'addcdiv', 'addcmul'),
         'relu and sums': ('clamp', 'threshold', 'aten::add', 'aten::mul', 'aten::sub', 'aten::div', 'aten::sum')}


def shares(**kw):
    "Which part of a step's own time goes where, by torch's profiler"
    search = Search.from_config(noise(256), SearchConfig(epochs=1000, z_init='random', **kw))
    for _ in range(3): next(search)
    with profile() as profiled:
        for _ in range(5): next(search)
    spent = {e.key: e.self_cpu_time_total for e in profiled.key_averages()}
    kind = lambda key: next((kind for kind, parts in KINDS.items() if any(p in key for p in parts)), 'the rest')
    found = {}
    for key, t in spent.items(): found[kind(key)] = found.get(kind(key), 0) + t/sum(spent.values())
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def steps():
    found = dict(matmul=best_matmul(), shares=shares(width=32), steps=[])
    print(found, flush=True)
    for kw in GRID:
        found['steps'].append(step_cost(**kw))
        print(found['steps'][-1], flush=True)
    return found


def peak_memory():
    "Bytes that this process held at most; getrusage would inherit its parent's peak"
    return 1024*int(re.search(r'VmHWM:\s*(\d+)', Path('/proc/self/status').read_text())[1])


def epoch_cost(n, width=16):
    "Seconds of a whole epoch over n images and the memory beyond images and latents; for a process of its own"
    search = Search.from_config(noise(n), SearchConfig(epochs=2, width=width, z_init='random'))
    held = search.images.pixels.numel() + 4*search.latents.z.numel()
    for _ in range(5): next(search)
    start = time.perf_counter()
    for _ in range(search.per_epoch): next(search)
    return dict(n=n, width=width, seconds=time.perf_counter() - start, held=held, peak=peak_memory())


def images():
    "Epochs over more and more images, each in its own process"
    epochs = [json.loads(run([sys.executable, __file__, 'one_epoch', str(n)])) for n in COUNTS]
    n, seconds = np.array([[e['n'], e['seconds']] for e in epochs]).T
    line = np.polyfit(n, seconds, 1)
    r2 = 1 - ((np.polyval(line, n) - seconds)**2).sum()/((seconds - seconds.mean())**2).sum()
    beyond = [e['peak'] - e['held'] for e in epochs]
    print(f"{r2:8.5f}   R^2 of a straight line through the seconds of an epoch over {', '.join(map(str, COUNTS))} images (wants 0.99)")
    print(f"{max(beyond)/min(beyond):8.3f}x  peak memory beyond images and latents, largest against smallest (wants flat)", flush=True)
    return dict(epochs=epochs, linear_r2=r2)


RANK = """
import sys, time
sys.path.insert(0, {here!r})
from costs import noise
from degas_nb.ground.ranks import Ranks, exit_at_once
from degas_nb.search.alternating import Search, SearchConfig
ranks = Ranks.launched()
search = Search.from_config(noise(1024), SearchConfig(epochs=1000, width={width}, z_init='random'), ranks=ranks)
for _ in range(3): next(search)
rates = []
for _ in range(7):
    start = time.perf_counter()
    for _ in range(2): next(search)
    rates.append(128/(time.perf_counter() - start))
if ranks.main: open(sys.argv[1], 'w').write(str(sorted(rates)[3]))
exit_at_once()
"""


def run(command, **kw): return subprocess.run(command, check=True, capture_output=True, text=True, **kw).stdout


def rank_cost(n_ranks, width=32):
    "Images a second of a search on several processes of one thread each"
    script, out = HERE/'.ranks.py', HERE/'.rate'
    script.write_text(RANK.format(here=str(HERE), width=width))
    try:
        launch = [sys.executable] if n_ranks == 1 else [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(n_ranks)]
        run([*launch, str(script), str(out)], env=dict(os.environ, OMP_NUM_THREADS='1'))
        return float(out.read_text())
    finally:
        for path in (script, out): path.unlink(missing_ok=True)


def ranks():
    "One process and two, in turns"
    pairs = [(rank_cost(1), rank_cost(2)) for _ in range(3)]
    one, two = (statistics.median(rates) for rates in zip(*pairs))
    print(f"{two/one:8.2f}x  images a second, 2 processes x 1 thread against 1 x 1 (wants 1.6): {one:.0f} -> {two:.0f}", flush=True)
    return dict(ranks={'1': one, '2': two})


def cifar10():
    "One real epoch over all of CIFAR-10, from the first step to the last"
    if not CIFAR10.exists():
        print(f"no {CIFAR10}: the epoch over CIFAR-10 is left as it was measured before")
        return {}
    search = Search.from_config(load(CIFAR10), SearchConfig(epochs=10))
    start = time.perf_counter()
    for step in search:
        if step.ends_epoch: break
    seconds = time.perf_counter() - start
    print(f"{seconds:8.0f} s  one epoch over {len(search.images):,} images of CIFAR-10, width 32, batch 64 (wants 300)", flush=True)
    return dict(cifar10=dict(seconds=seconds, n=len(search.images), psnr=step.losses['psnr']))


PARTS = dict(steps=steps, images=images, ranks=ranks, cifar10=cifar10)


def main():
    if sys.argv[1:2] == ['one_epoch']: return print(json.dumps(epoch_cost(int(sys.argv[2]))))
    path = HERE/'costs.json'
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in sys.argv[1:] or PARTS:
        found |= PARTS[name]() | dict(machine=machine())
        path.write_text(json.dumps(found, indent=1) + '\n')


if __name__ == '__main__': main()
