"""Oracles for the parts that a search is made of: pyramid, latents, pruning, generators."""
import copy
import io
import os
import random
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, 'benchmarks')
from measure import kept_bytes

from degas_nb.space.baselines import BASELINES, build_generator, ctgan_init_
from degas_nb.space.generator import Generator
from degas_nb.ground.data import load
from degas_nb.space.genotype import DEGAS, Genotype
from degas_nb.search.glo import Gaussian, Latents, pca_init, principal_axes
from degas_nb.search.merged import MergedOp, QuickMergedOp, node_sum, weighted_norm
from degas_nb.search.mixed import MixedOp, candidates
from degas_nb.space.ops import batch_norm
from degas_nb.search.prune import PRUNING_RULES, mixing_weights, prune
from degas_nb.search.pyramid import KERNELS, collapse, laplacian_pyramid, lap1, reconstruction_loss
from degas_nb.ground.folders import Diverged, RunFolder, shipped_run
from degas_nb.search.alternating import ClippedSGD, Search, SearchConfig
from degas_nb.search.steps import bf16_on_cpu, reconstruction
from degas_nb.ground.errors import UserError


def seeded(seed=0): return torch.Generator().manual_seed(seed)


def by_convolution(x, n_levels):
    "Burt and Adelson's pyramid as everybody writes it: 5x5 convolutions, zeros put between pixels."
    taps = torch.tensor([1., 4, 6, 4, 1], dtype=x.dtype)/16
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 5, 5)

    def blur(x, kernel): return F.conv2d(F.pad(x, (2, 2, 2, 2), mode='reflect'), kernel, groups=x.shape[1])

    bands = []
    for _ in range(n_levels - 1):
        coarse = blur(x, kernel)[..., ::2, ::2]
        spread = torch.zeros_like(x)
        spread[..., ::2, ::2] = coarse
        bands.append(x - blur(spread, 4*kernel))
        x = coarse
    return bands + [x]


@pytest.mark.parametrize('size', [16, 32, 48, 64])
def test_matrices_are_the_convolution(size):
    x = torch.randn(2, 3, size, size, dtype=torch.float64, generator=seeded())
    for ours, theirs in zip(laplacian_pyramid(x), by_convolution(x, 4), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize('kernel', KERNELS)
def test_gradient_of_the_loss(kernel):
    x, y = (torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=seeded(s)) for s in (0, 1))
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tuple(reconstruction_loss(x, y, 3, kernel).values()), x)


def test_memory_order_changes_nothing():
    x, y = (torch.randn(4, 3, 32, 32, generator=seeded(s)) for s in (0, 1))
    last = [t.contiguous(memory_format=torch.channels_last) for t in (x, y)]
    torch.testing.assert_close(lap1(*last), lap1(x, y))


def test_a_pyramid_of_one_level_is_the_image():
    x = torch.randn(1, 3, 8, 8, generator=seeded())
    assert torch.equal(collapse(laplacian_pyramid(x, 1)), x)


def some_images(n, size=16):
    "Smooth random images: a falling spectrum, as photographs have."
    coarse = torch.randn(n, 3, size//4, size//4, generator=seeded())
    smooth = F.interpolate(coarse, size=size, mode='bilinear')
    return (127.5 + 40*smooth).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize('n, n_axes', [(300, 40), (50, 60), (40, 128)])
def test_axes_hold_the_variance_that_svd_says(n, n_axes):
    pixels = some_images(n)
    mean, axes = principal_axes(pixels, n_axes)
    flat = pixels.flatten(1).double()
    flat = flat - flat.mean(0)
    exact = torch.linalg.svdvals(flat)[:n_axes].square().sum()
    assert (flat @ axes.double()).square().sum()/exact == pytest.approx(1, abs=2e-3)
    torch.testing.assert_close(axes.T @ axes, torch.eye(n_axes), atol=1e-4, rtol=0)


def test_latents_of_the_same_images_are_the_same_bits():
    pixels = some_images(64)
    first, second = (Latents(64, 32, images=pixels, rng=seeded()) for _ in range(2))
    assert torch.equal(first.z, second.z)


@pytest.mark.parametrize('pixels', [torch.zeros(5, 3, 16, 16, dtype=torch.uint8), some_images(1), some_images(3)])
def test_few_or_equal_images_still_get_latents(pixels):
    latents = Latents(len(pixels), 128, images=pixels)
    torch.testing.assert_close(latents.z.norm(dim=1), torch.ones(len(pixels)))
    assert latents.sample(7).isfinite().all()


def test_more_latent_numbers_than_pixel_values():
    assert pca_init(some_images(900, 16), 800).isfinite().all()


def test_latents_survive_a_safe_load():
    latents, buffer = Latents(6, 8, init='random', surface='ball', rng=seeded()), io.BytesIO()
    torch.save(latents.state_dict(), buffer)
    buffer.seek(0)
    again = Latents(6, 8, init='random')
    again.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(again.z, latents.z) and again.surface == 'ball'


def test_gaussian_samples_have_the_fitted_moments():
    z = torch.randn(500, 6, generator=seeded()) @ torch.randn(6, 6, generator=seeded(1))*0.01   # tiny: the ball leaves it alone
    drawn = Gaussian.fit(z, 'ball').sample(200_000, seeded(2))
    torch.testing.assert_close(drawn.T.cov(), z.T.cov(), atol=2e-5, rtol=0.03)


def random_alpha(rng):
    return {e.name: {op: rng.gauss(0, 1) for op in DEGAS.ops(e)} for e in DEGAS.edges}


def two_stage_by_hand(weights):
    "The paper's paragraph once more, on arrays and without the package's search space."
    normal = {n: np.array(list(weights[f's{n-1}-s{n}'].values())) for n in (1, 3, 5)}
    kept = {f's{n-1}-s{n}': int(w.argmax()) for n, w in normal.items()}
    for n, sources in ((2, (1, 0)), (4, (3, 2, 0)), (6, (5, 4, 2))):
        table = np.array([list(weights[f's{s}-s{n}'].values()) for s in sources])
        row, op = divmod(int(table.argmax()), table.shape[1])
        kept[f's{sources[row]}-s{n}'] = op
        kept.setdefault(f's{sources[0]}-s{n}', int(table[0].argmax()))
    return {edge: list(weights[edge])[op] for edge, op in kept.items()}


def test_two_stages_agree_with_the_paragraph():
    rng = random.Random(0)
    for _ in range(300):
        weights = mixing_weights(random_alpha(rng))
        assert {e.name: e.op for e in prune(weights).edges} == two_stage_by_hand(weights)


def test_softmax_is_torchs():
    alpha = random_alpha(random.Random(1))
    for edge, weights in mixing_weights(alpha).items():
        expected = torch.tensor(list(alpha[edge].values()), dtype=torch.float64).softmax(0)
        assert list(weights.values()) == pytest.approx(expected.tolist())


@pytest.mark.parametrize('rule', PRUNING_RULES)
def test_whatever_is_found_makes_images(rule):
    rng = random.Random(2)
    for size in (16, 24, 40):
        genotype = prune(mixing_weights(random_alpha(rng)), rule=rule)
        assert Generator(genotype, size, z_dim=8, width=4)(torch.randn(3, 8)).shape == (3, 3, size, size)


@pytest.mark.parametrize('values, says', [({}, 'no numbers for edge'), ({'s0-s1': {}}, 'no number for conv_1')])
def test_missing_numbers_are_named(values, says):
    with pytest.raises(UserError, match=says): prune(values)


@pytest.mark.parametrize('spec', BASELINES)
def test_the_start_is_a_function_of_the_generator(spec):
    first, second = (ctgan_init_(build_generator(spec, 16, 8, 4), rng=seeded()) for _ in range(2))
    for a, b in zip(first.state_dict().values(), second.state_dict().values()): assert torch.equal(a, b)


def mixture(form, kind, scale, seed, affine=False):
    torch.manual_seed(seed)
    return form(candidates(kind, 4, batch_norm(affine=affine), scale)).double()


@pytest.mark.parametrize('edges', [[('up', 2), ('up', 2)], [('up', 2), ('up', 2), ('up', 2)], [('normal', 1), ('normal', 1)], [('up', 4)]])
@pytest.mark.parametrize('affine', [False, True])
@pytest.mark.parametrize('merged', [MergedOp, QuickMergedOp])
def test_edges_that_share_a_call_add_up(edges, affine, merged):
    x = [torch.randn(3, 4, 6, 6, dtype=torch.float64, generator=seeded(i)).contiguous(memory_format=torch.channels_last).requires_grad_() for i in range(len(edges))]
    alpha = [torch.randn(9 if kind == 'normal' else 4, dtype=torch.float64, generator=seeded(9)).requires_grad_() for kind, _ in edges]
    results = []
    for form in MixedOp, merged:
        mixes = [mixture(form, kind, scale, i, affine) for i, (kind, scale) in enumerate(edges)]
        out = node_sum([(mix, m, F.relu(m), a.softmax(-1)) for mix, m, a in zip(mixes, x, alpha)])
        weights = [p for mix in mixes for p in mix.parameters()]
        running = [b for mix in mixes for name, b in mix.named_buffers() if 'running' in name]
        results.append([out, *torch.autograd.grad(out.square().sum(), [*x, *alpha, *weights]), *running])
    for a, b in zip(*results, strict=True): torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('affine', [False, True])
@pytest.mark.parametrize('mode', ['train', 'keep', 'eval'])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_a_weight_is_a_scale(affine, mode, layout):
    norm, w = batch_norm(affine=affine)(3).double(), torch.tensor(.3, dtype=torch.float64, requires_grad=True)
    if affine: norm.weight.data.normal_(), norm.bias.data.normal_()
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64, generator=seeded()).contiguous(memory_format=layout).requires_grad_()
    norm(x)
    norm.train(mode != 'eval')
    norm.keep = mode == 'keep'
    twin = copy.deepcopy(norm)
    ours, theirs = weighted_norm(norm, x, w), w*twin(x)
    torch.testing.assert_close(ours, theirs)
    towards = torch.randn_like(x)
    for a, b in zip(*(torch.autograd.grad((out*towards).sum(), [x, w]) for out in (ours, theirs))): torch.testing.assert_close(a, b)
    for a, b in zip(norm.buffers(), twin.buffers()): torch.testing.assert_close(a, b)


def toy_search(**kw):
    images = load('emoji', limit=64)
    return Search.from_config(images, SearchConfig(epochs=2, width=4, batch_size=16, z_dim=8, **kw))


@pytest.mark.parametrize('kw', [{}, dict(joint=True), dict(joint=True, warmup=1)] + [dict(amp='bf16')]*bf16_on_cpu(), ids=str)
def test_resume_goes_on_to_the_same_bits(kw):
    whole = toy_search(**kw)
    for step in whole:
        if step.n == 3: saved = copy.deepcopy(whole.state_dict())
    twin = toy_search(**kw)
    twin.load_state_dict(saved)
    for _ in twin: pass
    for a, b in zip([whole.latents.z, *whole.net.state_dict().values()], [twin.latents.z, *twin.net.state_dict().values()], strict=True): assert torch.equal(a, b)


def test_joint_rests_alpha_while_it_warms_up():
    search = toy_search(joint=True, warmup=1)
    start = [a.detach().clone() for a in search.alphas]
    for step in search:
        resting = all(torch.equal(a, s) for a, s in zip(search.alphas, start))
        assert resting == (step.epoch == 1)


def test_a_checkpoint_from_before_a_setting_existed_goes_on():
    search = toy_search()
    next(search)
    state = search.state_dict()
    for new in 'joint', 'amp': del state['config'][new]
    twin = toy_search()
    twin.load_state_dict(state)
    assert twin.n == 1
    with pytest.raises(UserError, match='another config'): toy_search(joint=True).load_state_dict(state)


def test_bf16_is_refused_where_it_would_be_emulated(monkeypatch):
    monkeypatch.setattr('degas_nb.search.steps.bf16_on_cpu', lambda: False)
    with pytest.raises(UserError, match='leave it off'): toy_search(amp='bf16')
    with pytest.raises(UserError, match='--amp fp8 is unknown'): SearchConfig(amp='fp8')


def test_merging_keeps_less_for_the_backward_pass():
    index = torch.arange(16)
    merged, summed = (toy_search(impl=impl) for impl in ('merged', 'sum'))
    less, more = (kept_bytes(lambda s=s: reconstruction(s.net, s.latents, s.images, index)[1]) for s in (merged, summed))
    assert less < 0.55*more


def test_the_shipped_search_is_what_its_trace_says():
    folder = RunFolder.open(shipped_run('cifar10'), 'search')
    rows = folder.trace.read()
    found = prune(rows[-1]['weights'])
    assert rows[-1]['step'] == 7810 and found == Genotype.load(folder.path) == Genotype.named('cifar10_found')
    assert not any('/' in str(v) for v in folder.data.values()) and 'source' not in folder.data
    config = SearchConfig.from_dict(folder.config)
    assert (config.epochs, config.width, config.batch_size, folder.data['n']) == (10, 32, 64, 50_000)
    for kind in ('weights', 'alpha'): assert all(set(row[kind]) == {e.name for e in DEGAS.edges} for row in rows if kind in row)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('n, fit_on', [(300, 10_000), (2500, 2500), (2500, 70)])
def test_parts_of_the_images_give_the_start_of_all_at_once(n, fit_on, layout):
    "The same bits as with copies: the mean in one float64 sum, chosen images taken out first, scores of all images."
    pixels = some_images(n, 16).contiguous(memory_format=layout)
    chosen = pixels[torch.linspace(0, n - 1, min(n, fit_on)).round().long()].flatten(1)
    mean, axes = principal_axes(chosen.view(-1, 3, 16, 16), 24)
    assert torch.equal(mean, chosen.double().mean(0).float())
    scores = torch.cat([(part.float() - mean) @ axes for part in pixels.flatten(1).split(1000)])
    z = scores/scores.norm(dim=1).mean() + torch.randn(n, 24, generator=seeded(3))*(1e-2/24**0.5)
    assert torch.equal(pca_init(pixels, 24, seeded(3), fit_on), z)


@pytest.mark.long
@pytest.mark.parametrize('layout', ['contiguous_format', 'channels_last'])
def test_the_start_needs_no_second_copy_of_the_images(layout):
    "Four times as many images need no more memory than they and their latents take: the peak is that of a part."
    script = f'''
import resource, torch
from degas_nb.search.glo import pca_init
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*1024
pixels = torch.randint(0, 256, (10_000, 3, 40, 40), dtype=torch.uint8).contiguous(memory_format=torch.{layout})
pca_init(pixels[:2500], 16, fit_on=2000)
before = peak()
z = pca_init(pixels, 16, fit_on=9000)
assert peak() - before < 3*z.nbytes + pixels.nbytes//8, (peak() - before, pixels.nbytes)'''
    subprocess.run([sys.executable, '-c', script], check=True, env=os.environ | dict(MALLOC_MMAP_THRESHOLD_='100000'))  # what is freed goes back at once


@pytest.mark.parametrize('name', [f.name for f in fields(SearchConfig)])
def test_a_config_refuses_what_a_field_cannot_be(name):
    "Another kind, a word nobody knows, a number below the least: when it is made, not when it is used."
    kind = type(getattr(replace(SearchConfig(), travel=1.), name))
    wrong = {int: (1.5, True, '3', None, float('nan')), float: ('x', True, None), str: ('nothing like it', 3, None), bool: (1, 'yes', None)}[kind]
    wrong = [v for v in wrong if v is not None or name != 'travel']  # None: alpha goes by its rate
    if name not in ('seed',): wrong += {int: (-1,), float: (-1., float('inf'), float('nan'))}.get(kind, ())
    for value in wrong:
        with pytest.raises(UserError, match=f"--{name.replace('_', '-')}"): SearchConfig(**{name: value})


@pytest.mark.parametrize('resumed', [False, True])
def test_a_fused_step_of_sgd_takes_gradients_laid_out_in_any_way(resumed):
    "On CUDA torch's fused step refuses a gradient or a momentum in another layout than its parameter's, and on the CPU mixes up its entries."
    rng = torch.Generator().manual_seed(0)
    start = torch.randn(6, 5, 3, 3, generator=rng)
    plain, fused = (torch.nn.Parameter(start.clone(memory_format=torch.channels_last)) for _ in range(2))
    ways = [ClippedSGD([p], .1, momentum=.9, weight_decay=3e-4) for p in (plain, fused)]
    ways[1].param_groups[0]['fused'] = True
    for step in range(4):
        grad = torch.randn(6, 5, 3, 3, generator=rng)
        for p, opt in zip((plain, fused), ways):
            p.grad = grad.clone(memory_format=torch.contiguous_format)
            if resumed and step == 2 and p is fused: opt.state[p]['momentum_buffer'] = opt.state[p]['momentum_buffer'].contiguous()
            opt.step()
    torch.testing.assert_close(fused, plain)
    assert ways[1].state[fused]['momentum_buffer'].stride() == fused.stride()


def test_what_diverged_draws_nothing_and_says_so():
    "Latents that are none have no Gaussian; a decomposition of their covariance would end in a traceback."
    search = Search.from_config(load('emoji', limit=16), SearchConfig(epochs=1, width=4, z_dim=16, batch_size=8))
    next(search)
    search.latents.z[3, 2] = float('inf')
    with pytest.raises(Diverged, match='not finite at step 1.*smaller --lr'): search.sample(4)
    with pytest.raises(UserError, match='diverged'): Gaussian.fit(search.latents.z)
