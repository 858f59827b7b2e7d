"""The GAN half on a device that nobody has to own: equal starts, six frameworks, what crosses over, a run that changes device."""
import threading

import PIL.Image
import pytest
import torch

from degas_nb.gan.critic import spectral_norm_
from degas_nb.ground.data import Images, dequantise
from degas_nb.gan.frameworks import FRAMEWORKS, between, find_framework
from degas_nb.gan.training import GANConfig, GANTraining, draw_images, load_streams_, trained_generator
from degas_nb.space.baselines import BASELINES, INITS, STATISTICS, build_generator, recalibrated
from degas_nb.space.genotype import Genotype
from degas_nb.gan.critic import Dropout
from degas_nb.ground.folders import RunFolder
from sim_device import crossings, of_device, total

TINY = dict(steps=3, batch_size=6, width=4, z_dim=8, n_critic=2)


def images(n=24, size=16):
    rng = torch.Generator().manual_seed(n)
    return Images(torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=rng), torch.arange(n) % 3, list('abc'), name='noise')


def training(device='cpu', spec='cifar10_paper', **kw):
    return GANTraining.from_config(images(), GANConfig(**TINY | kw), spec if spec in BASELINES else Genotype.named(spec), device)


def everything(run): return {f'{name}.{k}': v for name in ('generator', 'critic', 'average') for k, v in getattr(run, name).state_dict().items()}


def assert_same(a, b):
    a, b = everything(a), everything(b)
    assert a.keys() == b.keys()
    assert [k for k in a if not torch.equal(a[k].cpu(), b[k].cpu())] == []


# --- equal starts

@pytest.mark.parametrize('conditional', [False, True])
@pytest.mark.parametrize('framework', list(FRAMEWORKS))
def test_every_framework_starts_equal_and_trains(framework, conditional, simgpu):
    here, there = [training(d, framework=framework, conditional=conditional) for d in ('cpu', simgpu)]
    assert_same(here, there)
    assert all(of_device(t) for t in everything(there).values())
    assert torch.equal(here.sample(5), there.sample(5))
    losses = [step.record() for step in there]
    assert len(losses) == 3 and there.sample(4).shape == (4, 3, 16, 16)


@pytest.mark.parametrize('init', list(INITS))
@pytest.mark.parametrize('spec', ['cifar10_paper', *BASELINES])
def test_equal_starts_whoever_brings_the_generator(spec, init, simgpu):
    "Built on the CPU and moved, or handed in from the device, as it is there."
    a = training(spec=spec, init=init)
    net = build_generator(spec if spec in BASELINES else Genotype.named(spec), 16, 4, 4).to(simgpu)
    net.load_state_dict(a.generator.state_dict())
    assert_same(a, GANTraining(net, images(), GANConfig(**TINY | dict(init=init))))


@pytest.mark.parametrize('init', list(INITS))
def test_a_stream_gives_the_same_start_wherever_the_network_is(init, simgpu):
    "From a CPU stream the CPU's numbers, from a stream of the device the device's, for networks on either side."
    nets = {}
    for stream in 'cpu', simgpu:
        for place in 'cpu', simgpu:
            net = find_framework('ctgan').build_critic(16, 4).to(place)
            nets[stream, place] = INITS[init](net, rng=torch.Generator(stream).manual_seed(3)).to('cpu').state_dict()
    for stream in 'cpu', simgpu: assert all(torch.equal(v, nets[stream, simgpu][k]) for k, v in nets[stream, 'cpu'].items())
    assert not torch.equal(nets['cpu', 'cpu']['head.weight'], nets[simgpu, 'cpu']['head.weight'])


@pytest.mark.parametrize('stream', ['cpu', 'simgpu'])
def test_spectral_norm_guesses_alike_and_leaves_every_global_stream_alone(stream, simgpu):
    states = []
    for place in 'cpu', simgpu:
        net = INITS['ctgan'](find_framework('sngan').build_critic(16, 4), rng=torch.Generator().manual_seed(0)).to(place)
        before = torch.get_rng_state(), torch.simgpu.get_rng_state()
        spectral_norm_(net, torch.Generator(stream).manual_seed(1))
        assert torch.equal(before[0], torch.get_rng_state()) and torch.equal(before[1], torch.simgpu.get_rng_state())
        assert all(t.device.type == torch.device(place).type for t in net.state_dict().values())
        states.append({k: v.cpu() for k, v in net.state_dict().items()})
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


# --- generators of either side, wherever one is an argument

@pytest.mark.parametrize('place', ['cpu', 'simgpu'])
@pytest.mark.parametrize('stream', ['cpu', 'simgpu'])
def test_streams_of_either_side_are_welcome(stream, place, simgpu):
    def rng(): return torch.Generator(stream).manual_seed(5)
    def told(n_classes): return INITS['ctgan'](build_generator('resnet', 16, 8, 4, n_classes), rng=torch.Generator().manual_seed(0)).to(place)
    x, y = torch.rand(2, 6, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    x, y = (x*2 - 1).to(place), (y*2 - 1).to(place)
    drop = Dropout(.5, rng()).train()
    results = [dequantise(x, rng()), between(x, y, rng()), drop(x), recalibrated(told(3), rng(), 2, 6).head.linear.weight, recalibrated(told(None), rng(), 2, 6).tail.norm.running_mean]
    assert all(t.device.type == torch.device(place).type for t in results)
    for n_classes in None, 3:
        for statistics in STATISTICS: assert draw_images(told(n_classes), 5, rng(), statistics=statistics).device.type == 'cpu'
    for where in 'cpu', simgpu: assert draw_images(told(3), 5, rng(), torch.tensor([0, 1, 2, 1, 0], device=where)).shape[0] == 5
    other = 'cpu' if place == 'simgpu' else 'simgpu'
    again = [dequantise(x.to(other), rng()), between(x.to(other), y.to(other), rng()), Dropout(.5, rng()).train()(x.to(other))]
    for a, b in zip(results, again): assert torch.equal(a.cpu(), b.cpu())


# --- what crosses over in a step

@pytest.mark.parametrize('conditional', [False, True])
@pytest.mark.parametrize('framework', list(FRAMEWORKS))
def test_a_step_lets_nothing_cross_but_an_epochs_order(framework, conditional, simgpu):
    "24 images in batches of 6: an epoch is four critic updates, and its order travels once. Nothing is read back before somebody asks."
    run = training(simgpu, framework=framework, conditional=conditional, steps=6, n_critic=2)
    for n in range(6):
        with crossings() as seen: step = next(run)
        assert total(seen) == total(seen, 'to device') == (n % 2 == 0), (n, seen)
    with crossings() as seen: step.record()
    assert total(seen, 'to host') == total(seen) == 1


def test_images_that_do_not_fit_travel_batch_by_batch(simgpu, monkeypatch):
    from sim_device import Module
    fits = training(simgpu, conditional=True)
    monkeypatch.setattr(Module, 'free', 1000)
    run = training(simgpu, conditional=True)
    assert run.near is run.images and fits.near is not fits.images
    for _ in range(2):
        with crossings() as seen: next(run)
        assert total(seen, 'to host') == 0 and total(seen) <= 2*run.config.n_critic  # images and labels
        next(fits)
    assert_same(run, fits)


# --- resume

@pytest.mark.parametrize('framework, conditional', [('ctgan', True), ('sngan', False), ('wgan', True), ('cagan', False)])
@pytest.mark.parametrize('home', ['cpu', 'simgpu'])
def test_a_run_changes_device_and_comes_back(home, framework, conditional, simgpu, tmp_path):
    other = 'simgpu' if home == 'cpu' else 'cpu'
    run = training(home, framework=framework, conditional=conditional)
    next(run)
    run.save(tmp_path/'run')
    same, moved, again = [GANTraining.load(tmp_path/'run', images(), d) for d in (home, other, other)]
    assert same.notes == [] and moved.n == 1
    assert_same(run, moved)
    assert len(moved.notes) == 1 and all(word in moved.notes[0] for word in ('z, labels, noise, penalty, dropout', 'step 1', 'other bits')) and '\n' not in moved.notes[0]
    for t in run, same, moved, again: next(t)
    assert_same(run, same)
    assert_same(moved, again)  # begun anew as a function of the step
    assert any(not torch.equal(v.cpu(), everything(moved)[k].cpu()) for k, v in everything(run).items())
    moved.save(tmp_path/'run')
    back = GANTraining.load(tmp_path/'run', images(), home)
    assert len(back.notes) == 1 and 'step 2' in back.notes[0]
    assert_same(moved, back)
    next(back)
    assert back.n == 3 and torch.equal(draw_images(trained_generator(tmp_path/'run', simgpu), 3, torch.Generator().manual_seed(0)), moved.sample(3))


@pytest.mark.parametrize('framework', list(FRAMEWORKS))
def test_resumed_on_the_device_to_the_same_bits(framework, simgpu, tmp_path):
    whole, half = [training(simgpu, framework=framework, conditional=True) for _ in range(2)]
    next(half)
    half.save(tmp_path/'run')
    rest = GANTraining.load(tmp_path/'run', images(), simgpu)
    for run in whole, rest:
        for _ in run: pass
    assert_same(whole, rest)


def test_the_dropout_of_a_rank_that_joins_is_the_stream_that_is_saved(simgpu):
    "Streams begin anew in place: the critic draws from the one that a checkpoint holds."
    for device in 'cpu', simgpu:
        run = training(device)
        load_streams_(run, [], 2)
        drops = [m for m in run.critic.modules() if isinstance(m, Dropout)]
        assert drops and all(m.rng is run.masks['dropout'] for m in drops)
        before = run.masks.state_dict()['dropout']
        next(run)
        assert not torch.equal(before, run.masks.state_dict()['dropout'])


@pytest.mark.parametrize('framework', ['wgan_gp', 'ctgan', 'cagan'])
def test_gradients_of_gradients_are_made_by_the_thread_that_calls(framework, simgpu):
    "The order of a sum in the second backward must not hang on a device's own thread; torch's setting is as before."
    run = training(simgpu, framework=framework)
    seen = set()
    for p in run.critic.parameters(): p.register_hook(lambda g: seen.add((threading.get_ident(), torch.autograd.is_multithreading_enabled())))
    next(run)
    assert seen == {(threading.get_ident(), False)} and torch.autograd.is_multithreading_enabled()


# --- arithmetic

def test_a_step_is_float32_whatever_the_process_allows(simgpu, monkeypatch):
    from degas_nb.ground.errors import UserError
    run, seen = training(simgpu), []
    terms = type(run.framework).critic_terms
    monkeypatch.setattr(type(run.framework), 'critic_terms', lambda *args: (seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)), terms(*args))[1])
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    next(run)
    assert set(seen) == {('highest', False)} and (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
    for device in 'cpu', simgpu:
        with pytest.raises(UserError, match='no TF32'): training(device, amp='tf32')
    with pytest.raises(UserError, match='--amp bf16 is unknown'): training(amp='bf16')


# --- the commands

@pytest.fixture
def degas(simgpu, tmp_path, monkeypatch):
    from degas_nb.app.main import main
    monkeypatch.chdir(tmp_path)
    pixels = torch.randint(0, 90, (66, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)) + 80*(torch.arange(66, dtype=torch.uint8) % 3)[:, None, None, None]
    for i, image in enumerate(pixels):
        folder = tmp_path/'pictures'/'abc'[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder/f'{i}.png')
    return lambda *argv: main([str(a) for a in argv])


SMALL = ['--data', 'pictures', '--img-size', '16', '--batch-size', '8', '--width', '4', '--z-dim', '8', '--n-critic', '1']


@pytest.mark.parametrize('conditional', [[], ['--conditional']], ids=['plain', 'conditional'])
@pytest.mark.parametrize('framework', list(FRAMEWORKS))
def test_degas_train_sample_and_score_on_the_device(framework, conditional, degas, simgpu, tmp_path, capsys):
    "And on with it on the CPU and back: what begins anew is said."
    degas('train', '--genotype', 'cifar10_paper', *SMALL, '--framework', framework, *conditional, '--steps', 2, '--out', 'run', '--device', simgpu)
    assert 'begin anew' not in capsys.readouterr().err
    degas('sample', 'run', '--n', 4, '--out', 'a.png', '--device', simgpu, *(['--label', 'b'] if conditional else []))
    for untrained in [], ['--untrained']: degas('score', 'run', '--n', 20, *untrained, '--device', simgpu)
    assert (tmp_path/'a.png').stat().st_size and (tmp_path/'run/report.html').exists()
    saved = torch.load(tmp_path/'run/checkpoint.pt', weights_only=True)
    assert saved['step'] == 2 and not any(map(of_device, saved['generator'].values()))


@pytest.mark.parametrize('home', ['cpu', 'simgpu'])
def test_degas_train_goes_on_elsewhere_and_says_what_begins_anew(home, degas, capsys):
    from degas_nb.app.driving import ImageSource
    other = 'simgpu' if home == 'cpu' else 'cpu'
    source = ImageSource('pictures')
    pictures = source.load(16)
    run = GANTraining.from_config(pictures, GANConfig(**TINY | dict(conditional=True)), 'resnet', home)
    folder = RunFolder.create('run', 'gan', run.settings(), source.about(pictures))
    next(run)
    run.save(folder)
    for device, notes in ((home, 0), (other, 1)):
        degas('train', '--resume', '--out', 'run', '--device', device)
        assert capsys.readouterr().err.count('begin anew at step 1') == notes
        folder.save_checkpoint(run.state_dict())


def test_live_and_the_demo_train_on_the_device(degas, simgpu, capsys):
    from degas_nb.views.live import live
    run = training(simgpu, conditional=True)
    handle = live(run, pictures=lambda run: dict(samples=run.sample(4)))
    assert handle.wait(300) == 'done' and run.n == 3
    degas('demo', '--out', 'demo', '--epochs', 1, '--steps', 1, '--n', 20, '--data', 'pictures', '--device', simgpu)
    assert 'after 1 steps' in capsys.readouterr().out
