"""The GAN half: one step against a loop by hand, kill and resume, bad input."""
import copy
from dataclasses import asdict, fields, replace

import pytest
import torch
import torch.nn.functional as F

from degas_nb.app.driving import checked_run
from degas_nb.gan.critic import ConvMeanPool, ResNetCritic, Scores
from degas_nb.ground.data import Images
from degas_nb.judge.extractors import InceptionFeatures, ModuleFeatures, find_extractor, inception_net
from degas_nb.judge.features import Recipe, SmallClassifier, SmallFeatures, small_features
from degas_nb.ground.ranks import find_device
from degas_nb.gan.frameworks import FRAMEWORKS, consistency, find_framework, score_together
from degas_nb.gan.steps import descend
from degas_nb.gan.training import GANConfig, GANTraining, draw_images, trained_generator, config_in
from degas_nb.space.baselines import BASELINES, STATISTICS, build_generator, layers, match_params
from degas_nb.space.generator import n_params
from degas_nb.space.genotype import Genotype
from degas_nb.judge.metrics import score_images
from degas_nb.ground.folders import RunFolder
from degas_nb.search.alternating import Search, SearchConfig, cosine
from degas_nb.ground.errors import UserError
from warm import python

TINY = dict(steps=4, batch_size=8, width=8, n_critic=2)


def some_images(n=40, size=32, seed=0):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    pixels = torch.randint(0, 128, (n, 3, size, size), generator=rng) + 120*labels[:, None, None, None]
    return Images(pixels.to(torch.uint8), labels, ['dark', 'light'], name='noise')


def training(spec='cifar10_paper', images=None, **kw):
    spec = spec if spec in ('resnet', 'dcgan') else Genotype.named(spec)
    return GANTraining.from_config(images or some_images(), GANConfig(**TINY | kw), spec)


def test_labels_need_no_names():
    images = replace(some_images(), classes=None)
    run = training(images=images, conditional=True)
    next(run)
    assert run.generator.n_classes == int(images.labels.max()) + 1
    with pytest.raises(UserError, match="no image of '0'"): training(images=replace(images, labels=images.labels.clamp(min=1)), conditional=True)


def weights(run): return {f'{net}.{k}': v for net in ('generator', 'critic', 'average') for k, v in getattr(run, net).state_dict().items()}


def assert_same(a, b):
    a, b = weights(a), weights(b)
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize('framework', list(FRAMEWORKS))
@pytest.mark.parametrize('spec', ['cifar10_paper', 'resnet', 'dcgan'])
def test_every_framework_with_every_generator(framework, spec):
    run = training(spec, framework=framework, steps=2)
    steps = [s.record() for s in run]
    assert [s['step'] for s in steps] == [1, 2] and steps[0]['lr'] == 2*steps[1]['lr'] == GANConfig.teaching(framework).lr
    assert run.sample(3).shape == (3, 3, 32, 32)


@pytest.mark.parametrize('size', [16, 48])
def test_other_sizes(size):
    run = training(images=some_images(size=size), steps=1)
    next(run)
    assert run.sample(2).shape[-2:] == (size, size)


@pytest.mark.long
def test_resume_is_bit_for_bit_in_another_process(tmp_path):
    "A run saved after one step and finished by a fresh process equals the run in one go."
    whole, half = training(), training()
    for step in whole: pass
    next(half)
    half.save(tmp_path/'run')
    code = ("import sys; sys.path.insert(0, 'tests'); from test_gan import *\n"
            f"run = GANTraining.load({str(tmp_path/'run')!r}, some_images())\n"
            "assert run.n == 1\n"
            "for step in run: pass\n"
            f"run.save({str(tmp_path/'run')!r})")
    done = python('-c', code)
    assert done.returncode == 0, done.stderr
    resumed = GANTraining.load(tmp_path/'run', some_images())
    assert resumed.n == 4
    assert_same(whole, resumed)
    assert torch.equal(whole.sample(5), resumed.sample(5))
    assert Genotype.load(tmp_path/'run') == Genotype.named('cifar10_paper')


def test_global_random_stream_neither_matters_nor_moves():
    torch.manual_seed(1)
    a = training()
    state = torch.random.get_rng_state()
    for _ in a: pass
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(2)
    b = training()
    for _ in b: pass
    assert_same(a, b)


def test_no_average_and_keep():
    generator = build_generator('resnet', 32, 128, 8)
    before = copy.deepcopy(generator.state_dict())
    run = GANTraining(generator, some_images(), GANConfig(**TINY, ema=0, init='keep'))
    assert all(torch.equal(before[k], v) for k, v in generator.state_dict().items())
    next(run)
    assert run.average is None and run.sample(2).dtype == torch.uint8
    assert any(not torch.equal(before[k], v) for k, v in generator.state_dict().items())


def test_critic_step_leaves_the_generator_alone_and_the_other_way_round():
    run = training()
    before = copy.deepcopy(run.generator.state_dict())
    run.critic_step(0)
    assert all(torch.equal(before[k], v) for k, v in run.generator.state_dict().items())
    before = copy.deepcopy(run.critic.state_dict())
    run.generator_step()
    assert all(torch.equal(before[k], v) for k, v in run.critic.state_dict().items())


def test_terms_against_separate_passes():
    "CT-GAN's critic loss written out with one pass for each term, same dropout masks."
    critic = ResNetCritic(32, 8, (.2, .5, .5)).double()
    x, y = torch.randn(2, 6, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    critic.eval()
    terms = find_framework('ctgan').critic_terms(critic, x, y, torch.Generator().manual_seed(1))
    u = torch.rand(6, 1, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    between = (x + u*(y - x)).requires_grad_()
    grads = [torch.autograd.grad(critic(p[None]).score.sum(), between)[0].flatten() for p in between]
    slope = torch.stack([g.norm() for g in grads])
    assert terms['gp'].item() == pytest.approx(10*(slope - 1).square().mean().item(), rel=1e-9)
    assert terms['wass'].item() == pytest.approx((critic(y).score.mean() - critic(x).score.mean()).item(), abs=1e-12)
    assert terms['ct'].item() == pytest.approx(0, abs=1e-20)


def test_dropout_masks_of_the_two_opinions_are_independent():
    "Same real batch named twice: the masks differ, and the term has the expectation of independent ones."
    torch.manual_seed(0)
    critic, x = ResNetCritic(16, 8), torch.randn(4, 3, 16, 16)
    a, b = zip(*[[s.score.detach() for s in score_together(critic, x, x)] for _ in range(300)])
    a, b = torch.stack(a), torch.stack(b)
    assert not torch.equal(a, b)
    correlation = ((a - a.mean(0))*(b - b.mean(0))).mean(0)/(a.std(0)*b.std(0))
    assert correlation.abs().max() < .25


@pytest.mark.parametrize('shape', [(2, 3, 8, 8), (1, 1, 4, 6)])
def test_conv_mean_pool(shape):
    conv = ConvMeanPool(shape[1], 5).double()
    x = torch.randn(shape, dtype=torch.float64)
    assert torch.allclose(conv(x), F.avg_pool2d(F.conv2d(x, conv.weight, conv.bias, padding=1), 2), atol=1e-12)


def test_the_consistency_term_has_its_gradient():
    scores = torch.randn(3, requires_grad=True, dtype=torch.float64), torch.randn(3, 4, requires_grad=True, dtype=torch.float64)
    other = Scores(torch.randn(3, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda s, f: consistency(Scores(s, f), other), scores)


@pytest.mark.parametrize('kw, words', [
    (dict(width=0), 'width 0'), (dict(steps=0), 'steps 0'), (dict(batch_size=1), 'batch-size 1'), (dict(lr=float('nan')), 'lr nan'),
    (dict(framework='sgan'), 'choose one of'), (dict(ema=1.), 'ema 1'), (dict(init='x'), 'init x'), (dict(optimiser='sgd'), 'optimiser sgd'),
    (dict(betas=(0., 1.)), 'betas 0.0 1.0'), (dict(lr=float('inf')), 'finite'), (dict(z_ratio='volume'), 'z-ratio volume')])
def test_bad_settings_are_one_line(kw, words):
    with pytest.raises(UserError, match=words) as e: GANConfig(**kw)
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('name', [f.name for f in fields(GANConfig)])
def test_every_setting_is_refused_when_it_is_of_another_kind(name):
    "Whole numbers are numbers; True is neither; a fraction is no count. Said when the config is made, or changed."
    usual = getattr(GANConfig(), name)
    wrong = [[], 'x', object()] + dict(int=[1.5, True, '3'], float=[True, '1'], bool=[0, 1], str=[3], tuple=[(0.,), (0., True), (0., 'x'), 3])[type(usual).__name__]
    for value in wrong:
        with pytest.raises(UserError) as e: GANConfig(**{name: value})
        assert '\n' not in str(e.value)
        with pytest.raises(UserError): replace(GANConfig(), **{name: value})
    assert replace(GANConfig(), **{name: usual}) == GANConfig()
    if name in ('lr', 'ema'): GANConfig(**{name: 0})


@pytest.mark.parametrize('name', list(FRAMEWORKS))
def test_what_is_not_given_is_the_frameworks_own(name):
    own = {k: v for k, v in asdict(find_framework(name).teaching).items() if k != 'source'}
    assert GANConfig(framework=name) == GANConfig.teaching(name) == GANConfig(name) and {k: getattr(GANConfig(name), k) for k in own} == own
    for key, value in dict(steps=7, lr=.5, betas=(.1, .2), ema=0., n_critic=9, optimiser='rmsprop', init='dcgan').items():
        assert asdict(GANConfig(name, **{key: value})) == asdict(GANConfig(name)) | {key: value}
    for config in GANConfig(name), GANConfig.paper(name), GANConfig('wgan', steps=3):
        assert asdict(replace(config, framework=name)) == asdict(config) | dict(framework=name)   # replace hands over what there is
        assert GANConfig.from_dict(config.to_dict()) == config                                    # so does a folder
    assert config_in(dict(framework=name, generator={})).lr == GANConfig().lr                     # as a run of the time before meant it


@pytest.mark.parametrize('init', ['ctgan', 'dcgan', 'keep'])
def test_a_network_that_is_handed_over_is_taken_as_it_is(init, tmp_path):
    "And goes on from a checkpoint; the critic starts as that of a run that draws both."
    generator = build_generator('resnet', 32, 128, 8)
    before = copy.deepcopy(generator.state_dict())
    run = GANTraining(generator, some_images(), GANConfig(**TINY, init=init))
    for net in run.generator, run.average: assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    drawn = training('resnet', init='ctgan' if init == 'keep' else init)
    assert all(torch.equal(v, run.critic.state_dict()[k]) for k, v in drawn.critic.state_dict().items())
    next(run)
    run.save(tmp_path/'run')
    rest = GANTraining.load(tmp_path/'run', some_images())
    for r in run, rest:
        for _ in r: pass
    assert_same(run, rest)


def test_the_old_order_of_arguments_warns_and_works(tmp_path):
    spec, config, images = Genotype.named('cifar10_paper'), GANConfig(**TINY), some_images()
    now = GANTraining.from_config(images, config, spec)
    with pytest.warns(DeprecationWarning, match='images come first'): then = GANTraining.from_config(spec, images, config)
    assert_same(now, then)
    with pytest.warns(DeprecationWarning): assert GANTraining.from_config('resnet', some_images(80)).config == GANConfig()
    with pytest.warns(DeprecationWarning): assert_same(now, GANTraining.from_config(spec, images, config=config, device='cpu'))
    now.save(tmp_path/'run')
    with pytest.warns(DeprecationWarning, match='images come first'): then = GANTraining.continued(tmp_path/'run', images, config)
    assert_same(then, GANTraining.continued(images, config, tmp_path/'run'))
    with pytest.warns(DeprecationWarning, match='`generator` is called `rng`'): old = now.sample(3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(old, now.sample(3, torch.Generator().manual_seed(1))) and torch.equal(now.sample(3), now.sample(3))
    with pytest.raises(UserError, match='must be an Images'): GANTraining.from_config(images.pixels, config, spec)


def test_bad_input(tmp_path):
    with pytest.raises(UserError, match='fewer than --batch-size'): training(images=some_images(5))
    with pytest.raises(UserError, match='makes 32'): GANTraining(build_generator('resnet', 32, 128, 8), some_images(size=16), GANConfig(**TINY))
    run = training()
    next(run)  # before its first step, any plan may take it up
    run.save(tmp_path/'run')
    run.save(tmp_path/'run')  # its own folder: fine
    with pytest.raises(UserError, match='another run'): training(lr=5e-3).save(tmp_path/'run')
    with pytest.raises(UserError, match='another config'): training(lr=5e-3).load_state_dict(run.state_dict())
    with pytest.raises(UserError, match='another config'): training('resnet').load_state_dict(run.state_dict())
    with pytest.raises(UserError, match='other images'): GANTraining.load(tmp_path/'run', some_images(seed=1))
    with pytest.raises(UserError, match='a search run'):
        RunFolder.create(tmp_path/'search', 'search', {}, {})
        GANTraining.load(tmp_path/'search', some_images())


def test_features_are_learned_and_cached(tmp_path):
    images, recipe = some_images(), Recipe(epochs=2, width=4, batch_size=8)
    first = small_features(images, recipe, tmp_path)
    assert first.accuracy > .9 and isinstance(first, SmallFeatures)
    stamp = [p.stat().st_mtime_ns for p in tmp_path.iterdir()]
    again = small_features(images, recipe, tmp_path)
    assert [p.stat().st_mtime_ns for p in tmp_path.iterdir()] == stamp and again.hash == first.hash
    other = small_features(images, Recipe(epochs=2, width=4, batch_size=8, seed=1), tmp_path)
    assert other.hash != first.hash and len(list(tmp_path.iterdir())) == 2
    assert first(some_images(size=48).pixels).features.shape == (40, first.dim)


def test_a_score_is_a_record(tmp_path):
    images = some_images()
    small = small_features(images, Recipe(epochs=2, width=4, batch_size=8), tmp_path)
    distance, score = score_images(images.pixels, images, small, splits=2)
    assert distance['name'] == 'FD-small' and score['name'] == 'IS-small' and 'warning' in distance
    assert distance['value'] == pytest.approx(0, abs=1e-8) and 1 <= score['value'] <= 2
    assert {'value', 'n_real', 'n_fake', 'split', 'extractor', 'weights_hash', 'resize'} <= distance.keys()
    mixed = score_images(some_images(seed=3).pixels[::2], images, small, splits=2)[0]
    assert mixed['value'] > distance['value']


@pytest.mark.parametrize('spec', ['cifar10_paper', 'resnet'])
def test_every_weight_of_the_generator_goes_downhill(spec):
    "Adam's first step with beta1 = 0 moves each weight by lr against its gradient's sign, whatever the memory layout."
    run = training(spec)
    params = [p for p in run.generator.parameters()]
    before = [p.detach().clone() for p in params]
    loss = run.framework.generator_terms(run.critic, run.generator(run.noise(16)))['adv']
    grads = torch.autograd.grad(loss, params, retain_graph=True)
    descend(run.generator_optimiser, run.generator, loss)
    for p, b, g in zip(params, before, grads):
        clear = g.abs() > 1e-4
        assert torch.allclose((b - p.detach())[clear], run.config.lr*g.sign()[clear], atol=1e-6)


@pytest.mark.parametrize('framework', list(FRAMEWORKS))
def test_every_framework_resumes_to_the_same_bits_with_classes(framework, tmp_path):
    "Spectral norm's vectors, RMSprop's averages, label streams: all of it is in the checkpoint."
    whole, half = [training(framework=framework, conditional=True, steps=3) for _ in range(2)]
    for _ in whole: pass
    next(half)
    half.save(tmp_path/'run')
    rest = GANTraining.load(tmp_path/'run', some_images())
    for _ in rest: pass
    assert_same(whole, rest)
    assert torch.equal(whole.sample(6, labels=torch.tensor([0, 1]*3)), rest.sample(6, labels=torch.tensor([0, 1]*3)))
    assert torch.equal(draw_images(trained_generator(tmp_path/'run'), 6, torch.Generator().manual_seed(0)), half.sample(6))


@pytest.mark.long
def test_labels_decide_the_picture_and_its_neighbours_do_not():
    run = training(conditional=True, steps=4, lr=5e-3)
    for _ in run: pass
    dark, light = [run.sample(100, labels=torch.full((100,), k)) for k in (0, 1)]
    assert not torch.equal(dark, light)
    mixed = torch.arange(100) % 2
    one, two = [run.sample(100, labels=y, statistics='recalibrated') for y in (mixed, 1 - mixed)]
    assert torch.equal(run.sample(100, labels=torch.zeros(100, dtype=torch.long), statistics='recalibrated')[mixed == 0], one[mixed == 0])
    assert torch.equal(run.sample(100, labels=torch.ones(100, dtype=torch.long), statistics='recalibrated')[mixed == 1], one[mixed == 1])
    assert not torch.equal(one, two)


@pytest.mark.parametrize('statistics', STATISTICS)
@pytest.mark.parametrize('conditional', [False, True])
def test_drawing_disturbs_nothing(statistics, conditional):
    run = training(conditional=conditional)
    next(run)
    before = copy.deepcopy(run.state_dict())
    assert run.sample(7, statistics=statistics).shape == (7, 3, 32, 32)
    after = run.state_dict()
    for net in 'generator', 'average', 'critic': assert all(torch.equal(v, after[net][k]) for k, v in before[net].items())
    for name, streams in before['streams'][0].items(): assert all(torch.equal(v, after['streams'][0][name][k]) for k, v in streams.items())
    assert run.generator.training


def test_recalibrated_statistics_are_those_of_the_weights_now():
    "In Figure 1's network every reader of the first map norms it: scaling that map changes nothing for batch and recalibrated statistics; running ones are thrown off."
    torch.manual_seed(0)
    net = build_generator(Genotype.named('cifar10_paper'), 16, 32, 8)
    for _ in range(40): net(torch.randn(50, 32))
    draws = {s: draw_images(net, 100, torch.Generator().manual_seed(0), statistics=s).float() for s in STATISTICS}
    with torch.no_grad():
        for p in net.head.parameters(): p *= 3
    moved = {s: (draw_images(net, 100, torch.Generator().manual_seed(0), statistics=s).float() - d).abs().mean().item() for s, d in draws.items()}
    assert moved['batch'] < moved['running']/5 and moved['recalibrated'] < moved['running']/5


def test_weight_clipping_holds_after_every_update():
    run = training(framework='wgan', steps=3)
    for _ in run: assert max(p.abs().max() for _, layer in layers(run.critic) for p in layer.parameters()) <= run.framework.clip


def test_spectral_norm_moves_once_an_update(monkeypatch):
    "However many passes an update has, each layer's estimate takes one step; the generator's update takes one more."
    from torch.nn.utils.parametrizations import _SpectralNorm
    steps = []
    monkeypatch.setattr(_SpectralNorm, '_power_method', lambda self, weight, n: steps.append(n))
    run = training(framework='sngan', n_critic=2)
    steps.clear()
    next(run)
    assert steps == [1]*3*len(layers(run.critic))


def test_labels_that_do_not_fit():
    images = some_images()
    bare, gap, over = Images(images.pixels), Images(images.pixels, images.labels, ['dark', 'light', 'none']), Images(images.pixels, images.labels, ['dark'])
    for bad, words in ((bare, 'no labels'), (gap, "no image of 'none'"), (over, 'only 1 classes')):
        with pytest.raises(UserError, match=words) as e: training(images=bad, conditional=True)
        assert '\n' not in str(e.value)
    with pytest.raises(UserError, match='same labels'): GANTraining(build_generator('resnet', 32, 128, 8), images, GANConfig(**TINY, conditional=True))
    with pytest.raises(UserError, match='same labels'): GANTraining(build_generator('resnet', 32, 128, 8, n_classes=2), images, GANConfig(**TINY))


@pytest.mark.parametrize('size, ratio, z', [(48, 'side', 192), (48, 'area', 288), (64, 'side', 256), (48, 'none', 128)])
def test_transfer_to_larger_images(size, ratio, z):
    run = training(images=some_images(size=size), steps=1, z_ratio=ratio)
    assert run.generator.z_dim == z and run.generator.head.shape[1:] == (size//8,)*2
    next(run)


@pytest.mark.parametrize('n_classes', [None, 5])
@pytest.mark.parametrize('baseline', list(BASELINES))
def test_match_params_finds_the_nearest_width(baseline, n_classes):
    target = build_generator(Genotype.named('cifar10_paper'), 32, 64, 40, n_classes)
    width = match_params(baseline, target)
    sizes = [n_params(build_generator(baseline, 32, 64, w, n_classes)) for w in (width - 1, width, width + 1)]
    misses = [abs(s - n_params(target)) for s in sizes]
    assert misses[1] == min(misses) and misses[1] <= .02*n_params(target)


# A generator that knows classes, CT-GAN's way ------------------------------------------------

@pytest.mark.parametrize('width, k', [(8, 2), (128, 10), (24, 7)])
@pytest.mark.parametrize('spec', ['cifar10_paper', 'resnet', 'dcgan'])
def test_the_norm_in_front_of_the_pixels_knows_no_class(spec, width, k):
    "A class adds a scale and a shift for each channel of every norm but the last; the older form had them there, too: 2 C (k - 1) parameters more, 2,304 at width 128 with 10 classes."
    spec = spec if spec in BASELINES else Genotype.named(spec)
    with torch.device('meta'): plain, told, older = [build_generator(spec, 32, 16, width, *kind) for kind in ((), (k,), (k, True))]
    norms = [m for m in plain.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    last = plain.norms[-1] if spec == 'dcgan' else plain.tail.norm
    assert last.num_features == width
    assert n_params(told) - n_params(plain) == 2*(k - 1)*(sum(m.num_features for m in norms) - width)
    assert n_params(older) - n_params(told) == 2*width*(k - 1)
    assert (n_params(older) - n_params(told) == 2304) == ((width, k) == (128, 10))


@pytest.mark.parametrize('framework', ['ctgan', 'dcgan'])
def test_a_fake_of_the_critic_step_is_drawn_for_the_label_of_its_real_image(framework, monkeypatch):
    images, asked = some_images(), []
    run = training(images=images, conditional=True, framework=framework)
    draw = type(run.generator).forward
    monkeypatch.setattr(type(run.generator), 'forward', lambda self, z, y=None: (asked.append(y), draw(self, z, y))[1])
    judged = {}
    terms = run.framework.critic_terms
    monkeypatch.setattr(type(run.framework), 'critic_terms', lambda self, critic, real, fake, generator, y: (judged.update(y=y), terms(critic, real, fake, generator, y))[1])
    for k in range(3):
        run.critic_step(k)
        assert torch.equal(asked.pop(), images.labels[run.real_index(k)]) and torch.equal(judged['y'], images.labels[run.real_index(k)])
    run.generator_step()
    assert asked[0].shape == (TINY['batch_size'],) and not torch.equal(asked[0], judged['y'])


@pytest.mark.parametrize('spec', ['cifar10_paper', 'dcgan'])
def test_a_run_of_the_older_form_opens_in_its_own_form(spec, tmp_path):
    "Its config.json doesn't say what the tail's norm knows; it goes on, draws, and stays what it was."
    images = some_images()
    older = build_generator(spec if spec in BASELINES else Genotype.named(spec), 32, 128, 8, 2, told_tail=True)
    run = GANTraining(older, images, GANConfig(**TINY, conditional=True))
    next(run)
    folder = run.save(tmp_path/'run')
    assert 'tail' not in folder.config['generator'] and 'tail' not in run.state_dict()['spec']
    rest = GANTraining.load(tmp_path/'run', images)
    assert rest.generator.told_tail and rest.n == 1
    assert torch.equal(draw_images(trained_generator(tmp_path/'run'), 4, torch.Generator().manual_seed(0)), run.sample(4))
    for _ in run: pass
    for _ in rest: pass
    assert_same(run, rest)
    with pytest.raises(UserError, match='another config'): training(spec, images, conditional=True).load_state_dict(run.state_dict())
    assert training(spec, images, conditional=True).settings()['generator']['tail'] == 'plain'


# Longer than planned -------------------------------------------------------------------------

@pytest.mark.parametrize('at, changes', [(4, dict(steps=7)), (2, dict(steps=7, lr=3e-4)), (3, dict(lr=1e-4)), (2, dict(steps=3))])
def test_a_run_made_longer_ends_in_the_bits_of_both_plans_in_one_go(at, changes, tmp_path):
    first = training()
    for _ in range(at): next(first)
    first.save(tmp_path/'run')
    rest = GANTraining.load(tmp_path/'run', some_images()).replan(**changes)
    rates = {step.n: step.lr for step in rest}
    rest.save(tmp_path/'run')
    history = [dict(until=at, steps=4, lr=1e-3)]
    config = GANConfig(**TINY | changes)
    whole = GANTraining.from_config(some_images(), config, Genotype.named('cifar10_paper'), history=history)
    rates_of_whole = {step.n: step.lr for step in whole}
    assert_same(whole, rest)
    assert rates_of_whole == {n: 1e-3*(1 - (n - 1)/4) for n in range(1, at + 1)} | {n: config.lr*(1 - (n - 1)/config.steps) for n in range(at + 1, config.steps + 1)}
    assert rates == {n: lr for n, lr in rates_of_whole.items() if n > at}
    folder = RunFolder.open(tmp_path/'run')
    assert folder.history == history and folder.config['steps'] == config.steps and folder.config['lr'] == config.lr
    again = GANTraining.load(tmp_path/'run', some_images())
    assert again.n == config.steps and again.history == history
    assert_same(again, rest)


def test_nothing_changed_is_the_same_run(tmp_path):
    run = training()
    next(run)
    run.save(tmp_path/'run')
    before = (tmp_path/'run/config.json').read_bytes()
    GANTraining.load(tmp_path/'run', some_images()).replan(steps=4, lr=None).save(tmp_path/'run')
    assert (tmp_path/'run/config.json').read_bytes() == before and RunFolder.open(tmp_path/'run').history == []


def test_plans_that_cannot_be(tmp_path):
    run = training()
    for _ in range(3): next(run)
    run.save(tmp_path/'run')
    for changes, words in ((dict(steps=2), '3 steps are done'), (dict(width=16), "--width can't change"), (dict(lr=-1.), '--lr -1.0'), (dict(steps=0), '--steps 0')):
        with pytest.raises(UserError, match=words): GANTraining.load(tmp_path/'run', some_images()).replan(**changes)
    config = tmp_path/'run/config.json'
    for history in ('[{"until": 3}]', '[{"until": "3", "steps": 4}]', '[{"until": 3, "steps": 4}, {"until": 2, "steps": 5}]', '{}', '[3]', '[{"until": 0, "lr": 1}]'):
        config.write_text(config.read_text().replace('"format"', f'"history": {history}, "format"', 1))
        with pytest.raises(UserError, match="no proper 'history'"): GANTraining.load(tmp_path/'run', some_images())
        config.write_text(config.read_text().replace(f'"history": {history}, ', ''))


def test_a_second_change_of_plan_forgets_what_never_held(tmp_path):
    "Changed at 3, then again from an older checkpoint, at 2: what would have held from 3 on is no part of the history."
    run = training()
    for _ in range(2): next(run)
    old = copy.deepcopy(run.state_dict())
    next(run)
    run.replan(steps=9).replan(steps=8)
    assert run.history == [dict(until=3, steps=4, lr=1e-3)]
    run.load_state_dict(old)
    assert run.n == 2 and run.plan_at(2).steps == 4 and run.plan_at(3).steps == 8
    run.replan(steps=6)
    assert run.history == [dict(until=2, steps=4, lr=1e-3)]
    run.n = 5
    run.replan(lr=1e-4)
    assert run.history == [dict(until=2, steps=4, lr=1e-3), dict(until=5, steps=6, lr=1e-3)]


@pytest.mark.parametrize('at, changes', [(4, dict(epochs=4)), (3, dict(epochs=3, lr=2e-4, z_lr=.05)), (1, dict(lr=1e-4))])
def test_a_search_made_longer_ends_in_the_bits_of_both_plans_in_one_go(at, changes, tmp_path):
    images, config = some_images(24, 16), SearchConfig(epochs=2, batch_size=12, img_size=16, width=4, z_dim=8, held_out=0)
    first = Search.from_config(images, config)
    for _ in range(at): next(first)
    first.save(tmp_path/'run')
    rest = Search.load(tmp_path/'run', images).replan(**changes)
    for _ in rest: pass
    rest.save(tmp_path/'run')
    history = [dict(until=at) | {k: getattr(config, k) for k in Search.changeable}]
    whole = Search.from_config(images, replace(config, **changes), history=history)
    rates = [step.lr for step in whole]
    a, b = whole.net.state_dict(), rest.net.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a) and torch.equal(whole.latents.z, rest.latents.z)
    assert rates[:at] == [cosine(config.lr, 0, n, 4) for n in range(at)] and rates[at:] == [cosine(whole.config.lr, 0, n, len(whole)) for n in range(at, len(whole))]
    again = Search.load(tmp_path/'run', images)
    assert (again.n, len(again), again.history) == (len(whole), 2*changes.get('epochs', 2), history)
    with pytest.raises(UserError, match='steps are done'): again.replan(epochs=1)


# From another run's weights ------------------------------------------------------------------

@pytest.mark.parametrize('spec, conditional, ema', [('cifar10_paper', False, .9), ('resnet', True, 0.), ('dcgan', False, .9)])
def test_a_training_goes_on_from_the_weights_of_another(spec, conditional, ema, tmp_path):
    "Of the generator that draws: the average, if there is one. In another framework, with other settings."
    first = training(spec, conditional=conditional, ema=ema)
    for _ in range(2): next(first)
    first.save(tmp_path/'first')
    run = GANTraining.continued(some_images(), GANConfig(**TINY | dict(framework='sngan', conditional=conditional, seed=4)), tmp_path/'first')
    assert run.config.init == 'keep' and run.n == 0
    for name, p in first.artist.state_dict().items(): assert torch.equal(p, run.generator.state_dict()[name])
    next(run)
    run.save(tmp_path/'second')
    rest = GANTraining.load(tmp_path/'second', some_images())
    for r in run, rest:
        for _ in r: pass
    assert_same(run, rest)


def test_weights_that_do_not_fit(tmp_path):
    labelled = training(conditional=True)
    for run, name in ((training(), 'plain'), (labelled, 'labelled')): run.save(tmp_path/name)
    RunFolder.create(tmp_path/'search', 'search', {}, {})
    RunFolder.create(tmp_path/'early', 'gan', training().settings(), {})
    three = Images(some_images().pixels, torch.arange(40) % 3, list('abc'))
    for name, images, kw, words in (
            ('plain', some_images(), dict(width=16), 'add --width 8'), ('plain', some_images(size=16), {}, 'add --img-size 32'), ('plain', some_images(), dict(z_dim=64), 'add --z-dim 128'),
            ('plain', some_images(), dict(conditional=True), 'leave out --conditional'), ('labelled', some_images(), {}, 'add --conditional'), ('labelled', three, dict(conditional=True), '2 classes, images has 3'),
            ('search', some_images(), {}, 'weights of a GAN run'), ('nowhere', some_images(), {}, 'weights of a GAN run'), ('early', some_images(), {}, 'weights of a GAN run')):
        with pytest.raises(UserError, match=words) as e: GANTraining.continued(images, GANConfig(**TINY | kw), tmp_path/name)
        assert '\n' not in str(e.value)
    with pytest.raises(UserError, match='--init keep'): training(init='keep')


def test_deterministic_is_given_back():
    from degas_nb.ground.ranks import deterministic
    def state(): return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    before, seen = state(), []
    run = training(deterministic=True)
    run.framework.__class__.constrain_, plain = lambda self, critic: seen.append(state()), run.framework.__class__.constrain_
    try: next(run)
    finally: run.framework.__class__.constrain_ = plain
    assert state() == before and set(seen) == {(True, True, True, False)}
    with pytest.raises(ZeroDivisionError), deterministic(): 1/0
    assert state() == before
    try:
        with deterministic(False): torch.use_deterministic_algorithms(True)   # somebody else's word, while a step goes on in a thread
        assert torch.are_deterministic_algorithms_enabled()
    finally: torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    assert_same(*[[next(r), r][1] for r in (training(deterministic=True), training())])  # on a CPU the bits are the same


def test_a_run_from_before_a_setting_existed_goes_on(tmp_path):
    "A config.json and a checkpoint without the newest settings mean their defaults."
    run = training()
    next(run)
    folder, state = run.save(tmp_path/'run'), run.state_dict()
    for settings in (state['config'], folder.config): del settings['deterministic']
    del state['history']
    folder.save_checkpoint(state)
    RunFolder.create(tmp_path/'run', 'gan', folder.config, folder.data, overwrite=True).save_checkpoint(state)
    assert checked_run(tmp_path/'run', 'gan').config == run.settings()  # the command asks whether settings are the same
    rest = GANTraining.load(tmp_path/'run', some_images())
    rest.save(tmp_path/'run')
    for r in run, rest:
        for _ in r: pass
    assert_same(run, rest)


@pytest.mark.long
def test_auto_is_a_device_wherever_one_is_named(tmp_path):
    "And what is none is said, before anything is made."
    images = some_images()
    run = training(images=images)
    run.save(tmp_path/'run')
    classifier = SmallClassifier(n_classes=2)
    makers = dict(
        continued=lambda d: GANTraining.continued(images, GANConfig(**TINY), tmp_path/'run', d).device, of_run=lambda d: GANTraining.of_run(RunFolder.open(tmp_path/'run'), images, d).device,
        load=lambda d: GANTraining.load(tmp_path/'run', images, d).device, trained=lambda d: next(trained_generator(tmp_path/'run', d).parameters()).device,
        small=lambda d: SmallFeatures(classifier, 32, .5, 'x', 'y', d).device, module=lambda d: ModuleFeatures(torch.nn.Flatten(), 'flat', 3, device=d).device,
        named=lambda d: find_extractor('small', None, images, device=d).device, inception=lambda d: InceptionFeatures(inception_net().state_dict(), device=d).device)
    for name, make in makers.items():
        assert torch.device(make('auto')) == torch.device(find_device('auto')), name
        with pytest.raises(UserError, match='banana'): make('banana')
