"""Frechet distance, inception score and kernel distance against peers and laws; records and files of statistics."""
import json
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from degas_nb.ground.data import Images
from degas_nb.judge.features import Features
from degas_nb.judge.metrics import Statistics, describe_images, frechet_distance, inception_score, kernel_distance, kid, score_images
from degas_nb.ground.errors import UserError

pytestmark = pytest.mark.filterwarnings('ignore')  # peers warn about their own calls
LAWS = settings(max_examples=40, deadline=None, derandomize=True)
sizes = st.tuples(st.integers(2, 40), st.integers(2, 40), st.integers(1, 12), st.integers(0, 10**6))  # n, m, d, seed


def pair(n, m, d, seed):
    "Two feature tables of unlike place, scale and correlation; often fewer rows than columns."
    rng = torch.Generator().manual_seed(seed)
    mix = torch.randn(2, d, d, generator=rng, dtype=torch.float64)
    x = torch.randn(n, d, generator=rng, dtype=torch.float64) @ mix[0]
    y = torch.randn(m, d, generator=rng, dtype=torch.float64) @ mix[1] + 1
    return x, y


def size(x, y):
    "What rounding errors are measured against."
    return 1 + sum((s.cov.trace() + s.mean.square().sum()).item() for s in (Statistics.of(x), Statistics.of(y)))


@LAWS
@given(sizes)
def test_distance_laws(case):
    x, y = pair(*case)
    d, tiny = frechet_distance(x, y), 1e-9*size(x, y)
    assert frechet_distance(x, x) <= tiny
    assert d >= 0
    assert abs(d - frechet_distance(y, x)) <= tiny
    assert abs(frechet_distance(3*x, 3*y) - 9*d) <= 9*tiny
    assert abs(frechet_distance(-x, -y) - d) <= tiny
    turn = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(case[3])))[0]
    assert abs(frechet_distance(x @ turn, y @ turn) - d) <= tiny
    assert abs(frechet_distance(x + 5, y + 5) - d) <= 100*tiny


@LAWS
@given(st.integers(1, 20), st.integers(0, 10**6))
def test_distance_of_diagonal_covariances(d, seed):
    rng = torch.Generator().manual_seed(seed)
    sigma, tau, mu = torch.rand(3, d, dtype=torch.float64, generator=rng)
    stats = []
    for spread, mean in ((sigma, mu), (tau, -mu)):
        s = Statistics(d)
        s.n, s.mean, s.scatter = 11, mean, torch.diag(10*spread**2)
        stats.append(s)
    closed = (2*mu).square().sum() + (sigma - tau).square().sum()
    assert frechet_distance(*stats) == pytest.approx(closed.item(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize('d', [2, 16, 64])
def test_distance_of_peers(d):
    from pytorch_fid.fid_score import calculate_frechet_distance
    from torchmetrics.image.fid import _compute_fid
    x, y = pair(5*d + 20, 4*d + 30, d, d)
    a, b = Statistics.of(x), Statistics.of(y)
    ours = frechet_distance(x, y)
    assert ours == pytest.approx(calculate_frechet_distance(a.mean.numpy(), a.cov.numpy(), b.mean.numpy(), b.cov.numpy()), rel=1e-6)
    assert ours == pytest.approx(_compute_fid(a.mean, a.cov, b.mean, b.cov).item(), rel=1e-6)


def many_digits(x, y):
    "The distance in 200 bits, by singular values of the centred features."
    import mpmath
    mpmath.mp.prec = 200
    def centred(f):
        f = mpmath.matrix(f.tolist())
        mean = [mpmath.fsum(f[i, j] for i in range(f.rows))/f.rows for j in range(f.cols)]
        return mean, mpmath.matrix([[(f[i, j] - mean[j])/mpmath.sqrt(f.rows - 1) for j in range(f.cols)] for i in range(f.rows)])
    (mean_a, a), (mean_b, b) = centred(x), centred(y)
    cross = mpmath.fsum(mpmath.svd_r(a*b.T, compute_uv=False))
    return float(sum((p - q)**2 for p, q in zip(mean_a, mean_b)) + sum(v**2 for v in a) + sum(v**2 for v in b) - 2*cross)


@pytest.mark.long
@pytest.mark.parametrize('n, m, d', [(5, 8, 16), (20, 23, 64), (20, 90, 64), (65, 64, 64)])
def test_distance_of_few_images_matches_many_digits(n, m, d):
    x, y = pair(n, m, d, n)
    expected = many_digits(x, y)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-8)
    for few, others in ((Statistics.of(x), Statistics.of(y)), (x, Statistics.of(y)), (Statistics.of(x), y)):
        assert frechet_distance(few, others) == pytest.approx(expected, rel=1e-6)   # streamed: from singular covariances


@pytest.mark.long
@pytest.mark.parametrize('decay', [3, 6, 9])
def test_distance_of_graded_covariances_matches_many_digits(decay):
    "Scales over up to nine decades, where squaring loses the small ones; and nearly equal sets, where much cancels."
    x, y = pair(60, 70, 24, decay)
    scales = torch.logspace(0, -decay, 24, dtype=torch.float64)
    for a, b in ((x*scales, y*scales), (x*scales, torch.cat([x, x[:7]])*scales)):
        assert frechet_distance(Statistics.of(a), Statistics.of(b)) == pytest.approx(many_digits(a, b), rel=1e-6)


@LAWS
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 10**6))
def test_statistics_do_not_depend_on_the_pieces(parts, seed):
    rng = torch.Generator().manual_seed(seed)
    x = 1e6 + torch.randn(sum(parts) + 1, 4, dtype=torch.float64, generator=rng)
    stats, halves = Statistics(4), [Statistics(4), Statistics(4)]
    for i, part in enumerate(x.split([*parts, 1])):
        stats.update(part)
        halves[i % 2].update(part)
    for s in (stats, halves[0].merge(halves[1])):
        assert s.n == len(x)
        np.testing.assert_allclose(s.mean, x.mean(0), rtol=1e-14)
        np.testing.assert_allclose(s.cov, np.cov(x.numpy().T), rtol=1e-8, atol=1e-8)


def test_score_of_peers():
    from torchmetrics.image.inception import InceptionScore
    logits = 2*torch.randn(1000, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    peer = InceptionScore(feature=torch.nn.Identity(), splits=10)
    peer.features = [logits]
    torch.manual_seed(3)
    mean, std = peer.compute()   # shuffles first, then torch's std divides by 9
    torch.manual_seed(3)
    ours = inception_score(logits[torch.randperm(1000)])
    assert ours.mean == pytest.approx(mean.item(), rel=1e-10)
    assert ours.std*(10/9)**.5 == pytest.approx(std.item(), rel=1e-8)


def test_score_by_the_reference_rule():
    "Numbers of images that ten doesn't divide: the borders are n*k//10, as in the original script."
    p = torch.randn(1003, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).softmax(1)
    scores = []
    for k in range(10):
        part = p[1003*k//10:1003*(k + 1)//10].numpy()
        kl = part*(np.log(part) - np.log(part.mean(0, keepdims=True)))
        scores.append(np.exp(kl.sum(1).mean()))
    ours = inception_score(p, probs=True)
    assert ours.mean == pytest.approx(np.mean(scores), rel=1e-12)
    assert ours.std == pytest.approx(np.std(scores), rel=1e-10)
    assert inception_score(p.log() + 3).mean == pytest.approx(ours.mean, rel=1e-12)


@LAWS
@given(st.integers(10, 200), st.integers(2, 9), st.integers(0, 10**6))
def test_score_bounds(n, k, seed):
    score = inception_score(5*torch.randn(n, k, generator=torch.Generator().manual_seed(seed)))
    assert 1 - 1e-9 <= score.mean <= k + 1e-9


@pytest.mark.parametrize('bad, words', [
    (torch.full((4, 3), float('inf')), '4 of 4 images'),
    (torch.randn(1, 3), 'at least two images'),
    (torch.randn(4, 5), 'of 5 and of 3'),
    (torch.randn(4), 'shape'),
])
def test_bad_features_are_one_line(bad, words):
    with pytest.raises(UserError, match=words) as e: frechet_distance(bad, torch.randn(8, 3))
    assert '\n' not in str(e.value)


# Statistics: pieces, files


def test_a_broken_batch_leaves_statistics_as_they_were():
    x = torch.randn(3000, 4, generator=torch.Generator().manual_seed(0))
    stats, before = Statistics.of(x), Statistics.of(x)
    x[2999, 1] = float('nan')
    with pytest.raises(UserError, match='1 of 3000'): stats.update(x)
    assert stats.n == before.n and torch.equal(stats.scatter, before.scatter) and torch.equal(stats.mean, before.mean)
    assert stats.update(torch.empty(0, 4)).n == before.n and stats.merge(Statistics(4)).n == before.n


def test_features_given_are_not_changed():
    x = torch.randn(20, 4, dtype=torch.float64)
    kept = x.clone()
    Statistics.of(x), frechet_distance(x, x), kid(x, x, torch.Generator())
    assert torch.equal(x, kept)


def test_files_are_those_of_pytorch_fid(tmp_path):
    from pytorch_fid.fid_score import calculate_frechet_distance, compute_statistics_of_path
    x, y = pair(300, 200, 8, 0)
    for name, features in dict(a=x, b=y).items(): Statistics.of(features).save(tmp_path/f'{name}.npz', data='noise')
    (m1, s1), (m2, s2) = (compute_statistics_of_path(str(tmp_path/f'{name}.npz'), None, 1, 8, 'cpu') for name in 'ab')
    theirs = calculate_frechet_distance(m1, s1, m2, s2)
    a, b = Statistics.load(tmp_path/'a.npz'), Statistics.load(tmp_path/'b.npz')
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-6) and a.n == 300 and a.about == dict(data='noise')
    np.testing.assert_allclose(a.merge(b).cov, Statistics.of(torch.cat([x, y])).cov, rtol=1e-10, atol=1e-12)
    np.savez(tmp_path/'theirs.npz', mu=m1, sigma=s1)   # as `python -m pytorch_fid --save-stats` does
    theirs = Statistics.load(tmp_path/'theirs.npz')
    assert theirs.n is None and frechet_distance(theirs, x) < 1e-9*size(x, x)
    with pytest.raises(UserError, match='how many images'): theirs.update(y)
    theirs.save(tmp_path/'again.npz')
    assert Statistics.load(tmp_path/'again.npz').n is None
    with pytest.raises(UserError, match='.npz'): theirs.save(tmp_path/'again.bin')


class Bomb:
    "Would leave a trace when unpickled."
    def __reduce__(self): return (exec, ("raise SystemExit('unpickled')",))


def npz(**arrays): return lambda path: np.savez(path, **arrays)


@pytest.mark.parametrize('write, words', [
    (lambda path: None, 'no statistics at'),
    (lambda path: path.mkdir(), 'no statistics at'),
    (lambda path: path.write_bytes(b''), "can't be read as statistics"),
    (lambda path: path.write_bytes(b'PK' + bytes(100)), "can't be read as statistics"),
    (lambda path: path.write_bytes(pickle.dumps(Bomb())), "can't be read as statistics"),
    (lambda path: np.savez(path, mu=np.array([Bomb()], dtype=object), sigma=np.eye(1)), "can't be read as statistics"),
    (lambda path: np.save(path.open('wb'), np.eye(3)), "can't be read as statistics"),
    (npz(sigma=np.eye(3)), 'holds no mu'),
    (npz(mu=np.zeros(3)), 'holds no sigma'),
    (npz(mu=np.zeros(3), sigma=np.eye(4)), 'of shape'),
    (npz(mu=np.zeros((3, 1)), sigma=np.eye(3)), 'of shape'),
    (npz(mu=np.zeros(0), sigma=np.zeros((0, 0))), 'of shape'),
    (npz(mu=np.array([0, np.nan]), sigma=np.eye(2)), 'NaN or infinite'),
    (npz(mu=np.zeros(2), sigma=np.diag([1, np.inf])), 'NaN or infinite'),
    (npz(mu=np.array(['a', 'b']), sigma=np.eye(2)), 'as mu'),
    (npz(mu=np.zeros(2), sigma=np.array([[1, 2], [0, 1.]])), 'no covariance'),
    (npz(mu=np.zeros(2), sigma=-np.eye(2)), 'no covariance'),
    (npz(mu=np.zeros(2), sigma=np.eye(2), n=1), 'bad count'),
    (npz(mu=np.zeros(2), sigma=np.eye(2), n='many'), 'bad count'),
])
def test_bad_files_are_one_line(write, words, tmp_path):
    write(path := tmp_path/'stats.npz')
    with pytest.raises(UserError, match=words) as e: Statistics.load(path)
    assert '\n' not in str(e.value) and 'stats.npz' in str(e.value)


def test_unreadable_words_of_a_file_are_left_out(tmp_path):
    for about in ('{', '[1]', 'null', '{"data": {"a": 1}, "split": "test"}'):
        np.savez(tmp_path/'s.npz', mu=np.zeros(2), sigma=np.eye(2), about=about)
        assert Statistics.load(tmp_path/'s.npz').about in ({}, dict(split='test'))


# Kernel distance


def test_kernel_distance_of_peers():
    from torchmetrics.image.kid import KernelInceptionDistance, poly_mmd
    x, y = torch.randn(2, 40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = 1.2*y + .5
    ours = kid(y, x, torch.Generator(), subsets=1, size=40)
    assert ours.value == pytest.approx(poly_mmd(x, y).item(), rel=1e-10) and math.isnan(ours.std_error)
    peer = KernelInceptionDistance(feature=torch.nn.Identity(), subsets=1, subset_size=40)
    peer.real_features, peer.fake_features = [x], [y]
    assert ours.value == pytest.approx(peer.compute()[0].item(), rel=1e-6)   # it reports in float32
    assert kernel_distance(x[:30], y).item() == pytest.approx(kernel_distance(y, x[:30]).item(), rel=1e-12)   # unequal counts


def test_kernel_distance_draws_from_its_callers_generator():
    x, y = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, again, other = (kid(x, y, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.rand(1) == expected and first == again and first.value != other.value


@pytest.mark.long
@pytest.mark.parametrize('n', [60, 2500])
def test_standard_error_of_the_kernel_distance(n):
    "What it says of one pair of samples is how much the value moves between pairs: with half of few, and with 1000 of many."
    rng = torch.Generator().manual_seed(n)
    seen = [kid(torch.randn(n, 4, generator=rng) + .5, torch.randn(n, 4, generator=rng), rng, subsets=20 if n > 100 else 100) for _ in range(25)]
    moved, said = np.std([k.value for k in seen], ddof=1), np.mean([k.std_error for k in seen])
    assert .6 < said/moved < 1.7


@pytest.mark.parametrize('n, m, d, size, words', [(1, 9, 2, None, 'takes 4 images'), (3, 3, 2, None, 'takes 4 images'), (9, 9, 2, 10, 'from 9'), (9, 9, 2, 1, 'subsets of 1')])
def test_kernel_distance_of_too_few(n, m, d, size, words):
    with pytest.raises(UserError, match=words): kid(torch.randn(n, d), torch.randn(m, d), torch.Generator(), size=size)
    with pytest.raises(UserError, match='of 2 and of 3'): kid(torch.randn(9, 2), torch.randn(9, 3), torch.Generator())
    with pytest.raises(UserError, match='NaN'): kid(torch.full((9, 2), float('nan')), torch.randn(9, 2), torch.Generator())


# Records


class Colour:
    "Mean and corner colours, and logits from them."
    name, dim, hash, resize = 'colour', 6, 'c0ffee', 'none'

    def __call__(self, pixels):
        x = pixels.float()/255
        features = torch.cat([x.mean((2, 3)), x[:, :, 0, 0]], 1)
        return Features(features, 5*features)


def noise_images(n, seed=0, **more): return Images(torch.randint(0, 256, (n, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)), **more)


def test_records(tmp_path):
    real, fake = noise_images(60, name='noise', split='test'), noise_images(50, 1)
    records = score_images(fake.pixels, real, Colour(), rng=torch.Generator().manual_seed(0))
    assert [r['name'] for r in records] == ['FD-colour', 'IS-colour', 'KID-colour']
    for r in json.loads(json.dumps(records, allow_nan=False)):
        assert {'value', 'n_real', 'n_fake', 'data', 'split', 'extractor', 'weights_hash', 'resize'} <= r.keys()
        assert (r['n_real'], r['n_fake'], r['split'], r['weights_hash']) == (60, 50, 'test', 'c0ffee')
    assert 'upwards' in records[0]['warning'] and 'downwards' in records[1]['warning'] and 'warning' not in records[2]
    assert records[2]['subset_size'] == 25 and records[2]['std_error'] > 0

    seen = describe_images(real.pixels, Colour()).stats
    seen.save(tmp_path/'real.npz', data='noise', split='test', extractor='colour', weights_hash='c0ffee', resize='none')
    again = score_images(fake, Statistics.load(tmp_path/'real.npz'), Colour())
    unknown = dict(size_real='unknown', prepared_real='unknown')
    assert again[0] == records[0] | dict(value=pytest.approx(records[0]['value'], rel=1e-9)) | unknown and again[1] == records[1] | unknown
    np.savez(tmp_path/'bare.npz', mu=seen.mean, sigma=seen.cov)
    bare = score_images(fake, Statistics.load(tmp_path/'bare.npz'), Colour())[0]
    assert bare['n_real'] is None and bare['split'] == 'unknown' and bare['value'] == pytest.approx(records[0]['value'], rel=1e-9)
    seen.save(tmp_path/'other.npz', weights_hash='decaf')
    with pytest.raises(UserError, match="'decaf'.*'c0ffee'"): score_images(fake, Statistics.load(tmp_path/'other.npz'), Colour())
    with pytest.raises(UserError, match='needs the real images'): score_images(fake, seen, Colour(), rng=torch.Generator())
    with pytest.raises(UserError, match='of 3 and of 6'): score_images(fake, Statistics.of(torch.randn(9, 3)), Colour())
    with pytest.raises(UserError, match='at least two images'): score_images(fake.pixels[:1], real, Colour(), splits=1)


def test_many_images_carry_no_warning():
    many = noise_images(10_000)
    assert all('warning' not in r for r in score_images(many, many, Colour(), batch_size=5000))
    assert 'warning' in score_images(many.pixels[:9_999], many, Colour(), batch_size=5000)[0]


def test_images_in_the_order_of_their_classes_are_told_of():
    order = torch.arange(40)//10
    bent, mixed = (score_images(noise_images(40, labels=labels, classes=list('abcd')), noise_images(40), Colour())[1] for labels in (order, order.flip(0)))
    assert 'order of their classes' in bent['warning'] and 'order of their classes' not in mixed['warning']
