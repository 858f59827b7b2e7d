"""Frechet distance and inception score against peers and laws."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from degas_nb.metrics import Statistics, frechet_distance, inception_score
from degas_nb.show import UserError

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


@pytest.mark.parametrize('n, d', [(5, 16), (20, 64)])
def test_distance_of_few_images_matches_many_digits(n, d):
    mpmath = pytest.importorskip('mpmath')  # comes with torch (sympy)
    x, y = pair(n, n + 3, d, n)
    mpmath.mp.prec = 200
    def centred(f):
        f = mpmath.matrix(f.tolist())
        mean = [mpmath.fsum(f[i, j] for i in range(f.rows))/f.rows for j in range(d)]
        return mean, mpmath.matrix([[(f[i, j] - mean[j])/mpmath.sqrt(f.rows - 1) for j in range(d)] for i in range(f.rows)])
    (mean_a, a), (mean_b, b) = centred(x), centred(y)
    cross = mpmath.fsum(mpmath.svd_r(a*b.T, compute_uv=False))  # nuclear norm of the small factor
    total = sum((p - q)**2 for p, q in zip(mean_a, mean_b)) + sum(v**2 for v in a) + sum(v**2 for v in b) - 2*cross
    assert frechet_distance(x, y) == pytest.approx(float(total), rel=1e-8)


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
