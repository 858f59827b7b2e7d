"""Damage files of every kind that is read, thousands of times, and see that each ends in a result or in one line for a person.

    tools/fuzz.py [N] [--seed S] [--only KIND] [--keep FOLDER]    N inputs (10,000), over all kinds or one of them

A seed and a number make the same input on every machine with the same libraries; `--keep` stores those that failed.
Looked for: any error but `UserError`, a line that is none, more than five seconds for one input, more than 1 GB of memory beside
the libraries, anything written, started or fetched outside of a temporary folder.
"""
import argparse, copy, io, json, os, random, resource, signal, struct, sys, tempfile, time, warnings, zipfile, zlib
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from degas_nb.ground import data
from degas_nb.ground.data import load
from degas_nb.ground.errors import UserError
from degas_nb.ground.folders import RunFolder, RunWarning
from degas_nb.ground.sizes import as_they_are
from degas_nb.judge.features import Recipe, SmallClassifier, _classifier_bytes, _read_classifier, _sealed_classifier
from degas_nb.judge.metrics import Statistics
from degas_nb.space.genotype import DEGAS, Genotype, SearchSpace, named_genotypes

SECONDS, BYTES, CHARACTERS = 5, 10**9, 1000

# --- files in good order ---------------------------------------------------------------------------------------------

def noise(*shape, dtype=np.uint8):
    "Pixels, always the same."
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def written(save, *args, **kw):
    "The bytes that a function writes into a file."
    out = io.BytesIO()
    save(out, *args, **kw)
    return out.getvalue()


def picture(mode='RGB', kind='png', **kw):
    "An image of 24x20 as a file."
    pixels = dict(RGB=(20, 24, 3), RGBA=(20, 24, 4), L=(20, 24), LA=(20, 24, 2), CMYK=(20, 24, 4)).get(mode)
    if pixels: image = Image.fromarray(noise(*pixels), mode if mode in ('CMYK', 'LA') else None)
    elif mode == 'I;16': image = Image.fromarray(noise(20, 24, dtype=np.uint16)*100)
    elif mode == 'I': image = Image.fromarray(noise(20, 24, dtype=np.int32)*10**6)
    elif mode == 'F': image = Image.fromarray(noise(20, 24, dtype=np.float32)/255)
    else: image = Image.fromarray(noise(20, 24, 3)).convert(mode)
    return written(image.save, kind, **kw)


def exif():
    "Notes of a camera: turned by 90 degrees."
    notes = Image.Exif()
    notes[0x112], notes[0x10e] = 6, 'a house'
    return notes


def pngs():
    "Of every depth, with notes and palettes."
    from PIL.PngImagePlugin import PngInfo
    notes = PngInfo()
    notes.add_text('Title', 'a house')
    notes.add_itxt('Comment', 'x'*99, zip=True)
    plain = [picture(m) for m in ('RGB', 'RGBA', 'L', 'LA', '1', 'P', 'I;16')]
    return [*plain, picture(pnginfo=notes, exif=exif(), dpi=(72, 72)), picture('P', transparency=3), picture('L', transparency=9)]


def jpegs():
    "Of every colour space, plain and progressive."
    plain = [picture(m, 'jpeg') for m in ('RGB', 'L', 'CMYK')]
    return [*plain, picture(kind='jpeg', exif=exif(), comment=b'x'*50), picture(kind='jpeg', progressive=True, icc_profile=b'x'*300)]


def webps():
    "Lossy, lossless, transparent, moving."
    frames = [Image.fromarray(noise(20, 24, 3)//k) for k in (2, 3)]
    return [picture(kind='webp'), picture('RGBA', 'webp', lossless=True, exif=exif()),
            written(Image.fromarray(noise(20, 24, 3)).save, 'webp', save_all=True, append_images=frames)]


def gifs():
    "Still, transparent, moving."
    frames = [Image.fromarray(noise(20, 24)//k) for k in (2, 3)]
    return [picture('P', 'gif'), picture('P', 'gif', transparency=5, comment=b'a house'),
            written(Image.fromarray(noise(20, 24)).save, 'gif', save_all=True, append_images=frames, loop=0, duration=50)]


def tiffs():
    "Of every depth and packing."
    plain = [picture(m, 'tiff') for m in ('RGB', 'RGBA', 'L', '1', 'P', 'I;16', 'I', 'F', 'CMYK')]
    packed = [picture(kind='tiff', compression=c) for c in ('tiff_lzw', 'jpeg', 'tiff_adobe_deflate', 'packbits')]
    frames = written(Image.fromarray(noise(20, 24, 3)).save, 'tiff', save_all=True, append_images=[Image.fromarray(noise(9, 9))])
    return [*plain, *packed, picture(kind='tiff', tiffinfo=exif()), picture('1', 'tiff', compression='group4'), frames]


def others():
    "BMP, and the plain formats of netpbm."
    return [*(picture(m, 'bmp') for m in ('RGB', 'RGBA', 'L', '1', 'P')), *(picture(m, 'ppm') for m in ('RGB', 'L', '1', 'I;16', 'F')),
            b'P3\n2 2\n255\n' + b'9 8 7 '*4, b'P2 3 1 99 1 2 3']


def zipped(files, how=zipfile.ZIP_STORED):
    "A zip of {name: bytes}."
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', how) as z:
        for name, content in files.items(): z.writestr(name, content)
    return out.getvalue()


TABLE = 'file_name,label\n' + ''.join(f'{c}/{i}.png,{c}\n' for c in ('elm', 'oak') for i in range(2))
LABELS = {
    'dataset.json': json.dumps(dict(labels=[[f'{c}/{i}.png', k] for k, c in enumerate(('elm', 'oak')) for i in range(2)])),
    'metadata.csv': TABLE, 'labels.csv': TABLE.replace('label', 'class'),
    'metadata.jsonl': ''.join(json.dumps(dict(file_name=f'{c}/{i}.png', label=c)) + '\n' for c in ('elm', 'oak') for i in range(2))}


def zips():
    "With classes, splits and labels, in every packing."
    plain = {f'{c}/{i}.png': pngs()[i] for c in ('elm', 'oak') for i in range(2)}
    halves = {f'{s}/{c}/0.png': pngs()[0] for s in ('train', 'val') for c in ('é', 'oak')}
    packings = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA
    return [*(zipped(plain, how) for how in packings), zipped(halves), *(zipped(plain | {n: t}) for n, t in LABELS.items())]


def arrays():
    "Images as numpy keeps them."
    return [noise(3, 20, 24, 3), noise(3, 3, 20, 24), noise(4, 20, 24), noise(3, 20, 24, 4), noise(3, 20, 24, 1, dtype=np.uint16)*100,
            noise(3, 20, 24, 3, dtype=np.float32)/255, noise(3, 20, 24, 3, dtype=np.float16)/128 - 1, noise(3, 20, 24) > 99,
            np.asfortranarray(noise(3, 20, 24, 3)), noise(3, 20, 24, 3, dtype=np.dtype('>i8'))]


def archives():
    "Arrays in .npz files."
    a = arrays()
    return [written(np.savez, *a[:1]), written(np.savez_compressed, x=a[5], y=np.arange(3)), written(np.savez, images=a[4], labels=np.arange(3)),
            written(np.savez, x=np.array([{}, 1], object))]


def statistics():
    "A mean and a covariance, as three programs write them."
    x = np.random.default_rng(0).normal(size=(50, 6))
    mu, sigma = x.mean(0), np.cov(x, rowvar=False)
    about = json.dumps(dict(extractor='small', data='emoji'))
    return [written(np.savez, mu=mu, sigma=sigma), written(np.savez_compressed, mu=mu, sigma=sigma, n=50, about=about),
            written(np.savez, mu=mu.astype('f4'), sigma=sigma.astype('f4'), n=np.int32(50))]


def genotypes():
    "Shipped ones, and one with words about it."
    made = [Genotype.named(n).to_json() for n in named_genotypes()]
    return [json.dumps(v).encode() for v in (*made, made[0] | dict(meta=dict(origin='a search', score=[1.5, None])))]


def runs():
    "The notes of a run, a search's and a training's."
    made = dict(format='degas-run/1', kind='search', config=dict(epochs=1), data=dict(name='emoji', source=dict(data='emoji')))
    return [json.dumps(made).encode(), json.dumps(made | dict(kind='gan', history=[])).encode(),
            json.dumps(made | dict(config=dict(space=DEGAS.to_json()))).encode()]


def checkpoints():
    "The state of a run, as torch keeps it."
    state = dict(step=3, net=dict(weight=torch.ones(4, 3), n=torch.tensor(2)), rng=torch.arange(9, dtype=torch.uint8), words=['a', None, 1.5])
    return [written(lambda out: torch.save(state, out))]


def classifiers():
    "A small classifier, as the cache keeps it."
    net = SmallClassifier(3, RECIPE.width)
    return [_sealed_classifier(net, .5), _classifier_bytes(net, .5)]


RECIPE = Recipe(width=1)

# --- damage ----------------------------------------------------------------------------------------------------------

NUMBERS = [0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 2**63 - 1, 2**64 - 1]


def damaged(content:bytes, rng:random.Random, other:bytes=b'')->bytes:
    "One to six wounds of all sorts."
    value = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if not value: break
        at, n = rng.randrange(len(value)), rng.choice((1, 2, 4, 16, 200))
        if rng.random() < .3: at = min(at, rng.randrange(64))        # heads are short, and say much
        wound = rng.randrange(9)
        if wound == 0: value[at] ^= 1 << rng.randrange(8)
        if wound == 1: value[at] = rng.randrange(256)
        if wound == 2: del value[at:]
        if wound == 3: del value[at:at + n]
        if wound == 4: value[at:at] = value[at:at + n]*rng.choice((1, 1, 50))
        if wound == 5: value[at:at] = rng.randbytes(n)
        if wound == 6: value[at:at + n] = rng.choice((b'\0', b'\xff'))*n
        if wound == 7:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(NUMBERS) % 256**size
            value[at:at + size] = number.to_bytes(size, rng.choice(('little', 'big')))
        if wound == 8 and other: value[at:at + n] = other[(b := rng.randrange(len(other))):b + n]
    return bytes(value)


def mended_png(content:bytes)->bytes:
    "The same with right checksums, so that what lies behind them is reached."
    parts, at = [content[:8]], 8
    while at + 12 <= len(content):
        n = int.from_bytes(content[at:at + 4], 'big')
        body = content[at + 4:at + 8 + n]
        parts.append(content[at:at + 4] + body + struct.pack('>I', zlib.crc32(body)))
        at += 12 + n
    return b''.join(parts) + content[at:]


ODD = [None, True, False, -1, 0, 2**31, 10**30, 1e308, .5, '', 'x', 'x'*5000, '\x1b[31m', '\ud800', 'a\nb', '../../evil', [], {}, [[]],
       {'': None}, [None]*3, float('inf'), float('nan'), 'é', '<script>', 's0']


def odd_json(value, rng:random.Random)->bytes:
    "A JSON value in which one to three places hold something else."
    value = json.loads(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        spots = list(spots_of(value))
        if not spots: return json.dumps(rng.choice(ODD)).encode()
        holder, key = rng.choice(spots)
        with suppress(KeyError, IndexError, TypeError): wound(holder, key, rng)
    text = json.dumps(value)
    if rng.random() < .1: text = text.replace('1', rng.choice(('1e400', '1'*5000, '-0', '01', 'Infinity')), 1)
    if rng.random() < .05: text = '['*rng.choice((10, 10**5)) + text
    return text.encode()


def wound(holder, key, rng:random.Random):
    "Change one item of a list or table."
    kind = rng.randrange(6)
    if kind == 0: del holder[key]
    elif kind == 1 and isinstance(holder, list): holder.extend([holder[key]]*rng.choice((1, 1, 20, 3000)))
    elif kind == 2 and isinstance(holder, dict): holder[rng.choice(ODD[9:16])] = holder.pop(key)
    elif kind == 3 and isinstance(holder, list): rng.shuffle(holder)
    else: holder[key] = copy.deepcopy(rng.choice(ODD))   # or what is put into it would be there the next time, perhaps itself


def spots_of(value):
    "Every item of every list and table in a JSON value."
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    for key, item in items:
        yield value, key
        yield from spots_of(item)


def odd_array(content:bytes, rng:random.Random)->bytes:
    "An .npy with a header that says something else."
    head = content[10:10 + int.from_bytes(content[8:10], 'little')].decode('latin1')
    shapes = '()', '(0,)', '(3,)', '(3, 20, 24, 3)', '(10**9,)', '(99999999999, 20, 24, 3)', '(-1, 20, 24, 3)', '(3, 0, 24, 3)', '(1,)*40', 'None'
    kinds = '|u1', '<f8', '|O', '|V5', '<U7', '<M8[s]', '<c16', '|b1', '[("a", "<f4")]', '<f2', '|S0', '>u8', '<f16', '(2,)u1', 'x'
    head = head.replace(head[head.index("(", head.index('shape')):head.index(')', head.index('shape')) + 1], rng.choice(shapes)) if rng.random() < .6 else head
    if rng.random() < .6: head = head.replace(head[head.index(': ') + 2:head.index(", 'fortran")], repr(rng.choice(kinds)))
    if rng.random() < .1: head = rng.choice(('{', '[]', "{'descr': '|u1'}", '__import__("os")', '{' * 5000, "{'a': 1}", ' ' * 60000))
    head = head.strip().encode('latin1') + b'\n'
    return content[:8] + struct.pack('<H', len(head)) + head + content[10 + int.from_bytes(content[8:10], 'little'):]


def inside(content:bytes, rng:random.Random, change)->bytes:
    "A zip with one of its members changed, packed anew: its checksum is right."
    with zipfile.ZipFile(io.BytesIO(content)) as z:
        members, how = {m.filename: z.read(m) for m in z.infolist()}, z.infolist()[0].compress_type
    name = rng.choice(list(members))
    members[name] = change(members[name], rng)
    if rng.random() < .2: members[rng.choice(('../../evil.png', '/etc/evil.png', 'a\\..\\b.png', 'elm/\x1b[31m.png', 'x'*300 + '.png', 'con:.png'))] = members.pop(name)
    return zipped(members, how)

# --- what is read, and how -------------------------------------------------------------------------------------------

def one_image(suffix):
    "A folder with one image, which is loaded in one of several ways."
    def read(content, place, rng):
        (place/f'a{suffix}').write_bytes(content)
        if rng.random() < .2: return as_they_are(place, skip_broken=rng.random() < .5)
        return load(place, rng.choice((16, None, (9, 20))), skip_broken=rng.random() < .3)
    return read


def one_file(name, reader):
    "A file of that name, given to a reader."
    def read(content, place, rng):
        (place/name).write_bytes(content)
        return reader(place/name, rng)
    return read


def images(path, rng):
    "A zip or an array."
    return load(path, rng.choice((16, None)), rng.choice(('train', 'all', 'val')), rng.choice((None, 2)), rng.random() < .3)


def labelled_folder(content, place, rng):
    "A folder with images and one file of labels."
    for name, file in zip(('elm/0.png', 'elm/1.png', 'oak/0.png', 'oak/1.png'), pngs()):
        (place/name).parent.mkdir(exist_ok=True)
        (place/name).write_bytes(file)
    (place/rng.choice(list(LABELS))).write_bytes(content)
    return load(place, 16)


def named_set(name):
    "A named data set one of whose files is damaged; nobody has a network."
    def read(content, place, rng):
        for file, intact in SETS[name].items():
            (place/file).parent.mkdir(parents=True, exist_ok=True)
            (place/file).write_bytes(intact)
        (place/rng.choice(list(SETS[name]))).write_bytes(content)
        return load(name, 48, rng.choice(('train', 'test', 'all')), root=place)
    return read


def idx(a): return struct.pack('>HBB', 0, 8, a.ndim) + struct.pack(f'>{a.ndim}I', *a.shape) + a.tobytes()


SETS = dict(
    stl10={f'stl10_binary/{part}_{what}.bin': content for part in ('train', 'test') for what, content in dict(X=noise(3, 3, 96, 96).tobytes(), y=b'\1\2\3').items()}
          | {'stl10_binary/unlabeled_X.bin': noise(3, 3, 96, 96).tobytes(), 'stl10_binary/class_names.txt': b'a b c d e f g h i j'},
    fashion_mnist={f'FashionMNIST/raw/{part}-{what}-ubyte': idx(a) for part in ('train', 't10k') for what, a in
                   {'images-idx3': noise(6, 28, 28), 'labels-idx1': np.arange(6, dtype=np.uint8)}.items()},
    emoji={'emoji64.zip': zipped({f'a/{i}.png': pngs()[0] for i in range(2)})},
    cifar10={f'cifar-10-batches-py/{n}': b'\x80\x02}q\0.' for n in ('data_batch_1', 'test_batch', 'batches.meta')})


def a_run(content, place, rng):
    "The notes of a run, asked for by whoever opens one."
    (place/'config.json').write_bytes(content)
    (place/'trace.jsonl').write_bytes(b'{"step": 1}\n' + damaged(b'{"step": 2}\n', rng))
    (place/'genotype.json').write_bytes(genotypes()[0])
    ask = rng.choice((RunFolder.open, Genotype.load, SearchSpace.load, lambda p: RunFolder.open(p).trace.read()))
    return ask(place)


def checkpoint(content, place, rng):
    "A damaged checkpoint, with or without a good one before it."
    (place/'config.json').write_bytes(runs()[0])
    (place/'checkpoint.pt').write_bytes(content)
    if rng.random() < .5: (place/'checkpoint.prev.pt').write_bytes(checkpoints()[0])
    return RunFolder.open(place).load_checkpoint()


def json_value(content, place, rng):
    "A genotype or a space from what somebody else has read."
    try: value = json.loads(content)
    except (ValueError, RecursionError): return None
    return rng.choice((Genotype, SearchSpace)).from_json(value)


def kinds()->dict:
    "Name -> (files in good order, what else may be done to them, the reader)"
    npy = [written(np.save, a) for a in arrays()]
    def on_genotypes(reader): return one_file('g.json', lambda path, rng: reader(path))
    return {
        'png': (pngs(), lambda c, rng: mended_png(damaged(c, rng)), one_image('.png')), 'jpeg': (jpegs(), None, one_image('.jpg')),
        'webp': (webps(), None, one_image('.webp')), 'gif': (gifs(), None, one_image('.gif')), 'tiff': (tiffs(), None, one_image('.tif')),
        'bmp, ppm': (others(), None, one_image('.bmp')),
        'zip': (zips(), lambda c, rng: inside(c, rng, damaged), one_file('a.zip', images)),
        'npy': (npy, odd_array, one_file('a.npy', images)),
        'npz': (archives(), lambda c, rng: inside(c, rng, rng.choice((damaged, odd_array))), one_file('a.npz', images)),
        'labels': ([t.encode() for t in LABELS.values()], lambda c, rng: odd_json(LABELS['dataset.json'], rng), labelled_folder),
        'statistics': (statistics(), lambda c, rng: inside(c, rng, rng.choice((damaged, odd_array))), one_file('s.npz', lambda p, rng: Statistics.load(p))),
        'genotype': (genotypes(), odd_json, on_genotypes(Genotype.load)), 'genotype value': (genotypes(), odd_json, json_value),
        'space': ([json.dumps(DEGAS.to_json()).encode()], odd_json, on_genotypes(SearchSpace.load)),
        'run': (runs(), odd_json, a_run), 'checkpoint': (checkpoints(), lambda c, rng: inside(c, rng, damaged), checkpoint),
        'classifier': (classifiers(), None, one_file('c.safetensors', lambda path, rng: _read_classifier(path, 3, RECIPE))),
        **{name: (list(files.values()), None, named_set(name)) for name, files in SETS.items()}}

# --- the trial -------------------------------------------------------------------------------------------------------

class TooLong(BaseException):
    "Not one of the errors that a reader may catch."


WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CLOSED = 'subprocess.Popen', 'os.system', 'os.exec', 'os.posix_spawn', 'os.fork', 'socket.connect', 'socket.getaddrinfo'


class Watch:
    "What is written, started or fetched while it is on: outside of the folder, that is a crime."
    def __init__(self, folder):
        self.folder, self.on, self.crimes = os.path.realpath(folder), False, []
        sys.addaudithook(self.hear)

    def hear(self, event, args):
        "Called by Python for whatever it does."
        if not self.on: return
        if event in CLOSED: self.crimes.append(f'{event} {args[0]!r}')
        path = {'open': 0, 'os.mkdir': 0, 'os.rename': 1, 'os.remove': 0, 'os.rmdir': 0, 'os.symlink': 1, 'os.truncate': 0}.get(event)
        if path is None or event == 'open' and not (isinstance(args[2], int) and args[2] & WRITES) or isinstance(args[path], int): return
        where = os.path.realpath(os.fsdecode(args[path]))
        if not where.startswith(self.folder + os.sep) and where != os.devnull: self.crimes.append(f'{event} {where}')


def is_line(text:str)->bool:
    "Can a terminal show it as one line?"
    return bool(text) and len(text) <= CHARACTERS and text.isprintable() and text == data.printable(text, CHARACTERS)


def verdict(read, *args)->str:
    "'read', 'refused', or what went wrong."
    def late(*_): raise TooLong
    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        read(*args)
        return 'read'
    except UserError as e: return 'refused' if is_line(str(e)) else f'no line: {str(e)[:300]!r}'
    except TooLong: return f'more than {SECONDS} seconds'
    except BaseException as e:
        place = e.__traceback__
        while place.tb_next: place = place.tb_next
        return f'{type(e).__name__}: {str(e)[:150]!r} in {Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}'
    finally: signal.setitimer(signal.ITIMER_REAL, 0)


def nobody(*_, **__): raise OSError('no network in these trials')


@contextmanager
def apart(folder):
    "No cache, no network, no home but in `folder`; warnings are lines, too."
    place = dict(HOME=f'{folder}/home', XDG_CACHE_HOME=f'{folder}/cache')
    with patch.dict(os.environ, place), patch('urllib.request.urlopen', nobody), warnings.catch_warnings(): yield


def trial(kind:str, number:int, seed:int, place:Path, all_kinds:dict)->tuple[str, bytes]:
    "One input of a kind: what came of it, and the input."
    rng = random.Random(f'{seed} {kind} {number}')
    files, special, read = all_kinds[kind]
    intact = rng.choice(files)
    how = special if special and rng.random() < .5 else lambda c, rng: damaged(c, rng, rng.choice(files))
    try: content = how(intact, rng)
    except (ValueError, IndexError): content = damaged(intact, rng)   # a wound that this file cannot have
    place.mkdir()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('ignore')
        warnings.simplefilter('always', RunWarning)
        found = verdict(read, content, place, rng)
    for w in said:
        if not is_line(str(w.message)): found = f'no line: {str(w.message)[:300]!r}'
    return found, content


def empty(folder:Path):
    "Remove what a trial made."
    for p in sorted(folder.rglob('*'), reverse=True): p.rmdir() if p.is_dir() else p.unlink()
    folder.rmdir()


def trials(n:int, seed:int, only:str='', keep:str='')->tuple[Counter, list[str]]:
    "How many of `n` inputs were read and refused; what went wrong with the others."
    counts, wrong = Counter(), []
    with tempfile.TemporaryDirectory() as folder, apart(folder):
        made = {k: v for k, v in kinds().items() if only in ('', k)}
        import torchvision  # noqa: F401  which takes its seconds once
        watch, before = Watch(folder), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for i in range(n):
            kind = list(made)[i % len(made)]
            start, watch.on = time.monotonic(), True
            found, content = trial(kind, i//len(made), seed, Path(folder)/f'{i}', made)
            watch.on = False
            took, peak = time.monotonic() - start, 1024*(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
            if took > SECONDS: found = f'took {took:.1f} s'
            if peak > BYTES: found, before = f'took {peak/1e9:.1f} GB', before + peak//1024
            if watch.crimes: found = f'outside: {watch.crimes}'
            watch.crimes.clear()
            counts[found if found in ('read', 'refused') else 'wrong'] += 1
            if found not in ('read', 'refused'):
                wrong.append(f'{kind} {i//len(made)}: {found}')
                if keep: (Path(keep)/f'{kind}-{i//len(made)}').write_bytes(content)
            empty(Path(folder)/f'{i}')
    return counts, wrong


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('n', type=int, nargs='?', default=10_000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', default='', choices=('', *kinds()))
    parser.add_argument('--keep', default='')
    asked = parser.parse_args(argv)
    start = time.monotonic()
    counts, wrong = trials(asked.n, asked.seed, asked.only, asked.keep)
    for line in wrong: print(line)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20
    print(f"{asked.n:,} inputs: {counts['read']:,} read, {counts['refused']:,} refused in one line, {counts['wrong']:,} wrong; "
          f"{time.monotonic() - start:.0f} s, {peak:.2f} GB at most")
    sys.exit(bool(wrong))


if __name__ == '__main__': main()
