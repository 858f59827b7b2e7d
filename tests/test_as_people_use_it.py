"""Runs that were made in Python, folders that are not what they were, settings that somebody has edited, names that mean two things: said in a line, and never guessed."""
import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from commands import TINY, alone_argv, copy, degas, pictures, search_argv, train_argv
from degas_nb.app.studies import STUDIES
from degas_nb.gan.training import GANConfig, GANTraining
from degas_nb.ground.data import Images, load
from degas_nb.ground.errors import UserError
from degas_nb.ground.folders import RunFolder
from degas_nb.ground.studies import table
from degas_nb.search.alternating import Search, SearchConfig
from degas_nb.space.genotype import Genotype
from test_study import squares, study

pytestmark = pytest.mark.usefixtures('quiet_machine')
FEW = dict(batch_size=8, width=2, z_dim=4, img_size=16)


def edited(folder, *path, **values):
    "`config.json` with some values as somebody has written them by hand."
    meta = json.loads((folder/'config.json').read_text())
    at = meta
    for key in path: at = at.setdefault(key, {})
    at.update(values)
    (folder/'config.json').write_text(json.dumps(meta))
    return folder


# ---------------------------------------------------------------- runs that were made in Python

@pytest.fixture(scope='module')
def in_python(tmp_path_factory):
    "A search as a notebook makes one: half of the images, some steps, saved."
    run = Search.from_config(load('emoji', img_size=16, limit=24), SearchConfig(epochs=2, **FEW))
    for _ in range(2): next(run)
    return run.save(tmp_path_factory.mktemp('python')/'run').path


@pytest.mark.parametrize('decide', ['own', 'alpha', 'measured'])
def test_a_search_made_in_python_is_decided_by_name(in_python, tmp_path, capsys, decide):
    "It has no trace and says no place: as many images as it had are taken, and they are its own."
    out = copy(in_python, tmp_path)
    assert degas('prune', out, '--data', 'emoji', '--decide', decide, '--asked', 3) == 0, capsys.readouterr().err
    assert decide in ('own', Genotype.load(out).meta['decide'])


def test_a_search_made_in_python_is_gone_on_with(in_python, tmp_path, line, capsys):
    out = copy(in_python, tmp_path)
    assert 'name them with --data' in line('search', '--resume', '--out', out)
    assert degas('search', '--resume', '--out', out, '--data', 'emoji') == 0, capsys.readouterr().err
    assert len(RunFolder.open(out).trace.read()) >= 4


@pytest.mark.parametrize('command', ['search', 'prune'])
def test_advice_on_images_can_be_followed(in_python, tmp_path, line, command):
    "Never to leave out the flag without which it asks for it."
    out, pets = copy(in_python, tmp_path), pictures(tmp_path/'pets', 40)
    said = line(*(['search', '--resume', '--out', out, '--data', pets] if command == 'search' else ['prune', out, '--decide', 'measured', '--data', pets]), notes=1)
    assert 'resume without --data' not in said and 'leave out' not in said and 'made in Python with 24 images of emoji all' in said and '--data' in said


# ---------------------------------------------------------------- images that are not what they were

@pytest.fixture
def trained(tmp_path):
    for c in 'ab': pictures(tmp_path/'pets'/c, 12)
    out = tmp_path/'run'
    assert degas(*train_argv(out, data=tmp_path/'pets', tiny=[*TINY[2:], '--img-size', '32'])) == 0
    return out


@pytest.mark.parametrize('change', ['one more', 'one less', 'one other'])
def test_changed_images_are_not_a_runs_own(trained, tmp_path, line, capsys, change):
    first = tmp_path/'pets'/'a'/'000.png'
    if change == 'one less': first.unlink()
    else: Image.new('RGB', (32, 32), 'red').save(first if change == 'one other' else first.with_name('new.png'))
    capsys.readouterr()
    assert degas('score', trained, '--n', 10) == 2
    said = capsys.readouterr()
    assert not said.out and 'are no longer those of the run' in said.err and f'degas score {trained} {tmp_path/"pets"}' in said.err and not (trained/'scores.json').exists()
    assert degas('score', trained, tmp_path/'pets', '--n', 10) == 0 and (trained/'scores.json').exists()   # they are meant


# ---------------------------------------------------------------- settings and scores that somebody has edited

def test_settings_that_are_none_are_said_before_any_work(found, drawn, tmp_path, line):
    s, g = copy(found, tmp_path, 's'), copy(drawn, tmp_path, 'g')
    for out, path, values, words in [
            (s, ['writes'], dict(decide='by lot'), "no decision 'by lot'"), (s, ['config'], dict(seed=2**70), 'seed'), (s, ['config'], dict(amp='fp7'), 'fp7'), (s, ['config'], dict(relaxation='x'), 'x'),
            (g, [], dict(start=5), "'start'"), (g, ['config'], dict(framework='stylegan'), 'stylegan'), (g, ['config'], dict(seed=2**70), 'seed'), (g, ['config'], dict(n_critic=0), 'critic')]:
        whole = (out/'config.json').read_text()
        edited(out, *path, **values)
        before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
        for argv in ([['prune', out], ['search', '--resume', '--out', out]] if out is s else [['score', out, '--n', 10], ['train', '--resume', '--out', out], ['sample', out, '--out', tmp_path/'x.png']]):
            assert words in line(*argv, notes=0), argv
        assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == before and not (tmp_path/'x.png').exists()
        (out/'config.json').write_text(whole)


@pytest.mark.parametrize('source', [5, [1], dict(data=5), None])
def test_a_damaged_place_of_images_is_said_where_they_are_needed(drawn, tmp_path, line, source):
    out = edited(copy(drawn, tmp_path), 'data', source=source)
    for argv in (['score', out, '--n', 10], ['score', out, 'emoji', '--n', 10], ['train', '--resume', '--out', out]): assert 'config.json' in line(*argv)
    assert degas('sample', out, '--n', 4, '--out', tmp_path/'x.png') == 0


@pytest.mark.parametrize('seed', [2**63, 2**70, -2**63 - 1])
def test_a_seed_that_is_too_long(drawn, tmp_path, line, seed):
    for argv in (['score', drawn, '--n', 10], ['sample', drawn, '--out', tmp_path/'x.png'], search_argv(tmp_path/'s'), train_argv(tmp_path/'g'), alone_argv(tmp_path/'r'), ['demo', '--out', tmp_path/'d']):
        assert '--seed' in line(*argv, f'--seed={seed}')
    assert not [p for p in tmp_path.iterdir()]


@pytest.mark.parametrize('records', [[{}, {}], [{'name': None, 'value': None}], [{'name': 'FID', 'value': 'much', 'step': 'x'}],
                                     [{'name': 'FID', 'value': 12.5, 'step': 1, 'n_fake': 10, 'extractor': 'inception'}]], ids=['empty', 'null', 'words', 'of another extractor'])
@pytest.mark.long
def test_a_demo_whose_scores_somebody_has_added_to(tmp_path, capsys, records):
    for name in 'ab': pictures(tmp_path/'images'/name, 40)
    argv = ['demo', '--data', tmp_path/'images', '--out', tmp_path/'demo', '--epochs', 1, '--steps', 1, '--n', 10]
    assert degas(*argv) == 0
    scores = tmp_path/'demo'/'gan'/'scores.json'
    own = json.loads(scores.read_text())
    for kept in (own, own[:1]):
        scores.write_text(json.dumps([*records, *kept]))
        capsys.readouterr()
        assert degas(*argv) == 0
        said = capsys.readouterr().out
        assert said.count('FD-small after') == 2 and [r['step'] for r in json.loads(scores.read_text())[len(records):]] == [0, 1]


def test_a_score_that_is_not_finite_is_kept_as_none(drawn, tmp_path, capsys, monkeypatch):
    from degas_nb.app import commands
    out = copy(drawn, tmp_path)
    monkeypatch.setattr(commands, 'score_run', lambda *a, **k: dict(name='FD', value=float('inf'), step=1, also=[dict(value=float('nan'))]))
    assert degas('score', out, '--n', 10) == 0
    printed = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f'{word} is no JSON'))
    assert printed['value'] is None and json.loads((out/'scores.json').read_text())[-1] == printed


@pytest.mark.parametrize('result', [{}, dict(square=None), dict(square='four'), dict(square=[4])], ids=['empty', 'null', 'a word', 'a list'])
@pytest.mark.parametrize('name', ['squares', 'strategies', 'table1', 'decide', 'chosen', 'proxy'])
def test_a_result_that_a_page_was_not_made_for(tmp_path, line, monkeypatch, name, result):
    "Damaged, or of another version of the code: a line, and neither a traceback nor another page."
    if name == 'squares':
        made = replace(study(squares(1), tmp_path), pages=lambda records: table(records, lambda r: r['key'], root=lambda found: found[0]['square']**.5))
        monkeypatch.setitem(STUDIES, name, lambda: made)
    made, folder = STUDIES[name](), tmp_path/name
    folder.mkdir()
    for job in made.jobs: (folder/'records.jsonl').open('a').write(json.dumps(dict(key=job.key, work=job.work, args=job.args, seconds=1., cpu=1., result=result)) + '\n')
    said = line('study', name, '--tables', '--out', tmp_path)
    assert f'the page of {name} cannot be made' in said and 'records.jsonl' in said and not (folder/'README.md').exists()


# ---------------------------------------------------------------- names that mean two things

def test_a_path_is_a_path_where_something_ships_under_that_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own = Genotype.named('cifar10_paper')
    own.save('cifar10_found')
    shipped = Genotype.named('cifar10_found')
    from pathlib import Path
    assert Genotype.load('./cifar10_found').edges == Genotype.load(Path('cifar10_found')).edges == own.edges != shipped.edges == Genotype.load('cifar10_found').edges
    assert degas('draw', 'cifar10_found', '--out', 'a.svg') == 0
    assert 'what lies here is ./cifar10_found' in capsys.readouterr().err
    assert degas('draw', './cifar10_found', '--out', 'b.svg') == 0
    assert not capsys.readouterr().err and open('a.svg').read() != open('b.svg').read()
    pictures(tmp_path/'emoji', 4)
    assert degas(*search_argv('run', '--dry-run')) == 0
    assert capsys.readouterr().err.count('emoji is the data set of that name; for the folder emoji in this folder say ./emoji') == 1


def test_images_beside_the_settings_of_another_program(tmp_path, capsys):
    for c in 'ab': pictures(tmp_path/'made'/c, 12)
    (tmp_path/'made'/'config.json').write_text('{"sampler": "ddim", "steps": 50}')
    pictures(tmp_path/'real'/'a', 12), pictures(tmp_path/'real'/'b', 12)
    assert degas('score', tmp_path/'made', tmp_path/'real', '--n', 20, '--features', 'emoji') == 0
    assert json.loads(capsys.readouterr().out)['n_fake'] == 20


def test_classes_that_a_folder_would_call_the_same():
    from degas_nb.app.commands import _folder_names
    names = _folder_names(['a/b', 'a-b', 'A-B', 'a\\b', '..', '.', 'x', 'a/b'])
    assert len({place.casefold() for place in names.values()}) == len(names) == 7 and names['x'] == 'x'
    assert not any('/' in place or place in ('.', '..') for place in names.values())


# ---------------------------------------------------------------- pictures, labels and indices

def test_files_of_several_frames_are_said(tmp_path):
    frames = [Image.new('RGB', (32, 32), colour) for colour in ('red', 'blue', 'green')]
    for name in ('a.gif', 'b.webp', 'c.tif', 'd.png'): frames[0].save(tmp_path/name, save_all=True, append_images=frames[1:])
    for name in ('e.gif', 'f.tif', 'g.jpg'): frames[0].save(tmp_path/name)
    images = load(tmp_path)
    assert 'of 4 images with several frames or pages, only the first is taken' in images.notes
    assert (images.pixels[:, 0] > 200).all() and (images.pixels[:, 2] < 60).all()


@pytest.mark.parametrize('labels', [[0., 1., 0., 1.], [True, False, True, False], [0, -1, 1, 0]], ids=['floats', 'yes or no', 'negative'])
def test_labels_that_are_no_numbers_of_classes(labels):
    with pytest.raises(UserError, match='labels are no numbers of classes'): Images(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.tensor(labels))


def test_labels_with_gaps_cost_nothing():
    "Four images with a label of a billion are refused in no time, and not by making a billion names."
    images = Images(torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8), torch.arange(40) % 2 * 10**9)
    with pytest.raises(UserError, match='number their classes from 0'):
        from degas_nb.judge.features import small_features
        small_features(images)
    with pytest.raises(UserError, match="no image of '1'"):
        GANTraining.from_config(images, GANConfig(steps=1, batch_size=8, width=4, conditional=True), Genotype.named('cifar10_paper'))


@pytest.mark.parametrize('index', [torch.tensor(1), torch.zeros(2, 2, dtype=torch.int64), [[0, 1]], [(0, 1), (1, 2)]], ids=['one', 'a table', 'a list of lists', 'pairs'])
def test_indices_that_are_no_row_of_numbers(index):
    images = load('emoji', limit=8)
    for ask in (images.subset, images.batch, images.labels_at):
        with pytest.raises(UserError, match='numbers in a row'): ask(index)
    assert len(images.subset([1, 2])) == len(images.subset(torch.tensor([1, 2]))) == len(images.subset(slice(1, 3))) == 2


def test_more_images_than_there_is_memory(drawn, tmp_path, line):
    assert 'draw fewer' in line('sample', drawn, '--n', 10**9, '--out', tmp_path/'x.png') and not (tmp_path/'x.png').exists()
    assert 'draw fewer' in line('score', drawn, '--n', 10**9, notes=1)


@pytest.mark.parametrize('kind', [torch.int32, torch.int16, torch.uint8])
def test_labels_of_any_whole_kind_are_the_same_labels(kind):
    x, y = torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.tensor([0, 1, 1, 0])
    assert Images(x, y.to(kind)).fingerprint() == Images(x, y).fingerprint() and Images(x, y.to(kind)).labels.dtype == torch.int64


# ---------------------------------------------------------------- what a reviewer found

def test_images_that_somebody_names_are_all_of_them(tmp_path, capsys):
    "A GAN made in Python on 24 images, scored against others: against all that were named, and not against 24 of them."
    images = load('emoji', limit=24)
    out = GANTraining.from_config(images, GANConfig(steps=2, batch_size=8, width=4, z_dim=16), Genotype.named('cifar10_paper')).save(tmp_path/'gan').path
    assert degas('score', out, 'emoji', '--n', 60) == 0
    assert json.loads(capsys.readouterr().out)['n_real'] == 60


@pytest.mark.long
def test_a_search_whose_images_have_moved(tmp_path, line, capsys):
    "`prune --data` names where they are now, as its advice says."
    there = pictures(tmp_path/'here', 24)
    assert degas(*search_argv(tmp_path/'run', data=there)) == 0
    there.rename(tmp_path/'moved')
    assert degas('prune', tmp_path/'run', '--decide', 'measured', '--asked', 3, '--data', tmp_path/'moved') == 0, capsys.readouterr().err
    Image.new('RGB', (32, 32), 'red').save(tmp_path/'moved'/'000.png')
    assert 'was made with other images' in line('prune', tmp_path/'run', '--decide', 'measured', '--data', tmp_path/'moved')


@pytest.mark.long
def test_a_run_of_before_labels_were_read_beside_an_array(tmp_path, capsys):
    images = load('emoji', limit=24)
    pixels, labels = images.pixels.permute(0, 2, 3, 1).numpy(), torch.arange(24).numpy() % 3
    import numpy as np
    np.savez(tmp_path/'x.npz', pixels)
    assert degas(*search_argv(tmp_path/'run', data=tmp_path/'x.npz')) == 0
    np.savez(tmp_path/'x.npz', pixels, labels)   # the same images; labels, which the run does not know, are found now
    assert load(tmp_path/'x.npz').labels is not None
    assert degas('search', '--resume', '--epochs', 5, '--out', tmp_path/'run') == 0, capsys.readouterr().err
    assert degas('prune', tmp_path/'run', '--decide', 'measured', '--asked', 3) == 0


def test_a_file_of_records_that_is_no_studys(tmp_path, line, monkeypatch):
    monkeypatch.setitem(STUDIES, 'squares', lambda: study(squares(1), tmp_path))
    folder = tmp_path/'out'/'squares'
    folder.mkdir(parents=True)
    for content in ('{"mine": 1}', '[1, 2]', '{"mine": 1}\n{"mine": 2}'):
        (folder/'records.jsonl').write_text(content)
        assert 'records' in line('study', 'squares', '--out', tmp_path/'out') and (folder/'records.jsonl').read_text() == content


def test_advice_on_a_folder_that_is_taken_can_be_followed(found, drawn, tmp_path, line):
    "Never to overwrite what --overwrite refuses to touch."
    s, g = copy(found, tmp_path, 's'), copy(drawn, tmp_path, 'g')
    (tmp_path/'other').mkdir()
    (tmp_path/'other'/'config.json').write_text('{"mine": 1}')
    for argv in (search_argv(g), train_argv(s), alone_argv(s), search_argv(tmp_path/'other')):
        for more in ([], ['--overwrite']): assert '--overwrite' not in line(*argv, *more)


@pytest.mark.parametrize('labels', [torch.tensor(3), torch.zeros(4, 1, dtype=torch.int64), torch.zeros(4, dtype=torch.complex64), torch.zeros(3, dtype=torch.int64)], ids=['one', 'a column', 'complex', 'too few'])
def test_labels_of_other_shapes(labels):
    with pytest.raises(UserError): Images(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), labels)


@pytest.mark.long
def test_a_grid_of_many_is_ours_too(tmp_path, capsys):
    "The sign is found in a file of any size."
    from degas_nb.app.commands import SIGNED, _is_signed
    big = tmp_path/'big.png'
    for content in (SIGNED.encode() + bytes(2**27), bytes(2**27) + SIGNED.encode()):
        big.write_bytes(content)
        assert _is_signed(big)
    big.write_bytes(bytes(2**21))
    assert not _is_signed(big)
