"""What is kept for the next start: where, for how long, and that it never is wrong."""
import os
import pickle
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from degas_nb.ground import data
from degas_nb.ground.data import cache_folder, load
from degas_nb.ground.errors import UserError
from warm import Python

RNG = np.random.default_rng(0)


def noise(h=32, w=32): return RNG.integers(0, 256, (h, w, 3), dtype=np.uint8)


def write(path, pixels):
    "In place, as an editor does that keeps the file"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'r+b' if path.exists() else 'wb') as f: Image.fromarray(pixels).save(f, 'bmp')
    return path


def zipped(folder, path):
    with zipfile.ZipFile(path, 'w') as archive:
        for p in sorted(folder.rglob('*.bmp')): archive.writestr(str(p.relative_to(folder)), p.read_bytes())      # as of 1980: the zip's own times say nothing
    return path


@pytest.fixture
def decoded(tmp_path, monkeypatch):
    "A cache of our own, and the number of every image that is decoded"
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    seen, read = [], data.read_rgb
    def counting(*args):
        seen.append(1)
        return read(*args)
    monkeypatch.setattr(data, 'read_rgb', counting)
    return seen


@pytest.fixture
def folder(tmp_path):
    for i in range(40): write(tmp_path/'set'/'ab'[i%2]/f'{i:02d}.bmp', noise())
    return tmp_path/'set'


def kept(tmp_path): return sorted((tmp_path/'cache'/'degas_nb'/'images').glob('*.safetensors'))
def same(a, b): return a.fingerprint() == b.fingerprint() and (a.names, a.notes, a.prepared, a.classes, a.split, a.name) == (b.names, b.notes, b.prepared, b.classes, b.split, b.name)


@pytest.mark.parametrize('home', ['', 'relative', '/proc/nobody', '/dev/null'])
def test_without_a_place_nothing_is_kept_and_it_is_said(home, monkeypatch):
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setenv('HOME', home)
    with pytest.warns(UserWarning, match='XDG_CACHE_HOME'): assert cache_folder() is None


def test_the_place_is_the_one_that_the_system_names(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path/'me'))
    for chosen in ('', 'relative/folder'):                                       # the standard: a relative one counts for nothing
        monkeypatch.setenv('XDG_CACHE_HOME', chosen)
        assert cache_folder() == tmp_path/'me'/'.cache'/'degas_nb'
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'x'))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert cache_folder() == tmp_path/'x'/'degas_nb' and cache_folder().is_dir()


# --- decoded images --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('kind', ['folder', 'zip'])
def test_a_second_start_decodes_nothing(kind, folder, decoded, tmp_path):
    what = folder if kind == 'folder' else zipped(folder, tmp_path/'set.zip')
    first, n = load(what), len(decoded)
    assert n == 40 and same(first, load(what)) and len(decoded) == 40 and len(kept(tmp_path)) == 1
    assert load(what).pixels.is_contiguous(memory_format=torch.channels_last)
    kept(tmp_path)[0].unlink()                                                     # anybody may
    assert same(first, load(what)) and len(decoded) == 80


@pytest.mark.parametrize('kind', ['folder', 'zip', 'npy'])
def test_one_pixel_less_or_more_is_seen(kind, folder, decoded, tmp_path):
    times = None
    for k in range(6):                                                             # at once, so that clocks have hardly moved
        file = sorted(folder.rglob('*.bmp'))[7*k%40]
        if kind == 'zip': what = zipped(folder, tmp_path/'set.zip')
        elif kind == 'npy':
            what = tmp_path/'set.npy'
            with open(what, 'r+b' if what.exists() else 'wb') as f: np.save(f, np.stack([np.asarray(Image.open(p)) for p in sorted(folder.rglob('*.bmp'))]))
        else: what = folder
        if times: os.utime(what, ns=(times.st_atime_ns, times.st_mtime_ns))
        images = load(what)
        truth = np.stack([np.asarray(Image.open(p)) for p in sorted(folder.rglob('*.bmp'))])
        assert (images.pixels.permute(0, 2, 3, 1).numpy() == truth).all() and same(images, load(what))
        times, before = os.stat(what), os.stat(file)
        changed = truth[7*k%40].copy()
        changed[k, 3*k, 1] ^= 1
        write(file, changed)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))                # an editor that hides its work
        assert os.stat(file).st_size == before.st_size and os.stat(file).st_ino == before.st_ino


def test_whatever_is_asked_for_another_way_is_another(folder, decoded):
    ways = [dict(), dict(img_size=16), dict(img_size=(20, 30)), dict(img_size=None), dict(limit=7), dict(limit=8), dict(skip_broken=True)]
    fresh = [load(folder, **way) for way in ways]
    n = len(decoded)
    assert all(same(a, load(folder, **way)) for a, way in zip(fresh, ways)) and len(decoded) == n
    assert [len(i) for i in fresh] == [40, 40, 40, 40, 7, 8, 40] and len({i.fingerprint() for i in fresh}) == 5


def test_files_that_come_go_and_change_their_names(folder, decoded, tmp_path):
    whole = load(folder)
    (folder/'a'/'00.bmp').rename(folder/'b'/'00.bmp')
    assert load(folder).labels.tolist() == [0]*19 + [1]*21 and load(folder).fingerprint() != whole.fingerprint()
    (folder/'b'/'00.bmp').rename(folder/'a'/'00.bmp')
    assert same(load(folder), whole)
    one, other = folder/'a'/'02.bmp', folder/'a'/'04.bmp'
    one.rename(folder/'x'); other.rename(one); (folder/'x').rename(other)          # exchanged, each as it was
    assert (load(folder)[1] == whole[2]).all() and (load(folder)[2] == whole[1]).all()
    one.write_bytes(b'milk')
    with pytest.raises(UserError, match='02.bmp'): load(folder)
    for _ in range(2): assert load(folder, skip_broken=True).notes[-1] == '1 broken image skipped: a/02.bmp'
    one.unlink()
    assert len(load(folder)) == 39


def test_what_is_changed_in_memory_is_not_kept(folder, decoded):
    images = load(folder)
    load(folder).pixels.zero_()
    again = load(folder)
    assert same(images, again) and again.pixels.any() and len(decoded) == 40


class Bomb:
    def __reduce__(self): return (pytest.fail, ('was executed',))


def test_damage_is_noticed_and_mended(folder, decoded, tmp_path):
    truth = load(folder)
    path, = kept(tmp_path)
    whole = path.read_bytes()
    for at in (0, 3, 9, 60, 200, len(whole)//2, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1:])
        n = len(decoded)
        assert same(load(folder), truth) and len(decoded) == n + 40, at
        assert same(load(folder), truth) and len(decoded) == n + 40                # mended
    for content in (b'', whole[:-1], whole[:100], whole + b'x', pickle.dumps(Bomb())):
        path.write_bytes(content)
        n = len(decoded)
        assert same(load(folder), truth) and same(load(folder), truth) and len(decoded) == n + 40
    path.unlink()
    path.mkdir()                                                                   # whoever does this
    assert same(load(folder), truth)


def test_the_longest_unused_goes_first(folder, decoded, tmp_path, monkeypatch):
    monkeypatch.setattr(data, 'KEPT_BYTES', 3*(40*32*32*3 + 4000))
    for limit in (40, 39, 38): load(folder, limit=limit)
    oldest = kept(tmp_path)
    for i, path in enumerate(sorted(oldest, key=lambda p: p.stat().st_size, reverse=True)): os.utime(path, (1000 + i, 1000 + i))
    load(folder)                                                                   # of 40: used now
    load(folder, limit=37)
    n = len(decoded)
    load(folder)
    assert len(kept(tmp_path)) == 3 and len(decoded) == n
    load(folder, limit=39)
    assert len(decoded) == n + 39
    monkeypatch.setattr(data, 'KEPT_BYTES', 1000)
    load(folder, limit=36)
    assert len(kept(tmp_path)) == 3                                                # too large to be kept: nothing is dropped for it


def test_what_a_killed_process_left_goes(folder, decoded, tmp_path):
    load(folder)
    part = kept(tmp_path)[0].with_name('.x.safetensors.1.part')
    part.write_bytes(b'x')
    load(folder, limit=5)
    assert part.exists()                                                           # perhaps of one that still works
    os.utime(part, (0, 0))
    load(folder, limit=6)
    assert not part.exists()


@pytest.mark.parametrize('home', ['', '/proc/nobody'])
def test_without_a_home_images_are_read_all_the_same(home, folder, decoded, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', '')
    monkeypatch.setenv('HOME', home)
    with pytest.warns(UserWarning) as said: images = load(folder)
    assert len(images) == 40 and len(said) == 1
    with pytest.warns(UserWarning): assert same(images, load(folder))


def test_a_full_disk_costs_only_time(folder, decoded, tmp_path, monkeypatch):
    def full(*_): raise OSError(28, 'No space left on device')
    monkeypatch.setattr('safetensors.torch.save_file', full)
    assert same(load(folder), load(folder)) and len(decoded) == 80 and not list((tmp_path/'cache').rglob('*.*'))


ONE = """
import sys, degas_nb.ground.data as data
read = data.read_rgb
def counting(*args):
    with open(sys.argv[2], 'a') as f: f.write('x')
    return read(*args)
data.read_rgb = counting
print(data.load(sys.argv[1]).fingerprint())
"""


@pytest.mark.long
def test_processes_that_start_together_decode_each_image_once(folder, tmp_path):
    env = os.environ | dict(XDG_CACHE_HOME=str(tmp_path/'cache'))
    outs = [open(tmp_path/f'out{i}', 'w') for i in range(3)]
    both = [Python('-c', ONE, folder, tmp_path/'count', streams=(None, out, None), env=env) for out in outs]
    assert [p.wait(100) for p in both] == [0, 0, 0] and len({Path(out.name).read_text() for out in outs}) == 1
    assert (tmp_path/'count').stat().st_size == 40 and not list((tmp_path/'cache').rglob('*.lock'))


# --- threads ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('cores', [1, 2, 7, 64])
def test_threads_change_nothing(cores, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', '/proc/nowhere')
    for i in range(150): write(tmp_path/'set'/f'{i:03d}.bmp', noise())
    for i in (40, 41, 99): (tmp_path/'set'/f'{i:03d}.bmp').write_bytes(b'milk')
    monkeypatch.setattr(data, '_n_cores', lambda: cores)
    seen = []
    def progress(index):
        for i in index: yield seen.append(i) or i
    with pytest.warns(UserWarning): images = load(tmp_path/'set', skip_broken=True, progress=progress)
    assert seen == list(range(150)) and images.names == [f'{i:03d}.bmp' for i in range(150) if i not in (40, 41, 99)]
    assert all((np.asarray(Image.open(tmp_path/'set'/name)) == image.permute(1, 2, 0).numpy()).all() for name, image in zip(images.names, images.pixels))
    with pytest.warns(UserWarning), pytest.raises(UserError, match='040.bmp'): load(tmp_path/'set')      # the first one, whoever came first


def test_threads_work_a_little_ahead_and_no_further(monkeypatch):
    monkeypatch.setattr(data, '_n_cores', lambda: 3)
    begun = []
    def task(i):
        begun.append(i)
        return i
    results = data.in_order(task, list(range(5000)), part=10)
    assert [next(results) for _ in range(10)] == list(range(10))
    time.sleep(.2)
    assert len(begun) <= 10*(2*3 + 2)
    results.close()
    n = len(begun)
    time.sleep(.2)
    assert len(begun) == n
