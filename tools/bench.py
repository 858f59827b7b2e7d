"""Make the data of the benchmark (degas_nb/builtin/bench) from the records of the studies glo, glo-emoji and proxy: tables, surrogates in plain numbers.

    tools/bench.py                    tables, surrogates, what they do on held-out networks
    tools/bench.py --compare          the other kinds of model of the loss too (some minutes more)
    tools/bench.py --distance         only the table of distances and its surrogate (proxy; the loss stays as it is)
    tools/bench.py --records FILE...  other records than studies/{glo,glo-emoji,proxy}/records.jsonl

The surrogate of the loss is a Gaussian process (scikit-learn, the extra `bench`) on the logarithm of the loss of both data sets together. That of the
distance is the best of `DESIGNS` on held-out networks. What is shipped is numbers, and `degas_nb.judge.bench` asks them with numpy alone.
Run it again when there are more records.
"""
import argparse
import json
import warnings
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.stats import kendalltau, pearsonr, spearmanr
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Hyperparameter, Kernel, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from degas_nb.app.studies import AVERAGED, in_the_end
from degas_nb.ground.folders import atomic_write
from degas_nb.judge import bench
from degas_nb.judge.worth import noise_of
from degas_nb.space.baselines import BASELINES
from degas_nb.space.choices import n_networks, number_of
from degas_nb.space.genotype import DEGAS, Genotype

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT/'degas_nb'/'builtin'/'bench'
EDGES = [e.name for e in DEGAS.edges]
FOLDS, SEED = 10, 0


def finished(path:Path)->list[dict]:
    "Records that hold a result, each with the data's name and the network's number (None for a baseline)."
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith('}')]
    for r in lines:
        named = r['args']['network']
        number = None if named in BASELINES else number_of(Genotype.named(named)) if isinstance(named, str) else named
        r.update(data='emoji' if path.parent.name.endswith('emoji') else 'cifar10', number=number, name=named if isinstance(named, str) else '')
    return [r for r in lines if 'result' in r]


def group_of(record:dict)->str:
    "What the key begins with."
    return record['key'].partition('/')[0]


def only(values)->object:
    "The value that all of them are."
    found = sorted(set(values))
    assert len(found) == 1, f"runs with several settings: {found}"
    return found[0]


def table_of(records:list[dict])->dict:
    "The compact table of one data set: a row a run."
    commits, groups = sorted({r['commit'] for r in records}), sorted({group_of(r) for r in records})
    rows = sorted([r['number'], r['args']['seed'], groups.index(group_of(r)), round(r['result']['loss'], 5), r['cpu'], r['result']['params'],
                   r['result']['multiplies'], commits.index(r['commit']), r['name'], *(round(1e4*x) for x in r['result']['curve'])] for r in records)
    epochs = only(len(r['result']['curve']) for r in records)
    columns = ['number', 'seed', 'group', 'loss', 'seconds', 'params', 'multiplies', 'commit', 'name', *(f'epoch{i + 1}' for i in range(epochs))]
    settings = dict(width=only(r['args']['width'] for r in records), epochs=epochs, run='Reconstruction', seconds='of one processor',
                    epoch='mean loss, times 10,000')
    return dict(format='degas-bench/1', data=records[0]['data'], images=only(r['result']['images'] for r in records), target='loss', settings=settings,
                commits=commits, groups=groups, marks=epochs, times=10_000, columns=columns, rows=rows)


def distance_table(records:list[dict])->dict:
    "The compact table of distances: a row a run, the distance at every mark, times 100, and how far the critic told drawn from real until then."
    commits, groups = sorted({r['commit'] for r in records}), sorted({group_of(r) for r in records})
    marks = only(tuple(map(int, r['result']['curve'])) for r in records)
    rows = [[r['number'], r['args']['seed'], groups.index(group_of(r)), round(in_the_end(r['result'], AVERAGED), 6), r['cpu'], r['result']['params'],
             commits.index(r['commit']), r['name'], *(round(x, 3) for x in list(r['result']['critic'].values())[:2]),
             *(round(100*x) for x in r['result']['curve'].values())] for r in records]
    columns = ['number', 'seed', 'group', 'distance', 'seconds', 'params', 'commit', 'name', *(f'critic{m}' for m in marks[:2]), *(f'step{m}' for m in marks)]
    settings = dict(width=only(r['args']['width'] for r in records), steps=only(r['args']['steps'] for r in records), run='GANTraining, ctgan',
                    distance=f'mean of the last {AVERAGED}', step='distance, times 100')
    by = dict(extractor=only(r['result']['extractor'] for r in records), accuracy=only(r['result']['accuracy'] for r in records))
    return dict(format='degas-bench/1', data='cifar10', images=only(r['result']['images'] for r in records), target='distance', settings=settings | by,
                commits=commits, groups=groups, marks=len(marks), times=100, columns=columns, rows=sorted(rows, key=lambda row: (row[0] is None, row)))


class Networks(Kernel):
    "Alike edges multiply, alike edges add: a * exp(-sum_e v_e [op != op']) * R + sum_e u_e [op = op'] * Q, R and Q below 1 between data sets."
    def __init__(self, theta_:tuple=(), fixed:bool=False): self.theta_, self.fixed = theta_, fixed

    @property
    def hyperparameter_theta_(self):
        bounds = np.log([[1e-2, 20]] + [[1e-3, 5]]*11 + [[1e-4, 2]]*11 + [[.01, 100]]*2)
        return Hyperparameter('theta_', 'numeric', np.exp(bounds), 25)

    def parts(self, X, Y):
        a, v, u, r, q = self.theta_[0], np.array(self.theta_[1:12]), np.array(self.theta_[12:23]), self.theta_[23], self.theta_[24]
        same = (X[:, None, :-1] == Y[None, :, :-1]).astype(float)
        data = X[:, None, -1] == Y[None, :, -1]
        R, Q = np.where(data, 1, r/(1 + r)), np.where(data, 1, q/(1 + q))
        return same, data, a*np.exp(same@v - v.sum())*R, (same@u)*Q, v, u, r, q, Q

    def __call__(self, X, Y=None, eval_gradient=False):
        same, data, product, linear, v, u, r, q, Q = self.parts(X, X if Y is None else Y)
        if not eval_gradient: return product + linear
        grads = [product, *((same[..., e] - 1)*v[e]*product for e in range(11)), *(same[..., e]*u[e]*Q for e in range(11)),
                 np.where(data, 0, product/(1 + r)), np.where(data, 0, linear/(1 + q))]
        return product + linear, np.stack(grads, -1)

    def diag(self, X): return np.full(len(X), self.theta_[0] + sum(self.theta_[12:23]))

    def is_stationary(self): return False


START = (1., *[.2]*11, *[.1]*11, 5., 5.)


def careful(n:int=25, deviation:float=1.4):
    "A fit of the settings in `n` steps; they may leave their start by a factor of four without much ado (a Gaussian prior on their logarithms)."
    def fit(f, theta, bounds):
        def with_prior(t):
            value, gradient = f(t)
            off = (t - theta)/deviation
            return value + off@off/2, gradient + off/deviation
        found = minimize(with_prior, theta, jac=True, bounds=bounds, method='L-BFGS-B', options=dict(maxiter=n))
        return found.x, found.fun
    return fit


def settings(X:np.ndarray, y:np.ndarray, most:int=400)->Kernel:
    "The kernel that fits best to (at most so many of) the points."
    some = np.random.default_rng(SEED).permutation(len(y))[:most]
    first = GaussianProcessRegressor(Networks(START) + WhiteKernel(.05, (1e-3, 1)), alpha=1e-8, optimizer=careful()).fit(X[some], y[some])
    return first.kernel_


def process(kernel:Kernel)->GaussianProcessRegressor:
    "The Gaussian process with this kernel as it is."
    return GaussianProcessRegressor(kernel, alpha=1e-8, optimizer=None)


class Points:
    "One point a network and data set: edge codes and data, log loss (its mean over seeds) on a common scale, and whether it was drawn by lot."
    def __init__(self, tables:dict[str, dict]):
        self.data, rows = list(tables), []
        for i, t in enumerate(tables.values()):
            found = defaultdict(list)
            for row in t['rows']: found[row[0]].append((np.log(row[3]), t['groups'][row[2]]))
            rows += [(number, i, np.mean([x for x, _ in seen]), any(g == 'lot' for _, g in seen)) for number, seen in found.items()]
        self.numbers, self.which, self.log, self.lot = (np.array(c) for c in zip(*rows))
        self.X = np.hstack([bench._codes(self.numbers), self.which[:, None]]).astype(int)
        self.means = [self.log[(self.which == i) & self.lot].mean() for i in range(len(tables))]
        self.scales = [self.log[(self.which == i) & self.lot].std() for i in range(len(tables))]
        self.y = (self.log - np.array(self.means)[self.which])/np.array(self.scales)[self.which]

    def folds(self)->list[tuple[np.ndarray, np.ndarray]]:
        "(a tenth of the networks, the half in which it isn't); a network is left out of both data sets."
        unique = np.random.default_rng(SEED).permutation(np.unique(self.numbers))
        half = np.isin(self.numbers, unique[:len(unique)//2])
        parts = [*np.array_split(unique[:len(unique)//2], FOLDS//2), *np.array_split(unique[len(unique)//2:], FOLDS - FOLDS//2)]
        return [(np.isin(self.numbers, part), ~half if i < FOLDS//2 else half) for i, part in enumerate(parts)]

    def held_out(self, fit, which:tuple[int, ...])->np.ndarray:
        "Predicted by models that have not seen the network; `fit(half)` gives a model without its points, which learns these data sets."
        out, known = np.full(len(self.y), np.nan), {}
        mine = np.isin(self.which, which)
        for test, half in self.folds():
            key = half.tobytes()
            if key not in known: known[key] = fit(half & mine)
            a, b = ~test & mine, test & mine
            if b.any(): out[b] = known[key](a, b)
        return out

    def says(self, predicted:np.ndarray)->dict[str, dict]:
        "How well it did, on the networks drawn by lot and on all."
        def scores(m, scale):
            return dict(networks=int(m.sum()), tau=round(float(kendalltau(predicted[m], self.y[m])[0]), 3),
                        spearman=round(float(spearmanr(predicted[m], self.y[m])[0]), 3),
                        rmse=round(float(np.sqrt(np.mean((predicted[m] - self.y[m])**2))*scale), 4))
        each = {name: self.which == i for i, name in enumerate(self.data)}
        return {name: dict(lot=scores(m & self.lot, s), all=scores(m, s)) for (name, m), s in zip(each.items(), self.scales)}


def one_hot(points:Points)->np.ndarray:
    "A column for each operation on each edge, none among them."
    return np.hstack([points.X[:, [e]] == np.unique(points.X[:, e]) for e in range(11)]).astype(float)


def others(points:Points)->dict[str, np.ndarray]:
    "What other models say of held-out networks, each data set by itself."
    F = one_hot(points)
    pairs = make_pipeline(PolynomialFeatures(2, interaction_only=True, include_bias=False), RidgeCV(np.logspace(0, 3, 7)))
    models = {'ridge': RidgeCV(np.logspace(-1, 2, 10)), 'ridge with all pairs': pairs,
              'boosted trees': GradientBoostingRegressor(n_estimators=300, learning_rate=.05, max_depth=3, subsample=.6, random_state=0)}
    def plain(model): return lambda half: lambda a, b: model.fit(F[a], points.y[a]).predict(F[b])
    def each(fit): return np.nansum([points.held_out(fit, (i,)) for i in range(len(points.data))], 0)
    return {name: each(plain(m)) for name, m in models.items()} | {'Gaussian process, one data set': each(by_process(points))}


def by_process(points:Points):
    "For `Points.held_out`: the settings from the half without the tested networks, the weights from all others."
    def fit(half):
        kernel = settings(points.X[half], points.y[half])
        return lambda a, b: process(kernel).fit(points.X[a], points.y[a]).predict(points.X[b])
    return fit


def seeds_agree(table:dict)->dict|None:
    "What seeds leave open, on networks by lot with several: the noise of the logarithm, Kendall's tau and the correlation of two seeds."
    found = defaultdict(dict)
    for row in table['rows']:
        if table['groups'][row[2]] == 'lot': found[row[0]][row[1]] = np.log(row[3])
    several = [f for f in found.values() if len(f) > 1]
    pairs = [[(f[a], f[b]) for f in several if a in f and b in f] for a, b in combinations(sorted({s for f in several for s in f}), 2)]
    taus, rs = ([float(f(*zip(*p))[0]) for p in pairs if len(p) > 7] for f in (kendalltau, pearsonr))
    if not taus: return None
    noise = noise_of([[f[seed] for seed in sorted(f)] for f in several])**.5
    return dict(networks=len(several), noise=round(noise, 4), tau=round(float(np.mean(taus)), 3), reliability=round(float(np.mean(rs)), 3))


def shipped(points:Points, gp:GaussianProcessRegressor)->dict:
    "The surrogate as plain numbers."
    k = gp.kernel_.k1.theta_
    return dict(format='degas-surrogate/1', data=points.data, target='loss', edges=EDGES, amplitude=k[0], product=list(k[1:12]), linear=list(k[12:23]),
                product_between=k[23]/(1 + k[23]), linear_between=k[24]/(1 + k[24]), means=points.means, scales=points.scales,
                numbers=points.numbers.tolist(), which=points.which.tolist(), weights=gp.alpha_.ravel().tolist())


# ---- the distance

class Distances:
    "A point a network: its operations as columns, log distance (mean over its seeds), seeds, the log loss that is foreseen by who has not seen it."
    def __init__(self, table:dict, surrogate:dict):
        found = defaultdict(list)
        for row in sorted(table['rows'], key=lambda row: row[1]):  # by seed
            if row[0] is not None: found[row[0]].append((np.log(row[3]), table['groups'][row[2]]))
        self.numbers = np.array(sorted(found))
        self.log, self.seeds = (np.array([f([x for x, _ in found[n]]) for n in self.numbers]) for f in (np.mean, len))
        self.lot = np.array([any(g == 'lot' for _, g in found[n]) for n in self.numbers])
        self.codes = bench._codes(self.numbers)
        some = bench._codes(np.arange(n_networks())[::997])
        self.F = np.hstack([self.codes[:, [e]] == np.unique(some[:, e]) for e in range(len(EDGES))]).astype(float)
        self.as_for_loss = surrogate['amplitude'], surrogate['product'], surrogate['linear']
        held = dict(zip([n for n, i in zip(surrogate['numbers'], surrogate['which']) if not i], surrogate['held_out_numbers']['cifar10']))
        self.loss = np.array([held.get(n, float(np.log(bench.predict(n)[0]))) for n in self.numbers])
        self.noise = noise_of([[x for x, _ in f] for f in found.values()])**.5
        self.mean, self.scale = self.log[self.lot].mean(), self.log[self.lot].std()

    def held_out(self, design:str)->np.ndarray:
        "Predicted log distances: a tenth is left out ten times, with five ways to part them, and the five are averaged."
        out, everyone = np.zeros(len(self.log)), np.arange(len(self.log))
        for again in range(REPEATS):
            fold = self.folds(np.random.default_rng(SEED + again))
            for part in (np.flatnonzero(fold == i) for i in range(FOLDS)):
                rest = np.setdiff1d(everyone, part)
                out[part] += predicted_by(self, design, fitted(self, design, rest), part)/REPEATS
        return out

    def folds(self, rng:np.random.Generator)->np.ndarray:
        "Near and far networks in each: or else the mean of the others would be far where what is left out is near, and say the contrary of it."
        out = np.empty(len(self.log), int)
        for i in range(0, len(out), FOLDS): out[np.argsort(self.log)[i:i + FOLDS]] = rng.permutation(FOLDS)[:len(out) - i]
        return out

    def inputs(self, design:str)->np.ndarray:
        "What the kernel of a design looks at."
        return np.hstack([self.codes, 0*self.codes[:, :1]]) if 'as for the loss' in design else self.F

    def says(self, predicted:np.ndarray)->dict[str, dict]:
        "How well it did, on the networks by lot and on all."
        def scores(m):
            p, y = predicted[m], self.log[m]
            again = np.random.default_rng(SEED).integers(len(y), size=(1000, len(y)))
            low, high = np.nanpercentile([kendalltau(p[i], y[i])[0] for i in again], (2.5, 97.5))
            return dict(networks=int(m.sum()), tau=round(float(kendalltau(p, y)[0]), 3), low=round(float(low), 3), high=round(float(high), 3),
                        spearman=round(float(spearmanr(p, y)[0]), 3), rmse=round(float(np.sqrt(np.mean((p - y)**2))), 4))
        return dict(lot=scores(self.lot), all=scores(np.full(len(self.lot), True)))


REPEATS = 5
DESIGNS = {'the foreseen loss': (True, ()), 'operations': (False, ('linear',)), 'operations, foreseen loss': (True, ('linear',)),
           'operations and how they meet, foreseen loss': (True, ('linear', 'product')),
           'alike as for the loss, foreseen loss': (True, ('same',))}  # has a slope on the loss; parts of the kernel


class Same(Kernel):
    "The kernel of the loss, its settings as they are."
    def __init__(self, amplitude:float, product:tuple, linear:tuple): self.amplitude, self.product, self.linear = amplitude, product, linear

    def __call__(self, X, Y=None, eval_gradient=False):
        K = Networks((self.amplitude, *self.product, *self.linear, 1., 1.))(X, Y)
        return (K, np.empty((*K.shape, 0))) if eval_gradient else K

    def diag(self, X): return np.full(len(X), self.amplitude + sum(self.linear))

    def is_stationary(self): return False


def fitted(points:Distances, design:str, some:np.ndarray)->tuple[float, float, GaussianProcessRegressor|None]:
    "Slope on the log loss, its value at 0, and a process (ridge, where it has the linear part alone) of what is left, in units of `scale`."
    with_loss, parts = DESIGNS[design]
    x, y, weight = points.loss[some], points.log[some], np.sqrt(points.seeds[some])
    slope, at_0 = np.polyfit(x, y, 1, w=weight) if with_loss else (0., np.average(y, weights=weight))
    if not parts: return slope, at_0, None
    kernels = dict(linear=ConstantKernel(.1, (1e-4, 2))*DotProduct(0, 'fixed'), product=ConstantKernel(.3, (1e-3, 5))*RBF(1.5, (.5, 5)),
                   same=ConstantKernel(.3, (1e-3, 5))*Same(*points.as_for_loss))
    kernel = sum([kernels[part] for part in parts[1:]], kernels[parts[0]]) + WhiteKernel(.2, (1e-3, 2))
    noise = np.nan_to_num(points.noise, nan=.1)**2/points.seeds[some]/points.scale**2
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ConvergenceWarning)  # nothing but noise is at the end of a range
        return slope, at_0, GaussianProcessRegressor(kernel, alpha=noise).fit(points.inputs(design)[some], (y - slope*x - at_0)/points.scale)


def predicted_by(points:Distances, design:str, model:tuple, asked:np.ndarray)->np.ndarray:
    "What the model says of networks."
    slope, at_0, gp = model
    return slope*points.loss[asked] + at_0 + (gp.predict(points.inputs(design)[asked])*points.scale if gp else 0)


def shipped_distance(points:Distances, model:tuple)->dict:
    "The surrogate of the distance as plain numbers, in the form of the other one."
    slope, at_0, gp = model
    k = gp.kernel_.get_params() if gp else {}
    def part(kind): return next((v for v in k.values() if isinstance(getattr(v, 'k2', None), kind)), None)
    linear = part(DotProduct).k1.constant_value if part(DotProduct) else 0.
    a, length = (part(RBF).k1.constant_value, part(RBF).k2.length_scale) if part(RBF) else (0., 1.)
    amplitude, product, linear = a, [1/length**2]*len(EDGES), [linear]*len(EDGES)
    if part(Same): amplitude, product, linear = points.as_for_loss[0]*(c := part(Same).k1.constant_value), points.as_for_loss[1], [c*u for u in points.as_for_loss[2]]
    weights = gp.alpha_.ravel() if gp else np.zeros(len(points.numbers))
    return dict(format='degas-surrogate/1', data=['cifar10'], target='distance', edges=EDGES, amplitude=amplitude, product=product, linear=linear,
                product_between=1., linear_between=1., means=[at_0], scales=[points.scale], slope=slope, numbers=points.numbers.tolist(),
                which=[0]*len(points.numbers), weights=weights.tolist())


def rounded(value:object, digits:int=8)->object:
    "Floats with `digits` significant digits, anywhere in a JSON value."
    if isinstance(value, (float, np.floating)): return float(f'{value:.{digits}g}')
    if isinstance(value, dict): return {k: rounded(v, digits) for k, v in value.items()}
    return [rounded(v, digits) for v in value] if isinstance(value, (list, tuple)) else value


def quantiles(data:str, target:str='loss')->dict:
    "Predicted losses (distances) over the whole space, by exact enumeration: what share of all networks is better than each."
    found = bench.everything(data, target)
    best = int(found.argmin())
    levels = [*(10**np.linspace(-7, -3, 41))[:-1], *np.linspace(.001, 1, 1000)] if target == 'loss' else \
             [*(10**np.linspace(-7, -3, 21))[:-1], *np.linspace(.001, 1, 400)]
    found.sort()
    at = np.ceil(np.array(levels)*len(found)).astype(int).clip(1) - 1
    return rounded(dict(levels=levels, losses=found[at].astype(float).tolist(), best=best), 7)


def write(name:str, value:dict)->None:
    "One JSON file, a row a line where there are rows."
    rows = value.pop('rows', None)
    text = json.dumps(value, separators=(',', ':'), allow_nan=False)
    if rows is not None: text = text[:-1] + ',"rows":[\n' + ',\n'.join(json.dumps(r, separators=(',', ':')) for r in rows) + '\n]}'
    OUT.mkdir(parents=True, exist_ok=True)
    atomic_write(OUT/f'{name}.json', (text + '\n').encode())
    if rows is not None: value['rows'] = rows


def make_loss(records:list[dict], compare:bool)->None:
    "Tables of losses and their surrogate."
    tables = {data: table_of([r for r in records if r['data'] == data]) for data in bench.DATA}
    for name, table in tables.items(): write(name, table)
    points = Points(tables)
    gp = process(settings(points.X, points.y)).fit(points.X, points.y)
    print(f"{len(points.y)} points, log likelihood {gp.log_marginal_likelihood_value_:.1f}, {gp.kernel_}")
    predicted = points.held_out(by_process(points), (0, 1))
    compared = {bench.MODEL: points.says(predicted)} | ({name: points.says(p) for name, p in others(points).items()} if compare else {})
    for name, says in compared.items(): print(name, says)
    old = json.loads((OUT/'comparison.json').read_text()) if (OUT/'comparison.json').exists() else {}
    write('comparison', old if not compare else compared)
    surrogate = rounded(shipped(points, gp)) | dict(held_out=compared[bench.MODEL], seeds={n: seeds_agree(t) for n, t in tables.items()}, folds=FOLDS)
    surrogate['held_out_numbers'] = {d: [round(float(p*s + m), 4) for p in predicted[points.which == i]] for i, (d, s, m) in
                                     enumerate(zip(points.data, points.scales, points.means))}
    write('surrogate', surrogate)
    forget()
    for i, name in enumerate(points.data):
        mine, theirs = np.log(bench.predict(points.numbers, name)), gp.predict(np.hstack([points.X[:, :-1], np.full((len(points.X), 1), i)]))
        assert np.allclose(mine, theirs*points.scales[i] + points.means[i], atol=1e-4), 'the shipped numbers say something else'
    surrogate['quantiles'] = {name: quantiles(name) for name in bench.DATA}
    write('surrogate', surrogate)


def forget()->None:
    "What was read before."
    for f in (bench._read, bench._table, bench._rows, bench._lot, bench._surrogate, bench._terms): f.cache_clear()


def make_distance(records:list[dict])->None:
    "The table of distances, and its surrogate: the best of `DESIGNS` on held-out networks by lot."
    table = distance_table(records)
    write('cifar10_distance', table)
    forget()
    points = Distances(table, bench._surrogate())
    predicted = {design: points.held_out(design) for design in DESIGNS}
    compared = {design: points.says(p) for design, p in predicted.items()}
    for name, says in compared.items(): print(name, says)
    write('comparison_distance', compared)
    best = max(compared, key=lambda design: compared[design]['lot']['tau'])
    model, everyone = fitted(points, best, np.arange(len(points.log))), np.arange(len(points.log))
    ceiling = seeds_agree(table)
    if ceiling: ceiling['tau_of_the_truth'] = round(2/np.pi*float(np.arcsin(max(0, ceiling['reliability'])**.5)), 3)
    surrogate = rounded(shipped_distance(points, model)) | dict(model=best, held_out=dict(cifar10=compared[best]), seeds=dict(cifar10=ceiling), folds=FOLDS)
    surrogate['held_out_numbers'] = dict(cifar10=[round(float(x), 4) for x in predicted[best]])
    write('surrogate_distance', surrogate)
    forget()
    theirs = predicted_by(points, best, model, everyone) + model[0]*(np.log(bench.predict(points.numbers)) - points.loss)
    assert np.allclose(np.log(bench.predict(points.numbers, target='distance')), theirs, atol=1e-4), 'the shipped numbers say something else'
    surrogate['quantiles'] = dict(cifar10=quantiles('cifar10', 'distance'))
    write('surrogate_distance', surrogate)
    print(f"distance: {best}; {ceiling}")


def main()->None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--records', nargs='+', type=Path, default=[ROOT/'studies'/name/'records.jsonl' for name in ('glo', 'glo-emoji', 'proxy')])
    parser.add_argument('--compare', action='store_true', help='other kinds of model of the loss too')
    parser.add_argument('--distance', action='store_true', help='only the table of distances and its surrogate')
    args = parser.parse_args()
    warnings.simplefilter('ignore', ConvergenceWarning)
    records = [r for path in args.records for r in finished(path)]
    of_distance = [r for r in records if 'distance' in r['result'] and group_of(r) != 'longer']  # those are another training
    if not args.distance: make_loss([r for r in records if 'loss' in r['result']], args.compare)
    if of_distance: make_distance(of_distance)
    print(f"{sum(p.stat().st_size for p in OUT.glob('*.json'))/1000:.0f} kB")


if __name__ == '__main__': main()
