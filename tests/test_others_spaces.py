"""Spaces that are not DEGAS': edges that say none, several edges kept, kinds of one's own; from the search to a trained generator."""
import json
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from degas_nb.app.main import main
from degas_nb.gan.training import GANConfig, GANTraining
from degas_nb.ground.data import load
from degas_nb.ground.errors import UserError
from degas_nb.app import driving
from degas_nb.app.driving import WAYS
from degas_nb.search.alternating import SEARCHES, Search, SearchConfig
from degas_nb.search.decide import DECISIONS, decide
from degas_nb.search.mixed import MixedOp, candidates
from degas_nb.search.merged import QuickMergedOp
from degas_nb.search.prune import PRUNING_RULES, alpha_alarm, explain_prune, mixing_weights, prune
from degas_nb.search.supernet import SuperGenerator, alone, mixed
from degas_nb.space.choices import change, changes, choices, draw, n_networks, network, number_of
from degas_nb.space.generator import Generator
from degas_nb.space.genotype import DEGAS, Genotype, SearchSpace, SpaceEdge, left_over, space_of, svg
from degas_nb.space.ops import KINDS, SCALES, Conv, UpConv, batch_norm, register_kind, register_op
from degas_nb.ground.folders import RunFolder
from degas_nb.views.explore import edge_states

@pytest.fixture(autouse=True)
def short(monkeypatch): monkeypatch.setattr(driving, 'told_apart', partial(driving.told_apart, steps=3))  # of the decision by a critic


MENU = ('none', 'conv_1', 'skip_connect', 'sep_conv_3x3')


@pytest.fixture(scope='module', autouse=True)
def skips():
    "Edges of a kind of their own, which only these tests know."
    register_kind('jump', (1, 2, 4, 8))
    register_op('jump', 'near')(lambda c, norm, scale: Conv(c, 1) if scale == 1 else UpConv(c, 1, scale))
    yield
    del KINDS['jump'], SCALES['jump']


def cell(keep, pairs=('bc', 'bd', 'cd', 'be', 'ce', 'de')):
    "One doubling, and a cell in which every node reads all before it."
    return SearchSpace('cell', [*'abcde'], [SpaceEdge('a', 'b', 'up', 2, ('up_conv_1', 'deconv_4')), *(SpaceEdge(*p, 'normal', 1, MENU) for p in pairs)], keep)


def stages():
    "Three doublings with a convolution behind each, and skips of a kind of their own, each with a switch."
    ups = [SpaceEdge(a, b, 'up', 2, ('up_conv_1', 'deconv_4')) for a, b in ('ab', 'cd', 'ef')]
    convs = [SpaceEdge(a, b, 'normal', 1, ('conv_1', 'conv_3')) for a, b in ('bc', 'de', 'fg')]
    jumps = [SpaceEdge(a, b, 'jump', s, ('none', 'near')) for a, b, s in (('c', 'e', 2), ('c', 'g', 4), ('e', 'g', 2))]
    return SearchSpace('stages', [*'abcdefg'], [*ups, *convs, *jumps], 'all')


def loose():
    "No direct edge into c, and b may be read by nobody."
    return SearchSpace('loose', [*'abcd'], [SpaceEdge(a, b, 'up', 2, ('up_conv_1', 'deconv_4')) for a, b in ('ab', 'ac', 'bd', 'cd')])


def far():
    "Eight times at once beside three at once and two."
    return SearchSpace('far', [*'abc'], [SpaceEdge('a', 'b', 'up', 3, ('up_conv_1',)), SpaceEdge('b', 'c', 'up', 2), SpaceEdge('a', 'c', 'up', 6, ('up_conv_3', 'none'))])


RULES = [how for how, rule in DECISIONS.items() if not hasattr(rule, 'only')]  # some belong to a strategy
assert WAYS  # imported for what they add to SEARCHES
SPACES = dict(two=lambda: cell(2), switches=lambda: cell('all'), by_node=lambda: cell(dict(e='all', d=2)), staged=lambda: cell('stages'), stages=stages, loose=loose, far=far)
by_space = pytest.mark.parametrize('name', SPACES)


def all_networks(space):
    "Every choice of every node, written out."
    return {left_over({e: op for way in end for e, op in way.items()}, space) for end in product(*choices(space).values())}


def by_lot(space, rng):
    "Weights of a search that learned nothing."
    return mixing_weights({e.name: dict(zip(space.ops(e), torch.randn(len(space.ops(e)), generator=rng).tolist())) for e in space.edges})


@pytest.mark.parametrize('impl', [MixedOp, QuickMergedOp])
def test_none_takes_its_share_of_the_weight_and_gives_nothing(impl):
    "sum over all = (1 - share of none) times the mixture of the others."
    torch.manual_seed(0)
    ops = candidates('normal', 4, batch_norm(affine=False), 1, ['conv_1', 'none', 'conv_3', 'avg_pool_3x3'])
    whole, others = impl(ops), impl({name: op for name, op in ops.items() if name != 'none'})
    x, w = torch.randn(2, 4, 5, 5), torch.tensor([.1, .5, .25, .15], requires_grad=True)
    rest = w[[0, 2, 3]]
    torch.testing.assert_close(whole(x, x.relu(), w), rest.sum()*others(x, x.relu(), rest/rest.sum()))
    grad, = torch.autograd.grad(whole(x, x.relu(), w).square().sum(), w)
    assert grad[1] == 0 and grad[[0, 2, 3]].abs().min() > 0


@by_space
def test_the_forms_are_one_function_and_a_network_is_the_mixture_with_ones_and_zeros(name):
    space, rng = SPACES[name](), torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    plain, merged = [SuperGenerator(space, 48, 8, 4, impl=impl).double() for impl in ('sum', 'merged')]
    merged.load_state_dict(plain.state_dict())
    z = torch.randn(5, 8, dtype=torch.double, generator=rng)
    torch.testing.assert_close(plain(z), merged(z), rtol=1e-9, atol=1e-11)
    for genotype in [draw(rng, space) for _ in range(4)]:
        kept = {e.name: e.op for e in genotype.edges}
        rows = {group: torch.tensor([[float(op == kept.get(e.name, 'none')) for op in space.ops(e)] for e in edges]).double() for group, edges in space.groups().items()}
        with torch.no_grad(): torch.testing.assert_close(alone(merged, genotype)(z), mixed(merged, z, rows), rtol=1e-9, atol=1e-11)
        assert Generator(genotype, 48, 8, 4)(z.float()).shape == (5, 3, 48, 48) and svg(genotype).startswith('<svg')
        assert Genotype.from_json(json.loads(json.dumps(genotype.to_json()))) == genotype


@st.composite
def spaces(draw):
    "A graph of two to four maps behind the first, menus of one or two operations with and without none, and any way to keep."
    n = draw(st.integers(2, 4))
    nodes = [f'n{i}' for i in range(n + 1)]
    pairs = [(a, b) for b in range(1, n + 1) for a in range(b)]
    kept = {(i, i + 1) for i in range(n)} | set(draw(st.lists(st.sampled_from(pairs), max_size=3)))
    if draw(st.booleans()) and n > 2: kept = kept - {(1, 2)} | {(0, 2), (1, 3)}  # n2 has no direct edge
    menus = st.sampled_from([('conv_1',), ('none', 'conv_1'), ('conv_1', 'conv_3'), ('conv_1', 'none', 'conv_3')])
    edges = [SpaceEdge(nodes[a], nodes[b], 'normal', 1, draw(menus)) for a, b in sorted(kept)]
    how = st.sampled_from(['stages', 'all', 1, 2, 3])
    return SearchSpace('any', nodes, edges, draw(st.one_of(how, st.dictionaries(st.sampled_from(nodes[1:]), how))))


@settings(deadline=None, max_examples=40)
@given(spaces(), st.integers(0, 2**31))
def test_count_number_draw_and_prune_know_the_same_networks(space, seed):
    rng = torch.Generator().manual_seed(seed)
    if torch.tensor([len(ways) for ways in choices(space).values()]).prod() > 1500: return
    there = all_networks(space)
    assert n_networks(space) == len(there) and {number_of(g, space) for g in there} == {*range(len(there))}
    for n in {0, len(there)//2, len(there) - 1}: assert number_of(network(n, space), space) == n
    for _ in range(5):
        drawn, values = draw(rng, space), by_lot(space, rng)
        assert drawn in there and {change(drawn, rng, space), *changes(drawn, space)} <= there and drawn not in changes(drawn, space)
        assert prune(values, space) in there
        for rule in PRUNING_RULES:
            found, records = prune(values, space, rule), explain_prune(values, space, rule)
            assert {(r['edge'], r['op']) for r in records} == {(e.name, e.op) for e in found.edges}
    assert SearchSpace.from_json(json.loads(json.dumps(space.to_json()))) == space


@pytest.mark.parametrize('keep', [2, 'all'])
def test_a_draw_is_what_pruning_makes_of_noise(keep):
    space, rng = cell(keep, ('bc', 'be', 'ce', 'cd', 'de')), torch.Generator().manual_seed(0)
    def shape(g): return tuple(e.name for e in g.edges)
    drawn = Counter(shape(draw(rng, space)) for _ in range(700))
    noise = Counter(shape(prune({e: {op: torch.rand((), generator=rng).item() for op in ops} for e, ops in by_lot(space, rng).items()}, space)) for _ in range(700))
    assert sum(abs(drawn[s] - noise[s]) for s in drawn | noise)/1400 < .09


def test_what_is_kept_and_why():
    space = cell(2)
    values = {e.name: dict.fromkeys(space.ops(e), .1) for e in space.edges} | {'b-e': dict(zip(MENU, (.9, .05, .03, .02)))}
    for i, (edge, op) in enumerate((('b-c', 'conv_1'), ('c-d', 'skip_connect'), ('d-e', 'sep_conv_3x3'), ('c-e', 'conv_1'))): values[edge] = values[edge] | {op: .4 - i/20}
    says = [r['says'] for r in explain_prune(values, space) if r['node'] == 'e']
    assert says == ['e: keep sep_conv_3x3 on d-e (0.300), edge 1 of the 2 kept, of 3', 'e: keep conv_1 on c-e (0.250), edge 2 of the 2 kept, of 3']
    silent = {e.name: {op: float(op == 'none') if 'none' in ops else .5 for op in ops} for e in space.edges for ops in [space.ops(e)]}
    left = prune(silent, cell('all'))
    assert left.nodes == ('a', 'b', 'c', 'd', 'e') and [e.name for e in left.edges] == ['a-b', 'b-c', 'c-d', 'd-e']  # the direct edge wins a tie
    assert 'none leads on every edge' in explain_prune(silent, cell('all'))[-1]['says']
    assert 'none leads on every one of the 6 edges' in alpha_alarm(silent, .5) and not alpha_alarm(values, .5)
    unread = prune(silent | {'b-e': silent['b-e'] | dict(none=0., conv_1=1.)}, cell('all'))
    assert unread.nodes == ('a', 'b', 'e')
    records = explain_prune(silent | {'b-e': silent['b-e'] | dict(none=0., conv_1=1.)}, cell('all'))
    names = [e.name for e in space.edges]
    assert {e for e, state in edge_states(names, records, len(records)).items() if state != 'lost'} == {'a-b', 'b-e'}


def toy(space, **kw): return Search.from_config(load('emoji', limit=32, img_size=16), SearchConfig(epochs=1, width=4, batch_size=16, z_dim=8, img_size=16, **kw), space)


@pytest.mark.long
@pytest.mark.parametrize('name', ['two', 'stages', 'loose'])
def test_every_decision_is_a_network_of_the_space_and_can_be_trained(name, tmp_path):
    space = SPACES[name]()
    search = toy(space)
    for step in search:
        if step.n == 1: search.save(tmp_path/'run')
    again = Search.load(tmp_path/'run', search.images)
    for _ in again: pass
    assert all(torch.equal(a, b) for a, b in zip(search.net.state_dict().values(), again.net.state_dict().values(), strict=True))
    assert space_of(RunFolder.open(tmp_path/'run').config) == space.fixed() == again.net.space
    for how in RULES: genotype = decide(search, how, 6).genotype; assert network(number_of(genotype, space), space) == genotype
    run = GANTraining.from_config(search.images, replace(GANConfig.teaching('ctgan'), steps=1, batch_size=8, width=4, n_critic=1), genotype)
    next(run)
    run.save(tmp_path/'gan')
    assert GANTraining.load(tmp_path/'gan', search.images).generator.genotype == genotype


@pytest.mark.parametrize('way', [name for name in SEARCHES if name != 'degas'])
@pytest.mark.parametrize('name', ['two', 'switches', 'loose'])
def test_every_strategy_searches_it_too(name, way):
    space, images = SPACES[name](), load('emoji', SPACES[name]().scales[SPACES[name]().nodes[-1]]*8, limit=16)
    more = dict(candidates=2) if way == 'random' else dict(proposals=2) if way == 'rl' else {}
    kind = SEARCHES[way]
    search = Search.from_config(images, kind.Config(epochs=4, width=4, z_dim=8, batch_size=16, img_size=images.size, **more), space)
    for step in search: pass
    found = decide(search, kind.decides, 4).genotype
    assert network(number_of(found, space), space) == found and all(set(ops) == set(space.ops(e)) for e, ops in zip(space.edges, step.weights.values()))
    assert search.reconstruct(torch.arange(4)).isfinite().all()


def test_a_space_with_one_network_is_decided(tmp_path):
    search = toy(SearchSpace('one', ['a', 'b'], [SpaceEdge('a', 'b', 'up', 2, ('none', 'up_conv_1'))], 1))
    for _ in search: pass
    for how in RULES: assert decide(search, how, 5).genotype == network(0, search.net.space)
    assert n_networks(search.net.space) == 1 and changes(network(0, search.net.space), search.net.space) == []


def fails(capsys, *words):
    with pytest.raises(SystemExit) as e: main([*map(str, words)])
    said = capsys.readouterr().err.strip().splitlines()
    assert e.value.code == 2
    return said[-1]


def test_the_command_line_takes_such_a_space_from_a_file(tmp_path, capsys):
    space = cell(dict(e='all', d=2))
    space.save(tmp_path/'space.json')
    assert json.loads((tmp_path/'space.json').read_text())['keep'] == dict(d=2, e='all') and 'keep' not in DEGAS.to_json()
    flags = ['--data', 'emoji', '--limit', '32', '--epochs', '1', '--width', '4', '--batch-size', '16', '--z-dim', '8']
    main(['search', *flags, '--space', str(tmp_path/'space.json'), '--asked', '6', '--out', str(tmp_path/'run')])
    main(['prune', str(tmp_path/'run'), '--decide', 'alpha'])
    found = Genotype.load(tmp_path/'run')
    number_of(found, space)
    main(['draw', str(tmp_path/'run'), '--out', str(tmp_path/'found.svg')])
    said = capsys.readouterr()
    assert 'kept, of' in said.err and 'cell' == found.space
    value = space.to_json()
    for damage, says in ((dict(keep=0), 'not 0'), (dict(keep=dict(x=1)), "'x'"), (dict(keep=None), 'None'), (dict(keeps=2), "no part 'keeps'")):
        (tmp_path/'space.json').write_text(json.dumps(value | damage))
        line = fails(capsys, 'search', *flags, '--space', tmp_path/'space.json', '--out', tmp_path/'new')
        assert 'space.json' in line and says in line and not (tmp_path/'new').exists()
    value['edges'][1]['ops'] = ['none', 'mine']
    (tmp_path/'space.json').write_text(json.dumps(value))
    line = fails(capsys, 'search', *flags, '--space', tmp_path/'space.json', '--out', tmp_path/'new')
    assert "'mine'" in line and 'in Python: no file brings code' in line and not (tmp_path/'new').exists()


def test_a_network_that_the_space_cannot_leave_is_refused_by_its_node():
    with pytest.raises(UserError, match='node d keeps .*leaves it 2 edges'): number_of(draw(torch.Generator().manual_seed(0), cell(1)), cell(2))
    short, ops = SearchSpace('short', [*'abcd'], [e for e in cell(1).edges if 'e' not in e.name], 1), {'a-b': 'up_conv_1', 'b-c': 'conv_1', 'c-d': 'conv_1'}
    with pytest.raises(UserError, match='no node e, where the images'): number_of(Genotype.from_ops(ops, short), cell(1))
    with pytest.raises(UserError, match='no node e in space short'): number_of(network(0, cell(1)), short)
    with pytest.raises(UserError, match='there is no network'): network(n_networks(cell(2)), cell(2))


def test_a_space_is_drawn_too(tmp_path, capsys):
    cell(2).save(tmp_path/'space.json')
    main(['draw', str(tmp_path/'space.json'), '--out', str(tmp_path/'space.svg')])
    main(['draw', 'degas', '--out', str(tmp_path/'degas.svg')])
    assert '4 ops' in (tmp_path/'space.svg').read_text() and '9 ops' in (tmp_path/'degas.svg').read_text()
    (tmp_path/'space.json').write_text(json.dumps(cell(2).to_json() | dict(keep='some')))
    assert "not 'some'" in fails(capsys, 'draw', tmp_path/'space.json', '--out', tmp_path/'no.svg') and not (tmp_path/'no.svg').exists()
