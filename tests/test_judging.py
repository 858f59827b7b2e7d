"""Judges on what people really have: collapsed sets, broken files, no home, modules that are trained on; each public function with wrong arguments."""
import copy
import json
import math
import warnings
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sim_device import crossings, total
from torch import nn

from degas_nb.judge import extractors, features
from degas_nb.ground.data import Images, load
from degas_nb.judge.extractors import ModuleFeatures, find_extractor, fid_weights
from degas_nb.judge.features import Recipe, SmallClassifier, SmallFeatures, accuracy, at_chance, by_luck, check_labels, extract, jitter, small_features, split_images, start_classifier, train_classifier
from degas_nb.judge.metrics import Statistics, describe_images, frechet_distance, inception_score, kid, score_images
from degas_nb.ground.errors import UserError

LAWS = settings(max_examples=25, deadline=None, derandomize=True)
CPU = torch.Generator


def table(n, d, rank=None, seed=0, scale=1.):
    "Features of a given rank around a mean that is not 0."
    rng = torch.Generator().manual_seed(seed)
    rank = min(n, d) if rank is None else rank
    return scale*(torch.randn(n, rank, generator=rng, dtype=torch.float64) @ torch.randn(rank, d, generator=rng, dtype=torch.float64) + torch.randn(d, generator=rng, dtype=torch.float64))


def alike(n, d, seed=0, scale=1.): return table(1, d, seed=seed, scale=scale).expand(n, d).clone()


def exact(x, y):
    "The distance in 200 bits: eigenvalues of the small symmetric matrix that has the roots of both covariances."
    mpmath.mp.prec = 200
    def described(f):
        f = mpmath.matrix(f.double().tolist())
        mean = [mpmath.fsum(f[i, j] for i in range(f.rows))/f.rows for j in range(f.cols)]
        return mean, mpmath.matrix([[(f[i, j] - mean[j])/mpmath.sqrt(f.rows - 1) for j in range(f.cols)] for i in range(f.rows)])
    (p, a), (q, b) = described(x), described(y)
    cross = a*b.T
    total = sum((u - v)**2 for u, v in zip(p, q)) + sum(v**2 for v in a) + sum(v**2 for v in b)
    return float(total - 2*mpmath.fsum(mpmath.svd_r(cross if cross.rows <= cross.cols else cross.T, compute_uv=False)))


CORNERS = {
    'one distinct image, and others': (alike(10, 3), table(12, 3)),
    'one distinct image, few of many numbers': (alike(5, 9), table(7, 9)),
    'one distinct image among many of few numbers': (alike(40, 2), table(50, 2)),
    'zeros': (torch.zeros(10, 4), table(9, 4)),
    'both collapsed': (alike(6, 4), alike(8, 4, seed=1)),
    'both zero': (torch.zeros(5, 3), torch.zeros(5, 3)),
    'one number': (table(8, 1), table(9, 1, seed=2)),
    'one number, collapsed': (alike(8, 1), table(9, 1, seed=2)),
    'rank 1 of 5': (table(30, 5, 1), table(40, 5, seed=3)),
    'rank 2 and rank 3 of 6': (table(30, 6, 2), table(25, 6, 3, seed=4)),
    'rank 1 and collapsed': (table(30, 4, 1), alike(20, 4, seed=5)),
    'a number that never varies': (torch.cat([table(20, 3), torch.ones(20, 1)], 1), table(20, 4, seed=6)),
    'two images': (table(2, 5), table(2, 5, seed=7)),
    'tiny': (table(20, 3, scale=1e-60), table(20, 3, seed=8, scale=1e-60)),
    'tiny and collapsed': (alike(20, 3, scale=1e-60), table(20, 3, seed=8, scale=1e-60)),
    'tiny beside ordinary': (table(20, 3, scale=1e-9), table(20, 3, seed=9)),
    'huge': (table(20, 3, scale=1e15), table(20, 3, seed=10, scale=1e15)),
}


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('corner', CORNERS)
def test_every_corner_of_the_distance(corner, dtype):
    x, y = (f.to(dtype) for f in CORNERS[corner])
    expected, size = exact(x, y), sum(f.double().var(0).sum().item() for f in (x, y)) + (x.double().mean(0) - y.double().mean(0)).square().sum().item()
    for a in (x, Statistics.of(x)):
        for b in (y, Statistics.of(y)):
            assert frechet_distance(a, b) == frechet_distance(b, a)
            assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6, abs=1e-9*size)


@pytest.mark.parametrize('corner', ['one distinct image, and others', 'zeros', 'rank 1 and collapsed', 'a number that never varies'])
def test_peers_agree_where_they_work(corner):
    from pytorch_fid.fid_score import calculate_frechet_distance
    a, b = map(Statistics.of, CORNERS[corner])
    theirs = calculate_frechet_distance(*(v.numpy() for s in (a, b) for v in (s.mean, s.cov)))
    assert frechet_distance(a, b) == pytest.approx(float(theirs), rel=1e-5)


@LAWS
@given(st.integers(2, 30), st.integers(2, 30), st.integers(1, 8), st.integers(0, 8), st.integers(0, 8), st.integers(0, 10**6))
def test_laws_hold_for_every_rank(n, m, d, r, s, seed):
    x, y = table(n, d, min(r, d), seed), table(m, d, min(s, d), seed + 1)
    far = frechet_distance(x, y)
    assert far == frechet_distance(y, x) >= 0
    assert frechet_distance(x, x + 3) == pytest.approx(9*d, rel=1e-9)
    if r == 0: assert far == pytest.approx(((x.mean(0) - y.mean(0)).square().sum() + y.var(0).sum()).item(), rel=1e-9, abs=1e-12)


def test_a_variance_that_no_number_holds_is_said():
    with pytest.raises(UserError, match='too large'): frechet_distance(table(9, 3, scale=1e200), table(9, 3))
    with pytest.raises(UserError, match='too large'): frechet_distance(table(3, 9), table(4, 9, scale=1e160))


# Wrong arguments: one line each


def wrong(call, words): return pytest.param(call, words, id=words)


X, LOGITS, BYTES = torch.randn(12, 3), torch.randn(20, 4), torch.zeros(12, 3, 16, 16, dtype=torch.uint8)
LABELLED = Images(torch.randint(0, 256, (12, 3, 16, 16), dtype=torch.uint8), torch.arange(12) % 2, ['a', 'b'])


class Mean(nn.Module):
    def forward(self, x): return x.mean((2, 3))


class Gives(nn.Module):
    def __init__(self, what): super().__init__(); self.what = what
    def forward(self, x): return self.what(x)


MEAN = ModuleFeatures(Mean(), 'mean', 3)


@pytest.mark.parametrize('call, words', [
    wrong(lambda: kid(X, X, CPU(), subsets=0), 'subsets must be a whole number'),
    wrong(lambda: kid(X, X, CPU(), subsets=-3), 'got -3'),
    wrong(lambda: kid(X, X, CPU(), subsets=2.5), 'got 2.5'),
    wrong(lambda: kid(X, X, CPU(), size=2.5), 'subsets of 2.5'),
    wrong(lambda: kid(X, X, CPU(), size=0), 'subsets of 0'),
    wrong(lambda: kid(X, X, 7), 'torch.Generator'),
    wrong(lambda: kid(X, X, None), 'not by None'),
    wrong(lambda: kid(X, X*math.inf, CPU()), '12 of 12'),
    wrong(lambda: inception_score(LOGITS, splits=0), 'splits must be a whole number'),
    wrong(lambda: inception_score(LOGITS, splits=-1), 'got -1'),
    wrong(lambda: inception_score(LOGITS, splits=1.5), 'got 1.5'),
    wrong(lambda: inception_score(LOGITS, splits=21), 'at least 21 images, got 20'),
    wrong(lambda: inception_score(LOGITS, probs=True), 'no probabilities'),
    wrong(lambda: inception_score(LOGITS.abs(), probs=True), 'sum to 1'),
    wrong(lambda: inception_score(torch.zeros(20, 0)), r'shape \(20, 0\)'),
    wrong(lambda: inception_score(LOGITS*math.nan), '20 of 20'),
    wrong(lambda: inception_score(LOGITS + 0j), 'complex'),
    wrong(lambda: frechet_distance(X + 0j, X), 'real numbers'),
    wrong(lambda: frechet_distance(X, X[0]), r'shape \(3,\)'),
    wrong(lambda: frechet_distance(X[:, :0], X[:, :0]), r'shape \(12, 0\)'),
    wrong(lambda: frechet_distance('features', X), 'got str'),
    wrong(lambda: frechet_distance(X, None), 'got NoneType'),
    wrong(lambda: frechet_distance(np.array([['a', 'b']]), X), 'got ndarray'),
    wrong(lambda: frechet_distance(np.array([[None, 1]]), X), 'table of numbers'),
    wrong(lambda: frechet_distance(X, Statistics(3)), 'at least two images, got 0'),
    wrong(lambda: Statistics(0), 'length of a feature vector'),
    wrong(lambda: Statistics(2.), 'got 2.0'),
    wrong(lambda: Statistics(3).update(X + 0j), 'complex ones'),
    wrong(lambda: Statistics(3).save('x.npz'), 'at least two'),
    wrong(lambda: Statistics.of(X).save('x.txt'), 'must end in .npz'),
    wrong(lambda: Statistics.of(X).save('no/x.npz'), 'there is no folder no'),
    wrong(lambda: score_images(BYTES/255., Images(BYTES), MEAN), 'to_uint8'),
    wrong(lambda: score_images(BYTES[:, :1], Images(BYTES), MEAN), r'uint8, got torch.uint8 of shape \(12, 1'),
    wrong(lambda: score_images(BYTES.numpy(), Images(BYTES), MEAN), 'not a ndarray'),
    wrong(lambda: score_images(BYTES, BYTES, MEAN), 'an Images or a Mixed or a Statistics'),
    wrong(lambda: score_images(BYTES, Images(BYTES), MEAN, batch_size=0), 'at least 1, not 0'),
    wrong(lambda: score_images(BYTES[:0], Images(BYTES), MEAN), 'at least two images'),
    wrong(lambda: score_images(BYTES, Images(BYTES), MEAN, rng=3), 'a Generator or None'),
    wrong(lambda: score_images(BYTES, Images(BYTES), find), 'extractor'),
    wrong(lambda: describe_images(BYTES, MEAN, -1), 'at least 1, not -1'),
    wrong(lambda: MEAN(BYTES.float()), 'as bytes'),
    wrong(lambda: MEAN(BYTES[0]), r'shape \(3, 16, 16\)'),
    wrong(lambda: [*extract(MEAN, BYTES, 0)], 'at least 1, not 0'),
    wrong(lambda: ModuleFeatures(len, 'own', 3), 'a Module, not a builtin'),
    wrong(lambda: ModuleFeatures(Mean(), 7, 3), 'must be text'),
    wrong(lambda: ModuleFeatures(Mean(), 'own', 0), 'dim 0'),
    wrong(lambda: ModuleFeatures(Mean(), 'own', 3, 0), 'img_size 0'),
    wrong(lambda: ModuleFeatures(Gives(lambda x: x.mean()), 'own', 3)(BYTES), r'gave \(\)'),
    wrong(lambda: ModuleFeatures(Gives(lambda x: dict(x=x)), 'own', 3)(BYTES), 'gave dict'),
    wrong(lambda: ModuleFeatures(Gives(lambda x: (x.mean((2, 3)), x)), 'own', 3)(BYTES), 'should give logits'),
    wrong(lambda: ModuleFeatures(Gives(lambda x: (x.mean((2, 3)), None, 1)), 'own', 3)(BYTES), 'gave tuple'),
    wrong(lambda: ModuleFeatures(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), 'own', 3), 'one batch first'),
    wrong(lambda: ModuleFeatures(Gives((x for x in [])), 'own', 3), "can't be copied"),
    wrong(lambda: ModuleFeatures(Mean(), 'own', 3, device='simgpu:7'), 'simgpu'),
    wrong(lambda: find_extractor('small', labelled=LABELLED, device='nowhere'), 'is no device'),
    wrong(lambda: frechet_distance(X.to_sparse(), X), 'sparse'),
    wrong(lambda: frechet_distance(X.to('meta'), X), 'table of numbers'),
    wrong(lambda: Recipe(epochs=0), 'epochs of a recipe'),
    wrong(lambda: Recipe(batch_size=0), 'batch_size of a recipe'),
    wrong(lambda: Recipe(width=0), 'width of a recipe'),
    wrong(lambda: Recipe(max_shift=-1), 'max_shift of a recipe'),
    wrong(lambda: Recipe(held_out=1.), 'a share between'),
    wrong(lambda: train_classifier(Images(BYTES)), 'no labels'),
    wrong(lambda: train_classifier(Images(BYTES, torch.zeros(12).long(), ['a', 'b'])), 'one label'),
    wrong(lambda: check_labels(Images(BYTES, torch.arange(12), ['a', 'b'])), 'from 0 to 11'),
    wrong(lambda: check_labels(Images(BYTES, torch.arange(12) - 1)), 'from -1'),
    wrong(lambda: check_labels(Images(BYTES, torch.arange(12)/2)), 'no numbers of classes'),
    wrong(lambda: train_classifier(Images(BYTES[..., :8, :8], torch.arange(12) % 2, ['a', 'b'])), '8x8 are too small'),
    wrong(lambda: accuracy(SmallClassifier(2, 2), LABELLED, torch.arange(0)), 'at least one image'),
    wrong(lambda: fid_weights('~nobody/none.pth'), 'no weights at'),
    wrong(lambda: find_extractor(None), 'must be text'),
    wrong(lambda: find_extractor('small', weights='x'), 'belong to inception'),
    wrong(lambda: find_extractor('small', labelled=Images(BYTES)), 'has no labels'),
    wrong(lambda: extractors.InceptionFeatures([]), 'must be a dict'),
    wrong(lambda: extractors.InceptionFeatures({}, resize=None), 'must be text'),
])
def test_a_wrong_argument_is_one_line(call, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words) as e: call()
    assert '\n' not in str(e.value) and not list(tmp_path.iterdir())


def find(*a): return None


@pytest.mark.parametrize('arrays, words', [
    (dict(mu=np.zeros(2), sigma=np.array([[1., 2], [2, 1]])), 'no covariance'),          # correlation 2
    (dict(mu=np.zeros(3), sigma=np.ones((3, 3)) - .4*np.eye(3)), 'no covariance'),       # variances .6, covariances 1
    (dict(mu=np.zeros(3), sigma=1.5*np.eye(3) - np.ones((3, 3))), 'no covariance'),      # pairs can be so, three cannot
    (dict(mu=np.zeros(2, complex), sigma=np.eye(2)), 'complex'),
    (dict(mu=np.zeros(2), sigma=np.eye(2)*1j), 'complex'),
    (dict(mu=np.zeros((1, 2)), sigma=np.eye(2)), 'of shape'),
    (dict(mu=np.zeros(2), sigma=np.zeros(4)), 'of shape'),
    (dict(mu=np.float64(0), sigma=np.float64(1)), 'of shape'),
    (dict(mu=np.array([None, 1], dtype=object), sigma=np.eye(2)), "can't be read"),
    (dict(mu=np.zeros(2), sigma=np.eye(2).astype(object)), "can't be read"),
    (dict(feats=np.zeros((5, 2))), 'holds no mu, only feats'),                           # clean-fid's kernel files
    (dict(arr_0=np.zeros((5, 8, 8, 3), np.uint8)), 'only arr_0'),                        # samples
    (dict(), 'only nothing'),
    (dict(mu=np.zeros(2), sigma=np.eye(2), n=-5), 'bad count'),
    (dict(mu=np.zeros(2), sigma=np.eye(2), n=np.array([3, 4])), 'bad count'),
])
def test_files_that_hold_no_statistics(arrays, words, tmp_path):
    np.savez(tmp_path/'s.npz', **arrays)
    with pytest.raises(UserError, match=words) as e: Statistics.load(tmp_path/'s.npz')
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('dtype', [np.float32, np.float64, '>f8'])
@pytest.mark.parametrize('more', [{}, dict(arr_0=np.zeros((2, 4, 4, 3), np.uint8), mu_s=np.zeros(3), sigma_s=np.eye(3)), dict(notes=np.array([{}], dtype=object))])
def test_files_of_other_tools_are_read(dtype, more, tmp_path):
    "TTUR, pytorch-fid, StudioGAN and clean-fid write mu and sigma; guided-diffusion's reference batches have more beside them. Nothing else is touched."
    x = table(40, 5, 3)
    s = Statistics.of(x)
    np.savez(tmp_path/'s.npz', mu=s.mean.numpy().astype(dtype), sigma=s.cov.numpy().astype(dtype), **more)
    read = Statistics.load(tmp_path/'s.npz')
    assert read.n is None and frechet_distance(read, x) == pytest.approx(0, abs=1e-5)


def test_words_of_a_file_that_are_no_words(tmp_path):
    for about in ('['*100_000, '{"data": NaN, "split": "test"}', '{"data": Infinity, "split": "test", "n": {"a": 1}}'):
        np.savez(tmp_path/'s.npz', mu=np.zeros(2), sigma=np.eye(2), about=about)
        json.dumps(Statistics.load(tmp_path/'s.npz').about, allow_nan=False)


# Whose eyes: modules stay what they are


def critic(dtype=torch.float32): return nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 4, 3, 2)), nn.BatchNorm2d(4), nn.Dropout(.5), nn.AdaptiveAvgPool2d(1), nn.Flatten()).to(dtype)


def pixels(n=6, size=16, seed=0): return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('make', [critic, lambda: nn.Sequential(nn.InstanceNorm2d(3, track_running_stats=True), nn.Dropout2d(.3), nn.Flatten(), nn.LazyLinear(4)), lambda: SmallClassifier(3, 2)])
def test_a_module_is_left_as_it_was_and_its_features_stay(make):
    net = make().train()
    net(torch.randn(4, 3, 16, 16))
    list(net.children())[1].eval()                      # somebody froze a part
    modes, before = [m.training for m in net.modules()], copy.deepcopy(net.state_dict())
    own = ModuleFeatures(net, 'own', 16 if isinstance(net, SmallClassifier) else 4)
    first = own(pixels())
    assert [m.training for m in net.modules()] == modes and all(p.requires_grad for p in net.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    net.train()
    assert all(torch.equal(a, b) for a, b in zip(first, own(pixels())))
    own.net.train()
    assert all(torch.equal(a, b) for a, b in zip(first, own(pixels()))) and own.net.training
    for p in net.parameters(): p.data.mul_(2)           # trained on: the record's hash still names what made the features
    assert all(torch.equal(a, b) for a, b in zip(first, own(pixels()))) and own.hash == features.weights_hash(own.net.state_dict())
    assert not first.features.requires_grad


@pytest.mark.parametrize('wrap', [torch.jit.script, lambda net: torch.jit.trace(net.eval(), torch.randn(2, 3, 16, 16)), copy.deepcopy])
def test_modules_of_every_make(wrap):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).train()
    own = ModuleFeatures(wrap(net), 'own', 4)
    torch.testing.assert_close(own(pixels()).features, ModuleFeatures(net, 'own', 4)(pixels()).features)


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16, torch.float16])
def test_modules_of_every_precision(dtype):
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)).to(dtype)
    nn.init.eye_(net[2].weight), nn.init.zeros_(net[2].bias)
    own, same = ModuleFeatures(net, 'own', 3), ModuleFeatures(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 'mean', 3)
    record, = score_images(pixels(20), Images(pixels(30, seed=1)), own)
    expected, = score_images(pixels(20), Images(pixels(30, seed=1)), same)
    assert record['value'] == pytest.approx(expected['value'], rel=.2 if dtype != torch.float64 else 1e-4) and net[2].weight.dtype == dtype


def test_the_small_classifier_is_not_changed_by_who_looks():
    net = start_classifier(2, Recipe(width=2)).train()
    small = SmallFeatures(net, 16, .9, 'x', 'y')
    first = small(pixels())
    assert net.training and all(m.training for m in net.modules())
    small.net.train()
    assert torch.equal(first.features, small(pixels()).features) and small.net.training
    assert 0 <= accuracy(net, LABELLED, torch.arange(12)) <= 1 and net.training
    with pytest.raises(RuntimeError, match='mode'):
        with features.looking(net): raise RuntimeError('mode')
    assert all(m.training for m in net.modules())


# The cache


def shapes(n=80, seed=0, name='shapes', labels=None):
    "Bright and dark noise: learned at once."
    rng = torch.Generator().manual_seed(seed)
    kind = torch.arange(n) % 2
    return Images((torch.randint(0, 100, (n, 3, 16, 16), generator=rng) + 150*kind[:, None, None, None]).byte(), kind if labels is None else labels, ['dark', 'bright'], name=name)


QUICK = Recipe(epochs=2, width=4, batch_size=8)


@pytest.mark.parametrize('epochs, batch_size', [(1, 64), (5, 64), (1, 13), (3, 33), (2, 32)])
def test_any_number_of_steps_is_a_training(epochs, batch_size):
    "Five steps were a division by zero: the rate's way up was no step long."
    net, right = train_classifier(shapes(), Recipe(epochs=epochs, batch_size=batch_size, width=2))
    assert 0 <= right <= 1 and all(v.isfinite().all() for v in net.state_dict().values())


@pytest.mark.parametrize('home', ['/proc/nobody', '/dev/null', ''])
def test_without_a_home_there_is_one_warning_and_a_classifier(home, monkeypatch, tmp_path):
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setenv('HOME', home)
    with pytest.warns(UserWarning, match='XDG_CACHE_HOME') as said: small = small_features(shapes(), QUICK)
    kept = small_features(shapes(), QUICK, tmp_path)
    assert len(said) == 1 and small.hash == kept.hash and torch.equal(small(pixels()).features, kept(pixels()).features)


def test_it_is_known_before_the_work_that_nothing_can_be_kept(monkeypatch):
    class Reached(Exception): pass
    def train(*a): raise Reached
    monkeypatch.setattr(features, 'train_classifier', train)
    with pytest.warns(UserWarning, match="can't be kept"), pytest.raises(Reached): small_features(shapes(), QUICK, '/proc/x')


def test_the_cache_is_where_the_system_says(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    small_features(shapes(), QUICK)
    assert len(list((tmp_path/'degas_nb').glob('small-*.safetensors'))) == 1


def test_a_cache_that_can_only_be_read_will_do(monkeypatch, tmp_path):
    first = small_features(shapes(), QUICK, tmp_path)
    monkeypatch.setattr(features, 'not_writable', lambda folder: 'read-only')   # root may write anywhere
    monkeypatch.setattr(features, 'train_classifier', lambda *a: 1/0)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert small_features(shapes(), QUICK, tmp_path).hash == first.hash


@pytest.mark.parametrize('spoil', [lambda b: b[:len(b)//2], lambda b: b'', lambda b: b'\xff'*len(b), lambda b: b.replace(b'accuracy', b'acuracyy'), lambda b: b.replace(b'head.bias', b'tail.bias')])
def test_a_damaged_classifier_is_made_again(spoil, tmp_path):
    whole = small_features(shapes(), QUICK, tmp_path)
    file, = tmp_path.iterdir()
    file.write_bytes(spoil(kept := file.read_bytes()))
    with pytest.warns(UserWarning, match='trained again'): again = small_features(shapes(), QUICK, tmp_path)
    assert again.hash == whole.hash and file.read_bytes() == kept


def test_a_full_disk_costs_no_classifier(monkeypatch, tmp_path):
    def full(path, data): raise UserError('no space left')
    monkeypatch.setattr(features, 'atomic_write', full)
    with pytest.warns(UserWarning, match='no space left'): small = small_features(shapes(), QUICK, tmp_path)
    assert small.accuracy > .9 and not list(tmp_path.iterdir())


# Eyes that see nothing


@LAWS
@given(st.integers(1, 300), st.floats(.05, .9), st.integers(0, 10**6))
def test_luck_is_the_binomial_tail(n, chance, seed):
    from scipy.stats import binom
    right = seed % (n + 1)
    assert by_luck(right, n, chance) == pytest.approx(binom.sf(right - 1, n, chance), rel=1e-7, abs=1e-14)


@pytest.mark.parametrize('labels', [torch.arange(80)*7919 % 80 % 2, (torch.arange(80) % 9 == 0).long()])
def test_chance_is_said_in_every_record_and_once_aloud(labels, tmp_path):
    "Labels that have nothing to do with the images: two alike, and one that is rare."
    noise = Images(pixels(80, seed=5), labels, ['a', 'b'], name='noise')
    for kept in (False, True):
        with pytest.warns(UserWarning, match='next to nothing') as said: small = small_features(noise, QUICK, tmp_path)
        records = score_images(noise.pixels[:40], noise, small, splits=2, rng=torch.Generator())
        assert len(said) == 1 and len(records) == 3 and all('next to nothing' in r['warning'] for r in records) and 'upwards' in records[0]['warning']
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        good = small_features(shapes(), QUICK, tmp_path)
    assert not any('next to nothing' in r.get('warning', '') for r in score_images(noise.pixels, noise, good, splits=2))


def test_what_counts_as_better_than_chance():
    even, skewed = shapes(200), shapes(400, labels=(torch.arange(400) % 10 == 0).long())
    assert at_chance(even, Recipe(), .5) and at_chance(even, Recipe(), .6) and not at_chance(even, Recipe(), .8)    # of 40
    assert at_chance(skewed, Recipe(), .9) and at_chance(skewed, Recipe(), .8) and not at_chance(skewed, Recipe(), 1.)


# Generators and devices: drawn where the generator lives


def test_sizes_of_a_split_leave_something_on_both_sides():
    for n, share in ((2, .2), (2, .99), (3, .5), (100, .2)):
        train, out = split_images(n, share, torch.Generator().manual_seed(0))
        assert len(train) and len(out) and sorted(torch.cat([train, out]).tolist()) == list(range(n))
    x = torch.randn(4, 3, 8, 6)
    assert jitter(x, 1, torch.Generator()).shape == x.shape


@pytest.mark.parametrize('module', [None, critic])
def test_a_device_sees_what_the_cpu_sees(module, simgpu, tmp_path):
    "The same records, whoever draws the subsets; a batch crosses over once each way."
    fake, real = shapes(30, seed=1), shapes(40, seed=2)
    def judge(device): return small_features(shapes(), QUICK, tmp_path, device) if module is None else ModuleFeatures(net, 'critic', 4, device=device)
    net = module and module()
    def records(device): return score_images(fake, real, judge(device), splits=2, batch_size=10, rng=torch.Generator().manual_seed(0))
    expected = records('cpu')
    assert records(simgpu) == expected
    eyes = judge(simgpu)
    with crossings() as crossed: score_images(fake, real, eyes, splits=2, batch_size=10)
    assert total(crossed, 'to host') == 7 and total(crossed, 'to device') == 7   # three batches and four
    assert [r['value'] for r in score_images(fake.to(simgpu), real.to(simgpu), eyes, splits=2)] == pytest.approx([r['value'] for r in expected[:-1]], rel=1e-9)


def test_generators_of_a_device_are_welcome(simgpu):
    x, y = table(60, 4), table(50, 4, seed=1)
    near, again, other = (kid(x, y, torch.Generator(device).manual_seed(s), subsets=20) for device, s in ((simgpu, 0), (simgpu, 0), ('cpu', 0)))
    assert near == again and near.value != other.value and abs(near.value - other.value) < 5*(near.std_error + other.std_error)
    with crossings() as crossed: kid(x, y, torch.Generator(simgpu), subsets=20)
    assert total(crossed) == 1
    rng = torch.Generator(simgpu).manual_seed(0)
    train, out = split_images(10, .3, rng)
    assert sorted(torch.cat([train, out]).tolist()) == list(range(10)) and jitter(torch.randn(3, 3, 8, 8), 2, rng).device.type == 'cpu'
    assert jitter(torch.randn(3, 3, 8, 8).to(simgpu), 2, torch.Generator()).device.type == jitter(torch.randn(3, 3, 8, 8).to(simgpu), 2, rng).device.type == 'simgpu'


def test_tables_on_a_device_are_scored(simgpu):
    "Distances are made in float64 on the CPU: not every device has that."
    x, y, logits = table(40, 5).float(), table(30, 5, seed=1).float(), torch.randn(40, 3)
    assert frechet_distance(x.to(simgpu), y.to(simgpu)) == frechet_distance(x, y)
    assert frechet_distance(Statistics.of(x.to(simgpu)), y) == frechet_distance(Statistics.of(x), y)
    assert inception_score(logits.to(simgpu), 4) == inception_score(logits, 4)
    assert kid(x.to(simgpu), y.to(simgpu), torch.Generator().manual_seed(0)) == kid(x, y, torch.Generator().manual_seed(0))


def test_a_classifier_is_trained_alike_wherever_its_images_lie(simgpu):
    (a, right), (b, same) = (train_classifier(images, QUICK) for images in (shapes(), shapes().to(simgpu)))
    assert right == same and all(torch.equal(v, w) for v, w in zip(a.state_dict().values(), b.state_dict().values()))


@pytest.mark.long
def test_studies_go_on_with_the_eyes_that_began_them(shared_cifar, monkeypatch, tmp_path):
    "The classifier that the studies judge by ships: a processor that adds in another order would train another one."
    monkeypatch.setattr(features, 'train_classifier', lambda *a: pytest.fail('trained anew'))
    small = small_features(load(str(shared_cifar), limit=10_000), cache=tmp_path)
    known = {json.loads(line)['result'].get('extractor') for line in (Path(__file__).parents[1]/'studies'/'proxy'/'records.jsonl').read_text().splitlines()}
    assert known == {small.hash}


def test_nobody_trains_eyes_for_the_emoji(monkeypatch, tmp_path):
    monkeypatch.setattr(features, 'train_classifier', lambda *a: pytest.fail('trained anew'))
    assert small_features(load('emoji'), cache=tmp_path).accuracy > .6 and not [*tmp_path.iterdir()]
