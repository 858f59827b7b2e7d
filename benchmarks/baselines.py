"""What the search is compared with: the same network as DARTS-like code writes it. Not tuned to lose: a test holds it to our outputs and gradients."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degas_nb.space.genotype import DEGAS
from degas_nb.space.ops import batch_norm, build_op
from degas_nb.search.pyramid import reconstruction_loss
from degas_nb.search.supernet import SuperGenerator


class PlainSuperGenerator(nn.Module):
    "Figure 2 with every candidate complete in itself: its own BN and ReLU, evaluated on its own, default memory layout."
    def __init__(self, width:int=32, z_dim:int=128, img_size:int=32):
        super().__init__()
        norm = batch_norm(affine=False)
        self.side = img_size//8
        self.width, self.z_dim = width, z_dim
        self.linear = nn.Linear(z_dim, width*self.side**2)
        self.edges = nn.ModuleDict({e.name: nn.ModuleDict({o: build_op(o, width, norm, e.scale) for o in DEGAS.ops(e)}) for e in DEGAS.edges})
        self.pool_norms = nn.ModuleDict({e.name: nn.ModuleDict({o: norm(width) for o in DEGAS.ops(e) if 'pool' in o}) for e in DEGAS.edges})
        self.norm, self.conv = norm(width), nn.Conv2d(width, 3, 3, padding=1)
        self.alpha = nn.ParameterDict({'normal': torch.zeros(3, 9), 'up': torch.zeros(8, 4)})

    def mixed(self, edge:str, x:Tensor, w:Tensor)->Tensor:
        "Eq. 1, candidate by candidate."
        outs = [op(x) for op in self.edges[edge].values()]
        outs = [self.pool_norms[edge][name](out) if name in self.pool_norms[edge] else out for name, out in zip(self.edges[edge], outs)]
        return sum(w_o*out for w_o, out in zip(w, outs))

    def forward(self, z:Tensor)->Tensor:
        weights = {kind: a.softmax(-1) for kind, a in self.alpha.items()}
        row = {e.name: (kind, i) for kind in weights for i, e in enumerate(DEGAS.edges_of(kind))}
        maps = {'s0': self.linear(z).view(len(z), self.width, self.side, self.side)}
        for node in DEGAS.nodes[1:]:
            maps[node] = sum(self.mixed(e.name, maps[e.src], weights[row[e.name][0]][row[e.name][1]]) for e in DEGAS.incoming(node))
        return torch.tanh(self.conv(F.relu(self.norm(maps[DEGAS.nodes[-1]]))))


def same_weights(plain:PlainSuperGenerator, ours:SuperGenerator)->None:
    "Copy our weights and alphas into the baseline."
    with torch.no_grad():
        plain.linear.load_state_dict(ours.head.linear.state_dict())
        plain.conv.load_state_dict(ours.tail.conv.state_dict())
        for kind, a in ours.alpha.items(): plain.alpha[kind].copy_(a)
        for edge, mixed in ours.edges.items():
            for name, op in mixed.ops.items():
                target = plain.edges[edge][name]
                (target.op if hasattr(target, 'op') else target).load_state_dict(op.state_dict() if 'pool' not in name else {})


def paired(plain:PlainSuperGenerator, ours:SuperGenerator)->list[tuple[str, nn.Parameter, nn.Parameter]]:
    "The parameters of both networks that mean the same."
    pairs = [('linear', plain.linear.weight, ours.head.linear.weight), ('conv', plain.conv.weight, ours.tail.conv.weight)]
    pairs += [(f'alpha {kind}', plain.alpha[kind], ours.alpha[kind]) for kind in ours.alpha]
    for edge, mixed in ours.edges.items():
        for name, op in mixed.ops.items():
            target = plain.edges[edge][name]
            theirs = dict((target.op if hasattr(target, 'op') else target).named_parameters())
            pairs += [(f'{edge} {name} {k}', theirs[k], p) for k, p in op.named_parameters()]
    return pairs


class PlainSearch:
    "One GLO step and one alpha step with a full backward each, as DARTS-like code takes them."
    def __init__(self, net:PlainSuperGenerator, z:Tensor, images:Tensor, lr:float=1e-3, z_lr:float=.1, alpha_lr:float=3e-3):
        self.net, self.z, self.images, self.z_lr = net, z, images, z_lr
        weights = [p for name, p in net.named_parameters() if not name.startswith('alpha')]
        self.opt = torch.optim.Adam(weights, lr)
        self.alpha_opt = torch.optim.Adam(list(net.alpha.values()), alpha_lr, betas=(.5, .999), weight_decay=1e-3)

    def loss(self, z:Tensor)->Tensor:
        return sum(reconstruction_loss(self.net(z*self.net.z_dim**.5), self.images).values()).mean()

    def step(self)->None:
        z = self.z.clone().requires_grad_()
        self.opt.zero_grad()
        self.loss(z).backward()
        self.opt.step()
        moved = self.z - self.z_lr*len(z)*z.grad
        self.z = moved/moved.norm(dim=1, keepdim=True)
        self.alpha_opt.zero_grad()
        self.loss(self.z).backward()
        self.alpha_opt.step()
