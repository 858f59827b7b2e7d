"""`degas` run in a Python of its own, in a fork, or right here; undisturbed runs to compare with; what files hold."""
import faulthandler, inspect, json, os, resource, shutil, signal, sys, tempfile, threading, traceback
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo  # noqa: F401, here and not in each fork that makes an optimiser
from PIL import Image
from tqdm.std import tqdm

from degas_nb.app.main import main
from warm import Done, python
from degas_nb.ground.folders import Trace

IMAGES, BATCH = 24, 8
TINY = ['--limit', str(IMAGES), '--batch-size', str(BATCH), '--width', '4', '--z-dim', '16']
FEW = ['--batch-size', '32', *TINY[4:]]  # for folders, which are small anyway
SMALL = [*TINY, '--img-size', '16']  # where nothing is compared with what `found` and `drawn` give
EPOCHS, PER_EPOCH, STEPS = 4, 3, 6
LONGEST = 200  # seconds that a child may take
inspect.getsource = cache(inspect.getsource)  # tyro asks for each command again, and Python 3.11 parses a whole module to find a class
FILES = {'config.json', 'trace.jsonl', 'checkpoint.pt', 'genotype.json', 'samples', 'report.html'}

@pytest.fixture(scope='module')
def quiet_machine(tmp_path_factory):
    "One thread, as the subprocesses have; caches go to a home of their own."
    threads, home = torch.get_num_threads(), os.environ.get('HOME')
    torch.set_num_threads(1)
    os.environ.update(HOME=str(tmp_path_factory.mktemp('home')), OMP_NUM_THREADS='1')
    yield
    torch.set_num_threads(threads)
    if home is not None: os.environ['HOME'] = home


def process(*argv, **kw):
    "The real `degas` in a Python of its own."
    return python('-m', 'degas_nb.app.main', *argv, **kw)


def own_locks():
    """What a process of its own has of its own: tqdm's lock is a semaphore that forks share, and one that is killed with it in its hands would
    keep all others waiting for ever (`degas` itself starts its processes anew, and shares none)."""
    for kind in (tqdm, *tqdm.__subclasses__()):
        if '_lock' in vars(kind): kind._lock = threading.RLock()


def child_of(work, out, err):
    "The pid of a child of this process that does `work` and says it into these files; what `work` raises is its exit code."
    if child := os.fork(): return child
    code = 1
    own_locks()
    try:
        for f, fd in ((out, 1), (err, 2)): os.dup2(f.fileno(), fd)
        faulthandler.dump_traceback_later(LONGEST, exit=True, file=err)  # whoever waits for this child learns where it hangs
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in its background with Ctrl-C ignored
        sys.stdout, sys.stderr = os.fdopen(1, 'w'), os.fdopen(2, 'w')
        work()
        code = 0
    except SystemExit as e: code = e.code or 0
    except BaseException: traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def begun(work):
    "Start `work` in a child of this process; what comes back waits for it."
    out, err = tempfile.TemporaryFile('w+'), tempfile.TemporaryFile('w+')
    child = child_of(work, out, err)

    def done():
        with out, err:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            out.seek(0)
            err.seek(0)
            return Done(code, out.read(), err.read())

    return done


def forked(work):
    "Run `work` in a child of this process: real signals and limits without 3 seconds of imports."
    return begun(work)()


def signalled(step, signals, *argv):
    "`degas`, hit by signals right behind a step: exact, however slow the machine is."
    append = Trace.append
    def append_and_signal(self, record):
        append(self, record)
        for s in signals if record['step'] == step else (): signal.raise_signal(s)  # to this thread; another one may get `os.kill`'s late, and two signals become one
    def work():
        Trace.append = append_and_signal
        main([*map(str, argv)])
    return forked(work)


def on_small_disk(kb, *argv):
    "`degas` where no file may be larger than `kb`: the system's answer is that of a full disk."
    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (kb*1024, kb*1024))
        main([*map(str, argv)])
    return forked(work)


def degas(*argv):
    "In this process, which is 3 seconds faster: the exit code."
    try: main([*map(str, argv)])
    except SystemExit as e: return e.code or 0
    return 0


def search_argv(out, *more, data='emoji', tiny=TINY, epochs=EPOCHS): return ['search', '--data', data, '--epochs', epochs, *tiny, '--asked', 8, '--out', out, *more]
def train_argv(out, *more, genotype='cifar10_paper', data='emoji', tiny=TINY): return ['train', '--genotype', genotype, '--data', data, '--steps', STEPS, *tiny, '--out', out, *more]

def alone_argv(out, *more, data='emoji', tiny=TINY): return ['reconstruct', '--genotype', 'cifar10_found', '--data', data, *tiny, '--epochs', 3, '--device', 'cpu', '--out', out, *more]


def undisturbed(argv, out):
    done = process(*argv, env=os.environ | dict(OMP_NUM_THREADS='1'))
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope='session')
def found(tmp_path_factory):
    "A search that nobody disturbed."
    out = tmp_path_factory.mktemp('search')/'run'
    return undisturbed(search_argv(out), out)


@pytest.fixture(scope='session')
def drawn(found, tmp_path_factory):
    "A training of what was found, undisturbed."
    out = tmp_path_factory.mktemp('gan')/'run'
    return undisturbed(train_argv(out, genotype=found/'genotype.json'), out)


@pytest.fixture(scope='session')
def alone(tmp_path_factory):
    "A reconstruction, undisturbed."
    out = tmp_path_factory.mktemp('alone')/'run'
    return undisturbed(alone_argv(out), out)


@pytest.fixture
def line(capsys):
    "Run a command that must be refused: its one line on stderr (notes of the loader stand above it)."
    def refused(*argv, notes=0):
        capsys.readouterr()
        code = degas(*argv)
        out, err = capsys.readouterr()
        assert code == 2, (code, err)
        assert not out and 'Traceback' not in err
        lines = err.strip().splitlines()
        assert len(lines) == 1 + notes, err
        assert lines[-1].startswith('degas: ') and len(lines[-1]) < 700
        return lines[-1]
    return refused


def snapshot(folder): return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob('*')) if p.name != '.lock'}


def trace(out): return [json.loads(row) for row in (out/'trace.jsonl').read_text().splitlines()]


def state(out): return torch.load(out/'checkpoint.pt', weights_only=True)


def same(a, b):
    "Equal to the last bit, all the way down."
    if isinstance(a, torch.Tensor): return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict): return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(same, a, b))
    return a == b


def copy(run, tmp_path, name='copy'):
    return Path(shutil.copytree(run, tmp_path/name))


def pictures(folder, n=40, size=(32, 32)):
    "Noise, as PNG files."
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(n): Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(folder/f'{i:03d}.png')
    return folder


def as_undisturbed(out, whole):
    "The same genotype, alphas, trace and state, bit for bit; nothing of the kill left over."
    assert (out/'genotype.json').read_bytes() == (whole/'genotype.json').read_bytes()
    assert trace(out) == trace(whole)  # no gaps, no doubles, the same last alpha
    a, b = state(out), state(whole)
    assert same({k: v for k, v in a.items() if k != 'config'}, {k: v for k, v in b.items() if k != 'config'})
    assert not list(out.glob('.*.part'))


def with_state(edit):
    def change(path):
        value = torch.load(path, weights_only=True)
        edit(value)
        torch.save(value, path)
    return change
