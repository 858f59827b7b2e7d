"""The critic step that ours is timed against computes the same thing."""
import sys

import torch

sys.path.insert(0, 'benchmarks')
from baselines_gan import PlainCritic, PlainCriticStep, same_critic  # noqa: E402
from degas_nb.gan.critic import ResNetCritic  # noqa: E402
from degas_nb.gan.frameworks import find_framework  # noqa: E402


def test_same_terms_and_gradients():
    ours = ResNetCritic(32, 8).double().eval()
    plain = PlainCritic(8).double().eval()
    same_critic(plain, ours)
    real, fake = torch.randn(2, 6, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mine = find_framework('ctgan').critic_terms(ours, real, fake, torch.Generator().manual_seed(1))
    theirs = PlainCriticStep(plain).terms(real, fake, torch.rand(6, 1, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    assert mine.keys() == theirs.keys()
    for name in mine: assert torch.allclose(mine[name], theirs[name], atol=1e-10), name
    for (name, p), q in zip(ours.named_parameters(), plain.parameters()):
        a, b = torch.autograd.grad(sum(mine.values()), p, retain_graph=True)[0], torch.autograd.grad(sum(theirs.values()), q, retain_graph=True)[0]
        assert torch.allclose(a, b, atol=1e-9), name
