"""A space of one's own: it alone says which operations there are, and it travels with the run."""
import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from degas_nb.app.main import main
from degas_nb.ground.data import load
from degas_nb.space.generator import Generator
from degas_nb.space.genotype import DEGAS, Genotype, SearchSpace, SpaceEdge, space_of
from degas_nb.search.merged import mergeable
from degas_nb.search.mixed import candidates
from degas_nb.space.ops import KINDS, Conv, Op, SepConv, UpConv, batch_norm, batch_statistics, build_op, register_op
from degas_nb.search.prune import explain_in, explain_prune, prune
from degas_nb.views.replay import replay
from degas_nb.ground.folders import RunFolder, shipped_run
from degas_nb.search.alternating import Search, SearchConfig
from degas_nb.ground.errors import UserError
from degas_nb.search.supernet import SuperGenerator, by_name
from warm import python


class Blur(Op):
    "Reads the map itself, has no kernel to merge and no norm."
    def __init__(self, width):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width, 1, 1))
    def forward(self, x, y=None): return self.gain*F.avg_pool2d(x, 5, 1, 2)


class Holes(Conv):
    "Inherits a kernel that does not tell of its dilation."
    def __init__(self, width):
        super().__init__(width, 3)
        self.conv = nn.Conv2d(width, width, 3, padding=2, dilation=2, bias=False)


class Biased(Conv):
    "Inherits a kernel that does not tell of its bias."
    def __init__(self, width):
        super().__init__(width, 1)
        self.conv = nn.Conv2d(width, width, 1)


class Grouped(Conv):
    "Its kernel is thinner than the others."
    def __init__(self, width):
        super().__init__(width, 3)
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)


class Bilinear(Op):
    "Enlarges without pixels being repeated: linear, yet no kernel is given."
    activated = True
    def __init__(self, width, scale):
        super().__init__()
        self.scale, self.conv = scale, nn.Conv2d(width, width, 3, padding=1, bias=False)
    def forward(self, h, y=None): return self.conv(F.interpolate(h, scale_factor=float(self.scale), mode='bilinear'))


class WarmSep(SepConv):
    "A child of a class that the merged form knows a short cut for, which would be wrong for this one."
    def forward(self, x, y=None): return 2*super().forward(x, y)


OWN = dict(normal=dict(blur_5x5=lambda c, norm, scale: Blur(c), conv_5=lambda c, norm, scale: Conv(c, 5), holes_3x3=lambda c, norm, scale: Holes(c),
                       biased_1=lambda c, norm, scale: Biased(c), grouped_3=lambda c, norm, scale: Grouped(c), warm_sep=lambda c, norm, scale: WarmSep(c, 3, norm),
                       conv_pool=lambda c, norm, scale: Conv(c, 3)),
           up=dict(bilinear_3=lambda c, norm, scale: Bilinear(c, scale), up_conv_5=lambda c, norm, scale: UpConv(c, 5, scale)))


@pytest.fixture
def own_ops():
    "Operations that only these tests know."
    for kind, ops in OWN.items():
        for name, build in ops.items(): register_op(kind, name)(build)
    yield OWN
    for kind, ops in OWN.items():
        for name in ops: del KINDS[kind][name]


class Mine(SearchSpace):
    "DEGAS' graph with other menus, said in a method: fewer, in another order."
    def ops(self, edge): return ('skip_connect', 'conv_3', 'avg_pool_3x3') if edge.kind == 'normal' else ('up_conv_3', 'deconv_4')


class Uneven(SearchSpace):
    "Every edge another menu."
    def ops(self, edge):
        known, i = list(KINDS[edge.kind]), self.edges.index(edge)
        return [*known[i % 3::2], *known[:1]*(i % 3 > 0)]


def small(name='small', normal=('conv_3', 'skip_connect'), up=('up_conv_3', 'deconv_4'), jump=('up_conv_1',)):
    return SearchSpace(name, ['a', 'b', 'c', 'd'], [SpaceEdge('a', 'b', 'normal', 1, normal), SpaceEdge('b', 'c', 'up', 2, up), SpaceEdge('a', 'c', 'up', 2, jump), SpaceEdge('c', 'd', 'up', 4, up)])


SPACES = dict(
    subset=lambda: Mine('mine', DEGAS.nodes, DEGAS.edges),
    uneven=lambda: Uneven('uneven', DEGAS.nodes, DEGAS.edges),
    reversed=lambda: SearchSpace('reversed', DEGAS.nodes, [replace(e, ops=e.ops[::-1]) for e in DEGAS.edges]),
    one=lambda: SearchSpace('one', DEGAS.nodes, [replace(e, ops=e.ops[-1:]) for e in DEGAS.edges]),
    small=small,
    chain=lambda: SearchSpace('chain', ('x', 'y'), (SpaceEdge('x', 'y', 'up', 4),)),
    own=lambda: small('own', ('conv_1', 'blur_5x5', 'conv_3', 'holes_3x3', 'conv_5', 'biased_1', 'grouped_3', 'warm_sep', 'conv_pool', 'avg_pool_3x3'), ('bilinear_3', 'up_conv_5', 'deconv_4'), ('up_conv_5', 'deconv_6')),
)


def nets(space, **kw):
    "The two forms with the same weights, in double precision."
    torch.manual_seed(0)
    pair = [SuperGenerator(space, 32, 8, 4, impl=impl, **kw).double() for impl in ('sum', 'merged')]
    for a in pair[0].alpha.values(): a.data.normal_()
    pair[1].load_state_dict(pair[0].state_dict())
    return pair


@pytest.mark.parametrize('name', SPACES)
def test_both_forms_are_one_function_and_alpha_weighs_what_it_names(name, own_ops):
    space = SPACES[name]()
    plain, merged = nets(space)
    assert list(plain.state_dict()) == list(merged.state_dict())
    for net in plain, merged:
        for e in space.edges: assert list(net.edges[e.name].ops) == list(space.ops(e))
    z = torch.randn(4, 8, dtype=torch.double)
    results = []
    for net in plain, merged:
        out = net(z)
        results.append([out, *torch.autograd.grad(out.square().mean(), list(net.parameters()), allow_unused=True)])
    for a, b in zip(*results, strict=True): torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    for net in plain, merged: net.eval()
    torch.testing.assert_close(plain(z), merged(z), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('name', SPACES)
@pytest.mark.parametrize('impl', ['sum', 'merged'])
def test_the_weight_of_a_name_is_the_weight_of_that_operation(name, impl, own_ops):
    "All weight on one name of each edge: the edge then is that operation, which is found by its name."
    space = SPACES[name]()
    net = nets(space)[impl == 'merged']
    for pick in range(max(len(space.ops(e)) for e in space.edges)):
        wanted = {e.name: list(space.ops(e))[pick % len(space.ops(e))] for e in space.edges}
        weights = {g: torch.zeros(a.shape, dtype=torch.double) for g, a in net.alpha.items()}
        for g, edges in net.space.groups().items():
            for row, e in enumerate(edges): weights[g][row, net.space.ops(e).index(wanted[e.name])] = 1
        assert {e: max(ops, key=ops.get) for e, ops in by_name(space, weights).items()} == wanted
        for e in space.edges:
            x = torch.randn(2, 4, 5, 5, dtype=torch.double)
            h, mix = F.relu(x), net.edges[e.name]
            op = mix.ops[wanted[e.name]]
            with batch_statistics(net): torch.testing.assert_close(mix(x, h, net.mixing(e, weights)), op(h if op.activated else x))
        found = prune(by_name(space, weights), space, 'argmax_all')
        assert {e.name: e.op for e in found.edges} == wanted


def test_degas_has_two_matrices_and_what_is_registered_later_is_not_in_it(own_ops):
    net = SuperGenerator(width=4)
    assert {g: tuple(a.shape) for g, a in net.alpha.items()} == dict(normal=(3, 9), up=(8, 4))
    assert not {op for e in DEGAS.edges for op in DEGAS.ops(e)} & {*OWN['normal'], *OWN['up']}
    rows = RunFolder.open(shipped_run('cifar10')).trace.read()
    assert prune(rows[-1]['weights']) == Genotype.named('cifar10_found')
    everything = SearchSpace('everything', DEGAS.nodes, [replace(e, ops=None) for e in DEGAS.edges])
    assert {*OWN['normal']} < {*SuperGenerator(everything, width=4).edges['s0-s1'].ops}


def test_one_matrix_for_edges_with_one_menu():
    space = SPACES['uneven']()
    groups = space.groups()
    assert sorted(e.name for edges in groups.values() for e in edges) == sorted(e.name for e in space.edges)
    for edges in groups.values(): assert len({(e.kind, tuple(space.ops(e))) for e in edges}) == 1
    assert len(groups) == len({(e.kind, tuple(space.ops(e))) for e in space.edges})
    assert list(small().groups()) == ['normal', 'up', 'up2']


def test_only_what_its_kernel_tells_is_merged(own_ops):
    norm = batch_norm(affine=False)
    assert mergeable(candidates('normal', 4, norm)) == ['conv_1', 'conv_3', 'conv_5']
    assert mergeable(candidates('up', 4, norm, 2)) == ['deconv_4', 'deconv_6', 'up_conv_1', 'up_conv_3', 'up_conv_5']
    assert mergeable(candidates('normal', 4, norm, 1, ['holes_3x3', 'biased_1', 'grouped_3', 'conv_3'])) == []


def test_the_network_that_is_left_computes_what_the_search_did(own_ops):
    "A genotype of the space as a generator: every operation reads what it read in the search."
    space = SPACES['own']()
    for op in space.ops(space.edges[0]):
        genotype = Genotype.from_ops({'a-b': op, 'b-c': 'bilinear_3', 'c-d': 'up_conv_5'}, space)
        assert Generator(genotype, 32, 8, 4)(torch.randn(3, 8)).shape == (3, 3, 32, 32)
        assert build_op(op, 4).__class__.__name__ == 'Activated' or not candidates('normal', 4, batch_norm(), 1, [op])[op].activated


def toy(space, **kw): return Search.from_config(load('emoji', limit=48), SearchConfig(epochs=2, width=4, batch_size=16, z_dim=8, **kw), space)


def state_of(search): return [search.latents.z, *search.net.state_dict().values()]


@pytest.mark.parametrize('name', SPACES)
@pytest.mark.parametrize('impl', ['sum', 'merged'])
def test_a_run_brings_its_space_and_goes_on_to_the_same_bits(name, impl, own_ops, tmp_path):
    space = SPACES[name]()
    whole = toy(space, impl=impl)
    for step in whole:
        if step.n == 3: whole.save(tmp_path/'run')
    again = Search.load(tmp_path/'run', whole.images)
    assert again.n == 3 and again.net.space == space.fixed() and type(again.net.space) is SearchSpace
    for last in again: pass
    for a, b in zip(state_of(whole), state_of(again), strict=True): assert torch.equal(a, b)
    assert again.save(tmp_path/'run').path == tmp_path/'run'
    found, = {prune(last.weights, s) for s in (space, again.net.space, space_of(RunFolder.open(tmp_path/'run').config))}
    assert Genotype.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_another_space_is_another_run(tmp_path):
    search = toy(SPACES['subset']())
    next(search)
    search.save(tmp_path/'run')
    for other in DEGAS, SPACES['reversed'](), small():
        with pytest.raises(UserError, match='space'): toy(other).load_state_dict(search.state_dict())
        with pytest.raises(UserError, match='another run'): toy(other).save(tmp_path/'run')


def test_degas_runs_are_written_as_ever_and_open(tmp_path):
    search = toy(DEGAS)
    next(search)
    run = search.save(tmp_path/'run')
    assert 'space' not in run.config and 'space' not in search.state_dict()['config']
    assert Search.load(tmp_path/'run', search.images).net.space == DEGAS == space_of(RunFolder.open(shipped_run('cifar10')).config)


@pytest.mark.parametrize('name', ['subset', 'uneven', 'reversed', 'small', 'own'])
def test_a_space_is_json(name, own_ops, tmp_path):
    space = SPACES[name]()
    space.save(tmp_path/'space.json')
    again = SearchSpace.load(tmp_path/'space.json')
    assert again == space.fixed() == again.fixed() and [again.ops(e) for e in again.edges] == [tuple(space.ops(e)) for e in space.edges]


def test_commands_read_the_space_from_the_run(tmp_path, capsys):
    space, run = SPACES['uneven'](), tmp_path/'run'
    space.save(tmp_path/'space.json')
    flags = ['--epochs', '1', '--width', '4', '--batch-size', '16', '--z-dim', '8']
    main(['search', '--data', 'emoji', '--limit', '48', '--space', str(tmp_path/'space.json'), '--asked', '8', '--out', str(run), *flags])
    (tmp_path/'space.json').unlink()
    searched = Genotype.load(run)
    (run/'genotype.json').unlink()
    main(['search', '--resume', '--out', str(run)])
    main(['prune', str(run)])
    assert Genotype.load(run) == searched and searched.space == 'uneven'
    for e in searched.edges: assert e.op in space.ops(next(s for s in space.edges if s.name == e.name))
    assert f'--space {run} ' in (run/'report.html').read_text()
    rows = RunFolder.open(run).trace.read()
    assert explain_in(run)(rows[-1]['weights']) == explain_prune(rows[-1]['weights'], space)
    assert 'kept' in replay(run, decide=explain_in(run)).frames[-1].layout.title.text
    main(['draw', str(run), '--out', str(tmp_path/'found.svg')])
    capsys.readouterr()


@pytest.mark.parametrize('name', ['uneven', 'small'])
def test_what_was_found_needs_no_space_object(name, tmp_path):
    "In a process that has never heard of the space: load, draw, build, train, save, load again."
    space = SPACES[name]()
    torch.manual_seed(1)
    values = {e.name: dict(zip(space.ops(e), torch.rand(len(space.ops(e))).softmax(0).tolist())) for e in space.edges}
    prune(values, space).save(tmp_path/'genotype.json')
    script = f'''
from dataclasses import replace
import json, torch
from degas_nb.ground.data import load
from degas_nb.gan.training import GANConfig, GANTraining, generator_from, generator_spec
from degas_nb.space.genotype import Genotype, svg
genotype = Genotype.load({str(tmp_path/'genotype.json')!r})
assert genotype.space == {space.name!r} and svg(genotype).startswith('<svg')
images = load('emoji', limit=32)
training = GANTraining.from_config(images, replace(GANConfig.teaching('ctgan'), steps=1, batch_size=8, width=4, n_critic=1), genotype)
next(training)
training.save({str(tmp_path/'gan')!r})
again = GANTraining.load({str(tmp_path/'gan')!r}, images)
assert again.generator.genotype == genotype and again.n == 1
assert generator_from(json.loads(json.dumps(generator_spec(again.generator)))).genotype == genotype'''
    done = python('-c', script)
    assert done.returncode == 0, done.stderr


def fails(capsys, *words):
    with pytest.raises(SystemExit) as e: main([*map(str, words)])
    said = capsys.readouterr().err.strip().splitlines()
    assert e.value.code == 2
    return said[-1]


def test_an_operation_that_is_unknown_here_can_be_watched_and_is_named_where_it_is_needed(own_ops, tmp_path, capsys):
    space = small('own', ('conv_1', 'blur_5x5'), ('bilinear_3', 'up_conv_5'))
    search = toy(space)
    run = search.folder(tmp_path/'run')
    for step in search: run.trace.append(step.record(with_alpha=True))
    search.save(run)
    sharp = {e.name: {op: float(i == 1) if len(space.ops(e)) > 1 else 1. for i, op in enumerate(space.ops(e))} for e in space.edges}
    run.trace.append(dict(step=step.n + 1, epoch=2, alpha=sharp, weights=sharp, loss=1., psnr=1., mse=1., lap=1., lr=1.))
    known = prune(sharp, space)
    known.save(tmp_path/'genotype.json')
    for kind, ops in OWN.items():
        for name in ops: del KINDS[kind][name]
    try:
        assert 'blur_5x5' in {d['op'] for d in explain_in(run.path)(sharp)}
        assert 'blur_5x5' in replay(run.path, decide=explain_in(run.path)).frames[-1].layout.title.text
        assert "'blur_5x5'" in fails(capsys, 'prune', run.path) and not (run.path/'genotype.json').exists()
        assert "'blur_5x5'" in fails(capsys, 'draw', tmp_path/'genotype.json', '--out', tmp_path/'g.svg')
        for call in lambda: Search.load(run.path, search.images), lambda: SearchSpace.from_json(space_of(run.config).to_json()), lambda: Genotype.load(tmp_path/'genotype.json'):
            with pytest.raises(UserError, match="blur_5x5.*register_op"): call()
    finally:
        for kind, ops in OWN.items():
            for name, build in ops.items(): register_op(kind, name)(build)


DAMAGE = {'no nodes': lambda s: s.pop('nodes'), 'a word': lambda s: s.update(edges='all'), 'a circle': lambda s: s['edges'].append(s['edges'][0] | dict(src='c', dst='b')),
          'no ops': lambda s: s['edges'][0].pop('ops'), 'empty ops': lambda s: s['edges'][0].update(ops=[]), 'format': lambda s: s.update(format='degas-space/9'),
          'scale': lambda s: s['edges'][1].update(scale=True), 'ops of ops': lambda s: s['edges'][0].update(ops=[['conv_1']])}


@pytest.mark.parametrize('what', DAMAGE)
def test_a_damaged_space_is_one_line(what, tmp_path, capsys):
    search = toy(small())
    run = search.folder(tmp_path/'run')
    run.trace.append(next(search).record(with_alpha=True))
    search.save(run)
    DAMAGE[what](run.meta['config']['space'])
    (run.path/'config.json').write_text(json.dumps(run.meta))
    (tmp_path/'space.json').write_text(json.dumps(run.meta['config']['space']))
    with pytest.raises(UserError): Search.load(run.path, search.images)
    assert 'config.json' in fails(capsys, 'prune', run.path)
    assert 'config.json' in fails(capsys, 'dashboard', run.path)
    assert 'space.json' in fails(capsys, 'search', '--data', 'emoji', '--limit', '48', '--space', tmp_path/'space.json', '--out', tmp_path/'new')
    assert not (tmp_path/'new').exists()


@pytest.mark.parametrize('space', [small(), DEGAS], ids=['own', 'degas'])
def test_a_command_goes_on_with_a_run_that_python_began(space, tmp_path, capsys):
    "Such a run does not say where its images are; --data does, and the bits are those of an unbroken run."
    whole = toy(space)
    for step in whole:
        if step.n == 2: whole.save(tmp_path/'run')
    assert '--data' in fails(capsys, 'search', '--resume', '--out', tmp_path/'run')
    main(['search', '--resume', '--out', str(tmp_path/'run'), '--data', 'emoji', '--limit', '48'])
    again = Search.load(tmp_path/'run', whole.images)
    assert again.n == len(whole) and again.net.space == space.fixed()
    for a, b in zip(state_of(whole), state_of(again), strict=True): assert torch.equal(a, b)


def test_a_genotype_tells_its_direct_edges_as_its_space_does():
    g = Genotype.named('cifar10_paper')
    direct = {e.name for e in DEGAS.edges if DEGAS.is_direct(e)}
    assert {e.name for e in g.edges if g.is_direct(e)} == {e.name for e in g.edges} & direct
