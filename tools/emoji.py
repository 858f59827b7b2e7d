"""Make the built-in images of degas_nb/builtin/ from an npm package of emoji artwork.

    tools/emoji.py [PACKAGE.tgz] [--zip data/emoji64.zip]

Without PACKAGE.tgz npm fetches it (74 MB) into a temporary folder. The zip holds the same emoji with 64 pixels,
one folder a category, for work at more than 32x32; it goes into neither the wheel nor git. A second run writes the same bytes.
"""
import argparse, json, subprocess, tarfile, tempfile, zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from degas_nb.ground.data import fit_square, to_rgb

PACKAGE, VERSION = 'emoji-datasource-google', '16.0.0'
DATA = Path(__file__).resolve().parents[1]/'degas_nb'/'builtin'
SIDE, N_COLS = 32, 44
NOTICE = """\
emoji.webp and emoji.json: {n:,} emoji of {side}x{side} pixels in {n_classes} categories.

Source: npm package {package} {version}, folder img/google/64.
The artwork is Noto Emoji, Copyright Google LLC, under the Apache License 2.0 (the text lies in LICENSE at the top of
this project and beside its installed metadata).
Changed by tools/emoji.py: each 64x64 picture was put on a white background, halved by averaging 2x2 pixels, and all were
laid on one sheet of {n_cols} columns, stored as lossless WebP, sorted by category and short name.
Taken: every entry of emoji.json that has such a picture, in its default skin tone; {n_same} of them look exactly like an earlier one
(some flags and families). {n_old} are older forms that a newer entry replaces.

Names and categories come from emoji.json of the same package, by Cal Henderson, under the MIT licence:

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def npm_pack(folder):
    "The package as npm gives it"
    subprocess.run(['npm', 'pack', '--silent', f'{PACKAGE}@{VERSION}'], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return next(Path(folder).glob('*.tgz'))


def read_package(path):
    "Entries of emoji.json that have a picture, each with `image64` (RGB, on white), sorted as a folder of them would be"
    with tarfile.open(path) as tar:
        members = {m.name.removeprefix('package/'): m for m in tar}
        read = lambda name: tar.extractfile(members[name]).read()
        if json.loads(read('package.json'))['version'] != VERSION: raise SystemExit(f'{path} is not {PACKAGE} {VERSION}')
        entries = [e for e in json.loads(read('emoji.json')) if e['has_img_google']]
        for e in entries: e['bytes'] = read(f"img/google/64/{e['image']}")
    for e in entries: e['image64'] = to_rgb(Image.open(BytesIO(e.pop('bytes'))))[0]
    return sorted(entries, key=file_name)


def file_name(e): return f"{e['category']}/{e['short_name']}.png"


def write_sheet(entries):
    tiles = np.full((-(-len(entries)//N_COLS)*N_COLS, SIDE, SIDE, 3), 255, np.uint8)
    for tile, e in zip(tiles, entries): tile[:] = fit_square(e['image64'], SIDE)
    rows = tiles.reshape(-1, N_COLS, SIDE, SIDE, 3).transpose(0, 2, 1, 3, 4)
    Image.fromarray(np.ascontiguousarray(rows).reshape(-1, N_COLS*SIDE, 3)).save(DATA/'emoji.webp', lossless=True, quality=100, method=6)
    classes = sorted({e['category'] for e in entries})
    about = dict(classes=classes, labels=[classes.index(e['category']) for e in entries], names=[e['short_name'] for e in entries])
    (DATA/'emoji.json').write_text(json.dumps(about, separators=(',', ':')) + '\n', encoding='utf-8')
    looks = Counter(e['image64'].tobytes() for e in entries)
    (DATA/'emoji.NOTICE.txt').write_text(NOTICE.format(
        n=len(entries), side=SIDE, n_classes=len(classes), package=PACKAGE, version=VERSION, n_cols=N_COLS,
        n_same=len(entries) - len(looks), n_old=sum('obsoleted_by' in e for e in entries)), encoding='utf-8')


def write_zip(entries, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
        for e in entries:
            png = BytesIO()
            e['image64'].save(png, 'png', optimize=True)
            archive.writestr(zipfile.ZipInfo(file_name(e)), png.getvalue())    # dated 1980: the same bytes every time


if __name__ == '__main__':
    ask = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ask.add_argument('package', nargs='?', type=Path)
    ask.add_argument('--zip', type=Path)
    args = ask.parse_args()
    with tempfile.TemporaryDirectory() as folder: entries = read_package(args.package or npm_pack(folder))
    DATA.mkdir(exist_ok=True)
    write_sheet(entries)
    if args.zip: write_zip(entries, args.zip)
    print(f'{len(entries):,} emoji')
