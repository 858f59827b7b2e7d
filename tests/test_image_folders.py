"""Folders and zips as people have them: splits, classes, labels in files, links, names of other systems, files that are none."""
import errno
import io
import json
import os
import socket
import zipfile

import numpy as np
import pytest
from PIL import Image

from degas_nb.ground import data
from degas_nb.ground.data import load
from degas_nb.ground.errors import UserError
from commands import process

RNG = np.random.default_rng(0)


def noise(): return RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)


def png(pixels=None):
    out = io.BytesIO()
    Image.fromarray(noise() if pixels is None else pixels).save(out, 'png')
    return out.getvalue()


def folder_of(root, names, **more):
    "A folder with pictures of these names, and other files"
    for name in names: write(root/name, png())
    for name, text in more.items(): write(root/name.replace('__', '.'), text.encode())
    return root


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def zip_of(path, names, **more):
    "The same as a zip; names go in as they are"
    with zipfile.ZipFile(path, 'w') as archive:
        for name in names: archive.writestr(name, png())
        for name, text in more.items(): archive.writestr(name.replace('__', '.'), text)
    return path


@pytest.fixture(params=['folder', 'zip'])
def made(request, tmp_path):
    "Makes either a folder or a zip"
    return lambda names, **more: folder_of(tmp_path/'set', names, **more) if request.param == 'folder' else zip_of(tmp_path/'set.zip', names, **more)


def refused(*words, **kw):
    with pytest.raises(UserError) as caught: load(**kw)
    line = str(caught.value)
    assert line.isprintable() and len(line) < 1000, line
    for word in words: assert word in line, line
    return line


def pictures(*folders, n=2): return [f'{folder}/{i}.png' for folder in folders for i in range(n)]


# --- splits and classes ----------------------------------------------------------------------------------------------

SPELLINGS = [('Train', 'TEST'), ('training', 'validation'), ('train', 'valid'), ('TRAIN', 'Dev'), ('train2017', 'val2017'), ('train_set', 'test_set'),
             ('training-images', 'eval'), ('trainset', 'testset'), ('train_32x32', 'valid_32x32'), ('Training Data', 'Testing Data')]


@pytest.mark.parametrize('parts', SPELLINGS)
@pytest.mark.parametrize('outer', ['', 'wrapper/inner/'])
def test_splits_in_any_spelling(parts, outer, made):
    where = made([outer + n for n in pictures(*(f'{part}/{c}' for part in parts for c in ('oak', 'elm', 'ash')))])
    images = load(where)
    assert images.classes == ['ash', 'elm', 'oak'] and len(images) == 6 and images.split == 'train' and len(set(images.labels.tolist())) == 3
    assert images.notes == [f"3 classes from folders: ash, elm, oak; splits {', '.join(parts)}"]
    for split in parts + (parts[1].upper(),): assert len(load(where, split=split)) == 6 and all(split.casefold() in n.casefold() for n in load(where, split=split).names)
    both = load(where, split='all')
    assert len(both) == 12 and both.classes == images.classes and load(where, split='+'.join(parts)).fingerprint() == both.fingerprint()
    assert parts[0] in refused('no split', 'nosuch', parts[1], 'all', what=where, split='nosuch')
    refused('no split', what=where, split=f'{parts[0]}+nosuch')


def test_a_split_by_what_it_means_unless_one_is_called_so(made):
    where = made(pictures('train/a', 'train/b', 'valid/a', 'valid/b', 'val/a', 'val/b'))
    assert len(load(where, split='val')) == len(load(where, split='valid')) == 4 and len(load(where, split='validation')) == 8


@pytest.mark.parametrize('there', ['train', 'Validation', 'TEST'])
def test_one_split_alone_above_classes(there, made):
    where = made(pictures(f'{there}/red', f'{there}/blue'))
    images = load(where, split='all')
    assert images.classes == ['blue', 'red'] and images.notes == [f'2 classes from folders: blue, red; split {there}']
    assert len(load(where, split=there.lower())) == 4
    if there != 'train': refused('no split', there, what=where)                   # nobody trains on a test set by accident


def test_classes_above_splits(made):
    where = made(pictures('oak/train', 'oak/test', 'elm/train', 'elm/test'))
    images = load(where)
    assert images.classes == ['elm', 'oak'] and images.names == ['elm/train/0.png', 'elm/train/1.png', 'oak/train/0.png', 'oak/train/1.png']
    assert images.notes == ['2 classes from folders: elm, oak; splits train, test'] and len(load(where, split='test')) == 4


@pytest.mark.parametrize('classes', [('bus', 'plane', 'train'), ('control', 'test'), ('dev', 'prod', 'test'), ('Val', 'Tom')])
def test_classes_that_are_called_like_a_split(classes, made):
    images = load(made(pictures(*classes)))
    assert images.classes == sorted(classes) and images.split == 'all' and images.notes == [f"{len(classes)} classes from folders: {', '.join(sorted(classes))}"]


def test_splits_without_classes(made):
    where = made(pictures('train/images', 'val/images', 'test'))
    images = load(where)
    assert images.classes is None and len(images) == 2 and images.notes == ['no classes, although there is 1 folder: images; splits train, val, test']


def test_a_test_set_without_labels_costs_the_training_set_nothing(made):
    where = made(pictures('train/a', 'train/b', 'test/images') + pictures('val'))
    assert load(where).classes == ['a', 'b'] and load(where).labels.tolist() == [0, 0, 1, 1]
    for split in ('test', 'val', 'all'): assert load(where, split=split).labels is None


def test_one_folder_around_all_is_nothing(made):
    images = load(made(pictures('test')))
    assert images.classes is None and len(images) == 2 and images.split == 'all' and images.notes == []


def test_what_lies_beside_splits_is_said(made):
    where = made(pictures('train/a', 'train/b', 'test/a', 'test/b', 'extra/a') + ['preview.png'])
    assert '1 image outside of the splits left out: preview.png' in load(where).notes and len(load(where, split='extra')) == 2


def test_classes_reach_the_record_of_a_run(tmp_path):
    from degas_nb.app.driving import ImageSource
    where = folder_of(tmp_path/'set', pictures('Train/a', 'Train/b', 'Valid/a', 'Valid/b'))
    source = ImageSource(str(where))
    about = json.loads(json.dumps(source.about(source.load(32))))
    assert about['classes'] == ['a', 'b'] and '2 classes from folders: a, b; splits Train, Valid' in about['notes'] and about['prepared']


# --- labels in files -------------------------------------------------------------------------------------------------

SHARDS = [f'{i//3:05d}/img{i:08d}.png' for i in range(7)]


@pytest.mark.parametrize('outer', ['', 'outer/'])
@pytest.mark.parametrize('form', ['list', 'dict', 'onehot'])
def test_stylegan_labels(form, outer, tmp_path):
    number = {n: 5 - i%3 for i, n in enumerate(SHARDS)}
    table = dict(list=list(map(list, number.items())), dict=number, onehot=[[n, [float(k == j) for j in range(6)]] for n, k in number.items()])[form]
    made = [folder_of(tmp_path/'f', [outer + n for n in SHARDS]), zip_of(tmp_path/'f.zip', [outer + n for n in SHARDS])]
    write(made[0]/outer/'dataset.json', json.dumps(dict(labels=table)).encode())
    with zipfile.ZipFile(made[1], 'a') as archive: archive.writestr(outer + 'dataset.json', json.dumps(dict(labels=table)))
    for where in made:
        images = load(where)
        assert images.classes == ['3', '4', '5'] and [int(images.classes[l]) for l in images.labels] == [number[n.removeprefix(outer)] for n in images.names]
        assert images.notes == ['3 classes from dataset.json: 3, 4, 5']


@pytest.mark.parametrize('text, words', {
    json.dumps(dict(labels=None)): 'has no labels', json.dumps(dict(labels=[[n, [.2, .5]] for n in SHARDS])): 'vector of 2 numbers',
    json.dumps(dict(labels=[[n, 1] for n in SHARDS[2:]])): f'it lacks 2 images ({SHARDS[0]}, {SHARDS[1]})', json.dumps(dict(labels=[[n, None] for n in SHARDS])): 'null'}.items())
def test_labels_that_cannot_be_used_are_said_and_shards_are_no_classes(text, words, made):
    images = load(made(SHARDS, dataset__json=text))
    assert images.labels is None and images.classes is None and len(images) == 7 and any(words in note for note in images.notes), images.notes


@pytest.mark.parametrize('text', ['{"labels": [[', 'milk', '{"labels": [1, 2]}', '[' * 100_000])
def test_damaged_labels_are_said(text, made):
    images = load(made(pictures('a', 'b'), dataset__json=text))
    assert any('dataset.json is not understood' in note for note in images.notes)


def test_classes_from_a_file_are_printable(made):
    images = load(made(['0.png', '1.png'], labels__csv='name,class\n0.png,a\x1b[31m\n1.png,b\x00\n'))
    assert len(images.classes) == 2 and all(c.isprintable() for c in images.classes + images.notes)


def test_a_json_of_somebody_elses_is_no_file_of_labels(made):
    images = load(made(pictures('a', 'b'), dataset__json='{"name": "pets"}'))
    assert images.classes == ['a', 'b'] and any('dataset.json has no column' in note for note in images.notes)


@pytest.mark.parametrize('file, text', {
    'metadata__jsonl': ''.join(json.dumps(dict(file_name=f'pics/{i}.png', label='elm' if i%2 else 'oak')) + '\n' for i in range(4)),
    'metadata__csv': '\ufefffile_name,text,label\n' + ''.join(f'pics/{i}.png,"a, b",{("oak", "elm")[i%2]}\n' for i in range(4)),
    'labels__csv': 'Class,Filename\r\n' + ''.join(f'{("oak", "elm")[i%2]},{i}.png\r\n' for i in range(4))}.items())
def test_tables_of_labels(file, text, made):
    images = load(made([f'pics/{i}.png' for i in range(4)], **{file: text}))
    assert images.classes == ['elm', 'oak'] and images.labels.tolist() == [1, 0, 1, 0] and f"from {file.replace('__', '.')}" in images.notes[0]


def test_a_table_in_each_split(made):
    table = 'file_name,label\n0.png,{}\n1.png,{}\n'
    where = made(pictures('train', 'test'), **{'train/metadata__csv': table.format('a', 'b'), 'test/metadata__csv': table.format('b', 'c')})
    assert load(where).classes == load(where, split='test').classes == ['a', 'b', 'c'] and load(where, split='test').labels.tolist() == [1, 2]


def test_captions_are_no_labels(made):
    images = load(made(pictures('a', 'b'), metadata__jsonl=json.dumps(dict(file_name='a/0.png', text='a house'))))
    assert images.classes == ['a', 'b'] and any('no labels are taken from it' in note for note in images.notes)


# --- links, pipes, what cannot be read -------------------------------------------------------------------------------

def test_each_real_folder_once(tmp_path):
    folder_of(tmp_path/'beside', pictures('big', n=5))
    where = folder_of(tmp_path/'set', pictures('a', 'b'))
    for link, to in {'self': '.', 'a/up': '..', 'b/parent': '../..', 'b/also': '../a', 'one': 'two', 'two': 'one', 'me': 'me', 'a/root': '/'}.items(): (where/link).symlink_to(to)
    (where/'away').symlink_to(tmp_path/'beside')
    (where/'again').symlink_to(tmp_path/'beside')
    images = load(where)
    assert images.names == [*pictures('a'), *pictures('again/big', n=5), *pictures('b')]
    assert len(load(tmp_path/'set'/'self'/'self')) == 9                             # a path through links


def test_many_links_to_each_other_end_soon(tmp_path):
    where = tmp_path/'set'
    for i in range(30):
        folder_of(where/f'{i:02d}', ['x.png'])
        for j in range(30): (where/f'{i:02d}'/f'to{j}').symlink_to(f'../{j:02d}')
    assert len(load(where)) == 30


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    where = folder_of(tmp_path/'set', pictures('a', 'b/deep', 'c'))
    scandir = os.scandir
    def locked(path):
        if str(path).endswith('deep'): raise PermissionError(13, 'Permission denied', path)
        return scandir(path)
    monkeypatch.setattr(os, 'scandir', locked)
    for skip in (False, True): refused('b/deep cannot be read', 'Permission denied', what=where, skip_broken=skip)


def special(path, kind):
    if kind == 'fifo': os.mkfifo(path)
    if kind == 'link to a fifo':
        os.mkfifo(path.with_name('pipe'))
        path.symlink_to('pipe')
    if kind == 'socket':
        with socket.socket(socket.AF_UNIX) as s: s.bind(str(path))
    if kind == 'device': path.symlink_to('/dev/zero')
    if kind == 'link to nothing': path.symlink_to('nowhere.png')
    if kind == 'link to itself': path.symlink_to(path.name)


@pytest.mark.parametrize('kind', ['fifo', 'link to a fifo', 'socket', 'device', 'link to nothing', 'link to itself'])
def test_regular_files_only(kind, tmp_path, monkeypatch):
    where = folder_of(tmp_path/'set', pictures('a'))
    monkeypatch.chdir(where)
    special(where/'a'/'0s.png', kind)
    refused('a/0s.png cannot be read', '--skip-broken', what=where)
    images = load(where, skip_broken=True)
    assert len(images) == 2 and '1 broken image skipped: a/0s.png' in images.notes
    assert len(load(where, None, skip_broken=True)) == 2


@pytest.mark.parametrize('kind, suffix', [('fifo', ''), ('fifo', '.zip'), ('fifo', '.npz'), ('link to a fifo', '.npy'), ('device', ''), ('link to itself', ''), ('link to nothing', '.zip')])
def test_the_data_itself_may_be_none(kind, suffix, tmp_path):
    special(tmp_path/f'x{suffix}', kind)
    refused(f'x{suffix}', 'give a folder', what=tmp_path/f'x{suffix}')


def test_a_bound_on_what_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(data, 'MOST_ENTRIES', 50)
    refused('more than 50 files', what=folder_of(tmp_path/'set', pictures('a', 'b', n=30)))
    refused('more than 50 files', what=zip_of(tmp_path/'set.zip', pictures('a', 'b', n=30)))


# --- names -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('form', ['oak\\{}.png', './oak/{}.png', '/oak/{}.png', 'oak//{}.PNG', 'C:\\trees\\oak\\{}.png', 'D:/trees/oak/{}.JPG', '..\\trees\\oak\\{}.Png', 'trees\\\\oak/{}.png', 'x/../trees/./oak/{}.png'])
def test_names_of_other_systems(form, tmp_path):
    names = [form.format(i).replace('oak', c) for c in ('oak', 'elm') for i in range(2)]
    images = load(zip_of(tmp_path/'set.zip', names))
    assert images.classes == ['elm', 'oak'] and len(images) == 4 and images.notes == ['2 classes from folders: elm, oak']


def test_backslashes_on_a_disk(tmp_path):
    images = load(folder_of(tmp_path/'set', ['oak\\1.png', 'oak\\2.png', 'elm\\1.png', 'elm/2.png']))
    assert images.classes == ['elm', 'oak'] and images.names == ['elm/1.png', 'elm/2.png', 'oak/1.png', 'oak/2.png']


def test_absolute_and_relative_names_and_two_that_become_one(tmp_path):
    where = zip_of(tmp_path/'set.zip', ['/a/1.png', 'a/1.png', './a/1.png', 'b/1.png', 'C:\\b\\1.png'])
    images = load(where)
    assert len(images) == 5 == len(set(images.names)) and images.labels.tolist() == [0, 0, 0, 1, 1]


class Unflagged(zipfile.ZipInfo):
    "A member of a zip that does not say what its name is written in"
    encoding = 'utf-8'
    def _encodeFilenameFlags(self): return self.filename.encode(self.encoding), 0


@pytest.mark.parametrize('encoding, folders', [('utf-8', ('é', 'ü日本')), ('cp437', ('é', 'ü')), ('shift-jis', ('日本', '東京'))])
def test_names_in_other_letters(encoding, folders, tmp_path, monkeypatch):
    monkeypatch.setattr(Unflagged, 'encoding', encoding)
    with zipfile.ZipFile(tmp_path/'set.zip', 'w') as archive:
        for name in pictures(*folders): archive.writestr(Unflagged(name), png())
    images = load(tmp_path/'set.zip')
    assert len(images) == 4 and len(images.classes) == 2 and all(c.isprintable() for c in images.classes)
    if encoding != 'shift-jis': assert images.classes == sorted(folders)           # which nobody can guess: other letters, but two classes


def test_names_that_move_the_cursor_or_are_no_utf8(tmp_path):
    where = tmp_path/'set'
    for i, folder in enumerate((b'caf\xe9', b'\x1b[31mred\nline')):
        os.makedirs(os.path.join(os.fsencode(where), folder))
        for k in range(2):
            with open(os.path.join(os.fsencode(where), folder, b'%d\x07.png' % k), 'wb') as f: f.write(png())
    images = load(where)
    for text in images.classes + images.names + images.notes: assert text.isprintable() and text.encode()
    assert len(images) == 4 and json.loads(json.dumps(images.classes)) == images.classes
    os.truncate(os.path.join(os.fsencode(where), b'\x1b[31mred\nline', b'1\x07.png'), 20)
    refused('cannot be read', what=where)


# --- zips that are none, or more than they seem ----------------------------------------------------------------------

def test_a_zip_that_becomes_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(data, 'MOST_BYTES', 20_000)
    out = io.BytesIO()
    Image.new('RGB', (100, 100)).save(out, 'bmp')
    with zipfile.ZipFile(tmp_path/'set.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a.png', png())
        archive.writestr('b.bmp', out.getvalue())
    refused('b.bmp cannot be read', 'too many', what=tmp_path/'set.zip')
    assert len(load(tmp_path/'set.zip', skip_broken=True)) == 1


@pytest.mark.parametrize('at, value', [(6, 241), (8, 1), (10, 99)])                # version 24.1; encrypted; a method that nobody knows
def test_zips_that_are_not_understood(at, value, tmp_path):
    content = bytearray(zip_of(tmp_path/'set.zip', ['a.png', 'b.png']).read_bytes())
    start = content.index(b'PK\x01\x02')
    content[start + at] = value
    (tmp_path/'set.zip').write_bytes(content)
    refused(what=tmp_path/'set.zip')


@pytest.mark.parametrize('kind', ['search', 'gan'])
def test_the_folder_of_a_run_is_no_folder_of_images(kind, tmp_path):
    from degas_nb.ground.folders import RunFolder
    run = RunFolder.create(tmp_path/'run', kind, {}, {})
    write(run.samples/'samples_000001.png', png())
    refused('folder of a run', what=tmp_path/'run')
    write(tmp_path/'other'/'config.json', b'{"format": "mine"}')
    write(tmp_path/'other'/'a.png', png())
    assert len(load(tmp_path/'other')) == 1


# --- names of data sets, homes ---------------------------------------------------------------------------------------

@pytest.mark.parametrize('kind', ['folder', 'zip'])
def test_a_folder_called_like_a_data_set_is_mentioned(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if kind == 'folder': folder_of(tmp_path/'emoji', pictures('x'))
    else: zip_of(tmp_path/'emoji.zip', pictures('x'))
    images = load('emoji', limit=20)
    here = './emoji' if kind == 'folder' else './emoji.zip'
    assert images.name == 'emoji' and len(images.classes) == 10 and here in images.notes[0]
    assert load(here).names == ['x/0.png', 'x/1.png'] and not any('./' in note for note in load(here).notes)


def test_it_is_mentioned_where_the_data_set_cannot_be_had(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path/'stl10', pictures('x'))
    def nothing(*_): raise UserError('stl10 is not here')
    monkeypatch.setitem(data.DATASETS, 'stl10', data.Dataset(nothing, ('train', 'test')))
    refused('stl10 is not here', './stl10', what='stl10')


def test_a_tilde_is_home(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'c'))
    folder_of(tmp_path/'set', pictures('x'))
    np.save(tmp_path/'s.npy', np.stack([noise(), noise()]))
    assert len(load('~/set')) == len(load('~/s.npy')) == 2
    write(tmp_path/'d'/'emoji64.zip', zip_of(tmp_path/'e.zip', [f'a/{i}.png' for i in range(3)]).read_bytes())
    assert len(load('emoji', 48, root='~/d')) == 3
    refused('nobody', 'in full', what='~nobody-is-called-so/set')


@pytest.mark.parametrize('wrong', [dict(what=5), dict(what=None), dict(what='emoji', img_size='32'), dict(what='emoji', img_size=10**9), dict(what='emoji', img_size=32.), dict(what='emoji', limit=2.5),
                                   dict(what='emoji', split=3), dict(what='x'*100_000), dict(what='\0'), dict(what='emoji', img_size=(0, 5)), dict(what='emoji', img_size=True)])
def test_what_is_no_name_and_no_size(wrong): refused(**wrong)


def test_what_was_understood_is_printed_by_the_command(tmp_path):
    where = folder_of(tmp_path/'set', pictures('train/a', 'train/b', 'val/a', 'val/b'))
    done = process('score', where, where, '--n', 10)
    assert '2 classes from folders: a, b; splits train, val' in done.stderr, done.stderr


# --- tables that contradict themselves, and sizes that the first file does not have ----------------------------------

@pytest.mark.parametrize('file, text', {
    'labels__csv': 'name,class\n0.png,a\n1.png,b\n0.png,b\n', 'metadata__jsonl': '{"file_name": "0.png", "label": "a"}\n{"file_name": "1.png", "label": "b"}\n{"file_name": "0.png", "label": "b"}\n',
    'dataset__json': json.dumps(dict(labels=[['0.png', 0], ['1.png', 1], ['0.png', 1]]))}.items())
def test_a_table_that_says_two_things_of_an_image_is_not_believed(file, text, made):
    images = load(made(['0.png', '1.png'], **{file: text}))
    assert images.labels is None and any('it says two things of 0.png' in note for note in images.notes), images.notes


def test_a_json_with_one_name_twice(made):
    images = load(made(['0.png', '1.png'], dataset__json='{"labels": {"0.png": 0, "1.png": 1, "0.png": 1}}'))
    assert images.labels is None and any('two things of 0.png' in note for note in images.notes)


def test_rows_that_say_the_same_twice_are_one(made):
    images = load(made(['0.png', '1.png'], labels__csv='name,class\n0.png,a\n1.png,b\n0.png,a\n'))
    assert images.classes == ['a', 'b'] and images.labels.tolist() == [0, 1]


def test_tables_of_two_folders_that_disagree(made):
    where = made(['x/0.png', 'x/1.png'], labels__csv='name,class\nx/0.png,a\nx/1.png,b\n', **{'x/labels__csv': 'name,class\n0.png,b\n1.png,b\n'})
    assert load(where).labels is None and any('two things of x/0.png' in note for note in load(where).notes)


def test_a_last_part_that_the_table_has_twice_is_nobodys(made):
    "The table speaks of a/0.png and b/0.png; here is 0.png, and which of them it was nobody knows."
    images = load(made(['0.png', '1.png'], labels__csv='name,class\na/0.png,x\nb/0.png,y\na/1.png,x\n'))
    assert images.labels is None and any('it lacks 1 image (0.png)' in note for note in images.notes), images.notes


@pytest.mark.parametrize('here, listed, agree', [
    ('cats/0.png cats/1.png dogs/2.png', 'dogs/0.png dogs/1.png dogs/2.png', False), ('test/0.png test/1.png', 'train/0.png train/1.png', False),
    ('0.png 1.png', 'train/0.png train/1.png', True), ('train/0.png train/1.png', '0.png 1.png', True), ('train/0.png train/1.png', 'data/train/0.png data/train/1.png', True),
    ('train/a/0.png train/b/1.png', 'train/0.png train/1.png', True)])
def test_a_file_of_that_name_in_another_folder_is_another_file(here, listed, agree, made):
    rows = ''.join(f'{name},{"xy"[i%2]}\n' for i, name in enumerate(listed.split()))
    images = load(made(here.split(), labels__csv='file_name,label\n' + rows), split='all')
    if agree: assert images.labels.tolist() == [0, 1] and images.classes == ['x', 'y']
    else: assert images.classes != ['x', 'y'] and any('no labels' in note and 'labels.csv' in note for note in images.notes), images.notes


@pytest.mark.parametrize('said, classes', [('cat,cat ,dog, dog', ['cat', 'dog']), ('1,1.0,2,2', ['1', '2']), ('01,1,001,2', ['001', '01', '1', '2']), ('3,\u0663,3,3', ['3', '\u0663']), ('0,10,2,0', ['0', '2', '10'])])
def test_words_of_a_table(said, classes, made):
    "Spaces around a word mean nothing; numbers are numbers where all words are."
    rows = ''.join(f' {i}.png ,{word}\r\n' for i, word in enumerate(said.split(',')))
    images = load(made([f'{i}.png' for i in range(4)], labels__csv='file_name, label\r\n' + rows))
    assert images.classes == classes and len(images.labels) == 4, images.notes


def test_lines_of_a_table_end_where_a_system_ends_them(made):
    text = 'file_name,text,label\n0.png,"a\u2028b\x0cc",x\n1.png,d\x85e,y\n'
    assert load(made(['0.png', '1.png'], labels__csv=text)).classes == ['x', 'y']


def test_lines_of_json_end_where_a_system_ends_them(made):
    text = '{"file_name": "0.png", "text": "a\u2028b", "label": "x"}\n{"file_name": "1.png", "label": "y"}\n'
    assert load(made(['0.png', '1.png'], metadata__jsonl=text)).classes == ['x', 'y']


@pytest.mark.parametrize('lacks', [MemoryError(), OSError(errno.EMFILE, 'Too many open files'), OSError(errno.ENOMEM, 'Cannot allocate memory')], ids=repr)
def test_what_the_machine_lacks_breaks_no_image(lacks, made, monkeypatch):
    where = made([f'{i}.png' for i in range(4)])
    def fails(*args): raise lacks
    with monkeypatch.context() as short:
        short.setattr(data, '_read_as_it_is', fails)
        with pytest.raises(type(lacks)): load(where, 16, skip_broken=True)
    assert len(load(where, 16, skip_broken=True)) == 4


def test_a_giant_that_comes_first_decides_nothing(made, monkeypatch):
    where = made([f'{i:02d}.png' for i in range(1, 12)])
    giant = png(RNG.integers(0, 256, (900, 1200, 3), dtype=np.uint8))
    if where.is_dir(): write(where/'00.png', giant)
    else:
        with zipfile.ZipFile(where, 'a') as archive: archive.writestr('00.png', giant)
    monkeypatch.setattr(data, 'memory_here', lambda: 20*2**20)   # twelve giants would take 39 MB
    images = load(where, None)
    assert images.pixels.shape == (12, 3, 32, 32) and any('1 of 12 images (1200x900) resized to 32x32, the size of most' in note for note in images.notes), images.notes


def test_rows_of_no_image_harm_nobody(made):
    images = load(made(['0.png', '1.png'], labels__csv='name,class\n0.png,a\n,x\n1.png,b\n,y\n'))
    assert images.classes == ['a', 'b']
