"""Computing elsewhere than on the CPU, on a device that nobody has to own."""
import pytest
import torch

from degas_nb.data import Images
from degas_nb.ranks import Ranks, find_device
from degas_nb.runs import Randoms
from degas_nb.show import UserError
from sim_device import Module, SimGenerator, crossings, total


def noise(n=40, size=16, labels=False):
    rng = torch.Generator().manual_seed(n)
    pixels = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=rng)
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
    monkeypatch.setenv('WORLD_SIZE', '2')
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
        m.setattr(Images, '_hash', None)
        assert images.fingerprint() == moved.fingerprint() == first
    for i in images, moved:
        change(i)
        assert i.fingerprint() == Images(i.pixels.cpu(), None if i.labels is None else i.labels.cpu()).fingerprint() != first
