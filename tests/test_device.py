"""Computing elsewhere than on the CPU, on a device that nobody has to own."""
import filecmp
import json
import math
from dataclasses import dataclass, replace

import pytest
import torch

from degas_nb.app.driving import drive
from degas_nb.app.main import main
from degas_nb.ground.data import Images
from degas_nb.judge.features import small_features
from degas_nb.gan.training import GANConfig, GANTraining
from degas_nb.space.genotype import Genotype
from degas_nb.search.glo import Latents, pca_init
from degas_nb.views.live import live
from degas_nb.ground.ranks import Ranks, find_device
from degas_nb.ground.folders import RunFolder
from degas_nb.ground.runs import Randoms, Unread, fetched
from degas_nb.search.alternating import Search, SearchConfig
from degas_nb.ground.errors import UserError
from degas_nb.ground.show import compact_tensor, save_grid
from commands import forked
from sim_device import Module, SimGenerator, crossings, total


def noise(n=40, size=16, labels=False):
    rng = torch.Generator().manual_seed(n)
    pixels = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=rng)
    if labels: pixels = pixels//4 + (torch.arange(n) % 4*64)[:, None, None, None].to(torch.uint8)  # brighter class by class
    return Images(pixels, torch.arange(n) % 4 if labels else None, list('abcd') if labels else None, name='noise')


# --- the simulated device is one

@pytest.mark.parametrize('mix', [lambda x: x + torch.ones(3), lambda x: torch.cat([torch.ones(3), x]), lambda x: torch.ones(3)[x.long()], lambda x: x.numpy(),
                                 lambda x: x.index_put_((x.long(),), torch.ones(3)), lambda x: x.uniform_(generator=torch.Generator()),
                                 lambda x: torch.randn(3, generator=SimGenerator())], ids=range(7))
def test_the_simulated_device_refuses_mixtures(mix, simgpu):
    with pytest.raises((RuntimeError, TypeError), match='simgpu|same device'): mix(torch.zeros(3, device=simgpu))


@pytest.mark.parametrize('direction, cross', [
    ('to device', lambda x: torch.ones(3).to(x.device)), ('to device', lambda x: x.copy_(torch.ones(3))), ('to device', lambda x: torch.tensor([1.], device=x.device)),
    ('to device', lambda x: x[torch.tensor([0])]), ('to host', lambda x: x.cpu()), ('to host', lambda x: x.tolist()), ('to host', lambda x: x.sum().item()),
    ('to host', lambda x: bool((x > 0).all())), ('to host', lambda x: x[x > 0]), ('to host', lambda x: x.nonzero()), ('to host', lambda x: torch.equal(x, x)),
    ('to host', lambda x: torch.empty(3).copy_(x))], ids=range(12))
def test_the_simulated_device_counts_what_crosses(direction, cross, simgpu):
    x = torch.zeros(3, device=simgpu)
    with crossings() as seen: cross(x)
    assert total(seen) == total(seen, direction) == 1


def test_the_simulated_device_does_not_count_what_stays(simgpu):
    x = torch.arange(3., device=simgpu).requires_grad_()
    with crossings() as seen:
        ((x*2 + torch.tensor(1.))[x.detach().long()].sum() - 1).backward()
        torch.randn(3, device=simgpu), x.shape, x.detach()[1:], torch.zeros_like(x)
    assert not total(seen) and torch.equal(x.grad.cpu(), torch.full((3,), 2.))


def test_streams_of_the_simulated_device_are_its_own(simgpu):
    before = torch.get_rng_state()
    torch.randn(3, device=simgpu)
    assert torch.equal(torch.get_rng_state(), before)
    streams = [torch.Generator(simgpu).manual_seed(5) for _ in range(2)]
    a, b = [torch.randn(3, generator=g, device=simgpu).cpu() for g in streams]
    assert torch.equal(a, b) and not torch.equal(a, torch.randn(3, generator=torch.Generator().manual_seed(5)))
    with pytest.raises(RuntimeError, match='wrong size'): streams[0].set_state(torch.Generator().get_state())


# --- which device

def test_a_word_for_a_device(simgpu, monkeypatch):
    assert find_device('cpu') == 'cpu' and find_device(simgpu) == simgpu and find_device('simgpu') == 'simgpu'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert find_device() == find_device('cuda') == 'cuda' and find_device('cuda:1') == 'cuda:1'
    with pytest.raises(UserError, match='only 2 cuda'): find_device('cuda:2')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.mps, 'is_available', lambda: True)
    monkeypatch.setattr(torch.mps, 'device_count', lambda: 1)
    assert find_device() == 'mps'
    monkeypatch.setattr(torch.mps, 'is_available', lambda: False)
    assert find_device() == 'cpu'
    for word in 'cuda', 'cuda:0', 'mps', 'xpu', 'meta', 'gpu', '', 'cuda:x', 'simgpu:1', 'CPU', 'cpu:7':
        with pytest.raises(UserError, match='--device'): find_device(word)


def test_ranks_and_their_devices(simgpu, monkeypatch):
    assert Ranks.launched(simgpu) == Ranks(device=simgpu)
    for value in 'x', '0', '-1', '', '1.5':
        monkeypatch.setenv('WORLD_SIZE', value)
        with pytest.raises(UserError, match='WORLD_SIZE'): Ranks.launched()
    for name, value in dict(WORLD_SIZE='2', RANK='0', LOCAL_RANK='0', MASTER_ADDR='localhost', MASTER_PORT='29500').items(): monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match='each takes its own'): Ranks.launched('cuda:1')
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    with pytest.raises(UserError, match='1 GPUs'): Ranks.launched()


# --- streams of a run that changes device

def drawn(streams): return {n: torch.randn(4, generator=g, device=g.device).cpu() for n, g in streams.streams.items()}


@pytest.mark.parametrize('there', ['cpu', 'simgpu'])
def test_streams_that_cannot_be_carried_over_begin_anew(there, simgpu):
    here = 'simgpu' if there == 'cpu' else 'cpu'
    old, same = Randoms(3, ('a', 'b'), there), Randoms(3, ('a', 'b'), there)
    drawn(old)
    assert same.load_state_dict(old.state_dict(), 7) == []
    a, b = drawn(old), drawn(same)
    assert all(torch.equal(a[n], b[n]) for n in 'ab')
    moved = [Randoms(3, ('a', 'b'), here) for _ in range(3)]
    assert [m.load_state_dict(old.state_dict(), step) for m, step in zip(moved, (7, 7, 8))] == [['a', 'b']]*3
    first, again, later = map(drawn, moved)
    fresh = drawn(Randoms(3, ('a', 'b'), here))
    for n in 'ab':
        assert torch.equal(first[n], again[n]) and not torch.equal(first[n], later[n]) and not torch.equal(first[n], fresh[n])
    assert not torch.equal(first['a'], first['b'])


# --- images

def test_images_on_a_device_are_the_same_images(simgpu):
    images = noise(labels=True)
    moved = images.near(simgpu)
    assert images.pixels.device.type == 'cpu' and moved.pixels.device.type == moved.labels.device.type == 'simgpu'
    moved.notes.append('moved')
    assert images.notes == []
    with crossings() as seen: assert moved.fingerprint() == images.fingerprint()
    assert not seen
    index = torch.tensor([3, 1, 2])
    for where in images, moved:
        for at in index, index.to(simgpu), slice(1, 4):
            for to in 'cpu', simgpu:
                batch, labels = where.batch(at, to), where.labels_at(at, to)
                assert batch.device.type == labels.device.type == torch.device(to).type
                assert torch.equal(batch.cpu(), images.batch(at.cpu() if isinstance(at, torch.Tensor) else at))
        for at in index, index.to(simgpu): assert where.subset(at).fingerprint() == images.subset(index).fingerprint()
    assert images.near('cpu') is images and moved.near(simgpu) is moved


def test_images_stay_where_they_are_when_the_device_is_full(simgpu, monkeypatch):
    images = noise()
    monkeypatch.setattr(Module, 'free', 4*images.pixels.nbytes - 1)
    assert images.near(simgpu) is images
    monkeypatch.setattr(Module, 'free', 4*images.pixels.nbytes)
    assert images.near(simgpu) is not images


@pytest.mark.parametrize('change', [lambda i: i.pixels[2, 1, 0].add_(1), lambda i: i.labels.add_(1), lambda i: setattr(i, 'pixels', i.pixels + 1), lambda i: setattr(i, 'labels', None)], ids=range(4))
def test_a_fingerprint_is_made_once_and_again_after_a_change(change, simgpu, monkeypatch):
    images = noise(labels=True)
    first, moved = images.fingerprint(), images.to(simgpu)
    with monkeypatch.context() as m:
        m.setattr('degas_nb.ground.data._hash', None)
        assert images.fingerprint() == moved.fingerprint() == first
    for i in images, moved:
        change(i)
        assert i.fingerprint() == Images(i.pixels.cpu(), None if i.labels is None else i.labels.cpu()).fingerprint() != first


# --- search

def toy(device='cpu', n=24, **kw):
    return Search.from_config(noise(n), SearchConfig(**dict(epochs=3, batch_size=8, img_size=16, width=4, z_dim=16) | kw), device=device)


def same(a, b):
    "Equal bits, wherever they lie: nested dicts and lists of tensors and plain values."
    if isinstance(a, dict): return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a.cpu(), b.cpu()) if isinstance(a, torch.Tensor) else a == b


KINDS = [{}, dict(joint=True), dict(joint=True, warmup=1), dict(held_out=.5), dict(held_out=.25, z_init='random'), dict(optimiser='sgd', lr=.1, z_init='random', surface='ball'), dict(impl='sum', relaxation='sigmoid')]


@pytest.mark.long
@pytest.mark.parametrize('kw', KINDS, ids=str)
def test_a_search_on_a_device_has_the_bits_of_the_cpu(kw, simgpu):
    here, there = toy(**kw), toy(simgpu, **kw)
    assert there.images.pixels.device.type == there.latents.z.device.type == 'simgpu'
    for a, b in zip(here, there, strict=True):
        assert b.values.device.type == 'simgpu'
        assert a.record(with_alpha=True) == b.record(with_alpha=True)
    assert same(here.state_dict(), there.state_dict())
    assert torch.equal(here.psnr(), there.psnr()) and same(here.sample(5), there.sample(5))
    for index in torch.tensor([3, 1]), torch.tensor([3, 1], device=simgpu): assert same(here.reconstruct(torch.tensor([3, 1])), there.reconstruct(index))


@pytest.mark.parametrize('kw', KINDS, ids=str)
def test_a_search_step_waits_for_nothing(kw, simgpu):
    "Images, order, index and latents lie on the device, and nobody reads a number: no copy but the order, once an epoch and stream."
    run = toy(simgpu, **kw)
    next(run)
    for _ in range(2*run.per_epoch):
        starts = run.n % run.per_epoch == 0
        with crossings() as seen: next(run)
        assert total(seen, 'to host') == 0, seen
        assert total(seen) <= (1 + ('held_out' in kw))*starts, seen


def test_a_search_step_with_images_that_do_not_fit(simgpu, monkeypatch):
    monkeypatch.setattr(Module, 'free', 0)
    here, there = toy(), toy(simgpu)
    assert there.images.pixels.device.type == 'cpu'
    next(here), next(there)
    with crossings() as seen: next(there)
    assert total(seen, 'to host') == 0 and total(seen) <= 6
    next(here)
    assert same(here.state_dict(), there.state_dict())


@pytest.mark.long
@pytest.mark.parametrize('kw', KINDS[:5], ids=str)
def test_a_search_goes_to_the_device_and_back(kw, simgpu, tmp_path):
    whole = toy(epochs=4, **kw)
    for _ in whole: pass
    run = toy(epochs=4, **kw)
    for device in simgpu, 'cpu', simgpu:
        next(run)
        run.save(tmp_path/'run')
        run = Search.load(tmp_path/'run', noise(24), device)
        assert run.device.type == torch.device(device).type
    for _ in run: pass
    assert same(whole.state_dict(), run.state_dict())


@pytest.mark.long
def test_snapshots_of_alpha_stay_on_the_device_and_are_read_late(simgpu):
    run = toy(simgpu)
    steps = list(run)
    with crossings() as seen: read = fetched(steps)
    assert total(seen) == 1 and len(read) == len(run)
    assert len({s.alpha['s0-s1']['conv_3'] for s in read}) == len(run)
    with crossings() as seen: assert [s.record(with_alpha=True) for s in read] == [s.record(with_alpha=True) for s in toy()]
    assert total(seen) == 0


@pytest.mark.long
def test_steps_are_read_at_once_on_the_cpu_and_together_on_a_device(simgpu):
    unread = Unread()
    assert all(unread.add(step) for step in toy()) and len(unread.take()) == 9 and unread.take() == []
    unread.since += 1e9  # no time passes
    assert [unread.add(step) for step in toy(simgpu, epochs=6)] == [False]*15 + [True]*3


@pytest.mark.parametrize('n, z_dim, size', [(40, 16, 16), (7, 32, 8), (1200, 8, 8)])
def test_the_pca_start_with_images_on_the_device_is_that_of_the_cpu(n, z_dim, size, simgpu):
    images = noise(n, size)
    start = [pca_init(i, z_dim, torch.Generator().manual_seed(1)) for i in (images, images.pixels, images.to(simgpu), images.pixels.to(simgpu))]
    assert all(same(start[0], s) for s in start)


@pytest.mark.parametrize('init', ['pca', 'random'])
def test_latents_take_a_generator_of_either_side(init, simgpu):
    images = noise(30)
    for device in 'cpu', simgpu:
        a, b = [Latents(30, 8, init, images, rng=torch.Generator(simgpu).manual_seed(2), device=device) for _ in range(2)]
        assert same(a.z, b.z) and a.z.device.type == torch.device(device).type
        for generator in torch.Generator(), torch.Generator(simgpu), None:
            assert a.sample(4, generator).device.type == a.z.device.type


# --- arithmetic

SETTINGS = {'default': lambda b: None, 'word': lambda b: torch.set_float32_matmul_precision('medium'), 'switches': lambda b: (setattr(b.cuda.matmul, 'allow_tf32', True), setattr(b.cudnn, 'allow_tf32', False))}
if hasattr(torch.backends.cudnn, 'conv'): SETTINGS |= {'newer': lambda b: setattr(b.cuda.matmul, 'fp32_precision', 'tf32'), 'conv alone': lambda b: setattr(b.cudnn.conv, 'fp32_precision', 'ieee'),
                                                    'conv here': lambda b: setattr(b.mkldnn.conv, 'fp32_precision', 'bf16')}


def precision():
    "What the process allows, in all the ways in which it can be said; an older one is None where torch refuses to tell."
    b = torch.backends
    def told(ask):
        try: return ask()
        except RuntimeError: return None
    older = [told(torch.get_float32_matmul_precision), told(lambda: b.cuda.matmul.allow_tf32), told(lambda: b.cudnn.allow_tf32)]
    return older, [place.fp32_precision for place in (b.cuda.matmul, b.mkldnn.matmul, b.mkldnn.conv, b.mkldnn.rnn, b.cudnn.conv, b.cudnn.rnn)] if 'newer' in SETTINGS else None


@pytest.mark.parametrize('setting', SETTINGS)
@pytest.mark.parametrize('tf32', [False, True])
def test_products_are_float32_inside_and_what_they_were_outside(setting, tf32):
    code = f"""
import torch
from test_device import SETTINGS, precision
from degas_nb.ground.ranks import float32_products
SETTINGS[{setting!r}](torch.backends)
before = precision()
try:
    with float32_products({tf32}):
        older, newer = precision()
        assert newer is None or {{*newer}} == {{'tf32' if {tf32} else 'ieee'}}, newer
        assert older == ['high' if {tf32} else 'highest', {tf32}, {tf32}] or None in older, older
        1/0
except ZeroDivisionError: assert precision() == before
else: assert False
"""
    done = forked(lambda: exec(code, {}))  # a process of its own: nothing gives torch's defaults back
    assert done.returncode == 0, done.stderr


# --- nobody's random numbers change

@pytest.mark.filterwarnings('ignore:the classifier of noise')
@pytest.mark.parametrize('make', [
    lambda: toy(), lambda: toy('simgpu'), lambda: small_features(noise(40, labels=True), cache=None),
    *[lambda framework=framework: GANTraining.from_config(noise(8), replace(GANConfig.teaching(framework), batch_size=4, width=4), Genotype.named('cifar10_paper'), 'simgpu') for framework in ('ctgan', 'sngan')]], ids=range(5))
def test_nothing_reseeds_the_streams_of_others(make, simgpu):
    torch.manual_seed(7)
    cpu, device = torch.get_rng_state(), torch.simgpu.get_rng_state()
    make()
    assert torch.equal(torch.get_rng_state(), cpu) and torch.equal(torch.simgpu.get_rng_state(), device)
    torch.manual_seed(8)
    assert not torch.equal(torch.simgpu.get_rng_state(), device)  # which a global seed would have changed


def test_a_tensor_is_described_wherever_it_lies(simgpu):
    x = torch.randn(3, 4)
    assert compact_tensor(x) == compact_tensor(x.to(simgpu))


# --- the drivers: command line and live cell

def degas(*argv):
    "The exit code of a command in this process."
    try: main([str(a) for a in argv])
    except SystemExit as e: return e.code
    return 0


@pytest.fixture
def pictures(tmp_path):
    "A folder with two classes, enough for a batch of the teaching search."
    images = noise(96)
    for i, name in enumerate(['a', 'b']*48):
        (tmp_path/'data'/name).mkdir(parents=True, exist_ok=True)
        save_grid(images.batch([i]), tmp_path/'data'/name/f'{i:02}.png', pad=0)
    return tmp_path/'data'


def small(data, out, *more): return 'search', '--data', data, '--img-size', 16, '--batch-size', 8, '--width', 4, '--z-dim', 16, '--epochs', 2, '--limit', 32, '--asked', 8, '--out', out, *more


def files_of(run): return sorted(p.relative_to(run).as_posix() for p in run.rglob('*') if p.is_file() and p.suffix in ('.png', '.jsonl', '.json'))


@pytest.mark.long
def test_degas_search_on_a_device_and_back(pictures, tmp_path, simgpu):
    here, there = tmp_path/'here', tmp_path/'there'
    assert degas(*small(pictures, here, '--device', 'cpu')) == 0
    assert degas(*small(pictures, there, '--device', 'simgpu')) == 0
    assert files_of(here) == files_of(there) and len(files_of(here)) == 8
    assert all(filecmp.cmp(here/name, there/name, shallow=False) for name in files_of(here))
    assert degas('prune', there) == 0 and Genotype.load(here) == Genotype.load(there)
    (there/'genotype.json').unlink()
    assert degas('search', '--resume', '--out', there, '--device', 'cpu') == 0  # what is decided and measured at the end is the same, too
    assert filecmp.cmp(here/'genotype.json', there/'genotype.json', shallow=False)


@pytest.mark.long
def test_degas_search_copies_at_most_twice_a_step(pictures, tmp_path, simgpu):
    "What a longer run copies more, for each step that it has more: reading the numbers of steps, and nothing else."
    copies = {}
    for n in 32, 96:
        with crossings() as seen: assert degas(*small(pictures, tmp_path/f'{n}', '--limit', n, '--epochs', 1, '--decide', 'alpha', '--device', simgpu)) == 0
        copies[n] = total(seen)
    assert copies[96] - copies[32] <= 2*(96 - 32)/8


@pytest.mark.parametrize('device', ['cuda', 'banana', 'mps', 'simgpu:3'])
@pytest.mark.parametrize('command', ['search', 'train', 'score', 'sample', 'demo'])
def test_a_device_that_is_not_there_is_one_line(command, device, tmp_path, capsys, simgpu):
    argv = dict(search=['--data', 'emoji', '--out', tmp_path/'x'], train=['--genotype', 'cifar10_paper', '--data', 'emoji', '--out', tmp_path/'x'],
                score=[tmp_path, tmp_path], sample=[tmp_path/'run', '--out', tmp_path/'x.png'], demo=['--out', tmp_path/'x'])[command]
    (tmp_path/'image.txt').touch()
    assert degas(command, *argv, '--device', device) == 2
    told = capsys.readouterr()
    assert told.err.count('\n') == 1 and f'--device {device}' in told.err and not told.out
    assert [p.name for p in tmp_path.iterdir()] == ['image.txt']


@pytest.mark.long
def test_degas_demo_on_a_device(pictures, tmp_path, simgpu, capsys):
    flags = '--data', pictures, '--out', tmp_path/'demo', '--epochs', 1, '--steps', 1, '--n', 16
    assert degas('demo', *flags, '--device', 'simgpu') == 0
    assert {'search', 'gan', 'report.html'} <= {p.name for p in (tmp_path/'demo').iterdir()}
    assert [r['step'] for r in json.loads((tmp_path/'demo'/'gan'/'scores.json').read_text())] == [0, 1]
    assert degas('demo', *flags, '--device', 'cpu') == 0  # all is done, and can be gone on with elsewhere
    for device in 'cpu', 'simgpu': assert degas('sample', tmp_path/'demo'/'gan', '--n', 8, '--out', tmp_path/f'{device}.png', '--device', device) == 0
    assert filecmp.cmp(tmp_path/'cpu.png', tmp_path/'simgpu.png', shallow=False)


@dataclass(frozen=True)
class Numbers:
    "A step whose loss lies on a device."
    n:int
    values:torch.Tensor
    @property
    def losses(self): return dict(loss=self.values.item())
    def record(self):
        if not math.isfinite(self.losses['loss']): raise UserError(f'not finite at step {self.n}')
        return dict(step=self.n, **self.losses)


class Counting:
    "A run of such steps; `bad` is the one that diverges, `dies` the one that can't be made."
    ranks, notes = Ranks(), []
    def __init__(self, device, bad=None, dies=None): self.device, self.bad, self.dies, self.n = device, bad, dies, 0
    def __len__(self): return 20
    def __iter__(self): return self
    def __next__(self):
        if self.n >= 20: raise StopIteration
        self.n += 1
        if self.n == self.dies: raise RuntimeError('the device is gone')
        return Numbers(self.n, torch.full((), math.nan if self.bad and self.n >= self.bad else 1/self.n, device=self.device))
    def state_dict(self): return dict(step=self.n)


def driven(run, folder, every=60., often=100):
    "The run's folder after a drive, and what it raised."
    folder = RunFolder.create(folder, 'search', {}, {})
    looked = []
    try: drive(run, folder, 'test', lambda s: s.losses, lambda s: s.record(), lambda s: looked.append(s.n), lambda s: s.n % often == 0, every)
    except (UserError, RuntimeError) as e: return folder, [r['step'] for r in folder.trace.read()], looked, str(e)
    return folder, [r['step'] for r in folder.trace.read()], looked, None


@pytest.fixture
def timeless(monkeypatch):
    "No time passes for those who have not read yet: only what is due is read."
    monkeypatch.setattr(Unread, '__init__', lambda self: self.__dict__.update(steps=[], since=math.inf))
    monkeypatch.setattr(Unread, 'take', lambda self, take=Unread.take: (take(self), self.__dict__.update(since=math.inf))[0])


def test_a_drive_reads_late_and_everything(timeless, tmp_path, simgpu):
    with crossings() as seen: folder, steps, looked, error = driven(Counting(simgpu), tmp_path/'a', often=5)
    assert steps == list(range(1, 21)) and looked == [5, 10, 15, 20] and error is None and folder.load_checkpoint()['step'] == 20
    assert total(seen) == total(seen, 'to host') == 4  # at the steps that are looked at; the last one is also saved
    with crossings() as seen: driven(Counting(simgpu), tmp_path/'b')
    assert total(seen) == 2  # 16 steps, and the rest


@pytest.mark.parametrize('bad', [1, 4, 17, 20])
@pytest.mark.parametrize('every', [0., 60.])
def test_a_drive_names_the_step_that_diverged_and_never_saves_it(bad, every, timeless, tmp_path, simgpu):
    folder, steps, looked, error = driven(Counting(simgpu, bad), tmp_path/'run', every)
    assert error == f'not finite at step {bad}' and steps == list(range(1, bad))
    assert not folder.has_checkpoint() if every or bad == 1 else folder.load_checkpoint()['step'] == bad - 1


def test_a_drive_that_dies_has_written_what_was_done(timeless, tmp_path, simgpu):
    folder, steps, looked, error = driven(Counting(simgpu, dies=8), tmp_path/'run')
    assert error == 'the device is gone' and steps == list(range(1, 8)) and not folder.has_checkpoint()


def test_live_on_a_device(tmp_path, simgpu):
    here, there = [live(toy(device), folder=tmp_path/device, show=False) for device in ('cpu', 'simgpu')]
    assert here.wait(300) == there.wait(300) == 'done'
    assert filecmp.cmp(tmp_path/'cpu'/'trace.jsonl', tmp_path/'simgpu'/'trace.jsonl', shallow=False)
    assert there.dashboard.board.step == len(there.run)
    assert same(Search.load(tmp_path/'cpu', noise(24)).state_dict(), Search.load(tmp_path/'simgpu', noise(24)).state_dict())


@pytest.mark.parametrize('bad', [3, 20])
def test_live_names_the_step_that_diverged_and_never_saves_it(bad, timeless, tmp_path, simgpu):
    run = Counting(simgpu, bad)
    run.folder = lambda path: RunFolder.create(path, 'search', {}, {})
    run.save = lambda folder: folder.save_checkpoint(run.state_dict())
    handle = live(run, folder=tmp_path/'run', show=False)
    with pytest.raises(UserError, match=f'at step {bad}'): handle.wait(60)
    assert [r['step'] for r in handle.keeper.home.trace.read()] == list(range(1, bad)) and not handle.keeper.home.has_checkpoint()
