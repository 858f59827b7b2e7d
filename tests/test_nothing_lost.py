"""Nobody loses a file to us: `--overwrite` replaces a run by a run of its kind and nothing else, `--out` names no file of somebody's, and a longer run is not saved over."""
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from commands import PER_EPOCH, alone_argv, copy, degas, pictures, search_argv, snapshot, trace, train_argv
from degas_nb.app.commands import _keep_score, _scores_of
from degas_nb.ground.data import load
from degas_nb.ground.errors import UserError
from degas_nb.ground.folders import RunFolder
from degas_nb.search.reconstruct import Reconstruction, ReconstructionConfig

SMALL = dict(batch_size=8, width=2, z_dim=4, img_size=16)


def foreign(folder, config):
    "A project of somebody's, as many programs leave one."
    (folder/'samples'/'deep').mkdir(parents=True)
    for name in ('config.json', 'checkpoint.pt', 'trace.jsonl', 'samples/targets.png', 'samples/samples_0001.png', 'samples/deep/photo.png'): (folder/name).write_text('mine')
    if config is not None: (folder/'config.json').write_text(config)
    return folder


ARGV = dict(search=search_argv, gan=train_argv, reconstruction=alone_argv)


@pytest.mark.parametrize('config', ['{"model": "bert"}', '[]', 'not even JSON', '{"format": "degas-run/9", "kind": "search"}', ''], ids=['another', 'a list', 'no JSON', 'another version', 'empty'])
@pytest.mark.parametrize('kind', ARGV)
def test_a_folder_that_is_no_run_is_not_overwritten(tmp_path, line, kind, config):
    out = foreign(tmp_path/'out', config)
    before = snapshot(out)
    assert 'other files' in line(*ARGV[kind](out, '--overwrite'))
    assert snapshot(out) == before


def test_a_run_replaces_none_of_another_kind(found, drawn, alone, tmp_path, line):
    runs = dict(search=copy(found, tmp_path, 's'), gan=copy(drawn, tmp_path, 'g'), reconstruction=copy(alone, tmp_path, 'r'))
    before = snapshot(tmp_path)
    for kind, argv in ARGV.items():
        for other, out in runs.items():
            if other != kind: assert f'holds a {other} run' in line(*argv(out, '--overwrite'))
    said = line(*train_argv(runs['search'], '--overwrite', genotype=runs['search']))  # where what is trained was found
    assert 'which no gan run replaces' in said and snapshot(tmp_path) == before


def test_the_run_whose_weights_go_on_is_not_overwritten(drawn, tmp_path, line):
    out = copy(drawn, tmp_path)
    before = snapshot(out)
    for named in (out, tmp_path/'copy'/'..'/'copy'):
        assert 'whose weights go on' in line(*train_argv(named, '--init', 'keep', '--overwrite', genotype=out))
    assert snapshot(out) == before


def linked(path):
    elsewhere = path.with_name(f'{path.name} elsewhere')
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize('name', ['samples', 'trace.jsonl', 'checkpoint.pt'])
def test_a_run_with_a_link_in_it_is_removed_as_a_whole_or_not_at_all(found, tmp_path, line, name):
    out = copy(found, tmp_path)
    linked(out/name)
    before = snapshot(out)
    assert str(out/name) in line(*search_argv(out, '--overwrite', epochs=1))
    assert snapshot(out) == before


def test_a_folder_in_place_of_a_file_is_not_removed(found, tmp_path, line):
    out = copy(found, tmp_path)
    (out/'report.html').unlink()
    (out/'report.html').mkdir()
    (out/'report.html'/'thesis.txt').write_text('mine')
    before = snapshot(out)
    assert 'report.html' in line(*search_argv(out, '--overwrite', epochs=1))
    assert snapshot(out) == before


def test_only_pictures_of_a_run_leave_its_samples(found, tmp_path):
    out = copy(found, tmp_path)
    for name in ('mine.png', 'samples_best.png', 'targets.png.bak'): (out/'samples'/name).write_text('mine')
    (out/'samples'/'samples_0099.png').mkdir()
    (out/'samples'/'reconstructions_0099.png').write_bytes(b'old')
    assert degas(*search_argv(out, '--overwrite', epochs=1)) == 0
    assert len(trace(out)) == PER_EPOCH and not (out/'samples'/'reconstructions_0099.png').exists() and (out/'samples'/'samples_0099.png').is_dir()
    for name in ('mine.png', 'samples_best.png', 'targets.png.bak'): assert (out/'samples'/name).read_text() == 'mine'


# ---------------------------------------------------------------- files that somebody names

@pytest.fixture
def own(tmp_path):
    "Files of somebody's: a photograph, a drawing, images in an array, a page, statistics of another program."
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path/'photo.png')
    (tmp_path/'drawing.svg').write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    np.savez(tmp_path/'images.npz', images=rng.integers(0, 255, (12, 8, 8, 3), dtype=np.uint8))
    np.savez(tmp_path/'fid_stats.npz', mu=np.zeros(4), sigma=np.eye(4))
    (tmp_path/'page'/'squares').mkdir(parents=True)
    (tmp_path/'demo').mkdir()
    for page in ('demo/report.html', 'page/squares/README.md'): (tmp_path/page).write_text('mine')
    return tmp_path


def test_out_is_no_file_of_somebodys(drawn, own, line):
    pictures(own/'images'/'a', 12)
    before = snapshot(own)
    assert 'is there already' in line('sample', drawn, '--n', 4, '--out', own/'photo.png')
    assert 'is there already' in line('draw', 'cifar10_paper', '--out', own/'drawing.svg')
    for name in ('images.npz', 'fid_stats.npz'):
        assert 'is there already' in line('score', drawn, own/'images', '--n', 10, '--save-real-stats', own/name)
    assert 'is there already' in line('score', own/'images.npz', own/'images.npz', '--n', 10, '--features', 'emoji', '--save-real-stats', own/'images.npz')
    assert 'is there already' in line('demo', '--out', own/'demo')
    assert snapshot(own) == before


def test_a_study_replaces_no_page_of_somebodys(own, line, monkeypatch):
    from degas_nb.app.studies import STUDIES
    from test_study import squares, study
    monkeypatch.setitem(STUDIES, 'squares', lambda: study(squares(1), own))
    before = snapshot(own)
    assert 'README.md is no page of a study' in line('study', 'squares', '--out', own/'page')
    assert snapshot(own) == before


def test_what_a_command_wrote_it_may_write_again(drawn, tmp_path, capsys):
    "Nobody has to remove his last picture."
    pictures(tmp_path/'images', 12)
    for n in (4, 6):
        assert degas('sample', drawn, '--n', n, '--out', tmp_path/'grid.png') == 0
        assert degas('draw', ('cifar10_paper', 'cifar10_found')[n == 6], '--out', tmp_path/'net.svg') == 0
        assert degas('score', tmp_path/'images', tmp_path/'images', '--n', 10, '--features', 'emoji', '--save-real-stats', tmp_path/'stats.npz') == 0
    assert Image.open(tmp_path/'grid.png').size == (6*33 - 1, 32)
    assert '<svg' in (tmp_path/'net.svg').read_text()


# ---------------------------------------------------------------- runs that are driven from Python

def test_a_longer_run_is_not_saved_over(tmp_path):
    "A notebook that is run again from the top begins at step 0: what lies in the folder is hours further."
    images = load('emoji', img_size=16, limit=24)
    def fresh(): return Reconstruction.from_config(images, ReconstructionConfig(epochs=2, **SMALL))
    run = fresh()
    for _ in range(4): next(run)
    run.save(tmp_path/'run')
    run.save(tmp_path/'run')   # again, at the same step
    before, again = snapshot(tmp_path/'run'), fresh()
    for _ in range(2):
        with pytest.raises(UserError, match='holds this run at step 4, this one is at .: load it with Reconstruction.load'): again.save(tmp_path/'run')
        with pytest.raises(UserError, match='at step 4'): again.save(RunFolder.open(tmp_path/'run'))
        next(again)
    assert snapshot(tmp_path/'run') == before
    next(run)
    assert run.save(tmp_path/'run').load_checkpoint()['step'] == 5


def test_a_run_is_not_saved_where_another_process_works(tmp_path):
    images = load('emoji', img_size=16, limit=24)
    run = Reconstruction.from_config(images, ReconstructionConfig(epochs=2, **SMALL))
    folder = run.save(tmp_path/'run')
    next(run)
    with RunFolder.open(folder.path).lock():
        before = snapshot(folder.path)
        with pytest.raises(UserError, match='another process is working'): run.save(folder.path)
        assert snapshot(folder.path) == before


def test_who_scores_at_once_loses_no_record(tmp_path):
    "Each reads what is there, and adds to it."
    runs = [RunFolder.create(tmp_path/'run', 'gan', {}, {}), *(RunFolder.open(tmp_path/'run') for _ in range(3))]
    with ThreadPoolExecutor(4) as pool: list(pool.map(lambda i: _keep_score(runs[i % 4], dict(step=i)), range(60)))
    assert sorted(r['step'] for r in _scores_of(runs[0])) == [*range(60)]
    assert sorted(p.name for p in (tmp_path/'run').iterdir()) == ['.lock', 'config.json', 'scores.json']
