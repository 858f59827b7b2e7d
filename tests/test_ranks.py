"""Several processes, one run: equal bits on all ranks at every step, and checkpoints that any number of ranks takes up."""
import os
import subprocess
import sys

import pytest
import torch

from degas_nb.gan import GANTraining
from test_gan import some_images, training

HEAD = """
import sys; sys.path.insert(0, 'tests')
import torch
from degas_nb.ranks import Ranks
from test_gan import *
ranks = Ranks.launched()
assert ranks.n == {n}
"""


def together(tmp_path, code, n=2):
    "Run `code` in `n` processes, as torchrun starts them."
    path = tmp_path/'script.py'
    path.write_text(HEAD.format(n=n) + code)
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=os.getcwd())
    done = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(n), str(path), str(tmp_path)], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stderr[-3000:]


GAN = """
def params(run): return [p.detach() for net in (run.generator, run.critic, run.average) for p in net.parameters()]
run = GANTraining.{start}
for step in run:
    assert ranks.agree(params(run)), step.n
    if ranks.n == 1: continue
    assert not ranks.agree([run.real_batch(0)])
    if step.n == {stop}: break
state = run.state_dict()
if ranks.main: run.folder(sys.argv[1] + '/run').save_checkpoint(state)
"""
NEW = "from_config(Genotype.named('cifar10_paper'), some_images(), GANConfig(**TINY, framework={framework!r}, conditional=True), ranks=ranks)"
OLD = "load(sys.argv[1] + '/run', some_images(), ranks=ranks)"


@pytest.mark.parametrize('framework', ['ctgan', 'sngan'])
def test_gan_weights_are_equal_bits_on_all_ranks(framework, tmp_path):
    together(tmp_path, GAN.format(start=NEW.format(framework=framework), stop=2))
    alone = GANTraining.load(tmp_path/'run', some_images())  # two ranks stopped, one goes on
    assert alone.n == 2
    for _ in alone: pass


def test_gan_on_more_ranks_than_before(tmp_path):
    run = training(conditional=True, framework='ctgan')
    next(run)
    run.save(tmp_path/'run')
    together(tmp_path, GAN.format(start=OLD, stop=4))
    assert GANTraining.load(tmp_path/'run', some_images()).n == 4


def test_gan_on_two_ranks_resumes_to_the_same_bits(tmp_path):
    (tmp_path/'whole').mkdir()
    (tmp_path/'half').mkdir()
    together(tmp_path/'whole', GAN.format(start=NEW.format(framework='ctgan'), stop=4))
    together(tmp_path/'half', GAN.format(start=NEW.format(framework='ctgan'), stop=2))
    together(tmp_path/'half', GAN.format(start=OLD, stop=4))
    a, b = [GANTraining.load(tmp_path/which/'run', some_images()) for which in ('whole', 'half')]
    assert a.n == b.n == 4
    assert all(torch.equal(p, q) for net in ('generator', 'critic', 'average') for p, q in zip(getattr(a, net).parameters(), getattr(b, net).parameters()))
