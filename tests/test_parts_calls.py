"""What people call wrongly in the parts of a search, each one line; operations against DARTS' formulas; and whose random numbers these are."""
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from degas_nb.ground.data import load
from degas_nb.gan.critic import Dropout
from degas_nb.gan.training import GANConfig, GANTraining
from degas_nb.space.choices import choices
from degas_nb.space.generator import Generator
from degas_nb.space.genotype import DEGAS, Edge, Genotype, SearchSpace, SpaceEdge
from degas_nb.search.glo import Latents, pca_init
from degas_nb.search.merged import MergedOp
from degas_nb.search.mixed import MixedOp, candidates
from degas_nb.space.ops import Conv, Deconv, Skip, UpConv, batch_norm, build_op, register_kind, register_op
from degas_nb.search.prune import explain_prune, mixing_weights, prune
from degas_nb.search.alternating import Search, SearchConfig
from degas_nb.ground.errors import UserError
from degas_nb.search.supernet import SuperGenerator, by_name

WEIGHTS = {e.name: {op: 1/len(DEGAS.ops(e)) for op in DEGAS.ops(e)} for e in DEGAS.edges}


def with_edges(**change): return SearchSpace('s', DEGAS.nodes, [replace(e, **change.get(e.name.replace('-', '_'), {})) for e in DEGAS.edges])
def pairs(*edges, nodes='abc'): return SearchSpace('s', list(nodes), [SpaceEdge(*e) for e in edges])


WRONG = {
    'op unknown': (lambda: build_op('conv_9', 4), 'conv_9'),
    'op no name': (lambda: build_op(['conv_1'], 4), 'no operation'),
    'op none': (lambda: build_op(None, 4), 'no operation None'),
    'scale 17': (lambda: build_op('up_conv_3', 4, scale=17), 'cannot enlarge 17 times, only 2 to 16'),
    'scale that no brush fits': (lambda: build_op('deconv_4', 4, scale=3), 'side 4 cannot enlarge exactly 3 times'),
    'scale 1 of an up op': (lambda: build_op('deconv_6', 4), 'cannot enlarge 1 times'),
    'scale a float': (lambda: build_op('deconv_6', 4, scale=2.), 'cannot enlarge 2.0'),
    'even kernel': (lambda: Conv(4, 2), 'side 2'),
    'odd brush': (lambda: Deconv(4, 3, 2), 'side 3'),
    'even kernel behind repetition': (lambda: UpConv(4, 4), 'side 4'),
    'kind': (lambda: register_op('down', 'half'), "'down'"),
    'name taken': (lambda: register_op('normal', 'deconv_4')(None), 'already'),
    'name with a dot': (lambda: register_op('normal', 'conv.1'), 'conv.1'),
    'name of a method': (lambda: register_op('normal', 'keys'), 'keys'),
    'dropout': (lambda: Dropout(1.), '1.0'),
    'candidates of no kind': (lambda: candidates('sideways', 4, batch_norm()), 'sideways'),
    'candidates unknown': (lambda: candidates('normal', 4, batch_norm(), 1, ['conv_1', 'nope']), 'nope'),
    'candidates of the other kind': (lambda: candidates('normal', 4, batch_norm(), 1, ['deconv_4']), 'deconv_4'),
    'no candidates': (lambda: MixedOp({}), 'needs a candidate'),
    'too few weights': (lambda: MixedOp({'a': Skip(), 'b': Skip()})(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), torch.ones(1)), '1 weights for 2'),
    'too many weights, merged': (lambda: MergedOp({'a': Conv(1, 1), 'b': Conv(1, 3)})(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), torch.ones(3)), '3 weights for 2'),
    'genotype of a number': (lambda: Genotype.from_json(3), 'not a genotype'),
    'genotype of nothing': (lambda: Genotype.from_json(None), 'not a genotype'),
    'genotype of a list': (lambda: Genotype.from_json([1]), 'not a genotype'),
    'genotype of numbers': (lambda: Genotype(3, 4), 'nodes'),
    'genotype without edges': (lambda: Genotype(('a', 'b'), ()), 'no edge leads to it'),
    'genotype of tables': (lambda: Genotype(('a', 'b'), ({'src': 'a'},)), 'edges'),
    'genotype of ops none': (lambda: Genotype.from_ops(None), 'not from None'),
    'genotype in no space': (lambda: Genotype.from_ops({}, 'degas'), "not 'degas'"),
    'genotype op none': (lambda: Genotype(('a', 'b'), (Edge('a', 'b', 'normal', 1, None),)), 'None'),
    'genotype loaded none': (lambda: Genotype.load(None), 'None'),
    'genotype loaded number': (lambda: Genotype.load(7), '7'),
    'genotype named list': (lambda: Genotype.named(['x']), 'no genotype'),
    'circle': (lambda: pairs(('a', 'b', 'normal', 1), ('b', 'c', 'normal', 1), ('c', 'b', 'normal', 1)), 'c-b'),
    'own circle': (lambda: pairs(('a', 'b', 'normal', 1), ('b', 'b', 'normal', 1), ('b', 'c', 'normal', 1)), 'b-b'),
    'shrinks': (lambda: with_edges(s1_s2=dict(scale=.5)), 's1-s2'),
    'shrinks to nothing': (lambda: with_edges(s1_s2=dict(scale=0)), 's1-s2'),
    'sizes that do not meet': (lambda: with_edges(s0_s2=dict(scale=4)), 's0-s2'),
    'space scale 32': (lambda: with_edges(s3_s4=dict(scale=32)), 's3-s4'),
    'built on an edge': (lambda: SuperGenerator(pairs(('a', 'b', 'normal', 1), ('b', 'c', 'up', 3, ('up_conv_1', 'deconv_4'))), img_size=48), 'edge b-c: a kernel of side 4'),
    'generator on an edge': (lambda: Generator(Genotype(('a', 'b'), (Edge('a', 'b', 'up', 3, 'deconv_4'),)), 48), 'edge a-b: a kernel of side 4'),
    'kind taken': (lambda: register_kind('up', (2,)), 'already'),
    'kind with a digit': (lambda: register_kind('up2', (2,)), "'up2'"),
    'kind that enlarges words': (lambda: register_kind('skip', 'abc'), 'kind skip'),
    'kind that shrinks': (lambda: register_kind('skip', (1, 0)), 'from 1 to 16'),
    'none registered': (lambda: register_op('normal', 'none')(None), 'already'),
    'none alone': (lambda: with_edges(s0_s2=dict(ops=['none'])), 'edge s0-s2 can only give nothing'),
    'none mixed alone': (lambda: MixedOp(candidates('up', 4, batch_norm(), 2, ['none'])), 'beside none'),
    'none in a genotype': (lambda: Genotype(('a', 'b'), (Edge('a', 'b', 'normal', 1, 'none'),)), 'leave the edge out'),
    'none where it is no candidate': (lambda: Genotype.from_ops({'s0-s1': 'none'}), "'none' is no normal operation of space degas"),
    'keep nothing': (lambda: replace(DEGAS, keep=0), 'not 0'),
    'keep yes': (lambda: replace(DEGAS, keep=True), 'not True'),
    'keep a word': (lambda: replace(DEGAS, keep='most'), "not 'most'"),
    'keep a list': (lambda: replace(DEGAS, keep=[2]), 'not a list'),
    'keep at no node': (lambda: replace(DEGAS, keep=dict(s9=2)), "keep names 's9'"),
    'keep at the first': (lambda: replace(DEGAS, keep=dict(s0=2)), "keep names 's0'"),
    'keep what of a node': (lambda: replace(DEGAS, keep=dict(s4=None)), "of node 's4'"),
    'too many ways': (lambda: choices(replace(DEGAS, nodes=(*DEGAS.nodes, 's7'), edges=(*DEGAS.edges, *(SpaceEdge(f's{i}', 's7', 'up', 16//2**(i//2), ('none', 'up_conv_1', 'up_conv_3', 'deconv_4', 'deconv_6', 'mine')) for i in range(7))), keep='all')), 'node s7 can end in about'),
    'normal that enlarges': (lambda: with_edges(s0_s1=dict(scale=2)), 's0-s1'),
    'kind of an edge': (lambda: with_edges(s0_s1=dict(kind='down')), "'down'"),
    'kind no word': (lambda: with_edges(s0_s1=dict(kind=['normal'])), 'unknown kind'),
    'twice': (lambda: pairs(('a', 'b', 'normal', 1), ('b', 'c', 'up', 2), ('b', 'c', 'up', 2)), 'b-c is there twice'),
    'no input': (lambda: pairs(('a', 'c', 'normal', 1)), 'node b'),
    'no reader': (lambda: pairs(('a', 'b', 'normal', 1), ('a', 'c', 'normal', 1)), 'node b'),
    'node unknown': (lambda: pairs(('a', 'b', 'normal', 1), ('b', 'x', 'normal', 1)), "'x'"),
    'node twice': (lambda: pairs(('a', 'b', 'normal', 1), nodes='abb'), 'different names'),
    'node with a dash': (lambda: SearchSpace('s', ['a-a', 'b'], [SpaceEdge('a-a', 'b', 'normal', 1)]), 'a-a'),
    'node of a method': (lambda: SearchSpace('s', ['keys', 'b'], [SpaceEdge('keys', 'b', 'normal', 1)]), 'keys'),
    'space without name': (lambda: SearchSpace('', DEGAS.nodes, DEGAS.edges), 'name'),
    'space of nothing': (lambda: SearchSpace('s', None, None), 'None'),
    'menu a word': (lambda: with_edges(s0_s1=dict(ops='conv_1')), "'conv_1'"),
    'menu empty': (lambda: with_edges(s0_s1=dict(ops=())), 's0-s1'),
    'menu twice': (lambda: with_edges(s0_s1=dict(ops=('conv_1', 'conv_1'))), 'conv_1 is a candidate twice'),
    'menu of numbers': (lambda: with_edges(s0_s1=dict(ops=(1, 2))), 's0-s1'),
    'not registered': (lambda: SuperGenerator(with_edges(s4_s5=dict(ops=('conv_1', 'mine')))), "s4-s5: 'mine'"),
    'registered for others': (lambda: SuperGenerator(with_edges(s4_s5=dict(ops=('deconv_4',)))), "s4-s5: 'deconv_4'"),
    'space from json none': (lambda: SearchSpace.from_json(None), 'not a search space'),
    'space from json op': (lambda: SearchSpace.from_json(with_edges(s0_s1=dict(ops=('mine',))).to_json()), "s0-s1: 'mine'"),
    'space loaded': (lambda: SearchSpace.load('nowhere.json'), 'nowhere.json'),
    'supernet of no space': (lambda: SuperGenerator('degas'), "not 'degas'"),
    'supernet size': (lambda: SuperGenerator(img_size=33), '33'),
    'names of other alphas': (lambda: by_name(DEGAS, dict(normal=torch.zeros(3, 8), up=torch.zeros(8, 4))), 'another space'),
    'names of nothing': (lambda: by_name(DEGAS, None), 'must be a dict'),
    'prune none': (lambda: prune(None), 'None'),
    'prune a list': (lambda: prune([1]), 'needs'),
    'prune a word': (lambda: prune(WEIGHTS | {'s0-s1': 'conv_1'}), 's0-s1'),
    'prune words': (lambda: prune(WEIGHTS | {'s0-s1': dict.fromkeys(DEGAS.ops(DEGAS.edges[0]), 'a lot')}), 'a lot'),
    'prune no rule': (lambda: prune(WEIGHTS, rule=None), 'None'),
    'prune no which': (lambda: prune(WEIGHTS, which=1), '1'),
    'prune in no space': (lambda: prune(WEIGHTS, None), 'None'),
    'prune another op': (lambda: prune(WEIGHTS | {'s0-s1': WEIGHTS['s0-s1'] | dict(mine=.5)}), 'mine'),
    'prune another edge': (lambda: explain_prune(WEIGHTS | {'s0-s3': WEIGHTS['s0-s1']}), 's0-s3'),
    'weights of nothing': (lambda: mixing_weights(None), 'None'),
    'weights of words': (lambda: mixing_weights({'a': {'b': 'c'}}), "'c'"),
    'latents of none': (lambda: Latents(0, 8, 'random'), '0 latents'),
    'latents of no size': (lambda: Latents(4, 0, 'random'), '4 latents of 0'),
    'latents without images': (lambda: Latents(4, 8), 'needs the 4 images'),
    'start of no images': (lambda: pca_init(None, 8), 'must be an Images or a Tensor'),
    'start of empty images': (lambda: pca_init(torch.zeros(0, 3, 8, 8, dtype=torch.uint8), 8), 'one or more'),
}


@pytest.mark.parametrize('call, says', WRONG.values(), ids=WRONG)
def test_a_wrong_call_is_one_line(call, says):
    with pytest.raises(UserError) as e: call()
    assert says in str(e.value) and '\n' not in str(e.value)


def darts(name, w, x):
    "DARTS' operations.py in plain torch calls: parameters in their order, batch norm without scale and shift by the batch's statistics."
    def norm(x): return F.batch_norm(x, None, None, training=True)
    def separable(x, depth, point, k, dilation=1): return norm(F.conv2d(F.conv2d(F.relu(x), depth, padding=dilation*(k//2), dilation=dilation, groups=x.shape[1]), point))
    kind, _, k = name.rpartition('_')
    k = int(k[0]) if k[0].isdigit() else 0
    if kind == 'conv': return F.conv2d(F.relu(norm(x)), w[0], padding=k//2)
    if kind == 'max_pool': return F.max_pool2d(x, 3, stride=1, padding=1)
    if kind == 'avg_pool': return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    if kind == 'sep_conv': return separable(separable(x, w[0], w[1], k), w[2], w[3], k)
    if kind == 'dil_conv': return separable(x, w[0], w[1], k, 2)
    return x


@pytest.mark.parametrize('shape', [(2, 3, 8, 8), (3, 4, 5, 7), (1, 8, 16, 16)], ids=str)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize('name', DEGAS.ops(DEGAS.edges[0]))
def test_normal_operations_are_darts(name, dtype, shape):
    "To the bit, for inputs of either sign and any scale; gradients too."
    torch.manual_seed(0)
    op = build_op(name, shape[1], batch_norm(affine=False)).to(dtype)
    x = (torch.randn(shape, dtype=dtype)*3 - 1).requires_grad_()
    w = list(op.parameters())
    ours, theirs = op(x), darts(name, w, x)
    assert torch.equal(ours, theirs)
    towards = torch.randn_like(x)
    for a, b in zip(*(torch.autograd.grad((out*towards).sum(), [x, *w]) for out in (ours, theirs)), strict=True): assert torch.equal(a, b)


@pytest.mark.parametrize('scale', [2, 4])
@pytest.mark.parametrize('name', DEGAS.ops(DEGAS.edges[1]))
def test_up_operations_are_their_formulas(name, scale):
    torch.manual_seed(0)
    op, x = build_op(name, 4, batch_norm(affine=False), scale), torch.randn(2, 4, 6, 6)
    (w,), k = op.parameters(), int(name[-1])
    h = F.relu(F.batch_norm(x, None, None, training=True))
    if name.startswith('deconv'): theirs = F.conv_transpose2d(h, w, stride=scale, padding=(k - scale)//2)
    else: theirs = F.conv2d(h.repeat_interleave(scale, 2).repeat_interleave(scale, 3), w, padding=k//2)
    assert torch.equal(op(x), theirs)


def streams():
    "Where the global streams of torch, numpy and Python stand."
    return torch.get_rng_state().tolist(), [str(v) for v in np.random.get_state()], random.getstate()


def searched(tmp_path, between=lambda: None):
    search = Search.from_config(load('emoji', limit=48), SearchConfig(epochs=1, width=4, batch_size=16, z_dim=8))
    for _ in search: between()
    search.save(tmp_path/'search')
    search.sample(4), search.reconstruct(torch.arange(4)), search.psnr()
    Search.load(tmp_path/'search', search.images)
    return search.latents.z, *search.net.state_dict().values()


def trained(tmp_path, between=lambda: None):
    config = GANConfig.teaching('ctgan')
    training = GANTraining.from_config(load('emoji', limit=48), replace(config, steps=2, batch_size=8, width=8, n_critic=1), Genotype.named('cifar10_paper'))
    for _ in training: between()
    training.save(tmp_path/'gan')
    for statistics in 'batch', 'running', 'recalibrated': training.sample(4, statistics=statistics)
    GANTraining.load(tmp_path/'gan', training.images)
    return *training.generator.state_dict().values(), *training.critic.state_dict().values()


@pytest.mark.long
@pytest.mark.parametrize('work', [searched, trained])
def test_global_streams_are_left_alone_and_change_nothing(work, tmp_path):
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    before = streams()
    first = work(tmp_path/'a')
    assert streams() == before

    def disturb(): torch.rand(3), torch.randperm(7), np.random.rand(2), random.random(), torch.manual_seed(random.randrange(99))

    disturb()
    for a, b in zip(first, work(tmp_path/'b', disturb), strict=True): assert torch.equal(a, b)


@pytest.mark.parametrize('held_out', [0., .5])
def test_an_epochs_order_is_drawn_once(held_out, monkeypatch):
    from degas_nb.search import alternating as module
    drawn, draw = [], module.epoch_permutation
    run = Search.from_config(load('emoji', limit=96), SearchConfig(epochs=3, width=4, batch_size=16, z_dim=8, held_out=held_out))
    monkeypatch.setattr(module, 'epoch_permutation', lambda n, seed, epoch: drawn.append((seed, epoch)) or draw(n, seed, epoch))
    steps = sum(1 for _ in run)
    assert steps >= 9 and len(drawn) == len(set(drawn)) == 3*(1 + (held_out > 0))


def test_the_network_of_a_genotype_leaves_the_stream_to_its_caller():
    "A bare `Generator` draws from the global stream, as PyTorch's layers do: what is seeded is the caller's affair."
    nets = [(torch.manual_seed(3), Generator(Genotype.named('cifar10_paper'), 16, 4, 4))[1] for _ in range(2)]
    for a, b in zip(*(net.state_dict().values() for net in nets)): assert torch.equal(a, b)
