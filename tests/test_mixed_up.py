"""Files that were mixed up, cut, or are called in two ways: nobody draws, scores or loses something by them."""
import json
import shutil
import struct
import time
import unicodedata
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin

from commands import degas
from degas_nb.app.report import line_chart
from degas_nb.gan.training import GANConfig, GANTraining, trained_generator
from degas_nb.ground.data import _folders_say, _tidied, load
from degas_nb.ground.errors import UserError
from degas_nb.ground.folders import RunFolder
from degas_nb.judge.metrics import Statistics
from degas_nb.space.genotype import Genotype
from test_in_silence import pictures

SMALL = ('--width', 4, '--batch-size', 8, '--device', 'cpu')


def trained(out, *more, data='emoji'): assert degas('train', '--genotype', 'dcgan', '--data', data, '--out', out, '--sample-every', 1, *SMALL, *more) == 0


@pytest.fixture(scope='module')
def two_runs(tmp_path_factory):
    "Two trainings of other images and lengths, and three of one set: as the first, of another seed, and made longer."
    place = tmp_path_factory.mktemp('two')
    pictures(place/'d', 24, side=32)
    trained(place/'a', '--steps', 1, data=place/'d')
    trained(place/'b', '--steps', 2, '--limit', 30)
    trained(place/'c', '--steps', 1, '--seed', 5, data=place/'d')
    trained(place/'longer', '--steps', 1, data=place/'d')
    assert degas('train', '--resume', '--out', place/'longer', '--steps', 2) == 0
    return place


# ---------------------------------------------------------------- runs

@pytest.mark.parametrize('other', ['b', 'c'])
def test_a_checkpoint_of_another_run_draws_nothing(other, two_runs, line, tmp_path):
    shutil.copytree(two_runs/'a', tmp_path/'mixed')
    shutil.copy(two_runs/other/'checkpoint.pt', tmp_path/'mixed')
    before = sorted(p.name for p in tmp_path.rglob('*'))
    for words in (['sample', tmp_path/'mixed', '--n', 4, '--out', tmp_path/'o.png'], ['score', tmp_path/'mixed', '--n', 16],
                  ['train', '--init', 'keep', '--genotype', tmp_path/'mixed', '--data', two_runs/'d', '--steps', 1, '--out', tmp_path/'o', *SMALL]):
        assert 'does not fit its run' in line(*words)
    with pytest.raises(UserError, match='does not fit its run'): trained_generator(tmp_path/'mixed')
    assert sorted(p.name for p in tmp_path.rglob('*')) == before


def test_a_run_made_longer_still_draws(two_runs, tmp_path):
    "Also from the checkpoint of before: `config.json` knows that there was another plan."
    shutil.copytree(two_runs/'longer', tmp_path/'run')
    assert trained_generator(tmp_path/'run') is not None
    shutil.copy(two_runs/'a'/'checkpoint.pt', tmp_path/'run'/'checkpoint.pt')   # as it was after the first step
    assert trained_generator(tmp_path/'run') is not None


@pytest.mark.parametrize('kind', ['search', 'reconstruction', 'gan'])
@pytest.mark.parametrize('asked', ['run', 'run/samples', '.'])
def test_sheets_are_known_by_what_a_run_of_that_kind_calls_them(kind, asked, tmp_path):
    "As the commands write them; its config.json is lost."
    run = RunFolder.create(tmp_path/'run', kind, {}, {})
    run.samples.mkdir(exist_ok=True)
    if kind == 'gan': pictures(run.samples, 3, name='samples_{:06}.png')
    else:
        pictures(run.samples, 3, name='samples_{:04}.png')
        pictures(run.samples, 3, name='reconstructions_{:04}.png')
        pictures(run.samples, 1, name='targets.png')
    for name in 'trace.jsonl', 'checkpoint.pt': (run.path/name).write_bytes(b'')
    (run.path/'config.json').unlink()
    with pytest.raises(UserError, match='sheets of samples'): load(tmp_path/asked, None)


@pytest.mark.parametrize('damage', ['gone', 'cut'])
def test_sheets_of_a_run_that_lost_its_config_are_no_images(damage, two_runs, line, tmp_path):
    shutil.copytree(two_runs/'b', tmp_path/'run')
    config = tmp_path/'run'/'config.json'
    if damage == 'gone': config.unlink()
    else: config.write_bytes(config.read_bytes()[:-100])
    for what in tmp_path/'run', tmp_path/'run'/'samples', tmp_path:
        with pytest.raises(UserError, match='sheets of samples'): load(what, 32)
    assert 'sheets of samples' in line('score', tmp_path/'run'/'samples', two_runs/'d', '--features', two_runs/'d')


def test_pictures_that_are_only_called_so_are_images(tmp_path):
    pictures(tmp_path/'samples', name='samples_{:06}.png')
    assert len(load(tmp_path/'samples', 16)) == len(load(tmp_path, 16)) == 16


def test_a_resume_that_is_refused_changes_nothing(two_runs, line, tmp_path):
    shutil.copytree(two_runs/'a', tmp_path/'run')
    trace = tmp_path/'run'/'trace.jsonl'
    trace.write_text('x' + trace.read_text())
    before = {p: p.read_bytes() for p in (tmp_path/'run').rglob('*') if p.is_file() and p.name != '.lock'}
    assert 'trace.jsonl is damaged' in line('train', '--resume', '--out', tmp_path/'run', '--steps', 3)
    assert {p: p.read_bytes() for p in (tmp_path/'run').rglob('*') if p.is_file() and p.name != '.lock'} == before


def test_another_generator_in_the_config_is_refused_before_it_is_built(two_runs, line, tmp_path):
    shutil.copytree(two_runs/'a', tmp_path/'run')
    config = json.loads((tmp_path/'run'/'config.json').read_text())
    config['config']['generator']['z_dim'] = 50_000_000   # 100 GB of weights
    (tmp_path/'run'/'config.json').write_text(json.dumps(config))
    began = time.monotonic()
    assert 'another generator' in line('sample', tmp_path/'run', '--n', 4, '--out', tmp_path/'o.png')
    assert time.monotonic() - began < 20


def test_a_run_without_a_genotype_says_what_it_trains(two_runs, line, tmp_path):
    for words in (['draw', two_runs/'a', '--out', tmp_path/'a.svg'], ['reconstruct', '--genotype', two_runs/'a', '--data', 'emoji', '--out', tmp_path/'r']):
        assert 'say --genotype dcgan' in line(*words)


@pytest.mark.parametrize('value', [1e308, 1e101, -1e308])
def test_a_number_that_no_axis_can_show_is_left_out(value):
    assert '<svg' in str(line_chart({'gp': ([1, 2, 3], [1., value, 2.])}, 'gp'))
    assert 'no number was recorded' in str(line_chart({'gp': ([1, 2], [value, value])}, 'gp'))


@pytest.mark.parametrize('betas', [(0, .9), [0, 0.9], (0., .9)])
def test_betas_as_people_write_them(betas):
    config = GANConfig(steps=1, batch_size=8, width=4, betas=betas)
    assert config.betas == (0., .9) and {*map(type, config.betas)} == {float}
    assert next(GANTraining.from_config(load('emoji', limit=8), config, 'dcgan')).n == 1


# ---------------------------------------------------------------- images

def deep(folder, array, *, white_is_zero=False, signs=None):
    folder.mkdir(parents=True, exist_ok=True)
    notes = TiffImagePlugin.ImageFileDirectory_v2()
    if white_is_zero: notes[262] = 0
    if signs: notes[339] = signs
    Image.fromarray(array).save(folder/'0.tif', tiffinfo=notes)
    said = [struct.pack('<HHIH', 339, 3, 1, n) for n in (1, 2)]   # of 32 bits Pillow writes its own
    if signs: (folder/'0.tif').write_bytes((folder/'0.tif').read_bytes().replace(said[2 - signs], said[signs - 1]))


def test_a_deep_negative_is_turned(tmp_path):
    grey = np.linspace(0, 65535, 32*32).reshape(32, 32).astype(np.uint16)
    deep(tmp_path/'plain', grey)
    deep(tmp_path/'negative', 65535 - grey, white_is_zero=True)
    plain, negative = load(tmp_path/'plain', 32), load(tmp_path/'negative', 32)
    assert torch.equal(plain.pixels, negative.pixels) and plain.pixels.float().std() > 50


def test_numbers_that_pillow_reads_otherwise_than_they_are_meant_are_refused(tmp_path):
    floats, bytes_ = np.linspace(0, 1, 1024, dtype=np.float32).reshape(32, 32), np.arange(1024).reshape(32, 32)
    deep(tmp_path/'float', floats, white_is_zero=True)
    deep(tmp_path/'signed', (bytes_ % 256).astype(np.uint8), signs=2)
    deep(tmp_path/'unsigned', (bytes_*2**21 - 2**30).astype(np.int32), signs=1)
    for kind, why in dict(float='negative', signed='-128 to 127', unsigned='2,147,483,648').items():
        with pytest.raises(UserError, match=why): load(tmp_path/kind, 32)


def test_celeba_of_another_size_is_no_celeba(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from degas_nb.ground import data
    pictures(tmp_path/'celeba'/'img_align_celeba', 2, side=64)
    monkeypatch.setattr(data, 'fetched', lambda *rest: SimpleNamespace(filename=['000.png', '001.png']))
    with pytest.raises(UserError, match='64x64, and the aligned images are 178x218'): load('celeba', 64, root=tmp_path)


def test_names_with_accents_are_one_however_they_are_written(tmp_path):
    "macOS takes letter and accent apart, and a person's keyboard does not."
    apart, whole = (unicodedata.normalize(form, 'café') for form in ('NFD', 'NFC'))
    pictures(tmp_path/'two'/apart, 3)
    pictures(tmp_path/'two'/whole, 4, name='{:03}b.png')
    pictures(tmp_path/'two'/'thé', 3)
    found = load(tmp_path/'two', 16)
    assert found.classes == [whole, 'thé'] and found.labels.tolist() == [0]*7 + [1]*3
    pictures(tmp_path/'named', 4, name=apart + '{}.png')
    (tmp_path/'named'/'labels.csv').write_text('file,label\n' + ''.join(f'{whole}{i}.png,{(apart, whole, "x")[i % 3]}\n' for i in range(4)))
    assert load(tmp_path/'named', 16).classes == [whole, 'x']


def test_what_is_no_archive_of_images_is_named(tmp_path):
    pictures(tmp_path/'d', 2)
    (tmp_path/'d.tar.gz').write_bytes(b'\x1f\x8b' + bytes(100))
    with pytest.raises(UserError, match='unpack it') as told: load(tmp_path/'d.tar.gz', 16)
    assert 'damaged' not in str(told.value)
    (tmp_path/'torn.zip').write_bytes(b'PK' + bytes(100))
    with pytest.raises(UserError, match='damaged'): load(tmp_path/'torn.zip', 16)
    for name, content, do in ('in.zip', 'd.zip', 'unpack d.zip'), ('batches.zip', 'c/data_batch_1', '--data cifar10'), ('array.zip', 'x.npy', 'give x.npy'):
        with zipfile.ZipFile(tmp_path/name, 'w') as z: z.writestr(content, b'x')
        with pytest.raises(UserError, match=do): load(tmp_path/name, 16)
    with zipfile.ZipFile(tmp_path/'locked.zip', 'w') as z: z.write(tmp_path/'d'/'000.png', '000.png')
    raw = bytearray((tmp_path/'locked.zip').read_bytes())
    for mark, at in (b'PK\3\4', 6), (b'PK\1\2', 8): raw[raw.index(mark) + at] |= 1
    (tmp_path/'locked.zip').write_bytes(raw)
    with pytest.raises(UserError, match='password'): load(tmp_path/'locked.zip', 16)


def test_statistics_beside_the_images_they_are_of(tmp_path):
    "As guided-diffusion keeps its reference batches."
    rng = np.random.default_rng(0)
    pixels, moments = rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8), dict(mu=np.zeros(4), sigma=np.eye(4))
    np.savez(tmp_path/'both.npz', arr_0=pixels, **moments)
    assert np.array_equal(load(tmp_path/'both.npz', 16).pixels.permute(0, 2, 3, 1).numpy(), pixels)
    assert Statistics.load(tmp_path/'both.npz').mean.shape == (4,)
    np.savez(tmp_path/'alone.npz', **moments)
    with pytest.raises(UserError, match='--real-stats'): load(tmp_path/'alone.npz', 16)


def test_statistics_in_a_large_file_are_read_alone(tmp_path, monkeypatch):
    from degas_nb.judge import metrics
    np.savez(tmp_path/'large.npz', arr_0=np.zeros((40, 16, 16, 3), np.uint8), mu=np.zeros(4), sigma=np.eye(4))
    monkeypatch.setattr(metrics, 'MOST_BYTES', 20_000)
    assert (tmp_path/'large.npz').stat().st_size > 20_000 and Statistics.load(tmp_path/'large.npz').mean.shape == (4,)


def test_names_meant_to_take_long_do_not():
    began = time.monotonic()
    assert len(_tidied('/.'*i + '/a.png' for i in range(5000))) == 5000
    deep = ['/'.join(['a']*20_000 + [str(i)]) for i in range(20)]
    assert {said[1] for said in _folders_say({*deep}).values()} == {*map(str, range(20))}
    assert time.monotonic() - began < 20
    assert list(_tidied(['a.png', './a.png', '/a.png'])) == ['a.png', 'a~.png', 'a~2.png']


def test_json_that_an_editor_saved_with_its_mark_is_json(tmp_path):
    "Notepad, PowerShell 5."
    found = Genotype.named('cifar10_paper')
    found.save(tmp_path/'genotype.json')
    plain = (tmp_path/'genotype.json').read_bytes()
    (tmp_path/'genotype.json').write_bytes(b'\xef\xbb\xbf' + plain.replace(b'\n', b'\r\n'))
    assert Genotype.load(tmp_path/'genotype.json') == found
