"""A trained generator in one file: kept, read back, refused when it is not what was written, and drawn by `degas sample`."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load, save

from commands import degas
from degas_nb.gan import shipped
from degas_nb.gan.shipped import export_generator, generator_names, generator_record, load_generator
from degas_nb.gan.training import draw_images
from degas_nb.ground.errors import UserError
from degas_nb.space.baselines import BASELINES, build_generator, ctgan_init_
from degas_nb.space.genotype import Genotype

ROOT = Path(__file__).parents[1]
SPECS = dict(found=Genotype.named('cifar10_found'), paper=Genotype.named('cifar10_paper')) | {name: name for name in BASELINES}


def rng(seed=0): return torch.Generator().manual_seed(seed)


def made(spec, n_classes=None, **values): return ctgan_init_(build_generator(spec, width=values.pop('width', 6), n_classes=n_classes, **values), rng=rng())


@pytest.fixture(scope='module')
def kept(tmp_path_factory):
    "A file, and the bytes in it"
    path = tmp_path_factory.mktemp('kept')/'mine.safetensors'
    export_generator(made(SPECS['found']), path, dict(step=3))
    return path, path.read_bytes()


@pytest.mark.parametrize('spec', SPECS.values(), ids=SPECS)
@pytest.mark.parametrize('n_classes, sizes', [(None, {}), (3, dict(img_size=16, z_dim=10, told_tail=True))])
def test_there_and_back(spec, n_classes, sizes, tmp_path):
    "Exactly in float32; in float16 as far as that rounds, the statistics exactly; and what is drawn moves by a step of brightness at most."
    net = made(spec, n_classes, **sizes)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    record = export_generator(net, tmp_path/'whole.safetensors', dtype='float32')
    export_generator(net, tmp_path/'half.safetensors')
    whole, half = [load_generator(tmp_path/f'{name}.safetensors') for name in ('whole', 'half')]
    assert generator_record(tmp_path/'whole.safetensors') == record and not whole.training
    for name, values in net.named_parameters():
        assert torch.equal(whole.get_parameter(name), values) and torch.equal(half.get_parameter(name), values.half().float())
    for a, b in zip(whole.buffers(), half.buffers()): assert torch.equal(a, b)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()), 'exporting moves nothing'
    one, two, three = [draw_images(g, 20, rng()).int() for g in (net, whole, half)]
    assert torch.equal(one, two) and (one - three).abs().max() <= 2 and (one - three).abs().float().mean() < .2


def test_an_image_does_not_depend_on_its_company(kept):
    net, z = load_generator(kept[0]), torch.randn(3, 128, generator=rng())
    with torch.no_grad(): assert torch.allclose(net(z)[:1], net(z[:1]), atol=1e-5)


def edited(content, record=lambda r: r, weights=lambda w: w, seal=True):
    "A file with another record or other weights, sealed as if they had been written so"
    kept = json.loads(json.loads(content[8:8 + int.from_bytes(content[:8], 'little')])['__metadata__']['degas'])
    said, tensors = json.dumps(record(json.loads(kept['record']))), weights(load(content))
    sha = shipped._seal(said, tensors) if seal else kept['sha256']
    return save(tensors, metadata=dict(degas=json.dumps(dict(record=said, sha256=sha))))


def spec_with(**changes): return lambda r: r | dict(generator=r['generator'] | changes)


DAMAGES = {
    'empty': lambda c: b'', 'cut in the header': lambda c: c[:50], 'cut in the weights': lambda c: c[:-1], 'longer': lambda c: c + b'x',
    'a header as long as the world': lambda c: b'\xff'*8 + c[8:], 'no record': lambda c: save(load(c)), 'zeros': lambda c: bytes(len(c)),
    'another file': lambda c: b'PK\x03\x04' + c, 'a record that is no text': lambda c: save(load(c), metadata=dict(degas='[1]')),
    'brackets without end': lambda c: save(load(c), metadata=dict(degas='['*100_000)),
    'another record': lambda c: edited(c, lambda r: r | dict(step=4), seal=False),
    'other weights': lambda c: edited(c, weights=lambda w: {k: v + (k == 'tail.conv.bias') for k, v in w.items()}, seal=False),
    'another format': lambda c: edited(c, lambda r: r | dict(format='degas-generator/9')), 'a record that is a list': lambda c: edited(c, lambda r: [1]),
    'no network': lambda c: edited(c, lambda r: {k: v for k, v in r.items() if k != 'generator'}),
    'a network by an unknown name': lambda c: edited(c, spec_with(spec='vgg')), 'a damaged genotype': lambda c: edited(c, spec_with(spec=dict(nodes=[]))),
    'another width': lambda c: edited(c, spec_with(channels=8)), 'a width that is no number': lambda c: edited(c, spec_with(channels='6')),
    **{f'more than the machine holds: {k}': lambda c, k=k: edited(c, spec_with(**{k: 60_000})) for k in ('channels', 'z_dim', 'img_size')},
    'another size': lambda c: edited(c, spec_with(img_size=48)), 'no channels': lambda c: edited(c, spec_with(channels=-1)),
    'a weight missing': lambda c: edited(c, weights=lambda w: {k: v for k, v in w.items() if k != 'tail.conv.bias'}),
    'a weight too many': lambda c: edited(c, weights=lambda w: w | dict(more=torch.zeros(2)))}


@pytest.mark.parametrize('damage', DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_one_line(damage, kept, tmp_path, line):
    path = tmp_path/'broken.safetensors'
    path.write_bytes(damage(kept[1]))
    for read in (load_generator, generator_record):
        try: read(path)
        except UserError as e: assert 'damaged' in str(e) and str(path) in str(e) and '\n' not in str(e)
        else: assert read is generator_record  # a record may be whole where its network does not fit
    said = line('sample', path, '--out', tmp_path/'x.png')
    assert 'damaged' in said and not (tmp_path/'x.png').exists()


def test_what_cannot_be_kept_or_found(tmp_path, line):
    with pytest.raises(UserError, match='.safetensors'): export_generator(made('resnet'), tmp_path/'x.pt')
    with pytest.raises(UserError, match='float16 or float32'): export_generator(made('resnet'), tmp_path/'x.safetensors', dtype='int8')
    big = made('resnet')
    with torch.no_grad(): big.tail.conv.bias.fill_(1e6)
    with pytest.raises(UserError, match='not finite in float16'): export_generator(big, tmp_path/'x.safetensors')
    assert not list(tmp_path.iterdir())
    (tmp_path/'folder.safetensors').mkdir()
    with pytest.raises(UserError, match='no run'): load_generator(tmp_path/'folder.safetensors')
    with pytest.raises(UserError, match='there is no generator'): load_generator('cifar10_fuond_ctgan')
    said = line('sample', 'cifar10_fuond_ctgan', '--out', tmp_path/'x.png')
    assert all(name in said for name in generator_names()) and 'folder of a GAN run' in said


def test_sample_draws_a_file_as_python_does(kept, tmp_path, line):
    assert degas('sample', kept[0], '--n', 5, '--seed', 3, '--out', tmp_path/'five') == 0
    drawn = [np.asarray(Image.open(p)) for p in sorted((tmp_path/'five').iterdir())]
    assert np.array_equal(np.stack(drawn), draw_images(load_generator(kept[0]), 5, rng(3)).permute(0, 2, 3, 1).numpy())
    assert 'without classes' in line('sample', kept[0], '--label', 'cat', '--out', tmp_path/'x')


def test_sample_by_class(tmp_path, line):
    export_generator(made('resnet', 2), tmp_path/'two.safetensors', dict(data=dict(classes=['cats', 'dogs'])))
    assert degas('sample', tmp_path/'two.safetensors', '--n', 3, '--label', 'dogs', '--out', tmp_path/'dogs') == 0
    assert [p.parent.name for p in (tmp_path/'dogs').rglob('*.png')] == ['dogs']*3
    assert 'there are cats, dogs' in line('sample', tmp_path/'two.safetensors', '--label', 'owls', '--out', tmp_path/'x')


def test_a_shipped_name_comes_before_a_folder_and_says_so(kept, tmp_path, monkeypatch, line, capsys):
    (tmp_path/'shelf').mkdir()
    (tmp_path/'shelf'/'mine.safetensors').write_bytes(kept[1])
    monkeypatch.setattr(shipped, '_SHIPPED', tmp_path/'shelf')
    monkeypatch.chdir(tmp_path)
    assert generator_names() == ['mine'] and degas('sample', 'mine', '--out', 'x.png') == 0
    assert './mine' not in capsys.readouterr().err
    (tmp_path/'mine').mkdir()
    assert degas('sample', 'mine', '--out', 'x.png') == 0 and './mine' in capsys.readouterr().err
    assert 'no run' in line('sample', './mine', '--out', 'x.png')


def test_a_run_becomes_a_generator_that_ships(drawn, tmp_path, monkeypatch, capsys):
    "The tool: what the run draws with, its distances, its record."
    monkeypatch.syspath_prepend(str(ROOT/'tools'))
    import ship_generator as tool
    monkeypatch.setattr(tool, 'SHIPPED', tmp_path/'shelf')
    tool.snap(drawn, tmp_path/'snaps')
    (tmp_path/'snaps'/'distances.json').write_text(json.dumps({'000001': dict(value=9.), '000002': dict(value=5.123), '009999': dict(value=1.)}))
    last, = (tmp_path/'snaps').glob('*.safetensors')
    tool.ship(tmp_path/'snaps', 'tiny', 'licence=CC0')
    record, net = [f(tmp_path/'shelf'/'tiny.safetensors') for f in (generator_record, load_generator)]
    assert record['step'] == int(last.stem) and record['licence'] == 'CC0' and record['data']['fingerprint'] and record['framework'] == 'ctgan'
    own = load_generator(drawn)
    for a, b in zip(own.parameters(), net.parameters()): assert torch.equal(a.half().float(), b)
    sys.modules.pop('ship_generator')


@pytest.mark.parametrize('name', generator_names())
def test_what_ships(name):
    "Small, with a whole record, and rounding did it no harm that one could see."
    path, record, net = shipped._file_of(name), generator_record(name), load_generator(name)
    assert path.stat().st_size < 3_000_000 and net.img_size == 32
    assert {'framework', 'step', 'steps', 'seed', 'settings', 'data', 'torch', 'hardware', 'commit', 'licence', 'distance', 'distances'} <= record.keys()
    assert record['data']['n'] and record['data']['fingerprint'] and record['distances'][str(record['step'])] == round(record['distance']['value'], 2)
    fake = draw_images(net, 100, rng())
    assert fake.float().std(0).mean() > 20, 'they are all alike'
