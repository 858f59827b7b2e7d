"""Operations, spaces and studies of somebody's own: what can't work is said before anything is searched."""
import signal
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from commands import degas, search_argv
from degas_nb.gan.shipped import export_generator, load_generator
from degas_nb.ground.errors import UserError
from degas_nb.ground.graphs import load_optimiser_, optimiser_state
from degas_nb.ground.studies import Job, Study, read_records, run_study
from degas_nb.search.adversarial import AdversarialConfig
from degas_nb.search.alternating import Search, SearchConfig
from degas_nb.search.decide import DECISIONS, check_fit
from degas_nb.search.merged import mergeable
from degas_nb.search.mixed import candidates
from degas_nb.search.prune import alpha_alarm
from degas_nb.space.baselines import build_generator
from degas_nb.space.genotype import Edge, Genotype, SearchSpace, SpaceEdge
from degas_nb.space.ops import KINDS, Conv, Op, batch_norm, build_op, register_kind, register_op, usable_name
from test_study import at_record, squares, study, use  # noqa: F401


class Odd(Op):
    "An operation that goes wrong in the way that its name says."
    def __init__(self, width, how):
        super().__init__()
        self.how, self.conv = how, nn.Conv2d(width, width, 3, padding=1, bias=False)
        if how == 'fixed': self.conv.weight.requires_grad_(False)
        if how == 'unused': self.more = nn.Conv2d(width, width, 1)
        if how == 'mask': self.register_buffer('mask', torch.tensor([0., -torch.inf]))

    def forward(self, x, y=None):
        if self.how == 'view': x = x.view(len(x), -1).view_as(x)
        if self.how == 'inplace': x = F.relu_(x)
        if self.how == 'detached': x = self.conv(x).detach()
        if self.how == 'noise': x = x + torch.randn_like(x)
        out = self.conv(x) if self.how != 'detached' else x
        if self.how == 'small': out = out[:, :, ::2, ::2]
        if self.how == 'double': out = out.double()
        return None if self.how == 'nothing' else out


@pytest.fixture
def odd():
    "Put an operation on the menu, for one test."
    def put(how):
        register_op('normal', f'odd_{how}')(lambda c, norm, scale: Odd(c, how))
        return f'odd_{how}'
    yield put
    for name in [name for name in KINDS['normal'] if name.startswith('odd_')]: del KINDS['normal'][name]


@pytest.mark.parametrize('how, why', dict(fixed='register_buffer', unused="doesn't depend on", mask='not finite', view='channel by channel', inplace='inplace',
                                          detached="doesn't depend on", small='is wanted', double='is wanted', nothing='NoneType').items())
def test_an_operation_that_cannot_work_is_refused_when_it_is_built(how, why, odd):
    name = odd(how)
    for build in lambda: build_op(name, 4), lambda: candidates('normal', 4, batch_norm(), names=[name]):
        with pytest.raises(UserError, match=why) as told: build()
        assert f'the op {name}' in str(told.value) and '\n' not in str(told.value)


def test_one_that_works_leaves_no_trace_of_the_trial(odd):
    name = odd('fine')
    def weights(): return torch.cat([p.flatten() for p in build_op(name, 4).parameters()])
    torch.manual_seed(3)
    first, behind = weights(), torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.cat([p.flatten() for p in Odd(4, 'fine').parameters()]), first) and torch.equal(torch.rand(1), behind)


def test_one_that_draws_lots_is_warned_of(odd):
    with pytest.warns(UserWarning, match='random numbers'): build_op(odd('noise'), 4)


def test_our_own_operations_stand_the_trial():
    from degas_nb.space.ops import check_op, make_op
    for kind, scale in ('normal', 1), ('up', 2), ('up', 4):
        for name in KINDS[kind]: check_op(name, make_op(name, 3, batch_norm(), scale), 3, scale)


@pytest.mark.parametrize('change', [dict(padding=2, dilation=2), dict(padding=1, padding_mode='circular'), dict(padding=1, groups=4), dict(padding=1, bias=True)])
def test_a_convolution_of_another_kind_is_not_merged_as_one_of_ours(change):
    op = Conv(4, 3)
    op.conv = nn.Conv2d(4, 4, 3, **dict(bias=False) | change)
    assert mergeable({'a': op, 'b': Conv(4, 1), 'c': Conv(4, 3)}) == ['b', 'c']


def test_words_of_torch_name_nothing():
    assert not any(map(usable_name, ['half', 'get', 'copy', 'fromkeys', 'popitem'])) and usable_name('halves')
    with pytest.raises(UserError, match="word of PyTorch's"): register_kind('setdefault', (1,))


def test_a_cell_that_is_run_once_more_registers_again(monkeypatch):
    def build(c, norm, scale): return Conv(c, 3)
    monkeypatch.setattr(build, '__module__', '__main__')
    try:
        for _ in range(2): register_op('normal', 'mine')(build)
        def other(c, norm, scale): return Conv(c, 1)
        with pytest.raises(UserError, match='another name'): register_op('normal', 'mine')(other)
        with pytest.raises(UserError, match='another name'): register_op('up', 'mine')(build)
        with pytest.raises(UserError, match='another name'): register_op('normal', 'conv_3')(build)
    finally: KINDS['normal'].pop('mine', None)


def test_a_parameter_without_a_gradient_is_gone_on_with():
    "No step used it yet, so its optimiser keeps nothing of it; a checkpoint says what torch would begin with."
    for kind in torch.optim.Adam, torch.optim.RMSprop:
        def made(): return [nn.Parameter(torch.ones(3)) for _ in range(2)]
        (a, b), (c, d) = made(), made()
        one, two = kind([a, b], lr=.1), kind([c, d], lr=.1)
        a.grad = torch.ones(3)
        one.step()
        load_optimiser_(two, deepcopy(optimiser_state(one)))
        with torch.no_grad(): c.copy_(a)
        for p in a, b, c, d: p.grad = torch.full((3,), .3)
        for opt in one, two: opt.step()
        assert torch.equal(a, c) and torch.equal(b, d)


def test_a_node_with_too_many_ends_is_said_before_the_search():
    wide = SearchSpace('wide', [*'abcdefgh'], [SpaceEdge('a', b, 'up', 2, ('deconv_4',)) for b in 'bcdefg']
                       + [SpaceEdge(a, 'h', 'normal', 1, ('none', 'conv_1', 'conv_3', 'skip_connect', 'max_pool_3x3', 'avg_pool_3x3', 'sep_conv_3x3', 'dil_conv_3x3')) for a in 'bcdefg'], 'all')
    for how in {*DECISIONS} - {'alpha', 'perturb', 'perturb_tuned'}:
        if hasattr(DECISIONS[how], 'only') or Search.unfit(how): continue
        with pytest.raises(UserError, match='too many to list.*--decide alpha'): check_fit(Search, how, wide)
    check_fit(Search, 'alpha', wide)


def test_alphas_with_nothing_to_decide_raise_no_alarm():
    lone, even = {'a-b': {'conv_3': 1.}}, {'b-c': dict(conv_1=.3, conv_3=.3, skip_connect=.4)}
    assert not alpha_alarm(lone, .05) and not alpha_alarm(lone | {'b-c': dict(none=.4, skip_connect=.6)}, .5)
    assert 'collapses' in alpha_alarm(lone | {'b-c': dict(conv_1=.995, conv_3=.005)}, .05)
    assert 'every one of the 1 normal edges' in alpha_alarm(lone | even | {'c-d': dict(none=.4, skip_connect=.6)}, .5)


def test_a_network_that_enlarges_more_is_shipped_too(tmp_path):
    ups = [SpaceEdge(a, b, 'up', 2, ('up_conv_1', 'deconv_4')) for a, b in zip('abcde', 'bcdef')]
    space = SearchSpace('deep', [*'abcdef'], ups)
    net = build_generator(Genotype([*'abcdef'], [Edge(e.src, e.dst, e.kind, e.scale, 'up_conv_1') for e in ups], space.name), 64, 16, 4)
    export_generator(net, tmp_path/'deep.safetensors', dict(step=1))
    z = torch.randn(2, 16)
    with torch.no_grad(): assert load_generator(tmp_path/'deep.safetensors')(z).shape == (2, 3, 64, 64)


@pytest.mark.parametrize('data', ['cifar10', 'stl10'])
def test_the_papers_sizes_with_a_critic_in_the_loop(data):
    own, theirs = AdversarialConfig.paper(data), SearchConfig.paper(data)
    assert own.optimiser == 'adam' and (own.epochs, own.width, own.img_size, own.z_dim) == (theirs.epochs, theirs.width, theirs.img_size, theirs.z_dim)


# ---------------------------------------------------------------- commands

@pytest.mark.long
def test_a_finished_search_is_not_said_to_be_decided_otherwise(tmp_path, capsys):
    out = tmp_path/'run'
    assert degas(*search_argv(out, '--decide', 'measured')) == 0
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file() and p.name != '.lock'}
    capsys.readouterr()
    assert degas('search', '--resume', '--out', out, '--decide', 'alpha') == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f'degas prune {out} --decide alpha --asked 8' in said
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file() and p.name != '.lock'} == before
    assert degas('search', '--resume', '--out', out) == 0   # without another decision it says that it is finished
    assert degas('prune', out, '--decide', 'measured', '--rule', 'direct_only') == 2 and 'leave them out' in capsys.readouterr().err


@pytest.mark.parametrize('words, joint', [((), True), (('--held-out', '0'), True), (('--held-out', '0.0'), True), (('--held-out', '.25'), False)])
def test_no_share_held_out_is_as_none_said(words, joint):
    from degas_nb.app.commands import _preset_of
    assert _preset_of([*words])[0].joint == joint


@pytest.mark.long
def test_results_of_another_function_are_not_shown(tmp_path):
    for _ in run_study(study(squares(2), tmp_path), tmp_path/'s'): pass
    other = Study('squares', 'What else?', tuple(replace(job, work='study_work:odd') for job in squares(2)), lambda records: '')
    with pytest.raises(UserError, match="one of 'study_work:square', now declared as 'study_work:odd'"): read_records(other, tmp_path/'s')


@pytest.mark.long
def test_failed_runs_that_are_made_again_are_counted(use, tmp_path):  # noqa: F811
    use([Job(f'bad/{i}', 'study_work:odd', dict(how='raise')) for i in range(4)])
    assert degas('study', 'squares', '--out', tmp_path) == 1
    done = at_record(2, signal.SIGINT, 'study', 'squares', '--out', tmp_path, '--again', '--workers', 1)
    assert done.returncode == 130 and 'with 2 runs to make' in done.stderr and '--again' in done.stderr.rpartition('go on with:')[2]


@pytest.mark.long
def test_a_script_with_operations_of_its_own_makes_studies(tmp_path):
    "Lanes read the script that began them, and don't begin what it begins."
    (tmp_path/'my_degas.py').write_text('''
from degas_nb.app.main import main
from degas_nb.space.ops import Conv, register_op
register_op('normal', 'conv_7')(lambda c, norm, scale: Conv(c, 7))
main()
''')
    done = subprocess.run([sys.executable, 'my_degas.py', 'study', 'toy', '--out', 'st', '--workers', '1', '--only', '10/'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'another process' not in done.stderr and '4 of 12 runs finished, 0 failed' in done.stdout
