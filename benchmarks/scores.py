"""The scores against pytorch-fid, on the same features: rows of `make bench`.

    python benchmarks/scores.py            both rows, about three minutes on two cores
    python benchmarks/scores.py ours 50000 peak memory of one side, in bytes; what the second row starts
"""
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from measure import in_turns
from torch import nn

from degas_nb.judge.features import Features
from degas_nb.judge.metrics import Statistics, describe_images, frechet_distance

DIM, IMAGES, BATCH = 2048, 50_000, 250


def graded_features(n, seed, dim=DIM):
    "Correlated features whose scales span three decades, as those of a trained network do"
    rng = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(0)))[0]
    return (torch.randn(n, dim, generator=rng)*torch.logspace(0, -3, dim)) @ turn + .01*seed


def frechet_time(n=10_000, dim=DIM):
    "The distance of two statistics of full rank; both must say the same"
    from pytorch_fid.fid_score import calculate_frechet_distance
    a, b = (Statistics.of(graded_features(n, seed, dim)) for seed in (1, 2))
    theirs = [s.numpy() for s in (a.mean, a.cov, b.mean, b.cov)]
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')   # scipy's, of an argument that pytorch-fid still gives
        slow, fast = in_turns(lambda: said.append(calculate_frechet_distance(*theirs)), lambda: said.append(frechet_distance(a, b)), rounds=3, warm_ups=1)
    if max(said)/min(said) - 1 > 1e-6: raise SystemExit(f'the two distances differ: {min(said)} and {max(said)}')
    return dict(name=f'Frechet distance of statistics, {dim} features', against='pytorch-fid (sqrtm)', baseline=slow, ours=fast, ratio=slow/fast)


class RandomFeatures(nn.Module):
    "Instead of Inception, for both sides: what is measured is how features are kept, not how they are made"
    name, dim, hash, resize = 'random', DIM, '-', 'none'

    def forward(self, pixels):
        features = torch.randn(len(pixels), self.dim, 1, 1)
        return Features(features[..., 0, 0], features[:, :0, 0, 0]) if pixels.dtype == torch.uint8 else [features]


def describe_ours(n):
    return describe_images(torch.zeros(n, 3, 1, 1, dtype=torch.uint8), RandomFeatures(), BATCH).stats.cov


def describe_theirs(n):
    from PIL import Image
    from pytorch_fid import fid_score
    fid_score.tqdm = lambda batches: batches
    with tempfile.TemporaryDirectory() as folder:
        Image.new('RGB', (1, 1)).save(path := Path(folder)/'one.png')
        return fid_score.calculate_activation_statistics([path]*n, RandomFeatures(), BATCH, DIM, num_workers=0)


def peak_growth(describe, n):
    "Bytes by which the peak of this process rises above what it held before; libraries are loaded by a small run first"
    def of(key): return 1024*next(int(line.split()[1]) for line in Path('/proc/self/status').read_text().splitlines() if line.startswith(key))
    describe(10*BATCH)
    before = of('VmRSS')
    kept = describe(n)
    return of('VmHWM') - before if kept is not None else 0


def memory_of_statistics(n=IMAGES):
    "Each side in a process of its own"
    def run(side): return int(subprocess.run([sys.executable, __file__, side, str(n)], check=True, capture_output=True, text=True).stdout)
    more, less = run('theirs'), run('ours')
    return dict(name=f'extra peak memory of mean and covariance, {n:,} x {DIM} features', against='pytorch-fid (all features in float64, then np.cov)', baseline=more, ours=less, ratio=more/less)


ROWS = [frechet_time, memory_of_statistics]


if __name__ == '__main__':
    if len(sys.argv) == 3: print(peak_growth(dict(ours=describe_ours, theirs=describe_theirs)[sys.argv[1]], int(sys.argv[2])))
    else:
        for row in ROWS: print(row())
