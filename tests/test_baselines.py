"""The benchmark's baseline computes what we compute: the same images, the same gradients."""
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]/'benchmarks'))
from baselines import PlainSuperGenerator, paired, same_weights

from degas_nb.search.supernet import SuperGenerator


def test_baseline_is_the_same_function():
    torch.manual_seed(0)
    ours, plain = SuperGenerator(width=6, z_dim=16).double(), PlainSuperGenerator(6, 16).double()
    same_weights(plain, ours)
    z = torch.randn(5, 16, dtype=torch.double)
    a, b = ours(z), plain(z)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    pairs = paired(plain, ours)
    assert len(pairs) == len(list(ours.parameters())) - 2  # all but two biases
    theirs = torch.autograd.grad(b.square().mean(), [p for _, p, _ in pairs])
    mine = torch.autograd.grad(a.square().mean(), [p for _, _, p in pairs])
    for (name, _, _), x, y in zip(pairs, theirs, mine): torch.testing.assert_close(x, y, rtol=1e-8, atol=1e-13, msg=name)
