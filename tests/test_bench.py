"""The benchmark: what ships is what was fitted, it needs numpy alone, it is small, and races obey their laws."""
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from degas_nb.ground.errors import UserError
from degas_nb.judge import bench, worth
from degas_nb.space.choices import changes, draw, n_networks, network, number_of
from degas_nb.space.genotype import DEGAS, Edge, Genotype
from degas_nb.views.be_the_search import BeTheSearch

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT/'degas_nb'/'builtin'/'bench'
PAPER = Genotype.named('cifar10_paper')
STRANGER = next(n for n in range(n_networks()) if n not in bench._rows('cifar10', ''))


def the_tool():
    "tools/bench.py as a module; there is another bench.py beside the benchmarks of speed."
    pytest.importorskip('sklearn')
    spec = importlib.util.spec_from_file_location('tools_bench', ROOT/'tools'/'bench.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_small():
    found = {p.name for p in SHIPPED.iterdir()}
    both = ('comparison.json', 'comparison_distance.json', 'surrogate.json', 'surrogate_distance.json')
    assert {'cifar10.json', 'cifar10_distance.json', 'emoji.json', *both} <= found
    assert sum(p.stat().st_size for p in SHIPPED.iterdir()) < 400_000


@pytest.mark.parametrize('data', bench.DATA)
def test_the_tables_hold_together(data):
    table = bench._read(data)
    assert all(len(row) == len(table['columns']) for row in table['rows'])
    assert len({(row[0], row[1]) for row in table['rows']}) == len(table['rows'])
    assert all(0 <= row[0] < n_networks() for row in table['rows'])
    for run in bench._lot(data).values(): assert len(run) == 7 and .2 < run[-1] < run[0] < 3


@pytest.mark.parametrize('data', bench.DATA)
def test_held_out_numbers(data):
    "What is said of held-out networks follows from what was predicted of them; the fitted model is nearer to what it has seen."
    s = bench._read('surrogate')
    i = s['data'].index(data)
    numbers = [n for n, which in zip(s['numbers'], s['which']) if which == i]
    known, lot = bench._rows(data, ''), bench._rows(data, 'lot')
    truth = np.array([np.mean([np.log(run[-1]) for run in known[n].values()]) for n in numbers])
    m = np.array([n in lot for n in numbers])
    held, says = np.array(s['held_out_numbers'][data]), s['held_out'][data]['lot']
    assert m.sum() == says['networks'] and len(held) == len(truth)
    assert kendalltau(held[m], truth[m])[0] == pytest.approx(says['tau'], abs=2e-3)
    assert np.sqrt(np.mean((held[m] - truth[m])**2)) == pytest.approx(says['rmse'], abs=2e-4)
    assert np.sqrt(np.mean((np.log(bench.predict(numbers, data)) - truth)**2)) < says['rmse']
    assert says['tau'] > .6


def test_the_shipped_numbers_are_those_of_the_process():
    "Fitted again with the shipped settings, scikit-learn's process says what numpy says."
    tool = the_tool()
    s = bench._read('surrogate')
    kernel = tool.Networks((s['amplitude'], *s['product'], *s['linear'], *(x/(1 - x) for x in (s['product_between'], s['linear_between']))))
    points = tool.Points({data: bench._read(data) for data in bench.DATA})
    assert points.numbers.tolist() == s['numbers'] and np.allclose(points.means, s['means']) and np.allclose(points.scales, s['scales'])
    some = [number_of(draw(torch.Generator().manual_seed(i))) for i in range(40)]
    for i, data in enumerate(bench.DATA):
        X = np.hstack([bench._codes(some), np.full((40, 1), i)])
        theirs = kernel(X, points.X)@np.array(s['weights'])*s['scales'][i] + s['means'][i]
        assert np.allclose(np.log(bench.predict(some, data)), theirs, atol=1e-6)
    h, K = 1e-5, kernel(points.X[:30], eval_gradient=True)[1]
    for j in 0, 3, 15, 23, 24:
        up, down = (kernel.clone_with_theta(kernel.theta + d*np.eye(25)[j])(points.X[:30]) for d in (h, -h))
        assert np.allclose((up - down)/2/h, K[..., j], atol=1e-6)


RECORDS = [json.loads(line) for line in (ROOT/'studies'/'proxy'/'records.jsonl').read_text().splitlines()]


def test_the_table_of_distances_is_that_of_the_study():
    "A row a run that ended; the distance is the mean of the last six scores; `ask` has those of every network."
    ended, runs = [r for r in RECORDS if 'result' in r and not r['key'].startswith('longer/')], bench.measured_runs('distance')
    seen = {(run['number'], run['name'], run['seed']): run for run in runs}
    assert len(seen) == len(runs) == len(ended)
    for r in ended:
        named = r['args']['network'] if isinstance(r['args']['network'], str) else ''
        number = r['args']['network'] if not named else None if named == 'resnet' else number_of(Genotype.named(named))
        run, curve = seen[number, named, r['args']['seed']], [*r['result']['curve'].values()]
        assert run['distance'] == pytest.approx(sum(curve[-6:])/6, abs=1e-5) and run['curve'] == pytest.approx(curve, abs=6e-3)
        assert (run['params'], run['group']) == (r['result']['params'], r['key'].split('/')[0])
        if number is not None: assert bench.ask(network(number)).distance.measured[run['seed']] == run['distance']


def test_the_study_and_the_lesson_count_alike():
    "The page is made of the records, the lesson and the tour of what ships."
    both, page = worth.both_measured(), (ROOT/'studies'/'proxy'/'README.md').read_text()
    for which, m in ('by lot', both['lot']), ('by lot and of the good end', both['lot'] | True):
        if which == 'by lot' or not both['lot'].all():
            for name, e in worth.bet({k: v[m] for k, v in both.items()}).items(): assert f'| {which}: {name} | {e.n} | {e} |' in page


@pytest.mark.long
def test_the_distance_surrogate_says_what_is_said_of_it():
    "Its tau on held-out networks follows from what was predicted of them, the best design ships, and all of the space is asked at once."
    s, says = bench._surrogate('distance'), bench._read('comparison_distance')
    known, held = bench._rows('cifar10', '', 'distance'), dict(zip(s['numbers'], s['held_out_numbers']['cifar10']))
    lot = [n for n in s['numbers'] if n in bench._rows('cifar10', 'lot', 'distance')]
    truth = [np.mean([np.log(run[-1]) for run in known[n].values()]) for n in lot]
    assert set(known) == set(held) and kendalltau([held[n] for n in lot], truth)[0] == pytest.approx(s['held_out']['cifar10']['lot']['tau'], abs=5e-3)
    assert s['model'] == max(says, key=lambda name: says[name]['lot']['tau']) and s['held_out']['cifar10'] == says[s['model']]
    distances, some = bench.everything(target='distance'), np.random.default_rng(1).integers(n_networks(), size=200)
    assert np.allclose(distances[some], bench.predict(some, target='distance'), rtol=1e-5)
    for n in some[:3]:
        g = network(int(n))
        assert bench.rank(g, target='distance').better == pytest.approx((distances < bench.predict(n, target='distance')).mean(), abs=3e-3)


@pytest.mark.long
def test_who_has_not_heard_of_a_network_does_not_say_the_contrary():
    "Distances that hang on one edge are foreseen on held-out networks; pure noise is not, and no design is far below chance for it."
    tool, rng = the_tool(), np.random.default_rng(0)
    numbers = np.unique(bench.by_lot(rng, 60))
    strong = bench._codes(numbers)[:, tool.EDGES.index('s2-s4')] == 0
    for signal in 0, 1:
        rows = [[int(n), 0, 0, float(20*np.exp(.4*signal*s + .1*rng.normal()))] for n, s in zip(numbers, strong)]
        points = tool.Distances(dict(rows=rows, groups=['lot']), bench._surrogate())
        taus = {design: points.says(points.held_out(design))['lot']['tau'] for design in ('operations', 'the foreseen loss')}
        assert taus['operations'] > .4 if signal else abs(taus['operations']) < .35, taus


@pytest.mark.long
def test_asks_without_scikit_learn():
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('sklearn', 'scipy', 'pandas'): raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from degas_nb.judge.bench import ask, rank, compare
from degas_nb.space.genotype import Genotype
print(ask(Genotype.named('cifar10_paper')))
print(rank(Genotype.named('cifar10_found'), 'emoji'), rank(Genotype.named('cifar10_found'), target='distance'))
compare(evaluations=5, seeds=2)
"""
    said = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "Kendall's tau" in said.stdout and 'better than' in said.stdout


def test_asks_for_what_was_measured():
    for data in bench.DATA:
        number, seeds = next(iter(bench._rows(data, 'lot').items()))
        answer = bench.ask(network(number), data)
        assert answer.measured == {seed: run[-1] for seed, run in seeds.items()} and 'measured' in repr(answer)
    assert 'not in the table' in repr(bench.ask(network(STRANGER)))
    assert bench.ask(PAPER) == bench.ask(PAPER)


@pytest.mark.long
def test_places():
    losses = bench.everything('emoji')
    some = np.random.default_rng(1).integers(len(losses), size=200)
    assert losses.shape == (n_networks(),) and np.allclose(losses[some], bench.predict(some, 'emoji'), rtol=1e-5)
    best, worst = network(int(losses.argmin())), network(int(losses.argmax()))
    assert bench.rank(best, 'emoji').better < 1e-6 and bench.rank(worst, 'emoji').better > .9999
    assert bench.rank(best, 'emoji', exact=True).better == 0
    for n in some[:5]:
        g = network(int(n))
        assert bench.rank(g, 'emoji').better == pytest.approx(bench.rank(g, 'emoji', exact=True).better, abs=1e-3)


@pytest.mark.parametrize('data, target', [('cifar10', 'loss'), ('emoji', 'loss'), ('cifar10', 'distance')])
def test_nobody_is_better_than_itself(data, target):
    "A network by lot that has several seeds is held against the first seeds of the others, by the mean of its own."
    lot = {n: run[-1] for n, run in bench._lot(data, target).items()}
    for n in [*lot][:40]:
        place = bench.rank(network(int(n)), data, target=target)
        mine = bench.ask(network(int(n)), data, target).value
        assert (place.better_by_lot, place.n_by_lot) == (sum(x < mine for m, x in lot.items() if m != n), len(lot) - 1)


def test_by_lot_is_the_law_of_draw():
    mine, rng = bench.by_lot(np.random.default_rng(0), 40_000), torch.Generator().manual_seed(3)
    theirs = [number_of(draw(rng)) for _ in range(1500)]
    for a, b in zip(np.unravel_index(mine, bench._SHAPE), np.unravel_index(theirs, bench._SHAPE)):
        n = a.max() + 1
        expected = np.bincount(a, minlength=n)/len(a)*len(b)
        assert ((np.bincount(b, minlength=n) - expected)**2/expected).sum() < n + 6*np.sqrt(2*n)


def test_neighbours():
    for n in 0, 12_345_678, n_networks() - 1: assert sorted(bench._neighbours(n)) == sorted(map(number_of, changes(network(n))))


@pytest.mark.parametrize('on, target', [('surrogate', 'loss'), ('table', 'loss'), ('surrogate', 'distance'), ('table', 'distance')])
def test_races(on, target):
    n = min(40, len(bench._lot('cifar10', target)))
    a, b = (bench.compare(on=on, evaluations=n, seeds=4, target=target) for _ in range(2))
    assert set(a.regret) == set(bench.STRATEGIES[on]) and a.target == target
    for name, regret in a.regret.items():
        assert regret.shape == (4, n) and np.array_equal(regret, b.regret[name])
        seen = np.isfinite(regret)
        assert seen[:, -1].all() and (regret[seen] > -1e-9).all()
        assert all((np.diff(r[np.isfinite(r)]) <= 0).all() for r in regret)
        low, high = a.means()[name][1:, -1]
        assert low <= regret[:, -1].mean() <= high
    assert a.table().count('\n') == 1 + len(a.regret) and len(a.figure().data) == 2*len(a.regret)


def test_random_search_is_the_order_statistic_of_the_table():
    from math import comb
    losses = sorted(run[-1] for run in bench._lot('emoji').values())
    race = bench.compare({'chance': bench._random_search}, data='emoji', on='table', evaluations=30, seeds=300)
    for k in 1, 5, 30:
        expected = sum(loss*comb(len(losses) - 1 - i, k - 1)/comb(len(losses), k) for i, loss in enumerate(losses[:len(losses) - k + 1]))
        found = race.regret['chance'][:, k - 1] + race.best
        assert abs(found.mean() - expected) < 4*found.std()/300**.5


def test_training_on_costs_the_rest():
    world = bench.World('cifar10', 'table', 3, np.random.default_rng(0))
    n = world.draw()
    world.loss(n, 1)
    assert world.spent == pytest.approx(1/6)
    world.loss(n, 3)
    assert world.spent == pytest.approx(1/2) and len(world.best) == 1
    assert world.loss(n) == bench._lot('cifar10')[n][-1] and world.spent == pytest.approx(1) and len(world.best) == 2


def test_given_networks():
    race = bench.compare(given={'paper': [PAPER]}, evaluations=10, seeds=2)
    assert race.given['paper'][0] == pytest.approx(bench.ask(PAPER).predicted - race.best) and 'paper (1)' in race.table()


def test_errors():
    other = Genotype(('a', 'b'), (Edge('a', 'b', 'up', 2, 'deconv_4'),), 'mine')
    everything = Genotype.from_ops({e.name: DEGAS.ops(e)[0] for e in DEGAS.edges})
    for call, says in ((lambda: bench.ask(everything), 'node s4'), (lambda: bench.ask(other), 'nodes s0'), (lambda: bench.ask('cifar10_paper'), 'a Genotype'),
                       (lambda: bench.ask(PAPER, 'mnist'), 'cifar10 and emoji'), (lambda: bench.ask(PAPER, target='beauty'), "'loss' or 'distance'"),
                       (lambda: bench.rank(PAPER, 'emoji', target='distance'), 'there is one on cifar10'),
                       (lambda: bench.compare(on='moon'), 'surrogate or the table'), (lambda: bench.compare(evaluations=0), 'at least 1'),
                       (lambda: bench.compare({'local': bench._local_search}, on='table'), 'no neighbours'),
                       (lambda: bench.compare({'halving': bench._halving}), 'whole trainings only'),
                       (lambda: bench.compare(given={'best': [network(STRANGER)]}, on='table', evaluations=2, seeds=1), 'not in the table')):
        with pytest.raises(UserError, match=says) as e: call()
        assert '\n' not in str(e.value)


def test_the_tool_makes_the_tables_again(tmp_path):
    "From records as a study writes them: a failed run and a half written line are left out, seeds are joined."
    tool = the_tool()
    rng, lines = np.random.default_rng(0), []
    for number in bench.by_lot(rng, 12):
        for seed in range(3):
            result = dict(loss=.4 + .001*seed + rng.random()/10, psnr=17., curve=[.8, .7, .6, .5, .45, .42], params=5, multiplies=6, images='x')
            lines.append(dict(key=f'lot/{number}/{seed}', args=dict(data='cifar10.zip', network=int(number), seed=seed, width=16), seconds=1., cpu=.9, commit='c', result=result))
    failed = dict(lines[0], key='lot/1/9') | dict(error='killed')
    failed.pop('result')
    (tmp_path/'records.jsonl').write_text('\n'.join(map(json.dumps, [*lines, failed])) + '\n{"key": "lot')
    table = tool.table_of(tool.finished(tmp_path/'records.jsonl'))
    assert len(table['rows']) == 36 and table['groups'] == ['lot'] and table['commits'] == ['c'] and table['data'] == 'cifar10'
    assert tool.seeds_agree(table)['networks'] == 12 and tool.seeds_agree(dict(table, rows=[r for r in table['rows'] if r[1] == 0])) is None
    assert len(tool.Points({'cifar10': table}).y) == 12


MODEL = """
const kept = %s, game = %s, listeners = {};
window.model = {values: {kept, game, me: ''}, get: k => model.values[k], set: (k, v) => { model.values[k] = v; },
  on: (events, f) => events.split(' ').forEach(e => (listeners[e] = [...(listeners[e] || []), f])), off: () => 0,
  save_changes: () => (listeners['change:kept'] || []).forEach(f => f())};
"""


def test_be_the_search_in_a_browser(browser, tmp_path):
    "The hand's numbers are the benchmark's; a second residual operation takes the first away; chance keeps pace."
    kept, game = {e.name: e.op for e in PAPER.edges}, bench.game('emoji')
    page = browser.new_page()
    wrong = []
    page.on('pageerror', lambda e: wrong.append(str(e)))
    page.set_content('<div id="here"></div>')
    page.add_script_tag(content=MODEL % (json.dumps(kept), json.dumps(game)))
    page.add_script_tag(content=BeTheSearch._esm.replace('export default { render };', 'window.render = render;').replace('export function', 'function')
                        + "\nrender({model, el: document.getElementById('here')});", type='module')
    status = page.locator('[role=status]')

    def says(genotype, tries):
        share = 100*(1 - bench.rank(genotype, 'emoji').better)
        text = status.inner_text()
        assert f"Predicted loss {bench.ask(genotype, 'emoji').predicted:.4f}" in text and f'of {tries}: ' in text
        assert abs(float(text.split('better than ')[1].split(' %')[0]) - share) < .5
        assert f"chance has {game['chance'][tries - 1]:.4f}" in text

    says(PAPER, 1)
    page.get_by_label('s4-s5').select_option(next(op for op in game['edges'][7]['ops'] if op != kept['s4-s5']))
    says(Genotype.from_ops(page.evaluate('model.get("kept")')), 2)
    for edge in 's2-s6', 's4-s6': page.get_by_label(edge).select_option('deconv_4')
    now = page.evaluate('model.get("kept")')
    assert 's2-s6' not in now and now['s4-s6'] == 'deconv_4'
    says(Genotype.from_ops(now), int(status.inner_text().split('of ')[2].split(':')[0]))
    before = now['s0-s1']
    page.locator('svg g').first.locator('path').last.dispatch_event('click')
    assert page.evaluate('model.get("kept")["s0-s1"]') != before and not wrong
    page.close()


def test_be_the_search_leaves_a_picture():
    widget = BeTheSearch(bench.game(), {e.name: e.op for e in PAPER.edges})
    data = widget._repr_mimebundle_()[0]
    assert data['image/png'] and f"{bench.ask(PAPER).predicted:.4f}" in data['text/plain'] and len(json.dumps(data)) < 120_000
    for wrong, says in (({'s0-s1': 'skip_connect'}, 'is direct'), ({e.name: e.op for e in PAPER.edges} | {'s2-s6': 'deconv_4', 's4-s6': 'deconv_4'}, 'one residual')):
        with pytest.raises(UserError, match=says): BeTheSearch(bench.game(), wrong)
