"""What only CI gains of images: damaged and odd files, data sets in their real formats, no network, the emoji tool."""
import importlib.util
import io
import json
import os
import pickle
import struct
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from degas_nb.ground.data import DATASETS, Images, dataset, fit_square, load, read_rgb, spread
from degas_nb.ground.errors import UserError

RNG = np.random.default_rng(0)


def noise(h=32, w=32, c=3): return RNG.integers(0, 256, (h, w, c) if c else (h, w), dtype=np.uint8)


def save(path, image, **kw):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **kw)
    return path


def encoded(image, kind='png', **kw):
    out = io.BytesIO()
    image.save(out, kind, **kw)
    return out.getvalue()


def refused(*words, **kw):
    "`load(**kw)` ends in one line that holds all `words`"
    with pytest.raises(UserError) as caught: load(**kw)
    line = str(caught.value)
    assert '\n' not in line and '0x' not in line.replace(tempfile.gettempdir(), ''), line  # whose random name may have it
    for word in words: assert word in line, line
    return line


@pytest.fixture
def folder(tmp_path):
    "Two classes of three plain images of 32x32"
    for name in ('cat', 'dog'):
        for i in range(3): save(tmp_path/'pets'/name/f'{i}.png', noise())
    return tmp_path/'pets'


def zipped(folder, path):
    with zipfile.ZipFile(path, 'w') as archive:
        for p in sorted(folder.rglob('*'), reverse=True):
            if p.is_file(): archive.write(p, p.relative_to(folder.parent))
    return path


# --- folders and zips ------------------------------------------------------------------------------------------------

def test_folder_and_zip_are_the_same(folder, tmp_path):
    a, b = load(folder), load(zipped(folder, tmp_path/'pets.zip'))
    assert a.fingerprint() == b.fingerprint() and a.notes == b.notes == ['2 classes from folders: cat, dog']
    assert (a.name, b.name, a.split, a.classes) == ('pets', 'pets.zip', 'all', ['cat', 'dog'])
    assert a.labels.tolist() == [0, 0, 0, 1, 1, 1] and a.names[0] == 'cat/0.png'
    assert (a[0].permute(1, 2, 0).numpy() == np.asarray(Image.open(folder/'cat'/'0.png'))).all()


def test_splits(tmp_path):
    for split, n in dict(train=3, test=2, extra=1).items():
        for i in range(n): save(tmp_path/'x'/'outer'/split/('dog' if i else 'cat')/f'{i}.png', noise())
    save(tmp_path/'x'/'outer'/'loose.png', noise())
    sizes = {split: len(load(tmp_path/'x', split=split)) for split in ('train', 'test', 'extra', 'all')}
    assert sizes == dict(train=3, test=2, extra=1, all=6)
    assert load(tmp_path/'x', split='extra').classes == ['cat', 'dog']        # classes are numbered alike in all splits
    assert load(tmp_path/'x', split='test').split == 'test'
    refused('no split', 'valid', 'train', what=tmp_path/'x', split='valid')


def test_no_classes(tmp_path):
    save(tmp_path/'a.png', noise())
    save(tmp_path/'sub'/'b.png', noise())
    images = load(tmp_path)
    assert images.labels is None and images.classes is None and images.names == ['a.png', 'sub/b.png']


def test_system_files_are_no_images(folder):
    save(folder/'cat'/'._0.png', noise())
    save(folder/'__MACOSX'/'cat'/'0.png', noise())
    save(folder/'.cache'/'0.png', noise())
    (folder/'list.csv').write_text('0,1')
    images = load(folder)
    assert len(images) == 6 and images.notes == ['2 classes from folders: cat, dog', '1 file of other kinds left out']


def test_limit_covers_all_classes(folder):
    assert load(folder, limit=2).labels.tolist() == [0, 1]
    assert len(load(folder, limit=99)) == 6
    for n in range(1, 30):
        for limit in range(1, n + 1):
            chosen = list(spread(n, limit))
            assert len(set(chosen)) == limit and chosen == sorted(chosen) and chosen[-1] < n


def test_refusals(folder, tmp_path):
    refused('does not exist', 'emoji', 'zip', what=tmp_path/'nowhere')
    refused('did you mean cifar10', what='cifra10')
    (tmp_path/'void').mkdir()
    refused('void', 'is empty', what=tmp_path/'void')
    for i in range(2): (tmp_path/'void'/f'{i}.txt').write_text('milk')
    refused('2 files but no images', '.png', what=tmp_path/'void')
    (tmp_path/'bad.zip').write_bytes(zipped(folder, tmp_path/'pets.zip').read_bytes()[:-100])
    refused('bad.zip', 'damaged', what=tmp_path/'bad.zip')
    refused('0.txt is not a zip', what=tmp_path/'void'/'0.txt')
    for size in (20, 8, 0, -16): refused(f'img_size {size}', 'multiple of 8', what='emoji', img_size=size)
    for limit in (0, -3): refused(f'limit {limit}', what='emoji', limit=limit)
    refused('no split', 'train, test', what='cifar10', split='val')


def test_broken_images(folder):
    whole = encoded(Image.fromarray(noise()), 'jpeg')
    (folder/'cat'/'torn.jpg').write_bytes(whole[:-100])
    refused('cat/torn.jpg cannot be read', 'truncated', '--skip-broken', what=folder)
    (folder/'dog'/'zero.png').write_bytes(b'')
    (folder/'dog'/'text.gif').write_text('milk')
    png = bytearray((folder/'dog'/'1.png').read_bytes())
    png[60] ^= 255
    (folder/'dog'/'1.png').write_bytes(png)
    images = load(folder, skip_broken=True)
    assert len(images) == len(images.labels) == len(images.names) == 5
    assert images.notes == ['2 classes from folders: cat, dog', '4 broken images skipped: cat/torn.jpg, dog/1.png, dog/text.gif and 1 more']


def test_nothing_readable(tmp_path):
    (tmp_path/'a.png').write_text('milk')
    refused('not one of 1 image can be read', 'a.png', what=tmp_path, skip_broken=True)


def test_damage_inside_a_zip(folder, tmp_path):
    path = zipped(folder, tmp_path/'pets.zip')
    with zipfile.ZipFile(path) as archive: at = archive.getinfo('pets/dog/2.png').header_offset
    data = bytearray(path.read_bytes())
    data[at + 500] ^= 255
    path.write_bytes(data)
    refused('pets/dog/2.png cannot be read', what=path)
    assert len(load(path, skip_broken=True)) == 5


# --- kinds of images -------------------------------------------------------------------------------------------------

def png_16_bit_rgb(pixels):
    "A PNG of 16 bits a colour, which Pillow cannot write"
    h, w, _ = pixels.shape
    def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in pixels)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 16, 2, 0, 0, 0)) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')


def test_kinds_are_converted_and_said_once(tmp_path):
    grey = noise(c=0)
    save(tmp_path/'0.png', grey)
    save(tmp_path/'1.jpg', grey)
    save(tmp_path/'2.png', Image.fromarray(noise()).convert('P', palette=Image.Palette.ADAPTIVE))
    save(tmp_path/'3.jpg', Image.fromarray(noise()).convert('CMYK'))
    save(tmp_path/'4.tif', grey.astype(np.uint16)*257)
    save(tmp_path/'5.png', grey.astype(np.uint16)*257)
    save(tmp_path/'6.png', np.dstack([noise(), np.zeros((32, 32, 1), np.uint8)]))
    save(tmp_path/'7.png', Image.fromarray(grey).convert('1'))
    images = load(tmp_path)
    assert sorted(images.notes) == ['1 CMYK image converted to RGB', '1 palette image converted to RGB', '1 transparent image put on white',
                                    '2 16-bit images scaled to 8 bits', '3 grey images converted to RGB']
    for i in (0, 4, 5): assert (images[i].numpy() == grey).all()                # 16 bits scaled by 257 are the 8 bits
    assert (images[6] == 255).all()                                             # nothing on white is white


@pytest.mark.parametrize('alpha', [0, 64, 128, 255])
def test_transparency_is_composited_on_white(alpha):
    pixels = noise()
    image = Image.fromarray(np.dstack([pixels, np.full((32, 32, 1), alpha, np.uint8)]))
    for kind in ('png', 'webp'):
        opened = read_rgb(io.BytesIO(encoded(image, kind, **(dict(lossless=True, exact=True) if kind == 'webp' else {}))))
        expected = 255 + (pixels.astype(float) - 255)*alpha/255
        assert opened.kind == ('transparent' if alpha < 255 else 'RGBA' if kind == 'png' else None) and abs(np.asarray(opened.image) - expected).max() <= 1
    clear = Image.fromarray(pixels)
    data = encoded(clear, transparency=tuple(int(v) for v in pixels[3, 4]))   # one colour declared transparent
    assert read_rgb(io.BytesIO(data)).image.getpixel((4, 3)) == (255, 255, 255)


def test_16_bit_colours_keep_their_scale():
    deep = RNG.integers(0, 65536, (16, 16, 3))
    got = np.asarray(read_rgb(io.BytesIO(png_16_bit_rgb(deep))).image)
    assert abs(got - deep/257).max() <= 1


def test_pixels_that_are_no_numbers_are_refused(tmp_path):
    for wrong in (np.nan, np.inf):
        pixels = noise(c=0).astype(np.float32)
        pixels[3, 4] = wrong
        save(tmp_path/'a.tif', pixels)
        refused('a.tif', 'finite', what=tmp_path)


def test_photos_stand_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6                                                            # the camera lay on its side
    lying = np.zeros((64, 64, 3), np.uint8)
    lying[:, :32] = 255                                                         # white left half: the top once upright
    save(tmp_path/'a.jpg', lying, exif=exif, quality=95)
    image = load(tmp_path)[0].float()
    assert image[:, :12].mean() > 250 and image[:, 20:].mean() < 5


def test_only_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new('RGB', (32, 32), c) for c in ('red', 'blue')]
    frames[0].save(tmp_path/'a.gif', save_all=True, append_images=frames[1:])
    assert load(tmp_path)[0][:, 0, 0].tolist() == [255, 0, 0]


def test_mixed_sizes(tmp_path):
    for i, (h, w) in enumerate([(40, 64), (200, 100), (16, 16)]): save(tmp_path/f'{i}.png', noise(h, w))
    images = load(tmp_path)
    assert images.pixels.shape == (3, 3, 32, 32)
    assert images.notes == ['images of 3 sizes, 16x16 to 100x200, resized and centre-cropped to 32x32']
    assert load(tmp_path, limit=1, img_size=48).size == 48


@pytest.mark.parametrize('h, w', [(32, 32), (64, 64), (33, 90), (90, 33), (500, 300), (1, 1), (7, 500)])
def test_fit_square_keeps_the_centre_and_its_mean(h, w):
    flat = Image.new('RGB', (w, h), (10, 200, 77))
    assert (np.asarray(fit_square(flat, 32)) == (10, 200, 77)).all()
    side = min(h, w)
    pixels = noise(h, w)
    top, left = (h - side)//2, (w - side)//2
    if side >= 32: assert abs(np.asarray(fit_square(Image.fromarray(pixels), 32)).mean() - pixels[top:top + side, left:left + side].mean()) < 1


def test_large_photos_are_opened_smaller_and_look_the_same():
    x = np.linspace(0, 255, 800)
    photo = np.stack([np.broadcast_to(x, (800, 800)), np.broadcast_to(x[:, None], (800, 800)), np.full((800, 800), 90)], -1).astype(np.uint8)
    data = encoded(Image.fromarray(photo), 'jpeg', quality=95)
    full, quick = read_rgb(io.BytesIO(data)), read_rgb(io.BytesIO(data), 32)
    assert quick.size == full.size == (800, 800) and quick.image.width < 200
    assert abs(np.asarray(fit_square(full.image, 32)).astype(int) - np.asarray(fit_square(quick.image, 32))).max() <= 3


# --- Images ----------------------------------------------------------------------------------------------------------

def test_images_refuse_what_does_not_fit():
    for bad in (torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match='uint8'): Images(bad)
    with pytest.raises(ValueError, match='labels'): Images(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), labels=torch.zeros(3))


def test_fingerprint_sees_labels_and_order_but_not_layout():
    pixels = torch.from_numpy(noise(16*12, 16)).view(12, 16, 16, 3).permute(0, 3, 1, 2)
    labels = torch.arange(12)
    a = Images(pixels, labels)
    assert a.fingerprint() == Images(pixels.contiguous(), labels).fingerprint()
    assert a.fingerprint() != Images(pixels).fingerprint()
    assert a.fingerprint() != a.subset(torch.arange(11, -1, -1)).fingerprint()
    assert a.subset(slice(3, 6)).names is None and a.subset([2, 2]).labels.tolist() == [2, 2]


def test_registry_refuses_a_second_name():
    with pytest.raises(ValueError, match='already'): dataset()(DATASETS['emoji'].make)


def test_emoji():
    a, b = load('emoji'), load('emoji', split='test', root='/nowhere')
    assert a.pixels.shape == (1911, 3, 32, 32) and len(a.classes) == 10 and a.labels.unique().numel() == 10
    assert a.fingerprint() == b.fingerprint() and b.split == 'all' and len(set(a.names)) == 1911 and a.notes == []
    assert (a[:, :, 0, 0] == 255).all(1).float().mean() > .9                    # on white
    assert 'enlarged' in load('emoji', img_size=48, limit=3, root='/nowhere').notes[0]
    assert load('emoji', img_size=16).size == 16


def test_progress_sees_every_image(folder):
    seen = []
    def progress(index):
        for i in index: seen.append(i); yield i
    load(folder, progress=progress)
    assert seen == list(range(6))


@pytest.mark.long
def test_cifar_zip(shared_cifar):
    train, test = (load(shared_cifar, split=s, limit=200) for s in ('train', 'test'))
    assert train.name == 'cifar10.zip' and (train.split, test.split) == ('train', 'test') and train.classes == test.classes
    for images in (train, test): assert torch.bincount(images.labels).tolist() == [20]*10
    assert train.fingerprint() != test.fingerprint()
    assert train.notes == test.notes == [f"10 classes from folders: {', '.join(train.classes)}; splits train, test"]
    mean = (train.pixels.float().mean((0, 2, 3))/255)
    assert (mean - torch.tensor([.491, .482, .447])).abs().max() < .05          # CIFAR-10's published channel means


# --- data sets of torchvision, in their real formats, small ----------------------------------------------------------

@pytest.fixture
def offline(monkeypatch):
    def no_network(*_, **__): raise URLError('no network')
    monkeypatch.setattr(urllib.request, 'urlopen', no_network)


def sizes_only(monkeypatch, module):
    "torchvision compares hashes of the published files; ours are small ones of the same format, so only existence counts"
    monkeypatch.setattr(f'torchvision.datasets.{module}.check_integrity', lambda path, md5=None: os.path.exists(path))


CIFAR_CLASSES = 'airplane automobile bird cat deer dog frog horse ship truck'.split()


def write_cifar(root, n=4):
    base = root/'cifar-10-batches-py'
    base.mkdir(parents=True)
    rows = RNG.integers(0, 256, (6, n, 3072), dtype=np.uint8)                   # red plane, green plane, blue plane, row by row
    labels = RNG.integers(0, 10, (6, n)).tolist()
    for i, name in enumerate([f'data_batch_{k}' for k in range(1, 6)] + ['test_batch']):
        (base/name).write_bytes(pickle.dumps({'data': rows[i], 'labels': labels[i]}, protocol=2))
    (base/'batches.meta').write_bytes(pickle.dumps({'label_names': CIFAR_CLASSES}, protocol=2))
    return rows.reshape(6, n, 3, 32, 32), labels


def test_cifar10(tmp_path, monkeypatch, offline):
    rows, labels = write_cifar(tmp_path)
    refused('cifar10', 'cifar-10-batches-py', what='cifar10', root=tmp_path)    # the hashes differ: never loaded by mistake
    sizes_only(monkeypatch, 'cifar')
    train, test, both = (load('cifar10', split=s, root=tmp_path) for s in ('train', 'test', 'all'))
    assert (train.pixels.numpy() == rows[:5].reshape(-1, 3, 32, 32)).all() and (test.pixels.numpy() == rows[5]).all()
    assert train.labels.tolist() == sum(labels[:5], []) and test.labels.tolist() == labels[5]
    assert train.classes == CIFAR_CLASSES and train.name == 'cifar10' and train.notes == []
    assert len(both) == 24 and both.split == 'all' and (both[20:] == test.pixels).all()
    assert load('cifar10', root=tmp_path, img_size=16, limit=5).pixels.shape == (5, 3, 16, 16)


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack('>HBB', 0, 8, array.ndim) + struct.pack(f'>{array.ndim}I', *array.shape) + array.tobytes())


def test_fashion_mnist(tmp_path, offline):
    raw = tmp_path/'FashionMNIST'/'raw'
    pixels, labels = RNG.integers(0, 256, (6, 28, 28), dtype=np.uint8), np.arange(6, dtype=np.uint8)
    for part in ('train', 't10k'):
        write_idx(raw/f'{part}-images-idx3-ubyte', pixels)
        write_idx(raw/f'{part}-labels-idx1-ubyte', labels)
    images = load('fashion_mnist', root=tmp_path)
    assert (images[:, 1, 2:30, 2:30].numpy() == pixels).all() and images[:, :, :2].max() == 0    # exact, with a black border
    assert images.labels.tolist() == list(range(6)) and images.notes == ['6 grey images converted to RGB']


def test_stl10(tmp_path, offline):
    base = tmp_path/'stl10_binary'
    base.mkdir()
    pixels = RNG.integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    for part in ('train', 'test', 'unlabeled'): (base/f'{part}_X.bin').write_bytes(pixels.transpose(0, 3, 2, 1).tobytes())  # column by column
    for part in ('train', 'test'): (base/f'{part}_y.bin').write_bytes(bytes([1, 10, 3]))
    (base/'class_names.txt').write_text('\n'.join(CIFAR_CLASSES) + '\n')
    images = load('stl10', root=tmp_path, img_size=96)
    assert (images.pixels.permute(0, 2, 3, 1).numpy() == pixels).all() and images.labels.tolist() == [0, 9, 2]
    more = load('stl10', root=tmp_path, img_size=48, split='train+unlabeled')
    assert len(more) == 6 and more.labels is None and more.split == 'train+unlabeled' and more.notes == ['96x96 images resized to 48x48']
    (base/'train_X.bin').write_bytes(b'torn')
    refused('stl10', 'stl10_binary', what='stl10', root=tmp_path)


def test_celeba(tmp_path, monkeypatch, offline):
    base = tmp_path/'celeba'
    names = [f'{i:06d}.jpg' for i in range(1, 5)]
    face = np.zeros((218, 178, 3), np.uint8)
    face[29:189, 9:169] = (200, 60, 60)                                         # the centre 160x160
    for name in names: save(base/'img_align_celeba'/name, face, quality=95)
    for name, header, width in [('list_eval_partition.txt', False, 1), ('identity_CelebA.txt', False, 1), ('list_bbox_celeba.txt', True, 4),
                                ('list_landmarks_align_celeba.txt', True, 10), ('list_attr_celeba.txt', True, 40)]:
        head = f"{len(names)}\n{' '.join(f'c{k}' for k in range(width))}\n" if header else ''
        (base/name).write_text(head + ''.join(f"{n} {' '.join(['0' if i < 2 else '2']*width)}\n" for i, n in enumerate(names)))
    refused('celeba', 'list_', what='celeba', root=tmp_path)
    sizes_only(monkeypatch, 'celeba')
    images = load('celeba', root=tmp_path)
    assert images.names == names[:2] and images.labels is None and 'the centre 160x160 of 178x218 kept' in images.notes
    assert (images.pixels.float().mean((0, 2, 3)) - torch.tensor([200., 60, 60])).abs().max() < 6
    assert load('celeba', root=tmp_path, split='test').names == names[2:]


@pytest.mark.parametrize('name, folder', dict(cifar10='cifar-10-batches-py', stl10='stl10_binary', celeba='celeba', fashion_mnist='FashionMNIST').items())
def test_offline_says_where_files_belong(name, folder, tmp_path, offline):
    refused(name, str(tmp_path/folder), 'could not be downloaded', what=name, root=tmp_path)
    refused(name, 'could not be downloaded', what=name, root=tmp_path/'new'/'data')
    assert not (tmp_path/'new').exists()                                        # no trace of what could not be had


# --- the tool --------------------------------------------------------------------------------------------------------

@pytest.fixture
def emoji_tool():
    spec = importlib.util.spec_from_file_location('emoji_tool', Path(__file__).parents[1]/'tools'/'emoji.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def write_package(path, version):
    entries = [dict(short_name=n, category=c, image=f'{n}.png', has_img_google=n != 'none') for n, c in
               [('zebra', 'Animals'), ('apple', 'Food'), ('none', 'Food'), ('ant', 'Animals')]]
    def add(tar, name, data):
        info = tarfile.TarInfo(f'package/{name}')
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    with tarfile.open(path, 'w:gz') as tar:
        add(tar, 'package.json', json.dumps(dict(version=version)).encode())
        add(tar, 'emoji.json', json.dumps(entries).encode())
        for e in entries: add(tar, f"img/google/64/{e['image']}", encoded(Image.fromarray(noise(64, 64, 4))))
    return path


def test_emoji_tool(emoji_tool, tmp_path, monkeypatch):
    package = write_package(tmp_path/'p.tgz', emoji_tool.VERSION)
    made = []
    for run in ('a', 'b'):
        monkeypatch.setattr(emoji_tool, 'DATA', tmp_path/run)
        (tmp_path/run).mkdir()
        entries = emoji_tool.read_package(package)
        emoji_tool.write_sheet(entries)
        emoji_tool.write_zip(entries, tmp_path/run/'emoji64.zip')
        made.append({p.name: p.read_bytes() for p in (tmp_path/run).iterdir()})
    assert made[0] == made[1] and len(made[0]) == 4                              # the same bytes again
    about = json.loads(made[0]['emoji.json'])
    assert about == dict(classes=['Animals', 'Food'], labels=[0, 0, 1], names=['ant', 'zebra', 'apple'])
    sheet = np.asarray(Image.open(io.BytesIO(made[0]['emoji.webp'])).convert('RGB'))
    from_zip = load(tmp_path/'a'/'emoji64.zip')                                  # the zip, halved on loading, is the sheet
    assert (from_zip.pixels.permute(0, 2, 3, 1).numpy() == np.stack([sheet[:32, i*32:i*32 + 32] for i in range(3)])).all()
    assert 'Apache' in made[0]['emoji.NOTICE.txt'].decode()
