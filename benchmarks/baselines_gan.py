"""What a critic step is compared with: the passes of CT-GAN's script, one after the other. Not tuned to lose: a test holds it to our terms and gradients."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degas_nb.gan.critic import ResNetCritic
from degas_nb.gan.critic import Dropout


class PlainBlock(nn.Module):
    "Convolve at full size, then take means, as the reference does."
    def __init__(self, c_in:int, c_out:int, down:bool=False, first:bool=False):
        super().__init__()
        self.down, self.first = down, first
        self.conv1, self.conv2 = nn.Conv2d(c_in, c_out, 3, padding=1), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if down else nn.Identity()

    def forward(self, x:Tensor)->Tensor:
        h = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if not self.down: return h + x
        around = self.shortcut(F.avg_pool2d(x, 2)) if self.first else F.avg_pool2d(self.shortcut(x), 2)
        return F.avg_pool2d(h, 2) + around


class PlainCritic(nn.Module):
    "CT-GAN's critic, pass by pass, default memory layout."
    def __init__(self, width:int=32, rng:torch.Generator|None=None):
        super().__init__()
        self.blocks = nn.ModuleList([PlainBlock(3, width, True, True), PlainBlock(width, width, True), PlainBlock(width, width), PlainBlock(width, width)])
        self.drops = nn.ModuleList(Dropout(p, rng) for p in (.2, .5, .5))
        self.head = nn.Linear(width, 1)

    def forward(self, x:Tensor)->tuple[Tensor, Tensor]:
        x = self.drops[0](self.blocks[1](self.blocks[0](x)))
        x = self.drops[1](self.blocks[2](x))
        x = F.relu(self.drops[2](self.blocks[3](x))).mean((2, 3))
        return self.head(x).squeeze(1), x


def same_critic(plain:PlainCritic, ours:ResNetCritic)->None:
    "Give the baseline our weights."
    plain.load_state_dict({k: v for k, v in ours.state_dict().items() if not k.startswith('class_head')})


class PlainCriticStep:
    "A critic update as CT-GAN's script orders it: D(real), D(real) again, D(fake), then the penalty."
    def __init__(self, critic:PlainCritic, lr:float=1e-3):
        self.critic, self.adam = critic, torch.optim.Adam(critic.parameters(), lr, betas=(0., .9))

    def terms(self, real:Tensor, fake:Tensor, u:Tensor)->dict[str, Tensor]:
        (first, features), (second, other), (of_fake, _) = self.critic(real), self.critic(real), self.critic(fake)
        ct = 2*((first - second).square() + .1*(features - other).square().mean(1))
        between = (real + u*(fake - real)).requires_grad_()
        slope, = torch.autograd.grad(self.critic(between)[0].sum(), between, create_graph=True)
        return dict(wass=of_fake.mean() - first.mean(), ct=ct.clamp(min=0).mean(), gp=10*(slope.flatten(1).norm(dim=1) - 1).square().mean())

    def step(self, real:Tensor, fake:Tensor)->None:
        loss = sum(self.terms(real, fake, torch.rand(len(real), 1, 1, 1, device=real.device)).values())
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
