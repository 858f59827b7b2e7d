"""What a search costs: time, memory and traffic of a step against width, image size, latent length, images and ranks.

    python benchmarks/costs.py      about ten minutes; let nothing else run

Writes benchmarks/costs.json, which the guide `what_it_costs` reads. Images are random pixels: the cost doesn't depend on what they show.
"""
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from degas_nb.data import Images
from degas_nb.search import Search, SearchConfig

HERE = Path(__file__).parent
GRID = [dict(width=c) for c in (8, 16, 24, 32, 48, 64)] + [dict(img_size=48, z_dim=192), dict(img_size=64, z_dim=256), dict(z_dim=512), dict(batch_size=32), dict(batch_size=128)]
COUNTS = (1000, 2000, 4000, 8000)


def noise(n, size=32): return Images(torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)), name='noise')


def step_cost(joint=False, **kw):
    "Median seconds of a step, bytes that a rank sends, weights."
    config = SearchConfig(epochs=1000, z_init='random', joint=joint, **kw)
    search = Search.from_config(noise(512, config.img_size), config)
    for _ in range(3): next(search)
    times = []
    for _ in range(9):
        start = time.perf_counter()
        next(search)
        times.append(time.perf_counter() - start)
    n_weights = sum(p.numel() for p in search.weights)
    return dict(width=config.width, batch_size=config.batch_size, img_size=config.img_size, z_dim=config.z_dim, joint=joint, seconds=statistics.median(times), n_weights=n_weights, sent_bytes=4*(n_weights + 59))


def epoch_cost(n, width=16):
    "Seconds of an epoch over n images, and the memory beyond images and latents: in a process of its own."
    config = SearchConfig(epochs=2, width=width, z_init='random')
    search = Search.from_config(noise(n), config)
    for _ in range(3): next(search)
    held = search.images.pixels.numel() + 4*search.latents.z.numel()
    start, first = time.perf_counter(), search.n
    while search.n < search.per_epoch: next(search)
    seconds = (time.perf_counter() - start)*search.per_epoch/(search.per_epoch - first)
    return dict(n=n, width=width, seconds=seconds, peak_beyond=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*1024 - held, held=held)


def rank_cost(n_ranks, width=32):
    "Images a second of a search on several processes of one thread each."
    code = f"""
import time, torch
import sys; sys.path.insert(0, {str(HERE)!r})
from costs import noise
from degas_nb.ranks import Ranks, exit_at_once
from degas_nb.search import Search, SearchConfig
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
    script, out = HERE/'.ranks.py', HERE/'.rate'
    script.write_text(code)
    try:
        launch = [sys.executable] if n_ranks == 1 else [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(n_ranks)]
        subprocess.run([*launch, str(script), str(out)], check=True, env=dict(os.environ, OMP_NUM_THREADS='1'), capture_output=True)
        return float(out.read_text())
    finally:
        for path in (script, out): path.unlink(missing_ok=True)


def main():
    if len(sys.argv) > 1:
        print(json.dumps(epoch_cost(int(sys.argv[1]))))
        return
    from bench import cpu
    found = dict(machine=dict(cpu=cpu(), threads=torch.get_num_threads(), torch=torch.__version__), steps=[], epochs=[], ranks={})
    for joint in (False, True):
        for kw in GRID:
            found['steps'].append(step_cost(joint, **kw))
            print(found['steps'][-1], flush=True)
    for n in COUNTS:
        done = subprocess.run([sys.executable, __file__, str(n)], capture_output=True, text=True, check=True)
        found['epochs'].append(json.loads(done.stdout))
        print(found['epochs'][-1], flush=True)
    alone, two = [], []
    for _ in range(3):  # in turns
        alone.append(rank_cost(1))
        two.append(rank_cost(2))
    found['ranks'] = {'1': statistics.median(alone), '2': statistics.median(two)}
    print(found['ranks'])
    (HERE/'costs.json').write_text(json.dumps(found, indent=1) + '\n')


if __name__ == '__main__': main()
