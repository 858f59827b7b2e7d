"""What used to give a wrong number, or lose something, without a word."""
import json

import numpy as np
import pytest
import torch
from PIL import Image

from commands import degas, line  # noqa: F401
from degas_nb.app.commands import _evenly
from degas_nb.gan.frameworks import FRAMEWORKS, find_framework
from degas_nb.gan.training import GANConfig, config_in, settings_of
from degas_nb.ground.data import DATASETS, Source, dequantise, load, named_source, psnr, spread, to_uint8, with_all_classes
from degas_nb.ground.errors import UserError
from degas_nb.ground.folders import undamaged
from degas_nb.ground.runs import evenly_cut
from degas_nb.ground.studies import read_records, run_study
from degas_nb.judge.bench import World
from degas_nb.judge.metrics import Statistics, describe_images, inception_score, kernel_distance, score_images, untold
from degas_nb.search.merged import apply_stencil
from degas_nb.search.pyramid import band_means, lap1
from degas_nb.space.baselines import build_generator
from test_study import squares, study


def pictures(folder, n=16, side=16, name='{:03}.png'):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(n): Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder/name.format(i))


# ---------------------------------------------------------------- records

@pytest.mark.long
@pytest.mark.parametrize('cut', [0, 1, 2])
def test_a_last_record_without_the_end_of_its_line_is_kept(cut, tmp_path):
    "An editor may leave it so; a kill leaves less than a record."
    three = study(squares(3), tmp_path)
    for _ in run_study(three, tmp_path/'s'): pass
    file = tmp_path/'s'/'records.jsonl'
    whole = file.read_bytes()
    file.write_bytes(whole[:len(whole) - cut])
    known = 3 - (cut == 2)
    assert len(read_records(three, tmp_path/'s')) == known
    done = [record['key'] for record in run_study(three, tmp_path/'s')]
    assert len(done) == 3 - known and len(read_records(three, tmp_path/'s')) == 3
    assert file.read_bytes().count(b'\n') == 3 and (cut == 2 or file.read_bytes() == whole)


# ---------------------------------------------------------------- numbers of another kind

def test_bytes_are_no_floats():
    pixels = torch.arange(256, dtype=torch.uint8).expand(2, 3, 16, 256)
    for wrong in (lambda: to_uint8(pixels), lambda: psnr(pixels, pixels), lambda: dequantise(pixels), lambda: psnr(pixels.float(), pixels)):
        with pytest.raises(UserError, match='floats'): wrong()
    assert torch.equal(to_uint8(pixels/127.5 - 1), pixels)


def test_probabilities_are_no_logits():
    logits = 3*torch.randn(200, 10, generator=torch.Generator().manual_seed(0))
    p = logits.softmax(1)
    for kind in torch.float32, torch.bfloat16:
        with pytest.raises(UserError, match='probs=True'): inception_score(p.to(kind))
    with pytest.raises(UserError, match='needs at least 10 images, got 0'): inception_score(logits[:0])
    assert inception_score(p, probs=True).mean == pytest.approx(inception_score(logits).mean)


def test_a_kernel_distance_of_any_numbers_is_that_of_float64():
    rng = torch.Generator().manual_seed(0)
    x, y = (torch.randint(0, 256, (20, 8), generator=rng, dtype=torch.uint8) for _ in range(2))
    exact = kernel_distance(x.double(), y.double())
    for kind in torch.uint8, torch.float16, torch.float32: assert kernel_distance(x.to(kind), y.to(kind)) == exact
    with pytest.raises(UserError, match='NaN'): kernel_distance(torch.full((3, 2), float('nan')), y[:, :2])


@pytest.mark.parametrize('side, scale', [(4, 1), (5, 2), (1, 2), (3, 4)])
def test_a_stencil_that_would_change_the_size_otherwise(side, scale):
    with pytest.raises(UserError, match='side'): apply_stencil(torch.zeros(1, 2, 8, 8), torch.zeros(2, 2, side, side), scale)


@pytest.mark.parametrize('epochs', [0, -1, 7, 100])
def test_epochs_that_are_none_cost_nothing_and_say_nothing(epochs):
    world = World('cifar10', 'table', 3, np.random.default_rng(0))
    with pytest.raises(UserError, match='epochs'): world.loss(world.draw(), epochs)
    assert world.spent == 0


def test_a_label_below_zero_is_no_class():
    net = build_generator('resnet', z_dim=16, width=8, n_classes=3)
    for wrong in (-1, 3):
        with pytest.raises(UserError, match='0 to 2'): net(torch.randn(2, 16), torch.tensor([1, wrong]))
    critic = find_framework('ctgan').build_critic(16, 8, n_classes=3)
    x = torch.rand(2, 3, 16, 16)
    with pytest.raises((IndexError, UserError)): find_framework('ctgan').critic_terms(critic, x, -x, None, torch.tensor([1, -100]))


def test_one_level_is_the_residual():
    x = torch.zeros(1, 3, 16, 16)
    for distance in (lambda: lap1(x, x, 1, residual=False), lambda: band_means(x, 1, residual=False)):
        with pytest.raises(UserError, match='residual'): distance()


def test_a_split_named_twice_is_one(tmp_path, monkeypatch):
    np.savez(tmp_path/'a.npz', x_train=np.zeros((6, 16, 16, 3), np.uint8), x_test=np.zeros((4, 16, 16, 3), np.uint8))
    assert len(load(tmp_path/'a.npz', split='train+train', img_size=16)) == 6
    monkeypatch.setitem(DATASETS, 'two', (lambda root, split, size: Source([split]*3, None, split=split), ('train', 'test')))
    for split, n in {'train+train': 3, 'train+test+train': 6, 'all': 6}.items(): assert len(named_source('two', split, tmp_path, 32).names) == n


# ---------------------------------------------------------------- frameworks

@pytest.mark.parametrize('name', FRAMEWORKS)
def test_what_a_dict_leaves_out_is_the_frameworks(name):
    assert GANConfig.from_dict(dict(framework=name)) == GANConfig(name)
    assert GANConfig.from_dict(dict(framework=name, steps=7)) == GANConfig(name, steps=7)
    assert GANConfig.from_dict(GANConfig(name).to_dict()) == GANConfig(name)


def test_what_an_old_folder_leaves_out_is_as_it_was_then():
    old = dict(framework='wgan', steps=5)
    assert config_in(old | dict(generator={})) == GANConfig('wgan', **settings_of(find_framework('ctgan').teaching) | dict(steps=5))


# ---------------------------------------------------------------- files

@pytest.mark.parametrize('value', [lambda: torch.zeros(3).to_sparse(), lambda: torch.zeros(3).to(torch.float8_e4m3fn)], ids=['sparse', 'float8'])
def test_a_whole_checkpoint_of_something_else_gives_way(value, tmp_path):
    torch.save(dict(step=1, a=value()), tmp_path/'checkpoint.pt')
    assert undamaged(tmp_path/'checkpoint.pt') is None


@pytest.mark.long
def test_statistics_that_do_not_say_how_they_were_made_are_said(tmp_path, capsys):
    pictures(tmp_path/'fakes')
    images = load('emoji', limit=64)
    from degas_nb.judge.features import small_features
    eyes = small_features(load('emoji'))
    assert degas('score', tmp_path/'fakes', 'emoji', '--n', 64, '--save-real-stats', tmp_path/'ours.npz') == 0
    stats = Statistics.load(tmp_path/'ours.npz')
    assert untold(stats, eyes) == untold(images, eyes) == untold(describe_images(images, eyes).stats, eyes) == ''
    np.savez(tmp_path/'theirs.npz', mu=stats.mean.numpy(), sigma=stats.cov.numpy())   # as pytorch-fid writes them
    theirs = Statistics.load(tmp_path/'theirs.npz')
    record, *_ = score_images(images.pixels, theirs, eyes)
    assert "don't say how they were made" in record['warning'] and "don't say" in untold(theirs, eyes)
    capsys.readouterr()
    assert degas('score', tmp_path/'fakes', '--real-stats', tmp_path/'theirs.npz', '--features', 'emoji') == 0
    told = capsys.readouterr()
    assert "don't say how they were made" in told.err and "don't say how they were made" in json.loads(told.out)['warning']


def test_parts_of_a_file_are_scaled_alike(tmp_path):
    rng = np.random.default_rng(0)
    train, test = (deviation*rng.normal(size=(40, 16, 16, 3)).astype(np.float32) for deviation in (1.3, .7))
    np.savez(tmp_path/'a.npz', x_train=train, x_test=test)
    a, b = (load(tmp_path/'a.npz', split=split, img_size=16).pixels.float().std() for split in ('train', 'test'))
    assert a/b == pytest.approx(1.3/.7, rel=.02)
    np.savez(tmp_path/'b.npz', x_train=(train.clip(-1, 1) + 1)/2, x_test=np.full((4, 16, 16, 3), 255, np.uint8))   # of two kinds: each by its own
    assert load(tmp_path/'b.npz', split='train', img_size=16).pixels.float().mean() == pytest.approx(127.5, abs=5)
    np.savez(tmp_path/'c.npz', x_train=train.clip(-1, 1), x_test=100 + 155*test.clip(0, 1))   # two usual ranges
    for split in 'train', 'test': assert load(tmp_path/'c.npz', split=split, img_size=16).pixels.float().std() > 30
    np.savez(tmp_path/'d.npz', x_train=train, x_test=np.full_like(test, np.nan), x_val=np.zeros((0, 16, 16, 3), np.float32))
    assert load(tmp_path/'d.npz', split='train', img_size=16).pixels.float().std() > 20      # what nobody asked for stops nobody
    for split in 'test', 'train+test':
        with pytest.raises(UserError, match='finite'): load(tmp_path/'d.npz', split=split, img_size=16)


@pytest.mark.parametrize('n, limit', [(1000, 100), (1000, 500), (600, 60)])
def test_even_steps_do_not_miss_classes_in_turns(n, limit, tmp_path):
    labels = np.arange(n) % 10
    np.savez(tmp_path/'a.npz', np.zeros((n, 16, 16, 3), np.uint8), labels)
    images = load(tmp_path/'a.npz', img_size=16, limit=limit)
    counts = torch.bincount(images.labels, minlength=10)
    assert len(images) == limit and counts.min() >= limit//10 - 1
    whole = load(tmp_path/'a.npz', img_size=16)
    assert torch.bincount(_evenly(whole, limit).labels, minlength=10).min() >= 1


def test_even_steps_stay_where_chance_may_miss_a_class():
    "So the images of runs that exist stay the same."
    def lot(n, classes, seed): return torch.randint(0, classes, (n,), generator=torch.Generator().manual_seed(seed)).tolist()
    cases = [[i//100 for i in range(1000)], [0]*990 + [1]*10] + [lot(1000, 10, seed) for seed in range(10)] + [lot(10_000, 100, seed) for seed in range(10)]
    for labels in cases:
        for limit in 16, 40, 64, 100, 400, 600:
            plain = spread(len(labels), limit)
            assert with_all_classes(plain, labels) == plain
    assert with_all_classes(range(5), None) == range(5)


@pytest.mark.parametrize('table', ['labels.csv', 'metadata.csv', 'metadata.jsonl', 'dataset.json'])
def test_a_table_that_names_none_of_the_images(table, tmp_path):
    for folder in '0', '1': pictures(tmp_path/'d'/folder, 4)
    text = {'metadata.jsonl': '{"file_name": "stop sign.png", "label": 0}\n', 'dataset.json': '{"labels": [["other/1.png", 0]]}'}
    (tmp_path/'d'/table).write_text(text.get(table, 'file_name,label\nstop sign,0\nyield,1\n'))
    images = load(tmp_path/'d', img_size=16)
    assert any('names none of the images' in note for note in images.notes), images.notes
    if table == 'dataset.json': assert images.labels is None            # its folders are parts
    else: assert images.labels.tolist() == [0]*4 + [1]*4


@pytest.mark.parametrize('kind', ['exif', 'xmp', 'raw profile'])
def test_held_upright_wherever_the_file_says_it(kind, tmp_path):
    image, about = Image.new('RGB', (32, 16)), {}
    exif = Image.Exif()
    exif[0x112] = 6
    xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    if kind == 'exif': about = dict(exif=exif.tobytes())
    if kind == 'xmp': about = dict(xmp=xmp.encode())
    (tmp_path/'d').mkdir()
    if kind == 'raw profile':
        from PIL.PngImagePlugin import PngInfo
        data = exif.tobytes()
        info = PngInfo()
        info.add_text('Raw profile type exif', f'\nexif\n{len(data):8}\n{data.hex()}\n', zip=True)
        image.save(tmp_path/'d'/'a.png', pnginfo=info)
    else: image.save(tmp_path/'d'/'a.jpg', **about)
    assert load(tmp_path/'d', img_size=None).pixels.shape[2:] == (32, 16)


# ---------------------------------------------------------------- batches

@pytest.mark.parametrize('n, at_once', [(65, 64), (128, 64), (1, 64), (129, 128), (200, 64)])
def test_no_batch_is_left_to_one_image(n, at_once):
    parts = evenly_cut(torch.arange(n), at_once)
    assert torch.equal(torch.cat(parts), torch.arange(n)) and max(map(len, parts)) <= at_once and max(map(len, parts)) - min(map(len, parts)) <= 1
    if n % at_once == 0: assert all(map(torch.equal, parts, torch.arange(n).split(at_once)))


# ---------------------------------------------------------------- studies

def test_runs_of_other_images_are_said():
    from degas_nb.app.studies import of_one_set
    from degas_nb.judge.bench import lot_images
    def records(*images): return [dict(result=dict(images=one)) for one in images] + [dict(result={}), dict(error='no')]
    page = of_one_set(lambda records: 'the page', lot_images('cifar10'))
    ours = lot_images('cifar10')
    assert page(records(ours, ours)) == page([]) == 'the page'
    assert 'other images' in page(records('another')) and 'several sets' not in page(records('another'))
    assert 'several sets' in page(records(ours, 'another')) and page(records('another')).endswith('the page')
    assert 'several sets' in of_one_set(lambda records: '')(records('a', 'b')) and of_one_set(lambda records: 'x')(records('a')) == 'x'


@pytest.mark.long
def test_what_a_search_of_a_study_saw_is_in_its_record(shared_cifar):
    from degas_nb.app.studies import decide_search, some_images
    found = decide_search(0, ['alpha'], str(shared_cifar), limit=64, epochs=1, width=4, batch_size=8)
    assert found['images'] == some_images(str(shared_cifar), 64).fingerprint()[:16]
