"""`benchmarks/gpu.py` in miniature on the CPU: a lease of a GPU is too rare to be spent on a script that fails."""
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from degas_nb.gan.frameworks import FRAMEWORKS
from degas_nb.search.alternating import SEARCHES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'benchmarks'))
import gpu  # noqa: E402


@pytest.fixture(scope='module')
def record(tmp_path_factory):
    out = tmp_path_factory.mktemp('gpu') / 'gpu.json'
    gpu.main(['--small', '--device', 'cpu', '--out', str(out)])
    return json.loads(out.read_text())


def rows(record): return [row for part in record.values() if isinstance(part, list) for row in part if isinstance(row, dict)]


def test_nothing_fails_and_nothing_is_left_out(record):
    assert not [r for r in [*record['checks'].values(), *rows(record), record['roofs']] if 'error' in r]
    assert record['left_out'] == []


def test_every_check_holds_on_the_cpu(record):
    checks = record['checks']
    assert checks['search'] == dict(equal_start=True, first_loss_apart=0, loss_apart=0, recorded_same_bits=True, given_up='', resumed_same_bits=True, resumed_on_cpu_apart=0)
    assert checks['merged']['apart'] < 1e-12 and checks['scores']['apart'] == 0
    assert checks['alone'] == dict(equal_start=True, loss_apart=0, finite=True, resumed_same_bits=True)
    for name in SEARCHES:
        found = checks[f'strategy {name}']
        assert found['equal_start'] and found['finite'] and found['resumed_same_bits'] and found['loss_apart'] == 0 and found['decided'] == SEARCHES[name].decides
    trainings = {name: found for name, found in checks.items() if name.split()[0] in FRAMEWORKS}
    assert len(trainings) == 2*len(FRAMEWORKS)
    assert all(found['equal_start'] and found['finite'] and found['recorded_same_bits'] and found['resumed_same_bits'] for found in trainings.values())


def test_every_kind_of_time_is_there(record):
    assert all(record[kind] and all(r['seconds'] > 0 for r in record[kind]) for kind in ('search', 'plain_search', 'gan', 'plain_critic'))
    assert {r['framework'] for r in record['gan']} == set(FRAMEWORKS)


def test_one_failing_part_does_not_take_the_rest_along():
    def broken(): raise RuntimeError('no\nkernel image')
    found = gpu.attempt(broken)
    assert found['error'] == 'RuntimeError: no kernel image' and 'broken' in found['at']


def test_starts_are_equal_where_networks_and_latents_are():
    "Of every candidate; whatever an optimiser keeps, and on which device."
    net, z = torch.nn.Linear(2, 2).state_dict(), dict(z=torch.zeros(3))
    state = lambda net, latents, fused: dict(config=dict(width=8), opt=dict(fused=fused), race=dict(running={'0': dict(net=net, latents=latents, opt=dict(fused=fused)), '1': dict(net=net, latents=z)}))
    run = lambda *parts: SimpleNamespace(state_dict=lambda: state(*parts))
    assert gpu.same_start(run(net, z, True), run(net, z, None))
    assert not gpu.same_start(run(net, z, True), run({k: v + 1 for k, v in net.items()}, z, True))
    assert not gpu.same_start(run(net, z, True), run(net, dict(z=torch.ones(3)), True))
    nothing = SimpleNamespace(state_dict=lambda: dict(opt={}))
    assert not gpu.same_start(nothing, nothing)


def test_hours_of_the_paper_follow_from_the_seconds_of_a_step():
    search = [dict(width=128, amp='off', compile=None, joint=False, recorded=True, seconds=.1), dict(width=128, amp='off', compile=None, joint=True, recorded=True, seconds=.01), dict(width=32, amp='off', compile=None, joint=False, recorded=True, seconds=1.)]
    gan = [dict(width=128, framework='ctgan', amp='off', recorded=True, n_critic=2, critic=.1, seconds=.25)]
    found = gpu.foreseen(dict(search=search, gan=gan))
    assert found['search_hours'] == {'off': pytest.approx(.1*39050/3600)} and found['ctgan_hours'] == {'off': pytest.approx((5*.1 + .05)*100_000/3600)}
