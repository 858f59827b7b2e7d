"""Pixels as files have them: notes that cannot be read, more than 8 bits, any size, arrays of other tools."""
import io
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from degas_nb.ground import data
from degas_nb.ground.data import load, read_rgb
from degas_nb.ground.errors import UserError
from degas_nb.ground.sizes import as_they_are

RNG = np.random.default_rng(0)


def noise(h=32, w=32): return RNG.integers(0, 256, (h, w, 3), dtype=np.uint8)


def encoded(image, kind='png', **kw):
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, kind, **kw)
    return out.getvalue()


def refused(*words, **kw):
    with pytest.raises(UserError) as caught: load(**kw)
    line = str(caught.value)
    assert line.isprintable() and len(line) < 1000, line
    for word in words: assert word in line, line


# --- notes in files --------------------------------------------------------------------------------------------------

def chunk(kind, content, right=True): return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content) ^ (not right))
def with_chunk(png, new): return png[:33] + new + png[33:]                                       # behind the header
def before_end(png, new): return png[:-12] + new + png[-12:]
def with_segment(jpeg, mark, content): return jpeg[:2] + bytes([255, mark]) + struct.pack('>H', len(content) + 2) + content + jpeg[2:]


TORN_EXIF = b'Exif\0\0II*\0\x08\0\0\0\x05\0\x12\1\3'
PNGS = {
    'exif of another order': lambda p: with_chunk(p, chunk(b'eXIf', b'XX*\0\x08\0\0\0\1\0')),
    'torn exif': lambda p: with_chunk(p, chunk(b'eXIf', TORN_EXIF[6:])), 'exif of nothing': lambda p: with_chunk(p, chunk(b'eXIf', b'')), 'exif of noise': lambda p: with_chunk(p, chunk(b'eXIf', RNG.bytes(60))),
    'text with a wrong checksum': lambda p: with_chunk(p, chunk(b'tEXt', b'Title\0x', False)), 'a text without end': lambda p: with_chunk(p, chunk(b'zTXt', b'Title\0\0' + zlib.compress(bytes(70_000_000)))),
    'a torn text': lambda p: with_chunk(p, chunk(b'zTXt', b'Title\0\0milk')), 'text of no letters': lambda p: before_end(p, chunk(b'iTXt', b'\xff\xfe\0\1\0\xff\0\xff')), 'many long texts': lambda p: with_chunk(p, chunk(b'zTXt', b'T\0\0' + zlib.compress(bytes(900_000)))*100),
    'a torn profile': lambda p: with_chunk(p, chunk(b'iCCP', b'sRGB\0\0milk')), 'a profile without end': lambda p: with_chunk(p, chunk(b'iCCP', b'sRGB\0\0' + zlib.compress(bytes(70_000_000)))),
    'a wrong checksum of the profile': lambda p: with_chunk(p, chunk(b'iCCP', b'sRGB\0\0milk', False)), 'a torn gamma': lambda p: with_chunk(p, chunk(b'gAMA', b'\0')), 'torn resolution': lambda p: with_chunk(p, chunk(b'pHYs', b'\0\0'))}
JPEGS = {
    'torn exif': lambda j: with_segment(j, 0xe1, TORN_EXIF), 'exif of noise': lambda j: with_segment(j, 0xe1, b'Exif\0\0' + RNG.bytes(80)), 'exif of nothing': lambda j: with_segment(j, 0xe1, b'Exif\0\0'),
    'a torn profile': lambda j: with_segment(j, 0xe2, b'ICC_PROFILE\0\2\1milk'), 'a torn MPO': lambda j: with_segment(j, 0xe2, b'MPF\0II*\0milk'), 'a torn Photoshop note': lambda j: with_segment(j, 0xed, b'Photoshop 3.0\08BIM\x03\xed\0\0\0\0\1\0milk')}


@pytest.mark.parametrize('how', PNGS)
def test_a_png_with_bad_notes_is_read(how, tmp_path):
    pixels = noise()
    (tmp_path/'a.png').write_bytes(PNGS[how](encoded(pixels)))
    (tmp_path/'b.png').write_bytes(encoded(pixels))
    images = load(tmp_path)
    assert (images[0].permute(1, 2, 0).numpy() == pixels).all() and (images[1] == images[0]).all()
    assert images.notes in ([], ['unreadable notes (EXIF, text or profiles) in 1 image ignored'])


@pytest.mark.parametrize('how', JPEGS)
def test_a_jpeg_with_bad_notes_is_read(how, tmp_path):
    plain = encoded(noise(), 'jpeg')
    (tmp_path/'a.jpg').write_bytes(JPEGS[how](plain))
    images = load(tmp_path)
    assert (images[0].permute(1, 2, 0).numpy() == np.asarray(Image.open(io.BytesIO(plain)))).all()


def test_notes_that_cannot_be_read_are_said_once(tmp_path):
    for i in range(5): (tmp_path/f'{i}.png').write_bytes(PNGS['exif of another order' if i%2 else 'text with a wrong checksum'](encoded(noise())))
    for i in range(3): (tmp_path/f'{i}.jpg').write_bytes(encoded(noise(), 'jpeg', quality=95))
    assert load(tmp_path).notes == ['unreadable notes (EXIF, text or profiles) in 5 images ignored']


@pytest.mark.parametrize('value', [0, 9, 77])
def test_an_orientation_that_does_not_exist(value, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = value
    pixels = noise()
    (tmp_path/'a.png').write_bytes(encoded(pixels, exif=exif.tobytes()))
    (tmp_path/'b.webp').write_bytes(encoded(pixels, 'webp', lossless=True, exif=exif.tobytes()))
    assert all((image.permute(1, 2, 0).numpy() == pixels).all() for image in load(tmp_path).pixels)


def test_a_damaged_picture_stays_damaged(tmp_path):
    png, jpeg = bytearray(with_chunk(encoded(noise()), chunk(b'tEXt', b'T\0x', False))), encoded(noise(), 'jpeg')
    png[-40] ^= 255
    (tmp_path/'a.png').write_bytes(png)
    refused('a.png cannot be read', what=tmp_path)
    (tmp_path/'a.png').unlink()
    (tmp_path/'b.jpg').write_bytes(with_segment(jpeg[:-100], 0xe1, TORN_EXIF))
    refused('b.jpg cannot be read', 'truncated', what=tmp_path)


def test_formats_that_start_programs_are_not_read(tmp_path):
    (tmp_path/'a.png').write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n')
    (tmp_path/'b.jpg').write_bytes(encoded(noise(), 'ico'))
    for name in ('a.png', 'b.jpg'):
        refused(f'{name} cannot be read', 'unknown format', what=tmp_path)
        (tmp_path/name).unlink()


@pytest.mark.parametrize('side', [10_000, 40_000])
def test_more_pixels_than_anybody_means(side, tmp_path, recwarn):
    (tmp_path/'a.png').write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)) + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b''))
    refused('a.png cannot be read', 'pixels', what=tmp_path)
    assert not [str(w.message) for w in recwarn.list]


# --- more than 8 bits ------------------------------------------------------------------------------------------------

def deep(folder, arrays, suffix='tif'):
    for i, a in enumerate(arrays): Image.fromarray(a).save(folder/f'{i}.{suffix}')
    return load(folder)


def grey(): return RNG.integers(0, 256, (32, 32)).astype(np.uint8)


@pytest.mark.parametrize('dtype, factor, offset', [(np.int32, 1, 0), (np.uint16, 1, 0), ('>u2', 1, 0), (np.float32, 1, 0), (np.float32, 1/255, 0), (np.float32, 2/255, -1), (np.uint16, 257, 0), (np.int32, 257, 0), (np.float32, 257, 0), (np.int32, 10_000, -1_000_000), (np.float32, 3e4, 0)])
def test_the_range_of_the_numbers_counts_not_that_of_the_file(dtype, factor, offset, tmp_path):
    bytes_ = [grey() for _ in range(3)]
    bytes_[0][0, :2] = 0, 255                                                     # so that the set has its ends
    images = deep(tmp_path, [(b.astype(np.float64)*factor + offset).astype(dtype) for b in bytes_])
    assert abs(images.pixels[:, 0].int().numpy() - np.stack(bytes_).astype(int)).max() <= (0 if factor in (1, 257) else 1)
    assert len(images.notes) == 1 and '3 ' in images.notes[0] and ('taken as 8-bit' in images.notes[0]) == (factor == 1)


@pytest.mark.parametrize('dtype, factor', [(np.uint16, 257), (np.int32, 257), (np.float32, 257), (np.float32, 1)])
def test_a_dark_image_among_bright_ones_stays_dark(dtype, factor, tmp_path):
    bright, dark = grey(), (grey()//200)
    bright[0, 0] = 255
    images = deep(tmp_path, [(b.astype(np.float64)*factor).astype(dtype) for b in (dark, bright, dark)])
    assert (images.pixels[:, 0].numpy() == np.stack([dark, bright, dark])).all()


def test_kinds_are_scaled_each_by_itself(tmp_path):
    a, b = grey(), grey()
    b[0, 0] = 255
    images = deep(tmp_path, [a.astype(np.int32), b.astype(np.uint16)*257])
    assert (images.pixels[:, 0].numpy() == np.stack([a, b])).all() and len(images.notes) == 2


@pytest.mark.parametrize('dtype', [np.uint16, np.int32, np.float32])
def test_a_dark_size_among_bright_ones_stays_dark(dtype, tmp_path):
    "Where every size is left as it is, all are still scaled as one set; alone, the dark ones would be taken for 8 bits."
    bright, dark = grey(), (grey()//200)[:20, :24]
    bright[0, 0], dark[0, 0] = 255, 1
    for i, some in enumerate((dark, bright, dark)): Image.fromarray((some.astype(np.float64)*200).astype(dtype)).save(tmp_path/f'{i}.tif')
    def brightest(images): return sorted(int(part.pixels.max()) for part in getattr(images, 'parts', [images]))
    for _ in range(2): assert brightest(as_they_are(tmp_path)) == [1, 198]  # 200 and 51,000 of 65,535; the second time perhaps from the cache
    (tmp_path/'1.tif').unlink()
    assert brightest(as_they_are(tmp_path)) == [200]


@pytest.mark.parametrize('value, word', [(5, 'black'), (250, 'white')])
def test_images_that_come_out_black_or_white_are_said(value, word, tmp_path):
    for i in range(4): Image.fromarray(np.full((32, 32, 3), value, np.uint8) + noise()//64).save(tmp_path/f'{i}.png')
    assert any(f'nearly all pixels are {word}' in note for note in load(tmp_path).notes)
    (tmp_path/'dark').mkdir()
    assert any('black' in note for note in deep(tmp_path/'dark', [np.full((32, 32), 3000, np.uint16) + grey() for _ in range(3)]).notes)      # 12 bits in 16
    Image.fromarray(noise()).save(tmp_path/'9.png')
    assert not any('nearly' in note for note in load(tmp_path).notes)


# --- any size --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('h, w', [(28, 28), (60, 100), (100, 60), (1, 7), (33, 32)])
@pytest.mark.parametrize('how', ['folder', 'zip', 'npy'])
def test_images_of_one_size_are_kept_as_they_are(h, w, how, tmp_path):
    pixels = np.stack([noise(h, w) for _ in range(3)])
    if how == 'npy': np.save(tmp_path/'x.npy', pixels)
    else:
        for i, p in enumerate(pixels): (tmp_path/f'{i}.png').write_bytes(encoded(p))
    if how == 'zip':
        with zipfile.ZipFile(tmp_path/'x.zip', 'w') as archive: [archive.write(tmp_path/f'{i}.png', f'{i}.png') for i in range(3)]
    images = load(tmp_path/dict(folder='', zip='x.zip', npy='x.npy')[how], None)
    assert (images.pixels.permute(0, 2, 3, 1).numpy() == pixels).all() and f'{w}x{h}' in images.prepared
    same = load(tmp_path/dict(folder='', zip='x.zip', npy='x.npy')[how], (h, w))
    assert same.fingerprint() == images.fingerprint() and same.prepared == images.prepared
    if h != w:
        with pytest.raises(UserError, match='not square'): images.size


@pytest.mark.parametrize('n_other, at', [(1, 0), (3, 5), (2, 2)])
def test_the_size_of_most_counts_and_nothing_is_cropped(n_other, at, tmp_path):
    shapes = [(40, 64)]*8
    shapes[at:at + n_other] = [(16, 50), (90, 20), (80, 128)][:n_other]
    for i, (h, w) in enumerate(shapes):
        ramp = np.repeat(np.linspace(0, 255, w).round().astype(np.uint8)[None, :, None], h, 0).repeat(3, 2)
        (tmp_path/f'{i}.png').write_bytes(encoded(ramp))
    images = load(tmp_path, None)
    assert images.pixels.shape == (8, 3, 40, 64) and f'{n_other} of 8 images' in images.prepared and '64x40' in images.prepared and images.notes[0] in images.prepared
    assert (images.pixels[:, 0, 20, 0] < 12).all() and (images.pixels[:, 0, 20, -1] > 243).all()      # both ends are there


def test_no_common_size_is_refused_with_a_way_out(tmp_path):
    for i, side in enumerate((20, 30, 40, 50, 50)): (tmp_path/f'{i}.png').write_bytes(encoded(noise(side, side)))
    refused('4 sizes', '20x20', '50x50', '--img-size', what=tmp_path, img_size=None)
    assert load(tmp_path, (24, 24)).pixels.shape == (5, 3, 24, 24)


def test_photos_are_counted_as_they_stand(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(3): (tmp_path/f'{i}.jpg').write_bytes(encoded(noise(20, 30), 'jpeg', exif=exif))
    assert load(tmp_path, None).pixels.shape == (3, 3, 30, 20)


def test_how_images_were_prepared_is_kept(tmp_path):
    for i in range(2): (tmp_path/f'{i}.png').write_bytes(encoded(noise(40, 60)))
    assert 'centre-cropped' in load(tmp_path, 32).prepared and 'centre-cropped' not in load(tmp_path, (20, 30)).prepared
    assert load('emoji', None, limit=5).prepared == load('emoji', limit=5).prepared and load(tmp_path).subset([0]).prepared == load(tmp_path).prepared


def test_what_does_not_fit_into_memory_is_said(tmp_path, monkeypatch):
    (tmp_path/'0.png').write_bytes(encoded(noise()))
    monkeypatch.setattr(data, 'memory_here', lambda: 10**7)
    refused('GB of memory', 'a smaller size', what=tmp_path, img_size=4096)


# --- arrays of other tools -------------------------------------------------------------------------------------------

FORMS = {'bytes': lambda x: x, 'colours first': lambda x: x.transpose(0, 3, 1, 2), 'floats to 1': lambda x: (x/255).astype(np.float32), 'floats from -1': lambda x: x/127.5 - 1,
         'floats to 255': lambda x: x.astype(np.float64), 'long integers': lambda x: x.astype(np.int64), 'half floats, first': lambda x: (x/255).astype(np.float16).transpose(0, 3, 1, 2)}


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('file', ['npz', 'npy', 'compressed'])
def test_samples_of_other_tools(form, file, tmp_path):
    pixels = np.stack([noise(24, 40) for _ in range(6)])
    pixels[0, 0, 0] = 0, 255, 255
    path = tmp_path/f"samples.{'npy' if file == 'npy' else 'npz'}"
    if file == 'npy': np.save(path, FORMS[form](pixels))
    else: (np.savez if file == 'npz' else np.savez_compressed)(path, FORMS[form](pixels), np.arange(6))
    images = load(path, None)
    assert abs(images.pixels.permute(0, 2, 3, 1).int().numpy() - pixels).max() <= 0 and len(images) == 6 and images.split == 'all'
    said = [note for note in images.notes if note != 'of its arrays arr_1 is left out']
    assert (len(images.notes) - len(said), said == []) == (file != 'npy', form == 'bytes') and load(path, limit=2).pixels.shape == (2, 3, 32, 32)


def test_grey_and_transparent_arrays(tmp_path):
    grey_, rgba = RNG.integers(0, 256, (4, 32, 32), dtype=np.uint8), np.concatenate([noise()[None], np.zeros((1, 32, 32, 1), np.uint8)], 3)
    for name, x in dict(a=grey_, b=grey_[..., None], c=grey_[:, None], d=rgba).items(): np.save(tmp_path/f'{name}.npy', x)
    a, b, c, d = (load(tmp_path/f'{name}.npy') for name in 'abcd')
    assert (a.pixels[:, 1].numpy() == grey_).all() and a.fingerprint() == b.fingerprint() == c.fingerprint() and (d.pixels == 255).all()


def test_arrays_by_another_name(tmp_path):
    np.savez(tmp_path/'x.npz', fake=np.stack([noise(), noise()]), labels=np.arange(2), cfg=np.zeros(3))
    assert load(tmp_path/'x.npz').names == ['fake/00000', 'fake/00001']


class Bomb:
    def __reduce__(self): return (pytest.fail, ('was executed',))


@pytest.mark.parametrize('suffix', ['npy', 'npz'])
def test_arrays_that_are_none(suffix, tmp_path):
    path = tmp_path/f'x.{suffix}'
    save = np.save if suffix == 'npy' else np.savez
    for array, words in [(np.array([Bomb()]*4, dtype=object), 'bject'), (np.zeros((3, 5)), '3x5' if suffix == 'npy' else 'dimensions'), (np.zeros((2, 8, 8, 7), np.uint8), '2x8x8x7'), (np.full((2, 8, 8, 3), np.nan), 'finite'),
                         (np.zeros((0, 8, 8, 3), np.uint8), '0x8x8x3'), (np.array(['a', 'b']), ''), (np.zeros((2, 8, 8, 3), complex), 'complex')]:
        save(path, array)
        refused('x.' + suffix, words, what=path)
    save(path, np.zeros((20, 8, 8, 3), np.uint8))
    whole = path.read_bytes()
    for cut in (0, 10, 90, 1000, len(whole) - 30):
        path.write_bytes(whole[:cut])
        refused('x.' + suffix, what=path)
    path.write_bytes(pickle.dumps(Bomb()))
    refused('x.' + suffix, what=path)


def test_statistics_are_no_images(tmp_path):
    np.savez(tmp_path/'fid.npz', mu=np.zeros(8), sigma=np.eye(8))
    refused('statistics', '--real-stats', what=tmp_path/'fid.npz')


def test_a_header_that_speaks_of_more_than_there_is(tmp_path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, dict(descr='|u1', fortran_order=False, shape=(10**9, 512, 512, 3)))
    with zipfile.ZipFile(tmp_path/'x.npz', 'w') as archive: archive.writestr('arr_0.npy', head.getvalue() + bytes(1000))
    (tmp_path/'x.npy').write_bytes(head.getvalue() + bytes(1000))
    for name in ('x.npz', 'x.npy'): refused(name, what=tmp_path/name)


def test_read_rgb_takes_paths_and_bytes(tmp_path):
    pixels = noise()
    (tmp_path/'a.png').write_bytes(PNGS['exif of another order'](encoded(pixels)))
    for file in (tmp_path/'a.png', str(tmp_path/'a.png'), io.BytesIO((tmp_path/'a.png').read_bytes())): assert (np.asarray(read_rgb(file).image) == pixels).all() and torch.is_tensor(load(tmp_path).pixels)


# --- ranges, several arrays, labels beside ---------------------------------------------------------------------------

@pytest.mark.parametrize('black, white', [(0, 1), (-1, 1), (0, 255), (0, 65535)])
@pytest.mark.parametrize('over', [0, 1e-6, .02, .1])
@pytest.mark.parametrize('kind', [np.float16, np.float32, np.float64])
def test_floats_that_overshoot_are_what_they_were(black, white, over, kind, tmp_path):
    "Bicubic resizing leaves -0.03 and 1.04: a little outside of the usual range is the range, and not a black picture."
    if kind == np.float16 and white > 255: return   # which ends at 65504
    grey = np.linspace(0, 255, 4*32*32*3).round().reshape(4, 32, 32, 3)
    x = (grey/255*(white - black)*(1 + 2*over) + black - over*(white - black)).astype(kind)
    np.savez(tmp_path/'x.npz', x)
    expected = ((x.astype(float) - black)/(white - black)*255).round().clip(0, 255)
    assert abs(load(tmp_path/'x.npz').pixels.permute(0, 2, 3, 1).numpy() - expected).max() <= 1
    for i, part in enumerate(x[..., 0]): Image.fromarray(part.astype(np.float32)).save(tmp_path/f'{i}.tiff')
    (tmp_path/'x.npz').unlink()
    assert abs(load(tmp_path).pixels[:, 0].numpy() - expected[..., 0]).max() <= 1


@pytest.mark.parametrize('kind', [np.int64, np.uint16, np.uint8, np.int32, bool, np.float32])
def test_masks_of_zeros_and_ones_are_black_and_white(kind, tmp_path):
    x = (RNG.random((3, 32, 32)) < .3)
    np.save(tmp_path/'x.npy', x.astype(kind))
    assert (load(tmp_path/'x.npy').pixels[:, 0].numpy() == 255*x).all()


def test_numbers_of_no_usual_range_fill_what_they_fill(tmp_path):
    "Normalised as networks like them, or counts of photons: neither black nor white all over."
    for x in (RNG.normal(0, 1, (3, 32, 32, 3)), RNG.normal(0, 1, (3, 32, 32, 3))*200 + 900, RNG.random((3, 32, 32, 3))*12):
        np.save(tmp_path/'x.npy', x)
        seen = load(tmp_path/'x.npy').pixels
        assert seen.min() == 0 and seen.max() == 255 and 15 < seen.float().std() < 120


PARTS = dict(x_train=12, x_test=6)


@pytest.mark.parametrize('names', [('x_train', 'x_test', 'y_train', 'y_test'), ('train_images', 'test_images', 'train_labels', 'test_labels'), ('trainset', 'testset', 'labels_train', 'labels_test')])
def test_an_npz_with_parts_is_a_data_set_with_parts(names, tmp_path):
    "As Keras, MedMNIST and others keep theirs: the part that is asked for, with its labels."
    a, b, la, lb = names
    x, y = np.stack([noise(32, 32) for _ in range(18)]), np.arange(18) % 3 + 5
    np.savez(tmp_path/'x.npz', **{b: x[12:], a: x[:12], lb: y[12:], la: y[:12]})
    for split, part in dict(train=slice(0, 12), test=slice(12, 18)).items():
        images = load(tmp_path/'x.npz', split=split)
        assert (images.pixels.permute(0, 2, 3, 1).numpy() == x[part]).all() and images.split == split
        assert images.classes == ['5', '6', '7'] and (images.labels.numpy() == y[part] - 5).all()
    assert len(load(tmp_path/'x.npz', split='all')) == 18 == len(load(tmp_path/'x.npz', split='train+test'))
    refused('train, test', what=tmp_path/'x.npz', split='valid')


def test_several_arrays_of_images_are_not_chosen_from(tmp_path):
    x = np.stack([noise(32, 32) for _ in range(6)])
    for names in (('a', 'b'), ('arr_0', 'arr_1'), ('train_a', 'train_b'), ('train', 'other')):
        np.savez(tmp_path/'x.npz', **{name: x for name in names})
        refused('several arrays of images', *names, what=tmp_path/'x.npz')
    np.savez(tmp_path/'x.npz', images=x, masks=x[..., 0])   # colours before greys, and that is said
    assert 'of its arrays masks is left out' in load(tmp_path/'x.npz').notes


def test_labels_beside_an_array(tmp_path):
    x, y = np.stack([noise(32, 32) for _ in range(6)]), np.array([4, 4, 9, 4, 9, 9])
    for name in ('labels', 'y', 'arr_1', 'target'):
        np.savez(tmp_path/'x.npz', arr_0=x, **{name: y})
        images = load(tmp_path/'x.npz')
        assert images.classes == ['4', '9'] and images.labels.tolist() == [0, 0, 1, 0, 1, 1] and f'2 classes from {name}' in images.notes
    for name, other in dict(labels=np.arange(6), y=y[:5], arr_1=y*1., index=y, arr_2=np.eye(6)).items():
        np.savez(tmp_path/'x.npz', arr_0=x, **{name: other})
        images = load(tmp_path/'x.npz')
        assert images.labels is None and images.classes is None and f'of its arrays {name} is left out' in images.notes


@pytest.mark.parametrize('low, high', [(-400, 8800), (-1024, 4500), (-20, 40), (-2, 3)], ids=['heights', 'densities', 'degrees', 'normalised'])
def test_numbers_below_nought_are_no_overshoot_of_bytes(low, high, tmp_path):
    x = np.linspace(low, high, 3*32*32*3).reshape(3, 32, 32, 3)
    np.save(tmp_path/'x.npy', x)
    seen = load(tmp_path/'x.npy').pixels
    assert seen.min() == 0 and seen.max() == 255 and abs(seen.float().mean() - 127.5) < 1


def test_labels_in_a_column_and_a_part_without(tmp_path):
    "As Keras and MedMNIST keep theirs; a test set without labels, or with one image a class, takes none from the others."
    x, y = np.stack([noise(32, 32) for _ in range(15)]), np.arange(12)[:, None] % 3
    np.savez(tmp_path/'x.npz', x_train=x[:12], x_test=x[12:], y_train=y)
    assert load(tmp_path/'x.npz').labels.tolist() == y[:, 0].tolist() and load(tmp_path/'x.npz', split='test').labels is None
    assert load(tmp_path/'x.npz', split='all').labels is None
    np.savez(tmp_path/'x.npz', x_train=x[:12], x_test=x[12:], y_train=y, y_test=np.array([[0], [1], [2]]))
    assert load(tmp_path/'x.npz', split='all').labels.tolist() == [*y[:, 0], 0, 1, 2]
