"""`degas` as scripts and people use it: what it writes, how it is killed and goes on, what it says to mistakes."""
import json, os, re, shutil, signal, subprocess, sys, tempfile, zipfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from degas_nb.app import commands as app_commands
from degas_nb.app.driving import command_lines
from degas_nb.app.main import COMMANDS, _flags, _new_names, help_of, parse
from degas_nb.gan.frameworks import FRAMEWORKS
from degas_nb.gan.training import GANConfig, GANTraining
from degas_nb.ground.data import load
from degas_nb.search.alternating import SEARCHES, Search, SearchConfig, search_settings
from degas_nb.space.genotype import DEGAS, Genotype
from degas_nb.ground.folders import RunFolder

from commands import BATCH, EPOCHS, FEW, FILES, IMAGES, PER_EPOCH, STEPS, as_undisturbed, copy, degas, on_small_disk, pictures, process, search_argv, signalled, snapshot, state, trace, train_argv, with_state

pytestmark = pytest.mark.usefixtures('quiet_machine')


# ---------------------------------------------------------------- the contract for scripts

def test_search_writes_its_files(found):
    assert FILES <= {p.name for p in found.iterdir()}
    assert {'targets.png', 'reconstructions_0004.png', 'samples_0001.png'} <= {p.name for p in (found/'samples').iterdir()}
    assert not list(found.glob('.*.part'))
    config = json.loads((found/'config.json').read_text())
    assert config['format'] == 'degas-run/1' and config['config']['epochs'] == EPOCHS and config['data']['n'] == IMAGES


def test_every_line_of_the_trace(found):
    rows = trace(found)
    assert [r['step'] for r in rows] == list(range(1, EPOCHS*PER_EPOCH + 1))
    for r in rows:
        assert {'step', 'epoch', 'loss', 'mse', 'psnr'} <= r.keys()
        assert r['epoch'] == (r['step'] - 1)//PER_EPOCH + 1
        assert all(np.isfinite(r[k]) for k in ('loss', 'mse', 'psnr'))
    full = [r for r in rows if 'alpha' in r]
    assert {r['epoch'] for r in full} == set(range(1, EPOCHS + 1)) and 'alpha' in rows[-1]
    for r in full:
        for values in r['alpha'], r['weights']:
            assert list(values) == [e.name for e in DEGAS.edges] and len(values) == 11
            assert sum(len(ops) for ops in values.values()) == 59
            assert all(tuple(values[e.name]) == DEGAS.ops(e) for e in DEGAS.edges)
        for edge, ops in r['weights'].items():
            assert sum(ops.values()) == pytest.approx(1, abs=1e-5)
            raw = torch.tensor(list(r['alpha'][edge].values())).softmax(0)
            assert torch.allclose(raw, torch.tensor(list(ops.values())), atol=1e-6)


def test_prune_writes_the_genotype_anew(found, tmp_path, capsys):
    out = copy(found, tmp_path)
    before = json.loads((out/'genotype.json').read_text())
    (out/'genotype.json').write_text('{')
    assert degas('prune', out) == 0
    printed, reasons = capsys.readouterr()
    after = Genotype.load(out)
    assert after == Genotype.from_json(before) and printed.strip() == str(after) and 'networks by lot' in reasons
    assert degas('prune', out, '--decide', 'alpha') == 0 and 'keep' in capsys.readouterr().err
    assert degas('prune', out, '--rule', 'argmax_all', '--compare', 'alpha') == 0
    assert len(Genotype.load(out).edges) == 11


def test_resuming_a_finished_search_keeps_what_was_pruned(found, tmp_path):
    out = copy(found, tmp_path)
    assert degas('prune', out, '--rule', 'argmax_all') == 0
    before = snapshot(out)
    assert degas('search', '--resume', '--out', out) == 0
    assert snapshot(out) == before


@pytest.mark.parametrize('which', ['file', 'folder', 'name'])
def test_draw(found, tmp_path, capsys, which):
    target = tmp_path/'x.svg'
    assert degas('draw', dict(file=found/'genotype.json', folder=found, name='cifar10_paper')[which], '--out', target) == 0
    assert capsys.readouterr().out.strip() == str(target)
    assert target.read_text().startswith('<svg') and 's6' in target.read_text()


@pytest.mark.parametrize('framework', list(FRAMEWORKS))
def test_train_takes_what_was_found(found, drawn, tmp_path, framework):
    out = drawn
    if framework != 'ctgan':
        out = tmp_path/'run'
        assert degas(*train_argv(out, '--framework', framework, '--n-critic', 1, genotype=found)) == 0
    assert FILES <= {p.name for p in out.iterdir()}
    rows = trace(out)
    assert [r['step'] for r in rows] == list(range(1, STEPS + 1))
    assert all({'critic', 'generator', 'lr'} <= r.keys() and r['critic'] and r['generator'] for r in rows)
    assert Genotype.load(out) == Genotype.load(found)
    assert json.loads((out/'config.json').read_text())['config']['framework'] == framework


def test_sample_a_grid_and_single_images(drawn, tmp_path):
    assert degas('sample', drawn, '--n', 5, '--out', tmp_path/'grid.png') == 0
    assert degas('sample', drawn, '--n', 5, '--out', tmp_path/'deep'/'images') == 0
    assert Image.open(tmp_path/'grid.png').width >= 5*32
    single = sorted((tmp_path/'deep'/'images').iterdir())
    assert [p.name for p in single] == [f'{i:06d}.png' for i in range(5)] and {Image.open(p).size for p in single} == {(32, 32)}
    first = single[0].read_bytes()
    assert degas('sample', drawn, '--n', 5, '--out', tmp_path/'again') == 0
    assert (tmp_path/'again'/'000000.png').read_bytes() == first  # the same seed
    assert degas('sample', drawn, '--n', 5, '--seed', 1, '--out', tmp_path/'other') == 0
    assert (tmp_path/'other'/'000000.png').read_bytes() != first


@pytest.mark.long
def test_samples_need_no_training_images(tmp_path):
    "A run can be moved away from its images, or they from it."
    images, out = pictures(tmp_path/'images'), tmp_path/'run'
    assert degas(*train_argv(out, data=images, tiny=FEW)) == 0
    assert degas('sample', out, '--n', 3, '--out', tmp_path/'before') == 0
    shutil.rmtree(images)
    assert degas('sample', out, '--n', 3, '--out', tmp_path/'after') == 0
    for name in '000000.png', '000002.png': assert (tmp_path/'before'/name).read_bytes() == (tmp_path/'after'/name).read_bytes()
    for statistics in 'running', 'recalibrated':
        assert degas('sample', out, '--n', 3, '--norms', statistics, '--out', tmp_path/statistics) == 0
        assert (tmp_path/statistics/'000000.png').read_bytes() != (tmp_path/'before'/'000000.png').read_bytes()


@pytest.mark.long
def test_with_classes(tmp_path, line, capsys):
    out = tmp_path/'run'
    assert degas(*train_argv(out, '--conditional', tiny=FEW)) == 0
    assert 'class' in trace(out)[0]['critic'] and 'class' in trace(out)[0]['generator']
    assert '--conditional' in (out/'report.html').read_text()
    assert degas('train', '--resume', '--out', out) == 0
    capsys.readouterr()
    assert degas('sample', out, '--n', 20, '--out', tmp_path/'all') == 0
    assert len(list((tmp_path/'all').iterdir())) == 10 and len(list((tmp_path/'all').rglob('*.png'))) == 20
    assert degas('sample', out, '--n', 4, '--label', 'Flags', '--out', tmp_path/'flags') == 0
    assert [p.name for p in (tmp_path/'flags').iterdir()] == ['Flags'] and len(list((tmp_path/'flags').rglob('*.png'))) == 4
    assert degas('sample', out, '--n', 20, '--out', tmp_path/'all.png') == 0
    assert 'is not a class' in line('sample', out, '--label', 'Horses', '--out', tmp_path/'x')
    assert not (tmp_path/'x').exists()


def test_classes_that_are_not_there(drawn, tmp_path, line):
    images = pictures(tmp_path/'images')
    assert 'has no labels' in line(*train_argv(tmp_path/'x', '--conditional', data=images, tiny=FEW))
    assert 'no image of' in line(*train_argv(tmp_path/'x', '--conditional', tiny=['--limit', '8', '--batch-size', '4', '--width', '4']))
    assert 'without classes' in line('sample', drawn, '--label', 'Flags', '--out', tmp_path/'y')
    assert not (tmp_path/'x').exists() and not (tmp_path/'y').exists()


def test_the_report_names_the_command(drawn, found):
    assert f'degas train --genotype {drawn}/genotype.json --framework ctgan --data emoji --limit {IMAGES} --steps {STEPS} --batch-size {BATCH}' in (drawn/'report.html').read_text()
    assert f'degas search --data emoji --limit {IMAGES} --epochs {EPOCHS}' in (found/'report.html').read_text()


def test_version(capsys):
    assert degas('--version') == 0 and capsys.readouterr().out.startswith('degas_nb 0.')


@pytest.mark.long
def test_score_prints_one_record(drawn, tmp_path, capsys):
    out = copy(drawn, tmp_path)
    assert degas('score', out, '--data', 'emoji', '--n', 2000) == 0
    printed = capsys.readouterr().out
    assert printed.count('\n') == 1
    record = json.loads(printed)
    assert {'value', 'n_real', 'n_fake', 'split', 'extractor', 'weights_hash', 'resize', 'warning'} <= record.keys()
    assert record['n_fake'] == 2000 and record['n_real'] == IMAGES and record['value'] > 0 and record['step'] == STEPS
    assert 'bias' in record['warning'] and record['name'].startswith('FD-')
    assert degas('score', out, '--n', 50, '--untrained') == 0
    assert [r['step'] for r in json.loads((out/'scores.json').read_text())] == [STEPS, 0]
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_score_of_images(tmp_path, line, capsys):
    one, two = pictures(tmp_path/'one'), pictures(tmp_path/'two', n=30, size=(48, 40))
    with zipfile.ZipFile(tmp_path/'one.zip', 'w') as z:
        for p in sorted(one.rglob('*.png')): z.write(p, p.relative_to(one))
    said = []
    for what in one, tmp_path/'one.zip':
        assert degas('score', what, two, '--features', 'emoji') == 0
        said.append(json.loads(capsys.readouterr().out))
    assert said[0]['value'] == said[1]['value'] > 0 and {'n_real': 30, 'n_fake': 40}.items() <= said[0].items()
    assert [s['name'] for s in said[0]['also']] == ['IS-small', 'KID-small']
    stats = tmp_path/'two.npz'
    assert degas('score', one, '--data', two, '--features', 'emoji', '--save-real-stats', stats) == 0
    assert degas('score', one, '--real-stats', stats, '--features', 'emoji') == 0
    a, b = map(json.loads, capsys.readouterr().out.splitlines())
    assert a['value'] == pytest.approx(b['value'], rel=1e-6) and (b['data'], b['n_real']) == ('two', 30)
    assert 'compared with what' in line('score', one)
    assert 'named twice' in line('score', one, two, '--data', two)
    assert 'no labels' in line('score', one, two)
    assert 'must end in .npz' in line('score', one, two, '--save-real-stats', tmp_path/'x.json')
    assert 'leave out' in line('score', one, two, '--real-stats', stats)
    assert 'no size of images' in line('score', one, two, '--features', 'emoji', '--img-size', 0)


def test_statistics_that_are_none(drawn, tmp_path, line):
    files = {'no mu': dict(sigma=np.eye(4)), 'other features': dict(mu=np.zeros(4), sigma=np.eye(4)), 'not square': dict(mu=np.zeros(4), sigma=np.ones((4, 3))), 'nan': dict(mu=np.full(4, np.nan), sigma=np.eye(4))}
    before = snapshot(drawn)
    for name, arrays in files.items():
        np.savez(tmp_path/f'{name}.npz', **arrays)
        line('score', drawn, '--n', 50, '--real-stats', tmp_path/f'{name}.npz', '--features', 'emoji')
    assert 'no statistics' in line('score', drawn, '--real-stats', tmp_path/'none.npz')
    assert snapshot(drawn) == before


def test_weights_that_are_others(drawn, tmp_path, line):
    (tmp_path/'w.pth').write_bytes(b'weights')
    before = snapshot(drawn)
    assert '6726825d' in line('score', drawn, '--extractor', 'inception', '--weights', tmp_path/'w.pth')
    assert 'inception' in line('score', drawn, '--weights', tmp_path/'w.pth')
    assert 'no' in line('score', drawn, '--extractor', 'inception', '--weights', tmp_path/'none.pth')
    assert snapshot(drawn) == before


def test_stdout_is_for_results(found, tmp_path):
    done = process('prune', copy(found, tmp_path))
    assert done.returncode == 0 and done.stdout.splitlines()[0].startswith('s1 = ') and 'Traceback' not in done.stderr


@pytest.mark.parametrize('argv', [['--help'], [], *[[name, '--help'] for name in COMMANDS], ['search', '--resume', '--help']])
def test_help(argv, capsys):
    assert degas(*argv) == 0
    assert 'degas' in capsys.readouterr().out


@pytest.mark.parametrize('name', COMMANDS)
def test_help_of_a_command(name, monkeypatch):
    "Every flag is there, with its choices and what it does; groups; lines of a terminal; first what everybody needs."
    for columns in (40, 80, 300):
        monkeypatch.setenv('COLUMNS', str(columns))
        text = help_of(name)
        assert max(map(len, text.splitlines())) <= max(60, min(columns, 100))
    assert not re.search(r'\b(STR|INT|FLOAT|WORD|Literal|MISSING)\b', text)
    titles = re.findall(r'^(\w+):$', text, re.M)
    assert titles[0] == 'first' and titles[-1] == 'run' and len(titles) == len(set(titles))
    flags = list(_flags(COMMANDS[name], COMMANDS[name].defaults([]) if hasattr(COMMANDS[name], 'defaults') else None))
    for flag in flags:
        shown = re.search(rf'^  {re.escape(flag.word)}(?=\s)', re.sub(r'(?<=,)\s+', '', text), re.M)  # many choices take several lines
        assert shown and flag.says, flag
        assert flag.kind is not str or flag.choices or flag.name in FREE, f'{flag.name}: which choices?'
    if name in ('search', 'train'):
        first = text[text.index('first:'):text.index('images:')]
        assert {'--data', '--out', dict(search='--epochs', train='--steps')[name]} <= set(re.findall('--[a-z-]+', first))


FREE = ('data', 'split', 'device', 'genotype', 'what', 'generator', 'against', 'features', 'only')  # words that nobody can list


@pytest.mark.parametrize('config', [SearchConfig, GANConfig])
def test_the_choices_of_the_help_are_those_of_the_settings(config):
    for flag in _flags(config, config()):
        for choice in flag.choices: assert getattr(replace(config(), **{flag.name: choice}), flag.name) == choice
        if flag.choices: assert flag.default in flag.choices


def test_a_preset_changes_the_defaults_of_the_help():
    assert '(default 12)' in help_of('search') and '(default 50)' in help_of('search', ['--preset', 'paper-cifar10'])
    assert '(default rmsprop)' in ' '.join(help_of('train', ['--framework', 'wgan']).split())


BEGINS = {   # of a search, and the words that begin it
    '': SearchConfig.teaching(), '--held-out 0.5': SearchConfig(travel=11.7, held_out=.5), '--alpha-lr 0.01': SearchConfig(alpha_lr=.01, joint=True),
    '--alpha-lr 0.01 --travel 5.0': SearchConfig(alpha_lr=.01, travel=5., joint=True), '--travel None --no-joint': SearchConfig(), '--epochs 3': replace(SearchConfig.teaching(), epochs=3)}


@pytest.mark.parametrize('words', BEGINS)
def test_a_search_begins_as_the_study_says_unless_flags_say_otherwise(words, tmp_path):
    "And the line that a report prints begins the same search again."
    command = parse('search', ['--data', 'emoji', '--out', str(tmp_path/'x'), *words.split()])
    assert command.config == BEGINS[words] and command.decide == 'lean'
    about = dict(source=dict(data='emoji'), n=8)
    run = RunFolder.create(tmp_path/'x', 'search', search_settings(command.config, DEGAS), about, writes=dict(decide='lean', asked=300))
    begun = command_lines(run)[0].split()
    assert ' '.join(begun) == ' '.join(['degas search --data emoji', *words.split(), f'--out {tmp_path}/x'])
    assert parse('search', begun[2:]).config == command.config


@pytest.mark.long
def test_runs_that_no_command_made_are_decided_and_scored_all_the_same(tmp_path, line, capsys):
    "They can't say where their images are; who asks names them."
    images, named, small = load('emoji', limit=16), tmp_path/'images.npy', dict(width=4, z_dim=16, batch_size=8)
    np.save(named, images.pixels.permute(0, 2, 3, 1).numpy())
    search = Search.from_config(load(named), SearchConfig(epochs=1, **small))
    run = RunFolder.create(tmp_path/'search', 'search', search_settings(search.config, DEGAS), dict(name='mine'))
    with run.lock(): found = app_commands.run_search(search, run, asked=6)
    assert found.meta['decide'] == 'lean' and degas('prune', run.path, '--data', 'emoji') == 2  # other images: all of them
    again = line('prune', run.path, '--decide', 'measured', '--asked', 6)
    assert '--data' in again and degas('prune', run.path, '--data', named, '--device', 'cpu') == 0
    assert Genotype.load(run.path) == found and Genotype.load(run.path).meta['asked'] == found.meta['asked']
    assert command_lines(RunFolder.open(run.path))[0].startswith('degas search --data IMAGES ')
    training = GANTraining.from_config(images, GANConfig(steps=2, **small), found)
    training.save(tmp_path/'gan')
    capsys.readouterr()
    for more in [], ['--untrained']:
        assert degas('score', tmp_path/'gan', '--data', 'emoji', '--n', 20, *more) == 0
        assert json.loads(capsys.readouterr().out)['n_fake'] == 20
    for where, words in (run.path, ['prune', run.path]), (tmp_path/'gan', ['sample', tmp_path/'gan', '--out', tmp_path/'x.png']):
        for saved in where.glob('checkpoint*.pt'): saved.unlink()  # as in its first minute
        said = line(*words)
        assert 'no checkpoint yet' in said and '--overwrite' not in said


def test_the_report_of_the_demo_says_how_to_make_its_search_again(tmp_path):
    demo = app_commands.DemoCommand(out=tmp_path/'demo', epochs=3, seed=5)
    about, config = dict(source=dict(data='emoji'), n=8), SearchConfig(epochs=3, seed=5)
    RunFolder.create(demo.out/'search', 'search', search_settings(config, DEGAS), about, writes=dict(save_every=60., decide='alpha'))
    first, *others = app_commands._by_hand(demo)
    again = parse('search', first.split()[2:])
    assert again.config == config and again.decide == 'alpha' and again.out == demo.out/'search'
    for line in others: parse(line.split()[1], line.split()[2:])


@pytest.mark.parametrize('word', ['--alpha-lr', '--alpha_lr'])
def test_a_rate_of_alpha_counts_or_is_refused(word, found, tmp_path, line):
    "However it is spelt: a new search goes by it; one whose travel sets the rate says so, and stays as it was."
    for words in ([word, '0.01'], [f'{word}=0.01']):
        assert parse('search', ['--data', 'emoji', '--out', 'x', *words]).config == SearchConfig(alpha_lr=.01, joint=True)
    assert not parse('search', ['--data', 'emoji', '--out', 'x', '--held_out', '.5']).config.joint
    out = copy(found, tmp_path)
    before = snapshot(out)
    assert '--travel 11.7' in line('search', '--resume', '--epochs', 6, word, .01, '--out', out) and snapshot(out) == before


def test_only_the_search_of_degas_has_a_study_that_says_how():
    for name, kind in SEARCHES.items():
        if name == 'degas': continue
        command = parse('search', ['--data', 'emoji', '--out', 'x', '--strategy', name])
        assert command.config == kind.Config() == kind.Config.teaching() and command.decide == kind.decides


def test_flags_by_their_old_names(drawn, tmp_path, capsys):
    "For one version, with a warning; the files are the same."
    assert degas('sample', drawn, '--n', 4, '--statistics', 'running', '--out', tmp_path/'old.png') == 0
    assert '--statistics is now --norms' in capsys.readouterr().err
    assert degas('sample', drawn, '--n', 4, '--norms=running', '--out', tmp_path/'new.png') == 0
    assert '--norms' not in capsys.readouterr().err and (tmp_path/'old.png').read_bytes() == (tmp_path/'new.png').read_bytes()
    assert _new_names('score', ['x', '--stats=a', '--save-stats', 'b']) == ['x', '--real-stats=a', '--save-real-stats', 'b']
    assert _new_names('search', ['--stats', 'a']) == ['--stats', 'a']


# ---------------------------------------------------------------- killed, and taken up again

@pytest.mark.long
def test_search_killed_in_epoch_3(found, tmp_path):
    out = tmp_path/'run'
    killed = signalled(8, [signal.SIGKILL], *search_argv(out, "--save-every", 0))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert state(out)['step'] == 7 and len(trace(out)) == 8 and not (out/'genotype.json').exists()
    with open(out/'trace.jsonl', 'a') as f: f.write('{"step": 9, "lo')  # and in the middle of a line
    (out/'.checkpoint.new.pt.1.part').write_bytes(b'half')               # and in the middle of a checkpoint
    assert degas('search', '--resume', '--out', out) == 0                # needs no other flag
    as_undisturbed(out, found)


@pytest.mark.long
def test_an_alternating_search_that_was_killed_goes_on(tmp_path):
    "Its two optimisers, and alpha's batch, are where they were."
    whole, out = tmp_path/'whole', tmp_path/'run'
    assert degas(*search_argv(whole, '--no-joint')) == 0
    assert signalled(8, [signal.SIGKILL], *search_argv(out, '--no-joint', '--save-every', 0)).returncode == -signal.SIGKILL
    assert degas('search', '--resume', '--out', out) == 0
    as_undisturbed(out, whole)


@pytest.mark.long
def test_search_killed_before_the_first_checkpoint(found, tmp_path):
    out = tmp_path/'run'
    assert signalled(2, [signal.SIGKILL], *search_argv(out)).returncode == -signal.SIGKILL
    assert not (out/'checkpoint.pt').exists() and len(trace(out)) == 2
    assert degas(*search_argv(out, '--resume')) == 0  # the whole command again, with --resume
    as_undisturbed(out, found)


@pytest.mark.long
def test_ctrl_c_saves_and_says_how_to_go_on(found, tmp_path):
    out = tmp_path/'run'
    stopped = signalled(5, [signal.SIGINT], *search_argv(out))
    assert stopped.returncode == 130 and 'Traceback' not in stopped.stderr and not stopped.stdout
    assert state(out)['step'] == 5
    last = stopped.stderr.strip().splitlines()[-1]
    command = last.split('go on with: degas ')[1].split()
    assert degas(*command) == 0
    as_undisturbed(out, found)


@pytest.mark.long
def test_a_second_ctrl_c_goes_at_once(found, tmp_path):
    out = tmp_path/'run'
    stopped = signalled(5, [signal.SIGINT, signal.SIGINT], *search_argv(out, '--save-every', 0))
    assert stopped.returncode == 130 and 'Traceback' not in stopped.stderr
    assert state(out)['step'] == 4
    assert degas('search', '--resume', '--out', out) == 0
    as_undisturbed(out, found)


@pytest.mark.long
def test_train_killed_and_terminated(found, drawn, tmp_path):
    out = tmp_path/'run'
    assert signalled(3, [signal.SIGKILL], *train_argv(out, '--save-every', 0, genotype=found/'genotype.json')).returncode == -signal.SIGKILL
    (out/'genotype.json').unlink()  # config.json has it too
    stopped = signalled(4, [signal.SIGTERM], 'train', '--resume', '--out', out)
    assert stopped.returncode == 128 + signal.SIGTERM and 'Traceback' not in stopped.stderr
    assert state(out)['step'] == 4
    assert degas('train', '--resume', '--out', out) == 0
    as_undisturbed(out, drawn)


@pytest.mark.long
def test_disk_full(found, tmp_path):
    "A limit on the size of a file stands for a full disk: the last checkpoint stays, and the run goes on to the same bits."
    out = tmp_path/'run'
    assert signalled(5, [signal.SIGINT], *search_argv(out)).returncode == 130
    saved = (out/'checkpoint.pt').read_bytes()
    full = on_small_disk(200, 'search', '--resume', '--out', out, '--save-every', 0)
    assert full.returncode == 2 and 'no space left' in full.stderr.strip().splitlines()[-1] and 'Traceback' not in full.stderr
    assert (out/'checkpoint.pt').read_bytes() == saved and not list(out.glob('.*.part'))
    full = on_small_disk(20, 'search', '--resume', '--out', out)  # now not even a picture fits
    assert full.returncode == 2 and 'no space left' in full.stderr.strip().splitlines()[-1] and 'Traceback' not in full.stderr
    assert degas('search', '--resume', '--out', out) == 0
    as_undisturbed(out, found)


def test_two_processes_in_one_folder(found, tmp_path, line):
    out = copy(found, tmp_path)
    held = subprocess.Popen([sys.executable, '-c', 'import fcntl, sys, time\nf = open(sys.argv[1], "a"); fcntl.flock(f, fcntl.LOCK_EX)\nprint("held", flush=True); time.sleep(60)', str(out/'.lock')], stdout=subprocess.PIPE)
    try:
        held.stdout.readline()
        before = snapshot(out)
        assert 'another process' in line('search', '--resume', '--out', out)
        assert 'another process' in line(*search_argv(out, '--overwrite'))
        assert snapshot(out) == before
    finally:
        held.kill()
        held.wait()


def test_overwrite_replaces_a_run_and_nothing_else(found, tmp_path):
    out = copy(found, tmp_path)
    (out/'notes.txt').write_text('mine')
    (out/'samples'/'reconstructions_0099.png').write_bytes(b'old')
    assert degas(*search_argv(out, '--overwrite', epochs=1)) == 0
    assert (out/'notes.txt').read_text() == 'mine' and len(trace(out)) == PER_EPOCH
    assert not (out/'samples'/'reconstructions_0099.png').exists()


def test_a_folder_left_by_a_process_that_died_at_once(tmp_path):
    out = tmp_path/'run'
    out.mkdir()
    for name in '.lock', '.config.json.17.part': (out/name).touch()
    assert degas(*search_argv(out, epochs=1)) == 0


# ---------------------------------------------------------------- what people get wrong: flags

FLAGS = {
    'no command of that name': (['serach'], 'there are demo'),
    'no --data': (['search', '--out', 'X'], '--data'),
    'no --out': (['search', '--data', 'emoji'], '--out'),
    'unknown flag': (['search', '--data', 'emoji', '--out', 'X', '--widht', '4'], '--widht'),
    'stray word': (['search', '--data', 'emoji', '--out', 'X', 'extra'], 'extra'),
    'flag without its value': (['search', '--data', 'emoji', '--out', 'X', '--lr'], '--lr'),
    'no directory to prune': (['prune'], 'PATH'),
    'resume without out': (['search', '--resume'], '--resume needs --out'),
    'resume and an empty out': (['train', '--resume', '--out='], '--resume needs --out'),
    'resume a folder that is not there': (['search', '--resume', '--out', 'X'], 'no folder'),
    'resume and overwrite': (['search', '--resume', '--overwrite', '--out', 'X'], 'choose one'),
    'draw to nowhere': (['draw', 'cifar10_paper', '--out', 'X/x.svg'], 'no folder'),
    'draw a png': (['draw', 'cifar10_paper', '--out', 'X.png'], '.svg'),
    'draw 20 pixels': (['draw', 'cifar10_paper', '--out', 'X.svg', '--img-size', '20'], 'multiple of 8'),
    'draw into /proc': (['draw', 'cifar10_paper', '--out', '/proc/x.svg'], '/proc/x.svg'),
    'demo of 0 epochs': (['demo', '--out', 'X', '--epochs', '0'], '--epochs 0'),
    'demo of 0 steps, found before the search': (['demo', '--out', 'X', '--steps', '0'], '--steps 0'),
    'demo with too few samples, found before the search': (['demo', '--out', 'X', '--n', '5'], '--n 5'),
    'demo into an empty name': (['demo', '--out', ''], '--out is empty'),
    'prune of an empty name': (['prune', ''], 'is empty'),
    'draw to an empty name': (['draw', 'cifar10_paper', '--out='], '--out is empty'),
    'sample into a table': (['sample', 'X/run', '--out', 'X/x.npz'], 'samples are written as .png'),
    'sample into an archive': (['sample', 'X/run', '--out', 'X/x.tar'], 'samples are written as .png'),
    'sample into a folder that is not there, found before the run is opened': (['sample', 'X/run', '--out', 'X/none/x.png'], 'no folder'),
    'weights of a genotype': (['train', '--genotype', 'cifar10_paper', '--init', 'keep', '--data', 'emoji', '--out', 'X'], '--init keep'),
    'weights of a generator made by hand': (['train', '--genotype', 'dcgan', '--init', 'keep', '--data', 'emoji', '--out', 'X'], '--init keep'),
    'demo of nothing': (['demo', '--out', 'X', '--data', 'X/none'], 'does not exist'),
}


@pytest.mark.parametrize('case', FLAGS)
def test_flags(case, tmp_path, line):
    argv, word = FLAGS[case]
    assert word in line(*[a.replace('X', str(tmp_path/'X')) if 'X' in a else a for a in argv])
    assert not list(tmp_path.iterdir())


SETTINGS = {  # flags behind a good command, and what the line must name
    'search': {'--img-size 20': 'multiple of 8', '--img-size 0': 'multiple of 8', '--img-size -32': 'multiple of 8', '--width 0': '--width', '--width abc': '--width', '--width 1.5': '--width', '--z-dim 0': '--z-dim',
               '--epochs 0': '--epochs', '--epochs -1': '--epochs', f'--epochs {10**30}': '--epochs', '--limit 0': 'limit', '--limit -5': 'limit', '--batch-size 1': '--batch-size', '--batch-size 97': 'fewer',
               '--lr nan': '--lr', '--lr -1': '--lr', '--lr inf': '--lr', '--z-lr inf': '--z-lr', '--alpha-lr nan': '--alpha-lr', '--lr-end 1e999': '--lr-end', '--warmup nan': '--warmup', '--held-out 1': '--held-out', '--held-out nan': '--held-out',
               '--held-out 0.9': '--held-out', f'--seed {2**70}': '--seed', '--seed x': '--seed', '--optimiser rmsprop': 'rmsprop', '--z-init foo': 'foo', '--surface cube': 'cube', '--relaxation foo': 'foo', '--impl foo': 'foo',
               '--preset foo': '--preset', '--split valid': "no split 'valid'", '--save-every -1': '--save-every', '--save-every nan': '--save-every', '--width 300000': '--width 300000 must be at most'},
    'train': {'--framework foo': 'foo', '--preset paper --framework foo': 'foo', '--steps 0': '--steps', '--n-critic 0': '--n-critic', '--fake-ratio 0': '--fake-ratio', '--ema 1': '--ema', '--ema nan': '--ema', '--betas 0 1': '--betas',
              '--betas -1 .9': '--betas', '--betas 0 nan': '--betas', '--lr inf': '--lr', '--lr nan': '--lr', '--init foo': '--init', '--sample-every 0': '--sample-every', f'--seed {2**70}': '--seed', '--img-size 20': 'multiple of 8', '--batch-size 97': 'fewer',
              '--genotype': '--genotype', '--genotype nobody': 'cifar10_paper', '--genotype {"format":1}' + 300*'x': 'no file can be called'},
}


@pytest.mark.parametrize('command, flags', [(c, f) for c in SETTINGS for f in SETTINGS[c]])
def test_settings(command, flags, tmp_path, line):
    argv = dict(search=search_argv, train=train_argv)[command](tmp_path/'run')
    assert SETTINGS[command][flags] in line(*argv, *flags.split())
    assert not list(tmp_path.iterdir())


def test_divergence_is_said(tmp_path, line):
    assert 'smaller --lr' in line(*search_argv(tmp_path/'run', '--lr', '1e30'))


# ---------------------------------------------------------------- images

def damaged(path): path.write_bytes(path.read_bytes()[:len(path.read_bytes())//2])


def test_data_paths(tmp_path, line):
    (tmp_path/'empty').mkdir()
    (tmp_path/'text').mkdir()
    (tmp_path/'text'/'a.txt').write_text('x')
    (tmp_path/'bad.zip').write_bytes(b'no zip')
    zipfile.ZipFile(tmp_path/'none.zip', 'w').close()
    for data, word in dict(missing='does not exist', empty='is empty', text='no images', **{'bad.zip': 'bad.zip', 'none.zip': 'is empty'}).items():
        said = line(*search_argv(tmp_path/'run', data=tmp_path/data))
        assert word in said and data in said
    assert 'did you mean emoji' in line(*search_argv(tmp_path/'run', data='emojis'))
    assert '--data is empty' in line(*search_argv(tmp_path/'run', data=''))
    assert '5 images' in line(*search_argv(tmp_path/'run', data=pictures(tmp_path/'few', 5), tiny=FEW))
    assert not (tmp_path/'run').exists()


def test_a_truncated_image_is_named_and_can_be_skipped(tmp_path, line, capsys):
    folder = pictures(tmp_path/'images')
    damaged(folder/'007.png')
    argv = search_argv(tmp_path/'run', data=folder, tiny=FEW, epochs=1)
    assert '007.png' in line(*argv) and '--skip-broken' in line(*argv) and not (tmp_path/'run').exists()
    assert degas(*argv, '--skip-broken') == 0
    assert capsys.readouterr().err.count('1 broken image skipped: 007.png') == 1
    assert RunFolder.open(tmp_path/'run').data['n'] == 39
    assert degas('search', '--resume', '--out', tmp_path/'run') == 0  # remembers to skip


def test_who_cannot_skip_is_not_told_to(tmp_path, line, capsys):
    folder = pictures(tmp_path/'images')
    assert degas(*search_argv(tmp_path/'run', data=folder, tiny=FEW, epochs=1)) == 0
    capsys.readouterr()
    damaged(folder/'008.png')  # among those that it began with
    for again in (['search', '--resume', '--out', tmp_path/'run', '--epochs', 2], ['prune', tmp_path/'run', '--decide', 'measured']):
        said = line(*again)
        assert '008.png cannot be read' in said and 'put back what it was' in said and '--skip-broken' not in said


def test_odd_images_are_converted_and_it_is_said_once(tmp_path, capsys):
    folder = pictures(tmp_path/'images', 34)
    Image.new('L', (32, 32), 9).save(folder/'grey.png')
    Image.new('RGBA', (32, 32), (9, 9, 9, 90)).save(folder/'rgba.png')
    Image.fromarray(np.full((32, 32), 40_000, np.uint16)).save(folder/'deep.png')
    Image.new('RGB', (80, 50)).save(folder/'large.png')
    assert degas(*search_argv(tmp_path/'run', data=folder, tiny=FEW, epochs=1)) == 0
    said = capsys.readouterr().err
    for words in 'grey image', 'transparent image', '16-bit image', 'centre-cropped': assert said.count(words) == 1, said


def test_images_that_changed_since(tmp_path, line):
    folder = pictures(tmp_path/'images')
    assert degas(*search_argv(tmp_path/'run', data=folder, tiny=FEW, epochs=1)) == 0
    (folder/'000.png').unlink()
    before = snapshot(tmp_path/'run')
    assert '40 then, 39 now' in line('search', '--resume', '--out', tmp_path/'run')
    shutil.rmtree(folder)
    assert 'does not exist' in line('search', '--resume', '--out', tmp_path/'run')
    assert snapshot(tmp_path/'run') == before


def test_a_run_among_its_images(tmp_path, line):
    "Its pictures would be images when it is resumed."
    folder = pictures(tmp_path/'images')
    for argv in (search_argv(folder/'run', data=folder, tiny=FEW), train_argv(folder/'run', data=folder, tiny=FEW)):
        assert 'lies among the images' in line(*argv)
    assert not (folder/'run').exists()


def test_a_folder_that_is_called_like_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path/'emoji')
    assert degas(*search_argv('run', epochs=1)) == 0
    assert json.loads(Path('run/config.json').read_text())['data']['source']['data'] == 'emoji'
    assert degas('search', '--resume', '--out', 'run') == 0


def test_relative_paths_are_remembered_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path/'images')
    assert degas(*search_argv('run', data='images', tiny=FEW, epochs=1)) == 0
    (tmp_path/'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path/'elsewhere')
    assert degas('search', '--resume', '--out', '../run') == 0


def test_demo_needs_labels_and_says_so_first(tmp_path, line):
    assert 'no labels' in line('demo', '--data', pictures(tmp_path/'images', 70), '--out', tmp_path/'demo')
    assert not (tmp_path/'demo').exists()


# ---------------------------------------------------------------- genotypes

def edited(edit):
    value = Genotype.named('cifar10_paper').to_json()
    edit(value)
    return json.dumps(value)


GENOTYPES = {
    'unknown op': (edited(lambda g: g['edges'][0].update(op='conv_9')), 'conv_9'),
    'unknown node': (edited(lambda g: g['edges'][0].update(dst='s9')), 's9'),
    'a node left out': (edited(lambda g: g.update(edges=[e for e in g['edges'] if e['dst'] != 's5'])), 's5 is not connected'),
    'no edges': (edited(lambda g: g.update(edges=[])), 'not connected'),
    'an edge twice': (edited(lambda g: g['edges'].append(g['edges'][0])), 'twice'),
    'backwards': (edited(lambda g: g['edges'][0].update(src='s1', dst='s0')), 'backwards'),
    'sizes that do not fit': (edited(lambda g: g['edges'][1].update(scale=4)), 's2'),
    'scale 17': (edited(lambda g: [e.update(scale=17) for e in g['edges'] if e['kind'] == 'up']), '17'),
    'scale true': (edited(lambda g: g['edges'][0].update(scale=True)), '"edges"'),
    'edges a string': (edited(lambda g: g.update(edges='s0-s1')), '"edges"'),
    'edge null': (edited(lambda g: g['edges'].append(None)), '"edges"'),
    'nodes numbers': (edited(lambda g: g.update(nodes=[0, 1])), '"nodes"'),
    'no nodes': (edited(lambda g: g.pop('nodes')), '"nodes"'),
    'space a list': (edited(lambda g: g.update(space=[])), '"space"'),
    'meta a list': (edited(lambda g: g.update(meta=[1])), '"meta"'),
    'meta NaN': (edited(lambda g: g.update(meta=dict(score=float('nan')))), 'NaN'),
    'another format': (edited(lambda g: g.update(format='x')), '"format"'),
    'broken JSON': ('{"format": ', 'not valid JSON'),
    'empty': ('', 'not valid JSON'),
    'a list': ('[]', '"format"'),
    'very deep': ('['*100_000, 'not valid JSON'),
    'binary': (bytes(range(256)), 'not valid JSON'),
}


@pytest.mark.parametrize('case', GENOTYPES)
def test_genotypes(case, tmp_path, line):
    content, word = GENOTYPES[case]
    path = tmp_path/'g.json'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for argv in (train_argv(tmp_path/'run', genotype=path), ['draw', path, '--out', tmp_path/'x.svg']):
        said = line(*argv)
        assert word in said and str(path) in said
    assert [p.name for p in tmp_path.iterdir()] == ['g.json']


def test_a_genotype_that_is_not_there(tmp_path, line):
    assert 'g.json' in line(*train_argv(tmp_path/'run', genotype=tmp_path/'g.json'))
    assert 'holds no genotype.json' in line(*train_argv(tmp_path/'run', genotype=tmp_path))


# ---------------------------------------------------------------- folders of runs

def test_out_that_is_taken(found, tmp_path, line):
    out = copy(found, tmp_path)
    (tmp_path/'other').mkdir()
    (tmp_path/'other'/'thesis.txt').write_text('x')
    (tmp_path/'file').write_text('x')
    before = snapshot(tmp_path)
    said = line(*search_argv(out))
    assert '--resume' in said and '--overwrite' in said
    assert 'holds a search run, which no gan run replaces' in line(*train_argv(out))
    for argv in (search_argv, train_argv):
        assert 'other files' in line(*argv(tmp_path/'other')) and 'other files' in line(*argv(tmp_path/'other', '--overwrite'))
        assert 'is a file' in line(*argv(tmp_path/'file')) and 'is a file' in line(*argv(tmp_path/'file'/'run'))
        assert 'too long' in line(*argv(tmp_path/('a'*300)))
        assert '/proc/none' in line(*argv('/proc/none/run'))
    assert snapshot(tmp_path) == before


@contextmanager
def not_root():
    "Root may write everywhere, so it becomes nobody for a while; anybody else stays who they are."
    root = os.geteuid() == 0
    if root: os.seteuid(65534)
    try: yield
    finally:
        if root: os.seteuid(0)


def test_out_without_permission(line):
    with tempfile.TemporaryDirectory() as base:  # pytest's own folders keep nobody out of reach
        os.chmod(base, 0o755)
        locked = Path(base)/'locked'
        locked.mkdir(mode=0o555)
        assert degas(*search_argv(Path(base)/'free')) == 0  # the same command, and what it imports on the way: root's Python may be out of reach for nobody
        with not_root(): assert 'Permission denied' in line(*search_argv(locked/'run'))
        assert not any(locked.iterdir())


def test_resume_that_does_not_fit(found, drawn, tmp_path, line):
    (tmp_path/'empty').mkdir()
    out, gan = copy(found, tmp_path), copy(drawn, tmp_path, 'gan')
    before = snapshot(tmp_path)
    assert 'no run' in line('search', '--resume', '--out', tmp_path/'empty')
    assert 'search run is needed' in line('search', '--resume', '--out', gan)
    assert 'gan run is needed' in line('train', '--resume', '--out', out)
    assert 'search run is needed' in line('prune', gan)
    for command in ('sample', out, '--out', tmp_path/'x.png'), ('score', out): assert 'gan run is needed' in line(*command)
    assert 'width: 4 then, 8 now' in line('search', '--resume', '--out', out, '--width', 8)
    assert 'add --epochs' in line('search', '--resume', '--out', out, '--lr', 0.5)  # it is finished
    assert '12 steps are done' in line('search', '--resume', '--out', out, '--epochs', 2)
    assert 'other images' in line('search', '--resume', '--out', out, '--limit', 90)
    assert 'generator' in line('train', '--resume', '--out', gan, '--genotype', 'cifar10_paper')
    assert '--preset' in line('search', '--resume', '--out', out, '--preset', 'paper-cifar10')
    assert snapshot(tmp_path) == before


def rewritten(edit):
    def change(path):
        value = json.loads(path.read_text())
        edit(value)
        path.write_text(json.dumps(value))
    return change


CONFIGS = {
    'garbage': lambda p: p.write_bytes(b'\xff\x00'), 'empty': lambda p: p.write_text(''), 'a list': lambda p: p.write_text('[]'), 'gone': lambda p: p.unlink(), 'a folder': lambda p: (p.unlink(), p.mkdir()),
    'no config': rewritten(lambda c: c.pop('config')), 'config a list': rewritten(lambda c: c.update(config=[])), 'no kind': rewritten(lambda c: c.pop('kind')), 'data null': rewritten(lambda c: c.update(data=None)),
    'no source': rewritten(lambda c: c['data'].pop('source')), 'source a list': rewritten(lambda c: c['data'].update(source=[1])), 'source with more': rewritten(lambda c: c['data']['source'].update(foo=1)),
    'source a number': rewritten(lambda c: c['data']['source'].update(data=5)), 'limit a word': rewritten(lambda c: c['data']['source'].update(limit='x')), 'no fingerprint': rewritten(lambda c: c['data'].pop('fingerprint')),
    'unknown setting': rewritten(lambda c: c['config'].update(foo=1)), 'lr a word': rewritten(lambda c: c['config'].update(lr='x')), 'width a list': rewritten(lambda c: c['config'].update(width=[1])),
    'batch size 2.5': rewritten(lambda c: c['config'].update(batch_size=2.5)), 'another width': rewritten(lambda c: c['config'].update(width=5)),
}
GAN_CONFIGS = {
    'generator null': rewritten(lambda c: c['config'].update(generator=None)), 'generator gone': rewritten(lambda c: c['config'].pop('generator')), 'generator unknown': rewritten(lambda c: c['config']['generator'].update(spec='foo')),
    'genotype damaged': rewritten(lambda c: c['config']['generator']['spec'].update(edges='x')), 'betas a number': rewritten(lambda c: c['config'].update(betas=3)),
}


# what a generator can draw without: its training images, and settings of the training
NOT_FOR_SAMPLES = {'no source', 'source a list', 'source with more', 'source a number', 'limit a word', 'no fingerprint', 'another width'}


@pytest.mark.parametrize('case', [*CONFIGS, *GAN_CONFIGS])
def test_damaged_config(case, found, drawn, tmp_path, line):
    for run, command in ((found, 'search'), (drawn, 'train')):
        if case in GAN_CONFIGS and command == 'search': continue
        out = copy(run, tmp_path, command)
        (CONFIGS | GAN_CONFIGS)[case](out/'config.json')
        before = snapshot(out)
        line(command, '--resume', '--out', out)
        if command == 'train' and case not in NOT_FOR_SAMPLES: line('sample', out, '--out', tmp_path/'x.png', '--n', 4)
        elif command == 'train': assert degas('sample', out, '--out', tmp_path/'x.png', '--n', 4) == 0
        assert snapshot(out) == before


CHECKPOINTS = {
    'garbage': lambda p: p.write_bytes(b'garbage'), 'empty': lambda p: p.write_bytes(b''), 'cut': damaged, 'a list': lambda p: torch.save([1], p), 'a tensor': lambda p: torch.save(torch.zeros(3), p),
    'something to execute': lambda p: torch.save(dict(step=Path('x')), p), 'an empty zip': lambda p: zipfile.ZipFile(p, 'w').close(), 'other keys': lambda p: torch.save(dict(a=1), p),
    'no weights': with_state(lambda s: [s.pop(k, 0) for k in ('net', 'generator')]), 'empty weights': with_state(lambda s: [s.update({k: {}}) for k in ('net', 'generator') if k in s]),
    'empty optimiser': with_state(lambda s: [s.update({k: {}}) for k in ('opt', 'generator_optimiser') if k in s]), 'step a word': with_state(lambda s: s.update(step='x')), 'step from the future': with_state(lambda s: s.update(step=10**6)),
    'another config': with_state(lambda s: s['config'].update(width=5)),
}


@pytest.mark.parametrize('case', CHECKPOINTS)
def test_damaged_checkpoint(case, found, drawn, tmp_path, line):
    for run, command in ((found, 'search'), (drawn, 'train')):
        out = copy(run, tmp_path, command)
        CHECKPOINTS[case](out/'checkpoint.pt')
        before = snapshot(out)
        assert 'checkpoint' in line(command, '--resume', '--out', out)
        assert snapshot(out) == before


def test_a_checkpoint_of_another_run(found, drawn, tmp_path, line):
    other = tmp_path/'other'
    assert degas(*search_argv(other, '--seed', 1, epochs=1)) == 0
    out, gan = copy(found, tmp_path), copy(drawn, tmp_path, 'gan')
    shutil.copy(other/'checkpoint.pt', out)
    assert 'another config' in line('search', '--resume', '--out', out)
    shutil.copy(found/'checkpoint.pt', gan)
    assert 'checkpoint' in line('train', '--resume', '--out', gan)
    assert 'checkpoint' in line('score', gan)


@pytest.mark.long
def test_the_checkpoint_before_steps_in(found, tmp_path):
    out = tmp_path/'run'
    assert degas(*search_argv(out, '--save-every', 0)) == 0
    damaged(out/'checkpoint.pt')
    for name in 'genotype.json', 'report.html': (out/name).unlink()
    assert degas('search', '--resume', '--out', out) == 0
    as_undisturbed(out, found)


ROW = '{"step": 1, "epoch": 1, "alpha": %s, "weights": %s}\n'
TRACES = {'garbage': 'garbage\n', 'no step': '{"a": 1}\n', 'a list': '[1]\n', 'a number': '5\n', 'step a word': '{"step": "x"}\n', 'binary': bytes(range(256)) + b'\n', 'a folder': None}
ALPHAS = {'none': '{"step": 1}\n', 'empty': '', 'alpha a list': ROW % ('[1]', '[1]'), 'weights null': ROW % ('{}', 'null'), 'weights gone': '{"step": 1, "alpha": {}}\n', 'no edges': ROW % ('{}', '{}'),
          'ops a list': ROW % ('{}', '{"s0-s1": [1]}'), 'a word': ROW % ('{}', '{"s0-s1": {"conv_1": "x"}}'), 'null': ROW % ('{}', '{"s0-s1": {"conv_1": null}}'), 'too few ops': ROW % ('{}', '{"s0-s1": {"conv_1": 1}}')}


@pytest.mark.parametrize('case', [*TRACES, *ALPHAS])
def test_damaged_trace(case, found, tmp_path, line):
    out, content = copy(found, tmp_path), (TRACES | ALPHAS)[case]
    path = out/'trace.jsonl'
    path.unlink()
    if content is None: path.mkdir()
    else: path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = snapshot(out)
    line('prune', out)
    if case in TRACES: assert 'trace.jsonl' in line('search', '--resume', '--out', out)
    assert snapshot(out) == before


def test_a_trace_with_holes_is_said_and_decides_nothing(found, tmp_path, capsys):
    out = copy(found, tmp_path)
    (out/'trace.jsonl').write_text((out/'trace.jsonl').read_text().splitlines(keepends=True)[0])
    for name in 'genotype.json', 'report.html': (out/name).unlink()
    assert degas('search', '--resume', '--out', out) == 0
    assert 'lacks 11 of the 12 steps' in capsys.readouterr().err
    assert Genotype.load(out) == Genotype.load(found)  # by the checkpoint's alphas, not by the stale ones


def test_samples_and_scores_that_cannot_be(drawn, tmp_path, line):
    out = copy(drawn, tmp_path)
    (tmp_path/'full').mkdir()
    (tmp_path/'full'/'a').touch()
    (tmp_path/'dir.png').mkdir()
    before = snapshot(tmp_path)
    sample = ['sample', out, '--n', 4, '--out']
    for target, word in {'full': 'not an empty folder', 'no/x.png': 'no folder', 'x.jpg': '.png', 'dir.png': 'dir.png'}.items(): assert word in line(*sample, tmp_path/target)
    assert '/proc/a' in line(*sample, '/proc/a')
    assert '--n 0' in line('sample', out, '--n', 0, '--out', tmp_path/'x.png')
    assert '--seed' in line(*sample, tmp_path/'x.png', '--seed', 2**70)
    assert '--n 9' in line('score', out, '--n', 9)
    assert 'does not exist' in line('score', out, '--data', tmp_path/'none')
    assert 'does not exist' in line('score', out, '--features', tmp_path/'none')
    assert snapshot(tmp_path) == before
    assert 'no labels' in line('score', out, '--data', pictures(tmp_path/'images'))
    for content in '{', '{}', '[1]':
        (out/'scores.json').write_text(content)
        assert 'scores.json' in line('score', out)
        assert (out/'scores.json').read_text() == content


# ---------------------------------------------------------------- demo

@pytest.mark.long
def test_demo_again_and_anew(tmp_path, capsys, line):
    for name in 'ab': pictures(tmp_path/'images'/name, 40)
    argv = ['demo', '--data', tmp_path/'images', '--out', tmp_path/'demo', '--epochs', 1, '--steps', 1, '--n', 10]
    for more in [], [], ['--overwrite']:
        assert degas(*argv, *more) == 0
        printed = capsys.readouterr().out
        assert str(tmp_path/'demo'/'report.html') in printed and len([row for row in printed.splitlines() if any(word in row for word in (' sample ', ' train --genotype ', 'make lab'))]) == 3
        assert [r['step'] for r in json.loads((tmp_path/'demo'/'gan'/'scores.json').read_text())] == [0, 1]
        run = RunFolder.open(tmp_path/'demo'/'search')
        assert Genotype.load(run.path).meta['decide'] == run.meta['writes']['decide'] == 'alpha' and '--decide alpha' in command_lines(run)[0]
    assert '--overwrite' in line(*argv, '--epochs', 2, notes=2)
