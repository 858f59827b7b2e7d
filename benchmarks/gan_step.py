"""The critic step of CT-GAN against its script's order of passes."""
from baselines_gan import PlainCritic, PlainCriticStep, same_critic
from measure import in_turns

from degas_nb.ground.data import load
from degas_nb.gan.steps import descend
from degas_nb.gan.training import GANConfig, GANTraining
from degas_nb.space.genotype import Genotype


def critic_step():
    "Width 32, batch 64; the same weights, the same images"
    run = GANTraining.from_config(load('emoji', limit=640), GANConfig(), Genotype.named('cifar10_paper'))
    plain = PlainCritic(32, run.masks['dropout'])
    same_critic(plain, run.critic)
    theirs, real, fake = PlainCriticStep(plain), run.real(run.real_index(0)), run.generator(run.noise(64)).detach()
    contiguous = real.contiguous(), fake.contiguous()
    def ours(): descend(run.critic_optimiser, run.critic, sum(run.framework.critic_terms(run.critic, real, fake, run.randoms['penalty']).values()))
    slow, fast = in_turns(lambda: theirs.step(*contiguous), ours)
    return dict(name='CTGAN critic step, width 32, batch 64', against="the passes of CT-GAN's script one by one, default layout", baseline=slow, ours=fast, ratio=slow/fast)


ROWS = [critic_step]
