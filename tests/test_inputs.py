"""Nothing that is read can hang, eat memory, run, or end in a traceback: damage by lot, bombs, pipes, and wrong calls from a notebook."""
import importlib
import importlib.util
import inspect
import io
import json
import math
import os
import pickle
import random
import shutil
import struct
import sys
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from degas_nb.app.commands import _scores_of
from degas_nb.app.report import run_report, toy_runs
from degas_nb.ground import data
from degas_nb.ground.data import Images, load, read_rgb
from degas_nb.ground.errors import UserError, user_path
from degas_nb.ground.folders import RunFolder, read_json, write_json
from degas_nb.ground.show import save_grid
from degas_nb.ground.sizes import as_they_are
from degas_nb.judge.extractors import FIDInception
from degas_nb.judge.features import Recipe, SmallClassifier, _read_classifier, _sealed_classifier
from degas_nb.judge.metrics import Statistics
from degas_nb.space.baselines import build_generator
from degas_nb.space.choices import draw, network
from degas_nb.space.genotype import DEGAS, Genotype, SearchSpace
from degas_nb.space.ops import batch_norm, build_op
from degas_nb.views.replay import Tail, all_pictures, newest_pictures, picture_at, replay


@pytest.fixture(scope='module')
def fuzz():
    spec = importlib.util.spec_from_file_location('fuzz', Path(__file__).parents[1]/'tools'/'fuzz.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def refused(call, *words):
    with pytest.raises(UserError) as caught: call()
    line = str(caught.value)
    assert line.isprintable() and len(line) < 700, line
    for word in words: assert word in line, line
    return line

# --- damage by lot ---------------------------------------------------------------------------------------------------

@pytest.mark.long
def test_damaged_inputs_are_read_or_refused_in_one_line(fuzz):
    counts, wrong = fuzz.trials(len(fuzz.kinds())*12, seed=17)
    assert not wrong, '\n'.join(wrong)
    assert min(counts['read'], counts['refused']) > 20


@pytest.mark.parametrize('kind', ['png', 'jpeg', 'webp', 'gif', 'tiff', 'bmp, ppm', 'zip', 'npy', 'npz', 'labels', 'statistics', 'genotype', 'space', 'checkpoint', 'classifier', 'stl10', 'fashion_mnist', 'emoji'])
def test_what_is_damaged_by_lot_is_in_order_before(kind, fuzz, tmp_path):
    files, _, read = fuzz.kinds()[kind]
    with fuzz.apart(tmp_path):
        for i, content in enumerate(files if kind not in fuzz.SETS else []):
            (place := tmp_path/str(i)).mkdir()
            found = fuzz.verdict(read, content, place, fuzz.random.Random(i))
            assert found == 'read' or found == 'refused' and kind in ('npz', 'npy', 'checkpoint', 'space', 'zip', 'labels'), (kind, i, found)

# --- what is no file, or too much of one ------------------------------------------------------------------------------

READERS = {
    'genotype': (Genotype.load, 'g.json'), 'space': (SearchSpace.load, 's.json'), 'JSON': (read_json, 'x.json'), 'statistics': (Statistics.load, 's.npz'),
    'weights': (FIDInception, 'w.pth'), 'array': (load, 'a.npy'), 'arrays': (load, 'a.npz'), 'zip': (load, 'a.zip'), 'folder': (load, 'a'), 'image': (read_rgb, 'a.png'),
    'as they are': (as_they_are, 'a'), 'run': (RunFolder.open, 'run/config.json'), 'genotype of a run': (lambda p: Genotype.load(p.parent), 'run/genotype.json')}


@pytest.mark.parametrize('what', ['pipe', 'device', 'link to itself', 'nothing', 'empty', 'large'])
@pytest.mark.parametrize('kind', READERS)
def test_no_reader_waits_or_ends_in_a_traceback(kind, what, tmp_path):
    read, name = READERS[kind]
    path = tmp_path/name
    path.parent.mkdir(exist_ok=True)
    if what == 'pipe': os.mkfifo(path)
    if what == 'device': path.symlink_to('/dev/zero')
    if what == 'link to itself': path.symlink_to(path.name)
    if what in ('empty', 'large'): path.touch()
    if what == 'large': os.truncate(path, 2**40)   # a file of holes, which takes no room
    refused(lambda: read(path.parent if kind == 'run' else path))


# --- a folder from somebody else, in which a file is none -------------------------------------------------------------

@pytest.fixture(scope='module')
def strange(tmp_path_factory):
    "A search and a training with every file that a run may have."
    runs = toy_runs(tmp_path_factory.mktemp('strange'))
    for path in runs:
        run = RunFolder.open(path)
        with run.lock(): run.save_checkpoint(dict(step=1))
        (path/'trace.jsonl').write_text(''.join((path/'trace.jsonl').read_text().splitlines(True)[:21]))
        if not (path/'scores.json').exists(): write_json(path/'scores.json', [])
        run_report(path)
    return runs


def ways_to_use(path):
    "All that reads a run's folder, or writes into it."
    run = RunFolder.open(path)
    def locked():
        with run.lock(): run.trace.append(dict(step=10**6)), run.trace.truncate(3), run.save_checkpoint(dict(step=2)), save_grid(torch.zeros(1, 3, 4, 4), run.samples/'targets.png')
    pictures = all_pictures(run)
    yield from (run.trace.read, run.busy, run.load_checkpoint, Tail(run.trace.path).read, lambda: Genotype.load(path), lambda: run_report(path), lambda: newest_pictures(run, {}), lambda: replay(path),
                lambda: _scores_of(run), *(lambda files=files: picture_at(files, 10**6) for files in pictures.values()), locked)


@pytest.mark.parametrize('what', ['pipe', 'device', 'link to itself', 'link to theirs', 'link to nothing', 'folder'])
def test_whatever_stands_in_place_of_a_file_of_a_run_nobody_waits_and_nothing_else_is_written(what, strange, fuzz, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, 'SECONDS', 60)   # a machine may be busy; a pipe would have us wait for ever
    theirs = tmp_path/'theirs'
    for number, name in enumerate(('.lock', 'config.json', 'trace.jsonl', 'genotype.json', 'checkpoint.pt', 'scores.json', 'report.html', 'samples/targets.png', 'samples/samples_0006.png')):
        theirs.write_bytes(b'')
        run = Path(shutil.copytree(strange[number % 2], tmp_path/'run'))
        path = run/name
        path.unlink(missing_ok=True)
        if what == 'pipe': os.mkfifo(path)
        elif what == 'folder': path.mkdir()
        else: path.symlink_to({'device': '/dev/zero', 'link to itself': path.name, 'link to theirs': theirs, 'link to nothing': tmp_path/'new'}[what])
        try: uses = list(ways_to_use(run))
        except UserError: uses = [lambda: RunFolder.open(run)]
        found = [fuzz.verdict(use) for use in uses]
        assert set(found) <= {'read', 'refused'}, (name, '\n'.join(found))
        assert theirs.read_bytes() == b'' and not (tmp_path/'new').exists(), name
        shutil.rmtree(run)


@pytest.mark.long
@pytest.mark.parametrize('kind', ['classifier', 'statistics', 'decoded images'])
def test_a_flipped_bit_in_what_is_kept_is_noticed(kind, tmp_path):
    "What can be made anew is; what somebody has saved is refused."
    rng, recipe = random.Random(21), Recipe(width=1)
    net, stats, pixels = SmallClassifier(3, 1), Statistics(3), np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    stats.update(torch.randn(10, 3, generator=torch.Generator().manual_seed(0)))
    path = tmp_path/'kept'
    def keep():
        if kind == 'classifier': path.write_bytes(_sealed_classifier(net, .5))
        elif kind == 'statistics':
            stats.save(tmp_path/'kept.npz', extractor='small')
            (tmp_path/'kept.npz').rename(path)
        else: data._keep(path, data._Decoded(pixels, [0, 1], [], 'as they are'))
    def found():
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            if kind == 'classifier': value = _read_classifier(path, 3, recipe); assert len(said) == (value is None)
            elif kind == 'statistics':
                try: value = Statistics.load(path)
                except UserError: value = None
            else: value = data._recall(path)
        return value
    keep()
    whole = path.read_bytes()
    assert found() is not None
    for bit in rng.sample(range(8*len(whole)), 120) + rng.sample(range(8*8, 8*400), 120):   # and where the names of its parts stand
        path.write_bytes(whole[:bit//8] + bytes([whole[bit//8] ^ 1 << bit % 8]) + whole[bit//8 + 1:])
        assert found() is None, bit
    keep()
    assert found() is not None


def header(width, height):
    "A PNG that says how large it is, and holds nothing."
    def chunk(kind, content=b''): return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)) + chunk(b'IDAT') + chunk(b'IEND')


@pytest.mark.parametrize('size', [(40_000, 40_000), (2**31 - 1, 1), (1, 2**31 - 1), (9_500, 9_500)])
def test_more_pixels_than_a_photograph_has(size, tmp_path):
    (tmp_path/'a.png').write_bytes(header(*size))
    refused(lambda: load(tmp_path), 'a.png cannot be read', 'pixels')


def test_formats_that_start_programs_are_not_opened(tmp_path):
    for name, content in {'a.png': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'b.png': b'\xd7\xcd\xc6\x9a' + bytes(60), 'c.jpg': b'%PDF-1.4\n'}.items():
        (tmp_path/name).write_bytes(content)
        refused(lambda: read_rgb(tmp_path/name), name, 'unknown format')


def packed(path, **members):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
        for name, content in members.items(): z.writestr(name, content)
    return path


def test_parts_that_become_far_larger_than_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(data, 'LARGE', 10_000)
    black, zeros, out = Image.new('RGB', (400, 400)), np.zeros((400, 400)), io.BytesIO()
    black.save(out, 'bmp')
    refused(lambda: load(packed(tmp_path/'a.zip', **{'a.bmp': out.getvalue()})), 'a.bmp cannot be read', 'packed into')
    np.savez_compressed(tmp_path/'a.npz', np.zeros((9, 200, 200, 3), np.uint8))
    refused(lambda: load(tmp_path/'a.npz'), 'packed into')
    np.savez_compressed(tmp_path/'s.npz', mu=np.zeros(400), sigma=zeros)
    refused(lambda: Statistics.load(tmp_path/'s.npz'), 'packed into')
    monkeypatch.setattr(data, 'MOST_RATIO', math.inf)
    assert len(load(tmp_path/'a.npz')) == 9 and Statistics.load(tmp_path/'s.npz').dim == 400


def test_a_table_of_labels_that_is_too_long_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(data, 'MOST_TEXT', 1000)
    for c in ('elm', 'oak'):
        (tmp_path/c).mkdir()
        Image.new('RGB', (16, 16)).save(tmp_path/c/'1.png')
    (tmp_path/'dataset.json').write_text(' '*2000)
    images = load(tmp_path, 16)
    assert images.classes == ['elm', 'oak'] and any('dataset.json is not understood (it has more than 1,000 bytes)' in note for note in images.notes)


def test_nothing_of_a_zip_lands_outside(tmp_path, monkeypatch):
    out = io.BytesIO()
    Image.new('RGB', (16, 16)).save(out, 'png')
    names = ['../../evil.png', '/etc/evil.png', '..\\..\\evil.png', 'C:\\evil.png', 'a/../../../b/evil.png', '\x1b[2Jevil.png']
    (tmp_path/'here').mkdir()
    monkeypatch.chdir(tmp_path/'here')
    images = load(packed(Path('a.zip'), **{n: out.getvalue() for n in names}), 16)
    assert len(images) == 6 and {p.name for p in tmp_path.rglob('*')} == {'here', 'a.zip'} and not Path('/etc/evil.png').exists()
    assert all(name.isprintable() and '..' not in name.split('/') and not name.startswith('/') for name in images.names)


def test_whole_large_numbers_keep_their_range(tmp_path):
    values = np.linspace(0, 2**31 - 1, 256, dtype=np.int64).astype(np.int32).reshape(16, 16)
    Image.fromarray(values).save(tmp_path/'a.tif')
    images = load(tmp_path, 16)
    assert images.pixels[0, 0].flatten().tolist() == list(range(256)) and any('2.14748e+09 as white' in note for note in images.notes)

# --- what runs when it is unpickled -----------------------------------------------------------------------------------

class Bomb:
    "Would leave a file when unpickled."
    def __init__(self, path): self.path = str(path)
    def __reduce__(self): return open, (self.path, 'w')


def bombs(mark):
    "A pickle, torch's archive of one, and an array that holds one."
    yield pickle.dumps(Bomb(mark))
    for old in (False, True):
        torch.save(dict(step=1, net=Bomb(mark)), out := io.BytesIO(), _use_new_zipfile_serialization=not old)
        yield out.getvalue()
    for save, value in ((np.save, np.array([Bomb(mark)], object)), (lambda f, v: np.savez(f, mu=v, sigma=v, arr_0=v), np.array([Bomb(mark)]*3, object))):
        save(out := io.BytesIO(), value, allow_pickle=True) if save is np.save else save(out := io.BytesIO(), value)
        yield out.getvalue()


@pytest.mark.parametrize('kind', ['checkpoint', 'statistics', 'weights', 'classifier', 'array', 'arrays', 'genotype', 'cifar10'])
def test_nothing_is_unpickled(kind, tmp_path, monkeypatch):
    mark = tmp_path/'fired'
    if kind == 'weights': monkeypatch.setattr('degas_nb.judge.extractors.FID_SHA', '')   # should somebody have found the same hash
    run = RunFolder.create(tmp_path/'run', 'search', {}, {})
    files = dict(checkpoint='run/checkpoint.pt', statistics='s.npz', weights='w.pth', classifier='c.safetensors', array='a.npy', arrays='a.npz', genotype='g.json',
                 cifar10='cifar-10-batches-py/data_batch_1')
    read = dict(checkpoint=lambda p: run.load_checkpoint(), statistics=Statistics.load, weights=FIDInception, array=load, arrays=load, genotype=Genotype.load,
                cifar10=lambda p: load('cifar10', root=tmp_path))
    def nobody(*_, **__): raise OSError('no network here')
    monkeypatch.setattr('urllib.request.urlopen', nobody)
    (path := tmp_path/files[kind]).parent.mkdir(exist_ok=True)
    for content in bombs(mark):
        path.write_bytes(content)
        if kind == 'classifier':
            with pytest.warns(UserWarning, match='damaged'): assert _read_classifier(path, 3, Recipe(width=1)) is None
        else: refused(lambda: read[kind](path))
        assert not mark.exists()

# --- networks without end ---------------------------------------------------------------------------------------------

def chain(n, copies=1):
    "A genotype of `n` edges in a row, each there so many times."
    edges = [dict(src=f'n{i}', dst=f'n{i + 1}', kind='normal', scale=1, op='conv_1') for i in range(n) for _ in range(copies)]
    return dict(format='degas-genotype/1', space='long', nodes=[f'n{i}' for i in range(n + 1)], edges=edges)


@pytest.mark.long
def test_a_million_edges(tmp_path):
    assert len(Genotype.from_json(chain(999)).sums()) == 999
    value = chain(100, 10_000)
    refused(lambda: Genotype.from_json(value), '1,000,000 edges is too large', '10,000')
    refused(lambda: Genotype.from_json(chain(1000)), '1,001 nodes is too large')
    edges = [{k: v for k, v in e.items() if k != 'op'} | dict(ops=['skip_connect']) for e in value['edges']]
    refused(lambda: SearchSpace.from_json(dict(format='degas-space/1', name='long', nodes=value['nodes'], edges=edges)), 'too large')
    (tmp_path/'g.json').write_text(json.dumps(value))
    refused(lambda: Genotype.load(tmp_path/'g.json'), 'g.json', 'more than')


LONG, ESCAPE = 'x'*10**7, '\x1b[2J\x1b]0;gotcha\x07'


@pytest.mark.parametrize('name', [LONG, ESCAPE, '\ud800', '\u202eevil'], ids=['long', 'escape', 'surrogate', 'backwards'])
def test_names_in_an_error_are_short_and_harmless(name, tmp_path):
    ours = Genotype.named('cifar10_paper').to_json()
    edge = ours['edges'][0]
    for change in (dict(src=name), dict(op=name), dict(kind=name)):
        refused(lambda: Genotype.from_json(ours | dict(edges=[edge | change])), 'edge')
    refused(lambda: Genotype.from_json(ours | dict(nodes=[name, *ours['nodes']])), 'a node cannot be called')
    refused(lambda: Genotype.from_json(ours | dict(space=name)), 'a search space needs a name')
    for call in (load, as_they_are, Genotype.load, SearchSpace.load, Genotype.named, Statistics.load, RunFolder.open, FIDInception): refused(lambda: call(name))
    for more in (dict(split=name), dict(img_size=name), dict(limit=name)): refused(lambda: load('emoji', **more))
    refused(lambda: build_op(name, 4), 'no operation')


@pytest.mark.parametrize('text', ['1e400', '[1e999]', '-1e400', '1'*5000, '['*10**5, '{"a": NaN}', '"\\ud83', '\xff'])
def test_numbers_that_json_cannot_write_again(text, tmp_path):
    (tmp_path/'x.json').write_bytes(text.encode('latin1'))
    refused(lambda: read_json(tmp_path/'x.json'), 'x.json is not valid JSON')

# --- wrong calls ------------------------------------------------------------------------------------------------------

CALLS = [
    (lambda: load('emoji', '32'), "img_size '32' does not fit"), (lambda: load('emoji', 10**9), 'img_size 1000000000 does not fit'), (lambda: load(None), 'load wants a name or a path'),
    (lambda: load('emoji', limit=-1), 'limit -1 leaves no images'), (lambda: load('emoji', limit=1.5), 'limit 1.5'), (lambda: load('emoji', limit=True), 'limit True'),
    (lambda: load('emoji', skip_broken='no'), "skip_broken of load must be True or False, not 'no'"), (lambda: load('emoji', root=3), 'a path must be text or a Path, not 3'),
    (lambda: load('emoji', progress=3), 'progress of load must be a function or None, not 3'), (lambda: Genotype.named(None), 'no genotype is called None'),
    (lambda: Genotype.load(None), 'loaded by its name or path, not from None'), (lambda: Genotype.from_json(None), '"format" must be'), (lambda: user_path(None), 'not None'),
    (lambda: Images(None), 'expected uint8 pixels'), (lambda: Images(torch.zeros(2, 3, 8, 8)), 'to_uint8'), (lambda: Images(torch.zeros(2, 3, 8, 8).byte(), [1, 2]), 'labels of Images must be a Tensor'),
    (lambda: Images(torch.zeros(2, 3, 8, 8).byte(), torch.zeros(3)), '2 images, but'), (lambda: Images(torch.zeros(2, 3, 8, 8).byte()).labels_at([0]), 'have no labels'),
    (lambda: load('emoji', limit=3).batch(torch.tensor([7])), 'there are 3 images'), (lambda: load('emoji', limit=3).to('cuda:99'), 'there is no device'), (lambda: draw(0), 'rng of draw must be a Generator, not 0'),
    (lambda: draw(torch.Generator(), None), 'space of draw must be a SearchSpace'), (lambda: network(-1), 'there is no network -1 in space degas'), (lambda: network(10**12), 'its numbers end at'),
    (lambda: build_op('conv_3', 0), 'width of build_op must be a whole number, at least 1'), (lambda: build_op(['conv_3'], 4), 'no operation a list'),
    (lambda: build_generator('resnet', '32'), "img_size of build_generator must be a whole number"), (lambda: build_generator('resnet', width=0), 'needs at least one channel'),
    (lambda: build_generator('resnet', width=10**30), 'at most'), (lambda: build_generator(None), 'there is no generator None'),
    (lambda: Genotype(DEGAS.nodes, Genotype.named('cifar10_paper').edges, meta=dict(score=math.nan)), 'JSON can hold')]


@pytest.mark.parametrize('call, words', CALLS, ids=range(len(CALLS)))
def test_a_wrong_call_is_one_line(call, words): refused(call, words)


WRONG = [None, 'x', 1.5, True, -1, 0, [], {}, object(), math.nan, 10**30, b'x', ESCAPE, torch.zeros(2), 'x'*10_000, (1, 2)]
PROBED = 'ground.data ground.errors ground.show ground.sizes space.ops space.genotype space.generator space.baselines space.choices'.split()
SLOW = {'recalibrated.n_batches', 'match_params.target'}


def public(module):
    "Every public function and class of a module, and the class methods."
    found = importlib.import_module(f'degas_nb.{module}')
    for name in found.__all__:
        value = getattr(found, name)
        if inspect.isfunction(value) or inspect.isclass(value) and name != 'BatchNorm': yield name, value
        if inspect.isclass(value):
            for inner, method in vars(value).items():
                if isinstance(method, (classmethod, staticmethod)) and not inner.startswith('_'): yield f'{name}.{inner}', getattr(value, inner)


@pytest.mark.parametrize('module', PROBED)
def test_no_argument_of_the_wrong_kind_ends_in_a_traceback(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    genotype = Genotype.named('cifar10_paper')
    net = build_generator('resnet', 16, 4, 2)
    good = dict(genotype=genotype, g=genotype, spec='resnet', space=DEGAS, what='emoji', x=torch.zeros(2, 3, 8, 8), y=torch.zeros(2, 3, 8, 8), rng=torch.Generator(), net=net, module=net, generator=net,
                target=net, baseline='resnet', image=Image.new('RGB', (9, 9)), shape=(4, 4), path='p.png', width=4, k=3, img_size=16, z_dim=4, side=4, norm=batch_norm(), node='s1', number=3, kind='normal',
                name='cifar10_paper', ops={'s0-s1': 'conv_3'}, edge=DEGAS.edges[0], settings={}, value={}, nodes=('a', 'b'), edges=(), pixels=torch.zeros(2, 3, 8, 8).byte(), series={}, op='conv_1', limit=2)
    for name, call in public(module):
        takes = [p for p in inspect.signature(call).parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if any(p.default is p.empty and p.name not in good for p in takes): continue
        for p in takes:
            if f'{name}.{p.name}' in SLOW or p.annotation is inspect.Parameter.empty: continue
            for wrong in WRONG:
                values = {q.name: good[q.name] for q in takes if q.name in good and (q.default is q.empty or q.name == 'limit')} | {p.name: wrong}
                with warnings.catch_warnings():
                    warnings.simplefilter('ignore')
                    try: call(**values)
                    except UserError as e: assert str(e).isprintable() and len(str(e)) < 700, (name, p.name, wrong)
                    except Exception as e: raise AssertionError(f'{name}({p.name}={wrong!r}) ends in {type(e).__name__}: {e}') from e
    assert sys.getrecursionlimit() and not [f for f in tmp_path.iterdir() if f.name != 'p.png' and not f.name.startswith('x')]
