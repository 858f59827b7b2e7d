"""The folder of a run on systems as they are: a home written as ~, file systems without locks, Windows, folders that are exchanged, numbers that are none."""
import errno, json, os, warnings
from pathlib import Path

import pytest
import torch

from degas_nb.ground import folders
from degas_nb.ground.data import load
from degas_nb.space.genotype import Genotype
from degas_nb.views.live import live
from degas_nb.judge.metrics import Statistics
from degas_nb.views.replay import replay, watch
from degas_nb.app.report import toy_runs
from degas_nb.ground.folders import Diverged, RunFolder, RunWarning
from degas_nb.search.alternating import Search, SearchConfig
from degas_nb.gan.training import GANConfig, GANTraining, trained_generator
from degas_nb.ground.errors import UserError, user_path
from degas_nb.ground.show import save_grid
from commands import degas, forked, pictures, search_argv, snapshot, train_argv
from toys import Kept
from warm import python

pytestmark = pytest.mark.usefixtures('quiet_machine')

NAN, INF = float('nan'), float('inf')


@pytest.fixture
def home(tmp_path, monkeypatch):
    "A home of our own, and a working directory where nothing called ~ may appear."
    (tmp_path/'home').mkdir()
    (tmp_path/'work').mkdir()
    monkeypatch.setenv('HOME', str(tmp_path/'home'))
    monkeypatch.chdir(tmp_path/'work')
    yield tmp_path/'home'
    assert not list((tmp_path/'work').iterdir())


def a_run(path, **state):
    run = RunFolder.create(path, 'search', dict(lr=1.), dict(n=1))
    run.save_checkpoint(dict(step=1) | state)
    return run


# ---------------------------------------------------------------- ~

@pytest.mark.long
def test_a_path_of_a_python_call_may_begin_at_home(home, nothing_left_behind):
    pictures(home/'images', 40)
    images = load('~/images')
    assert images.name == 'images' and len(images) == 40
    config = SearchConfig(epochs=1, batch_size=8, width=4, z_dim=16)
    search = Search.from_config(images, config)
    next(search)
    search.save('~/search')
    search.save('~/search')  # finds what it made
    assert Search.load('~/search', images).n == 1 and RunFolder.open('~/search').has_checkpoint()
    training = GANTraining.from_config(images, GANConfig(steps=1, batch_size=8, width=4, z_dim=16), 'dcgan')
    for _ in training: training.save('~/gan')
    assert GANTraining.load('~/gan', images).n == 1 and trained_generator('~/gan').z_dim == 16
    Genotype.named('cifar10_paper').save('~/g.json')
    assert Genotype.load('~/g.json') == Genotype.named('cifar10_paper')
    save_grid(images.batch(torch.arange(4)), '~/grids/a.png')
    stats = Statistics(4)
    stats.update(torch.randn(10, 4))
    stats.save('~/s.npz')
    assert Statistics.load('~/s.npz').n == 10
    a, _ = toy_runs('~/toys')
    assert replay('~/toys/search').frames and not list(Path().iterdir())
    watching = watch('~/toys/search', show=False)
    watching.stop()
    it = live(Kept(3), folder='~/live', show=False)
    it.thread.join(20)
    assert {p.name for p in home.iterdir()} >= {'search', 'gan', 'g.json', 'grids', 's.npz', 'toys', 'live'} and it.writes_to(home/'live')


@pytest.mark.long
@pytest.mark.parametrize('form', ['--{}=~/{}', '--{} ~/{}'])
def test_every_path_of_every_flag_may_begin_at_home(home, form, capsys):
    def flags(**kw): return [word for name, value in kw.items() for word in form.format(name.replace('_', '-'), value).split()]
    for name in 'ab': pictures(home/'images'/name, 20)
    few = ['--batch-size', '8', '--width', '4', '--z-dim', '16']
    for argv in (['search', *flags(data='images', out='s'), '--epochs', 1, '--asked', 8, *few], ['prune', '~/s'], ['search', '--resume', *flags(out='s')],
                 ['train', *flags(genotype='s', data='images', out='g'), '--steps', 1, *few], ['train', '--resume', *flags(out='g')],
                 ['sample', '~/g', '--n', 4, *flags(out='x.png')], ['draw', '~/s', *flags(out='x.svg')],
                 ['score', '~/g', '--n', 20, *flags(data='images', features='images', save_real_stats='x.npz')], ['score', '~/g', '--n', 20, *flags(real_stats='x.npz', features='images')],
                 ['score', '~/images', '~/images', '--n', 20]):
        assert degas(*argv) == 0, capsys.readouterr().err
    assert {p.name for p in home.iterdir()} >= {'s', 'g', 'x.png', 'x.svg', 'x.npz'}
    assert json.loads((home/'s'/'config.json').read_text())['data']['source']['data'] == str(home/'images')


def test_a_home_that_nobody_has(home, line):
    with pytest.raises(UserError, match='not known'): user_path('~nobody-of-that-name/x')
    assert 'nobody-of-that-name' in line('search', '--data', 'emoji', '--out', '~nobody-of-that-name/x')
    assert 'nobody-of-that-name' in line('draw', 'cifar10_paper', '--out=~nobody-of-that-name/x.svg')


# ---------------------------------------------------------------- locks

@pytest.mark.parametrize('code', [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks_is_said_and_the_run_goes_on(code, tmp_path, monkeypatch):
    def flock(f, kind): raise OSError(code, os.strerror(code))
    monkeypatch.setattr(folders.fcntl, 'flock', flock)
    run = RunFolder.open(a_run_unlocked(tmp_path/'run').path)
    with pytest.warns(RunWarning, match='cannot be locked'), run.lock(): run.save_checkpoint(dict(step=2))
    assert run.load_checkpoint()['step'] == 2 and not run.busy()


def a_run_unlocked(path):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RunWarning)
        return a_run(path)


@pytest.mark.parametrize('code', [errno.EWOULDBLOCK, errno.EAGAIN])
def test_a_lock_that_somebody_has_is_another_process(code, tmp_path, monkeypatch):
    run = a_run(tmp_path/'run')
    def flock(f, kind): raise OSError(code, os.strerror(code))
    monkeypatch.setattr(folders.fcntl, 'flock', flock)
    with pytest.raises(UserError, match='another process'), run.lock(): pass
    assert run.busy()


def test_without_locks_a_command_says_so_once(tmp_path):
    def work():
        def flock(f, kind): raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        folders.fcntl.flock = flock
        degas(*search_argv(tmp_path/'run', epochs=1))
    done = forked(work)
    assert done.returncode == 0 and done.stderr.count('cannot be locked') == 1 and 'RunWarning' not in done.stderr and 'Traceback' not in done.stderr, done.stderr
    assert (tmp_path/'run'/'genotype.json').exists()


EXCHANGES = {
    'renamed': lambda p: p.rename(p.with_name('elsewhere')),
    'renamed and made anew': lambda p: (p.rename(p.with_name('elsewhere')), a_run(p, step=7)),
    'deleted and made anew': lambda p: (__import__('shutil').rmtree(p), a_run(p, step=7)),
    'its lock deleted': lambda p: (p/'.lock').unlink(),
}


@pytest.mark.parametrize('how', EXCHANGES)
def test_a_folder_that_is_exchanged_under_its_run(how, tmp_path):
    run = a_run(tmp_path/'run')
    with run.lock():
        EXCHANGES[how](run.path)
        before = snapshot(run.path) if run.path.exists() else None
        for write in (lambda: run.save_checkpoint(dict(step=2)), lambda: run.trace.append(dict(step=2)), lambda: run.samples):
            with pytest.raises(UserError, match='no longer the folder'): write()
        assert (snapshot(run.path) if run.path.exists() else None) == before


def test_parts_of_files_that_were_never_finished_go(tmp_path):
    run = a_run(tmp_path/'run')
    old = ['.checkpoint.new.pt.1.part', '.config.json.1.part', '.genotype.json.22.part', '.report.html.3.part', '.trace.jsonl.4.part']
    for name in old: (run.path/name).touch(); os.utime(run.path/name, (0, 0))
    for name in '.checkpoint.pt.5.part', '.scores.json.6.part', '.mine.part': (run.path/name).touch()
    with run.lock(): pass
    assert sorted(p.name for p in run.path.glob('.*.part')) == ['.mine.part', '.scores.json.6.part']  # somebody may be writing a score at this moment


# ---------------------------------------------------------------- numbers that are none

@pytest.mark.parametrize('state, name', [(dict(net=dict(a=torch.tensor([1., NAN]))), 'net.a'), (dict(opt=[dict(m=torch.tensor(INF).double())]), 'opt.0.m'), (dict(lr=-INF), 'lr'),
                                         (dict(z=torch.tensor([NAN]).bfloat16()), 'z'), (dict(a=[torch.tensor([1e25])]), 'a.0')])
def test_numbers_that_are_none_never_replace_a_checkpoint(state, name, tmp_path):
    run = a_run(tmp_path/'run')
    before = snapshot(run.path)
    with pytest.raises(Diverged, match=f'{name} is not finite at step 5'): run.save_checkpoint(dict(step=5) | state)
    assert snapshot(run.path) == before


@pytest.mark.parametrize('spoil', ['nan', 'inf', 'cut', 'empty', 'bit'])
def test_the_last_finite_checkpoint_is_found_and_said(spoil, tmp_path):
    run = a_run(tmp_path/'run', z=torch.ones(3))
    run.save_checkpoint(dict(step=2, z=torch.ones(300)))
    path = run.path/'checkpoint.pt'
    data = path.read_bytes()
    if spoil in ('nan', 'inf'): torch.save(dict(step=2, z=torch.tensor([float(spoil)])), path)
    else: path.write_bytes(dict(cut=data[:len(data)//2], empty=b'', bit=data.replace(b'PK\x01\x02', b'PK\x01\x03'))[spoil])
    with pytest.warns(RunWarning, match='of step 1'): assert run.load_checkpoint()['step'] == 1
    (run.path/'checkpoint.prev.pt').unlink()
    with warnings.catch_warnings(), pytest.raises(UserError, match='no checkpoint that can be read'):
        warnings.simplefilter('error')
        run.load_checkpoint()


# ---------------------------------------------------------------- Windows

WINDOWS = """
import builtins, os, signal, sys
sys.modules['fcntl'] = sys.modules['resource'] = sys.modules['pwd'] = sys.modules['grp'] = None
for name in 'SIGHUP', 'SIGKILL', 'SIGUSR1': delattr(signal, name)
for name in 'fork', 'getppid', 'geteuid', 'getuid', 'killpg', 'getpgid': delattr(os, name)
from pathlib import Path
real = Path.exists
Path.exists = lambda self: not str(self).startswith('/proc') and real(self)
"""


def windows(code, *argv):
    "Python without what Windows does not have."
    return python('-c', WINDOWS + code, *argv)


@pytest.mark.long
def test_commands_without_what_windows_lacks(tmp_path):
    done = windows('from degas_nb.app.main import main; main()', *search_argv(tmp_path/'run', epochs=1))
    assert done.returncode == 0 and done.stderr.count('cannot be locked') == 1 and 'Traceback' not in done.stderr, done.stderr
    assert {'checkpoint.pt', 'genotype.json', 'report.html'} <= {p.name for p in (tmp_path/'run').iterdir()}
    for argv in ['search', '--resume', '--out', tmp_path/'run'], train_argv(tmp_path/'gan', genotype=tmp_path/'run'), ['sample', tmp_path/'gan', '--n', 4, '--out', tmp_path/'x.png']:
        done = windows('from degas_nb.app.main import main; main()', *argv)
        assert done.returncode == 0 and 'Traceback' not in done.stderr, done.stderr


def test_every_module_imports_without_what_windows_lacks():
    package = Path(folders.__file__).parents[1]
    names = sorted('.'.join(p.relative_to(package).with_suffix('').parts) for p in package.rglob('*.py') if not p.stem.startswith('_'))
    done = windows('import importlib\nfor name in sys.argv[1:]: importlib.import_module("degas_nb." + name)', *names)
    assert done.returncode == 0, done.stderr
